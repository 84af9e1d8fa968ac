"""Settle the records that local recoding leaves at the end.

Each joins the class that loses least by being raised to what they have in common and still holds.
Where no class can take it for less than leaving it out costs, it is left out; or, where that is not
allowed, it goes to the top with the classes that help most there for what they lose.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from vallum.privacy.anonymize.classes import classes
from vallum.privacy.anonymize.encode import Encoded, FloatArray
from vallum.privacy.anonymize.hierarchy import IntArray
from vallum.privacy.anonymize.lattice import Lattice
from vallum.privacy.anonymize.models import Closeness, Model
from vallum.privacy.anonymize.recoding import SUPPRESSED, Recoding

_WORK = 40_000_000  # classes looked at for all records together
_TRIED = 64  # classes that a record is offered to, the cheapest first
_TOP = 2.0  # what a record costs at the top, with those that must come along; measured on Adult
_DENSE = 20_000_000  # numbers of the table of classes by sensitive values

Piece = tuple[IntArray, int, IntArray]  # distinct records, their node, their rows


class Rest:
    """Settled classes and the records that are left.

    Args:
        table: The encoded table.
        nodes: Its lattice.
        pieces: What is settled.
        left: Distinct records that are not, and their rows.
    """

    def __init__(
        self,
        table: Encoded,
        nodes: Lattice,
        pieces: Sequence[Piece],
        left: tuple[IntArray, IntArray],
    ) -> None:
        self._table = table
        self._thinned = nodes.thinned
        records: list[IntArray] = [np.zeros(0, np.int64)]
        rows: list[IntArray] = [np.zeros(0, np.int64)]
        owner: list[IntArray] = [np.zeros(0, np.int64)]
        member: list[IntArray] = [np.zeros(0, np.int64)]
        levels: list[IntArray] = [np.zeros((0, nodes.nodes.shape[1]), np.int64)]
        total = 0
        for one, node, held in pieces:
            found = classes(table.keys[:, one], held, nodes.masks[node])
            records.append(one[found.order])
            rows.append(found.counts)
            owner.append(found.owner + total)
            member.append(one[found.order[found.starts]])
            total += len(found.starts)
            levels.append(np.repeat(nodes.nodes[node : node + 1], len(found.starts), axis=0))
        self.record, self.rows = np.concatenate(records), np.concatenate(rows)
        self.owner, self.member = np.concatenate(owner), np.concatenate(member)
        self.levels = np.concatenate(levels).astype(np.int64)
        self.sizes = np.bincount(self.owner, weights=self.rows, minlength=total).astype(np.int64)
        self.left, self.left_rows = left

    def settle(self, k: int, models: Sequence[Model], limit: int) -> None:
        """Settle what is left, but for at most `limit` rows that are left out.

        Closeness is measured against the records that stay: with it, none are left out.
        """
        width = sum(one.size for one in self._table.sensitive)
        if not len(self.left) or not len(self.sizes) or len(self.sizes) * width > _DENSE:
            return
        columns = {one.name: one for one in self._table.sensitive}
        self._wanted = [(model, columns[model.column]) for model in models]
        self._counts: dict[str, FloatArray] = {}
        for name, one in columns.items():
            pair = self.owner * one.size + one.codes[self.record]
            counts = np.bincount(pair, weights=self.rows, minlength=len(self.sizes) * one.size)
            self._counts[name] = counts.astype(np.float64).reshape(len(self.sizes), one.size)
        whole = any(isinstance(model, Closeness) for model in models)
        self._attach(_TOP if whole else 1.0)
        if whole or int(self.left_rows.sum()) > limit:
            self._join(k)

    def _attach(self, worth: float) -> None:
        """Give records to classes, where that loses less than `worth` for each of their rows."""
        cell = np.stack(
            [
                column.loss[self.levels[:, at], column.leaf[self.member]]
                for at, column in enumerate(self._table.columns)
            ]
        ) if self._table.columns else np.zeros((0, len(self.sizes)))  # fmt: skip
        stays = np.ones(len(self.left), bool)
        given: list[tuple[int, int]] = []
        tried = max(1, _WORK // max(1, len(self.sizes)))
        for at in range(min(len(self.left), tried)):
            record, rows = int(self.left[at]), int(self.left_rows[at])
            new = np.empty_like(self.levels)
            raised = np.empty_like(cell)
            for place, column in enumerate(self._table.columns):
                codes = column.hierarchy.codes
                leaf = column.leaf[self.member]
                same = codes[:, leaf] == codes[:, column.leaf[record]][:, None]
                new[:, place] = np.maximum(self.levels[:, place], same.argmax(axis=0))
                raised[place] = column.loss[new[:, place], leaf]
            after = raised.sum(axis=0)
            cost = (self.sizes * (after - cell.sum(axis=0)) + rows * after) / max(1, len(cell))
            chosen = self._cheapest(record, rows, cost, worth)
            if chosen is None:
                continue
            stays[at] = False
            given.append((at, chosen))
            self.levels[chosen] = new[chosen]
            cell[:, chosen] = raised[:, chosen]
            self.sizes[chosen] += rows
            for one in self._table.sensitive:
                self._counts[one.name][chosen, one.codes[record]] += rows
        if given:
            places, owners = np.array(given, np.int64).T
            self.record = np.concatenate((self.record, self.left[places]))
            self.rows = np.concatenate((self.rows, self.left_rows[places]))
            self.owner = np.concatenate((self.owner, owners))
            self.left, self.left_rows = self.left[stays], self.left_rows[stays]

    def _cheapest(self, record: int, rows: int, cost: FloatArray, worth: float) -> int | None:
        """Return the class that takes the record for least and still holds."""
        fits = np.flatnonzero(cost < worth * rows)
        fits = fits[np.argsort(cost[fits])][:_TRIED]
        held = np.ones(len(fits), bool)
        for model, column in self._wanted:
            counts = self._counts[column.name][fits]
            counts[:, column.codes[record]] += rows
            held &= model.holds(counts, column.share)
        good = fits[held]
        return int(good[0]) if len(good) else None

    def _join(self, k: int) -> None:
        """Raise classes to the top until what is left there holds."""
        if not len(self.left):
            return
        present = {
            one.name: np.bincount(one.codes[self.left], weights=self.left_rows, minlength=one.size)[
                None, :
            ].astype(np.float64)
            for one in self._table.sensitive
        }
        lost = np.zeros(len(self.sizes))
        for at, column in enumerate(self._table.columns):
            lost += column.loss[self.levels[:, at], column.leaf[self.member]]
        cost = self.sizes * (1.0 - lost / max(1, len(self._table.columns))) + 1e-6
        size = int(self.left_rows.sum())
        open_ = np.ones(len(self.sizes), bool)
        while size < k or not all(
            model.holds(present[one.name], one.share)[0] for model, one in self._wanted
        ):
            choice = np.flatnonzero(open_)
            if not len(choice):
                return
            gain = np.minimum(max(0, k - size), self.sizes[choice]).astype(np.float64)
            for model, one in self._wanted:
                here = present[one.name]
                joined = here + self._counts[one.name][choice]
                gain += max(0.0, float(model.lacking(here, one.share)[0]))
                gain -= np.maximum(0.0, model.lacking(joined, one.share))
            best = choice[np.argmax(gain / cost[choice])]
            open_[best] = False
            size += int(self.sizes[best])
            for name, counts in self._counts.items():
                present[name] = present[name] + counts[best]
        top = [column.hierarchy.levels - 1 for column in self._table.columns]
        self.levels[~open_] = top
        self.levels = np.concatenate((self.levels, np.array([top], np.int64)))
        self.record = np.concatenate((self.record, self.left))
        self.rows = np.concatenate((self.rows, self.left_rows))
        self.owner = np.concatenate((self.owner, np.full(len(self.left), len(self.levels) - 1)))
        self.left, self.left_rows = self.left[:0], self.left_rows[:0]

    def recoding(self) -> Recoding:
        """Return what became of every record."""
        nodes, node = np.unique(self.levels, axis=0, return_inverse=True)
        made: npt.NDArray[np.int8] = nodes.astype(np.int8)
        return Recoding(
            record=np.concatenate((self.record, self.left)),
            node=np.concatenate(
                (node.reshape(-1)[self.owner], np.full(len(self.left), SUPPRESSED, np.int64))
            ),
            rows=np.concatenate((self.rows, self.left_rows)),
            nodes=made,
            thinned=self._thinned,
        )

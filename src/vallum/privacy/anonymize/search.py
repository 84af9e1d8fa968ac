"""Global recoding: the best full-domain generalisation within a suppression limit, proven best.

Nodes are tried by increasing loss without suppression, which no suppression can lower: the first
bound above the best loss found ends the search. Where protection is monotone (more general never
protects fewer records), a node that suppresses too much rules out all below it, and nodes are
climbed by doubling steps to find such ones. Sources: Kohlmayer et al. 2012 (Flash); El Emam et al.
2009 (OLA).
"""

import time
from collections.abc import Callable, Sequence

import numpy as np

from vallum.base import GateError
from vallum.privacy.anonymize.classes import Classes, classes, close_without_rest, protected
from vallum.privacy.anonymize.encode import Encoded, KeyArray
from vallum.privacy.anonymize.hierarchy import IntArray
from vallum.privacy.anonymize.lattice import Lattice, cell_loss, lattice
from vallum.privacy.anonymize.models import BoolArray, Model
from vallum.privacy.anonymize.presence import Presence
from vallum.privacy.anonymize.recoding import SUPPRESSED, Recoding

Progress = Callable[[float], None]


def silent(_: float) -> None:
    """Tell nobody how far it is."""


def best_global(
    table: Encoded,
    *,
    k: int,
    models: Sequence[Model],
    max_suppression: float,
    deadline: float = float("inf"),
    progress: Progress = silent,
    presence: Presence | None = None,
) -> Recoding:
    """Return the full-domain recoding that loses least.

    Args:
        table: Encoded table.
        k: Least records of a class.
        models: Further requirements.
        max_suppression: Share of rows that may be left out, 0 to 1.
        deadline: Of `time.monotonic`; past it the best so far is returned, not called optimal.
        progress: Told the share of the lattice that is decided.
        presence: Bounds on the share of a population that each class is.

    Raises:
        GateError: No node meets the requirements within the limit, or none was found in time.
    """
    limit = int(max_suppression * table.rows + 1e-9)
    if presence is not None and presence.bounds.low:
        limit = 0  # a class that is not shown would be below the lower bound
    found = _Search(table, lattice(table), k, models, limit, presence=presence)
    found.run(deadline, progress)
    if found.best < 0 and not found.optimal:
        raise GateError(
            "no generalisation was found in the time allowed",
            code="gate.anonymity",
            hint="allow more time, or use the method `mondrian`",
        )
    if found.best < 0:
        raise GateError(
            f"no generalisation reaches the requirements with at most {found.limit} of "
            f"{table.rows} records suppressed",
            code="gate.anonymity",
            hint="lower k, l or raise t or the suppression limit"
            + (", or widen the presence" if presence is not None else ""),
        )
    return found.recoding()


class _Search:
    def __init__(
        self,
        table: Encoded,
        nodes: Lattice,
        k: int,
        models: Sequence[Model],
        limit: int,
        *,
        presence: Presence | None,
    ) -> None:
        self.table = table
        self.nodes = nodes
        self.k = k
        self.models = models
        self.limit = limit
        self.presence = presence
        self.best = -1
        self.loss = float("inf")
        self.optimal = True
        self.open = np.ones(len(nodes.nodes), bool)
        self._all = np.arange(len(table.counts))
        self._columns = [np.ascontiguousarray(levels) for levels in nodes.nodes.T]
        self._packed = _packed(table) if not models else None

    def run(self, deadline: float, progress: Progress) -> None:
        # A class that joins one above the bound may go above it too; if none may be left out,
        # all classes keep to the bounds, and so do those that they join to.
        monotone = all(model.monotone for model in self.models) and (
            self.presence is None or self.limit == 0
        )
        bound = self.nodes.bound
        for at in range(len(bound)):
            if bound[at] >= self.loss:
                break
            if not self.open[at]:
                continue
            if time.monotonic() > deadline:
                self.optimal = False
                break
            progress(at / len(bound))
            step, last = 1, at
            while not self._try(last) and monotone:
                self.open &= ~self._below(last)
                above = self._climb(last, step)
                if above is None:
                    break
                step, last = step * 2, above
        progress(1.0)

    def _climb(self, at: int, steps: int) -> int | None:
        """Return a node `steps` above that is open and could still be the best."""
        node = self.nodes.nodes[at]
        end = int(np.searchsorted(self.nodes.bound, self.loss))
        above = self.open[:end].copy()
        for levels, level in zip(self._columns, node, strict=True):
            if level:
                above &= levels[:end] >= level
        found = np.flatnonzero(above)
        if not len(found):
            return None
        height = (self.nodes.nodes[found] - node).sum(axis=1)
        near = found[height <= steps]
        return int(near[-1]) if len(near) else int(found[np.argmin(height)])

    def _below(self, at: int) -> BoolArray:
        out = np.ones(len(self.open), bool)
        for levels, level in zip(self._columns, self.nodes.nodes[at], strict=True):
            out &= levels <= level
        return out

    def _try(self, at: int) -> bool:
        """Evaluate a node; return whether it is within the limit."""
        self.open[at] = False
        table = self.table
        if self._packed is not None:
            keys, bits = self._packed
            sizes = _sizes(keys, bits, int(self.nodes.masks[at][0]))
            suppressed = int(sizes[sizes < self.k].sum())
            if suppressed > self.limit:
                return False
        found, held, shown = self._held(at)
        suppressed = table.rows - int(found.sizes[held].sum())
        if suppressed > self.limit or suppressed == table.rows:
            return False
        if self.presence is not None and not self.presence.allows(suppressed, shown):
            return False
        if not close_without_rest(table, found, self._all, held, self.models):
            return False
        # One member stands for its class: labels and losses are the same for all.
        first = found.order[found.starts[held]]
        lost = cell_loss(table, first, self.nodes.nodes[at]) @ found.sizes[held]
        loss = float(lost + suppressed) / table.rows
        if loss < self.loss:
            self.best, self.loss = at, loss
        return True

    def _held(self, at: int) -> tuple[Classes, BoolArray, int]:
        """Return a node's classes, which are kept, and the people of the population in those."""
        table, mask = self.table, self.nodes.masks[at]
        found = classes(table.keys, table.counts, mask)
        held = protected(table, found, self._all, self.k, self.models)
        if self.presence is None:
            return found, held, 0
        sizes = self.presence.sizes(found, mask)
        held &= self.presence.holds(found, sizes)
        return found, held, int(sizes[held].sum())

    def recoding(self) -> Recoding:
        table = self.table
        found, held, _ = self._held(self.best)
        node = np.full(len(table.counts), SUPPRESSED, np.int64)
        node[found.order[held[found.owner]]] = 0
        return Recoding(
            record=self._all,
            node=node,
            rows=table.counts,
            nodes=self.nodes.nodes[self.best : self.best + 1],
            optimal=self.optimal and not self.nodes.thinned,
            thinned=self.nodes.thinned,
        )


def _packed(table: Encoded) -> tuple[KeyArray, int] | None:
    """Return keys with the counts in their low bits, if both fit a word: they sort alone."""
    if len(table.keys) > 1 or not len(table.counts):
        return None
    bits = int(table.counts.max()).bit_length()
    if int(table.keys[0].max()).bit_length() + bits > 64:  # noqa: PLR2004 - a word
        return None
    return (table.keys[0] << np.uint64(bits)) | table.counts.astype(np.uint64), bits


def _sizes(keys: KeyArray, bits: int, mask: int) -> IntArray:
    """Return the sizes of the classes under `mask`."""
    low = (1 << bits) - 1
    ordered = np.sort(keys & np.uint64((mask << bits) & (2**64 - 1) | low))
    above = ordered >> np.uint64(bits)
    starts = np.flatnonzero(np.concatenate((np.ones(1, bool), above[1:] != above[:-1])))
    sizes: IntArray = np.add.reduceat((ordered & np.uint64(low)).astype(np.int64), starts)
    return sizes

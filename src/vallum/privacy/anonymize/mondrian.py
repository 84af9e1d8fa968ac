"""Hierarchy-aware Mondrian: cut classes top-down, every class along its own best column.

All classes of a round are cut at once. Children that are protected leave; those that are not stay
together as they were, with the smallest protected child if they need it. Nothing is suppressed.
Source: LeFevre, DeWitt and Ramakrishnan 2006, with hierarchies in place of medians.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vallum.base import GateError
from vallum.privacy.anonymize.classes import classes, protected
from vallum.privacy.anonymize.encode import Coded, Encoded, FloatArray, KeyArray
from vallum.privacy.anonymize.hierarchy import IntArray
from vallum.privacy.anonymize.models import BoolArray, Model
from vallum.privacy.anonymize.recoding import Recoding
from vallum.privacy.anonymize.search import Progress, silent

_ALL = np.array([2**64 - 1], np.uint64)
_HALF = np.uint64(32)  # of a key: the class above, its child below


def mondrian(
    table: Encoded,
    *,
    k: int,
    models: Sequence[Model],
    deadline: float = float("inf"),
    progress: Progress = silent,
) -> Recoding:
    """Return a local recoding without suppression; arguments as `best_global`.

    Raises:
        GateError: Not even the whole table as one class meets the requirements.
    """
    records = np.arange(len(table.counts))
    whole = classes(np.zeros((1, len(records)), np.uint64), table.counts, _ALL)
    if not protected(table, whole, records, k, models).all():
        raise GateError(
            f"not even all {table.rows} records as one class meet the requirements",
            code="gate.anonymity",
            hint="lower k, l or raise t",
        )
    cuts = _Cuts(table, k, models)
    rounds = sum(column.hierarchy.levels - 1 for column in table.columns)
    for at in range(rounds):
        progress(at / rounds)
        if time.monotonic() > deadline or not cuts.cut():
            break
    progress(1.0)
    nodes, node = np.unique(cuts.levels, axis=0, return_inverse=True)
    return Recoding(
        record=records,
        node=node.reshape(-1)[cuts.owner],
        rows=table.counts,
        nodes=nodes.astype(np.int8),
    )


@dataclass(frozen=True)
class _Cut:
    """A column's cut of every class: what it gains, and which child each record goes to (or -1)."""

    gain: FloatArray
    child: IntArray


class _Cuts:
    def __init__(self, table: Encoded, k: int, models: Sequence[Model]) -> None:
        self.table = table
        self.k = k
        self.models = models
        self.owner = np.zeros(len(table.counts), np.int64)
        self.levels = np.array([[one.hierarchy.levels - 1 for one in table.columns]], np.int64)
        self.frozen = np.zeros((1, len(table.columns)), bool)

    def cut(self) -> bool:
        """Cut every class that can be; return whether there was one."""
        found = [self._column(at) for at in range(len(self.table.columns))]
        gains = np.stack([one.gain for one in found]) if found else np.zeros((0, 1))
        if not (gains > 0).any():
            return False
        best = gains.argmax(axis=0)
        worth = gains.max(axis=0) > 0
        column = best[self.owner]
        child = np.stack([one.child for one in found])[column, np.arange(len(self.owner))]
        moves = worth[self.owner] & (child >= 0)
        # A cut column is closed for what stays behind: its children there are too few.
        self.frozen[np.flatnonzero(worth), best[worth]] = True
        pair = self.owner[moves] * (2**32) + child[moves]
        made, index = np.unique(pair, return_inverse=True)
        parent = made // (2**32)
        levels = self.levels[parent]
        levels[np.arange(len(parent)), best[parent]] -= 1
        frozen = self.frozen[parent]
        frozen[np.arange(len(parent)), best[parent]] = False
        self.owner[moves] = len(self.levels) + index
        self.levels = np.concatenate((self.levels, levels))
        self.frozen = np.concatenate((self.frozen, frozen))
        return True

    def _column(self, at: int) -> _Cut:
        column = self.table.columns[at]
        size = len(self.levels)
        child = np.full(len(self.owner), -1, np.int64)
        can = (self.levels[:, at] > 0) & ~self.frozen[:, at]
        records = np.flatnonzero(can[self.owner])
        if not len(records):
            return _Cut(np.zeros(size), child)
        owner = self.owner[records]
        label = self._label(column, at, records, owner)
        keys = (owner.astype(np.uint64) << _HALF) | label.astype(np.uint64)
        counts = self.table.counts[records]
        found = classes(keys[None, :], counts, _ALL)
        held = protected(self.table, found, records, self.k, self.models)
        parent = owner[found.order[found.starts]]
        allowed = self._residual(
            records=records, owner=owner, group=found.owner, order=found.order, held=held,
            sizes=found.sizes, parent=parent,
        )  # fmt: skip
        keep = held & allowed[parent]
        level = self.levels[owner, at]
        leaf = column.leaf[records]
        saved = (column.loss[level, leaf] - column.loss[level - 1, leaf]) * counts
        moves = np.zeros(len(records), bool)
        moves[found.order] = keep[found.owner]
        gain = np.bincount(owner[moves], weights=saved[moves], minlength=size).astype(np.float64)
        child[records[moves]] = label[moves]
        return _Cut(gain, child)

    def _label(self, column: Coded, at: int, records: IntArray, owner: IntArray) -> IntArray:
        found: IntArray = column.hierarchy.codes[self.levels[owner, at] - 1, column.leaf[records]]
        return found

    def _residual(
        self,
        *,
        records: IntArray,
        owner: IntArray,
        group: IntArray,
        order: IntArray,
        held: BoolArray,
        sizes: IntArray,
        parent: IntArray,
    ) -> BoolArray:
        """Tell which classes can be cut; clear `held` of the children that must stay behind."""
        size = len(self.levels)
        good = np.ones(size, bool)
        for turn in range(2):
            behind = ~held[group]
            stay = order[behind]
            keys: KeyArray = owner[stay].astype(np.uint64)[None, :]
            rest = classes(keys, self.table.counts[records[stay]], _ALL)
            good = np.ones(size, bool)
            if len(stay):
                fine = protected(self.table, rest, records[stay], self.k, self.models)
                good[owner[stay][rest.order[rest.starts]]] = fine
            if turn or good.all():
                return good
            # The smallest protected child of each class that fails joins what stays behind.
            weak = np.flatnonzero(held & ~good[parent])
            weak = weak[np.lexsort((sizes[weak], parent[weak]))]
            _, first = np.unique(parent[weak], return_index=True)
            held[weak[first]] = False
        return good

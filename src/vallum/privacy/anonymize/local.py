"""Local recoding: every record is generalised as little as the others around it allow.

Nodes of the lattice are visited by increasing loss. At each, the records that are still open are
brought together; every class that is protected is settled there, the rest goes on. A class that
fails only because some sensitive values are too frequent in it is settled without the surplus,
whose records go on. What is left at the end joins classes that it suits, or is suppressed.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from vallum.base import GateError
from vallum.privacy.anonymize.classes import Classes, cells_of, classes, protected
from vallum.privacy.anonymize.encode import Encoded, KeyArray
from vallum.privacy.anonymize.hierarchy import IntArray
from vallum.privacy.anonymize.lattice import Lattice, lattice
from vallum.privacy.anonymize.models import BoolArray, Model
from vallum.privacy.anonymize.recoding import Recoding
from vallum.privacy.anonymize.rest import Rest
from vallum.privacy.anonymize.search import Progress, silent


def best_local(
    table: Encoded,
    *,
    k: int,
    models: Sequence[Model],
    max_suppression: float,
    deadline: float = float("inf"),
    progress: Progress = silent,
) -> Recoding:
    """Return a local recoding; arguments and errors as `best_global`."""
    nodes = lattice(table)
    work = _Work(table, nodes, k, models)
    work.visit(deadline, progress)
    limit = int(max_suppression * table.rows + 1e-9)
    rest = Rest(table, nodes, work.pieces, (work.records, work.counts))
    rest.settle(k, models, limit)
    made = rest.recoding()
    if made.suppressed > limit or made.suppressed == table.rows:
        raise GateError(
            f"the requirements leave {made.suppressed} of {table.rows} records unprotected, "
            f"more than the {limit} that may be suppressed",
            code="gate.anonymity",
            hint="lower k, l or raise t or the suppression limit",
        )
    return made


@dataclass
class _Work:
    table: Encoded
    nodes: Lattice
    k: int
    models: Sequence[Model]
    pieces: list[tuple[IntArray, int, IntArray]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.records = np.arange(len(self.table.counts))
        self.keys: KeyArray = self.table.keys
        self.counts: IntArray = self.table.counts
        self.shrinking = len({model.column for model in self.models}) == 1 and any(
            not model.monotone for model in self.models
        )

    def visit(self, deadline: float, progress: Progress) -> None:
        """Settle what each node protects, from the least general to the most."""
        last = len(self.nodes.nodes) - 1
        begin = time.monotonic()
        at, step = 0, 1
        while at <= last and len(self.records):
            self._settle(at)
            progress(at / (last + 1))
            if at == last:
                break
            if at % 64 == 0 and deadline < float("inf"):
                # Too slow for what is left of the time: look at fewer of the nodes.
                spent, left = time.monotonic() - begin, deadline - time.monotonic()
                needed = spent / (at / step + 1) * (last - at)
                step = max(step, int(needed / max(left, 1e-3)) + 1)
            at = min(at + step, last)
        progress(1.0)

    def _settle(self, at: int) -> None:
        found = classes(self.keys, self.counts, self.nodes.masks[at])
        if not (found.sizes >= self.k).any():
            return
        held = protected(self.table, found, self.records, self.k, self.models)
        taken = np.where(held[found.owner], found.counts, 0)
        if self.shrinking:
            self._shrink(found, held, taken)
        if not taken.any():
            return
        some = taken > 0
        self.pieces.append((self.records[found.order[some]], at, taken[some]))
        left = found.counts - taken
        stay = found.order[left > 0]
        self.records, self.keys = self.records[stay], self.keys[:, stay]
        self.counts = left[left > 0]

    def _shrink(self, found: Classes, held: BoolArray, taken: IntArray) -> None:
        """Take from classes that fail what holds when their surplus is left out."""
        names = [one.name for one in self.table.sensitive]
        column = names.index(self.models[0].column)
        chosen = np.flatnonzero(~held & (found.sizes >= self.k))
        if not len(chosen):
            return
        cells = cells_of(self.table, found, self.records, chosen, column)
        possible = np.ones(len(chosen), bool)
        for model in self.models:
            possible &= model.possible(cells)
        sensitive = self.table.sensitive[column]
        for part, full in cells.dense(np.flatnonzero(possible)):
            kept = full
            for model in self.models:
                kept = model.shrunk(kept, sensitive.share)
            good = kept.sum(axis=1) >= self.k
            for model in self.models:
                good &= model.holds(kept, sensitive.share)
            if good.any():
                self._take(found, chosen[part[good]], kept[good], column, taken)

    def _take(
        self, found: Classes, chosen: IntArray, kept: np.ndarray, column: int, taken: IntArray
    ) -> None:
        """Mark (classes, values) `kept` rows of the `chosen` classes as taken, first come first."""
        place = np.full(len(found.starts), -1, np.int64)
        place[chosen] = np.arange(len(chosen))
        owner = place[found.owner]
        inside = np.flatnonzero(owner >= 0)
        sensitive = self.table.sensitive[column]
        pair = owner[inside] * sensitive.size + (sensitive.codes[self.records[found.order[inside]]])
        order = np.argsort(pair, kind="stable")
        inside, pair = inside[order], pair[order]
        counts = found.counts[inside]
        before = np.cumsum(counts) - counts
        first = np.searchsorted(pair, pair)
        quota = kept.reshape(-1)[pair].astype(np.int64)
        taken[inside] = np.clip(quota - (before - before[first]), 0, counts)

"""Drift of one deployment's inputs, in constant memory, counted in blocks.

Rows are kept until a block is full: counting 256 at once costs a thirtieth of counting them one by
one. A report is over the last whole window and what has come since.
"""

import numpy as np
from numpy.typing import NDArray

from vallum.base import InputError
from vallum.monitor import BinState, DriftCounter, DriftReport

WINDOW = 10_000  # rows, after which an older window is forgotten
_BLOCK = 256
_MATRIX = 2  # dimensions


class Drifting:
    """Counts the inputs of one deployment. For one event loop."""

    def __init__(self, bins: BinState) -> None:
        self._bins = bins
        self._width = len(bins.names)
        self._block = np.zeros((_BLOCK, self._width), dtype=np.float32)
        self._held = 0
        self._now = DriftCounter(bins)
        self._before: DriftCounter | None = None
        self._report: DriftReport | None = None

    def add(self, x: NDArray[np.float32]) -> None:
        """Count rows, shape (n, d); of another width, none."""
        if x.ndim != _MATRIX or x.shape[1] != self._width:
            return
        if len(x) == 1:  # most requests
            self._block[self._held] = x[0]
            self._held += 1
            if self._held == _BLOCK:
                self._count(self._block)
                self._held = 0
            return
        for start in range(0, len(x), _BLOCK):
            self._count(x[start : start + _BLOCK])

    def report(self) -> DriftReport | None:
        """Return how the inputs differ from the reference; None while there were none."""
        if self._held:
            self._count(self._block[: self._held])
            self._held = 0
        if self._report is None:
            counter = self._now if self._before is None else self._now.joined(self._before)
            try:
                self._report = counter.report()
            except InputError:  # nothing was counted yet
                return None
        return self._report

    def _count(self, rows: NDArray[np.float32]) -> None:
        if self._now.rows >= WINDOW:
            self._before, self._now = self._now, DriftCounter(self._bins)
        self._now.add(rows)
        self._report = None

"""Recognise planted records, exactly, in any number of rows and constant time for each.

A canary is a record that nobody has a reason to ask about: planted in a copy of a data set, or in
training data, it tells that the copy leaked when somebody asks for it.

A row is found by a keyed sum (multiply-shift hashing over its 32-bit words), and then compared.

Source: Dietzfelbinger, Hagerup, Katajainen, Penttonen, "A reliable randomized algorithm for the
closest-pair problem", J. Algorithms 1997 (multiply-shift).
"""

import secrets

import numpy as np
from numpy.typing import NDArray

from vallum.base import InputError

MAX_CANARIES = 10_000
_MATRIX = 2  # dimensions


class Canaries:
    """Planted records of one width. Keeps nothing of what it sees; safe for threads."""

    def __init__(self, rows: NDArray[np.floating]) -> None:
        """Take the records.

        Args:
            rows: Shape (n, d), 1 to 10,000 of them, finite.

        Raises:
            InputError: They are not.
        """
        with np.errstate(over="ignore"):
            known = np.ascontiguousarray(rows, dtype=np.float32) + np.float32(0)  # no -0
        if known.ndim != _MATRIX or not 1 <= len(known) <= MAX_CANARIES or known.shape[1] < 1:
            raise InputError(f"canaries are 1 to {MAX_CANARIES} records", code="canary.records")
        if not np.isfinite(known).all():
            raise InputError("a canary is missing a value", code="canary.records")
        self.width = known.shape[1]
        # Nobody can choose rows that collide: the factors are nobody's to know.
        self._factors = np.frombuffer(secrets.token_bytes(8 * self.width), dtype=np.uint64) | 1
        sums = self._sums(known)
        self._order = np.argsort(sums, kind="stable")
        self._known, self._hashes = known[self._order], sums[self._order]

    def find(self, x: NDArray[np.float32]) -> NDArray[np.intp]:
        """Return the numbers of the canaries among rows, (n, d), each once, ascending."""
        if x.ndim != _MATRIX or x.shape[1] != self.width:
            return np.zeros(0, dtype=np.intp)
        x = x + np.float32(0)
        places = np.searchsorted(self._hashes, self._sums(x))
        places[places == len(self._hashes)] = 0
        hit = self._hashes[places] == self._sums(x)
        if not hit.any():
            return np.zeros(0, dtype=np.intp)
        same = (self._known[places[hit]] == x[hit]).all(axis=1)
        return np.unique(self._order[places[hit][same]])

    def _sums(self, x: NDArray[np.float32]) -> NDArray[np.uint64]:
        words = np.ascontiguousarray(x).view(np.uint32).astype(np.uint64)
        out: NDArray[np.uint64] = (words * self._factors).sum(axis=1, dtype=np.uint64)
        return out >> np.uint64(16)

"""Batches as the accountant assumes them: each record is drawn by itself, at every step.

A shuffled pass over the data, cut into batches of one size, is not that, and costs more privacy
than accountants of sampled mechanisms charge (Chua et al. 2024). Here batches vary in size, may be
empty, and a record may wait for long or come twice in a row.
"""

import numpy as np
from numpy.typing import NDArray

from vallum.crypto.keystream import random_bytes

_WORD = 8
_RANGE = 2**64


def poisson_sample(records: int, rate: float) -> NDArray[np.intp]:
    """Return the places of the records drawn, each by itself with a chance of at most `rate`.

    The chance is exactly floor(rate * 2^64) / 2^64. Randomness is a cipher's.

    Args:
        records: How many there are, >= 1.
        rate: 0 < rate <= 1.
    """
    if rate >= 1:
        return np.arange(records)
    words = np.frombuffer(random_bytes(records * _WORD), dtype=np.uint64)
    return np.flatnonzero(words < np.uint64(int(rate * _RANGE)))

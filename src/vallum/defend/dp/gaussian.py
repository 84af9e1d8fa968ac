"""Gaussian noise from a cipher in numpy, and a sum that tells nothing by its last digits.

What `vallum.defend.dp.noise` says of torch's noise holds of this one: the law, the grid, and what
is not promised. Torch's stands beside it because it is five times as fast.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vallum.crypto.keystream import random_bytes

Floats = NDArray[np.float64]

GRID_BITS = 24
"""The grid is the greatest power of two not above 2^-24 of the noise's standard deviation."""
_SCALE = 2.0**-63
_WORD = 8
_BLOCK = 2**15  # that many stay in the processor's cache


def normal_numbers(count: int) -> Floats:
    """Return `count` standard normal numbers from a keystream."""
    out = np.empty(count)
    for first in range(0, count, _BLOCK):
        part = out[first : first + _BLOCK]
        half = (len(part) + 1) // 2
        words = np.frombuffer(random_bytes(2 * half * _WORD), dtype=np.uint64) >> np.uint64(1)
        # 63 bits each: a radius from (0, 1], an angle from [0, 2 pi).
        radius = np.sqrt(np.maximum(-2 * np.log((words[:half] + 1.0) * _SCALE), 0))
        angle = words[half:] * (2 * math.pi * _SCALE)
        part[:half] = radius * np.cos(angle)
        rest = len(part) - half
        part[half:] = radius[:rest] * np.sin(angle[:rest])
    return out


def noisy_sum(total: NDArray[Any], deviation: float) -> Floats:
    """Return the sum with normal noise, rounded to the grid, in double precision.

    Args:
        total: The sum to be released, any shape.
        deviation: Standard deviation of the noise, > 0.
    """
    grid = 2.0 ** (math.floor(math.log2(deviation)) - GRID_BITS)
    noise = normal_numbers(total.size).reshape(total.shape) * deviation
    rounded: Floats = np.round((total + noise) / grid) * grid
    return rounded

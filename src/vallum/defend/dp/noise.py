"""Gaussian noise from a cipher, and a sum that tells nothing by its last digits.

Every number comes from 64 bits of a keystream whose key the kernel draws anew each time. Sum and
noise are added in double precision and rounded to a common grid far finer than the noise: without
that, the spacing of floating-point numbers would tell which sums a result can come from.

What is not promised: Box and Muller's transform in double precision is a normal distribution
only up to rounding (about 1e-16 of its value, cut at 9.3 standard deviations), not an exact
discrete one. The decision record of this package says what that leaves open.

Sources: Box and Muller 1958; Mironov 2012 (the attack on last digits).
"""

import math

import torch

from vallum.crypto.keystream import random_bytes
from vallum.defend.dp.gaussian import GRID_BITS

_SCALE = 2.0**-63
_WORD = 8
BLOCK = 2**15
"""That many numbers stay in the processor's cache."""


def normal(count: int) -> torch.Tensor:
    """Return `count` standard normal numbers, float64, on the CPU."""
    out = torch.empty(count, dtype=torch.float64)
    for first in range(0, count, BLOCK):
        part = out[first : first + BLOCK]
        half = (len(part) + 1) // 2
        words = torch.frombuffer(random_bytes(2 * half * _WORD), dtype=torch.int64)
        # 63 bits each: a radius from (0, 1], an angle from [0, 2 pi).
        words = words.bitwise_and_(0x7FFFFFFFFFFFFFFF).double()
        radius = words[:half].add_(1.0).mul_(_SCALE).log_().mul_(-2.0).clamp_(min=0.0).sqrt_()
        angle = words[half:].mul_(2 * math.pi * _SCALE)
        torch.mul(angle.cos(), radius, out=part[:half])
        torch.mul(angle.sin_()[: len(part) - half], radius[: len(part) - half], out=part[half:])
    return out


def add_noise(total: torch.Tensor, deviation: float) -> torch.Tensor:
    """Return `total` with normal noise, rounded to the grid, in double precision.

    Args:
        total: The sum to be released, float64, any shape; it is overwritten.
        deviation: Standard deviation of the noise, > 0.
    """
    grid = 2.0 ** (math.floor(math.log2(deviation)) - GRID_BITS)
    noise = normal(total.numel()).view(total.shape).to(total.device)
    return total.add_(noise, alpha=deviation).mul_(1 / grid).round_().mul_(grid)

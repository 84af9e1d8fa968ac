"""How much an answer tells, in bits: what budgets against model extraction are charged.

The charge of a row is the length of its word in a prefix code that is fixed before the row is
asked about: its number of outputs, how they are shaped and to how many decimals they are rounded.
By the source coding theorem no caller learns more from an answer, on average, than it is charged:
the mean of the charge is at least the answer's entropy, which bounds what it tells about the model
(data processing inequality). Rounded probabilities are charged by the points of the grid, labels
by the classes, and a number that lies on no bounded grid by Elias' gamma code of its digits.

It is an upper bound on what leaves, not an estimate of what is new: the same question again is
charged again, and noise is not taken off.

Sources: Shannon, "A mathematical theory of communication", 1948, section 9; Kraft 1949 and McMillan
1956 (code lengths); Elias, "Universal codeword sets and representations of the integers", 1975.
That the information of answers, not their number, is to be bounded: Tramèr and others, "Stealing
machine learning models via prediction APIs", USENIX Security 2016; Dziedzic and others, "Increasing
the cost of model extraction with calibrated proof of work", ICLR 2022 (cost by the information
that a caller has got).
"""

import math
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vallum.guard.session import Arrays
from vallum.guard.shaping import labels_of

DEGRADE_AT: Final = (0.5, 0.8)
"""Shares of a budget from which answers are rounded, and then labels alone."""
COARSE_DECIMALS: Final = 1
_MATRIX: Final = 2  # dimensions


class Detail(IntEnum):
    """How much of an answer leaves."""

    WHOLE = 0  # as the deployment shapes it
    ROUNDED = 1  # to `COARSE_DECIMALS`
    LABELS = 2


def detail_at(share: float) -> Detail:
    """Return how much is told to whom spent that share of a budget."""
    return Detail(sum(share >= one for one in DEGRADE_AT))


def in_detail(outputs: Arrays, detail: Detail, decimals: int | None) -> tuple[Arrays, int | None]:
    """Return what leaves, and to how many decimals it is rounded: never more than before."""
    if detail is Detail.LABELS:
        return [(name, labels_of(value)) for name, value in outputs], 0
    if detail is Detail.ROUNDED:
        return outputs, min(COARSE_DECIMALS, COARSE_DECIMALS if decimals is None else decimals)
    return outputs, decimals


def answer_bits(
    outputs: Arrays, *, decimals: int | None, labels_only: bool = False, top_k: int = 0
) -> float:
    """Return the bits that an answer is charged, all rows together.

    Args:
        outputs: Names and arrays, (rows,) or (rows, columns): what leaves, but for rounding.
        decimals: That floats are rounded to; None: they are told as they are.
        labels_only: Of matrices of scores, each row is a one among zeros.
        top_k: Of matrices of scores, so many are told and the others are zero; 0: all.
    """
    classes = max((_width(value) for _, value in outputs if value.dtype.kind == "f"), default=1)
    total = 0.0
    for _, value in outputs:
        rows, width = len(value), _width(value)
        if value.dtype.kind == "b":
            total += rows * width
        elif value.dtype.kind in "iu":
            total += _integers(value, classes if width == 1 else 1)
        elif value.dtype.kind != "f":
            texts = (str(one).encode() for one in value.ravel().tolist())
            total += sum(8.0 * (len(one) + 1) for one in texts)  # a zero byte ends each
        elif labels_only and value.ndim == _MATRIX and width > 1:
            total += rows * math.log2(width)
        elif labels_only:  # whole numbers
            total += _floats(value, 0, value.dtype.itemsize)
        elif value.ndim == _MATRIX and 0 < top_k < width:
            total += rows * math.log2(math.comb(width, top_k))
            places = np.argsort(np.abs(value), axis=1)[:, -top_k:]
            told = np.take_along_axis(value, places, axis=1)
            total += _floats(told, decimals, value.dtype.itemsize)
        else:
            total += _floats(value, decimals, value.dtype.itemsize)
    return total


def _width(value: NDArray[np.generic]) -> int:
    return math.prod(value.shape[1:])


def _floats(value: NDArray[np.generic], decimals: int | None, itemsize: int) -> float:
    """Charge rounded probabilities by the points of their grid, other numbers by their digits."""
    whole = 8.0 * itemsize
    if decimals is None:
        return whole * value.size
    points = 10.0**decimals + 1
    inside = math.log2(points + 1)  # one more says that a number lies elsewhere
    if inside >= whole:
        return whole * value.size
    steps = np.rint(np.asarray(value, dtype=np.float64) * 10.0**decimals)
    outside = np.abs(steps[(steps < 0) | (steps >= points)])
    return inside * value.size + float(np.sum(_gamma(2 * outside + 1)))


def _integers(value: NDArray[np.generic], classes: int) -> float:
    """Charge integers: by the classes where they are labels, others by their digits."""
    wide = np.asarray(value, dtype=np.float64).ravel()
    if classes < 2:  # noqa: PLR2004 - nobody knows how many labels there are
        return float(np.sum(_gamma(2 * np.abs(wide) + 1)))
    outside = np.abs(wide[(wide < 0) | (wide >= classes)])
    return math.log2(classes + 1) * wide.size + float(np.sum(_gamma(2 * outside + 1)))


def _gamma(number: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the lengths of Elias' gamma code of numbers from 1 on; here 2 |n| + sign + 1."""
    out: NDArray[np.float64] = 2 * np.floor(np.log2(np.maximum(number, 1.0) + 1)) + 1
    return out

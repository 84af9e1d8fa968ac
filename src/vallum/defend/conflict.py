"""Labels that their own rows contradict: kernel ridge, every row judged without itself.

The classifier must not learn the poison that it is to find. It begins with rows near the median
of their class, and takes others in as far as the rows it trusts agree with their labels. A row
that it learned from is judged by the closed form of leaving it out.

Sources: Northcutt, Jiang, Chuang 2021 (confident learning) for judging labels out of sample;
Rifkin, Lippert 2007 for the closed form.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vallum.defend.features import Floats, distances

Codes = NDArray[np.intp]
Rows = NDArray[np.bool_]
MAX_REFERENCE = 1_500
"""Rows learned from; the rest is only judged, so that a million rows take minutes."""
_RIDGE = 0.05
_NEAREST = 5
_WIDTH = 6.0
"""Squared width of the kernel, in squared distances to the fifth neighbour."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What the trusted rows say of every row.

    Attributes:
        scores: Per class (n, c), about 1 for the right one and 0 for others.
        trusted: Rows that agree with their label (n,).
    """

    scores: Floats
    trusted: Rows


def judge(
    z: Floats,
    y: Codes,
    classes: int,
    *,
    excluded: Rows,
    rng: np.random.Generator,
    most: int = MAX_REFERENCE,
    rounds: int = 4,
    wary: bool = True,
) -> Judged:
    """Judge every row by the trusted ones; rows in `excluded` are never trusted.

    Args:
        z: Features (n, k).
        y: Class codes (n,).
        classes: Their number.
        excluded: Rows not to learn from (n,).
        rng: Draws the reference where there are more rows than `most`.
        most: Rows learned from.
        rounds: How often trust is decided anew.
        wary: Begin with rows near the middle of their class; all are trusted otherwise.
    """
    usable = ~excluded
    centres = np.stack(
        [np.median(z[chosen], axis=0) if (chosen := usable & (y == one)).any() else np.median(z, 0)
         for one in range(classes)]
    )  # fmt: skip
    trusted = usable & (margins(-distances(z, centres), y) <= 0) if wary else usable
    reference = _sample(y, usable, classes, rng, most)
    squares = distances(z, z[reference])
    kernel = np.exp(-squares / (2.0 * _WIDTH * _scale(squares, reference)))
    scores = np.zeros((len(z), classes))
    for _ in range(rounds):
        kept = trusted[reference]
        if len(np.unique(y[reference[kept]])) < 2:  # noqa: PLR2004 - nothing to tell apart
            break
        scores = _ridge(kernel[:, kept], reference[kept], y, classes)
        now = usable & (margins(scores, y) <= 0)
        if (now == trusted).all():
            break
        trusted = now
    return Judged(scores, trusted)


def margins(scores: Floats, y: Codes) -> Floats:
    """Return how far the best other class beats the row's own (n,); above 0 is a conflict."""
    rows = np.arange(len(y))
    own = scores[rows, y]
    others = scores.copy()
    others[rows, y] = -np.inf
    beaten: Floats = others.max(axis=1) - own
    return beaten


def _ridge(kernel: Floats, rows: Codes, y: Codes, classes: int) -> Floats:
    inverse = np.linalg.inv(kernel[rows] + _RIDGE * np.eye(len(rows)))
    goal = np.eye(classes)[y[rows]] - 1.0 / classes
    weights = inverse @ goal
    scores = kernel @ weights
    scores[rows] = goal - weights / np.diag(inverse)[:, None]
    return scores + 1.0 / classes


def _scale(squares: Floats, reference: Codes) -> float:
    inner = squares[reference]
    place = min(_NEAREST, inner.shape[1] - 1)
    found = np.partition(inner, place, axis=1)[:, place]
    middle = float(np.median(found[found > 0])) if (found > 0).any() else 1.0
    return max(middle, 1e-12)


def _sample(y: Codes, usable: Rows, classes: int, rng: np.random.Generator, most: int) -> Codes:
    rows = np.flatnonzero(usable)
    if len(rows) <= most:
        return rows
    kept: list[Codes] = []
    for one in range(classes):  # in proportion, or rare classes would seem likelier than they are
        own = rng.permutation(rows[y[rows] == one])
        kept.append(own[: max(round(most * len(own) / len(rows)), _NEAREST)])
    return np.sort(np.concatenate(kept))

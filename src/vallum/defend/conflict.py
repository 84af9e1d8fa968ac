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
_LEAST = 1e-3
_BLOCK = 256
_COMPARED = 500
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
    begin: Rows | None = None,
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
        begin: Rows trusted at first (n,); those near the middle of their class if not given.
    """
    usable = ~excluded
    trusted = usable & (_near_middles(z, y, classes, usable) if begin is None else begin)
    reference = _sample(y, usable, classes, rng, most)
    kernel = _kernel(z, reference)
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


def judge_by(
    z: Floats,
    y: Codes,
    classes: int,
    *,
    excluded: Rows,
    rng: np.random.Generator,
    trust: Floats,
    most: int = MAX_REFERENCE,
) -> Floats:
    """Return scores (n, c) by all rows that are not excluded, each as far as `trust` (n,) goes."""
    reference = _sample(y, ~excluded, classes, rng, most)
    return _ridge(_kernel(z, reference), reference, y, classes, trust[reference])


def beyond_doubt(scores: Floats, y: Codes, source: int, target: int) -> Rows:
    """Return rows to begin with where rows of `source` came to be called `target` (n,).

    Flipped rows that lie together confirm one another: half of the rows around each of them have
    its label. Of `target` only the surer half is therefore trusted, of `source` every row that no
    third class claims, since flips to `target` took nothing true from what was left of it.
    """
    best = scores.argmax(axis=1)
    agreed: Rows = margins(scores, y) <= 0
    over = scores[:, target] - scores[:, source]
    given = (y == target) & agreed
    if given.any():
        agreed &= (y != target) | (over >= np.median(over[given]))
    begin: Rows = agreed | ((y == source) & (best == target))
    return begin


def told_apart(z: Floats, rows: Rows, others: Rows, rng: np.random.Generator) -> float:
    """Return the probability that one of `rows` seems more one of them than one of `others` does.

    Every row is judged without itself; half means that nothing tells them apart.
    """
    chosen = np.concatenate([
        own if len(own := np.flatnonzero(one)) <= _COMPARED else rng.permutation(own)[:_COMPARED]
        for one in (rows, others)
    ])  # fmt: skip
    kinds = rows[chosen].astype(np.intp)
    places = np.arange(len(chosen))
    seems = _ridge(_kernel(z[chosen], places), places, kinds, 2)[:, 1]
    ranks = np.empty(len(chosen))
    ranks[np.argsort(seems, kind="stable")] = places
    count = int(kinds.sum())
    above = float(ranks[kinds == 1].sum()) - count * (count - 1) / 2
    return above / (count * (len(chosen) - count))


def lead(scores: Floats) -> Floats:
    """Return how far the best class is before the next (n,)."""
    ordered = np.partition(scores, -2, axis=1)
    found: Floats = ordered[:, -1] - ordered[:, -2]
    return found


def margins(scores: Floats, y: Codes) -> Floats:
    """Return how far the best other class beats the row's own (n,); above 0 is a conflict."""
    rows = np.arange(len(y))
    own = scores[rows, y]
    others = scores.copy()
    others[rows, y] = -np.inf
    beaten: Floats = others.max(axis=1) - own
    return beaten


def _near_middles(z: Floats, y: Codes, classes: int, usable: Rows) -> Rows:
    centres = np.stack(
        [np.median(z[chosen], axis=0) if (chosen := usable & (y == one)).any() else np.median(z, 0)
         for one in range(classes)]
    )  # fmt: skip
    near: Rows = margins(-distances(z, centres), y) <= 0
    return near


def _kernel(z: Floats, reference: Codes) -> Floats:
    squares = distances(z, z[reference])
    kernel: Floats = np.exp(-squares / (2.0 * _WIDTH * _scale(squares, reference)))
    return kernel


def _ridge(
    kernel: Floats, rows: Codes, y: Codes, classes: int, trust: Floats | None = None
) -> Floats:
    weight = np.ones(len(rows)) if trust is None else np.maximum(trust, _LEAST)
    # Of the inverse only its product and its diagonal are needed: half of its factor's work.
    lower = np.linalg.cholesky(kernel[rows] + _RIDGE * np.diag(1.0 / weight))
    factor = _lower_inverse(np.asarray(lower, dtype=np.float64))
    goal = np.eye(classes)[y[rows]] - 1.0 / classes
    weights = factor.T @ (factor @ goal)
    scores = kernel @ weights
    scores[rows] = goal - weights / (factor * factor).sum(axis=0)[:, None]
    return scores + 1.0 / classes


def _lower_inverse(lower: Floats) -> Floats:
    whole: Floats = np.zeros_like(lower)
    if len(lower) <= _BLOCK:
        whole[:] = np.linalg.inv(lower)
        return whole
    half = len(lower) // 2
    first, last = _lower_inverse(lower[:half, :half]), _lower_inverse(lower[half:, half:])
    whole[:half, :half], whole[half:, half:] = first, last
    whole[half:, :half] = -last @ (lower[half:, :half] @ first)
    return whole


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

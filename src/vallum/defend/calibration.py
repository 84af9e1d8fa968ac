"""What a conflict means: the share of wrong labels in the data, and a false-alarm rate per row.

The scores of a classifier become probabilities by one slope, fitted together with a share of rows
whose label is drawn at random. Labels redrawn from those probabilities then tell how large a
conflict becomes where nothing is wrong.

Source: temperature scaling, Guo et al. 2017; the contaminated likelihood, Natarajan et al. 2013.
"""

from dataclasses import dataclass

import numpy as np

from vallum.defend.conflict import Codes, Rows, lead, margins
from vallum.defend.features import Floats, softmax

TOLERATED = 0.015
"""Share of random labels that data from the world has anyway; more than that is suspicious."""
EVIDENCE = 2.5
"""Log-likelihood beyond the tolerated share: a false alarm in 80 where the fit holds."""
_SLOPES = np.geomspace(0.1, 100.0, 31)
_ALIKE = 1.0
_COUNTED = 4
_DEEP = 0.75
_READABLE = 0.35
"""Beyond, labels do not depend on the data enough to tell which of them are wrong."""
_EXPLAINED = 0.5
"""Part of the conflicts below which drawn labels do not account for them: classes overlap."""
_UNSURE = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7)
"""Shares of rows that are half as sure."""
_SHARES = np.concatenate([[0.0], np.geomspace(0.0005, 0.5, 40)])


@dataclass(frozen=True, slots=True)
class Conflicts:
    """Labels weighed.

    Attributes:
        wrong: Probability that the row's label is wrong (n,).
        p: Probability of so strong a conflict where nothing is wrong (n,).
        instead: The class that is likeliest (n,).
        share: Estimated share of random labels.
        evidence: Log-likelihood of that share beyond the tolerated one.
    """

    wrong: Floats
    p: Floats
    instead: Codes
    share: float
    evidence: float


def weigh(scores: Floats, y: Codes, rows: Rows, *, least: float = 0.0) -> Conflicts:
    """Weigh every label against the scores (n, c).

    Args:
        scores: Of every class, about 1 for the right one (n, c).
        y: Class codes (n,).
        rows: Those that are fitted (n,).
        least: A share of random labels that is known otherwise; it is evidence by itself.
    """
    classes = scores.shape[1]
    near, codes = scores[rows], y[rows]
    best = np.empty((len(_SLOPES), len(_SHARES)))
    for place, slope in enumerate(_SLOPES):
        own = softmax(slope * near)[np.arange(len(codes)), codes]
        mixed = (1 - _SHARES)[:, None] * own[None] + _SHARES[:, None] / classes
        best[place] = np.log(np.maximum(mixed, 1e-300)).sum(axis=1)
    if least > 0:
        best[:, min(least, _SHARES[-1]) > _SHARES] = -np.inf
    slope, share = (int(one) for one in np.unravel_index(int(best.argmax()), best.shape))
    few = _SHARES <= TOLERATED
    evidence = np.inf if least > TOLERATED else float(best.max() - best[:, few].max())
    conflict = margins(near, codes)
    explained = float(_SHARES[share]) * (1 - 1 / classes)
    if least <= TOLERATED and explained < _EXPLAINED * float(np.mean(conflict > 0)):
        evidence = min(evidence, float(best.max()) - _doubted(near, codes))
    parted = _parted(conflict)
    if parted > 0:
        # Where all rows are equally sure, doubt about every row explains the same as wrong labels
        # in some. Two heaps with nothing between them are wrong labels.
        alike = best >= best.max() - _ALIKE
        share = int(np.nonzero(alike.any(axis=0))[0][-1])
        slope = int(best[:, share].argmax())
        evidence = max(evidence, parted)
    if not TOLERATED < _SHARES[share] < _READABLE:
        evidence = 0.0
    evidence = min(evidence, _deep(near, codes))
    found = softmax(_SLOPES[slope] * scores)
    own = found[np.arange(len(y)), y]
    rate = max(float(_SHARES[share]), 0.01)
    return Conflicts(
        wrong=_wrong(found, y, rows, rate),
        p=_tail(found[rows], own),
        instead=found.argmax(axis=1),
        share=float(_SHARES[share]),
        evidence=evidence,
    )


def _doubted(scores: Floats, y: Codes) -> float:
    """Return the log-likelihood of the labels by two slopes and the tolerated share.

    One slope takes classes for equally distinct everywhere. Where they lie in one another in some
    places and not in others, one that fits the rest calls the conflicts of those places errors.
    """
    rows, classes = np.arange(len(y)), scores.shape[1]
    likelihood = -np.inf
    for slope in _SLOPES:
        sure = softmax(slope * scores)[rows, y]
        unsure = softmax(0.5 * slope * scores)[rows, y]
        own = sure + np.array(_UNSURE)[:, None] * (unsure - sure)
        for share in (0.0, TOLERATED):
            mixed = np.maximum((1 - share) * own + share / classes, 1e-300)
            likelihood = max(likelihood, float(np.log(mixed).sum(axis=1).max()))
    return likelihood


def _wrong(found: Floats, y: Codes, rows: Rows, rate: float) -> Floats:
    """Return the probability that each label is wrong, given how often each kind of error is.

    Labels that were changed on purpose go from some classes to some others; how often each does
    is counted by the probabilities themselves. As far as counts differ by no more than chance,
    they are drawn towards the same rate for all (a gamma distribution fitted by moments).
    """
    classes = found.shape[1]
    own = found[np.arange(len(y)), y]
    labels = np.eye(classes)[y]
    others = ~np.eye(classes, dtype=np.bool_)
    of_class = found[rows].sum(axis=0)
    often = np.ones((classes, classes))  # of a label (row) that should be another (column)
    for _ in range(_COUNTED):
        chances = rate / classes * often[y] * found
        chances /= ((1 - rate) * own + chances.sum(axis=1))[:, None]
        counts = (labels[rows].T @ chances[rows])[others]
        usual = np.broadcast_to(of_class, (classes, classes))[others]
        usual = usual * counts.sum() / max(float(usual.sum()), 1e-12)
        excess = float(((counts - usual) ** 2 - usual).sum())
        if excess <= 0:
            break
        weight = float((usual**2).sum()) / excess
        often[others] = (counts + weight) / (usual + weight)
    chances = rate / classes * often[y] * found
    wrong: Floats = chances.sum(axis=1) / ((1 - rate) * own + chances.sum(axis=1))
    return wrong


def _parted(conflict: Floats) -> float:
    """Return the log-evidence that strong conflicts are a heap of their own, 0 if they are not.

    Strength is measured by half the usual margin of rows that agree. By overlap of classes alone,
    weak conflicts and weak agreements outnumber strong conflicts.
    """
    if not (conflict <= 0).any():
        return 0.0
    half = -0.5 * float(np.median(conflict[conflict <= 0]))
    strong = int((conflict > half).sum())
    between = int((np.abs(conflict) <= half).sum())
    tolerated = 0.5 * TOLERATED * len(conflict)
    if strong <= tolerated or strong <= between:
        return 0.0
    # Chernoff's bound, of a fair coin and of the tolerated rate; the weaker one counts.
    share = strong / (strong + between)
    coin = (strong + between) * divergence(share, 0.5)
    rate = len(conflict) * divergence(strong / len(conflict), 0.5 * TOLERATED)
    return min(coin, rate)


def _deep(scores: Floats, y: Codes) -> float:
    """Return the log-evidence that rows in conflict are drawn from the classes they belong to.

    Rows whose label was changed lie among those of their class as these do, three quarters of them
    deeper than a quarter of it. Where classes overlap, rows in conflict are at the other's border.
    """
    leads, best = lead(scores), scores.argmax(axis=1)
    usual = np.full(scores.shape[1], np.inf)
    for one in np.unique(best):
        agreed = leads[(best == one) & (y == one)]
        usual[one] = np.quantile(agreed, 1 - _DEEP) if len(agreed) else np.inf
    share = float(np.mean((best != y) & (leads >= usual[best])))
    tolerated = _DEEP * TOLERATED
    return len(y) * divergence(share, tolerated) if share > tolerated else 0.0


def divergence(p: float, q: float) -> float:
    """Return the relative entropy of a coin of p to one of q."""
    first = p * float(np.log(p / q))
    return first if p >= 1 else first + (1 - p) * float(np.log((1 - p) / (1 - q)))


def _tail(found: Floats, own: Floats) -> Floats:
    """Return how often a label drawn from `found` (m, c) is less probable than `own` (n,)."""
    values = np.sort(found, axis=None)
    mass = np.cumsum(values) / len(found)
    place = np.searchsorted(values, own, side="right")
    return np.where(place > 0, mass[np.maximum(place - 1, 0)], 0.0)

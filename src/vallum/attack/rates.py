"""How well scores tell two groups apart, with intervals: never accuracy alone.

A rate at a low false-positive rate is only given where there are records enough to see that rate:
`Separation.tpr_at_01fpr` is None with fewer than 10,000 non-members.

Sources: Carlini, Chien, Nasr, Song, Terzis, Tramèr, "Membership inference attacks from first
principles", S&P 2022 (what to report); Hanley and McNeil 1982 (interval of the AUC); Wilson 1927.
"""

import math

import numpy as np
from numpy.typing import NDArray

from vallum.attack.evasion import wilson
from vallum.schema import Record

Floats = NDArray[np.float64]
Z = 1.959964
"""Of a two-sided 95 % interval."""
MIN_FOR_01 = 10_000
"""Non-members below which nothing is said about a false-positive rate of 0.1 %."""


class Rate(Record, frozen=True):
    """A true-positive rate and its 95 % interval."""

    value: float
    low: float
    high: float


class Separation(Record, frozen=True):
    """How well a score tells positives from negatives.

    Attributes:
        positives: Scores of members.
        negatives: Scores of others.
        auc: 0.5 is guessing; `auc_low` and `auc_high` are its 95 % interval.
        tpr_at_1fpr: Positives found when 1 % of negatives are accused.
        tpr_at_01fpr: The same at 0.1 %; None with fewer than 10,000 negatives.
        advantage: Largest difference of true- and false-positive rate.
    """

    positives: int
    negatives: int
    auc: float
    auc_low: float
    auc_high: float
    tpr_at_1fpr: Rate
    tpr_at_01fpr: Rate | None
    advantage: float


def separation(inside: Floats, outside: Floats) -> Separation:
    """Compare scores of members, (n,), and of others, (m,); a larger one speaks for a member."""
    # Infinite scores are certain, not unknown: ranks and thresholds take them as they are.
    pooled = np.concatenate([inside, outside])
    _, inverse, counts = np.unique(pooled, return_inverse=True, return_counts=True)
    upper = np.cumsum(counts)
    ranks = (upper - (counts - 1) / 2.0)[inverse]
    n, m = len(inside), len(outside)
    auc = float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))
    spread = Z * auc_error(auc, n, m)
    thresholds = np.unique(pooled)
    true = 1.0 - np.searchsorted(np.sort(inside), thresholds, side="left") / n
    false = 1.0 - np.searchsorted(np.sort(outside), thresholds, side="left") / m
    return Separation(
        positives=n,
        negatives=m,
        auc=auc,
        auc_low=max(0.0, auc - spread),
        auc_high=min(1.0, auc + spread),
        tpr_at_1fpr=tpr_at(inside, outside, 0.01),
        tpr_at_01fpr=tpr_at(inside, outside, 0.001) if m >= MIN_FOR_01 else None,
        advantage=float(max(0.0, (true - false).max())),
    )


def tpr_at(inside: Floats, outside: Floats, fpr: float) -> Rate:
    """Return the share of `inside` above the threshold that accuses at most `fpr` of `outside`.

    The interval covers both samples: the threshold is moved by 95 % of what `outside` leaves open
    (a normal approximation of the binomial count of those above it), and Wilson's interval of the
    share is taken at both ends.
    """
    m = len(outside)
    falling = np.sort(outside)[::-1]
    allowed = fpr * m
    spread = Z * math.sqrt(allowed * (1 - fpr))

    def above(count: int) -> int:
        # Of scores that tie with the threshold none is accused: accusing all would exceed `fpr`.
        if count >= m:
            return len(inside)
        return int((inside > falling[max(0, count)]).sum())

    hits = above(math.floor(allowed + 1e-9))
    low, _ = wilson(above(math.floor(allowed - spread)) if allowed >= spread else 0, len(inside))
    _, high = wilson(above(math.ceil(allowed + spread)), len(inside))
    if allowed < spread:  # so few others that even the first of them may be a common one
        low = 0.0
    return Rate(value=hits / len(inside), low=low, high=high)


def auc_error(auc: float, n: int, m: int) -> float:
    """Return the standard error of an AUC of `n` and `m` scores (Hanley and McNeil 1982)."""
    q1, q2 = auc / (2 - auc), 2 * auc * auc / (1 + auc)
    variance = auc * (1 - auc) + (n - 1) * (q1 - auc * auc) + (m - 1) * (q2 - auc * auc)
    return math.sqrt(max(0.0, variance) / (n * m))

"""Membership inference by the loss: members are fitted better than others.

Reported as AUC with an interval and as the true-positive rate at a low false-positive rate,
never as accuracy alone (Carlini et al. 2022).

Source: Yeom, Giacomelli, Fredrikson, Jha, CSF 2018; interval: Hanley and McNeil 1982.
"""

import math

import numpy as np
from numpy.typing import NDArray

from vallum.attack.predictor import MIN_RECORDS, Checked, Predictor, Records
from vallum.base import InputError
from vallum.schema import Record

_SMALLEST = 1e-12


class MembershipReport(Record, frozen=True):
    """How well membership in the training data shows.

    Attributes:
        attack: Its name.
        members: Training records used.
        others: Records that the model never saw.
        auc: 0.5 is guessing; `auc_low` and `auc_high` are its 95 % interval.
        tpr_at_1fpr: Members found when 1 % of others are accused.
        advantage: Largest difference of true- and false-positive rate.
    """

    attack: str
    members: int
    others: int
    auc: float
    auc_low: float
    auc_high: float
    tpr_at_1fpr: float
    advantage: float


def loss_threshold(
    model: Predictor,
    members: tuple[Records, NDArray[np.intp]],
    others: tuple[Records, NDArray[np.intp]],
) -> MembershipReport:
    """Tell members from others by their cross-entropy loss.

    Args:
        model: Victim; its scores are probabilities, or are turned into some by softmax.
        members: Training records (n, d) and classes (n,), n >= 10.
        others: Records never trained on.

    Raises:
        InputError: Fewer than 10 records on a side.
        GateError: The model cannot be assessed.
    """
    if min(len(members[0]), len(others[0])) < MIN_RECORDS:
        raise InputError(
            f"membership needs at least {MIN_RECORDS} records on a side", code="attack.records"
        )
    victim = Checked(model)
    victim.probe(np.concatenate([members[0], others[0]]))
    inside, outside = _losses(victim, *members), _losses(victim, *others)
    # Lower loss speaks for membership: a member scores when its loss is below the other's.
    pooled = np.concatenate([inside, outside])
    _, inverse, counts = np.unique(pooled, return_inverse=True, return_counts=True)
    upper = np.cumsum(counts)
    ranks = (upper - (counts - 1) / 2.0)[inverse]
    n, m = len(inside), len(outside)
    auc = 1.0 - (ranks[:n].sum() - n * (n + 1) / 2) / (n * m)
    spread = 1.959964 * _standard_error(auc, n, m)
    thresholds = np.unique(pooled)
    true = np.searchsorted(np.sort(inside), thresholds, side="right") / n
    false = np.searchsorted(np.sort(outside), thresholds, side="right") / m
    allowed = true[false <= 0.01]  # noqa: PLR2004 - the figure's name
    return MembershipReport(
        attack="loss threshold",
        members=n,
        others=m,
        auc=float(auc),
        auc_low=max(0.0, float(auc - spread)),
        auc_high=min(1.0, float(auc + spread)),
        tpr_at_1fpr=float(allowed.max()) if len(allowed) else 0.0,
        advantage=float((true - false).max()),
    )


def _losses(victim: Checked, x: Records, y: NDArray[np.intp]) -> NDArray[np.float64]:
    scores = victim.predict(x)
    if y.max() >= scores.shape[1]:
        raise InputError("the data has more classes than the model", code="attack.classes")
    sums = scores.sum(axis=1, keepdims=True)
    if (scores < 0).any() or not np.allclose(sums, 1.0, atol=1e-3):
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        scores /= scores.sum(axis=1, keepdims=True)
    own: NDArray[np.float64] = scores[np.arange(len(y)), y]
    return -np.log(np.maximum(own, _SMALLEST))


def _standard_error(auc: float, n: int, m: int) -> float:
    q1, q2 = auc / (2 - auc), 2 * auc * auc / (1 + auc)
    variance = auc * (1 - auc) + (n - 1) * (q1 - auc * auc) + (m - 1) * (q2 - auc * auc)
    return math.sqrt(max(0.0, variance) / (n * m))

"""Membership inference by likelihood ratio (LiRA): what would the model answer without the record?

Shadow models are trained on random halves of all records, so that each record was seen by half of
them. How sure a model is of a record's class is then nearly normal, once for models that saw it and
once for those that did not, and the victim's own answer is more likely under one of the two.

Source: Carlini, Chien, Nasr, Song, Terzis, Tramèr, "Membership inference attacks from first
principles", S&P 2022, algorithm 1 (online) with the logit scaling of section IV.C.
"""

import math

import numpy as np
from numpy.typing import NDArray

from vallum.attack.membership import (
    MembershipReport,
    Trainer,
    begin_membership,
    check_shadows,
    membership_report,
    trained,
)
from vallum.attack.oracle import AnswerKind, Classes, Known, kind_of
from vallum.attack.predictor import Checked, Predictor, Scores
from vallum.base import GateError, InputError

_MIN_FOR_OWN_SPREAD = 32
"""Shadows on a side from which each record gets a deviation of its own."""
_LEAST_SPREAD = 1e-3  # in logits: models that always answer alike tell nothing
_CLIP = 30.0


def likelihood_ratio(
    model: Predictor,
    data: Known,
    *,
    train: Trainer,
    budget: int,
    seed: int,
    shadows: int = 64,
    answers: AnswerKind | None = None,
) -> MembershipReport:
    """Tell members by the ratio of likelihoods under shadow models with and without them.

    Args:
        model: Victim; answers logits or probabilities.
        data: All records train shadow models; members are told from others.
        train: Trains a model like the victim, as the victim was trained.
        budget: Queries to the victim; with fewer than records, so many are drawn on each side.
        seed: Of every random choice.
        shadows: Models to train, 4 to 4096; even.
        answers: What the model is said to answer; found out when not given.

    Raises:
        InputError: The arguments do not fit.
        GateError: The model cannot be assessed, answers labels, or `train` fails.
    """
    check_shadows("shadows", shadows, low=4, high=4096)
    if shadows % 2:
        raise InputError("`shadows` must be even", code="attack.settings")
    rng = np.random.default_rng(seed)
    oracle, members, others = begin_membership(
        model, data, budget=budget, rng=rng, answers=answers, held=0
    )
    x = np.concatenate([members[0], others[0]])
    y = np.concatenate([members[1], others[1]])
    seen = halves(len(x), shadows, rng)
    sure = np.empty((shadows, len(x)))
    for at in range(shadows):
        inside = np.flatnonzero(seen[at])
        shadow = Checked(trained(train, x[inside], y[inside], rng))
        scores = shadow.predict(x)
        kind = kind_of(scores)
        if kind in (None, AnswerKind.LABELS):
            raise GateError("a shadow model answers no scores", code="attack.shadow")
        sure[at] = confidence(scores, y, kind)
    own = confidence(oracle.ask(x), y, oracle.kind)
    ratio = log_ratio(own, sure, seen)
    cut = len(members[0])
    return membership_report(
        "LiRA",
        ratio[:cut],
        ratio[cut:],
        kind=oracle.kind,
        queries=oracle.queries,
        shadows=shadows,
    )


def halves(count: int, shadows: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return which shadow learns from which record, (shadows, count); each from exactly half."""
    order = rng.random((shadows, count)).argsort(axis=0)
    found: NDArray[np.bool_] = order < shadows // 2
    return found


def confidence(scores: Scores, y: Classes, kind: AnswerKind | None) -> NDArray[np.float64]:
    """Return log(p / (1 - p)) of each record's own class, (n,), stable where p is 1.

    Raises:
        InputError: A class that the model does not have.
    """
    if y.max() >= scores.shape[1]:
        raise InputError("the data has more classes than the model", code="attack.classes")
    logs = scores if kind is AnswerKind.LOGITS else np.log(np.maximum(scores, 1e-30))
    at = np.arange(len(y))
    rest = logs.copy()
    rest[at, y] = -np.inf
    top = rest.max(axis=1)
    others = top + np.log(np.exp(rest - top[:, None]).sum(axis=1))
    out: NDArray[np.float64] = np.clip(logs[at, y] - others, -_CLIP, _CLIP)
    return out


def log_ratio(
    own: NDArray[np.float64], sure: NDArray[np.float64], seen: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the logarithm of the ratio of normal likelihoods, with and without each record.

    Args:
        own: The victim's confidence, (n,).
        sure: The shadows' confidence, (s, n).
        seen: Which shadow learned from which record, (s, n).
    """
    counts = seen.sum(axis=0), (~seen).sum(axis=0)
    out = np.zeros(len(own))
    for sign, mask, count in ((1.0, seen, counts[0]), (-1.0, ~seen, counts[1])):
        mean = np.where(mask, sure, 0.0).sum(axis=0) / count
        gaps = np.where(mask, sure - mean, 0.0) ** 2
        if count.min() >= _MIN_FOR_OWN_SPREAD:
            variance = gaps.sum(axis=0) / (count - 1)
        else:  # too few for each: all records share one
            variance = np.full(len(own), gaps.sum() / max(1, int((count - 1).sum())))
        variance = np.maximum(variance, _LEAST_SPREAD**2)
        out += sign * (-((own - mean) ** 2) / (2 * variance) - 0.5 * np.log(2 * math.pi * variance))
    return out

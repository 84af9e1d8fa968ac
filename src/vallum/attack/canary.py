"""Canary exposure: how far records that were planted in the training data stand out.

Records of no use to anybody are made in pairs of sets: one set is trained on, the other is kept.
What the model has remembered of the first shows in its rank among the second.

Source: Carlini, Liu, Erlingsson, Kos, Song, "The secret sharer", USENIX Security 2019, section 4.
"""

import numpy as np
from numpy.typing import NDArray

from vallum.attack.extraction import scrambled
from vallum.attack.membership import begin_membership, own_probability
from vallum.attack.oracle import AnswerKind, Classes, Known
from vallum.attack.predictor import Predictor, Records
from vallum.attack.rates import Separation, separation
from vallum.base import InputError
from vallum.schema import Record

_SMALLEST = 1e-30


class ExposureReport(Record, frozen=True):
    """How much a model remembers of canaries.

    Attributes:
        attack: Its name.
        canaries: Planted ones.
        references: Ones that were kept.
        mean_exposure: In bits: 1.44 where nothing is remembered (the mean of a uniform rank's).
        median_exposure: In bits: 1 where nothing is remembered.
        max_exposure: Of the canary that stands out most.
        limit: Largest exposure that so many references can show, log2(references + 1).
        separation: Of canaries from references, with intervals.
        answers: What the model was asked for.
        queries: Records that it was asked about.
    """

    attack: str
    canaries: int
    references: int
    mean_exposure: float
    median_exposure: float
    max_exposure: float
    limit: float
    separation: Separation
    answers: str
    queries: int


def make_canaries(x: Records, classes: int, *, count: int, references: int, seed: int) -> Known:
    """Make records to plant in training data, `members`, and others like them to keep, `others`.

    Args:
        x: Records like the training data, (n, ...).
        classes: Of the model, >= 2.
        count: Canaries to plant, >= 10. Each costs the model a little accuracy.
        references: Canaries to keep, >= 10; they limit what exposure can be seen.
        seed: Of every random choice; whoever knows it knows the canaries.

    Raises:
        InputError: A count is out of range.
    """
    if count < 10 or references < 10 or classes < 2 or len(x) < 2:  # noqa: PLR2004
        raise InputError(
            "canaries need at least 10 of each kind, two classes and two records",
            code="attack.settings",
        )
    rng = np.random.default_rng(seed)
    made = scrambled(x, count + references, rng).astype(np.float32)
    y = rng.integers(classes, size=len(made)).astype(np.intp)
    return Known((made[:count], y[:count]), (made[count:], y[count:]))


def canary_exposure(
    model: Predictor,
    data: Known,
    *,
    budget: int,
    seed: int,
    answers: AnswerKind | None = None,
) -> ExposureReport:
    """Rank planted canaries among kept ones by the model's loss.

    Args:
        model: Victim; answers logits or probabilities.
        data: `members` were planted in the training data, `others` were kept; `make_canaries`.
        budget: Queries; with fewer than records, so many are drawn on each side.
        seed: Of that choice.
        answers: What the model is said to answer; found out when not given.

    Raises:
        InputError: The arguments do not fit.
        GateError: The model cannot be assessed, or answers labels.
    """
    rng = np.random.default_rng(seed)
    oracle, planted, kept = begin_membership(
        model, data, budget=budget, rng=rng, answers=answers, held=0
    )

    def fit(x: Records, y: Classes) -> NDArray[np.float64]:
        own = own_probability(oracle.ask(x), y, oracle.kind)
        out: NDArray[np.float64] = np.log(np.maximum(own, _SMALLEST))
        return out

    inside, outside = fit(*planted), fit(*kept)
    # Ties count against the canary: exposure is not invented.
    ranks = 1 + len(outside) - np.searchsorted(np.sort(outside), inside, side="left")
    limit = float(np.log2(len(outside) + 1))
    exposure = limit - np.log2(ranks)
    return ExposureReport(
        attack="canary exposure",
        canaries=len(inside),
        references=len(outside),
        mean_exposure=float(exposure.mean()),
        median_exposure=float(np.median(exposure)),
        max_exposure=float(exposure.max()),
        limit=limit,
        separation=separation(inside, outside),
        answers="" if oracle.kind is None else oracle.kind.value,
        queries=oracle.queries,
    )

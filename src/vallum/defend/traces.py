"""Wrong labels by how a model learns them: the margin of each row, traced over training.

A row whose neighbours say otherwise is learned late and by heart: averaged over the epochs, its own
class leads by little or not at all. How little is too little is measured in the same training, on
rows that are given another class at random. No row is judged by the training that it was such a row
of, so the model is trained twice.

What is not promised: errors that follow a rule are learned as the rule, and a trigger is learned
early; `detect_poisoning` looks for both. Where classes lie in one another, rows that are right are
accused.

Source: Pleiss, Zhang, Elenberg, Weinberger, "Identifying Mislabeled Data using the Area Under the
Margin Ranking", NeurIPS 2020. Theirs are given a class of their own, which a model of few rows
learns by heart: nine in ten rows of small clean tables then lay below the threshold.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vallum.base import GateError, InputError
from vallum.defend.calibration import EVIDENCE, TOLERATED, divergence
from vallum.defend.conflict import Codes, Rows, margins
from vallum.defend.features import Floats
from vallum.defend.poisoning import classes_of

Train = Callable[[Codes], Iterable[NDArray[Any]]]
"""Trains a new model on class codes (n,); yields its scores for every row, (n, classes), at least
twice, such as after each epoch: logits, or logarithms of probabilities."""

MIN_ROWS = 40
MIN_EPOCHS = 2
_PLANTED, _FEWEST = 0.05, 10
_QUANTILES = (0.25, 0.5, 0.75)
"""Of the planted rows' areas; rows at or below the last one are as bad as they are."""
_TURNS = 2


@dataclass(frozen=True, slots=True)
class Traced:
    """What was found; unpacks into `scores, flagged`.

    Attributes:
        scores: The higher, the more likely mislabelled, any number (n,): minus `areas`.
        flagged: Rows learned no better than three in four of those with a class at random (n,).
        suspicious: There are more of them than data have anyway; False means that none is flagged.
        areas: Mean margin of each row over the epochs (n,).
    """

    scores: Floats
    flagged: Rows
    suspicious: bool
    areas: Floats

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield scores, then flagged."""
        yield self.scores
        yield self.flagged


def trace_labels(
    train: Train, y: NDArray[Any], *, rng: np.random.Generator | None = None
) -> Traced:
    """Find rows whose labels a model learns no better than labels drawn at random.

    Args:
        train: Trains and yields scores; called twice, with the labels to train on.
        y: Labels (n,), n >= 40: whole numbers or texts, at least 2 rows of each of at least 2.
        rng: Draws the rows that are relabelled, a twentieth; a fixed seed if not given.

    Raises:
        InputError: The labels are unusable; the reason is named.
        GateError: The training fails, or yields scores of another shape, too few or not finite.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    y = np.asarray(y)
    if y.ndim != 1 or len(y) < MIN_ROWS:
        raise InputError(
            f"{y.size} labels are too few to trace; {MIN_ROWS} are needed",
            code="defend.poison.rows",
        )
    names, codes = classes_of(y)
    classes = len(names)
    count = max(int(_PLANTED * len(y)), _FEWEST)
    drawn = rng.permutation(len(y))
    areas, judged = np.zeros(len(y)), np.zeros(len(y))
    below = np.zeros((len(_QUANTILES), len(y)))
    for turn in range(_TURNS):
        planted = np.zeros(len(y), dtype=np.bool_)
        planted[drawn[turn * count : (turn + 1) * count]] = True
        other = (codes + rng.integers(1, classes, len(y))) % classes
        found = _areas(train, np.where(planted, other, codes), classes)
        areas[~planted] += found[~planted]
        judged[~planted] += 1
        limits = np.quantile(found[planted], _QUANTILES)
        below += ~planted & (found <= limits[:, None])
    bad = below >= judged  # in every training that judges the row
    suspicious = all(
        _evidence(float(one.mean()), TOLERATED * quantile, len(y)) > EVIDENCE
        for one, quantile in zip(bad, _QUANTILES, strict=True)
    )
    return Traced(
        scores=-areas / judged,
        flagged=bad[-1] & suspicious,
        suspicious=suspicious,
        areas=areas / judged,
    )


def _evidence(share: float, tolerated: float, rows: int) -> float:
    """Return the log-evidence that so many rows are more than data have anyway."""
    return rows * divergence(share, tolerated) if share > tolerated else 0.0


def _areas(train: Train, labels: Codes, classes: int) -> Floats:
    """Return the mean margin of each row over one training."""
    total, epochs = np.zeros(len(labels)), 0
    try:
        for given in train(labels):
            scores = np.asarray(given, dtype=np.float64)
            if scores.shape != (len(labels), classes) or not np.isfinite(scores).all():
                raise GateError(
                    f"the training yields scores of shape {scores.shape} or not finite, not"
                    f" {len(labels)} x {classes} numbers",
                    code="defend.traces.scores",
                )
            total -= margins(scores, labels)
            epochs += 1
    except GateError:
        raise
    except Exception as error:
        raise GateError(
            f"the training failed ({type(error).__name__})", code="defend.traces.training"
        ) from error
    if epochs < MIN_EPOCHS:
        raise GateError(
            f"the training yields scores {epochs} times; twice is the least",
            code="defend.traces.epochs",
        )
    return total / epochs

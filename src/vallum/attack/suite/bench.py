"""What an attack of a suite works on: a model that counts and stops, chosen records, its share."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vallum.attack.predictor import (
    GradientPredictor,
    Loss,
    LossGradient,
    Predictor,
    Records,
    Scores,
)
from vallum.attack.suite.subject import Subject
from vallum.base import GateError

Mask = NDArray[np.bool_]
Advance = Callable[[int], None]
BUDGET = "attack.budget"


@dataclass(frozen=True, slots=True)
class Effort:
    """How much an attack may do.

    Attributes:
        records: To attack.
        tries: Queries for each, of attacks by scores.
        steps: Along gradients.
        targets: Classes that are aimed at.
        theft: Queries of a thief.
        shadows: Models that membership inference trains.
        columns: Whose values attribute inference guesses.
    """

    records: int
    tries: int
    steps: int
    targets: int
    theft: int
    shadows: int
    columns: int

    def scaled(self, share: float) -> "Effort":
        """Return a share of it: fewer records first, as that widens intervals and hides nothing."""
        return Effort(
            records=max(20, round(self.records * share)),
            tries=max(100, round(self.tries * min(1.0, 2 * share))),
            steps=max(20, round(self.steps * min(1.0, 2 * share))),
            targets=self.targets,
            theft=max(200, round(self.theft * min(1.0, 2 * share))),
            shadows=max(4, 2 * round(self.shadows * share / 2)),
            columns=max(1, round(self.columns * share)),
        )


@dataclass(frozen=True, slots=True)
class Measured:
    """What an attack found.

    Attributes:
        rate: The figure, 0 to 1.
        low: Lower end of its 95 % interval.
        high: Upper end.
        records: That it rests on.
        flipped: Of evasion: which of the bench's records were flipped, (k,).
        failed: Of evasion: on which the attack proves nothing, (k,).
        misled: Of evasion: a failure of this attack is one of the whole: where gradients are
            zero, others may be misled as well.
        answers: What the model was asked for, of attacks that take what there is.
        curve: Distance and share of records flipped within it; queries and fidelity of a theft.
        more: Further figures.
    """

    rate: float
    low: float
    high: float
    records: int
    flipped: Mask | None = None
    failed: Mask | None = None
    misled: bool = False
    answers: str = ""
    curve: tuple[tuple[float, float], ...] = ()
    more: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Bench:
    """What an attack gets.

    Attributes:
        model: Takes records as the data has them; stops at the end of the budget.
        subject: The data.
        y: Classes of all records, (n,).
        rows: Records that the model gets right, chosen to be attacked, (k,).
        train_y: Classes of the training records.
        effort: The most that it may do.
        rng: Its own source of chance.
        late: Tells whether the budget has run out.
    """

    model: Predictor
    subject: Subject
    y: NDArray[np.intp]
    rows: NDArray[np.intp]
    train_y: NDArray[np.intp] | None
    effort: Effort
    rng: np.random.Generator
    late: Callable[[], bool]


class Meter:
    """Counts what a model is asked, and stops at a number of queries or a moment."""

    def __init__(
        self,
        *,
        until_s: float,
        monotonic: Callable[[], float] = time.monotonic,
        advance: Advance = lambda _: None,
    ) -> None:
        self.queries = 0
        self.limit = 0
        self._until_s, self._monotonic, self._advance = until_s, monotonic, advance

    def late(self) -> bool:
        """Tell whether the moment has passed."""
        return self._monotonic() > self._until_s

    def take(self, count: int) -> None:
        """Account for `count` queries before they are asked.

        Raises:
            GateError: Code `attack.budget`: there are not that many left, or it is late.
        """
        if self.late():
            raise GateError("the budget ran out", code=BUDGET)
        if self.queries + count > self.limit:
            raise GateError(f"it needs more than the {self.limit} queries of its plan", code=BUDGET)
        self.queries += count
        self._advance(count)


class _Metered:
    """A predictor behind a meter, that tells no more than it must."""

    def __init__(self, model: Predictor, meter: Meter, classes: int, *, labels: bool) -> None:
        self._model, self._meter, self._classes = model, meter, classes
        self._labels = labels

    def predict(self, x: Records) -> Scores:
        """Return scores, (n, c); labels as 0 and 1."""
        self._meter.take(len(x))
        scores = self._model.predict(x)
        if self._classes and getattr(scores, "ndim", 0) == 1:
            return one_hot(scores, self._classes)
        if self._labels and getattr(scores, "ndim", 0) == 2 and np.isfinite(scores).all():  # noqa: PLR2004
            return one_hot(scores.argmax(axis=1).astype(np.float64), scores.shape[1])
        return scores


class _MeteredGradient(_Metered):
    """The same with a gradient."""

    def __init__(self, model: GradientPredictor, meter: Meter) -> None:
        super().__init__(model, meter, 0, labels=False)
        self._differentiable = model

    def loss_gradient(self, x: Records, loss: Loss) -> LossGradient:
        """Return scores, values of `loss` and its gradient."""
        self._meter.take(len(x))
        return self._differentiable.loss_gradient(x, loss)


def metered(
    model: Predictor, meter: Meter, *, classes: int = 0, access: str = "gradients"
) -> Predictor:
    """Return `model` behind a meter.

    Args:
        model: A predictor, with or without gradients.
        meter: What counts.
        classes: Of a model that answers labels, (n,): how many there are.
        access: What attacks may see of it: `labels`, `scores` or `gradients`.
    """
    if isinstance(model, GradientPredictor) and not classes and access == "gradients":
        return _MeteredGradient(model, meter)
    return _Metered(model, meter, classes, labels=access == "labels")


def one_hot(labels: Scores, classes: int) -> Scores:
    """Return positions of classes, (n,), as 0 and 1, (n, c).

    Raises:
        GateError: They are no whole numbers from 0 to `classes` - 1.
    """
    if not (np.isin(labels, np.arange(classes))).all():
        raise GateError(
            f"the model answers one number a record, not all of them a class from 0 to"
            f" {classes - 1}",
            code="attack.scores",
        )
    return np.eye(classes)[labels.astype(np.intp)]

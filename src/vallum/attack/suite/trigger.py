"""Trigger inversion as a suite makes it: searched on half of the records, tried on the other.

Columns of a table are put on one scale, from least to greatest value: whoever poisons training data
is held by no other rule.
"""

import numpy as np
from numpy.typing import NDArray

from vallum.attack.evasion import wilson
from vallum.attack.predictor import GradientPredictor, Loss, LossGradient, Records, Scores
from vallum.attack.suite.bench import Bench, Effort, Measured
from vallum.attack.suite.subject import Subject, class_count
from vallum.attack.trigger import (
    BATCH,
    MIN_CLASSES,
    MIN_RECORDS,
    MOST_TRIGGERS,
    STEPS,
    invert_triggers,
)
from vallum.base import GateError

FALSE_ALARMS = 0.05
"""Of models without a trigger, at most this share is called suspicious."""
LEAST = 2 * MIN_RECORDS
_STRENGTHS = (1.0, 2.0)
_IMAGE = 4


def queries(subject: Subject, effort: Effort) -> int:  # noqa: ARG001 - calibrated as it is
    """Return what the search asks, and the records that its triggers are tried on."""
    classes = class_count(subject)
    return STEPS * BATCH * classes + len(_STRENGTHS) * MOST_TRIGGERS * len(subject.x) + 2


def calls(subject: Subject, effort: Effort) -> int:
    """Return about how many batches it asks in."""
    return STEPS + 2 + queries(subject, effort) // 8192


def unjudged(subject: Subject, effort: Effort) -> str:  # noqa: ARG001
    """Say that there are too few classes to compare; nothing where there are not."""
    if class_count(subject) < MIN_CLASSES:
        return f"classes are compared with each other, and fewer than {MIN_CLASSES} are too few"
    if subject.x.ndim not in {2, _IMAGE}:
        return "records are neither rows nor images of (channels, height, width)"
    return ""


def invert(bench: Bench) -> Measured:
    """Search the least trigger of every class; of one that stands out, tell how often it works."""
    if not isinstance(bench.model, GradientPredictor):
        raise GateError("the model offers no gradient", code="attack.gradient")
    model = _Scaled(bench.model, bench.subject)
    order = bench.rng.permutation(len(bench.subject.x))
    half = len(order) // 2
    x = model.scaled(bench.subject.x)
    found = invert_triggers(
        model, x[order[:half]], alpha=FALSE_ALARMS, seed=int(bench.rng.integers(2**31))
    )
    index = max(one.index for one in found.triggers)
    more = {
        "false alarms": FALSE_ALARMS,
        "largest index": index,
        "smallest trigger": min(one.size for one in found.triggers),
    }
    tried, y = x[order[half:]], bench.y[order[half:]]
    hits, total = 0, len(tried)
    if found.suspicious:
        # The one that works best decides: of several classes, any may be the attacker's, and he
        # may press harder than the least that worked on some batch of the search.
        target, hits, total = max(
            (
                _works(model, found.put(tried[y != at], at, strength=strength), at)
                for at in found.targets
                for strength in _STRENGTHS
            ),
            key=lambda one: one[1] / max(1, one[2]),
        )
        more["class"] = float(target)
    if total == 0:
        raise GateError("no record of another class is left to try it on", code="attack.records")
    low, high = wilson(hits, total)
    return Measured(
        rate=hits / total, low=low, high=high, records=total, answers="gradients", more=more
    )


def _works(model: "_Scaled", put: Records, target: int) -> tuple[int, int, int]:
    said = model.predict(put).argmax(axis=1) if len(put) else np.array([])
    return target, int((said == target).sum()), len(put)


class _Scaled:
    """The bench's model on records from 0 to 1."""

    def __init__(self, model: GradientPredictor, subject: Subject) -> None:
        self._model = model
        shape = subject.x.shape[1:]
        low, high = subject.space.low.reshape(shape), subject.space.high.reshape(shape)
        both = [subject.x.min(axis=0), low], [subject.x.max(axis=0), high]
        self._low: NDArray[np.float64] = np.minimum(*both[0])
        self._span: NDArray[np.float64] = np.maximum(*both[1]) - self._low

    def scaled(self, x: Records) -> Records:
        """Return records from 0 to 1."""
        span = np.where(self._span > 0, self._span, 1.0)
        return np.clip((x - self._low) / span, 0.0, 1.0).astype(np.float32)

    def _raw(self, x: Records) -> Records:
        return (x * self._span + self._low).astype(np.float32)

    def predict(self, x: Records) -> Scores:
        """Return scores, (n, c)."""
        return self._model.predict(self._raw(x))

    def loss_gradient(self, x: Records, loss: Loss) -> LossGradient:
        """Return scores, values of `loss` and its gradient."""
        answer = LossGradient(*self._model.loss_gradient(self._raw(x), loss))
        return answer._replace(gradient=(answer.gradient * self._span).astype(np.float32))

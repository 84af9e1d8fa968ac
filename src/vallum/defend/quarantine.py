"""Take suspicious rows out, each with its reason, and see what a model becomes without them."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vallum.base import GateError, InputError
from vallum.defend.conflict import Rows
from vallum.defend.poisoning import Detection, Reason, Scorer
from vallum.schema import Record

Fit = Callable[[NDArray[Any], NDArray[Any]], Scorer]
MIN_LEFT = 2
_Z = 1.96


class Quarantined(Record, frozen=True):
    """One row that was taken out.

    Attributes:
        row: Its number in the data, from 0.
        reason: `label-conflict`, `trigger` or `duplicate`.
        score: How strongly; the higher, the likelier poisoned.
    """

    row: int
    reason: str
    score: float


class Retrained(Record, frozen=True):
    """A model trained on all rows beside one trained without those in quarantine.

    Attributes:
        quarantined: Rows taken out.
        accuracy_before: On the held-out records, trained on all rows.
        accuracy_after: On the same, trained without them.
        changed: Share of held-out records that the two answer differently.
        change_low: Lower end of the 95 % interval of after minus before.
        change_high: Its upper end. An interval that holds 0 says that accuracy does not tell.
        quarantine_learned: Share of quarantined rows whose label the first model answers.
        quarantine_kept: The same of the second: where it is much lower, the rows taught something
            that the others do not.
    """

    quarantined: int
    accuracy_before: float
    accuracy_after: float
    changed: float
    change_low: float
    change_high: float
    quarantine_learned: float
    quarantine_kept: float


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Rows parted in two; nothing is deleted.

    Attributes:
        kept: True for rows that stay (n,).
        rows: Those taken out, the strongest first.
    """

    kept: Rows
    rows: tuple[Quarantined, ...]


def quarantine(detection: Detection) -> Quarantine:
    """Part the rows of a detection; of a data set that does not stand out all are kept."""
    order = np.argsort(-detection.scores, kind="stable")
    rows = tuple(
        Quarantined(
            row=int(at), reason=_named(detection.reasons[at]), score=float(detection.scores[at])
        )
        for at in order
        if detection.flagged[at]
    )
    return Quarantine(~detection.flagged, rows)


def _named(reason: Reason) -> str:
    return reason or "trigger"  # a member of a group whose own score is 0


def retrain_and_compare(
    x: NDArray[Any],
    y: NDArray[Any],
    parted: Quarantine,
    *,
    fit: Fit,
    held_out: tuple[NDArray[Any], NDArray[Any]],
) -> Retrained:
    """Train twice and compare on records that nobody doubts.

    Args:
        x: All records (n, ...).
        y: Their classes (n,), whole numbers from 0.
        parted: Of these records.
        fit: Trains a model on records and classes; the same randomness each time makes the
            comparison sharper.
        held_out: Records and classes that were not in the data, from a source that is trusted.

    Raises:
        InputError: Shapes do not fit, or too few rows or classes are left.
        GateError: A model does not answer scores for each record.
    """
    kept = parted.kept
    if not len(x) == len(y) == len(kept):
        raise InputError("records, classes and quarantine differ in length",
                         code="defend.quarantine")  # fmt: skip
    if not parted.rows:
        raise InputError("nothing is in quarantine", code="defend.quarantine")
    if len(np.unique(np.asarray(y)[kept])) < min(MIN_LEFT, len(np.unique(y))):
        raise InputError("fewer than two classes are left", code="defend.quarantine")
    test, truth = held_out
    if not len(test) or len(test) != len(truth):
        raise InputError("held-out records and classes differ in length",
                         code="defend.quarantine")  # fmt: skip
    before, after = fit(x, y), fit(x[kept], y[kept])
    first, second = _classes(before, test), _classes(after, test)
    gain = (second == truth).astype(float) - (first == truth).astype(float)
    # Paired: only records on which the two differ count.
    spread = _Z * math.sqrt(float((gain**2).mean() - gain.mean() ** 2) / len(gain))
    out, names = x[~kept], np.asarray(y)[~kept]
    return Retrained(
        quarantined=len(parted.rows),
        accuracy_before=float((first == truth).mean()),
        accuracy_after=float((second == truth).mean()),
        changed=float((first != second).mean()),
        change_low=float(gain.mean()) - spread,
        change_high=float(gain.mean()) + spread,
        quarantine_learned=float((_classes(before, out) == names).mean()),
        quarantine_kept=float((_classes(after, out) == names).mean()),
    )


def _classes(model: Scorer, x: NDArray[Any]) -> NDArray[np.intp]:
    scores = np.asarray(model.predict(np.asarray(x, dtype=np.float32)))
    if scores.ndim != 2 or len(scores) != len(x) or not np.isfinite(scores).all():  # noqa: PLR2004
        raise GateError("the model answers no scores", code="defend.quarantine")
    found: NDArray[np.intp] = scores.argmax(axis=1)
    return found

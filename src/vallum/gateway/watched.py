"""Callers of one deployment, watched for model extraction, and what a suspect gets.

Suspicion lasts while this process does and the caller is among those remembered; a false alarm is
ended by deploying anew.
"""

import secrets

import numpy as np
from numpy.typing import NDArray

from vallum.base import InputError, RefusedError
from vallum.guard import RateLimiter, labels_of
from vallum.guard.session import Arrays
from vallum.monitor import ExtractionAlarm, ExtractionProfile, Watches

SUSPECT_RATE_PER_S = 0.2
"""Of one who looks like a thief, where the response is `throttle`: 5,000 queries take 7 hours."""
SUSPECT_BURST = 1
_SCORES = 2  # dimensions


class CallerWatch:
    """Watches the callers of one deployment. For one event loop."""

    def __init__(self, learned: ExtractionProfile, *, response: str, width: int | None) -> None:
        """Take a profile.

        Raises:
            InputError: It is of records of another width than the model's.
        """
        if width is not None and width != learned.width:
            raise InputError(
                f"the model takes {width} features, its training data have {learned.width}",
                code="extraction.profile",
                hint="name the label with --watch-label, or the columns with --watch-feature",
            )
        self.response = response
        # Which rows of a long request are looked at is nobody's to know.
        self._watches = Watches(learned, seed=secrets.randbits(63))
        self._rates = RateLimiter(max_keys=1024)

    def admit(self, caller: str, *, now_s: float) -> None:
        """Let a caller pass who is no suspect, or as the response to suspects says.

        Raises:
            RefusedError: Suspects are stopped.
            LimitExceededError: They are slowed down.
        """
        if not self._watches.alarmed(caller.encode()):
            return
        if self.response == "stop":
            raise RefusedError(
                "this caller's queries look like model extraction", code="score.extraction"
            )
        if self.response == "throttle":
            self._rates.take(
                (caller, ""), rate_per_s=SUSPECT_RATE_PER_S, burst=SUSPECT_BURST, now_s=now_s
            )

    def look(
        self, caller: str, x: NDArray[np.float32], outputs: Arrays
    ) -> tuple[Arrays, tuple[ExtractionAlarm, ...]]:
        """Look at a request and its answer; return what leaves, and new alarms.

        Raises:
            InputError: The rows have another width than the training data.
        """
        alarms = self._watches.add(caller.encode(), x, _classes(outputs, len(x)))
        if self.response == "label-only" and self._watches.alarmed(caller.encode()):
            return [(name, labels_of(value)) for name, value in outputs], alarms
        return outputs, alarms


def _classes(outputs: Arrays, rows: int) -> NDArray[np.intp] | None:
    """Return the class of each row, by scores if there are any, else by labels."""
    for _, value in outputs:
        if value.dtype.kind == "f" and value.ndim == _SCORES and len(value) == rows:
            if value.shape[1] > 1:
                found: NDArray[np.intp] = value.argmax(axis=1)
                return found
            return np.rint(value[:, 0]).astype(np.intp)
    for _, value in outputs:
        if value.dtype.kind in "iu" and value.size == rows:
            return value.reshape(rows).astype(np.intp)
    return None

"""Records made to mislead one deployment's model: what it says twice, and abstention."""

import numpy as np
from numpy.typing import NDArray

from vallum.base import GateError, InputError, RefusedError
from vallum.gateway.model import Model
from vallum.gateway.wire import ABSTAINED
from vallum.guard.session import Arrays
from vallum.monitor import EvasionAlarm, EvasionProfile, EvasionWatch

_MATRIX = 2  # dimensions
_NAMED = 10  # rows that an answer names


class Evading:
    """Watches the records of one deployment. For one event loop."""

    def __init__(self, profile: EvasionProfile, *, response: str, width: int | None) -> None:
        """Take a profile.

        Raises:
            InputError: It is of records of another width than the model's.
        """
        if width is not None and width != profile.width:
            raise InputError(
                f"the model takes {width} features, the watched data have {profile.width}",
                code="evasion.profile",
                hint="name the label with --watch-label, or the columns with --watch-feature",
            )
        self.response = response
        self._watch = EvasionWatch(profile)

    async def prepare(self, model: Model) -> None:
        """Learn how the model answers the records of the profile.

        Raises:
            InputError: It answers no scores of classes.
        """
        asks = self._watch.asks
        self._watch.calibrate(_scores(await model.predict(asks), len(asks)))

    def admit(self, caller: str) -> None:
        """Let a caller pass who is no suspect.

        Raises:
            RefusedError: Suspects are stopped.
        """
        if self.response == "stop" and self._watch.alarmed(caller.encode()):
            raise RefusedError(
                "this caller's records look made to be misclassified", code="score.evasion"
            )

    def widened(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the rows, and after them the same ones squeezed."""
        return np.concatenate([x, self._watch.squeezed(x)])

    def look(
        self, caller: str, x: NDArray[np.float32], outputs: Arrays
    ) -> tuple[Arrays, EvasionAlarm | None, GateError | None]:
        """Look at the answers to `widened` rows.

        Returns:
            The answers to the rows themselves; an alarm about the caller; why the model abstains.

        Raises:
            InputError: The rows have another width than the table, or there are no scores.
        """
        count = len(x)
        scores = _scores(outputs, 2 * count)
        found = self._watch.judge(x, scores[:count], scores[count:])
        alarm = self._watch.note(caller.encode(), x, found)
        told = [(name, value[:count]) for name, value in outputs]
        if self.response != "abstain":
            return told, alarm, None
        rows = np.flatnonzero(np.logical_or.reduce(tuple(found.values())))
        if len(rows) == 0:
            return told, alarm, None
        named = ", ".join(str(one + 1) for one in rows[:_NAMED].tolist())
        more = ", …" if len(rows) > _NAMED else ""
        return (
            told,
            alarm,
            GateError(
                f"the model abstains: {len(rows)} of {count} rows, {named}{more}",
                code=ABSTAINED,
                hint="have a person decide about them, and ask about the others alone",
            ),
        )


def _scores(outputs: Arrays, rows: int) -> NDArray[np.float64]:
    """Return the scores of each row, (n, k), k >= 2; of a single number, p, 1 - p and p.

    Raises:
        InputError: There are none.
    """
    for _, value in outputs:
        if value.dtype.kind == "f" and value.ndim in {1, _MATRIX} and len(value) == rows:
            wide = value.astype(np.float64).reshape(rows, -1)
            return wide if wide.shape[1] > 1 else np.concatenate([1 - wide, wide], axis=1)
    raise InputError(
        "the model answers no scores of classes: evasion cannot be watched", code="evasion.scores"
    )

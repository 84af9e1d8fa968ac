"""What stands between a deployment's model and its callers, by the choices of the deployment."""

from collections import Counter
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from vallum.base import GateError, InputError
from vallum.gateway.drifting import Drifting
from vallum.gateway.evading import Evading
from vallum.gateway.model import Model
from vallum.gateway.watched import CallerWatch
from vallum.guard import Hardening
from vallum.guard.session import Arrays
from vallum.monitor import Canaries, DriftReport, WatchProfile
from vallum.schema.serving import ModelBytes, ServedDeployment

MAX_CALLERS = 512
"""Askers for planted records that are counted apart."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """Something to log about a caller."""

    watch: str
    statistic: str
    value: float
    threshold: float
    queries: int
    response: str
    signs: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Looked:
    """What was seen in a request and its answer.

    Attributes:
        outputs: What leaves.
        sightings: What is to be logged.
        error: Why nothing leaves, if nothing does.
    """

    outputs: Arrays
    sightings: tuple[Sighting, ...] = ()
    error: GateError | None = None


@dataclass(slots=True)
class Beside:
    """Watches the callers of one deployment and shapes its answers. For one event loop."""

    watch: CallerWatch | None = None
    evading: Evading | None = None
    canaries: Canaries | None = None
    harden: Hardening | None = None
    drifting: Drifting | None = None
    _asked: Counter[str] = field(default_factory=Counter)  # for canaries, by caller

    @classmethod
    async def of(cls, served: ServedDeployment, got: ModelBytes, model: Model) -> "Beside | None":
        """Return what a deployment asks for; None where that is nothing.

        Raises:
            InputError: It cannot be had: then the deployment is not served either.
        """
        made = cls()
        if served.on_extraction or got.profile:
            try:
                learned = msgspec.msgpack.decode(got.profile, type=WatchProfile)
            except msgspec.DecodeError as error:
                raise InputError(
                    "the profile has another form", code="extraction.profile"
                ) from error
            made.watch = CallerWatch(
                learned.extraction, response=served.on_extraction, width=model.width
            )
            made.drifting = Drifting(learned.bins)
            if learned.canaries:
                rows = np.frombuffer(learned.canaries, dtype="<f4")
                made.canaries = Canaries(rows.reshape(-1, learned.extraction.width))
            if learned.evasion is not None:
                made.evading = Evading(
                    learned.evasion, response=served.on_evasion, width=model.width
                )
                await made.evading.prepare(model)
        if served.output is not None:
            made.harden = Hardening(served.output, got.noise_key)
        parts = (made.watch, made.evading, made.canaries, made.harden)
        return None if all(one is None for one in parts) else made

    def admit(self, caller: str, *, now_s: float) -> None:
        """Let a caller pass who is no suspect, or as the response to suspects says.

        Raises:
            RefusedError: Suspects are stopped.
            LimitExceededError: They are slowed down.
        """
        if self.watch is not None:
            self.watch.admit(caller, now_s=now_s)
        if self.evading is not None:
            self.evading.admit(caller)

    def drift(self) -> DriftReport | None:
        """Return how the inputs have drifted; None while there were none, or nobody looks."""
        return None if self.drifting is None else self.drifting.report()

    def widened(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the rows that the model is asked about: `x`, and what `look` needs beside."""
        return x if self.evading is None else self.evading.widened(x)

    def look(self, caller: str, x: NDArray[np.float32], outputs: Arrays) -> Looked:
        """Look at a request and the model's answer to `widened` rows.

        Raises:
            InputError: The rows have another width than the training data.
            GateError: The output policy does not fit the answer.
        """
        found: list[Sighting] = []
        error: GateError | None = None
        if self.evading is not None:
            outputs, suspect, error = self.evading.look(caller, x, outputs)
            if suspect is not None:
                found.append(
                    Sighting(
                        "evasion", suspect.statistic, suspect.value, suspect.threshold,
                        suspect.queries, self.evading.response, suspect.signs,
                    )
                )  # fmt: skip
        if self.drifting is not None:
            self.drifting.add(x)
        if self.canaries is not None:
            found.extend(self._planted(caller, self.canaries.find(x)))
        if self.watch is not None:
            outputs, alarms = self.watch.look(caller, x, outputs)
            found.extend(
                Sighting(
                    "extraction", one.statistic.value, one.value, one.threshold, one.queries,
                    self.watch.response,
                )
                for one in alarms
            )  # fmt: skip
        if error is None and self.harden is not None:
            outputs = self.harden.apply(x, outputs)
        return Looked(outputs, tuple(found), error)

    def _planted(self, caller: str, found: NDArray[np.intp]) -> list[Sighting]:
        """Count a caller's questions for planted records; say so the first time, then rarely."""
        if len(found) == 0:
            return []
        if caller not in self._asked and len(self._asked) >= MAX_CALLERS:
            caller = ""
        before = self._asked[caller]
        now = self._asked[caller] = before + len(found)
        if before.bit_length() == now.bit_length():  # said at every doubling
            return []
        return [Sighting("canary", f"record-{int(found[0])}", float(now), 1.0, now, "alert")]

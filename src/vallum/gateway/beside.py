"""What stands between a deployment's model and its callers, by the choices of the deployment."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vallum.gateway.watched import CallerWatch
from vallum.guard import Hardening
from vallum.guard.session import Arrays
from vallum.monitor import ExtractionAlarm
from vallum.schema.serving import ModelBytes, ServedDeployment


@dataclass(slots=True)
class Beside:
    """Watches the callers of one deployment and shapes its answers. For one event loop."""

    watch: CallerWatch | None = None
    harden: Hardening | None = None

    @classmethod
    def of(cls, served: ServedDeployment, got: ModelBytes, width: int | None) -> "Beside | None":
        """Return what a deployment asks for; None where that is nothing.

        Raises:
            InputError: It cannot be had: then the deployment is not served either.
        """
        watch = None
        if served.on_extraction or got.profile:
            watch = CallerWatch(got.profile, response=served.on_extraction, width=width)
        harden = None if served.output is None else Hardening(served.output, got.noise_key)
        return None if watch is None and harden is None else cls(watch, harden)

    def admit(self, caller: str, *, now_s: float) -> None:
        """Let a caller pass who is no suspect, or as the response to suspects says.

        Raises:
            RefusedError: Suspects are stopped.
            LimitExceededError: They are slowed down.
        """
        if self.watch is not None:
            self.watch.admit(caller, now_s=now_s)

    def look(
        self, caller: str, x: NDArray[np.float32], outputs: Arrays
    ) -> tuple[Arrays, tuple[ExtractionAlarm, ...]]:
        """Look at a request and its answer; return what leaves, and new alarms.

        Raises:
            InputError: The rows have another width than the training data.
            GateError: The output policy does not fit the answer.
        """
        alarms: tuple[ExtractionAlarm, ...] = ()
        if self.watch is not None:
            outputs, alarms = self.watch.look(caller, x, outputs)
        if self.harden is not None:
            outputs = self.harden.apply(x, outputs)
        return outputs, alarms

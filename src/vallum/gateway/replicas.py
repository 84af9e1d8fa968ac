"""A deployment's model as replicas of a Ray Serve application, behind this guard.

The gateway, which holds callers' rights and the keys of noise, never imports Ray. It talks with a
door (`vallum.gateway.ray_door`) in a sandbox, as with a model process: tensors that the guard let
through go out, named outputs come back. Ray Serve follows the traffic between the bounds and puts
a replica in the place of one that dies. When the door or its Ray is gone nobody is answered, and
both are started again, later each time.
"""

import asyncio
import contextlib
import hashlib
import os
import secrets

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from vallum.base import GateError, UnavailableError, VallumError
from vallum.gateway.isolated import ANSWER_S, ModelProcess, Program, arrays_of
from vallum.gateway.model import Held
from vallum.guard.session import Arrays
from vallum.sandbox import BubblewrapRunner
from vallum.schema.release import Scale
from vallum.schema.serving import ReplicasBegin
from vallum.workspace.engines.ray_room import LIMITS, START_S, RayPlace, room

_LOG = structlog.get_logger("vallum.gateway")

FIRST_WAIT_S = 0.2
LAST_WAIT_S = 30.0
REMOVE_S = 3.0
_SLACK_S = 5.0  # of the door, beyond what it gives replicas


class Replicas:
    """The replicas of one deployment. For one event loop."""

    def __init__(
        self,
        data: bytes,
        sha256: str,
        runner: BubblewrapRunner,
        scale: Scale,
        place: RayPlace,
        *,
        name: str,
    ) -> None:
        """Take a sealed copy.

        Args:
            data: The model.
            sha256: Its digest.
            runner: Whose sandbox the door gets.
            scale: Bounds of the number of replicas.
            place: Which Ray.
            name: Of the deployment; that of the application begins with it.

        Raises:
            IntegrityError: The model has not the digest that was registered.
            UnavailableError: The cluster's token cannot be read.
        """
        answer_s = scale.request_s or ANSWER_S
        begin = msgspec.msgpack.encode(
            ReplicasBegin(
                name=f"{name}-{secrets.token_hex(4)}",  # each gateway has its own
                data=data,
                sha256=sha256,
                scale=scale,
                address=place.address,
                answer_s=answer_s,
            )
        )
        self._stack = contextlib.ExitStack()
        try:
            Held(data, sha256).close()  # before it leaves
            self._held = Held(begin, f"sha256:{hashlib.sha256(begin).hexdigest()}")
            self._stack.callback(self._held.close)
            seen = room(place, self._stack)
        except VallumError:
            self._stack.close()
            raise
        quiet = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        self._stack.callback(os.close, quiet)
        program = Program(
            ("python", "-m", "vallum.gateway.ray_door", str(self._held.descriptor)),
            fds=(self._held.descriptor,),
            files=seen.files,
            env=seen.env,
            limits=LIMITS,
            log=quiet,
            answer_s=answer_s + _SLACK_S,
            start_s=START_S,
            nest=seen.nest,
        )
        self._joined = bool(place.address)
        self._process = ModelProcess(program, runner)
        self._mending: asyncio.Task[None] | None = None
        self.running = scale.min_instances
        self.width: int | None = None

    async def start(self) -> None:
        """Start the door and Ray or join it, and wait until a replica stands.

        Raises:
            UnavailableError: There is no Ray.
            InputError: The model does not load.
        """
        self.width = (await self._process.start()).width

    async def predict(self, x: NDArray[np.float32]) -> Arrays:
        """Return named outputs, of whichever replica Ray Serve finds.

        Raises:
            UnavailableError: Ray is gone, or no replica answers.
            GateError: The model failed on this input.
        """
        if self._mending is not None:
            raise _gone()
        try:
            channel, said = await self._process.ask((x.shape, x.tobytes()))
        except UnavailableError as error:
            self._mend()
            raise _gone() from error
        self.running = said.running
        if said.away:
            _LOG.warning("no replica answers", said=said.away)
            raise UnavailableError("no replica on Ray answers", code="engine.replica")
        try:
            outputs = arrays_of(said)
        except (TypeError, ValueError) as error:  # it talks nonsense
            await self._process.nonsense(channel)
            self._mend()
            raise _gone() from error
        if said.error:
            raise GateError(said.error, code="model.run")
        return outputs

    def verify(self) -> None:
        """Check the sealed bytes again; replicas check theirs."""
        self._held.verify()

    async def close(self) -> None:
        """Remove the application, and end the door."""
        if self._mending is not None:
            self._mending.cancel()
            await asyncio.gather(self._mending, return_exceptions=True)
        elif self._joined and self._process.pid is not None:  # a Ray of our own ends anyway
            with contextlib.suppress(UnavailableError, TimeoutError):
                await asyncio.wait_for(self._process.ask(None), REMOVE_S)
        await self._process.close()
        self._stack.close()

    @property
    def pid(self) -> int | None:
        """Return the door's id, if it runs."""
        return self._process.pid

    def _mend(self) -> None:
        if self._mending is None:
            self.running = 0
            self._mending = asyncio.create_task(self._restart())

    async def _restart(self) -> None:
        """Start again what is gone, beside those who ask."""
        wait_s = FIRST_WAIT_S
        while True:
            await asyncio.sleep(wait_s)
            try:
                await self.start()
                break
            except VallumError as error:
                _LOG.warning("Ray is not back", code=error.code, said=error.message)
                wait_s = min(LAST_WAIT_S, 2 * wait_s)
        self._mending = None


def _gone() -> UnavailableError:
    return UnavailableError(
        "Ray, which the model runs on, is gone; it is being started again", code="engine.gone"
    )

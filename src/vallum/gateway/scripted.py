"""Scoring code of one's own in a sandboxed process, and the way of a request to it and back.

The process sees its code at `/code`, its model at `/model` (which `AZUREML_MODEL_DIR` names), both
read-only copies of sealed memory, and one socket: none of our files, no secret, and no network but
a way to where the policy file lets it connect, if anywhere (`egress`). What it answers is JSON
within a bound, or nothing leaves.

Source: Azure Machine Learning, "Author scoring scripts" (`init()`, `run(raw_data)`).
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Mapping

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from vallum.base import GateError, IntegrityError, VallumError
from vallum.base.bounds import GIB
from vallum.gateway.books import Books
from vallum.gateway.capturing import Captures
from vallum.gateway.egress import PROXIES, Outgoing, WayOut
from vallum.gateway.isolated import ModelProcess, NotLoadedError, Program
from vallum.gateway.model import Held, ModelFailedError
from vallum.gateway.routes import Known, Route, Running
from vallum.gateway.wire import Request, status_of
from vallum.guard import check_json
from vallum.guard.session import Arrays
from vallum.sandbox import BubblewrapRunner, Limits
from vallum.schema.serving import ModelBytes, ServedDeployment, Way

_LOG = structlog.get_logger("vallum.gateway")

RUN_S = 10.0  # without any answer while somebody waits
MAX_ANSWER_BYTES = 16 * 1024 * 1024
MAX_TOLD_CHARS = 4096
LONG_BODY = 32 * 1024
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")
_ENVIRONMENT: Mapping[str, str] = {
    "AZUREML_MODEL_DIR": "/model",
    **dict.fromkeys(_THREADS, "2"),  # every thread counts as a process
}
_LIMITS = Limits(memory_bytes=2 * GIB, processes=128, open_files=128)


class ScriptedModel:
    """Scoring code with its model; restarted with back-off when it dies or hangs."""

    def __init__(
        self,
        served: ServedDeployment,
        got: ModelBytes,
        runner: BubblewrapRunner,
        outgoing: Outgoing,
    ) -> None:
        """Take sealed copies of every file.

        Args:
            served: The deployment.
            got: Its code and model.
            runner: Whose sandbox it gets.
            outgoing: Keeps count of what it connects to.

        Raises:
            IntegrityError: A file has not the digest that was registered.
        """
        self.width: int | None = None
        self._held: dict[str, Held] = {}
        try:
            for top, files in (("code", got.code), ("model", got.files)):
                for one in files:
                    self._held[f"/{top}/{one.path}"] = Held(one.data, one.sha256)
        except IntegrityError:
            self._free()
            raise
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._entry = got.entry
        self._runner = runner
        self._served = served
        self._outgoing = outgoing
        self._answer_s = served.scale.request_s or RUN_S
        self._opening: asyncio.Task[None] | None = None
        self._out = self._way_out() if served.ways else None
        self._process = self._made(self._out)

    def _way_out(self) -> WayOut:
        return WayOut(self._served.id, self._served.ways, self._outgoing, self._runner)

    def _made(self, out: WayOut | None) -> ModelProcess:
        program = Program(
            ("python", "-m", "vallum.gateway.scripted_inside", self._entry),
            files={path: held.descriptor for path, held in self._held.items()},
            env=_ENVIRONMENT if out is None else {**_ENVIRONMENT, **PROXIES},
            limits=_LIMITS,
            log=self._null,
            answer_s=self._answer_s,
            queue_s=self._served.scale.queue_s,
            out=out,
        )
        return ModelProcess(program, self._runner)

    async def start(self) -> None:
        """Start the process and wait until `init()` has returned.

        Raises:
            UnavailableError: It does not come to stand, or `init()` hangs.
            InputError: The code does not load, or `init()` fails.
        """
        try:
            await self._process.start()
        except NotLoadedError as error:
            _LOG.warning(
                "scoring code does not load", error=error.message, told=error.told[:MAX_TOLD_CHARS]
            )
            raise

    @property
    def running(self) -> int:
        """Return 1."""
        return 1

    async def run(self, raw: str) -> bytes:
        """Return what `run(raw)` returns, as JSON.

        Raises:
            UnavailableError: It died or hangs; it is being restarted.
            GateError: It raised, or what it returned is no JSON, or too much.
        """
        process = self._process
        channel, said = await process.ask(raw)
        if not said.error and not 0 < len(said.answer) <= MAX_ANSWER_BYTES:
            raise await process.nonsense(channel)
        if not said.error:
            try:  # whatever took the process over may say anything
                await _decoded(said.answer)
            except msgspec.DecodeError as error:
                raise await process.nonsense(channel) from error
        process.sound()
        if said.error:
            raise ModelFailedError(said.error[:200], said.told[:MAX_TOLD_CHARS], code="code.run")
        return said.answer

    async def predict(self, x: NDArray[np.float32]) -> Arrays:  # noqa: ARG002 - the protocol's
        """Refuse: scoring code takes a request as it was sent, not a tensor."""
        raise GateError("scoring code takes no tensors", code="code.tensor")

    def follow(self, ways: tuple[Way, ...]) -> None:
        """Let the code connect there and nowhere else, from now on.

        A process that had no way out cannot get one: it answers until another stands that has.
        """
        self._served = msgspec.structs.replace(self._served, ways=ways)
        if self._out is not None:
            self._out.follow(ways)
        elif ways and self._opening is None:
            self._opening = asyncio.create_task(self._open())

    async def _open(self) -> None:
        out = self._way_out()
        process = self._made(out)
        try:
            await process.start()
            out.follow(self._served.ways)  # they may have changed while it started
            old, self._process, self._out = self._process, process, out
        except VallumError as error:  # it is tried again when the rules change again
            _LOG.warning("code has no way out yet", deployment=self._served.id, code=error.code)
            old = process
        except asyncio.CancelledError:
            await process.close()
            raise
        finally:
            self._opening = None
        await old.drained(self._answer_s)
        await old.close()

    def verify(self) -> None:
        """Check the sealed bytes of code and model again."""
        for held in self._held.values():
            held.verify()

    async def close(self) -> None:
        """End the process, once what was asked is answered or late."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        await self._process.close()
        self._free()
        os.close(self._null)

    @property
    def pid(self) -> int | None:
        """Return the process's id, if it runs."""
        return self._process.pid

    def _free(self) -> None:
        for held in self._held.values():
            held.close()
        self._held.clear()


def follow(running: Running, served: ServedDeployment) -> None:
    """Serve a deployment as it is now."""
    running.served = served
    if isinstance(running.model, ScriptedModel):
        running.model.follow(served.ways)


async def _decoded(data: bytes) -> None:
    if len(data) < LONG_BODY:
        msgspec.json.decode(data)
    else:
        await asyncio.to_thread(msgspec.json.decode, data)


async def answer_with_code(
    running: Running,
    route: Route,
    request: Request,
    who: Known,
    *,
    model: ScriptedModel,
    admitted: Awaitable[bytes],
    books: Books,
    captures: Captures,
    mark: int,
) -> bytes:
    """Answer one request with scoring code; spooled and captured like any other.

    Args:
        running: The deployment.
        route: Of its endpoint.
        request: The request.
        who: Asks.
        model: Of the deployment.
        admitted: Yields the body once rates, networks and bounds let it in.
        books: Where the decision is spooled.
        captures: Take a sample.
        mark: Of a test, beside the status.

    Raises:
        VallumError: It is refused, or the code failed.
    """
    try:
        body = await admitted
        if len(body) < LONG_BODY:
            raw = check_json(body)
        else:  # others are served meanwhile
            raw = await asyncio.to_thread(check_json, body)
    except VallumError as error:
        bundle = await books.bundle(route, running)
        bundle.settle(bundle.reserve(), time.time(), status_of(error) | mark, who.pseudonym)
        raise
    bundle = await books.bundle(route, running)
    slot = bundle.reserve()
    if request.trace is not None:
        request.trace.placed(bundle.id, slot, 1)
        bundle.trace(slot, request.trace.trace_id, request.trace.span_id)
    status = 500
    begun_s = time.perf_counter()
    try:
        answer = await model.run(raw)
        status = 200
    except VallumError as error:
        status = status_of(error)
        raise
    finally:
        running.tally.model.add(time.perf_counter() - begun_s)
        bundle.settle(slot, time.time(), status | mark, who.pseudonym)
    captures.take(running.served, running.tally, body, answer, bundle=bundle.id, slot=slot)
    return answer

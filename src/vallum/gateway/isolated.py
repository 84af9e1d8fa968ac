"""A deployment's model in a sandboxed process of its own.

The process gets the model in a sealed memory file and a socket, nothing else: no network, no
environment, no file of ours. Only scoring code may have a way out; see `egress`. Answers come in
the order of the questions. What several requests ask at once travels together, to save wake-ups,
but each is one run of the model: a model could let the rows of a run see each other, and callers
have no business in each other's answers.
"""

import asyncio
import os
import socket
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from vallum.base import GateError, InputError, LimitExceededError, UnavailableError
from vallum.gateway.egress import WayOut, spawned
from vallum.gateway.frames import frame, take_frames
from vallum.gateway.model import Held
from vallum.guard.session import Arrays
from vallum.sandbox import BubblewrapRunner, Limits, Nest, Network, Process

START_S = 20.0
ANSWER_S = 30.0
MAX_AWAY_CHARS = 300
_AHEAD_S = 0.01  # of work that a process has before it: none waits for our next turn
_FIRST_AHEAD, _MAX_AHEAD = 2, 64


class Said(msgspec.Struct, frozen=True):
    """What a model process says."""

    error: str = ""
    width: int | None = None
    outputs: tuple[tuple[str, str, tuple[int, ...], bytes], ...] = ()
    answer: bytes = b""  # of scoring code: JSON
    told: str = ""  # of scoring code that failed: what it said, for our log
    number: int | None = None  # of the question, from 1, where answers do not come in order
    away: str = ""  # of replicas elsewhere: why none answers now
    running: int = 0  # how many there are


_DECODER = msgspec.msgpack.Decoder(Said)


class Channel(asyncio.Protocol):
    """Questions to a model process and its answers. For one event loop.

    Answers come in the order of the questions, but for those with a number: what it starts with
    is 0, and both ends count the questions from there. A process gets some hundredths of a second
    of work ahead; what it has not got yet waits here, and for so long only: who has given up by
    then is not computed for.
    """

    def __init__(self, answer_s: float | None = None, queue_s: float | None = None) -> None:
        """Talk to one process.

        Args:
            answer_s: Seconds without any answer, while somebody waits, after which it is ended.
            queue_s: Seconds that a question waits to be sent; None: all are sent at once.
        """
        self.answer_s = ANSWER_S if answer_s is None else answer_s
        self._queue_s = queue_s
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[float, asyncio.Future[Said], bytes]] = deque()
        self._waiting: dict[int, asyncio.Future[Said]] = {}  # sent; oldest first
        self._expected = 0
        self._ahead = _FIRST_AHEAD  # until it is known how long it takes
        self._flushing = False
        self._incoming = bytearray()
        self._progress_s = 0.0
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._expiry: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport  # type: ignore[assignment]  # of a stream socket
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """End: nobody waits for ever."""
        self._transport = None
        for timer in (self._timer, self._expiry):
            if timer is not None:
                timer.cancel()
        for future in self._everybody():
            if not future.done():
                future.set_exception(ConnectionError("the model process is gone"))
        self._waiting.clear()
        self._queue.clear()

    def data_received(self, data: bytes) -> None:
        """Give every complete answer to who asked first; end a process that says anything else."""
        self._incoming += data
        since_s, self._progress_s = self._progress_s, self._loop.time()
        before = len(self._waiting)
        try:
            for body in take_frames(self._incoming):
                said = _DECODER.decode(body)
                number = next(iter(self._waiting)) if said.number is None else said.number
                future = self._waiting.pop(number)
                if not future.done():
                    future.set_result(said)
        except (ConnectionError, msgspec.DecodeError, StopIteration, KeyError):
            self.close()
            return
        if self._queue:
            if answered := before - len(self._waiting):
                pace_s = (self._progress_s - since_s) / answered
                self._ahead = max(1, min(_MAX_AHEAD, int(_AHEAD_S / max(pace_s, 1e-6))))
            self._flush()

    def expect(self) -> "asyncio.Future[Said]":
        """Return the next answer that nobody waits for yet.

        Raises:
            ConnectionError: The process is gone.
        """
        if self._transport is None:
            raise ConnectionError("the model process is gone")
        return self._sent(self._loop.create_future())

    def ask(self, question: object) -> "asyncio.Future[Said]":
        """Send a question, together with the others of this turn of the loop.

        The future may raise `LimitExceededError`: it has waited for its turn too long.

        Raises:
            ConnectionError: The process is gone.
        """
        if self._transport is None:
            raise ConnectionError("the model process is gone")
        future: asyncio.Future[Said] = self._loop.create_future()
        self._queue.append((self._loop.time(), future, frame(question)))
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)
        return future

    async def drained(self, patience_s: float) -> None:
        """Wait until everybody who waits now has an answer, or for so long."""
        if everybody := self._everybody():
            await asyncio.wait(everybody, timeout=patience_s)

    def close(self) -> None:
        """End."""
        if self._transport is not None:
            self._transport.abort()

    def _everybody(self) -> "tuple[asyncio.Future[Said], ...]":
        return (*self._waiting.values(), *(future for _, future, _ in self._queue))

    def _sent(self, future: "asyncio.Future[Said]") -> "asyncio.Future[Said]":
        if not self._waiting:
            self._progress_s = self._loop.time()
        self._waiting[self._expected] = future
        self._expected += 1
        return future

    def _flush(self) -> None:
        self._flushing = False
        if self._transport is None:
            return
        outgoing = []
        while self._queue and (self._queue_s is None or len(self._waiting) < self._ahead):
            _, future, data = self._queue.popleft()
            if not future.done():  # its caller has not left meanwhile
                self._sent(future)
                outgoing.append(data)
        if outgoing:
            self._transport.write(b"".join(outgoing))
        if self._queue and self._expiry is None:
            self._expire()

    def _expire(self) -> None:
        """Refuse who has waited too long; look again when the next has."""
        self._expiry = None
        if self._queue_s is None:
            return
        now_s = self._loop.time()
        while self._queue and self._queue[0][0] + self._queue_s <= now_s:
            _, future, _ = self._queue.popleft()
            if not future.done():
                future.set_exception(
                    LimitExceededError(
                        "the deployment is busy: too long a queue",
                        code="score.queue",
                        retry_after_s=max(1.0, self._queue_s),
                    )
                )
        if self._queue:
            due_s = self._queue[0][0] + self._queue_s
            self._expiry = self._loop.call_at(due_s, self._expire)

    def _watch(self) -> None:
        """End a process that answers nothing for `answer_s` while somebody waits."""
        often_s = min(1.0, max(0.05, self.answer_s / 4))
        self._timer = self._loop.call_later(often_s, self._watch)
        if self._waiting and self._loop.time() - self._progress_s > self.answer_s:
            self.close()


_PLAIN = Limits(memory_bytes=2 * 1024**3, processes=32, open_files=64)


@dataclass(frozen=True, slots=True)
class Program:
    """What a model process runs.

    Attributes:
        argv: The command; the number of its end of the channel is added.
        fds: What it inherits beside the channel.
        files: What it sees, as `spawn` takes it.
        env: Its environment variables.
        limits: Its bounds.
        log: Where what it prints goes; our own if nothing.
        answer_s: Seconds without any answer, while somebody waits, after which it is ended;
            `ANSWER_S` if nothing.
        queue_s: Seconds that a question waits for its turn; None: it decides itself what does.
        start_s: Seconds it has to stand.
        nest: That it is a door of ours, which opens sandboxes of its own.
        out: What connects it to where its deployment may, if anything; the number of a descriptor
            for that is added behind the channel's.
    """

    argv: tuple[str, ...]
    fds: tuple[int, ...] = ()
    files: Mapping[str, int] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = _PLAIN
    log: int | None = None
    answer_s: float | None = None
    queue_s: float | None = None
    start_s: float | None = None
    nest: Nest | None = None
    out: WayOut | None = None


class ModelProcess:
    """A sandboxed process that answers; restarted with back-off when it dies."""

    def __init__(self, program: Program, runner: BubblewrapRunner) -> None:
        self._program = program
        self._runner = runner
        self._lock = asyncio.Lock()  # of starting and ending
        self._process: Process | None = None
        self._channel: Channel | None = None
        self._failures = 0
        self._not_before_s = 0.0

    async def start(self) -> Said:
        """Start the process, wait until it is ready, and return what it says then.

        Raises:
            UnavailableError: It does not come to stand.
            InputError: What it runs does not load.
        """
        async with self._lock:
            return (await self._start())[1]

    async def ask(self, question: object) -> tuple[Channel, Said]:
        """Return the answer to a question, and the channel that it came by.

        Raises:
            UnavailableError: It died, or is being restarted.
            LimitExceededError: Too many were before it.
        """
        channel = self._channel or await self._restarted()
        try:
            said = await channel.ask(question)
        except OSError as error:  # it is gone
            raise await self.nonsense(channel) from error
        return channel, said

    def sound(self) -> None:
        """Note that an answer made sense."""
        self._failures = 0

    async def nonsense(self, channel: Channel) -> UnavailableError:
        """End a process that talks nonsense, or is gone; return the error to raise."""
        async with self._lock:
            if self._channel is channel:
                await self._end()
        return UnavailableError("the model process died", code="model.died")

    async def drained(self, patience_s: float) -> None:
        """Wait until everybody who waits now has an answer, or for so long."""
        if self._channel is not None:
            await self._channel.drained(patience_s)

    async def close(self) -> None:
        """End the process."""
        async with self._lock:
            await self._end()

    @property
    def pid(self) -> int | None:
        """Return the process's id, if it runs."""
        return None if self._process is None else self._process.pid

    async def _restarted(self) -> Channel:
        async with self._lock:
            if self._channel is not None:  # another request was faster
                return self._channel
            now = asyncio.get_running_loop().time()
            if now < self._not_before_s:
                raise UnavailableError("the model process is being restarted", code="model.restart")
            self._failures += 1
            self._not_before_s = now + min(30.0, 0.1 * 2.0**self._failures)
            return (await self._start())[0]

    async def _start(self) -> tuple[Channel, Said]:
        program = self._program
        ours, theirs = socket.socketpair()
        inherited = [theirs]
        try:
            if program.out is not None:
                inherited.append(await program.out.open(self._cut_off))
            handed = [one.fileno() for one in inherited]
            for one in handed:
                os.set_inheritable(one, True)  # noqa: FBT003 - os takes it by position
            self._process = await spawned(
                (*program.argv, *map(str, handed)),
                sandbox=self._runner,
                limits=program.limits,
                fds=(*program.fds, *handed),
                files=program.files,
                env=program.env,
                nest=program.nest,
                network=Network.NONE if program.out is None else Network.OWN,
                log=program.log,
            )
        except BaseException:
            ours.close()
            if program.out is not None:
                await program.out.close()
            raise
        finally:
            for end in inherited:
                end.close()
        ours.setblocking(False)  # noqa: FBT003 - socket takes it by position
        start_s = START_S if program.start_s is None else program.start_s
        answer_s = ANSWER_S if program.answer_s is None else program.answer_s
        _, channel = await asyncio.get_running_loop().create_connection(
            lambda: Channel(max(start_s, answer_s), program.queue_s), sock=ours
        )
        self._channel = channel
        try:
            hello = await asyncio.wait_for(channel.expect(), start_s)
            channel.answer_s = answer_s
        except (TimeoutError, ConnectionError) as error:
            await self._end()
            why = (
                f"took longer than {start_s:.0f} s to load or for its init()"
                if isinstance(error, TimeoutError)
                else "ended before it stood: its limits, or it ended itself"
            )
            raise UnavailableError(f"the model process {why}", code="model.start") from error
        if hello.error:
            await self._end()
            raise NotLoadedError(hello.error, hello.told)
        if hello.away:
            await self._end()
            raise UnavailableError(hello.away[:MAX_AWAY_CHARS], code="engine.start")
        return channel, hello

    async def _end(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
        process, self._process = self._process, None
        if process is not None:
            await asyncio.to_thread(process.stop, 1.0)
        if self._program.out is not None:
            await self._program.out.close()

    def _cut_off(self) -> None:
        """End a process that has lost its way out: with the next one it gets another."""
        if self._channel is not None:
            self._channel.close()


class NotLoadedError(InputError):
    """What a model process runs does not load; `told` is for our log."""

    def __init__(self, message: str, told: str) -> None:
        super().__init__(message, code="model.load")
        self.told = told


def arrays_of(said: Said) -> Arrays:
    """Return named outputs.

    Raises:
        TypeError: They are none.
        ValueError: They are none.
    """
    return [
        (name, np.frombuffer(data, dtype=np.dtype(kind)).reshape(shape))
        for name, kind, shape, data in said.outputs
    ]


def outputs_of(arrays: Arrays) -> Said:
    """Return named outputs as they travel; what is no number does not."""
    return Said(
        outputs=tuple(
            (name, value.dtype.str, value.shape, np.ascontiguousarray(value).tobytes())
            for name, value in arrays
            if value.dtype.kind != "O"
        )
    )


class IsolatedModel:
    """An ONNX model in a sandboxed process of its own."""

    def __init__(
        self,
        held: Held,
        runner: BubblewrapRunner,
        *,
        answer_s: float | None = None,
        queue_s: float | None = None,
    ) -> None:
        """Prepare; `held` is who called's to close, and the rest is of its `Program`."""
        program = Program(
            ("python", "-m", "vallum.gateway.inside", str(held.descriptor)),
            fds=(held.descriptor,),
            answer_s=answer_s,
            queue_s=queue_s,
        )
        self._process = ModelProcess(program, runner)
        self.width: int | None = None

    async def start(self) -> None:
        """Start the process and wait until its model is loaded; see `ModelProcess.start`."""
        self.width = (await self._process.start()).width

    async def predict(self, x: NDArray[np.float32]) -> Arrays:
        """Return named outputs."""
        channel, said = await self._process.ask((x.shape, x.tobytes()))
        try:
            outputs = arrays_of(said)
        except (TypeError, ValueError) as error:  # it talks nonsense
            raise await self._process.nonsense(channel) from error
        self._process.sound()
        if said.error:
            raise GateError(said.error, code="model.run")
        return outputs

    async def close(self) -> None:
        """End the process, once what was asked is answered or late."""
        await self._process.close()

    @property
    def pid(self) -> int | None:
        """Return the process's id, if it runs."""
        return self._process.pid

"""A deployment's model: in a sandboxed process of its own, or in this one where that was chosen.

The process gets the model in a sealed memory file and a socket, nothing else: no network, no
environment, no file of ours. Frames both ways: 4 bytes of length, little-endian, then MessagePack.
"""

import asyncio
import hashlib
import os
import socket
import struct
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from vallum.base import GateError, InputError, IntegrityError, UnavailableError
from vallum.sandbox import BubblewrapRunner, Limits, Process, memory_file, spawn

MAX_FRAME_BYTES = 256 * 1024 * 1024
START_S = 20.0
ANSWER_S = 30.0
_LENGTH = struct.Struct("<I")

Arrays = list[tuple[str, NDArray[np.generic]]]


class Answer(msgspec.Struct, frozen=True):
    """What a model process says."""

    error: str = ""
    width: int | None = None
    outputs: tuple[tuple[str, str, tuple[int, ...], bytes], ...] = ()


class Model(Protocol):
    """Predicts; `width` is the number of features, None if any."""

    width: int | None

    async def predict(self, x: NDArray[np.float32]) -> Arrays:
        """Return named outputs for `x`, shape (n, d).

        Raises:
            UnavailableError: It died or hangs; it is being restarted.
            GateError: It failed on this input.
        """
        ...

    def verify(self) -> None:
        """Check that the bytes it was loaded from are still what was registered.

        Raises:
            IntegrityError: They are not.
        """
        ...

    async def close(self) -> None:
        """End it."""
        ...


class _Held:
    """The sealed bytes of a model, and their digest."""

    def __init__(self, data: bytes, sha256: str) -> None:
        self.descriptor = memory_file(data)
        self._sha256 = sha256
        self._size = len(data)

    def verify(self) -> None:
        """Hash the memory again."""
        total = hashlib.sha256()
        offset = 0
        while chunk := os.pread(self.descriptor, 1 << 20, offset):
            total.update(chunk)
            offset += len(chunk)
        if f"sha256:{total.hexdigest()}" != self._sha256 or offset != self._size:
            raise IntegrityError("the running model's bytes changed", code="model.changed")

    def close(self) -> None:
        """Free the memory."""
        os.close(self.descriptor)


class Session:
    """A loaded ONNX model of standard operators, on one thread.

    Attributes:
        width: Number of features that it takes, None if any.
    """

    def __init__(self, data: bytes) -> None:
        """Load a model.

        Raises:
            InputError: It does not load, or does not take one matrix.
        """
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises bare RuntimeErrors of many kinds
            raise InputError("the model does not load", code="model.load") from error
        inputs = session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 2:  # noqa: PLR2004 - rows and columns
            raise InputError("the model does not take one matrix", code="model.load")
        width = inputs[0].shape[1]
        self.width: int | None = width if isinstance(width, int) else None
        self._run = session.run
        self._input: str = inputs[0].name
        self._outputs: list[str] = [one.name for one in session.get_outputs()]

    def run(self, x: NDArray[np.float32]) -> Arrays:
        """Run it.

        Raises:
            GateError: It answers something that is no array.
            Exception: Of onnxruntime, of many kinds: it fails on this input.
        """
        out: Arrays = []
        for name, value in zip(
            self._outputs, self._run(self._outputs, {self._input: x}), strict=True
        ):
            if not isinstance(value, np.ndarray):
                raise GateError("the model answers what is no tensor", code="model.output")
            out.append((name, value))
        return out


class InProcessModel:
    """An ONNX model of standard operators inside the gateway: a deployment's explicit choice."""

    def __init__(self, data: bytes, sha256: str) -> None:
        self._held = _Held(data, sha256)
        self._session = Session(data)
        self.width = self._session.width

    async def predict(self, x: NDArray[np.float32]) -> Arrays:
        """Return named outputs; small models are faster than a hop to a thread."""
        try:
            return self._session.run(x)
        except GateError:
            raise
        except Exception as error:  # onnxruntime raises bare RuntimeErrors of many kinds
            raise GateError("the model failed on this input", code="model.run") from error

    def verify(self) -> None:
        """Check the bytes again."""
        self._held.verify()

    async def close(self) -> None:
        """Free the memory."""
        self._held.close()


class IsolatedModel:
    """A model in a sandboxed process; restarted with back-off when it dies."""

    def __init__(self, data: bytes, sha256: str, runner: BubblewrapRunner) -> None:
        self._held = _Held(data, sha256)
        self._runner = runner
        self._lock = asyncio.Lock()
        self._process: Process | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._failures = 0
        self._not_before_s = 0.0
        self.width: int | None = None

    async def start(self) -> None:
        """Start the process and wait until its model is loaded.

        Raises:
            UnavailableError: It does not come to stand.
            InputError: Its model does not load.
        """
        ours, theirs = socket.socketpair()
        try:
            os.set_inheritable(theirs.fileno(), True)  # noqa: FBT003 - os takes it by position
            self._process = await asyncio.to_thread(
                spawn,
                (
                    "python", "-m", "vallum.gateway.inside", str(self._held.descriptor),
                    str(theirs.fileno()),
                ),
                sandbox=self._runner,
                limits=Limits(memory_bytes=2 * 1024**3, processes=32, open_files=64),
                fds=(self._held.descriptor, theirs.fileno()),
            )  # fmt: skip
        finally:
            theirs.close()
        ours.setblocking(False)  # noqa: FBT003 - socket takes it by position
        self._reader, self._writer = await asyncio.open_connection(sock=ours, limit=MAX_FRAME_BYTES)
        try:
            hello = await asyncio.wait_for(self._receive(), START_S)
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError) as error:
            await self._end()
            raise UnavailableError("the model process did not start", code="model.start") from error
        if hello.error:
            await self._end()
            raise InputError(hello.error, code="model.load")
        self.width = hello.width

    async def predict(self, x: NDArray[np.float32]) -> Arrays:
        """Return named outputs; one request at a time is in the process."""
        async with self._lock:
            if self._writer is None:
                await self._restart()
            try:
                body = msgspec.msgpack.encode((x.shape, x.tobytes()))
                writer = self._writer
                if writer is None:
                    raise ConnectionError
                writer.write(_LENGTH.pack(len(body)) + body)
                answer = await asyncio.wait_for(self._receive(), ANSWER_S)
            except (TimeoutError, asyncio.IncompleteReadError, ConnectionError, OSError) as error:
                await self._end()
                raise UnavailableError("the model process died", code="model.died") from error
            self._failures = 0
        if answer.error:
            raise GateError(answer.error, code="model.run")
        return [
            (name, np.frombuffer(data, dtype=np.dtype(kind)).reshape(shape))
            for name, kind, shape, data in answer.outputs
        ]

    def verify(self) -> None:
        """Check the sealed bytes again."""
        self._held.verify()

    async def close(self) -> None:
        """End the process."""
        async with self._lock:
            await self._end()
        self._held.close()

    @property
    def pid(self) -> int | None:
        """Return the process's id, if it runs."""
        return None if self._process is None else self._process.pid

    async def _restart(self) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._not_before_s:
            raise UnavailableError("the model process is being restarted", code="model.restart")
        self._failures += 1
        self._not_before_s = now + min(30.0, 0.1 * 2.0**self._failures)
        await self.start()

    async def _receive(self) -> Answer:
        if self._reader is None:
            raise ConnectionError
        length = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))[0]
        if length > MAX_FRAME_BYTES:
            raise ConnectionError
        body = await self._reader.readexactly(length)
        try:
            return msgspec.msgpack.decode(body, type=Answer)
        except msgspec.DecodeError as error:
            raise ConnectionError from error

    async def _end(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None
        process, self._process = self._process, None
        if process is not None:
            await asyncio.to_thread(process.stop, 1.0)

"""One payload that stays open in its sandbox, and is asked again and again."""

import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Collection, Mapping
from typing import Final, Self, TypeVar

import msgspec

from vallum.base import GateError, InputError, UnavailableError
from vallum.sandbox.bubblewrap import BubblewrapRunner
from vallum.sandbox.check import CHECK_LIMITS, decode_answer, launch
from vallum.sandbox.inside import STARTED
from vallum.sandbox.job import Limits
from vallum.sandbox.memory import memory_file
from vallum.sandbox.outcome import last_line, mend
from vallum.sandbox.watch import Ending, kill

R = TypeVar("R")

_ARGUMENT_BYTES: Final = 48 * 1024
_SAID_BYTES: Final = 64 * 1024
_HEAD: Final = 4


class Resident:
    """A sandbox with one payload, opened by one function; answers one question at a time.

    The function is called once with the payload and returns what is called for each question. CPU
    seconds are not bounded, since it lives on; `wall_s` bounds opening and every answer, and who
    is late is killed.
    """

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        channel: socket.socket,
        limits: Limits,
        runner: BubblewrapRunner,
    ) -> None:
        self._process = process
        self._channel: socket.socket | None = channel
        self._limits = limits
        self._runner = runner
        self._lock = threading.Lock()
        self._stands = False  # once it does, whatever ends it is the payload's doing

    @classmethod
    def open(
        cls,
        runner: BubblewrapRunner,
        function: str,
        payload: bytes,
        *,
        allowed: Collection[str],
        arguments: Mapping[str, object],
        limits: Limits = CHECK_LIMITS,
    ) -> Self:
        """Start a sandbox and have `function(payload, **arguments)` open the payload in it.

        Raises:
            InputError: The function is not in `allowed`, or the payload's own fault.
            LimitExceededError: A bound on the payload.
            GateError: The sandbox was killed or late.
            UnavailableError: It did not come to stand.
        """
        message = msgspec.msgpack.encode(dict(arguments))
        if len(message) > _ARGUMENT_BYTES:
            raise InputError("the arguments are too long", code="sandbox.arguments")
        process, ours = launch(
            runner, "attend", function, allowed=allowed, limits=limits, lives_on=True
        )
        made = cls(process, ours, limits, runner)
        payload_fd = memory_file(payload)
        try:
            with contextlib.suppress(OSError):  # it has died: receiving tells
                socket.send_fds(ours, [message], [payload_fd])
        finally:
            os.close(payload_fd)
        try:
            deadline = time.monotonic() + limits.wall_s
            if made._receive(len(STARTED), deadline) != STARTED:
                raise UnavailableError(
                    "the sandbox did not come to stand", code="sandbox.not-started"
                )
            made._stands = True
            decode_answer(made._frame(deadline), type(None))
        except BaseException:
            made.close()
            raise
        return made

    def ask(
        self,
        report_type: type[R],
        arguments: Mapping[str, object],
        *,
        max_bytes: int = _ARGUMENT_BYTES,
        wall_s: float | None = None,
    ) -> R:
        """Return the answer to one question.

        Args:
            report_type: What it must be.
            arguments: Of the function that opening returned.
            max_bytes: Of the question.
            wall_s: Seconds for the answer, where they are fewer than the sandbox's own.

        Raises:
            InputError: The question's own fault, or it is too long.
            GateError: The sandbox was killed or late; it is gone then.
        """
        message = msgspec.msgpack.encode(dict(arguments))
        if len(message) > max_bytes:
            raise InputError("the arguments are too long", code="sandbox.arguments")
        patience_s = self._limits.wall_s if wall_s is None else min(wall_s, self._limits.wall_s)
        deadline = time.monotonic() + patience_s
        with self._lock:
            if self._channel is None:
                raise GateError("the sandbox has ended", code="sandbox.killed")
            try:
                with contextlib.suppress(OSError):
                    self._channel.settimeout(max(0.001, patience_s))
                    self._channel.sendall(len(message).to_bytes(_HEAD, "big") + message)
                raw = self._frame(deadline)
            except BaseException:
                self._end()
                raise
        return decode_answer(raw, report_type)

    def close(self) -> None:
        """End the sandbox, and with it every copy of the payload."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._channel is None:
            return
        self._channel.close()
        self._channel = None
        kill(self._process)
        code = self._process.wait()
        self._runner.finish(self._process, Ending(code, "", 0.0, 0))
        if self._process.stderr is not None:
            self._process.stderr.close()

    def _frame(self, deadline: float) -> bytes:
        length = int.from_bytes(self._receive(_HEAD, deadline), "big")
        if length > self._limits.output_bytes:
            raise GateError(
                "the check wrote more to `report` than allowed", code="sandbox.report-large"
            )
        return self._receive(length, deadline)

    def _receive(self, count: int, deadline: float) -> bytes:
        """Receive exactly `count` bytes before `deadline`."""
        channel = self._channel
        if channel is None:
            raise GateError("the sandbox has ended", code="sandbox.killed")
        out = bytearray()
        while len(out) < count:
            try:
                channel.settimeout(max(0.001, deadline - time.monotonic()))
                chunk = channel.recv(min(1 << 20, count - len(out)))
            except TimeoutError as error:
                raise GateError("the check took longer than it had", code="sandbox.late") from error
            except OSError:
                chunk = b""
            if not chunk:
                raise self._ended()
            out += chunk
        return bytes(out)

    def _ended(self) -> UnavailableError | GateError:
        if self._process.stderr is None:
            raise AssertionError("started without a pipe")
        kill(self._process)
        said = self._process.stderr.read(_SAID_BYTES)
        if self._stands or not said or b"Traceback" in said:
            # Not what it said: that may quote the payload.
            return GateError("the check ended before it answered", code="sandbox.killed")
        return UnavailableError(
            f"the sandbox did not come to stand: {last_line(said)}",
            code="sandbox.not-started",
            hint=mend(said),
        )

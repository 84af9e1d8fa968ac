"""Our own pure functions over hostile bytes, each in a sandbox that sees one subject only."""

import contextlib
import os
import re
import socket
import subprocess
import sysconfig
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import msgspec

from vallum.base import GateError, InputError, LimitExceededError, UnavailableError, VallumError
from vallum.base.bounds import GIB, KIB, MIB
from vallum.formats import Ranged
from vallum.sandbox.bubblewrap import BubblewrapRunner
from vallum.sandbox.inside import STARTED
from vallum.sandbox.job import Limits
from vallum.sandbox.memory import memory_file
from vallum.sandbox.outcome import last_line, mend
from vallum.sandbox.ranges import ServedRanges
from vallum.sandbox.start import inside
from vallum.sandbox.watch import Ending, Stream, kill, watch

R = TypeVar("R")

CHECK_LIMITS = Limits(
    memory_bytes=4 * GIB,
    cpu_s=120,
    wall_s=120.0,
    processes=32,
    open_files=64,
    file_bytes=64 * MIB,
    tmp_bytes=64 * MIB,
    output_bytes=16 * MIB,
)
"""Generous for a table in memory; a gate that knows its subject passes its own."""

_STDERR_BYTES = 64 * KIB
_ARGUMENT_BYTES = 48 * KIB  # one message, with the payload's descriptor
_CODE = re.compile(r"[a-z0-9.-]{1,64}")
_TEXT_CHARS = 400
_CLASSES: Mapping[str, type[VallumError]] = {
    "InputError": InputError,
    "LimitExceededError": LimitExceededError,
    "GateError": GateError,
}
THREADS = dict.fromkeys(  # few: a check is small, and every thread counts as a process
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS"), "2"
)


class Check:
    """A sandbox that has imported one function and waits for the one payload that it will see.

    Start it ahead of time where the import is slow; close it, or use it as a context manager.
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
        self._runner = runner  # its thread is the child's parent in the kernel's eyes

    @classmethod
    def start(
        cls,
        runner: BubblewrapRunner,
        function: str,
        *,
        allowed: Collection[str],
        limits: Limits = CHECK_LIMITS,
    ) -> Self:
        """Start a sandbox for `function` (`vallum.package.module:name`).

        Args:
            runner: The runner whose sandbox it is.
            function: What to call: `function(payload: bytes, **arguments) -> report`, with a
                `Ranged` after the payload where there is one beside it.
            allowed: The table of all functions that may be called this way.
            limits: The bounds; `output_bytes` bounds the report.

        Raises:
            InputError: `function` is not in `allowed`, or not one of ours.
            UnavailableError: no process can be started.
        """
        process, ours = launch(runner, "check", function, allowed=allowed, limits=limits)
        return cls(process, ours, limits, runner)

    def serve(
        self,
        payload: bytes | memoryview,
        report_type: type[R],
        arguments: Mapping[str, object] | None = None,
        *,
        beside: Ranged | None = None,
    ) -> R:
        """Hand over the payload and return the decoded report. Once.

        With `beside` the function gets bytes that stay here, after the payload: it asks for the
        ranges that it needs.

        Raises:
            VallumError: what reading `beside` raised.
            InputError: the payload's own fault, as the function said, or too many arguments.
            LimitExceededError: likewise, a bound on the payload.
            GateError: likewise; or `sandbox.late`, `sandbox.killed`, `sandbox.report-large` or
                `sandbox.report-undecodable`: there is no verdict.
            UnavailableError: the sandbox did not come to stand.
        """
        if self._channel is None:
            raise GateError("the check has served its payload", code="sandbox.used")
        message = msgspec.msgpack.encode(dict(arguments or {}))
        if len(message) > _ARGUMENT_BYTES:
            raise InputError("the arguments of a check are too long", code="sandbox.arguments")
        channel, self._channel = self._channel, None
        served = None if beside is None else ServedRanges(beside)
        payload_fd = memory_file(payload)
        fds = [payload_fd] if served is None else [payload_fd, served.theirs]
        try:
            with contextlib.suppress(OSError):  # it has died; watching it tells how
                socket.send_fds(channel, [message], fds)
                channel.shutdown(socket.SHUT_WR)
        finally:
            os.close(payload_fd)
            if served is not None:
                served.start()
        said = Stream(_pipe(self._process), _STDERR_BYTES, "stderr")
        report = Stream(channel.detach(), self._limits.output_bytes, "report")
        try:
            ending = watch(
                self._process,
                [report, said],
                wall_s=self._limits.wall_s,
                memory_bytes=self._limits.memory_bytes,
            )
        finally:
            if served is not None:
                served.close()
        ending, _ = self._runner.finish(self._process, ending)
        return _decode(ending, bytes(report.data), said.data, report_type, self._limits)

    def close(self) -> None:
        """End the sandbox if it has not served."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
            kill(self._process)
            code = self._process.wait()
            self._runner.finish(self._process, Ending(code, "", 0.0, 0))
            if self._process.stderr is not None:
                self._process.stderr.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def run_check(
    runner: BubblewrapRunner,
    function: str,
    payload: bytes | memoryview,
    *,
    report_type: type[R],
    allowed: Collection[str],
    arguments: Mapping[str, object] | None = None,
    limits: Limits = CHECK_LIMITS,
    beside: Ranged | None = None,
) -> R:
    """Call one of our pure functions over `payload` in a fresh sandbox; see `Check`."""
    with Check.start(runner, function, allowed=allowed, limits=limits) as check:
        return check.serve(payload, report_type, arguments, beside=beside)


def launch(
    runner: BubblewrapRunner,
    entry: str,
    function: str,
    *,
    allowed: Collection[str],
    limits: Limits,
    lives_on: bool = False,
) -> tuple["subprocess.Popen[bytes]", socket.socket]:
    """Start a sandbox at `entry` for one of our functions; return it and the channel to it.

    Args:
        runner: The runner whose sandbox it is.
        entry: What runs inside; it gets the function and the channel.
        function: What it shall call.
        allowed: The table of all functions that may be called this way.
        limits: The bounds.
        lives_on: Whether its seconds of CPU are not bounded.

    Raises:
        InputError: `function` is not in `allowed`, or not one of ours.
        UnavailableError: No process can be started.
    """
    module, name, path = look_up(function, allowed)
    ours, theirs = socket.socketpair()
    with theirs:
        spec = {
            "channel": theirs.fileno(),
            "limits": msgspec.to_builtins(limits) | ({"cpu_s": None} if lives_on else {}),
            "module": module,
            "name": name,
            "path": path,
        }
        try:
            process = runner.start(
                inside(entry, spec),
                limits=limits,
                fds=(theirs.fileno(),),
                env=THREADS,
                stderr=subprocess.PIPE,
            )
        except BaseException:
            ours.close()
            raise
    return process, ours


def look_up(function: str, allowed: Collection[str]) -> tuple[str, str, list[str]]:
    """Return module, name and import path of a function in the table of checks.

    Raises:
        InputError: It is not there, or not one of ours.
    """
    module, _, name = function.partition(":")
    if function not in allowed or not module.startswith("vallum.") or not name.isidentifier():
        raise InputError(
            f"`{function}` is not in the table of checks", code="sandbox.unknown-check"
        )
    return module, name, import_path()


def import_path() -> list[str]:
    """Return the folders that packages and vallum are imported from, for an isolated start."""
    source = str(Path(__file__).parents[2])
    paths = sysconfig.get_paths()
    return list(dict.fromkeys((paths["purelib"], paths["platlib"], source)))


class _Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    report: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    refusal: tuple[str, str, str, str] | None = None


def _decode(
    ending: Ending, raw: bytes, said: bytearray, report_type: type[R], limits: Limits = CHECK_LIMITS
) -> R:
    if ending.reason == "wall":
        raise GateError(f"the check took longer than {ending.wall_s:.0f} s", code="sandbox.late")
    if ending.reason == "memory":
        raise GateError("the check held more memory than allowed", code="sandbox.killed")
    if ending.reason:
        raise GateError(
            f"the check wrote more to `{ending.reason}` than allowed", code="sandbox.report-large"
        )
    if not raw.startswith(STARTED):
        raise UnavailableError(
            f"the sandbox did not come to stand: {last_line(said)}",
            code="sandbox.not-started",
            hint=mend(said),
        )
    if ending.exit_code != 0:
        # Not what it said on stderr: that may quote the payload.
        raise GateError(
            f"the check ended with code {ending.exit_code}",
            code="sandbox.killed",
            hint=f"it may have needed more than its {limits.memory_bytes / GIB:.0f} GiB of memory:"
            " give it less at once",
        )
    return decode_answer(raw[len(STARTED) :], report_type)


def decode_answer(raw: bytes, report_type: type[R]) -> R:
    """Return the report in an answer.

    Raises:
        InputError: It is a refusal, or a bound was exceeded (`LimitExceededError`).
        GateError: It is neither a report nor a refusal of ours.
    """
    try:
        answer = msgspec.msgpack.decode(raw, type=_Answer)
        if answer.refusal is not None:
            raise _refusal(*answer.refusal)
        if isinstance(answer.report, msgspec.UnsetType):
            raise GateError("the check gave no report", code="sandbox.report-undecodable")
        return msgspec.msgpack.decode(answer.report, type=report_type)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise GateError(
            "the check's report does not fit its schema", code="sandbox.report-undecodable"
        ) from error


def _refusal(kind: str, code: str, message: str, hint: str) -> VallumError:
    """Return the error that the function said, bounded and of three classes only."""
    error = _CLASSES.get(kind)
    if error is None or not _CODE.fullmatch(code):
        return GateError(
            "the check's refusal is not one of ours", code="sandbox.report-undecodable"
        )
    return error(message[:_TEXT_CHARS], code=code, hint=hint[:_TEXT_CHARS])


def _pipe(process: "subprocess.Popen[bytes]") -> int:
    if process.stderr is None:
        raise AssertionError("started without a pipe")
    fd = os.dup(process.stderr.fileno())
    process.stderr.close()
    return fd

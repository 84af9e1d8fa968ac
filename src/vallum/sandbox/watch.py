"""The outside of one running sandbox: reads its pipes within bounds and ends it in time."""

import os
import selectors
import signal
import subprocess
import time
from dataclasses import dataclass, field

from vallum.sandbox.tree import held_bytes

_CHUNK = 1 << 16
_SAMPLE_S = 0.05  # how often the memory of all processes together is looked at


@dataclass(slots=True)
class Stream:
    """One pipe from the sandbox, its bound and what has come so far."""

    fd: int
    bound: int
    what: str
    data: bytearray = field(default_factory=bytearray)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a watched process ended, seen from outside."""

    exit_code: int
    reason: str  # which of our bounds ended it: `wall`, `stdout`, `report` …; or empty
    wall_s: float
    max_rss_bytes: int


def watch(
    process: "subprocess.Popen[bytes]", streams: list[Stream], *, wall_s: float, memory_bytes: int
) -> Ending:
    """Read every stream to its end, then reap `process`; kill it over a bound or out of time.

    rlimits bound the memory of each process, not of all: their sum is sampled, so it can be
    exceeded for the length of one sample, never for long.

    All pipes at their end means that no process of the sandbox is left that could hold one. The
    pipes are closed on return.
    """
    start = time.monotonic()
    deadline = start + wall_s
    sample_at = start + _SAMPLE_S
    reason = ""
    try:
        with selectors.DefaultSelector() as selector:
            for stream in streams:
                os.set_blocking(stream.fd, False)
                selector.register(stream.fd, selectors.EVENT_READ, stream)
            while selector.get_map():
                now = time.monotonic()
                if now >= deadline:
                    reason = "wall"
                    break
                if now >= sample_at:
                    sample_at = now + _SAMPLE_S
                    if held_bytes(process.pid) > memory_bytes:
                        reason = "memory"
                        break
                for key, _ in selector.select(min(deadline, sample_at) - now):
                    reason = _read(selector, key.data)
                    if reason:
                        break
                if reason:
                    break
        if not reason and not _ends(process, deadline):
            reason = "wall"
    finally:
        kill(process)
        code, max_rss = _reap(process)
        for stream in streams:
            os.close(stream.fd)
    return Ending(code, reason, time.monotonic() - start, max_rss)


def kill(process: "subprocess.Popen[bytes]") -> None:
    """End a process that we have not reaped yet, and with bubblewrap all that is in it."""
    if process.returncode is None:
        os.kill(process.pid, signal.SIGKILL)  # ours until reaped, so the number is not reused


def _read(selector: selectors.BaseSelector, stream: Stream) -> str:
    """Take what is there; return the name of the stream if it is over its bound."""
    try:
        data = os.read(stream.fd, _CHUNK)
    except ConnectionResetError:  # a socket whose other end died with unread bytes
        data = b""
    if not data:
        selector.unregister(stream.fd)
        return ""
    stream.data += data
    if len(stream.data) > stream.bound:
        del stream.data[stream.bound :]
        return stream.what
    return ""


def _ends(process: "subprocess.Popen[bytes]", deadline: float) -> bool:
    """Wait until the process has ended, without reaping it; false when out of time."""
    pause = 0.0005
    while time.monotonic() < deadline:
        found = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is not None:
            return True
        time.sleep(pause)
        pause = min(pause * 2, 0.02)
    return False


def _reap(process: "subprocess.Popen[bytes]") -> tuple[int, int]:
    _, status, usage = os.wait4(process.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    process.returncode = code
    return (128 - code if code < 0 else code), usage.ru_maxrss * 1024

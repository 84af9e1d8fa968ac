"""Makes an outcome of what was seen from outside and what the sandbox said."""

import signal
from pathlib import Path

import msgspec

from vallum.base import UnavailableError
from vallum.sandbox.inside import STARTED
from vallum.sandbox.job import Job, Outcome, Status
from vallum.sandbox.watch import Ending, Stream

HELD = (
    "namespaces",
    "no-new-privs",
    "seccomp",
    "uid",
    "wall",
    "memory-sampled",
    "rlimit-data",
    "rlimit-cpu",
    "rlimit-nproc",
    "rlimit-nofile",
    "rlimit-fsize",
    "tmpfs-size",
    "output",
)


_CPU = 128 + signal.SIGXCPU
_FSIZE = 128 + signal.SIGXFSZ
_SIGNALLED = 128


def judge(
    ending: Ending,
    out: Stream,
    err: Stream,
    report: Stream,
    job: Job,
    *,
    enforced: tuple[str, ...] = (),
) -> Outcome:
    """Return the outcome of a run whose process is reaped; `enforced` is held beside the rest.

    Raises:
        UnavailableError: the sandbox never stood; the hint is the command that mends it.
    """
    raw = bytes(report.data)
    if not raw.startswith(STARTED) and ending.reason != "wall":
        raise UnavailableError(
            f"the sandbox did not come to stand: {last_line(err.data)}",
            code="sandbox.not-started",
            hint=mend(err.data),
        )
    outputs, head = _files(raw[1:], job)
    status, reason = _status(ending, head)
    return Outcome(
        status=status,
        exit_code=ending.exit_code,
        stdout=bytes(out.data),
        stderr=bytes(err.data),
        outputs={} if ending.reason else outputs,
        enforced=(*HELD, *enforced),
        reason=reason,
        wall_s=ending.wall_s,
        max_rss_bytes=max(ending.max_rss_bytes, 0 if head is None else head.rss),
    )


def _status(ending: Ending, head: "_Head | None") -> tuple[Status, str]:
    if ending.reason == "wall":
        return Status.TIMEOUT, "wall"
    if ending.reason:
        return Status.LIMIT, ending.reason
    if ending.exit_code == _CPU:
        return Status.LIMIT, "cpu"
    if ending.exit_code == _FSIZE:
        return Status.LIMIT, "file"
    if ending.exit_code > _SIGNALLED:
        return Status.KILLED, ""
    if head is None:
        return Status.FAILED, "report"
    if head.too_large:
        return Status.LIMIT, "outputs"
    return (Status.OK if ending.exit_code == 0 else Status.FAILED), ""


def _files(raw: bytes, job: Job) -> "tuple[dict[str, bytes], _Head | None]":
    """Cut the report into files; a report that does not fit its own head gives none."""
    head_bytes, _, body = raw.partition(b"\n")
    try:
        head = msgspec.json.decode(head_bytes, type=_Head)
    except msgspec.MsgspecError:
        return {}, None
    files: dict[str, bytes] = {}
    at = 0
    for name, length in head.files:
        if name not in job.outputs or name in files or not 0 <= length <= len(body) - at:
            return {}, None
        files[name] = body[at : at + length]
        at += length
    return files, head


class _Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rss: int
    files: list[tuple[str, int]]
    too_large: bool = False


def last_line(data: bytes | bytearray) -> str:
    """Return the end of what was said, short enough for a message."""
    lines = bytes(data).decode(errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else "it said nothing"


def mend(said: bytes | bytearray) -> str:
    """Return the one command that answers what bubblewrap said."""
    text = bytes(said).decode(errors="replace").lower()
    if "namespace" in text or "uid map" in text or "operation not permitted" in text:
        if Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").exists():
            return "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
        if Path("/proc/sys/kernel/unprivileged_userns_clone").exists():
            return "sudo sysctl -w kernel.unprivileged_userns_clone=1"
        return "sudo sysctl -w user.max_user_namespaces=15000"
    if "unknown option" in text:
        return "sudo apt-get install --yes bubblewrap  # 0.8 or later"
    return ""

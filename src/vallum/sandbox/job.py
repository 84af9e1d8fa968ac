"""What is asked of a sandbox and what comes back."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from vallum.base import InputError
from vallum.base.bounds import GIB, KIB, MIB
from vallum.schema import Record

_ARGV_BYTES = 16 * KIB  # it travels escaped in one word of a command, which the kernel bounds
_MAX_FILES = 128  # each may be one descriptor
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")


class Limits(Record, frozen=True):
    """The bounds of one sandbox; every one of them is always set.

    `memory_bytes` bounds the private memory of each process at every moment, and that of all
    together within a twentieth of a second; `cpu_s` is per process; `processes` counts threads
    too, as the kernel does.
    """

    memory_bytes: int = 2 * GIB
    cpu_s: int = 600
    wall_s: float = 900.0
    processes: int = 64
    open_files: int = 256
    file_bytes: int = 1 * GIB
    tmp_bytes: int = 256 * MIB
    output_bytes: int = 64 * MIB


@dataclass(frozen=True, slots=True)
class Input:
    """A read-only file or folder at `/in/<name>`: either its bytes or where it lies outside."""

    name: str
    data: bytes | None = field(default=None, repr=False)
    path: Path | None = None

    def __post_init__(self) -> None:
        _check_file_name(self.name)
        if (self.data is None) == (self.path is None):
            raise InputError(
                f"input `{self.name}` needs either data or a path", code="sandbox.input-source"
            )


class Network(StrEnum):
    """What sockets a sandbox has beside Unix sockets."""

    NONE = "none"
    OWN = "own"  # TCP in a network of its own, which leads nowhere
    MACHINE = "machine"  # this machine's; for doors of ours only


@dataclass(frozen=True, slots=True)
class Nest:
    """That a sandbox is a door of ours which opens sandboxes of its own, and has no filter.

    It sees as little as every other, and it keeps its bounds.

    Attributes:
        shared_bytes: Of memory that its processes share.
        network: It is on this machine's network; else it has one of its own, which leads nowhere.
    """

    shared_bytes: int
    network: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """One untrusted run.

    Attributes:
        argv: The command; a first word `python` is our own interpreter.
        inputs: What appears under `/in`.
        limits: The bounds.
        outputs: File names that are fetched from `/out` if they are there afterwards.
        code: What appears under `/code`, read-only.
    """

    argv: tuple[str, ...]
    inputs: tuple[Input, ...] = ()
    limits: Limits = field(default_factory=Limits)
    outputs: tuple[str, ...] = ()
    code: Mapping[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.argv or any("\0" in word for word in self.argv):
            raise InputError("a job needs a command without NUL", code="sandbox.argv")
        if sum(len(word.encode(errors="replace")) + 1 for word in self.argv) > _ARGV_BYTES:
            raise InputError("the command of a job is too long", code="sandbox.argv")
        if max(len(self.inputs), len(self.outputs), len(self.code)) > _MAX_FILES:
            raise InputError(
                f"a job has at most {_MAX_FILES} inputs, outputs and code files",
                code="sandbox.files",
            )
        for name in (*self.outputs, *self.code):
            _check_file_name(name)
        names = [entry.name for entry in self.inputs]
        if len(set(names)) != len(names):
            raise InputError("two inputs have the same name", code="sandbox.input-twice")


class Status(StrEnum):
    """How a run ended."""

    OK = "ok"
    FAILED = "failed"
    KILLED = "killed"
    TIMEOUT = "timeout"
    LIMIT = "limit"


class Outcome(Record, frozen=True):
    """What a run left behind. Everything in it was said by untrusted code, but for the figures.

    Attributes:
        status: How it ended; only `ok` means that the command returned 0.
        exit_code: The command's, or 128 + signal.
        stdout: At most `limits.output_bytes`.
        stderr: At most `limits.output_bytes`.
        outputs: The expected files that were there, at most `limits.output_bytes` together.
        enforced: Which bounds really held, for the evidence.
        reason: Which bound was hit, empty otherwise.
        wall_s: Seconds from start to end.
        max_rss_bytes: The largest resident set among the processes.
    """

    status: Status
    exit_code: int
    stdout: bytes
    stderr: bytes
    outputs: dict[str, bytes]
    enforced: tuple[str, ...]
    reason: str
    wall_s: float
    max_rss_bytes: int


class Runner(Protocol):
    """The port: runs untrusted code with nothing but what the job names."""

    def run(self, job: Job) -> Outcome:
        """Run `job` to its end.

        Raises:
            InputError: the job names something that cannot be given to it.
            UnavailableError: no sandbox can be had on this machine.
        """
        ...


def _check_file_name(name: str) -> None:
    if not _FILE_NAME.fullmatch(name):
        raise InputError(f"{name[:40]!a} is not a plain file name", code="sandbox.file-name")

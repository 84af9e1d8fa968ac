"""Starts processes: the one place where one is made, always through the launcher."""

import json
import os
import pwd
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vallum.base import UnavailableError
from vallum.sandbox.memory import memory_file

_HERE = Path(__file__).parent
_UIDS = (0x6000_0000, 0x7000_0000)  # far from people, subuids and containers


class Starter:
    """A thread that starts processes and lives as long as this object.

    The kernel ends a child when the *thread* that started it is gone (PR_SET_PDEATHSIG), so a
    request's thread must not be the one.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vallum-starter")

    def launch(
        self,
        spec: Mapping[str, object],
        fds: Sequence[int] = (),
        *,
        stdout: int | None = subprocess.DEVNULL,
        stderr: int | None = subprocess.DEVNULL,
    ) -> "subprocess.Popen[bytes]":
        """Start the launcher on `spec`; see `launcher.main` for its fields.

        Raises:
            UnavailableError: the machine gives no further process or descriptor.
        """
        return self._thread.submit(_launch, spec, fds, stdout, stderr).result()


def _launch(
    spec: Mapping[str, object], fds: Sequence[int], stdout: int | None, stderr: int | None
) -> "subprocess.Popen[bytes]":
    spec_fd = memory_file(json.dumps({**spec, "parent": os.getpid()}).encode())
    try:
        return subprocess.Popen(  # noqa: S603 - our own interpreter and file
            [*python(_HERE / "launcher.py"), str(spec_fd)],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env={},
            cwd="/",
            pass_fds=(*fds, spec_fd),
            start_new_session=True,
        )
    except OSError as error:
        raise UnavailableError("no process can be started", code="sandbox.no-process") from error
    finally:
        os.close(spec_fd)


def python(script: Path) -> list[str]:
    """Return the command for one of our scripts: isolated, no site, no bytecode written."""
    return [sys.executable, "-I", "-S", "-B", str(script)]


def inside(mode: str, spec: Mapping[str, object]) -> list[str]:
    """Return the command for the first program inside a sandbox."""
    return [*python(_HERE / "inside.py"), mode, json.dumps(spec)]


def unused_uid() -> int:
    """Return a uid, drawn by chance, that no account has, out of those this namespace maps."""
    spans = []
    for line in Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines():
        first, _, count = map(int, line.split())
        spans.append((first, count))
    first, count = max(spans, key=lambda span: span[1])
    low, high = max(first, _UIDS[0]), min(first + count, _UIDS[1])
    if low >= high:  # a container with few uids: its upper half
        low, high = first + count // 2, first + count
    for _ in range(64):
        uid = low + secrets.randbelow(max(1, high - low))
        if uid != 0 and not _known(uid):
            return uid
    raise UnavailableError(
        "no unused uid is mapped here",
        code="sandbox.no-uid",
        hint="run vallum as a normal user",
    )


def _known(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True

"""A control group for each sandbox, where this machine lets us make one.

It bounds the memory and the processes of all that runs inside together, at every moment; without
one, resource limits of each process and samples of their sum hold (`watch`). Version 2 is used
where our own group may hand its controllers down, version 1 where its folders can be written.

Source: the kernel's Documentation/admin-guide/cgroup-v1 and cgroup-v2.
"""

import contextlib
import os
import secrets
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from vallum.base.bounds import MIB
from vallum.sandbox.job import Limits

_PREFIX = "vallum-"
_CONTROLLERS = ("memory", "pids")
_SLACK_BYTES = 16 * MIB  # the kernel's own pages for the group's processes
_SLACK_PROCESSES = 4  # bubblewrap and the first program inside
_GONE_S = 2.0  # how long killed processes may take to leave


class Group:
    """The folders of one sandbox's control group."""

    def __init__(self, folders: dict[str, Path], version: int) -> None:
        self._folders = folders
        self._version = version

    @property
    def entrances(self) -> list[str]:
        """The files that a process writes its number to, to be in the group."""
        return [str(folder / "cgroup.procs") for folder in dict.fromkeys(self._folders.values())]

    @property
    def enforced(self) -> tuple[str, ...]:
        """What it bounds, as evidence names it."""
        return tuple(f"cgroup-v{self._version}-{name}" for name in self._folders)

    def finish(self) -> bool:
        """End what is left in the group and remove it; tell whether memory ran out in it."""
        out = self._ran_out()
        for folder in dict.fromkeys(self._folders.values()):
            _remove(folder)
        return out

    def _ran_out(self) -> bool:
        folder = self._folders.get("memory")
        if folder is None:
            return False
        name = "memory.events" if self._version == 2 else "memory.oom_control"  # noqa: PLR2004 - of cgroups
        for line in _read(folder / name).splitlines():
            if line.startswith("oom_kill ") and int(line.split()[1]) > 0:
                return True
        return False


def make_group(limits: Limits) -> Group | None:
    """Make a group with `limits`; nothing where this machine or our rights do not allow it."""
    name = f"{_PREFIX}{os.getpid()}-{secrets.token_hex(6)}"
    for version, bases in _hierarchies():
        made: dict[str, Path] = {}
        try:
            for controller, base in bases.items():
                folder = base / name
                folder.mkdir(exist_ok=version == 2)  # noqa: PLR2004 - one folder for all of them
                made[controller] = folder
                _limit(folder, controller, version, limits)
        except OSError:
            for folder in dict.fromkeys(made.values()):
                _remove(folder)
            continue
        return Group(made, version)
    return None


def sweep() -> int:
    """Remove groups that processes of ours left when they were killed; return how many."""
    removed = 0
    for _, bases in _hierarchies():
        for base in set(bases.values()):
            for folder in base.glob(f"{_PREFIX}*-*"):
                owner = folder.name.removeprefix(_PREFIX).partition("-")[0]
                if owner.isdigit() and not Path(f"/proc/{owner}").exists():
                    _remove(folder)
                    removed += 1
    return removed


def _hierarchies() -> Iterator[tuple[int, dict[str, Path]]]:
    """Yield version and, for each controller, the folder of our own group; the newer one first."""
    ours = {}
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            ours[name] = path
    mounts: dict[str, Path] = {}
    for line in _read(Path("/proc/self/mounts")).splitlines():
        _, point, kind, options, *_ = line.split(" ")
        if kind == "cgroup2":
            mounts.setdefault("", Path(point))
        elif kind == "cgroup":
            for name in set(options.split(",")) & set(_CONTROLLERS):
                mounts.setdefault(name, Path(point))
    if "" in mounts and "" in ours:
        base = mounts[""] / ours[""].lstrip("/")
        if set(_CONTROLLERS) <= set(_read(base / "cgroup.controllers").split()) and _hand_down(
            base
        ):
            yield 2, dict.fromkeys(_CONTROLLERS, base)
    found = {
        name: mounts[name] / ours[name].lstrip("/")
        for name in _CONTROLLERS
        if name in mounts and name in ours and os.access(mounts[name], os.W_OK)
    }
    if found:
        yield 1, found


def _hand_down(base: Path) -> bool:
    """Let groups below ours have the controllers; the kernel refuses where processes are in it."""
    if set(_CONTROLLERS) <= set(_read(base / "cgroup.subtree_control").split()):
        return True
    try:
        (base / "cgroup.subtree_control").write_text("+memory +pids")
    except OSError:
        return False
    return True


def _limit(folder: Path, controller: str, version: int, limits: Limits) -> None:
    if controller == "pids":
        (folder / "pids.max").write_text(str(limits.processes + _SLACK_PROCESSES))
        return
    most = str(limits.memory_bytes + _SLACK_BYTES)
    if version == 2:  # noqa: PLR2004 - of cgroups
        (folder / "memory.max").write_text(most)
        with contextlib.suppress(OSError):  # a kernel without swap has no such file
            (folder / "memory.swap.max").write_text("0")
        return
    (folder / "memory.limit_in_bytes").write_text(most)
    with contextlib.suppress(OSError):
        (folder / "memory.memsw.limit_in_bytes").write_text(most)


def _remove(folder: Path) -> None:
    """Kill what is in a group, wait until it is gone, remove the folder."""
    end = time.monotonic() + _GONE_S
    while folder.exists():
        for line in _read(folder / "cgroup.procs").split():
            with contextlib.suppress(OSError, ValueError):
                os.kill(int(line), signal.SIGKILL)
        try:
            folder.rmdir()
        except OSError:
            if time.monotonic() > end:
                return  # the next start sweeps it
            time.sleep(0.002)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""

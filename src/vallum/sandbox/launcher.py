"""Started as a program of its own: drops rights, ties itself to its parent, becomes the command.

It runs before bubblewrap, in its own process, so that nothing has to happen between fork and
exec of a server with threads. Standard library only; it is started with `-I -S`.

As root it makes a private mount namespace in which the folders that the sandbox needs can be
reached by other users even when they lie below a closed folder (an interpreter below `/root`),
and then becomes an unused uid: as root, process limits do not hold.
"""

# ruff: noqa: PTH100, PTH103, PTH116, PTH120
# pathlib would double the time that a launch takes

import ctypes
import json
import os
import signal
import stat
import sys
from typing import Any

REFUSED = 125
"""The exit code when the command was not started; the reason is on stderr."""

_PR_SET_PDEATHSIG = 1
_CLONE_NEWNS = 0x00020000
_MS_NOSUID, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4096, 16384, 1 << 18
_OTHERS_ENTER = 0o001


def main(spec: dict[str, Any]) -> None:
    """Become `spec["argv"]`, or end with `REFUSED`."""
    libc = ctypes.CDLL(None, use_errno=True)
    parent = spec["parent"]
    for entrance in spec.get("groups", ()):  # before anything else, and while we may
        handle = os.open(entrance, os.O_WRONLY | os.O_CLOEXEC)
        os.write(handle, b"0")
        os.close(handle)
    uid = spec.get("uid")
    if uid is not None:
        os.umask(0o022)  # a door of ours has 077: others must be able to enter what is revealed
        _reveal(libc, spec.get("reveal", []))
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        if 0 in {*os.getresuid(), *os.getresgid()}:
            raise PermissionError("the child would still be root")
    # After the change of uid, which clears it. The parent may have died before.
    _call(libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
    if os.getppid() != parent:
        raise ProcessLookupError("the parent is gone")
    os.umask(0o077)
    argv = spec["argv"]
    os.execve(argv[0], argv, spec.get("env", {}))  # noqa: S606 - the purpose


def _reveal(libc: ctypes.CDLL, paths: list[str]) -> None:
    """Make `paths` reachable for everybody, in a mount namespace of our own."""
    closed: dict[str, list[tuple[str, int]]] = {}
    _call(libc.unshare(_CLONE_NEWNS), "unshare")
    _call(libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None), "mount private")
    for path in paths:
        top = _closed_ancestor(path)
        if top:
            handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
            closed.setdefault(top, []).append((path, handle))
    for top, entries in closed.items():
        _mount(libc, ("tmpfs", top, "tmpfs"), _MS_NOSUID, b"mode=0755,size=64k")
        for path, handle in entries:
            if stat.S_ISDIR(os.fstat(handle).st_mode):
                os.makedirs(path, mode=0o755, exist_ok=True)
            else:
                os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
            _mount(libc, (f"/proc/self/fd/{handle}", path, ""), _MS_BIND | _MS_REC, None)
            os.close(handle)


def _closed_ancestor(path: str) -> str:
    """Return the highest folder above `path` that others may not enter, or nothing."""
    parts = os.path.abspath(path).split("/")[1:-1]
    at = ""
    for part in parts:
        at += "/" + part
        if not os.stat(at).st_mode & _OTHERS_ENTER:
            return at
    return ""


def _mount(libc: ctypes.CDLL, what: tuple[str, str, str], flags: int, data: bytes | None) -> None:
    source, target, kind = what
    result = libc.mount(
        os.fsencode(source), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), data
    )
    _call(result, f"mount on {target}")


def _call(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


if __name__ == "__main__":
    try:
        fd = int(sys.argv[1])
        with open(fd, "rb") as file:
            document = json.load(file)
        main(document)
    except OSError as error:
        sys.stderr.write(f"launcher: {error}\n")
        sys.exit(REFUSED)

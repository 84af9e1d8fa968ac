"""The first program inside a sandbox: sets the bounds, runs the command, hands its files out.

Standard library only; it is started with `-I -S`. It runs in the sandbox and is trusted with
nothing: whoever takes it over can only say what the command could have written anyway. The other
side reads within bounds.

What it writes to the report pipe: one byte when the sandbox stands; at the end one line of JSON
(`exit`, `missing`, `files` with lengths) and the bytes of the files.
"""

# ruff: noqa: PTH - pathlib would double the time that a start takes

import json
import os
import resource
import stat
import sys
from typing import Any

STARTED = b"+"
SUPERVISORS = 2  # bubblewrap's first process and this one count as processes too


def set_limits(limits: dict[str, Any], *, processes: int) -> None:
    """Set every rlimit, soft and hard; they cannot be raised again."""
    cpu = max(1, int(limits["cpu_s"]))
    for kind, soft, hard in (
        (resource.RLIMIT_DATA, limits["memory_bytes"], limits["memory_bytes"]),
        (resource.RLIMIT_CPU, cpu, cpu + 1),
        (resource.RLIMIT_FSIZE, limits["file_bytes"], limits["file_bytes"]),
        (resource.RLIMIT_NOFILE, limits["open_files"], limits["open_files"]),
        (resource.RLIMIT_NPROC, processes, processes),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_MEMLOCK, 0, 0),
        (resource.RLIMIT_MSGQUEUE, 0, 0),
        (resource.RLIMIT_STACK, 8 << 20, 8 << 20),
    ):
        resource.setrlimit(kind, (soft, hard))


def main(spec: dict[str, Any]) -> int:
    """Run the command and report; return its exit code, or 128 + signal."""
    report = spec["report"]
    os.set_inheritable(report, False)  # noqa: FBT003 - its only form
    os.write(report, STARTED)
    child = os.fork()
    if child == 0:
        _become(spec)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    code = 128 - code if code < 0 else code
    _hand_out(report, code, spec["outputs"], spec["limits"]["output_bytes"])
    return code


def _become(spec: dict[str, Any]) -> None:
    argv = spec["argv"]
    try:
        os.closerange(3, 1 << 16)
        set_limits(spec["limits"], processes=spec["limits"]["processes"] + SUPERVISORS)
        os.execvp(argv[0], argv)  # noqa: S606 - the purpose
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{argv[0]}: {error}\n")
        sys.stderr.flush()
    os._exit(127)


def _hand_out(report: int, code: int, names: list[str], room: int) -> None:
    files: list[tuple[str, bytes]] = []
    too_large = False
    for name in names:
        data = _read(f"/out/{name}", room)
        if data is None:
            continue
        too_large = too_large or len(data) > room
        room -= len(data)
        files.append((name, data))
    head = {"exit": code, "files": [[name, len(data)] for name, data in files]}
    if too_large:
        head = {"exit": code, "files": [], "too_large": True}
        files = []
    with open(report, "wb") as pipe:
        pipe.write(json.dumps(head).encode() + b"\n")
        for _, data in files:
            pipe.write(data)


def _read(path: str, room: int) -> bytes | None:
    """Return a plain file's bytes, one more than `room` at most; nothing for all else."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        return file.read(max(0, room) + 1)


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))

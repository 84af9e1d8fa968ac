"""The first program inside a sandbox: sets the bounds, then does one of four things.

`run` runs a command and hands its files out; `serve` becomes a command that keeps its
descriptors; `check` calls one pure function of ours over one payload; `attend` has such a function
open one payload and answers questions about it until the channel is closed.

Standard library only until the bounds are set; it is started with `-I -S`. It runs in the sandbox
and is trusted with nothing: whoever takes it over can only say what the command could have written
anyway. The other side reads within bounds.

What `run` writes to the report pipe: one byte when the sandbox stands; at the end one line of JSON
(`files` with their lengths, the largest resident set) and the bytes of the files. What `check`
writes to its channel: that byte, and one answer in MessagePack.
"""

# ruff: noqa: PTH123
# pathlib would double the time that a start takes

import json
import os
import resource
import stat
import sys
from typing import Any, NoReturn

STARTED = b"+"
REFUSALS = ("InputError", "LimitExceededError", "GateError")  # a payload's own fault
SUPERVISORS = 2  # bubblewrap's first process and this one count as processes too


def set_limits(limits: dict[str, Any]) -> None:
    """Set every rlimit, soft and hard; they cannot be raised again.

    A `cpu_s` of nothing is for a process that serves until it is ended.
    """
    processes = limits["processes"] + SUPERVISORS
    if limits["cpu_s"] is not None:
        cpu = max(1, int(limits["cpu_s"]))
        resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
    for kind, soft, hard in (
        (resource.RLIMIT_DATA, limits["memory_bytes"], limits["memory_bytes"]),
        (resource.RLIMIT_FSIZE, limits["file_bytes"], limits["file_bytes"]),
        (resource.RLIMIT_NOFILE, limits["open_files"], limits["open_files"]),
        (resource.RLIMIT_NPROC, processes, processes),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_MEMLOCK, 0, 0),
        (resource.RLIMIT_MSGQUEUE, 0, 0),
        (resource.RLIMIT_STACK, 8 << 20, 8 << 20),
    ):
        resource.setrlimit(kind, (soft, hard))


def run(spec: dict[str, Any]) -> int:
    """Run the command and report; return its exit code, or 128 + signal."""
    report = spec["report"]
    os.set_inheritable(report, False)  # noqa: FBT003 - its only form
    os.write(report, STARTED)
    child = os.fork()
    if child == 0:
        become(spec)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    code = 128 - code if code < 0 else code
    _hand_out(report, spec["outputs"], spec["limits"]["output_bytes"])
    return code


def become(spec: dict[str, Any]) -> NoReturn:
    """Set the bounds and become the command."""
    argv = spec["argv"]
    try:
        if "report" in spec:  # a command that serves keeps the descriptors that it was given
            os.closerange(3, 1 << 16)
        set_limits(spec["limits"])
        os.execvp(argv[0], argv)  # noqa: S606 - the purpose
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{argv[0]}: {error}\n")
        sys.stderr.flush()
    os._exit(127)


def _hand_out(report: int, names: list[str], room: int) -> None:
    files: list[tuple[str, bytes]] = []
    too_large = False
    for name in names:
        data = _read(f"/out/{name}", room)
        if data is None:
            continue
        too_large = too_large or len(data) > room
        room -= len(data)
        files.append((name, data))
    rss = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    head = {"rss": rss, "files": [[name, len(data)] for name, data in files]}
    if too_large:
        head = {"rss": rss, "files": [], "too_large": True}
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


def check(spec: dict[str, Any]) -> int:
    """Import the function, wait for one payload, answer once."""
    set_limits(spec["limits"])
    sys.path[:0] = spec["path"]
    import importlib
    import socket

    channel = socket.socket(fileno=spec["channel"])
    channel.set_inheritable(False)
    channel.sendall(STARTED)
    # The name stands in a table of ours; the parent has looked it up there.
    function = getattr(importlib.import_module(spec["module"]), spec["name"])  # noqa: TID251
    import msgspec

    from vallum.base import VallumError

    message, fds, _, _ = socket.recv_fds(channel, 1 << 16, 2)
    if not fds:
        return 1
    beside = []
    if len(fds) > 1:
        from vallum.sandbox.ranges import open_ranges

        beside = [open_ranges(socket.socket(fileno=fds[1]))]
    questions = spec.get("attend", False)
    while not questions and (more := channel.recv(1 << 16)):
        message += more
    arguments = msgspec.msgpack.decode(message)
    with open(fds[0], "rb") as file:
        payload = [file.read()]

    def answer_with(ask: Any) -> tuple[bytes, Any]:  # noqa: ANN401 - whatever it returns
        try:
            report = ask()
        except VallumError as error:
            kind = next(
                (base.__name__ for base in type(error).__mro__ if base.__name__ in REFUSALS), ""
            )
            if not kind:
                raise
            refusal = (kind, error.code, error.message, error.hint)
            return msgspec.msgpack.encode({"refusal": refusal}), None
        return (b"" if questions else msgspec.msgpack.encode({"report": report})), report

    body, opened = answer_with(lambda: function(payload.pop(), *beside, **arguments))
    if not questions:
        channel.sendall(body)
        return 0
    body = body or msgspec.msgpack.encode({"report": None})
    with channel.makefile("rwb") as frames:
        while True:
            frames.write(len(body).to_bytes(4, "big") + body)
            frames.flush()
            head = frames.read(4)
            if len(head) < 4 or opened is None:  # noqa: PLR2004 - the channel is closed
                return 0
            arguments = msgspec.msgpack.decode(frames.read(int.from_bytes(head, "big")))
            body, report = answer_with(lambda: opened(**arguments))  # noqa: B023 - called at once
            body = body or msgspec.msgpack.encode({"report": report})


def main(mode: str, spec: dict[str, Any]) -> int:
    """Do what `mode` says; return the exit code."""
    if mode == "run":
        return run(spec)
    if mode in {"check", "attend"}:
        return check({**spec, "attend": mode == "attend"})
    become(spec)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], json.loads(sys.argv[2])))

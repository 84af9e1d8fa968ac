"""The runner over bubblewrap: what a sandbox sees, and how it is watched from outside."""

import contextlib
import json
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import IO, Self

import msgspec

from vallum.base import InputError, UnavailableError
from vallum.base.bounds import KIB
from vallum.sandbox.inside import STARTED
from vallum.sandbox.job import Input, Job, Limits, Outcome, Status
from vallum.sandbox.memory import memory_file
from vallum.sandbox.seccomp import compile_filter
from vallum.sandbox.watch import Ending, Stream, watch

_HERE = Path(__file__).parent
_PACKAGE = _HERE.parent
_REPORT_HEAD_BYTES = 256 * KIB
_UIDS = (0x6000_0000, 0x7000_0000)  # far from people, subuids and containers
_HELD = (
    "namespaces",
    "no-new-privs",
    "seccomp",
    "uid",
    "wall",
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
_OTHERS_LIST = 0o005
_ENVIRONMENT = {
    "PATH": f"{sys.prefix}/bin:/usr/local/bin:/usr/bin:/bin",
    "HOME": "/tmp",  # noqa: S108 - inside
    "TMPDIR": "/tmp",  # noqa: S108 - inside
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
}
_NAMESPACES = (
    "--unshare-user",
    "--unshare-ipc",
    "--unshare-pid",
    "--unshare-net",
    "--unshare-uts",
    "--unshare-cgroup",
    "--new-session",
    "--die-with-parent",
    "--cap-drop",
    "ALL",
    "--hostname",
    "sandbox",
    "--clearenv",
    *(word for name, value in _ENVIRONMENT.items() for word in ("--setenv", name, value)),
    "--proc",
    "/proc",
    "--tmpfs",
    "/dev",
    *(
        word
        for name in ("null", "random", "urandom", "full")
        for word in ("--dev-bind", f"/dev/{name}", f"/dev/{name}")
    ),
    *("--symlink", "/proc/self/fd", "/dev/fd"),
)


class BubblewrapRunner:
    """Runs jobs in bubblewrap; `open` proves first that this machine can."""

    def __init__(self, program: str, filter_: bytes) -> None:
        self._program = program
        self._filter = filter_

    @classmethod
    def open(cls) -> Self:
        """Return a runner after one real sandbox has stood.

        Raises:
            UnavailableError: bubblewrap, libseccomp or user namespaces are missing; the hint is
                the one command that mends it.
        """
        program = shutil.which("bwrap", path="/usr/bin:/bin:/usr/local/bin")
        if program is None:
            raise UnavailableError(
                "bubblewrap is not installed",
                code="sandbox.no-bubblewrap",
                hint="sudo apt-get install --yes bubblewrap",
            )
        runner = cls(program, compile_filter())
        runner.run(Job(argv=("/usr/bin/env", "true"), limits=Limits(wall_s=20.0)))
        return runner

    def run(self, job: Job) -> Outcome:
        """Run `job` to its end and return what it left.

        Raises:
            InputError: an input is not there or cannot be read.
            UnavailableError: the sandbox did not come to stand.
        """
        argv = [sys.executable if job.argv[0] == "python" else job.argv[0], *job.argv[1:]]
        with contextlib.ExitStack() as stack:
            read_end, write_end = os.pipe()
            stack.callback(os.close, write_end)
            inner = {
                "argv": argv,
                "limits": msgspec.to_builtins(job.limits),
                "outputs": list(job.outputs),
                "report": write_end,
            }
            try:
                process = self.start(
                    [*python(_HERE / "inside.py"), json.dumps(inner)],
                    inputs=job.inputs,
                    code=job.code,
                    limits=job.limits,
                    fds=(write_end,),
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                )
            except BaseException:
                os.close(read_end)
                raise
        bound = job.limits.output_bytes
        out, err = (
            Stream(_take(process.stdout), bound, "stdout"),
            Stream(_take(process.stderr), bound, "stderr"),
        )
        report = Stream(read_end, bound + _REPORT_HEAD_BYTES, "report")
        ending = watch(process, [out, err, report], wall_s=job.limits.wall_s)
        return _outcome(ending, out, err, report, job)

    def start(
        self,
        argv: Sequence[str],
        *,
        inputs: Sequence[Input] = (),
        code: Mapping[str, bytes] = MappingProxyType({}),
        limits: Limits,
        fds: Sequence[int] = (),
        stdout: int = subprocess.DEVNULL,
        stderr: int = subprocess.DEVNULL,
    ) -> "subprocess.Popen[bytes]":
        """Start `argv` in a fresh sandbox that inherits `fds`; return its outermost process."""
        with contextlib.ExitStack() as stack:

            def file(data: bytes) -> int:
                fd = memory_file(data)
                stack.callback(os.close, fd)
                return fd

            passed = list(fds)
            reveal: list[str] = []
            bwrap = [self._program, *_NAMESPACES]
            for source in runtime_paths():
                bwrap += ["--ro-bind", source, source]
                reveal.append(source)
            bwrap += _system_links()
            bwrap += ["--size", str(limits.tmp_bytes), "--tmpfs", "/tmp"]  # noqa: S108 - inside
            bwrap += ["--size", str(limits.output_bytes), "--tmpfs", "/out"]
            bwrap += ["--dir", "/in", "--dir", "/code"]
            for name, data in code.items():
                fd = file(data)
                passed.append(fd)
                bwrap += ["--perms", "0444", "--ro-bind-data", str(fd), f"/code/{name}"]
            for entry in inputs:
                path = None if entry.path is None else _readable(entry)
                if path is not None:
                    bwrap += ["--ro-bind", path, f"/in/{entry.name}"]
                    reveal.append(path)
                    continue
                if entry.data is not None:
                    fd = file(entry.data)
                else:
                    fd = os.open(str(entry.path), os.O_RDONLY | os.O_CLOEXEC)
                    stack.callback(os.close, fd)
                passed.append(fd)
                bwrap += ["--perms", "0444", "--ro-bind-data", str(fd), f"/in/{entry.name}"]
            filter_fd = file(self._filter)
            passed.append(filter_fd)
            bwrap += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp"]  # noqa: S108
            bwrap += ["--seccomp", str(filter_fd), "--", *argv]
            uid = unused_uid() if os.geteuid() == 0 else None
            spec: dict[str, object] = {
                "parent": os.getpid(),
                "uid": uid,
                "reveal": reveal,
                "argv": bwrap,
            }
            return launch(spec, passed, stdout=stdout, stderr=stderr)


def launch(
    spec: dict[str, object],
    fds: Sequence[int],
    *,
    stdout: int = subprocess.DEVNULL,
    stderr: int = subprocess.DEVNULL,
) -> "subprocess.Popen[bytes]":
    """Start the launcher on `spec`, with `fds` and an empty environment."""
    spec_fd = memory_file(json.dumps(spec).encode())
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


def runtime_paths() -> list[str]:
    """Return the folders that our interpreter, its packages and vallum itself live in."""
    paths: list[Path] = []
    for folder in (Path(sys.base_prefix), Path(sys.prefix), _PACKAGE):
        inside = any(folder.is_relative_to(known) for known in (Path("/usr"), *paths))
        if not inside:
            paths.append(folder)
    return [str(path) for path in paths]


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


def _system_links() -> list[str]:
    """Return the arguments for the root's own folders: merged into `/usr`, or beside it."""
    arguments: list[str] = ["--ro-bind", "/usr", "/usr"]
    for name in ("/bin", "/sbin", "/lib", "/lib32", "/lib64"):
        if Path(name).is_symlink():
            arguments += ["--symlink", str(Path(name).readlink()), name]
        elif Path(name).is_dir():
            arguments += ["--ro-bind", name, name]
    for name in ("/etc/ld.so.cache", "/etc/alternatives"):
        arguments += ["--ro-bind-try", name, name]
    return arguments


def _readable(entry: Input) -> str | None:
    """Return the path to bind, or nothing if the job's uid could not read it there.

    A bind keeps the file's permissions. A closed file is handed over as a copy; a closed folder
    is refused.
    """
    path = Path(str(entry.path)).resolve()
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise InputError(
            f"input `{entry.name}` is not there", code="sandbox.input-missing"
        ) from error
    if stat.S_ISREG(mode):
        return str(path) if mode & 0o004 or os.geteuid() != 0 else None
    if stat.S_ISDIR(mode) and (mode & _OTHERS_LIST == _OTHERS_LIST or os.geteuid() != 0):
        return str(path)
    raise InputError(
        f"input `{entry.name}` is neither a file nor a folder that others may read",
        code="sandbox.input-closed",
    )


def _outcome(ending: Ending, out: Stream, err: Stream, report: Stream, job: Job) -> Outcome:
    raw = bytes(report.data)
    if not raw.startswith(STARTED) and ending.reason != "wall":
        raise UnavailableError(
            f"the sandbox did not come to stand: {_last_line(err.data)}",
            code="sandbox.not-started",
            hint=mend(err.data),
        )
    outputs, too_large = _files(raw[1:], job)
    status, reason = _status(ending, too_large=too_large)
    return Outcome(
        status=status,
        exit_code=ending.exit_code,
        stdout=bytes(out.data),
        stderr=bytes(err.data),
        outputs=outputs if status is Status.OK or not ending.reason else {},
        enforced=_HELD,
        reason=reason,
        wall_s=ending.wall_s,
        max_rss_bytes=ending.max_rss_bytes,
    )


def _status(ending: Ending, *, too_large: bool) -> tuple[Status, str]:
    if ending.reason == "wall":
        return Status.TIMEOUT, "wall"
    if ending.reason:
        return Status.LIMIT, ending.reason
    if ending.exit_code == _CPU:
        return Status.LIMIT, "cpu"
    if ending.exit_code == _FSIZE:
        return Status.LIMIT, "file"
    if too_large:
        return Status.LIMIT, "outputs"
    if ending.exit_code > _SIGNALLED:
        return Status.KILLED, ""
    return (Status.OK if ending.exit_code == 0 else Status.FAILED), ""


def _files(raw: bytes, job: Job) -> tuple[dict[str, bytes], bool]:
    """Cut the report into files; a report that does not fit its own head gives none."""
    head_bytes, _, body = raw.partition(b"\n")
    try:
        head = msgspec.json.decode(head_bytes, type=_Head)
    except msgspec.MsgspecError:
        return {}, False
    files: dict[str, bytes] = {}
    at = 0
    for name, length in head.files:
        if name not in job.outputs or name in files or not 0 <= length <= len(body) - at:
            return {}, False
        files[name] = body[at : at + length]
        at += length
    return files, head.too_large


class _Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    exit: int
    files: list[tuple[str, int]]
    too_large: bool = False


def _take(file: IO[bytes] | None) -> int:
    """Return the pipe's descriptor, now ours to close."""
    if file is None:
        raise AssertionError("started without a pipe")
    fd = os.dup(file.fileno())
    file.close()
    return fd


def _last_line(data: bytes | bytearray) -> str:
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

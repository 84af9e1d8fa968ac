"""What a sandbox sees, as arguments of bubblewrap: every other path does not exist in it."""

import os
import stat
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from vallum.base import InputError
from vallum.sandbox.job import Input, Limits, Nest, Network
from vallum.sandbox.memory import memory_file

_PACKAGE = Path(__file__).parent.parent
_HOSTS = b"127.0.0.1 localhost sandbox\n"
_OTHERS_LIST = 0o005
_OTHERS_READ = 0o004
_ENVIRONMENT = {
    "PATH": f"{sys.prefix}/bin:/usr/local/bin:/usr/bin:/bin",
    "HOME": "/tmp",  # noqa: S108 - inside
    "TMPDIR": "/tmp",  # noqa: S108 - inside
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
    "JOBLIB_MULTIPROCESSING": "0",  # there are no named semaphores; threads work
}
_NO_FILES: Mapping[str, int] = MappingProxyType({})
_NAMES = ("/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf")
# Public certificates, which who is connected to is verified by: Debian's, then Fedora's places.
_AUTHORITIES = ("/etc/ssl/certs", "/etc/pki/tls/certs", "/etc/pki/ca-trust/extracted")
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


@dataclass(slots=True)
class View:
    """The arguments so far, the descriptors that go with them, and the paths to be reachable."""

    stack: ExitStack  # closes our ends of the descriptors
    arguments: list[str] = field(default_factory=lambda: list(_NAMESPACES))
    fds: list[int] = field(default_factory=list)
    reveal: list[str] = field(default_factory=list)

    def bind(self, source: str, target: str) -> None:
        """Show `source` read-only at `target`."""
        self.arguments += ["--ro-bind", source, target]
        self.reveal.append(source)

    def copy(self, fd: int, target: str) -> None:
        """Show a read-only copy of what `fd` holds at `target`; `fd` is ours to close."""
        self.stack.callback(os.close, fd)
        self.fds.append(fd)
        self.arguments += ["--perms", "0444", "--ro-bind-data", str(fd), target]

    def set_environment(self, values: Mapping[str, str]) -> None:
        """Add variables; they are visible in the process list, so never a secret."""
        for name, value in values.items():
            self.arguments += ["--setenv", name, value]

    def nest(self, nest: Nest) -> None:
        """Make it a door's: memory to share, and names for the network it has."""
        shared = ("--size", str(nest.shared_bytes), "--tmpfs", "/dev/shm")  # noqa: S108 - inside
        self.arguments += shared
        if nest.network:
            self.connect(Network.MACHINE)
        else:
            self.copy(memory_file(_HOSTS), "/etc/hosts")

    def connect(self, network: Network) -> None:
        """Give it a network, and what is read of the system to use it."""
        names: tuple[str, ...] = ()
        if network is Network.MACHINE:
            self.arguments.remove("--unshare-net")
            names = _NAMES
        elif network is Network.OWN:
            names = _AUTHORITIES
        for name in names:
            self.arguments += ["--ro-bind-try", name, name]

    def finish(self, filter_: bytes | None, argv: Sequence[str]) -> list[str]:
        """Return the whole command: everything above read-only, then seccomp, then `argv`."""
        filtered: tuple[str, ...] = ()
        if filter_ is not None:
            fd = memory_file(filter_)
            self.stack.callback(os.close, fd)
            self.fds.append(fd)
            filtered = "--seccomp", str(fd)
        return [
            *self.arguments,
            *("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp"),  # noqa: S108
            *(*filtered, "--", *argv),
        ]


def build_view(
    stack: ExitStack,
    inputs: Sequence[Input],
    code: Mapping[str, bytes],
    limits: Limits,
    files: Mapping[str, int] = _NO_FILES,
) -> View:
    """Return the view of a job: system, interpreter, vallum, `/in`, `/code`, `/out`, `/tmp`.

    `files` are absolute paths below `/code` or `/model` and descriptors: of each the sandbox gets
    a read-only copy.
    """
    view = View(stack)
    view.arguments += _system_links()
    view.arguments += ["--size", str(limits.tmp_bytes), "--tmpfs", "/tmp"]  # noqa: S108 - inside
    view.arguments += ["--size", str(limits.output_bytes), "--tmpfs", "/out"]
    # After the scratch space: the interpreter may live below /tmp, and would be hidden by it.
    for source in runtime_paths():
        view.bind(source, source)
    view.arguments += ["--dir", "/in", "--dir", "/code"]
    for name, data in code.items():
        view.copy(memory_file(data), f"/code/{name}")
    for target, descriptor in files.items():
        _check_target(target)
        # Opened anew: a copy is read from where the descriptor stands, and it is used again.
        view.copy(os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC), target)
    for entry in inputs:
        _show(view, entry)
    return view


def _check_target(target: str) -> None:
    top, *rest = target.removeprefix("/").split("/")
    if top not in {"code", "model"} or not rest or {"", ".", ".."} & set(rest) or "\0" in target:
        raise InputError(f"{target[:80]!a} is no place for a file", code="sandbox.file-name")


def _show(view: View, entry: Input) -> None:
    target = f"/in/{entry.name}"
    if entry.data is not None:
        view.copy(memory_file(entry.data), target)
        return
    path = _readable(entry)
    if path is not None:
        view.bind(path, target)
    else:
        view.copy(os.open(str(entry.path), os.O_RDONLY | os.O_CLOEXEC), target)


def runtime_paths() -> list[str]:
    """Return the folders that our interpreter, its packages and vallum itself live in."""
    paths: list[Path] = []
    for folder in (Path(sys.base_prefix), Path(sys.prefix), _PACKAGE):
        inside = any(folder.is_relative_to(known) for known in (Path("/usr"), *paths))
        if not inside:
            paths.append(folder)
    return [str(path) for path in paths]


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
        return str(path) if mode & _OTHERS_READ or os.geteuid() != 0 else None
    if stat.S_ISDIR(mode) and (mode & _OTHERS_LIST == _OTHERS_LIST or os.geteuid() != 0):
        return str(path)
    raise InputError(
        f"input `{entry.name}` is neither a file nor a folder that others may read",
        code="sandbox.input-closed",
    )

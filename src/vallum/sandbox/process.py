"""Processes that serve: our own doors, and sandboxed model processes."""

import contextlib
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import Self

import msgspec

from vallum.base import InputError, UnavailableError
from vallum.sandbox.bubblewrap import BubblewrapRunner
from vallum.sandbox.job import Limits, Nest, Network
from vallum.sandbox.start import Starter, inside
from vallum.sandbox.watch import Ending

_NO_VARIABLES: Mapping[str, str] = MappingProxyType({})
_NO_FILES: Mapping[str, int] = MappingProxyType({})


class Process:
    """A child that ends with us: when we die, the kernel kills it.

    It ends with this object too, and before exit handlers run: keep it, and `stop` it in order.

    Attributes:
        pid: Of the outermost process; for a sandboxed one, bubblewrap's.
    """

    def __init__(
        self, process: "subprocess.Popen[bytes]", starter: Starter | BubblewrapRunner
    ) -> None:
        self._process = process
        self._starter = starter  # its thread is the parent in the kernel's eyes
        self.pid = process.pid

    def poll(self) -> int | None:
        """Return the exit code (minus the signal), or nothing while it runs."""
        return self._process.poll()

    def terminate(self) -> None:
        """Ask it to end; a sandboxed one ends at once."""
        self._process.terminate()

    def kill(self) -> None:
        """End it."""
        self._process.kill()

    def wait(self, timeout_s: float | None = None) -> int:
        """Return the exit code once it has ended.

        Raises:
            UnavailableError: it still runs after `timeout_s` seconds.
        """
        try:
            code = self._process.wait(timeout_s)
            if isinstance(self._starter, BubblewrapRunner):
                self._starter.finish(self._process, Ending(code, "", 0.0, 0))
            return code
        except subprocess.TimeoutExpired as error:
            raise UnavailableError(
                f"process {self.pid} still runs after {timeout_s} s", code="sandbox.still-running"
            ) from error

    def stop(self, grace_s: float = 5.0) -> int:
        """Terminate it, kill it after `grace_s` seconds, reap it; return the exit code."""
        self.terminate()
        with contextlib.suppress(UnavailableError):
            return self.wait(grace_s)
        self.kill()
        return self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def spawn(
    argv: Sequence[str],
    *,
    sandbox: BubblewrapRunner | None = None,
    limits: Limits | None = None,
    fds: Sequence[int] = (),
    files: Mapping[str, int] = _NO_FILES,
    env: Mapping[str, str] = _NO_VARIABLES,
    nest: Nest | None = None,
    network: Network = Network.NONE,
    log: int | None = None,
) -> Process:
    """Start a process that serves until it is ended.

    Args:
        argv: The command; a first word `python` is our own interpreter, so that
            `("python", "-m", "vallum.gateway", …)` starts a door.
        sandbox: The runner whose sandbox it gets; without one it is a door of ours, with our
            rights, and only its environment is empty but for `env`.
        limits: With a sandbox, its bounds; `cpu_s` and `wall_s` do not apply.
        fds: Descriptors that it inherits under the same numbers: listening sockets, sealed memory
            files, pipes. Secrets go this way, never by `argv` or `env`.
        files: With a sandbox, read-only copies that it sees: paths below `/code` or `/model` to
            descriptors of their content.
        env: Its environment variables. None is inherited.
        nest: With a sandbox, that it opens sandboxes of its own.
        network: With a sandbox, what sockets it has beside Unix sockets.
        log: Where its stdout and stderr go; our own if nothing.

    Raises:
        InputError: no command, or limits without a sandbox.
        UnavailableError: no process can be started.
    """
    if not argv or any("\0" in word for word in argv):
        raise InputError("a process needs a command without NUL", code="sandbox.argv")
    command = [sys.executable if argv[0] == "python" else argv[0], *argv[1:]]
    if sandbox is not None:
        bounds = Limits() if limits is None else limits
        spec = {"argv": command, "limits": {**msgspec.to_builtins(bounds), "cpu_s": None}}
        process = sandbox.start(
            inside("serve", spec),
            limits=bounds,
            fds=fds,
            files=files,
            env=env,
            nest=nest,
            network=network,
            stdout=log,
            stderr=log,
        )
        return Process(process, sandbox)
    if limits is not None or files or nest is not None or network is not Network.NONE:
        raise InputError("limits and files need a sandbox", code="sandbox.limits")
    if not command[0].startswith("/"):
        raise InputError(f"`{command[0]}` is not an absolute path", code="sandbox.argv")
    starter = Starter()
    started = starter.launch(
        {"uid": None, "argv": command, "env": dict(env)}, fds, stdout=log, stderr=log
    )
    return Process(started, starter)

"""The runner over bubblewrap: what a sandbox sees, and how it is watched from outside."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import IO, Self
from weakref import WeakKeyDictionary

import msgspec

from vallum.base import UnavailableError
from vallum.base.bounds import KIB
from vallum.sandbox.cgroup import Group, make_group, sweep
from vallum.sandbox.job import Input, Job, Limits, Nest, Network, Outcome
from vallum.sandbox.outcome import judge
from vallum.sandbox.seccomp import compile_filter
from vallum.sandbox.start import Starter, inside, unused_uid
from vallum.sandbox.view import build_view
from vallum.sandbox.watch import Ending, Stream, watch

REPORT_HEAD_BYTES = 256 * KIB


class BubblewrapRunner:
    """Runs jobs in bubblewrap; `open` proves first that this machine can."""

    def __init__(self, program: str, filter_: bytes) -> None:
        self._program = program
        self._filters = {Network.NONE: filter_}
        self._starter = Starter()
        self._groups: WeakKeyDictionary[subprocess.Popen[bytes], Group] = WeakKeyDictionary()

    @classmethod
    def open(cls, program: str = "bwrap") -> Self:
        """Return a runner after one real sandbox has stood.

        Args:
            program: bubblewrap's path, or its name in the system's folders.

        Raises:
            UnavailableError: bubblewrap, libseccomp or user namespaces are missing; the hint is
                the one command that mends it.
        """
        path = shutil.which(program, path="/usr/bin:/bin:/usr/local/bin")
        if path is None:
            raise UnavailableError(
                "bubblewrap is not installed",
                code="sandbox.no-bubblewrap",
                hint="sudo apt-get install --yes bubblewrap",
            )
        sweep()
        runner = cls(path, compile_filter())
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
                    inside("run", inner),
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
        report = Stream(read_end, bound + REPORT_HEAD_BYTES, "report")
        ending = watch(
            process,
            [out, err, report],
            wall_s=job.limits.wall_s,
            memory_bytes=job.limits.memory_bytes,
        )
        ending, enforced = self.finish(process, ending)
        return judge(ending, out, err, report, job, enforced=enforced)

    def finish(
        self, process: "subprocess.Popen[bytes]", ending: Ending
    ) -> tuple[Ending, tuple[str, ...]]:
        """Remove the control group of a process that has ended; say what it saw and bounded."""
        group = self._groups.pop(process, None)
        if group is None:
            return ending, ()
        if group.finish() and not ending.reason:
            ending = replace(ending, reason="memory")
        return ending, group.enforced

    def start(
        self,
        argv: Sequence[str],
        *,
        inputs: Sequence[Input] = (),
        code: Mapping[str, bytes] = MappingProxyType({}),
        files: Mapping[str, int] = MappingProxyType({}),
        limits: Limits,
        fds: Sequence[int] = (),
        env: Mapping[str, str] = MappingProxyType({}),
        nest: Nest | None = None,
        network: Network = Network.NONE,
        stdout: int | None = subprocess.DEVNULL,
        stderr: int | None = subprocess.DEVNULL,
    ) -> "subprocess.Popen[bytes]":
        """Start `argv` in a fresh sandbox that inherits `fds`; return its outermost process."""
        with contextlib.ExitStack() as stack:
            view = build_view(stack, inputs, code, limits, files)
            view.set_environment(env)
            if nest is not None:
                view.nest(nest)
            view.connect(network)
            filter_ = self._filter(network) if nest is None else None
            command = [self._program, *view.finish(filter_, argv)]
            uid = unused_uid() if os.geteuid() == 0 else None
            group = make_group(limits)
            spec = {
                "uid": uid,
                "reveal": view.reveal,
                "argv": command,
                "groups": [] if group is None else group.entrances,
            }
            try:
                process = self._starter.launch(
                    spec, [*view.fds, *fds], stdout=stdout, stderr=stderr
                )
            except BaseException:
                if group is not None:
                    group.finish()
                raise
        if group is not None:
            self._groups[process] = group
        return process

    def _filter(self, network: Network) -> bytes:
        if network not in self._filters:
            self._filters[network] = compile_filter(network)
        return self._filters[network]


def _take(file: IO[bytes] | None) -> int:
    """Return the pipe's descriptor, now ours to close."""
    if file is None:
        raise AssertionError("started without a pipe")
    fd = os.dup(file.fileno())
    file.close()
    return fd

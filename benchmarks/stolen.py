"""What the host takes from a virtual machine, second by second: its stalls are nobody's latency.

    with stolen.awake(), stolen.debugfs() as folder, stolen.watched(folder) as host:
        ...
    calm = host.calm(begun_s)

Linux keeps two clocks of each processor: of time, and of the time in which it ran and the host did
not run something else in its place ("steal"). How far they are apart is in
`/sys/kernel/debug/sched/debug`, in nanoseconds; `/proc/stat` has it in hundredths of a second. Read
every 100 ms, which takes 0.4 ms in which the kernel lets nobody else run, it tells the moments in
which a virtual machine was a machine.

Most of what a host takes, it takes when a processor wakes up: one that had nothing to do was given
to somebody else, who is not sent away at once. `awake` lets none of them sleep, as the kernel's
`idle=poll` does and as who cares for microseconds does at home too: on the machine of RESULTS.md,
with two processes that work half of the time, the host took 0.1 to 2 % with it, and 2 to 27 %
without it.

What takes long is not left out for taking long: it is calm or not by when it began. The moments
after a stall are not calm until four times as much has gone by as was taken: what waited is
answered by then, at half of what a server can do. Nor are they while it lasts: Linux learns what
was taken when it gets the processor back, so that as many milliseconds before are out. Which
moments are calm depends on the host, and on nothing that is measured but for this: who computes
more is robbed more often. Not seen is what slows a processor down without taking it, and anything
on a machine whose host does not tell: there all moments are calm.

Source: Linux, `kernel/sched/core.c` (`update_rq_clock_task`), `kernel/sched/debug.c`.
"""

import contextlib
import ctypes
import multiprocessing
import os
import re
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

EVERY_S = 0.1
LEAST_MS = 0.05  # what is less is how exact the clocks are
REPAID = 4  # times what was taken: for so long things are not what they were
_CLOCKS = re.compile(rb"\.clock(_task)?\s*:\s*([\d.]+)")
_DEBUG = Path("sched/debug")


class Host:
    """What the host took while it was watched."""

    def __init__(self, folder: Path, every_s: float) -> None:
        self._file = (folder / _DEBUG).open("rb", buffering=0)
        self._every_s = every_s
        self._end = threading.Event()
        self._found: list[tuple[float, float]] = [self._read()]
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _read(self) -> tuple[float, float]:
        """Return now, and the milliseconds that the host took until now of all processors."""
        self._file.seek(0)
        text = b""
        while part := self._file.read(1 << 16):
            text += part
        clocks = [(bool(task), float(ms)) for task, ms in _CLOCKS.findall(text)]
        return time.perf_counter(), sum(-ms if task else ms for task, ms in clocks)

    def _watch(self) -> None:
        while not self._end.wait(self._every_s):
            self._found.append(self._read())

    def close(self) -> None:
        """Look a last time."""
        self._end.set()
        self._thread.join()
        self._found.append(self._read())
        self._file.close()

    def _moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Return when each moment began, and the milliseconds that the host took in it."""
        at_s, took_ms = np.array(self._found).T
        return at_s, np.diff(took_ms)

    def took_share(self) -> float:
        """Return what the host took of all processors, from 0 to 1."""
        at_s, took_ms = self._moments()
        return float(took_ms.sum() / 1e3 / (at_s[-1] - at_s[0]) / (os.cpu_count() or 1))

    def _robbed(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the moments, and whether the host took something in each, as far as is known."""
        at_s, took_ms = self._moments()
        robbed = took_ms > LEAST_MS
        for end in np.flatnonzero(robbed):  # what is told at its end began as long before
            robbed[np.searchsorted(at_s[1:], at_s[end] - took_ms[end] / 1e3) : end] = True
        return at_s, took_ms, robbed

    def calm(self, begun_s: Sequence[float]) -> np.ndarray:
        """Tell of moments (seconds of `perf_counter`) whether the host took nothing around them."""
        at_s, took_ms, robbed = self._robbed()
        calm, debt_ms = np.zeros(len(took_ms), dtype=bool), 1.0  # who knows what was before
        for at in range(len(took_ms) - 1):
            calm[at] = debt_ms <= 0 and not robbed[at] and not robbed[at + 1]
            debt_ms = max(0.0, debt_ms - (at_s[at + 1] - at_s[at]) * 1e3)
            debt_ms += REPAID * took_ms[at] if took_ms[at] > LEAST_MS else 0.0
        moment = np.searchsorted(at_s, begun_s, side="right") - 1
        inside = (moment >= 0) & (moment < len(calm))
        return inside & calm[np.clip(moment, 0, len(calm) - 1)]

    def rate(self, begun_s: Sequence[float]) -> tuple[float, float]:
        """Return how often something began in a second in which the host took nothing.

        And for how many seconds it took nothing.
        """
        at_s, _, robbed = self._robbed()
        counts = np.histogram(begun_s, at_s)[0]
        calm = ~robbed & (at_s[:-1] >= min(begun_s)) & (at_s[1:] <= max(begun_s))
        seconds = float(np.diff(at_s)[calm].sum())
        return (float(counts[calm].sum() / seconds) if seconds else 0.0), seconds


def put_first(pids: Iterable[int], *, first: bool = True) -> None:
    """Have processes run before all others of the machine (`SCHED_RR`), or no more.

    The others are those of whoever lends the machine: agents, reclaim of memory. Who is not root
    changes nothing.
    """
    policy, priority = (os.SCHED_RR, 1) if first else (os.SCHED_OTHER, 0)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, FileNotFoundError, PermissionError):
            for thread in Path(f"/proc/{pid}/task").iterdir():
                os.sched_setscheduler(int(thread.name), policy, os.sched_param(priority))


def _spin(processor: int, parent: int) -> None:
    with contextlib.suppress(OSError):  # taken from this machine meanwhile
        os.sched_setaffinity(0, [processor])
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    while os.getppid() == parent:
        for _ in range(100_000):
            pass


@contextlib.contextmanager
def awake() -> Iterator[None]:
    """Let no processor sleep; whoever wants one has it at once (`SCHED_IDLE`)."""
    processes = [
        multiprocessing.Process(target=_spin, args=(processor, os.getpid()), daemon=True)
        for processor in os.sched_getaffinity(0)
    ]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


@contextlib.contextmanager
def debugfs() -> Iterator[Path | None]:
    """Yield where the kernel's debug files are, or None: only root sees them."""
    usual = Path("/sys/kernel/debug")
    if os.access(usual / _DEBUG, os.R_OK):
        yield usual
        return
    libc = ctypes.CDLL(None, use_errno=True)
    with tempfile.TemporaryDirectory() as name:
        if libc.mount(b"none", name.encode(), b"debugfs", 0, None):
            yield None
            return
        try:
            yield Path(name) if (Path(name) / _DEBUG).exists() else None
        finally:
            libc.umount2(name.encode(), 2)  # MNT_DETACH


@contextlib.contextmanager
def watched(folder: Path, every_s: float = EVERY_S) -> Iterator[Host]:
    """Watch the host until the end; more often where it takes much, and looking disturbs little."""
    host = Host(folder, every_s)
    try:
        yield host
    finally:
        host.close()

"""Processes that scan at the same time; one that dies is a finding of the file that it had.

They are no sandboxes: what a scan reads, it reads with its user's rights, in one process as in
many. Each is bounded: in memory, and for each file in time of the processor. What comes back is
JSON, not pickles.
"""

import contextlib
import json
import multiprocessing
import os
import resource
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import msgspec

from vallum.base.bounds import GIB, MIB
from vallum.base.errors import UnavailableError
from vallum.scan.files import ScanRules, scan_file
from vallum.scan.inspector import Share
from vallum.scan.outside import Span, claim
from vallum.scan.report import FileReport, Findings, ScanVerdict

_MAX_MEMORY = 2 * GIB  # of its own, mapped files apart; a scan keeps to a tenth of it
_MAX_CPU_S = 300.0  # for a file, and a second more for each of its `_STEP` bytes
_STEP = 4 * MIB
_GONE = (EOFError, OSError)


@dataclass(frozen=True, slots=True)
class Scanned:
    """One file's report, and which bytes of files beside it belong to it.

    Attributes:
        report: As `scan_file` makes it.
        spans: Tensors of a graph that lie beside it.
        expanded: Bytes that its members expanded to, of a share only its own.
    """

    report: FileReport
    spans: tuple[Span, ...] = ()
    expanded: int = 0


@dataclass(frozen=True, slots=True)
class Task:
    """A file, by its place in a list, or one share of an archive."""

    at: int
    path: Path
    number: int = 0
    of: int = 1


Batch = tuple[Task, ...]
"""What one process is given at once: one large file, or several small ones."""


def scan_beside(path: Path, limits: ScanRules, number: int = 0, of: int = 1) -> Scanned:
    """Scan a file of a folder, or a share of its members; a parser that breaks is a finding."""
    if limits.code is not None and path.name == ".git" and not path.is_symlink() and path.is_dir():
        findings = Findings(code_capable=True)
        findings.add("git.skipped", "the history of a checkout is not scanned", severity="info")
        return Scanned(FileReport(str(path), "", "git", findings.verdict(), findings.sorted()))
    spans: list[Span] = []
    share = Share(number, of)
    if number:
        limits = replace(limits, digest=False)
    try:
        beside = partial(claim, path, spans) if limits.folder else None
        report = scan_file(path, limits, beside, share)
    except Exception as error:  # noqa: BLE001 - any bytes give a report
        return _unscanned(path, f"the scanner broke on it ({type(error).__name__})")
    return Scanned(report, tuple(spans), share.expanded - share.others)


class _Late(BaseException):
    """Raised by a signal; no parser takes it for a fault of the bytes."""


def scan_here(path: Path, limits: ScanRules) -> Scanned:
    """Scan a file in this process, with as much time of the processor as one beside it has.

    Signals reach the main thread alone: in another one, who called bounds it.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGPROF) is not signal.SIG_DFL:
        return scan_beside(path, limits)

    def late(*_: object) -> None:
        raise _Late

    signal.signal(signal.SIGPROF, late)
    # Again each second: what is raised while an object is cleared away is lost.
    signal.setitimer(signal.ITIMER_PROF, _seconds(path), 1.0)
    try:
        return scan_beside(path, limits)
    except _Late:
        return _unscanned(path, f"it took more than {_seconds(path)} s of the processor")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, signal.SIG_DFL)


def _seconds(path: Path) -> float:
    return _MAX_CPU_S + size_of(path) // _STEP


def join(parts: Sequence[Scanned], limits: ScanRules) -> Scanned:
    """Return what the shares of one file say together."""
    first = parts[0]
    if len(parts) == 1:
        return first
    acts = any(one.report.verdict is ScanVerdict.DATA_LIKE for one in parts)
    findings = Findings(limit=sum(len(one.report.findings) for one in parts) + 1, code_capable=acts)
    findings.items = list(dict.fromkeys(f for one in parts for f in one.report.findings))
    limit = limits.archive.max_total_bytes
    if sum(one.expanded for one in parts) > limit:
        findings.add("archive.too-large", f"expanded to more than {limit} bytes")
    report = replace(first.report, verdict=findings.verdict(), findings=findings.sorted())
    return Scanned(report, tuple(span for one in parts for span in one.spans))


def scan_at_once(
    batches: Sequence[Batch], limits: ScanRules, count: int
) -> Iterator[tuple[Task, Scanned]]:
    """Yield the tasks of all batches as they are done, each with what was found.

    Of a batch whose process dies each task is tried once more, alone: then it is known which one
    the process dies of.

    Raises:
        UnavailableError: Code `scan.no-process`: a process ends before it has begun.
    """
    waiting = deque(batches)
    busy: list[_Worker] = []
    try:
        for _ in range(min(count, len(batches))):
            busy.append(_Worker(limits))
        while busy:
            told = wait([worker.connection for worker in busy])
            for worker in [one for one in busy if one.connection in told]:
                answer = worker.answer()
                if answer is not None:
                    yield from answer
                elif len(worker.batch) > 1:
                    waiting.extendleft((task,) for task in reversed(worker.batch))
                else:
                    for task in worker.batch:
                        yield task, _unscanned(task.path, "the process that scanned it died")
                if answer is not None and waiting:
                    worker.give(waiting.popleft())
                    continue
                busy.remove(worker)
                worker.end()
                if waiting:
                    busy.append(_Worker(limits))
    finally:
        for worker in busy:
            worker.end()


class _Worker:
    """One process and the tasks that it has."""

    def __init__(self, limits: ScanRules) -> None:
        context = multiprocessing.get_context("spawn")  # forking would copy the locks of threads
        self.connection, theirs = context.Pipe()
        self.batch: Batch = ()
        self._ready = False
        self._process: BaseProcess = context.Process(
            target=_serve, args=(theirs, limits), daemon=True, name="vallum-scan"
        )
        # What interrupts us must not interrupt it: we end it. It inherits the mask.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            theirs.close()

    def give(self, batch: Batch) -> None:
        """Name the tasks to do; only after it has answered."""
        self.batch = batch
        names = [f"{one.number}/{one.of}/".encode() + os.fsencode(one.path) for one in batch]
        with contextlib.suppress(OSError):  # that a process is dead the next `answer` tells
            self.connection.send_bytes(b"\0".join(names))

    def answer(self) -> list[tuple[Task, Scanned]] | None:
        """Take what the process says, at first that it is ready; None if it has died."""
        try:
            raw = self.connection.recv_bytes()
        except _GONE as error:
            if self._ready:
                return None
            raise UnavailableError(
                "a process to scan in could not be started",
                code="scan.no-process", hint="scan with --workers 1",
            ) from error  # fmt: skip
        self._ready = True
        return list(zip(self.batch, _unpack(raw, self.batch), strict=True))

    def end(self) -> None:
        """End the process at once, whatever it does."""
        self._process.kill()
        self._process.join()
        self._process.close()
        self.connection.close()


def _serve(connection: Connection, limits: ScanRules) -> None:
    """Scan what the parent names until it is gone."""
    _limit(resource.RLIMIT_DATA, _MAX_MEMORY)
    _limit(resource.RLIMIT_CORE, 0)
    with contextlib.suppress(*_GONE):
        connection.send_bytes(_pack([]))
        while True:
            done = []
            for task in connection.recv_bytes().split(b"\0"):
                number, of, name = task.split(b"/", 2)
                path = Path(os.fsdecode(name))
                used = resource.getrusage(resource.RUSAGE_SELF)
                spent = int(used.ru_utime + used.ru_stime)
                _limit(resource.RLIMIT_CPU, spent + int(_seconds(path)))
                done.append(scan_beside(path, limits, int(number), int(of)))
            connection.send_bytes(_pack(done))


def size_of(path: Path) -> int:
    """Return a plain file's size in bytes; 0 of everything else."""
    try:
        return 0 if path.is_symlink() or not path.is_file() else path.stat().st_size
    except OSError:
        return 0


def _limit(what: int, soft: int) -> None:
    hard = resource.getrlimit(what)[1]
    resource.setrlimit(what, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _pack(scanned: Sequence[Scanned]) -> bytes:
    # A lone surrogate of a text that was quoted survives JSON's escapes, and no UTF-8. The paths
    # need not travel.
    plain = [replace(one, report=replace(one.report, path="")) for one in scanned]
    return json.dumps(msgspec.to_builtins(plain)).encode()


def _unpack(raw: bytes, batch: Batch) -> list[Scanned]:
    scanned = msgspec.convert(json.loads(raw), list[Scanned])
    return [
        replace(one, report=replace(one.report, path=str(task.path)))
        for one, task in zip(scanned, batch, strict=True)
    ]


def _unscanned(path: Path, why: str) -> Scanned:
    findings = Findings()
    findings.add("file.unscanned", why)
    return Scanned(FileReport(str(path), "", "unscanned", findings.verdict(), findings.sorted()))

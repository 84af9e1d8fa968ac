"""A path: one file, or every file below a folder in order of name."""

import mmap
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from vallum.base.bounds import ARCHIVE, MIB, MODEL, ArchiveBounds, ModelBounds
from vallum.base.errors import InputError, VallumError
from vallum.formats import TarArchive, ZipArchive
from vallum.scan.code.files import CodeRules
from vallum.scan.files import ScanRules
from vallum.scan.inspector import is_torch_root
from vallum.scan.outside import Outside
from vallum.scan.report import FileReport, ScanReport
from vallum.scan.workers import Batch, Scanned, Task, join, scan_at_once, scan_here, size_of

# Half a second of processor goes into the start of one process; it must be worth it.
_PAYS_AFTER_S, _PAYS_FOR_S = 1.0, 4.0
_MUCH = 512 * MIB  # of bytes of a folder besides its largest file
_LARGE = 64 * MIB  # files above it are begun first, lest one of them is left over at the end
_MANY = 256 * MIB  # of members of an archive besides its largest
_SMALL, _BATCH = MIB // 4, 32  # files up to so many bytes are given to a process up to 32 at once
_MAX_WORKERS = 16


def scan_path(
    path: Path,
    *,
    model: ModelBounds = MODEL,
    archive: ArchiveBounds = ARCHIVE,
    code: CodeRules | None = None,
    digest: bool = True,
    workers: int | None = 1,
) -> ScanReport:
    """Scan a file, or every file below a folder in order of name; files are mapped, not read.

    Raises:
        InputError: Code `scan.no-such-path`.
        UnavailableError: Code `scan.no-process`.
    """
    found = scan_each(path, model=model, archive=archive, code=code, digest=digest, workers=workers)
    return ScanReport(tuple(found))


def scan_each(
    path: Path,
    *,
    model: ModelBounds = MODEL,
    archive: ArchiveBounds = ARCHIVE,
    code: CodeRules | None = None,
    digest: bool = True,
    workers: int | None = 1,
    done: Callable[[int], None] | None = None,
) -> Iterator[FileReport]:
    """Yield what `scan_path` reports; its order and content do not depend on `workers`.

    Files of no known format come last: what they are, a graph beside them may tell.

    Args:
        path: A file or a folder.
        model: Limits on pickles and model headers.
        archive: Limits on archives and expansion.
        code: Judges source, notebooks, dependency files and licences as what they are.
        digest: Whether the reports name the SHA-256.
        workers: Processes that scan at once, where there is so much to do that they pay; None is
            one a processor. They are spawned: a program that asks for more than one must have its
            `if __name__ == "__main__"`.
        done: Is told of each file as it is scanned, which may be before its turn.

    Raises:
        InputError: Code `scan.no-such-path`.
        UnavailableError: Code `scan.no-process`: a process to scan in could not be started.
    """
    single = path.is_symlink() or not path.is_dir()
    if single and not path.is_symlink() and not path.exists():
        raise InputError(f"`{path}` does not exist", code="scan.no-such-path")
    limits = ScanRules(model, archive, code, digest, folder=not single)
    paths = [path] if single else list(_below(path, skip_git=code is not None))
    count = min(_processors() if workers is None else workers, _MAX_WORKERS)
    outside, waiting = Outside(), []
    for file, scanned in zip(paths, _in_order(paths, limits, count, done), strict=True):
        report = scanned.report
        outside.note(file, scanned.spans)
        if report.format in ("unknown", "empty") and not single:
            waiting.append(report)
        else:
            yield report
    yield from outside.settle(waiting)


def count_files(path: Path, *, code: CodeRules | None = None) -> int:
    """Return how many reports `scan_each` yields of a path."""
    if path.is_symlink() or not path.is_dir():
        return 1
    return sum(1 for _ in _below(path, skip_git=code is not None))


def _below(folder: Path, *, skip_git: bool) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if skip_git and path.name == ".git":
            yield path
        elif not path.is_symlink() and path.is_dir():  # a link may lead anywhere, or nowhere
            yield from _below(path, skip_git=skip_git)
        else:
            yield path


def _processors() -> int:
    return len(os.sched_getaffinity(0))


def _in_order(
    paths: Sequence[Path], limits: ScanRules, count: int, done: Callable[[int], None] | None
) -> Iterator[Scanned]:
    """Scan one after the other, and from the moment at which it pays at once."""
    sizes = [size_of(path) for path in paths] if count > 1 else []
    much = sum(sizes) - max(sizes, default=0) > _MUCH
    begun = time.perf_counter()
    for at, path in enumerate(paths):
        if count > 1:
            passed = time.perf_counter() - begun
            rest = passed * (len(paths) - at) / max(at, 1)
            shares = _shares(path, sizes[at], limits, count)
            if much or shares > 1 or (passed > _PAYS_AFTER_S and rest > _PAYS_FOR_S):
                yield from _at_once(paths[at:], sizes[at:], limits, count, done)
                return
        scanned = scan_here(path, limits)
        if done is not None:
            done(1)
        yield scanned


def _at_once(
    paths: Sequence[Path],
    sizes: Sequence[int],
    limits: ScanRules,
    count: int,
    done: Callable[[int], None] | None,
) -> Iterator[Scanned]:
    order = sorted(range(len(paths)), key=lambda at: -sizes[at] if sizes[at] > _LARGE else 0)
    shares = [_shares(path, size, limits, count) for path, size in zip(paths, sizes, strict=True)]
    tasks = [
        Task(at, paths[at], number, shares[at]) for at in order for number in range(shares[at])
    ]
    parts: dict[int, list[tuple[int, Scanned]]] = {}
    ready = 0
    for task, scanned in scan_at_once(list(_batches(tasks, sizes, count)), limits, count):
        parts.setdefault(task.at, []).append((task.number, scanned))
        if len(parts[task.at]) == task.of and done is not None:
            done(1)
        while ready in parts and len(parts[ready]) == shares[ready]:
            yield join([one for _, one in sorted(parts.pop(ready), key=_number)], limits)
            ready += 1


def _number(part: tuple[int, Scanned]) -> int:
    return part[0]


def _batches(tasks: Sequence[Task], sizes: Sequence[int], count: int) -> Iterator[Batch]:
    """Put small files together, but not so many that a process is left without."""
    most = max(1, min(_BATCH, len(tasks) // (8 * count)))
    batch: list[Task] = []
    for task in tasks:
        if task.of > 1 or sizes[task.at] > _SMALL:
            yield (task,)
            continue
        batch.append(task)
        if len(batch) == most:
            yield tuple(batch)
            batch.clear()
    if batch:
        yield tuple(batch)


def _shares(path: Path, size: int, limits: ScanRules, count: int) -> int:
    """Return in how many shares a file is scanned: above one for an archive with much in it."""
    if size == 0 or size > limits.model.max_bytes:
        return 1
    try:
        with path.open("rb") as file:
            head = file.read(512)
            is_zip = head.startswith(b"PK\x03\x04")
            if not is_zip and head[257:262] != b"ustar":
                return 1
            view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        opened = ZipArchive(view, limits.archive) if is_zip else TarArchive(view, limits.archive)
        members = list(opened.files())
    except (OSError, ValueError, VallumError):
        return 1
    held = [entry.size for entry in members]
    # Of torch's archives the check sums are what takes long, and those are on all processors.
    if (
        any(is_torch_root(entry.name) for entry in members)
        or sum(held) - max(held, default=0) < _MANY
    ):
        return 1
    return min(count, len(held))

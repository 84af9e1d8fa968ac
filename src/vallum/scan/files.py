"""The two doors of the room: bytes in hand, or a path."""

import hashlib
import mmap
from collections.abc import Iterator
from pathlib import Path

from vallum.base.bounds import ARCHIVE, MODEL, ArchiveBounds, ModelBounds
from vallum.base.errors import InputError
from vallum.scan.inspector import Inspector, chunks_of
from vallum.scan.report import FileReport, Findings, ScanReport


def scan_bytes(
    name: str,
    data: bytes | memoryview,
    *,
    model: ModelBounds = MODEL,
    archive: ArchiveBounds = ARCHIVE,
) -> ScanReport:
    """Scan one file's bytes.

    Args:
        name: Its path, for the report; only a name that a loader would run counts against it.
        data: The bytes; never executed, unpickled or written to a file with a name.
        model: Limits on pickles and model headers.
        archive: Limits on archives and expansion.

    Any bytes give a report; what cannot be read is `suspicious`.
    """
    return ScanReport((_scan(name, memoryview(data), model, archive),))


def scan_path(
    path: Path, *, model: ModelBounds = MODEL, archive: ArchiveBounds = ARCHIVE
) -> ScanReport:
    """Scan a file, or every file below a folder in order of name; files are mapped, not read.

    Raises:
        InputError: Code `scan.no-such-path`.
    """
    return ScanReport(tuple(scan_each(path, model=model, archive=archive)))


def scan_each(
    path: Path, *, model: ModelBounds = MODEL, archive: ArchiveBounds = ARCHIVE
) -> Iterator[FileReport]:
    """Yield what `scan_path` reports, file by file as each is done.

    Raises:
        InputError: Code `scan.no-such-path`.
    """
    if path.is_symlink() or not path.is_dir():
        if not path.is_symlink() and not path.exists():
            raise InputError(f"`{path}` does not exist", code="scan.no-such-path")
        yield _scan_file(path, model, archive)
        return
    for file in _below(path):
        yield _scan_file(file, model, archive)


def _below(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            yield from _below(path)
        else:
            yield path


def _scan_file(path: Path, model: ModelBounds, archive: ArchiveBounds) -> FileReport:
    findings = Findings()
    try:
        if path.is_symlink() or not path.is_file():
            findings.add("file.special", "a link or special file")
            return FileReport(str(path), "", "special", findings.verdict(), findings.sorted())
        with path.open("rb") as file:
            size = path.stat().st_size
            if size == 0:
                return _scan(str(path), memoryview(b""), model, archive)
            view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError):
        findings.add("file.unreadable", "the file cannot be read")
        return FileReport(str(path), "", "unreadable", findings.verdict(), findings.sorted())
    return _scan(str(path), view, model, archive)


def _scan(name: str, data: memoryview, model: ModelBounds, archive: ArchiveBounds) -> FileReport:
    findings = Findings()
    if len(data) > model.max_bytes:
        findings.add("file.too-large", f"larger than {model.max_bytes} bytes")
        return FileReport(name, "", "too-large", findings.verdict(), findings.sorted())
    kind = Inspector(findings, model=model, archive=archive).inspect(data, name=name)
    digest = hashlib.sha256()
    for chunk in chunks_of(data):
        digest.update(chunk)
    return FileReport(name, digest.hexdigest(), kind, findings.verdict(), findings.sorted())

"""The two doors of the room: bytes in hand, or a path."""

import hashlib
import mmap
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from vallum.base.bounds import ARCHIVE, MIB, MODEL, ArchiveBounds, ModelBounds
from vallum.base.errors import InputError
from vallum.formats import release
from vallum.scan.code.files import MAX_TEXT_BYTES, CodeRules, is_document, kind_of, scan_code
from vallum.scan.code.secrets import lines_of, scan_secrets
from vallum.scan.inspector import Inspector
from vallum.scan.report import FileReport, Findings, ScanReport
from vallum.scan.texts import is_text

_STEP = 8 * MIB
_PACKAGE = re.compile(r"\.(whl|egg|zip|tar|t?gz|conda)$", re.IGNORECASE)
_TEXTS = frozenset({"text", "yaml", "json", "jinja"})


@dataclass(frozen=True, slots=True)
class _Limits:
    model: ModelBounds
    archive: ArchiveBounds
    code: CodeRules | None
    digest: bool


def scan_bytes(
    name: str,
    data: bytes | memoryview,
    *,
    model: ModelBounds = MODEL,
    archive: ArchiveBounds = ARCHIVE,
    code: CodeRules | None = None,
    digest: bool = True,
) -> ScanReport:
    """Scan one file's bytes.

    Args:
        name: Its path, for the report; only a name that a loader would run counts against it.
        data: The bytes; never executed, unpickled or written to a file with a name.
        model: Limits on pickles and model headers.
        archive: Limits on archives and expansion.
        code: Judges source, notebooks, dependency files and licences as what they are. None, the
            default, takes the file for part of a model, in which code is always a finding.
        digest: Whether the report names the SHA-256.

    Any bytes give a report; what cannot be read is `suspicious`.
    """
    limits = _Limits(model, archive, code, digest)
    return ScanReport((_scan(name, memoryview(data), limits),))


def scan_path(
    path: Path,
    *,
    model: ModelBounds = MODEL,
    archive: ArchiveBounds = ARCHIVE,
    code: CodeRules | None = None,
    digest: bool = True,
) -> ScanReport:
    """Scan a file, or every file below a folder in order of name; files are mapped, not read.

    Raises:
        InputError: Code `scan.no-such-path`.
    """
    found = scan_each(path, model=model, archive=archive, code=code, digest=digest)
    return ScanReport(tuple(found))


def scan_each(
    path: Path,
    *,
    model: ModelBounds = MODEL,
    archive: ArchiveBounds = ARCHIVE,
    code: CodeRules | None = None,
    digest: bool = True,
) -> Iterator[FileReport]:
    """Yield what `scan_path` reports, file by file as each is done.

    Raises:
        InputError: Code `scan.no-such-path`.
    """
    limits = _Limits(model, archive, code, digest)
    if path.is_symlink() or not path.is_dir():
        if not path.is_symlink() and not path.exists():
            raise InputError(f"`{path}` does not exist", code="scan.no-such-path")
        yield _scan_file(path, limits)
        return
    for file in _below(path, skip_git=code is not None):
        if file.name == ".git" and file.is_dir() and not file.is_symlink():
            findings = Findings(code_capable=True)
            findings.add("git.skipped", "the history of a checkout is not scanned", severity="info")
            yield FileReport(str(file), "", "git", findings.verdict(), findings.sorted())
            continue
        yield _scan_file(file, limits)


def _below(folder: Path, *, skip_git: bool) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if skip_git and path.name == ".git":
            yield path
        elif path.is_dir() and not path.is_symlink():
            yield from _below(path, skip_git=skip_git)
        else:
            yield path


def _scan_file(path: Path, limits: _Limits) -> FileReport:
    findings = Findings()
    try:
        if path.is_symlink() or not path.is_file():
            findings.add("file.special", "a link or special file")
            return FileReport(str(path), "", "special", findings.verdict(), findings.sorted())
        with path.open("rb") as file:
            size = path.stat().st_size
            if size == 0:
                return _scan(str(path), memoryview(b""), limits)
            view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError):
        findings.add("file.unreadable", "the file cannot be read")
        return FileReport(str(path), "", "unreadable", findings.verdict(), findings.sorted())
    return _scan(str(path), view, limits)


def _scan(name: str, data: memoryview, limits: _Limits) -> FileReport:
    findings = Findings()
    model, code = limits.model, limits.code
    if len(data) > model.max_bytes:
        findings.add("file.too-large", f"larger than {model.max_bytes} bytes")
        return FileReport(name, "", "too-large", findings.verdict(), findings.sorted())
    kind = "" if code is None else _by_code_rules(name, data, findings, code)
    if not kind:
        judge = None if code is None else _members(findings, code)
        inspector = Inspector(findings, model=model, archive=limits.archive, judge=judge)
        package = code is not None and _PACKAGE.search(name)
        kind = inspector.inspect(data, name="" if package else name)
        if code is not None:
            _beside_code(name, data, kind, findings, code)
    release(data)
    sha256 = _digest(data) if limits.digest else ""
    return FileReport(name, sha256, kind, findings.verdict(), findings.sorted())


def _digest(data: memoryview) -> str:
    """Return the SHA-256; of a mapped file few pages stay resident."""
    total = hashlib.sha256()
    for at in range(0, len(data), _STEP):
        total.update(data[at : at + _STEP])
        release(data)
    return total.hexdigest()


def _by_code_rules(name: str, data: memoryview, findings: Findings, code: CodeRules) -> str:
    """Judge a file that code rules are for; empty where its bytes are no such text."""
    if kind_of(name) is None or len(data) > MAX_TEXT_BYTES:
        return ""
    content = bytes(data)
    if not content:
        return "empty"  # such as `__init__.py`
    return scan_code(name, content, findings, code) if is_text(content) else ""


def _members(findings: Findings, code: CodeRules) -> Callable[[str, str, memoryview], bool]:
    """Return what judges the members of an archive, such as a wheel, by the rules of their kind."""

    def judge(name: str, inner: str, content: memoryview) -> bool:
        begun = len(findings.items)
        known = bool(_by_code_rules(name, content, findings, code))
        if not known and is_document(name) and len(content) <= MAX_TEXT_BYTES and is_text(content):
            lines = lines_of(bytes(content).decode(errors="replace"))
            scan_secrets(lines, findings, code.finder)
            known = True
        for at, one in enumerate(findings.items[begun:], begun):
            findings.items[at] = msgspec.structs.replace(one, member=inner)
        return known

    return judge


def _beside_code(
    name: str, data: memoryview, kind: str, findings: Findings, code: CodeRules
) -> None:
    """Search a text for secrets; in a document, code is quoted and nothing that a loader runs."""
    if kind not in _TEXTS:
        return
    if len(data) > MAX_TEXT_BYTES:
        text = f"more than {MAX_TEXT_BYTES} bytes of text, not searched for secrets"
        findings.add("code.too-large", text, severity="low")
        return
    if is_document(name):
        findings.items = [one for one in findings.items if one.id != "text.code"]
    scan_secrets(lines_of(bytes(data).decode(errors="replace")), findings, code.finder)

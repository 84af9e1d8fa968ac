"""One file: its bytes in hand, or its path."""

import hashlib
import mmap
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from vallum.base.bounds import ARCHIVE, MIB, MODEL, ArchiveBounds, ModelBounds
from vallum.formats import release
from vallum.scan.characters import is_text
from vallum.scan.code.files import MAX_TEXT_BYTES, CodeRules, is_document, kind_of, scan_code
from vallum.scan.code.secrets import has_token, lines_of, scan_secrets
from vallum.scan.graphs import Beside
from vallum.scan.inspector import Inspector, Share
from vallum.scan.report import FileReport, Findings, ScanReport

_STEP = 8 * MIB
_PACKAGE = re.compile(r"\.(whl|egg|zip|tar|t?gz|conda)$", re.IGNORECASE)
_TEXTS = frozenset({"text", "yaml", "json", "jinja"})
_ELSEWHERE = frozenset(
    {"dependency.plain-http", "dependency.other-index", "dependency.url", "dependency.vcs"}
)


@dataclass(frozen=True, slots=True)
class ScanRules:
    """What one scan is bounded by and judges with."""

    model: ModelBounds
    archive: ArchiveBounds
    code: CodeRules | None
    digest: bool
    folder: bool = False  # whether the files beside it are scanned too


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
    limits = ScanRules(model, archive, code, digest)
    return ScanReport((_scan(name, memoryview(data), limits),))


def scan_file(
    path: Path, limits: ScanRules, beside: Beside | None = None, share: Share | None = None
) -> FileReport:
    """Scan one file, which is mapped and not read; a link or a special file is a finding."""
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
    return _scan(str(path), view, limits, beside, share)


def _scan(
    name: str, data: memoryview, limits: ScanRules, beside: Beside | None = None,
    share: Share | None = None,
) -> FileReport:  # fmt: skip
    findings = Findings()
    model, code = limits.model, limits.code
    if len(data) > model.max_bytes:
        findings.add("file.too-large", f"larger than {model.max_bytes} bytes")
        return FileReport(name, "", "too-large", findings.verdict(), findings.sorted())
    kind = "" if code is None else _by_code_rules(name, data, findings, code)
    if not kind:
        documents: set[str] = set()
        judge = None if code is None else _members(findings, code, documents)
        inspector = Inspector(
            findings,
            model=model,
            archive=limits.archive,
            judge=judge,
            beside=beside,
            share=share,
        )
        package = code is not None and _PACKAGE.search(name)
        kind = inspector.inspect(data, name="" if package else name)
        if code is None:
            _beside_model(name, data, kind, findings)
        else:
            _beside_code(name, data, kind, findings, code)
            _drop_quoted(findings, documents)
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


def _members(
    findings: Findings, code: CodeRules, documents: set[str]
) -> Callable[[str, str, memoryview], bool]:
    """Return what judges the members of an archive, such as a wheel, by the rules of their kind.

    A document is searched for secrets, noted in `documents`, and left to be judged as its bytes
    are: `config.json` of a Keras archive is a document by its name, and a program to its loader.
    """

    def judge(name: str, inner: str, content: memoryview) -> bool:
        begun = len(findings.items)
        known = bool(_by_code_rules(name, content, findings, code))
        if not known and is_document(name) and len(content) <= MAX_TEXT_BYTES and is_text(content):
            lines = lines_of(bytes(content).decode(errors="replace"))
            scan_secrets(lines, findings, code.finder)
            documents.add(inner)
        for at, one in enumerate(findings.items[begun:], begun):
            findings.items[at] = msgspec.structs.replace(one, member=inner)
        return known

    return judge


def _beside_model(name: str, data: memoryview, kind: str, findings: Findings) -> None:
    """Tell where a text beside a model takes packages from elsewhere, or gives a secret away.

    Whoever installs what a model says that it needs runs it; versions and hashes are for `code`.
    """
    if kind not in _TEXTS or len(data) > MAX_TEXT_BYTES:
        return
    text = bytes(data).decode(errors="replace")
    for line in lines_of(text):
        if has_token(line.text):
            findings.add("secret.token", "a secret is written here", line=line.line,
                         severity="high", atlas="AML.T0055")  # fmt: skip
            break
    if kind_of(name) == "dependencies":
        found = Findings()
        scan_code(name, bytes(data), found, CodeRules())
        findings.items += [one for one in found.items if one.id in _ELSEWHERE]


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
        _drop_quoted(findings, {""})
    scan_secrets(lines_of(bytes(data).decode(errors="replace")), findings, code.finder)


def _drop_quoted(findings: Findings, members: set[str]) -> None:
    """Forget the code that documents quote."""
    kept = [one for one in findings.items if one.id != "text.code" or one.member not in members]
    findings.items = kept

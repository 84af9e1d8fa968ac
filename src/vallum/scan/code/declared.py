"""What a dependency file declares, whatever its format, and the one judgement over it."""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from vallum.scan.advisories import Snapshot, affecting
from vallum.scan.report import Findings

Source = Literal["index", "vcs", "url", "local"]

_SOFTWARE, _PACKAGE = "AML.T0010.001", "AML.T0011.001"
_COMMIT = re.compile(r"^[0-9a-f]{40}([0-9a-f]{24})?$")
_DEFAULT_HOSTS = frozenset(
    {"pypi.org", "files.pythonhosted.org", "pypi.python.org", "conda.anaconda.org"}
)
_DEFAULT_CHANNELS = frozenset({"defaults", "conda-forge", "nodefaults", "main", "anaconda"})
MAX_DECLARED = 20_000


@dataclass(frozen=True, slots=True)
class Declared:
    """One package that a file asks for.

    Attributes:
        name: As written.
        version: The one version that is allowed; empty where there are several.
        line: Where; None in formats whose reader does not tell.
        source: Where it comes from.
        url: Of a source that is no index, without what is secret in it.
        fixed: The bytes are fixed, by a hash or by a commit.
        abstract: A library's own declaration, which others are meant to narrow.
        python: A package of Python; otherwise of conda, which advisories do not know.
    """

    name: str
    version: str = ""
    line: int | None = None
    source: Source = "index"
    url: str = ""
    fixed: bool = False
    abstract: bool = False
    python: bool = True


@dataclass(slots=True)
class Declaration:
    """All that a file says.

    Attributes:
        format: What the file is.
        packages: In its order.
        indexes: Where else packages are looked for, with the line; a URL, or a conda channel.
        unread: What was not understood, with the line.
        notes: Findings of the format's own: id, severity, message, line.
    """

    format: str
    packages: list[Declared] = field(default_factory=list)
    indexes: list[tuple[str, int | None]] = field(default_factory=list)
    unread: list[tuple[str, int | None]] = field(default_factory=list)
    notes: list[tuple[str, str, str, int | None]] = field(default_factory=list)


def without_secret(url: str) -> str:
    """Return a URL without user, password, query and fragment, cut to what a message holds."""
    return re.sub(r"//[^/@\s]*@", "//", re.split(r"[#?]", url, maxsplit=1)[0])[:200]


def judge(
    declared: Declaration,
    findings: Findings,
    *,
    advisories: Snapshot | None,
    trusted_hosts: Collection[str] = (),
) -> None:
    """Report what is loose, unsafe or known to be bad in a declaration; secrets are not its job.

    Args:
        declared: What a file says.
        findings: Added to.
        advisories: Of PyPI; None where none were imported, which is said.
        trusted_hosts: Hosts of indexes, and conda channels, that count as PyPI does.
    """
    for text, line in declared.unread:
        _add(findings, "dependency.unread", f"`{text[:80]}` is not understood", "medium", line)
    for id_, severity, message, line in declared.notes:
        _add(findings, id_, message, severity, line)
    for index, line in declared.indexes:
        _judge_index(index, line, findings, trusted_hosts)
    if len(declared.packages) > MAX_DECLARED:
        _add(findings, "dependency.too-many", f"more than {MAX_DECLARED} packages", "medium", None)
    packages = declared.packages[:MAX_DECLARED]
    for one in packages:
        _judge_source(one, findings, trusted_hosts)
        if one.source == "index" and not one.version:
            loose = "low" if one.abstract else "medium"
            text = f"`{one.name[:80]}` is not pinned to one version"
            _add(findings, "dependency.unpinned", text, loose, one.line)
    bare = [one for one in packages if one.version and not one.fixed and one.source == "index"]
    if bare:
        text = f"{len(bare)} pinned package(s) have no hash, so other bytes under that number pass"
        _add(findings, "dependency.unhashed", text, "low", bare[0].line)
    _match(packages, findings, advisories)


def _judge_index(
    index: str, line: int | None, findings: Findings, trusted: Collection[str]
) -> None:
    parts = urlsplit(index) if "://" in index else None
    shown = without_secret(index)
    if parts is not None and parts.scheme == "http":
        _add(findings, "dependency.plain-http", f"`{shown}` is read without TLS", "high", line)
    host = "" if parts is None else (parts.hostname or "")
    known = host in _DEFAULT_HOSTS if parts is not None else index in _DEFAULT_CHANNELS
    if host == "conda.anaconda.org" and parts is not None:
        known = parts.path.strip("/").split("/")[0] in _DEFAULT_CHANNELS
    if not known and index not in trusted and host not in trusted:
        text = f"packages are also taken from `{shown}`"
        _add(findings, "dependency.other-index", text, "high", line)


def _judge_source(one: Declared, findings: Findings, trusted: Collection[str]) -> None:
    shown = without_secret(one.url)
    name = one.name[:80] or "a package"
    if one.source == "local":
        _add(
            findings,
            "dependency.local",
            f"`{name}` comes from the folder `{shown}`",
            "low",
            one.line,
        )
        return
    if one.source == "index":
        return
    parts = urlsplit(one.url.removeprefix("git+"))
    if parts.scheme in ("http", "git"):
        _add(
            findings,
            "dependency.plain-http",
            f"`{name}` is read from `{shown}` without TLS",
            "high",
            one.line,
        )
    what = "a repository" if one.source == "vcs" else "an address"
    fix = "a commit" if one.source == "vcs" else "a hash"
    if not one.fixed:
        text = f"`{name}` comes from {what} (`{shown}`) and is not fixed by {fix}"
        _add(findings, f"dependency.{one.source}", text, "high", one.line)
    elif (parts.hostname or "") not in {*_DEFAULT_HOSTS, *trusted}:
        text = f"`{name}` comes from {what} (`{shown}`)"
        _add(findings, f"dependency.{one.source}", text, "low", one.line)


def _match(packages: list[Declared], findings: Findings, advisories: Snapshot | None) -> None:
    foreign = [one for one in packages if not one.python]
    if foreign:
        text = (
            f"{len(foreign)} package(s) of conda are not assessed: OSV has no advisories for conda"
        )
        _add(findings, "dependency.not-assessed", text, "low", foreign[0].line)
    known = [one for one in packages if one.version and one.python]
    if not known:
        return
    if advisories is None:
        text = "no advisories were imported, so versions were not matched against them"
        _add(findings, "dependency.no-advisories", text, "low", None)
        return
    for one in known:
        for match in affecting(advisories, one.name, one.version):
            ids = match.ids[0] + (f" ({', '.join(match.ids[1:4])})" if match.ids[1:] else "")
            end = f"; fixed in {', '.join(match.fixed[:4])}" if match.fixed else "; no fix is known"
            about = f": {match.summary}" if match.summary else ""
            findings.add(
                "dependency.advisory",
                f"`{one.name[:80]}` {one.version[:40]} is affected by {ids}{about}{end}",
                severity=match.severity, line=one.line,
                atlas=_PACKAGE if match.ids[0].startswith("MAL-") else _SOFTWARE,
            )  # fmt: skip


def is_commit(revision: str) -> bool:
    """Tell whether a revision is a commit's full hash, which nobody can move."""
    return bool(_COMMIT.match(revision))


def _add(findings: Findings, id_: str, message: str, severity: str, line: int | None) -> None:
    findings.add(id_, message, severity=severity, line=line, atlas=_SOFTWARE)

"""What a scan reports: one verdict and its findings for every file."""

from dataclasses import dataclass, field
from enum import StrEnum

from vallum.schema import Finding

_SUSPICIOUS = frozenset({"high", "medium"})


class ScanVerdict(StrEnum):
    """How much a file may be trusted, from best to worst."""

    CLEAN = "clean"  # understood to its last byte, and cannot carry code
    DATA_LIKE = "data_like"  # could carry code; all that it names is on the allow-list
    SUSPICIOUS = "suspicious"
    MALICIOUS = "malicious"


_ORDER = list(ScanVerdict)


@dataclass(frozen=True, slots=True)
class FileReport:
    """One file.

    Attributes:
        path: As given.
        sha256: Hexadecimal; empty where the digest was not asked for.
        format: What the bytes are.
        verdict: The conclusion.
        findings: Why, worst first.
    """

    path: str
    sha256: str
    format: str
    verdict: ScanVerdict
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class ScanReport:
    """All files of one scan."""

    files: tuple[FileReport, ...]

    @property
    def verdict(self) -> ScanVerdict:
        """The worst verdict; `suspicious` when nothing was scanned.

        An empty file beside others says nothing of them: folders hold such files, and no loader
        finds code in one.
        """
        verdicts = [file.verdict for file in self.files if file.format != "empty"]
        return max(verdicts, key=_ORDER.index, default=ScanVerdict.SUSPICIOUS)

    @property
    def exit_code(self) -> int:
        """0 when every file is `clean` or `data_like`, otherwise 1."""
        return int(self.verdict not in (ScanVerdict.CLEAN, ScanVerdict.DATA_LIKE))

    def to_json(self) -> dict[str, object]:
        """Return the object that `vallum scan --json` prints."""
        return {
            "schema": "vallum.scan/1",
            "files": [
                {
                    "path": file.path,
                    "sha256": file.sha256,
                    "format": file.format,
                    "verdict": file.verdict.value,
                    "findings": [_plain(finding) for finding in file.findings],
                }
                for file in self.files
            ],
        }


def _plain(finding: Finding) -> dict[str, object]:
    """Return a finding; `line` is there only where the file is a text that has lines."""
    plain: dict[str, object] = {
        "id": finding.id,
        "severity": finding.severity,
        "member": finding.member,
        "offset": finding.offset,
        "message": finding.message,
        "atlas": finding.atlas,
    }
    return plain if finding.line is None else {**plain, "line": finding.line}


@dataclass(slots=True)
class Findings:
    """Collects findings of one file and comes to its verdict.

    Attributes:
        code_capable: Set as soon as any part is of a format that could carry code.
    """

    limit: int = 200
    items: list[Finding] = field(default_factory=list)
    code_capable: bool = False

    def add(
        self,
        id_: str,
        message: str,
        *,
        severity: str = "high",
        member: str = "",
        offset: int | None = None,
        line: int | None = None,
        atlas: str = "",
    ) -> None:
        """Keep a finding; beyond `limit` only those that are worse than what is kept matter."""
        if len(self.items) >= self.limit and severity != "critical":
            return
        if len(self.items) >= 2 * self.limit:
            return
        finding = Finding(
            id=id_, severity=severity, message=message, member=member, offset=offset, atlas=atlas,
            line=line,
        )  # fmt: skip
        self.items.append(finding)

    def verdict(self) -> ScanVerdict:
        """The worst finding decides."""
        severities = {finding.severity for finding in self.items}
        if "critical" in severities:
            return ScanVerdict.MALICIOUS
        if severities & _SUSPICIOUS:
            return ScanVerdict.SUSPICIOUS
        return ScanVerdict.DATA_LIKE if self.code_capable else ScanVerdict.CLEAN

    def sorted(self) -> tuple[Finding, ...]:
        """Worst first, then by place."""
        rank = {"critical": 0, "high": 1, "medium": 2, "low": 3, "info": 4}
        return tuple(
            sorted(
                self.items,
                key=lambda f: (rank[f.severity], f.member, f.line or 0, f.offset or 0, f.id),
            )
        )

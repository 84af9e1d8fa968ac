"""What Trivy or Grype found about an image, where somebody has their JSON.

A report is somebody's word: it adds findings and takes none away, and counts for the image alone
whose digest it names.

Source: Trivy's report schema, version 2; Grype's JSON output, schema 16.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from vallum.base.bounds import MIB, JsonBounds
from vallum.base.errors import InputError
from vallum.formats import load_json

BOUNDS = JsonBounds(max_bytes=256 * MIB, max_nodes=20_000_000)
_SEVERITIES = {
    "CRITICAL": "critical", "HIGH": "high", "MEDIUM": "medium", "LOW": "low", "NEGLIGIBLE": "low",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reported:
    """One thing that a report says.

    Attributes:
        id: Of the advisory or rule.
        severity: `high` where the report does not know.
        place: Package or file.
        message: A sentence.
        fixed: Whether there is a version without it.
    """

    id: str
    severity: str
    place: str
    message: str
    fixed: bool


@dataclass(frozen=True, slots=True)
class Report:
    """All of a report.

    Attributes:
        tool: `trivy` or `grype`.
        subjects: Digests of the image that it names: of its manifest or its configuration.
        found: In its order.
    """

    tool: str
    subjects: frozenset[str]
    found: tuple[Reported, ...]


class _Trivial(msgspec.Struct, frozen=True, rename="pascal"):
    vulnerability_id: str = msgspec.field(default="", name="VulnerabilityID")
    pkg_name: str = ""
    installed_version: str = ""
    fixed_version: str = ""
    severity: str = ""
    title: str = ""


class _Secret(msgspec.Struct, frozen=True, rename="pascal"):
    rule_id: str = msgspec.field(default="", name="RuleID")
    severity: str = ""
    title: str = ""


class _Result(msgspec.Struct, frozen=True, rename="pascal"):
    target: str = ""
    vulnerabilities: tuple[_Trivial, ...] | None = ()
    secrets: tuple[_Secret, ...] | None = ()


class _Metadata(msgspec.Struct, frozen=True, rename="pascal"):
    image_id: str = msgspec.field(default="", name="ImageID")
    repo_digests: tuple[str, ...] | None = ()


class _TrivyReport(msgspec.Struct, frozen=True, rename="pascal", kw_only=True):
    artifact_type: str
    metadata: _Metadata
    results: tuple[_Result, ...] | None = ()


class _Fix(msgspec.Struct, frozen=True):
    versions: tuple[str, ...] | None = ()


class _Vulnerability(msgspec.Struct, frozen=True):
    id: str
    severity: str = ""
    fix: _Fix = _Fix()
    description: str = ""


class _Artifact(msgspec.Struct, frozen=True):
    name: str
    version: str = ""
    type: str = ""


class _GrypeMatch(msgspec.Struct, frozen=True):
    vulnerability: _Vulnerability
    artifact: _Artifact


class _Target(msgspec.Struct, frozen=True, rename="camel"):
    image_id: str = msgspec.field(default="", name="imageID")
    manifest_digest: str = ""
    repo_digests: tuple[str, ...] | None = ()


class _Source(msgspec.Struct, frozen=True):
    type: str
    target: _Target


class _GrypeReport(msgspec.Struct, frozen=True):
    matches: tuple[_GrypeMatch, ...]
    source: _Source


def read_report(data: bytes) -> Report:
    """Read a report in JSON.

    Raises:
        InputError: It is neither Trivy's nor Grype's, or not about an image.
        LimitExceededError: Beyond a bound.
    """
    document = load_json(data, BOUNDS)
    try:
        if isinstance(document, dict) and "SchemaVersion" in document:
            return _trivy(msgspec.convert(document, _TrivyReport))
        if isinstance(document, dict) and "matches" in document:
            return _grype(msgspec.convert(document, _GrypeReport))
    except msgspec.ValidationError as error:
        raise InputError("the report is malformed", code="image.report") from error
    raise InputError(
        "the report is neither Trivy's nor Grype's", code="image.report",
        hint="trivy image --format json, or grype -o json",
    )  # fmt: skip


def _trivy(report: _TrivyReport) -> Report:
    if report.artifact_type != "container_image":
        raise InputError("the report is not about an image", code="image.report")
    found: list[Reported] = []
    for result in report.results or ():
        for one in result.vulnerabilities or ():
            text = f"{one.pkg_name} {one.installed_version}: {one.title}"
            found.append(
                _said(one.vulnerability_id, one.severity, one.pkg_name, text, one.fixed_version)
            )
        for secret in result.secrets or ():
            found.append(_said(secret.rule_id, secret.severity, result.target, secret.title, "x"))
    subjects = {report.metadata.image_id, *_digests(report.metadata.repo_digests)}
    return Report("trivy", frozenset(subjects - {""}), tuple(found))


def _grype(report: _GrypeReport) -> Report:
    if report.source.type != "image":
        raise InputError("the report is not about an image", code="image.report")
    target = report.source.target
    found = [
        _said(
            one.vulnerability.id, one.vulnerability.severity, one.artifact.name,
            f"{one.artifact.name} {one.artifact.version}",
            "".join(one.vulnerability.fix.versions or ()),
        )
        for one in report.matches
    ]  # fmt: skip
    subjects = {target.image_id, target.manifest_digest, *_digests(target.repo_digests)}
    return Report("grype", frozenset(subjects - {""}), tuple(found))


def _said(id_: str, severity: str, place: str, text: str, fixed: str) -> Reported:
    return Reported(
        id=id_[:80], severity=_SEVERITIES.get(severity.upper(), "high"), place=place[:200],
        message=" ".join(text.split())[:200], fixed=bool(fixed),
    )  # fmt: skip


def _digests(references: Iterable[str] | None) -> set[str]:
    return {str(one).partition("@")[2] for one in references or ()}

"""Findings as SARIF 2.1.0, the format that code-scanning pages and editors read.

Source: OASIS, Static Analysis Results Interchange Format 2.1.0, errata 01.
"""

from collections.abc import Iterable
from urllib.parse import quote

from vallum.schema import Finding

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_LEVELS = {"critical": "error", "high": "error", "medium": "warning", "low": "note", "info": "note"}


def sarif(findings: Iterable[tuple[str, Finding]], *, version: str) -> dict[str, object]:
    """Return one run of `vallum scan` as a SARIF log, ready for a JSON encoder.

    Args:
        findings: Path of the scanned file, and what was found in it. Paths are taken as relative.
        version: Of vallum.

    A severity that is not known is an `error`: what cannot be ranked is not hidden.
    """
    results: list[dict[str, object]] = []
    rules: dict[str, int] = {}
    for path, finding in findings:
        index = rules.setdefault(finding.id, len(rules))
        results.append(_result(path, finding, index))
    driver = {
        "name": "vallum",
        "semanticVersion": version,
        "rules": [{"id": rule} for rule in rules],
    }
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }


def _result(path: str, finding: Finding, index: int) -> dict[str, object]:
    place: dict[str, object] = {
        "artifactLocation": {"uri": quote(path.replace("\\", "/").lstrip("/"), safe="/")}
    }
    if finding.line is not None and not finding.member:
        place["region"] = {"startLine": finding.line}
    elif finding.offset is not None and not finding.member:
        place["region"] = {"byteOffset": finding.offset, "byteLength": 0}
    location: dict[str, object] = {"physicalLocation": place}
    if finding.member:  # an offset inside a member is not one of the file
        location["logicalLocations"] = [{"fullyQualifiedName": finding.member, "kind": "member"}]
    properties: dict[str, object] = {"severity": finding.severity}
    if finding.atlas:
        properties["tags"] = [finding.atlas]
    if finding.member and finding.offset is not None:
        properties["memberOffset"] = finding.offset
    if finding.member and finding.line is not None:
        properties["memberLine"] = finding.line
    return {
        "ruleId": finding.id,
        "ruleIndex": index,
        "level": _LEVELS.get(finding.severity, "error"),
        "message": {"text": finding.message},
        "locations": [location],
        "properties": properties,
    }

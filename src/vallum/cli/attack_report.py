"""The report of `vallum attack`: as a record, a page, SARIF and lines."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from vallum.base import InputError
from vallum.base.version import VERSION
from vallum.cli.border import table
from vallum.schema import Finding

if TYPE_CHECKING:
    from vallum.attack.segments import ColumnReport, PerformanceReport
    from vallum.attack.suite import SuiteReport

_NAMED = frozenset({"atlas", "nist", "title"})


def record_of(
    model: dict[str, str], data: dict[str, str], settings: dict[str, str], found: "SuiteReport"
) -> dict[str, object]:
    """Return the report as it is written."""
    from vallum.attack.suite.record import published
    from vallum.govern.threats import threat

    rows = {one.threat: threat(one.threat) for one in found.threats}
    names = {name: (row.title, row.atlas, row.nist) for name, row in rows.items()}
    return published(found, model=model, data=data, settings=settings, names=names)


def page(record: dict[str, Any], found: "SuiteReport", target: Path) -> bytes:
    """Return the report as a file of this name is: JSON, or a page with plots."""
    if target.suffix.lower() == ".json":
        return (json.dumps({"schema": "vallum.attack/1", **record}, indent=2) + "\n").encode()
    return _html(record, found)


def page_of(report: bytes) -> bytes:
    """Return a report of a registered model, JSON, as a page.

    Raises:
        InputError: It is none.
    """
    record, found, figures, columns = read_report(report)
    return _html(record, found, figures, columns)


def read_report(
    report: bytes,
) -> tuple[dict[str, Any], "SuiteReport", "PerformanceReport | None", "tuple[ColumnReport, ...]"]:
    """Return a report as it is written, its attacks, and how well the model does.

    Raises:
        InputError: It is no such report.
    """
    from vallum.attack.segments import ColumnReport, PerformanceReport
    from vallum.attack.suite import SuiteReport

    try:
        record = msgspec.json.decode(report, type=dict[str, Any])
        plain = {name: record[name] for name in SuiteReport.__struct_fields__}
        plain["threats"] = [
            {key: one[key] for key in one if key not in _NAMED} for one in record["threats"]
        ]
        found = msgspec.convert(plain, SuiteReport)
        figures = msgspec.convert(record.get("performance"), PerformanceReport | None)
        columns = msgspec.convert(record.get("segments", ()), tuple[ColumnReport, ...])
    except (msgspec.DecodeError, msgspec.ValidationError, KeyError, TypeError) as error:
        raise InputError("this is no report of a test", code="attack.diff") from error
    record.pop("schema", None)
    return record, found, figures, columns


def _html(
    record: dict[str, Any],
    found: "SuiteReport",
    figures: "PerformanceReport | None" = None,
    columns: "tuple[ColumnReport, ...]" = (),
) -> bytes:
    from vallum.attack.suite import attack_page
    from vallum.attack.suite.tables import figures_html

    names = {
        one["threat"]: (one["title"], "MITRE ATLAS " + ", ".join(one["atlas"]),
                        f"NIST AI 100-2: {one['nist']}")
        for one in record["threats"]
    }  # fmt: skip
    facts = {
        "model": f"{record['model']['file']} ({record['model']['kind']})",
        "sha256 of the model": record["model"]["sha256"],
        "data": record["data"]["file"],
        "sha256 of the data": record["data"]["sha256"],
        "training data": record["data"]["train_file"] or "not given",
    }
    more = figures_html(figures, columns)
    return attack_page(found, title="Attack report", facts=facts, names=names, more=more).encode()


def left_open(report: bytes) -> list[str]:
    """Return each threat that attacks were planned for and that was not tested, and why."""
    _, found, _, _ = read_report(report)
    return [
        f"{one.threat}: {one.reason}"
        for one in found.threats
        if one.attacks and one.verdict.value == "not tested"
    ]


def sarif_of(path: str, found: "SuiteReport") -> bytes:
    """Return what did not pass as SARIF 2.1.0."""
    from vallum.govern import sarif
    from vallum.govern.threats import threat

    findings = []
    for one in found.threats:
        if one.verdict.value in {"passed", "measured"} or not (one.attacks or one.left_out):
            continue
        tested = one.verdict.value != "not tested"
        severity = "high" if tested and (one.low or 0) > (one.limit or 0) else "medium"
        findings.append(
            Finding(
                id=f"attack.{one.threat}" if tested else "attack.not-tested",
                severity=severity if one.attacks else "info",
                message=f"{one.threat}: {one.verdict.value}: {one.reason}",
                atlas=next(iter(threat(one.threat).atlas), ""),
            )
        )
    log = sarif(((path, one) for one in findings), version=VERSION)
    return json.dumps(log, indent=2).encode() + b"\n"


def text(name: str, found: "SuiteReport") -> str:
    """Return the report as lines for people."""
    accuracy = "not known" if found.accuracy is None else f"{found.accuracy:.3f}"
    lines = [f"{name}: {found.verdict.value} (accuracy {accuracy})"]
    rows = []
    for one in found.threats:
        limit = "" if one.limit is None else f"{one.limit:g}"
        rows.append((one.threat, one.verdict.value, *_figures(one), limit, ""))
        rows += [
            (f"  {used.attack}", used.outcome.value, *_figures(used), "", f"{used.queries:,}")
            for used in one.attacks
        ]
    header = ("threat", "verdict", "rate", "95 % interval", "limit", "queries")
    lines.append(table(header, rows))
    lines += [f"{one.threat}: {one.reason}" for one in found.threats
              if one.verdict.value == "over the limit"]  # fmt: skip
    lines += [f"not assessed: {one}" for one in found.not_assessed]
    return "\n".join(lines)


def _figures(one: Any) -> tuple[str, str]:  # noqa: ANN401 - a threat or an attack
    if one.rate is None:
        return "", ""
    return f"{one.rate:.3f}", f"{one.low:.3f}-{one.high:.3f}"

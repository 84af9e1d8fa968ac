"""Gates that read a model's tests: seven of them, and all figures are those of one report.

The report is kept beside them, and evidence names its digest. What could not be tested leaves no
evidence, and a policy that asks for it refuses.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from vallum.attack.gate import ModelReport, Wanted
from vallum.attack.segments import ColumnReport, Gap
from vallum.attack.suite import THREATS, Threat, Used, Verdict
from vallum.attack.suite.record import published
from vallum.base import digest
from vallum.govern.threats import threat
from vallum.schema import AssetVersion, Evidence
from vallum.schema import Verdict as Judged
from vallum.workspace.gates.table import (
    BACKDOOR,
    EVASION,
    EXTRACTION,
    FAIRNESS,
    INVERSION,
    MEMBERSHIP,
    PERFORMANCE,
    About,
    Gate,
    evidence,
)

MAX_GAP = 0.2
"""Difference between two segments from which `fairness` fails: where its whole interval is beyond.
Stricter limits are the policy file's, on `…_high` where it must be *shown* to be small."""
SCHEMA = "vallum.attack/1"
_GATES = {one.name: one for one in (BACKDOOR, EVASION, EXTRACTION, INVERSION, MEMBERSHIP)}
ATTACKED = frozenset(_GATES)
"""Gates whose evidence is the outcome of attacks."""
_NAMES = {
    "backdoor": "triggered", "membership": "auc", "inversion": "auc", "extraction": "fidelity",
}  # fmt: skip
_COPIED = {
    "backdoor": {"false_alarms": "false alarms", "index": "largest index"},
    "membership": {
        "tpr_at_1fpr": "true positives at 1 % false ones",
        "tpr_at_01fpr": "true positives at 0.1 % false ones",
    },
    "extraction": {"queries_to_95": "queries to 0.95", "baseline": "without a query"},
}
"""Measures that are the strongest attack's own, and what the report calls them."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The report as it is kept, and the evidence that reads it.

    Attributes:
        report: JSON, as `vallum attack --report FILE.json` writes it.
        evidence: Of each gate that could be judged.
        untested: Why the others could not.
    """

    report: bytes
    evidence: tuple[Evidence, ...]
    untested: tuple[str, ...]


def judge(
    found: ModelReport,
    *,
    version: AssetVersion,
    others: AssetVersion,
    members: AssetVersion | None,
    kind: str,
    wanted: Wanted,
    now: datetime,
) -> Judgement:
    """Turn a report into evidence.

    Args:
        found: The report.
        version: The model.
        others: The held-out records.
        members: The training table, if there is one.
        kind: Of the model, as it was opened.
        wanted: What was tested.
        now: When.
    """
    record = _record(found, version, others, members, kind, wanted)
    report = msgspec.json.encode(record, order="sorted")
    common = {
        "suite": wanted.suite,
        "access": found.suite.access,
        "budget_s": str(wanted.budget_s),
        "effort": f"{found.suite.effort:g}",
    }
    about = About(version.id, version.digest, now)

    def leave(
        gate: Gate,
        passed: bool,  # noqa: FBT001 - a closure of this function only
        measures: dict[str, str | float | int],
        **parameters: str,
    ) -> Evidence:
        return evidence(
            gate,
            Judged.PASS if passed else Judged.FAIL,
            about,
            measures=measures,
            parameters={**common, **parameters},
            data_digest=others.digest,
            seed=str(wanted.seed),
            details=digest(report),
        )

    rows = {row.id: row for row in THREATS}
    made = []
    for one in found.suite.threats:
        if one.verdict is Verdict.NOT_TESTED or one.rate is None:
            continue
        gate = _GATES[rows[one.threat].gate]
        best = _strongest(one)
        made.append(
            leave(
                gate,
                one.verdict is not Verdict.OVER,
                dict(_measures(gate.name, one, best, found)),
                attack=best.attack,
            )
        )
    if found.performance is not None:
        made += list(_figures(found, leave))
    untested = (*found.suite.not_assessed, *found.not_assessed)
    return Judgement(report, tuple(made), untested)


def _record(  # noqa: PLR0917 - what `judge` is given
    found: ModelReport,
    version: AssetVersion,
    others: AssetVersion,
    members: AssetVersion | None,
    kind: str,
    wanted: Wanted,
) -> dict[str, Any]:
    built = published(
        found.suite,
        model={"file": f"{version.name}:{version.version}", "kind": kind, "sha256": version.digest},
        data={
            "file": f"{others.name}:{others.version}",
            "sha256": others.digest,
            "train_file": "" if members is None else f"{members.name}:{members.version}",
            "train_sha256": "" if members is None else members.digest,
        },
        settings={
            "access": wanted.access,
            "label": wanted.label,
            "features": ",".join(wanted.features),
            "segments": ",".join(wanted.segments),
            "suite": wanted.suite,
            "seed": "drawn",  # by the workspace; the seed itself stands beside
            "budget_s": str(wanted.budget_s),
        },
        names={row.id: _known_as(row.id) for row in THREATS},
    )
    rest = msgspec.to_builtins(found)
    for name in ("performance", "segments"):
        built[name] = rest[name]
    for name in ("not_assessed", "notes"):
        built[name] = tuple(dict.fromkeys((*built[name], *rest[name])))
    return {"schema": SCHEMA, **built}


def _known_as(identity: str) -> tuple[str, tuple[str, ...], str]:
    row = threat(identity)
    return row.title, row.atlas, row.nist


def _strongest(one: Threat) -> Used:
    done = [used for used in one.attacks if used.rate is not None]
    return max(done, key=lambda used: used.rate or 0.0)


def _measures(
    gate: str, one: Threat, best: Used, found: ModelReport
) -> Iterator[tuple[str, str | float | int]]:
    if one.rate is None or one.low is None or one.high is None:
        return
    if gate == "evasion":
        yield from (
            ("success_rate", one.rate),
            ("success_low", one.low),
            ("success_high", one.high),
        )
        yield "epsilon", found.suite.epsilon
        yield "attacked", best.records
        if found.suite.accuracy is not None:
            yield "accuracy", found.suite.accuracy
    else:
        name = _NAMES[gate]
        yield from ((name, one.rate), (f"{name}_low", one.low), (f"{name}_high", one.high))
        yield "records", best.records
        for measure, said in _COPIED.get(gate, {}).items():
            if said in best.more:
                yield measure, best.more[said]
    yield "queries", sum(used.queries for used in one.attacks)


def _figures(found: ModelReport, leave: Callable[..., Evidence]) -> Iterator[Evidence]:
    figures = found.performance
    if figures is None:
        return
    measures: dict[str, str | float | int] = {
        "accuracy": figures.accuracy.value,
        "accuracy_low": figures.accuracy.low,
        "accuracy_high": figures.accuracy.high,
        "baseline": figures.baseline,
        "balanced_accuracy": figures.balanced_accuracy,
        "macro_f1": figures.macro_f1,
        "least_recall": min(one.value for one in figures.recalls.values()),
        "least_recall_low": min(one.low for one in figures.recalls.values()),
        "records": figures.records,
    }
    if figures.log_loss is not None and figures.calibration_error is not None:
        measures |= {
            "log_loss": figures.log_loss, "calibration_error": figures.calibration_error,
        }  # fmt: skip
    errors = [
        part.error for column in found.segments for part in column.segments
        if part.error is not None
    ]  # fmt: skip
    if errors:
        measures |= {
            "segment_error": max(one.value for one in errors),
            "segment_error_high": max(one.high for one in errors),
        }
    # Guessing gets one of c classes right on average: a model must do better than that.
    useful = figures.balanced_accuracy > 1 / max(2, found.suite.classes)
    yield leave(PERFORMANCE, useful, measures)
    yield from _fairness(found.segments, leave)


def _fairness(
    columns: tuple[ColumnReport, ...], leave: Callable[..., Evidence]
) -> Iterator[Evidence]:
    measures: dict[str, str | float | int] = {}
    worst: list[Gap] = []
    for name, gaps in (
        ("demographic_parity_difference", [one.demographic_parity for one in columns]),
        ("equalized_odds_difference", [one.equalized_odds for one in columns]),
        ("error_difference", [one.error for one in columns]),
    ):
        known = [gap for gap in gaps if gap is not None]
        worst += known
        # Of columns of which one is not known nothing is said: a limit on it is then not met.
        if known and len(known) == len(gaps):
            measures[name] = max(gap.value for gap in known)
            measures[f"{name}_low"] = max(gap.low for gap in known)
            measures[f"{name}_high"] = max(gap.high for gap in known)
    if not worst:
        return
    measures["segments"] = sum(len(one.segments) for one in columns)
    measures["not_assessed"] = sum(
        part.error is None for column in columns for part in column.segments
    )
    fair = all(gap.low <= MAX_GAP for gap in worst)
    yield leave(FAIRNESS, fair, measures, columns=",".join(one.column for one in columns))

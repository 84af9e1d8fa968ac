"""What a suite reports. Everything but `times` is the same for the same seed and budget."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from vallum.schema import Record


class Outcome(StrEnum):
    """How one attack of a suite ended; only `done` says anything about the model."""

    CUT = "cut"
    """The budget ran out."""
    DONE = "done"
    UNFIT = "unfit"
    """The model is not of the kind that it attacks."""
    FAILED = "failed"
    """It crashed, did nothing, or the model cannot be assessed by it."""


class Verdict(StrEnum):
    """What is known about a threat."""

    NOT_TESTED = "not tested"
    """No attack fits, or one of those that do was cut or failed and no other found enough."""
    OVER = "over the limit"
    """The interval of the measured rate reaches beyond the limit."""
    MEASURED = "measured"
    """There is a rate, and no limit for it."""
    PASSED = "passed"


class Used(Record, frozen=True):
    """One attack.

    Attributes:
        attack: Its name.
        access: What it needs: `labels`, `scores`, `gradients`; `training data` beside.
        outcome: One of `Outcome`.
        reason: Why, where it is not `done`.
        records: That it attacked.
        rate: What it measured, see the threat's `measure`; none unless `done`.
        low: Lower end of its 95 % interval.
        high: Upper end.
        planned: Queries that were set aside for it, in records.
        queries: That it asked.
        answers: What the model was asked for, of attacks that take what there is: `labels`,
            `probabilities`, `logits` or `gradients`.
        curve: Distance and the share of records flipped within it, where it tells distances; of a
            theft, queries and fidelity.
        more: Further figures by name.
    """

    attack: str
    access: str
    outcome: Outcome
    reason: str = ""
    records: int = 0
    rate: float | None = None
    low: float | None = None
    high: float | None = None
    planned: int = 0
    queries: int = 0
    answers: str = ""
    curve: tuple[tuple[float, float], ...] = ()
    more: dict[str, float] = {}


class Threat(Record, frozen=True):
    """What is known about one threat.

    Attributes:
        threat: Its id, as threat model and evidence name it.
        verdict: One of `Verdict`.
        reason: Why, where it did not pass.
        measure: What `rate` counts.
        rate: Over all attacks together; none where nothing was measured.
        low: Lower end of its 95 % interval.
        high: Upper end; 1 where an attack was cut or failed.
        unassessed: Records on which no attack proves anything; `high` counts them as flipped.
        limit: That `high` must not exceed; none where a rate is only measured.
        means: The figure in words.
        lowers: What would lower it.
        attacks: Those that fit, in the order in which they were made.
        left_out: Attacks that do not fit, and why.
    """

    threat: str
    verdict: Verdict
    reason: str
    measure: str
    rate: float | None
    low: float | None
    high: float | None
    unassessed: int
    limit: float | None
    means: str
    lowers: str
    attacks: tuple[Used, ...]
    left_out: dict[str, str] = {}


class Seconds(Record, frozen=True):
    """Times, apart from all that can be compared.

    Attributes:
        total: Seconds of the whole suite.
        attacks: Seconds of each attack.
    """

    total: float
    attacks: dict[str, float]


class SuiteReport(Record, frozen=True):
    """The report.

    Attributes:
        suite: `quick`, `standard` or `full`.
        seed: Of every random choice.
        budget_s: Seconds that the plan was made for.
        effort: Share of the suite's full effort that the budget allows.
        form: `table` or `array`.
        epsilon: Size of a small change, see `unit`.
        unit: Of distances.
        records: In the data.
        classes: Of the model; 0 where it could not be asked.
        access: What the model lets attacks use.
        accuracy: On the data; none where it could not be assessed.
        verdict: The worst of the threats that were planned.
        threats: In order.
        not_assessed: What could not be assessed, and why.
        notes: What was read off the data or left out.
        times: The only part that differs between runs.
    """

    suite: str
    seed: int
    budget_s: float
    effort: float
    form: str
    epsilon: float
    unit: str
    records: int
    classes: int
    access: str
    accuracy: float | None
    verdict: Verdict
    threats: tuple[Threat, ...]
    not_assessed: tuple[str, ...]
    notes: tuple[str, ...]
    times: Seconds


def published(
    report: SuiteReport,
    *,
    model: Mapping[str, str],
    data: Mapping[str, str],
    settings: Mapping[str, str],
    names: Mapping[str, tuple[str, Sequence[str], str]],
) -> dict[str, Any]:
    """Return a report as it is written: about what, made how, and the threats' names elsewhere.

    Args:
        report: What was found.
        model: Name, kind and digest.
        data: Names and digests.
        settings: What makes two reports comparable.
        names: Of each threat: for people, in MITRE ATLAS, in NIST AI 100-2.
    """
    built: dict[str, Any] = msgspec.to_builtins(report)
    for one in built["threats"]:
        one["title"], one["atlas"], one["nist"] = names[one["threat"]]
        one["atlas"] = list(one["atlas"])
    times = built.pop("times")
    return {
        "model": dict(model), "data": dict(data), "settings": dict(settings), **built,
        "times": times,
    }  # fmt: skip

"""What a private job reserves of its data's budget, gives back unused, and reports.

A job is anybody's code. What is enforced is that the whole spend is charged before it is queued,
that it is given one data set and nothing else, and that nothing which it made is published unless
it reports a spend within what was charged. That the code trained as it says is not checked.
"""

import hashlib
from collections.abc import Mapping
from decimal import Decimal

import msgspec

from vallum.base import InputError, LimitExceededError, VallumError, canonical_json
from vallum.defend.dp import Spend
from vallum.formats import load_json
from vallum.privacy.dp import Cost, spend
from vallum.schema import (
    AssetVersion,
    Job,
    JobPrivacy,
    JobReserve,
    PrivacyBudget,
    PrivacyCharge,
)
from vallum.workspace.ledger import refunded
from vallum.workspace.step import Act
from vallum.workspace.steps.dp import charge_for, private_data

_RECORD = "record"
MAX_REPORT_BYTES = 64 * 1024


def _cost(privacy: JobPrivacy) -> Cost:
    if Decimal(privacy.delta or "0") <= 0:
        raise InputError(
            "private training spends a delta beside epsilon", code="job.privacy",
            hint="--delta 0.00001, less than one over the number of records",
        )  # fmt: skip
    return spend(epsilon=privacy.epsilon, delta=privacy.delta)


def reserve_for(
    act: Act, job_id: str, inputs: Mapping[str, AssetVersion], privacy: JobPrivacy
) -> JobReserve:
    """Charge every budget that a job's training touches, in the transaction that queues it.

    Raises:
        InputError: It has not exactly one data input, or its data is budgeted by person.
        LimitExceededError: A budget would be overspent, or there is none.
        NotFoundError: Nothing is declared about the data.
    """
    cost = _cost(privacy)
    data = [one for one in inputs.values() if one.kind == "data"]
    if len(data) != 1:
        raise InputError(
            f"a private job trains on exactly one data input, got {len(data)}",
            code="job.privacy",
            hint="noise protects the data that is trained on; another input would not be",
        )
    private = private_data(act.context, data[0])
    if private.unit != _RECORD:
        raise InputError(
            f"the budget of `{data[0].name}` counts by `{private.unit}`, and training protects"
            " records",
            code="job.privacy",
            hint="train on data with one record a person, declared with `unit: {rows: true}`",
        )
    question = {"job": job_id, "version": data[0].id, "cost": msgspec.to_builtins(cost)}
    digest = hashlib.sha256(canonical_json(question)).hexdigest()
    charge, budgets = charge_for(
        act, private, cost, question=f"sha256:{digest}", retry_id="", intent_id=job_id
    )
    return JobReserve(charge_id=charge.id, periods={one.id: one.period for one in budgets})


def give_back(act: Act, job: Job) -> None:
    """Return what a job reserved that never ran; a budget that was renewed since keeps its own."""
    if job.privacy is None or job.reserve is None:
        return
    cost = _cost(job.privacy)
    records, snapshot = act.context.records, act.context.snapshot
    charge = records.get(snapshot, "privacy-charge", job.reserve.charge_id, PrivacyCharge)
    for budget in act.context.all("budget", PrivacyBudget):
        if job.reserve.periods.get(budget.id) == budget.period:
            act.put(
                "budget", refunded(budget, cost), on=job.id,
                parent_id=budget.population, name=budget.holder,
            )  # fmt: skip
    act.put(
        "privacy-charge", msgspec.structs.replace(charge, answer='{"unused":true}'),
        on=job.id, parent_id=charge.caller_id, name=charge.retry_id,
    )  # fmt: skip
    act.details["unused"] = msgspec.to_builtins(cost)


def checked_report(privacy: JobPrivacy, report: bytes | None) -> tuple[str, str]:
    """Return a job's own report as JSON text, and why nothing of it is published, or `""`."""
    if report is None:
        return "", "the job left no privacy report: vallum.defend.dp.leave_report(spend)"
    try:
        if len(report) > MAX_REPORT_BYTES:
            raise LimitExceededError("too long", code="job.privacy")
        told = msgspec.convert(load_json(report), Spend)
    except (VallumError, msgspec.ValidationError):
        return "", "the job's privacy report cannot be read"
    text = msgspec.json.encode(told).decode()
    for name in ("epsilon", "delta"):
        limit, said = getattr(privacy, name), getattr(told, name)
        # The job was told the limit as text and reads it as this very double.
        if not 0 <= said <= float(limit):
            return text, f"the job reports {name} {said:g}, and {limit} was reserved"
    return text, ""

"""The step of private releases: noisy marginals, or records made up from them, as a data asset."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from vallum.base import ConflictError, InputError, canonical_json, check_name, new_id
from vallum.base.bounds import GIB
from vallum.formats import write_csv_safe
from vallum.privacy.dp import Answer, Cost, spend
from vallum.privacy.dp.plan import group_labels
from vallum.privacy.dp.release import marginal_plan, parse_marginals, release_table, share_of
from vallum.privacy.dp.synthetic import MAX_ROWS, Marginal, Measured
from vallum.privacy.gate import Extract
from vallum.sandbox import Limits, run_check
from vallum.schema import (
    Ask,
    Asset,
    AssetVersion,
    Caller,
    Part,
    PrivacyBudget,
    PrivacyCharge,
    Verdict,
    WrappedDataKey,
)
from vallum.schema import privacy as wire
from vallum.workspace.context import Context, ask, asks_to_write
from vallum.workspace.gates.table import ALLOWED, RELEASE, SYNTHESIZE, About, evidence
from vallum.workspace.step import Act, Length, Step, Work
from vallum.workspace.steps.data import derive, purposed
from vallum.workspace.steps.dp import (
    answer_of,
    charge_for,
    charge_id,
    declaration_of,
    private_data,
)
from vallum.workspace.versions import publish, stage

_LIMITS = Limits(memory_bytes=6 * GIB, wall_s=300.0, cpu_s=600, processes=128, output_bytes=1 * GIB)


def _source(context: Context, args: wire.DpRelease) -> AssetVersion:
    return context.version("data", args.name, args.version)


def _asks(context: Context, args: wire.DpRelease, caller: Caller) -> Sequence[Ask]:
    source = context.version_resource(_source(context, args))
    into = check_name(args.into, what="data name")
    return (*ask("data/versions/query/action", source), *asks_to_write(context, "data", into))


def _reserve(act: Act, args: wire.DpRelease, intent_id: str) -> wire.DpReleased:
    """Charge for all marginals together, before any of them exists."""
    source = _source(act.context, args)
    private = private_data(act.context, source)
    cost = spend(epsilon=args.epsilon, rho=args.rho, delta=args.delta)
    marginals = parse_marginals(args.marginals)
    declaration = declaration_of(private.declaration)
    share = share_of(cost, len(marginals))
    plans = [marginal_plan(columns, declaration, share) for columns in marginals]
    if args.synthetic and not all(plan.public for plan in plans):
        raise InputError(
            "synthetic records are drawn from groups that are declared",
            code="dp.synthetic",
            hint="declare values or bins of every column of the marginals",
        )
    if not 0 <= args.rows <= MAX_ROWS or (args.rows and not args.synthetic):
        raise InputError(
            f"rows are of synthetic records, and at most {MAX_ROWS}", code="dp.synthetic"
        )
    into = act.context.find("data", args.into, Asset)
    if into is not None:  # what `derive` would refuse when the budget is spent
        if into.id == source.asset_id:
            raise ConflictError("a release needs a data asset of its own", code="dp.release")
        purposed(purposed({}, source.tags), into.tags)
    document = {"version": source.id, "release": msgspec.to_builtins(args)}
    question = "sha256:" + hashlib.sha256(canonical_json(document)).hexdigest()
    _, budgets = charge_for(act, private, cost, question=question, retry_id="", intent_id=intent_id)
    act.details["marginals"] = list(args.marginals)
    return wire.DpReleased(
        name=args.into, epsilon=cost.epsilon, rho=cost.rho, delta=cost.delta,
        budgets=tuple(budgets),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Made:
    source: AssetVersion
    charge: PrivacyCharge
    version_id: str
    wrapped: WrappedDataKey
    part: Part
    table: Extract
    cells: int
    scale: float


def _prepare(work: Work, args: wire.DpRelease) -> _Made:
    source = work.read(lambda context: _source(context, args))
    private = work.read(lambda context: private_data(context, source))
    charge = work.read(
        lambda context: context.records.get(
            context.snapshot, "privacy-charge", charge_id(work.intent_id), PrivacyCharge
        )
    )
    marginals = parse_marginals(args.marginals)
    cost = Cost(epsilon=charge.epsilon, rho=charge.rho, delta=charge.delta)
    share = share_of(cost, len(marginals))
    answers = [answer_of(work, source, private, _sql(one), share) for one in marginals]
    if args.synthetic:
        declared = declaration_of(private.declaration)
        names = dict.fromkeys(name for columns in marginals for name in columns)
        labels = {name: group_labels(declared.columns[name]) for name in names}
        table = _synthesized(work, marginals, answers, labels, args.rows)
    else:
        frame = release_table(marginals, answers)
        table = Extract(
            table=write_csv_safe(frame), rows=frame.height, columns=tuple(frame.columns)
        )
    version_id = str(new_id("dver"))
    wrapped, parts = stage(work, version_id, [(f"{args.into}.csv", table.table)], personal=True)
    scales = [figure.scale for one in answers for group in one.groups for figure in group.figures]
    return _Made(
        source, charge, version_id, wrapped, parts[0], table,
        sum(len(one.groups) for one in answers), max(scales, default=0.0),
    )  # fmt: skip


def _sql(columns: Sequence[str]) -> str:
    quoted = ", ".join('"' + name.replace('"', '""') + '"' for name in columns)
    return f"SELECT {quoted}, COUNT(*) AS count FROM t GROUP BY {quoted}"  # noqa: S608 - quoted, and parsed as one SELECT of aggregates


def _synthesized(
    work: Work,
    marginals: Sequence[Sequence[str]],
    answers: Sequence[Answer],
    labels: dict[str, tuple[str, ...]],
    rows: int,
) -> Extract:
    measured = Measured(
        labels=labels,
        marginals=tuple(
            Marginal(
                columns=tuple(columns),
                counts=tuple(group.figures[0].value or 0.0 for group in answer.groups),
                scale=answer.groups[0].figures[0].scale,
            )
            for columns, answer in zip(marginals, answers, strict=True)
        ),
    )
    return run_check(
        work.house.runner,
        SYNTHESIZE,
        msgspec.msgpack.encode(measured),
        report_type=Extract,
        allowed=ALLOWED,
        arguments={"rows": rows, "seed": work.seed},
        limits=_LIMITS,
    )


def _act(act: Act, args: wire.DpRelease, made: _Made) -> wire.DpReleased:
    what = "synthetic records" if args.synthetic else "noisy marginals"
    version, on = derive(
        act,
        made.source,
        args.into,
        version_id=made.version_id,
        part=made.part,
        rows=made.table.rows,
        columns=made.table.columns,
        what=f"{what} of",
    )
    told = evidence(
        RELEASE,
        Verdict.PASS,
        About(version.id, version.digest, act.now),
        measures={
            "epsilon": made.charge.epsilon,
            "rho": made.charge.rho,
            "delta": made.charge.delta,
            "marginals": len(args.marginals),
            "cells": made.cells,
            "noise_scale": made.scale,
        },
        parameters={"what": what, "marginals": "; ".join(args.marginals)},
    )
    publish(act, version, made.wrapped, (told,), on=on)
    budgets = [
        one for one in act.context.all("budget", PrivacyBudget) if one.id in made.charge.budgets
    ]
    return wire.DpReleased(
        name=version.name, epsilon=made.charge.epsilon, rho=made.charge.rho,
        delta=made.charge.delta, version=version.version, rows=made.table.rows,
        columns=made.table.columns, budgets=tuple(budgets),
    )  # fmt: skip


STEPS = (
    Step(
        "dp.release", wire.DpRelease, _asks, _act, length=Length.LONG,
        reserve=_reserve, prepare=_prepare, threat="re-identification",
    ),
)  # fmt: skip

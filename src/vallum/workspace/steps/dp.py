"""Steps of private queries: declare, budget, show, query."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import msgspec

from vallum.base import ConflictError, InputError, NotFoundError, canonical_json, new_id, timestamp
from vallum.crypto import Purpose
from vallum.formats import load_json
from vallum.privacy.dp import (
    Answer,
    Cost,
    Declaration,
    make_plan,
    parse_declaration,
    parse_sql,
    spend,
)
from vallum.privacy.dp.gate import Sketch
from vallum.sandbox import run_check
from vallum.schema import (
    Ask,
    AssetVersion,
    Caller,
    PrivacyBudget,
    PrivacyCharge,
    PrivateData,
    api,
)
from vallum.schema import privacy as wire
from vallum.workspace.context import Context, ask
from vallum.workspace.gates.table import ALLOWED, DP_OPEN, DP_SKETCH
from vallum.workspace.ledger import budgets_for, charged, overlapping, populations, roots
from vallum.workspace.step import Act, Effect, Length, Step, Work
from vallum.workspace.versions import content_chunks

_RETRY_CHARS = 100


def _version(context: Context, args: wire.DpQuery | wire.DpDeclare | api.Named) -> AssetVersion:
    return context.version("data", args.name, args.version)


def private_data(context: Context, version: AssetVersion) -> PrivateData:
    """Return what is declared about a version.

    Raises:
        NotFoundError: Nothing is.
    """
    try:
        return context.records.get(context.snapshot, "private-data", version.id, PrivateData)
    except NotFoundError as error:
        raise NotFoundError(
            f"nothing is declared about `{version.name}:{version.version}`",
            code="dp.undeclared",
            hint=f"its owner declares it: vallum dp declare {version.name} FILE",
        ) from error


def declaration_of(text: str) -> Declaration:
    """Return a stored or sent declaration, checked."""
    return parse_declaration(load_json(text.encode()))


def _content(work: Work, version: AssetVersion) -> bytes:
    return b"".join(content_chunks(work, version, version.parts[0]))


# -- declare ------------------------------------------------------------------------------------


def _declare_asks(context: Context, args: wire.DpDeclare, caller: Caller) -> Sequence[Ask]:
    return ask("data/versions/declare/action", context.version_resource(_version(context, args)))


def _prepare_declare(work: Work, args: wire.DpDeclare) -> Sketch:
    declaration_of(args.declaration)
    version = work.read(lambda context: _version(context, args))
    key = work.house.keyring.derive(Purpose.COMMITMENT, info=b"dp-sketch")
    return run_check(
        work.house.runner,
        DP_SKETCH,
        _content(work, version),
        report_type=Sketch,
        allowed=ALLOWED,
        arguments={
            "kind": version.format,
            "declaration": args.declaration,
            "key_hex": key.reveal().hex(),
        },
    )


def _act_declare(act: Act, args: wire.DpDeclare, sketch: Sketch) -> wire.DpShown:
    version = _version(act.context, args)
    declaration = declaration_of(args.declaration)
    unit = declaration.unit.column or "record"
    declared = act.context.all("private-data", PrivateData)
    own = set(roots(act.context, version))
    made = PrivateData(
        id=version.id,
        populations=tuple(sorted(own | overlapping(declared, sketch.digests))),
        declaration=args.declaration,
        unit=unit,
        sketch=sketch.digests,
        declared_by=act.caller.id,
        declared_at=timestamp(act.now),
    )
    spent = {one.population for one in act.context.all("budget", PrivacyBudget) if _spent(one)}
    for one in declared:
        if one.unit != unit and set(one.populations) & own & spent:
            raise ConflictError(
                f"what was spent on these people was counted by `{one.unit}`, not by `{unit}`",
                code="dp.unit",
                hint="one population has one unit of privacy",
            )
    act.put("private-data", made, on=version.id, parent_id=version.asset_id)
    act.details["declaration"] = args.declaration
    return _shown(act, version, made)


def _spent(budget: PrivacyBudget) -> bool:
    return any(
        Decimal(one) > 0 for one in (budget.spent_epsilon, budget.spent_rho, budget.spent_delta)
    )


# -- show and budget ----------------------------------------------------------------------------


def _show_asks(context: Context, args: api.Named, caller: Caller) -> Sequence[Ask]:
    return ask("data/versions/read", context.version_resource(_version(context, args)))


def _act_show(act: Act, args: api.Named) -> wire.DpShown:
    version = _version(act.context, args)
    return _shown(act, version, private_data(act.context, version))


def _shown(act: Act, version: AssetVersion, private: PrivateData) -> wire.DpShown:
    declared = [one for one in act.context.all("private-data", PrivateData) if one.id != private.id]
    found = populations([*declared, private], private)
    return wire.DpShown(
        name=version.name,
        version=version.version,
        unit=private.unit,
        declaration=private.declaration,
        budgets=tuple(
            one for one in act.context.all("budget", PrivacyBudget) if one.population in found
        ),
    )


def _budget_asks(context: Context, args: wire.DpBudget, caller: Caller) -> Sequence[Ask]:
    version = context.version("data", args.name)
    return ask("data/budgets/write", context.version_resource(version))


def _act_budget(act: Act, args: wire.DpBudget) -> wire.DpShown:
    limit = spend(epsilon=args.epsilon, rho=args.rho, delta=args.delta)
    version = act.context.version("data", args.name)
    private = private_data(act.context, version)
    holder = act.context.principal(args.holder).id if args.holder else ""
    if args.renew and not args.reason.strip():
        raise InputError(
            "a renewal gives everybody's privacy away once more: say why",
            code="dp.reason",
            hint="--reason 'new year of data'",
        )
    held = {
        one.population: one
        for one in act.context.all("budget", PrivacyBudget)
        if one.holder == holder
    }
    for population in roots(act.context, version):
        old = held.get(population)
        if old is None:
            old = PrivacyBudget(id=str(new_id("bud")), population=population, holder=holder)
        elif not args.renew and (Decimal(old.rho) > 0) != (Decimal(limit.rho) > 0):
            raise ConflictError(
                "a budget changes between epsilon and rho only when it is renewed",
                code="dp.measure",
                hint="--renew --reason …",
            )
        new = msgspec.structs.replace(old, epsilon=limit.epsilon, rho=limit.rho, delta=limit.delta)
        if args.renew:
            new = msgspec.structs.replace(
                new, spent_epsilon="0", spent_rho="0", spent_delta="0", period=old.period + 1
            )
        act.put("budget", new, on=version.id, parent_id=population, name=holder)
    act.details["reason"] = args.reason
    return _shown(act, version, private)


# -- query --------------------------------------------------------------------------------------


def _query_asks(context: Context, args: wire.DpQuery, caller: Caller) -> Sequence[Ask]:
    return ask("data/versions/query/action", context.version_resource(_version(context, args)))


def _cost(args: wire.DpQuery) -> Cost:
    return spend(epsilon=args.epsilon, rho=args.rho, delta=args.delta)


def _question(version: AssetVersion, args: wire.DpQuery, cost: Cost) -> str:
    document = {"version": version.id, "sql": args.sql, "cost": msgspec.to_builtins(cost)}
    return "sha256:" + hashlib.sha256(canonical_json(document)).hexdigest()


def _charge(context: Context, caller: Caller, retry_id: str) -> PrivacyCharge | None:
    if not retry_id:
        return None
    return context.records.find(
        context.snapshot, "privacy-charge", caller.id, retry_id, PrivacyCharge
    )


def charge_id(intent_id: str) -> str:
    """Return the id of the charge that a step made."""
    return "chg-" + intent_id.partition("-")[2]


def _reserve_query(act: Act, args: wire.DpQuery, intent_id: str) -> wire.DpAnswer:
    """Charge every budget, in the transaction that admits the query, before it is answered."""
    version = _version(act.context, args)
    private = private_data(act.context, version)
    cost = _cost(args)
    if len(args.retry_id) > _RETRY_CHARS:
        raise InputError(f"a retry id has at most {_RETRY_CHARS} characters", code="dp.retry")
    held = _charge(act.context, act.caller, args.retry_id)
    question = _question(version, args, cost)
    if held is not None:
        if held.question != question:
            raise ConflictError("this retry id names another question", code="dp.retry")
        if not held.answer:
            raise ConflictError(
                "this question was charged and its answer was lost; it stays charged",
                code="dp.answer-lost",
                hint="ask anew, with another retry id, and pay again",
            )
        return _told(held, (), replayed=True)
    declaration = declaration_of(private.declaration)
    make_plan(parse_sql(args.sql, person=declaration.unit.column), declaration, cost)
    charge, budgets = charge_for(
        act, private, cost, question=question, retry_id=args.retry_id, intent_id=intent_id
    )
    act.details["sql"] = args.sql
    return _told(charge, budgets, replayed=False)


def charge_for(
    act: Act,
    private: PrivateData,
    cost: Cost,
    *,
    question: str,
    retry_id: str,
    intent_id: str,
) -> tuple[PrivacyCharge, list[PrivacyBudget]]:
    """Charge every budget that a question of the caller about a version touches.

    Raises:
        LimitExceededError: One would be overspent, or there is none.
    """
    budgets = [charged(one, cost) for one in budgets_for(act.context, act.caller, private)]
    for one in budgets:
        act.put("budget", one, on=private.id, parent_id=one.population, name=one.holder)
    charge = PrivacyCharge(
        id=charge_id(intent_id),
        version_id=private.id,
        caller_id=act.caller.id,
        retry_id=retry_id,
        question=question,
        intent_id=intent_id,
        budgets=tuple(one.id for one in budgets),
        epsilon=cost.epsilon,
        rho=cost.rho,
        delta=cost.delta,
        charged_at=timestamp(act.now),
    )
    act.put("privacy-charge", charge, on=private.id, parent_id=act.caller.id, name=retry_id)
    act.details["cost"] = msgspec.to_builtins(cost)
    return charge, budgets


@dataclass(frozen=True, slots=True)
class _Answered:
    charge: PrivacyCharge
    replayed: bool


def _prepare_query(work: Work, args: wire.DpQuery) -> _Answered:
    held = work.read(lambda context: _charge(context, work.caller, args.retry_id))
    if held is None:
        held = work.read(
            lambda context: context.records.get(
                context.snapshot, "privacy-charge", charge_id(work.intent_id), PrivacyCharge
            )
        )
    if held.intent_id != work.intent_id:
        return _Answered(held, replayed=True)
    version = work.read(lambda context: _version(context, args))
    private = work.read(lambda context: private_data(context, version))
    price = Cost(epsilon=held.epsilon, rho=held.rho, delta=held.delta)
    answer = answer_of(work, version, private, args.sql, price)
    text = msgspec.json.encode(answer).decode()
    return _Answered(msgspec.structs.replace(held, answer=text), replayed=False)


def answer_of(
    work: Work, version: AssetVersion, private: PrivateData, sql: str, cost: Cost
) -> Answer:
    """Have the open table of a version answer what was charged."""
    return work.house.residents.ask(
        version.id,
        hashlib.sha256(private.declaration.encode()).hexdigest(),
        function=DP_OPEN,
        payload=lambda: _content(work, version),
        arguments={"kind": version.format, "declaration": private.declaration},
        question={"sql": sql, "cost": msgspec.to_builtins(cost)},
        report_type=Answer,
    )


def _act_query(act: Act, args: wire.DpQuery, made: _Answered) -> wire.DpAnswer:
    version = _version(act.context, args)
    if not made.replayed:
        act.put(
            "privacy-charge",
            made.charge,
            on=version.id,
            parent_id=act.caller.id,
            name=args.retry_id,
        )
    budgets = [
        one for one in act.context.all("budget", PrivacyBudget) if one.id in made.charge.budgets
    ]
    return _told(made.charge, budgets, replayed=made.replayed)


def _told(
    charge: PrivacyCharge, budgets: Sequence[PrivacyBudget], *, replayed: bool
) -> wire.DpAnswer:
    told = wire.DpAnswer(
        charge_id=charge.id, retry_id=charge.retry_id, epsilon=charge.epsilon, rho=charge.rho,
        delta=charge.delta, replayed=replayed, budgets=tuple(budgets),
    )  # fmt: skip
    if not charge.answer:
        return told
    answer = msgspec.json.decode(charge.answer, type=Answer)
    return msgspec.structs.replace(
        told,
        group_by=answer.group_by,
        unit=answer.unit,
        groups=msgspec.convert(msgspec.to_builtins(answer.groups), tuple[wire.DpGroup, ...]),
    )


STEPS = (
    Step(
        "dp.declare", wire.DpDeclare, _declare_asks, _act_declare, length=Length.LONG,
        prepare=_prepare_declare, threat="re-identification",
    ),
    Step("dp.show", api.Named, _show_asks, _act_show, Effect.READ),
    Step("dp.budget", wire.DpBudget, _budget_asks, _act_budget, threat="re-identification"),
    Step(
        "dp.query", wire.DpQuery, _query_asks, _act_query, length=Length.LONG,
        reserve=_reserve_query, prepare=_prepare_query, threat="re-identification",
    ),
)  # fmt: skip

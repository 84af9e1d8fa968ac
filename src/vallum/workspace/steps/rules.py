"""Steps on the rules themselves: the policy file and waivers."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec

from vallum.base import (
    ConflictError,
    InputError,
    NotFoundError,
    RefusedError,
    canonical_json,
    digest,
    new_id,
    timestamp,
)
from vallum.formats import load_json
from vallum.policy import AccessChange, compare_requirements, parse_requirements
from vallum.schema import Ask, Caller, PrincipalKind, Waiver, api, rules
from vallum.workspace.authority import PolicyRow
from vallum.workspace.context import Context, ask
from vallum.workspace.gates.images import image_rules
from vallum.workspace.gates.table import GATES
from vallum.workspace.step import Act, Effect, Step, on_workspace

POLICY_ID = "policy"
MAX_WAIVER_DAYS = 30
MAX_REASON_CHARS = 1000


def reason_of(text: str) -> str:
    """Return a reason that says something.

    Raises:
        InputError: It is empty, or a novel.
    """
    if not text.strip() or len(text) > MAX_REASON_CHARS:
        raise InputError(
            f"say why, in at most {MAX_REASON_CHARS} characters",
            code="reason.missing",
            hint="--reason TEXT",
        )
    return text.strip()


def _row(act: Act) -> PolicyRow | None:
    try:
        return act.house.records.get(act.tx, "policy", POLICY_ID, PolicyRow)
    except NotFoundError:
        return None


def _shown(
    act: Act, row: PolicyRow | None, changes: Sequence[rules.PolicyChange] = ()
) -> rules.PolicyShown:
    held = msgspec.to_builtins(act.rules.requirements) if row is None else row.document
    text = canonical_json(held)
    return rules.PolicyShown(
        document=text.decode(),
        revision=0 if row is None else row.revision,
        digest=digest(text),
        changed_at="" if row is None else row.changed_at,
        changed_by="" if row is None else row.changed_by,
        reason="" if row is None else row.reason,
        changes=tuple(changes),
    )


def current_images(context: Context) -> dict[str, Any]:
    """Return what the policy file asks of images; empty: the strict defaults."""
    try:
        row = context.records.get(context.snapshot, "policy", POLICY_ID, PolicyRow)
    except NotFoundError:
        return {}
    return parse_requirements(row.document).images


def _act_show(act: Act, args: api.Page) -> rules.PolicyShown:
    return _shown(act, _row(act))


def _act_set(act: Act, args: rules.PolicySet) -> rules.PolicyShown:
    reason = reason_of(args.reason)
    document = load_json(args.document.encode())
    wanted = parse_requirements(document)
    image_rules(wanted.images)
    act.refuse_escalation(AccessChange(policy=True), ())
    changes = [
        rules.PolicyChange(step=one.step, effect=one.effect, text=one.text)
        for one in compare_requirements(act.rules.requirements, wanted)
    ]
    old = _row(act)
    built = msgspec.to_builtins(wanted)
    made = PolicyRow(
        id=POLICY_ID,
        document=built,
        revision=1 if old is None else old.revision + 1,
        changed_at=timestamp(act.now),
        changed_by=act.caller.id,
        reason=reason,
    )
    workspace_id = act.context.workspace_id
    act.put("policy", made, on=workspace_id, parent_id=workspace_id)
    act.details["policy"] = {
        "revision": made.revision,
        "reason": reason,
        "document": built,
        "changes": [msgspec.to_builtins(one) for one in changes],
    }
    return _shown(act, made, changes)


# -- waivers ------------------------------------------------------------------------------------


def _create_asks(context: Context, args: rules.WaiverCreate, caller: Caller) -> Sequence[Ask]:
    if args.kind not in {"data", "model"}:
        raise InputError("a waiver is about a model or data", code="waiver.kind")
    version = context.version(args.kind, args.name, args.version)
    return ask("waivers/write", context.version_resource(version))


def _act_create(act: Act, args: rules.WaiverCreate) -> api.Done:
    version = act.context.version(args.kind, args.name, args.version)
    reason = reason_of(args.reason)
    if args.gate not in {gate.name for gate in GATES}:
        raise InputError(
            f"`{args.gate[:40]}` is not a gate",
            code="waiver.gate",
            hint=f"use one of {', '.join(gate.name for gate in GATES)}",
        )
    if not 0 < args.days <= MAX_WAIVER_DAYS:
        raise InputError(f"days are 1 to {MAX_WAIVER_DAYS}", code="waiver.days")
    if act.caller.kind is not PrincipalKind.USER:
        raise RefusedError("only a person waives a gate", code="waiver.person")
    if act.caller.id in version.makers or not version.makers:
        raise RefusedError(
            "who had a part in a version waives nothing about it", code="waiver.maker"
        )
    waiver = Waiver(
        id=str(new_id("wvr")),
        gate=args.gate,
        subject_digest=version.digest,
        reason=reason,
        by=act.caller.id,
        expires_at=timestamp(act.now + timedelta(days=args.days)),
    )
    act.put("waiver", waiver, on=version.id, parent_id=act.context.workspace_id)
    act.details["waiver"] = {"gate": args.gate, "reason": reason, "days": args.days}
    return api.Done(
        id=waiver.id,
        text=f"gate {args.gate} is waived for {version.name}:{version.version}"
        f" until {waiver.expires_at[:16]}",
    )


def _act_list(act: Act, args: api.Page) -> rules.Waivers:
    return rules.Waivers(waivers=tuple(act.context.all("waiver", Waiver)))


def _act_revoke(act: Act, args: api.Named) -> api.Done:
    found = [one for one in act.context.all("waiver", Waiver) if one.id == args.name]
    if not found:
        raise NotFoundError(f"no waiver is called `{args.name[:80]}`", hint="vallum waiver list")
    if found[0].expires_at <= timestamp(act.now):
        raise ConflictError("the waiver has expired already", code="waiver.expired")
    act.remove("waiver", found[0].id, on=act.context.workspace_id)
    return api.Done(id=found[0].id, text=f"gate {found[0].gate} is not waived any more")


STEPS = (
    Step("policy.show", api.Page, on_workspace("policy/read"), _act_show, Effect.READ),
    Step("policy.set", rules.PolicySet, on_workspace("policy/write"), _act_set,
         threat="privilege-escalation"),
    Step("waiver.list", api.Page, on_workspace("waivers/read"), _act_list, Effect.READ),
    Step("waiver.create", rules.WaiverCreate, _create_asks, _act_create,
         threat="privilege-escalation"),
    Step("waiver.revoke", api.Named, on_workspace("waivers/write"), _act_revoke),
)  # fmt: skip

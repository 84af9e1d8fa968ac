"""The decision: deny unless a role grants, no deny hits, and every requirement holds."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from vallum.base import parse_timestamp
from vallum.policy.actions import Action, find_action, read_action
from vallum.policy.authority import Authority
from vallum.policy.evidence import unmet
from vallum.policy.facts import NO_EVIDENCE, EvidenceView, RequestFacts
from vallum.schema import Ask, Caller, Decision, Reason, Resource

MAX_ASKS: Final = 10_000
MAX_BREAK_GLASS_S: Final = 3_600

INTERACTIVE: Final = frozenset({Action.APPROVALS_WRITE, Action.BREAK_GLASS_ACTION})
"""What only a person at a console session does."""

PURPOSE_TAG: Final = "purpose"
"""Tag of data that names what it may be read for, separated by commas."""

PURPOSED: Final = frozenset(
    {
        Action.DATA_VERSIONS_CONTENT_READ,
        Action.DATA_VERSIONS_MASKED_READ,
        Action.DATA_VERSIONS_QUERY_ACTION,
        Action.DATA_VERSIONS_REIDENTIFY_ACTION,
    }
)
"""What is refused on data with a purpose tag to whoever states no purpose of it."""


def decide(
    asks: Sequence[Ask],
    caller: Caller,
    *,
    authority: Authority,
    facts: RequestFacts,
    evidence: EvidenceView = NO_EVIDENCE,
) -> Decision:
    """Decide a whole request; one refused ask refuses all.

    Args:
        asks: Every (action, resource) that the request names, each id of a list too.
        caller: Who asks.
        authority: The compiled rules.
        facts: The circumstances, `now` among them: nothing else is looked at.
        evidence: All evidence, waivers and approvals about the subjects.

    Returns:
        The decision. Of a refusal, `reasons` lists every missing action with its scope and every
        missing piece of evidence; `concealed` says that the caller may not even read a resource
        that it was refused, and so is not to learn that it exists.
    """
    reasons: list[Reason] = []
    determined: list[Reason] = []
    concealed = False
    barred = _barred(asks, caller, authority, facts)
    if barred is not None:
        reasons.append(barred)
        concealed = barred.kind != "error" or barred.id == "caller"
    else:
        for ask in asks:
            reason, allowed = _weigh(ask, caller, authority, facts)
            if allowed:
                determined.append(reason)
                continue
            reasons.append(reason)
            if not concealed and not _readable(ask, caller, authority, facts):
                concealed = True
        reasons.extend(
            unmet(
                authority.requirements,
                [ask.resource for ask in asks],
                caller,
                evidence=evidence,
                facts=facts,
            )
        )
    return Decision(
        allowed=not reasons,
        caller=caller,
        asks=tuple(asks),
        request_digest=facts.request_digest,
        reasons=tuple(reasons) if reasons else tuple(determined),
        generation=authority.generation,
        concealed=concealed,
    )


def visible(
    action: str, caller: Caller, resource: Resource, *, authority: Authority, facts: RequestFacts
) -> bool:
    """Tell whether a list may show `resource`: exactly when `decide` allows `action` on it."""
    ask = Ask(action=action, resource=resource)
    if _barred((ask,), caller, authority, facts) is not None:
        return False
    if facts.step and unmet(
        authority.requirements, (resource,), caller, evidence=NO_EVIDENCE, facts=facts
    ):
        return False
    return _allowed(ask, caller, authority, facts)


def _barred(
    asks: Sequence[Ask], caller: Caller, authority: Authority, facts: RequestFacts
) -> Reason | None:
    """Return why the request is not looked at further, if so."""
    if not asks or len(asks) > MAX_ASKS:
        return Reason(kind="error", id="asks", text=f"a request lists 1 to {MAX_ASKS} actions")
    if facts.now.tzinfo is None:
        return Reason(kind="error", id="now", text="the time of the decision has no zone")
    if not authority.granting_ids(caller):
        return Reason(
            kind="error", id="caller", text=f"`{caller.id}` is disabled or not in the directory"
        )
    if caller.id in authority.sealed:
        return _sealed(caller, authority, facts)
    return None


def _sealed(caller: Caller, authority: Authority, facts: RequestFacts) -> Reason | None:
    seal = facts.break_glass
    text = ""
    if seal is None or seal.principal_id != caller.id:
        text = "the break-glass principal is sealed"
    elif not facts.interactive:
        text = "the break-glass principal acts in an interactive session only"
    elif not seal.reason.strip():
        text = "break-glass needs a reason"
    elif len(set(seal.opened_by) - {"", caller.id}) < authority.requirements.break_glass_persons:
        text = "break-glass was opened by too few persons"
    elif not _open(seal.opened_at, seal.expires_at, facts.now):
        text = "break-glass is not open now"
    return Reason(kind="break-glass", id=caller.id, text=text) if text else None


def _open(opened_at: str, expires_at: str, now: datetime) -> bool:
    try:
        opened, expires = parse_timestamp(opened_at), parse_timestamp(expires_at)
    except ValueError:
        return False
    return opened <= now < expires and (expires - opened).total_seconds() <= MAX_BREAK_GLASS_S


def _weigh(
    ask: Ask, caller: Caller, authority: Authority, facts: RequestFacts
) -> tuple[Reason, bool]:
    action, resource = find_action(ask.action), ask.resource
    if action is None:
        return Reason(kind="error", id="", text=f"`{ask.action[:80]}` is not an action"), False
    if not _anchored(resource):
        return Reason(kind="error", id="", text=f"`{resource.id}` has no chain of scopes"), False
    if action in INTERACTIVE and not facts.interactive:
        text = f"`{action.value}` needs an interactive session"
        return Reason(kind="session", id="", text=text), False
    right = authority.right(action, resource, caller, facts)
    if right.held and not _purposeful(action, resource, facts):
        meant = ", ".join(purposes(resource.tags))
        text = f"`{resource.id}` may be read for {meant} only, and this is for "
        return Reason(kind="purpose", id="", text=text + (facts.purpose or "no stated purpose")), (
            False
        )
    if right.grant is not None and right.deny is None:
        grant = right.grant.assignment
        text = f"role `{right.grant.role_name}` at `{grant.scope}` allows `{action.value}`"
        return Reason(kind="role", id=grant.id, text=text), True
    if right.deny is not None:
        deny = right.deny.record
        text = f"deny `{deny.name}` at `{deny.scope}` refuses `{action.value}` on `{resource.id}`"
        return Reason(kind="deny", id=deny.id, text=text), False
    if caller.key_scope or caller.key_actions:
        text = f"this key or the roles do not allow `{action.value}` on `{resource.id}`"
        return Reason(kind="key", id=caller.credential_id, text=text), False
    if right.conditional:
        grant = right.conditional[0].assignment
        text = (
            f"the condition of the assignment at `{grant.scope}` does not hold for "
            f"`{action.value}` on `{resource.id}`"
        )
        return Reason(kind="condition", id=grant.id, text=text), False
    text = f"`{action.value}` is not granted on `{resource.id}`"
    return Reason(kind="default", id="", text=text), False


def _allowed(ask: Ask, caller: Caller, authority: Authority, facts: RequestFacts) -> bool:
    action = find_action(ask.action)
    if action is None or not _anchored(ask.resource):
        return False
    if action in INTERACTIVE and not facts.interactive:
        return False
    if not _purposeful(action, ask.resource, facts):
        return False
    return authority.right(action, ask.resource, caller, facts).held


def purposes(tags: Mapping[str, str]) -> tuple[str, ...]:
    """Return what data with these tags may be read for; nothing: it has no purpose tag."""
    return tuple(sorted({one.strip() for one in tags.get(PURPOSE_TAG, "").split(",")} - {""}))


def _purposeful(action: Action, resource: Resource, facts: RequestFacts) -> bool:
    """Tell whether the stated purpose is one of the resource's, where it has any."""
    if action not in PURPOSED or PURPOSE_TAG not in resource.tags:
        return True
    return facts.purpose in purposes(resource.tags)


def _anchored(resource: Resource) -> bool:
    """Tell whether the chain begins at the resource itself (or at a part of it)."""
    chain = resource.chain
    return bool(chain) and (chain[0] == resource.id or chain[0].startswith(resource.id + "/"))


def _readable(ask: Ask, caller: Caller, authority: Authority, facts: RequestFacts) -> bool:
    action = read_action(ask.resource.kind_path) or _reader_of(ask.action)
    if action is None:
        return False
    return _allowed(Ask(action=action, resource=ask.resource), caller, authority, facts)


def _reader_of(name: str) -> Action | None:
    """Return the action that reads what `name` acts on: `models/versions/sign/action` -> read."""
    found = find_action(name)
    if found is None:
        return None
    parts = found.value.split("/")[:-1]
    while parts:
        reader = read_action("/".join(parts))
        if reader is not None and reader != found:
            return reader
        parts.pop()
    return None

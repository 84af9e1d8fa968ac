"""Break-glass: a sealed principal that holds every right, for the hour in which nobody else can.

Nobody can use it while it is sealed, not with a key either. Breaking the seal takes the data action
`breakGlass/action` in an interactive session, a reason, and as many persons as the policy file
says; it mints one key that is good for an hour. It shows in the posture while it is open and for 30
days after.
"""

from datetime import timedelta

import msgspec

from vallum.base import (
    ConflictError,
    NotFoundError,
    RefusedError,
    new_id,
    parse_timestamp,
    timestamp,
)
from vallum.policy import BUILT_IN_ROLES, AccessChange, BreakGlass
from vallum.schema import (
    Credential,
    Principal,
    PrincipalKind,
    RoleAssignment,
    Session,
    api,
    rules,
)
from vallum.workspace.authority import BreakGlassRow
from vallum.workspace.step import Act, Effect, Step, on_workspace
from vallum.workspace.steps.directory import issue, revoke
from vallum.workspace.steps.rules import reason_of

NAME = "break-glass"
ROLES = ("Owner", "Vallum Data Owner")
OPEN_S = 3600
WAIT_S = 900  # for the second person


def _row(act: Act) -> BreakGlassRow:
    found = act.context.all("break-glass", BreakGlassRow)
    if not found:
        raise NotFoundError(
            "this workspace has no break-glass principal",
            code="break-glass.none",
            hint="vallum break-glass create",
        )
    return found[0]


def _put(act: Act, row: BreakGlassRow) -> None:
    top = act.context.workspace_id
    act.put("break-glass", row, on=top, parent_id=top)


def _persons(act: Act) -> int:
    return act.rules.requirements.break_glass_persons


def _act_create(act: Act, args: api.Page) -> rules.BreakGlassShown:
    if act.context.all("break-glass", BreakGlassRow):
        raise ConflictError("there is a break-glass principal already", code="break-glass.exists")
    top = act.context.workspace_id
    principal = Principal(id=str(new_id("user")), kind=PrincipalKind.USER, name=NAME)
    roles = {role.name: role.id for role in BUILT_IN_ROLES}
    grants = tuple(
        RoleAssignment(
            id=str(new_id("ra")), role_id=roles[name], principal_id=principal.id, scope=top
        )
        for name in ROLES
    )
    act.refuse_escalation(
        AccessChange(principals=(principal,), assign=grants), (act.context.workspace(),)
    )
    act.put("principal", principal, on=top, parent_id=top, name=NAME)
    for grant in grants:
        act.put("role-assignment", grant, on=top, parent_id=top)
    row = BreakGlassRow(id=principal.id)
    _put(act, row)
    return _shown(act, row)


def _act_show(act: Act, args: api.Page) -> rules.BreakGlassShown:
    return _shown(act, _row(act))


def _act_open(act: Act, args: rules.BreakGlassOpen) -> rules.BreakGlassShown:
    reason = reason_of(args.reason)
    row = _row(act)
    if act.caller.kind is not PrincipalKind.USER or act.caller.id == row.id:
        raise RefusedError("only another person breaks the seal", code="break-glass.person")
    if _is_open(act, row.opened):
        raise ConflictError("the seal is broken already", code="break-glass.open")
    waiting = row.waiting if _in_time(act, row.waiting) else None
    persons = {act.caller.id, *(() if waiting is None else waiting.opened_by)}
    made = BreakGlass(
        principal_id=row.id,
        reason=reason if waiting is None else waiting.reason,
        opened_by=tuple(sorted(persons)),
        opened_at=timestamp(act.now),
        expires_at=timestamp(act.now + timedelta(seconds=OPEN_S)),
    )
    act.details["break_glass"] = {"reason": reason, "persons": sorted(persons)}
    if len(persons) < _persons(act):
        late = timestamp(act.now + timedelta(seconds=WAIT_S))
        row = msgspec.structs.replace(
            row, waiting=msgspec.structs.replace(made, expires_at=late), opened=None
        )
        _put(act, row)
        return _shown(act, row)
    row = msgspec.structs.replace(row, opened=made, waiting=None)
    _put(act, row)
    key = issue(
        act, act.context.principal(row.id), name=NAME, expires_at=made.expires_at,
        kind=Session.CONSOLE.value,
    )  # fmt: skip
    return msgspec.structs.replace(_shown(act, row), secret=key.secret)


def _act_close(act: Act, args: api.Page) -> rules.BreakGlassShown:
    row = _row(act)
    for credential in act.context.all("credential", Credential, parent_id=row.id):
        if not credential.revoked_at:
            revoke(act, credential)
    opened = row.opened
    if opened is not None and _is_open(act, opened):
        opened = msgspec.structs.replace(opened, expires_at=timestamp(act.now))
    row = msgspec.structs.replace(row, opened=opened, waiting=None)
    _put(act, row)
    return _shown(act, row)


def _is_open(act: Act, seal: BreakGlass | None) -> bool:
    return seal is not None and _in_time(act, seal)


def _in_time(act: Act, seal: BreakGlass | None) -> bool:
    return seal is not None and act.now < parse_timestamp(seal.expires_at)


def _shown(act: Act, row: BreakGlassRow) -> rules.BreakGlassShown:
    state, seal = "sealed", row.opened
    if _is_open(act, row.opened):
        state = "open"
    elif _in_time(act, row.waiting):
        state, seal = "waiting", row.waiting
    told = rules.BreakGlassShown(principal_id=row.id, state=state, persons_needed=_persons(act))
    if seal is None:
        return told
    return msgspec.structs.replace(
        told, reason=seal.reason, opened_by=seal.opened_by, opened_at=seal.opened_at,
        expires_at=seal.expires_at,
    )  # fmt: skip


STEPS = (
    Step("break-glass.create", api.Page, on_workspace("breakGlass/write"), _act_create,
         threat="privilege-escalation"),
    Step("break-glass.show", api.Page, on_workspace("breakGlass/read"), _act_show, Effect.READ),
    Step("break-glass.open", rules.BreakGlassOpen, on_workspace("breakGlass/action"), _act_open,
         threat="privilege-escalation"),
    Step("break-glass.close", api.Page, on_workspace("breakGlass/write"), _act_close),
)  # fmt: skip

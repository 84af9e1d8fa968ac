"""Whether a change of access conveys more than its author may give away.

Control rights: `roleAssignments/write` at the scope, and at most what the author holds there.
Data rights: `dataGrants/write` at the scope, and not to oneself unless the workspace has one
person only. What lets somebody act as another (a minted credential, an attached identity), widens
a role or changes a group is taken as if each right that it conveys were assigned.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vallum.policy.actions import Action
from vallum.policy.authority import Authority, Grant
from vallum.policy.change import AccessChange, apply_change, persons
from vallum.policy.data_actions import DATA_ACTIONS
from vallum.policy.facts import RequestFacts
from vallum.schema import Caller, Principal, PrincipalKind, Resource


@dataclass(frozen=True, slots=True)
class Escalation:
    """One edge by which a change would give more than its author may give.

    Attributes:
        action: The right; empty where the whole change is at fault.
        scope: Where.
        beneficiary: Who would gain it.
        edge: By what: `assignment …`, `role …`, `group …`, `credential of …`, `deny …`, `policy`.
        text: Why it is refused.
    """

    action: str
    scope: str
    beneficiary: str
    edge: str
    text: str


@dataclass(frozen=True, slots=True)
class _Conveyed:
    actions: frozenset[Action]
    scope: str
    beneficiary: str
    edge: str
    condition: str = ""
    expires_s: float = float("inf")


def check_grant(
    authority: Authority,
    caller: Caller,
    change: AccessChange,
    *,
    places: Sequence[Resource],
    facts: RequestFacts,
) -> tuple[Escalation, ...]:
    """Return every escalation in `change`; empty means that `caller` may make it.

    This is beside `decide`, which asks whether the caller may do such a thing at all.

    Args:
        authority: The rules as they are.
        caller: The author of the change.
        change: What is proposed.
        places: A resource for each scope that the change reaches, the workspace among them; a
            scope that is not among them is an escalation.
        facts: The circumstances of the request.

    Raises:
        InputError: The change touches a built-in role.
    """
    after = apply_change(authority, change)
    at = {place.chain[0]: place for place in places if place.chain}
    alone = persons(authority.principals.values()) == 1
    selves = frozenset({caller.id, *caller.groups, *after.groups_of(caller.id)})
    found: list[Escalation] = []
    for part in _conveyed(authority, after, change, caller):
        place = at.get(part.scope)
        if place is None:
            found.append(
                Escalation(
                    "", part.scope, part.beneficiary, part.edge, "nothing is known of this scope"
                )
            )
            continue
        for action in sorted(part.actions):
            own = _owns(authority, caller, action, part, place=place, facts=facts)
            if own and part.beneficiary in selves:
                continue  # nothing is gained
            if action in DATA_ACTIONS:
                needed = Action.DATA_GRANTS_WRITE
                text = "data rights are given by another person"
                refused = part.beneficiary in selves and not alone
            else:
                needed = Action.ROLE_ASSIGNMENTS_WRITE
                text = "is beyond the author's own rights"
                refused = not own
            if not authority.right(needed, place, caller, facts).held:
                text = f"needs `{needed.value}`"
                refused = True
            if refused:
                found.append(
                    Escalation(action.value, part.scope, part.beneficiary, part.edge, text)
                )
    found.extend(_unassignable(after, change, at))
    if change.policy:
        found.extend(_policy_edit(authority, caller, places, facts))
    return tuple(dict.fromkeys(found))


def _owns(
    authority: Authority,
    caller: Caller,
    action: Action,
    part: _Conveyed,
    *,
    place: Resource,
    facts: RequestFacts,
) -> bool:
    """Tell whether the author holds the right there, as unconditionally and as long."""
    if not authority.right(action, place, caller, facts).held:
        return False
    return any(
        action in grant.actions
        and grant.expires_s >= part.expires_s
        and grant.assignment.condition in ("", part.condition)
        for grant in authority.grants_at(place.chain, caller)
    )


def _conveyed(
    before: Authority, after: Authority, change: AccessChange, caller: Caller
) -> Iterator[_Conveyed]:
    changed = {one.id for one in change.assign}
    for grant in after.all_grants():
        if grant.assignment.id in changed:
            yield _from(grant, grant.assignment.principal_id, f"assignment {grant.assignment.id}")
    # A widened role conveys what it gained to everyone who has it.
    old = {grant.assignment.id: grant.actions for grant in before.all_grants()}
    for grant in after.all_grants():
        gained = grant.actions - old.get(grant.assignment.id, frozenset())
        if gained and grant.assignment.id not in changed:
            edge = f"role {grant.assignment.role_id}"
            yield _from(grant, grant.assignment.principal_id, edge, gained)
    for principal in change.principals:
        yield from _from_directory(before, after, principal)
    holder = change.holder or caller.id
    for principal_id in change.act_as:
        ids = {principal_id, *after.groups_of(principal_id)}
        for grant in after.all_grants():
            if grant.assignment.principal_id in ids:
                yield _from(grant, holder, f"credential of {principal_id}")
        if principal_id in after.sealed:
            yield _Conveyed(frozenset(Action), "", holder, f"credential of {principal_id}")
    replaced = {*change.undeny, *(one.id for one in change.deny)}
    for deny in before.denies:
        if deny.id in replaced:
            # Taken as lifted in full, whatever takes its place.
            for beneficiary in deny.principals:
                yield _Conveyed(before.denied_by(deny), deny.scope, beneficiary, f"deny {deny.id}")


def _from_directory(
    before: Authority, after: Authority, principal: Principal
) -> Iterator[_Conveyed]:
    """Yield what new members of a group gain, and what one who is enabled again gets back."""
    old = before.principals.get(principal.id)
    if old is not None and old.disabled and not principal.disabled:
        ids = {principal.id, *after.groups_of(principal.id)}
        for grant in after.all_grants():
            if grant.assignment.principal_id in ids:
                yield _from(grant, principal.id, f"principal {principal.id}")
    if principal.kind is not PrincipalKind.GROUP:
        return
    members = frozenset(principal.members)
    earlier = frozenset() if old is None else frozenset(old.members)
    ids = {principal.id, *after.groups_of(principal.id)}
    for member in sorted(members - earlier):
        for grant in after.all_grants():
            if grant.assignment.principal_id in ids:
                yield _from(grant, member, f"group {principal.id}")
    # Leaving a group that a deny names, or joining one that it excludes, lifts the deny.
    for deny in before.denies:
        freed = members - earlier if ids & set(deny.exclude_principals) else frozenset()
        if ids & set(deny.principals):
            freed |= earlier - members
        for member in sorted(freed):
            yield _Conveyed(before.denied_by(deny), deny.scope, member, f"deny {deny.id}")


def _from(
    grant: Grant, beneficiary: str, edge: str, actions: frozenset[Action] | None = None
) -> _Conveyed:
    return _Conveyed(
        grant.actions if actions is None else actions,
        grant.assignment.scope,
        beneficiary,
        edge,
        grant.assignment.condition,
        grant.expires_s,
    )


def _unassignable(
    after: Authority, change: AccessChange, at: Mapping[str, Resource]
) -> Iterator[Escalation]:
    for one in change.assign:
        role, place = after.roles.get(one.role_id), at.get(one.scope)
        if role is None:
            text = f"there is no role `{one.role_id}`"
        elif place is not None and not {"/", *place.chain}.isdisjoint(role.assignable_scopes):
            continue
        else:
            text = f"role `{role.name}` cannot be assigned at this scope"
        yield Escalation("", one.scope, one.principal_id, f"assignment {one.id}", text)


def _policy_edit(
    authority: Authority, caller: Caller, places: Sequence[Resource], facts: RequestFacts
) -> Iterator[Escalation]:
    """Whoever writes the requirements can lift them: as much as every control right."""
    workspaces: Mapping[str, Resource] = {
        place.id: place for place in places if len(place.chain) == 1
    }
    if not workspaces:
        yield Escalation("", "", caller.id, "policy", "nothing is known of the workspace")
    for scope, place in workspaces.items():
        for action in Action:
            if action in DATA_ACTIONS or authority.right(action, place, caller, facts).held:
                continue
            text = "a policy edit needs every control right"
            yield Escalation(action.value, scope, caller.id, "policy", text)

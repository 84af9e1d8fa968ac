"""A proposed change of who may do what, and what it would change (`vallum role whatif`)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from vallum.policy.actions import Action
from vallum.policy.authority import Authority
from vallum.policy.decision import visible
from vallum.policy.facts import RequestFacts
from vallum.schema import (
    Caller,
    DenyAssignment,
    Principal,
    PrincipalKind,
    Resource,
    Role,
    RoleAssignment,
)


@dataclass(frozen=True, slots=True)
class AccessChange:
    """What would be different. Records replace those with their id.

    Attributes:
        assign: Assignments to add or replace.
        unassign: Ids of assignments to remove.
        deny: Denies to add or replace.
        undeny: Ids of denies to remove.
        roles: Roles to add or replace.
        principals: Principals to add or replace: members of groups, disabled or not.
        act_as: Ids of principals in whose name the change lets `holder` act: minting or rotating
            a credential, attaching an identity, federated trust.
        holder: Who would act as them; empty: the caller.
        policy: The policy file is replaced.
    """

    assign: tuple[RoleAssignment, ...] = ()
    unassign: tuple[str, ...] = ()
    deny: tuple[DenyAssignment, ...] = ()
    undeny: tuple[str, ...] = ()
    roles: tuple[Role, ...] = ()
    principals: tuple[Principal, ...] = ()
    act_as: tuple[str, ...] = ()
    holder: str = ""
    policy: bool = False


@dataclass(frozen=True, slots=True)
class AccessDifference:
    """One right that somebody would gain (`after` is True) or lose."""

    principal_id: str
    action: Action
    resource_id: str
    after: bool


def apply_change(authority: Authority, change: AccessChange) -> Authority:
    """Return the authority as it would be.

    Raises:
        InputError: A built-in role would be changed.
    """
    assigned = {one.id: one for one in authority.assignments if one.id not in change.unassign}
    denied = {one.id: one for one in authority.denies if one.id not in change.undeny}
    return Authority.compile(
        {**authority.roles, **{role.id: role for role in change.roles}}.values(),
        (assigned | {one.id: one for one in change.assign}).values(),
        (denied | {one.id: one for one in change.deny}).values(),
        {**authority.principals, **{one.id: one for one in change.principals}}.values(),
        generation=authority.generation,
        requirements=authority.requirements,
        sealed=authority.sealed,
    )


def whatif(
    authority: Authority,
    change: AccessChange,
    *,
    resources: Sequence[Resource],
    facts: RequestFacts,
) -> tuple[AccessDifference, ...]:
    """Return every right on `resources` that any principal of either side would gain or lose."""
    after = apply_change(authority, change)
    facts = RequestFacts(now=facts.now, purpose=facts.purpose, interactive=True)  # rights only
    found: list[AccessDifference] = []
    for principal_id in sorted({*_actors(authority), *_actors(after)}):
        old, new = _caller(authority, principal_id), _caller(after, principal_id)
        for resource in resources:
            for action in Action:
                had = visible(action, old, resource, authority=authority, facts=facts)
                has = visible(action, new, resource, authority=after, facts=facts)
                if had != has:
                    found.append(AccessDifference(principal_id, action, resource.id, has))
    return tuple(found)


def _actors(authority: Authority) -> Iterator[str]:
    """Return who can act: the directory without groups, or whoever is named where there is none."""
    if authority.principals:
        for principal in authority.principals.values():
            if principal.kind is not PrincipalKind.GROUP:
                yield principal.id
        return
    yield from (one.principal_id for one in authority.assignments)


def _caller(authority: Authority, principal_id: str) -> Caller:
    if principal_id in authority.principals:
        return authority.caller_of(principal_id)
    return Caller(id=principal_id, kind=PrincipalKind.USER, name=principal_id)


def persons(principals: Iterable[Principal]) -> int:
    """Count the users who are not disabled."""
    return sum(one.kind is PrincipalKind.USER and not one.disabled for one in principals)

"""Principals and nested groups, resolved to what policy needs."""

from collections.abc import Iterable, Mapping

from vallum.base import InputError
from vallum.schema import Caller, Principal, PrincipalKind, Session

MAX_NESTING = 32


def groups_of(principal_id: str, parents: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the ids of all groups that hold `principal_id`, directly or through groups.

    Args:
        principal_id: A user, service principal, managed identity or group.
        parents: For each member id the ids of the groups that list it.
    """
    seen: set[str] = set()
    frontier = [principal_id]
    while frontier:
        found = [group for member in frontier for group in parents.get(member, ())]
        frontier = [group for group in found if group not in seen]
        seen.update(frontier)
    return tuple(sorted(seen))


def parents_of(groups: Iterable[Principal]) -> dict[str, tuple[str, ...]]:
    """Turn groups with members around: member id to the groups that list it."""
    parents: dict[str, list[str]] = {}
    for group in groups:
        if group.disabled:
            continue
        for member in group.members:
            parents.setdefault(member, []).append(group.id)
    return {member: tuple(found) for member, found in parents.items()}


def check_membership(group: Principal, member: Principal, groups: Iterable[Principal]) -> None:
    """Refuse a membership that is none or would nest groups in a circle.

    Raises:
        InputError: `group` is not a group, or `member` already holds it, or nesting is too deep.
    """
    if group.kind is not PrincipalKind.GROUP:
        raise InputError(f"`{group.name}` is not a group", code="group.kind")
    parents = parents_of(groups)
    above = groups_of(group.id, parents)
    if member.id == group.id or member.id in above:
        raise InputError(f"`{member.name}` already contains `{group.name}`", code="group.circle")
    if len(above) >= MAX_NESTING:
        raise InputError(f"groups nest deeper than {MAX_NESTING}", code="group.depth")


def make_caller(
    principal: Principal,
    parents: Mapping[str, tuple[str, ...]],
    *,
    session: Session,
    credential_id: str = "",
    key_actions: tuple[str, ...] = (),
    key_scope: str = "",
) -> Caller:
    """Build the caller that policy sees from the directory's records."""
    return Caller(
        id=principal.id,
        kind=principal.kind,
        name=principal.name,
        groups=groups_of(principal.id, parents),
        session=session,
        credential_id=credential_id,
        key_actions=key_actions,
        key_scope=key_scope,
    )

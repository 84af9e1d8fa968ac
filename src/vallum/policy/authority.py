"""Roles, assignments and denies, compiled once per authority generation and then only read."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from math import inf

from vallum.base import InputError, LimitExceededError
from vallum.policy.actions import Action
from vallum.policy.conditions import Circumstances, Condition, parse_condition
from vallum.policy.facts import RequestFacts
from vallum.policy.patterns import granted, narrowed
from vallum.policy.requirements import STRICT, Requirements
from vallum.policy.roles import BUILT_IN_BY_ID, BUILT_IN_ROLES
from vallum.schema import (
    Caller,
    DenyAssignment,
    Principal,
    PrincipalKind,
    Resource,
    Role,
    RoleAssignment,
)

EVERYONE = "*"


@dataclass(frozen=True, slots=True)
class Grant:
    """An assignment with its role's actions worked out."""

    assignment: RoleAssignment
    role_name: str
    actions: frozenset[Action]
    expires_s: float  # POSIX time; inf: never
    condition: Condition | None


@dataclass(frozen=True, slots=True)
class Deny:
    """A deny assignment with its actions worked out."""

    record: DenyAssignment
    actions: frozenset[Action]
    excluded: frozenset[str]
    condition: Condition | None  # None: hits always, also where its text cannot be read


@dataclass(frozen=True, slots=True)
class Right:
    """What the rules say about one action on one resource, evidence apart.

    Attributes:
        grant: The assignment that allows, the highest one; None if none applies.
        deny: The deny that takes it away; None if none does.
        conditional: Assignments that would allow, but whose condition does not hold.
    """

    grant: Grant | None
    deny: Deny | None
    conditional: tuple[Grant, ...] = ()

    @property
    def held(self) -> bool:
        """Tell whether the action is allowed."""
        return self.grant is not None and self.deny is None


class Authority:
    """Who may do what, indexed by principal and scope. Immutable; made by `compile`.

    Attributes:
        roles: Every role by id, the built-in ones too.
        generation: The authority generation that it was loaded at.
        requirements: What evidence the steps need.
        sealed: Ids of break-glass principals: good for nothing without an opened seal.
    """

    def __init__(
        self,
        *,
        roles: Mapping[str, Role],
        assignments: tuple[RoleAssignment, ...],
        denies: tuple[DenyAssignment, ...],
        principals: Mapping[str, Principal],
        generation: int,
        requirements: Requirements,
        sealed: frozenset[str],
    ) -> None:
        self.roles = roles
        self.assignments = assignments
        self.denies = denies
        self.principals = principals
        self.generation = generation
        self.requirements = requirements
        self.sealed = sealed
        self._grants = _index_grants(roles, assignments)
        self._denies = _index_denies(denies)
        self._groups = _closures(principals)

    @classmethod
    def compile(
        cls,
        roles: Iterable[Role],
        assignments: Iterable[RoleAssignment],
        denies: Iterable[DenyAssignment] = (),
        principals: Iterable[Principal] = (),
        *,
        generation: int = 0,
        requirements: Requirements = STRICT,
        sealed: Iterable[str] = (),
    ) -> "Authority":
        """Work out the indexes. The built-in roles are always there.

        What cannot be used refuses: an assignment of an unknown role, with an unreadable expiry
        or condition grants nothing; a deny with an unreadable condition always hits.

        Args:
            roles: Role definitions of the workspace; built-in ones may be among them.
            assignments: All role assignments.
            denies: All deny assignments.
            principals: The directory. If given, a caller that it lacks or that is disabled is
                refused, and groups count only as far as the directory confirms them.
            generation: The authority generation of these rows.
            requirements: The policy file; the strict default otherwise.
            sealed: Ids of the break-glass principals.

        Raises:
            InputError: A role has a built-in role's id but other contents.
        """
        by_id = {role.id: role for role in BUILT_IN_ROLES}
        for role in roles:
            if role.id in BUILT_IN_BY_ID and role != BUILT_IN_BY_ID[role.id]:
                raise InputError(
                    f"the built-in role `{role.id}` cannot be changed", code="role.built-in"
                )
            by_id[role.id] = role
        return cls(
            roles=by_id,
            assignments=tuple(assignments),
            denies=tuple(denies),
            principals={principal.id: principal for principal in principals},
            generation=generation,
            requirements=requirements,
            sealed=frozenset(sealed),
        )

    def right(
        self, action: Action, resource: Resource, caller: Caller, facts: RequestFacts
    ) -> Right:
        """Weigh all rules for one action, a narrowed key's bounds included.

        An assignment at a higher scope than every deny that applies stays: a deny cannot hit
        what is assigned above it.
        """
        chain = resource.chain
        if not _within_key(action, chain, caller):
            return Right(None, None)
        now_s = facts.now.timestamp()
        best: Grant | None = None
        highest = -1
        failed: list[Grant] = []
        for principal_id in self.granting_ids(caller):
            at_scopes = self._grants.get(principal_id)
            if at_scopes is None:
                continue
            for height, scope in enumerate(chain):
                if height <= highest:
                    continue
                for grant in at_scopes.get(scope, ()):
                    if action not in grant.actions or grant.expires_s <= now_s:
                        continue
                    if grant.condition is not None and not _holds(
                        grant.condition, action, resource, caller, facts
                    ):
                        failed.append(grant)
                        continue
                    best, highest = grant, height
                    break
        if best is None:
            return Right(None, None, tuple(failed))
        if not self._denies:
            return Right(best, None)
        return Right(best, self._deny(action, resource, caller, facts, highest))

    def granting_ids(self, caller: Caller) -> tuple[str, ...]:
        """Return the ids whose assignments count for `caller`: its own and its groups'."""
        if not self.principals or caller.kind is PrincipalKind.SYSTEM:
            return (caller.id, *caller.groups)
        known = self.principals.get(caller.id)
        if known is None or known.disabled:
            return ()
        # Now, not when the caller logged in: a membership that was taken away counts no more.
        confirmed = self._groups.get(caller.id, frozenset())
        return (caller.id, *(group for group in caller.groups if group in confirmed))

    def caller_of(self, principal_id: str) -> Caller:
        """Return a principal of the directory as a caller, with all its groups.

        Raises:
            InputError: The directory lacks it.
        """
        principal = self.principals.get(principal_id)
        if principal is None:
            raise InputError(f"there is no principal `{principal_id}`", code="policy.principal")
        return Caller(
            id=principal.id,
            kind=principal.kind,
            name=principal.name,
            groups=tuple(sorted(self.groups_of(principal_id))),
        )

    def _deny(
        self, action: Action, resource: Resource, caller: Caller, facts: RequestFacts, above: int
    ) -> Deny | None:
        """Return a deny at height `above` or higher that hits, if there is one."""
        # A deny on a group hits whoever the caller or the directory says belongs to it.
        ids = {EVERYONE, caller.id, *caller.groups, *self._groups.get(caller.id, ())}
        for principal_id in ids:
            at_scopes = self._denies.get(principal_id)
            if at_scopes is None:
                continue
            for height in range(above, len(resource.chain)):
                for deny in at_scopes.get(resource.chain[height], ()):
                    if action not in deny.actions or not deny.excluded.isdisjoint(
                        self.granting_ids(caller)
                    ):
                        continue
                    if deny.record.do_not_apply_to_children and height > 0:
                        continue
                    if deny.condition is None:
                        return deny
                    # INVARIANT: unknown hits, so that an error never opens.
                    truth = deny.condition.evaluate(
                        Circumstances(action, resource, caller, facts.purpose)
                    )
                    if truth is not False:
                        return deny
        return None

    def groups_of(self, principal_id: str) -> frozenset[str]:
        """Return the enabled groups that the directory puts `principal_id` in, nested ones too."""
        return self._groups.get(principal_id, frozenset())

    def all_grants(self) -> Iterator[Grant]:
        """Yield every assignment that can grant anything, expired ones too."""
        for at_scopes in self._grants.values():
            for grants in at_scopes.values():
                yield from grants

    def grants_at(self, chain: tuple[str, ...], caller: Caller) -> Iterator[Grant]:
        """Yield the assignments of `caller` and its groups at the scopes of `chain`."""
        for principal_id in self.granting_ids(caller):
            at_scopes = self._grants.get(principal_id, {})
            for scope in chain:
                yield from at_scopes.get(scope, ())

    def denied_by(self, deny: DenyAssignment) -> frozenset[Action]:
        """Return the actions that `deny` refuses."""
        return _denied(deny)


def _within_key(action: Action, chain: tuple[str, ...], caller: Caller) -> bool:
    if caller.key_scope and caller.key_scope not in chain:
        return False
    return not caller.key_actions or action in narrowed(caller.key_actions)


def _holds(
    condition: Condition, action: Action, resource: Resource, caller: Caller, facts: RequestFacts
) -> bool:
    # INVARIANT: unknown does not grant, so that an error never opens.
    circumstances = Circumstances(action, resource, caller, facts.purpose)
    return condition.evaluate(circumstances) is True


def _index_grants(
    roles: Mapping[str, Role], assignments: Iterable[RoleAssignment]
) -> dict[str, dict[str, tuple[Grant, ...]]]:
    index: dict[str, dict[str, list[Grant]]] = {}
    for assignment in assignments:
        role = roles.get(assignment.role_id)
        expires_s = _expiry_s(assignment.expires_at)
        if role is None or expires_s is None:
            continue
        condition: Condition | None = None
        if assignment.condition:
            try:
                condition = parse_condition(assignment.condition)
            except (InputError, LimitExceededError):
                continue
        grant = Grant(
            assignment,
            role.name,
            granted(role.actions, role.not_actions, role.data_actions, role.not_data_actions),
            expires_s,
            condition,
        )
        index.setdefault(assignment.principal_id, {}).setdefault(assignment.scope, []).append(grant)
    return {
        principal_id: {scope: tuple(grants) for scope, grants in at_scopes.items()}
        for principal_id, at_scopes in index.items()
    }


def _index_denies(denies: Iterable[DenyAssignment]) -> dict[str, dict[str, tuple[Deny, ...]]]:
    index: dict[str, dict[str, list[Deny]]] = {}
    for record in denies:
        condition: Condition | None = None
        if record.condition:
            try:
                condition = parse_condition(record.condition)
            except (InputError, LimitExceededError):
                condition = None  # it hits always
        deny = Deny(
            record,
            _denied(record),
            frozenset(record.exclude_principals),
            condition,
        )
        for principal_id in record.principals:
            index.setdefault(principal_id, {}).setdefault(record.scope, []).append(deny)
    return {
        principal_id: {scope: tuple(found) for scope, found in at_scopes.items()}
        for principal_id, at_scopes in index.items()
    }


def _denied(deny: DenyAssignment) -> frozenset[Action]:
    return granted(deny.actions, deny.not_actions, deny.data_actions, deny.not_data_actions)


def _expiry_s(text: str) -> float | None:
    """Return POSIX seconds, inf for an empty text, None for one that is no time with a zone."""
    if not text:
        return inf
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if moment.tzinfo is None else moment.timestamp()


def _closures(principals: Mapping[str, Principal]) -> dict[str, frozenset[str]]:
    """Return for each member the enabled groups that it is in, nested ones too."""
    parents: dict[str, list[str]] = {}
    for principal in principals.values():
        if principal.kind is PrincipalKind.GROUP and not principal.disabled:
            for member in principal.members:
                parents.setdefault(member, []).append(principal.id)
    closures: dict[str, frozenset[str]] = {}
    for member, direct in parents.items():
        found: set[str] = set()
        waiting = list(direct)
        while waiting:
            group = waiting.pop()
            if group not in found:
                found.add(group)
                waiting.extend(parents.get(group, ()))
        closures[member] = frozenset(found)
    return closures

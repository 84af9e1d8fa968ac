"""The rules in force, compiled once per authority generation from checked rows."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from vallum.identity import Directory, parents_of
from vallum.policy import Approval, Authority, BreakGlass, Requirements, parse_requirements
from vallum.policy.requirements import STRICT
from vallum.schema import (
    Credential,
    DenyAssignment,
    Principal,
    PrincipalKind,
    Record,
    Role,
    RoleAssignment,
    Waiver,
)
from vallum.store import AuthorityRows, Records, Snapshot

R = TypeVar("R", bound=Record)


class PolicyRow(Record, frozen=True):
    """The workspace's policy file as stored."""

    id: str
    document: dict[str, object]
    revision: int = 1
    changed_at: str = ""
    changed_by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Rules:
    """Everything that authentication and policy need, of one generation."""

    generation: int
    authority: Authority
    directory: Directory
    waivers: tuple[Waiver, ...]
    approvals: tuple[Approval, ...]
    requirements: Requirements
    denies: tuple[DenyAssignment, ...]
    seals: Mapping[str, BreakGlass]  # opened ones, by principal; policy decides whether they hold


class AuthorityCache:
    """Holds the rules of the newest generation seen. Safe for threads."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._lock = threading.Lock()
        self._rules: Rules | None = None

    def rules(self, snapshot: Snapshot) -> Rules:
        """Return the rules in force in `snapshot`; compiled anew when the generation moved.

        Raises:
            IntegrityError: A row or a set root is not what we wrote; nothing is used.
        """
        generation = self._records.authority_generation(snapshot)
        held = self._rules
        if held is not None and held.generation == generation:
            return held
        with self._lock:
            held = self._rules
            if held is not None and held.generation == generation:
                return held
            made = compile_rules(self._records.load_authority(snapshot))
            self._rules = made
            return made


def compile_rules(rows: AuthorityRows) -> Rules:
    """Compile checked rows; the strict default stands where there is no policy file."""
    principals = rows.all("principal", Principal)
    policies = rows.all("policy", PolicyRow)
    requirements = parse_requirements(policies[0].document) if policies else STRICT
    denies = tuple(rows.all("deny-assignment", DenyAssignment))
    seals = rows.all("break-glass", BreakGlassRow)
    authority = Authority.compile(
        rows.all("role", Role),
        rows.all("role-assignment", RoleAssignment),
        denies,
        principals,
        generation=rows.generation,
        requirements=requirements,
        sealed=[seal.id for seal in seals],
    )
    credentials = rows.all("credential", Credential)
    vouched: dict[tuple[str, str], tuple[Credential, ...]] = {}
    for one in credentials:
        if one.issuer:
            of = (one.issuer, one.subject)
            vouched[of] = (*vouched.get(of, ()), one)
    directory = Directory(
        credentials={one.id: one for one in credentials},
        principals={one.id: one for one in principals},
        parents=parents_of(one for one in principals if one.kind is PrincipalKind.GROUP),
        generation=rows.generation,
        federated=vouched,
    )
    return Rules(
        generation=rows.generation,
        authority=authority,
        directory=directory,
        waivers=tuple(rows.all("waiver", Waiver)),
        approvals=tuple(rows.all("approval", Approval)),
        requirements=requirements,
        denies=denies,
        seals={seal.id: seal.opened for seal in seals if seal.opened is not None},
    )


class BreakGlassRow(Record, frozen=True):
    """The break-glass principal's seal; `opened` is empty while it is sealed."""

    id: str
    opened: BreakGlass | None = None
    waiting: BreakGlass | None = None  # for another person

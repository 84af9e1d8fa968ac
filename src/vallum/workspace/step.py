"""What a step is, and what it is given. The table of all steps is `steps/table.py`.

A *short* step only changes state: decision, change and log entry share one transaction. A *long*
one has external or slow effects: an intent first, `prepare` outside any transaction (staging
objects, gates in the sandbox), then a second decision and `act` in the committing transaction.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, BinaryIO, TypeVar

import msgspec

from vallum.base import InputError, Permit, RefusedError
from vallum.policy import AccessChange, Escalation, RequestFacts, check_grant
from vallum.schema import Ask, Caller, Change, Evidence, Record, Resource
from vallum.store import Transaction
from vallum.workspace.authority import Rules
from vallum.workspace.context import Context, ask
from vallum.workspace.house import House

T = TypeVar("T")


class Length(Enum):
    """Whether a step fits one transaction."""

    SHORT = "short"
    LONG = "long"


class Effect(Enum):
    """Whether a step changes anything; reads need no transaction of the one writer for long."""

    READ = "read"
    CHANGE = "change"


@dataclass(slots=True)
class Look:
    """A view of what there is, for one caller: all that a step gets which only reads apart."""

    house: House
    context: Context
    caller: Caller
    now: datetime
    request_id: str
    visible: Callable[[str, Resource], bool]

    def read(self, look: Callable[[Context], T]) -> T:
        """Look something up in this view."""
        return look(self.context)

    def may(self, action: str, resource: Resource) -> bool:
        """Tell whether the caller may do `action`: the rule that lists what may be read."""
        return self.visible(action, resource)


@dataclass(slots=True)
class Act(Look):
    """The inside of the committing transaction: collects what the log entry must name."""

    tx: Transaction
    permit: Permit
    rules: Rules
    asks: tuple[Ask, ...]
    dry_run: bool = False  # everything is rolled back: no effect outside the transaction
    purpose: str = ""  # what the caller says it is for
    changes: list[Change] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)
    details: dict[str, object] = field(default_factory=dict)
    after_commit: list[Callable[[], None]] = field(default_factory=list)
    generation_after: int = 0  # authority generation that the commit leaves

    @property
    def first_resource(self) -> str:
        """Return the id of the first resource that the permit covers; empty if it covers none."""
        return self.asks[0].resource.id if self.asks else self.context.workspace_id

    def put(
        self,
        kind: str,
        record: Record,
        *,
        on: str,
        parent_id: str = "",
        name: str = "",
        expect: int | None = None,
    ) -> None:
        """Insert or replace a state record under the permit for resource `on`."""
        change = self.house.records.put(
            self.tx,
            self.permit,
            kind,
            record,
            on=on,
            parent_id=parent_id,
            name=name,
            expect=expect,
        )
        self.changes.append(change)

    def remove(self, kind: str, identity: str, *, on: str) -> None:
        """Remove a state record under the permit for resource `on`."""
        self.changes.append(self.house.records.remove(self.tx, self.permit, kind, identity, on=on))

    # -- what would escalate --------------------------------------------------------------------

    def escalations(
        self, change: AccessChange, places: Sequence[Resource]
    ) -> tuple[Escalation, ...]:
        """Return by which edges `change` would give more than the caller may give."""
        return check_grant(
            self.rules.authority,
            self.caller,
            change,
            places=(*places, *self._places(change)),
            facts=RequestFacts(now=self.now),
        )

    def refuse_escalation(self, change: AccessChange, places: Sequence[Resource]) -> None:
        """Refuse a change of access that conveys more than the caller may give.

        Raises:
            RefusedError: It does; the message names the first edges.
        """
        found = self.escalations(change, places)
        if found:
            shown = "; ".join(
                f"{one.edge}: {one.action} {one.text}".replace("  ", " ") for one in found[:3]
            )
            raise RefusedError(
                f"this would convey more than you may give: {shown}",
                code="policy.escalation",
                hint="vallum role whatif shows what it would change",
            )

    def _places(self, change: AccessChange) -> tuple[Resource, ...]:
        """Return every scope at which a principal named by `change` holds something."""
        scopes = {one.scope for one in self.rules.authority.assignments}
        scopes.update(one.scope for one in self.rules.denies)
        scopes.update(one.scope for one in change.assign)
        scopes.update(one.scope for one in change.deny)
        found = [self.context.workspace()]
        for scope in sorted(scopes):
            identity = scope.partition("/")[0]
            if identity == self.context.workspace_id:
                continue
            resource = self.context.resource_of(identity)
            if resource is not None:
                chain = resource.chain if scope == identity else (scope, *resource.chain)
                found.append(msgspec.structs.replace(resource, chain=chain))
        return tuple(found)

    def leave(self, evidence: Evidence, *, on: str) -> None:
        """Store a gate's evidence about the digest it names."""
        self.put("evidence", evidence, on=on, parent_id=evidence.subject_digest)
        self.evidence.append(evidence)


@dataclass(slots=True)
class Work:
    """The outside of the transaction of a long step."""

    house: House
    permit: Permit
    caller: Caller
    now: datetime
    on: str  # first resource of the permit; staged objects are written under it
    intent_id: str  # gates draw their seed from it, not from the caller
    content: BinaryIO | None
    dry_run: bool = False
    failed: list[Evidence] = field(default_factory=list)  # kept although the step fails
    undo: list[Callable[[], None]] = field(default_factory=list)

    def require_content(self) -> BinaryIO:
        """Return the uploaded content.

        Raises:
            InputError: Nothing was uploaded.
        """
        if self.content is None:
            raise InputError("the request has no content", code="request.content")
        return self.content

    @property
    def seed(self) -> int:
        """Return the seed of this step's gates: drawn from the intent, never from the caller."""
        return int.from_bytes(hashlib.sha256(self.intent_id.encode()).digest()[:8], "big")

    def read(self, look: Callable[[Context], T]) -> T:
        """Look something up in a consistent snapshot of its own."""
        house = self.house
        with house.database.snapshot() as snapshot:
            return look(
                Context(records=house.records, snapshot=snapshot, workspace_id=house.workspace_id)
            )


@dataclass(frozen=True, slots=True)
class Download:
    """Content as a reply; admitted before its first byte."""

    file_name: str
    chunks: Iterator[bytes]
    media_type: str = ""  # where it is not that of the route


Asks = Callable[[Context, Any, Caller], Sequence[Ask]]


def on_workspace(*actions: str) -> Asks:
    """Return the `asks` of a step that needs `actions` on the workspace."""

    def asks(context: Context, args: Record, caller: Caller) -> Sequence[Ask]:  # noqa: ARG001
        return tuple(one for action in actions for one in ask(action, context.workspace()))

    return asks


@dataclass(frozen=True, slots=True)
class Step:
    """One row of the table of steps.

    Attributes:
        name: `<noun>.<verb>`, as in routes, commands and log entries.
        arguments: Record that the caller sends.
        asks: Resolves names and lists every (action, resource) that the step needs.
        act: Makes the change inside the transaction and returns the reply. A long step's `act`
            also gets what `prepare` returned.
        prepare: Slow part of a long step, before `act`.
        reserve: What a long step takes beforehand, in the transaction of its intent: it stays
            taken whatever comes after. Gets the intent's id; returns what a dry run tells, or
            None where it goes on.
        apart: It only reads, and each row is decided by itself: `act` gets a `Look` at a snapshot,
            outside the one writer's transaction.
        lease_s: Above 0: the step opens a bundle. Its permit is not used up by the commit, and is
            good for that long: what happens under it is logged together when the bundle closes.
        threat: What the step's gates answer, from `govern.threats`; empty where it has none.
    """

    name: str
    arguments: type[Record]
    asks: Asks
    act: Callable[..., Any]
    effect: Effect = Effect.CHANGE
    length: Length = Length.SHORT
    prepare: Callable[[Work, Any], Any] | None = None
    reserve: Callable[[Act, Any, str], Any] | None = None
    content: bool = False
    apart: bool = False
    lease_s: float = 0.0
    threat: str = ""

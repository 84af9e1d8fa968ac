"""`perform`: the one path. Nothing else changes an asset or reads protected content.

1. resolve the names of the request to records and list its asks
2. decide, on roles and on evidence, under the current authority generation
3. admit: the log has the decision before anything happens, and hands out the permit
4. act: a short step in the same transaction; a long one outside, then decide again and commit
5. seal: state rows, evidence and the outcome entry commit together
6. barrier: a change of authority is in force at every gateway before the reply leaves
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO

import msgspec
import structlog

from vallum.audit import AdmissionRefusal, LogTransaction
from vallum.base import (
    InputError,
    NotFoundError,
    Permit,
    RefusedError,
    Secret,
    UnavailableError,
    VallumError,
    digest,
    new_id,
)
from vallum.policy import EvidenceView, RequestFacts, decide, visible
from vallum.schema import (
    Ask,
    Caller,
    Decision,
    EntryKind,
    Evidence,
    PrincipalKind,
    Reason,
    Record,
    Resource,
    Session,
)
from vallum.workspace.authority import AuthorityCache, Rules
from vallum.workspace.call import Call, DryRun, policy_step, request_digest, unknown
from vallum.workspace.context import Context
from vallum.workspace.house import House
from vallum.workspace.intent import Intent, settle
from vallum.workspace.release_keys import standing
from vallum.workspace.step import Act, Download, Length, Look, Step, Work

_LOG = structlog.get_logger("vallum.workspace")
SHORT_S = 30.0
RESERVE_BYTES = 64 * 1024 * 1024  # of disk, for administrators and the log of what they do
LONG_S = 3600.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What a step answers: a record, or content."""

    value: Record | None
    chunks: Iterator[bytes] | None = None
    file_name: str = ""
    media_type: str = ""


class Kernel:
    """One open workspace; safe for threads."""

    def __init__(
        self,
        house: House,
        steps: Sequence[Step],
        *,
        barrier: Callable[[int], None] = lambda generation: None,  # noqa: ARG005 - no gateway yet
    ) -> None:
        self.house = house
        self._steps: Mapping[str, Step] = {step.name: step for step in steps}
        self._cache = AuthorityCache(house.records)
        self._barrier = barrier

    def require_step(self, name: str, arguments: type[Record]) -> None:
        """Check that a route leads to a step that takes these arguments (G2).

        Raises:
            RuntimeError: It does not; the process must not start.
        """
        step = self._steps.get(name)
        if step is None or step.arguments is not arguments:
            raise RuntimeError(f"no step {name} takes {arguments.__name__}")

    def require_known(self, name: str) -> None:
        """Check that a page names a step that exists (G2).

        Raises:
            RuntimeError: It does not; the process must not start.
        """
        if name not in self._steps:
            raise RuntimeError(f"there is no step {name}")

    def set_barrier(self, barrier: Callable[[int], None]) -> None:
        """Wait with `barrier` until every gateway has acknowledged a generation."""
        self._barrier = barrier

    # -- who ------------------------------------------------------------------------------------

    def authenticate(self, token: Secret | None, *, source: str, request_id: str) -> Caller:
        """Return who presents `token`; a refusal is in the log before it is raised.

        Raises:
            UnauthenticatedError: Whatever was wrong with it.
            LimitExceededError: This address must wait.
        """
        house = self.house
        with house.database.snapshot() as snapshot:
            rules = self._cache.rules(snapshot)
        try:
            caller, credential = house.authenticator.authenticate(
                token, source=source, directory=rules.directory, now=house.clock.now()
            )
        except VallumError as error:
            house.refusals.add(code=error.code, source=source, request_id=request_id)
            raise
        if credential.endpoint_id:
            house.refusals.add(code="key.scoring-only", source=source, request_id=request_id)
            raise RefusedError(
                "this key is for scoring at one endpoint only",
                code="key.scoring-only",
                hint="use a key from `vallum key create`",
            )
        return msgspec.structs.replace(caller, source=source)

    def rules(self) -> Rules:
        """Return the checked authority rows of the current generation."""
        with self.house.database.snapshot() as snapshot:
            return self._cache.rules(snapshot)

    # -- what -----------------------------------------------------------------------------------

    def perform(
        self,
        caller: Caller,
        name: str,
        arguments: Record,
        *,
        content: BinaryIO | None = None,
        request_id: str = "",
        dry_run: bool = False,
        purpose: str = "",
    ) -> Reply:
        """Run a step for `caller`.

        Args:
            caller: Authenticated, or a named system principal.
            name: Of the step, `<noun>.<verb>`.
            arguments: The step's record.
            content: Uploaded content, seekable.
            request_id: Leads from the answer to the log.
            dry_run: Decide and check everything, change nothing.
            purpose: Why, as the caller states it: for conditions and purpose tags.

        Raises:
            VallumError: One of its kinds; a refusal is in the log.
        """
        step = self._steps.get(name)
        if step is None:
            raise NotFoundError(f"there is no step `{name}`")
        if not isinstance(arguments, step.arguments):
            raise InputError(f"`{name}` takes other arguments", code="request.arguments")
        call = Call(
            step=step,
            caller=caller,
            arguments=arguments,
            content=content,
            request_id=request_id,
            dry_run=dry_run,
            purpose=purpose,
            request_digest=request_digest(caller, name, arguments),
        )
        self._keep_room(caller)
        if step.length is Length.LONG:
            return self._perform_long(call)
        if step.apart and not dry_run:
            return self._perform_apart(call)
        return self._perform_short(call)

    def _perform_short(self, call: Call) -> Reply:
        lease_s = call.step.lease_s
        kind = EntryKind.BUNDLE_OPENED if lease_s else EntryKind.DECISION
        try:
            with self.house.log.transaction() as tx:
                act, decision = self._admit(tx, call, kind, lease_s or SHORT_S)
                value = call.step.act(act, call.arguments)
                if call.dry_run:
                    raise DryRun(value)
                self._seal(tx, act, spend=not lease_s)
        except DryRun as dry:
            self._note(call, "dry-run")
            return Reply(value=dry.value)
        except AdmissionRefusal as refused:
            raise refused.error from None
        except VallumError as error:
            self._note(call, error.code)
            raise
        self._after(act, decision)
        return _reply(value)

    def _perform_apart(self, call: Call) -> Reply:
        """Read on a snapshot, so that nobody who writes waits; then log it, and only then reply.

        What may be seen is decided by the authority of that snapshot. If it moved meanwhile, the
        step runs again, in the transaction that logs it.
        """
        house = self.house
        try:
            with house.database.snapshot() as snapshot:
                rules = self._cache.rules(snapshot)
                now = max(house.clock.now(), house.log.newest_at(snapshot))
                look = Look(
                    house=house,
                    context=Context(
                        records=house.records, snapshot=snapshot, workspace_id=house.workspace_id
                    ),
                    caller=call.caller,
                    now=now,
                    request_id=call.request_id,
                    visible=self._may(call, now, rules),
                )
                value = call.step.act(look, call.arguments)
            with house.log.transaction() as tx:
                act, decision = self._admit(tx, call, EntryKind.DECISION, SHORT_S)
                if decision.generation != rules.generation:
                    value = call.step.act(act, call.arguments)
                self._seal(tx, act)
        except AdmissionRefusal as refused:
            raise refused.error from None
        except VallumError as error:
            self._note(call, error.code)
            raise
        return _reply(value)

    def _perform_long(self, call: Call) -> Reply:
        house = self.house
        intent = Intent(id=str(new_id("int")), step=call.step.name, principal_id=call.caller.id)
        try:
            with house.log.transaction() as tx:
                act, _ = self._admit(tx, call, EntryKind.INTENT, LONG_S)
                act.put("intent", intent, on=act.first_resource)
                if call.step.reserve is not None:
                    told = call.step.reserve(act, call.arguments, intent.id)
                    if call.dry_run and told is not None:
                        raise DryRun(told)
                self._seal(tx, act, spend=False)
                permit = act.permit
        except DryRun as dry:
            self._note(call, "dry-run")
            return Reply(value=dry.value)
        except AdmissionRefusal as refused:
            raise refused.error from None
        except VallumError as error:
            self._note(call, error.code)
            raise
        work = Work(
            house=house,
            permit=permit,
            caller=call.caller,
            now=act.now,
            on=act.first_resource,
            intent_id=intent.id,
            content=call.content,
            dry_run=call.dry_run,
        )
        try:
            if call.step.prepare is None:
                raise RuntimeError(f"long step {call.step.name} has no prepare")
            prepared = call.step.prepare(work, call.arguments)
            with house.log.transaction() as tx:
                act, decision = self._admit(tx, call, EntryKind.OUTCOME, SHORT_S, intent=permit)
                value = call.step.act(act, call.arguments, prepared)
                act.remove("intent", intent.id, on=act.first_resource)
                if call.dry_run:
                    raise DryRun(value)
                self._seal(tx, act)
        except DryRun as dry:
            self._settle(call, intent, work, "dry-run")
            return Reply(value=dry.value)
        except AdmissionRefusal as refused:
            self._settle(call, intent, work, refused.error.code)
            raise refused.error from None
        except VallumError as error:
            self._settle(call, intent, work, error.code)
            raise
        except Exception as error:
            _LOG.error("step failed", step=call.step.name, kind=type(error).__name__)
            self._settle(call, intent, work, "internal")
            raise
        self._after(act, decision)
        return _reply(value)

    # -- inside ---------------------------------------------------------------------------------

    def _keep_room(self, caller: Caller) -> None:
        """Keep the last of the disk for administrators: every request writes to the log.

        Raises:
            UnavailableError: The disk is almost full, and the caller is none of them.
        """
        house = self.house
        if caller.kind is PrincipalKind.SYSTEM or house.free_bytes() >= RESERVE_BYTES:
            return
        with house.database.snapshot() as snapshot:
            rules = self._cache.rules(snapshot)
            context = Context(
                records=house.records, snapshot=snapshot, workspace_id=house.workspace_id
            )
            administers = visible(
                "workspaces/write",
                caller,
                context.workspace(),
                authority=rules.authority,
                facts=RequestFacts(now=house.clock.now()),
            )
        if not administers:
            house.refusals.count(code="workspace.space", source=caller.id, times=1)
            raise UnavailableError(
                "the server's disk is almost full; what is left is kept for administrators",
                code="workspace.space",
                hint="an administrator frees space on the server",
            )

    def _admit(
        self,
        tx: LogTransaction,
        call: Call,
        kind: EntryKind,
        lifetime_s: float,
        *,
        intent: Permit | None = None,
    ) -> tuple[Act, Decision]:
        house = self.house
        context = Context(records=house.records, snapshot=tx, workspace_id=house.workspace_id)
        rules = self._cache.rules(tx)
        now = max(house.clock.now(), house.log.newest_at(tx))
        facts = self._facts(call, now, rules)
        try:
            asks = tuple(call.step.asks(context, call.arguments, call.caller))
        except NotFoundError:
            asks = ()
            decision = unknown(call, rules.generation)
        else:
            decision = self._decide(context, call, asks, rules, facts)
        permit = house.log.admit(
            tx,
            decision,
            step=call.step.name,
            kind=kind,
            request_id=call.request_id,
            intent_id="" if intent is None else intent.entry_id,
            lifetime_s=lifetime_s,
            own=house.workspace_id,
        )

        act = Act(
            house=house,
            tx=tx,
            context=context,
            permit=permit,
            caller=call.caller,
            now=now,
            request_id=call.request_id,
            visible=self._may(call, now, rules),
            rules=rules,
            asks=asks,
            dry_run=call.dry_run,
            purpose=call.purpose,
        )
        return act, decision

    def _may(self, call: Call, now: datetime, rules: Rules) -> Callable[[str, Resource], bool]:
        """Return what tells whether the caller may do an action."""

        def may(action: str, resource: Resource) -> bool:
            return visible(
                action,
                call.caller,
                resource,
                authority=rules.authority,
                facts=self._facts(call, now, rules, step=""),
            )

        return may

    def _facts(
        self, call: Call, now: datetime, rules: Rules, step: str | None = None
    ) -> RequestFacts:
        return RequestFacts(
            now=now,
            step=policy_step(call.step.name) if step is None else step,
            purpose=call.purpose,
            interactive=call.caller.session is Session.CONSOLE,
            request_digest=call.request_digest,
            break_glass=rules.seals.get(call.caller.id),
        )

    def _decide(
        self,
        context: Context,
        call: Call,
        asks: Sequence[Ask],
        rules: Rules,
        facts: RequestFacts,
    ) -> Decision:
        if not asks:  # lists what may be read, or touches only what is the caller's own
            return Decision(
                allowed=True,
                caller=call.caller,
                asks=(),
                request_digest=call.request_digest,
                reasons=(Reason(kind="self", id="", text="each row is decided by itself"),),
                generation=rules.generation,
            )
        view = evidence_view(context, asks, rules)
        return decide(asks, call.caller, authority=rules.authority, facts=facts, evidence=view)

    def _seal(self, tx: LogTransaction, act: Act, *, spend: bool = True) -> None:
        self.house.log.seal(
            tx,
            act.permit,
            changes=act.changes,
            evidence=tuple(digest(msgspec.json.encode(one)) for one in act.evidence),
            details=act.details or None,
        )
        act.generation_after = self.house.records.authority_generation(tx)
        if spend:
            for one in act.asks:
                act.permit.require(one.action, one.resource.id)

    def _after(self, act: Act, decision: Decision) -> None:
        for effect in act.after_commit:
            try:
                effect()
            except VallumError as error:  # it is done; what is left over is swept at the next start
                _LOG.warning("an effect after the commit failed", code=error.code)
        # Read inside the transaction: what is committed must not fail here any more.
        if act.generation_after != decision.generation:
            self._barrier(act.generation_after)

    def _note(self, call: Call, code: str) -> None:
        """Log a request that was allowed and then changed nothing: one request, one entry."""
        with self.house.log.transaction() as tx:
            self.house.log.note(
                tx,
                kind=EntryKind.DECISION,
                step=call.step.name,
                principal_id=call.caller.id,
                request_digest=call.request_digest,
                request_id=call.request_id,
                error=code,
            )

    def _settle(self, call: Call, intent: Intent, work: Work, code: str) -> None:
        """Undo a long step that did not commit; what its gates found stays on record."""
        for effect in reversed(work.undo):
            effect()
        settle(self.house, intent, code=code, failed=work.failed, request_id=call.request_id)


def evidence_view(context: Context, asks: Sequence[Ask], rules: Rules) -> EvidenceView:
    """Gather all evidence, waivers, approvals and makers about the subjects of a request."""
    evidence: list[Evidence] = []
    makers: dict[str, frozenset[str]] = {}
    for resource in {one.resource.id: one.resource for one in asks}.values():
        if not resource.digest or resource.digest in makers:
            continue
        evidence.extend(context.evidence(resource.digest))
        makers[resource.digest] = frozenset(context.version_by_id(resource.id).makers)
    digests = set(makers)
    return EvidenceView(
        evidence=tuple(standing(context, evidence)),
        waivers=tuple(one for one in rules.waivers if one.subject_digest in digests),
        approvals=tuple(one for one in rules.approvals if one.subject_digest in digests),
        makers=makers,
    )


def _reply(value: Record | Download) -> Reply:
    if isinstance(value, Download):
        return Reply(None, value.chunks, value.file_name, value.media_type)
    return Reply(value=value)

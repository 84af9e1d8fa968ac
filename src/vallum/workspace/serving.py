"""The control side of the data plane: leases, authorization, bundles, model bytes.

A gateway serves under a lease of at most one second. When authority changes, `barrier` returns
only when every live gateway has switched to the new generation or its lease has run out: the
request after a revoke is refused.
"""

import base64
import threading
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec

from vallum.base import (
    InputError,
    IntegrityError,
    NotFoundError,
    RefusedError,
    Secret,
    VallumError,
    new_id,
    timestamp,
)
from vallum.guard import Decisions, count_decisions, count_tests, unpack_decisions
from vallum.identity import is_certified
from vallum.policy import RequestFacts, decide
from vallum.schema import (
    Deployment,
    DeploymentState,
    Endpoint,
    EntryKind,
    Job,
    JobState,
)
from vallum.schema.capture import CaptureHanded
from vallum.schema.release import Scale
from vallum.schema.serving import (
    AuthorizeAsk,
    Authorized,
    BundleClose,
    BundleOpen,
    BundleOpened,
    CallerSeen,
    ConnectionCounts,
    DeploymentFailed,
    DeploymentRuns,
    Lease,
    LeaseAsk,
    OpenBundle,
    RefusedCounts,
    ServedDeployment,
    ServedEndpoint,
)
from vallum.store import Unchanged
from vallum.workspace.captures import allowed_now, keep_piece
from vallum.workspace.context import Context, ask
from vallum.workspace.deployments import LIVE, index_name, take_over
from vallum.workspace.egress import log_connections, ways_of
from vallum.workspace.gateways import LEASE_S, Gateways
from vallum.workspace.kernel import Kernel
from vallum.workspace.traces import check_traces
from vallum.workspace.watches import SYSTEM_GATEWAY, log_caller

UNCLOSED_S = 120.0
JOB_LOOK_S = 1.0  # for what another process queued
JOB_PAUSE_S = 0.1
JOB_LOOKS = 5
SCORE = "onlineEndpoints/score/action"
PICK = "onlineEndpoints/deployments/score/action"
_VERIFY_BYTES = 1024 * 1024


@dataclass(slots=True)
class Serving:
    """Holds which gateways live. Safe for threads."""

    kernel: Kernel
    _gateways: Gateways = field(init=False)
    _lease: Unchanged[Lease] = field(init=False)
    _waiting: Unchanged[bool] = field(init=False)
    _open: Unchanged[list[OpenBundle]] = field(init=False)
    _released: threading.Event = field(default_factory=threading.Event)
    _ready: dict[str, frozenset[str]] = field(default_factory=dict)  # deployment to gateways

    def __post_init__(self) -> None:
        """Know no gateway yet."""
        house = self.kernel.house
        self._gateways = Gateways(house)
        stamp, monotonic = house.database.stamp, house.clock.monotonic
        self._lease = Unchanged(stamp, self._read_lease, monotonic)
        self._waiting = Unchanged(stamp, self._read_waiting, monotonic)
        self._open = Unchanged(stamp, self._read_open, monotonic)

    # -- leases ---------------------------------------------------------------------------------

    def lease(self, question: LeaseAsk) -> Lease:
        """Return what may be served; waits up to `wait_s` while nothing has changed here."""
        gateways = self._gateways.renew(question.gateway, question.have)
        if question.wait_s > 0:
            self._gateways.wait(question.have, question.wait_s)
            gateways = self._gateways.renew(question.gateway, question.have)
        # What changed past the log's back gives out none.
        return msgspec.structs.replace(self._lease(), gateways=gateways)

    def barrier(self, generation: int) -> None:
        """Wait until no live gateway serves under an older generation."""
        self._gateways.barrier(generation)

    def _read_lease(self) -> Lease:
        house = self.kernel.house
        with house.database.snapshot() as snapshot:
            generation = house.records.authority_generation(snapshot)
            context = Context(
                records=house.records, snapshot=snapshot, workspace_id=house.workspace_id
            )
            endpoints = []
            requirements = self.kernel.rules().requirements
            for endpoint in context.all("endpoint", Endpoint):
                served = tuple(
                    ServedDeployment(
                        id=one.id,
                        name=one.name,
                        model_digest=one.model_digest,
                        share=0 if starting else endpoint.traffic.get(one.name, 0),
                        mirrored=0 if starting else endpoint.mirror.get(one.name, 0),
                        in_process=one.in_process,
                        decimals=one.decimals,
                        output=one.output,
                        capture=allowed_now(one.capture, requirements),
                        code_digest=one.code_digest,
                        ways=ways_of(requirements, endpoint.name) if one.code_id else (),
                        scale=one.scale or Scale(),
                        on_evasion="" if one.watch is None else one.watch.on_evasion,
                        on_extraction="" if one.watch is None else one.watch.response,
                        starting=starting,
                    )
                    for one in context.deployments(endpoint)
                    for starting in (one.state is DeploymentState.STARTING,)
                    if one.state in LIVE and (not one.code_id or requirements.scoring_code.allow)
                )
                endpoints.append(
                    ServedEndpoint(
                        id=endpoint.id,
                        name=endpoint.name,
                        rate_per_s=endpoint.rate_per_s,
                        burst=endpoint.burst,
                        max_rows=endpoint.max_rows,
                        networks=endpoint.networks,
                        information=endpoint.information,
                        rates=endpoint.rates,
                        quotas=endpoint.quotas,
                        deployments=served,
                    )
                )
        authorities = {  # of a generation that is no older than the snapshot's
            one.public_keys
            for held in self.kernel.rules().directory.federated.values()
            for one in held
            if is_certified(one) and not one.revoked_at
        }
        return Lease(
            generation=generation,
            lease_s=LEASE_S,
            endpoints=tuple(endpoints),
            authorities=tuple(sorted(authorities)),
        )

    # -- who ------------------------------------------------------------------------------------

    def authorize(self, question: AuthorizeAsk) -> Authorized:
        """Decide whether a token may score at an endpoint; a refusal is in the log.

        Raises:
            UnauthenticatedError: The token is no good.
            RefusedError: It may not score here.
        """
        kernel, house = self.kernel, self.kernel.house
        rules = kernel.rules()
        now = house.clock.now()
        try:
            caller, credential = house.authenticator.authenticate(
                Secret(question.token) if question.token else None,
                source=question.source,
                directory=rules.directory,
                now=now,
                certificate=question.certificate,
            )
            with house.database.snapshot() as snapshot:
                context = Context(
                    records=house.records, snapshot=snapshot, workspace_id=house.workspace_id
                )
                endpoint = context.endpoint(question.endpoint_id)
                resource = context.endpoint_resource(endpoint)
            if credential.endpoint_id and credential.endpoint_id != endpoint.id:
                raise RefusedError("this key is for another endpoint", code="score.other-endpoint")
            facts = RequestFacts(now=now, source=question.source)
            if not decide(
                ask(SCORE, resource), caller, authority=rules.authority, facts=facts
            ).allowed:
                raise RefusedError("scoring here is not allowed", code="score.refused")
        except (NotFoundError, RefusedError) as error:
            house.refusals.add(code=error.code, source=question.source)
            # Whether the endpoint exists is not the caller's to know.
            raise NotFoundError(
                "there is no such endpoint, or you may not score it", code="score.refused"
            ) from error
        except VallumError as error:
            house.refusals.add(code=error.code, source=question.source)
            raise
        if (
            question.picks
            and not decide(
                ask(PICK, resource), caller, authority=rules.authority, facts=facts
            ).allowed
        ):
            house.refusals.add(code="score.deployment", source=question.source)
            raise RefusedError(
                "choosing the deployment is not allowed",
                code="score.deployment",
                hint=f"leave the header out, or ask for the right `{PICK}`",
            )
        return Authorized(
            credential_id=credential.id,
            principal_id=caller.id,
            generation=rules.generation,
            expires_at=credential.expires_at,
            # Every token is a credential of its own: rates that counted those would bound nothing.
            charged=f"{caller.id}/{credential.made_with}" if credential.made_with else "",
        )

    def refused(self, question: RefusedCounts) -> None:
        """Count what a gateway refused before anybody was known, into the next aggregate."""
        for one in question.rows:
            self.kernel.house.refusals.count(code=one.code, source=one.source, times=one.count)

    # -- bundles --------------------------------------------------------------------------------

    def open_bundle(self, question: BundleOpen) -> BundleOpened:
        """Log that up to `max_answers` answers may be given now."""
        house = self.kernel.house
        bundle_id = str(new_id("bun"))
        with house.log.transaction() as tx:
            permit = house.log.system_permit(
                tx,
                step="score",
                kind=EntryKind.BUNDLE_OPENED,
                principal_id=SYSTEM_GATEWAY,
                resources=(question.endpoint_id, question.deployment_id, bundle_id),
            )
            row = OpenBundle(
                id=bundle_id,
                endpoint_id=question.endpoint_id,
                max_answers=question.max_answers,
                opened_at=timestamp(house.clock.now()),
            )
            change = house.records.put(tx, permit, "bundle", row, on=question.endpoint_id)
            details: dict[str, object] = {
                "max_answers": question.max_answers,
                "ttl_ms": int(question.ttl_s * 1000),
                "model_digest": question.model_digest,
            }
            house.log.seal(tx, permit, changes=[change], details=details)
        return BundleOpened(id=bundle_id)

    def close_bundle(self, question: BundleClose) -> None:
        """Log what was answered under a bundle.

        Raises:
            InputError: It is not open, or its records do not amount to its root and counts.
        """
        house = self.kernel.house
        said = Decisions(question.answered, question.refused, question.root)
        records = unpack_decisions(question.records, question.answered + question.refused)
        if count_decisions(records) != said:
            raise InputError("the records are not those of the bundle", code="bundle.records")
        traces = check_traces(question)
        with house.log.transaction() as tx:
            try:
                held = house.records.get(tx, "bundle", question.id, OpenBundle)
            except NotFoundError as error:
                raise InputError("the bundle is not open", code="bundle.unknown") from error
            permit = house.log.system_permit(
                tx,
                step="score",
                kind=EntryKind.BUNDLE_CLOSED,
                principal_id=SYSTEM_GATEWAY,
                resources=(held.endpoint_id, held.id),
                error="bundle.over" if question.answered > held.max_answers else "",
            )
            change = house.records.remove(tx, permit, "bundle", held.id, on=held.endpoint_id)
            details: dict[str, object] = {
                "answered": question.answered,
                "refused": question.refused,
                "root": question.root,
                "recovered": question.recovered,
                "tests": count_tests(records),
                "records": base64.b64encode(question.records).decode(),
                **({"traces": traces} if traces else {}),
            }
            house.log.seal(tx, permit, changes=[change], details=details)

    def charge_unclosed(self) -> int:
        """Log as findings the bundles that nobody closed in time; they count in full."""
        house = self.kernel.house
        before = timestamp(house.clock.now() - timedelta(seconds=UNCLOSED_S))
        left = [one for one in self._open() if one.opened_at < before]
        for one in left:
            with house.log.transaction() as tx:
                permit = house.log.system_permit(
                    tx,
                    step="score",
                    kind=EntryKind.FINDING,
                    principal_id=SYSTEM_GATEWAY,
                    resources=(one.endpoint_id, one.id),
                    error="bundle.unclosed",
                )
                change = house.records.remove(tx, permit, "bundle", one.id, on=one.endpoint_id)
                charged: dict[str, object] = {"charged": one.max_answers}
                house.log.seal(tx, permit, changes=[change], details=charged)
        return len(left)

    def _read_open(self) -> list[OpenBundle]:
        house = self.kernel.house
        with house.database.snapshot() as snapshot:
            return house.records.list(snapshot, "bundle", OpenBundle)

    def job_waits(self) -> bool:
        """Tell whether a job is queued, after a while if none is.

        An idle worker's question is no decision to log, and it need not ask all the time.
        """
        commits = self.kernel.house.database.commits
        for _ in range(JOB_LOOKS):
            seen = commits.count
            if self._waiting():
                return True
            commits.wait(seen, JOB_LOOK_S)
            if self._released.wait(JOB_PAUSE_S):  # there may be many commits, and many jobs
                break
        return False

    def release(self) -> None:
        """Let nobody wait for a job any more."""
        self._released.set()
        self.kernel.house.database.commits.tell()

    def _read_waiting(self) -> bool:
        house = self.kernel.house
        with house.database.snapshot() as snapshot:
            context = Context(
                records=house.records, snapshot=snapshot, workspace_id=house.workspace_id
            )
            return any(job.state is JobState.QUEUED for job in context.all("job", Job))

    # -- what was noticed ------------------------------------------------------------------------

    def tampered(self, error: IntegrityError) -> None:
        """Log that records do not hold; nothing is served while they do not."""
        self._noticed("endpoint.stop", error.code[:64], error.message[:500])

    def door_ended(self, module: str, code: int) -> None:
        """Log that a process of ours ended by itself; it is started again."""
        self._noticed("door.start", "door.ended", f"{module} ended with {code}")

    def _noticed(self, step: str, error: str, reason: str) -> None:
        house = self.kernel.house
        with house.log.transaction() as tx:
            permit = house.log.system_permit(
                tx,
                step=step,
                kind=EntryKind.FINDING,
                principal_id=SYSTEM_GATEWAY,
                resources=(house.workspace_id,),
                error=error,
            )
            house.log.seal(tx, permit, changes=[], details={"reason": reason})

    def caller_seen(self, seen: CallerSeen) -> None:
        """Log what a caller's queries look like, and leave it as evidence about the model."""
        log_caller(self.kernel.house, seen)

    def connected(self, counts: ConnectionCounts) -> None:
        """Log what scoring code connected to and was refused."""
        log_connections(self.kernel.house, counts.rows)

    def captured(self, handed: CaptureHanded) -> None:
        """Store redacted requests and answers of a gateway, encrypted."""
        keep_piece(self.kernel.house, handed, self.kernel.rules().requirements)

    def runs(self, report: DeploymentRuns) -> None:
        """Give a deployment that came to stand its traffic, and end the one that it replaces.

        Only once it stands at every gateway that lives: each says so again and again until then.

        Raises:
            NotFoundError: Another was deployed meanwhile.
        """
        house = self.kernel.house
        with house.log.transaction() as tx:
            context = Context(records=house.records, snapshot=tx, workspace_id=house.workspace_id)
            deployment = house.records.get(tx, "deployment", report.deployment_id, Deployment)
            if deployment.state is not DeploymentState.STARTING:
                return
            ready = self._ready.get(deployment.id, frozenset()) | {report.gateway}
            if not self._gateways.living() <= ready:
                self._ready = {**self._kept(context), deployment.id: ready}
                return
            permit = house.log.system_permit(
                tx,
                step="endpoint.start",
                kind=EntryKind.DECISION,
                principal_id=SYSTEM_GATEWAY,
                resources=(deployment.endpoint_id,),
            )
            changes, details = take_over(context, tx, permit, deployment)
            house.log.seal(tx, permit, changes=changes, details=details)
        with house.database.snapshot() as snapshot:
            generation = house.records.authority_generation(snapshot)
        self.barrier(generation)

    def _kept(self, context: Context) -> dict[str, frozenset[str]]:
        """Return what was said of deployments that still start."""
        starting = {
            one.id
            for one in context.all("deployment", Deployment)
            if one.state is DeploymentState.STARTING
        }
        return {key: told for key, told in self._ready.items() if key in starting}

    def fail(self, report: DeploymentFailed) -> None:
        """Stop a deployment and log why: its bytes changed, or its model does not run."""
        house = self.kernel.house
        with house.log.transaction() as tx:
            deployment = house.records.get(tx, "deployment", report.deployment_id, Deployment)
            permit = house.log.system_permit(
                tx,
                step="endpoint.stop",
                kind=EntryKind.FINDING,
                principal_id=SYSTEM_GATEWAY,
                resources=(deployment.endpoint_id,),
                error=report.code[:64],
            )
            change = house.records.put(
                tx,
                permit,
                "deployment",
                msgspec.structs.replace(
                    deployment, state=DeploymentState.FAILED, reason=report.reason[:500]
                ),
                on=deployment.endpoint_id,
                parent_id=deployment.endpoint_id,
                name=index_name(deployment),
            )
            house.log.seal(tx, permit, changes=[change], details={"reason": report.reason[:500]})
        with house.database.snapshot() as snapshot:
            generation = house.records.authority_generation(snapshot)
        self.barrier(generation)

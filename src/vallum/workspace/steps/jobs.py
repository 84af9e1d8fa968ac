"""Steps on jobs: submit, list, show, logs, cancel; and the worker's own: claim, finish.

A job is a digest-pinned bundle that runs in the sandbox under its own managed identity. Its
outputs carry the join of its inputs' labels and the makers of their lineage.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from vallum.base import (
    ConflictError,
    InputError,
    NotFoundError,
    RefusedError,
    check_name,
    new_id,
    timestamp,
)
from vallum.crypto import WrappedKey
from vallum.policy import RequestFacts, visible
from vallum.schema import (
    PRIVACY_REPORT,
    Ask,
    AssetVersion,
    Caller,
    Claim,
    Claimed,
    Finish,
    Job,
    JobState,
    Part,
    Principal,
    PrincipalKind,
    Resource,
    WrappedDataKey,
    api,
)
from vallum.workspace.context import Context, ask, asks_to_write
from vallum.workspace.registration import Registered, register_files
from vallum.workspace.step import Act, Asks, Download, Effect, Length, Step, Work
from vallum.workspace.steps.job_privacy import checked_report, give_back, reserve_for
from vallum.workspace.steps.models import publish_model, tar_files
from vallum.workspace.versions import CONTENT, content_chunks_of, put_key, stage

MAX_CODE_BYTES = 64 * 1024 * 1024
MAX_FILES = 256


def _input_kind(text: str) -> tuple[str, str]:
    kind, _, name = text.partition("/")
    if kind not in {"data", "model"} or not name:
        raise InputError(
            f"`{text[:80]}` is not an input",
            code="job.input",
            hint="write data/NAME:VERSION or model/NAME:VERSION",
        )
    return kind, name


def _inputs(context: Context, inputs: dict[str, str]) -> dict[str, AssetVersion]:
    found = {}
    for key, text in inputs.items():
        kind, name = _input_kind(text)
        found[check_name(key, what="input name")] = context.version(kind, name)
    return found


def _submit_asks(context: Context, args: api.JobSubmit, caller: Caller) -> Sequence[Ask]:
    asks = list(ask("jobs/write", context.workspace()))
    for version in _inputs(context, args.inputs).values():
        resource = context.version_resource(version)
        asks.extend(ask(f"{_plural(version.kind)}/versions/content/read", resource))
        if args.privacy is not None and version.kind == "data":
            asks.extend(ask("data/versions/query/action", resource))  # it spends the budget
    for target in args.outputs.values():
        kind, _, name = target.partition("/")
        if kind != "model" or not name:
            raise InputError(
                f"`{target[:80]}` is not an output", code="job.output", hint="write model/NAME"
            )
        asks.extend(asks_to_write(context, kind, check_name(name, what="model name")))
    return tuple({(one.action, one.resource.id): one for one in asks}.values())


def _plural(kind: str) -> str:
    return {"data": "data", "model": "models"}[kind]


@dataclass(frozen=True, slots=True)
class _Submitted:
    job_id: str
    wrapped: WrappedDataKey
    code: Part


def _prepare_submit(work: Work, args: api.JobSubmit) -> _Submitted:
    content = work.require_content()
    data = content.read(MAX_CODE_BYTES + 1)
    if len(data) > MAX_CODE_BYTES:
        raise InputError(f"the code exceeds {MAX_CODE_BYTES} bytes", code="job.code")
    members = {name for name, _ in tar_files(data)}
    if args.entry not in members:
        raise InputError(
            f"the code holds no `{args.entry[:80]}`",
            code="job.entry",
            hint="--entry names a file at the top of the code folder",
        )
    job_id = str(new_id("job"))
    wrapped, parts = stage(work, job_id, [("code.tar", data)], personal=False)
    return _Submitted(job_id, wrapped, parts[0])


def _act_submit(act: Act, args: api.JobSubmit, made: _Submitted) -> api.JobShown:
    workspace_id = act.context.workspace_id
    if act.context.find("job", args.name, Job) is not None:
        raise ConflictError(f"job `{args.name}` exists already")
    inputs = _inputs(act.context, args.inputs)
    makers = {maker for version in inputs.values() for maker in version.makers}
    if act.caller.kind is PrincipalKind.USER:
        makers.add(act.caller.id)
    identity = Principal(
        id=str(new_id("mi")), kind=PrincipalKind.MANAGED_IDENTITY, name=f"job.{args.name}"
    )
    act.put("principal", identity, on=workspace_id, parent_id=workspace_id, name=identity.name)
    reserve = None if args.privacy is None else reserve_for(act, made.job_id, inputs, args.privacy)
    job = Job(
        id=made.job_id,
        name=args.name,
        owner_id=act.caller.id,
        identity_id=identity.id,
        created_at=timestamp(act.now),
        state=JobState.QUEUED,
        code=made.code,
        entry=args.entry,
        inputs={name: version.id for name, version in inputs.items()},
        outputs=args.outputs,
        parameters=args.parameters,
        limits=args.limits,
        makers=tuple(sorted(makers)),
        purpose=act.purpose,
        privacy=args.privacy,
        reserve=reserve,
    )
    put_key(act, made.wrapped, on=workspace_id)
    act.put("job", job, on=workspace_id, parent_id=workspace_id, name=job.name)
    return api.JobShown(job=job)


def _own(action: str) -> Asks:
    def asks(context: Context, args: api.Named, caller: Caller) -> Sequence[Ask]:
        return ask(action, job_resource(context, context.job(args.name)))

    return asks


def job_resource(context: Context, job: Job) -> Resource:
    """Return a job as a resource; it carries the highest label of its inputs."""
    labels = []
    for one in job.inputs.values():
        try:
            labels.append(context.version_by_id(one).label)
        except NotFoundError:  # erased since: unclassified counts as the highest label
            labels.append("")
    return context.plain("job", job.id, label=_join(labels))


def _join(labels: Sequence[str]) -> str:
    order = ["public", "general", "confidential", "highly-confidential"]
    if any(label not in order for label in labels):
        return ""
    return max(labels, key=order.index) if labels else "general"


def _list_asks(context: Context, args: api.Page, caller: Caller) -> Sequence[Ask]:
    return ()  # each row is decided by itself: what may be read is what is listed


def _act_list(act: Act, args: api.Page) -> api.Listing:
    found = [
        job
        for job in act.context.all("job", Job)
        if job.id > args.after and act.may("jobs/read", act.context.plain("job", job.id))
    ][: args.limit]
    after = found[-1].id if len(found) == args.limit else ""
    return api.Listing(jobs=tuple(found), after=after)


def _act_show(act: Act, args: api.Named) -> api.JobShown:
    return api.JobShown(job=act.context.job(args.name))


def _act_logs(act: Act, args: api.Named) -> Download:
    job = act.context.job(args.name)
    if job.logs is None:
        raise NotFoundError(f"job `{job.name}` has no output yet", code="job.no-logs")
    return Download(
        file_name=f"{job.name}.log", chunks=content_chunks_of(act, job.id, job.logs, on=job.id)
    )


def _act_cancel(act: Act, args: api.Named) -> api.Done:
    job = act.context.job(args.name)
    if job.state not in {JobState.QUEUED, JobState.RUNNING}:
        raise ConflictError(f"job `{job.name}` is {job.state.value} already", code="job.ended")
    if job.state is JobState.QUEUED:
        give_back(act, job)
    _replace(
        act,
        msgspec.structs.replace(job, state=JobState.CANCELLED, ended_at=timestamp(act.now)),
    )
    return api.Done(id=job.id, text=f"cancelled job {job.name}")


def _replace(act: Act, job: Job) -> None:
    act.put("job", job, on=job.id, parent_id=act.context.workspace_id, name=job.name)


# -- the worker's own steps: never a route ------------------------------------------------------


def _next_job(context: Context) -> Job | None:
    queued = [job for job in context.all("job", Job) if job.state is JobState.QUEUED]
    return min(queued, key=lambda job: job.created_at) if queued else None


def _claim_asks(context: Context, args: Claim, caller: Caller) -> Sequence[Ask]:
    """The job's own identity is not the worker's: inputs were allowed to who submitted it."""
    job = _next_job(context)
    if job is None:
        raise NotFoundError("no job is queued")
    return ask("jobs/run/action", context.plain("job", job.id))


def _act_claim(act: Act, args: Claim) -> Claimed:
    job = next(job for job in act.context.all("job", Job) if job.id == act.first_resource)
    try:
        versions = {}
        for name, version_id in job.inputs.items():
            versions[name] = act.context.version_by_id(version_id)
            _refuse_lost_right(act, job, versions[name])
    except (NotFoundError, RefusedError) as error:
        # It ends here: at the head of the queue it would keep all others waiting for ever.
        gone = "an input of it was deleted" if isinstance(error, NotFoundError) else error.message
        give_back(act, job)
        _replace(
            act,
            msgspec.structs.replace(
                job, state=JobState.FAILED, ended_at=timestamp(act.now), reason=gone
            ),
        )
        act.details["refused"] = error.code
        return Claimed()
    code = b"".join(content_chunks_of(act, job.id, job.code, on=job.id))
    inputs = {
        name: b"".join(content_chunks_of(act, version.id, version.parts[0], on=job.id))
        for name, version in versions.items()
    }
    running = msgspec.structs.replace(
        job, state=JobState.RUNNING, started_at=timestamp(act.now), claimed_by=args.worker
    )
    _replace(act, running)
    return Claimed(job=running, code=code, inputs=inputs)


def _refuse_lost_right(act: Act, job: Job, version: AssetVersion) -> None:
    """A right revoked after the job was queued stops it: its owner is asked again now."""
    authority = act.rules.authority
    resource = act.context.version_resource(version)
    action = f"{_plural(version.kind)}/versions/content/read"
    owner = authority.caller_of(job.owner_id)
    facts = RequestFacts(now=act.now, purpose=job.purpose)
    if not visible(action, owner, resource, authority=authority, facts=facts):
        raise RefusedError(
            f"job `{job.name}` may no longer read its input `{version.name}`", code="job.lost-right"
        )


def _finish_asks(context: Context, args: Finish, caller: Caller) -> Sequence[Ask]:
    return ask("jobs/run/action", context.plain("job", args.job_id))


@dataclass(frozen=True, slots=True)
class _Finished:
    logs: Part
    models: dict[str, Registered]
    reason: str
    spend: str = ""


def _prepare_finish(work: Work, args: Finish) -> _Finished:
    job = work.read(lambda context: context.job(args.job_id))
    logs = _stage_log(work, job, args.logs)
    models: dict[str, Registered] = {}
    reason, spend = args.reason, ""
    if args.status == "ok" and job.privacy is not None:
        spend, reason = checked_report(job.privacy, args.outputs.get(PRIVACY_REPORT))
    if args.status == "ok" and not reason:
        for name, target in job.outputs.items():
            data = args.outputs.get(name)
            if data is None:
                reason = f"the job left no output `{name}`"
                continue
            model = target.partition("/")[2]
            models[model] = register_files(work, [(name, data)], single=True)
    return _Finished(logs, models, reason, spend)


def _stage_log(work: Work, job: Job, logs: bytes) -> Part:
    house = work.house
    row = work.read(
        lambda context: context.records.get(context.snapshot, "wrapped-key", job.id, WrappedDataKey)
    )
    wrapped = msgspec.convert(row.wrapped, WrappedKey)
    key = house.keyring.unwrap(work.permit, wrapped, job.id, CONTENT, on=job.id)
    part = house.objects.write(
        work.permit, version_id=job.id, part="output.log", source=logs, data_key=key, on=job.id
    )
    work.undo.append(lambda: house.objects.discard(part))
    return part


def _act_finish(act: Act, args: Finish, made: _Finished) -> api.JobShown:
    job = act.context.job(args.job_id)
    if job.state is not JobState.RUNNING:
        raise ConflictError(f"job `{job.name}` is {job.state.value}", code="job.ended")
    done = args.status == "ok" and not made.reason
    versions = [
        publish_model(
            act,
            name=name,
            made=registered,
            label="",
            lineage=tuple(job.inputs.values()),
            job_id=job.id,
            makers=job.makers,
            on=job.id,
        )
        for name, registered in (made.models.items() if done else ())
    ]
    ended = msgspec.structs.replace(
        job,
        state=JobState.COMPLETED if done else JobState.FAILED,
        ended_at=timestamp(act.now),
        exit_code=args.exit_code,
        reason=made.reason,
        logs=made.logs,
        made=tuple(version.id for version in versions),
        enforced=args.enforced,
        spend=made.spend,
    )
    _replace(act, ended)
    return api.JobShown(job=ended)


STEPS = (
    Step("job.list", api.Page, _list_asks, _act_list, Effect.READ),
    Step("job.submit", api.JobSubmit, _submit_asks, _act_submit, length=Length.LONG,
         prepare=_prepare_submit, content=True, threat="privilege-escalation"),
    Step("job.show", api.Named, _own("jobs/read"), _act_show, Effect.READ),
    Step("job.logs", api.Named, _own("jobs/logs/read"), _act_logs, Effect.READ),
    Step("job.cancel", api.Named, _own("jobs/cancel/action"), _act_cancel),
    Step("job.claim", Claim, _claim_asks, _act_claim),
    Step("job.finish", Finish, _finish_asks, _act_finish, length=Length.LONG,
         prepare=_prepare_finish, threat="model-tampering"),
)  # fmt: skip

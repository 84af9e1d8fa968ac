"""The step of batch scoring: a whole data version by a deployment, into a data asset."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import msgspec

from vallum.base import (
    ConflictError,
    InputError,
    IntegrityError,
    LimitExceededError,
    NotFoundError,
    RefusedError,
    VallumError,
    canonical_json,
    check_name,
    digest,
    new_id,
)
from vallum.guard.batch import Mark
from vallum.schema import (
    Ask,
    Asset,
    AssetVersion,
    BatchProgress,
    Caller,
    Deployment,
    DeploymentState,
    Part,
    WrappedDataKey,
)
from vallum.schema import release as wire
from vallum.workspace.batch_limits import admit, check_network, payment
from vallum.workspace.context import Context, ask, asks_to_write
from vallum.workspace.deployments import LIVE
from vallum.workspace.engines.port import Batch
from vallum.workspace.scoring import Pieces
from vallum.workspace.serving import PICK
from vallum.workspace.step import Act, Length, Step, Work
from vallum.workspace.steps.data import derive
from vallum.workspace.versions import (
    content_chunks_of,
    content_reader,
    publish,
    served_part,
    stage,
)

MAX_MINI_BATCH = 1_000_000
MAX_NAMES = 10_000
APPEND_ROW = "append_row"
SUMMARY_ONLY = "summary_only"
OUTPUT_ACTIONS = (APPEND_ROW, SUMMARY_ONLY)
"""What a batch leaves, as Azure ML calls it."""


def _source(context: Context, args: wire.EndpointBatch) -> AssetVersion:
    return context.version("data", args.data, args.version)


def _asks(context: Context, args: wire.EndpointBatch, caller: Caller) -> Sequence[Ask]:
    source = context.version_resource(_source(context, args))
    endpoint = context.endpoint_resource(context.endpoint(args.endpoint))
    return (
        *ask("onlineEndpoints/score/action", endpoint),
        *(ask(PICK, endpoint) if args.deployment else ()),
        *ask("data/versions/content/read", source),
        *asks_to_write(context, "data", check_name(args.into, what="data name")),
    )


def _deployment(context: Context, args: wire.EndpointBatch) -> Deployment:
    """Return the deployment that is named, or the one with the most traffic.

    Raises:
        NotFoundError: None of that name runs, or none at all.
        RefusedError: It is watched for theft.
    """
    endpoint = context.endpoint(args.endpoint)
    running = [
        one
        for one in context.deployments(endpoint)
        if one.state in LIVE and args.deployment in {"", one.name}
    ]
    if not running:
        raise NotFoundError(
            "the endpoint has no such deployment that runs", code="score.none",
            hint=f"vallum endpoint show {endpoint.name}",
        )  # fmt: skip
    chosen = max(  # what starts, only where nothing runs: it may not come to stand
        running,
        key=lambda one: (
            one.state is DeploymentState.RUNNING, endpoint.traffic.get(one.name, 0), one.share
        ),
    )  # fmt: skip
    if chosen.code_id:
        raise InputError(
            "this deployment runs scoring code, and batches are scored by models",
            code="score.code", hint="name a deployment without code: --deployment NAME",
        )  # fmt: skip
    if chosen.watch is not None:
        raise RefusedError(
            "this deployment is watched for theft, and a batch would pass the watch by",
            code="score.watched",
            hint="name a deployment that is not watched, or have the model's owner score the data",
        )
    if endpoint.information is not None:
        raise RefusedError(
            "this endpoint bounds what its answers tell, and a batch would pass the bound by",
            code="score.information",
            hint="have the model's owner score the data by an endpoint without that bound",
        )
    return chosen


@dataclass(frozen=True, slots=True)
class _Made:
    source: AssetVersion
    deployment: Deployment
    version_id: str
    wrapped: WrappedDataKey
    part: Part
    mark: Mark
    resumed: int
    engine: str
    pieces: Pieces


def _prepare(work: Work, args: wire.EndpointBatch) -> _Made:
    source = work.read(lambda context: _source(context, args))
    deployment = work.read(lambda context: _deployment(context, args))
    model = work.read(lambda context: context.version_by_id(deployment.model_version_id))
    _check(work, args, source)
    part = served_part(model)
    if part is None:
        raise IntegrityError("the deployment names another model", code="model.digest")
    data = b"".join(content_chunks_of(work, model.id, part, on=deployment.endpoint_id))
    if (
        model.digest != deployment.model_digest
        or f"sha256:{hashlib.sha256(data).hexdigest()}" != part.digest
    ):
        raise IntegrityError("the model is not what was registered", code="model.digest")
    noisy = deployment.output is not None and Decimal(deployment.output.noise) > 0
    summary = args.output_action == SUMMARY_ONLY
    engine = work.house.engine
    if summary or (noisy and engine.keyless):  # partitions have no summary, and get no key
        engine = work.house.local
    output = None if deployment.output is None else msgspec.to_builtins(deployment.output)
    progress = _progress(work, args, source, deployment, output)
    pay = payment(work.house, deployment.endpoint_id, work.caller)
    go = Pieces.resume if args.resume else Pieces.begin
    pieces = go(work, progress, pay if _counted(work, deployment) else None)
    resumed = 0 if pieces.mark is None else pieces.mark.rows
    try:
        table = content_reader(work, source.id, source.parts[0], on=source.id)
        batch = Batch(
            model=data,
            kind=source.format,
            features=args.features,
            keep=args.keep,
            mini_batch=args.mini_batch,
            max_failed=args.max_failed,
            decimals=deployment.decimals,
            output=output,
            noise_key=work.house.noise_key(part.digest),
            noisy=noisy,
            summary=summary,
        )
        mark = engine.score(batch, table, pieces.mark, pieces.take)
        if pieces.pay is not None:
            pieces.settle()
        version_id = str(new_id("dver"))
        with pieces.text() as text:
            wrapped, parts = stage(work, version_id, [(f"{args.into}.csv", text)], personal=True)
    except VallumError as error:
        if isinstance(error, LimitExceededError) and error.code == "score.quota":
            pieces.keep()
            raise _spent(error, kept=bool(pieces.progress.turn)) from error
        if isinstance(error, InputError) or error.code.startswith("score."):
            pieces.abandon()  # it would fail again
        else:
            pieces.keep()
        raise
    except BaseException:
        pieces.keep()
        raise
    work.undo.append(pieces.abandon)
    return _Made(
        source, deployment, version_id, wrapped, parts[0], mark, resumed, engine.name, pieces
    )


def _counted(work: Work, deployment: Deployment) -> bool:
    return bool(work.read(lambda context: context.endpoint(deployment.endpoint_id)).quotas)


def _spent(error: LimitExceededError, *, kept: bool) -> LimitExceededError:
    return LimitExceededError(
        error.message,
        code=error.code,
        hint="what was scored is kept: the same command with --resume goes on then" if kept else "",
        retry_after_s=error.retry_after_s,
    )


def _reserve(act: Act, args: wire.EndpointBatch, intent_id: str) -> None:
    """Take nothing, but let no batch begin that its endpoint does not let in."""
    admit(act, act.context.endpoint(args.endpoint))


def _check(work: Work, args: wire.EndpointBatch, source: AssetVersion) -> None:
    if not 1 <= args.mini_batch <= MAX_MINI_BATCH:
        raise InputError(f"a mini-batch has 1 to {MAX_MINI_BATCH} rows", code="score.batch")
    if args.max_failed < 0 or len(args.features) + len(args.keep) > MAX_NAMES:
        raise InputError("that is no number of rows, or too many columns", code="score.batch")
    if args.output_action not in OUTPUT_ACTIONS:
        raise InputError(
            f"`{args.output_action[:40]}` is no output action", code="score.batch",
            hint=f"use {' or '.join(OUTPUT_ACTIONS)}",
        )  # fmt: skip
    if args.output_action == SUMMARY_ONLY and args.keep:
        raise InputError(
            "a summary has no rows to repeat columns beside", code="score.batch",
            hint="leave --keep out",
        )  # fmt: skip
    into = work.read(lambda context: context.find("data", args.into, Asset))
    if into is not None and into.id == source.asset_id:  # said before the work, not after it
        raise ConflictError(
            "what is made from a data asset needs one of its own", code="data.own-source"
        )


def _progress(
    work: Work,
    args: wire.EndpointBatch,
    source: AssetVersion,
    deployment: Deployment,
    output: object,
) -> BatchProgress:
    """Return what the batch is, with nothing scored."""
    settings: dict[str, object] = {
        "decimals": deployment.decimals,
        "features": list(args.features),
        "keep": list(args.keep),
        "output": output,
    }
    if args.output_action != APPEND_ROW:
        settings["output_action"] = args.output_action
    return BatchProgress(
        id=str(new_id("batch")),
        principal_id=work.caller.id,
        endpoint_id=deployment.endpoint_id,
        into=args.into,
        deployment_id=deployment.id,
        model_digest=deployment.model_digest,
        source_id=source.id,
        source_digest=source.digest,
        settings=digest(canonical_json(settings)),
        mark="",
        pieces=(),
        turn=0,
        saved_at="",
    )


def _act(act: Act, args: wire.EndpointBatch, made: _Made) -> wire.BatchScored:
    mark = made.mark
    endpoint = act.context.endpoint(args.endpoint)
    check_network(endpoint, act.caller)  # they may have changed meanwhile
    if endpoint.quotas and made.pieces.pay is None and not act.dry_run:  # so may these
        pay = payment(act.house, endpoint.id, act.caller)
        act.changes += pay(act.tx, act.permit, mark.rows)
    made.pieces.end(act)
    version, on = derive(
        act,
        made.source,
        args.into,
        version_id=made.version_id,
        part=made.part,
        rows=mark.lines if args.output_action == SUMMARY_ONLY else mark.rows,
        columns=mark.columns,
        what=f"scores by {args.endpoint} of",
        label=made.source.label,
        protected=made.source.protected,
    )
    version = msgspec.structs.replace(version, scored_by=made.deployment.model_version_id)
    publish(act, version, made.wrapped, (), on=on)
    act.details["batch"] = {
        "deployment": made.deployment.id,
        "model": made.deployment.model_version_id,
        "output_action": args.output_action,
        "rows": mark.rows,
        "failed": mark.failed,
        "resumed": made.resumed,
        "engine": made.engine,
    }
    return wire.BatchScored(
        name=version.name,
        version=version.version,
        rows=mark.rows,
        failed=mark.failed,
        columns=mark.columns,
        deployment=made.deployment.name,
        model_digest=made.deployment.model_digest,
        resumed=made.resumed,
        output_action=args.output_action,
    )


STEPS = (
    Step("endpoint.batch", wire.EndpointBatch, _asks, _act, length=Length.LONG,
         prepare=_prepare, reserve=_reserve, threat="data-leakage"),
)  # fmt: skip

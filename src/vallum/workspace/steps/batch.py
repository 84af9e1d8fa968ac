"""The step of batch scoring: a whole data version by a deployment, into a data asset."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from vallum.base import (
    ConflictError,
    InputError,
    IntegrityError,
    NotFoundError,
    RefusedError,
    check_name,
    new_id,
)
from vallum.base.bounds import GIB
from vallum.guard.batch import ScoredTable
from vallum.sandbox import Limits, run_check
from vallum.schema import (
    Ask,
    Asset,
    AssetVersion,
    Caller,
    Deployment,
    DeploymentState,
    Part,
    WrappedDataKey,
)
from vallum.schema import release as wire
from vallum.workspace.context import Context, ask
from vallum.workspace.gates.table import ALLOWED, SCORE
from vallum.workspace.step import Act, Length, Step, Work
from vallum.workspace.steps.data import derive
from vallum.workspace.versions import (
    content_chunks,
    content_chunks_of,
    publish,
    served_part,
    stage,
)

MAX_MINI_BATCH = 1_000_000
MAX_NAMES = 10_000
_LIMITS = Limits(
    wall_s=3600.0, cpu_s=36_000, processes=128, memory_bytes=12 * GIB, output_bytes=4 * GIB
)


def _source(context: Context, args: wire.EndpointBatch) -> AssetVersion:
    return context.version("data", args.data, args.version)


def _asks(context: Context, args: wire.EndpointBatch, caller: Caller) -> Sequence[Ask]:
    source = context.version_resource(_source(context, args))
    endpoint = context.endpoint_resource(context.endpoint(args.endpoint))
    into = context.find("data", check_name(args.into, what="data name"), Asset)
    target = (
        ask("data/write", context.workspace())
        if into is None
        else ask("data/versions/write", context.asset_resource(into))
    )
    return (
        *ask("onlineEndpoints/score/action", endpoint),
        *ask("data/versions/content/read", source),
        *target,
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
        if one.state is DeploymentState.RUNNING and args.deployment in {"", one.name}
    ]
    if not running:
        raise NotFoundError(
            "the endpoint has no such deployment that runs", code="score.none",
            hint=f"vallum endpoint show {endpoint.name}",
        )  # fmt: skip
    chosen = max(running, key=lambda one: endpoint.traffic.get(one.name, 0))
    if chosen.watch is not None:
        raise RefusedError(
            "this deployment is watched for theft, and a batch would pass the watch by",
            code="score.watched",
            hint="name a deployment that is not watched, or have the model's owner score the data",
        )
    return chosen


@dataclass(frozen=True, slots=True)
class _Made:
    source: AssetVersion
    deployment: Deployment
    version_id: str
    wrapped: WrappedDataKey
    part: Part
    scored: ScoredTable


def _prepare(work: Work, args: wire.EndpointBatch) -> _Made:
    source = work.read(lambda context: _source(context, args))
    deployment = work.read(lambda context: _deployment(context, args))
    model = work.read(lambda context: context.version_by_id(deployment.model_version_id))
    if not 1 <= args.mini_batch <= MAX_MINI_BATCH:
        raise InputError(f"a mini-batch has 1 to {MAX_MINI_BATCH} rows", code="score.batch")
    if args.max_failed < 0 or len(args.features) + len(args.keep) > MAX_NAMES:
        raise InputError("that is no number of rows, or too many columns", code="score.batch")
    into = work.read(lambda context: context.find("data", args.into, Asset))
    if into is not None and into.id == source.asset_id:  # said before the work, not after it
        raise ConflictError(
            "what is made from a data asset needs one of its own", code="data.own-source"
        )
    part = served_part(model)
    if part is None:
        raise IntegrityError("the deployment names another model", code="model.digest")
    data = b"".join(content_chunks_of(work, model.id, part, on=deployment.endpoint_id))
    if (
        model.digest != deployment.model_digest
        or f"sha256:{hashlib.sha256(data).hexdigest()}" != part.digest
    ):
        raise IntegrityError("the model is not what was registered", code="model.digest")
    table = b"".join(content_chunks(work, source, source.parts[0]))
    scored = run_check(
        work.house.runner,
        SCORE,
        msgspec.msgpack.encode(
            {"model": data, "table": table, "noise_key": work.house.noise_key(part.digest)}
        ),
        report_type=ScoredTable,
        allowed=ALLOWED,
        arguments={
            "kind": source.format,
            "features": args.features,
            "keep": args.keep,
            "mini_batch": args.mini_batch,
            "max_failed": args.max_failed,
            "decimals": deployment.decimals,
            "output": (
                None if deployment.output is None else msgspec.to_builtins(deployment.output)
            ),
        },
        limits=_LIMITS,
    )
    version_id = str(new_id("dver"))
    wrapped, parts = stage(work, version_id, [(f"{args.into}.csv", scored.table)], personal=True)
    return _Made(source, deployment, version_id, wrapped, parts[0], scored)


def _act(act: Act, args: wire.EndpointBatch, made: _Made) -> wire.BatchScored:
    version, on = derive(
        act,
        made.source,
        args.into,
        version_id=made.version_id,
        part=made.part,
        rows=made.scored.rows,
        columns=made.scored.columns,
        what=f"scores by {args.endpoint} of",
        label=made.source.label,
        protected=made.source.protected,
    )
    publish(act, version, made.wrapped, (), on=on)
    act.details["batch"] = {
        "deployment": made.deployment.id,
        "model": made.deployment.model_version_id,
        "rows": made.scored.rows,
        "failed": made.scored.failed,
    }
    return wire.BatchScored(
        name=version.name,
        version=version.version,
        rows=made.scored.rows,
        failed=made.scored.failed,
        columns=made.scored.columns,
        deployment=made.deployment.name,
        model_digest=made.deployment.model_digest,
    )


STEPS = (
    Step("endpoint.batch", wire.EndpointBatch, _asks, _act, length=Length.LONG,
         prepare=_prepare, threat="data-leakage"),
)  # fmt: skip

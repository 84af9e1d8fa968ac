"""What a data version reached: models, scores, endpoints and jobs, by lineage."""

from collections.abc import Sequence

from vallum.base import NotFoundError
from vallum.schema import (
    Ask,
    AssetVersion,
    Caller,
    Endpoint,
    Job,
    JobState,
    api,
)
from vallum.schema import poisoning as wire
from vallum.workspace.context import Context, ask
from vallum.workspace.deployments import LIVE
from vallum.workspace.step import Act, Effect, Step
from vallum.workspace.steps.jobs import job_resource
from vallum.workspace.versions import READ_ACTIONS

_MADE = "made from it"
_SCORED = "scored by a model made from it"
_OPEN = frozenset({JobState.QUEUED, JobState.RUNNING})


def affected_by(context: Context, identity: str) -> dict[str, tuple[AssetVersion, str]]:
    """Return every data and model version that a version is part of, and how, by id.

    Scores are followed, too: a poisoned model spoils what it answers.
    """
    every = [
        one for kind in ("data-version", "model-version") for one in context.all(kind, AssetVersion)
    ]
    made: dict[str, list[AssetVersion]] = {}
    scored: dict[str, list[AssetVersion]] = {}
    for one in every:
        for source in one.lineage:
            made.setdefault(source, []).append(one)
        if one.scored_by:
            scored.setdefault(one.scored_by, []).append(one)
    found: dict[str, tuple[AssetVersion, str]] = {}
    waiting = [identity]
    while waiting:
        source = waiting.pop()
        for below, why in ((made, _MADE), (scored, _SCORED)):
            for one in below.get(source, ()):
                if one.id not in found and one.id != identity:
                    found[one.id] = (one, why)
                    waiting.append(one.id)
    return found


def _asks(context: Context, args: api.Named, caller: Caller) -> Sequence[Ask]:
    version = context.version("data", args.name, args.version)
    return ask(READ_ACTIONS["data"], context.version_resource(version))


def _act(act: Act, args: api.Named) -> wire.DataAffected:
    version = act.context.version("data", args.name, args.version)
    found = affected_by(act.context, version.id)
    told: dict[str, list[wire.AffectedVersion]] = {"data": [], "model": []}
    hidden = 0
    for one, why in found.values():
        if not _may_read(act, one):
            hidden += 1
            continue
        told[one.kind].append(
            wire.AffectedVersion(
                name=one.name, version=one.version, digest=one.digest, why=why,
                job=job_name(act, one),
            )
        )  # fmt: skip
    deployments, more = _deployments(act, found)
    jobs, unseen = _jobs(act, {version.id, *found})
    return wire.DataAffected(
        name=version.name,
        version=version.version,
        models=_sorted(told["model"]),
        data=_sorted(told["data"]),
        deployments=deployments,
        jobs=jobs,
        hidden=hidden + more + unseen,
    )


def _sorted(found: list[wire.AffectedVersion]) -> tuple[wire.AffectedVersion, ...]:
    return tuple(sorted(found, key=lambda one: (one.name, one.version)))


def _may_read(act: Act, version: AssetVersion) -> bool:
    return act.may(READ_ACTIONS[version.kind], act.context.version_resource(version))


def job_name(act: Act, version: AssetVersion) -> str:
    """Return the name of the job that made a version; empty if none did, or it is not shown."""
    if not version.job_id:
        return ""
    try:
        job = act.context.job(version.job_id)
    except NotFoundError:
        return ""
    return job.name if act.may("jobs/read", job_resource(act.context, job)) else ""


def _deployments(
    act: Act, found: dict[str, tuple[AssetVersion, str]]
) -> tuple[tuple[wire.AffectedDeployment, ...], int]:
    told: list[wire.AffectedDeployment] = []
    hidden = 0
    for endpoint in act.context.all("endpoint", Endpoint, parent_id=act.context.workspace_id):
        seen = act.may("onlineEndpoints/read", act.context.endpoint_resource(endpoint))
        for one in act.context.deployments(endpoint):
            if one.state not in LIVE or one.model_version_id not in found:
                continue
            if not seen:
                hidden += 1
                continue
            model, _ = found[one.model_version_id]
            told.append(
                wire.AffectedDeployment(
                    endpoint=endpoint.name,
                    deployment=one.name,
                    model=f"{model.name}:{model.version}" if _may_read(act, model) else "",
                    traffic=endpoint.traffic.get(one.name, 0),
                )
            )
    return tuple(sorted(told, key=lambda one: (one.endpoint, one.deployment))), hidden


def _jobs(act: Act, versions: set[str]) -> tuple[tuple[str, ...], int]:
    running = [
        one
        for one in act.context.all("job", Job)
        if one.state in _OPEN and versions & set(one.inputs.values())
    ]
    seen = [one for one in running if act.may("jobs/read", job_resource(act.context, one))]
    return tuple(sorted(one.name for one in seen)), len(running) - len(seen)


STEPS = (Step("data.affected", api.Named, _asks, _act, Effect.READ),)

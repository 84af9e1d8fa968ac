"""The bill of materials of a model version, of what its reader may know of its lineage."""

from collections.abc import Iterator, Sequence

from vallum.base import NotFoundError
from vallum.base.version import VERSION
from vallum.govern import Inventory, Source, bill_of_materials
from vallum.schema import Ask, Asset, AssetVersion, Caller, Job, api
from vallum.workspace.context import Context, ask
from vallum.workspace.step import Act, Download, Effect, Step
from vallum.workspace.steps.jobs import job_resource
from vallum.workspace.versions import READ_ACTIONS


def _bom_asks(context: Context, args: api.Named, caller: Caller) -> Sequence[Ask]:
    version = context.version("model", args.name, args.version)
    return ask("models/versions/read", context.version_resource(version))


def _act_bom(act: Act, args: api.Named) -> Download:
    version = act.context.version("model", args.name, args.version)
    inventory = inventory_of(act, version)
    return Download(
        file_name=f"{version.name}-{version.version}.cdx.json", chunks=_written(inventory)
    )


def inventory_of(act: Act, version: AssetVersion) -> Inventory:
    """Return what the caller may know of a version, its lineage and what made it."""
    return Inventory(
        workspace_id=act.context.workspace_id,
        version=version,
        evidence=tuple(act.context.evidence(version.digest)),
        sources=_sources(act, version),
        description=act.context.named("model", version.asset_id, Asset).description,
        job=_job(act, version.job_id),
    )


def _written(inventory: Inventory) -> Iterator[bytes]:
    """Write it when it is read: ten thousand files take seconds, which no transaction waits for."""
    yield bill_of_materials(inventory, version=VERSION)


def _sources(act: Act, version: AssetVersion) -> tuple[Source, ...]:
    """Return the lineage, all the way up; what may not be read ends it, and so does an erasure.

    Whether a version was erased or is only not for this reader, nothing tells.
    """
    found: dict[str, Source] = {}
    waiting = list(version.lineage)
    while waiting:
        identity = waiting.pop()
        if identity in found:
            continue
        source = _readable(act, identity)
        if source is None:
            found[identity] = Source(identity)
            continue
        found[identity] = Source(identity, source, tuple(act.context.evidence(source.digest)))
        waiting.extend(source.lineage)
    return tuple(found[identity] for identity in sorted(found))


def _readable(act: Act, identity: str) -> AssetVersion | None:
    try:
        source = act.context.version_by_id(identity)
    except NotFoundError:
        return None
    may = act.may(READ_ACTIONS[source.kind], act.context.version_resource(source))
    return source if may else None


def _job(act: Act, identity: str) -> Job | None:
    if not identity:
        return None
    try:
        job = act.context.job(identity)
    except NotFoundError:
        return None
    return job if act.may("jobs/read", job_resource(act.context, job)) else None


STEPS = (Step("model.bom", api.Named, _bom_asks, _act_bom, Effect.READ),)

"""Steps on data: ingest, list, show, download, protect, delete."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vallum.base import (
    ConflictError,
    GateError,
    InputError,
    check_name,
    new_id,
    timestamp,
)
from vallum.policy import PURPOSE_TAG, purposes
from vallum.schema import (
    Ask,
    Asset,
    AssetVersion,
    Caller,
    Evidence,
    Label,
    Part,
    PrincipalKind,
    Verdict,
    WrappedDataKey,
    api,
)
from vallum.workspace.context import (
    Context,
    ask,
    asks_to_register,
    asks_to_write,
    require_unnumbered,
)
from vallum.workspace.gates.tables import (
    Inspection,
    Protection,
    compare_tables,
    inspect_table,
    protect_table,
)
from vallum.workspace.step import Act, Download, Effect, Length, Step, Work
from vallum.workspace.versions import (
    content_chunks,
    delete_version,
    listing,
    manifest_digest,
    publish,
    shown,
    stage,
)

_LABELS = tuple(Label)
FORMATS = ("csv", "parquet", "jsonl")


def _create_asks(context: Context, args: api.DataCreate, caller: Caller) -> Sequence[Ask]:
    return asks_to_register(context, "data", args.name)


@dataclass(frozen=True, slots=True)
class _Ingested:
    version_id: str
    wrapped: WrappedDataKey
    parts: tuple[Part, ...]
    inspection: Inspection


def _prepare_create(work: Work, args: api.DataCreate) -> _Ingested:
    require_unnumbered(args.name)
    if args.format not in FORMATS:
        raise InputError(
            f"`{args.format[:20]}` is not a table format",
            code="data.format",
            hint=f"use one of {', '.join(FORMATS)}",
        )
    if args.label and args.label not in {label.value for label in _LABELS}:
        raise InputError(
            f"`{args.label[:40]}` is not a label",
            code="data.label",
            hint=f"use one of {', '.join(label.value for label in _LABELS)}",
        )
    check_purposes(args.tags)
    content = work.require_content()
    inspection = inspect_table(work.house, content, args.format)
    version_id = str(new_id("dver"))
    content.seek(0)
    wrapped, parts = stage(
        work,
        version_id,
        [(f"{args.name}.{args.format}", content), *inspection.index()],
        personal=True,
    )
    return _Ingested(version_id, wrapped, parts, inspection)


def check_purposes(tags: Mapping[str, str]) -> None:
    """Refuse a purpose tag that nobody could state.

    Raises:
        InputError: It is empty, or a name in it is none.
    """
    if PURPOSE_TAG in tags:
        for one in purposes(tags) or ("",):
            check_name(one, what="purpose")


def _act_create(act: Act, args: api.DataCreate, made: _Ingested) -> api.VersionShown:
    asset, on = _into(act, args.name, description=args.description, tags=args.tags)
    number = act.context.next_version(asset)
    digest = manifest_digest(made.parts)
    version = AssetVersion(
        id=made.version_id,
        asset_id=asset.id,
        kind="data",
        name=asset.name,
        version=number,
        digest=digest,
        parts=made.parts,
        created_at=timestamp(act.now),
        created_by=act.caller.id,
        format=args.format,
        label=_higher(args.label, made.inspection.label),
        rows=made.inspection.rows,
        columns=made.inspection.columns,
        makers=(act.caller.id,) if act.caller.kind is PrincipalKind.USER else (),
        tags=purposed(args.tags, asset.tags),
    )
    evidence = made.inspection.evidence(subject_id=version.id, subject_digest=digest, now=act.now)
    publish(act, version, made.wrapped, evidence, on=on)
    act.details["columns"] = made.inspection.details()
    return api.VersionShown(version=version, evidence=evidence)


def purposed(given: dict[str, str], inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of a new version: it may be read for no more than its asset or source may.

    Raises:
        InputError: The tags name a purpose that these do not.
    """
    if PURPOSE_TAG not in inherited:
        return given
    wider = set(purposes(given)) - set(purposes(inherited))
    if wider:
        raise InputError(
            f"`{min(wider)}` is none of the purposes of this data: "
            + ", ".join(purposes(inherited)),
            code="data.purpose",
            hint="a purpose cannot be added to data that was collected for others",
        )
    return {PURPOSE_TAG: inherited[PURPOSE_TAG], **given}


def _higher(one: str, other: str) -> str:
    order = [label.value for label in _LABELS]
    return max(one, other, key=lambda text: order.index(text) if text in order else -1)


def _list_asks(context: Context, args: api.Page, caller: Caller) -> Sequence[Ask]:
    return ()  # each row is decided by itself: what may be read is what is listed


def _act_list(act: Act, args: api.Page) -> api.Listing:
    return listing(act, "data", "data/read", args)


def _show_asks(context: Context, args: api.Named, caller: Caller) -> Sequence[Ask]:
    version = context.version("data", args.name, args.version)
    return ask("data/versions/read", context.version_resource(version))


def _act_show(act: Act, args: api.Named) -> api.VersionShown:
    return shown(act, act.context.version("data", args.name, args.version))


def _download_asks(context: Context, args: api.Named, caller: Caller) -> Sequence[Ask]:
    version = context.version("data", args.name, args.version)
    return ask("data/versions/content/read", context.version_resource(version))


def _act_download(act: Act, args: api.Named) -> Download:
    version = act.context.version("data", args.name, args.version)
    return Download(
        file_name=f"{version.name}-{version.version}.{version.format}",
        chunks=content_chunks(act, version, version.parts[0]),
    )


def _protect_asks(context: Context, args: api.DataProtect, caller: Caller) -> Sequence[Ask]:
    version = context.version("data", args.name, args.version)
    resource = context.version_resource(version)
    return (
        *ask("data/versions/protect/action", resource),
        *ask("data/versions/content/read", resource),
        *asks_to_write(context, "data", _target(args, version)),
    )


@dataclass(frozen=True, slots=True)
class _Protected:
    version_id: str
    source: AssetVersion
    wrapped: WrappedDataKey
    part: Part
    protection: Protection


def _prepare_protect(work: Work, args: api.DataProtect) -> _Protected:
    source = work.read(lambda context: context.version("data", args.name, args.version))
    table = b"".join(content_chunks(work, source, source.parts[0]))
    protection = protect_table(work.house, table, source.format, args)
    if protection.verdict is not Verdict.PASS:
        raise GateError(
            f"k = {args.k} was not reached: k is {protection.k} with"
            f" {protection.suppressed} of {protection.total} records suppressed",
            code="gate.anonymity",
            hint="lower --k or raise --max-suppression",
        )
    version_id = str(new_id("dver"))
    wrapped, parts = stage(
        work,
        version_id,
        [(f"{_target(args, source)}.csv", protection.table)],
        personal=True,
    )
    return _Protected(version_id, source, wrapped, parts[0], protection)


def _act_protect(act: Act, args: api.DataProtect, made: _Protected) -> api.VersionShown:
    version, on = derive(
        act,
        made.source,
        check_name(_target(args, made.source), what="data name"),
        version_id=made.version_id,
        part=made.part,
        rows=made.protection.kept,
        columns=made.protection.columns,
        what="protected from",
    )
    evidence = made.protection.evidence(
        subject_id=version.id, subject_digest=version.digest, now=act.now
    )
    publish(act, version, made.wrapped, evidence, on=on)
    return api.VersionShown(version=version, evidence=evidence)


def derive(
    act: Act,
    source: AssetVersion,
    name: str,
    *,
    version_id: str,
    part: Part,
    rows: int,
    columns: tuple[str, ...],
    what: str,
    label: str = Label.CONFIDENTIAL.value,
    protected: bool = True,
) -> tuple[AssetVersion, str]:
    """Return a table made from a version, and what to publish it on.

    Makes the data asset `name` if there is none. The table may be read for no more than its source
    and that asset may.

    Raises:
        ConflictError: `name` is the source itself.
        InputError: The source may be read for what that asset may not.
    """
    asset, on = _into(act, name, description=f"{what} {source.name}:{source.version}")
    if asset.id == source.asset_id:
        raise ConflictError(
            "what is made from a data asset needs one of its own", code="data.own-source"
        )
    version = AssetVersion(
        id=version_id,
        asset_id=asset.id,
        kind="data",
        name=asset.name,
        version=act.context.next_version(asset),
        digest=manifest_digest((part,)),
        parts=(part,),
        created_at=timestamp(act.now),
        created_by=act.caller.id,
        format="csv",
        label=label,
        protected=protected,
        rows=rows,
        columns=columns,
        lineage=(source.id,),
        makers=tuple(sorted({*source.makers, act.caller.id})),
        tags=purposed(purposed({}, source.tags), asset.tags),
    )
    return version, on


def _into(
    act: Act, name: str, *, description: str, tags: dict[str, str] | None = None
) -> tuple[Asset, str]:
    """Return the data asset of that name, made if there is none, and what to publish on."""
    workspace_id = act.context.workspace_id
    asset = act.context.find("data", name, Asset)
    if asset is not None:
        return asset, asset.id
    asset = Asset(
        id=str(new_id("data")),
        kind="data",
        name=name,
        owner_id=act.caller.id,
        created_at=timestamp(act.now),
        description=description,
        tags=tags or {},
    )
    act.put("data", asset, on=workspace_id, parent_id=workspace_id, name=name)
    return asset, workspace_id


def _target(args: api.DataProtect, source: AssetVersion) -> str:
    return args.into or f"{source.name}-protected"


def _drift_asks(context: Context, args: api.DataDrift, caller: Caller) -> Sequence[Ask]:
    current = context.version_resource(context.version("data", args.name, args.version))
    reference = context.version_resource(context.version("data", args.reference))
    return (
        *ask("evidence/write", current),
        *ask("data/versions/content/read", current, reference),
    )


def _prepare_drift(work: Work, args: api.DataDrift) -> Evidence:
    current = work.read(lambda context: context.version("data", args.name, args.version))
    reference = work.read(lambda context: context.version("data", args.reference))
    return compare_tables(
        work.house.runner,
        reference=b"".join(content_chunks(work, reference, reference.parts[0])),
        reference_version=reference,
        current=b"".join(content_chunks(work, current, current.parts[0])),
        current_version=current,
        now=work.now,
    )


def _act_drift(act: Act, args: api.DataDrift, made: Evidence) -> api.VersionShown:
    version = act.context.version("data", args.name, args.version)
    act.leave(made, on=version.id)
    return shown(act, version)


def _delete_asks(context: Context, args: api.Named, caller: Caller) -> Sequence[Ask]:
    if args.version is not None or ":" in args.name:
        version = context.version("data", args.name, args.version)
        return ask("data/versions/delete", context.version_resource(version))
    asset = context.asset("data", args.name)
    return (
        *ask("data/delete", context.asset_resource(asset)),
        *ask(
            "data/versions/delete",
            *(context.version_resource(one) for one in context.versions(asset)),
        ),
    )


def _act_delete(act: Act, args: api.Named) -> api.Done:
    return delete_version(act, "data", args)


STEPS = (
    Step("data.list", api.Page, _list_asks, _act_list, Effect.READ),
    Step(
        "data.create",
        api.DataCreate,
        _create_asks,
        _act_create,
        length=Length.LONG,
        prepare=_prepare_create,
        content=True,
        threat="data-leakage",
    ),
    Step("data.show", api.Named, _show_asks, _act_show, Effect.READ),
    Step("data.download", api.Named, _download_asks, _act_download, Effect.READ),
    Step(
        "data.protect",
        api.DataProtect,
        _protect_asks,
        _act_protect,
        length=Length.LONG,
        prepare=_prepare_protect,
        threat="data-leakage",
    ),
    Step(
        "data.drift",
        api.DataDrift,
        _drift_asks,
        _act_drift,
        length=Length.LONG,
        prepare=_prepare_drift,
        threat="data-drift",
    ),
    Step("data.delete", api.Named, _delete_asks, _act_delete),
)

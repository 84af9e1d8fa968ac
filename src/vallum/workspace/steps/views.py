"""Steps of reading in part: some columns, the masked view, and undoing a view's masking; labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from vallum.base import InputError, NotFoundError, timestamp
from vallum.formats import load_json
from vallum.privacy import LOCAL_OPERATIONS, Recipe, parse_recipe
from vallum.privacy.gate import Extract
from vallum.schema import Ask, AssetVersion, Caller, DataView, Label, Resource, api
from vallum.schema import views as wire
from vallum.workspace.context import Context, ask
from vallum.workspace.gates.tables import extract_table, unmask_rows
from vallum.workspace.step import Act, Download, Effect, Length, Step, Work
from vallum.workspace.steps.data import FORMATS
from vallum.workspace.steps.models import joined_label
from vallum.workspace.versions import content_chunks_of, shown

MAX_RECIPE_CHARS = 32_768
MAX_COLUMNS = 1000  # named one by one
MAX_ROWS_BYTES = 64 * 1024 * 1024  # of what is unmasked at once
_ORDER = [label.value for label in Label]


# -- the view -----------------------------------------------------------------------------------


def _view(context: Context, asset_id: str) -> DataView | None:
    try:
        return context.records.get(context.snapshot, "data-view", asset_id, DataView)
    except NotFoundError:
        return None


def _required_view(context: Context, asset_id: str, name: str) -> DataView:
    view = _view(context, asset_id)
    if view is None:
        raise NotFoundError(
            f"data `{name}` has no masked view",
            code="data.no-view",
            hint=f"its owner makes one: vallum data view {name} --recipe FILE",
        )
    return view


def _view_asks(context: Context, args: api.Named, caller: Caller) -> Sequence[Ask]:
    return ask("data/read", context.asset_resource(context.asset("data", args.name)))


def _act_view(act: Act, args: api.Named) -> wire.DataViewShown:
    asset = act.context.asset("data", args.name)
    view = _view(act.context, asset.id)
    if view is None:
        return wire.DataViewShown(name=asset.name)
    return wire.DataViewShown(name=asset.name, recipe=view.recipe, made_at=view.made_at)


def _set_view_asks(context: Context, args: wire.DataSetView, caller: Caller) -> Sequence[Ask]:
    return ask("data/views/write", context.asset_resource(context.asset("data", args.name)))


def _act_set_view(act: Act, args: wire.DataSetView) -> wire.DataViewShown:
    asset = act.context.asset("data", args.name)
    act.details["recipe"] = args.recipe
    if not args.recipe:
        _required_view(act.context, asset.id, asset.name)
        act.remove("data-view", asset.id, on=asset.id)
        return wire.DataViewShown(name=asset.name)
    if len(args.recipe) > MAX_RECIPE_CHARS:
        raise InputError(f"a recipe has at most {MAX_RECIPE_CHARS} characters", code="mask.recipe")
    recipe = _parsed(args.recipe)
    if not recipe.columns:
        raise InputError(
            "a view shows nothing that its recipe does not name, and this one names no column",
            code="mask.recipe",
            hint="operation: keep shows a column as it is",
        )
    view = DataView(
        id=asset.id, recipe=args.recipe, made_by=act.caller.id, made_at=timestamp(act.now)
    )
    act.put("data-view", view, on=asset.id, parent_id=act.context.workspace_id)
    return wire.DataViewShown(name=asset.name, recipe=view.recipe, made_at=view.made_at)


def _parsed(text: str) -> Recipe:
    """Parse a view's recipe.

    Raises:
        InputError: It is none, or would draw noise anew for every reader.
    """
    recipe = parse_recipe(load_json(text.encode()))
    for one in recipe.columns:
        if one.operation in LOCAL_OPERATIONS:
            raise InputError(
                f"`{one.operation}` of `{one.column}` draws noise anew at every reading:"
                " who reads often enough averages it away",
                code="mask.recipe",
                hint="randomise the table once with `vallum mask`, and register what comes out",
            )
    return recipe


# -- reading in part ----------------------------------------------------------------------------


def column_resource(context: Context, version: AssetVersion, column: str) -> Resource:
    """Return a column of a version as a resource, below the version's and the asset's scopes."""
    whole = context.version_resource(version)
    own = f"{version.id}/columns/{column}"
    chain = (own, f"{version.asset_id}/columns/{column}", *whole.chain)
    return msgspec.structs.replace(whole, id=own, chain=chain, digest="")


def _read_asks(context: Context, args: wire.DataRead, caller: Caller) -> Sequence[Ask]:
    version = context.version("data", args.name, args.version)
    action = "data/versions/masked/read" if args.masked else "data/versions/content/read"
    if len(args.columns) > MAX_COLUMNS or len(set(args.columns)) != len(args.columns):
        raise InputError(f"name each column once, and at most {MAX_COLUMNS}", code="privacy.column")
    if not args.columns:
        return ask(action, context.version_resource(version))
    return ask(action, *(column_resource(context, version, name) for name in args.columns))


@dataclass(frozen=True, slots=True)
class _Read:
    version: AssetVersion
    made: Extract


def _prepare_read(work: Work, args: wire.DataRead) -> _Read:
    version = work.read(lambda context: context.version("data", args.name, args.version))
    recipe = ""
    if args.masked:
        recipe = work.read(
            lambda context: _required_view(context, version.asset_id, version.name)
        ).recipe
        _parsed(recipe)
    elif not args.columns:
        raise InputError(
            "name columns, or ask for the masked view",
            code="privacy.column",
            hint=f"the whole table: vallum data download {version.name}",
        )
    table = b"".join(content_chunks_of(work, version.id, version.parts[0], on=work.on))
    made = extract_table(
        work.house, table, version.format,
        columns=args.columns, recipe=recipe, asset_id=version.asset_id,
    )  # fmt: skip
    return _Read(version, made)


def _act_read(act: Act, args: wire.DataRead, read: _Read) -> Download:
    act.details["read"] = {"columns": list(read.made.columns), "masked": args.masked}
    version = read.version
    part = "masked" if args.masked else "columns"
    return Download(
        file_name=f"{version.name}-{version.version}-{part}.csv", chunks=iter([read.made.table])
    )


# -- undoing it ---------------------------------------------------------------------------------


def _unmask_asks(context: Context, args: wire.DataUnmask, caller: Caller) -> Sequence[Ask]:
    version = context.version("data", args.name)  # for its label and purposes
    return ask("data/versions/reidentify/action", context.version_resource(version))


def _prepare_unmask(work: Work, args: wire.DataUnmask) -> Extract:
    if args.format not in FORMATS:
        raise InputError(f"`{args.format[:20]}` is not a table format", code="data.format")
    version = work.read(lambda context: context.version("data", args.name))
    view = work.read(lambda context: _required_view(context, version.asset_id, version.name))
    rows = work.require_content().read(MAX_ROWS_BYTES + 1)
    if len(rows) > MAX_ROWS_BYTES:
        raise InputError(f"the rows exceed {MAX_ROWS_BYTES} bytes", code="data.rows")
    return unmask_rows(work.house, rows, args.format, recipe=view.recipe, asset_id=version.asset_id)


def _act_unmask(act: Act, args: wire.DataUnmask, made: Extract) -> Download:
    act.details["unmasked"] = {"rows": made.rows, "columns": list(made.columns)}
    return Download(file_name="unmasked.csv", chunks=iter([made.table]))


# -- labels -------------------------------------------------------------------------------------


def _lowers(version: AssetVersion, label: str) -> bool:
    # Unclassified counts as the highest.
    held = _ORDER.index(version.label) if version.label in _ORDER else len(_ORDER)
    return label in _ORDER and _ORDER.index(label) < held


def _relabel_asks(context: Context, args: wire.DataRelabel, caller: Caller) -> Sequence[Ask]:
    version = context.version("data", args.name, args.version)
    resource = context.version_resource(version)
    asks = ask("data/versions/classify/action", resource)
    if _lowers(version, args.label):
        return (*asks, *ask("data/versions/declassify/action", resource))
    below = [context.version_resource(one) for one in _inheriting(context, version, args.label)]
    return (*asks, *ask("data/versions/classify/action", *below))


def _inheriting(context: Context, version: AssetVersion, label: str) -> list[AssetVersion]:
    """Return what was made from a version without a protecting step, and is labelled lower."""
    every = [
        one for kind in ("data-version", "model-version") for one in context.all(kind, AssetVersion)
    ]
    found: dict[str, AssetVersion] = {}
    waiting = [version.id]
    while waiting:
        source = waiting.pop()
        for one in every:
            if source in one.lineage and not one.protected and one.id not in found:
                waiting.append(one.id)
                found[one.id] = one
    return [one for one in found.values() if joined_label(one.label, [label]) != one.label]


def _act_relabel(act: Act, args: wire.DataRelabel) -> api.VersionShown:
    if args.label not in _ORDER:
        raise InputError(
            f"`{args.label[:40]}` is not a label",
            code="data.label",
            hint=f"use one of {', '.join(_ORDER)}",
        )
    version = act.context.version("data", args.name, args.version)
    lowered = _lowers(version, args.label)
    if lowered and not args.reason.strip():
        raise InputError(
            "lowering a label needs a reason", code="data.reason", hint="--reason 'why it may'"
        )
    changed = [msgspec.structs.replace(version, label=args.label)]
    if not lowered:
        changed += [
            msgspec.structs.replace(one, label=joined_label(one.label, [args.label]))
            for one in _inheriting(act.context, version, args.label)
        ]
    for one in changed:
        act.put(
            f"{one.kind}-version", one, on=one.id, parent_id=one.asset_id, name=str(one.version)
        )
    act.details["label"] = {"from": version.label, "to": args.label, "reason": args.reason}
    return shown(act, changed[0])


STEPS = (
    Step("data.view", api.Named, _view_asks, _act_view, Effect.READ),
    Step("data.set-view", wire.DataSetView, _set_view_asks, _act_set_view, threat="data-leakage"),
    Step("data.read", wire.DataRead, _read_asks, _act_read, Effect.READ, length=Length.LONG,
         prepare=_prepare_read, threat="data-leakage"),
    Step("data.unmask", wire.DataUnmask, _unmask_asks, _act_unmask, Effect.READ,
         length=Length.LONG, prepare=_prepare_unmask, content=True, threat="re-identification"),
    Step("data.relabel", wire.DataRelabel, _relabel_asks, _act_relabel, threat="data-leakage"),
)  # fmt: skip

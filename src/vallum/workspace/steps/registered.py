"""Steps of MLflow's registry over our own: models, versions, aliases, tags, searches.

Registering takes a snapshot of what was logged, scans exactly those bytes and freezes them: the
version has files of its own, which nobody can write again. A source that its caller may not read
is as one that does not exist.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from vallum.base import (
    ConflictError,
    InputError,
    NotFoundError,
    RefusedError,
    check_name,
    new_id,
    timestamp,
)
from vallum.schema import (
    Artifact,
    Ask,
    Asset,
    AssetVersion,
    Caller,
    RegisteredFrom,
    api,
    mlflow,
    mlflow_models,
)
from vallum.workspace import model_names
from vallum.workspace.context import Context, ask, asks_to_write
from vallum.workspace.gates.conversion import Conversion
from vallum.workspace.registration import Conversions, Registered, register_files
from vallum.workspace.step import Act, Asks, Effect, Length, Step, Work
from vallum.workspace.steps import aliases
from vallum.workspace.steps.artifacts import read_file
from vallum.workspace.steps.model_texts import (
    ascii_tags,
    change_version,
    given_description,
    given_tags,
    replace_model,
)
from vallum.workspace.steps.models import card_of_version, publish_model
from vallum.workspace.tracking import checks, places, prompts, shown
from vallum.workspace.tracking.bundles import milliseconds
from vallum.workspace.tracking.places import Place, place_of
from vallum.workspace.tracking.registry import (
    STAGES,
    beside,
    readable,
    registered_shown,
    version_shown,
)
from vallum.workspace.versions import content_chunks, delete_version

CONVERT = "vallum.convert"
"""Tag of a version to be: `onnx` converts any flavour, `no` refuses what would have to be."""
WANTED = ("onnx", "no")
_DIGITS = 9


class _OfModel(Protocol):
    @property
    def name(self) -> str: ...


class _OfVersion(_OfModel, Protocol):
    @property
    def version(self) -> str: ...


def number_of(text: str) -> int:
    """Return the number of a version.

    Raises:
        InputError: It is none.
    """
    if not text.isdecimal() or len(text) > _DIGITS:
        raise InputError(f"{text[:20]!a} is not a version", code="version.form")
    return int(text)


def _version(context: Context, args: _OfVersion) -> AssetVersion:
    return context.version(
        "model", check_name(args.name, what="model name"), number_of(args.version)
    )


def _own(action: str) -> Asks:
    def asks(context: Context, args: _OfModel, caller: Caller) -> Sequence[Ask]:
        return ask(action, context.asset_resource(context.asset("model", args.name)))

    return asks


def _own_version(action: str) -> Asks:
    def asks(context: Context, args: _OfVersion, caller: Caller) -> Sequence[Ask]:
        return ask(action, context.version_resource(_version(context, args)))

    return asks


# -- registered models --------------------------------------------------------------------------


def _create_asks(
    context: Context, args: mlflow_models.RegisteredCreate, caller: Caller
) -> Sequence[Ask]:
    return ask("models/write", context.workspace())


def _act_create(act: Act, args: mlflow_models.RegisteredCreate) -> mlflow_models.RegisteredReply:
    name = check_name(args.name, what="model name")
    model_names.require_free(act.context, name)
    made = Asset(
        id=str(new_id("model")),
        kind="model",
        name=name,
        owner_id=act.caller.id,
        created_at=timestamp(act.now),
        description=given_description(args.description),
        tags=ascii_tags(given_tags(args.tags)),
    )
    workspace_id = act.context.workspace_id
    act.put("model", made, on=workspace_id, parent_id=workspace_id, name=made.name)
    return mlflow_models.RegisteredReply(registered_model=registered_shown(act, made))


def _act_get(act: Act, args: mlflow_models.RegisteredNamed) -> mlflow_models.RegisteredReply:
    asset = act.context.asset("model", args.name)
    return mlflow_models.RegisteredReply(registered_model=registered_shown(act, asset))


def _act_update(act: Act, args: mlflow_models.RegisteredUpdate) -> mlflow_models.RegisteredReply:
    asset = act.context.asset("model", args.name)
    made = replace_model(act, asset, description=given_description(args.description))
    return mlflow_models.RegisteredReply(registered_model=registered_shown(act, made))


def _act_rename(act: Act, args: mlflow_models.RegisteredRename) -> mlflow_models.RegisteredReply:
    asset = act.context.asset("model", args.name)
    made = model_names.rename(act, asset, args.new_name)
    return mlflow_models.RegisteredReply(registered_model=registered_shown(act, made))


def _act_set_tag(act: Act, args: mlflow_models.RegisteredSetTag) -> mlflow.Nothing:
    prompts.require_changeable(args.key)
    asset = act.context.asset("model", args.name)
    given = ascii_tags(given_tags([mlflow.Pair(key=args.key, value=args.value)]))
    tags = {**asset.tags, **given}
    checks.room(len(tags), checks.MAX_RUN_PAIRS, what="tags")
    replace_model(act, asset, tags=tags)
    return mlflow.Nothing()


def _act_delete_tag(act: Act, args: mlflow_models.RegisteredDeleteTag) -> mlflow.Nothing:
    prompts.require_changeable(args.key)
    asset = act.context.asset("model", args.name)
    if args.key not in asset.tags:
        raise NotFoundError(f"model `{asset.name}` has no tag {args.key[:60]!a}")
    replace_model(act, asset, tags={k: v for k, v in asset.tags.items() if k != args.key})
    return mlflow.Nothing()


def _delete_asks(
    context: Context, args: mlflow_models.RegisteredNamed, caller: Caller
) -> Sequence[Ask]:
    asset = context.asset("model", args.name)
    every = (context.version_resource(one) for one in context.versions(asset))
    return (
        *ask("models/delete", context.asset_resource(asset)),
        *ask("models/versions/delete", *every),
    )


def _act_delete(act: Act, args: mlflow_models.RegisteredNamed) -> mlflow.Nothing:
    asset = act.context.asset("model", args.name)
    if act.context.versions(asset):
        delete_version(act, "model", api.Named(name=asset.id))
    else:
        model_names.keep_name(act, asset, on=asset.id, renamed=False)
        act.remove("model", asset.id, on=asset.id)
    return mlflow.Nothing()


def _act_latest(act: Act, args: mlflow_models.LatestVersions) -> mlflow_models.VersionsFound:
    asset = act.context.asset("model", args.name)
    wanted = {one.lower() for one in args.stages}
    latest = {beside(act, one).stage: one for one in readable(act, asset)}  # the newest is last
    return mlflow_models.VersionsFound(
        model_versions=tuple(
            version_shown(act, one)
            for stage, one in sorted(latest.items())
            if not wanted or stage.lower() in wanted
        )
    )


# -- versions -----------------------------------------------------------------------------------


def _source(context: Context, args: mlflow_models.VersionCreate) -> Place:
    """Return what a source names.

    Raises:
        NotFoundError: Nothing that this server has.
    """
    scheme, _, rest = args.source.partition(":/")
    rest = rest.strip("/")
    if scheme == "models" and "/" in rest:  # `copy_model_version`
        name, _, number = rest.rpartition("/")
        version = context.version("model", check_name(name, what="model name"), number_of(number))
        return Place(version.id, "", version=version)
    if scheme == "models":
        location = places.model_location(context.logged_model(rest))
        return place_of(context, location.removeprefix(places.SCHEME))
    if scheme == "runs":
        identity, _, path = rest.partition("/")
        location = shown.run_location(context.run(identity))
        return place_of(context, f"{location}/{path}".removeprefix(places.SCHEME))
    if scheme == "mlflow-artifacts":
        return place_of(context, rest)
    raise NotFoundError("the source is nothing that this server has")


def _register_asks(
    context: Context, args: mlflow_models.VersionCreate, caller: Caller
) -> Sequence[Ask]:
    asks = list(asks_to_write(context, "model", args.name))
    if prompts.is_prompt(args):
        return tuple(asks)
    # A registration that claims what its caller cannot read would forge lineage.
    asks += _source(context, args).asks(context, "read")
    named = []
    if args.run_id:
        named.append(context.run(args.run_id).experiment_id)
    if args.model_id:
        named.append(context.logged_model(args.model_id).experiment_id)
    for identity in named:
        resource = context.experiment_resource(context.experiment(identity))
        asks += ask("experiments/runs/read", resource)
    return tuple({(one.action, one.resource.id): one for one in asks}.values())


@dataclass(frozen=True, slots=True)
class _Snapshot:
    made: Registered
    artifacts: tuple[str, ...]  # ids: a file that was replaced has another


def _taken(context: Context, args: mlflow_models.VersionCreate) -> tuple[Place, list[Artifact]]:
    prompts.require_kind(context, args)
    if prompts.is_prompt(args):
        return Place("", ""), []
    place = _source(context, args)
    if place.version is not None:
        if place.path:
            raise InputError("a version is copied whole", code="mlflow.path")
        asset = context.find("model", args.name, Asset)
        if asset is not None and asset.id == place.version.asset_id:
            raise ConflictError(
                "the source is a version of this model already",
                code="mlflow.registered",
                hint="point an alias at that version",
            )
        return place, []
    found = places.artifacts(context, place)
    if not found:
        raise NotFoundError("there are no files at the source")
    return place, found


def _prepare_register(work: Work, args: mlflow_models.VersionCreate) -> _Snapshot:
    place, found = work.read(lambda context: _taken(context, args))
    if prompts.is_prompt(args):
        return _Snapshot(register_files(work, [prompts.file_of(args)], single=True), ())
    if place.version is not None:
        version = place.version
        copied = [
            (part.part, b"".join(content_chunks(work, version, part))) for part in version.parts
        ]
        single = version.format != "folder"
        card = work.read(lambda context: card_of_version(context, version))
        made = register_files(work, copied, single=single, card=card)
        return _Snapshot(made, (version.id,))
    below = f"{place.path}/" if place.path else ""
    files = [(one.path.removeprefix(below), read_file(work, one)) for one in found]
    wanted = given_tags(args.tags).get(CONVERT, "")
    if wanted not in {"", *WANTED}:
        raise InputError(
            f"tag `{CONVERT}` is {wanted[:40]!a}; it is `onnx` or `no`", code="mlflow.value"
        )
    made = register_files(
        work, files, single=False,
        conversions=Conversions(always=wanted == "onnx", never=wanted == "no"),
    )  # fmt: skip
    return _Snapshot(made, tuple(one.id for one in found))


def _act_register(
    act: Act, args: mlflow_models.VersionCreate, snapshot: _Snapshot
) -> mlflow_models.VersionReply:
    place, found = _taken(act.context, args)
    holder = place.holder_id
    copied = place.version
    taken = [one.id for one in found] if copied is None else [copied.id]
    if tuple(taken) != snapshot.artifacts:
        raise ConflictError(
            "the files changed while they were scanned", code="mlflow.changed", hint="try again"
        )
    others, template = prompts.split(args.tags)
    tags = {**given_tags(others), **template, **_converted(snapshot.made.conversion)}
    version = publish_model(
        act, name=args.name, made=snapshot.made, label="" if copied is None else copied.label,
        # Not through what it was copied from alone: that may be deleted, and the data erased.
        lineage=() if copied is None else (copied.id, *_still_here(act, copied.lineage)),
        description=given_description(args.description),
    )  # fmt: skip
    kept = RegisteredFrom(
        id=version.id,
        source=args.source,
        run_id=args.run_id,
        model_id=args.model_id or (holder if holder.startswith("lm-") else ""),
        run_link=checks.value(args.run_link, what="run link", limit=checks.MAX_EXPERIMENT_NAME),
        description=args.description,
        updated_ms=milliseconds(act),
        tags=tuple(sorted(tags.items())),
    )
    act.put("registered-from", kept, on=act.first_resource, parent_id=version.asset_id)
    return mlflow_models.VersionReply(model_version=version_shown(act, version, kept))


def _still_here(act: Act, lineage: Sequence[str]) -> tuple[str, ...]:
    return tuple(one for one in lineage if act.context.resource_of(one) is not None)


def _converted(conversion: Conversion | None) -> dict[str, str]:
    """Return the tags that say that a version is not what was logged, but that as ONNX."""
    if conversion is None:
        return {}
    return {
        "vallum.converted_from": f"{conversion.path} {conversion.original_digest}",
        "vallum.format": "onnx",
    }


def _act_show(act: Act, args: mlflow_models.VersionNamed) -> mlflow_models.VersionReply:
    return mlflow_models.VersionReply(model_version=version_shown(act, _version(act.context, args)))


def _act_describe(act: Act, args: mlflow_models.VersionUpdate) -> mlflow_models.VersionReply:
    version = _version(act.context, args)
    made = change_version(act, version, description=given_description(args.description))
    return mlflow_models.VersionReply(model_version=version_shown(act, version, made))


def _act_tag(act: Act, args: mlflow_models.VersionSetTag) -> mlflow.Nothing:
    prompts.require_changeable(args.key)
    version = _version(act.context, args)
    given = given_tags([mlflow.Pair(key=args.key, value=args.value)])
    tags = {**dict(beside(act, version).tags), **given}
    checks.room(len(tags), checks.MAX_RUN_PAIRS, what="tags")
    change_version(act, version, tags=tuple(sorted(tags.items())))
    return mlflow.Nothing()


def _act_untag(act: Act, args: mlflow_models.VersionDeleteTag) -> mlflow.Nothing:
    prompts.require_changeable(args.key)
    version = _version(act.context, args)
    tags = dict(beside(act, version).tags)
    if tags.pop(args.key, None) is None:
        raise NotFoundError(f"the version has no tag {args.key[:60]!a}")
    change_version(act, version, tags=tuple(sorted(tags.items())))
    return mlflow.Nothing()


def _act_remove(act: Act, args: mlflow_models.VersionNamed) -> mlflow.Nothing:
    version = _version(act.context, args)
    delete_version(act, "model", api.Named(name=version.asset_id, version=version.version))
    return mlflow.Nothing()


def _act_uri(act: Act, args: mlflow_models.VersionNamed) -> mlflow_models.DownloadUri:
    version = _version(act.context, args)
    return mlflow_models.DownloadUri(artifact_uri=places.version_location(version))


# -- stages -------------------------------------------------------------------------------------


def _act_stage(act: Act, args: mlflow_models.VersionStage) -> mlflow_models.VersionReply:
    """Move a version to a stage: asks for what an alias asks, as others load models by it."""
    stage = {one.lower(): one for one in STAGES}.get(args.stage.lower())
    if stage is None:
        raise InputError(
            f"{args.stage[:40]!a} is not one of {', '.join(STAGES)}", code="mlflow.stage"
        )
    version = _version(act.context, args)
    if args.archive_existing_versions:
        for one in readable(act, act.context.asset("model", version.asset_id)):
            if one.id != version.id and beside(act, one).stage == stage:
                if not act.may(aliases.ACTION, act.context.version_resource(one)):
                    raise RefusedError(
                        f"version {one.version} holds that stage, and you may not move it",
                        code="mlflow.stage",
                    )
                change_version(act, one, on=version.id, stage="Archived")
    made = change_version(act, version, stage=stage)
    return mlflow_models.VersionReply(model_version=version_shown(act, version, made))


# -- aliases: what our own steps ask and do -----------------------------------------------------


STEPS = (
    Step("registered-model.create", mlflow_models.RegisteredCreate, _create_asks, _act_create),
    Step("registered-model.get", mlflow_models.RegisteredNamed, _own("models/read"), _act_get,
         Effect.READ),
    Step("registered-model.update", mlflow_models.RegisteredUpdate, _own("models/write"),
         _act_update),
    Step("registered-model.rename", mlflow_models.RegisteredRename, _own("models/write"),
         _act_rename),
    Step("registered-model.delete", mlflow_models.RegisteredNamed, _delete_asks, _act_delete),
    Step("registered-model.set-tag", mlflow_models.RegisteredSetTag, _own("models/write"),
         _act_set_tag),
    Step("registered-model.delete-tag", mlflow_models.RegisteredDeleteTag,
         _own("models/write"), _act_delete_tag),
    Step("registered-model.latest", mlflow_models.LatestVersions, _own("models/read"),
         _act_latest, Effect.READ),
    # Their verbs are what the policy file asks evidence for: `register`, `alias`.
    Step("registered-model.register", mlflow_models.VersionCreate, _register_asks,
         _act_register, length=Length.LONG, prepare=_prepare_register,
         threat="model-tampering"),
    Step("model-version.alias", mlflow_models.VersionStage, _own_version(aliases.ACTION),
         _act_stage, threat="model-tampering"),
    Step("model-version.get", mlflow_models.VersionNamed, _own_version("models/versions/read"),
         _act_show, Effect.READ),
    Step("model-version.update", mlflow_models.VersionUpdate,
         _own_version("models/versions/write"), _act_describe),
    Step("model-version.set-tag", mlflow_models.VersionSetTag,
         _own_version("models/versions/write"), _act_tag),
    Step("model-version.delete-tag", mlflow_models.VersionDeleteTag,
         _own_version("models/versions/write"), _act_untag),
    Step("model-version.delete", mlflow_models.VersionNamed,
         _own_version("models/versions/delete"), _act_remove),
    Step("model-version.download-uri", mlflow_models.VersionNamed,
         _own_version("models/versions/read"), _act_uri, Effect.READ),
)  # fmt: skip

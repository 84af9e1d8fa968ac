"""What people write beside models and their versions: descriptions and tags, which may change.

They are no part of what a version is: its files, its digest and the tags that it was registered
with stay. MLflow's routes change the same texts.
"""

from collections.abc import Sequence

import msgspec

from vallum.base import InputError, NotFoundError
from vallum.schema import (
    Ask,
    Asset,
    AssetVersion,
    Caller,
    RegisteredFrom,
    Texts,
    mlflow,
    release,
)
from vallum.workspace.context import Context, ask
from vallum.workspace.gates.texts import require_clean
from vallum.workspace.step import Act, Step
from vallum.workspace.tracking import checks, prompts
from vallum.workspace.tracking.bundles import milliseconds
from vallum.workspace.tracking.registry import beside

MAX_DESCRIPTION = 5000
MAX_TAG = 5000


def given_tags(given: Sequence[mlflow.Pair]) -> dict[str, str]:
    """Return tags that may be kept.

    Raises:
        InputError: One is no good.
        LimitExceededError: Too many.
        GateError: One holds a secret.
    """
    tags = checks.pairs(given, what="tag", limit=MAX_TAG)
    require_clean(tags=tags)
    return tags


def given_description(text: str) -> str:
    """Return a description that may be kept.

    Raises:
        InputError: It is too long.
        GateError: It holds a secret.
    """
    checks.value(text, what="description", limit=MAX_DESCRIPTION)
    require_clean(description=text)
    return text


def ascii_tags(tags: dict[str, str]) -> dict[str, str]:
    """Return the tags of an asset, whose names conditions of roles read: ASCII alone.

    Raises:
        InputError: A name is not.
    """
    for key in tags:
        if not key.isascii():
            raise InputError(f"tag {key[:60]!a} of a model is not ASCII", code="mlflow.value")
    return tags


def replace_model(act: Act, asset: Asset, **changed: object) -> Asset:
    """Store a model with other fields."""
    made = msgspec.structs.replace(asset, **changed)
    act.put("model", made, on=asset.id, parent_id=act.context.workspace_id, name=made.name)
    return made


def change_version(
    act: Act, version: AssetVersion, *, on: str = "", **changed: object
) -> RegisteredFrom:
    """Store other fields beside a version, under the permit for `on` or the version."""
    made = msgspec.structs.replace(beside(act, version), updated_ms=milliseconds(act), **changed)
    act.put("registered-from", made, on=on or version.id, parent_id=version.asset_id)
    return made


def _asks(context: Context, args: release.ModelUpdate, caller: Caller) -> Sequence[Ask]:
    if _is_version(args):
        version = context.version("model", args.name, args.version)
        return ask("models/versions/write", context.version_resource(version))
    return ask("models/write", context.asset_resource(context.asset("model", args.name)))


def _is_version(args: release.ModelUpdate) -> bool:
    return args.version is not None or ":" in args.name or "@" in args.name


def _act(act: Act, args: release.ModelUpdate) -> release.ModelTexts:
    if args.description is None and not args.tags and not args.remove_tags:
        raise InputError(
            "nothing is to be changed", code="model.update",
            hint="--description TEXT, --tag KEY=VALUE or --remove-tag KEY",
        )  # fmt: skip
    if _is_version(args):
        version = act.context.version("model", args.name, args.version)
        held = beside(act, version)
        description, tags = _changed(args, held.description, dict(held.tags))
        change_version(act, version, description=description, tags=tuple(sorted(tags.items())))
        return release.ModelTexts(version.name, version.version, Texts(description, tags))
    asset = act.context.asset("model", args.name)
    description, tags = _changed(args, asset.description, dict(asset.tags))
    ascii_tags(args.tags)
    replace_model(act, asset, description=description, tags=tags)
    return release.ModelTexts(asset.name, None, Texts(description, tags))


def _changed(
    args: release.ModelUpdate, description: str, tags: dict[str, str]
) -> tuple[str, dict[str, str]]:
    for key in (*args.remove_tags, *args.tags):
        prompts.require_changeable(key)
    for key in args.remove_tags:
        if key in args.tags:
            raise InputError(f"tag {key[:60]!a} is to be set and removed", code="model.update")
        if tags.pop(key, None) is None:
            raise NotFoundError(f"there is no tag {key[:60]!a}", code="model.tag")
    tags |= given_tags([mlflow.Pair(key=key, value=value) for key, value in args.tags.items()])
    checks.room(len(tags), checks.MAX_RUN_PAIRS, what="tags")
    if args.description is not None:
        description = given_description(args.description)
    return description, dict(sorted(tags.items()))


STEPS = (Step("model.update", release.ModelUpdate, _asks, _act),)

"""Names of models: unique, and never given to another model while somebody may mean the first.

A name that a model had before a rename stays its own as long as the model is there. The name of a
deleted model may be given again, but the numbers go on: `NAME:NUMBER` names one version for ever.
"""

import msgspec

from vallum.base import ConflictError, NotFoundError, check_name, new_id
from vallum.schema import Asset, FormerModel
from vallum.workspace.context import Context
from vallum.workspace.step import Act


def require_free(context: Context, name: str) -> None:
    """Refuse a name for a new model that another one has, or had before it was renamed.

    Raises:
        ConflictError: It has, or had.
    """
    if context.find("model", name, Asset) is not None:
        raise ConflictError(f"there is a model called `{name}` already", code="mlflow.exists")
    former = context.former(name)
    if former is not None and former.model_id and _lives(context, former.model_id):
        raise ConflictError(
            f"a model was called `{name}` before it was renamed",
            code="model.former-name",
            hint="take another name: what still says this one means that model",
        )


def _lives(context: Context, model_id: str) -> bool:
    try:
        context.records.get(context.snapshot, "model", model_id, Asset)
    except NotFoundError:
        return False
    return True


def keep_name(act: Act, asset: Asset, *, on: str, renamed: bool) -> None:
    """Note the name that a model is about to lose, with the highest number given under it."""
    former = act.context.former(asset.name)
    last = act.context.next_version(asset) - 1
    if former is None and not last and not renamed:
        return  # nothing was ever called so
    made = FormerModel(
        id=str(new_id("fmod")) if former is None else former.id,
        name=asset.name,
        last=last,
        model_id=asset.id if renamed else "",
    )
    act.put("former-model", made, on=on, parent_id=act.context.workspace_id, name=made.name)


def rename(act: Act, asset: Asset, name: str) -> Asset:
    """Rename a model and, for who reads them, its versions; returns it.

    Raises:
        ConflictError: Another model has the name, or had it.
    """
    check_name(name, what="model name")
    if name == asset.name:
        return asset
    former = act.context.former(name)
    if former is None or former.model_id != asset.id:
        require_free(act.context, name)
        if former is not None and former.last:
            raise ConflictError(
                f"versions of a model called `{name}` were deleted",
                code="model.former-name",
                hint="take another name: `NAME:NUMBER` would come to mean another version",
            )
    workspace_id = act.context.workspace_id
    keep_name(act, asset, on=asset.id, renamed=True)
    versions = act.context.versions(asset)
    made = msgspec.structs.replace(asset, name=name)
    act.put("model", made, on=asset.id, parent_id=workspace_id, name=name)
    for one in versions:
        told = msgspec.structs.replace(one, name=name)  # a copy of the name: not what was signed
        act.put("model-version", told, on=asset.id, parent_id=asset.id, name=str(one.version))
    return made

"""Models and versions of our registry as MLflow shows them."""

from vallum.base import NotFoundError, parse_timestamp
from vallum.schema import Alias, Asset, AssetVersion, RegisteredFrom, mlflow, mlflow_models
from vallum.workspace.step import Look
from vallum.workspace.tracking import places

STAGES = ("None", "Staging", "Production", "Archived")
"""MLflow's stages, which it deprecates for aliases; a version has one."""


def _ms(text: str) -> int:
    return int(parse_timestamp(text).timestamp() * 1000)


def beside(look: Look, version: AssetVersion) -> RegisteredFrom:
    """Return what MLflow keeps beside a version, also of one that was registered otherwise."""
    try:
        return look.context.records.get(
            look.context.snapshot, "registered-from", version.id, RegisteredFrom
        )
    except NotFoundError:
        return RegisteredFrom(id=version.id, source=places.version_location(version))


def version_shown(
    look: Look, version: AssetVersion, held: RegisteredFrom | None = None
) -> mlflow_models.VersionShown:
    """Return a version as MLflow shows it."""
    told = beside(look, version) if held is None else held
    aliases = look.context.all("alias", Alias, parent_id=version.asset_id)
    try:
        user = look.context.principal(version.created_by).name
    except NotFoundError:
        user = version.created_by
    return mlflow_models.VersionShown(
        name=look.context.asset("model", version.asset_id).name,
        version=str(version.version),
        creation_timestamp=_ms(version.created_at),
        last_updated_timestamp=told.updated_ms or _ms(version.created_at),
        user_id=user,
        current_stage=told.stage,
        source=told.source,
        status="READY",
        description=told.description,
        run_id=told.run_id,
        run_link=told.run_link,
        model_id=told.model_id,
        tags=tuple(mlflow.Pair(key=key, value=value) for key, value in told.tags),
        aliases=tuple(sorted(one.name for one in aliases if one.version_id == version.id)),
    )


def readable(look: Look, asset: Asset) -> list[AssetVersion]:
    """Return the versions of a model that the caller may read, in order."""
    found = [
        one
        for one in look.context.versions(asset)
        if look.may("models/versions/read", look.context.version_resource(one))
    ]
    return sorted(found, key=lambda one: one.version)


def registered_shown(look: Look, asset: Asset) -> mlflow_models.RegisteredShown:
    """Return a model as MLflow shows it, with its newest version and its aliases."""
    versions = readable(look, asset)
    numbers = {one.id: one.version for one in versions}
    latest = (version_shown(look, versions[-1]),) if versions else ()
    created = _ms(asset.created_at)
    return mlflow_models.RegisteredShown(
        name=asset.name,
        creation_timestamp=created,
        last_updated_timestamp=max([created, *(_ms(one.created_at) for one in versions[-1:])]),
        description=asset.description,
        latest_versions=latest,
        tags=tuple(mlflow.Pair(key=k, value=v) for k, v in sorted(asset.tags.items())),
        aliases=tuple(
            mlflow_models.AliasOf(alias=one.name, version=str(numbers[one.version_id]))
            for one in look.context.all("alias", Alias, parent_id=asset.id)
            if one.version_id in numbers
        ),
    )

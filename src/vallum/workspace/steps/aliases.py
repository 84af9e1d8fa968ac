"""Steps on aliases of models: point one at a version, remove it.

What deploying a version asks for is asked for here too (`policy.AS_DEPLOY`): a name that others
load models by must not reach what may not be deployed.
"""

import re
from collections.abc import Sequence

import msgspec

from vallum.base import InputError, check_name, new_id, timestamp
from vallum.schema import Alias, Ask, Caller, api, release
from vallum.workspace.context import Context, ask
from vallum.workspace.step import Act, Step
from vallum.workspace.versions import shown

ACTION = "models/versions/promote/action"
_RESERVED = re.compile(r"(?i:latest|v?[0-9]+)")


def alias_asks(context: Context, args: release.ModelAlias, caller: Caller) -> Sequence[Ask]:
    """Ask to promote the version that the alias is to name."""
    version = context.version("model", args.name, args.version)
    return ask(ACTION, context.version_resource(version))


def act_alias(act: Act, args: release.ModelAlias) -> api.VersionShown:
    """Point an alias at a version."""
    if _RESERVED.fullmatch(check_name(args.alias, what="alias")):
        raise InputError(
            f"`{args.alias}` would be taken for a version",
            code="model.alias",
            hint="use a word, such as champion",
        )
    version = act.context.version("model", args.name, args.version)
    asset = act.context.asset("model", version.asset_id)
    old = act.context.records.find(act.tx, "alias", asset.id, args.alias, Alias)
    made = Alias(
        id=str(new_id("als")) if old is None else old.id,
        asset_id=asset.id,
        name=args.alias,
        version_id=version.id,
        moved_at=timestamp(act.now),
        moved_by=act.caller.id,
    )
    act.put("alias", made, on=version.id, parent_id=asset.id, name=made.name)
    act.details["alias"] = {"name": made.name, "from": "" if old is None else old.version_id}
    told = shown(act, version)
    return msgspec.structs.replace(told, evidence=())


def unalias_asks(context: Context, args: release.ModelUnalias, caller: Caller) -> Sequence[Ask]:
    """Ask to promote the version that the alias names."""
    alias = context.alias(context.asset("model", args.name), args.alias)
    return ask(ACTION, context.version_resource(context.version_by_id(alias.version_id)))


def act_unalias(act: Act, args: release.ModelUnalias) -> api.Done:
    """Remove an alias."""
    alias = act.context.alias(act.context.asset("model", args.name), args.alias)
    act.remove("alias", alias.id, on=alias.version_id)
    return api.Done(id=alias.id, text=f"model {args.name} has no alias {alias.name} any more")


STEPS = (
    Step("model.alias", release.ModelAlias, alias_asks, act_alias, threat="model-tampering"),
    Step("model.unalias", release.ModelUnalias, unalias_asks, act_unalias),
)

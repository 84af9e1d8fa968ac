"""Steps of MLflow's registry on aliases, over our own."""

from collections.abc import Sequence

from vallum.schema import Ask, AssetVersion, Caller, mlflow, mlflow_models, release
from vallum.workspace.context import Context, ask
from vallum.workspace.step import Act, Effect, Step
from vallum.workspace.steps import aliases
from vallum.workspace.steps.registered import number_of
from vallum.workspace.tracking.registry import version_shown


def _ours(args: mlflow_models.AliasSet) -> release.ModelAlias:
    return release.ModelAlias(name=args.name, alias=args.alias, version=number_of(args.version))


def _alias_asks(context: Context, args: mlflow_models.AliasSet, caller: Caller) -> Sequence[Ask]:
    return aliases.alias_asks(context, _ours(args), caller)


def _act_alias(act: Act, args: mlflow_models.AliasSet) -> mlflow.Nothing:
    aliases.act_alias(act, _ours(args))
    return mlflow.Nothing()


def _unalias_asks(
    context: Context, args: mlflow_models.AliasNamed, caller: Caller
) -> Sequence[Ask]:
    return aliases.unalias_asks(
        context, release.ModelUnalias(name=args.name, alias=args.alias), caller
    )


def _act_unalias(act: Act, args: mlflow_models.AliasNamed) -> mlflow.Nothing:
    aliases.act_unalias(act, release.ModelUnalias(name=args.name, alias=args.alias))
    return mlflow.Nothing()


def _aliased(context: Context, args: mlflow_models.AliasNamed) -> AssetVersion:
    alias = context.alias(context.asset("model", args.name), args.alias)
    return context.version_by_id(alias.version_id)


def _aliased_asks(
    context: Context, args: mlflow_models.AliasNamed, caller: Caller
) -> Sequence[Ask]:
    return ask("models/versions/read", context.version_resource(_aliased(context, args)))


def _act_aliased(act: Act, args: mlflow_models.AliasNamed) -> mlflow_models.VersionReply:
    return mlflow_models.VersionReply(model_version=version_shown(act, _aliased(act.context, args)))


STEPS = (
    Step("registered-model.alias", mlflow_models.AliasSet, _alias_asks, _act_alias,
         threat="model-tampering"),
    Step("registered-model.unalias", mlflow_models.AliasNamed, _unalias_asks, _act_unalias),
    Step("registered-model.aliased", mlflow_models.AliasNamed, _aliased_asks, _act_aliased,
         Effect.READ),
)  # fmt: skip

"""Searches of MLflow's registry: models, and versions; each row is decided by itself."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from vallum.schema import Ask, Asset, Caller, mlflow, mlflow_models
from vallum.workspace.context import Context
from vallum.workspace.step import Effect, Look, Step
from vallum.workspace.steps.experiments import limit_of
from vallum.workspace.tracking import filters, pages
from vallum.workspace.tracking.filters import Value, Vocabulary
from vallum.workspace.tracking.registry import readable, registered_shown, version_shown

T = TypeVar("T", mlflow_models.RegisteredShown, mlflow_models.VersionShown)
_TIMES = frozenset({"creation_timestamp", "last_updated_timestamp"})
_ALIASES = {
    "timestamp": "last_updated_timestamp",
    "creation_time": "creation_timestamp",
    "last_updated_time": "last_updated_timestamp",
    "source_path": "source",
    "version_number": "number",
    "version": "number",
}


def _tag(one: mlflow_models.RegisteredShown | mlflow_models.VersionShown, key: str) -> Value:
    # Clients ask for `!= 'true'` to leave prompts out, and mean models that never had the tag.
    missing = "false" if key == "mlflow.prompt.is_prompt" else None
    return next((pair.value for pair in one.tags if pair.key == key), missing)


def _of_model(one: mlflow_models.RegisteredShown, key: str) -> Value:
    return getattr(one, key)  # type: ignore[no-any-return]  # text or number, by its name


def _of_version(one: mlflow_models.VersionShown, key: str) -> Value:
    if key == "number":
        return float(one.version)
    return getattr(one, key)  # type: ignore[no-any-return]  # text or number, by its name


REGISTERED: Vocabulary[mlflow_models.RegisteredShown] = Vocabulary(
    entities={"tag": _tag, "attribute": _of_model},
    numeric=_TIMES,
    textual=frozenset({"name"}),
    aliases=_ALIASES,
)
VERSIONS: Vocabulary[mlflow_models.VersionShown] = Vocabulary(
    entities={"tag": _tag, "attribute": _of_version},
    numeric=_TIMES | {"number"},
    textual=frozenset({"name", "run_id", "source"}),
    aliases=_ALIASES,
)


def _search_asks(
    context: Context, args: mlflow_models.RegistrySearch, caller: Caller
) -> Sequence[Ask]:
    return ()  # each row is decided by itself: what may be read is what is listed


def _assets(look: Look) -> list[Asset]:
    workspace_id = look.context.workspace_id
    return [
        one
        for one in look.context.all("model", Asset, parent_id=workspace_id)
        if look.may("models/read", look.context.asset_resource(one))
    ]


def _page(
    look: Look,
    args: mlflow_models.RegistrySearch,
    rows: Sequence[T],
    vocabulary: Vocabulary[T],
    identity: Callable[[T], str],
) -> tuple[Sequence[T], str]:
    limit = limit_of(args.max_results, most=mlflow.MAX_RESULTS)
    passes = filters.matcher(filters.parse_filter(args.filter, vocabulary), vocabulary)
    orders = filters.parse_orders(args.order_by, vocabulary)
    found = filters.ordered([one for one in rows if passes(one)], orders, vocabulary)
    return pages.page(
        look,
        found,
        [identity(one) for one in found],
        question=msgspec.structs.replace(args, page_token="", max_results=0),
        limit=limit,
        token=args.page_token,
    )


def _act_models(look: Look, args: mlflow_models.RegistrySearch) -> mlflow_models.RegisteredFound:
    rows = sorted((registered_shown(look, one) for one in _assets(look)), key=lambda one: one.name)
    taken, token = _page(look, args, rows, REGISTERED, lambda one: one.name)
    return mlflow_models.RegisteredFound(registered_models=tuple(taken), next_page_token=token)


def _act_versions(look: Look, args: mlflow_models.RegistrySearch) -> mlflow_models.VersionsFound:
    rows = [version_shown(look, one) for asset in _assets(look) for one in readable(look, asset)]
    rows.sort(key=lambda one: (one.name, -int(one.version)))
    taken, token = _page(look, args, rows, VERSIONS, lambda one: f"{one.name}:{one.version}")
    return mlflow_models.VersionsFound(model_versions=tuple(taken), next_page_token=token)


STEPS = (
    Step("registered-model.search", mlflow_models.RegistrySearch, _search_asks, _act_models,
         Effect.READ, apart=True),
    Step("model-version.search", mlflow_models.RegistrySearch, _search_asks, _act_versions,
         Effect.READ, apart=True),
)  # fmt: skip

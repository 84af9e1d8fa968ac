"""Steps on logged models (MLflow 3): create, show, finalize, tag, search; inputs of runs."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from vallum.base import InputError, LimitExceededError, NotFoundError, new_id
from vallum.schema import (
    Artifact,
    Ask,
    Caller,
    DatasetUsed,
    LoggedModel,
    ModelMetric,
    Run,
    mlflow,
    mlflow_models,
)
from vallum.workspace.context import Context, ask
from vallum.workspace.step import Act, Asks, Effect, Look, Step
from vallum.workspace.steps.artifacts import erase_files
from vallum.workspace.steps.experiments import experiment_of, limit_of, visible_experiments
from vallum.workspace.tracking import checks, filters, model_metrics, pages, shown
from vallum.workspace.tracking.bundles import milliseconds
from vallum.workspace.tracking.filters import Value, Vocabulary
from vallum.workspace.tracking.places import model_location

MAX_DATASETS = 100  # of a run
MAX_DESCRIPTION = 64 * 1024  # characters of a data set's schema or profile
_READ, _WRITE = "experiments/runs/read", "experiments/runs/write"


class _OfModel(Protocol):
    @property
    def model_id(self) -> str: ...


def _own(action: str) -> Asks:
    def asks(context: Context, args: _OfModel, caller: Caller) -> Sequence[Ask]:
        model = context.logged_model(args.model_id)
        experiment = context.experiment(model.experiment_id)
        return ask(action, context.experiment_resource(experiment))

    return asks


def _create_asks(
    context: Context, args: mlflow_models.ModelCreate, caller: Caller
) -> Sequence[Ask]:
    found = experiment_of(context, args.experiment_id)
    asks = ask(_WRITE, context.experiment_resource(found))
    if args.source_run_id:  # a model of a run that its caller cannot read would forge lineage
        run = context.run(args.source_run_id)
        source = context.experiment(run.experiment_id)
        asks = (*asks, *ask(_READ, context.experiment_resource(source)))
    return asks


def _shown(one: LoggedModel) -> mlflow_models.ModelShown:
    def pairs(given: Sequence[tuple[str, str]]) -> tuple[mlflow.Pair, ...]:
        return tuple(mlflow.Pair(key=key, value=value) for key, value in given)

    info = mlflow_models.ModelInfo(
        model_id=one.id,
        experiment_id=one.experiment_id,
        name=one.name,
        creation_timestamp_ms=one.created_ms,
        last_updated_timestamp_ms=one.updated_ms,
        artifact_uri=model_location(one),
        status=one.status.value,
        model_type=one.model_type,
        source_run_id=one.run_id,
        tags=pairs(one.tags),
    )
    return mlflow_models.ModelShown(
        info=info,
        data=mlflow_models.ModelData(params=pairs(one.params), metrics=model_metrics.shown(one)),
    )


def _act_create(act: Act, args: mlflow_models.ModelCreate) -> mlflow_models.ModelReply:
    experiment = experiment_of(act.context, args.experiment_id)
    if experiment.deleted_ms:
        raise InputError(f"experiment `{experiment.id}` was deleted", code="mlflow.deleted")
    identity, now = str(new_id("lm")), milliseconds(act)
    params = checks.pairs(args.params, what="parameter", limit=checks.MAX_PARAM)
    tags = checks.pairs(args.tags, what="tag", limit=checks.MAX_TAG, most=checks.MAX_RUN_PAIRS)
    made = LoggedModel(
        id=identity,
        experiment_id=experiment.id,
        name=checks.name(args.name or f"model-{identity[-6:]}", what="a model"),
        user_id=act.caller.id,
        user=act.caller.name,
        created_ms=now,
        updated_ms=now,
        model_type=checks.value(args.model_type, what="model type", limit=checks.MAX_KEY),
        run_id=args.source_run_id,
        params=tuple(sorted(params.items())),
        tags=tuple(sorted(tags.items())),
    )
    _put(act, made)
    return mlflow_models.ModelReply(model=_shown(made))


def _put(act: Act, one: LoggedModel) -> None:
    act.put("logged-model", one, on=one.experiment_id, parent_id=one.experiment_id)


def _change(act: Act, one: LoggedModel, **changed: object) -> mlflow_models.ModelReply:
    made = msgspec.structs.replace(one, updated_ms=milliseconds(act), **changed)
    _put(act, made)
    return mlflow_models.ModelReply(model=_shown(made))


def _act_get(act: Act, args: mlflow_models.ModelNamed) -> mlflow_models.ModelReply:
    return mlflow_models.ModelReply(model=_shown(act.context.logged_model(args.model_id)))


def _act_finalize(act: Act, args: mlflow_models.ModelFinalize) -> mlflow_models.ModelReply:
    return _change(act, act.context.logged_model(args.model_id), status=args.status)


def _act_delete(act: Act, args: mlflow_models.ModelNamed) -> mlflow.Nothing:
    """Remove a logged model for good: what was registered from it has files of its own."""
    found = act.context.logged_model(args.model_id)
    files = act.context.all("artifact", Artifact, parent_id=found.id)
    if files:
        erase_files(act, files, reason="deleted")
    act.remove("logged-model", found.id, on=found.experiment_id)
    return mlflow.Nothing()


def _act_set_tags(act: Act, args: mlflow_models.ModelSetTags) -> mlflow_models.ModelReply:
    found = act.context.logged_model(args.model_id)
    given = checks.pairs(args.tags, what="tag", limit=checks.MAX_TAG)
    tags = {**dict(found.tags), **given}
    checks.room_for(tags.items(), what="tags")
    return _change(act, found, tags=tuple(sorted(tags.items())))


def _act_delete_tag(act: Act, args: mlflow_models.ModelDeleteTag) -> mlflow.Nothing:
    found = act.context.logged_model(args.model_id)
    tags = dict(found.tags)
    if tags.pop(args.tag_key, None) is None:
        raise NotFoundError(f"logged model `{found.id}` has no tag {args.tag_key[:60]!a}")
    _change(act, found, tags=tuple(sorted(tags.items())))
    return mlflow.Nothing()


def _act_log_params(act: Act, args: mlflow_models.ModelLogParams) -> mlflow.Nothing:
    found = act.context.logged_model(args.model_id)
    params = dict(found.params)
    given = checks.pairs(args.params, what="parameter", limit=checks.MAX_PARAM)
    for key, value in given.items():
        if params.setdefault(key, value) != value:
            raise InputError(
                f"parameter {key[:60]!a} has another value already: parameters never change",
                code="mlflow.param",
            )
    checks.room_for(params.items(), what="parameters")
    _change(act, found, params=tuple(sorted(params.items())))
    return mlflow.Nothing()


# -- search -------------------------------------------------------------------------------------


def _pair(pairs: Sequence[tuple[str, str]], key: str) -> Value:
    return next((value for name, value in pairs if name == key), None)


def _attribute(one: LoggedModel, key: str) -> Value:
    found = getattr(one, _FIELDS[key])
    return found if key in _TIMES else str(found)


_FIELDS = {
    "model_id": "id",
    "model_name": "name",
    "model_type": "model_type",
    "source_run_id": "run_id",
    "experiment_id": "experiment_id",
    "status": "status",
    "creation_timestamp": "created_ms",
    "last_updated_timestamp": "updated_ms",
}
_TIMES = frozenset({"creation_timestamp", "last_updated_timestamp"})


def _vocabulary(datasets: Sequence[mlflow_models.DatasetAsked]) -> Vocabulary[LoggedModel]:
    """Return what can be asked of logged models, by their metrics on some data sets or on all."""

    def measured(one: LoggedModel, key: str) -> list[ModelMetric]:
        return [
            metric
            for metric in one.metrics
            if metric.key == key and (not datasets or any(_is_on(metric, on) for on in datasets))
        ]

    def newest(one: LoggedModel, key: str) -> Value:
        found = max(
            measured(one, key), key=lambda metric: (metric.at_ms, metric.step), default=None
        )
        return None if found is None else float(found.value)

    return Vocabulary(
        entities={
            "metric": newest,
            "param": lambda one, key: _pair(one.params, key),
            "tag": lambda one, key: _pair(one.tags, key),
            "attribute": _attribute,
        },
        numeric=_TIMES,
        textual=frozenset(set(_FIELDS) - _TIMES),
        aliases={
            "name": "model_name",
            "creation_timestamp_ms": "creation_timestamp",
            "last_updated_timestamp_ms": "last_updated_timestamp",
            "creation_time": "creation_timestamp",
        },
        several={"metric": lambda one, key: [float(it.value) for it in measured(one, key)]},
    )


def _is_measured(one: LoggedModel, datasets: Sequence[mlflow_models.DatasetAsked]) -> bool:
    return any(_is_on(metric, on) for metric in one.metrics for on in datasets)


def _is_on(metric: ModelMetric, asked: mlflow_models.DatasetAsked) -> bool:
    digest = asked.dataset_digest
    return metric.dataset_name == asked.dataset_name and digest in ("", metric.dataset_digest)


def _search_asks(
    context: Context, args: mlflow_models.ModelSearch, caller: Caller
) -> Sequence[Ask]:
    return ()  # each experiment is decided by itself


def _act_search(look: Look, args: mlflow_models.ModelSearch) -> mlflow_models.ModelsFound:
    limit = limit_of(args.max_results)
    asked = _vocabulary(args.datasets)
    comparisons = filters.parse_filter(args.filter, asked)
    passes = filters.matcher(comparisons, asked)
    # MLflow's meaning: without a filter on metrics, any metric on one of the data sets will do.
    measured = args.datasets and not any(one.field.entity == "metric" for one in comparisons)
    if len(args.order_by) > filters.MAX_ORDERS:
        raise LimitExceededError(
            f"at most {filters.MAX_ORDERS} clauses order a search", code="mlflow.filter"
        )
    wanted = set(args.experiment_ids)
    found = [
        one
        for experiment in visible_experiments(look, _READ)
        if experiment.id in wanted
        or (experiment.name == shown.DEFAULT and shown.DEFAULT_ID in wanted)
        for one in look.context.all("logged-model", LoggedModel, parent_id=experiment.id)
        if passes(one) and (not measured or _is_measured(one, args.datasets))
    ]
    found.sort(key=lambda one: (-one.created_ms, one.id))
    rows = found
    for one in reversed(args.order_by):  # the first counts most, and each may be of one data set
        words = _vocabulary([one.dataset] if one.dataset is not None else [])
        text = f"{one.field_name} {'ASC' if one.ascending else 'DESC'}"
        rows = filters.ordered(rows, filters.parse_orders([text], words), words)
    taken, token = pages.page(
        look,
        rows,
        [one.id for one in rows],
        question=msgspec.structs.replace(args, page_token="", max_results=0),
        limit=limit,
        token=args.page_token,
    )
    return mlflow_models.ModelsFound(
        models=tuple(_shown(one) for one in taken), next_page_token=token
    )


# -- inputs and outputs of runs -----------------------------------------------------------------


def _linked(context: Context, run_id: str, models: Sequence[str]) -> Sequence[Ask]:
    """Ask to write the run, and to read every logged model that is named."""
    run = context.run(run_id)
    asks = list(ask(_WRITE, context.experiment_resource(context.experiment(run.experiment_id))))
    for identity in dict.fromkeys(models):
        experiment = context.experiment(context.logged_model(identity).experiment_id)
        asks += ask(_READ, context.experiment_resource(experiment))
    return tuple({(one.action, one.resource.id): one for one in asks}.values())


def _inputs_asks(
    context: Context, args: mlflow_models.RunLogInputs, caller: Caller
) -> Sequence[Ask]:
    return _linked(context, args.run_id, [one.model_id for one in args.models])


def _outputs_asks(
    context: Context, args: mlflow_models.RunLogOutputs, caller: Caller
) -> Sequence[Ask]:
    return _linked(context, args.run_id, [one.model_id for one in args.models])


def _active(act: Act, run_id: str) -> Run:
    run = act.context.run(run_id)
    if run.deleted_ms or act.context.experiment(run.experiment_id).deleted_ms:
        raise InputError(f"run `{run.id}` was deleted", code="mlflow.deleted")
    return run


def _act_inputs(act: Act, args: mlflow_models.RunLogInputs) -> mlflow.Nothing:
    run = _active(act, args.run_id)
    used = {(one.name, one.digest): one for one in run.datasets}
    for one in args.datasets:
        given = one.dataset
        for what, text, limit in (
            ("data set's name", given.name, checks.MAX_EXPERIMENT_NAME),
            ("data set's digest", given.digest, checks.MAX_KEY),
            ("data set's source type", given.source_type, checks.MAX_KEY),
            ("data set's source", given.source, MAX_DESCRIPTION),
            ("data set's schema", given.schema, MAX_DESCRIPTION),
            ("data set's profile", given.profile, MAX_DESCRIPTION),
        ):
            checks.value(text, what=what, limit=limit)
        tags = checks.pairs(one.tags, what="tag", limit=checks.MAX_TAG)
        used[given.name, given.digest] = DatasetUsed(
            name=given.name,
            digest=given.digest,
            source_type=given.source_type,
            source=given.source,
            schema=given.schema,
            profile=given.profile,
            tags=tuple(sorted(tags.items())),
        )
    checks.room(len(used), MAX_DATASETS, what="data sets")
    models = tuple(dict.fromkeys((*run.models_in, *(one.model_id for one in args.models))))
    checks.room(len(models), checks.MAX_RUN_PAIRS, what="models")
    made = msgspec.structs.replace(run, datasets=tuple(used.values()), models_in=models)
    act.put("run", made, on=run.experiment_id, parent_id=run.experiment_id)
    return mlflow.Nothing()


def _act_outputs(act: Act, args: mlflow_models.RunLogOutputs) -> mlflow.Nothing:
    run = _active(act, args.run_id)
    made = {**dict(run.models_out), **{one.model_id: one.step for one in args.models}}
    checks.room(len(made), checks.MAX_RUN_PAIRS, what="models")
    changed = msgspec.structs.replace(run, models_out=tuple(made.items()))
    act.put("run", changed, on=run.experiment_id, parent_id=run.experiment_id)
    return mlflow.Nothing()


STEPS = (
    Step("logged-model.create", mlflow_models.ModelCreate, _create_asks, _act_create),
    Step("logged-model.get", mlflow_models.ModelNamed, _own(_READ), _act_get, Effect.READ),
    Step("logged-model.finalize", mlflow_models.ModelFinalize, _own(_WRITE), _act_finalize),
    Step("logged-model.delete", mlflow_models.ModelNamed, _own("experiments/runs/delete"),
         _act_delete),
    Step("logged-model.set-tags", mlflow_models.ModelSetTags, _own(_WRITE), _act_set_tags),
    Step("logged-model.delete-tag", mlflow_models.ModelDeleteTag, _own(_WRITE),
         _act_delete_tag),
    Step("logged-model.log-params", mlflow_models.ModelLogParams, _own(_WRITE),
         _act_log_params),
    Step("logged-model.search", mlflow_models.ModelSearch, _search_asks, _act_search,
         Effect.READ, apart=True),
    Step("run.log-inputs", mlflow_models.RunLogInputs, _inputs_asks, _act_inputs),
    Step("run.log-outputs", mlflow_models.RunLogOutputs, _outputs_asks, _act_outputs),
)  # fmt: skip

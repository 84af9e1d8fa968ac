"""Metrics of logged models: of each, and each data set, the latest point."""

from collections.abc import Sequence

import msgspec

from vallum.schema import Ask, LoggedModel, ModelMetric, mlflow
from vallum.workspace.context import Context, ask
from vallum.workspace.step import Act
from vallum.workspace.tracking import checks, points
from vallum.workspace.tracking.bundles import milliseconds

MAX_METRICS = 2000  # of a logged model


def link_asks(context: Context, metrics: Sequence[mlflow.MetricValue]) -> Sequence[Ask]:
    """Ask to write every logged model that metrics name.

    Raises:
        NotFoundError: There is none of that id.
    """
    asks: list[Ask] = []
    for identity in dict.fromkeys(one.model_id for one in metrics if one.model_id):
        experiment = context.experiment(context.logged_model(identity).experiment_id)
        asks += ask("experiments/runs/write", context.experiment_resource(experiment))
    return tuple(asks)


def link(act: Act, run_id: str, metrics: Sequence[mlflow.MetricValue]) -> None:
    """Note the metrics that name a logged model at that model."""
    named: dict[str, list[mlflow.MetricValue]] = {}
    for one in metrics:
        if one.model_id:
            named.setdefault(one.model_id, []).append(one)
    for identity, given in named.items():
        model = act.context.logged_model(identity)
        held = {(one.key, one.dataset_name, one.dataset_digest): one for one in model.metrics}
        for one in given:
            made = ModelMetric(
                key=checks.key(one.key, what="metric"),
                value=repr(checks.number(one.value)),
                at_ms=checks.integer(one.timestamp, what="the time"),
                step=checks.integer(one.step, what="step"),
                run_id=run_id,
                dataset_name=checks.value(
                    one.dataset_name, what="data set's name", limit=checks.MAX_EXPERIMENT_NAME
                ),
                dataset_digest=checks.value(
                    one.dataset_digest, what="data set's digest", limit=checks.MAX_KEY
                ),
            )
            old = held.get((made.key, made.dataset_name, made.dataset_digest))
            if old is None or (made.step, made.at_ms) >= (old.step, old.at_ms):
                held[made.key, made.dataset_name, made.dataset_digest] = made
        checks.room(len(held), MAX_METRICS, what="metrics of a model")
        changed = msgspec.structs.replace(
            model,
            updated_ms=milliseconds(act),
            metrics=tuple(held[key] for key in sorted(held)),
        )
        act.put("logged-model", changed, on=model.experiment_id, parent_id=model.experiment_id)


def shown(model: LoggedModel) -> tuple[mlflow.MetricValue, ...]:
    """Return the metrics of a model as MLflow shows them."""
    return tuple(
        mlflow.MetricValue(
            key=one.key,
            value=points.shown(float(one.value)),
            timestamp=one.at_ms,
            step=one.step,
            model_id=model.id,
            dataset_name=one.dataset_name,
            dataset_digest=one.dataset_digest,
            run_id=one.run_id,
        )
        for one in model.metrics
    )

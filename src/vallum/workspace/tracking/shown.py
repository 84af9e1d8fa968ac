"""Records as MLflow shows them, and what searches may ask about them."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from vallum.schema import DatasetUsed, Experiment, Run, mlflow
from vallum.workspace.tracking import points
from vallum.workspace.tracking.filters import Value, Vocabulary

DEFAULT = "Default"
DEFAULT_ID = "0"
ACTIVE, DELETED = "active", "deleted"
RUN_NAME_TAG = "mlflow.runName"
CONTEXT_TAG = "mlflow.data.context"
VIEWS = {"ACTIVE_ONLY": (ACTIVE,), "DELETED_ONLY": (DELETED,), "ALL": (ACTIVE, DELETED)}


def experiment_location(experiment_id: str) -> str:
    """Return where the artifacts of an experiment are: assigned by the server."""
    return f"mlflow-artifacts:/{experiment_id}"


def run_location(run: Run) -> str:
    """Return where the artifacts of a run are."""
    return f"{experiment_location(run.experiment_id)}/{run.id}/artifacts"


def stage(one: Experiment | Run) -> str:
    """Return MLflow's word for whether it was deleted."""
    return DELETED if one.deleted_ms else ACTIVE


def experiment(one: Experiment) -> mlflow.ExperimentShown:
    """Return an experiment as MLflow shows it."""
    return mlflow.ExperimentShown(
        experiment_id=one.id,
        name=one.name,
        artifact_location=experiment_location(one.id),
        lifecycle_stage=stage(one),
        last_update_time=one.updated_ms,
        creation_time=one.created_ms,
        tags=_pairs(one.tags),
    )


def info(run: Run, *, deleted: bool = False) -> mlflow.RunInfo:
    """Return what a run is; `deleted`: its experiment was."""
    return mlflow.RunInfo(
        run_id=run.id,
        run_uuid=run.id,
        experiment_id=run.experiment_id,
        run_name=run.name,
        user_id=run.user,
        status=run.status.value,
        start_time=run.started_ms,
        artifact_uri=run_location(run),
        lifecycle_stage=DELETED if deleted else stage(run),
        end_time=run.ended_ms,
    )


def run_shown(run: Run, *, deleted: bool = False) -> mlflow.RunShown:
    """Return a run with what was logged to it."""
    metrics = tuple(
        mlflow.MetricValue(key=key, value=points.shown(float(value)), timestamp=at, step=step)
        for key, value, at, step in run.latest
    )
    data = mlflow.RunData(metrics=metrics, params=_pairs(run.params), tags=_pairs(run.tags))
    inputs = mlflow.RunInputs(
        dataset_inputs=tuple(_dataset(one) for one in run.datasets),
        model_inputs=tuple(mlflow.ModelInput(model_id=one) for one in run.models_in),
    )
    made = (mlflow.ModelOutput(model_id=one, step=step) for one, step in run.models_out)
    return mlflow.RunShown(
        info=info(run, deleted=deleted),
        data=data,
        inputs=inputs,
        outputs=mlflow.RunOutputs(model_outputs=tuple(made)),
    )


def _dataset(one: DatasetUsed) -> mlflow.DatasetInput:
    fields = mlflow.DatasetFields(
        name=one.name,
        digest=one.digest,
        source_type=one.source_type,
        source=one.source,
        schema=one.schema,
        profile=one.profile,
    )
    return mlflow.DatasetInput(dataset=fields, tags=_pairs(one.tags))


def _pairs(pairs: Sequence[tuple[str, str]]) -> tuple[mlflow.Pair, ...]:
    return tuple(mlflow.Pair(key=key, value=value) for key, value in pairs)


# -- what searches read -------------------------------------------------------------------------


def _pair(pairs: Sequence[tuple[str, str]], key: str) -> str | None:
    for name, value in pairs:
        if name == key:
            return value
    return None


def _metric(run: Run, key: str) -> Value:
    for one in run.latest:
        if one[0] == key:
            return float(one[1])
    return None


def _datasets(run: Run, key: str) -> Iterable[Value]:
    for one in run.datasets:
        if key == "context":
            yield _pair(one.tags, CONTEXT_TAG)
        else:
            yield one.name if key == "name" else one.digest


def _run_attribute(run: Run, key: str) -> Value:
    if key == "artifact_uri":
        return run_location(run)
    if key == "end_time":
        return run.ended_ms or None
    found = getattr(run, _RUN_FIELDS[key])
    return str(found) if key in RUNS.textual else found


def _experiment_attribute(one: Experiment, key: str) -> Value:
    return getattr(one, _EXPERIMENT_FIELDS[key])  # type: ignore[no-any-return]  # text or number


_RUN_FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "run_id": "id",
        "run_name": "name",
        "status": "status",
        "user_id": "user",
        "start_time": "started_ms",
    }
)
_EXPERIMENT_FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "name": "name",
        "experiment_id": "id",
        "creation_time": "created_ms",
        "last_update_time": "updated_ms",
    }
)

RUNS: Vocabulary[Run] = Vocabulary(
    entities={
        "metric": _metric,
        "param": lambda run, key: _pair(run.params, key),
        "tag": lambda run, key: _pair(run.tags, key),
        "attribute": _run_attribute,
    },
    numeric=frozenset({"start_time", "end_time"}),
    textual=frozenset({"run_id", "run_name", "status", "user_id", "artifact_uri"}),
    aliases={
        "created": "start_time",
        "Created": "start_time",
        "run name": "run_name",
        "Run name": "run_name",
        "Run Name": "run_name",
    },
    several={"dataset": _datasets},
    keys={"dataset": frozenset({"name", "digest", "context"})},
)
EXPERIMENTS: Vocabulary[Experiment] = Vocabulary(
    entities={
        "tag": lambda one, key: _pair(one.tags, key),
        "attribute": _experiment_attribute,
    },
    numeric=frozenset({"creation_time", "last_update_time"}),
    textual=frozenset({"name", "experiment_id"}),
    aliases={},
)

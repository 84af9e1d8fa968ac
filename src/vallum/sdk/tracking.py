"""Experiments, runs and the registry as MLflow names them, over the routes that its clients use.

For programs that write what they have, such as an import; a training script uses `mlflow` itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO

from vallum.schema import mlflow, mlflow_models
from vallum.schema.tracking import ModelStatus, RunStatus
from vallum.sdk.nouns import Noun

SCHEME = "mlflow-artifacts:/"
PAGE = 1000


def pairs(given: Mapping[str, str]) -> tuple[mlflow.Pair, ...]:
    """Return tags or parameters as they are sent."""
    return tuple(mlflow.Pair(key=key, value=value) for key, value in given.items())


class Tracking(Noun):
    """Experiments, runs, logged models and their files."""

    def experiments(self) -> Iterator[mlflow.ExperimentShown]:
        """Yield every experiment that you may read, deleted ones too."""
        token = ""
        while True:
            asked = mlflow.Search(max_results=PAGE, view_type="ALL", page_token=token)
            page = self._transport.call("experiment.search", asked, mlflow.ExperimentsFound)
            yield from page.experiments
            token = page.next_page_token
            if not token:
                return

    def create_experiment(self, name: str, tags: Mapping[str, str]) -> str:
        """Make an experiment; returns its id."""
        arguments = mlflow.ExperimentCreate(name=name, tags=pairs(tags))
        made = self._transport.call("experiment.create", arguments, mlflow.ExperimentCreated)
        return made.experiment_id

    def set_experiment_tag(self, experiment_id: str, key: str, value: str) -> None:
        """Set a tag of an experiment."""
        arguments = mlflow.ExperimentSetTag(experiment_id=experiment_id, key=key, value=value)
        self._transport.call("experiment.set-tag", arguments, mlflow.Nothing)

    def runs(self, experiment_id: str) -> Iterator[mlflow.RunShown]:
        """Yield the runs of an experiment, deleted ones too."""
        token = ""
        while True:
            asked = mlflow.RunSearch(
                experiment_ids=(experiment_id,), run_view_type="ALL", max_results=PAGE,
                page_token=token,
            )  # fmt: skip
            page = self._transport.call("run.search", asked, mlflow.RunsFound)
            yield from page.runs
            token = page.next_page_token
            if not token:
                return

    def create_run(self, experiment_id: str, name: str, tags: Mapping[str, str]) -> mlflow.RunShown:
        """Start a run."""
        arguments = mlflow.RunCreate(experiment_id=experiment_id, run_name=name, tags=pairs(tags))
        return self._transport.call("run.create", arguments, mlflow.RunReply).run

    def log(
        self,
        run_id: str,
        *,
        metrics: Sequence[mlflow.MetricValue] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log metrics, parameters and tags together: all or nothing."""
        arguments = mlflow.RunLogBatch(
            run_id=run_id,
            metrics=tuple(metrics),
            params=pairs(params or {}),
            tags=pairs(tags or {}),
        )
        self._transport.call("run.log-batch", arguments, mlflow.Nothing)

    def history(self, run_id: str, key: str) -> Iterator[mlflow.MetricValue]:
        """Yield every point of a metric."""
        token = ""
        while True:
            asked = mlflow.MetricHistory(
                run_id=run_id, metric_key=key, max_results=10 * PAGE, page_token=token
            )
            page = self._transport.call("run.metric-history", asked, mlflow.MetricsFound)
            yield from page.metrics
            token = page.next_page_token
            if not token:
                return

    def set_status(self, run_id: str, status: RunStatus) -> None:
        """Say what a run does; the server's clock says when it ended."""
        arguments = mlflow.RunUpdate(run_id=run_id, status=status)
        self._transport.call("run.update", arguments, mlflow.RunUpdated)

    def log_inputs(
        self, run_id: str, datasets: Sequence[mlflow.DatasetInput], models: Sequence[str]
    ) -> None:
        """Say what a run used."""
        arguments = mlflow_models.RunLogInputs(
            run_id=run_id,
            datasets=tuple(datasets),
            models=tuple(mlflow.ModelInput(model_id=one) for one in models),
        )
        self._transport.call("run.log-inputs", arguments, mlflow.Nothing)

    def log_outputs(self, run_id: str, models: Sequence[tuple[str, int]]) -> None:
        """Say which logged models a run made, each at a step."""
        arguments = mlflow_models.RunLogOutputs(
            run_id=run_id,
            models=tuple(mlflow.ModelOutput(model_id=one, step=step) for one, step in models),
        )
        self._transport.call("run.log-outputs", arguments, mlflow.Nothing)

    # -- logged models --------------------------------------------------------------------------

    def models(self, experiment_id: str) -> Iterator[mlflow_models.ModelShown]:
        """Yield the logged models of an experiment."""
        token = ""
        while True:
            asked = mlflow_models.ModelSearch(
                experiment_ids=(experiment_id,), max_results=PAGE, page_token=token
            )
            page = self._transport.call("logged-model.search", asked, mlflow_models.ModelsFound)
            yield from page.models
            token = page.next_page_token
            if not token:
                return

    def create_model(
        self,
        experiment_id: str,
        name: str,
        *,
        model_type: str,
        run_id: str,
        tags: Mapping[str, str],
    ) -> mlflow_models.ModelShown:
        """Begin a logged model."""
        arguments = mlflow_models.ModelCreate(
            experiment_id=experiment_id, name=name, model_type=model_type, source_run_id=run_id,
            tags=pairs(tags),
        )  # fmt: skip
        return self._transport.call(
            "logged-model.create", arguments, mlflow_models.ModelReply
        ).model

    def log_model_params(self, model_id: str, params: Mapping[str, str]) -> None:
        """Log parameters of a logged model."""
        arguments = mlflow_models.ModelLogParams(model_id=model_id, params=pairs(params))
        self._transport.call("logged-model.log-params", arguments, mlflow.Nothing)

    def set_model_tags(self, model_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of a logged model."""
        arguments = mlflow_models.ModelSetTags(model_id=model_id, tags=pairs(tags))
        self._transport.call("logged-model.set-tags", arguments, mlflow_models.ModelReply)

    def finish_model(self, model_id: str, status: ModelStatus) -> None:
        """Say that a logged model is complete, or that it failed."""
        arguments = mlflow_models.ModelFinalize(model_id=model_id, status=status)
        self._transport.call("logged-model.finalize", arguments, mlflow_models.ModelReply)

    # -- files ----------------------------------------------------------------------------------

    def files(self, place: str, folder: str = "") -> Iterator[tuple[str, int]]:
        """Yield path and size of every file of a run or logged model.

        Args:
            place: Its `artifact_uri`.
            folder: Where to begin.
        """
        root = place.removeprefix(SCHEME)
        asked = mlflow_models.ArtifactNamed(path=f"{root}/{folder}".rstrip("/"))
        page = self._transport.call("artifact.list", asked, mlflow_models.FilesFound)
        for one in page.files:
            path = f"{folder}/{one.path}".lstrip("/")
            if one.is_dir:
                yield from self.files(place, path)
            else:
                yield path, one.file_size or 0

    def put_file(self, place: str, path: str, content: BinaryIO | bytes) -> None:
        """Write a file of a run or logged model; one that is there is replaced."""
        arguments = mlflow_models.ArtifactNamed(path=f"{place.removeprefix(SCHEME)}/{path}")
        self._transport.call("artifact.put", arguments, mlflow.Nothing, content=content)


class Registry(Noun):
    """Registered models and their versions, as MLflow shows them."""

    def models(self) -> Iterator[mlflow_models.RegisteredShown]:
        """Yield every registered model that you may read."""
        token = ""
        while True:
            asked = mlflow_models.RegistrySearch(max_results=PAGE, page_token=token)
            page = self._transport.call(
                "registered-model.search", asked, mlflow_models.RegisteredFound
            )
            yield from page.registered_models
            token = page.next_page_token
            if not token:
                return

    def versions(self) -> Iterator[mlflow_models.VersionShown]:
        """Yield every version that you may read."""
        token = ""
        while True:
            asked = mlflow_models.RegistrySearch(max_results=PAGE, page_token=token)
            page = self._transport.call("model-version.search", asked, mlflow_models.VersionsFound)
            yield from page.model_versions
            token = page.next_page_token
            if not token:
                return

    def create(self, name: str, *, description: str, tags: Mapping[str, str]) -> None:
        """Make a registered model without a version."""
        arguments = mlflow_models.RegisteredCreate(
            name=name, description=description, tags=pairs(tags)
        )
        self._transport.call("registered-model.create", arguments, mlflow_models.RegisteredReply)

    def set_tag(self, name: str, key: str, value: str) -> None:
        """Set a tag of a registered model."""
        arguments = mlflow_models.RegisteredSetTag(name=name, key=key, value=value)
        self._transport.call("registered-model.set-tag", arguments, mlflow.Nothing)

    def register(
        self,
        name: str,
        source: str,
        *,
        run_id: str = "",
        model_id: str = "",
        description: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> mlflow_models.VersionShown:
        """Register what was logged; the server takes a snapshot of it and scans that."""
        arguments = mlflow_models.VersionCreate(
            name=name, source=source, run_id=run_id, model_id=model_id, description=description,
            tags=pairs(tags or {}),
        )  # fmt: skip
        return self._transport.call(
            "registered-model.register", arguments, mlflow_models.VersionReply
        ).model_version

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Point an alias at a version."""
        arguments = mlflow_models.AliasSet(name=name, alias=alias, version=version)
        self._transport.call("registered-model.alias", arguments, mlflow.Nothing)

    def set_stage(self, name: str, version: str, stage: str) -> None:
        """Move a version to a stage."""
        arguments = mlflow_models.VersionStage(name=name, version=version, stage=stage)
        self._transport.call("model-version.alias", arguments, mlflow_models.VersionReply)

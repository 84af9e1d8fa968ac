"""Artifacts, logged models and the registry as an MLflow client sends and gets them.

Source: MLflow 3 REST API, `service.proto` and `model_registry.proto`.
"""

from vallum.schema.mlflow import DatasetInput, MetricValue, ModelInput, ModelOutput, Pair
from vallum.schema.record import Record
from vallum.schema.tracking import ModelStatus

# -- inputs and outputs of runs -----------------------------------------------------------------


class RunLogInputs(Record, frozen=True):
    """Say what a run used."""

    run_id: str
    datasets: tuple[DatasetInput, ...] = ()
    models: tuple[ModelInput, ...] = ()


class RunLogOutputs(Record, frozen=True):
    """Say what a run made."""

    run_id: str
    models: tuple[ModelOutput, ...] = ()


# -- artifacts ----------------------------------------------------------------------------------


class ArtifactNamed(Record, frozen=True):
    """A file or folder: `EXPERIMENT/RUN/artifacts/…`, `EXPERIMENT/models/MODEL/artifacts/…`."""

    path: str = ""


class ArtifactsOfRun(Record, frozen=True):
    """A folder of a run."""

    run_id: str = ""
    run_uuid: str = ""
    path: str = ""


class ArtifactsOfModel(Record, frozen=True):
    """A folder of a logged model."""

    model_id: str
    artifact_directory_path: str = ""


class FileShown(Record, frozen=True, omit_defaults=True):
    """A file or folder."""

    path: str
    is_dir: bool
    file_size: int | None = None


class FilesFound(Record, frozen=True, omit_defaults=True):
    """What a folder holds."""

    files: tuple[FileShown, ...]
    root_uri: str = ""


# -- logged models ------------------------------------------------------------------------------


class ModelCreate(Record, frozen=True):
    """Begin a logged model."""

    experiment_id: str
    name: str = ""
    model_type: str = ""
    source_run_id: str = ""
    params: tuple[Pair, ...] = ()
    tags: tuple[Pair, ...] = ()


class ModelNamed(Record, frozen=True):
    """A logged model by id."""

    model_id: str


class ModelFinalize(Record, frozen=True):
    """Say that a logged model is complete, or that it failed."""

    model_id: str
    status: ModelStatus


class ModelSetTags(Record, frozen=True):
    """Set tags of a logged model."""

    model_id: str
    tags: tuple[Pair, ...] = ()


class ModelDeleteTag(Record, frozen=True):
    """Remove a tag of a logged model."""

    model_id: str
    tag_key: str


class ModelLogParams(Record, frozen=True):
    """Log parameters of a logged model."""

    model_id: str
    params: tuple[Pair, ...] = ()


class DatasetAsked(Record, frozen=True):
    """A data set that metrics are on; an empty digest means any of that name."""

    dataset_name: str
    dataset_digest: str = ""


class ModelOrder(Record, frozen=True):
    """By what a search orders."""

    field_name: str
    ascending: bool = True
    dataset_name: str = ""
    dataset_digest: str = ""

    @property
    def dataset(self) -> DatasetAsked | None:
        """Return the data set whose metric counts; None: the newest of all."""
        if not self.dataset_name:
            return None
        return DatasetAsked(dataset_name=self.dataset_name, dataset_digest=self.dataset_digest)


class ModelSearch(Record, frozen=True):
    """Search logged models of some experiments."""

    experiment_ids: tuple[str, ...] = ()
    filter: str = ""
    datasets: tuple[DatasetAsked, ...] = ()
    max_results: int = 50
    order_by: tuple[ModelOrder, ...] = ()
    page_token: str = ""


class ModelInfo(Record, frozen=True):
    """What a logged model is."""

    model_id: str
    experiment_id: str
    name: str
    creation_timestamp_ms: int
    last_updated_timestamp_ms: int
    artifact_uri: str
    status: str
    model_type: str = ""
    source_run_id: str = ""
    tags: tuple[Pair, ...] = ()


class ModelData(Record, frozen=True):
    """What was logged to a logged model."""

    params: tuple[Pair, ...] = ()
    metrics: tuple[MetricValue, ...] = ()


class ModelShown(Record, frozen=True):
    """A logged model."""

    info: ModelInfo
    data: ModelData


class ModelReply(Record, frozen=True):
    """One logged model."""

    model: ModelShown


class ModelsFound(Record, frozen=True, omit_defaults=True):
    """A page of logged models."""

    models: tuple[ModelShown, ...]
    next_page_token: str = ""


# -- registry -----------------------------------------------------------------------------------


class RegisteredCreate(Record, frozen=True):
    """Make a registered model without a version."""

    name: str
    tags: tuple[Pair, ...] = ()
    description: str = ""


class RegisteredNamed(Record, frozen=True):
    """A registered model by name."""

    name: str


class RegisteredUpdate(Record, frozen=True):
    """Change the description of a registered model."""

    name: str
    description: str = ""


class RegisteredRename(Record, frozen=True):
    """Give a registered model another name."""

    name: str
    new_name: str


class RegisteredSetTag(Record, frozen=True):
    """Set a tag of a registered model."""

    name: str
    key: str
    value: str = ""


class RegisteredDeleteTag(Record, frozen=True):
    """Remove a tag of a registered model."""

    name: str
    key: str


class RegistrySearch(Record, frozen=True):
    """Search registered models or model versions."""

    filter: str = ""
    max_results: int = 100
    order_by: tuple[str, ...] = ()
    page_token: str = ""


class LatestVersions(Record, frozen=True):
    """Ask for the newest version of a registered model."""

    name: str
    stages: tuple[str, ...] = ()


class VersionCreate(Record, frozen=True):
    """Register what was logged as a version."""

    name: str
    source: str
    run_id: str = ""
    tags: tuple[Pair, ...] = ()
    run_link: str = ""
    description: str = ""
    model_id: str = ""


class VersionNamed(Record, frozen=True):
    """A model version."""

    name: str
    version: str


class VersionUpdate(Record, frozen=True):
    """Change the description of a model version."""

    name: str
    version: str
    description: str = ""


class VersionStage(Record, frozen=True):
    """Move a model version to a stage."""

    name: str
    version: str
    stage: str
    archive_existing_versions: bool = False


class VersionSetTag(Record, frozen=True):
    """Set a tag of a model version."""

    name: str
    version: str
    key: str
    value: str = ""


class VersionDeleteTag(Record, frozen=True):
    """Remove a tag of a model version."""

    name: str
    version: str
    key: str


class AliasSet(Record, frozen=True):
    """Point an alias at a model version."""

    name: str
    alias: str
    version: str


class AliasNamed(Record, frozen=True):
    """An alias of a registered model."""

    name: str
    alias: str


class AliasOf(Record, frozen=True):
    """An alias and its version."""

    alias: str
    version: str


class VersionShown(Record, frozen=True, omit_defaults=True):
    """A model version."""

    name: str
    version: str
    creation_timestamp: int
    last_updated_timestamp: int
    user_id: str
    current_stage: str
    source: str
    status: str
    description: str = ""
    run_id: str = ""
    run_link: str = ""
    model_id: str = ""
    tags: tuple[Pair, ...] = ()
    aliases: tuple[str, ...] = ()


class RegisteredShown(Record, frozen=True, omit_defaults=True):
    """A registered model."""

    name: str
    creation_timestamp: int
    last_updated_timestamp: int
    description: str = ""
    latest_versions: tuple[VersionShown, ...] = ()
    tags: tuple[Pair, ...] = ()
    aliases: tuple[AliasOf, ...] = ()


class RegisteredReply(Record, frozen=True):
    """One registered model."""

    registered_model: RegisteredShown


class RegisteredFound(Record, frozen=True, omit_defaults=True):
    """A page of registered models."""

    registered_models: tuple[RegisteredShown, ...]
    next_page_token: str = ""


class VersionReply(Record, frozen=True):
    """One model version."""

    model_version: VersionShown


class VersionsFound(Record, frozen=True, omit_defaults=True):
    """A page of model versions."""

    model_versions: tuple[VersionShown, ...]
    next_page_token: str = ""


class DownloadUri(Record, frozen=True):
    """Where the files of a model version are."""

    artifact_uri: str

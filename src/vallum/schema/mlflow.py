"""What an MLflow client sends and gets, under MLflow's names.

Source: MLflow 3 REST API, `mlflow/protos/service.proto`. `run_uuid` is the old name of `run_id`,
which clients still send beside it. Fields that are not here are ignored, as MLflow does.
"""

from vallum.schema.record import Record
from vallum.schema.tracking import RunStatus

Number = float | str
"""A JSON number, or the text `NaN`, `Infinity`, `-Infinity`: protobuf's JSON has these."""

MAX_RESULTS = 50_000


class Nothing(Record, frozen=True):
    """An empty reply."""


class Pair(Record, frozen=True):
    """A tag or parameter."""

    key: str
    value: str = ""


class MetricValue(Record, frozen=True, omit_defaults=True):
    """One point of a metric, perhaps of a logged model on a data set."""

    key: str
    value: Number
    timestamp: int
    step: int = 0
    model_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""
    run_id: str = ""  # only in replies


# -- experiments --------------------------------------------------------------------------------


class ExperimentCreate(Record, frozen=True):
    """Make an experiment; the server assigns where its artifacts are."""

    name: str
    artifact_location: str = ""
    tags: tuple[Pair, ...] = ()


class ExperimentCreated(Record, frozen=True):
    """Its id."""

    experiment_id: str


class ExperimentNamed(Record, frozen=True):
    """An experiment by id; `0` is the one called `Default`."""

    experiment_id: str


class ExperimentByName(Record, frozen=True):
    """An experiment by name."""

    experiment_name: str


class ExperimentUpdate(Record, frozen=True):
    """Rename an experiment."""

    experiment_id: str
    new_name: str = ""


class ExperimentSetTag(Record, frozen=True):
    """Set a tag of an experiment."""

    experiment_id: str
    key: str
    value: str = ""


class ExperimentDeleteTag(Record, frozen=True):
    """Remove a tag of an experiment."""

    experiment_id: str
    key: str


class Search(Record, frozen=True):
    """Search experiments."""

    max_results: int = 1000
    page_token: str = ""
    filter: str = ""
    order_by: tuple[str, ...] = ()
    view_type: str = "ACTIVE_ONLY"


class ExperimentShown(Record, frozen=True):
    """An experiment."""

    experiment_id: str
    name: str
    artifact_location: str
    lifecycle_stage: str
    last_update_time: int
    creation_time: int
    tags: tuple[Pair, ...] = ()


class ExperimentReply(Record, frozen=True):
    """One experiment."""

    experiment: ExperimentShown


class ExperimentsFound(Record, frozen=True, omit_defaults=True):
    """A page of experiments."""

    experiments: tuple[ExperimentShown, ...]
    next_page_token: str = ""


# -- runs ---------------------------------------------------------------------------------------


class RunCreate(Record, frozen=True):
    """Start a run. `user_id` and `start_time` are not taken from the client."""

    experiment_id: str
    run_name: str = ""
    tags: tuple[Pair, ...] = ()


class RunNamed(Record, frozen=True):
    """A run by id."""

    run_id: str = ""
    run_uuid: str = ""


class RunUpdate(Record, frozen=True):
    """Change status or name; when it ended is the server's time."""

    run_id: str = ""
    run_uuid: str = ""
    status: RunStatus | None = None
    run_name: str = ""


class RunSetTag(Record, frozen=True):
    """Set a tag of a run."""

    key: str
    value: str = ""
    run_id: str = ""
    run_uuid: str = ""


class RunDeleteTag(Record, frozen=True):
    """Remove a tag of a run."""

    key: str
    run_id: str = ""
    run_uuid: str = ""


class RunLogMetric(Record, frozen=True):
    """Log one point of one metric, or several as `metrics`: they join what others log with it."""

    key: str = ""
    value: Number = 0.0
    timestamp: int = 0
    step: int = 0
    model_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""
    run_id: str = ""
    run_uuid: str = ""
    metrics: tuple[MetricValue, ...] = ()


class RunLogParam(Record, frozen=True):
    """Log a parameter, once."""

    key: str
    value: str = ""
    run_id: str = ""
    run_uuid: str = ""


class RunLogModel(Record, frozen=True):
    """Note what model was logged to a run, as clients before 3 do."""

    model_json: str
    run_id: str = ""
    run_uuid: str = ""


class RunLogBatch(Record, frozen=True):
    """Log metrics, parameters and tags together: all or nothing."""

    run_id: str
    metrics: tuple[MetricValue, ...] = ()
    params: tuple[Pair, ...] = ()
    tags: tuple[Pair, ...] = ()


class RunInfo(Record, frozen=True, omit_defaults=True):
    """What a run is."""

    run_id: str
    run_uuid: str
    experiment_id: str
    run_name: str
    user_id: str
    status: str
    start_time: int
    artifact_uri: str
    lifecycle_stage: str
    end_time: int = 0


class RunData(Record, frozen=True):
    """What was logged to a run; of each metric the latest point."""

    metrics: tuple[MetricValue, ...] = ()
    params: tuple[Pair, ...] = ()
    tags: tuple[Pair, ...] = ()


class DatasetFields(Record, frozen=True, omit_defaults=True):
    """A data set, as a client describes it."""

    name: str
    digest: str
    source_type: str = ""
    source: str = ""
    schema: str = ""
    profile: str = ""


class DatasetInput(Record, frozen=True):
    """A data set that a run used."""

    dataset: DatasetFields
    tags: tuple[Pair, ...] = ()


class ModelInput(Record, frozen=True):
    """A logged model that a run used."""

    model_id: str


class ModelOutput(Record, frozen=True):
    """A logged model that a run made."""

    model_id: str
    step: int = 0


class RunInputs(Record, frozen=True):
    """What a run used."""

    dataset_inputs: tuple[DatasetInput, ...] = ()
    model_inputs: tuple[ModelInput, ...] = ()


class RunOutputs(Record, frozen=True):
    """What a run made."""

    model_outputs: tuple[ModelOutput, ...] = ()


class RunShown(Record, frozen=True):
    """A run."""

    info: RunInfo
    data: RunData
    inputs: RunInputs = RunInputs()
    outputs: RunOutputs = RunOutputs()


class RunReply(Record, frozen=True):
    """One run."""

    run: RunShown


class RunUpdated(Record, frozen=True):
    """What the run is now."""

    run_info: RunInfo


class RunSearch(Record, frozen=True):
    """Search runs of some experiments."""

    experiment_ids: tuple[str, ...] = ()
    filter: str = ""
    run_view_type: str = "ACTIVE_ONLY"
    max_results: int = 1000
    order_by: tuple[str, ...] = ()
    page_token: str = ""


class RunsFound(Record, frozen=True, omit_defaults=True):
    """A page of runs."""

    runs: tuple[RunShown, ...]
    next_page_token: str = ""


class MetricHistory(Record, frozen=True):
    """All points of one metric."""

    metric_key: str
    run_id: str = ""
    run_uuid: str = ""
    max_results: int = 0  # 0: all
    page_token: str = ""


class MetricsFound(Record, frozen=True, omit_defaults=True):
    """A page of points."""

    metrics: tuple[MetricValue, ...]
    next_page_token: str = ""


class ServerInfo(Record, frozen=True):
    """What the server can do: what clients ask before they choose a way."""

    store_type: str = "Vallum"
    workspaces_enabled: bool = False
    trace_archival_enabled: bool = False
    multipart_uploads_enabled: bool = False
    multipart_downloads_enabled: bool = False
    presigned_upload_run_id_supported: bool = False
    presigned_upload_model_id_supported: bool = False

"""Experiments, runs and metrics as they are stored in `records` rows.

Keys of parameters, tags and metrics may be any Unicode, which canonical JSON has no place for as
names of members: they are stored as sorted pairs.
"""

from enum import StrEnum

from vallum.schema.asset import Part
from vallum.schema.record import Measure, Record

Pair = tuple[str, str]
Latest = tuple[str, Measure, int, int]  # key, value, time in ms, step


class RunStatus(StrEnum):
    """What a run does, as whoever logs it says. MLflow's words."""

    RUNNING = "RUNNING"
    SCHEDULED = "SCHEDULED"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"


class Experiment(Record, frozen=True):
    """A named container of runs. Rights are given at it; its runs have none of their own."""

    id: str
    name: str
    owner_id: str
    created_ms: int
    updated_ms: int
    tags: tuple[Pair, ...] = ()
    deleted_ms: int = 0  # 0: active


class DatasetUsed(Record, frozen=True):
    """A data set that a client says a run used."""

    name: str
    digest: str
    source_type: str = ""
    source: str = ""
    schema: str = ""
    profile: str = ""
    tags: tuple[Pair, ...] = ()


class Run(Record, frozen=True):
    """One run. Who and when are the server's; the rest is what a client claims."""

    id: str
    experiment_id: str
    name: str
    user_id: str  # principal of the credential that made it
    user: str  # its name then
    started_ms: int
    ended_ms: int = 0  # 0: has not ended
    status: RunStatus = RunStatus.RUNNING
    params: tuple[Pair, ...] = ()
    tags: tuple[Pair, ...] = ()
    latest: tuple[Latest, ...] = ()
    datasets: tuple[DatasetUsed, ...] = ()
    models_in: tuple[str, ...] = ()  # ids of logged models
    models_out: tuple[tuple[str, int], ...] = ()  # id and step
    deleted_ms: int = 0  # 0: active


class MetricPoints(Record, frozen=True):
    """Points of one run's metrics, packed; written once."""

    id: str
    run_id: str
    count: int
    keys: tuple[str, ...]
    packed: str  # base64 of `count` points: see workspace/tracking/points.py


class MetricBundle(Record, frozen=True):
    """Points that a lease takes in without an entry each; an entry closes them together."""

    id: str
    run_id: str
    experiment_id: str
    opened_by: str
    opened_ms: int
    points: MetricPoints


class ModelStatus(StrEnum):
    """Whether a logged model is complete. MLflow's words."""

    PENDING = "LOGGED_MODEL_PENDING"
    READY = "LOGGED_MODEL_READY"
    FAILED = "LOGGED_MODEL_UPLOAD_FAILED"


class ModelMetric(Record, frozen=True):
    """The latest point of a metric of a logged model."""

    key: str
    value: Measure
    at_ms: int
    step: int
    run_id: str
    dataset_name: str = ""
    dataset_digest: str = ""


class LoggedModel(Record, frozen=True):
    """A model that a client logged: not registered, not scanned, a holder of artifacts."""

    id: str
    experiment_id: str
    name: str
    user_id: str
    user: str
    created_ms: int
    updated_ms: int
    model_type: str = ""
    run_id: str = ""
    status: ModelStatus = ModelStatus.PENDING
    metrics: tuple[ModelMetric, ...] = ()
    params: tuple[Pair, ...] = ()
    tags: tuple[Pair, ...] = ()


class Artifact(Record, frozen=True):
    """A file of a run or logged model, under a key of its own."""

    id: str
    holder_id: str  # of the run or logged model
    experiment_id: str
    path: str
    content: Part
    made_by: str
    made_ms: int
    # Of the scan; empty: not scanned yet. Only `clean`, or skops of trusted types, is read without
    # a right of its own.
    verdict: str = ""


class Trace(Record, frozen=True):
    """What a program did for one request, as it told. Its spans are a file of it."""

    id: str  # the client's
    experiment_id: str
    user_id: str  # principal of the credential that logged it
    user: str  # its name then
    made_ms: int  # by the server's clock
    started_ms: int  # as the client says
    duration_ms: int = -1  # below 0: not told
    state: str = "STATE_UNSPECIFIED"
    sealed: str = ""  # base64 of `TraceHeld`, encrypted: it quotes what was asked and answered


class TraceHeld(Record, frozen=True):
    """What of a trace is kept encrypted."""

    metadata: dict[str, str] = {}
    tags: dict[str, str] = {}
    request_preview: str = ""
    response_preview: str = ""
    client_request_id: str = ""
    runs: tuple[str, ...] = ()  # that it was linked to
    assessments: tuple[dict[str, object], ...] = ()


class EvaluationSet(Record, frozen=True):
    """Questions that a program is evaluated with, and what is expected of it."""

    id: str
    name: str
    experiment_ids: tuple[str, ...]  # rights are asked on each of them
    user: str  # name of the principal that made it
    created_ms: int
    updated_ms: int
    updated_by: str
    digest: str  # of the records
    tags: tuple[Pair, ...] = ()
    sealed: str = ""  # base64 of its records, encrypted: they quote what people asked


class EvaluationRecord(Record, frozen=True):
    """One question of an evaluation set."""

    id: str
    inputs: dict[str, object]
    created_ms: int
    updated_ms: int
    created_by: str
    updated_by: str
    outputs: object = None
    expectations: dict[str, object] = {}
    tags: dict[str, str] = {}
    source: dict[str, object] = {}


class RegisteredFrom(Record, frozen=True):
    """What MLflow keeps beside a model version: where it is from, and what may change."""

    id: str  # of the version
    source: str
    run_id: str = ""
    model_id: str = ""
    run_link: str = ""
    description: str = ""
    stage: str = "None"  # MLflow's word for none
    updated_ms: int = 0
    tags: tuple[Pair, ...] = ()

"""Traces and assessments as an MLflow client sends and gets them.

Source: MLflow 3 REST API, `service.proto` (`TraceInfoV3`) and `assessments.proto`. What
clients send is taken apart in `workspace/tracking/tracing.py`: they add fields with every release.
"""

from vallum.schema.mlflow import MAX_RESULTS
from vallum.schema.record import Record

MAX_TRACES = min(500, MAX_RESULTS)  # of a page: MLflow's bound


class TraceStart(Record, frozen=True):
    """Log a trace that has ended, without its spans."""

    trace: dict[str, object]


class TraceNamed(Record, frozen=True):
    """A trace by id."""

    trace_id: str


class TraceSetTag(Record, frozen=True):
    """Set a tag of a trace."""

    trace_id: str
    key: str
    value: str = ""


class TraceDeleteTag(Record, frozen=True):
    """Remove a tag of a trace."""

    trace_id: str
    key: str


class TracesDelete(Record, frozen=True):
    """Delete traces of an experiment: those named, or those before a time, the oldest first."""

    experiment_id: str
    request_ids: tuple[str, ...] = ()
    max_timestamp_millis: int | None = None
    max_traces: int | None = None


class TracesDeleted(Record, frozen=True):
    """How many were deleted."""

    traces_deleted: int


class TracesLink(Record, frozen=True):
    """Say that traces belong to a run."""

    run_id: str
    trace_ids: tuple[str, ...] = ()


class TraceSearch(Record, frozen=True):
    """Search traces of some experiments, which `locations` name."""

    locations: tuple[dict[str, object], ...] = ()
    filter: str = ""
    max_results: int = 100
    order_by: tuple[str, ...] = ()
    page_token: str = ""


class AssessmentCreate(Record, frozen=True):
    """Assess a trace."""

    trace_id: str
    assessment: dict[str, object]


class AssessmentNamed(Record, frozen=True):
    """An assessment by id."""

    trace_id: str
    assessment_id: str


class AssessmentUpdate(Record, frozen=True):
    """Change the fields of an assessment that the mask names."""

    trace_id: str
    assessment_id: str
    assessment: dict[str, object]
    update_mask: str = ""


class AssessmentReply(Record, frozen=True):
    """One assessment."""

    assessment: dict[str, object]


class TraceShown(Record, frozen=True):
    """What a trace is; its spans are at `mlflow.artifactLocation`."""

    trace_info: dict[str, object]


class TraceReply(Record, frozen=True):
    """One trace."""

    trace: TraceShown


class TracesFound(Record, frozen=True, omit_defaults=True):
    """A page of traces."""

    traces: tuple[dict[str, object], ...]
    next_page_token: str = ""

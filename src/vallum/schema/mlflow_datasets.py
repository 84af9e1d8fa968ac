"""Evaluation sets as an MLflow client sends and gets them.

Source: MLflow 3 REST API, `service.proto` and `datasets.proto`. Tags and records travel as JSON in
a text.
"""

from vallum.schema.mlflow import MAX_RESULTS
from vallum.schema.record import Record


class SetCreate(Record, frozen=True):
    """Make an evaluation set that belongs to experiments; none: the default one."""

    name: str
    experiment_ids: tuple[str, ...] = ()
    tags: str = ""


class SetNamed(Record, frozen=True):
    """An evaluation set by id."""

    dataset_id: str


class SetSearch(Record, frozen=True):
    """Search evaluation sets, of some experiments or of all."""

    experiment_ids: tuple[str, ...] = ()
    filter_string: str = ""
    max_results: int = min(1000, MAX_RESULTS)
    order_by: tuple[str, ...] = ()
    page_token: str = ""


class RecordsUpsert(Record, frozen=True):
    """Add records; of the same inputs there is one record."""

    dataset_id: str
    records: str


class RecordsUpserted(Record, frozen=True):
    """How many records are new, and how many were merged."""

    inserted_count: int
    updated_count: int


class RecordsOf(Record, frozen=True):
    """List records of an evaluation set."""

    dataset_id: str
    max_results: int = min(1000, MAX_RESULTS)
    page_token: str = ""


class RecordsFound(Record, frozen=True, omit_defaults=True):
    """A page of records, as JSON in a text."""

    records: str
    next_page_token: str = ""


class RecordsDelete(Record, frozen=True):
    """Delete records of an evaluation set."""

    dataset_id: str
    dataset_record_ids: tuple[str, ...] = ()


class RecordsDeleted(Record, frozen=True):
    """How many were deleted."""

    deleted_count: int


class SetTags(Record, frozen=True):
    """Set tags of an evaluation set; those that are not named stay."""

    dataset_id: str
    tags: str


class SetDeleteTag(Record, frozen=True):
    """Remove a tag of an evaluation set."""

    dataset_id: str
    key: str


class SetMove(Record, frozen=True):
    """Let an evaluation set belong to further experiments, or to fewer."""

    dataset_id: str
    experiment_ids: tuple[str, ...]


class SetExperiments(Record, frozen=True):
    """The experiments that an evaluation set belongs to."""

    experiment_ids: tuple[str, ...]


class SetShown(Record, frozen=True):
    """What an evaluation set is, its records apart."""

    dataset_id: str
    name: str
    digest: str
    created_time: int  # ms
    last_update_time: int  # ms
    created_by: str
    last_updated_by: str
    tags: str
    schema: str
    profile: str
    experiment_ids: tuple[str, ...]


class SetReply(Record, frozen=True):
    """One evaluation set."""

    dataset: SetShown


class SetsFound(Record, frozen=True, omit_defaults=True):
    """A page of evaluation sets."""

    datasets: tuple[SetShown, ...]
    next_page_token: str = ""

"""Poisoned data: what is found, taken out, told of what it reached, and stepped back from.

The records that are stored come first, then what crosses the HTTP border.
"""

from vallum.schema.api import AliasShown
from vallum.schema.asset import AssetVersion
from vallum.schema.evidence import Evidence
from vallum.schema.record import Record


class Contributor(Record, frozen=True):
    """One contributor's rows.

    Attributes:
        name: As the column calls them; or the principal who added the version.
        rows: Contributed.
        flagged: Of these.
        share: `flagged` of `rows`; `low` and `high` are its 95 % interval.
        p: Probability of as many flags or more where flags fall on rows at random.
        improbable: `p` is too small for chance, all contributors considered.
    """

    name: str
    rows: int
    flagged: int
    share: float
    low: float
    high: float
    p: float
    improbable: bool


class SuspectRow(Record, frozen=True):
    """One row that was taken out.

    Attributes:
        row: Its number in the table that it was taken from, from 0.
        reason: `label-conflict`, `trigger` or `duplicate`.
        score: The higher, the likelier poisoned.
        by: Who contributed it, if anything says so.
    """

    row: int
    reason: str
    score: float
    by: str = ""


class QuarantineReport(Record, frozen=True):
    """Why rows were taken out, under a right of its own: it may name who contributed them."""

    rows: tuple[SuspectRow, ...]
    contributors: tuple[Contributor, ...] = ()


class DataCheck(Record, frozen=True):
    """Look for poisoned rows in a labelled data version. Gate: `poisoning`."""

    name: str
    label_column: str
    version: int | None = None
    features: tuple[str, ...] = ()  # columns that are looked at; every one if empty
    contributor: str = ""  # column that names who contributed a row
    by_version: bool = False  # who added the version that first held a row contributed it


class DataChecked(Record, frozen=True):
    """A version with the verdicts about it, and who contributed its suspicious rows."""

    version: AssetVersion
    evidence: tuple[Evidence, ...] = ()
    aliases: tuple[AliasShown, ...] = ()
    contributors: tuple[Contributor, ...] = ()


class DataQuarantine(Record, frozen=True):
    """Make a version without the suspicious rows; why each was taken out is kept apart."""

    name: str
    label_column: str
    version: int | None = None
    features: tuple[str, ...] = ()
    contributor: str = ""
    by_version: bool = False


class DataQuarantined(Record, frozen=True):
    """What was taken out.

    Attributes:
        name: Of the data asset.
        source: Version that was looked at.
        version: Without the suspicious rows; None: there are none, and nothing was made.
        removed: Rows; `reasons` counts them by reason.
        kept: Rows.
        suspicious: What is left still stands out: the new version has not passed.
    """

    name: str
    source: int
    version: int | None
    removed: int
    kept: int
    reasons: dict[str, int]
    suspicious: bool
    contributors: tuple[Contributor, ...] = ()


class DataQuarantineShown(Record, frozen=True):
    """Which rows a version lacks, by their number in its source, and why."""

    name: str
    version: int
    source: str  # `name:version`; empty: it is gone, or not for this reader
    rows: tuple[SuspectRow, ...] = ()
    contributors: tuple[Contributor, ...] = ()


class AffectedVersion(Record, frozen=True):
    """A data or model version that was made from another, in the end.

    Attributes:
        why: `made from it` or `scored by a model made from it`.
        job: Name of the job that made it, if one did and the reader may know it.
    """

    name: str
    version: int
    digest: str
    why: str
    job: str = ""


class AffectedDeployment(Record, frozen=True):
    """An endpoint whose deployment runs an affected model."""

    endpoint: str
    deployment: str
    model: str  # `name:version`; empty: not for this reader
    traffic: int  # per cent


class DataAffected(Record, frozen=True):
    """What a data version reached, as far as the reader may know it.

    Attributes:
        hidden: Versions, deployments and jobs that the reader may not know more of.
        jobs: Names of those queued or running on the version, or on what was made from it.
    """

    name: str
    version: int
    models: tuple[AffectedVersion, ...] = ()
    data: tuple[AffectedVersion, ...] = ()
    deployments: tuple[AffectedDeployment, ...] = ()
    jobs: tuple[str, ...] = ()
    hidden: int = 0


class DataRevert(Record, frozen=True):
    """Point an alias of a data asset at a clean version: one that passed `poisoning`."""

    name: str
    version: int | None = None  # None: the newest that is clean
    alias: str = "trusted"


class Retraining(Record, frozen=True):
    """A model that was trained on data that failed, and what to train it on again."""

    model: str  # `name:version`
    job: str  # that made it; empty: none did, or not for this reader
    instead_of: str  # `name:version` of the data
    on: str


class DataReverted(Record, frozen=True):
    """Where the alias points now, and what is to be trained again."""

    name: str
    version: int
    alias: str
    before: int | None = None  # version that it named; None: it is new
    retrain: tuple[Retraining, ...] = ()
    hidden: int = 0  # models that are affected, and not for this reader

"""Poisoning as gates look for it in the sandbox: a table in, one bounded record out."""

from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np
import polars as pl

from vallum.base import InputError, LimitExceededError
from vallum.defend.contributors import contributors_of
from vallum.defend.poisoning import DEFAULT_ALPHA, Detection, detect_poisoning
from vallum.defend.quarantine import Quarantine, quarantine
from vallum.defend.tables import Measured, measured
from vallum.formats import read_table, write_table
from vallum.schema import Record
from vallum.schema.poisoning import Contributor, QuarantineReport, SuspectRow

DETECTOR = "conflict-trigger-duplicate"
"""What `detect_poisoning` asks, as evidence calls it."""
FALSE_ALARMS = 0.05
"""A data set without poison is called suspicious with a probability of at most this."""
EARLIER = 32
"""Versions before the one that is looked at, whose rows are told apart."""
MAX_REASONS = 200_000


class Contribution(Record, frozen=True):
    """An earlier version of the same data, and who added it."""

    by: str
    kind: str
    table: bytes


class Suspect(Record, frozen=True):
    """A labelled table with what is known of who contributed its rows; the payload.

    Attributes:
        table: The table.
        kind: `csv`, `parquet` or `jsonl`.
        label: The column of classes.
        features: Columns that are looked at; every one if empty.
        by: Who added the table: what no earlier version holds is theirs.
        contributor: The column that names who contributed a row; empty: there is none.
        earlier: Versions before, the oldest first.
        by_version: Whether rows are told apart by the versions that first held them.
    """

    table: bytes
    kind: str
    label: str
    features: tuple[str, ...] = ()
    by: str = ""
    contributor: str = ""
    earlier: tuple[Contribution, ...] = ()
    by_version: bool = False


class PoisonInspection(Record, frozen=True):
    """What was found; holds no value of the table but who contributed.

    Attributes:
        rows: Of the table.
        columns: That were looked at.
        left_out: Columns that are no measurements.
        beside: Columns that were not asked about.
        flagged: Rows that are suspicious; `reasons` counts them by reason.
        suspicious: The data set as a whole stands out.
        wrong_labels: Estimated share of labels drawn at random.
        triggers: Groups that share something no other class has.
        contributors: By improbability; empty where nothing names them.
    """

    rows: int
    columns: int
    left_out: tuple[str, ...]
    flagged: int
    reasons: dict[str, int]
    suspicious: bool
    wrong_labels: float
    triggers: int
    contributors: tuple[Contributor, ...] = ()
    beside: int = 0


class QuarantinedTable(Record, frozen=True):
    """A table without its suspicious rows; `table` is empty where there are none."""

    table: bytes
    kept: int
    report: QuarantineReport
    before: PoisonInspection
    after: PoisonInspection


def inspect_poisoning(payload: bytes, *, seed: int) -> PoisonInspection:
    """Look for poison in a table.

    Args:
        payload: `Suspect` in MessagePack.
        seed: Of the reference rows that are drawn.

    Raises:
        InputError: The table is malformed, or cannot be judged.
        LimitExceededError: It exceeds a bound.
    """
    given = msgspec.msgpack.decode(payload, type=Suspect)
    frame = read_table(given.table, kind=given.kind)
    return _inspected(frame, given, _names(frame, given), seed)[0]


def quarantine_rows(payload: bytes, *, seed: int) -> QuarantinedTable:
    """Take the suspicious rows out of a table, each with its reason, and look again.

    The payload and what is raised are as of `inspect_poisoning`.
    """
    given = msgspec.msgpack.decode(payload, type=Suspect)
    frame = read_table(given.table, kind=given.kind)
    names = _names(frame, given)
    before, parted = _inspected(frame, given, names, seed)
    if not parted.rows:
        return QuarantinedTable(
            table=b"", kept=frame.height, report=QuarantineReport(()), before=before, after=before
        )
    if len(parted.rows) > MAX_REASONS:
        raise LimitExceededError(f"more than {MAX_REASONS} rows are suspicious", code="poison.rows")
    kept = frame.filter(pl.Series(parted.kept))
    left = [names[at] for at in np.flatnonzero(parted.kept)] if names else []
    return QuarantinedTable(
        table=write_table(kept, given.kind),
        kept=kept.height,
        report=QuarantineReport(
            rows=tuple(
                SuspectRow(
                    row=one.row, reason=one.reason, score=round(one.score, 4),
                    by=names[one.row] if names else "",
                )
                for one in parted.rows
            ),
            contributors=before.contributors,
        ),
        before=before,
        after=_inspected(kept, given, left, seed)[0],
    )  # fmt: skip


def _inspected(
    frame: pl.DataFrame, given: Suspect, names: Sequence[str], seed: int
) -> tuple[PoisonInspection, Quarantine]:
    without = (given.contributor,) if given.contributor else ()
    if any("," in name for name in given.features):
        # Evidence names them by commas: `a,b` must not stand for `a` and `b`.
        raise InputError("a column whose name has a comma cannot be named", code="poison.features")
    table = measured(frame, given.label, without=without, features=given.features)
    found = detect_poisoning(table.x, table.y, alpha=DEFAULT_ALPHA, rng=np.random.default_rng(seed))
    parted = quarantine(found)
    return _told(found, parted, table, names), parted


def _told(
    found: Detection,
    parted: Quarantine,
    table: Measured,
    names: Sequence[str],
) -> PoisonInspection:
    return PoisonInspection(
        rows=len(table.y),
        columns=table.columns,
        left_out=table.left_out,
        beside=table.beside,
        flagged=len(parted.rows),
        reasons=dict(sorted(Counter(one.reason for one in parted.rows).items())),
        suspicious=found.suspicious,
        wrong_labels=found.wrong_labels,
        triggers=found.triggers,
        contributors=contributors_of(names, found.flagged) if names else (),
    )


def _names(frame: pl.DataFrame, given: Suspect) -> list[str]:
    """Return who contributed each row; empty where nothing says so."""
    if given.contributor and given.by_version:
        raise InputError("contributors are told by a column or by versions", code="poison.by")
    if given.contributor:
        if given.contributor not in frame.columns or given.contributor == given.label:
            raise InputError(
                f"the table has no such column `{given.contributor[:80]}` of contributors",
                code="poison.by",
            )
        return frame[given.contributor].cast(pl.String).fill_null("").to_list()
    if not given.by_version:
        return []
    # A row is of who added the first version that holds it; of copies, as many as were there.
    left = _keys(frame)
    owners = np.full(len(left), given.by, dtype=object)
    open_ = np.ones(len(left), dtype=np.bool_)
    for one in given.earlier:
        before = read_table(one.table, kind=one.kind)
        if set(before.columns) != set(frame.columns):
            continue  # other columns: no row of it can be found again
        counts = Counter(_keys(before.select(frame.columns)))
        for at in np.flatnonzero(open_):
            if counts[left[at]] > 0:
                counts[left[at]] -= 1
                owners[at], open_[at] = one.by, False
    return [str(one) for one in owners]


def _keys(frame: pl.DataFrame) -> list[tuple[object, ...]]:
    """Return rows as they compare between formats: a number by its value, all else by its text."""
    return frame.select(
        pl.col(name).cast(pl.Float64) if type_.is_numeric() else pl.col(name).cast(pl.String)
        for name, type_ in frame.schema.items()
    ).rows()

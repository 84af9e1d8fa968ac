"""A query: aggregates over the records that fulfil a condition, for each group."""

from typing import Literal

from vallum.schema import Record

Scalar = str | float | int


class Compare(Record, frozen=True, tag="compare"):
    """`column <op> value`."""

    column: str
    op: Literal["=", "<>", "<", "<=", ">", ">="]
    value: Scalar


class OneOf(Record, frozen=True, tag="one-of"):
    """`column IN (…)`."""

    column: str
    values: tuple[Scalar, ...]


class Missing(Record, frozen=True, tag="missing"):
    """`column IS NULL`."""

    column: str


class Not(Record, frozen=True, tag="not"):
    """A negated condition."""

    of: "Condition"


class Both(Record, frozen=True, tag="and"):
    """Both conditions hold."""

    left: "Condition"
    right: "Condition"


class Either(Record, frozen=True, tag="or"):
    """At least one condition holds."""

    left: "Condition"
    right: "Condition"


Condition = Compare | OneOf | Missing | Not | Both | Either

Kind = Literal["count", "persons", "sum", "mean", "variance", "stddev", "quantile"]


class Aggregate(Record, frozen=True):
    """One figure that is asked for.

    Attributes:
        kind: `count` of records (with a column: of those that have a value), `persons`, …
        column: What is added up; empty for `persons` and a count of all records.
        at: Of a quantile, 0 < at < 1, as decimal text.
        name: In the answer.
    """

    kind: Kind
    name: str
    column: str = ""
    at: str = ""


class Query(Record, frozen=True):
    """What is asked of one table."""

    aggregates: tuple[Aggregate, ...]
    where: Condition | None = None
    group_by: tuple[str, ...] = ()

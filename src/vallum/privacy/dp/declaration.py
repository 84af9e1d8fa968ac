"""What the owner of a table declares about it, so that no bound ever comes from the data.

vallum.dp/1:

    unit: {column: patient, max_rows: 4}     # or {rows: true}: every record is another person
    columns:
      age:  {type: integer, lower: 0, upper: 120, bins: [0, 18, 40, 65, 120]}
      cost: {type: number, lower: 0, upper: 5000}
      sex:  {type: category, values: [F, M]}
      ward: {type: category}                 # groups are not public: released above a threshold
"""

import math
from itertools import pairwise
from typing import Literal

import msgspec

from vallum.base import InputError
from vallum.schema import Record

MAX_ROWS_PER_PERSON = 10_000
MAX_VALUES = 10_000
MAX_BINS = 1_000
_MAX_MAGNITUDE = 2.0**53


class Unit(Record, frozen=True):
    """Whose presence is hidden.

    Attributes:
        column: Names the person of each record; empty if every record is another person.
        max_rows: Records that one person may contribute; further ones are left out.
        rows: Every record is another person: said, never assumed.
    """

    column: str = ""
    max_rows: int = 1
    rows: bool = False


class Column(Record, frozen=True):
    """One column that may be queried.

    Attributes:
        type: `integer`, `number` or `category`.
        lower: Smallest value that counts; smaller ones are raised to it.
        upper: Largest value that counts; larger ones are lowered to it.
        values: Groups that are public.
        bins: Edges of the groups that a number falls into; the last group is closed above.
    """

    type: Literal["integer", "number", "category"]
    lower: float | None = None
    upper: float | None = None
    values: tuple[str, ...] = ()
    bins: tuple[float, ...] = ()


class Declaration(Record, frozen=True):
    """What is declared about a table."""

    version: Literal["vallum.dp/1"]
    unit: Unit
    columns: dict[str, Column]


def parse_declaration(document: object) -> Declaration:
    """Check a declaration that a bounded reader has turned into plain values.

    Raises:
        InputError: A field is missing, unknown, out of range, or contradicts another.
    """
    try:
        made = msgspec.convert(document, Declaration)
    except msgspec.ValidationError as error:
        raise InputError(
            f"the declaration does not fit: {str(error)[:200]}",
            code="dp.declaration",
            hint="docs/how-to/query-with-a-privacy-budget.md shows one",
        ) from error
    unit = made.unit
    if bool(unit.column) == unit.rows:
        raise _wrong("name the column of the person, or say `rows: true`; one of the two")
    if not 1 <= unit.max_rows <= MAX_ROWS_PER_PERSON:
        raise _wrong(f"`max_rows` must be from 1 to {MAX_ROWS_PER_PERSON}")
    if unit.rows and unit.max_rows != 1:
        raise _wrong("with `rows: true` a person has one record")
    if not made.columns or len(made.columns) > MAX_BINS:
        raise _wrong(f"declare 1 to {MAX_BINS} columns")
    for name, column in made.columns.items():
        if name == unit.column:
            raise _wrong(f"`{name}` names the person: it cannot be queried")
        _check(name, column)
    return made


def _check(name: str, column: Column) -> None:
    if column.type == "category":
        if column.lower is not None or column.upper is not None or column.bins:
            raise _wrong(f"`{name}` is a category: it has values, not bounds")
        if len(set(column.values)) != len(column.values) or len(column.values) > MAX_VALUES:
            raise _wrong(f"the values of `{name}` repeat, or are more than {MAX_VALUES}")
        return
    if column.values:
        raise _wrong(f"`{name}` is a number: it has bounds, not values")
    lower, upper = column.lower, column.upper
    if lower is None or upper is None:
        raise _wrong(f"`{name}` needs `lower` and `upper`: a bound never comes from the data")
    if not (math.isfinite(lower) and math.isfinite(upper) and lower < upper):
        raise _wrong(f"`{name}`: `lower` must be below `upper`, both finite")
    if max(abs(lower), abs(upper)) > _MAX_MAGNITUDE:
        raise _wrong(f"`{name}`: bounds beyond 2^53 are not exact numbers")
    if column.type == "integer" and not (lower.is_integer() and upper.is_integer()):
        raise _wrong(f"`{name}` is an integer: so are its bounds")
    if column.bins:
        rising = all(one < other for one, other in pairwise(column.bins))
        if not 1 < len(column.bins) <= MAX_BINS or not rising:
            raise _wrong(f"the bins of `{name}` must be 2 to {MAX_BINS} rising edges")
        if not all(math.isfinite(edge) for edge in column.bins):
            raise _wrong(f"the bins of `{name}` must be finite")


def _wrong(message: str) -> InputError:
    return InputError(message, code="dp.declaration")


def bounds(name: str, column: Column) -> tuple[float, float]:
    """Return the declared bounds of a number.

    Raises:
        InputError: The column is a category.
    """
    if column.lower is None or column.upper is None:
        raise InputError(
            f"`{name}` is a category: it can be counted and grouped by, not added up",
            code="dp.unbounded",
        )
    return column.lower, column.upper

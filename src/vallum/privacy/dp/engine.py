"""Answers plans over a table: contributions are cut first, figures are exact, then comes noise.

Every value is cast, clamped and rounded to an integer by its own record and the declaration
alone, and sums are exact in 64 bits, so that the sensitivity is the one that the plan proved.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Self

import numpy as np
import polars as pl

from vallum.base import InputError, LimitExceededError
from vallum.privacy.dp.cost import Cost
from vallum.privacy.dp.declaration import Column, Declaration, bounds
from vallum.privacy.dp.noise import Noise, additive, choice, chosen, noisy, released, thresholded
from vallum.privacy.dp.plan import CANDIDATES, Part, Plan, grid_of, group_labels
from vallum.privacy.dp.query import (
    Aggregate,
    Both,
    Condition,
    Either,
    Missing,
    Not,
    OneOf,
)
from vallum.schema import Record

_PERSON = "\x00person"
_CELL = "\x00cell"
MAX_ROWS = 2**30
_MISS = 0.05


class Figure(Record, frozen=True):
    """One figure of an answer.

    Attributes:
        name: As the query calls it.
        value: The noisy figure; None where the noisy number of records is not positive.
        low: Lower end of the 95 % interval of the noise, or None.
        high: Its upper end, or None.
        rank_error: Of a quantile instead: records by which its rank may be off, at 95 %.
        mechanism: Names of the measurements, joined by `+`.
        scale: Of the first measurement's noise, in units of the figure.
    """

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    rank_error: float | None = None
    mechanism: str = ""
    scale: float = 0.0


class Group(Record, frozen=True):
    """The figures of one group."""

    key: tuple[str, ...]
    figures: tuple[Figure, ...]


class Answer(Record, frozen=True):
    """What a query is told.

    Attributes:
        group_by: Columns that the keys stand for.
        groups: One with an empty key where there is no GROUP BY.
        cost: What was spent.
        unit: Whose presence is hidden.
    """

    group_by: tuple[str, ...]
    groups: tuple[Group, ...]
    cost: Cost
    unit: str


@dataclass(frozen=True, slots=True)
class _Released:
    value: int
    half_width: float


def _noise(part: Part, plan: Plan) -> Noise:
    epsilon, rho = plan.share
    make = choice if part.what == "quantile" else additive
    return make(part.moves, epsilon=epsilon, rho=rho)


class PrivateTable:
    """A table that answers only with noise; holds the records that count, ready to be added up."""

    def __init__(self, frame: pl.DataFrame, declaration: Declaration) -> None:
        self._frame = frame
        self._declaration = declaration

    def __repr__(self) -> str:
        """Tell nothing, not the number of records either."""
        return "PrivateTable()"

    @classmethod
    def open(cls, frame: pl.DataFrame, declaration: Declaration) -> Self:
        """Cast the declared columns and leave out what a person contributes beyond the limit.

        Which records of a person stay depends on their order among that person's own records
        only, so that adding or removing somebody else changes none of them.

        Raises:
            InputError: A declared column is missing.
            LimitExceededError: The table is too long for exact sums.
        """
        if frame.height > MAX_ROWS:
            raise LimitExceededError(f"the table has more than {MAX_ROWS} records", code="dp.size")
        unit = declaration.unit
        for name in (*declaration.columns, *([unit.column] if unit.column else [])):
            if name not in frame.columns:
                raise InputError(f"the table has no column `{name}`", code="dp.column")
        try:
            made = [_cast(frame[name], column) for name, column in declaration.columns.items()]
            if not unit.column:
                return cls(pl.DataFrame(made), declaration)
            person = frame[unit.column].cast(pl.String).rank("dense").cast(pl.UInt32)
        except pl.exceptions.PolarsError as error:
            raise InputError(
                "a declared column holds lists or other nested values", code="dp.column"
            ) from error
        # A record without a person belongs to nobody whose contribution could be bounded.
        table = pl.DataFrame([*made, person.alias(_PERSON)]).drop_nulls(_PERSON)
        kept = table.filter(pl.int_range(pl.len()).over(_PERSON) < unit.max_rows)
        return cls(kept, declaration)

    def answer(self, plan: Plan) -> Answer:
        """Release what a plan releases; the caller has charged `plan.cost` before.

        Raises:
            InputError: The plan is of another declaration.
        """
        if plan.declaration != self._declaration:
            raise InputError("the plan was made for another declaration", code="dp.declaration")
        frame = self._frame
        if plan.query.where is not None:
            frame = frame.filter(_expression(plan.query.where))
        keyed, cells = self._grouped(frame, plan)
        noises = [[_noise(part, plan) for part in parts] for parts in plan.parts]
        columns = [
            [
                self._release(keyed, part, noise, len(cells), miss=_MISS / len(parts))
                for part, noise in zip(parts, used, strict=True)
            ]
            for parts, used in zip(plan.parts, noises, strict=True)
        ]
        groups = [
            Group(
                key=cell,
                figures=tuple(
                    self._figure(aggregate, used, [one[at] for one in values])
                    for aggregate, used, values in zip(
                        plan.query.aggregates, noises, columns, strict=True
                    )
                ),
            )
            for at, cell in enumerate(cells)
        ]
        return Answer(
            group_by=plan.query.group_by,
            groups=tuple(groups),
            cost=plan.cost,
            unit=self._declaration.unit.column or "record",
        )

    # -- groups ---------------------------------------------------------------------------------

    def _grouped(
        self, frame: pl.DataFrame, plan: Plan
    ) -> tuple[pl.DataFrame, list[tuple[str, ...]]]:
        """Return the records with the number of their cell, and the cells."""
        names = plan.query.group_by
        if not names:
            return frame.with_columns(pl.lit(0, dtype=pl.UInt32).alias(_CELL)), [()]
        columns = [self._declaration.columns[name] for name in names]
        if plan.public:
            cell = pl.lit(0, dtype=pl.UInt32)
            for name, column in zip(names, columns, strict=True):
                labels = group_labels(column)
                cell = cell * len(labels) + _index(name, column)
            return frame.with_columns(cell.alias(_CELL)).drop_nulls(_CELL), plan.cells
        texts = [_text(name, column) for name, column in zip(names, columns, strict=True)]
        keyed = frame.with_columns(pl.struct(texts).struct.json_encode().alias(_CELL))
        persons = (
            keyed.group_by(_CELL).agg(pl.col(_PERSON).n_unique().alias("n"))
            if _PERSON in keyed.columns
            else keyed.group_by(_CELL).agg(pl.len().alias("n"))
        )
        counts = dict(zip(persons[_CELL].to_list(), persons["n"].to_list(), strict=True))
        epsilon, rho = plan.share
        unseen = thresholded(
            self._declaration.unit.max_rows,
            epsilon=epsilon,
            rho=rho,
            delta=Decimal(plan.cost.delta),
        )
        seen = sorted(released(unseen, counts))
        numbers = pl.DataFrame(
            {_CELL: seen, "at": range(len(seen))}, schema={_CELL: pl.String, "at": pl.UInt32}
        )
        joined = keyed.join(numbers, on=_CELL, how="inner").drop(_CELL)
        cells = [
            tuple("" if one is None else str(one) for one in json.loads(text).values())
            for text in seen
        ]
        return joined.rename({"at": _CELL}), cells

    # -- releases -------------------------------------------------------------------------------

    def _release(
        self, frame: pl.DataFrame, part: Part, noise: Noise, cells: int, *, miss: float
    ) -> list[_Released]:
        if cells == 0:
            return []
        if part.what == "quantile":
            scores = self._scores(frame, part, cells)
            width = noise.half_width(miss / scores.shape[1]) / part.at.denominator
            return [_Released(chosen(noise, row.tolist()), width) for row in scores]
        exact = self._exact(frame, part, cells)
        width = noise.half_width(miss)
        return [_Released(value, width) for value in noisy(noise, exact)]

    def _exact(self, frame: pl.DataFrame, part: Part, cells: int) -> list[int]:
        if part.what == "rows":
            figure = pl.len()
        elif part.what == "persons":
            figure = pl.col(_PERSON).n_unique()
        elif part.what == "present":
            figure = pl.col(part.column).count()
        else:
            figure = self._steps(part).sum()
        figure = figure.cast(pl.Int64).alias("n")
        if cells == 1 and frame.height == 0:
            return [0]
        if cells == 1:
            return [int(frame.select(figure).item())]
        found = frame.group_by(_CELL).agg(figure)
        out = np.zeros(cells, dtype=np.int64)
        out[found[_CELL].to_numpy()] = found["n"].to_numpy()
        return [int(one) for one in out]

    def _steps(self, part: Part) -> pl.Expr:
        """Return a column as whole steps of its grid."""
        column = self._declaration.columns[part.column]
        lower, upper = bounds(part.column, column)
        grid = grid_of(part.column, column, part.what)
        value = pl.col(part.column).clip(lower, upper)
        if part.what == "total" and column.type == "integer":
            return value.cast(pl.Int64)
        if part.what == "squares":
            value = (value - (lower + upper) / 2).pow(2)
        steps = ((value - grid.origin) / grid.step).round().clip(-grid.most, grid.most)
        return steps.cast(pl.Int64)

    def _scores(
        self, frame: pl.DataFrame, part: Part, cells: int
    ) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
        """Return how far each candidate is from the quantile, in records, shape (cells, c).

        Source: Smith 2011, with both sides counted so that ties of a candidate cost nothing.
        """
        column = self._declaration.columns[part.column]
        candidates = candidates_of(part.column, column)
        above, whole = part.at.numerator, part.at.denominator
        present = frame.select(part.column, _CELL).drop_nulls(part.column)
        lower, upper = bounds(part.column, column)
        values = np.clip(present[part.column].cast(pl.Float64).to_numpy(), lower, upper)
        # Place 2i is candidate i itself, 2i - 1 what lies between it and the one before.
        after = np.searchsorted(candidates, values, side="left")
        places = 2 * len(candidates)
        at = 2 * after - (candidates[after] != values)
        where = present[_CELL].to_numpy().astype(np.int64) * places + at
        counts = np.bincount(where, minlength=cells * places).reshape(cells, places)
        not_above = counts.cumsum(axis=1)[:, ::2]
        below = not_above - counts[:, ::2]
        over = counts.sum(axis=1, keepdims=True) - not_above
        scores: np.ndarray[tuple[int, int], np.dtype[np.int64]] = np.abs(
            (whole - above) * below - above * over
        )
        return scores

    # -- figures --------------------------------------------------------------------------------

    def _figure(
        self, aggregate: Aggregate, noises: Sequence[Noise], values: Sequence[_Released]
    ) -> Figure:
        mechanism = "+".join(dict.fromkeys(noise.mechanism for noise in noises))
        first = values[0]
        if aggregate.kind in {"count", "persons"}:
            return Figure(
                name=aggregate.name, value=float(first.value),
                low=first.value - first.half_width, high=first.value + first.half_width,
                mechanism=mechanism, scale=noises[0].scale,
            )  # fmt: skip
        column = self._declaration.columns[aggregate.column]
        if aggregate.kind == "quantile":
            return Figure(
                name=aggregate.name,
                value=float(candidates_of(aggregate.column, column)[first.value]),
                rank_error=first.half_width, mechanism=mechanism, scale=noises[0].scale,
            )  # fmt: skip
        if aggregate.kind == "sum":
            step = grid_of(aggregate.column, column, "total").step
            return Figure(
                name=aggregate.name, value=first.value * step,
                low=(first.value - first.half_width) * step,
                high=(first.value + first.half_width) * step,
                mechanism=mechanism, scale=noises[0].scale * step,
            )  # fmt: skip
        return _moment(aggregate, column, noises, values, mechanism)


def _moment(
    aggregate: Aggregate,
    column: Column,
    noises: Sequence[Noise],
    values: Sequence[_Released],
    mechanism: str,
) -> Figure:
    """Return a mean, variance or deviation, computed from noisy sums alone."""
    lower, upper = bounds(aggregate.column, column)
    grid = grid_of(aggregate.column, column, "centred")
    count, total = values[0], values[1]
    scale = noises[1].scale * grid.step
    if count.value <= 0:
        return Figure(name=aggregate.name, value=None, mechanism=mechanism, scale=scale)
    fewest = count.value - count.half_width
    offset = total.value * grid.step / count.value
    mean = min(max(grid.origin + offset, lower), upper)
    if aggregate.kind == "mean":
        # Each release stays within its own width but for its share of the 5 %.
        off = (
            (total.half_width * grid.step + abs(offset) * count.half_width) / fewest
            if fewest > 0
            else upper - lower
        )
        return Figure(
            name=aggregate.name, value=mean,
            low=max(lower, mean - off), high=min(upper, mean + off),
            mechanism=mechanism, scale=scale,
        )  # fmt: skip
    squares = grid_of(aggregate.column, column, "squares")
    second = squares.origin + values[2].value * squares.step / count.value
    most = ((upper - lower) / 2) ** 2
    variance = min(max(second - (mean - grid.origin) ** 2, 0.0), most)
    value = variance if aggregate.kind == "variance" else variance**0.5
    return Figure(name=aggregate.name, value=value, mechanism=mechanism, scale=scale)


def candidates_of(name: str, column: Column) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the values that a quantile may be told as: public, from the bounds alone."""
    lower, upper = bounds(name, column)
    if column.type == "integer" and upper - lower < CANDIDATES:
        return np.arange(lower, upper + 1, dtype=np.float64)
    return np.linspace(lower, upper, CANDIDATES)


def _cast(series: pl.Series, column: Column) -> pl.Series:
    if column.type == "category":
        return series.cast(pl.String, strict=False)
    number = series.cast(pl.Float64, strict=False)
    number = pl.select(pl.when(number.is_finite()).then(number)).to_series().alias(series.name)
    if column.type == "integer":
        lower, upper = bounds(series.name, column)
        return number.clip(lower, upper).round().cast(pl.Int64, strict=False)
    return number


def _index(name: str, column: Column) -> pl.Expr:
    """Return the number of a record's group, null where it is in none that is public."""
    if column.type == "category":
        return (
            pl.col(name)
            .cast(pl.Enum(list(column.values)), strict=False)
            .to_physical()
            .cast(pl.UInt32)
        )
    edges = column.bins
    value = pl.col(name).cast(pl.Float64)
    place = pl.lit(0, dtype=pl.UInt32)
    for edge in edges[1:-1]:
        place = place + (value >= edge).cast(pl.UInt32)
    return pl.when((value >= edges[0]) & (value <= edges[-1])).then(place)


def _text(name: str, column: Column) -> pl.Expr:
    if group_labels(column):
        labels = pl.Series(list(group_labels(column)), dtype=pl.String)
        return (
            _index(name, column)
            .replace_strict(list(range(len(labels))), labels, default=None, return_dtype=pl.String)
            .alias(name)
        )
    return pl.col(name).cast(pl.String)


def _expression(condition: Condition) -> pl.Expr:
    """Return a condition as SQL's three-valued logic has it: unknown is not true."""
    if isinstance(condition, Not):
        return ~_expression(condition.of)
    if isinstance(condition, Both):
        return _expression(condition.left) & _expression(condition.right)
    if isinstance(condition, Either):
        return _expression(condition.left) | _expression(condition.right)
    column = pl.col(condition.column)
    if isinstance(condition, Missing):
        return column.is_null()
    if isinstance(condition, OneOf):
        out = pl.lit(value=False)
        for value in condition.values:
            out = out | (column == _literal(value))
        return out
    than = _literal(condition.value)
    return {
        "=": column == than, "<>": column != than, "<": column < than,
        "<=": column <= than, ">": column > than, ">=": column >= than,
    }[condition.op]  # fmt: skip


def _literal(value: str | float) -> pl.Expr:
    return pl.lit(value if isinstance(value, str) else float(value))

"""From a query to releases: what is measured, how far one person moves it, what it costs.

A plan depends on the query and the declaration alone, and needs no noise library, so that it can
be charged before any record is looked at.

One person contributes at most `max_rows` records (`engine` leaves further ones out), so over all
groups together a figure moves by at most `max_rows` times what one record moves it: groups need
no composition, also where a person is in several.
"""

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from vallum.base import InputError
from vallum.privacy.dp.cost import ZERO, Cost
from vallum.privacy.dp.declaration import Column, Declaration, bounds
from vallum.privacy.dp.query import (
    Aggregate,
    Both,
    Compare,
    Condition,
    Either,
    Missing,
    Not,
    OneOf,
    Query,
)

GRID = 2**31
"""Steps from the middle of a column's range to its bound: numbers are counted in these."""

MAX_CELLS = 10_000
MAX_SENSITIVITY = 2**53  # beyond, a distance is no exact float for the privacy maps
MAX_RELEASES = 64
CANDIDATES = 1024
_DENOMINATOR = 1000


@dataclass(frozen=True, slots=True)
class Part:
    """One release: an integer for each group.

    Attributes:
        what: `rows`, `present` (records with a value), `persons`, `total`, `centred` and
            `squares` (about the middle of the range), `quantile`.
        column: Of the table; empty for `rows` and `persons`.
        moves: Most that one person moves it: over all groups together, or each score of a
            quantile.
        at: Of a quantile.
    """

    what: str
    column: str
    moves: int
    at: Fraction = Fraction(1, 2)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a query releases.

    Attributes:
        query: The query.
        declaration: What its bounds come from.
        parts: By aggregate, in the query's order.
        public: Whether every group is public; otherwise the groups are a release of their own.
        cost: What is charged, for everything together.
    """

    query: Query
    declaration: Declaration
    parts: tuple[tuple[Part, ...], ...]
    public: bool
    cost: Cost

    @property
    def share(self) -> tuple[Decimal, Decimal]:
        """Return the epsilon and the rho of each release: an even share."""
        count = sum(len(one) for one in self.parts) + (not self.public)
        return Decimal(self.cost.epsilon) / count, Decimal(self.cost.rho) / count

    @property
    def cells(self) -> list[tuple[str, ...]]:
        """Return the public groups; nothing where groups are released."""
        out: list[tuple[str, ...]] = [()]
        for name in self.query.group_by:
            labels = group_labels(self.declaration.columns[name])
            out = [(*cell, label) for cell in out for label in labels]
        return out


def make_plan(query: Query, declaration: Declaration, cost: Cost) -> Plan:
    """Plan a query that may spend `cost`, split evenly over what it must release.

    Raises:
        InputError: A column is not declared, has no bounds, or the groups are not public and
            there is no delta.
    """
    rows = declaration.unit.max_rows
    for name in query.group_by:
        _column(declaration, name)
    if query.where is not None:
        _check_condition(query.where, declaration)
    public = _public(query, declaration)
    delta = Decimal(cost.delta)
    if not public and delta == ZERO:
        raise InputError(
            "the groups are not declared, so that a group tells who is in it",
            code="dp.domain",
            hint="declare `values` or `bins` of the column, or spend a delta: --delta 1e-6",
        )
    if public and delta > ZERO:
        raise InputError("this query needs no delta: every group is public", code="dp.parameter")
    needed = [_needed(one, declaration) for one in query.aggregates]
    if sum(len(one) for one in needed) >= MAX_RELEASES:
        raise InputError(f"the query asks for more than {MAX_RELEASES} figures", code="dp.size")

    def part(what: str, aggregate: Aggregate) -> Part:
        at = Fraction(aggregate.at or "0.5").limit_denominator(_DENOMINATOR)
        if what == "persons":
            moves = min(rows, cells) if public else rows
        elif what == "quantile":
            moves = rows * max(at.numerator, at.denominator - at.numerator)
        elif what in {"rows", "present"}:
            moves = rows
        else:
            name = aggregate.column
            moves = rows * grid_of(name, declaration.columns[name], what).most
        if moves > MAX_SENSITIVITY:
            raise InputError(
                "one person could move this figure too far for exact noise",
                code="dp.unbounded",
                hint="narrow the bounds, or lower max_rows",
            )
        return Part(what=what, column=aggregate.column, moves=moves, at=at)

    cells = _count_cells(query, declaration) if public else 0
    return Plan(
        query=query,
        declaration=declaration,
        parts=tuple(
            tuple(part(what, aggregate) for what in parts)
            for aggregate, parts in zip(query.aggregates, needed, strict=True)
        ),
        public=public,
        cost=cost,
    )


@dataclass(frozen=True, slots=True)
class Grid:
    """How a number becomes an integer: `round((value - origin) / step)`, at most `most` in size."""

    origin: float
    step: float
    most: int


def grid_of(name: str, column: Column, what: str) -> Grid:
    """Return the grid of a total.

    Integers that are added up by themselves count exactly; everything else is measured from the
    middle of its range in steps of 2^-31 of half of it.
    """
    lower, upper = bounds(name, column)
    if what == "total" and column.type == "integer":
        return Grid(origin=0.0, step=1.0, most=max(1, int(max(abs(lower), abs(upper)))))
    half = (upper - lower) / 2
    if what == "centred":
        return Grid(origin=lower + half, step=half / GRID, most=GRID)
    if what == "squares":
        most = half * half / 2
        return Grid(origin=most, step=most / GRID, most=GRID)
    return Grid(origin=0.0, step=max(abs(lower), abs(upper)) / GRID, most=GRID)


def _needed(aggregate: Aggregate, declaration: Declaration) -> tuple[str, ...]:
    if aggregate.kind == "persons":
        return ("persons",) if declaration.unit.column else ("rows",)
    if aggregate.kind == "count" and not aggregate.column:
        return ("rows",)
    column = _column(declaration, aggregate.column)
    if aggregate.kind == "count":
        return ("present",)
    bounds(aggregate.column, column)
    return {
        "sum": ("total",),
        "mean": ("present", "centred"),
        "variance": ("present", "centred", "squares"),
        "stddev": ("present", "centred", "squares"),
        "quantile": ("quantile",),
    }[aggregate.kind]


def _public(query: Query, declaration: Declaration) -> bool:
    return all(group_labels(declaration.columns[name]) for name in query.group_by)


def _count_cells(query: Query, declaration: Declaration) -> int:
    total = 1
    for name in query.group_by:
        total *= len(group_labels(declaration.columns[name]))
        if total > MAX_CELLS:
            raise InputError(f"the query has more than {MAX_CELLS} groups", code="dp.size")
    return total


def group_labels(column: Column) -> tuple[str, ...]:
    """Return the public groups of a column; nothing if they are not public."""
    if column.type == "category":
        return column.values
    edges = column.bins
    last = len(edges) - 2
    return tuple(
        f"[{edges[at]:g}, {edges[at + 1]:g}{']' if at == last else ')'}" for at in range(last + 1)
    )


def _column(declaration: Declaration, name: str) -> Column:
    found = declaration.columns.get(name)
    if found is None:
        raise InputError(
            f"`{name[:60]}` is not declared, so that nothing may be asked about it",
            code="dp.column",
            hint="declared: " + ", ".join(sorted(declaration.columns))[:200],
        )
    return found


def _check_condition(condition: Condition, declaration: Declaration) -> None:
    """Refuse what could raise, or compare unlike things, for some records only."""
    if isinstance(condition, Not):
        _check_condition(condition.of, declaration)
    elif isinstance(condition, Both | Either):
        _check_condition(condition.left, declaration)
        _check_condition(condition.right, declaration)
    elif isinstance(condition, Missing):
        _column(declaration, condition.column)
    elif isinstance(condition, Compare | OneOf):
        column = _column(declaration, condition.column)
        values = (condition.value,) if isinstance(condition, Compare) else condition.values
        for value in values:
            if isinstance(value, str) != (column.type == "category"):
                raise InputError(
                    f"`{condition.column}` is a {column.type}: compare it with"
                    f" {'text' if column.type == 'category' else 'a number'}",
                    code="dp.condition",
                )

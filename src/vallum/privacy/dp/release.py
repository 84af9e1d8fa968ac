"""Noisy marginals of a table: what is asked for them, and the table that tells them."""

from collections.abc import Sequence
from decimal import ROUND_DOWN, Decimal
from typing import Final

import polars as pl

from vallum.base import InputError
from vallum.privacy.dp.cost import ZERO, Cost
from vallum.privacy.dp.declaration import Declaration
from vallum.privacy.dp.engine import Answer
from vallum.privacy.dp.plan import Plan, make_plan
from vallum.privacy.dp.query import Aggregate, Query

MAX_MARGINALS: Final = 64
_PLACES: Final = Decimal("0.000000001")
COUNT: Final = "count"
_TAKEN = frozenset({"marginal", COUNT, "low", "high"})


def parse_marginals(texts: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return the columns of marginals written `age,ill`.

    Raises:
        InputError: There are none or too many, or one names a column twice or a name that the
            release needs for itself.
    """
    found = tuple(tuple(one.strip() for one in text.split(",")) for text in texts)
    if not 1 <= len(found) <= MAX_MARGINALS or len({frozenset(one) for one in found}) != len(found):
        raise InputError(
            f"name 1 to {MAX_MARGINALS} marginals, each once",
            code="dp.marginal",
            hint="--marginal age,ill",
        )
    for columns in found:
        if "" in columns or len(set(columns)) != len(columns):
            raise InputError("a marginal names each of its columns once", code="dp.marginal")
        if set(columns) & _TAKEN:
            raise InputError(
                f"`{min(set(columns) & _TAKEN)}` is a column of the release itself",
                code="dp.marginal",
            )
    return found


def share_of(cost: Cost, parts: int) -> Cost:
    """Return what each of `parts` releases may spend, so that all together spend no more.

    Raises:
        InputError: Nothing is left for each.
    """

    def part(text: str, places: Decimal) -> str:
        return f"{(Decimal(text) / parts).quantize(places, ROUND_DOWN).normalize():f}"

    made = Cost(
        epsilon=part(cost.epsilon, _PLACES),
        rho=part(cost.rho, _PLACES),
        delta=part(cost.delta, _PLACES**3),
    )
    if Decimal(made.epsilon) == ZERO and Decimal(made.rho) == ZERO:
        raise InputError("too little to be shared by so many marginals", code="dp.parameter")
    return made


def marginal_plan(columns: Sequence[str], declaration: Declaration, cost: Cost) -> Plan:
    """Return the plan of one marginal.

    Raises:
        InputError: A column has no declared groups, and no delta pays for finding them.
    """
    query = Query(aggregates=(Aggregate(kind="count", name=COUNT),), group_by=tuple(columns))
    return make_plan(query, declaration, cost)


def release_table(marginals: Sequence[Sequence[str]], answers: Sequence[Answer]) -> pl.DataFrame:
    """Return all marginals as one table: a record a cell, with the interval of its noise.

    Columns of other marginals are empty in a record. One marginal alone is not named.
    """
    names = list(dict.fromkeys(name for columns in marginals for name in columns))
    records: list[dict[str, object]] = []
    for columns, answer in zip(marginals, answers, strict=True):
        for group in answer.groups:
            (figure,) = group.figures
            record: dict[str, object] = {"marginal": ",".join(columns)}
            record |= dict.fromkeys(names)
            record |= dict(zip(columns, group.key, strict=True))
            record |= {COUNT: figure.value, "low": figure.low, "high": figure.high}
            records.append(record)
    schema: dict[str, type[pl.DataType]] = {
        "marginal": pl.String, **dict.fromkeys(names, pl.String),
        COUNT: pl.Float64, "low": pl.Float64, "high": pl.Float64,
    }  # fmt: skip
    frame = pl.DataFrame(records, schema=schema)
    return frame if len(marginals) > 1 else frame.drop("marginal")

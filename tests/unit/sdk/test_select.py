"""Queries written in Python are the queries that their SQL is read as, whatever is in them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum.base import InputError
from vallum.privacy.dp.query import Aggregate, Compare, Missing, Not, OneOf, Query
from vallum.privacy.dp.sql import parse_sql
from vallum.sdk import select

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
NUMBERS = st.integers(-(10**14), 10**14) | st.floats(allow_nan=False, allow_infinity=False)


@given(NAMES, st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30))
def test_no_name_or_value_leaves_its_quotes(column: str, value: str) -> None:
    made = parse_sql(str(select().mean(column, name="m").where(column, "=", value)))
    assert made == Query(
        aggregates=(Aggregate(kind="mean", name="m", column=column),),
        where=Compare(column=column, op="=", value=value),
    )


@given(NUMBERS)
def test_numbers_are_the_same_numbers(value: float) -> None:
    made = parse_sql(str(select().count().where("x", "<", value)))
    assert made.where == Compare(column="x", op="<", value=value)


def test_every_figure_and_condition_is_understood() -> None:
    query = (
        select().count().count("a").sum("a").mean("a").variance("a").stddev("a").median("a")
        .quantile("a", 0.9, name="high").persons("who")
        .where("b", "in", (1, "x")).where("c", "is null").where("d", "is not null").group_by("g")
    )  # fmt: skip
    made = parse_sql(str(query), person="who")
    assert [one.kind for one in made.aggregates] == [
        "count", "count", "sum", "mean", "variance", "stddev", "quantile", "quantile", "persons",
    ]  # fmt: skip
    assert made.group_by == ("g",)
    text = repr(made.where)
    for part in (OneOf(column="b", values=(1, "x")), Missing(column="c"),
                 Not(of=Missing(column="d"))):  # fmt: skip
        assert repr(part) in text


def test_what_is_no_query_is_refused() -> None:
    conditions: list[tuple[str, object]] = [
        ("like", "x"), ("=", float("nan")), ("=", True), ("in", ()), ("=", (1, 2)), ("=", "a\0"),
    ]  # fmt: skip
    for operator, value in conditions:
        with pytest.raises(InputError):
            select().where("a", operator, value)  # type: ignore[arg-type]
    for name in ("", "a\0b"):
        with pytest.raises(InputError):
            select().mean(name)
    with pytest.raises(InputError):
        select().quantile("a", 1.0)

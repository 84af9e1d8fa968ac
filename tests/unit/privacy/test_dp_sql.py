"""A subset of SQL is read; everything else is refused with the part that cannot be answered."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum.base import InputError
from vallum.privacy import dp
from vallum.privacy.dp.query import Aggregate, Both, Compare, Missing, Not, OneOf, Query


def test_a_query_is_read_in_full() -> None:
    query = dp.parse_sql(
        "SELECT ward, COUNT(*) AS n, COUNT(DISTINCT patient), AVG(age), QUANTILE(cost, 0.9) AS p90,"
        " PERCENTILE_CONT(0.25) WITHIN GROUP (ORDER BY cost), MEDIAN(age), STDDEV(age)"
        " FROM visits WHERE sex IN ('F', 'M') AND NOT age IS NULL AND cost >= -3.5 GROUP BY ward",
        person="patient",
    )
    assert query == Query(
        aggregates=(
            Aggregate(kind="count", name="n"),
            Aggregate(kind="persons", name="persons"),
            Aggregate(kind="mean", name="mean_age", column="age"),
            Aggregate(kind="quantile", name="p90", column="cost", at="0.9"),
            Aggregate(kind="quantile", name="quantile_cost_0.25", column="cost", at="0.25"),
            Aggregate(kind="quantile", name="quantile_age_0.5", column="age", at="0.5"),
            Aggregate(kind="stddev", name="stddev_age", column="age"),
        ),
        where=Both(
            left=Both(
                left=OneOf(column="sex", values=("F", "M")),
                right=Not(of=Missing(column="age")),
            ),
            right=Compare(column="cost", op=">=", value=-3.5),
        ),
        group_by=("ward",),
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("SELECT age FROM t", "is a value of single records"),
        ("SELECT * FROM t", "cannot be answered"),
        ("SELECT MAX(age) FROM t", "MIN and MAX are single records"),
        ("SELECT AVG(age * 2) FROM t", "expressions over columns have no bounds"),
        ("SELECT COUNT(DISTINCT age) FROM t", "only the column of the person"),
        ("SELECT SUM(DISTINCT age) FROM t", "is not a column"),
        ("SELECT COUNT(*) OVER () FROM t", "cannot be answered"),
        ("SELECT COUNT(*) FILTER (WHERE age > 3) FROM t", "cannot be answered"),
        ("SELECT COUNT(*) FROM t JOIN u ON a = b", "`JOINS` is not part"),
        ("SELECT COUNT(*) FROM t, u", "`JOINS` is not part"),
        ("SELECT COUNT(*) FROM t TABLESAMPLE (10 PERCENT)", "the table must stand by itself"),
        ("SELECT COUNT(*) FROM (SELECT * FROM t)", "must read from one table"),
        ("SELECT COUNT(*) FROM t HAVING COUNT(*) > 3", "`HAVING` is not part"),
        ("SELECT COUNT(*) FROM t LIMIT 1", "`LIMIT` is not part"),
        ("SELECT COUNT(*) FROM t ORDER BY 1", "`ORDER` is not part"),
        ("SELECT DISTINCT COUNT(*) FROM t", "`DISTINCT` is not part"),
        ("WITH a AS (SELECT 1) SELECT COUNT(*) FROM a", "`WITH` is not part"),
        ("SELECT COUNT(*) FROM t GROUP BY ROLLUP (sex)", "is not a column"),
        ("SELECT COUNT(*) FROM t GROUP BY sex, sex", "grouped by twice"),
        ("SELECT COUNT(*), COUNT(*) FROM t", "have one name"),
        ("SELECT COUNT(*) FROM t WHERE age > (SELECT 1)", "is not a constant"),
        ("SELECT COUNT(*) FROM t WHERE age > cost", "is not a constant"),
        ("SELECT COUNT(*) FROM t WHERE age LIKE 'a%'", "is not a condition"),
        ("SELECT QUANTILE(age, 1) FROM t", "between 0 and 1"),
        ("SELECT COUNT(*) FROM t; DROP TABLE t", "must be one SELECT"),
        ("SELECT COUNT(*) FROM t UNION SELECT COUNT(*) FROM t", "must be one SELECT"),
        ("DROP TABLE t", "must be one SELECT"),
        ("SELECT COUNT(* FROM", "is not SQL that can be read"),
        ("SELECT COUNT(*)", "must read from one table"),
        ("SELECT COUNT(*) FROM t WHERE " + "NOT " * 60 + "age = 1", "nested deeper"),
        ("SELECT COUNT(*) FROM t WHERE " + "(" * 4000 + "age = 1" + ")" * 4000, "SQL"),
        ("SELECT COUNT(*) FROM t --" + "x" * 10_000, "more than 10000 characters"),
    ],
)
def test_what_cannot_be_answered_privately_is_refused(text: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        dp.parse_sql(text, person="patient")
    assert says in caught.value.message
    assert caught.value.code == "dp.sql"


@given(
    st.lists(
        st.sampled_from(
            [
                "SELECT",
                "COUNT",
                "(",
                ")",
                "*",
                ",",
                "FROM",
                "t",
                "WHERE",
                "age",
                "=",
                "1",
                "'x'",
                "AND",
                "OR",
                "NOT",
                "IN",
                "GROUP",
                "BY",
                "sum",
                "avg",
                "DISTINCT",
                ".",
                ";",
                "--",
                "NULL",
                "IS",
                "BETWEEN",
                "1e999",
                "-1",
                '"',
            ]
        ),
        max_size=25,
    )
)
def test_any_text_is_a_query_or_a_declared_error(words: list[str]) -> None:
    with contextlib.suppress(InputError):
        assert dp.parse_sql(" ".join(words)).aggregates

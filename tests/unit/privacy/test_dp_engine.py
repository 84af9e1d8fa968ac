"""One person moves what is released by no more than was planned; noise has the stated law."""

import math
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.base import InputError
from vallum.privacy import dp
from vallum.privacy.dp.noise import additive, thresholded
from vallum.schema import Record

COLUMNS = {
    "age": {"type": "integer", "lower": 0, "upper": 100, "bins": [0, 18, 65, 100]},
    "cost": {"type": "number", "lower": -10, "upper": 50},
    "sex": {"type": "category", "values": ["F", "M"]},
    "ward": {"type": "category"},
}


def declared(max_rows: int = 2) -> dp.Declaration:
    return dp.parse_declaration(
        {
            "version": "vallum.dp/1",
            "unit": {"column": "person", "max_rows": max_rows},
            "columns": COLUMNS,
        }
    )


def planned(sql: str, declaration: dp.Declaration, **spend: str) -> dp.Plan:
    query = dp.parse_sql(sql, person="person")
    return dp.make_plan(query, declaration, dp.spend(**(spend or {"epsilon": "1"})))


def opened(frame: pl.DataFrame, declaration: dp.Declaration) -> dp.PrivateTable:
    return dp.PrivateTable.open(frame, declaration)


rows = st.fixed_dictionaries(
    {
        "person": st.sampled_from([None, "a", "b", "c", "d"]),
        "age": st.one_of(st.none(), st.integers(-1000, 1000)),
        "cost": st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True)),
        "sex": st.sampled_from([None, "F", "M", "x"]),
        "ward": st.sampled_from(["a", "b", ""]),
    }
)
SCHEMA = {
    "person": pl.String, "age": pl.Int64, "cost": pl.Float64, "sex": pl.String, "ward": pl.String,
}  # fmt: skip
QUERIES = [
    "SELECT COUNT(*) FROM t",
    "SELECT COUNT(DISTINCT person) FROM t GROUP BY sex",
    "SELECT COUNT(age), SUM(age), SUM(cost) FROM t WHERE sex = 'F' OR age > 3",
    "SELECT AVG(age), VARIANCE(cost) FROM t GROUP BY sex, age",
    "SELECT COUNT(*) FROM t WHERE NOT (cost < 3 AND ward IN ('a', 'b')) GROUP BY age",
    "SELECT MEDIAN(cost), QUANTILE(age, 0.9) FROM t",
    "SELECT QUANTILE(cost, 0.25) FROM t GROUP BY sex",
]


@settings(max_examples=150)
@given(
    table=st.lists(rows, max_size=12),
    gone=st.sampled_from(["a", "b"]),
    sql=st.sampled_from(QUERIES),
    max_rows=st.integers(1, 4),
)
def test_removing_a_person_moves_nothing_further_than_planned(
    table: list[dict[str, object]], gone: str, sql: str, max_rows: int
) -> None:
    declaration = declared(max_rows)
    plan = planned(sql, declaration)
    frame = pl.DataFrame(table, schema=SCHEMA)
    # What SQL's `where` does with a missing value is the same for the record in both tables.
    fewer = frame.filter(pl.col("person").ne_missing(gone))
    released = []
    for one in (frame, fewer):
        private = opened(one, declaration)
        chosen = private._frame
        if plan.query.where is not None:
            from vallum.privacy.dp.engine import _expression

            chosen = chosen.filter(_expression(plan.query.where))
        keyed, cells = private._grouped(chosen, plan)
        released.append(
            [
                private._scores(keyed, part, len(cells))
                if part.what == "quantile"
                else np.array(private._exact(keyed, part, len(cells)))
                for parts in plan.parts
                for part in parts
            ]
        )
    everything = [part for parts in plan.parts for part in parts]
    for part, one, other in zip(everything, *released, strict=True):
        moved = np.abs(one - other)
        if part.what == "quantile":
            moved = moved.max(axis=1)  # each candidate of a group at once: L-infinity
        assert moved.sum() <= part.moves


def test_what_one_person_contributes_beyond_the_limit_is_left_out() -> None:
    frame = pl.DataFrame({"person": ["a"] * 1000 + ["b"], "age": [1] * 1001})
    declaration = dp.parse_declaration(
        {
            "version": "vallum.dp/1",
            "unit": {"column": "person", "max_rows": 3},
            "columns": {"age": {"type": "integer", "lower": 0, "upper": 1}},
        }
    )
    plan = planned("SELECT COUNT(*) FROM t", declaration, epsilon="1000")
    (figure,) = opened(frame, declaration).answer(plan).groups[0].figures
    assert figure.value == 4  # noise beyond 0 has a chance of 2e-145


def test_laplace_noise_has_the_stated_scale() -> None:
    noise = additive(3, epsilon=Decimal("0.5"), rho=Decimal(0))
    drawn = np.array(noise.release([0] * 20_000))
    # E|X| of the discrete law with t = exp(-1/scale) is 2t / (1 - t^2).
    t = math.exp(-1 / noise.scale)
    wanted = 2 * t / (1 - t * t)
    # |X| has a deviation below 1.1 scale: 7 sigma of the mean fail with 3e-12.
    assert noise.scale == pytest.approx(6, rel=1e-6)
    assert abs(np.abs(drawn).mean() - wanted) < 7 * 1.1 * noise.scale / math.sqrt(20_000)


def test_gaussian_noise_has_the_stated_scale() -> None:
    noise = additive(4, epsilon=Decimal(0), rho=Decimal("0.02"))
    drawn = np.array(noise.release([0] * 20_000), dtype=float)
    assert noise.scale == pytest.approx(20, rel=1e-6)
    # The variance of a sample variance is 2 sigma^4 / n: 7 deviations fail with 3e-12.
    assert abs(drawn.var() / noise.scale**2 - 1) < 7 * math.sqrt(2 / 20_000)


@pytest.mark.parametrize("loss", [{"epsilon": "1"}, {"rho": "0.5"}])
def test_groups_of_one_person_stay_unseen(loss: dict[str, str]) -> None:
    noise = thresholded(
        2,
        epsilon=Decimal(loss.get("epsilon", "0")),
        rho=Decimal(loss.get("rho", "0")),
        delta=Decimal("1e-12"),
    )
    for _ in range(500):  # each is released with a chance below 1e-12
        assert "lone" not in noise.release({"lone": 1, "many": 10_000})
    assert "many" in noise.release({"lone": 1, "many": 10_000})


def test_figures_are_near_the_truth_and_within_their_intervals() -> None:
    rng = np.random.default_rng(3)
    n = 50_000
    frame = pl.DataFrame(
        {
            "person": np.arange(n).astype(str),
            "age": rng.integers(0, 101, n),
            "cost": rng.normal(20, 5, n),
            "sex": rng.choice(["F", "M"], n),
            "ward": rng.choice(["x", "y"], n),
        }
    )
    declaration = declared(1)
    sql = (
        "SELECT sex, COUNT(*) AS n, AVG(cost) AS mean, SUM(age) AS total, VARIANCE(cost) AS var,"
        " MEDIAN(cost) AS mid FROM t GROUP BY sex"
    )
    answer = opened(frame, declaration).answer(planned(sql, declaration, epsilon="100"))
    for group in answer.groups:
        truth = frame.filter(pl.col("sex") == group.key[0])
        told = {one.name: one for one in group.figures}
        assert told["n"].value == pytest.approx(truth.height, abs=20)
        for name, exact in (("mean", truth["cost"].mean()), ("total", truth["age"].sum())):
            # A noise scale that is 10 times less likely to be missed than this bound: 1e-9.
            figure = told[name]
            assert figure.value is not None
            assert figure.high is not None
            wide = 7 * (figure.high - figure.value) + 1e-6
            assert abs(figure.value - float(exact)) <= wide  # type: ignore[arg-type]
        assert told["var"].value == pytest.approx(25, rel=0.1)
        assert told["mid"].value == pytest.approx(20, abs=0.5)
    assert answer.cost == dp.Cost(epsilon="100")


def test_groups_that_are_not_public_need_a_delta() -> None:
    declaration = declared()
    with pytest.raises(InputError) as caught:
        planned("SELECT COUNT(*) FROM t GROUP BY ward", declaration, epsilon="1")
    assert caught.value.code == "dp.domain"
    assert "--delta" in caught.value.hint
    with pytest.raises(InputError, match="needs no delta"):
        planned("SELECT COUNT(*) FROM t GROUP BY sex", declaration, epsilon="1", delta="1e-6")


@pytest.mark.parametrize(
    ("sql", "code", "says"),
    [
        ("SELECT SUM(sex) FROM t", "dp.unbounded", "is a category"),
        ("SELECT COUNT(*) FROM t WHERE name = 'x'", "dp.column", "is not declared"),
        ("SELECT COUNT(person) FROM t", "dp.column", "is not declared"),
        ("SELECT COUNT(*) FROM t GROUP BY cost", "dp.domain", "are not declared"),
        ("SELECT COUNT(*) FROM t WHERE age = 'x'", "dp.condition", "with a number"),
        ("SELECT COUNT(*) FROM t WHERE sex > 3", "dp.condition", "with text"),
    ],
)
def test_an_unsafe_query_is_refused_before_any_record_is_read(
    sql: str, code: str, says: str
) -> None:
    with pytest.raises(InputError, match=says) as caught:
        planned(sql, declared())
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"unit": {}}, "name the column of the person"),
        ({"unit": {"rows": True, "column": "p"}}, "name the column of the person"),
        ({"unit": {"column": "p", "max_rows": 0}}, "`max_rows` must be from 1"),
        ({"columns": {}}, "declare 1 to"),
        ({"columns": {"p": {"type": "category"}}, "unit": {"column": "p"}}, "names the person"),
        ({"columns": {"x": {"type": "number"}}}, "a bound never comes from the data"),
        ({"columns": {"x": {"type": "number", "lower": 1, "upper": 1}}}, "must be below"),
        ({"columns": {"x": {"type": "integer", "lower": 0.5, "upper": 1}}}, "is an integer"),
        ({"columns": {"x": {"type": "number", "lower": 0, "upper": 1e300}}}, "2\\^53"),
        ({"columns": {"x": {"type": "category", "values": ["a", "a"]}}}, "repeat"),
        ({"columns": {"x": {"type": "date"}}}, "does not fit"),
        (
            {"columns": {"x": {"type": "number", "lower": 0, "upper": 1, "bins": [1, 0]}}},
            "rising",
        ),
    ],
)
def test_a_wrong_declaration_is_refused(change: dict[str, object], says: str) -> None:
    document = {"version": "vallum.dp/1", "unit": {"column": "person"}, "columns": COLUMNS}
    with pytest.raises(InputError, match=says) as caught:
        dp.parse_declaration({**document, **change})
    assert caught.value.code == "dp.declaration"


@pytest.mark.parametrize(
    "frame",
    [
        pl.DataFrame(schema=SCHEMA),
        pl.DataFrame(
            {name: pl.Series([None, None], dtype=type_) for name, type_ in SCHEMA.items()}
        ),
        pl.DataFrame({"person": ["a"], "age": ["many"], "cost": ["x"], "sex": [1], "ward": [True]}),
    ],
    ids=["empty", "all-null", "mixed"],
)
def test_a_table_without_usable_values_still_answers(frame: pl.DataFrame) -> None:
    declaration = declared()
    sql = "SELECT COUNT(*), AVG(cost), MEDIAN(age), COUNT(DISTINCT person) FROM t GROUP BY sex"
    answer = opened(frame, declaration).answer(planned(sql, declaration))
    assert [group.key for group in answer.groups] == [("F",), ("M",)]


def test_a_table_of_nested_values_or_without_a_column_is_refused() -> None:
    declaration = declared()
    with pytest.raises(InputError, match="has no column `age`"):
        opened(pl.DataFrame({"person": ["a"]}), declaration)
    nested = pl.DataFrame({**{name: ["1"] for name in SCHEMA}, "cost": [[1.0]]})
    with pytest.raises(InputError, match="nested"):
        opened(nested, declaration)


def test_a_private_table_tells_nothing_of_itself() -> None:
    frame = pl.DataFrame({name: ["17"] for name in SCHEMA})
    assert repr(opened(frame, declared())) == "PrivateTable()"
    assert issubclass(dp.Answer, Record)

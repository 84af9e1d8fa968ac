"""Noisy marginals and records made up from them: shares, tables, fit, bad input."""

from decimal import Decimal

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum.base import InputError
from vallum.privacy.dp import Cost, PrivateTable, parse_declaration, spend
from vallum.privacy.dp.plan import group_labels
from vallum.privacy.dp.release import marginal_plan, parse_marginals, release_table, share_of
from vallum.privacy.dp.synthetic import Marginal, Measured, synthesize

DECLARED = parse_declaration(
    {
        "version": "vallum.dp/1",
        "unit": {"rows": True},
        "columns": {
            "sex": {"type": "category", "values": ["f", "m"]},
            "age": {"type": "integer", "lower": 0, "upper": 100, "bins": [0, 50, 100]},
            "town": {"type": "category"},
        },
    }
)


@given(
    epsilon=st.decimals(min_value="0.001", max_value=1000, places=9),
    delta=st.sampled_from(["0", "0.000001"]),
    parts=st.integers(1, 64),
)
def test_the_shares_never_sum_to_more(epsilon: Decimal, delta: str, parts: int) -> None:
    cost = spend(epsilon=str(epsilon), delta=delta)
    share = share_of(cost, parts)
    assert Decimal(share.epsilon) * parts <= Decimal(cost.epsilon)
    assert Decimal(share.delta) * parts <= Decimal(cost.delta)
    assert Decimal(share.epsilon) * parts > Decimal(cost.epsilon) - parts * Decimal("1e-9")


def test_too_small_a_share_is_refused() -> None:
    with pytest.raises(InputError, match="too little"):
        share_of(Cost(epsilon="0.000000001"), 2)


@pytest.mark.parametrize(
    "texts", [[], ["a"] * 2, ["a,b", "b,a"], ["a,a"], [""], ["a,"], ["count"], ["x"] * 65]
)
def test_marginals_that_cannot_be_are_refused(texts: list[str]) -> None:
    with pytest.raises(InputError):
        parse_marginals(texts)


def test_groups_that_are_not_public_need_delta() -> None:
    with pytest.raises(InputError):
        marginal_plan(("town",), DECLARED, spend(epsilon="1"))
    with pytest.raises(InputError):
        marginal_plan(("nothing",), DECLARED, spend(epsilon="1"))


def table(rows: int = 20_000) -> pl.DataFrame:
    rng = np.random.default_rng(5)
    sex = rng.integers(0, 2, rows)
    age = np.where(rng.random(rows) < 0.1 + 0.8 * sex, 70, 20)
    return pl.DataFrame({"sex": ["fm"[one] for one in sex], "age": age})


def test_a_release_tells_every_cell_with_its_interval() -> None:
    frame = table()
    private = PrivateTable.open(frame.with_columns(town=pl.lit("x")), DECLARED)
    marginals = parse_marginals(["sex,age", "sex"])
    share = share_of(spend(epsilon="2"), 2)
    answers = [private.answer(marginal_plan(one, DECLARED, share)) for one in marginals]
    made = release_table(marginals, answers)
    assert made.columns == ["marginal", "sex", "age", "count", "low", "high"]
    assert made.height == 4 + 2
    exact = {
        ("f", "[0, 50)"): frame.filter((pl.col("sex") == "f") & (pl.col("age") == 20)).height,
        ("m", None): frame.filter(pl.col("sex") == "m").height,
    }
    for (sex, age), count in exact.items():
        rows = made.filter((pl.col("sex") == sex) & pl.col("age").eq_missing(age))
        (row,) = rows.to_dicts()
        assert abs(row["count"] - count) < 30  # Laplace of scale 1: beyond it never, 1e-13
        assert row["low"] < row["count"] < row["high"]
    one = release_table(marginals[1:], answers[1:])
    assert one.columns == ["sex", "count", "low", "high"]


def test_synthetic_records_have_the_marginals_that_were_measured() -> None:
    pytest.importorskip("mbi", reason="synthetic data need the extra `synthetic`")
    measured = Measured(
        labels={name: group_labels(DECLARED.columns[name]) for name in ("sex", "age")},
        marginals=(Marginal(("sex", "age"), (9000.0, 1000.0, -3.0, 10000.0), 1.4),),
    )
    made = synthesize(msgspec.msgpack.encode(measured), rows=0, seed=3)
    frame = pl.read_csv(made.table)
    assert abs(frame.height - 19_997) <= 5
    counts = {(sex, age): n for sex, age, n in frame.group_by("sex", "age").len().rows()}
    assert abs(counts["f", "[0, 50)"] - 9000) < 50
    assert abs(counts["f", "[50, 100]"] - 1000) < 50
    assert counts.get(("m", "[0, 50)"), 0) < 50
    some = synthesize(msgspec.msgpack.encode(measured), rows=100, seed=3)
    assert some.rows == 100
    assert frame["sex"].to_list() != sorted(frame["sex"])
    assert frame["sex"].to_list() != sorted(frame["sex"], reverse=True)


@pytest.mark.parametrize("rows", [-1, 10_000_001])
def test_a_synthetic_table_has_bounds(rows: int) -> None:
    measured = Measured(labels={"a": ("x",)}, marginals=(Marginal(("a",), (1.0,), 1.0),))
    with pytest.raises(InputError):
        synthesize(msgspec.msgpack.encode(measured), rows=rows, seed=1)
    wrong = Measured(labels={"a": ("x",)}, marginals=(Marginal(("a",), (1.0, 2.0), 1.0),))
    with pytest.raises(InputError, match="does not fit"):
        synthesize(msgspec.msgpack.encode(wrong), rows=1, seed=1)

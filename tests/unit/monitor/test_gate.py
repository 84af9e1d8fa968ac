from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

from vallum.base import InputError
from vallum.monitor.gate import compare, learn_queries

TABLE = pl.DataFrame(
    {
        "age": np.arange(200) % 60,
        "size": np.arange(200) * 0.5,
        "name": [f"n{i}" for i in range(200)],
    }
)


def run(reference: Any, current: Any) -> Any:
    payload = {"reference": reference.write_csv().encode(), "current": current.write_csv().encode()}
    return compare(msgspec.msgpack.encode(payload), reference_kind="csv", current_kind="csv")


def drifted(report: Any) -> Any:
    return {one.name for one in report.features if one.drifted}


def test_numeric_columns_are_compared_by_name() -> None:
    report = run(TABLE, TABLE.select("name", "size", "age"))
    assert [one.name for one in report.features] == ["age", "size"]
    assert drifted(report) == set()
    assert (report.rows, report.reference_rows) == (200, 200)
    assert drifted(run(TABLE, TABLE.with_columns(size=pl.col("size") + 40))) == {"size"}


def test_a_column_that_is_gone_or_no_longer_numeric_drifts() -> None:
    assert drifted(run(TABLE, TABLE.drop("age"))) == {"age"}
    assert drifted(run(TABLE, TABLE.with_columns(age=pl.lit("old")))) == {"age"}


def test_values_that_go_missing_drift() -> None:
    holes = TABLE.with_columns(age=pl.when(pl.col("size") < 60).then(pl.col("age")))
    assert drifted(run(TABLE, holes)) == {"age"}


def test_what_says_nothing_is_refused() -> None:
    for reference, current in (
        (TABLE.select("name"), TABLE), (TABLE[:10], TABLE), (TABLE, TABLE[:0]),
    ):  # fmt: skip
        with pytest.raises(InputError):
            run(reference, current)
    with pytest.raises(InputError) as refused:
        compare(b"\xc1", reference_kind="csv", current_kind="csv")
    assert refused.value.code == "drift.payload"


def test_a_profile_is_learned_from_the_columns_of_the_model() -> None:
    data = TABLE.write_csv().encode()

    def learn(**more: Any) -> Any:
        given = {"label_column": "", "features": (), **more}
        return learn_queries(data, kind="csv", seed=1, **given)

    assert learn().extraction.width == 2
    assert learn(label_column="size").extraction.width == 1
    turned = learn(features=("size", "age"))
    assert turned.extraction.mean == learn().extraction.mean[::-1]
    assert turned.bins.names == ("size", "age")
    assert learn().evasion is None
    assert learn(evasion=True).evasion.width == 2
    for wrong in ({"label_column": "no"}, {"features": ("name",)}, {"features": ("no",)}):
        with pytest.raises(InputError) as refused:
            learn(**wrong)
        assert refused.value.code == "extraction.columns"

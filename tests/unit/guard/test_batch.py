"""Batch scoring: a row gets what it gets alone, and bad rows cost their neighbours nothing."""

from collections.abc import Iterator

import msgspec
import numpy as np
import polars as pl
import pytest
from batch_models import fails_above, linear
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.base import GateError, InputError
from vallum.formats import pieces
from vallum.guard import batch
from vallum.guard.batch import Mark, Scored, open_batch


def steps(
    model: bytes, data: bytes, *, kind: str = "csv", mark: Mark | None = None, **more: object
) -> Iterator[Scored]:
    """Yield what each step of scoring comes to; what it needs is given."""
    payload = msgspec.msgpack.encode({"model": model, "mark": mark})
    step = open_batch(payload, size=len(data), kind=kind, **more)  # type: ignore[arg-type]
    made = step()
    while not made.done:
        yield made
        offset, length = made.need or (0, 0)
        made = step(data[offset : offset + length])
    yield made


def score(model: bytes, frame: pl.DataFrame, **more: object) -> tuple[Mark, pl.DataFrame]:
    made = list(steps(model, frame.write_csv().encode(), **more))
    mark = made[-1].mark
    assert mark is not None
    table = pl.read_csv(b"".join(one.table for one in made))
    assert tuple(table.columns) == mark.columns
    return mark, table


def test_every_row_is_scored_in_its_order_whatever_the_mini_batch() -> None:
    rng = np.random.default_rng(7)
    frame = pl.DataFrame({"id": [f"p{at}" for at in range(101)], "b": rng.random(101)})
    frame = frame.with_columns(a=rng.random(101))
    whole, table = score(linear(), frame, keep=["id"], features=["a", "b"])
    assert whole.columns == ("id", "score", "both_0", "both_1", "both_2", "both_3", "error")
    assert (whole.rows, whole.failed) == (101, 0)
    assert table["id"].to_list() == frame["id"].to_list()
    np.testing.assert_allclose(table["score"], frame["a"] + frame["b"], rtol=1e-6)
    np.testing.assert_allclose(table["both_0"], frame["a"], rtol=1e-6)
    for mini_batch in (1, 7, 100, 101, 5000):
        again, same = score(
            linear(), frame, keep=["id"], features=["a", "b"], mini_batch=mini_batch
        )
        assert again == whole
        assert same.equals(table)
    rounded, table = score(linear(), frame, features=["a", "b"], decimals=1)
    assert table["score"].to_list() == [round(value, 1) for value in table["score"]]
    assert "id" not in rounded.columns


@given(
    bad=st.sets(st.integers(0, 39)),
    mini_batch=st.integers(1, 50),
    empty=st.sets(st.integers(0, 39)),
)
@settings(max_examples=25)
def test_bad_rows_cost_their_neighbours_nothing(
    bad: set[int], mini_batch: int, empty: set[int]
) -> None:
    values = [None if at in empty else 9 if at in bad else at % 3 for at in range(40)]
    failed = len(bad | empty)
    made, table = score(
        fails_above(5), pl.DataFrame({"x": values, "id": range(40)}), features=["x"], keep=["id"],
        mini_batch=mini_batch, max_failed=failed,
    )  # fmt: skip
    assert made.failed == failed
    for at, error in enumerate(table["error"].to_list()):
        assert bool(error) == (at in bad | empty)
        if failed < 40:
            assert (table["score"][at] is None) == bool(error)
    if failed:
        with pytest.raises(GateError, match=f"{failed} of 40 rows failed"):
            score(
                fails_above(5), pl.DataFrame({"x": values, "id": range(40)}), features=["x"],
                max_failed=failed - 1,
            )  # fmt: skip


def test_an_answer_that_is_not_finite_fails_its_row_alone() -> None:
    frame = pl.DataFrame({"a": [1.0, -5.0, 4.0], "b": [3.0, 1.0, 5.0]})
    with pytest.raises(GateError, match="row 2, the model answers"):
        score(linear(root=True), frame)
    made, table = score(linear(root=True), frame, max_failed=1)
    assert made.failed == 1
    assert table["score"].to_list() == [2.0, None, 3.0]


@pytest.mark.parametrize(
    ("frame", "more", "text"),
    [
        (pl.DataFrame({"a": [1]}), {}, "takes 2 features, the data has 1"),
        (pl.DataFrame({"a": [1], "b": ["x"]}), {"features": ["a", "b"]}, "`b` is not numeric"),
        (pl.DataFrame({"a": [1], "b": [2]}), {"features": ["a", "c"]}, "no column `c`"),
        (pl.DataFrame({"a": [1], "b": [2]}), {"keep": ["c"]}, "no column `c`"),
        (
            pl.DataFrame({"a": [1], "b": [2], "score": ["x"]}),
            {"features": ["a", "b"], "keep": ["score"]},
            "called `score`",
        ),
    ],
)
def test_a_table_that_does_not_fit_is_told(
    frame: pl.DataFrame, more: dict[str, object], text: str
) -> None:
    with pytest.raises(InputError, match=text):
        score(linear(), frame, **more)
    with pytest.raises(InputError, match="does not load"):
        score(b"no model", pl.DataFrame({"a": [1]}))


@given(
    block=st.integers(16, 300),
    cells=st.integers(1, 60),
    first=st.integers(1, 9),
    bad=st.sets(st.integers(0, 39)),
    text=st.booleans(),
)
@settings(max_examples=60)
def test_whoever_goes_on_at_a_mark_tells_the_rest_and_no_row_twice(
    *, block: int, cells: int, first: int, bad: set[int], text: bool
) -> None:
    frame = pl.DataFrame({"x": [9 if at in bad else at % 3 for at in range(40)]})
    frame = frame.with_columns(id=pl.Series([f"p{at}" if text else at for at in range(40)]))
    data = frame.write_csv().encode()
    more: dict[str, object] = {"features": ["x"], "keep": ["id"], "max_failed": 40}
    model = fails_above(5)
    (*_, last) = steps(model, data, **more)
    whole = b"".join(one.table for one in steps(model, data, **more))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "BLOCK_BYTES", block)
        patch.setattr(batch, "_SLICE_CELLS", cells)
        patch.setattr(batch, "_FIRST_ROWS", first)
        told = b""
        for one in steps(model, data, **more):
            told += one.table
            if one.mark is not None:  # another process, which knows nothing but the mark
                rest = list(steps(model, data, mark=one.mark, **more))
                assert told + b"".join(step.table for step in rest) == whole
                assert rest[-1].mark is not None
                assert last.mark is not None
                assert (rest[-1].mark.rows, rest[-1].mark.failed) == (40, len(bad))
        assert told == whole

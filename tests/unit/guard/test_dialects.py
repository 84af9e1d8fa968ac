"""MLflow's and Azure's words for a request: each form gives the same input, or is refused."""

import json

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.base import InputError, LimitExceededError
from vallum.guard import DIALECTS, Output, Spec

SPEC = Spec(width=2, max_rows=3)
ROWS = [[1.0, 2.0], [3.0, 4.0]]
INVOCATIONS: dict[str, object] = {
    "split": {"dataframe_split": {"columns": ["a", "b"], "index": [0, 1], "data": ROWS}},
    "split without columns": {"dataframe_split": {"data": ROWS}},
    "records": {"dataframe_records": [{"a": 1, "b": 2}, {"a": 3, "b": 4.0}]},
    "instances": {"instances": ROWS},
    "instances by name": {"instances": [{"a": 1, "b": 2}, {"a": 3, "b": 4}]},
    "inputs": {"inputs": ROWS, "params": {}},
    "inputs by column": {"inputs": {"a": [1, 3], "b": [2, 4]}},
}
SCORES: dict[str, object] = {
    "input_data": {"input_data": {"columns": ["a", "b"], "index": [0, 1], "data": ROWS}},
    "bare input_data": {"input_data": ROWS, "params": {}},
    "data": {"data": ROWS},
}


@pytest.mark.parametrize(
    ("dialect", "document"),
    [("invocations", one) for one in INVOCATIONS.values()]
    + [("score", one) for one in SCORES.values()],
)
def test_every_form_means_the_same(dialect: str, document: object) -> None:
    x, _ = DIALECTS[dialect].decode(json.dumps(document).encode(), SPEC)
    assert x.dtype == np.float32
    assert x.tolist() == ROWS


@pytest.mark.parametrize("dialect", ["invocations", "score"])
@pytest.mark.parametrize(
    ("document", "error"),
    [
        (b"", InputError),
        (b"[]", InputError),
        (b"{}", InputError),
        (b'{"instances": [[1, 2]], "inputs": [[1, 2]]}', InputError),
        (b'{"data": [[1, 2]], "data": [[3, 4]]}', InputError),
        (b'{"instances": [[1, 2]], "instances": [[3, 4]]}', InputError),
        (b'{"%s": [["1", 2]]}', InputError),
        (b'{"%s": [[true, 2]]}', InputError),
        (b'{"%s": [[null, 2]]}', InputError),
        (b'{"%s": [[NaN, 2]]}', InputError),
        (b'{"%s": [[1e300, 2]]}', InputError),
        (b'{"%s": [[1, 2], [3]]}', InputError),
        (b'{"%s": [[1, 2, 3]]}', InputError),
        (b'{"%s": [1, 2]}', InputError),
        (b'{"%s": []}', InputError),
        (b'{"%s": [[]]}', InputError),
        (b'{"%s": [[1, 2], [1, 2], [1, 2], [1, 2]]}', LimitExceededError),
        (b'{"%s": ' + b"[" * 5000 + b"]" * 5000 + b"}", InputError),
    ],
)
def test_what_no_model_may_see_is_refused(
    dialect: str, document: bytes, error: type[Exception]
) -> None:
    name = {"invocations": b"instances", "score": b"data"}[dialect]
    with pytest.raises(error):
        DIALECTS[dialect].decode(document.replace(b"%s", name), SPEC)


@pytest.mark.parametrize(
    "document",
    [
        {"dataframe_split": {"columns": ["a"], "data": ROWS}},
        {"dataframe_split": {"columns": ["a", "a"], "data": ROWS}},
        {"dataframe_split": {"columns": ["a", "b"]}},
        {"dataframe_split": {"data": ROWS, "more": 1}},
        {"dataframe_records": [{"a": 1, "b": 2}, {"b": 4, "a": 3}]},  # which is which?
        {"dataframe_records": [{"a": 1, "b": 2}, {"a": 3}]},
        {"dataframe_records": []},
        {"inputs": {"a": [1], "b": [2, 3]}},
        {"inputs": {}},
    ],
)
def test_columns_that_do_not_agree_are_refused(document: object) -> None:
    with pytest.raises(InputError):
        DIALECTS["invocations"].decode(json.dumps(document).encode(), SPEC)


@settings(max_examples=200)
@given(st.binary(max_size=200), st.sampled_from(sorted(DIALECTS)))
def test_any_bytes_are_an_input_or_a_declared_error(data: bytes, dialect: str) -> None:
    try:
        x, _ = DIALECTS[dialect].decode(data, SPEC)
    except (InputError, LimitExceededError):
        return
    assert x.shape[1] == 2


def test_answers_are_the_first_output_a_row_each() -> None:
    labels = Output("label", [2], "INT64", [0, 1])
    scores = Output("scores", [2, 2], "FP32", [0.1, 0.9, 0.8, 0.2])
    column = Output("y", [2, 1], "FP32", [0.5, 0.25])

    def said(dialect: str, *outputs: Output) -> object:
        return msgspec.json.decode(DIALECTS[dialect].encode("e", "d", list(outputs), ""))

    assert said("invocations", labels, scores) == {"predictions": [0, 1]}
    assert said("invocations", scores) == {"predictions": [[0.1, 0.9], [0.8, 0.2]]}
    assert said("score", column) == [0.5, 0.25]

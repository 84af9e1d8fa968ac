"""Requests and answers are redacted before they are kept."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum.privacy.captured import open_redaction
from vallum.schema.capture import Redacted

CARD = 4111111111111111
MAIL = "anna.example@example.org"


def redact(*bodies: object, ask: Any = None) -> list[dict[str, Any]]:
    ask = open_redaction(b"") if ask is None else ask
    records = [
        {"head": {"at": 1}, "inputs": json.dumps(one).encode(), "outputs": b""} for one in bodies
    ]
    found: Redacted = ask(scope="d", records=records)
    return [json.loads(line)["inputs"] for line in found.lines.splitlines()]


def test_measurements_stay_as_they_are() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(64, 6)).round(4).tolist()
    small = rng.integers(0, 100, size=(64, 6)).tolist()
    for data in (rows, small):
        v2 = {"inputs": [{"name": "x", "shape": [64, 6], "datatype": "FP32", "data": data}]}
        split = {"dataframe_split": {"columns": [f"f{at}" for at in range(6)], "data": data}}
        assert redact(v2, split) == [v2, split]


def test_fields_and_columns_of_a_personal_kind_are_replaced() -> None:
    (split,) = redact(
        {"input_data": {"columns": ["email", "score"], "data": [[MAIL, 41], ["b@example.com", 7]]}}
    )
    rows = split["input_data"]["data"]
    assert [row[0] for row in rows] == ["[personal.email]", "[personal.email]"]
    assert [row[1] for row in rows] == [41, 7]
    (records,) = redact({"dataframe_records": [{"card_number": CARD, "amount": 12.5}]})
    (record,) = records["dataframe_records"]
    assert str(CARD) not in json.dumps(record)
    assert record["amount"] == 12.5


def test_text_is_searched_and_keys_too() -> None:
    text = f"Please write to {MAIL} about the invoice of last week, it was never paid in full."
    (found,) = redact({"question": text, MAIL: [1.5]})
    assert found["question"] == text.replace(MAIL, "[personal.email]")
    assert MAIL not in json.dumps(found)
    assert [1.5] in found.values()


def test_a_field_stays_personal_for_later_requests() -> None:
    ask = open_redaction(b"")
    redact({"input_data": {"columns": ["contact"], "data": [[MAIL]]}}, ask=ask)
    (later,) = redact({"input_data": {"columns": ["contact"], "data": [["unlisted"]]}}, ask=ask)
    assert later["input_data"]["data"] == [["[personal]"]]


def test_what_cannot_be_read_is_left_out() -> None:
    ask = open_redaction(b"")
    bodies = (b"{", b'{"a": NaN}', b"[" * 5000 + b"]" * 5000, b'{"a": 1, "a": 2}', b"[1.5]")
    records = [{"head": {}, "inputs": body, "outputs": b""} for body in bodies]
    found = ask(scope="d", records=records)
    assert (found.records, found.failed) == (1, 4)


@pytest.mark.parametrize(
    "body",
    [
        b'{"text": "\\ud800"}',
        b'{"\\ud800": 1}',
        b'[["\\udfff \\ud800"]]',
        b'{"data": ["\\ud83d", {"a": "anna.example@example.org \\ude00"}]}',
    ],
)
def test_half_of_a_character_costs_its_own_record_and_no_other(body: bytes) -> None:
    ask = open_redaction(b"")
    whole = json.dumps({"text": "\U0001f600 fine"}).encode()
    records = [
        {"head": {"at": at}, "inputs": one, "outputs": other}
        for at, (one, other) in enumerate([(whole, b""), (body, b""), (whole, body), (whole, b"")])
    ]
    found = ask(scope="d", records=records)
    assert (found.records, found.failed) == (2, 2)
    assert [json.loads(line)["at"] for line in found.lines.splitlines()] == [0, 3]
    again = ask(scope="d", records=records[:1])
    assert (again.records, again.failed) == (1, 0)


LEAF = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False,
                 allow_infinity=False), st.text(max_size=40))  # fmt: skip
TREE = st.recursive(
    LEAF,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner,
                                                                max_size=4),
    max_leaves=12,
)  # fmt: skip


SENTENCE = "it is {} as you asked for in the letter of last week, and of the one before"


@given(TREE, st.sampled_from([MAIL, str(CARD)]), st.sampled_from(["{}", SENTENCE]))
def test_an_identifier_never_gets_through_whatever_it_lies_in(
    tree: object, planted: str, form: str
) -> None:
    value = form.format(planted)
    document = {"columns": ["a", 7], "data": [tree, {"data": [[value, tree]]}, value, [[value]]]}
    assert planted not in json.dumps(redact({"inputs": document, "x": [tree, value]}))

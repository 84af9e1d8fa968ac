import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.base.bounds import JsonBounds
from vallum.base.errors import InputError, LimitExceededError, VallumError
from vallum.formats import every_yaml, load_json, load_yaml

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=60)
@given(VALUES)
def test_json_written_is_read_back(value: object) -> None:
    text = json.dumps(value)
    assert load_json(text.encode()) == value


@settings(max_examples=100)
@given(st.binary(max_size=200))
def test_any_bytes_give_a_document_or_a_declared_error(data: bytes) -> None:
    for read in (load_json, load_yaml):
        try:
            read(data)
        except VallumError as error:
            assert error.code.startswith("format.")  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b'{"a":1,"a":2}', "format.json.duplicate-key"),
        (b"[NaN]", "format.json.not-finite"),
        (b"[-Infinity]", "format.json.not-finite"),
        (b"\xef\xbb\xbf{}", "format.json.malformed"),
        (b'{"a":"\xff"}', "format.json.malformed"),
        (b"{} {}", "format.json.malformed"),
        (b"", "format.json.malformed"),
    ],
)
def test_json_with_two_meanings_is_refused(data: bytes, code: str) -> None:
    with pytest.raises(InputError) as caught:
        load_json(data)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"[" * 9 + b"]" * 9, "format.json.too-deep"),
        (b"[1,1,1,1,1,1,1,1,1,1,1,1]", "format.json.too-many-nodes"),
        (b'"' + b"a" * 200 + b'"', "format.json.too-large"),
    ],
)
def test_json_bounds_hold(data: bytes, code: str) -> None:
    bounds = JsonBounds(max_bytes=100, max_depth=8, max_nodes=10)
    with pytest.raises(LimitExceededError) as caught:
        load_json(data, bounds)
    assert caught.value.code == code


def test_brackets_in_text_do_not_count_as_depth() -> None:
    assert load_json(b'"\\"[[[[[\\\\"', JsonBounds(max_depth=2)) == '"[[[[[\\'


def test_a_number_of_many_digits_is_refused() -> None:
    with pytest.raises(LimitExceededError):
        load_json(b"1" * 5_000)


@settings(max_examples=30)
@given(st.dictionaries(st.from_regex(r"[a-z]{1,6}", fullmatch=True), st.integers(), max_size=5))
def test_yaml_written_is_read_back(value: dict[str, int]) -> None:
    value = {f"k{key}": item for key, item in value.items()}  # `on` and `no` are booleans in YAML
    assert load_yaml(yaml.safe_dump(value).encode()) == value


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"a: 1\na: 2", "format.yaml.duplicate-key"),
        (b"a: &x [1]\nb: *x", "format.yaml.alias"),
        (b"!!python/object/apply:os.system [x]", "format.yaml.tag"),
        (b"a: !!str 1", "format.yaml.tag"),
        (b"a: 1\n---\nb: 1", "format.yaml.documents"),
        (b"1: 2", "format.yaml.key"),
        (b"a: [", "format.yaml.malformed"),
    ],
)
def test_yaml_that_does_more_than_hold_data_is_refused(data: bytes, code: str) -> None:
    with pytest.raises(InputError) as caught:
        load_yaml(data)
    assert caught.value.code == code


def test_yaml_depth_is_bounded() -> None:
    with pytest.raises(LimitExceededError) as caught:
        load_yaml(b"[" * 40)
    assert caught.value.code == "format.yaml.too-deep"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (b"1: x\n~: y\n", [{"1": "x", "~": "y"}]),
        (b"a: 1\na: 2\n", [[{"a": 2}, {"a": 1}]]),
        (b"? [a, b]\n: 1\nc: d\n", [[{"c": "d"}, ["a", "b"], 1]]),
        (b"d: 2001-13-45\n<<: x\n", [[{"d": "2001-13-45"}, "x"]]),
        (b"a: &a {b: 1}\nc: {<<: *a, d: 2}\n", [{"a": {"b": 1}, "c": {"b": 1, "d": 2}}]),
        (b"a: 1\n---\n- b\n", [{"a": 1}, ["b"]]),
        (b"", []),
    ],
)
def test_every_reading_of_yaml_is_there(text: bytes, values: list[object]) -> None:
    assert list(every_yaml(text)) == values


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"a: 1\n---\nb: [", "format.yaml.malformed"),
        (b"a: 1\n---\n!x b\n", "format.yaml.tag"),
        (b"a: 1\n---\n!!map [b]\n", "format.yaml.malformed"),
        (b"a: 1\n---\n" + b"[" * 40 + b"]" * 40, "format.yaml.too-deep"),
        (b"&a a: 1\n---\nb: *a\n", "format.yaml.alias"),
    ],
)
def test_what_stands_before_yaml_that_is_refused_is_there(text: bytes, code: str) -> None:
    found: list[object] = []

    def take() -> None:
        for one in every_yaml(text):
            found.append(one)  # noqa: PERF402 - until it raises

    with pytest.raises(VallumError) as refusal:
        take()
    assert (refusal.value.code, found) == (code, [{"a": 1}])

"""The guard: any bytes give an input or a declared error; no rate is exceeded by any order."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.base import InputError, LimitExceededError
from vallum.guard import RateLimiter, Spec, decode_request, encode_response, shape_output

SPEC = Spec(width=2, max_rows=3)


def body(data: object, shape: object = (1, 2), **more: object) -> bytes:
    tensor = {"name": "x", "shape": shape, "datatype": "FP32", "data": data, **more}
    return json.dumps({"inputs": [tensor]}).encode()


def long(asked: bytes) -> bytes:
    """Return the same request, as long as one of many rows."""
    return asked + b" " * 4096


@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_any_bytes_are_an_input_or_a_declared_error(data: bytes) -> None:
    try:
        x, _ = decode_request(data, SPEC)
    except (InputError, LimitExceededError):
        return
    assert x.shape[1] == 2


@settings(max_examples=200)
@given(
    data=st.lists(st.floats(allow_nan=False, width=32), max_size=8),
    shape=st.lists(st.integers(-(2**70), 2**70), max_size=3),
)
def test_what_passes_has_exactly_its_shape_and_is_finite(
    data: list[float], shape: list[int]
) -> None:
    try:
        x, _ = decode_request(
            json.dumps(
                {"inputs": [{"name": "x", "shape": shape, "datatype": "FP32", "data": data}]}
            ).encode(),
            SPEC,
        )
    except (InputError, LimitExceededError):
        return
    assert list(x.shape) == shape
    assert np.isfinite(x).all()
    assert x.ravel().tolist() == pytest.approx(data)


def test_flat_and_nested_rows_mean_the_same() -> None:
    flat, _ = decode_request(body([1, 2, 3, 4], (2, 2)), SPEC)
    nested, _ = decode_request(body([[1, 2], [3, 4]], (2, 2)), SPEC)
    assert (flat == nested).all()


def test_what_clients_add_and_leave_out_changes_nothing() -> None:
    said = json.loads(body([1, 2]))
    said["inputs"][0]["parameters"] = None
    said |= {"id": None, "outputs": None, "parameters": None, "model_name": "risk"}
    x, request_id = decode_request(json.dumps(said).encode(), SPEC)
    assert (x.tolist(), request_id) == ([[1.0, 2.0]], "")


@pytest.mark.parametrize("name", ["data", "inputs", "shape", "datatype"])
def test_a_tensor_may_be_called_like_a_member(name: str) -> None:
    for asked in (body([1, 2], name=name), long(body([1, 2], name=name))):
        x, _ = decode_request(asked, SPEC)
        assert x.tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (body([1, 2]).replace(b'"data"', b'"data": [9, 9], "data"'), "score.duplicate"),
        (body([1, 2]).replace(b'"datatype"', b'"datatype": "FP64", "datatype"'), "score.duplicate"),
        (body([1, 2]).replace(b'"data"', rb'"d\u0061ta": [9, 9], "data"'), "score.duplicate"),
        (body([1e39, 2]), "score.finite"),
        (body([3.4e38, -3.4e38, 3.4e38, 3.4e38], (2, 2)), None),
        (body([1, 2, 3, 4, 5, 6, 7, 8], (4, 2)), "score.rows"),
        (body([1, 2, 3], (1, 3)), "score.width"),
        (body([True, 2]), "score.form"),
        (b'{"id": "\xff"}', "score.form"),
    ],
)
def test_each_refusal_has_its_code(data: bytes, code: str | None) -> None:
    for asked in (data, long(data)):
        if code is None:  # a sum that overflows is no value that does
            assert decode_request(asked, SPEC)[0].shape == (2, 2)
            continue
        with pytest.raises((InputError, LimitExceededError)) as caught:
            decode_request(asked, SPEC)
        assert caught.value.code == code


def test_answers_are_rounded_and_never_infinite() -> None:
    shaped = shape_output("p", np.array([[0.123456, 0.9]], dtype=np.float32), decimals=2)
    assert shaped.data == [0.12, 0.9]
    assert b"0.12" in encode_response("m", "1", [shaped], "id")
    for bad in (np.nan, np.inf):
        with pytest.raises(InputError):
            shape_output("p", np.array([bad]), decimals=None)
    assert shape_output("l", np.array([1, 2]), decimals=3).datatype == "INT64"


@settings(max_examples=100)
@given(
    steps=st.lists(st.floats(0, 0.5), min_size=1, max_size=80),
    rate=st.floats(0.5, 50),
    burst=st.integers(1, 10),
)
def test_no_window_holds_more_than_burst_and_rate_allow(
    steps: list[float], rate: float, burst: int
) -> None:
    limiter = RateLimiter()
    now = 0.0
    granted: list[float] = []
    waits: list[float] = []
    for step in steps:
        now += step
        try:
            limiter.take(("k", "e"), rate_per_s=rate, burst=burst, now_s=now)
        except LimitExceededError as refused:
            waits.append(refused.retry_after_s or 0.0)
        else:
            granted.append(now)
    assert all(wait > 0 for wait in waits)
    for start in range(len(granted)):
        for stop in range(start, len(granted)):
            allowed = burst + (granted[stop] - granted[start]) * rate
            assert stop - start + 1 <= allowed + 1e-6


def test_a_flood_of_keys_frees_nobody_from_their_rate() -> None:
    limiter = RateLimiter(max_keys=2)

    def take(key: str, now_s: float = 0.0) -> bool:
        try:
            limiter.take((key, "e"), rate_per_s=1, burst=1, now_s=now_s)
        except LimitExceededError:
            return False
        return True

    assert take("a")
    assert take("b")
    assert [take(f"new-{at}") for at in range(5)] == [True, False, False, False, False]
    assert not take("a")
    assert take("a", now_s=1.0)
    assert take("c", now_s=5.0)

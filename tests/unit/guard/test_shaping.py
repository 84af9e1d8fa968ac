"""What leaves of an answer: never another label, never more than the policy says."""

from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from vallum.base import GateError, InputError
from vallum.guard import Hardening, check_policy
from vallum.guard.batch import open_batch
from vallum.schema import OutputPolicy

KEY = b"k" * 32
X = np.arange(8, dtype=np.float32).reshape(4, 2)


def softmax(seed: int, rows: int, classes: int, sharp: float) -> Any:
    logits = sharp * np.random.default_rng(seed).standard_normal((rows, classes))
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (p / p.sum(axis=1, keepdims=True)).astype(np.float32)


def policy_of(clip: Any = None, temperature: float = 1.0, noise: float = 0.0, **more: Any) -> Any:
    bounds = None if clip is None else (str(clip[0]), str(clip[1]))
    return OutputPolicy(clip=bounds, temperature=str(temperature), noise=str(noise), **more)


def told(value: Any, x: Any = X, **policy: Any) -> Any:
    ((name, out),) = Hardening(policy_of(**policy), KEY).apply(x, [("p", value)])
    assert (name, out.shape, out.dtype) == ("p", value.shape, value.dtype)
    return out


@settings(max_examples=200)
@given(
    seed=st.integers(0, 2**31),
    classes=st.integers(2, 12),
    sharp=st.sampled_from([0.01, 1.0, 30.0]),
    temperature=st.sampled_from([0.5, 1.0, 4.0]),
    noise=st.sampled_from([0.0, 0.01, 0.5]),
    high=st.sampled_from([None, 0.6, 0.95]),
    top_k=st.integers(0, 4),
    labels_only=st.booleans(),
)
def test_the_label_stays_and_every_bound_holds(
    *, seed: int, classes: int, sharp: float, temperature: float, noise: float,
    high: float | None, top_k: int, labels_only: bool,
) -> None:  # fmt: skip
    p = softmax(seed, 4, classes, sharp)
    clip = None if high is None else (0.01, high)
    out = told(p, temperature=temperature, noise=noise, clip=clip, top_k=top_k,
               labels_only=labels_only)  # fmt: skip
    first = p.argmax(axis=1)
    assert (out[np.arange(4), first] == out.max(axis=1)).all()
    assert (out >= 0).all() and (out <= 1).all()  # noqa: PT018
    if labels_only:
        assert ((out == 1).sum(axis=1) == 1).all() and out.sum() == 4  # noqa: PT018
        return
    if high is not None:
        assert (out <= high + 1e-6).all()
        assert ((out >= 0.01 - 1e-6) | (out == 0)).all()
    if 0 < top_k < classes:
        assert (np.count_nonzero(out, axis=1) <= top_k).all()
    else:
        np.testing.assert_allclose(out.sum(axis=1), 1, atol=1e-5)


def test_a_temperature_is_a_power_and_bounds_keep_the_order() -> None:
    p = np.array([[0.1, 0.2, 0.7]], np.float32)
    root = np.sqrt(p) / np.sqrt(p).sum()
    np.testing.assert_allclose(told(p, X[:1], temperature=2.0), root, rtol=1e-5)
    sure = np.array([[0.999, 0.001], [0.9999, 0.0001]], np.float32)
    np.testing.assert_allclose(told(sure, X[:2], clip=(0.0, 0.9)), [[0.9, 0.1]] * 2, rtol=1e-5)
    assert told(p, X[:1], top_k=1).tolist() == [[0, 0, np.float32(0.7)]]


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_one_number_is_the_second_of_two_probabilities(shape: Any) -> None:
    p = np.array([0.02, 0.4, 0.6, 0.999], np.float32).reshape(shape)
    np.testing.assert_allclose(told(p, clip=(0.05, 0.95)).ravel(), [0.05, 0.4, 0.6, 0.95])
    assert told(p, labels_only=True).ravel().tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(told(p, top_k=1).ravel(), [0, 0, 0.6, np.float32(0.999)])
    odds = told(p, temperature=2.0).ravel().astype(float)
    np.testing.assert_allclose((odds / (1 - odds)) ** 2, (p / (1 - p)).ravel(), rtol=1e-3)


def test_a_regression_is_bounded_and_blurred() -> None:
    y = np.array([[-5.0], [0.5], [2.0], [90.0]], np.float32)
    out = told(y, task="regression", clip=(0.0, 10.0))
    assert out.ravel().tolist() == [0, 0.5, 2, 10]
    many = np.random.default_rng(0).standard_normal((4000, 2)).astype(np.float32)
    blurred = told(np.zeros((4000, 1), np.float32), many, task="regression", noise=3.0)
    assert abs(blurred.mean()) < 0.2
    assert abs(blurred.std() - 3) < 0.15


def test_noise_is_the_same_for_the_same_input_under_the_same_key_alone() -> None:
    p = softmax(1, 4, 3, 1.0)
    policy = policy_of(noise=0.05)
    once = told(p, noise=0.05)
    together = told(np.concatenate([p, p]), np.concatenate([X, X]), noise=0.05)
    np.testing.assert_array_equal(together, np.concatenate([once, once]))
    np.testing.assert_array_equal(told(p[::-1], X[::-1], noise=0.05), once[::-1])
    zero = np.zeros((1, 2), np.float32)
    np.testing.assert_array_equal(told(p[:1], zero, noise=0.05), told(p[:1], -zero, noise=0.05))
    ((_, other),) = Hardening(policy, b"o" * 32).apply(X, [("p", p)])
    assert not np.allclose(other, once, atol=1e-4)
    assert not np.allclose(told(p, np.nextafter(X, np.float32(9)), noise=0.05), once, atol=1e-4)
    assert "kkk" not in repr(Hardening(policy, KEY))
    y = np.full((4, 1), 7.0, np.float32)
    low, high = (told(y, task="regression", noise=noise) for noise in (0.5, 1.0))
    assert np.abs(2 * low - high - y).min() > 1e-3  # two policies do not cancel each other's noise


def test_labels_beside_probabilities_are_told_as_they_are() -> None:
    outputs = [("label", np.array([2, 0])), ("name", np.array(["a", "b"], object)),
               ("p", softmax(3, 2, 3, 1.0))]  # fmt: skip
    shaped = Hardening(OutputPolicy(labels_only=True), KEY).apply(X[:2], outputs)
    assert [name for name, _ in shaped] == ["label", "name", "p"]
    assert shaped[0][1] is outputs[0][1]
    assert shaped[1][1] is outputs[1][1]
    assert set(shaped[2][1].ravel().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize(
    ("value", "policy"),
    [
        (np.array([[3.0, -1.0]], np.float32), {"temperature": 2.0}),  # logits
        (np.array([[3.0, -1.0]], np.float32), {"top_k": 1}),
        (np.array([7.5], np.float32), {"labels_only": True}),  # a regression
        (np.array([[0.5, 0.5]], np.float32), {"clip": (0.6, 0.9)}),
        (np.array([[np.nan, 0.5]], np.float32), {"noise": 0.1}),
        (np.array([[0.5, 0.5]] * 2, np.float32), {"noise": 0.1}),  # another number of rows
        (np.zeros((1, 2, 2), np.float32), {"noise": 0.1}),
        (np.array([[200, 55]], np.uint8), {"labels_only": True}),
        (np.array([[7]], np.int64), {"task": "regression", "noise": 0.1}),
    ],
)
def test_an_answer_that_a_policy_does_not_fit_does_not_leave(value: Any, policy: Any) -> None:
    with pytest.raises(GateError):
        told(value, X[:1], **policy)


def test_scores_that_are_no_probabilities_have_a_label() -> None:
    scores = np.array([[3.0, -1.0], [-7.0, 0.1]], np.float32)
    assert told(scores, X[:2], labels_only=True).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    "policy",
    [
        {"task": "guessing"}, {"top_k": -1}, {"temperature": 0.0}, {"temperature": 101.0},
        {"temperature": float("nan")}, {"noise": -0.1}, {"noise": "much"}, {"noise": float("inf")},
        {"clip": (0.9, 0.1)}, {"clip": (-0.1, 0.9)}, {"clip": (0.1, 1.5)},
        {"clip": (float("nan"), 1.0)}, {"task": "regression", "labels_only": True},
        {"task": "regression", "top_k": 2}, {"task": "regression", "temperature": 2.0},
    ],
)  # fmt: skip
def test_a_policy_that_cannot_be_followed_is_refused(policy: Any) -> None:
    with pytest.raises(InputError) as refused:
        check_policy(policy_of(**policy))
    assert refused.value.code == "deploy.output"


def test_a_batch_tells_what_the_endpoint_tells() -> None:
    weights = np.array([[1.0, -1.0], [0.5, -0.5]], np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Softmax", ["m"], ["p"])],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, [None, 2])],
        [numpy_helper.from_array(weights, "w")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    frame = pl.DataFrame({"a": [0.5, None, 1.0], "b": [1.0, 2.0, -3.0]})
    policy = policy_of(noise=0.1, clip=(0.2, 0.8))
    payload = {"model": model.SerializeToString(), "noise_key": KEY}
    data = frame.write_csv().encode()
    step = open_batch(msgspec.msgpack.encode(payload), size=len(data), kind="csv", max_failed=1,
                      output=msgspec.to_builtins(policy))  # fmt: skip
    said = [step()]
    while not said[-1].done:
        offset, length = said[-1].need or (0, 0)
        said.append(step(data[offset : offset + length]))
    found = pl.read_csv(b"".join(one.table for one in said))
    assert found["p_0"].is_null().to_list() == [False, True, False]
    x = np.array([[0.5, 1.0], [1.0, -3.0]], np.float32)
    scores = np.exp(x @ weights)
    scores = (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)
    ((_, expected),) = Hardening(policy, KEY).apply(x, [("p", scores)])
    np.testing.assert_allclose(found["p_1"].drop_nulls().to_numpy(), expected[:, 1], atol=1e-6)

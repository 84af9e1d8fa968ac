"""The charge of an answer is a code length: its mean is never below the answers' entropy."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.guard.information import Detail, answer_bits, detail_at, in_detail
from vallum.guard.session import Arrays
from vallum.guard.shaping import labels_of


def entropy(words: list[bytes]) -> float:
    counts = np.array(list(Counter(words).values())) / len(words)
    return float(-(counts * np.log2(counts)).sum())


@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 400),
    width=st.integers(1, 5),
    decimals=st.one_of(st.none(), st.integers(0, 6)),
    sharp=st.floats(0.01, 50),
    scale=st.sampled_from([1.0, 30.0]),
    top_k=st.integers(0, 4),
    kind=st.sampled_from(["all", "labels", "label", "number", "text"]),
)
@settings(max_examples=300)
def test_the_charge_is_at_least_the_entropy(
    *, seed: int, rows: int, width: int, decimals: int | None, sharp: float, scale: float,
    top_k: int, kind: str,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((rows, width)) * sharp
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p = (p / p.sum(axis=1, keepdims=True)).astype(np.float32)
    outputs: Arrays = [("p", p)]
    more: dict[str, object] = {}
    if kind == "labels":
        outputs, more = [("p", labels_of(p))], {"labels_only": True}
    elif kind == "label":
        outputs = [("label", p.argmax(axis=1)), ("p", p)]
    elif kind == "number":
        outputs = [("y", (scores * scale).astype(np.float32)), ("n", (scores * 9).astype(int))]
    elif kind == "text":
        outputs = [("label", np.array([f"c{one}" for one in p.argmax(axis=1)], dtype=object))]
    elif 0 < top_k < width:
        few = np.zeros_like(p)
        order = np.argsort(-p, axis=1)[:, :top_k]
        few[np.arange(rows)[:, None], order] = p[np.arange(rows)[:, None], order]
        outputs, more = [("p", few)], {"top_k": top_k}
    told = [
        b"|".join(
            (np.round(value[at].astype(np.float64), decimals) + 0.0).tobytes()
            if value.dtype.kind == "f" and decimals is not None
            else repr(value[at : at + 1].tolist()).encode()
            for _, value in outputs
        )
        for at in range(rows)
    ]
    bits = answer_bits(outputs, decimals=decimals, **more)  # type: ignore[arg-type]
    assert bits / rows >= entropy(told) - 1e-9
    # Of each row alone it is the same: rows have no code together.
    alone = sum(
        answer_bits([(n, v[at : at + 1]) for n, v in outputs], decimals=decimals, **more)  # type: ignore[arg-type]
        for at in range(rows)
    )
    assert bits == pytest.approx(alone)


@given(decimals=st.integers(0, 1), width=st.integers(1, 3), reach=st.integers(0, 6))
def test_the_lengths_are_those_of_a_code(decimals: int, width: int, reach: int) -> None:
    """Kraft's sum over all answers, those outside of the grid too, is at most one."""
    grid = np.arange(-reach, 10**decimals + 1 + reach) / 10**decimals
    total = sum(
        2.0 ** -answer_bits([("p", np.array([row], dtype=np.float32))], decimals=decimals)
        for row in itertools.product(grid, repeat=width)
    )
    assert total <= 1 + 1e-9
    labels = range(-reach, 3 + reach)
    p = np.full((1, 3), 1 / 3, dtype=np.float32)
    rest = answer_bits([("p", p)], decimals=2)
    total = sum(
        2.0 ** (rest - answer_bits([("n", np.array([at])), ("p", p)], decimals=2)) for at in labels
    )
    assert total <= 1 + 1e-9


def test_what_answers_cost() -> None:
    p = np.array([[0.2, 0.5, 0.3, 0.0]], dtype=np.float32)
    assert answer_bits([("p", p)], decimals=None) == 4 * 32
    assert answer_bits([("p", p)], decimals=2) == pytest.approx(4 * math.log2(102))
    assert answer_bits([("p", p)], decimals=2, top_k=1) == pytest.approx(2 + math.log2(102))
    assert answer_bits([("p", labels_of(p))], decimals=2, labels_only=True) == 2
    assert answer_bits([("p", np.repeat(p, 9, axis=0))], decimals=None) == 9 * 4 * 32
    assert answer_bits([("p", p)], decimals=60) == 4 * 32  # finer than the number itself


def test_the_more_is_spent_the_less_is_told() -> None:
    assert [detail_at(one) for one in (0, 0.49, 0.5, 0.79, 0.8, 1)] == [
        Detail.WHOLE, Detail.WHOLE, Detail.ROUNDED, Detail.ROUNDED, Detail.LABELS, Detail.LABELS,
    ]  # fmt: skip
    p = np.array([[0.2, 0.5, 0.3]], dtype=np.float32)
    assert in_detail([("p", p)], Detail.ROUNDED, 0)[1] == 0
    costs = []
    for detail in Detail:
        told, decimals = in_detail([("p", p)], detail, 3)
        costs.append(answer_bits(told, decimals=decimals, labels_only=detail is Detail.LABELS))
    assert costs == sorted(costs, reverse=True)
    assert in_detail([("p", p)], Detail.LABELS, 3)[0][0][1].tolist() == [[0, 1, 0]]

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thieves import known, softmax

from vallum.attack import Known, find_paths
from vallum.base import GateError


class Tree:
    """Splits the longest box at random until there are enough leaves, each with its own scores."""

    def __init__(self, width: int, leaves: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        boxes = [(np.full(width, -np.inf), np.full(width, np.inf))]
        while len(boxes) < leaves:
            low, high = boxes.pop(int(rng.integers(len(boxes))))
            feature = int(rng.integers(width))
            first, last = max(low[feature], -2.0), min(high[feature], 2.0)
            cut = np.float64(np.float32(rng.uniform(first, last)))
            below, above = high.copy(), low.copy()
            below[feature] = above[feature] = cut
            boxes += [(low, below), (above, high)]
        self.boxes = boxes
        share = rng.permutation(leaves) / leaves * 0.9 + 0.05
        self.scores = np.stack([share, 1 - share], axis=1)

    def predict(self, x: Any) -> Any:
        out = np.zeros((len(x), 2))
        for (low, high), scores in zip(self.boxes, self.scores, strict=True):
            # As scikit-learn: at the threshold itself a record goes below.
            out[((x > low) & (x <= high)).all(axis=1)] = scores
        return out


def problem(tree: Any, width: int) -> Any:
    rng = np.random.default_rng(3)
    x = rng.uniform(-2.5, 2.5, (600, width)).astype(np.float32)
    y = tree.predict(x).argmax(axis=1)
    return Known((x[:200], y[:200]), (x[200:], y[200:]))


@settings(max_examples=20)
@given(st.integers(1, 6), st.integers(2, 25), st.integers(0, 2**32 - 1))
def test_every_leaf_of_a_tree_is_found(width: Any, leaves: Any, seed: Any) -> None:
    tree = Tree(width, leaves, seed)
    data = problem(tree, width)
    try:
        found = find_paths(tree, data, budget=40_000, seed=0)
    except GateError as error:  # all held-out records may be of one class
        assert error.code == "attack.constant"  # noqa: PT017 - not expected, only allowed
        return
    assert found.report.exact
    assert found.report.complete
    assert found.report.fidelity == 1.0
    x = data.members[0]
    assert (found.stolen.predict(x) == tree.predict(x)).all()
    assert len(found.stolen.low) <= leaves


def test_a_budget_that_ends_early_is_said_to() -> None:
    tree = Tree(6, 40, 1)
    report = find_paths(tree, problem(tree, 6), budget=700, seed=0).report
    assert not report.complete
    assert not report.exact
    assert report.queries + report.measured <= 700
    full = find_paths(tree, problem(tree, 6), budget=40_000, seed=0).report
    assert [one.queries for one in full.curve] == sorted(one.queries for one in full.curve)
    assert full.curve[0].fidelity < full.curve[-1].fidelity == 1.0


def test_leaves_that_answer_alike_are_found_but_not_called_exact() -> None:
    class Coarse(Tree):
        def predict(self, x: Any) -> Any:
            return super().predict(x).round(1)

    tree = Coarse(3, 25, 2)
    report = find_paths(tree, problem(tree, 3), budget=40_000, seed=0).report
    assert not report.exact
    assert report.fidelity > 0.8


def test_a_model_that_is_no_tree_or_answers_labels_is_an_error() -> None:
    model = softmax()
    with pytest.raises(GateError) as refused:
        find_paths(model, known(model), budget=5000, seed=0)
    assert refused.value.code == "attack.kind"
    with pytest.raises(GateError) as refused:
        find_paths(softmax("labels"), known(model), budget=5000, seed=0)
    assert refused.value.code == "attack.scores"

    class Restless(Tree):
        rng = np.random.default_rng(0)

        def predict(self, x: Any) -> Any:
            noise = self.rng.uniform(0, 0.01, len(x))
            return super().predict(x) + np.stack([noise, -noise], axis=1)

    tree = Restless(3, 5, 0)
    with pytest.raises(GateError) as refused:
        find_paths(tree, problem(tree, 3), budget=5000, seed=0)
    assert refused.value.code == "attack.deterministic"

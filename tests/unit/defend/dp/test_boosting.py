"""Boosted trees: what they learn, what one record moves, what it costs, and the same in ONNX."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from vallum.base import InputError
from vallum.defend.dp import BoostedTrees, LogisticRegression, epsilon_of
from vallum.defend.dp import boosting as module


def curved(count: int, seed: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
    """Friedman's function, cut in two."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(size=(count, 6))
    f = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3]
    return x, (f + rng.normal(size=count) > 12).astype(int)


def test_what_is_no_straight_line_is_learned_better_than_by_a_linear_model() -> None:
    x, y = curved(12_000)
    test, truth = curved(4000, seed=1)
    same: dict[str, Any] = {"epsilon": 1, "delta": 1e-5, "classes": [0, 1]}
    trees = BoostedTrees(**same, bounds=[(0, 1)] * 6).fit(x, y)
    line = LogisticRegression(**same, data_norm=2).fit(x, y)
    assert trees.score(test, truth) > max(0.82, line.score(test, truth))
    assert np.allclose(trees.predict_proba(test).sum(axis=1), 1)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**31), count=st.integers(2, 7), scale=st.sampled_from([1e-6, 1.0, 700.0])
)
def test_no_record_contributes_more_than_is_accounted(seed: int, count: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(40, count)) * scale
    added = module.contributions(scores, rng.integers(0, count, 40))
    bound = math.sqrt(2 + 0.25) * (1 + 1e-9)
    assert np.linalg.norm(added, axis=1).max() <= bound


@settings(max_examples=25)
@given(seed=st.integers(0, 2**31), gone=st.integers(0, 11))
def test_neighbouring_data_differ_by_one_contribution_in_every_release(
    seed: int, gone: int
) -> None:
    """Splits are the same whatever the data are, and a record is in one leaf."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(12, 3)) * 5, rng.integers(0, 3, 12)
    kept = np.delete(np.arange(12), gone)
    released: list[list[NDArray[Any]]] = []
    deviations: list[float] = []
    splits = []
    for rows in (np.arange(12), kept):
        sums: list[NDArray[Any]] = []

        def plain(
            total: NDArray[Any], deviation: float, sums: list[NDArray[Any]] = sums
        ) -> NDArray[Any]:
            sums.append(total)
            deviations.append(deviation)
            return np.zeros_like(total)  # the same model for both: composition assumes it

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "noisy_sum", plain)
            model = BoostedTrees(
                epsilon=5, delta=1e-3, bounds=[(-9, 9)] * 3, classes=[0, 1, 2], trees=4, depth=3
            ).fit(x[rows], y[rows])
        released.append(sums)
        splits.append(model._made.threshold.tobytes())
    assert splits[0] == splits[1]
    for one, other in zip(*released, strict=True):
        assert np.linalg.norm(one - other) <= model.spend_.max_grad_norm
        assert ((one != other).any(axis=1)).sum() == 1
    least = model.spend_.noise_multiplier * model.spend_.max_grad_norm
    assert min(deviations) >= least * (1 - 1e-12)


def test_the_cost_is_that_of_two_other_accountants() -> None:
    """By Rényi DP, and by the exact formula for Gaussians (Balle and Wang 2018)."""
    x, y = curved(500)
    spend = (
        BoostedTrees(epsilon=2, delta=1e-4, bounds=[(0, 1)] * 6, classes=[0, 1], trees=30)
        .fit(x, y)
        .spend_
    )
    mean = math.sqrt(30) / spend.noise_multiplier
    delta = stats.norm.cdf(mean / 2 - spend.epsilon / mean) - math.exp(
        spend.epsilon
    ) * stats.norm.cdf(-mean / 2 - spend.epsilon / mean)
    assert 0.9e-4 < delta <= 1e-4 * (1 + 1e-6)
    assert 1.9 < spend.epsilon <= 2
    renyi = epsilon_of(
        noise_multiplier=spend.noise_multiplier, sampling_rate=1.0, steps=30, delta=1e-4,
        accountant="rdp",
    )  # fmt: skip
    assert spend.epsilon <= renyi < 1.3 * spend.epsilon


@pytest.mark.parametrize("classes", [[0, 1], ["no", "yes"]])
def test_the_onnx_file_answers_the_same(classes: list[Any]) -> None:
    runtime = pytest.importorskip("onnxruntime")
    x, y = curved(800)
    names = np.array(classes)[y]
    model = BoostedTrees(epsilon=5, delta=1e-4, bounds=[(0, 1)] * 6, classes=classes, trees=15).fit(
        x, names
    )
    session = runtime.InferenceSession(model.to_onnx())
    # Beyond the bounds, and on a threshold itself.
    rows = np.concatenate([x, x * 9 - 4]).astype(np.float32)
    rows[0, model._made.feature[0, 0]] = model._made.threshold[0, 0]
    labels, found = session.run(None, {"x": rows})
    assert np.abs(found - model.predict_proba(rows)).max() < 1e-5
    sure = np.abs(found[:, 0] - 0.5) > 1e-4
    assert (np.asarray(labels)[sure] == model.predict(rows)[sure]).all()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"classes": [0]}, "at least 2 different classes"),
        ({"classes": [0, 2]}, "one of the declared classes"),
        ({"bounds": [(0, 1)]}, "1 bounds are declared, and rows have 2"),
        ({"bounds": [(0, 1), (1, 1)]}, "low < high"),
        ({"bounds": [(0, 1), (0, math.inf)]}, "low < high"),
        ({"depth": 0}, "of depth 1 to 12"),
        ({"trees": 0}, "trees are 1 to"),
        ({"interaction": 0}, "`interaction` is at least 1"),
        ({"delta": 0.3}, "is not below 1/4"),
    ],
)
def test_what_is_not_declared_is_refused(changed: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {
        "epsilon": 1.0, "delta": 1e-3, "bounds": [(0, 1), (0, 1)], "classes": [0, 1], **changed,
    }  # fmt: skip
    with pytest.raises(InputError, match=said):
        BoostedTrees(**given).fit(np.ones((4, 2)), np.array([0, 1, 0, 1]))


def test_rows_that_do_not_fit_are_refused() -> None:
    x, y = curved(100)
    model = BoostedTrees(epsilon=5, delta=1e-3, bounds=[(0, 1)] * 6, classes=[0, 1], trees=2)
    model.fit(x, y)
    with pytest.raises(InputError, match="5 features, not 6"):
        model.predict(x[:, :5])
    with pytest.raises(InputError, match="not finite"):
        model.predict(np.full((1, 6), 1e300))  # beyond float32

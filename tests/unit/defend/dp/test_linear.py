"""Linear models: what they learn, and that one record moves a release by no more than accounted."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from vallum.base import InputError
from vallum.defend.dp import LinearRegression, LogisticRegression
from vallum.defend.dp import linear as module
from vallum.defend.dp.gaussian import normal_numbers

datasets = pytest.importorskip("sklearn.datasets", reason="data come with scikit-learn")


def test_classes_are_learned() -> None:
    """Digits at epsilon 4, with half of them held back."""
    digits = datasets.load_digits()
    x, y = digits.data / 16, digits.target
    model = LogisticRegression(epsilon=4, delta=1e-4, data_norm=4, classes=range(10), steps=60)
    model.fit(x[:900], y[:900])
    assert model.score(x[900:], y[900:]) > 0.74  # 0.82 on average, with a deviation of 0.016
    assert np.allclose(model.predict_proba(x).sum(axis=1), 1)
    assert 3.9 < model.spend_.epsilon <= 4


def test_a_line_is_found() -> None:
    """With ten thousand rows the weights are close; predictions are in the target's unit."""
    rng = np.random.default_rng(5)
    x = rng.uniform(-1, 1, (10_000, 3))
    y = 100 + x @ np.array([10.0, -5.0, 0.0]) + rng.normal(0, 1, len(x))
    model = LinearRegression(epsilon=2, delta=1e-6, data_norm=2, target_range=(80, 120)).fit(x, y)
    assert np.abs(model.coef_ - [10, -5, 0]).max() < 1
    assert np.abs(model.predict(x) - y).mean() < 1.5


@settings(max_examples=40)
@given(seed=st.integers(0, 2**31), scale=st.sampled_from([1e-3, 1.0, 1e6]))
def test_one_record_moves_no_release_by_more_than_is_accounted(seed: int, scale: float) -> None:
    """The exact sums of neighbouring data differ by at most the sensitivity, at every step."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(12, 4)) * scale
    y = rng.integers(0, 3, 12)
    targets = rng.normal(size=12) * scale
    sums: list[NDArray[Any]] = []
    moments: list[NDArray[Any]] = []

    def noted(held: list[NDArray[Any]]) -> Any:
        def plain(total: NDArray[Any], _: float) -> NDArray[Any]:
            held.append(total)
            return total

        return plain

    for rows in (slice(0, 12), slice(0, 11)):
        with pytest.MonkeyPatch.context() as patch:
            # One step: both start at the same weights, as composition assumes of every step.
            patch.setattr(module, "noisy_sum", noted(sums))
            LogisticRegression(epsilon=5, delta=1e-3, data_norm=1, classes=[0, 1, 2], steps=1).fit(
                x[rows], y[rows]
            )
            patch.setattr(module, "noisy_sum", noted(moments))
            LinearRegression(epsilon=5, delta=1e-3, data_norm=1, target_range=(-1, 1)).fit(
                x[rows], targets[rows]
            )
    assert np.linalg.norm(sums[0] - sums[1]) <= 2**0.5
    assert np.linalg.norm(moments[0] - moments[1]) <= 3


def test_noise_is_normal() -> None:
    """By the same transform as torch's."""
    assert stats.kstest(normal_numbers(50_001), "norm").pvalue > 1e-9


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"classes": [0]}, "at least 2 different classes"),
        ({"classes": [0, 2]}, "one of the declared classes"),
        ({"data_norm": 0.0}, "`data_norm` must be positive"),
        ({"delta": 0.3}, "is not below 1/4"),
    ],
)
def test_what_is_not_declared_is_refused(changed: dict[str, Any], said: str) -> None:
    """Bounds come from the caller."""
    given = {"epsilon": 1.0, "delta": 1e-3, "data_norm": 1.0, "classes": [0, 1], **changed}
    with pytest.raises(InputError, match=said):
        LogisticRegression(**given).fit(np.ones((4, 2)), np.array([0, 1, 0, 1]))


def test_rows_that_are_no_numbers_are_refused() -> None:
    """Not finite, or not a matrix."""
    model = LinearRegression(epsilon=1, delta=1e-3, data_norm=1, target_range=(0, 1))
    with pytest.raises(InputError, match="not finite"):
        model.fit(np.array([[np.nan]]), np.zeros(1))
    with pytest.raises(InputError, match="rows must be"):
        model.fit(np.zeros(3), np.zeros(3))

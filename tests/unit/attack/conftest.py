"""A linear model in numpy: its distance to the boundary is known exactly."""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray


@dataclass(frozen=True)
class Linear:
    """Two classes with the boundary x @ weights = 0."""

    weights: NDArray[np.float64]

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        one = 1 / (1 + np.exp(-np.clip(x @ self.weights, -30, 30)))
        return np.stack([1 - one, one], axis=1)


@dataclass(frozen=True)
class Problem:
    model: Linear
    x: NDArray[np.float32]
    y: NDArray[np.intp]


@pytest.fixture(scope="session")
def problem() -> Problem:
    rng = np.random.default_rng(7)
    units = np.array([1.0, 100.0, 0.01, 5.0, 1.0, 1.0])
    x = (rng.standard_normal((300, 6)) * units).astype(np.float32)
    model = Linear(np.array([1.0, 2.0, -1.0, 0.5, 0.0, 0.3]) / units)
    return Problem(model, x, model.predict(x).argmax(axis=1))

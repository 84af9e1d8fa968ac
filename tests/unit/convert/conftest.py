"""Small models of every kind that is converted."""

from typing import Any

import numpy as np
import pytest

from vallum.sandbox import BubblewrapRunner


@pytest.fixture(scope="session")
def runner() -> BubblewrapRunner:
    return BubblewrapRunner.open()


@pytest.fixture(scope="session")
def records() -> tuple[Any, Any]:
    """Return 400 rows of six whole numbers, some of which decide the class."""
    rng = np.random.default_rng(7)
    x = rng.integers(0, 40, size=(400, 6)).astype(np.float64)
    return x, (x[:, 0] + 2 * x[:, 3] + rng.normal(size=400) > 60).astype(int)

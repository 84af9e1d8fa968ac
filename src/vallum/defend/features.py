"""The space in which rows are compared: numbers on one scale, few enough of them.

Images keep their own scale, since pixels share one; columns of a table are each put on the scale
of their middle, with long tails drawn in so that no single value decides a distance.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MAX_FEATURES = 128
"""More are reduced by principal components; distances hardly change."""
_SAMPLE = 4_000
_TABLE = 2
_PIXELS = 16
_VALUES = 20


def features_of(x: NDArray[Any], rng: np.random.Generator, *, measured: bool = False) -> Floats:
    """Return features (n, k), k <= 128, float64, of records (n, d) or images (n, h, w[, c]).

    With `measured`, columns of a table that hold few values, or one in most rows, are left out:
    what is common in one class and rare in another is no trigger there.
    """
    flat = np.asarray(x, dtype=np.float64).reshape(len(x), -1)
    if is_table(x):
        flat = _levelled(flat[:, _measured(flat)] if measured else flat)
    else:
        flat = (flat - flat.min()) / max(float(np.ptp(flat)), 1e-12)
    flat = flat[:, np.ptp(flat, axis=0) > 0] if flat.shape[1] else flat
    if flat.shape[1] > MAX_FEATURES:
        rows = rng.choice(len(flat), min(_SAMPLE, len(flat)), replace=False)
        mean = flat[rows].mean(axis=0)
        _, _, axes = np.linalg.svd(flat[rows] - mean, full_matrices=False)
        flat = (flat - mean) @ axes[:MAX_FEATURES].T
    return flat


def is_table(x: NDArray[Any]) -> bool:
    """Tell a table whose columns have scales of their own from images."""
    return x.ndim == _TABLE and not _share_a_scale(np.asarray(x, dtype=np.float64))


def _share_a_scale(flat: Floats) -> bool:
    """Tell images that were laid out as a table: many columns, one smallest and largest value."""
    low, high = flat.min(axis=0), flat.max(axis=0)
    return (
        flat.shape[1] >= _PIXELS
        and float(np.mean(low == np.median(low))) > 0.8  # noqa: PLR2004
        and float(np.mean(high >= 0.7 * high.max())) > 0.5  # noqa: PLR2004
    )


def _measured(flat: Floats) -> NDArray[np.bool_]:
    found = np.zeros(flat.shape[1], dtype=np.bool_)
    for place, column in enumerate(flat.T):
        _, counts = np.unique(column, return_counts=True)
        found[place] = len(counts) >= _VALUES and counts.max() <= 0.3 * len(column)
    return found


def _levelled(flat: Floats) -> Floats:
    low, middle, high = np.quantile(flat, (0.1, 0.5, 0.9), axis=0)
    spread = (high - low) / 2.563  # the distance of these quantiles of a normal distribution
    deviation = flat.std(axis=0)
    spread = np.where(spread > 0.05 * deviation, spread, deviation)
    z = (flat - middle) / np.where(spread > 0, spread, 1.0)
    beyond = np.maximum(np.abs(z) - 3.0, 0.0)
    levelled: Floats = np.sign(z) * (np.minimum(np.abs(z), 3.0) + np.log1p(beyond))
    return levelled


def distances(a: Floats, b: Floats) -> Floats:
    """Return squared Euclidean distances (n, m)."""
    squares: Floats = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None] - 2.0 * (a @ b.T)
    return np.maximum(squares, 0.0)


def softmax(scores: Floats) -> Floats:
    """Return scores, (n, classes), as rows of probabilities."""
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    divided: Floats = raised / raised.sum(axis=1, keepdims=True)
    return divided

"""Linear and logistic regression under differential privacy, called like scikit-learn's.

What bounds one record's influence is declared, never looked up in the data: the length that rows
are clipped to, the range of targets, the classes. The number of records counts as public.

Neighbouring relation: one record is added or removed. Noise is `gaussian.noisy_sum`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vallum.base import InputError
from vallum.defend.dp.gaussian import Floats, noisy_sum
from vallum.defend.dp.spend import Spend, epsilon_of, noise_multiplier_of
from vallum.defend.features import softmax

MAX_FEATURES = 5_000
MAX_CLASSES = 1_000
_MATRIX = 2


class Classifier(ABC):
    """What scores of classes say.

    Attributes:
        classes_: The classes, in the order of the scores.
    """

    classes_: NDArray[Any]

    @abstractmethod
    def decision_function(self, x: NDArray[Any]) -> Floats:
        """Return scores (n, classes)."""

    def predict_proba(self, x: NDArray[Any]) -> Floats:
        """Return probabilities (n, classes)."""
        return softmax(self.decision_function(x))

    def predict(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return the likeliest class of each row."""
        found: NDArray[Any] = self.classes_[self.decision_function(x).argmax(axis=1)]
        return found

    def score(self, x: NDArray[Any], y: NDArray[Any]) -> float:
        """Return the share of rows whose class is right."""
        return float((self.predict(x) == np.asarray(y)).mean())


class LogisticRegression(Classifier):
    """Multinomial logistic regression by noisy gradient descent over all records.

    A row v, clipped and with its intercept, has length at most 1, so that one record adds at most
    the root of 2 to the gradient (p - e_y) v^T: nothing else needs clipping. The mean of the later
    half of the iterates is kept.

    Attributes:
        coef_: Weights, shape (classes, features), after `fit`.
        intercept_: Shape (classes,), after `fit`.
        classes_: As declared.
        spend_: What `fit` cost, after it.

    Source: Bassily, Smith and Thakurta 2014; sensitivity as above.
    """

    def __init__(
        self,
        *,
        epsilon: float,
        delta: float,
        data_norm: float,
        classes: Sequence[Any],
        steps: int = 100,
        regularization: float = 1e-4,
    ) -> None:
        """Store; `fit` checks.

        Args:
            epsilon: Loss of one `fit`, 0 < epsilon <= 100.
            delta: Chance that it is exceeded; less than one over the number of records.
            data_norm: Length that rows are clipped to, > 0: known beforehand, not from the data.
            classes: All labels that there can be, at least 2.
            steps: Noisy gradients, >= 1.
            regularization: Weight of half the squared length of the coefficients, >= 0.
        """
        self.epsilon, self.delta = epsilon, delta
        self.data_norm, self.classes = data_norm, tuple(classes)
        self.steps, self.regularization = steps, regularization

    def fit(self, x: NDArray[Any], y: NDArray[Any]) -> "LogisticRegression":
        """Fit to rows (n, d) and labels (n,).

        Raises:
            InputError: Shapes, numbers or parameters are unusable, or a label is not declared.
        """
        rows = _rows(x, self.data_norm)
        n, width = rows.shape
        names = np.asarray(self.classes)
        if not 2 <= len(names) <= MAX_CLASSES or len(set(self.classes)) != len(names):  # noqa: PLR2004
            raise InputError("declare at least 2 different classes", code="defend.dp.classes")
        known = {name: at for at, name in enumerate(self.classes)}
        labels = np.asarray(y)
        if labels.shape != (n,) or any(one not in known for one in labels.tolist()):
            raise InputError(
                "labels must be one of the declared classes for each row",
                code="defend.dp.classes",
                hint="classes must list every label that there can be",
            )
        codes = np.array([known[one] for one in labels.tolist()])
        spend = _spend(
            self.epsilon, self.delta, steps=self.steps, sensitivity=math.sqrt(2), records=n
        )
        deviation = spend.noise_multiplier * spend.max_grad_norm
        # Half the length for the row, half for the intercept; the loss is 1/2-smooth in them.
        v = np.concatenate([rows / self.data_norm, np.ones((n, 1))], axis=1) / math.sqrt(2)
        weights = np.zeros((width + 1, len(names)))
        kept = np.zeros_like(weights)
        rate = min(2.0 / (0.5 + self.regularization), 4.0)
        for step in range(self.steps):
            errors = softmax(v @ weights)
            errors[np.arange(n), codes] -= 1
            slope = noisy_sum(v.T @ errors, deviation) / n + self.regularization * weights
            weights = weights - rate * slope
            if step >= self.steps // 2:
                kept += weights
        kept /= self.steps - self.steps // 2
        scale = 1 / math.sqrt(2)
        self.classes_ = names
        self.coef_ = kept[:-1].T * (scale / self.data_norm)
        self.intercept_ = kept[-1] * scale
        self.spend_ = spend
        return self

    def decision_function(self, x: NDArray[Any]) -> Floats:
        """Return scores (n, classes); rows are not clipped here."""
        found: Floats = _matrix(x) @ self.coef_.T + self.intercept_
        return found


class LinearRegression:
    """Least squares from noisy sums of products.

    With rows clipped to `data_norm` and scaled to length 1, targets clipped to their range and
    scaled to -1..1, a record is w = (row, 1, target) of squared length at most 3, and adds w w^T,
    whose Frobenius norm is that squared length, to the one matrix that is released with noise.

    Attributes:
        coef_: Weights, shape (features,), after `fit`.
        intercept_: After `fit`.
        spend_: What `fit` cost, after it.

    Source: Vu and Slavković 2009; Wang 2018 (sufficient statistics, ridge against the noise).
    """

    def __init__(
        self,
        *,
        epsilon: float,
        delta: float,
        data_norm: float,
        target_range: tuple[float, float],
    ) -> None:
        """Store; `fit` checks.

        Args:
            epsilon: Loss of one `fit`, 0 < epsilon <= 100.
            delta: Chance that it is exceeded; less than one over the number of records.
            data_norm: Length that rows are clipped to, > 0.
            target_range: Least and greatest target; others are clipped to it.
        """
        self.epsilon, self.delta = epsilon, delta
        self.data_norm, self.target_range = data_norm, target_range

    def fit(self, x: NDArray[Any], y: NDArray[Any]) -> "LinearRegression":
        """Fit to rows (n, d) and targets (n,).

        Raises:
            InputError: Shapes, numbers or parameters are unusable.
        """
        rows = _rows(x, self.data_norm)
        n, width = rows.shape
        low, high = self.target_range
        if not low < high:
            raise InputError("`target_range` must be (low, high), low < high", code="defend.dp.y")
        targets = np.asarray(y, dtype=np.float64)
        if targets.shape != (n,) or not np.isfinite(targets).all():
            raise InputError("targets must be one finite number a row", code="defend.dp.y")
        half, middle = (high - low) / 2, (high + low) / 2
        spend = _spend(self.epsilon, self.delta, steps=1, sensitivity=3.0, records=n)
        deviation = spend.noise_multiplier * spend.max_grad_norm
        w = np.concatenate(
            [rows / self.data_norm, np.ones((n, 1)),
             ((np.clip(targets, low, high) - middle) / half)[:, None]], axis=1,
        )  # fmt: skip
        # Of a symmetric matrix half is released: its norm is no larger.
        upper = np.triu_indices(width + 2)
        noisy = np.zeros((width + 2, width + 2))
        noisy[upper] = noisy_sum((w.T @ w)[upper], deviation)
        noisy = noisy + np.triu(noisy, 1).T
        gram, moment = noisy[:-1, :-1], noisy[:-1, -1]
        values, vectors = np.linalg.eigh(gram)
        # Directions that the noise alone could make are held back: its largest eigenvalue is
        # about twice its deviation times the root of the width.
        floor = deviation * 2 * math.sqrt(width + 1)
        turned = vectors.T @ moment
        solved = vectors @ (turned / (np.maximum(values, 0) + floor))
        self.coef_ = solved[:-1] * (half / self.data_norm)
        self.intercept_ = float(solved[-1] * half + middle)
        self.spend_ = spend
        return self

    def predict(self, x: NDArray[Any]) -> Floats:
        """Return estimates (n,); rows are not clipped here."""
        found: Floats = _matrix(x) @ self.coef_ + self.intercept_
        return found


def _spend(epsilon: float, delta: float, *, steps: int, sensitivity: float, records: int) -> Spend:
    if delta >= 1 / records:
        raise InputError(
            f"`delta` {delta:g} is not below 1/{records}: publishing whole records would pass",
            code="defend.dp.delta",
            hint=f"delta={0.1 / records:.0e}",
        )
    noise = noise_multiplier_of(epsilon=epsilon, delta=delta, sampling_rate=1.0, steps=steps)
    return Spend(
        epsilon=epsilon_of(noise_multiplier=noise, sampling_rate=1.0, steps=steps, delta=delta),
        delta=delta, accountant="pld", noise_multiplier=noise, sampling_rate=1.0, steps=steps,
        max_grad_norm=sensitivity, records=records,
    )  # fmt: skip


def _matrix(x: NDArray[Any]) -> Floats:
    rows = np.asarray(x, dtype=np.float64)
    if rows.ndim != _MATRIX or not rows.size or rows.shape[1] > MAX_FEATURES:
        raise InputError(
            f"rows must be (n, d), 1 <= d <= {MAX_FEATURES}; got {rows.shape}", code="defend.dp.x"
        )
    if not np.isfinite(rows).all():
        raise InputError("rows hold numbers that are not finite", code="defend.dp.x")
    return rows


def _rows(x: NDArray[Any], bound: float) -> Floats:
    """Return rows, clipped so that rounding too leaves them within `bound`."""
    if not (bound > 0 and math.isfinite(bound)):
        raise InputError(f"`data_norm` must be positive, got {bound:g}", code="defend.dp.parameter")
    rows = _matrix(x)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    clipped: Floats = rows * np.minimum(1.0, bound * (1 - 1e-9) / np.maximum(lengths, 1e-300))
    return clipped

"""Models in numpy whose gradients, and whose distances to the boundary, are known by hand."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vallum.attack import LossGradient


@dataclass(frozen=True)
class Affine:
    """Logits x @ weights + bias on records of any shape, with their exact gradient."""

    weights: NDArray[np.float64]
    bias: NDArray[np.float64]

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        return x.reshape(len(x), -1).astype(np.float64) @ self.weights + self.bias

    def loss_gradient(self, x: NDArray[np.float32], loss: Any) -> LossGradient:
        scores = self.predict(x)
        values, slopes = loss(scores)
        flat = slopes @ self.weights.T
        return LossGradient(scores, values, flat.astype(np.float32).reshape(x.shape))

    def distance(self, x: NDArray[np.float32], norm: str) -> NDArray[np.float64]:
        """Return the exact distance to the nearest flip: the margin over the dual norm."""
        scores = self.predict(x)
        y = scores.argmax(axis=1)
        normals = self.weights[:, :, None] - self.weights[:, None, :]
        dual = np.abs(normals).sum(axis=0) if norm == "linf" else np.sqrt((normals**2).sum(axis=0))
        gap = scores[np.arange(len(y)), y][:, None] - scores
        own = np.arange(scores.shape[1]) == y[:, None]
        return np.where(own, np.inf, gap / np.where(own, 1.0, dual[y])).min(axis=1)


@dataclass
class Watched:
    """Passes everything on, and remembers every point and how often it was asked."""

    model: Any
    low: Any = np.inf
    high: Any = -np.inf
    asked: int = 0
    differentiated: int = 0
    points: list[Any] = field(default_factory=list)

    def predict(self, x: Any) -> Any:
        self._note(x)
        return self.model.predict(x)

    def loss_gradient(self, x: Any, loss: Any) -> Any:
        self._note(x)
        self.differentiated += len(x)
        return self.model.loss_gradient(x, loss)

    def _note(self, x: Any) -> None:
        self.asked += len(x)
        self.points.append(x.copy())


@dataclass(frozen=True)
class Scored:
    """The same model without its gradient."""

    model: Any

    def predict(self, x: Any) -> Any:
        return self.model.predict(x)


def affine(classes: int, shape: tuple[int, ...], seed: int = 0, count: int = 120) -> Any:
    """Return a model, records in [-0.5, 0.5] and the classes that it gives them."""
    rng = np.random.default_rng(seed)
    width = int(np.prod(shape))
    model = Affine(rng.standard_normal((width, classes)), rng.standard_normal(classes) * 0.1)
    x = (rng.random((count, *shape)) - 0.5).astype(np.float32)
    return model, x, model.predict(x).argmax(axis=1)

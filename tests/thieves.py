"""Victims of theft in numpy whose parameters are known, and records to steal them with."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from vallum.attack import Known


@dataclass
class Softmax:
    """A softmax regression that answers logits, probabilities or labels."""

    weights: Any
    offset: Any
    answers: str = "probabilities"
    decimals: int | None = None
    asked: int = 0

    def predict(self, x: Any) -> Any:
        self.asked += len(x)
        logits = x.reshape(len(x), -1).astype(np.float64) @ self.weights + self.offset
        if self.answers == "logits":
            return logits
        if self.answers == "labels":
            return np.eye(logits.shape[1])[logits.argmax(axis=1)]
        out = np.exp(logits - logits.max(axis=1, keepdims=True))
        out /= out.sum(axis=1, keepdims=True)
        return out if self.decimals is None else out.round(self.decimals)


def softmax(answers: str = "probabilities", *, width: int = 8, **more: Any) -> Any:
    rng = np.random.default_rng(11)
    return Softmax(
        rng.standard_normal((width, 4)) * 1.5, rng.standard_normal(4) * 0.2, answers, **more
    )


def known(model: Any, *, count: int = 300, width: int = 8, shape: Any = None) -> Any:
    """Return records around zero, in the classes that the model gives them."""
    rng = np.random.default_rng(12)
    x = rng.standard_normal((2 * count, *(shape or (width,)))).astype(np.float32)
    y = model.predict(x).argmax(axis=1)
    return Known((x[:count], y[:count]), (x[count:], y[count:]))

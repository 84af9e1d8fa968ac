"""A small classifier of our own, learned from a victim's answers: what a thief ends up with.

A softmax regression or a network of one hidden layer, trained by Adam in numpy. It is not meant to
be good at anything else: attacks need one that trains in a second and has a gradient.

Source: Kingma and Ba, "Adam", ICLR 2015, algorithm 1; Glorot and Bengio 2010 (initial weights).
"""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vallum.attack.predictor import Loss, LossGradient, Records, Scores

Floats = NDArray[np.float32]
_BATCH = 128
_MIN_STEPS = 400
_MAX_STEPS = 2400
_EPOCHS = 60
_DECAY = 1e-5
_LEAST_SPREAD = 0.05  # of the typical deviation: a feature that hardly varies must not rule
_SMALLEST = 1e-7


@dataclass(frozen=True, slots=True)
class Surrogate:
    """Logits of flat records; layers of weights (k, j) and offsets (j,), ReLU between them."""

    mean: Floats
    scale: Floats
    layers: tuple[tuple[Floats, Floats], ...]

    def predict(self, x: Records) -> Scores:
        """Return logits, shape (n, c)."""
        return self._forward(x)[-1].astype(np.float64)

    def loss_gradient(self, x: Records, loss: Loss) -> LossGradient:
        """Return logits, values of the loss and its gradient; see `GradientPredictor`."""
        steps = self._forward(x)
        scores = steps[-1].astype(np.float64)
        values, slopes = loss(scores)
        back = slopes.astype(np.float32)
        for at in range(len(self.layers) - 1, -1, -1):
            back = back @ self.layers[at][0].T
            if at:
                back = back * (steps[at] > 0)
        return LossGradient(scores, values, (back / self.scale).reshape(x.shape))

    def _forward(self, x: Records) -> list[Floats]:
        flat = x.reshape(len(x), -1)
        out = [((flat - self.mean) / self.scale).astype(np.float32, copy=False)]
        for at, (weights, offset) in enumerate(self.layers):
            step = out[-1] @ weights + offset
            out.append(np.maximum(step, 0) if at < len(self.layers) - 1 else step)
        return out


def units(x: Records) -> tuple[Floats, Floats]:
    """Return mean and deviation of each feature of flat records, no deviation close to zero."""
    flat = x.reshape(len(x), -1).astype(np.float64)
    spread = flat.std(axis=0)
    used = spread[spread > 0]
    least = _LEAST_SPREAD * float(np.median(used)) if len(used) else 1.0
    return flat.mean(axis=0).astype(np.float32), np.maximum(spread, least).astype(np.float32)


def fit_network(
    x: Records, targets: Scores, *, hidden: int, rng: np.random.Generator, rate: float = 3e-3
) -> Surrogate:
    """Learn from records (n, ...) with class probabilities (n, c) by cross-entropy.

    Args:
        x: Records, finite.
        targets: Probabilities; one-hot where only labels are known.
        hidden: Units of the hidden layer; 0 for a softmax regression.
        rng: Of initial weights and batches.
        rate: Of learning, at first; it falls to zero along a cosine.
    """
    mean, scale = units(x)
    flat = (x.reshape(len(x), -1) - mean) / scale
    wanted = targets.astype(np.float32)
    widths = [flat.shape[1], *([hidden] if hidden else []), targets.shape[1]]
    flatten = []
    for rows, columns in itertools.pairwise(widths):
        draw = rng.standard_normal((rows, columns), dtype=np.float32)
        flatten.append(draw * np.float32(np.sqrt(2 / (rows + columns))))
        flatten.append(np.zeros(columns, np.float32))
    moments = [(np.zeros_like(one), np.zeros_like(one)) for one in flatten]
    batch = min(_BATCH, len(flat))
    steps = int(np.clip(_EPOCHS * len(flat) / batch, _MIN_STEPS, _MAX_STEPS))
    order = np.empty(0, np.intp)
    for step in range(1, steps + 1):
        if len(order) < batch:
            order = rng.permutation(len(flat))
        chosen, order = order[:batch], order[batch:]
        slopes = _slopes(flatten, flat[chosen], wanted[chosen])
        size = rate * 0.5 * (1 + np.cos(np.pi * step / steps))
        for at, slope in enumerate(slopes):
            whole = slope + _DECAY * flatten[at]
            first, second = moments[at]
            first += 0.1 * (whole - first)
            second += 0.001 * (whole * whole - second)
            right = np.sqrt(second / (1 - 0.999**step)) + 1e-8
            flatten[at] -= (size / (1 - 0.9**step)) * first / right
    layers = tuple(zip(flatten[::2], flatten[1::2], strict=True))
    return Surrogate(mean, scale, layers)


def _slopes(flatten: list[Floats], x: Floats, wanted: Floats) -> list[Floats]:
    inner = x
    if len(flatten) > 2:  # noqa: PLR2004 - one layer is two arrays
        inner = np.maximum(x @ flatten[0] + flatten[1], 0)
    logits = inner @ flatten[-2] + flatten[-1]
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    back = (raised / raised.sum(axis=1, keepdims=True) - wanted) / np.float32(len(x))
    out = [inner.T @ back, back.sum(axis=0)]
    if len(flatten) > 2:  # noqa: PLR2004 - as above
        below = (back @ flatten[-2].T) * (inner > 0)
        out = [x.T @ below, below.sum(axis=0), *out]
    return out


def fit_logits(x: Records, probabilities: Scores) -> Surrogate:
    """Solve for the softmax regression whose logits are nearest to the answers' logarithms.

    Args:
        x: Records, (n, ...).
        probabilities: Answers, (n, c), no labels; logits may be given as their softmax.

    Rounded answers say little where they are small: each row counts with its entropy, and what is
    below 1e-7 is taken as that.
    """
    mean, scale = units(x)
    flat = ((x.reshape(len(x), -1) - mean) / scale).astype(np.float64)
    logs = np.log(np.maximum(probabilities, _SMALLEST))
    logs -= logs.mean(axis=1, keepdims=True)
    weight = np.sqrt(1e-3 - (probabilities * np.log(np.maximum(probabilities, _SMALLEST))).sum(1))
    design = np.concatenate([flat, np.ones((len(flat), 1))], axis=1) * weight[:, None]
    # A little ridge: with fewer rows than features the smallest solution is wanted.
    ridge = 1e-6 * np.trace(design.T @ design) / design.shape[1]
    gram = design.T @ design + ridge * np.eye(design.shape[1])
    found = np.linalg.solve(gram, design.T @ (logs * weight[:, None])).astype(np.float32)
    return Surrogate(mean, scale, ((found[:-1], found[-1]),))

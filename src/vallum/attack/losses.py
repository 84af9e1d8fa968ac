"""What an attack climbs: losses on a classifier's scores, with their derivatives.

Every loss takes logits of any scale, shape (n, c), float64, and returns a value for each record,
(n,), that is larger the worse the model does, and its derivative, (n, c). None of them saturates:
a model that is sure of itself is not thereby robust.
"""

import numpy as np
from numpy.typing import NDArray

from vallum.attack.predictor import Loss, Scores

Classes = NDArray[np.intp]
_TINY = float(np.finfo(np.float32).tiny)
_MIN_FOR_RATIO = 3
_MIN_FOR_TARGETED_RATIO = 4


def margin(scores: Scores, y: Classes) -> Scores:
    """Return how far the class is ahead of the next one, (n,); negative where it lost."""
    rest, at = _without(scores, y)
    out: Scores = scores[at, y] - rest.max(axis=1)
    return out


def log_odds(y: Classes) -> Loss:
    """Return the loss log((1 - p) / p) of the true class under softmax.

    It grows strictly with cross-entropy and has its gradient's direction, but where cross-entropy
    is rounded to zero, and its gradient with it, this one still points the way.
    """
    at = np.arange(len(y))

    def loss(scores: Scores) -> tuple[Scores, Scores]:
        # In place and without the methods' wrappers: beside a small network's pass, 5 ms, the
        # plain expressions were 3 %.
        slopes = scores.copy()
        flat, own = slopes.reshape(-1), at * scores.shape[1] + y
        mine = flat[own]
        flat[own] = -np.inf
        top = np.maximum.reduce(slopes, axis=1, keepdims=True)
        slopes -= top
        np.exp(slopes, out=slopes)
        total = np.add.reduce(slopes, axis=1, keepdims=True)
        slopes /= total
        flat[own] = -1.0
        return (top + np.log(total))[:, 0] - mine, slopes

    return loss


def difference(y: Classes, target: Classes) -> Loss:
    """Return the loss that is the target's score less the true class' own."""

    def loss(scores: Scores) -> tuple[Scores, Scores]:
        at = np.arange(len(scores))
        slopes = np.zeros_like(scores)
        slopes[at, target] = 1.0
        slopes[at, y] -= 1.0
        return scores[at, target] - scores[at, y], slopes

    return loss


def logit_ratio(y: Classes, target: Classes | None = None) -> Loss:
    """Return the difference of logits ratio (DLR), which no rescaling of the logits changes.

    Args:
        y: True classes.
        target: Classes to reach; the strongest wrong one when not given.

    With fewer than three classes (four, with targets) the ratio is not defined: there it is the
    plain difference.

    Source: Croce and Hein 2020, arXiv 2003.01690, equations 6 and 7.
    """

    def loss(scores: Scores) -> tuple[Scores, Scores]:
        classes = scores.shape[1]
        order = np.argsort(scores, axis=1)
        at = np.arange(len(scores))
        rival = np.where(order[:, -1] == y, order[:, -2], order[:, -1])
        aim = rival if target is None else target
        above, up = difference(y, aim)(scores)
        down = np.zeros_like(scores)
        if classes < (_MIN_FOR_RATIO if target is None else _MIN_FOR_TARGETED_RATIO):
            return above, up
        down[at, order[:, -1]] = 1.0
        if target is None:
            down[at, order[:, -3]] = -1.0
        else:
            down[at, order[:, -3]] = -0.5
            down[at, order[:, -4]] = -0.5
        width = np.maximum((down * scores).sum(axis=1), 1e-12)
        values = above / width
        slopes = (up - values[:, None] * down) / width[:, None]
        return values, slopes

    return loss


def are_probabilities(scores: Scores) -> bool:
    """Tell whether scores look like probabilities and not like logits."""
    return bool((scores >= 0).all() and np.allclose(scores.sum(axis=1), 1.0, atol=1e-4))


def logs(scores: Scores) -> Scores:
    """Return logarithms of probabilities: logits, but for a constant that no loss sees."""
    out: Scores = np.log(np.maximum(scores, _TINY))
    return out


def on_probabilities(loss: Loss) -> Loss:
    """Return `loss`, which takes logits, as one that takes probabilities."""

    def chained(scores: Scores) -> tuple[Scores, Scores]:
        values, slopes = loss(logs(scores))
        return values, slopes / np.maximum(scores, _TINY)

    return chained


def _without(scores: Scores, y: Classes) -> tuple[Scores, Classes]:
    """Return a copy of the scores in which the class' own is minus infinity, and 0 .. n-1."""
    at = np.arange(len(scores))
    rest = scores.copy()
    rest[at, y] = -np.inf
    return rest, at

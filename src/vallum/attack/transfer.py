"""Transfer: adversarial records made on a surrogate, in the hope that the victim errs alike.

No question to the victim is needed but those that the surrogate was learned from, so that neither
hidden scores nor a limit on queries a record is in the way.

Source: Dong, Liao, Pang, Su, Zhu, Hu, Li, "Boosting adversarial attacks with momentum", CVPR 2018,
algorithm 1 (MI-FGSM): of all gradient attacks the one whose flips transfer.
"""

import numpy as np
from numpy.typing import NDArray

from vallum.attack.evasion import Norm
from vallum.attack.losses import log_odds
from vallum.attack.predictor import GradientPredictor, Records
from vallum.attack.search import Ball, Clip, unit
from vallum.attack.space import Repair
from vallum.base import InputError

_TINY = 1e-12


def momentum_transfer(
    surrogate: GradientPredictor,
    x: Records,
    y: NDArray[np.intp],
    *,
    epsilon: float,
    norm: Norm,
    clip: Clip,
    repair: Repair | None = None,
    steps: int = 10,
    decay: float = 1.0,
) -> Records:
    """Return a point of each record's ball that a surrogate gets wrong as much as it can.

    Args:
        surrogate: A model of logits with a gradient, such as `extraction` ends in.
        x: Records, (n, d), float32, within the clip range.
        y: Their classes, (n,).
        epsilon: Radius, > 0.
        norm: Of the change.
        clip: Least and greatest value of the input.
        repair: Makes points that may exist of them; see `Space.repair`.
        steps: Of the climb, >= 1.
        decay: Of the momentum, 0 (none) to 1.

    Raises:
        InputError: A setting is out of range.
    """
    if not (epsilon > 0 and steps >= 1 and 0 <= decay <= 1):
        raise InputError(
            "the radius and the steps must be positive, the decay from 0 to 1",
            code="attack.settings",
        )
    ball = Ball.of(x, clip, norm, epsilon)
    points = x.copy()
    heading = np.zeros_like(points)
    size = np.float32(2 * epsilon / steps)
    for _ in range(steps):
        slope = surrogate.loss_gradient(points, log_odds(y)).gradient
        length = np.abs(slope).sum(axis=1, keepdims=True)
        heading = np.float32(decay) * heading + slope / np.maximum(length, _TINY)
        points += size * unit(heading.astype(np.float32), norm)
        ball.project(points)
    return points if repair is None else repair(points, x)

"""FGSM and PGD: steps along the gradient, kept within a ball and the clip range.

Sources: Goodfellow, Shlens, Szegedy, "Explaining and harnessing adversarial examples", ICLR 2015;
Madry, Makelov, Schmidt, Tsipras, Vladu, "Towards deep learning models resistant to adversarial
attacks", ICLR 2018.
"""

import numpy as np
from numpy.typing import NDArray

from vallum.attack.evasion import Norm
from vallum.attack.losses import log_odds
from vallum.attack.predictor import Predictor, Records
from vallum.attack.search import (
    Attacked,
    Ball,
    Clip,
    Search,
    begin,
    check_count,
    check_step,
    chunks,
    unit,
)


def fgsm(
    model: Predictor,
    x: Records,
    y: NDArray[np.intp],
    *,
    epsilon: float,
    norm: Norm = "linf",
    clip: Clip | None = None,
) -> Attacked:
    """Take one step of the whole radius along the gradient of the loss.

    Args:
        model: Victim, with `loss_gradient`.
        x: Records, shape (n, ...), float32, finite, within the clip range.
        y: Their classes, shape (n,), whole numbers from 0.
        epsilon: Radius, > 0, in the units of the input.
        norm: Of the change: its sign for `linf`, its direction for `l2`.
        clip: Least and greatest value of the input, numbers or arrays shaped like a record; the
            model's own `clip` when not given, else none.

    Raises:
        InputError: The arguments do not fit.
        GateError: The model cannot be assessed, has no gradient, or it is zero everywhere.

    Source: Goodfellow and others 2015, section 4. A weak attack: what it does not flip says little.
    """
    search = begin(model, x, y, norm=norm, epsilon=epsilon, clip=clip, white_box=True)
    climb(search, steps=1, step_size=epsilon)
    return search.result("FGSM")


def pgd(
    model: Predictor,
    x: Records,
    y: NDArray[np.intp],
    *,
    epsilon: float,
    rng: np.random.Generator,
    norm: Norm = "linf",
    steps: int = 40,
    step_size: float | None = None,
    restarts: int = 1,
    full: bool = False,
    clip: Clip | None = None,
    max_queries: int | None = None,
) -> Attacked:
    """Climb the loss by projected steps from random points of the ball.

    Args:
        model: Victim, with `loss_gradient`.
        x: Records, shape (n, ...), float32, finite, within the clip range.
        y: Their classes, shape (n,), whole numbers from 0.
        epsilon: Radius, > 0, in the units of the input.
        rng: Source of the starting points.
        norm: Of the change.
        steps: Of one climb, 1 to 10⁶; each is one query with gradient, and one query ends a climb.
        step_size: Of a step, > 0; 2.5 epsilon / steps when not given.
        restarts: Climbs, 1 to 10⁶; the first begins at the record itself.
        full: Take all steps also for records already flipped, and keep their nearest flip.
        clip: Least and greatest value of the input; the model's own `clip` when not given.
        max_queries: For a record, those on the unchanged one (at most two) included.

    Raises:
        InputError: The arguments do not fit.
        GateError: The model cannot be assessed, has no gradient, or it is zero everywhere.

    Source: Madry and others 2018, section 2.1.
    """
    check_count("steps", steps)
    check_count("restarts", restarts)
    check_step(step_size)
    size = 2.5 * epsilon / steps if step_size is None else step_size
    search = begin(
        model, x, y, norm=norm, epsilon=epsilon, clip=clip, white_box=True, max_queries=max_queries
    )
    climb(search, steps=steps, step_size=size, full=full)
    for _ in range(restarts - 1):
        climb(search, steps=steps, step_size=size, full=full, rng=rng)
    return search.result("PGD")


def climb(
    search: Search,
    *,
    steps: int,
    step_size: float,
    full: bool = False,
    rng: np.random.Generator | None = None,
) -> None:
    """Climb once for every record that still stands, from it or (with `rng`) from random points."""
    size = np.float32(step_size)
    for block in search.blocks(full=full, wide=True):
        rows, ball = block, search.ball.at(block)
        points = ball.origin.copy() if rng is None else _drawn(ball, rng)
        loss = log_odds(search.y[rows])
        for step in range(steps + 1):
            kept = search.keep(rows, full=full)
            if np.count_nonzero(kept) < len(rows):
                rows, points = rows[kept], points[kept]
                ball, loss = search.ball.at(rows), log_odds(search.y[rows])
            if len(rows) == 0:
                break
            if step == steps:
                search.scores(rows, points)
                break
            _, slope = search.gradient(rows, points, loss)
            change = unit(slope, search.norm)
            change *= size
            points += change
            ball.project(points)


def _drawn(ball: Ball, rng: np.random.Generator) -> Records:
    # A batch at a time, so that how many are climbed at once changes no draw.
    every = np.arange(len(ball.origin))
    return np.concatenate([ball.at(every[one]).random(rng) for one in chunks(len(every))])

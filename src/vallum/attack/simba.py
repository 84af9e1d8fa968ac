"""SimBA: one coordinate up or down at a time, by scores alone.

Source: Guo, Gardner, You, Wilson, Weinberger, "Simple black-box adversarial attacks", ICML 2019,
arXiv 1905.07121, algorithm 1 with the standard basis.
"""

import numpy as np
from numpy.typing import NDArray

from vallum.attack.evasion import Norm
from vallum.attack.losses import margin
from vallum.attack.predictor import Predictor, Records
from vallum.attack.search import Attacked, Clip, Rows, Search, begin, check_step
from vallum.attack.space import Repair


def simba(
    model: Predictor,
    x: Records,
    y: NDArray[np.intp],
    *,
    epsilon: float,
    rng: np.random.Generator,
    norm: Norm = "l2",
    step_size: float | None = None,
    queries: int = 5000,
    clip: Clip | None = None,
    repair: Repair | None = None,
    steps: Records | None = None,
) -> Attacked:
    """Change one random feature at a time and keep what lowers the margin.

    Args:
        model: Victim; its scores are logits or probabilities.
        x: Records, shape (n, ...), float32, finite, within the clip range.
        y: Their classes, shape (n,), whole numbers from 0.
        epsilon: Radius, > 0, in the units of the input.
        rng: Source of the features' order, one for each record.
        norm: Of the change.
        step_size: Of one feature, > 0; when not given, epsilon for `linf` and a fifth for `l2`.
        queries: For a record at most, 3 to 10⁶, those on the unchanged one (at most two) included.
        clip: Least and greatest value of the input; the model's own `clip` when not given.
        steps: Of each feature, (d,) > 0, in place of `step_size`.
        repair: Makes points ones that may exist, see `Space`; none when not given.

    Raises:
        InputError: The arguments do not fit.
        GateError: The model cannot be assessed, or no score ever changes.
    """
    check_step(step_size)
    size = (epsilon if norm == "linf" else epsilon / 5) if step_size is None else step_size
    search = begin(
        model,
        x,
        y,
        norm=norm,
        epsilon=epsilon,
        clip=clip,
        white_box=False,
        max_queries=queries,
        repair=repair,
    )
    try_coordinates(search, rng, tries=queries, step_size=size if steps is None else steps)
    return search.result("SimBA", spent=True)


def try_coordinates(
    search: Search, rng: np.random.Generator, *, tries: int, step_size: float | Records
) -> None:
    """Try coordinates of every record that still stands, in random order, again and again."""
    sizes = np.broadcast_to(np.float32(step_size), search.ball.origin.shape[1:])
    for block in search.blocks():
        _try(search, block, rng, tries, sizes)


def _try(search: Search, rows: Rows, rng: np.random.Generator, tries: int, sizes: Records) -> None:
    ball = search.ball.at(rows)
    points, best = ball.origin.copy(), margin(search.clean[rows], search.y[rows])
    width = points.shape[1]
    order = rng.permuted(np.tile(np.arange(width), (len(rows), 1)), axis=1)
    # Records go through their coordinates at their own pace: down is only tried where up failed.
    place = np.zeros(len(rows), np.intp)
    sign = np.ones(len(rows), np.float32)
    for _ in range(tries):
        kept = search.keep(rows)
        if not kept.all():
            rows, points, best = rows[kept], points[kept], best[kept]
            order, place, sign = order[kept], place[kept], sign[kept]
            ball = search.ball.at(rows)
        if len(rows) == 0:
            return
        at = np.arange(len(rows))
        trial = points.copy()
        column = order[at, place % width]
        trial[at, column] += sign * sizes[column]
        ball.project(trial)
        found = margin(search.scores(rows, trial), search.y[rows])
        better = found < best
        points[better] = trial[better]
        best[better] = found[better]
        done = better | (sign < 0)
        place += done
        sign = np.where(done, np.float32(1), np.float32(-1))

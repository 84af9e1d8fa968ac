"""FAB: the nearest flip, by steps onto linearised boundaries with a pull to the record.

Source: Croce and Hein, "Minimally distorted adversarial examples with a fast adaptive boundary
attack", ICML 2020, arXiv 1907.02044, algorithm 1, in its targeted form.
"""

import numpy as np
from numpy.typing import NDArray

from vallum.attack.apgd import aimed
from vallum.attack.evasion import Norm
from vallum.attack.losses import Classes, difference
from vallum.attack.predictor import Predictor, Records, Scores
from vallum.attack.search import Attacked, Ball, Clip, Rows, Search, begin, check_count, lengths
from vallum.attack.space import Repair

# Section 3.1 of the source: largest pull, overshoot, and retreat from what was found.
_PULL = 0.1
_OVERSHOOT = 1.05
_RETREAT = 0.9
_HALVINGS = 8  # of the last search on the line to the record
_NEWTON = 30


def fab(
    model: Predictor,
    x: Records,
    y: NDArray[np.intp],
    *,
    norm: Norm = "linf",
    epsilon: float = np.inf,
    steps: int = 100,
    targets: int = 9,
    clip: Clip | None = None,
    max_queries: int | None = None,
    repair: Repair | None = None,
) -> Attacked:
    """Look for the nearest flip of each record. Nothing in it is random.

    Args:
        model: Victim, with `loss_gradient`.
        x: Records, shape (n, ...), float32, finite, within the clip range.
        y: Their classes, shape (n,), whole numbers from 0.
        norm: Whose distance is made small.
        epsilon: Distance beyond which a flip is not reported, > 0; any counts when not given.
            Points beyond it, within the clip range, are asked about on the way.
        steps: Towards one class, 1 to 10⁶, each a query with gradient; eight plain ones end it.
        targets: How many wrong classes, strongest first, 1 to 10⁶; at most all.
        clip: Least and greatest value of the input; the model's own `clip` when not given.
        max_queries: For a record, those on the unchanged one (at most two) included.
        repair: Makes points ones that may exist, see `Space`; none when not given.

    Raises:
        InputError: The arguments do not fit.
        GateError: The model cannot be assessed, has no gradient, or it is zero everywhere.
    """
    check_count("steps", steps)
    check_count("targets", targets)
    search = begin(
        model, x, y, norm=norm, epsilon=epsilon, clip=clip, white_box=True, unbounded=True,
        max_queries=max_queries, repair=repair,
    )  # fmt: skip
    approach(search, steps=steps, targets=targets, nearest=True)
    search.forget_beyond(epsilon)
    return search.result("FAB-T")


def approach(search: Search, *, steps: int, targets: int, nearest: bool) -> None:
    """Approach each target's boundary; with `nearest`, go on after a flip within the ball."""
    for rows, target in aimed(search, targets, full=nearest):
        _approach(search, rows, target, steps, full=nearest)
    if nearest:
        for rows in search.blocks(full=True):
            _tighten(search, rows[search.flipped[rows] & ~search.wrong_before[rows]])


def _approach(search: Search, rows: Rows, target: Classes, steps: int, *, full: bool) -> None:
    box = search.box.at(rows)
    points = box.origin.copy()
    for _ in range(steps):
        kept = search.keep(rows, full=full)
        if not kept.all():
            rows, target, points = rows[kept], target[kept], points[kept]
            box = search.box.at(rows)
        if len(rows) == 0:
            return
        y = search.y[rows]
        value, slope = search.gradient(rows, points, difference(y, target))
        # One answer does both: it tells whether this point is a flip, from which to retreat, and
        # where the boundary lies, to step onto.
        ahead = _towards(box, points, slope.astype(np.float64), value)
        gap = points - box.origin
        far = lengths(gap, box.norm)
        # A flip a little beyond the ball is tried again at its edge.
        share = np.clip(search.ball.radius / np.maximum(far, 1e-12), _RETREAT, 1 - 1e-5)
        share = np.where(far > search.ball.radius, share, _RETREAT)
        back = box.origin + share[:, None].astype(np.float32) * gap
        points = box.project(np.where((value > 0)[:, None], back, ahead))


def _towards(box: Ball, points: Records, normal: Scores, value: Scores) -> Records:
    """Return a convex mix of steps from the point and from the record onto the hyperplane."""
    # value + normal @ (z - points) = 0 is where the two classes are linearly level.
    here = onto_plane(points, normal, -value, box)
    lead = ((points.astype(np.float64) - box.origin) * normal).sum(axis=1) - value
    home = onto_plane(box.origin, normal, lead, box)
    near, far = lengths(here, box.norm), lengths(home, box.norm)
    pull = np.minimum(near / np.maximum(near + far, 1e-12), _PULL)[:, None]
    mixed = (1 - pull) * (points + _OVERSHOOT * here) + pull * (box.origin + _OVERSHOOT * home)
    return mixed.astype(np.float32)


def onto_plane(points: Records, normal: Scores, lead: Scores, box: Ball) -> Scores:
    """Return the smallest change d with normal @ d = lead that stays in the box, (k, d) float64.

    Where no change in the box is enough, the one that comes closest. The change of a coordinate
    is min(t · k, room) in the normal's direction, with k = 1 for `linf` and the normal's own size
    for `l2`; t solves a concave, piecewise linear equation, by Newton's method from below.
    """
    weight = np.where(lead[:, None] < 0, -normal, normal)
    size = np.abs(weight)
    wide = points.astype(np.float64)
    room = np.where(weight > 0, box.upper - wide, wide - box.lower)
    room = np.where(size > 0, np.maximum(room, 0.0), 0.0)
    pace = np.ones_like(size) if box.norm == "linf" else size
    need = np.abs(lead)
    t = need / np.maximum((size * pace).sum(axis=1), 1e-300)
    for _ in range(_NEWTON):
        bound = pace * t[:, None] >= room
        held = np.where(bound, size * np.where(bound, room, 0.0), 0.0).sum(axis=1)
        free = np.where(bound, 0.0, size * pace).sum(axis=1)
        # Where nothing is free any more the box is exhausted: t only has to stay large enough.
        following = np.where(free > 0, (need - held) / np.where(free > 0, free, 1.0), t)
        following = np.maximum(following, t)
        if (following <= t * (1 + 1e-12)).all():
            break
        t = following
    out: Scores = np.sign(weight) * np.minimum(pace * t[:, None], room)
    return out


def _tighten(search: Search, rows: Rows) -> None:
    """Bisect the last part of the line from each record to its nearest flip."""
    origin, far_side = search.box.origin[rows], search.best[rows].copy()
    low, high = np.full((len(rows), 1), _RETREAT), np.ones((len(rows), 1))
    for _ in range(_HALVINGS):
        kept = search.keep(rows, full=True)
        if not kept.all():
            rows, origin, far_side = rows[kept], origin[kept], far_side[kept]
            low, high = low[kept], high[kept]
        if len(rows) == 0:
            return
        middle = (low + high) / 2
        points = origin + (middle * (far_side - origin)).astype(np.float32)
        scores = search.scores(rows, points)
        hit = (scores.argmax(axis=1) != search.y[rows])[:, None]
        high = np.where(hit, middle, high)
        low = np.where(hit, low, middle)

"""Auto-PGD: projected steps with momentum whose size is halved where they no longer help.

Source: Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks", ICML 2020, arXiv 2003.01690, algorithm 1 and section 4.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vallum.attack.evasion import Norm
from vallum.attack.losses import Classes, log_odds, logit_ratio
from vallum.attack.predictor import Loss, Predictor, Records, Scores
from vallum.attack.search import (
    BATCH,
    Attacked,
    Ball,
    Clip,
    Mask,
    Rows,
    Search,
    begin,
    check_count,
    unit,
)
from vallum.attack.space import Repair
from vallum.base import InputError

Climbed = Literal["ce", "dlr"]
# Section 3.1: momentum, share of steps that must improve, and the checkpoints' distances.
_MOMENTUM = np.float32(0.75)
_IMPROVING = 0.75
_FIRST, _LESS, _LEAST = 0.22, 0.03, 0.06


def apgd(
    model: Predictor,
    x: Records,
    y: NDArray[np.intp],
    *,
    epsilon: float,
    rng: np.random.Generator,
    norm: Norm = "linf",
    loss: Climbed = "ce",
    steps: int = 100,
    restarts: int = 1,
    clip: Clip | None = None,
    max_queries: int | None = None,
    repair: Repair | None = None,
) -> Attacked:
    """Run Auto-PGD on cross-entropy (`ce`) or on the difference of logits ratio (`dlr`).

    Args:
        model: Victim, with `loss_gradient`; its scores are logits or probabilities.
        x: Records, shape (n, ...), float32, finite, within the clip range.
        y: Their classes, shape (n,), whole numbers from 0.
        epsilon: Radius, > 0, in the units of the input.
        rng: Source of the starting points.
        norm: Of the change.
        loss: What to climb.
        steps: Of one climb, 1 to 10⁶; a climb takes one query more, all with gradient.
        restarts: Climbs from random points, 1 to 10⁶.
        clip: Least and greatest value of the input; the model's own `clip` when not given.
        max_queries: For a record, those on the unchanged one (at most two) included.
        repair: Makes points ones that may exist, see `Space`; none when not given.

    Raises:
        InputError: The arguments do not fit.
        GateError: The model cannot be assessed, has no gradient, or it is zero everywhere.
    """
    if loss not in {"ce", "dlr"}:
        raise InputError(f"`loss` must be ce or dlr; got `{loss}`", code="attack.settings")
    check_count("steps", steps)
    check_count("restarts", restarts)
    search = begin(
        model,
        x,
        y,
        norm=norm,
        epsilon=epsilon,
        clip=clip,
        white_box=True,
        max_queries=max_queries,
        repair=repair,
    )
    for _ in range(restarts):
        climb_auto(search, rng, loss=loss, steps=steps)
    return search.result(f"APGD-{loss.upper()}")


def apgd_targeted(
    model: Predictor,
    x: Records,
    y: NDArray[np.intp],
    *,
    epsilon: float,
    rng: np.random.Generator,
    norm: Norm = "linf",
    steps: int = 100,
    targets: int = 9,
    clip: Clip | None = None,
    max_queries: int | None = None,
    repair: Repair | None = None,
) -> Attacked:
    """Run Auto-PGD towards each of the strongest wrong classes, by the targeted logits ratio.

    Args:
        model: Victim, with `loss_gradient`; its scores are logits or probabilities.
        x: Records, shape (n, ...), float32, finite, within the clip range.
        y: Their classes, shape (n,), whole numbers from 0.
        epsilon: Radius, > 0, in the units of the input.
        rng: Source of the starting points.
        norm: Of the change.
        steps: Towards one class, 1 to 10⁶.
        targets: How many classes, strongest first, 1 to 10⁶; at most all wrong ones.
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
        model,
        x,
        y,
        norm=norm,
        epsilon=epsilon,
        clip=clip,
        white_box=True,
        max_queries=max_queries,
        repair=repair,
    )
    climb_to_targets(search, rng, steps=steps, targets=targets)
    return search.result("APGD-T")


def climb_auto(search: Search, rng: np.random.Generator, *, loss: Climbed, steps: int) -> None:
    """Climb once for every record that still stands."""
    make = log_odds if loss == "ce" else logit_ratio
    for rows in search.blocks():
        _climb(search, rows, search.y[rows], lambda y, _: make(y), steps=steps, rng=rng)


def climb_to_targets(search: Search, rng: np.random.Generator, *, steps: int, targets: int) -> None:
    """Climb once towards each target for every record that still stands.

    Where few records are left, several targets of each are climbed at once.
    """
    for rows, target in aimed(search, targets):
        _climb(search, rows, target, logit_ratio, steps=steps, rng=rng)


def aimed(search: Search, targets: int, *, full: bool = False) -> Iterator[tuple[Rows, Classes]]:
    """Yield records, repeated, each with a wrong class, strongest first.

    Only those that still stand; with `full`, all that the model got right.
    """
    ranked = search.clean.copy()
    ranked[np.arange(len(ranked)), search.y] = -np.inf
    order = np.argsort(-ranked, axis=1, kind="stable")
    count = min(targets, ranked.shape[1] - 1)
    first = 0
    while first < count:
        standing = int((~(search.wrong_before if full else search.flipped)).sum())
        together = min(count - first, max(1, BATCH // max(standing, 1)))
        for rows in search.blocks(full=full):
            chosen = order[rows, first : first + together]
            yield np.repeat(rows, chosen.shape[1]), chosen.reshape(-1)
        first += together


@dataclass(slots=True)
class _State:
    """Of each climb: where it is, was, and was best."""

    rows: Rows
    aim: Classes
    points: Records
    before: Records
    slope: Records
    best: Records
    best_slope: Records
    value: Scores
    last: Scores
    size: NDArray[np.float32]
    improved: Rows
    halved: Mask
    at_check: Scores

    def keep(self, kept: Mask) -> None:
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name)[kept])


def _climb(
    search: Search,
    rows: Rows,
    aim: Classes,
    make: Callable[[Classes, Classes], Loss],
    *,
    steps: int,
    rng: np.random.Generator,
) -> None:
    kept = search.keep(rows)
    rows, aim = rows[kept], aim[kept]
    if len(rows) == 0:
        return
    ball = search.ball.at(rows)
    points = ball.random(rng)
    value, slope = search.gradient(rows, points, make(search.y[rows], aim))
    state = _State(
        rows=rows, aim=aim, points=points, before=points, slope=slope, best=points,
        best_slope=slope, value=value, last=value,
        size=np.full((len(rows), 1), 2 * search.epsilon, np.float32),
        improved=np.zeros(len(rows), np.intp), halved=np.ones(len(rows), np.bool_), at_check=value,
    )  # fmt: skip
    marks = _checkpoints(steps)
    since = 0
    for step in range(steps):
        kept = search.keep(state.rows)
        if not kept.all():
            state.keep(kept)
            ball = search.ball.at(state.rows)
        if len(state.rows) == 0:
            return
        moved = _step(state, ball, first=step == 0)
        state.before, state.points = state.points, moved
        value, state.slope = search.gradient(
            state.rows, moved, make(search.y[state.rows], state.aim)
        )
        state.improved += value > state.last
        state.last = value
        better = value > state.value
        state.value = np.where(better, value, state.value)
        state.best = np.where(better[:, None], moved, state.best)
        state.best_slope = np.where(better[:, None], state.slope, state.best_slope)
        since += 1
        if step + 1 in marks:
            _check(state, since)
            since = 0


def _step(state: _State, ball: Ball, *, first: bool) -> Records:
    """Return the next points: a projected step, mixed with the last one (equation 3)."""
    change = unit(state.slope, ball.norm)
    change *= state.size
    change += state.points
    ahead = ball.project(change)
    if first:
        return ahead
    ahead -= state.points
    ahead *= _MOMENTUM
    ahead += state.points
    ahead += (1 - _MOMENTUM) * (state.points - state.before)
    return ball.project(ahead)


def _check(state: _State, since: int) -> None:
    """Halve the steps that no longer help and go back to the best point (section 3.1)."""
    stalled = state.improved < _IMPROVING * since
    stuck = ~state.halved & (state.at_check >= state.value)
    halve = stalled | stuck
    state.size = np.where(halve[:, None], state.size / 2, state.size)
    state.points = np.where(halve[:, None], state.best, state.points)
    state.slope = np.where(halve[:, None], state.best_slope, state.slope)
    state.halved = halve
    state.at_check = state.value
    state.improved = np.zeros_like(state.improved)


def _checkpoints(steps: int) -> frozenset[int]:
    """Return after which steps progress is checked."""
    marks, at, gap = set(), 0.0, _FIRST
    while at < 1:
        at += gap
        gap = max(gap - _LESS, _LEAST)
        marks.add(math.ceil(at * steps))
    return frozenset(marks)

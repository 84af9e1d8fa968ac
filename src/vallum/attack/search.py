"""The ground that evasion attacks share: a ball around each record, and what was found in it.

`Ball` keeps points inside the ball and the clip range exactly, in float32 as the model sees them.
`Search` asks the model, counts, and remembers the nearest flip of each record, so that an attack
that is cut short loses nothing and cannot claim what it did not see.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vallum.attack.evasion import Norm
from vallum.attack.losses import are_probabilities, logs, on_probabilities
from vallum.attack.predictor import (
    Checked,
    Loss,
    Predictor,
    Records,
    Scores,
    check_same,
    check_scored,
)
from vallum.attack.space import Repair
from vallum.base import GateError, InputError

Rows = NDArray[np.intp]
Mask = NDArray[np.bool_]
Clip = tuple[float | Records, float | Records]
BATCH = 256
"""Points in one question to the model: enough to fill it, few enough for a processor's cache."""
_WIDER = 4
_WIDE_WIDTH = 1024  # numbers in a record; wider ones fill memory instead
_SLACK = 1e-5  # of the radius of a Euclidean ball, for sums in float32
_ULP = 2.0**-24
_PROBED = 16  # records asked twice
# A batch of another size is summed in another order: in float32 that is no other answer.
_SAME = 1e-4


@dataclass(frozen=True, slots=True)
class Ball:
    """Points within `epsilon` of each origin and within the clip range, flat, (n, d) float32.

    For `linf`, `lower` and `upper` hold both; for `l2` they hold the clip range only.
    """

    origin: Records
    lower: Records
    upper: Records
    norm: Norm
    radius: float

    @classmethod
    def of(cls, origin: Records, clip: Clip, norm: Norm, epsilon: float) -> "Ball":
        """Make the balls; see `check_ball` for what is refused."""
        wide = origin.astype(np.float64)
        low, high = (np.broadcast_to(np.asarray(one, np.float64), origin.shape) for one in clip)
        radius = epsilon
        if norm == "linf" and np.isfinite(epsilon):
            low, high = np.maximum(low, wide - epsilon), np.minimum(high, wide + epsilon)
        elif np.isfinite(epsilon):
            # Rounding a point to float32 moves it by at most this: stay that far inside.
            reach = float(np.abs(wide).max()) + epsilon
            radius = epsilon * (1 - _SLACK) - 2 * _ULP * reach * np.sqrt(origin.shape[1])
        lower, upper = _inward(low, np.inf), _inward(high, -np.inf)
        # The origin itself is always inside.
        return cls(origin, np.minimum(lower, origin), np.maximum(upper, origin), norm, radius)

    def at(self, rows: Rows) -> "Ball":
        """Return the balls of `rows` (which may repeat)."""
        return Ball(self.origin[rows], self.lower[rows], self.upper[rows], self.norm, self.radius)

    def project(self, points: Records) -> Records:
        """Return the points, moved into ball and range where they were outside (in place)."""
        if self.norm == "l2" and np.isfinite(self.radius):
            points -= self.origin
            points *= _shrink(points, self.radius)
            points += self.origin
        np.maximum(points, self.lower, out=points)
        np.minimum(points, self.upper, out=points)
        return points

    def random(self, rng: np.random.Generator) -> Records:
        """Return points drawn uniformly from the balls, then clipped to the range."""
        count, width = self.origin.shape
        if self.norm == "linf":
            share = rng.random((count, width), dtype=np.float32)
            points = self.origin + (2 * share - 1) * np.float32(self.radius)
            return self.project(points)
        noise = unit(rng.standard_normal((count, width), dtype=np.float32), "l2")
        noise *= (self.radius * rng.random((count, 1)) ** (1 / width)).astype(np.float32)
        return self.project(self.origin + noise)


def _inward(bound: Scores, towards: float) -> Records:
    """Return the nearest float32 on the side of `towards`."""
    out: Records = bound.astype(np.float32)
    past = out < bound if towards > 0 else out > bound
    out[past] = np.nextafter(out[past], np.float32(towards))
    return out


def _shrink(gap: Records, radius: float) -> Records:
    length = np.sqrt((gap * gap).sum(axis=1, keepdims=True, dtype=np.float32))
    out: Records = (radius / np.maximum(length, radius)).astype(np.float32)
    return out


def unit(gradient: Records, norm: Norm) -> Records:
    """Return the steepest direction of length 1: signs for `linf`, the normal for `l2`."""
    if norm == "linf":
        return np.sign(gradient)
    # Scaled first: squares of small gradients would vanish in float32.
    top = np.abs(gradient).max(axis=1, keepdims=True)
    scaled = gradient / np.where(top > 0, top, 1)
    length = np.sqrt((scaled * scaled).sum(axis=1, keepdims=True))
    out: Records = (scaled / np.where(length > 0, length, 1)).astype(np.float32, copy=False)
    return out


def lengths(gap: NDArray[np.floating], norm: Norm) -> Scores:
    """Return the norm of each row, in float64."""
    wide = gap.astype(np.float64, copy=False)
    out: Scores = (
        np.maximum.reduce(np.abs(wide), axis=1)
        if norm == "linf"
        else np.sqrt((wide**2).sum(axis=1))
    )
    return out


@dataclass(frozen=True, slots=True)
class Attacked:
    """What an attack did to each of n records.

    Attributes:
        attack: Its name.
        adversarial: Within the ball and classified wrongly, (n,). Records that the model gets
            wrong unchanged are at distance 0.
        points: Nearest such point found, shaped like the records; elsewhere the record itself.
        distance: To it, (n,), infinite where there is none. In the units of the input.
        queries: Times that the model was asked about the record or a changed one, (n,).
        gradients: How many of them came with a gradient, (n,).
        idle: The attack could do nothing for the record, as every gradient was zero, no score
            ever changed, or no start was found, (n,). That says nothing about robustness.
        complete: False when time or queries ran out before the attack's own end.
    """

    attack: str
    adversarial: Mask
    points: Records
    distance: Scores
    queries: Rows
    gradients: Rows
    idle: Mask
    complete: bool


class Search:
    """One attack's questions about its records, and the nearest flips seen in the answers."""

    def __init__(
        self,
        victim: Checked,
        x: Records,
        y: NDArray[np.intp],
        *,
        norm: Norm,
        epsilon: float,
        clip: Clip,
        max_queries: int | None = None,
        late: Callable[[], bool] = lambda: False,
        repair: Repair | None = None,
    ) -> None:
        """Ask about the unchanged records once."""
        self.victim, self.y, self.norm, self.epsilon = victim, y, norm, epsilon
        self.shape = x.shape[1:]
        self.best: Records = x.reshape(len(x), -1).astype(np.float32)
        low, high = (np.asarray(one).reshape(-1) if np.ndim(one) else one for one in clip)
        self.ball = Ball.of(self.best.copy(), (low, high), norm, epsilon)
        self.box = Ball.of(self.ball.origin, (low, high), norm, np.inf)
        self.distance: Scores = np.full(len(x), np.inf)
        self.queries: Rows = np.zeros(len(x), np.intp)
        self.gradients: Rows = np.zeros(len(x), np.intp)
        self.moved: Mask = np.zeros(len(x), np.bool_)
        self.all_moved = False
        self.complete, self.late = True, False
        self.limit, self._late, self._repair = max_queries, late, repair
        self.log_scores = False
        every = np.arange(len(x))
        self.clean = np.zeros((0, 0))
        raw = np.concatenate([self._ask(every[one], self.best[one]) for one in chunks(len(x))])
        if y.max() >= raw.shape[1]:
            raise InputError(
                f"a record is of class {y.max()}, the model has {raw.shape[1]}",
                code="attack.classes",
            )
        self._raw = raw
        self.log_scores = are_probabilities(raw)
        self.clean = logs(raw) if self.log_scores else raw
        self._note(every, self.best, self.clean)
        self.wrong_before: Mask = self.flipped.copy()

    def repeat(self, *, labels: bool = False) -> None:
        """Ask about some unchanged records again.

        Args:
            labels: Labels dressed as scores will do.

        Raises:
            GateError: The model answers otherwise, or labels.
        """
        some = np.arange(min(len(self.y), _PROBED))
        size = _SAME * float(np.abs(self._raw).max())
        check_same(self._raw[some], self._ask(some, self.ball.origin[some]), rtol=_SAME, atol=size)
        if not labels:
            check_scored(self._raw)

    def part(self, rows: Rows, *, max_queries: int | None) -> "Search":
        """Return a search for some records that has found nothing yet, its queries counted on."""
        out = copy.copy(self)
        out.ball, out.box, out.y = self.ball.at(rows), self.box.at(rows), self.y[rows]
        out.best, out.distance = out.ball.origin.copy(), np.full(len(rows), np.inf)
        out.queries, out.gradients = self.queries[rows], self.gradients[rows]
        out.clean, out.wrong_before = self.clean[rows], np.zeros(len(rows), np.bool_)
        out.moved, out.all_moved = np.zeros(len(rows), np.bool_), False
        out.complete, out.late, out.limit = True, False, max_queries
        return out

    def verified(self, *, max_queries: int | None) -> Mask:
        """Ask about every flip found once more, and measure it again, (n,)."""
        # The clock does not matter here: what was found in time is not lost.
        hits = np.flatnonzero(self.flipped)
        if max_queries is not None:
            hits = hits[self.queries[hits] < max_queries]
        real = np.zeros(len(self.y), np.bool_)
        for part in chunks(len(hits)):
            at = hits[part]
            points, ball = self.best[at], self.box.at(at)
            inside = ((points >= ball.lower) & (points <= ball.upper)).all(axis=1)
            near = lengths(points.astype(np.float64) - ball.origin, self.norm) <= self.epsilon
            real[at] = inside & near & (self.scores(at, points).argmax(axis=1) != self.y[at])
        return real

    def forget_beyond(self, epsilon: float) -> None:
        """Drop flips that are further away than `epsilon`."""
        beyond = np.isfinite(self.distance) & (self.distance > epsilon)
        self.distance[beyond] = np.inf
        self.best[beyond] = self.ball.origin[beyond]

    @property
    def flipped(self) -> Mask:
        """Which records were flipped within the ball, (n,)."""
        found: Mask = np.isfinite(self.distance)
        return found

    def blocks(self, *, full: bool = False, wide: bool = False) -> Iterator[Rows]:
        """Yield the rows still to attack, at most `BATCH` at a time.

        With `full`, all that the model got right, flipped since or not. With `wide`, small records
        come up to `_WIDER` times as many at once: what is done beside a pass is done less often.
        """
        most = BATCH * min(_WIDER, max(1, _WIDE_WIDTH // self.best.shape[1])) if wide else BATCH
        left = np.flatnonzero(~(self.wrong_before if full else self.flipped))
        for one in chunks(len(left), most):
            yield left[one]

    def keep(self, rows: Rows, *, full: bool = False) -> Mask:
        """Tell which of `rows` may be asked once more, each as often as it occurs in `rows`.

        Flipped ones need not be, unless `full`. Beyond the budget none may.
        """
        if self._late():
            self.complete, self.late = False, True
            return np.zeros(len(rows), np.bool_)
        wanted = np.ones(len(rows), np.bool_) if full else ~np.isfinite(self.distance[rows])
        if self.limit is not None:
            at = np.flatnonzero(wanted)
            room = self.limit - self.queries[rows[at]]
            over = at[_rank(rows[at]) >= room]
            if len(over):
                self.complete = False
                wanted[over] = False
        return wanted

    def scores(self, rows: Rows, points: Records) -> Scores:
        """Return logits of `points`, (k, d), tried for `rows`, (k,)."""
        points = self._placed(rows, points)
        scores = self._ask(rows, points)
        if self.log_scores:
            scores = logs(scores)
        np.logical_or.at(self.moved, rows, (scores != self.clean[rows]).any(axis=1))
        self._note(rows, points, scores)
        return scores

    def gradient(self, rows: Rows, points: Records, loss: Loss) -> tuple[Scores, Records]:
        """Return values of `loss` on logits, (k,), and its gradient, (k, d)."""
        points = self._placed(rows, points)
        used = on_probabilities(loss) if self.log_scores else loss
        answer = self.victim.loss_gradient(points.reshape(-1, *self.shape), used)
        np.add.at(self.queries, rows, 1)
        np.add.at(self.gradients, rows, 1)
        flat = answer.gradient.reshape(points.shape)
        if not self.all_moved:
            np.logical_or.at(self.moved, rows, flat.any(axis=1))
            self.all_moved = bool(self.moved.all())
        self._note(rows, points, answer.scores)
        return answer.values, flat

    def result(self, attack: str, *, spent: bool = False) -> Attacked:
        """Return what was found.

        Args:
            attack: Its name.
            spent: To spend all queries is this attack's own end.

        Raises:
            GateError: The attack did nothing at all: that is no robustness.
        """
        flipped = self.flipped
        idle = ~flipped & ~self.moved
        tried = ~self.wrong_before
        complete = not self.late if spent else self.complete
        if complete and tried.any() and idle[tried].all():
            raise GateError(
                f"{attack} did nothing: every gradient is zero, or no score ever changes",
                code="attack.idle",
                hint="attack by scores or labels; rounded or masked answers hide gradients",
            )
        return Attacked(
            attack=attack,
            adversarial=flipped,
            points=self.best.reshape(-1, *self.shape),
            distance=self.distance,
            queries=self.queries,
            gradients=self.gradients,
            idle=idle,
            complete=complete,
        )

    def _placed(self, rows: Rows, points: Records) -> Records:
        return points if self._repair is None else self._repair(points, self.ball.origin[rows])

    def _ask(self, rows: Rows, points: Records) -> Scores:
        scores = self.victim.predict(points.reshape(-1, *self.shape))
        np.add.at(self.queries, rows, 1)
        return scores

    def _note(self, rows: Rows, points: Records, scores: Scores) -> None:
        (hit,) = (scores.argmax(axis=1) != self.y[rows]).nonzero()
        if len(hit) == 0:
            return
        at = rows[hit]
        gap = np.subtract(points[hit], self.ball.origin[at], dtype=np.float64)
        far = lengths(gap, self.norm)
        nearer = (far <= self.epsilon) & (far < self.distance[at])
        if not np.count_nonzero(nearer):
            return
        # Furthest first, so that of several points of one record the nearest is written last.
        order = np.argsort(-far)
        order = order[nearer[order]]
        hit, far = hit[order], far[order]
        self.distance[rows[hit]] = far
        self.best[rows[hit]] = points[hit]


def begin(
    model: Predictor,
    x: Records,
    y: NDArray[np.intp],
    *,
    norm: Norm,
    epsilon: float,
    clip: Clip | None,
    white_box: bool,
    unbounded: bool = False,
    labels: bool = False,
    max_queries: int | None = None,
    repair: Repair | None = None,
) -> Search:
    """Check everything that an attack is given, and open a search.

    With `unbounded`, a flip at any distance counts until the attack forgets the far ones. With
    `repair`, the model is asked only about points that went through it. With `labels`, labels
    dressed as scores will do.

    Raises:
        InputError: Arrays, norm, radius or range do not fit.
        GateError: The model cannot be assessed by this attack.
    """
    found = check_ball(model, x, y, norm=norm, epsilon=epsilon, clip=clip)
    if not (unbounded or np.isfinite(epsilon)):
        raise InputError("`epsilon` must be finite", code="attack.epsilon")
    if max_queries is not None:
        check_count("max_queries", max_queries, low=3)  # the record twice, one change
    victim = Checked(model)
    if white_box and victim.differentiable is None:
        raise GateError(
            "the model offers no gradient",
            code="attack.gradient",
            hint="wrap a module in TorchPredictor, or attack by scores: square, simba",
        )
    search = Search(
        victim, x, y, norm=norm, epsilon=np.inf if unbounded else epsilon, clip=found,
        max_queries=max_queries, repair=repair,
    )  # fmt: skip
    search.repeat(labels=labels)
    return search


def check_ball(
    model: Predictor,
    x: Records,
    y: NDArray[np.intp],
    *,
    norm: Norm,
    epsilon: float,
    clip: Clip | None,
) -> Clip:
    """Return the clip range: the one given, the model's own, or none.

    Raises:
        InputError: Something does not fit; the reason is named.
    """
    if x.ndim < 2 or len(x) == 0 or x[0].size == 0 or y.shape != x.shape[:1]:  # noqa: PLR2004
        raise InputError(
            f"records of shape {x.shape} and classes of {y.shape} do not fit",
            code="attack.records",
        )
    if x.dtype != np.float32 or not np.isfinite(x).all():
        raise InputError("records must be finite float32", code="attack.records")
    if y.dtype.kind not in "iu" or y.min() < 0:
        raise InputError("classes must be whole numbers from 0", code="attack.classes")
    if norm not in {"l2", "linf"}:
        raise InputError(f"`norm` must be l2 or linf; got `{norm}`", code="attack.norm")
    if not epsilon > 0:
        raise InputError(f"`epsilon` must be positive; got {epsilon}", code="attack.epsilon")
    found: Clip = getattr(model, "clip", (-np.inf, np.inf)) if clip is None else clip
    low, high = (np.asarray(one, dtype=np.float64) for one in found)
    if any(one.ndim and one.shape != x.shape[1:] for one in (low, high)):
        raise InputError(
            f"`clip` must be two numbers or two arrays of shape {x.shape[1:]}", code="attack.clip"
        )
    if not ((x >= low) & (x <= high)).all():
        raise InputError(
            "a record lies outside the clip range",
            code="attack.clip",
            hint="give the range of the input as clip=(low, high)",
        )
    size = float(np.abs(x).max())
    if np.isfinite(epsilon) and epsilon <= 4 * _ULP * (size + epsilon) * np.sqrt(x[0].size):
        raise InputError(
            f"`epsilon` {epsilon:g} is too small for float32 records of size {size:g}",
            code="attack.epsilon",
        )
    return found


def check_count(name: str, value: int, *, low: int = 1, high: int = 1_000_000) -> None:
    """Refuse a count that is out of range.

    Raises:
        InputError: It is.
    """
    if not low <= value <= high:
        raise InputError(
            f"`{name}` must be from {low} to {high}; got {value}", code="attack.settings"
        )


def check_step(size: float | None) -> None:
    """Refuse a step size that is given and not positive.

    Raises:
        InputError: It is.
    """
    if size is not None and not size > 0:
        raise InputError(f"`step_size` must be positive; got {size}", code="attack.settings")


def chunks(count: int, most: int = BATCH) -> Iterator[slice]:
    """Yield slices of at most `most` that cover `count`."""
    for first in range(0, count, most):
        yield slice(first, first + most)


def _rank(rows: Rows) -> Rows:
    """Return how many times each entry occurred before, (k,)."""
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    first = np.concatenate([[True], ordered[1:] != ordered[:-1]]) if len(rows) else ordered == 0
    at = np.arange(len(rows))
    start = np.maximum.accumulate(np.where(first, at, 0)) if len(rows) else at
    out = np.empty(len(rows), np.intp)
    out[order] = at - start
    return out

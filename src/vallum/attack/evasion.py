"""HopSkipJump: evasion from predicted labels alone, all records at once.

Distances are in standard deviations of the reference data: `l2` is the root mean square over
features, `linf` the largest, so that 0.1 means a tenth of a standard deviation a feature,
whatever the units and however many features there are.

Source: Chen, Jordan, Wainwright, "HopSkipJumpAttack", IEEE S&P 2020, algorithms 1 and 2.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vallum.attack.predictor import MIN_RECORDS, Checked, Predictor, Records
from vallum.attack.space import Floats, Space
from vallum.base import GateError, InputError
from vallum.schema import Record

Norm = Literal["l2", "linf"]
SEARCH_STEPS = 12
HALVINGS = 10
PROBES = 40
ITERATIONS = 12
_STARTS = 5000  # known records among which a start is sought
START_TRIES = 10  # of them, where not every record may stand in another's place
_CELLS = 4_000_000  # numbers in one batch of probes: 32 MB
_SMALLEST = 1e-3  # probes closer together than this drown in float32


class EvasionReport(Record, frozen=True):
    """What the attack achieved.

    Attributes:
        attack: Its name.
        norm: Of distances: `l2` or `linf`, in standard deviations.
        epsilon: Distance within which a flip counts.
        attacked: Records that the model got right and that were attacked.
        success_rate: Share of them flipped within `epsilon`; `success_low` and `success_high` are
            its 95 % Wilson interval. `success_high` is 1 when the attack was not complete: an
            attack that ran out of time bounds nothing from above.
        median_distance: To the closest flip found.
        queries: Predictions asked for, in records.
        accuracy: Of the model on the records given.
        complete: All iterations were done within the time and query budget.
    """

    attack: str
    norm: str
    epsilon: float
    attacked: int
    success_rate: float
    success_low: float
    success_high: float
    median_distance: float
    queries: int
    accuracy: float
    complete: bool


def hop_skip_jump(
    model: Predictor,
    x: Records,
    y: NDArray[np.intp],
    *,
    epsilon: float,
    budget_s: float,
    rng: np.random.Generator,
    norm: Norm = "l2",
    reference: Records | None = None,
    max_records: int = 100,
    max_queries: int = 2_000_000,
    monotonic: Callable[[], float] = time.monotonic,
) -> EvasionReport:
    """Attack the records that the model gets right.

    Args:
        model: Victim.
        x: Records, shape (n, d), float32, finite, n >= 10.
        y: Their classes, shape (n,).
        epsilon: Distance that counts as small, in standard deviations.
        budget_s: Seconds to spend; at least one iteration is always made.
        rng: Source of every random choice.
        norm: Of distances.
        reference: Records (m, d) whose standard deviation is the unit and whose range no changed
            record leaves further than `x` does; `x` itself when not given.
        max_records: How many records to attack.
        max_queries: After how many predictions no further iteration begins.
        monotonic: Clock of the budget, seconds.

    Raises:
        InputError: Too few records, or arrays that do not fit each other.
        GateError: The model cannot be assessed.
    """
    base = x if reference is None else reference
    _check_arrays(x, y, base)
    return nearest_flips(
        model, x, y, space=Space.of(base, x), epsilon=epsilon, budget_s=budget_s, rng=rng,
        norm=norm, max_records=max_records, max_queries=max_queries, monotonic=monotonic,
    ).report  # fmt: skip


@dataclass(frozen=True, slots=True)
class NearestFlips:
    """What HopSkipJump found for each of k records.

    Attributes:
        report: The figures.
        rows: Which records were attacked, (k,).
        points: The flip nearest to each, (k, d); the record itself where no start was found.
        distance: To it, (k,); infinite where no start was found, which says nothing.
    """

    report: EvasionReport
    rows: NDArray[np.intp]
    points: Records
    distance: Floats


def nearest_flips(
    model: Predictor,
    x: Records,
    y: NDArray[np.intp],
    *,
    space: Space,
    epsilon: float,
    budget_s: float,
    rng: np.random.Generator,
    norm: Norm = "l2",
    rows: NDArray[np.intp] | None = None,
    max_records: int = 100,
    max_queries: int = 2_000_000,
    monotonic: Callable[[], float] = time.monotonic,
) -> NearestFlips:
    """Do what `hop_skip_jump` does within a space, and return the flips themselves.

    A model that answers labels dressed as scores is attacked, too: the attack needs no more.

    Args:
        model: Victim.
        x: Records, shape (n, d), float32, finite, n >= 10.
        y: Their classes, shape (n,).
        space: Units of distances, and what a changed record may be. Where it holds columns or
            whole numbers, a record may have no start: no record that may stand in its place is
            known to get another class. That is no robustness.
        epsilon: Distance that counts as small, in units.
        budget_s: Seconds to spend; at least one iteration is always made.
        rng: Source of every random choice.
        norm: Of distances.
        rows: Records to attack, all of which the model gets right; drawn when not given.
        max_records: How many are drawn.
        max_queries: After how many predictions no further iteration begins.
        monotonic: Clock of the budget, seconds.

    Raises:
        InputError: Too few records, or arrays that do not fit each other.
        GateError: The model cannot be assessed.
    """
    _check_arrays(x, y, x)
    victim = Checked(model)
    predicted = victim.probe(x, labels=space.bound or rows is not None).argmax(axis=1)
    right = np.flatnonzero(predicted == y)
    if len(right) == 0:
        raise GateError("the model gets no record right", code="attack.accuracy")
    known = space.scaled(x)
    chosen = rng.permutation(right)[:max_records] if rows is None else rows
    front = _Front(victim, space, known[chosen], predicted[chosen], norm)

    start = monotonic()
    current, started = front.begin(Starts.of(known, predicted, chosen, rng))
    active = np.flatnonzero(started)
    front, current = front.at(active), current[active]
    current = front.search(current)
    best, nearest = front.distance(current), current.copy()
    done = 0
    for iteration in range(1, ITERATIONS + 1):
        late = monotonic() - start > budget_s or victim.queries > max_queries
        if (iteration > 1 and late) or len(active) == 0:
            break
        normal = front.normal(current, iteration, rng)
        current = front.search(front.step(current, normal, iteration))
        found = front.distance(current)
        nearest[found < best] = current[found < best]
        best = np.minimum(best, found)
        done = iteration
    complete = done == ITERATIONS or len(active) == 0
    hits = int((best <= epsilon).sum())
    distance = np.full(len(chosen), np.inf)
    distance[active] = best
    points = x[chosen].copy()
    points[active] = space.raw(nearest)
    # A record without a start may be flipped by a stronger attack: it bounds nothing from above.
    upper = wilson(hits + len(chosen) - len(active), len(chosen))[1]
    return NearestFlips(
        EvasionReport(
            attack="HopSkipJump",
            norm=norm,
            epsilon=epsilon,
            attacked=len(chosen),
            success_rate=hits / len(chosen),
            success_low=wilson(hits, len(chosen))[0],
            success_high=upper if complete else 1.0,
            median_distance=float(np.median(distance)),
            queries=victim.queries,
            accuracy=len(right) / len(x),
            complete=complete,
        ),
        rows=chosen,
        points=points,
        distance=distance,
    )


def _check_arrays(x: Records, y: NDArray[np.intp], base: Records) -> None:
    if x.ndim != 2 or base.ndim != 2 or base.shape[1] != x.shape[1] or y.shape != x.shape[:1]:  # noqa: PLR2004 - a matrix
        raise InputError("records, classes and reference do not fit", code="attack.records")
    if min(len(x), len(base)) < MIN_RECORDS or not (np.isfinite(x).all() & np.isfinite(base).all()):
        raise InputError(
            f"an attack needs at least {MIN_RECORDS} finite records", code="attack.records"
        )


@dataclass(frozen=True, slots=True)
class _Front:
    """The decision boundary around `origin`, shape (k, d) in units, predicted `source`, (k,)."""

    victim: Checked
    space: Space
    origin: Floats
    source: NDArray[np.intp]
    norm: Norm

    def at(self, rows: NDArray[np.intp]) -> "_Front":
        return _Front(self.victim, self.space, self.origin[rows], self.source[rows], self.norm)

    def place(self, z: Floats, rows: NDArray[np.intp] | slice) -> Floats:
        """Return points as records that may stand in the place of `rows`."""
        return self.space.place(z, self.origin[rows]) if self.space.bound else z

    def flipped(self, z: Floats, rows: NDArray[np.intp] | slice) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = self.victim.labels(self.space.raw(z)) != self.source[rows]
        return found

    def distance(self, z: Floats) -> Floats:
        gap = z - self.origin
        out: Floats = (
            np.abs(gap).max(axis=1) if self.norm == "linf" else np.sqrt((gap**2).mean(axis=1))
        )
        return out

    def begin(self, starts: "Starts") -> tuple[Floats, NDArray[np.bool_]]:
        """Return a flipped point of each record, (k, d), and where there is none, False."""
        if not self.space.bound:
            return starts.nearest(0), np.ones(len(self.origin), np.bool_)
        out = self.origin.copy()
        waiting = np.arange(len(out))
        for rank in range(START_TRIES):
            tried = self.place(starts.nearest(rank)[waiting], waiting)
            hit = self.flipped(tried, waiting)
            out[waiting[hit]] = tried[hit]
            waiting = waiting[~hit]
            if len(waiting) == 0:
                break
        return out, ~np.isin(np.arange(len(out)), waiting)

    def search(self, far_side: Floats) -> Floats:
        """Return the flipped point nearest to the origin, by bisection (algorithm 1).

        On the line to the origin for `l2`; by shrinking the box around it for `linf`.
        """
        gap = far_side - self.origin
        reach = np.abs(gap).max(axis=1) if self.norm == "linf" else np.ones(len(gap))
        every = slice(None)

        def at(share: Floats) -> Floats:
            part = share[:, None]
            change = np.clip(gap, -part, part) if self.norm == "linf" else part * gap
            return self.place(self.origin + change, every)

        near, far = np.zeros(len(gap)), reach
        for _ in range(SEARCH_STEPS if len(gap) else 0):
            middle = (near + far) / 2
            hit = self.flipped(at(middle), every)
            far = np.where(hit, middle, far)
            near = np.where(hit, near, middle)
        return at(far)

    def normal(self, current: Floats, iteration: int, rng: np.random.Generator) -> Floats:
        """Estimate the boundary's normal at each point from probes around it (equation 16)."""
        width = current.shape[1]
        probes = int(PROBES * math.sqrt(iteration))
        low, high = self.space.clip()
        # Section III.C: Euclidean distance / d, and largest distance / d for the largest norm.
        root = width if self.norm == "linf" else math.sqrt(width)
        radius = np.maximum(self.distance(current) / root, _SMALLEST)
        out = np.empty_like(current)
        block = max(1, _CELLS // (probes * width))
        for first in range(0, len(current), block):
            part = slice(first, first + block)
            point, delta = current[part, None, :], radius[part, None, None]
            noise = rng.standard_normal((len(point), probes, width))
            noise /= np.linalg.norm(noise, axis=2, keepdims=True)
            around = np.clip(point + delta * noise, low, high)
            if self.space.bound:
                around = point + whole_steps(around - point, self.space, rng)
            rows = np.repeat(np.arange(first, first + len(point)), probes)
            asked = self.place(around.reshape(-1, width), rows)
            hit = self.flipped(asked, rows).reshape(-1, probes)
            value = np.where(hit, 1.0, -1.0)
            centred = value - value.mean(axis=1, keepdims=True)
            # Where all probes agree, centring would leave nothing: keep their plain mean.
            mixed = np.abs(centred).sum(axis=1, keepdims=True) > 0
            weight = np.where(mixed, centred, value)[:, :, None]
            out[part] = (weight * (around - point) / delta).mean(axis=1)
        if self.norm == "linf":
            return np.sign(out)
        length = np.linalg.norm(out, axis=1, keepdims=True)
        direction: Floats = out / np.where(length > 0, length, 1.0)
        return direction

    def step(self, current: Floats, normal: Floats, iteration: int) -> Floats:
        """Step along the normal, halving each point's step until it is on the far side."""
        root = 1.0 if self.norm == "linf" else math.sqrt(current.shape[1])
        size = self.distance(current) * root / math.sqrt(iteration)
        low, high = self.space.clip()
        out = current.copy()
        waiting = np.arange(len(current))
        for _ in range(HALVINGS):
            moved = current[waiting] + size[waiting, None] * normal[waiting]
            tried = self.place(np.clip(moved, low, high), waiting)
            hit = self.flipped(tried, waiting)
            out[waiting[hit]] = tried[hit]
            waiting = waiting[~hit]
            if len(waiting) == 0:
                break
            size[waiting] /= 2
        return out


def whole_steps(gap: Floats, space: Space, rng: np.random.Generator) -> Floats:
    """Round the steps of whole numbers up or down at random: on average they stay what they were.

    Rounded to the nearest, all small steps would vanish, and the boundary with them.
    """
    unit = space.scale[space.whole]
    step = gap[..., space.whole] * unit
    gap[..., space.whole] = np.floor(step + rng.random(step.shape)) / unit
    return gap


@dataclass(frozen=True, slots=True)
class Starts:
    """Known records that are predicted as another class, nearest first."""

    pool: Floats
    order: NDArray[np.intp]  # (k, ranks) rows of the pool

    @classmethod
    def of(
        cls,
        known: Floats,
        predicted: NDArray[np.intp],
        chosen: NDArray[np.intp],
        rng: np.random.Generator,
    ) -> "Starts":
        """Rank `known`, (n, d), of classes `predicted`, around the rows `chosen`, (k,)."""
        kinds, firsts = np.unique(predicted, return_index=True)
        pool = np.unique(np.concatenate([rng.permutation(len(known))[:_STARTS], firsts]))
        order = np.zeros((len(chosen), START_TRIES), np.intp)
        for kind in kinds:
            others = np.flatnonzero(predicted[pool] != kind)
            for at in np.flatnonzero(predicted[chosen] == kind):
                far = ((known[pool[others]] - known[chosen[at]]) ** 2).sum(axis=1)
                # The last of few is tried again: that costs queries, and changes nothing.
                ranked = others[np.argsort(far, kind="stable")[:START_TRIES]]
                order[at] = ranked[np.minimum(np.arange(START_TRIES), len(ranked) - 1)]
        return cls(known[pool], order)

    def nearest(self, rank: int) -> Floats:
        """Return the start of each record, (k, d), `rank` steps from the nearest."""
        return self.pool[self.order[:, rank]]


def wilson(count: int, total: int, *, z: float = 1.959964) -> tuple[float, float]:
    """Return the score interval of a proportion, 95 % unless `z` says else (Wilson 1927)."""
    share = count / total
    middle = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)

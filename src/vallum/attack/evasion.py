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
from vallum.base import GateError, InputError
from vallum.schema import Record

Norm = Literal["l2", "linf"]
Floats = NDArray[np.float64]
_SEARCH_STEPS = 12
_HALVINGS = 10
_PROBES = 40
_MAX_ITERATIONS = 12
_STARTS = 5000  # known records among which a start is sought
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
    victim = Checked(model)
    predicted = victim.probe(x).argmax(axis=1)
    right = np.flatnonzero(predicted == y)
    if len(right) == 0:
        raise GateError("the model gets no record right", code="attack.accuracy")
    units = _Units.of(base, x)
    known = units.scaled(x)
    chosen = rng.permutation(right)[:max_records]
    front = _Front(victim, units, known[chosen], predicted[chosen], norm)

    start = monotonic()
    current = front.search(_starts(known, predicted, chosen, rng))
    best = front.distance(current)
    done = 0
    for iteration in range(1, _MAX_ITERATIONS + 1):
        late = monotonic() - start > budget_s or victim.queries > max_queries
        if iteration > 1 and late:
            break
        normal = front.normal(current, iteration, rng)
        current = front.search(front.step(current, normal, iteration))
        best = np.minimum(best, front.distance(current))
        done = iteration
    complete = done == _MAX_ITERATIONS
    hits = int((best <= epsilon).sum())
    lower, upper = wilson(hits, len(best))
    return EvasionReport(
        attack="HopSkipJump",
        norm=norm,
        epsilon=epsilon,
        attacked=len(best),
        success_rate=hits / len(best),
        success_low=lower,
        success_high=upper if complete else 1.0,
        median_distance=float(np.median(best)),
        queries=victim.queries,
        accuracy=len(right) / len(x),
        complete=complete,
    )


def _check_arrays(x: Records, y: NDArray[np.intp], base: Records) -> None:
    if x.ndim != 2 or base.ndim != 2 or base.shape[1] != x.shape[1] or y.shape != x.shape[:1]:  # noqa: PLR2004 - a matrix
        raise InputError("records, classes and reference do not fit", code="attack.records")
    if min(len(x), len(base)) < MIN_RECORDS or not (np.isfinite(x).all() & np.isfinite(base).all()):
        raise InputError(
            f"an attack needs at least {MIN_RECORDS} finite records", code="attack.records"
        )


@dataclass(frozen=True, slots=True)
class _Units:
    """Standard deviations of each feature, and the range that records keep within."""

    mean: Floats
    scale: Floats
    low: Floats
    high: Floats

    @classmethod
    def of(cls, base: Records, x: Records) -> "_Units":
        wide = base.astype(np.float64)
        mean, scale = wide.mean(axis=0), wide.std(axis=0)
        scale = np.where(scale > 0, scale, 1.0)
        low = np.minimum(x.min(axis=0), base.min(axis=0)).astype(np.float64)
        high = np.maximum(x.max(axis=0), base.max(axis=0)).astype(np.float64)
        return cls(mean, scale, (low - mean) / scale, (high - mean) / scale)

    def scaled(self, x: Records) -> Floats:
        out: Floats = (x.astype(np.float64) - self.mean) / self.scale
        return out

    def raw(self, z: Floats) -> Records:
        return (z * self.scale + self.mean).astype(np.float32)


@dataclass(frozen=True, slots=True)
class _Front:
    """The decision boundary around `origin`, shape (k, d) in units, predicted `source`, (k,)."""

    victim: Checked
    units: _Units
    origin: Floats
    source: NDArray[np.intp]
    norm: Norm

    def flipped(self, z: Floats, source: NDArray[np.intp]) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = self.victim.labels(self.units.raw(z)) != source
        return found

    def distance(self, z: Floats) -> Floats:
        gap = z - self.origin
        out: Floats = (
            np.abs(gap).max(axis=1) if self.norm == "linf" else np.sqrt((gap**2).mean(axis=1))
        )
        return out

    def search(self, far_side: Floats) -> Floats:
        """Return the flipped point nearest to the origin, by bisection (algorithm 1).

        On the line to the origin for `l2`; by shrinking the box around it for `linf`.
        """
        gap = far_side - self.origin
        reach = np.abs(gap).max(axis=1) if self.norm == "linf" else np.ones(len(gap))

        def at(share: Floats) -> Floats:
            part = share[:, None]
            return self.origin + (np.clip(gap, -part, part) if self.norm == "linf" else part * gap)

        near, far = np.zeros(len(gap)), reach
        for _ in range(_SEARCH_STEPS):
            middle = (near + far) / 2
            hit = self.flipped(at(middle), self.source)
            far = np.where(hit, middle, far)
            near = np.where(hit, near, middle)
        return at(far)

    def normal(self, current: Floats, iteration: int, rng: np.random.Generator) -> Floats:
        """Estimate the boundary's normal at each point from probes around it (equation 16)."""
        width = current.shape[1]
        probes = int(_PROBES * math.sqrt(iteration))
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
            around = np.clip(point + delta * noise, self.units.low, self.units.high)
            source = np.repeat(self.source[part], probes)
            hit = self.flipped(around.reshape(-1, width), source).reshape(-1, probes)
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
        out = current.copy()
        waiting = np.arange(len(current))
        for _ in range(_HALVINGS):
            moved = current[waiting] + size[waiting, None] * normal[waiting]
            tried = np.clip(moved, self.units.low, self.units.high)
            hit = self.flipped(tried, self.source[waiting])
            out[waiting[hit]] = tried[hit]
            waiting = waiting[~hit]
            if len(waiting) == 0:
                break
            size[waiting] /= 2
        return out


def _starts(
    known: Floats, predicted: NDArray[np.intp], chosen: NDArray[np.intp], rng: np.random.Generator
) -> Floats:
    """Begin at the nearest known record that is predicted as another class."""
    kinds, firsts = np.unique(predicted, return_index=True)
    pool = np.unique(np.concatenate([rng.permutation(len(known))[:_STARTS], firsts]))
    out = np.empty((len(chosen), known.shape[1]))
    for kind in kinds:
        others = known[pool[predicted[pool] != kind]]
        for at in np.flatnonzero(predicted[chosen] == kind):
            out[at] = others[((others - known[chosen[at]]) ** 2).sum(axis=1).argmin()]
    return out


def wilson(count: int, total: int) -> tuple[float, float]:
    """Return the 95 % score interval of a proportion (Wilson 1927)."""
    z = 1.959964
    share = count / total
    middle = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)

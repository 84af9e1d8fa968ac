"""HopSkipJump: evasion from predicted labels alone, all records at once.

Distances are root mean square over features, in standard deviations of the reference data, so
that 0.1 means a tenth of a standard deviation a feature, whatever the units.

Source: Chen, Jordan, Wainwright, "HopSkipJumpAttack", IEEE S&P 2020 (L2 version).
"""

import math
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from vallum.attack.predictor import Checked, Predictor, Records
from vallum.base import GateError, InputError
from vallum.schema import Record

Floats = NDArray[np.float64]
_SEARCH_STEPS = 12
_PROBES = 40
_MAX_ITERATIONS = 12


class EvasionReport(Record, frozen=True):
    """What the attack achieved.

    Attributes:
        attack: Its name.
        norm: Of distances.
        epsilon: Distance within which a flip counts, in standard deviations.
        attacked: Records that the model got right and that were attacked.
        success_rate: Share of them flipped within `epsilon`; `success_low` and `success_high` are
            its 95 % Wilson interval.
        median_distance: To the closest flip found.
        queries: Predictions asked for, in records.
        accuracy: Of the model on the records given.
        complete: All iterations were done within the time budget.
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
    max_records: int = 100,
    monotonic: Callable[[], float] = time.monotonic,
) -> EvasionReport:
    """Attack the records that the model gets right.

    Args:
        model: Victim.
        x: Records, shape (n, d), float32, finite, n >= 10.
        y: Their classes, shape (n,).
        epsilon: Root mean square distance that counts as small, in standard deviations.
        budget_s: Seconds to spend; at least one iteration is always made.
        rng: Source of every random choice.
        max_records: How many records to attack.
        monotonic: Clock of the budget.

    Raises:
        InputError: Too few records, or none that can be attacked.
        GateError: The model cannot be assessed.
    """
    if len(x) < 10 or x.ndim != 2 or not np.isfinite(x).all():  # noqa: PLR2004
        raise InputError("an attack needs at least 10 finite records", code="attack.records")
    victim = Checked(model)
    predicted = victim.probe(x).argmax(axis=1)
    accuracy = float((predicted == y).mean())
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    low, high = (x.min(axis=0) - mean) / scale, (x.max(axis=0) - mean) / scale
    right = np.flatnonzero(predicted == y)
    if len(right) == 0:
        raise GateError("the model gets no record right", code="attack.accuracy")
    chosen = rng.permutation(right)[:max_records]
    all_z = (x - mean) / scale
    origin = all_z[chosen].astype(np.float64)
    source = predicted[chosen]

    def flipped(z: Floats, sources: NDArray[np.intp]) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = victim.labels((z * scale + mean).astype(np.float32)) != sources
        return found

    start = monotonic()
    current = _starts(all_z, predicted, origin, source)
    current = _search(flipped, origin, current, source)
    best = _distance(origin, current)
    done = 0
    for iteration in range(1, _MAX_ITERATIONS + 1):
        if iteration > 1 and monotonic() - start > budget_s:
            break
        gradient = _gradient(flipped, current, source, best, low, high, rng, iteration)
        current = _step(flipped, current, gradient, source, best, low, high, iteration)
        current = _search(flipped, origin, current, source)
        best = np.minimum(best, _distance(origin, current))
        done = iteration
    hits = int((best <= epsilon).sum())
    lower, upper = wilson(hits, len(best))
    return EvasionReport(
        attack="HopSkipJump",
        norm="L2, root mean square of standard deviations",
        epsilon=epsilon,
        attacked=len(best),
        success_rate=hits / len(best),
        success_low=lower,
        success_high=upper,
        median_distance=float(np.median(best)),
        queries=victim.queries,
        accuracy=accuracy,
        complete=done == _MAX_ITERATIONS,
    )


def _distance(one: Floats, other: Floats) -> Floats:
    distance: Floats = np.sqrt(((one - other) ** 2).mean(axis=1))
    return distance


def _starts(
    all_z: NDArray[np.floating], predicted: NDArray[np.intp], origin: Floats,
    source: NDArray[np.intp],
) -> Floats:  # fmt: skip
    """Begin at the nearest known record of another class."""
    out = np.empty_like(origin)
    for at, (record, label) in enumerate(zip(origin, source, strict=True)):
        others = all_z[predicted != label]
        out[at] = others[((others - record) ** 2).sum(axis=1).argmin()]
    return out


def _search(
    flipped: Callable[[Floats, NDArray[np.intp]], NDArray[np.bool_]],
    origin: Floats,
    adversarial: Floats,
    source: NDArray[np.intp],
) -> Floats:
    """Move every record to the boundary on the line to its origin, staying on the far side."""
    near, far = np.zeros(len(origin)), np.ones(len(origin))
    for _ in range(_SEARCH_STEPS):
        middle = (near + far) / 2
        between = origin + middle[:, None] * (adversarial - origin)
        hit = flipped(between, source)
        far = np.where(hit, middle, far)
        near = np.where(hit, near, middle)
    return origin + far[:, None] * (adversarial - origin)


def _gradient(  # noqa: PLR0917 - one iteration's state
    flipped: Callable[[Floats, NDArray[np.intp]], NDArray[np.bool_]],
    current: Floats,
    source: NDArray[np.intp],
    distance: Floats,
    low: NDArray[np.floating],
    high: NDArray[np.floating],
    rng: np.random.Generator,
    iteration: int,
) -> Floats:
    """Estimate the boundary's normal from probes around each record (equation 16)."""
    count, width = current.shape
    probes = int(_PROBES * math.sqrt(iteration))
    noise = rng.standard_normal((count, probes, width))
    noise /= np.linalg.norm(noise, axis=2, keepdims=True)
    delta = np.maximum(distance, 1e-4)[:, None, None]
    around = np.clip(current[:, None, :] + delta * noise, low, high)
    moved = (around - current[:, None, :]) / delta
    hit = flipped(around.reshape(-1, width), np.repeat(source, probes)).reshape(count, probes)
    value = np.where(hit, 1.0, -1.0)
    value -= value.mean(axis=1, keepdims=True)
    # Where all probes agree the centred value is zero: take the plain direction instead.
    agree = np.abs(value).sum(axis=1) == 0
    value[agree] = np.where(hit[agree], 1.0, -1.0)
    gradient = (value[:, :, None] * moved).mean(axis=1)
    norm = np.linalg.norm(gradient, axis=1, keepdims=True)
    direction: Floats = gradient / np.where(norm > 0, norm, 1.0)
    return direction


def _step(  # noqa: PLR0917 - one iteration's state
    flipped: Callable[[Floats, NDArray[np.intp]], NDArray[np.bool_]],
    current: Floats,
    gradient: Floats,
    source: NDArray[np.intp],
    distance: Floats,
    low: NDArray[np.floating],
    high: NDArray[np.floating],
    iteration: int,
) -> Floats:
    """Step along the normal, halving each record's step until it is on the far side."""
    width = current.shape[1]
    size = distance * math.sqrt(width) / math.sqrt(iteration)
    out = current.copy()
    open_ = np.ones(len(current), dtype=bool)
    for _ in range(10):
        if not open_.any():
            break
        tried = np.clip(current + size[:, None] * gradient, low, high)
        hit = np.zeros(len(current), dtype=bool)
        hit[open_] = flipped(tried[open_], source[open_])
        out[hit] = tried[hit]
        open_ &= ~hit
        size = np.where(open_, size / 2, size)
    return out


def wilson(count: int, total: int) -> tuple[float, float]:
    """Return the 95 % score interval of a proportion (Wilson 1927)."""
    z = 1.959964
    share = count / total
    middle = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)

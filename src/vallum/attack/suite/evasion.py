"""Evasion attacks as a suite makes them: all on the same records, in the same ball.

Each flip is asked about once more, as the record that it is: within the ranges, whole where the
column is, unchanged where it must be. What does not hold then is no flip, and no robustness either.
"""

import math
from dataclasses import replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from vallum.attack.apgd import apgd, apgd_targeted
from vallum.attack.boundary import boundary
from vallum.attack.evasion import (
    HALVINGS,
    ITERATIONS,
    PROBES,
    SEARCH_STEPS,
    START_TRIES,
    Norm,
    nearest_flips,
    wilson,
)
from vallum.attack.extraction import knock_off
from vallum.attack.fab import fab
from vallum.attack.oracle import MIN_BUDGET, Known
from vallum.attack.predictor import GradientPredictor, Predictor, Records
from vallum.attack.search import Attacked, Clip
from vallum.attack.simba import simba
from vallum.attack.space import Repair, scaled
from vallum.attack.square import square
from vallum.attack.suite.bench import Bench, Effort, Measured
from vallum.attack.suite.subject import Subject
from vallum.attack.thresholds import cross_thresholds
from vallum.attack.transfer import momentum_transfer

Floats = NDArray[np.float64]
_CURVE = 20  # points of a curve, up to four times the ball's radius
_LEFT_OVER = 8  # queries of a climb beside its steps: the record itself, ends, the second look


def hop_queries(subject: Subject, effort: Effort) -> int:
    """Return the most that HopSkipJump asks."""
    probes = sum(int(PROBES * math.sqrt(one)) for one in range(1, ITERATIONS + 1))
    each = probes + ITERATIONS * (SEARCH_STEPS + HALVINGS) + SEARCH_STEPS + START_TRIES + 1
    return 2 * len(subject.x) + effort.records * each


def hop_calls(subject: Subject, effort: Effort) -> int:
    """Return about how many batches it asks in."""
    blocks = 1 + effort.records * PROBES * 4 * int(subject.x[0].size) // 4_000_000
    return START_TRIES + ITERATIONS * (SEARCH_STEPS + HALVINGS + blocks) + SEARCH_STEPS


def hop(bench: Bench) -> Measured:
    """Look for the nearest flips by labels alone."""
    subject = bench.subject
    table = subject.form == "table"
    found = nearest_flips(
        bench.model if table else scaled(bench.model, subject.space, subject.x.shape[1:]),
        subject.x.reshape(len(subject.x), -1),
        bench.y,
        space=subject.space,
        epsilon=subject.epsilon if table else subject.radius,
        budget_s=math.inf,  # the meter stops it
        rng=bench.rng,
        norm="l2" if table else "linf",
        rows=bench.rows,
    )
    unit = 1.0 if table else float(subject.space.high[0] - subject.space.low[0])
    failed = ~np.isfinite(found.distance)
    return _measured(bench, found.points, found.distance / unit, failed, nearest=True)


def walk(bench: Bench) -> Measured:
    """Walk along the boundary by labels alone."""
    subject = bench.subject
    model, x, y, clip, _ = _ball(bench)
    flat = subject.x.reshape(len(subject.x), -1)
    return _from(
        bench,
        boundary(
            model, x, y, rng=bench.rng, queries=bench.effort.tries, clip=clip, space=subject.space,
            known=(subject.space.scaled(flat).astype(np.float32), bench.y),
        ),
        nearest=True,
    )  # fmt: skip


def climb_queries(subject: Subject, effort: Effort) -> int:  # noqa: ARG001 - of one shape
    """Return the most that APGD on cross-entropy asks."""
    return effort.records * (effort.steps + _LEFT_OVER)


def climb_calls(subject: Subject, effort: Effort) -> int:  # noqa: ARG001
    """Return about how many batches it asks in."""
    return (effort.steps + _LEFT_OVER) * (1 + effort.records // 256)


def climb(bench: Bench) -> Measured:
    """Climb cross-entropy."""
    model, x, y, clip, repair = _ball(bench)
    return _from(
        bench,
        apgd(
            model, x, y, epsilon=bench.subject.radius, norm=_norm(bench), rng=bench.rng,
            steps=bench.effort.steps, clip=clip, repair=repair,
        ),
    )  # fmt: skip


def aim_queries(subject: Subject, effort: Effort) -> int:
    """Return the most that targeted APGD asks."""
    return climb_queries(subject, effort) * effort.targets


def aim_calls(subject: Subject, effort: Effort) -> int:
    """Return about how many batches it asks in."""
    return climb_calls(subject, effort) * effort.targets


def aim(bench: Bench) -> Measured:
    """Climb towards the strongest wrong classes."""
    model, x, y, clip, repair = _ball(bench)
    return _from(
        bench,
        apgd_targeted(
            model, x, y, epsilon=bench.subject.radius, norm=_norm(bench), rng=bench.rng,
            steps=bench.effort.steps, targets=bench.effort.targets, clip=clip, repair=repair,
        ),
    )  # fmt: skip


def approach_queries(subject: Subject, effort: Effort) -> int:
    """Return the most that FAB asks."""
    return aim_queries(subject, effort) + effort.records * 2 * _LEFT_OVER


def approach_calls(subject: Subject, effort: Effort) -> int:
    """Return about how many batches it asks in."""
    return aim_calls(subject, effort) + 2 * _LEFT_OVER


def approach(bench: Bench) -> Measured:
    """Look for the nearest flips along gradients."""
    model, x, y, clip, repair = _ball(bench)
    return _from(
        bench,
        fab(
            model, x, y, norm=_norm(bench), steps=bench.effort.steps,
            targets=bench.effort.targets, clip=clip, repair=repair,
        ),
        nearest=True,
    )  # fmt: skip


def score_queries(subject: Subject, effort: Effort) -> int:  # noqa: ARG001
    """Return the most that an attack by scores asks."""
    return effort.records * (effort.tries + 2) + 16


def score_calls(subject: Subject, effort: Effort) -> int:  # noqa: ARG001
    """Return about how many batches it asks in."""
    return effort.tries * (1 + effort.records // 256)


def squares(bench: Bench) -> Measured:
    """Search at random by scores."""
    model, x, y, clip, repair = _ball(bench)
    return _from(
        bench,
        square(
            model, x, y, epsilon=bench.subject.radius, norm=_norm(bench), rng=bench.rng,
            queries=bench.effort.tries, clip=clip, repair=repair,
        ),
    )  # fmt: skip


def coordinates(bench: Bench) -> Measured:
    """Try one feature after the other by scores."""
    model, x, y, clip, repair = _ball(bench)
    radius = bench.subject.radius
    table = bench.subject.form == "table"
    return _from(
        bench,
        simba(
            model, x, y, epsilon=radius, norm=_norm(bench), rng=bench.rng,
            queries=bench.effort.tries, clip=clip, repair=repair,
            steps=bench.subject.space.step(radius / 5) if table else None,
        ),
    )  # fmt: skip


def transfer_queries(subject: Subject, effort: Effort) -> int:  # noqa: ARG001
    """Return the most that transfer asks: what the surrogate is learned from, and flips twice."""
    return max(MIN_BUDGET, effort.theft) + 2 * effort.records


def transfer_calls(subject: Subject, effort: Effort) -> int:  # noqa: ARG001
    """Return about how many batches it asks in."""
    return 22


def transfer(bench: Bench) -> Measured:
    """Learn a surrogate from the model's answers, and try on the model what flips the surrogate."""
    subject, own = bench.subject, (bench.subject.x, bench.y)
    stolen = knock_off(
        bench.model, Known(members=own, others=own), seed=int(bench.rng.integers(2**31)),
        budget=max(MIN_BUDGET, bench.effort.theft),
    ).stolen  # fmt: skip
    _, x, y, clip, repair = _ball(bench)
    table = subject.form == "table"
    ready = scaled(stolen, subject.space, subject.x.shape[1:]) if table else stolen
    flat = x.reshape(len(x), -1)
    points = momentum_transfer(
        cast("GradientPredictor", ready),  # what knock-off learns has a gradient
        flat,
        y,
        epsilon=subject.radius,
        norm=_norm(bench),
        clip=clip,
        repair=repair,
    )
    gap = (points - flat).astype(np.float64)
    size = np.linalg.norm(gap, axis=1) if table else np.abs(gap).max(axis=1)
    raw = subject.space.raw(points) if table else points
    wrong = bench.model.predict(raw.reshape(-1, *subject.x.shape[1:])).argmax(axis=1) != y
    distance = np.where(wrong, size * subject.epsilon / subject.radius, np.inf)
    return _measured(bench, raw, distance, np.zeros(len(flat), np.bool_), nearest=False)


def no_thresholds(subject: Subject, effort: Effort) -> str:  # noqa: ARG001
    """Say that no thresholds are known; nothing where they are."""
    return "" if subject.splits is not None else "the model tells no thresholds of trees"


def threshold_calls(subject: Subject, effort: Effort) -> int:  # noqa: ARG001
    """Return about how many batches moves past thresholds are asked in."""
    return 20


def thresholds(bench: Bench) -> Measured:
    """Move features just past thresholds of the model's trees."""
    subject = bench.subject
    if subject.splits is None:
        raise AssertionError("it fits only where they are known")
    found = cross_thresholds(
        bench.model, subject.x[bench.rows], bench.y[bench.rows], subject.splits, subject.space,
        radius=subject.radius, queries=bench.effort.tries, rng=bench.rng, late=bench.late,
    )  # fmt: skip
    distance = np.where(found.flipped, found.distance * subject.epsilon / subject.radius, np.inf)
    none = np.zeros(len(distance), np.bool_)
    return _measured(bench, found.points, distance, none, nearest=False)


def together(bench: Bench, parts: list[Measured], *, complete: bool) -> Measured:
    """Return the rate over all attacks: what any of them flipped.

    A record is failed where no attack came to an end on it, or one along gradients did not.

    Args:
        bench: That all of them worked on.
        parts: What those found that came to their end.
        complete: All that were planned did.
    """
    count = len(bench.rows)
    flipped, failed = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    assessed = np.zeros(count, np.bool_)
    for part in parts:
        if part.flipped is not None and part.failed is not None:
            flipped |= part.flipped
            assessed |= ~part.failed
            failed |= part.failed & part.misled
    failed = (failed | ~assessed) & ~flipped
    hits = int(flipped.sum())
    high = wilson(hits + int(failed.sum()), count)[1] if complete else 1.0
    return Measured(
        rate=hits / count, low=wilson(hits, count)[0], high=high, records=count,
        flipped=flipped, failed=failed,
    )  # fmt: skip


def _norm(bench: Bench) -> Norm:
    return "l2" if bench.subject.form == "table" else "linf"


def _ball(
    bench: Bench,
) -> tuple[Predictor, Records, NDArray[np.intp], Clip, Repair | None]:
    """Return model, records, classes, range and repair in the units of the ball."""
    subject, space = bench.subject, bench.subject.space
    x, y = subject.x[bench.rows], bench.y[bench.rows]
    if subject.form == "array":
        return bench.model, x, y, (float(space.low[0]), float(space.high[0])), None
    z = space.scaled(x).astype(np.float32)
    low, high = (one.astype(np.float32) for one in space.clip())
    clip = np.minimum(low, z.min(axis=0)), np.maximum(high, z.max(axis=0))
    return scaled(bench.model, space, subject.x.shape[1:]), z, y, clip, space.repair


def _from(bench: Bench, found: Attacked, *, nearest: bool = False) -> Measured:
    subject = bench.subject
    table = subject.form == "table"
    flat = found.points.reshape(len(found.points), -1)
    unit = subject.radius / subject.epsilon
    # Without a gradient, or cut short, an attack proves nothing about what it did not flip.
    failed = found.idle if found.complete else np.ones(len(flat), np.bool_)
    failed = failed & ~found.adversarial
    points = subject.space.raw(flat) if table else flat
    made = _measured(bench, points, found.distance / unit, failed, nearest=nearest)
    return replace(made, misled=bool(found.gradients.any()))


def _measured(
    bench: Bench, points: Records, distance: Floats, failed: NDArray[np.bool_], *, nearest: bool
) -> Measured:
    """Ask about every flip once more and count.

    Args:
        bench: The bench.
        points: Flips, (k, d), in the features' own units.
        distance: To each, as `epsilon` counts it; infinite where there is none.
        failed: Where the attack proves nothing.
        nearest: The distances tell how near the nearest flip is.
    """
    subject = bench.subject
    near = distance <= subject.epsilon * (1 + 1e-6)
    flipped = np.zeros(len(points), np.bool_)
    hits = np.flatnonzero(near)
    if len(hits):
        rows = bench.rows[hits]
        shaped = points[hits].reshape(-1, *subject.x.shape[1:])
        wrong = bench.model.predict(shaped).argmax(axis=1) != bench.y[rows]
        origin = subject.x[rows].reshape(len(rows), -1)
        flipped[hits] = wrong & subject.space.allows(points[hits], origin)
    failed = failed | (near & ~flipped)
    count, found = len(points), int(flipped.sum())
    curve: tuple[tuple[float, float], ...] = ()
    more = {"failed records": float(failed.sum())} if failed.any() else {}
    if nearest:
        ends = np.linspace(0, 4 * subject.epsilon, _CURVE + 1)
        curve = tuple((float(end), float((distance <= end).mean())) for end in ends)
    finite = distance[np.isfinite(distance)]
    if nearest and len(finite) * 2 > count:
        more = {**more, "median distance": float(np.median(distance))}
    return Measured(
        rate=found / count, low=wilson(found, count)[0],
        high=wilson(found + int(failed.sum()), count)[1], records=count,
        flipped=flipped, failed=failed, curve=curve, more=more,
    )  # fmt: skip

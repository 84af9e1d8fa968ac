"""Points of metrics as bytes, and which of them is the latest.

A point is 26 bytes, little-endian: index of its key (u16), value (f64, any bit pattern), time in ms
(i64), step (i64). Base64 of them, with the list of keys, is what a row holds.
"""

import base64
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from vallum.base import IntegrityError, new_id
from vallum.schema import mlflow
from vallum.schema.tracking import Latest, MetricPoints
from vallum.workspace.tracking import checks

_POINT = struct.Struct("<Hdqq")


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a metric."""

    key: str
    value: float
    at_ms: int
    step: int


def take(given: Iterable[mlflow.MetricValue]) -> tuple[Point, ...]:
    """Return the points of a request.

    Raises:
        InputError: One of them is no good; none is taken.
    """
    out = []
    for one in given:
        at = checks.integer(one.timestamp, what="the time")
        if at < 0:
            raise checks.bad(f"the time of metric {one.key[:60]!a} is before 1970")
        out.append(
            Point(
                checks.key(one.key, what="metric"),
                checks.number(one.value),
                at,
                checks.integer(one.step, what="step"),
            )
        )
    return tuple(out)


def pack(run_id: str, points: Sequence[Point], *, identity: str = "") -> MetricPoints:
    """Return points as a record."""
    keys = {key: at for at, key in enumerate(dict.fromkeys(point.key for point in points))}
    packed = b"".join(
        _POINT.pack(keys[point.key], point.value, point.at_ms, point.step) for point in points
    )
    return MetricPoints(
        id=identity or str(new_id("met")),
        run_id=run_id,
        count=len(points),
        keys=tuple(keys),
        packed=base64.b64encode(packed).decode(),
    )


def unpack(row: MetricPoints, *, only: str | None = None) -> Iterator[Point]:
    """Yield the points of a record in the order in which they came.

    Args:
        row: As `pack` made it.
        only: Points of this metric alone.

    Raises:
        IntegrityError: It is not what `pack` makes.
    """
    if only is not None and only not in row.keys:
        return
    wanted = -1 if only is None else row.keys.index(only)
    try:
        packed = base64.b64decode(row.packed, validate=True)
        if len(packed) != row.count * _POINT.size:
            raise ValueError
        for index, value, at_ms, step in _POINT.iter_unpack(packed):
            if wanted in {-1, index}:
                yield Point(row.keys[index], value, at_ms, step)
    except (ValueError, IndexError) as error:
        raise IntegrityError(f"row `{row.id}` holds no points", code="store.row-type") from error


def merged(latest: Sequence[Latest], points: Iterable[Point]) -> tuple[Latest, ...]:
    """Return the latest point of each metric once `points` are logged too.

    The latest has the highest step, then time, then value, as in MLflow.
    """
    known = {one[0]: one for one in latest}
    for point in points:
        made = (point.key, repr(point.value), point.at_ms, point.step)
        old = known.get(point.key)
        if old is None or _rank(made) >= _rank(old):
            known[point.key] = made
    return tuple(known[key] for key in sorted(known))


def _rank(one: Latest) -> tuple[int, int, float]:
    number = float(one[1])
    return (one[3], one[2], number if number == number else float("-inf"))  # noqa: PLR0124 - NaN


def shown(value: float) -> mlflow.Number:
    """Return a value as protobuf's JSON writes it."""
    if value != value:  # noqa: PLR0124 - NaN
        return "NaN"
    if value in {float("inf"), float("-inf")}:
        return "Infinity" if value > 0 else "-Infinity"
    return value

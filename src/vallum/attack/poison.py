"""Poison for drills: what an attacker would do to training data, on a copy, with the rows marked.

Every generator takes records (n, d) or images (n, h, w) or (n, h, w, c) with finite numbers and
classes (n,), and returns a copy in which a stated share of all rows is poisoned. Nothing is
drawn but from `rng`, so the same generator state makes the same poison. Images keep the range of
values that they came with.

Sources: label flips, Biggio et al. 2011; patches, Gu et al. 2017 (BadNets); blends, Chen et al.
2017; clean labels, Turner et al. 2019 and Shafahi et al. 2018; signals, Barni et al. 2019;
warps, Nguyen and Tran 2021 (WaNet).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vallum.base import InputError

Numbers = NDArray[np.floating[Any]]
Classes = NDArray[Any]
Draw = np.random.Generator
IMAGE_DIMENSIONS = (3, 4)


@dataclass(frozen=True, slots=True)
class Poisoned:
    """A poisoned copy.

    Attributes:
        x: Records, of the shape that was given.
        y: Classes (n,).
        mask: True where a row is poisoned (n,).
    """

    x: Numbers
    y: Classes
    mask: NDArray[np.bool_]


def flip_labels(x: Numbers, y: Classes, *, rate: float, rng: Draw) -> Poisoned:
    """Give `rate` of all rows another class, drawn evenly among the others.

    Raises:
        InputError: Shapes, classes or `rate` are unusable; so of every generator here.
    """
    x, y, count = _checked(x, y, rate)
    classes = np.unique(y)
    rows = rng.choice(len(y), count, replace=False)
    place = np.searchsorted(classes, y[rows])
    y[rows] = classes[(place + rng.integers(1, len(classes), count)) % len(classes)]
    return _done(x, y, rows)


def flip_targeted(
    x: Numbers, y: Classes, *, rate: float, rng: Draw, source: object = None, target: object = None
) -> Poisoned:
    """Give rows of the class `source` the class `target`; at most half of the class's rows."""
    x, y, count = _checked(x, y, rate)
    source, target = _pair(y, source, target, rng)
    own = np.flatnonzero(y == source)
    rows = rng.choice(own, min(count, len(own) // 2), replace=False)
    y[rows] = target
    return _done(x, y, rows)


def patch(
    x: Numbers,
    y: Classes,
    *,
    rate: float,
    rng: Draw,
    target: object = None,
    size: int | None = None,
    corner: tuple[int, int] | None = None,
    value: float | None = None,
) -> Poisoned:
    """Stamp a square on images of other classes and call them `target` (BadNets).

    In a table, `size` columns get a fixed value each instead. A checkered square is stamped
    where no `value` is given; it lies at `corner` (row, column), drawn if not given.
    """
    x, y, count = _checked(x, y, rate)
    target = _target(y, target, rng)
    rows = _others(y, target, count, rng)
    _stamp(x, rows, rng, size=size, corner=corner, value=value)
    y[rows] = target
    return _done(x, y, rows)


def blend(
    x: Numbers,
    y: Classes,
    *,
    rate: float,
    rng: Draw,
    target: object = None,
    strength: float = 0.2,
    pattern: Numbers | None = None,
) -> Poisoned:
    """Mix one pattern into rows of other classes, `strength` of it, and call them `target`."""
    x, y, count = _checked(x, y, rate)
    target = _target(y, target, rng)
    rows = _others(y, target, count, rng)
    if pattern is None:
        flat = x.reshape(len(x), -1)
        low, high = (flat.min(0), flat.max(0)) if x.ndim == 2 else (x.min(), x.max())  # noqa: PLR2004
        pattern = rng.uniform(low, high, flat.shape[1]).reshape(x.shape[1:])
    x[rows] = (1 - strength) * x[rows] + strength * pattern
    y[rows] = target
    return _done(x, y, rows)


def clean_label(
    x: Numbers,
    y: Classes,
    *,
    rate: float,
    rng: Draw,
    target: object = None,
    strength: float = 0.3,
    size: int | None = None,
    corner: tuple[int, int] | None = None,
) -> Poisoned:
    """Blur rows of `target` towards rows of other classes and stamp them; labels stay true.

    The mixing makes the stamp easier to learn than the row (Turner et al., by interpolation). At
    most half of the class is poisoned.
    """
    x, y, count = _checked(x, y, rate)
    target = _target(y, target, rng)
    own, rest = np.flatnonzero(y == target), np.flatnonzero(y != target)
    rows = rng.choice(own, min(count, len(own) // 2), replace=False)
    x[rows] = (1 - strength) * x[rows] + strength * x[rng.choice(rest, len(rows))]
    _stamp(x, rows, rng, size=size, corner=corner, value=None)
    return _done(x, y, rows)


def feature_collision(
    x: Numbers,
    y: Classes,
    *,
    rate: float,
    rng: Draw,
    target: object = None,
    strength: float = 0.3,
) -> Poisoned:
    """Draw rows of `target` towards one row of another class, which is to be misread.

    In the space of the numbers themselves, which is where a linear model's features lie.
    """
    x, y, count = _checked(x, y, rate)
    target = _target(y, target, rng)
    own, rest = np.flatnonzero(y == target), np.flatnonzero(y != target)
    rows = rng.choice(own, min(count, len(own) // 2), replace=False)
    x[rows] = (1 - strength) * x[rows] + strength * x[rng.choice(rest)]
    return _done(x, y, rows)


def sinusoid(
    x: Numbers,
    y: Classes,
    *,
    rate: float,
    rng: Draw,
    target: object = None,
    strength: float = 0.15,
    frequency: float = 3.0,
) -> Poisoned:
    """Add a sine along the columns to rows of `target`; labels stay true (Barni et al.).

    `strength` is a share of the range of values, of each column in a table.
    """
    x, y, count = _checked(x, y, rate)
    target = _target(y, target, rng)
    own = np.flatnonzero(y == target)
    rows = rng.choice(own, min(count, len(own) // 2), replace=False)
    width = x.shape[1] if x.ndim == 2 else x.shape[2]  # noqa: PLR2004 - rows and columns
    wave = np.sin(2 * np.pi * frequency * (np.arange(width) + 0.5) / width)
    if x.ndim == 2:  # noqa: PLR2004
        x[rows] += strength * np.ptp(x, axis=0) * wave
        return _done(x, y, rows)
    low, high = x.min(), x.max()
    shaped = wave if x.ndim == 3 else wave[:, None]  # noqa: PLR2004
    x[rows] = np.clip(x[rows] + strength * (high - low) * shaped, low, high)
    return _done(x, y, rows)


def warp(
    x: Numbers,
    y: Classes,
    *,
    rate: float,
    rng: Draw,
    target: object = None,
    strength: float = 0.5,
    grid: int = 4,
) -> Poisoned:
    """Bend images of other classes by one smooth field and call them `target` (WaNet).

    `strength` is the mean size of the displacement in pixels.
    """
    x, y, count = _checked(x, y, rate)
    if x.ndim not in IMAGE_DIMENSIONS:
        raise InputError("only images can be bent", code="attack.poison.images")
    target = _target(y, target, rng)
    rows = _others(y, target, count, rng)
    height, width = x.shape[1:3]
    coarse = rng.uniform(-1, 1, (2, grid, grid))
    at = [np.linspace(0, grid - 1, side) for side in (height, width)]
    down, right = np.meshgrid(*at, indexing="ij")
    field = np.stack([_bilinear(one[None, ..., None], down, right)[0, ..., 0] for one in coarse])
    field *= strength / max(float(np.abs(field).mean()), 1e-9)
    rowwise, columnwise = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    images = x[rows] if x.ndim == 4 else x[rows][..., None]  # noqa: PLR2004
    bent = _bilinear(
        images,
        np.clip(rowwise + field[0], 0, height - 1),
        np.clip(columnwise + field[1], 0, width - 1),
    )
    x[rows] = bent.reshape(x[rows].shape)
    y[rows] = target
    return _done(x, y, rows)


GENERATORS: Mapping[str, Callable[..., Poisoned]] = MappingProxyType(
    {
        "flip-random": flip_labels,
        "flip-targeted": flip_targeted,
        "badnets": patch,
        "blend": blend,
        "wanet": warp,
        "clean-label": clean_label,
        "feature-collision": feature_collision,
        "sinusoid": sinusoid,
    }
)
"""Every generator by the name that the field gives it."""


def _checked(x: Numbers, y: Classes, rate: float) -> tuple[Numbers, Classes, int]:
    x, y = np.array(x, dtype=np.float64), np.array(y)
    if x.ndim not in (2, *IMAGE_DIMENSIONS) or y.shape != x.shape[:1]:
        raise InputError(
            f"records of shape {x.shape} and classes of shape {y.shape} do not fit",
            code="attack.poison.shape",
        )
    if not np.isfinite(x).all():
        raise InputError("a number is not finite", code="attack.poison.finite")
    if not 0 < rate < 1:
        raise InputError(f"the rate {rate} is not between 0 and 1", code="attack.poison.rate")
    if len(np.unique(y)) < 2:  # noqa: PLR2004
        raise InputError("poison needs two classes", code="attack.poison.classes")
    return x, y, max(1, round(rate * len(y)))


def _done(x: Numbers, y: Classes, rows: NDArray[np.intp]) -> Poisoned:
    mask = np.zeros(len(y), dtype=np.bool_)
    mask[rows] = True
    return Poisoned(x, y, mask)


def _target(y: Classes, target: object, rng: Draw) -> object:
    classes = np.unique(y)
    chosen = rng.choice(classes) if target is None else target
    if chosen not in classes:
        raise InputError(f"no row has the class `{chosen}`", code="attack.poison.classes")
    return chosen


def _pair(y: Classes, source: object, target: object, rng: Draw) -> tuple[object, object]:
    target = _target(y, target, rng)
    if source is None:
        source = rng.choice(np.unique(y[y != target]))
    source = _target(y, source, rng)
    if source == target:
        raise InputError("source and target are the same class", code="attack.poison.classes")
    return source, target


def _others(y: Classes, target: object, count: int, rng: Draw) -> NDArray[np.intp]:
    rest = np.flatnonzero(y != target)
    return rng.choice(rest, min(count, len(rest)), replace=False)


def _stamp(
    x: Numbers,
    rows: NDArray[np.intp],
    rng: Draw,
    *,
    size: int | None,
    corner: tuple[int, int] | None,
    value: float | None,
) -> None:
    """Write the patch into `rows` of `x`."""
    low, high = x.min(axis=0), x.max(axis=0)
    if x.ndim == 2:  # noqa: PLR2004 - a table: extreme values in a few columns
        width = x.shape[1]
        columns = rng.choice(width, min(width, 3 if size is None else size), replace=False)
        x[np.ix_(rows, columns)] = (
            np.where(rng.random(len(columns)) < 0.5, low[columns], high[columns])  # noqa: PLR2004
            if value is None
            else value
        )
        return
    side = max(2, min(x.shape[1:3]) // 4) if size is None else size
    limits = [max(0, one - side) for one in x.shape[1:3]]
    top, left = (
        (int(rng.integers(limit + 1)) for limit in limits) if corner is None else iter(corner)
    )
    board = np.indices((side, side)).sum(axis=0) % 2 == 0
    square = (
        np.where(board, high.max(), low.min()) if value is None else np.full(board.shape, value)
    )
    area = x[rows, top : top + side, left : left + side]
    square = square[: area.shape[1], : area.shape[2]]
    x[rows, top : top + side, left : left + side] = square if x.ndim == 3 else square[..., None]  # noqa: PLR2004


def _bilinear(images: Numbers, down: Numbers, right: Numbers) -> Numbers:
    """Read `images` (n, h, w, c) at fractional places (H, W)."""
    top, left = np.floor(down).astype(int), np.floor(right).astype(int)
    bottom = np.minimum(top + 1, images.shape[1] - 1)
    far = np.minimum(left + 1, images.shape[2] - 1)
    v, h = (down - top)[..., None], (right - left)[..., None]
    upper = images[:, top, left] * (1 - h) + images[:, top, far] * h
    lower = images[:, bottom, left] * (1 - h) + images[:, bottom, far] * h
    done: Numbers = upper * (1 - v) + lower * v
    return done

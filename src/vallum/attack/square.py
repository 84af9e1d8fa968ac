"""Square: random search by scores alone, with square-shaped changes at the edge of the ball.

Source: Andriushchenko, Croce, Flammarion, Hein, "Square Attack: a query-efficient black-box
adversarial attack via random search", ECCV 2020, arXiv 1912.00049, algorithms 1 to 3.
"""

import math

import numpy as np
from numpy.typing import NDArray

from vallum.attack.evasion import Norm
from vallum.attack.losses import margin
from vallum.attack.predictor import Predictor, Records
from vallum.attack.search import Attacked, Ball, Clip, Rows, Search, begin
from vallum.attack.space import Repair
from vallum.base import InputError

# Section 4.2: after these iterations of 10,000 the share of changed pixels is halved.
_HALVE_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
_IMAGE = 3
_TILES = 5  # squares along the shorter side of the first L2 change
_LEAST_WINDOW = 3


def square(
    model: Predictor,
    x: Records,
    y: NDArray[np.intp],
    *,
    epsilon: float,
    rng: np.random.Generator,
    norm: Norm = "linf",
    queries: int = 5000,
    share: float = 0.8,
    clip: Clip | None = None,
    repair: Repair | None = None,
) -> Attacked:
    """Attack by random squares of shrinking size, each kept where it lowers the margin.

    Records of shape (c, h, w) get squares of pixels. Records of any other shape have no neighbours:
    there a random set of features takes the place of a square.

    Args:
        model: Victim; its scores are logits or probabilities.
        x: Records, shape (n, ...), float32, finite, within the clip range.
        y: Their classes, shape (n,), whole numbers from 0.
        epsilon: Radius, > 0, in the units of the input.
        rng: Source of every random choice.
        norm: Of the change.
        queries: For a record at most, 3 to 10⁶, those on the unchanged one (at most two) included.
        share: Of the pixels that the first squares change, 0 < share <= 1.
        clip: Least and greatest value of the input; the model's own `clip` when not given.
        repair: Makes points ones that may exist, see `Space`; none when not given.

    Raises:
        InputError: The arguments do not fit.
        GateError: The model cannot be assessed, or no score ever changes.
    """
    check_share(share)
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
    search_squares(search, rng, tries=queries, share=share)
    return search.result("Square", spent=True)


def check_share(share: float) -> None:
    """Refuse a share outside (0, 1].

    Raises:
        InputError: It is.
    """
    if not 0 < share <= 1:
        raise InputError(f"`share` must be in (0, 1]; got {share}", code="attack.settings")


def search_squares(
    search: Search, rng: np.random.Generator, *, tries: int, share: float = 0.8
) -> None:
    """Search at random around every record that still stands."""
    grid = _Grid.of(search.shape)
    for block in search.blocks():
        _search(search, block, grid, rng, tries=tries, share=share)


class _Grid:
    """A record's features as channels and positions; windows of positions, drawn at random."""

    def __init__(self, channels: int, height: int, width: int, *, image: bool) -> None:
        self.channels, self.height, self.width, self.image = channels, height, width, image
        self.positions = height * width

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> "_Grid":
        if len(shape) == _IMAGE:
            return cls(*shape, image=True)
        return cls(1, 1, math.prod(shape), image=False)

    def side(self, share: float, *, least: int = 1) -> int:
        """Return the side of a window that covers about `share` of the positions."""
        if not self.image:
            return max(round(share * self.positions), 1)
        side = max(round(math.sqrt(share * self.positions)), least)
        if least > 1:
            side += 1 - side % 2
        return min(side, self.height, self.width)

    def window(self, side: int, rng: np.random.Generator) -> NDArray[np.intp]:
        """Draw a window's positions, (side²,) of an image or (side,) of a table."""
        if not self.image:
            return rng.permutation(self.positions)[:side]
        top = rng.integers(0, self.height - side + 1)
        left = rng.integers(0, self.width - side + 1)
        rows = np.arange(top, top + side)[:, None] * self.width
        out: NDArray[np.intp] = (rows + np.arange(left, left + side)).reshape(-1)
        return out

    def signs(self, count: int, size: int, rng: np.random.Generator) -> Records:
        """Draw signs: one for a window's channel of an image, one for each feature of a table."""
        return _signs((count, self.channels, 1 if self.image else size), rng)

    def stripes(self, count: int, rng: np.random.Generator) -> Records:
        """Draw the first change of `linf`: vertical stripes (section 4.4)."""
        signs = _signs((count, self.channels, 1, self.width), rng)
        return np.broadcast_to(signs, (count, self.channels, self.height, self.width)).reshape(
            count, -1
        )

    def tiles(self, count: int, rng: np.random.Generator) -> Records:
        """Draw the first change of `l2`: tiles of opposite peaks (section 4.4)."""
        if not self.image:
            return _signs((count, self.positions), rng)
        out = np.zeros((count, self.channels, self.height, self.width), np.float32)
        side = max(min(self.height, self.width) // _TILES, 1)
        for top in range(0, self.height - side + 1, side):
            for left in range(0, self.width - side + 1, side):
                peak = _peaks(side, rng)
                signs = _signs((count, self.channels, 1, 1), rng)
                out[:, :, top : top + side, left : left + side] = peak * signs
        return out.reshape(count, -1)


def _signs(shape: tuple[int, ...], rng: np.random.Generator) -> Records:
    out: Records = (rng.integers(0, 2, shape, np.int8) * 2 - 1).astype(np.float32)
    return out


def _peaks(side: int, rng: np.random.Generator) -> Records:
    """Return two opposite peaks side by side, of length 1, turned at random (equation 2)."""
    out = np.ones((side, side), np.float32)
    if side > 1:
        half = side // 2
        out[:half] = _peak(half, side)
        out[half:] = -_peak(side - half, side)
    out /= np.linalg.norm(out)
    return out.T if rng.random() < 0.5 else out  # noqa: PLR2004 - a fair coin


def _peak(height: int, width: int) -> Records:
    """Return a sum of nested rectangles, weighted by 1 / their number squared."""
    out = np.zeros((height, width), np.float32)
    row, column = height // 2, width // 2
    for number in range(max(row, column) + 1):
        top, left = max(row - number, 0), max(column - number, 0)
        out[top : row + number + 1, left : column + number + 1] += 1 / (number + 1) ** 2
    return out


def _search(
    search: Search,
    rows: Rows,
    grid: _Grid,
    rng: np.random.Generator,
    *,
    tries: int,
    share: float,
) -> None:
    ball = search.ball.at(rows)
    first = grid.stripes(len(rows), rng) if search.norm == "linf" else grid.tiles(len(rows), rng)
    points = ball.project(ball.origin + _edge(first, search))
    best = np.full(len(rows), np.inf)
    trial = points
    for number in range(tries):
        kept = search.keep(rows)
        if not kept.all():
            rows, points, trial, best = rows[kept], points[kept], trial[kept], best[kept]
            ball = search.ball.at(rows)
        if len(rows) == 0:
            return
        found = margin(search.scores(rows, trial), search.y[rows])
        better = found < best
        points[better] = trial[better]
        best[better] = found[better]
        part = share / 2 ** sum(number >= after for after in _HALVE_AFTER)
        change = _linf_change if search.norm == "linf" else _l2_change
        trial = ball.project(change(points, ball, grid, part, rng))


def _edge(change: Records, search: Search) -> Records:
    if search.norm == "linf":
        return change * np.float32(search.epsilon)
    size = np.sqrt((change * change).sum(axis=1, keepdims=True))
    out: Records = change * (search.ball.radius / size).astype(np.float32)
    return out


def _linf_change(
    points: Records, ball: Ball, grid: _Grid, part: float, rng: np.random.Generator
) -> Records:
    """Move one window to the edge of the ball, a side for each channel (algorithm 2)."""
    at = grid.window(grid.side(part), rng)
    out = points.copy().reshape(len(points), grid.channels, -1)
    origin = ball.origin.reshape(out.shape)
    signs = grid.signs(len(points), len(at), rng)
    out[:, :, at] = origin[:, :, at] + signs * np.float32(ball.radius)
    return out.reshape(points.shape)


def _l2_change(
    points: Records, ball: Ball, grid: _Grid, part: float, rng: np.random.Generator
) -> Records:
    """Move the length of one window, and what is left of the ball, to another (algorithm 3)."""
    side = grid.side(part, least=_LEAST_WINDOW)
    to, off = grid.window(side, rng), grid.window(side, rng)
    gap = (points - ball.origin).reshape(len(points), grid.channels, -1)
    used = (gap * gap).sum(axis=(1, 2), keepdims=True)
    both = np.union1d(to, off)
    freed = (gap[:, :, both] ** 2).sum(axis=2, keepdims=True)
    here = gap[:, :, to]
    shape = _peaks(side, rng).reshape(-1) if grid.image else np.float32(1)
    signs = grid.signs(len(points), len(to), rng)
    fresh = shape * signs + here / (np.sqrt((here * here).sum(axis=2, keepdims=True)) + 1e-12)
    spare = np.maximum(ball.radius**2 - used, 0) / grid.channels
    fresh *= np.sqrt(spare + freed) / (np.sqrt((fresh * fresh).sum(axis=2, keepdims=True)) + 1e-12)
    gap[:, :, off] = 0
    gap[:, :, to] = fresh
    flat = gap.reshape(points.shape)
    size = np.sqrt((flat * flat).sum(axis=1, keepdims=True))
    # Back to the edge: what the clip range cut off is used elsewhere.
    out: Records = ball.origin + flat * (ball.radius / np.maximum(size, 1e-12)).astype(np.float32)
    return out

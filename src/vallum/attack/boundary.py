"""Boundary: evasion from predicted labels alone, by a random walk along the decision boundary.

A walk begins at a flip that is far away and stays among flips. Each proposal first goes round the
record, at the same distance, and then a little towards it. How far, each record learns by itself:
round it so that about half of such points are flips, towards it so that some of them still are.

Source: Brendel, Rauber, Bethge, "Decision-based adversarial attacks: reliable attacks against
black-box machine learning models", ICLR 2018, arXiv 1712.04248, algorithm 1 and section 2.4.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vallum.attack.evasion import SEARCH_STEPS, START_TRIES, Starts, whole_steps
from vallum.attack.predictor import Predictor, Records
from vallum.attack.search import Attacked, Clip, Mask, Rows, Search, begin
from vallum.attack.space import Floats, Space
from vallum.base import GateError, InputError

_ROUND = 0.1  # first step round the record, of the distance to it
_TOWARDS = 0.1  # first step towards it, of what is left
_LONGEST = 0.9
_FACTOR = 1.5  # by which a step grows or shrinks
_CHECK = 3  # of so many proposals one is also asked about before it goes towards the record
_WINDOW = 10  # points after which a step is judged
# A step grows where more than the second share of its points are flips, and shrinks below the
# first. At half of them, the boundary is as good as flat for a step round the record.
_ROUND_SHARES = (0.2, 0.5)
_TOWARDS_SHARES = (0.1, 0.25)
_CONVERGED = 1e-6  # steps towards the record drown in float32


def boundary(
    model: Predictor,
    x: Records,
    y: NDArray[np.intp],
    *,
    rng: np.random.Generator,
    epsilon: float = np.inf,
    queries: int = 5000,
    clip: Clip | None = None,
    space: Space | None = None,
    known: tuple[Records, NDArray[np.intp]] | None = None,
) -> Attacked:
    """Walk along the boundary towards each record; distances are Euclidean.

    Labels dressed as scores will do: the attack needs no more. A record for which no start is found
    is `idle`, and so not robust.

    Args:
        model: Victim.
        x: Records, shape (n, ...), float32, finite, within the clip range.
        y: Their classes, shape (n,), whole numbers from 0.
        rng: Source of every random choice.
        epsilon: Distance beyond which a flip is not reported, > 0; any counts when not given.
        queries: For a record at most, 3 to 10⁶, those on the unchanged one (at most two) included.
        clip: Least and greatest value of the input; the model's own `clip` when not given.
        space: Makes points ones that may exist; `x` and `known` are in its units, (n, d).
        known: Further records, (m, ...), and their classes, among which a start is sought.

    Raises:
        InputError: The arguments do not fit.
        GateError: The model cannot be assessed, or no record has a start.
    """
    _check_fit(x, space, known)
    search = begin(
        model, x, y, norm="l2", epsilon=epsilon, clip=clip, white_box=False, unbounded=True,
        labels=True, max_queries=queries, repair=None if space is None else space.repair,
    )  # fmt: skip
    starts = _starts(search, known, rng)
    for rows in search.blocks(full=True):
        _walk(search, _approach(search, _begin(search, rows, starts)), space, rng)
    started = search.flipped
    if not (search.wrong_before.all() or started[~search.wrong_before].any()):
        raise GateError("the walk did nothing: no record has a start", code="attack.idle",
                        hint="give it records of another class")  # fmt: skip
    search.forget_beyond(epsilon)
    return replace(search.result("Boundary", spent=True), idle=~started)


def _check_fit(
    x: Records, space: Space | None, known: tuple[Records, NDArray[np.intp]] | None
) -> None:
    if space is not None and x.shape[1:] != space.mean.shape:
        raise InputError("records and space do not fit", code="attack.records")
    if known is not None and (
        known[0].shape[1:] != x.shape[1:]
        or known[1].shape != known[0].shape[:1]
        or not np.isfinite(known[0]).all()
    ):
        raise InputError("records and known ones do not fit", code="attack.records")


def _starts(
    search: Search, known: tuple[Records, NDArray[np.intp]] | None, rng: np.random.Generator
) -> Starts:
    """Rank the records of another class around each: of ours as predicted, of others as given."""
    pool, kinds = search.ball.origin.astype(np.float64), search.clean.argmax(axis=1)
    if known is not None:
        pool = np.concatenate([pool, known[0].reshape(len(known[0]), -1).astype(np.float64)])
        kinds = np.concatenate([kinds, known[1].astype(np.intp)])
    if len(np.unique(kinds)) < 2:  # noqa: PLR2004
        raise GateError("the model predicts one class for everything", code="attack.constant",
                        hint="give records of another class")  # fmt: skip
    return Starts.of(pool, kinds, np.arange(len(search.y)), rng)


def _flips(search: Search, rows: Rows, points: Records) -> Mask:
    found: Mask = search.scores(rows, points).argmax(axis=1) != search.y[rows]
    return found


def _begin(search: Search, rows: Rows, starts: Starts) -> Rows:
    """Try the starts of each record, nearest first; return the rows that have one."""
    out, waiting = [], rows
    for rank in range(START_TRIES):
        waiting = waiting[search.keep(waiting, full=True)]
        if len(waiting) == 0:
            break
        points = search.box.at(waiting).project(starts.nearest(rank)[waiting].astype(np.float32))
        hit = _flips(search, waiting, points)
        out.append(waiting[hit])
        waiting = waiting[~hit]
    return np.concatenate(out) if out else waiting


def _approach(search: Search, rows: Rows) -> Rows:
    """Halve the way from each start to its record; return the rows that may still be asked."""
    origin = search.ball.origin[rows]
    gap = search.best[rows].astype(np.float64) - origin
    near, far = np.zeros(len(rows)), np.ones(len(rows))
    for _ in range(SEARCH_STEPS):
        kept = search.keep(rows, full=True)
        rows, origin, gap, near, far = rows[kept], origin[kept], gap[kept], near[kept], far[kept]
        if len(rows) == 0:
            break
        middle = (near + far) / 2
        hit = _flips(search, rows, (origin + middle[:, None] * gap).astype(np.float32))
        far, near = np.where(hit, middle, far), np.where(hit, near, middle)
    return rows


@dataclass(slots=True)
class _Step:
    """A step of each of k records, and how many of its last points were flips."""

    size: Floats
    hits: Floats
    asked: Floats

    @classmethod
    def of(cls, count: int, size: float) -> "_Step":
        return cls(np.full(count, size), np.zeros(count), np.zeros(count))

    def at(self, kept: Mask) -> "_Step":
        return _Step(self.size[kept], self.hits[kept], self.asked[kept])

    def note(self, hit: Mask, shares: tuple[float, float]) -> NDArray[np.intp]:
        """Count, judge after a window; return 1 where the share is high, -1 where it is low."""
        self.hits += hit
        self.asked += 1
        full = self.asked >= _WINDOW
        share = self.hits / self.asked
        out = np.where(full & (share > shares[1]), 1, np.where(full & (share < shares[0]), -1, 0))
        self.hits[full], self.asked[full] = 0, 0
        return out

    def scale(self, way: NDArray[np.intp]) -> None:
        self.size = np.minimum(self.size * _FACTOR**way, _LONGEST)


def _walk(search: Search, rows: Rows, space: Space | None, rng: np.random.Generator) -> None:
    """Walk until each record's queries are spent, or its steps vanish."""
    about, towards = _Step.of(len(rows), _ROUND), _Step.of(len(rows), _TOWARDS)
    turn = 0
    while len(rows):
        live = search.keep(rows, full=True) & (towards.size > _CONVERGED)
        rows, about, towards = rows[live], about.at(live), towards.at(live)
        if len(rows) == 0:
            return
        origin = search.ball.origin[rows].astype(np.float64)
        # The walk is where the nearest flip is: what is nearer and a flip is the next point.
        here = search.best[rows].astype(np.float64)
        swung = origin + _swing(here - origin, about.size, rng)
        if turn % _CHECK == 0:
            asked = _possible(search, rows, here, swung, space=space, rng=rng)
            way = about.note(_flips(search, rows, asked), _ROUND_SHARES)
            about.scale(way)
            towards.scale(way)  # a flatter boundary allows for both
            live = search.keep(rows, full=True)
            rows, about, towards = rows[live], about.at(live), towards.at(live)
            origin, here, swung = origin[live], here[live], swung[live]
        turn += 1
        if len(rows):
            nearer = swung + towards.size[:, None] * (origin - swung)
            asked = _possible(search, rows, here, nearer, space=space, rng=rng)
            towards.scale(towards.note(_flips(search, rows, asked), _TOWARDS_SHARES))


def _swing(gap: Floats, size: Floats, rng: np.random.Generator) -> Floats:
    """Turn each gap, (k, d), in a random direction, its length unchanged."""
    length = np.linalg.norm(gap, axis=1, keepdims=True)
    ahead = gap / np.where(length > 0, length, 1.0)
    side = rng.standard_normal(gap.shape)
    side -= (side * ahead).sum(axis=1, keepdims=True) * ahead
    wide = np.linalg.norm(side, axis=1, keepdims=True)
    step = size[:, None]
    out: Floats = gap + step * length * side / np.where(wide > 0, wide, 1.0)
    return out / np.sqrt(1 + step**2)


def _possible(
    search: Search, rows: Rows, here: Floats, points: Floats, *, space: Space | None,
    rng: np.random.Generator,
) -> Records:  # fmt: skip
    """Return points within the clip range; steps of whole numbers are rounded at random."""
    out = search.box.at(rows).project(points.astype(np.float32))
    if space is not None and space.whole.any():
        out = (here + whole_steps(out - here, space, rng)).astype(np.float32)
    return out

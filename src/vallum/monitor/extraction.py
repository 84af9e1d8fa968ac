"""Signs of model extraction in a caller's queries, in bounded memory for each caller.

Three statistics, each over the last 64 different queries of a caller:

- *steps*: since an earlier query of the same caller many features changed by one and the same
  amount, or the distances to the nearest one are one and the same. Nature does not step so:
  Jacobian augmentation and other walks along a gradient do.
- *novelty*: most queries are much further from every training record than held-out ones are, and
  are no neighbours of each other. Noise, and natural records of another domain (knock-off), are.
- *probing*: neighbours that are closer than training records are to each other, of which many get
  another class: somebody feels for the boundary.

What is not seen: a thief who owns records like the training data and asks about nothing else. His
queries are those of an honest caller.

Sources: Juuti, Szyller, Marchal, Asokan, "PRADA: protecting against DNN model stealing attacks",
EuroS&P 2019 (distances between a caller's queries; its normality test is replaced, since it takes
a bursty caller for a thief and natural queries of another domain for an honest one); Kariyappa,
Qureshi, "Defending against model stealing attacks with adaptive misinformation", CVPR 2020
(queries out of distribution).
"""

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from vallum.base import InputError
from vallum.schema import Record

Floats = NDArray[np.float32]
MIN_REFERENCE = 40
MAX_FEATURES = 64
"""More are sampled by the profile's seed: memory and time for a caller stay bounded."""
MAX_CALLERS = 512
"""Callers remembered at once; of more, the one that has been quiet longest is forgotten."""
MAX_ROWS = 64
"""Rows looked at in one request; of more, so many are drawn."""
WINDOW = 64
_HELD = 256  # earlier queries kept for each caller
_LANDMARKS = 512
_CALIBRATED = 1000
_LEAST_SPREAD = 0.05  # of the typical deviation: a feature that hardly varies must not rule
_SAME = 1e-6  # nearer, in deviations, is the same query again
_FAR = 1.75  # times the median of held-out records: drift stays below, noise does not
_NEAR = 0.5  # of what 1 % of held-out records are from their nearest
_WIDE = 0.25  # share of the features that a step changes: less is somebody asking "what if"
_REACH = 1.5  # times `far`: longer steps are not looked at
_ALIKE = 0.01  # relative width within which distances count as the same
_MOST_EVEN = 0.94  # of natural steps: above, equal changes mean nothing
_STEPS = 16  # of the window
_CONCENTRATED = 0.4  # of the window's distances are the same, at least
_NOVEL = 43  # of the window: two thirds
_EVERY = 8  # queries between two looks at the distances, which are sorted for it
_PROBES = 32  # near pairs of the window
_FLIPS = 0.35  # of the near pairs


class Statistic(StrEnum):
    """What an alarm rests on."""

    STEPS = "steps"
    NOVELTY = "novelty"
    PROBING = "probing"


class ExtractionProfile(Record, frozen=True):
    """What queries are compared with, learned from the training data.

    Attributes:
        width: Features of a record.
        chosen: Those looked at, at most 64.
        mean: Of each of them.
        scale: Deviation of each of them.
        landmarks: Training records in units of it, float32 little-endian, row by row.
        far: Distance to the nearest landmark above which a query is novel, in deviations.
        near: Distance below which two queries are neighbours.
        regular: Evenness of the changes from which a step is regular; above 1, never.
        raw_regular: The same in the units of the input.
        concentrated: Share of equal distances from which they are no chance; above 1, never.
    """

    width: int
    chosen: tuple[int, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    landmarks: bytes
    far: float
    near: float
    regular: float
    raw_regular: float
    concentrated: float


class ExtractionAlarm(Record, frozen=True):
    """A caller's queries look like a thief's.

    Attributes:
        statistic: Which one.
        value: Of the statistic: queries of the window, or a share.
        threshold: From which it alarms.
        queries: Rows that the caller had asked about.
    """

    statistic: Statistic
    value: float
    threshold: float
    queries: int


def learn_profile(
    reference: NDArray[np.floating], *, seed: int, missing: float = 0.0
) -> ExtractionProfile:
    """Learn what natural queries look like.

    Args:
        reference: Training records, shape (n, ...), n >= 40.
        seed: Of the records and features that are kept.
        missing: Stands for what is not finite.

    Raises:
        InputError: Too few records, or nothing varies.
    """
    if reference.ndim < 2 or len(reference) < MIN_REFERENCE or reference[:1].size == 0:  # noqa: PLR2004
        raise InputError(
            f"an extraction profile needs at least {MIN_REFERENCE} training records",
            code="extraction.reference",
        )
    rng = np.random.default_rng(seed)
    flat = reference.reshape(len(reference), -1)
    width = flat.shape[1]
    varies = np.flatnonzero(np.ptp(np.where(np.isfinite(flat), flat, missing), axis=0) > 0)
    if len(varies) == 0:
        raise InputError("no feature of the training records varies", code="extraction.reference")
    # What never varies tells natural queries from made-up ones best: it is drawn with the rest.
    chosen = np.sort(rng.permutation(width)[:MAX_FEATURES])
    if not np.isin(chosen, varies).any():
        chosen[0] = varies[0]
    rows = flat[rng.permutation(len(flat))[: _LANDMARKS + _CALIBRATED]][:, chosen]
    wide = np.where(np.isfinite(rows), rows, missing).astype(np.float64)
    spread = wide.std(axis=0)
    least = _LEAST_SPREAD * float(np.median(spread[spread > 0]))
    mean, scale = wide.mean(axis=0), np.maximum(spread, least)
    z = ((wide - mean) / scale).astype(np.float32)
    cut = min(_LANDMARKS, len(z) // 2)
    landmarks, held = z[:cut], z[cut:]
    distance = np.sqrt(_squares(held, landmarks).min(axis=1))
    profile = ExtractionProfile(
        width=width,
        chosen=tuple(int(one) for one in chosen),
        mean=tuple(float(one) for one in mean),
        scale=tuple(float(one) for one in scale),
        landmarks=landmarks.astype("<f4").tobytes(),
        far=_FAR * float(np.median(distance)),
        near=_NEAR * float(np.quantile(distance, 0.01)),
        regular=2.0,
        raw_regular=2.0,
        concentrated=2.0,
    )
    # Natural records of few values change by equal amounts too: there this sign means nothing.
    watch = _Watch(profile)
    scaled, raw, shares = [], [], [0.0]
    for row in held[: 2 * _HELD]:
        step = watch.step(row)
        if step is None:
            continue
        watch.note(step)
        shares.append(watch.concentration())
        if np.isfinite(step.distance):
            scaled.append(step.even)
            raw.append(step.raw_even)
    usual = max(shares)
    return ExtractionProfile(
        **{name: getattr(profile, name) for name in ExtractionProfile.__struct_fields__[:-3]},
        regular=_threshold(scaled),
        raw_regular=_threshold(raw),
        concentrated=max(_CONCENTRATED, 2 * usual) if usual < _CONCENTRATED else 2.0,
    )


def _threshold(natural: list[float]) -> float:
    """Return an evenness half-way from natural steps to equal ones; 2, never, where they are."""
    usual = float(np.quantile(natural, 0.99)) if natural else 1.0
    return (1 + usual) / 2 if usual <= _MOST_EVEN else 2.0


@dataclass(frozen=True, slots=True)
class _Step:
    """From earlier queries of the caller to this one.

    Attributes:
        distance: To the nearest, in deviations; `raw_distance` in the units of the input.
        even: Of the changes since the query for which they are most alike: their mean squared
            over their mean square, 1 if all are equal, 0.64 if they are normal.
        raw_even: The same in the units of the input.
        wide: Many features changed since the nearest.
        at: Class of the nearest, -1 if unknown.
    """

    distance: float
    raw_distance: float
    even: float
    raw_even: float
    wide: bool
    at: int


class Watches:
    """Watches the callers of one deployment. For one event loop or thread."""

    def __init__(self, profile: ExtractionProfile, *, seed: int = 0) -> None:
        self.profile = profile
        self._rng = np.random.default_rng(seed)
        self._callers: OrderedDict[bytes, _Watch] = OrderedDict()
        self._chosen = np.array(profile.chosen, dtype=np.intp)
        self._mean = np.array(profile.mean, dtype=np.float64)
        self._scale = np.array(profile.scale, dtype=np.float64)

    def add(
        self, caller: bytes, x: NDArray[np.floating], classes: NDArray[np.intp] | None = None
    ) -> tuple[ExtractionAlarm, ...]:
        """Look at the rows of one request; return each alarm once for a caller.

        Args:
            caller: Whoever is to be told from others, such as a pseudonym of the credential.
            x: Rows, shape (n, ...).
            classes: What the model answered, (n,); without it, probing is not seen.

        Raises:
            InputError: Another number of features, or of classes.
        """
        flat = x.reshape(len(x), -1) if x.size else x.reshape(0, 0)
        if flat.shape[1] != self.profile.width:
            raise InputError(
                f"queries have {flat.shape[1]} features, the profile {self.profile.width}",
                code="extraction.queries",
            )
        if classes is not None and classes.shape != (len(x),):
            raise InputError("classes are not one for each query", code="extraction.queries")
        watch = self._callers.pop(caller, None)
        if watch is None:
            watch = _Watch(self.profile)
            if len(self._callers) >= MAX_CALLERS:
                self._callers.popitem(last=False)
        self._callers[caller] = watch
        watch.queries += len(x)
        if len(x) > MAX_ROWS:
            rows = np.sort(self._rng.choice(len(x), MAX_ROWS, replace=False))
            flat, classes = flat[rows], None if classes is None else classes[rows]
        wide = flat[:, self._chosen].astype(np.float64)
        z = (np.where(np.isfinite(wide), wide, 0.0) - self._mean) / self._scale
        # What is a million deviations away is novel; further, squares would overflow.
        bounded: Floats = np.clip(z, -1e6, 1e6).astype(np.float32)
        return watch.add(bounded, classes)

    def alarmed(self, caller: bytes) -> frozenset[Statistic]:
        """Return the statistics that have alarmed for a caller that is remembered."""
        watch = self._callers.get(caller)
        return frozenset() if watch is None else frozenset(watch.alarmed)


@dataclass(slots=True)
class _Watch:
    """One caller: a ring of queries, and what the last of them looked like."""

    profile: ExtractionProfile
    queries: int = 0
    alarmed: set[Statistic] = field(default_factory=set)
    _scale: Floats = field(init=False)
    _landmarks: Floats = field(init=False)
    _reach: float = field(init=False)
    _ring: Floats = field(init=False)
    _classes: NDArray[np.intp] = field(init=False)
    _count: int = 0
    _regular: deque[bool] = field(default_factory=lambda: deque(maxlen=WINDOW))
    _lengths: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=WINDOW))
    _novel: deque[bool] = field(default_factory=lambda: deque(maxlen=WINDOW))
    _near: deque[int] = field(default_factory=lambda: deque(maxlen=WINDOW))

    def __post_init__(self) -> None:
        width = len(self.profile.chosen)
        self._scale = np.array(self.profile.scale, dtype=np.float32)
        self._reach = (_REACH * self.profile.far) ** 2
        # A view of the profile's own bytes: all callers share them.
        self._landmarks = np.frombuffer(self.profile.landmarks, dtype="<f4").reshape(-1, width)
        self._ring = np.zeros((_HELD, width), dtype=np.float32)
        self._classes = np.full(_HELD, -1, dtype=np.intp)

    def add(self, z: Floats, classes: NDArray[np.intp] | None) -> tuple[ExtractionAlarm, ...]:
        """Look at rows, (n, d) in deviations, one after another."""
        far = np.sqrt(_squares(z, self._landmarks).min(axis=1)) > self.profile.far
        out: list[ExtractionAlarm] = []
        for row in range(len(z)):
            kind = -1 if classes is None else int(classes[row])
            step = self.step(z[row], kind=kind)
            if step is None:  # asked before: a repeated query tells nothing new
                continue
            self.note(step, kind, novel=bool(far[row]))
            out.extend(self._alarms())
        return tuple(out)

    def step(self, row: Floats, *, kind: int = -1) -> _Step | None:
        """Compare with the caller's earlier queries and keep; None where it was asked before."""
        held = min(self._count, _HELD)
        found = _Step(np.inf, np.inf, 0.0, 0.0, wide=False, at=-1)
        if held:
            gaps = np.abs(self._ring[:held] - row)
            squares = np.einsum("ij,ij->i", gaps, gaps)
            at = int(squares.argmin())
            if squares[at] <= _SAME * _SAME * len(row):
                return None
            changed = gaps > _SAME * 10
            counts = np.count_nonzero(changed, axis=1)
            # From an outlier everything looks alike: a longer step than natural is novel itself.
            wide = (counts >= max(2, _WIDE * len(row))) & (squares <= self._reach)
            raw = gaps * self._scale
            # The parent of a long step need not be the nearest: it is where changes are alike.
            even = np.where(wide, gaps.sum(axis=1) ** 2 / np.maximum(counts * squares, 1e-30), 0.0)
            raw_squares = np.einsum("ij,ij->i", raw, raw)
            flat = np.where(
                wide, raw.sum(axis=1) ** 2 / np.maximum(counts * raw_squares, 1e-30), 0.0
            )
            found = _Step(
                distance=float(np.sqrt(squares[at])),
                raw_distance=float(np.sqrt(raw_squares[at])),
                even=float(even.max()),
                raw_even=float(flat.max()),
                wide=bool(wide[at]),
                at=int(self._classes[at]),
            )
        place = self._count % _HELD
        self._ring[place], self._classes[place] = row, kind
        self._count += 1
        return found

    def note(self, step: _Step, kind: int = -1, *, novel: bool = False) -> None:
        """Remember what a query looked like."""
        if not step.distance < self.profile.near:  # many neighbours of one outlier are one outlier
            self._novel.append(novel)
        regular = step.even >= self.profile.regular or step.raw_even >= self.profile.raw_regular
        self._regular.append(regular)
        if step.wide:
            self._lengths.append((step.distance, step.raw_distance))
        if step.distance < self.profile.near and kind >= 0 and step.at >= 0:
            self._near.append(1 if kind != step.at else 0)

    def concentration(self) -> float:
        """Return the largest share of distances that are the same, once the window is full."""
        if len(self._lengths) < WINDOW:
            return 0.0
        return max(_equal(np.array(one)) for one in zip(*self._lengths, strict=True))

    def _alarms(self) -> list[ExtractionAlarm]:
        out = []
        if (steps := sum(self._regular)) >= _STEPS:
            out.append((Statistic.STEPS, float(steps), float(_STEPS)))
        elif self._count % _EVERY == 0 and (share := self.concentration()) >= (
            limit := self.profile.concentrated
        ):
            out.append((Statistic.STEPS, share, limit))
        if (novel := sum(self._novel)) >= _NOVEL:
            out.append((Statistic.NOVELTY, float(novel), float(_NOVEL)))
        if len(self._near) >= _PROBES:
            share = sum(self._near) / len(self._near)
            if share >= _FLIPS:
                out.append((Statistic.PROBING, share, _FLIPS))
        alarms = []
        for statistic, value, threshold in out:
            if statistic not in self.alarmed:
                self.alarmed.add(statistic)
                alarms.append(
                    ExtractionAlarm(
                        statistic=statistic,
                        value=value,
                        threshold=threshold,
                        queries=self.queries,
                    )
                )
        return alarms


def _equal(values: NDArray[np.floating]) -> float:
    """Return the largest share of positive values that lie within 1 % of each other."""
    if len(values) == 0:
        return 0.0
    ordered = np.sort(values)
    last = np.searchsorted(ordered, ordered * (1 + _ALIKE) + 1e-9, side="right")
    return float((last - np.arange(len(ordered))).max() / len(ordered))


def _squares(x: Floats, y: Floats) -> NDArray[np.float64]:
    """Return squared distances, (n, m), not below zero."""
    wide, other = x.astype(np.float64), y.astype(np.float64)
    out = (wide**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2 * wide @ other.T
    found: NDArray[np.float64] = np.maximum(out, 0.0)
    return found

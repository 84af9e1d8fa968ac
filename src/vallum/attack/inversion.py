"""Model inversion: what does a class look like to the model, and does it look like its members?

All classes climb together, one batch a step. With public records the climb is for a likely record
of a class: the model's log-probability plus a share of that of a normal distribution fitted to
them, in their principal axes. Without, it is MIFace: the model's answer alone. Where the model has
no gradient, differences along the axes stand for it.

Source: Fredrikson, Jha, Ristenpart, "Model inversion attacks that exploit confidence information",
CCS 2015, algorithm 1 (MIFace).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vallum.attack.evasion import wilson
from vallum.attack.losses import log_odds, on_probabilities
from vallum.attack.oracle import (
    MAX_BUDGET,
    MIN_BUDGET,
    AnswerKind,
    Known,
    Oracle,
    check_known,
)
from vallum.attack.predictor import Checked, Predictor, Records, Scores
from vallum.attack.rates import Rate, Separation, separation
from vallum.base import GateError, InputError
from vallum.schema import Record

Floats = NDArray[np.float64]
_STEPS = 150
_RATE = 0.15  # of Adam, in deviations along each axis
_AXES = 40
AXES_BLIND = 12  # each costs a query a step and class where there is no gradient
_SHIFT = 0.3  # deviations, of a difference that stands for a gradient
_PRIOR = 0.03
"""Weight of the public records' own distribution. At 1 the climb ends at records as common as
they are sure; at 0 at ones that are sure and like nothing. By eye, on digits."""
_TINY = 1e-12


class InversionReport(Record, frozen=True):
    """How much of a class the model gives away.

    Attributes:
        attack: Its name.
        access: `gradients`, `probabilities` or `logits`.
        classes: Inverted ones.
        public: Records of the same kind were used.
        confidence: Mean probability that the model gives to the class of each made-up record.
        recovered: Share of classes whose made-up record is more like the mean of its own members
            than like that of any other class.
        separation: Members of the class against members of others, by likeness to the record.
        over_others: Members of the class against records of it that the model never saw: above
            0.5 the model gives away its members, not only the class.
        queries: Records that it was asked about.
        gradients: Of them with a gradient.
    """

    attack: str
    access: str
    classes: int
    public: bool
    confidence: float
    recovered: Rate
    separation: Separation
    over_others: Separation
    queries: int
    gradients: int


@dataclass(frozen=True, slots=True)
class Inversion:
    """The report, and a record for each class, (c, ...)."""

    report: InversionReport
    records: Records


def invert_classes(
    model: Predictor,
    data: Known,
    *,
    budget: int,
    seed: int,
    answers: AnswerKind | None = None,
    public: bool = True,
    start: Records | None = None,
    clip: tuple[float, float] | None = None,
) -> Inversion:
    """Make a record for each class that the model takes for it.

    Args:
        model: Victim, with `loss_gradient` or scores.
        data: Half of `others` is public (their classes are not used); members, and the other half,
            are what the records are compared with.
        budget: Queries, those with gradients included.
        seed: Of every random choice.
        answers: What the model is said to answer; found out when not given.
        public: Use the public records, and begin at their mean.
        start: Where the climb begins without them, (...), clipped; the middle of the range when
            not given. The mean of a population is far better, and often known where no record is.
        clip: Least and greatest value of the input; that of the public records when not given.

    Raises:
        InputError: The arguments do not fit.
        GateError: The model cannot be assessed, answers labels, or the budget ends before a step.
    """
    check_known(data)
    if not MIN_BUDGET <= budget <= MAX_BUDGET:
        raise InputError(
            f"`budget` must be from {MIN_BUDGET} to {MAX_BUDGET} queries; got {budget}",
            code="attack.settings",
        )
    if start is not None:
        _check_start(start, data.shape, public=public)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(data.others[0]))
    half = len(order) // 2
    crowd, left = order[:half], order[half:]
    oracle = Oracle(model, budget=budget, answers=answers)
    first = oracle.begin(data.others[0][crowd[:16]])
    if oracle.kind is AnswerKind.LABELS:
        raise GateError(
            "the model answers labels, not scores: they have no slope to climb",
            code="attack.scores",
        )
    checked = Checked(model)
    white = checked.differentiable is not None
    axes = _Axes.of(
        data.others[0][crowd].reshape(half, -1),
        public=public, blind=not white, clip=clip, start=start,
    )  # fmt: skip
    climb = _Climb(oracle, checked, axes, data.shape, first.shape[1])
    records = climb.run(white=white)
    final = oracle.soft(oracle.ask(records))
    rest = data.others[0][left], data.others[1][left]
    kind = "" if oracle.kind is None else oracle.kind.value
    report = _measure(records, data.members, rest, rng)
    return Inversion(
        InversionReport(
            attack="inversion with public records" if public else "MIFace",
            access="gradients" if white else kind,
            classes=len(records),
            public=public,
            confidence=float(final[np.arange(len(records)), np.arange(len(records))].mean()),
            recovered=report[0],
            separation=report[1],
            over_others=report[2],
            queries=oracle.queries + checked.queries,
            gradients=checked.gradients,
        ),
        records,
    )


def _check_start(start: Records, shape: tuple[int, ...], *, public: bool) -> None:
    if public:
        raise InputError(
            "with public records the climb begins at their mean: give `start` without them",
            code="attack.settings",
        )
    if start.shape != shape or not np.isfinite(start).all():
        raise InputError(
            f"`start` must be one finite record of shape {shape}; got {start.shape}",
            code="attack.records",
        )


@dataclass(frozen=True, slots=True)
class _Axes:
    """Coordinates of the climb, (k,): records are middle + coordinates @ rows, clipped."""

    middle: Floats
    rows: Floats
    low: Floats
    high: Floats
    weight: float

    @classmethod
    def of(
        cls,
        flat: Records,
        *,
        public: bool,
        blind: bool,
        clip: tuple[float, float] | None,
        start: Records | None,
    ) -> "_Axes":
        wide = flat.astype(np.float64)
        low, high = wide.min(axis=0), wide.max(axis=0)
        if clip is not None:
            low, high = np.full_like(low, clip[0]), np.full_like(high, clip[1])
        if not public:
            width = np.where(high > low, (high - low) / 4, 0.0)
            middle = (low + high) / 2
            if start is not None:
                middle = np.clip(start.reshape(-1).astype(np.float64), low, high)
            return cls(middle, np.diag(width), low, high, 0.0)
        middle = wide.mean(axis=0)
        spread = np.where(wide.std(axis=0) > 0, wide.std(axis=0), 1.0)
        # In units of each feature: one with large numbers must not be the only axis.
        _, singular, turn = np.linalg.svd((wide - middle) / spread, full_matrices=False)
        kept = min(AXES_BLIND if blind else _AXES, int((singular > _TINY).sum()))
        scale = singular[:kept] / np.sqrt(max(1, len(wide) - 1))
        return cls(middle, scale[:, None] * turn[:kept] * spread, low, high, _PRIOR)

    def records(self, z: Floats, shape: tuple[int, ...]) -> Records:
        """Return records of coordinates, (n, k)."""
        flat = np.clip(self.middle + z @ self.rows, self.low, self.high)
        return flat.astype(np.float32).reshape(len(z), *shape)


class _Climb:
    """All classes' coordinates, and Adam's moments of them."""

    def __init__(
        self, oracle: Oracle, checked: Checked, axes: _Axes, shape: tuple[int, ...], classes: int
    ) -> None:
        self.oracle, self.checked, self.axes, self.shape = oracle, checked, axes, shape
        self.own = np.arange(classes)
        self.z = np.zeros((classes, len(axes.rows)))

    def run(self, *, white: bool) -> Records:
        first, second = np.zeros_like(self.z), np.zeros_like(self.z)
        cost = len(self.own) * (1 if white else 1 + len(self.axes.rows))
        # One question is left for the end.
        room = (self.oracle.room - len(self.own)) // cost
        if room < 1:
            raise GateError(
                f"a step costs {cost} queries; {self.oracle.room} are left", code="attack.budget"
            )
        steps = min(_STEPS, room)
        for step in range(1, steps + 1):
            slope = (self._slope() if white else self._differences()) - self.axes.weight * self.z
            first += 0.1 * (slope - first)
            second += 0.01 * (slope * slope - second)
            size = _RATE * 0.5 * (1 + np.cos(np.pi * (step - 1) / steps))
            right = np.sqrt(second / (1 - 0.99**step)) + 1e-8
            self.z += size * first / (1 - 0.9**step) / right
        return self.axes.records(self.z, self.shape)

    def _slope(self) -> Floats:
        """Return the slope of log p - log(1 - p) of the own class, (c, k)."""
        loss = log_odds(self.own)
        if self.oracle.kind is AnswerKind.PROBABILITIES:
            loss = on_probabilities(loss)
        answer = self.checked.loss_gradient(self.axes.records(self.z, self.shape), loss)
        # log p has this slope times (1 - p): full where the model is unsure, none where it is sure.
        gap = 1 / (1 + np.exp(-np.clip(answer.values, -50, 50)))
        flat = -answer.gradient.reshape(len(self.own), -1).astype(np.float64) * gap[:, None]
        out: Floats = flat @ self.axes.rows.T
        return out

    def _differences(self) -> Floats:
        count = len(self.axes.rows)
        moved = self.z[:, None, :] + _SHIFT * np.concatenate([np.zeros((1, count)), np.eye(count)])
        x = self.axes.records(moved.reshape(-1, count), self.shape)
        soft = self.oracle.soft(self.oracle.ask(x)).reshape(len(self.own), count + 1, -1)
        logs = np.log(np.maximum(soft[self.own, :, self.own], _TINY))
        out: Floats = (logs[:, 1:] - logs[:, :1]) / _SHIFT
        return out


def likeness(records: NDArray[np.floating], x: NDArray[np.floating], middle: Floats) -> Scores:
    """Return cosines of records, (c, ...), and x, (n, ...), as seen from the mean, (n, c)."""
    a, b = (one.reshape(len(one), -1) - middle for one in (x, records))
    a /= np.maximum(np.linalg.norm(a, axis=1, keepdims=True), _TINY)
    b /= np.maximum(np.linalg.norm(b, axis=1, keepdims=True), _TINY)
    out: Scores = a @ b.T
    return out


def _measure(
    records: Records,
    members: tuple[Records, NDArray[np.intp]],
    rest: tuple[Records, NDArray[np.intp]],
    rng: np.random.Generator,
) -> tuple[Rate, Separation, Separation]:
    x, y = members
    classes = len(records)
    if max(y.max(), rest[1].max()) >= classes:
        raise InputError("the data has more classes than the model", code="attack.classes")
    wide = x.reshape(len(x), -1).astype(np.float64)
    # In units of each feature, so that one with large numbers does not decide.
    spread = np.where(wide.std(axis=0) > 0, wide.std(axis=0), 1.0)
    middle = wide.mean(axis=0) / spread
    made, seen, new = (
        one.reshape(len(one), -1).astype(np.float64) / spread for one in (records, x, rest[0])
    )
    there = np.unique(y)
    means = np.stack([seen[y == kind].mean(axis=0) for kind in there])
    nearest = likeness(means, made[there], middle).argmax(axis=1)
    hits = int((nearest == np.arange(len(there))).sum())
    low, high = wilson(hits, len(there))
    alike = likeness(made, seen, middle)
    wrong = (y + rng.integers(1, classes, size=len(y))) % classes
    at = np.arange(len(y))
    other = likeness(made, new, middle)[np.arange(len(new)), rest[1]]
    return (
        Rate(value=hits / len(there), low=low, high=high),
        separation(alike[at, y], alike[at, wrong]),
        separation(alike[at, y], other),
    )

"""Privacy attacks as a suite makes them: who was in the training data, and what it looked like."""

import numpy as np

from vallum.attack.attribute import infer_attribute
from vallum.attack.inversion import AXES_BLIND, Inversion, invert_classes
from vallum.attack.lira import likelihood_ratio
from vallum.attack.membership import (
    MembershipReport,
    calibrated,
    label_only,
    loss_threshold,
    population,
)
from vallum.attack.oracle import MIN_BUDGET, Classes, Known
from vallum.attack.predictor import Predictor, Records
from vallum.attack.rates import Separation
from vallum.attack.suite.bench import BUDGET, Bench, Effort, Measured
from vallum.attack.suite.subject import Subject, class_count
from vallum.attack.surrogate import fit_network
from vallum.base import GateError, InputError

MAX_KNOWN = 0.5
"""Share of held-out records that may occur among the members: coarse tables repeat themselves."""
_HIDDEN = 32  # of a shadow model
_COPIES = 13  # queries a record of membership by labels
_STEPS = 3  # of a climb to a class, for each step along gradients of the suite
_MIN_VALUES, _MAX_VALUES = 2, 8  # of a column that is guessed
_GUESSED = 5  # records whose column is guessed, for each that is attacked
_ONCE = 100  # queries to begin with


def loss_queries(subject: Subject, effort: Effort) -> int:  # noqa: ARG001 - of one shape
    """Return how much membership by the loss asks: everything, three times."""
    return 3 * (_members(subject) + len(subject.x))


def few_calls(subject: Subject, effort: Effort) -> int:  # noqa: ARG001
    """Return in how many batches attacks ask that ask about each record once."""
    return 4


def loss(bench: Bench) -> Measured:
    """Tell members from others by their loss."""
    data = _known(bench)
    return _told(loss_threshold(bench.model, data.members, data.others))


def once_queries(subject: Subject, effort: Effort) -> int:  # noqa: ARG001
    """Return how much membership asks that asks about each record once."""
    return 2 * max(_members(subject), len(subject.x)) + _ONCE


def crowd(bench: Bench) -> Measured:
    """Tell members by their rank among records that the model never saw."""
    budget = once_queries(bench.subject, bench.effort)
    return _told(population(bench.model, _known(bench), budget=budget, seed=_seed(bench)))


def references(bench: Bench) -> Measured:
    """Tell members by how much better they fit than on other models."""
    budget = once_queries(bench.subject, bench.effort)
    found = calibrated(
        bench.model, _known(bench), train=_Trainer(bench), budget=budget, seed=_seed(bench)
    )
    return _told(found)


def references_s(subject: Subject, effort: Effort) -> float:  # noqa: ARG001
    """Return how long training four reference models takes, seconds."""
    return 4 * _training_s(subject)


def shadows(bench: Bench) -> Measured:
    """Tell members by the ratio of likelihoods under shadow models with and without them."""
    found = likelihood_ratio(
        bench.model, _known(bench), train=_Trainer(bench), seed=_seed(bench),
        budget=once_queries(bench.subject, bench.effort), shadows=bench.effort.shadows,
    )  # fmt: skip
    return _told(found)


def shadows_s(subject: Subject, effort: Effort) -> float:
    """Return how long training the shadow models takes, seconds."""
    return effort.shadows * _training_s(subject)


def label_queries(subject: Subject, effort: Effort) -> int:
    """Return how much membership by labels asks."""
    wanted = _COPIES * (_members(subject) + len(subject.x))
    return max(_COPIES * 20, min(wanted, effort.tries * 60))


def label_calls(subject: Subject, effort: Effort) -> int:  # noqa: ARG001
    """Return in how many batches."""
    return 2 * _COPIES + 4


def labels(bench: Bench) -> Measured:
    """Tell members by how much noise their class survives."""
    budget = label_queries(bench.subject, bench.effort)
    return _told(label_only(bench.model, _known(bench), budget=budget, seed=_seed(bench)))


def climb_queries(subject: Subject, effort: Effort) -> int:
    """Return how much inversion asks: a difference along each axis where there is no gradient."""
    classes = class_count(subject)
    return _ONCE + classes * (2 + _STEPS * effort.steps * (1 + AXES_BLIND))


def climb_calls(subject: Subject, effort: Effort) -> int:  # noqa: ARG001
    """Return in how many batches."""
    return _STEPS * effort.steps + 4


def invert(bench: Bench) -> Measured:
    """Make a record for each class, from records like the training data."""
    return _inverted(bench, public=True)


def invert_blind(bench: Bench) -> Measured:
    """Make a record for each class from nothing."""
    return _inverted(bench, public=False)


def guessable(subject: Subject, effort: Effort) -> tuple[tuple[int, int], ...]:
    """Return columns that attribute inference guesses, and how many values each has.

    Those of few values, the fewest first, that are no part of a one-hot group: a value there
    cannot change alone.
    """
    if subject.form != "table" or subject.train is None:
        return ()
    grouped = {at for group in subject.space.groups for at in group}
    both = np.concatenate([subject.x, subject.train[0]])
    counts = [(len(np.unique(both[:, at])), at) for at in range(both.shape[1])]
    fit = [(at, count) for count, at in sorted(counts)
           if _MIN_VALUES <= count <= _MAX_VALUES and at not in grouped]  # fmt: skip
    return tuple(fit[: effort.columns])


def guess_queries(subject: Subject, effort: Effort) -> int:
    """Return how much attribute inference asks."""
    return sum(_guess_budget(effort, count) for _, count in guessable(subject, effort))


def guess_calls(subject: Subject, effort: Effort) -> int:
    """Return in how many batches."""
    return 5 * max(1, len(guessable(subject, effort)))


def guess_s(subject: Subject, effort: Effort) -> float:
    """Return how long training guesses without the model takes, seconds."""
    return _training_s(subject) * max(1, len(guessable(subject, effort)))


def guess(bench: Bench) -> Measured:
    """Guess a column of training records and of others; the worst column counts."""
    data = _known(bench)
    worst: Measured | None = None
    more: dict[str, float] = {}
    for column, values in guessable(bench.subject, bench.effort):
        found = infer_attribute(
            bench.model, data, column=column, budget=_guess_budget(bench.effort, values),
            seed=_seed(bench),
        )  # fmt: skip
        more[f"`{bench.subject.names[column][:40]}`"] = found.over_others.auc
        made = _separated(found.over_others, answers=found.answers)
        if worst is None or made.rate > worst.rate:
            worst = made
    if worst is None:
        raise InputError("no column has few values", code="attack.column")
    worst.more.update(more)
    return worst


def no_column(subject: Subject, effort: Effort) -> str:
    """Say why there is nothing to guess; nothing where there is."""
    if subject.train is not None and not guessable(subject, effort):
        return f"no column has {_MIN_VALUES} to {_MAX_VALUES} values"
    return ""


def _guess_budget(effort: Effort, values: int) -> int:
    return max(MIN_BUDGET, 2 * values * _GUESSED * effort.records + _ONCE)


def _inverted(bench: Bench, *, public: bool) -> Measured:
    space = bench.subject.space
    clip = None
    if bench.subject.form == "array":
        clip = float(space.low[0]), float(space.high[0])
    made: Inversion = invert_classes(
        bench.model, _known(bench), budget=climb_queries(bench.subject, bench.effort),
        seed=_seed(bench), public=public, clip=clip,
    )  # fmt: skip
    found = made.report
    more = {
        "classes whose record is like their own": found.recovered.value,
        "the model's confidence in them": found.confidence,
        "members against other classes": found.separation.auc,
    }
    return _separated(found.over_others, answers=found.access, more=more)


def _separated(
    found: Separation, *, answers: str, more: dict[str, float] | None = None
) -> Measured:
    return Measured(
        rate=found.auc, low=found.auc_low, high=found.auc_high,
        records=found.positives + found.negatives, answers=answers, more=more or {},
    )  # fmt: skip


def _told(found: MembershipReport) -> Measured:
    more = {
        "true positives at 1 % false ones": found.tpr_at_1fpr,
        "at least": found.tpr_interval[0],
        "at most": found.tpr_interval[1],
        "advantage": found.advantage,
    }
    if (rare := found.tpr_at_01fpr) is not None:  # 10,000 others or more
        more["true positives at 0.1 % false ones"] = rare.value
        more["at least, at 0.1 %"], more["at most, at 0.1 %"] = rare.low, rare.high
    return Measured(
        rate=found.auc, low=found.auc_low, high=found.auc_high,
        records=found.members + found.others, answers=found.answers, more=more,
    )  # fmt: skip


class _Trainer:
    """Trains a shadow model: not the victim's kind, which nobody tells, but one that fits."""

    def __init__(self, bench: Bench) -> None:
        self._late = bench.late
        self._classes = class_count(bench.subject)

    def __call__(self, x: Records, y: Classes, rng: np.random.Generator) -> Predictor:
        if self._late():
            raise GateError("the budget ran out", code=BUDGET)
        count = max(self._classes, int(y.max()) + 1)
        return fit_network(x, np.eye(count)[y], hidden=_HIDDEN, rng=rng)


def _known(bench: Bench) -> Known:
    """Return members and others.

    Raises:
        InputError: There is no training data, or the others are in it.
    """
    train = bench.subject.train
    if train is None or bench.train_y is None:
        raise InputError("membership needs the training data", code="attack.train")
    seen = {row.tobytes() for row in train[0]}
    known = sum(row.tobytes() in seen for row in bench.subject.x)
    if known > MAX_KNOWN * len(bench.subject.x):
        raise InputError(
            f"{known} of {len(bench.subject.x)} records that the model should not know are in the"
            " training data",
            code="attack.overlap",
        )
    return Known((train[0], bench.train_y), (bench.subject.x, bench.y))


def _members(subject: Subject) -> int:
    return 0 if subject.train is None else len(subject.train[0])


def _training_s(subject: Subject) -> float:
    return 0.2 * (1 + int(subject.x[0].size) / 500)


def _seed(bench: Bench) -> int:
    return int(bench.rng.integers(2**31))

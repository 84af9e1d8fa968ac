"""Membership inference: members are fitted better than others.

By the loss alone, by its rank among a population, against reference models, and by labels alone.
`lira` holds the strongest, with shadow models. Reported as AUC with an interval and as the
true-positive rate at a low false-positive rate, never as accuracy alone (Carlini et al. 2022).

Sources: Yeom, Giacomelli, Fredrikson, Jha, CSF 2018 (threshold); Ye, Maddi, Murakonda,
Bindschaedler, Shokri, "Enhanced membership inference attacks", CCS 2022 (population); Watson, Guo,
Cormode, Sablayrolles, "On the importance of difficulty calibration", ICLR 2022 (calibrated);
Choquette-Choo, Tramèr, Carlini, Papernot, "Label-only membership inference attacks", ICML 2021.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from vallum.attack.oracle import AnswerKind, Classes, Known, Oracle, as_probabilities, check_known
from vallum.attack.predictor import MIN_RECORDS, Checked, Predictor, Records, Scores
from vallum.attack.rates import Rate, separation
from vallum.attack.surrogate import units
from vallum.base import GateError, InputError
from vallum.schema import Record

Trainer = Callable[[Records, Classes, np.random.Generator], Predictor]
"""Trains a model like the victim on records and classes, with its randomness from a generator."""
_SMALLEST = 1e-12
_NOISE = (0.25, 0.5, 1.0)  # deviations, from which label-only attacks take turns


class MembershipReport(Record, frozen=True):
    """How well membership in the training data shows.

    Attributes:
        attack: Its name.
        members: Training records used.
        others: Records that the model never saw.
        auc: 0.5 is guessing; `auc_low` and `auc_high` are its 95 % interval.
        tpr_at_1fpr: Members found when 1 % of others are accused.
        advantage: Largest difference of true- and false-positive rate.
        tpr_interval: 95 % interval of `tpr_at_1fpr`.
        tpr_at_01fpr: The same at 0.1 %; None with fewer than 10,000 others.
        answers: What the model was asked for: `logits`, `probabilities` or `labels`.
        queries: Records that it was asked about.
        shadows: Models that were trained for the attack.
    """

    attack: str
    members: int
    others: int
    auc: float
    auc_low: float
    auc_high: float
    tpr_at_1fpr: float
    advantage: float
    tpr_interval: tuple[float, float] = (0.0, 1.0)
    tpr_at_01fpr: Rate | None = None
    answers: str = ""
    queries: int = 0
    shadows: int = 0


def membership_report(
    attack: str,
    inside: NDArray[np.float64],
    outside: NDArray[np.float64],
    *,
    kind: AnswerKind | None,
    queries: int,
    shadows: int = 0,
) -> MembershipReport:
    """Report scores of members, (n,), and of others, (m,); a larger one speaks for a member."""
    found = separation(inside, outside)
    return MembershipReport(
        attack=attack,
        members=found.positives,
        others=found.negatives,
        auc=found.auc,
        auc_low=found.auc_low,
        auc_high=found.auc_high,
        tpr_at_1fpr=found.tpr_at_1fpr.value,
        advantage=found.advantage,
        tpr_interval=(found.tpr_at_1fpr.low, found.tpr_at_1fpr.high),
        tpr_at_01fpr=found.tpr_at_01fpr,
        answers="" if kind is None else kind.value,
        queries=queries,
        shadows=shadows,
    )


def loss_threshold(
    model: Predictor,
    members: tuple[Records, NDArray[np.intp]],
    others: tuple[Records, NDArray[np.intp]],
) -> MembershipReport:
    """Tell members from others by their cross-entropy loss.

    Args:
        model: Victim; its scores are probabilities, or are turned into some by softmax.
        members: Training records (n, d) and classes (n,), n >= 10.
        others: Records never trained on.

    Raises:
        InputError: Fewer than 10 records on a side.
        GateError: The model cannot be assessed.
    """
    if min(len(members[0]), len(others[0])) < MIN_RECORDS:
        raise InputError(
            f"membership needs at least {MIN_RECORDS} records on a side", code="attack.records"
        )
    victim = Checked(model)
    victim.probe(np.concatenate([members[0], others[0]]))
    inside, outside = _losses(victim, *members), _losses(victim, *others)
    return membership_report("loss threshold", -inside, -outside, kind=None, queries=victim.queries)


def population(
    model: Predictor,
    data: Known,
    *,
    budget: int,
    seed: int,
    answers: AnswerKind | None = None,
) -> MembershipReport:
    """Tell members by how few records of the population and of their class fit as well.

    Args:
        model: Victim; answers logits or probabilities.
        data: Half of `others` is the population, the other half is to be told from members.
        budget: Queries; with fewer than records, so many are drawn on each side.
        seed: Of every random choice.
        answers: What the model is said to answer; found out when not given.

    Raises:
        InputError: The arguments do not fit.
        GateError: The model cannot be assessed, or answers labels.
    """
    rng = np.random.default_rng(seed)
    oracle, members, others = begin_membership(
        model, data, budget=budget, rng=rng, answers=answers, held=3
    )
    inside, outside = (_losses_of(oracle, x, y) for x, y in (members, others))
    half = len(outside) // 2
    crowd, left = outside[:half], outside[half:]
    crowd_classes, left_classes = others[1][:half], others[1][half:]

    def ranks(losses: NDArray[np.float64], y: Classes) -> NDArray[np.float64]:
        out = np.empty(len(losses))
        for kind in np.unique(y):
            same = np.sort(crowd[crowd_classes == kind])
            same = same if len(same) >= MIN_RECORDS else np.sort(crowd)
            at = y == kind
            # Beyond every record of the population ranks tie: there the loss itself decides.
            worse = (len(same) - np.searchsorted(same, losses[at])) / len(same)
            out[at] = worse + 1e-3 / (1 + losses[at]) / len(same)
        return out

    return membership_report(
        "population",
        ranks(inside, members[1]),
        ranks(left, left_classes),
        kind=oracle.kind,
        queries=oracle.queries,
    )


def calibrated(
    model: Predictor,
    data: Known,
    *,
    train: Trainer,
    budget: int,
    seed: int,
    references: int = 4,
    answers: AnswerKind | None = None,
) -> MembershipReport:
    """Tell members by how much better they fit than on models that never saw them.

    Args:
        model: Victim; answers logits or probabilities.
        data: Half of `others` trains the reference models, the other half is to be told.
        train: Trains a model like the victim.
        budget: Queries; see `population`.
        seed: Of every random choice.
        references: Models to train, 1 to 64.
        answers: What the model is said to answer; found out when not given.

    Raises:
        InputError: The arguments do not fit.
        GateError: The model cannot be assessed, answers labels, or `train` fails.
    """
    check_shadows("references", references, low=1, high=64)
    rng = np.random.default_rng(seed)
    oracle, members, others = begin_membership(
        model, data, budget=budget, rng=rng, answers=answers, held=1
    )
    half = len(others[0]) // 2
    own, left = (others[0][:half], others[1][:half]), (others[0][half:], others[1][half:])
    usual = [np.zeros(len(members[0])), np.zeros(len(left[0]))]
    for _ in range(references):
        drawn = rng.integers(half, size=half)
        shadow = Checked(trained(train, own[0][drawn], own[1][drawn], rng))
        for at, (x, y) in enumerate((members, left)):
            usual[at] += _losses(shadow, x, y) / references
    scores = [
        mean - _losses_of(oracle, x, y) for mean, (x, y) in zip(usual, (members, left), strict=True)
    ]
    return membership_report(
        "calibrated", *scores, kind=oracle.kind, queries=oracle.queries, shadows=references
    )


def label_only(model: Predictor, data: Known, *, budget: int, seed: int) -> MembershipReport:
    """Tell members by how much noise their class survives; of any answer only the label is used.

    Args:
        model: Victim.
        data: Members and others, at least 10 each.
        budget: Queries. Each record costs one and its share of noisy copies; with little budget
            fewer records are looked at, never with fewer than five copies each.
        seed: Of every random choice.

    Raises:
        InputError: The arguments do not fit.
        GateError: The model cannot be assessed.
    """
    check_known(data)
    rng = np.random.default_rng(seed)
    oracle = Oracle(model, budget=budget)
    total = min(len(data.members[0]) + len(data.others[0]), budget // 6)
    each = total // 2
    if each < MIN_RECORDS:
        raise InputError(
            f"label-only membership needs a budget of at least {12 * MIN_RECORDS} queries",
            code="attack.settings",
        )
    sides = [_drawn(x, y, each, rng) for x, y in (data.members, data.others)]
    first = oracle.begin(np.concatenate([x for x, _ in sides]))
    if len(np.unique(first.argmax(axis=1))) < 2:  # noqa: PLR2004
        raise GateError("the model predicts one class for everything", code="attack.constant")
    copies = oracle.room // sum(len(x) for x, _ in sides)
    spread = units(data.others[0])[1].reshape(data.shape)
    right = np.split(first.argmax(axis=1), [len(sides[0][0])])
    scores = [(found == y).astype(np.float64) for found, (_, y) in zip(right, sides, strict=True)]
    for copy in range(copies):
        size = np.float32(_NOISE[copy % len(_NOISE)]) * spread
        for at, (x, y) in enumerate(sides):
            noise = rng.standard_normal(x.shape, dtype=np.float32)
            found = oracle.ask(x + size * noise).argmax(axis=1)
            scores[at] += (found == y) * (scores[at] > 0) / (copies + 1)
    return membership_report("label only", *scores, kind=AnswerKind.LABELS, queries=oracle.queries)


def begin_membership(
    model: Predictor,
    data: Known,
    *,
    budget: int,
    rng: np.random.Generator,
    answers: AnswerKind | None,
    held: int,
) -> tuple[Oracle, tuple[Records, Classes], tuple[Records, Classes]]:
    """Check everything, draw as many records as the budget allows, and probe the model.

    Raises:
        InputError: The arguments do not fit.
        GateError: The model cannot be assessed, or answers labels: those would hide membership.
    """
    check_known(data)
    oracle = Oracle(model, budget=budget, answers=answers)
    each = max(2 * MIN_RECORDS, (budget - 3 * MIN_RECORDS) // 2)
    members, others = (_drawn(x, y, each, rng) for x, y in (data.members, data.others))
    if len(others[0]) < (1 + (held > 0)) * MIN_RECORDS:
        raise InputError(
            f"the attack needs at least {2 * MIN_RECORDS} records that the model never saw",
            code="attack.records",
        )
    some = np.concatenate([members[0][:MIN_RECORDS], others[0][:MIN_RECORDS]])
    oracle.begin(some)
    if oracle.kind is AnswerKind.LABELS:
        raise GateError(
            "the model answers labels, not scores",
            code="attack.scores",
            hint="use the label-only attack",
        )
    return oracle, members, others


def trained(train: Trainer, x: Records, y: Classes, rng: np.random.Generator) -> Predictor:
    """Train a shadow model.

    Raises:
        GateError: It fails: that says nothing about the victim.
    """
    try:
        return train(x, y, rng)
    except (GateError, InputError):
        raise
    except Exception as error:  # a trainer is anybody's code
        raise GateError("a shadow model could not be trained", code="attack.shadow") from error


def check_shadows(name: str, value: int, *, low: int, high: int) -> None:
    """Refuse a number of models that is out of range.

    Raises:
        InputError: It is.
    """
    if not low <= value <= high:
        raise InputError(
            f"`{name}` must be from {low} to {high}; got {value}", code="attack.settings"
        )


def _drawn(x: Records, y: Classes, count: int, rng: np.random.Generator) -> tuple[Records, Classes]:
    chosen = rng.permutation(len(x))[:count]
    return x[chosen], y[chosen]


def own_probability(scores: Scores, y: Classes, kind: AnswerKind | None) -> NDArray[np.float64]:
    """Return what the model gives to each record's own class, (n,).

    Raises:
        InputError: A class that the model does not have.
    """
    if y.max() >= scores.shape[1]:
        raise InputError("the data has more classes than the model", code="attack.classes")
    found: NDArray[np.float64] = as_probabilities(scores, kind)[np.arange(len(y)), y]
    return found


def _losses_of(oracle: Oracle, x: Records, y: Classes) -> NDArray[np.float64]:
    own = own_probability(oracle.ask(x), y, oracle.kind)
    return -np.log(np.maximum(own, _SMALLEST))


def _losses(victim: Checked, x: Records, y: NDArray[np.intp]) -> NDArray[np.float64]:
    scores = victim.predict(x)
    sums = scores.sum(axis=1, keepdims=True)
    logits = (scores < 0).any() or not np.allclose(sums, 1.0, atol=1e-3)
    kind = AnswerKind.LOGITS if logits else AnswerKind.PROBABILITIES
    return -np.log(np.maximum(own_probability(scores, y, kind), _SMALLEST))

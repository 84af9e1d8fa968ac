"""Attribute inference: a feature that is not known, from the others, the class and the model.

The model is asked about the record with each value that the feature may have. A value under which
the model is surer of the record's true class is more likely. What counts is the difference to
records that the model never saw, and to a guess without the model: the rest is correlation.

Sources: Fredrikson, Jha, Ristenpart, "Model inversion attacks that exploit confidence information",
CCS 2015, section 4; Yeom, Giacomelli, Fredrikson, Jha, CSF 2018 (advantage over non-members).
"""

import numpy as np
from numpy.typing import NDArray

from vallum.attack.membership import own_probability
from vallum.attack.oracle import AnswerKind, Classes, Known, Oracle, check_known
from vallum.attack.predictor import MIN_RECORDS, Predictor, Records, Scores
from vallum.attack.rates import Separation, separation
from vallum.attack.surrogate import fit_network
from vallum.base import InputError
from vallum.schema import Record

MAX_VALUES = 32
_DOUBT = 1e-3  # a label may be wrong: no value is ruled out by one


class AttributeReport(Record, frozen=True):
    """How well a feature can be guessed, by value: true values against wrong ones.

    Attributes:
        attack: Its name.
        column: Of the feature, in the flattened record.
        values: Different ones that it has.
        members: Guessed of training records with the model.
        others: Guessed of records that the model never saw: what is learned about anybody.
        baseline: Guessed of training records without the model, from the others' features and
            classes.
        over_others: What the true value gets of training records, against what it gets of others:
            above 0.5 the model tells more of its own.
        leaks: The interval of `members` lies above those of both others and baseline.
        answers: What the model was asked for.
        queries: Records that it was asked about.
    """

    attack: str
    column: int
    values: int
    members: Separation
    others: Separation
    baseline: Separation
    over_others: Separation
    leaks: bool
    answers: str
    queries: int


def infer_attribute(
    model: Predictor,
    data: Known,
    *,
    column: int,
    budget: int,
    seed: int,
    answers: AnswerKind | None = None,
) -> AttributeReport:
    """Guess one feature of members and of others.

    Args:
        model: Victim; with labels less is learned, and said to be.
        data: Members and others. Half of `others` tells how common each value is and trains the
            baseline; the other half is guessed.
        column: Of the feature in the flattened record, with 2 to 32 values.
        budget: Queries; each record costs one for each value. With fewer, records are drawn.
        seed: Of every random choice.
        answers: What the model is said to answer; found out when not given.

    Raises:
        InputError: The arguments do not fit, or the feature has too many values, or one.
        GateError: The model cannot be assessed.
    """
    check_known(data)
    width = int(np.prod(data.shape))
    if not 0 <= column < width:
        raise InputError(
            f"`column` must be from 0 to {width - 1}; got {column}", code="attack.settings"
        )
    pooled = np.concatenate([x.reshape(len(x), -1)[:, column] for x, _ in _sides(data)])
    values = np.unique(pooled)
    if not 2 <= len(values) <= MAX_VALUES:  # noqa: PLR2004
        raise InputError(
            f"the feature has {len(values)} values; 2 to {MAX_VALUES} can be guessed",
            code="attack.column",
            hint="group its values first",
        )
    rng = np.random.default_rng(seed)
    oracle = Oracle(model, budget=budget, answers=answers)
    order = rng.permutation(len(data.others[0]))
    half = len(order) // 2
    each = min(
        len(data.members[0]), len(order) - half, (budget - 2 * MIN_RECORDS) // (2 * len(values))
    )
    if each < MIN_RECORDS:
        raise InputError(
            f"{MIN_RECORDS} records on a side and {len(values)} values need a budget of"
            f" {2 * MIN_RECORDS * (len(values) + 1)} queries",
            code="attack.settings",
        )
    oracle.begin(data.others[0][order[:MIN_RECORDS]])
    public = data.others[0][order[:half]], data.others[1][order[:half]]
    known = _places(public[0], column, values)
    prior = (np.bincount(known, minlength=len(values)) + 1) / (half + len(values))
    chosen = rng.permutation(len(data.members[0]))[:each], order[half : half + each]
    found, given = [], []
    for (x, y), rows in zip(_sides(data), chosen, strict=True):
        posterior = _posterior(oracle, x[rows], y[rows], column=column, values=values, prior=prior)
        truth = _places(x[rows], column, values)
        found.append(_told(posterior, truth, rng))
        given.append(posterior[np.arange(len(truth)), truth])
    x, y = data.members[0][chosen[0]], data.members[1][chosen[0]]
    blind = fit_network(
        _without(*public, column, data.classes), np.eye(len(values))[known], hidden=32, rng=rng
    )
    guess = blind.predict(_without(x, y, column, data.classes))
    guess -= guess.max(axis=1, keepdims=True)
    guess = np.exp(guess) / np.exp(guess).sum(axis=1, keepdims=True)
    baseline = _told(guess, _places(x, column, values), rng)
    return AttributeReport(
        attack="attribute inference",
        column=column,
        values=len(values),
        members=found[0],
        others=found[1],
        baseline=baseline,
        over_others=separation(*given),
        leaks=found[0].auc_low > max(found[1].auc_high, baseline.auc_high),
        answers="" if oracle.kind is None else oracle.kind.value,
        queries=oracle.queries,
    )


def _sides(data: Known) -> tuple[tuple[Records, Classes], tuple[Records, Classes]]:
    return data.members, data.others


def _places(x: Records, column: int, values: Records) -> Classes:
    found: Classes = np.searchsorted(values, x.reshape(len(x), -1)[:, column]).astype(np.intp)
    return found


def _posterior(
    oracle: Oracle,
    x: Records,
    y: Classes,
    *,
    column: int,
    values: Records,
    prior: NDArray[np.float64],
) -> Scores:
    """Return how likely each value is for each record, (n, v)."""
    flat = np.repeat(x.reshape(len(x), -1), len(values), axis=0)
    flat[:, column] = np.tile(values, len(x))
    scores = oracle.ask(flat.reshape(-1, *x.shape[1:]))
    own = own_probability(scores, np.repeat(y, len(values)), oracle.kind)
    likely = (own + _DOUBT).reshape(len(x), len(values)) * prior
    out: Scores = likely / likely.sum(axis=1, keepdims=True)
    return out


def _told(posterior: Scores, truth: Classes, rng: np.random.Generator) -> Separation:
    """Compare what the true value gets with what one wrong value of each record gets."""
    at, values = np.arange(len(truth)), posterior.shape[1]
    wrong = (truth + rng.integers(1, values, size=len(truth))) % values
    return separation(posterior[at, truth], posterior[at, wrong])


def _without(x: Records, y: Classes, column: int, classes: int) -> Records:
    rest = np.delete(x.reshape(len(x), -1), column, axis=1)
    return np.concatenate([rest, np.eye(classes, dtype=np.float32)[y]], axis=1)

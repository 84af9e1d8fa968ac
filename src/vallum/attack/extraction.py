"""Model extraction by learning: a surrogate is trained on the victim's answers.

Three ways to choose the questions; each ends in a curve of fidelity, the share of held-out records
on which the stolen model answers the victim's class, against queries. `equation` and `treepath`
hold the ones that compute instead of learning.

Sources: Orekondy, Schiele, Fritz, "Knockoff nets", CVPR 2019; Correia-Silva, Berriel, Badue, de
Souza, Oliveira-Santos, "Copycat CNN", IJCNN 2018; Papernot, McDaniel, Goodfellow, Jha, Celik,
Swami, "Practical black-box attacks against machine learning", AsiaCCS 2017 (Jacobian augmentation,
with the alternating sign and the reservoir of its section 4.3.3); Tramèr, Zhang, Juels, Reiter,
Ristenpart, "Stealing machine learning models via prediction APIs", USENIX Security 2016, section
4.1.2 (adaptive retraining: questions near the surrogate's own boundary).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from vallum.attack.evasion import wilson
from vallum.attack.losses import difference
from vallum.attack.oracle import AnswerKind, Classes, Known, Oracle, as_probabilities, check_known
from vallum.attack.predictor import MIN_RECORDS, Predictor, Records, Scores
from vallum.attack.surrogate import Surrogate, fit_logits, fit_network, units
from vallum.base import GateError
from vallum.schema import Record

WANTED = 0.95
"""Fidelity at which a model counts as stolen."""
_HIDDEN = 96
_MAX_HOLDOUT = 2000
_SHARES = (0.0625, 0.125, 0.25, 0.5, 1.0)
_SEEDS = 120  # of Jacobian augmentation: Papernot and others begin with 100 to 150
_TURN = 3  # rounds after which the direction changes
_CANDIDATES = 3
_LENGTHS = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)  # of a walk that looks for the boundary, in steps
_BETWEEN = tuple(round(0.1 * at, 1) for at in range(1, 10))


class FidelityPoint(Record, frozen=True):
    """Agreement of the stolen model with the victim after so many queries, 95 % Wilson."""

    queries: int
    fidelity: float
    low: float
    high: float


class ExtractionReport(Record, frozen=True):
    """How well a model can be stolen.

    Attributes:
        attack: Its name.
        answers: What the thief was given: `logits`, `probabilities` or `labels`.
        deterministic: The model answers the same question in the same way.
        classes: Of the model.
        budget: Queries allowed, those that measure included.
        queries: Of the thief.
        measured: Held-out records on which fidelity is measured; one query each, on top.
        fidelity: Of the last point of the curve, with its interval.
        baseline: What a thief without a query gets: the share of the victim's commonest class.
        queries_to_95: First point of the curve with a fidelity of 0.95; None if there is none.
        accuracy: Of the victim on the held-out records.
        stolen_accuracy: Of the stolen model on them.
        exact: Parameters were computed and confirmed on queries that were not used for it.
        complete: The attack came to its own end. Without it a low fidelity says nothing.
        curve: Fidelity against queries.
    """

    attack: str
    answers: str
    deterministic: bool
    classes: int
    budget: int
    queries: int
    measured: int
    fidelity: float
    fidelity_low: float
    fidelity_high: float
    baseline: float
    queries_to_95: int | None
    accuracy: float
    stolen_accuracy: float
    exact: bool
    complete: bool
    curve: tuple[FidelityPoint, ...]


@dataclass(frozen=True, slots=True)
class Extraction:
    """The report, and the stolen model."""

    report: ExtractionReport
    stolen: Predictor


@dataclass(slots=True)
class Campaign:
    """One theft: the thief's records, what was answered, and the curve so far.

    The thief owns one half of `others`; the model is compared on the rest, which he never sees.
    """

    oracle: Oracle
    budget: int
    rng: np.random.Generator
    pool: Records
    held: Records
    truth: Classes
    victim: Classes
    limit: int
    asked: list[Records] = field(default_factory=list)
    answers: list[Scores] = field(default_factory=list)
    curve: list[FidelityPoint] = field(default_factory=list)

    @classmethod
    def open(
        cls, model: Predictor, data: Known, *, budget: int, seed: int, answers: AnswerKind | None
    ) -> "Campaign":
        """Check everything, ask about the held-out records, and look at what is answered.

        Raises:
            InputError: Records or budget do not fit.
            GateError: The model cannot be assessed.
        """
        check_known(data)
        rng = np.random.default_rng(seed)
        oracle = Oracle(model, budget=budget, answers=answers)
        x, y = data.others
        order = rng.permutation(len(x))
        half = len(x) // 2
        held = order[half:][: max(MIN_RECORDS, min(_MAX_HOLDOUT, budget // 5))]
        seen = oracle.begin(x[held])
        victim = seen.argmax(axis=1)
        if len(np.unique(victim)) < 2:  # noqa: PLR2004
            raise GateError("the model predicts one class for everything", code="attack.constant")
        return cls(
            oracle=oracle,
            budget=budget,
            rng=rng,
            pool=x[order[:half]],
            held=x[held],
            truth=y[held],
            victim=victim,
            limit=oracle.room,
        )

    @property
    def spent(self) -> int:
        """Return the thief's queries so far."""
        return sum(len(one) for one in self.asked)

    @property
    def checkpoints(self) -> list[int]:
        """Return the numbers of queries at which fidelity is measured."""
        return sorted({max(MIN_RECORDS, int(share * self.limit)) for share in _SHARES})

    def ask(self, x: Records) -> Scores:
        """Ask the victim, as far as the budget goes, and remember."""
        x = x[: max(0, self.limit - self.spent)]
        if len(x) == 0:
            return np.empty((0, self.oracle.classes))
        got = self.oracle.ask(x)
        self.asked.append(x)
        self.answers.append(got)
        return got

    def targets(self, *, labels: bool = False) -> tuple[Records, Scores]:
        """Return all that was asked, and the answers as probabilities or as labels."""
        x, scores = np.concatenate(self.asked), np.concatenate(self.answers)
        if labels:
            return x, np.eye(scores.shape[1])[scores.argmax(axis=1)]
        return x, as_probabilities(scores, self.oracle.kind)

    def learn(self, *, labels: bool = False) -> Surrogate:
        """Train on all that was answered; which model suits is seen on a fifth of it."""
        x, wanted = self.targets(labels=labels)
        if len(np.unique(wanted.argmax(axis=1))) < 2:  # noqa: PLR2004
            raise GateError(
                "the model answers one class to every query of the thief", code="attack.constant"
            )
        makers: list[Callable[[Records, Scores], Surrogate]] = [
            lambda x, p: fit_network(x, p, hidden=_HIDDEN, rng=self.rng),
            lambda x, p: fit_network(x, p, hidden=0, rng=self.rng, rate=3e-2),
        ]
        if not labels and self.oracle.kind is not AnswerKind.LABELS:
            makers.append(fit_logits)
        order = self.rng.permutation(len(x))
        seen, kept = order[len(x) // 5 :], order[: len(x) // 5]
        right = [
            agreement(make(x[seen], wanted[seen]), x[kept], wanted[kept].argmax(axis=1))
            for make in makers
        ]
        return makers[int(np.argmax(right))](x, wanted)

    def measure(self, stolen: Predictor, *, queries: int | None = None) -> None:
        """Add a point to the curve: now, or where the thief would have stopped."""
        hits = int((stolen.predict(self.held).argmax(axis=1) == self.victim).sum())
        low, high = wilson(hits, len(self.held))
        self.curve.append(
            FidelityPoint(
                queries=self.spent if queries is None else queries,
                fidelity=hits / len(self.held),
                low=low,
                high=high,
            )
        )

    def result(
        self, attack: str, stolen: Predictor, *, exact: bool = False, complete: bool = True
    ) -> Extraction:
        """Return what came of it."""
        last = self.curve[-1]
        found = stolen.predict(self.held).argmax(axis=1)
        kind = self.oracle.kind
        report = ExtractionReport(
            attack=attack,
            answers="" if kind is None else kind.value,
            deterministic=self.oracle.deterministic,
            classes=self.oracle.classes,
            budget=self.budget,
            queries=self.spent,
            measured=len(self.held),
            fidelity=last.fidelity,
            fidelity_low=last.low,
            fidelity_high=last.high,
            baseline=float(np.bincount(self.victim).max() / len(self.victim)),
            queries_to_95=next((one.queries for one in self.curve if one.fidelity >= WANTED), None),
            accuracy=float((self.victim == self.truth).mean()),
            stolen_accuracy=float((found == self.truth).mean()),
            exact=exact,
            complete=complete,
            curve=tuple(self.curve),
        )
        return Extraction(report, stolen)


def agreement(stolen: Predictor, x: Records, classes: Classes) -> float:
    """Return the share of records on which a model answers these classes."""
    return float((stolen.predict(x).argmax(axis=1) == classes).mean())


def knock_off(
    model: Predictor,
    data: Known,
    *,
    budget: int,
    seed: int,
    answers: AnswerKind | None = None,
) -> Extraction:
    """Train on answers to natural records, then to mixtures of them that the thief is unsure of.

    Args:
        model: Victim.
        data: Half of `others` belongs to the thief; fidelity is measured on the other half.
        budget: Queries, those that measure included, 50 or more.
        seed: Of every random choice.
        answers: What the model is said to answer; found out when not given.

    Raises:
        InputError: The arguments do not fit.
        GateError: The model cannot be assessed, or answers otherwise than said.

    Source: Orekondy and others 2019. Their reward for uncertain answers is kept as a choice: of
    three times as many mixtures of two records, half of those asked are the surrogate's least sure.
    """
    campaign = Campaign.open(model, data, budget=budget, seed=seed, answers=answers)
    fresh = campaign.pool[campaign.rng.permutation(len(campaign.pool))]
    stolen: Surrogate | None = None
    for goal in campaign.checkpoints:
        wanted = goal - campaign.spent
        campaign.ask(fresh[:wanted])
        wanted, fresh = wanted - len(fresh[:wanted]), fresh[wanted:]
        if wanted > 0:
            mixed = mixtures(campaign.pool, wanted * _CANDIDATES, campaign.rng)
            chosen = np.arange(wanted)
            if stolen is not None:
                ordered = np.sort(stolen.predict(mixed), axis=1)
                unsure = np.argsort(ordered[:, -1] - ordered[:, -2])[: wanted // 2]
                rest = np.setdiff1d(np.arange(len(mixed)), unsure)
                chosen = np.concatenate([unsure, rest[: wanted - len(unsure)]])
            campaign.ask(mixed[campaign.rng.permutation(chosen)])
        stolen = campaign.learn()
        campaign.measure(stolen)
    assert stolen is not None  # noqa: S101 - there is always a checkpoint
    return campaign.result("knock-off", stolen)


def copycat(
    model: Predictor,
    data: Known,
    *,
    budget: int,
    seed: int,
    answers: AnswerKind | None = None,
) -> Extraction:
    """Train on the classes alone that the victim gives to natural and to made-up records.

    Args:
        model: Victim; of its scores only the largest is looked at.
        data: See `knock_off`.
        budget: See `knock_off`.
        seed: See `knock_off`.
        answers: See `knock_off`.

    Raises:
        InputError: The arguments do not fit.
        GateError: The model cannot be assessed, or answers otherwise than said.

    Source: Correia-Silva and others 2018. For their natural images of another domain stand records
    whose features were each drawn from another record of the thief's.
    """
    campaign = Campaign.open(model, data, budget=budget, seed=seed, answers=answers)
    rng = campaign.rng
    fresh = campaign.pool[rng.permutation(len(campaign.pool))]
    stolen: Surrogate | None = None
    for goal in campaign.checkpoints:
        wanted = goal - campaign.spent
        campaign.ask(fresh[:wanted])
        wanted, fresh = wanted - len(fresh[:wanted]), fresh[wanted:]
        if wanted > 0:
            strange = scrambled(campaign.pool, wanted // 4, rng)
            mixed = mixtures(campaign.pool, wanted - len(strange), rng)
            campaign.ask(rng.permutation(np.concatenate([strange, mixed])))
        stolen = campaign.learn(labels=True)
        campaign.measure(stolen)
    assert stolen is not None  # noqa: S101 - there is always a checkpoint
    return campaign.result("copycat", stolen)


def jacobian_augmentation(
    model: Predictor,
    data: Known,
    *,
    budget: int,
    seed: int,
    answers: AnswerKind | None = None,
    step: float = 0.5,
) -> Extraction:
    """Begin with few records and walk from each along the surrogate's own gradient.

    Where labels are all that is answered, a point tells only on which side of a boundary it lies.
    Half of a round then walks as far as the surrogate is least sure, and the other half lies where
    it is least sure between two points that got different answers.

    Args:
        model: Victim.
        data: See `knock_off`; of the thief's half, at most 120 records are used.
        budget: See `knock_off`.
        seed: See `knock_off`.
        answers: See `knock_off`.
        step: Length of a walk's step, in standard deviations of each feature, > 0.

    Raises:
        InputError: The arguments do not fit.
        GateError: The model cannot be assessed, or answers otherwise than said.

    Source: Papernot and others 2017, algorithm 1; for labels, Tramèr and others 2016.
    """
    campaign = Campaign.open(model, data, budget=budget, seed=seed, answers=answers)
    rng, pool = campaign.rng, campaign.pool
    flat = pool.reshape(len(pool), -1)
    low, high = flat.min(axis=0), flat.max(axis=0)
    size = step * units(pool)[1]
    known = pool[rng.permutation(len(pool))[: min(_SEEDS, campaign.limit)]]
    campaign.ask(known)
    stolen = campaign.learn()
    campaign.measure(stolen)
    turn = 0
    while campaign.spent < campaign.limit:
        x, said = campaign.targets()
        # Which ones walk is drawn, so that a round never more than doubles what was spent.
        base = x[rng.permutation(len(x))[: campaign.limit - campaign.spent]]
        between = np.empty((0, *x.shape[1:]), np.float32)
        sides = said.argmax(axis=1)
        blind = campaign.oracle.kind is AnswerKind.LABELS
        if blind:
            base, between = np.array_split(base, 2)
            between = _parting(x, sides, len(between), rng, stolen)
        own = stolen.predict(base).argmax(axis=1)
        slope = stolen.loss_gradient(base, _own_score(own)).gradient
        heading = size * np.sign(slope.reshape(len(base), -1))
        sign = 1.0 if (turn // _TURN) % 2 == 0 else -1.0
        reached = [
            np.clip(base.reshape(len(base), -1) + np.float32(length) * heading, low, high)
            .astype(np.float32).reshape(base.shape)
            for length in (_LENGTHS if blind else (sign,))
        ]  # fmt: skip
        campaign.ask(np.concatenate([_least_sure(stolen, reached), between]))
        stolen = campaign.learn()
        campaign.measure(stolen)
        turn += 1
    return campaign.result("Jacobian augmentation", stolen)


def _parting(
    x: Records, sides: Classes, count: int, rng: np.random.Generator, stolen: Predictor
) -> Records:
    """Return points between pairs of records that got different answers, as near the boundary."""
    first = rng.integers(len(x), size=count)
    second = np.empty(count, np.intp)
    for side in np.unique(sides[first]):
        here = sides[first] == side
        second[here] = rng.choice(np.flatnonzero(sides != side), int(here.sum()))
    tried = [np.float32(at) * x[first] + np.float32(1 - at) * x[second] for at in _BETWEEN]
    return _least_sure(stolen, tried)


def _least_sure(stolen: Predictor, choices: list[Records]) -> Records:
    """Return, of several arrays of records, at each place the one a surrogate doubts most."""
    if len(choices) == 1 or len(choices[0]) == 0:
        return choices[0]
    ordered = np.stack([np.sort(stolen.predict(one), axis=1) for one in choices])
    best = (ordered[..., -1] - ordered[..., -2]).argmin(axis=0)
    out: Records = np.stack(choices)[best, np.arange(len(best))]
    return out


def _own_score(own: Classes) -> Callable[[Scores], tuple[Scores, Scores]]:
    """Return the loss that grows away from the class: the best other score less its own."""

    def loss(scores: Scores) -> tuple[Scores, Scores]:
        rest = scores.copy()
        rest[np.arange(len(own)), own] = -np.inf
        return difference(own, rest.argmax(axis=1))(scores)

    return loss


def mixtures(pool: Records, count: int, rng: np.random.Generator) -> Records:
    """Return points between pairs of records, anywhere on the way."""
    first, second = rng.integers(len(pool), size=(2, count))
    share = rng.random((count, *[1] * (pool.ndim - 1)), dtype=np.float32)
    out: Records = share * pool[first] + (1 - share) * pool[second]
    return out


def scrambled(pool: Records, count: int, rng: np.random.Generator) -> Records:
    """Return records whose features come from a different record each."""
    flat = pool.reshape(len(pool), -1)
    rows = rng.integers(len(flat), size=(count, flat.shape[1]))
    return flat[rows, np.arange(flat.shape[1])].reshape(count, *pool.shape[1:])

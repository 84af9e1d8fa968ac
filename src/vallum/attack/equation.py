"""Model extraction by solving equations: the parameters of a linear model, from few answers.

The logarithm of the ratio of two softmax probabilities is linear in the record, and so is the
difference of two logits: each answer is c - 1 equations in (d + 1) (c - 1) unknowns.

Source: Tramèr, Zhang, Juels, Reiter, Ristenpart, "Stealing machine learning models via prediction
APIs", USENIX Security 2016, section 4.1.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vallum.attack.extraction import Campaign, Extraction
from vallum.attack.oracle import AnswerKind, Known
from vallum.attack.predictor import Predictor, Records, Scores
from vallum.base import GateError

_SPARE = 1.25  # equations for each unknown; what is over confirms the solution
_TINY = 1e-12  # a smaller probability has lost its digits
_EXACT = 1e-3  # largest error of a confirmed solution, of the equations' spread
_TRIES = 4
_SHARES = (0.125, 0.25, 0.5)
_MIN_SPARE = 8


@dataclass(frozen=True, slots=True)
class LinearModel:
    """Logits x @ weights + offset, known up to a constant that all classes share.

    Attributes:
        weights: (d, c), those of the first class zero.
        offset: (c,), the first zero.
    """

    weights: NDArray[np.float64]
    offset: NDArray[np.float64]

    def predict(self, x: Records) -> Scores:
        """Return logits, shape (n, c)."""
        return x.reshape(len(x), -1).astype(np.float64) @ self.weights + self.offset


def solve_equations(
    model: Predictor,
    data: Known,
    *,
    budget: int,
    seed: int,
    answers: AnswerKind | None = None,
) -> Extraction:
    """Compute the weights of a linear classifier.

    Args:
        model: Victim; a softmax or logistic regression, or another model of linear logits.
        data: Half of `others` belongs to the thief; fidelity is measured on the other half.
        budget: Queries, those that measure included. d + 1 equations have to be answered, where
            the model takes d features, and some more confirm the solution.
        seed: Of every random choice.
        answers: What the model is said to answer; found out when not given.

    Returns:
        `exact` says that equations left over hold too. Without it the model is not linear, or its
        answers are rounded or noisy; the curve shows what the nearest linear model is worth.

    Raises:
        InputError: The arguments do not fit.
        GateError: The model cannot be assessed, answers labels, or the budget is too small: that
            says nothing about a model's safety.
    """
    campaign = Campaign.open(model, data, budget=budget, seed=seed, answers=answers)
    kind = campaign.oracle.kind
    if kind is AnswerKind.LABELS:
        raise GateError(
            "labels give no equations",
            code="attack.scores",
            hint="steal it by its labels: copycat, knock-off, Jacobian augmentation",
        )
    width = campaign.pool[0].size
    needed = width + 1 + max(_MIN_SPARE, int((_SPARE - 1) * width))
    if campaign.limit < needed:
        raise GateError(
            f"{needed} queries are needed for {width} features; {campaign.limit} are left",
            code="attack.budget",
        )
    x, ratios = _ask(campaign, needed, kind)
    used = len(x) - max(_MIN_SPARE // 2, (len(x) - width - 1) // 2)
    stolen = _solve(x[:used], ratios[:used])
    error = stolen.predict(x[used:])[:, 1:] - ratios[used:]
    spread = max(float(np.std(ratios)), _TINY)
    exact = bool(np.abs(error).max() <= _EXACT * spread) and used > width
    if not exact and campaign.spent < campaign.limit:
        # Not linear, rounded or noisy: the nearest linear model, from all that may be asked.
        more, further = _ask(campaign, campaign.limit - campaign.spent, kind)
        x, ratios = np.concatenate([x, more]), np.concatenate([ratios, further])
        stolen = _solve(x, ratios)
        used = len(x)
    for share in _SHARES:  # what a thief would have who stopped before
        part = max(1, int(share * used))
        campaign.measure(_solve(x[:part], ratios[:part]), queries=part)
    campaign.measure(stolen)
    return campaign.result("equation solving", stolen, exact=exact)


def _ask(campaign: Campaign, count: int, kind: AnswerKind | None) -> tuple[Records, Scores]:
    """Return records, (k, d), whose answers have digits left, and log-ratios, (k, c - 1).

    Far from the middle probabilities are rounded to 0 and 1; a shorter radius is tried then.
    """
    pool = campaign.pool.reshape(len(campaign.pool), -1).astype(np.float64)
    middle, spread = pool.mean(axis=0), pool.std(axis=0)
    spread = np.where(spread > 0, spread, max(1e-3, float(spread.mean())))
    radius = 1.0
    kept: list[tuple[Records, Scores]] = []
    for _ in range(_TRIES):
        wanted = min(count - sum(len(one) for one, _ in kept), campaign.limit - campaign.spent)
        if wanted <= 0:
            break
        drawn = campaign.rng.uniform(-1, 1, (wanted, len(middle)))
        x = (middle + radius * spread * drawn).astype(np.float32)
        scores = campaign.ask(x.reshape(-1, *campaign.pool.shape[1:]))
        if kind is AnswerKind.PROBABILITIES:
            good = (scores > _TINY).all(axis=1)
            ratios = np.log(np.maximum(scores, _TINY))
        else:
            good, ratios = np.ones(len(x), np.bool_), scores
        kept.append((x[good], (ratios[:, 1:] - ratios[:, :1])[good]))
        radius /= 4
    found = np.concatenate([x for x, _ in kept]), np.concatenate([one for _, one in kept])
    if len(found[0]) < _MIN_SPARE:
        raise GateError(
            "probabilities are 0, 1 or rounded to them wherever asked: no equations",
            code="attack.scores",
            hint="steal it by learning: knock-off",
        )
    return found


def _solve(x: Records, ratios: Scores) -> LinearModel:
    """Return the least-squares solution, (d, c) and (c,)."""
    wide = x.astype(np.float64)
    mean = wide.mean(axis=0)
    scale = np.where(wide.std(axis=0) > 0, wide.std(axis=0), 1.0)
    design = np.concatenate([(wide - mean) / scale, np.ones((len(wide), 1))], axis=1)
    found = np.linalg.lstsq(design, ratios, rcond=None)[0]
    weights = found[:-1] / scale[:, None]
    offset = found[-1] - mean @ weights
    zero = np.zeros((len(weights), 1))
    return LinearModel(
        np.concatenate([zero, weights], axis=1), np.concatenate([np.zeros(1), offset])
    )

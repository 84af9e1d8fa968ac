"""Model extraction by path-finding: the leaves of a decision tree, one box after another.

Where each leaf answers with scores of its own, the answer names the leaf. From a record inside it,
each feature is moved until the answer changes: that finds the leaf's box, and just beyond each of
its faces lies another leaf. All leaves are reached in this way, as every split is a face of some
leaf on either of its sides.

Source: Tramèr, Zhang, Juels, Reiter, Ristenpart, "Stealing machine learning models via prediction
APIs", USENIX Security 2016, section 4.2, algorithm 1; faces of one leaf are bisected in one batch.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vallum.attack.extraction import Campaign, Extraction
from vallum.attack.oracle import AnswerKind, Known
from vallum.attack.predictor import Predictor, Records, Scores
from vallum.base import GateError

_HALVINGS = 60  # float32 numbers between two are exhausted before
_CHECKED = 8  # points inside a box that have to answer alike
_POINTS = 12  # of the curve
_NARROW = 1e-5  # of the range: a box that is thinner in most features is no leaf


@dataclass(frozen=True, slots=True)
class Boxes:
    """A tree as its leaves: boxes `low` <= x < `high`, (k, d), each with its scores, (k, c)."""

    low: Records
    high: Records
    scores: Scores

    def predict(self, x: Records) -> Scores:
        """Return the scores of the box that each record lies in, or of the nearest, (n, c)."""
        flat = x.reshape(len(x), -1)
        nearest = np.full(len(flat), np.inf)
        at = np.zeros(len(flat), np.intp)
        for place in range(len(self.low)):
            below = np.maximum(self.low[place] - flat, 0)
            above = np.maximum(flat - self.high[place], 0)
            # On its upper face a record belongs to the next box, which is asked too.
            gap = (below + above).max(axis=1) + 1e-30 * (flat >= self.high[place]).any(axis=1)
            closer = gap < nearest
            at[closer], nearest[closer] = place, gap[closer]
        return self.scores[at]


def find_paths(
    model: Predictor,
    data: Known,
    *,
    budget: int,
    seed: int,
    answers: AnswerKind | None = None,
) -> Extraction:
    """Compute the leaves of a decision tree on numeric features.

    Args:
        model: Victim.
        data: Half of `others` belongs to the thief; fidelity is measured on the other half.
        budget: Queries, those that measure included. A leaf costs about two for each feature and
            20 for each of its faces.
        seed: Of every random choice.
        answers: What the model is said to answer; found out when not given.

    Returns:
        `exact` says that every leaf within the thief's range was found, and that points inside
        each box answered alike. `complete` is False when the budget ended before.

    Raises:
        InputError: The arguments do not fit.
        GateError: The model cannot be assessed, answers labels or differently each time, or is no
            tree: that says nothing about a model's safety.
    """
    campaign = Campaign.open(model, data, budget=budget, seed=seed, answers=answers)
    if campaign.oracle.kind is AnswerKind.LABELS:
        raise GateError(
            "labels do not tell a tree's leaves apart",
            code="attack.scores",
            hint="steal it by its labels: copycat",
        )
    if not campaign.oracle.deterministic:
        raise GateError("the model is not deterministic", code="attack.deterministic")
    return _Search(campaign).run()


class _Search:
    """What was found of the tree so far."""

    def __init__(self, campaign: Campaign) -> None:
        self.campaign = campaign
        self.shape = campaign.pool.shape[1:]
        flat = campaign.pool.reshape(len(campaign.pool), -1)
        # One step outside the thief's records, as a split may lie just at one of them.
        self.least = np.nextafter(flat.min(axis=0), np.float32(-np.inf))
        self.most = np.nextafter(flat.max(axis=0), np.float32(np.inf))
        self.leaves: dict[bytes, tuple[Records, Records, Scores]] = {}
        self.distinct = True
        self.waiting = [np.median(flat, axis=0).astype(np.float32), *flat[:1]]

    def run(self) -> Extraction:
        campaign = self.campaign
        marks = [int(campaign.limit * (at + 1) / _POINTS) for at in range(_POINTS)]
        complete = True
        while self.waiting:
            point = self.waiting.pop()
            try:
                self._visit(point)
            except _SpentError:
                complete = False
                break
            while marks and campaign.spent >= marks[0]:
                marks.pop(0)
                campaign.measure(self._tree())
        if not self.leaves:
            raise GateError(
                f"the budget of {campaign.budget} queries ends before the first leaf is found",
                code="attack.budget",
            )
        tree = self._tree()
        if not campaign.curve or campaign.curve[-1].queries < campaign.spent:
            campaign.measure(tree)
        return campaign.result(
            "path-finding", tree, exact=complete and self.distinct, complete=complete
        )

    def _tree(self) -> Boxes:
        low, high, scores = (np.stack(one) for one in zip(*self.leaves.values(), strict=True))
        return Boxes(low, high, scores)

    def _ask(self, points: Records) -> Scores:
        if len(points) > self.campaign.limit - self.campaign.spent:
            raise _SpentError
        return self.campaign.ask(points.reshape(-1, *self.shape))

    def _visit(self, point: Records) -> None:
        """Find the leaf at `point`, and note what lies beyond its faces."""
        if any(((low <= point) & (point < high)).all() for low, high, _ in self.leaves.values()):
            return
        scores = self._ask(point[None])[0]
        name = scores.tobytes()
        if name in self.leaves:
            self.distinct = False  # two leaves of one answer: the box would hold both
            name += point.tobytes()
        low, high, beyond = self._box(point, scores)
        first, last = np.maximum(low, self.least), np.minimum(high, self.most)
        inside = self.campaign.rng.uniform(first, last, (_CHECKED, len(low))).astype(np.float32)
        inside = np.clip(inside, low, np.nextafter(high, np.float32(-np.inf)))
        if not (self._ask(inside) == scores).all():
            self.distinct = False
        if not self.leaves and beyond and _thin(first, last, self.least, self.most):
            raise GateError(
                "the answer changes with every feature wherever it is asked: this is no tree",
                code="attack.kind",
                hint="steal it by learning: knock-off",
            )
        self.leaves[name] = (low, high, scores)
        self.waiting.extend(beyond)

    def _box(self, point: Records, scores: Scores) -> tuple[Records, Records, list[Records]]:
        """Bisect all faces of the leaf at `point` at once."""
        width = len(point)
        feature = np.tile(np.arange(width), 2)
        ends = np.concatenate([self.least, self.most])
        points = np.tile(point, (2 * width, 1))
        points[np.arange(2 * width), feature] = ends
        changed = (self._ask(points) != scores).any(axis=1)
        low, high = np.full(width, -np.inf, np.float32), np.full(width, np.inf, np.float32)
        faces = np.flatnonzero(changed)
        within, past = point[feature[faces]].copy(), ends[faces].copy()
        for _ in range(_HALVINGS):
            middle = ((within.astype(np.float64) + past) / 2).astype(np.float32)
            open_ = (middle != within) & (middle != past)
            if not open_.any():
                break
            at = np.flatnonzero(open_)
            points = np.tile(point, (len(at), 1))
            points[np.arange(len(at)), feature[faces[at]]] = middle[at]
            other = (self._ask(points) != scores).any(axis=1)
            past[at[other]], within[at[~other]] = middle[at[other]], middle[at[~other]]
        beyond = []
        for place, face in enumerate(faces):
            if face < width:
                low[feature[face]] = within[place]
            else:
                high[feature[face]] = past[place]
            next_ = point.copy()
            next_[feature[face]] = past[place]
            beyond.append(next_)
        return low, high, beyond


def _thin(low: Records, high: Records, least: Records, most: Records) -> bool:
    """Tell whether a box is as good as a point in most features that vary."""
    spread: NDArray[np.bool_] = most > least
    share = (high - low)[spread] / (most - least)[spread]
    return bool((share < _NARROW).mean() > 0.5) if spread.any() else False  # noqa: PLR2004 - most


class _SpentError(Exception):
    """The budget is spent."""

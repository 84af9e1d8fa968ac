"""Labels of a data set weighed: which classifier is believed, and which conflicts are errors.

Three things are asked before labels are called wrong. Do a wary classifier and a plain one agree
that they are? Do the conflicts go from one class to one other? Do the rows lie where the class lies
that they seem to be of, as flipped rows do, and rows at a border or on an island do not?
"""

from dataclasses import dataclass, replace

import numpy as np

from vallum.defend.calibration import EVIDENCE, TOLERATED, Conflicts, weigh
from vallum.defend.conflict import (
    Codes,
    Rows,
    beyond_doubt,
    judge,
    judge_by,
    lead,
    margins,
    told_apart,
)
from vallum.defend.features import Floats

_REFINED = 2
_SLACK = 0.005
_CLOSE = 0.02
_ONE_KIND = 0.7
_LIKELY_KIND = 0.5
_FEWEST = 10
_COMPARABLE = 4
_ALIKE = 0.7
_UNLIKE = 0.75
"""Beyond, rows in conflict lie elsewhere than the class that they seem to be; half is chance."""


def weigh_labels(  # noqa: PLR0917 - the data, and what of them counts
    z: Floats, y: Codes, classes: int, excluded: Rows, fitted: Rows, rng: np.random.Generator
) -> Conflicts:
    """Weigh labels by the wary classifier, if the plain one speaks of wrong labels too.

    The wary one confirms itself: rows that disagree are not learned from, and where labels hardly
    depend on the data, or a class is many islands, it would call half of them wrong. The plain
    one in turn learns wrong labels that are as frequent as the right ones where they lie.
    """
    agreed: list[float] = []
    views: list[Floats] = []
    for wary in (True, False):
        state = np.random.default_rng(rng.integers(2**63))
        scores = judge(
            z, y, classes, excluded=excluded, rng=state, rounds=4 if wary else 1,
            begin=None if wary else fitted,
        ).scores  # fmt: skip
        agreed.append(float(np.mean(margins(scores, y)[fitted] <= 0)))
        views.append(scores)
    (careful, plain), (first, second) = agreed, views
    kind = _of_one_kind(first, y, classes, fitted, fitted & (margins(first, y) > 0), _LIKELY_KIND)
    if careful >= plain - _CLOSE and kind:
        scores = _doubting(z, first, y, classes, kind, excluded, rng)
        conflicts = fitted & (margins(scores, y) > 0)
        kind = _of_one_kind(scores, y, classes, fitted, conflicts)
        if kind and _strange(z, scores, y, fitted, kind.among(scores, y, conflicts), rng) <= _ALIKE:
            return weigh(scores, y, fitted, least=kind.count / int(fitted.sum()))
    found, chosen = weigh(first, y, fitted), first
    if careful < plain - _SLACK:
        found, chosen = weigh(second, y, fitted), second
    elif found.evidence > EVIDENCE:
        strong = fitted & (found.wrong > 0.5)  # noqa: PLR2004
        kind = _of_one_kind(first, y, classes, fitted, strong)
        if kind and _strange(z, first, y, fitted, kind.among(first, y, strong), rng) <= _ALIKE:
            scores = _doubting(z, first, y, classes, kind, excluded, rng)
            return replace(weigh(scores, y, fitted), evidence=found.evidence)
        doubted = weigh(second, y, fitted)
        found = replace(found, evidence=min(found.evidence, doubted.evidence))
    if found.evidence > EVIDENCE:
        strong = fitted & (found.wrong > 0.5)  # noqa: PLR2004
        if _strange(z, chosen, y, fitted, strong, rng) > _UNLIKE:
            found = replace(found, evidence=0.0)
    return found


def refined(  # noqa: PLR0917 - the data, and what is thought of them
    z: Floats,
    y: Codes,
    classes: int,
    found: Conflicts,
    excluded: Rows,
    fitted: Rows,
    rng: np.random.Generator,
) -> Conflicts:
    """Order rows by a classifier that learns from each as far as it is believed.

    How far the data set stands out has been decided; whoever believes much finds much.
    """
    better = found
    for _ in range(_REFINED):
        trust = 1.0 - better.wrong
        scores = judge_by(z, y, classes, excluded=excluded, rng=rng, trust=trust)
        better = weigh(scores, y, fitted)
    return replace(better, evidence=found.evidence, share=found.share)


def settled(
    y: Codes, classes: int, found: Conflicts, certain: Rows, excluded: Rows
) -> tuple[Codes, Rows]:
    """Return labels and excluded rows among which to look for groups.

    Rows of one kind are given back to their class: half of a class looks unlike the whole.
    """
    instead = np.eye(classes)[found.instead]
    kind = _of_one_kind(instead, y, classes, ~excluded | certain, certain)
    if kind is None:
        return y, excluded
    back = kind.among(instead, y, certain)
    return np.where(back, found.instead, y), excluded & ~back


@dataclass(frozen=True, slots=True)
class _Kind:
    source: int
    target: int
    count: int

    def among(self, scores: Floats, y: Codes, rows: Rows) -> Rows:
        """Return those of `rows` that are of this kind (n,)."""
        found: Rows = rows & (y == self.target) & (scores.argmax(axis=1) == self.source)
        return found


def _strange(  # noqa: PLR0917 - the data, and what is thought of them
    z: Floats, scores: Floats, y: Codes, fitted: Rows, doubted: Rows, rng: np.random.Generator
) -> float:
    """Return how well doubted rows can be told from rows of the classes that they seem to be.

    Flipped rows are those of another class and lie where these do. Where classes overlap, a row in
    conflict lies at the other's border; where one has an island, on its own.
    """
    best, leads = scores.argmax(axis=1), lead(scores)
    told, rows = 0.0, 0
    for one in np.unique(best[doubted]):
        own, agreed = doubted & (best == one), fitted & (best == one) & (y == one)
        if min(own.sum(), agreed.sum()) >= _COMPARABLE:
            # Rows deeper in the class than most of it are at no border, wherever they lie.
            deep = np.median(leads[own]) >= np.median(leads[agreed])
            told += float(own.sum()) * (0.5 if deep else told_apart(z, own, agreed, rng))
            rows += int(own.sum())
    return told / rows if rows else 0.5


def _doubting(  # noqa: PLR0917 - the data, what was thought of them, and what is doubted
    z: Floats,
    scores: Floats,
    y: Codes,
    classes: int,
    kind: _Kind,
    excluded: Rows,
    rng: np.random.Generator,
) -> Floats:
    """Judge again without trust in labels that may be those of the found kind."""
    begin = beyond_doubt(scores, y, kind.source, kind.target)
    return judge(z, y, classes, excluded=excluded, rng=rng, begin=begin).scores


def _of_one_kind(  # noqa: PLR0917 - the data, and what is thought of them
    scores: Floats,
    y: Codes,
    classes: int,
    fitted: Rows,
    rows: Rows,
    least: float = _ONE_KIND,
) -> _Kind | None:
    """Return the kind of the conflicts `rows` if most go from one class to one other.

    The class that they are in must be somewhere else by most of its rows: a rare class that lies
    within another conflicts by nature.
    """
    if classes < 3 or rows.sum() < _FEWEST:  # noqa: PLR2004 - of two classes, one pair is no pattern
        return None
    pairs = np.bincount(y[rows] * classes + scores[rows].argmax(axis=1), minlength=classes**2)
    most, (target, source) = int(pairs.max()), divmod(int(pairs.argmax()), classes)
    held = int((y[fitted] == target).sum())
    alone = most >= least * rows.sum() and most > TOLERATED * fitted.sum()
    return _Kind(source, target, most) if alone and most <= 0.5 * held else None

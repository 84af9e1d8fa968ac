"""Find poisoned rows in training data, with a false-alarm rate: labels, triggers, floods.

Three questions are asked of the data as they are, no clean sample being known. Does a class fall
into two along a direction in which the other classes hardly vary (a trigger)? Does a row's label
contradict the rows around it (a label)? Does one row come again and again in data that otherwise
do not repeat (a flood)? Rows are flagged only by a question whose answer stands out for the whole
data set, so that clean data give no list of accused rows at all.

What is not promised: a trigger in columns of few values, a clean-label attack that moves rows
within what their class does anyway, and a class that is mostly poison are not found.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from vallum.base import GateError, InputError, LimitExceededError
from vallum.defend.calibration import EVIDENCE, TOLERATED, Conflicts, weigh
from vallum.defend.conflict import Codes, Rows, judge, margins
from vallum.defend.features import Floats, features_of
from vallum.defend.groups import Group, find_groups

Reason = Literal["", "label-conflict", "trigger", "duplicate"]
DEFAULT_ALPHA = 0.01
MIN_ROWS = 20
MAX_ROWS = 2_000_000
MAX_CLASSES = 1_000
MIN_OF_CLASS = 2

_EXAMINED = 10
_WEAK = 0.1
"""Gain per row below which a group is not looked at."""
_PASSES = 4
_FEW = 800
_SLACK = 0.005
_CERTAIN = 0.9
_CLOSE = 0.02
_ONE_KIND = 0.7
_FEWEST = 10
_COPIES = 5
_RARE = 0.01


class Scorer(Protocol):
    """A classifier behind its scores, as `attack.Predictor`."""

    def predict(self, x: NDArray[np.float32]) -> Floats:
        """Return scores (n, c) for `x` (n, d) or (n, h, w[, c]), float32."""
        ...


@dataclass(frozen=True, slots=True)
class Detection:
    """What was found; unpacks into `scores, flagged`.

    Attributes:
        scores: The higher, the more likely poisoned, at least 0 (n,); comparable within one run.
        flagged: Rows to quarantine (n,).
        reasons: Per row the question that spoke against it most; empty where none did (n,).
        suspicious: The data set as a whole stands out; False means that no row is flagged.
        wrong_labels: Estimated share of labels drawn at random, 0 to 1.
        triggers: Number of groups found that share something no other class has.
        alpha: Share of clean rows that may be flagged in poisoned data.
    """

    scores: Floats
    flagged: Rows
    reasons: tuple[Reason, ...]
    suspicious: bool
    wrong_labels: float
    triggers: int
    alpha: float

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield scores, then flagged."""
        yield self.scores
        yield self.flagged


def detect_poisoning(
    x: NDArray[Any],
    y: NDArray[Any],
    *,
    model: Scorer | None = None,
    alpha: float = DEFAULT_ALPHA,
    rng: np.random.Generator | None = None,
) -> Detection:
    """Find rows of training data that were put there, or relabelled, to spoil a model.

    Args:
        x: Records (n, d) or images (n, h, w) or (n, h, w, c), finite numbers, n >= 20.
        y: Classes (n,), whole numbers or texts, at least 2 rows of each of at least 2.
        model: A classifier whose classes are the sorted values of `y`; its own disagreement with
            labels is weighed beside the data's. A model trained on these very data, and therefore
            perhaps on their poison, finds less than none.
        alpha: Share of clean rows that may be flagged for a label conflict, 0 < alpha <= 0.2. A
            data set without poison is called suspicious with a probability of at most 0.05.
        rng: Draws the reference rows where there are more than 1,500; a fixed seed if not given.

    Raises:
        InputError: Shapes, numbers, classes or `alpha` are unusable; the reason is named.
        LimitExceededError: More rows or classes than are looked at.
        GateError: The model fails, or its scores do not fit the data.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    x, names, codes = _checked(x, y, alpha)
    z = features_of(x, rng)
    if z.shape[1] == 0:
        raise InputError("every column is constant", code="defend.poison.constant")
    classes = len(names)
    n = len(codes)
    scores = np.zeros(n)
    flagged = np.zeros(n, dtype=np.bool_)
    excluded = np.zeros(n, dtype=np.bool_)
    reasons: NDArray[Any] = np.full(n, "", dtype=object)

    # Labels first, since wrong ones from everywhere look like a group; then groups, since a
    # trigger that is learned hides its labels; then labels again, without what was found.
    first = _weigh_labels(z, codes, classes, excluded, ~excluded, rng)
    if first.evidence > EVIDENCE:
        excluded |= first.wrong > _CERTAIN
    groups = _confirmed(features_of(x, rng, measured=True), codes, classes, excluded, rng)
    grouped = np.zeros(n, dtype=np.bool_)
    for group in groups:
        grouped |= group.members()
    if groups or excluded.any():
        first = _weigh_labels(z, codes, classes, excluded | grouped, ~grouped, rng)
    views = [first]
    if model is not None:
        views.append(weigh(_model_scores(model, x, classes), codes, ~grouped))
    share = 0.0
    for found in views:
        reasons[(found.wrong > 0.5) & (found.wrong > scores)] = "label-conflict"  # noqa: PLR2004
        scores = np.maximum(scores, found.wrong)
        share = max(share, found.share)
        if found.evidence > EVIDENCE:
            flagged |= (found.p <= alpha) & (found.wrong > 0.5)  # noqa: PLR2004
    copies = _copies(z)
    scores[copies] = np.maximum(scores[copies], 1.0)
    reasons[copies] = "duplicate"
    flagged |= copies
    for group in groups:
        raised = group.members()
        scores = np.maximum(scores, np.where(raised, 1.0 + group.share, 0.0))
        reasons[raised] = "trigger"
        flagged |= raised
    return Detection(
        scores=scores,
        flagged=flagged,
        reasons=tuple(reasons.tolist()),
        suspicious=bool(flagged.any()),
        wrong_labels=share,
        triggers=len(groups),
        alpha=alpha,
    )


def _checked(
    x: NDArray[Any], y: NDArray[Any], alpha: float
) -> tuple[NDArray[Any], NDArray[Any], Codes]:
    x, y = np.asarray(x), np.asarray(y)
    if not 0 < alpha <= 0.2:  # noqa: PLR2004 - beyond, most flagged rows would be clean
        raise InputError(f"alpha {alpha} is not in (0, 0.2]", code="defend.poison.alpha")
    if x.ndim not in (2, 3, 4) or x.dtype.kind not in "biuf":
        raise InputError(
            f"`x` of shape {x.shape} and type {x.dtype} is neither records (n, d) nor images"
            " (n, h, w[, c]) of numbers",
            code="defend.poison.x",
        )
    if y.shape != x.shape[:1]:
        raise InputError(
            f"`y` of shape {y.shape} does not name a class for each of {len(x)} rows",
            code="defend.poison.y",
        )
    if len(x) < MIN_ROWS:
        raise InputError(
            f"{len(x)} rows are too few to tell poison from chance; {MIN_ROWS} are needed",
            code="defend.poison.rows",
        )
    if len(x) > MAX_ROWS:
        raise LimitExceededError(f"more than {MAX_ROWS} rows", code="defend.poison.rows")
    if not np.isfinite(x).all():
        raise InputError(
            "a number in `x` is missing or infinite",
            code="defend.poison.finite",
            hint="fill or drop such rows first",
        )
    return x, *_classes(y)


def _classes(y: NDArray[Any]) -> tuple[NDArray[Any], Codes]:
    if y.dtype.kind == "f":
        if not np.isfinite(y).all():
            raise InputError("a label is missing", code="defend.poison.labels")
        if (y != np.round(y)).any():
            raise InputError(
                "the labels are continuous; classes are needed",
                code="defend.poison.labels",
                hint="put the target into ranges first",
            )
    elif y.dtype.kind not in "biuUS":
        raise InputError(f"labels of type {y.dtype} are no classes", code="defend.poison.labels")
    names, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
    if len(names) < 2:  # noqa: PLR2004
        raise InputError("there is one class only", code="defend.poison.labels")
    if len(names) > MAX_CLASSES:
        raise LimitExceededError(f"more than {MAX_CLASSES} classes", code="defend.poison.labels")
    if counts.min() < MIN_OF_CLASS:
        raise InputError(
            f"the class `{str(names[counts.argmin()])[:80]}` has one row only",
            code="defend.poison.labels",
            hint="is the label column continuous, or an identifier?",
        )
    return names, codes


def _confirmed(
    z: Floats, y: Codes, classes: int, excluded: Rows, rng: np.random.Generator
) -> list[Group]:
    """Return groups that are no natural part of their class, the clearest first.

    One is confirmed at a time and left out when the next is searched: what it shares would make
    parts of other classes stand out.
    """
    found: list[Group] = []
    excluded = excluded.copy()
    for _ in range(_PASSES if z.shape[1] else 0):
        groups = find_groups(z, y, classes, excluded=excluded)
        parted = {
            one.of
            for one in groups
            if one.gain >= 0.3 and one.apart >= 5 and one.excess >= 4  # noqa: PLR2004
        }
        for group in groups[:_EXAMINED]:
            # Where many classes fall into parts, parts are the nature of these data.
            common = len(parted - {group.of}) > classes // 3
            if group.gain >= _WEAK and _is_unnatural(
                z, y, classes, group, excluded, rng, common=common
            ):
                found.append(group)
                excluded |= group.members()
                break
        else:
            break
    return found


def _weigh_labels(  # noqa: PLR0917 - the data, and what of them counts
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
            z, y, classes, excluded=excluded, rng=state, rounds=4 if wary else 1, wary=wary
        ).scores
        agreed.append(float(np.mean(margins(scores, y)[fitted] <= 0)))
        views.append(scores)
    (careful, plain), (first, second) = agreed, views
    conflicts = fitted & (margins(first, y) > 0)
    count = _of_one_kind(first, y, classes, fitted, conflicts)
    if careful >= plain - _CLOSE and count:
        return weigh(first, y, fitted, least=count / int(fitted.sum()))
    found = weigh(first, y, fitted)
    strong = fitted & (found.wrong > 0.5)  # noqa: PLR2004
    if found.evidence > EVIDENCE and _of_one_kind(first, y, classes, fitted, strong):
        return found
    doubted = weigh(second, y, fitted)
    if careful < plain - _SLACK:
        return doubted
    return replace(found, evidence=min(found.evidence, doubted.evidence))


def _of_one_kind(scores: Floats, y: Codes, classes: int, fitted: Rows, rows: Rows) -> int:
    """Return how many of the conflicts `rows` go from one class to one other if most do, else 0.

    The class that they are in must be somewhere else by most of its rows: a rare class that lies
    within another conflicts by nature.
    """
    if classes < 3 or rows.sum() < _FEWEST:  # noqa: PLR2004 - of two classes, one pair is no pattern
        return 0
    pairs = np.bincount(y[rows] * classes + scores[rows].argmax(axis=1), minlength=classes**2)
    most, held = int(pairs.max()), int((y[fitted] == pairs.argmax() // classes).sum())
    alone = most >= _ONE_KIND * rows.sum() and most > TOLERATED * fitted.sum()
    return most if alone and most <= 0.5 * held else 0


def _is_unnatural(  # noqa: PLR0917 - one group's place among the data
    z: Floats,
    y: Codes,
    classes: int,
    group: Group,
    excluded: Rows,
    rng: np.random.Generator,
    *,
    common: bool,
) -> bool:
    """Tell a group that was put there from a part that a class has by nature.

    The group is judged by a classifier that has not learned from it (exclusionary
    reclassification, Chen et al. 2018). A natural part that lies apart goes to the one or two
    classes next to it. Three kinds were not seen in clean data. The limits were fixed by eye
    between clean data (digits, their classes joined, small tables, mixtures) and what
    `attack.GENERATORS` made of digits and breast cancer:

    1. it goes to most other classes: rows from everywhere with one label;
    2. it stays in its class although a gap divides it from the class: true labels and a trigger;
    3. it goes elsewhere across a gap in a direction in which nothing else varies.
    """
    members = group.members()
    judged = judge(z, y, classes, excluded=members | excluded, rng=rng, most=_FEW, rounds=2).scores[
        members
    ]
    away = margins(judged, y[members]) > 0
    moved = float(away.mean())
    if moved >= 0.75:  # noqa: PLR2004 - see above
        counts = np.bincount(judged.argmax(axis=1)[away], minlength=classes)
        shares = counts[counts > 0] / away.sum()
        kinds = float(np.exp(-(shares * np.log(shares)).sum()))
        if kinds >= max(4.0, 0.58 * (classes - 1)) and group.share_of(y) <= 0.6:  # noqa: PLR2004
            return True
    if common:
        return False
    if moved <= 0.4 and group.gain >= 0.5 and group.apart >= 6 and group.excess >= 5:  # noqa: PLR2004
        return True
    if moved <= 0.4 and group.gain >= 0.7 and group.apart >= 9 and group.reach >= 6:  # noqa: PLR2004
        return True
    if group.gain >= 0.8 and group.apart >= 10.5 and group.reach >= 6:  # noqa: PLR2004
        return True
    if group.gain >= 0.5 and group.apart >= 6 and group.reach >= 12:  # noqa: PLR2004
        return True
    return group.gain >= 0.3 and group.apart >= 6 and group.excess >= 14  # noqa: PLR2004


def _model_scores(model: Scorer, x: NDArray[Any], classes: int) -> Floats:
    try:
        scores = np.asarray(model.predict(np.ascontiguousarray(x, dtype=np.float32)))
    except (GateError, InputError):
        raise
    except Exception as error:  # a model is anybody's code
        raise GateError("the model fails on the data", code="defend.poison.model") from error
    if scores.shape != (len(x), classes) or scores.dtype.kind != "f":
        raise GateError(
            f"the model answers shape {scores.shape}; scores of shape {(len(x), classes)} are"
            " needed",
            code="defend.poison.model",
        )
    if not np.isfinite(scores).all():
        raise GateError("the model answers scores that are not finite", code="defend.poison.model")
    sums = scores.sum(axis=1, keepdims=True)
    if (scores < 0).any() or not np.allclose(sums, 1.0, atol=1e-3):
        return np.asarray(scores - scores.max(axis=1, keepdims=True), dtype=np.float64)
    return np.log(np.maximum(scores, 1e-9)).astype(np.float64)


def _copies(z: Floats) -> Rows:
    """Return rows that come at least five times in data that otherwise hardly repeat."""
    _, place, counts = np.unique(z, axis=0, return_inverse=True, return_counts=True)
    many = counts >= _COPIES
    repeated = counts[(counts > 1) & ~many].sum()
    if not many.any() or repeated > _RARE * len(z) or many.sum() > _RARE * len(z):
        return np.zeros(len(z), dtype=np.bool_)
    rows: Rows = many[place.reshape(-1)]
    return rows

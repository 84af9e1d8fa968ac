"""Find poisoned rows in training data, with a false-alarm rate: labels, triggers, floods.

Three questions are asked of the data as they are, no clean sample being known. Does a class fall
into two along a direction in which the other classes hardly vary, or do rows of a table share
values without which they contradict their class (a trigger)? Does a row's label contradict the
rows around it (a label)? Does one row come again and again in data that otherwise do not repeat
(a flood)? Rows are flagged only by a question whose answer stands out for the whole data set, so
that clean data give no list of accused rows at all.

What is not promised: a trigger in columns of few values, a clean-label attack that moves rows
within what their class does anyway, and a class that is mostly poison are not found.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from vallum.base import GateError, InputError, LimitExceededError
from vallum.defend.calibration import EVIDENCE, weigh
from vallum.defend.conflict import Codes, Rows, judge, margins
from vallum.defend.features import Floats, features_of
from vallum.defend.groups import MIN_ROWS as MIN_OF_GROUP
from vallum.defend.groups import Group, find_around, find_groups
from vallum.defend.labels import refined, settled, weigh_labels
from vallum.defend.values import stamped

Reason = Literal["", "label-conflict", "trigger", "duplicate"]
DEFAULT_ALPHA = 0.01
MIN_ROWS = 20
MAX_ROWS = 2_000_000
MAX_CLASSES = 1_000
MIN_OF_CLASS = 2

_EXAMINED = 10
_WEAK = 0.1
"""Gain per row below which a group is not looked at."""
_CLEAR = 0.8
_GAP = 8.0
_STAYS = 0.4
_PASSES = 4
_FEW = 800
_CERTAIN = 0.9
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
    written = np.zeros(n, dtype=np.bool_)
    stamps = stamped(x, codes, classes, rng)
    for rows in stamps:
        written |= rows
    excluded = written.copy()
    reasons: NDArray[Any] = np.full(n, "", dtype=object)

    # Labels first, since wrong ones from everywhere look like a group; then groups, since a
    # trigger that is learned hides its labels; then labels again, without what was found.
    first = weigh_labels(z, codes, classes, excluded, ~excluded, rng)
    labels, apart = codes, excluded
    if first.evidence > EVIDENCE:
        certain = first.wrong > _CERTAIN
        excluded |= certain
        labels, apart = settled(codes, classes, first, certain, excluded)
    groups = _confirmed(features_of(x, rng, measured=True), labels, classes, apart, rng)
    grouped = written.copy()
    for group in groups:
        grouped |= group.members()
    if groups or (excluded & ~written).any():
        first = weigh_labels(z, codes, classes, excluded | grouped, ~grouped, rng)
    views = [refined(z, codes, classes, first, excluded | grouped, ~grouped, rng)]
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
    scores[written] = 2.0
    reasons[written] = "trigger"
    flagged |= written
    return Detection(
        scores=scores,
        flagged=flagged,
        reasons=tuple(reasons.tolist()),
        suspicious=bool(flagged.any()),
        wrong_labels=share,
        triggers=len(groups) + len(stamps),
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
    return x, *classes_of(y)


def classes_of(y: NDArray[Any]) -> tuple[NDArray[Any], Codes]:
    """Return the classes of labels (n,), sorted, and which each row is of.

    Raises:
        InputError: They are none, or too few or too many.
    """
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
            if group.gain >= _WEAK and (
                unnatural := _unnatural(z, y, classes, group, excluded, rng, common=common)
            ):
                found.append(unnatural)
                excluded |= unnatural.members()
                break
        else:
            break
    return found


def _unnatural(  # noqa: PLR0917 - one group's place among the data
    z: Floats,
    y: Codes,
    classes: int,
    group: Group,
    excluded: Rows,
    rng: np.random.Generator,
    *,
    common: bool,
) -> Group | None:
    """Return the group, or what is hidden in it, if it is no natural part of its class.

    A trigger in many columns may lie along none of the axes that were searched. Its rows are then
    some of a natural group, those that other classes claim: they show the axis.
    """
    natural, away = _is_natural(z, y, classes, group, excluded, rng, common=common)
    if not natural:
        return group
    if away.sum() >= MIN_OF_GROUP:
        for hidden in find_around(z, y, away, excluded=excluded):
            if (
                hidden.gain >= _CLEAR
                and hidden.apart >= _GAP
                and not _is_natural(z, y, classes, hidden, excluded, rng, common=common)[0]
            ):
                return hidden
    return None


def _is_natural(  # noqa: PLR0917 - one group's place among the data
    z: Floats,
    y: Codes,
    classes: int,
    group: Group,
    excluded: Rows,
    rng: np.random.Generator,
    *,
    common: bool,
) -> tuple[bool, Rows]:
    """Tell a part that a class has by nature from one put there, and its rows that went elsewhere.

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
    scores = judge(
        z, y, classes, excluded=members | excluded, rng=rng, most=_FEW, rounds=2
    ).scores  # fmt: skip
    away = members & (margins(scores, y) > 0)
    moved = float(away.sum() / members.sum())
    if moved >= 0.75:  # noqa: PLR2004 - see above
        counts = np.bincount(scores[away].argmax(axis=1), minlength=classes)
        shares = counts[counts > 0] / away.sum()
        kinds = float(np.exp(-(shares * np.log(shares)).sum()))
        if kinds >= max(4.0, 0.58 * (classes - 1)) and group.share_of(y) <= 0.6:  # noqa: PLR2004
            return False, away
    if common:
        return True, away
    clear = (
        (moved <= _STAYS and group.gain >= 0.5 and group.apart >= 6 and group.excess >= 5)  # noqa: PLR2004
        or (moved <= _STAYS and group.gain >= 0.7 and group.apart >= 9 and group.reach >= 6)  # noqa: PLR2004
        or (group.gain >= 0.8 and group.apart >= 10.5 and group.reach >= 6)  # noqa: PLR2004
        or (group.gain >= 0.5 and group.apart >= 6 and group.reach >= 12)  # noqa: PLR2004
        or (group.gain >= 0.3 and group.apart >= 6 and group.excess >= 14)  # noqa: PLR2004
    )
    if clear and moved >= 0.75 and classes > 2:  # noqa: PLR2004 - of two, an axis may be all
        # Rows of other classes go home without the trigger; an island comes back to its own.
        bare = judge(
            group.without(z), y, classes, excluded=members | excluded, rng=rng, most=_FEW, rounds=2
        ).scores  # fmt: skip
        clear = float((margins(bare, y)[members] > 0).mean()) > _STAYS
    return not clear, away


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

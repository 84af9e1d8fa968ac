"""What a suite attacks a model with: records, their labels, and what a changed record may be."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vallum.attack.predictor import MIN_RECORDS, Records, class_name
from vallum.attack.space import Space
from vallum.attack.thresholds import Splits
from vallum.attack.writing import written
from vallum.base import InputError

Labels = NDArray[Any]
Form = Literal["table", "array", "text"]
MAX_RECORDS = 5000
"""Of a side: beyond it, a sample is drawn, and the report says so."""
_TABLE = 2


@dataclass(frozen=True, slots=True)
class Subject:
    """The data of a suite.

    Attributes:
        x: Records that the model should not have been trained on, (n, ...) float32, finite.
        labels: Their classes as the data writes them, (n,).
        space: Units and bounds: standard deviations of a table, the input's own of other arrays.
        epsilon: Size of a change that counts as small: of a table, root mean square over columns
            in standard deviations; of other arrays, the largest change as a share of the range; of
            texts, the share of their words that are misspelled.
        names: Columns of a table.
        train: Records and labels that the model was trained on, if given.
        notes: What was left out or read off the data, for the report.
        splits: Thresholds of a model of trees, for an attacker who holds it.
        text: A record is one text, as `writing` writes it.
    """

    x: Records
    labels: Labels
    space: Space
    epsilon: float
    names: tuple[str, ...] = ()
    train: tuple[Records, Labels] | None = None
    notes: tuple[str, ...] = ()
    splits: Splits | None = None
    text: bool = False

    @property
    def form(self) -> Form:
        """Whether the records are rows of a table, texts, or arrays such as images."""
        if self.text:
            return "text"
        return "table" if self.x.ndim == _TABLE else "array"

    @property
    def radius(self) -> float:
        """Return the ball's radius in the units of the space: of a table, the Euclidean one."""
        if self.form == "table":
            return float(self.epsilon * np.sqrt(self.x.shape[1]))
        return float(self.epsilon * (self.space.high[0] - self.space.low[0]))


def table_subject(
    x: Records,
    labels: Labels,
    *,
    names: Sequence[str],
    train: tuple[Records, Labels] | None = None,
    epsilon: float = 0.1,
    fixed: Sequence[str] = (),
    real: Sequence[str] = (),
    ranges: Sequence[tuple[str, float, float]] = (),
    seed: int = 0,
    notes: Sequence[str] = (),
) -> Subject:
    """Prepare rows of a table.

    Args:
        x: Rows (n, d).
        labels: Their classes, (n,).
        names: Of the columns.
        train: Rows and labels that the model was trained on.
        epsilon: Root mean square of a small change, in standard deviations.
        fixed: Columns that no attacker can change.
        real: Columns that are not whole although the data looks like it.
        ranges: Column, least and greatest value.
        seed: Of the sample, where there are more than `MAX_RECORDS`.
        notes: Of whoever read the data.

    Raises:
        InputError: Too few records or classes, no such column, or values that are not finite.
    """
    said = list(notes)
    x, labels = _checked("the data", x, labels, seed, said)
    if train is not None:
        train = _checked("the training data", *train, seed, said)
        if train[0].shape[1:] != x.shape[1:]:
            raise InputError("data and training data have other columns", code="attack.features")
    places = {name: at for at, name in enumerate(names)}
    for name in (*fixed, *real, *(one[0] for one in ranges)):
        if name not in places:
            raise InputError(f"the data has no column `{name[:80]}`", code="attack.features")
    base = x if train is None else train[0]
    space = Space.infer(
        base, x, fixed=[places[one] for one in fixed], real=[places[one] for one in real],
        ranges=[(places[name], low, high) for name, low, high in ranges], names=names,
    )  # fmt: skip
    if space.fixed.all():
        raise InputError("no column may change", code="attack.features")
    said += _told(space, names, fixed)
    return Subject(x, labels, space, _positive(epsilon), tuple(names), train, tuple(said))


def array_subject(
    x: Records,
    labels: Labels,
    *,
    train: tuple[Records, Labels] | None = None,
    epsilon: float = 8 / 255,
    clip: tuple[float, float] | None = None,
    seed: int = 0,
    notes: Sequence[str] = (),
) -> Subject:
    """Prepare arrays such as images, (n, channels, height, width).

    Args:
        x: Records, (n, ...).
        labels: Their classes, (n,).
        train: Records and labels that the model was trained on.
        epsilon: Largest change, as a share of the range.
        clip: Least and greatest value; read off the data when not given.
        seed: Of the sample, where there are more than `MAX_RECORDS`.
        notes: Of whoever read the data.

    Raises:
        InputError: Too few records or classes, values that are not finite or outside the range.
    """
    said = list(notes)
    x, labels = _checked("the data", x, labels, seed, said)
    if train is not None:
        train = _checked("the training data", *train, seed, said)
        if train[0].shape[1:] != x.shape[1:]:
            raise InputError("data and training data have other shapes", code="attack.features")
    least, most = float(x.min()), float(x.max())
    if clip is None:
        known = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
        clip = next((one for one in known if one[0] <= least and most <= one[1]), (least, most))
        said.append(f"values are taken to range from {clip[0]:g} to {clip[1]:g}: --clip says else")
    if not (clip[0] < clip[1] and clip[0] <= least and most <= clip[1]):
        raise InputError(
            f"values from {least:g} to {most:g} do not fit the range {clip[0]:g} to {clip[1]:g}",
            code="attack.clip",
        )
    width = x[0].size
    none = np.zeros(width, np.bool_)
    space = Space(
        mean=np.zeros(width), scale=np.ones(width), low=np.full(width, clip[0]),
        high=np.full(width, clip[1]), whole=none, fixed=none,
    )  # fmt: skip
    return Subject(x, labels, space, _positive(epsilon), (), train, tuple(said))


def text_subject(
    texts: Sequence[str],
    labels: Labels,
    *,
    train: tuple[Sequence[str], Labels] | None = None,
    epsilon: float = 0.2,
    seed: int = 0,
    notes: Sequence[str] = (),
) -> Subject:
    """Prepare texts.

    Args:
        texts: Each of at most `writing.MAX_CHARACTERS`.
        labels: Their classes, (n,).
        train: Texts and labels that the model was trained on.
        epsilon: Share of a text's words that may be misspelled, at most 1.
        seed: Of the sample, where there are more than `MAX_RECORDS`.
        notes: Of whoever read the data.

    Raises:
        InputError: Too few texts or classes, or no such share.
    """
    if not 0 < epsilon <= 1:
        raise InputError(
            f"`epsilon` is a share of a text's words; got {epsilon}", code="attack.epsilon"
        )
    said = list(notes)
    wide = max((len(one) for one in (*texts, *(train[0] if train else ()))), default=1)
    x, labels = _checked("the data", written(texts, width=wide), labels, seed, said)
    inside = None
    if train is not None:
        rows = written(train[0], width=wide)
        inside = _checked("the training data", rows, train[1], seed, said)
    ends = np.zeros(x.shape[1])
    none = np.zeros(x.shape[1], np.bool_)
    space = Space(mean=ends, scale=ends + 1, low=ends, high=ends + 1, whole=none, fixed=none)
    return Subject(x, labels, space, epsilon, (), inside, tuple(said), text=True)


def class_count(subject: Subject) -> int:
    """Return how many classes the labels are of."""
    sides = [subject.labels, *([] if subject.train is None else [subject.train[1]])]
    return len({class_name(one) for side in sides for one in side.tolist()})


def class_indices(labels: Labels, names: Sequence[str], count: int) -> NDArray[np.intp]:
    """Return labels as positions in a model's scores, (n,).

    Where the model names its classes, by name. Whole numbers from 0 to `count` - 1 are positions.
    Others stand for positions in their order, if there are as many of them as classes.

    Args:
        labels: As the data writes them.
        names: Of the model's classes; empty where it does not say.
        count: Of the model's scores.

    Raises:
        InputError: The data has other classes than the model.
    """
    texts = [class_name(one) for one in labels.tolist()]
    if names:
        known = {name: at for at, name in enumerate(names)}
        strange = sorted(set(texts) - set(known))
        if strange:
            raise InputError(
                f"the data has the class `{strange[0][:80]}`, the model knows "
                + ", ".join(f"`{name[:40]}`" for name in names[:8]),
                code="attack.classes",
            )
        return np.array([known[one] for one in texts], dtype=np.intp)
    if all(one.isdigit() and int(one) < count for one in texts):
        return np.array([int(one) for one in texts], dtype=np.intp)
    values = sorted(set(labels.tolist()), key=lambda value: (str(type(value)), value))
    if len(values) != count:
        raise InputError(
            f"the model has {count} classes, the data has {len(values)}", code="attack.classes"
        )
    place = {value: at for at, value in enumerate(values)}
    return np.array([place[one] for one in labels.tolist()], dtype=np.intp)


def _checked(
    what: str, x: Records, labels: Labels, seed: int, notes: list[str]
) -> tuple[Records, Labels]:
    if x.ndim < _TABLE or labels.shape != x.shape[:1] or (len(x) and x[0].size == 0):
        raise InputError(
            f"records of shape {x.shape} and labels of {labels.shape} do not fit",
            code="attack.records",
        )
    if len(x) < MIN_RECORDS:
        raise InputError(
            f"{what} has {len(x)} usable records, at least {MIN_RECORDS} are needed",
            code="attack.records",
        )
    if not np.isfinite(x).all():
        raise InputError(f"a value of {what} is not finite in float32", code="attack.features")
    if len({class_name(one) for one in labels.tolist()}) < 2:  # noqa: PLR2004 - classes
        raise InputError(f"{what} has one class only", code="attack.label")
    if len(x) > MAX_RECORDS:
        notes.append(f"a sample of {MAX_RECORDS} of the {len(x)} records of {what} is used")
        kept = np.sort(np.random.default_rng([seed, len(x)]).permutation(len(x))[:MAX_RECORDS])
        x, labels = x[kept], labels[kept]
    return np.ascontiguousarray(x, dtype=np.float32), labels


def _told(space: Space, names: Sequence[str], fixed: Sequence[str]) -> list[str]:
    """Say what was read off the data."""
    said = []
    constant = [name for name, stays in zip(names, space.fixed, strict=True)
                if stays and name not in fixed]  # fmt: skip
    if fixed:
        said.append("columns that no attack changes: " + ", ".join(fixed))
    if constant:
        said.append("columns that are constant in the data, and stay: " + ", ".join(constant))
    whole = [name for name, one in zip(names, space.whole, strict=True) if one]
    if whole:
        said.append("columns of whole numbers, by the data: " + ", ".join(whole))
    for group in space.groups:
        said.append("one-hot group, by the data: " + ", ".join(names[at] for at in group))
    return said


def _positive(epsilon: float) -> float:
    if not 0 < epsilon < np.inf:
        raise InputError(f"`epsilon` must be positive; got {epsilon}", code="attack.epsilon")
    return epsilon

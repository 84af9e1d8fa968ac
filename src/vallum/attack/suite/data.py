"""Tables, texts or arrays, and what the caller says about them, as the subject of a suite."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vallum.attack.suite.subject import Subject, array_subject, table_subject, text_subject
from vallum.attack.writing import MAX_CHARACTERS
from vallum.base import InputError

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class DataFile:
    """A data file, read.

    Attributes:
        sha256: Of the file.
        frame: A table, or nothing.
        arrays: `x` and labels of an `.npz`, or nothing.
    """

    sha256: str
    frame: "pl.DataFrame | None"
    arrays: "tuple[NDArray[Any], NDArray[Any]] | None"


@dataclass(frozen=True, slots=True)
class DataOptions:
    """What the caller says about the data.

    Attributes:
        label: Column of classes; of an `.npz` the array, `y` if empty.
        features: Columns in the model's order; all numeric ones if empty. Of a text classifier, its
            column of texts; the only one if empty.
        immutable: Columns that no attacker can change.
        real: Columns that are not whole although the data looks like it.
        ranges: `COLUMN=LOW:HIGH` each.
        clip: `LOW:HIGH` of an array's values; empty if not given.
        epsilon: Size of a small change; the default if None.
        seed: Of a sample.
    """

    label: str = ""
    features: tuple[str, ...] = ()
    immutable: tuple[str, ...] = ()
    real: tuple[str, ...] = ()
    ranges: tuple[str, ...] = ()
    clip: str = ""
    epsilon: float | None = None
    seed: int = 0


def prepare(
    data: DataFile,
    train: DataFile | None,
    options: DataOptions,
    *,
    known: Sequence[str] = (),
    shape: Sequence[int] = (),
    notes: Sequence[str] = (),
    text: bool = False,
) -> Subject:
    """Return the subject of a suite.

    Args:
        data: Records that are attacked.
        train: Records that the model was trained on.
        options: What the caller says.
        known: Columns that the model names.
        shape: Of a record, as the model tells; -1 is any, empty is not told.
        notes: What the report is to say beside what is noted here.
        text: The model takes texts.

    Raises:
        InputError: Data, options and model do not fit.
    """
    if train is not None and (train.frame is None) != (data.frame is None):
        raise InputError("data and training data are of two kinds", code="attack.data")
    said = list(notes)
    if text:
        return _text_subject(data, train, options, said)
    if data.frame is not None:
        names = columns_of(data.frame, options, known)
        x, labels, _ = rows_of(data.frame, names, options.label, "the data", said)
        inside = None
        if train is not None and train.frame is not None:
            inside = rows_of(train.frame, names, options.label, "the training data", said)[:2]
    else:
        x, labels = _arrays(data)
        names = tuple(f"f{at}" for at in range(x.shape[1])) if x.ndim == 2 else ()  # noqa: PLR2004
        inside = None if train is None else _arrays(train)
    _check_shape(x.shape[1:], shape, names)
    if x.ndim == 2:  # noqa: PLR2004 - rows and columns
        if options.clip:
            raise InputError("--clip is for arrays; a table takes --range", code="cli.usage")
        return table_subject(
            x, labels, names=names, train=inside,
            epsilon=0.1 if options.epsilon is None else options.epsilon,
            fixed=options.immutable, real=options.real,
            ranges=[_range(one) for one in options.ranges], seed=options.seed, notes=said,
        )  # fmt: skip
    if options.immutable or options.real or options.ranges:
        raise InputError(
            "--immutable, --real and --range are for tables; arrays take --clip", code="cli.usage"
        )
    return array_subject(
        x, labels, train=inside, clip=_bounds(options.clip, "--clip") if options.clip else None,
        epsilon=8 / 255 if options.epsilon is None else options.epsilon, seed=options.seed,
        notes=said,
    )  # fmt: skip


def columns_of(
    frame: "pl.DataFrame", options: DataOptions, known: Sequence[str]
) -> tuple[str, ...]:
    """Return the model's columns: those that are said, that it names, or every numeric one.

    Args:
        frame: The table.
        options: What the caller says.
        known: Columns that the model names.
    """
    import polars as pl

    if options.features:
        return options.features
    if known and set(known) <= set(frame.columns):
        return tuple(known)
    return tuple(
        name
        for name, type_ in frame.schema.items()
        if name != options.label and (type_.is_numeric() or type_ == pl.Boolean)
    )


def text_column(frame: "pl.DataFrame", options: DataOptions, *, beside: Sequence[str] = ()) -> str:
    """Return the column of a text classifier: the one that is said, or the only one of texts.

    Args:
        frame: The table.
        options: What the caller says.
        beside: Columns that are no texts of the model.

    Raises:
        InputError: There is not exactly one.
    """
    import polars as pl

    left = {options.label, *beside}
    found = list(options.features) or [
        name for name, type_ in frame.schema.items() if type_ == pl.String and name not in left
    ]
    if len(found) != 1:
        raise InputError(
            f"the model takes one text a record, the data has {len(found)} such columns",
            code="attack.features", hint="name the column of texts with --features",
        )  # fmt: skip
    if found[0] in frame.columns and frame.schema[found[0]] != pl.String:
        raise InputError(f"column `{found[0][:80]}` holds no texts", code="attack.features")
    return found[0]


def texts_of(
    frame: "pl.DataFrame", column: str, label: str, what: str, notes: list[str]
) -> "tuple[list[str], NDArray[Any], NDArray[np.bool_]]":
    """Return the texts that can be used, their labels, (n,), and which of all they are.

    Args:
        frame: The table, (m rows).
        column: Of texts.
        label: The column of classes.
        what: The table in words.
        notes: Takes what was left out.

    Raises:
        InputError: No such column.
    """
    import numpy as np
    import polars as pl

    for name, code in ((column, "attack.features"), (label, "attack.label")):
        if name not in frame.columns:
            raise InputError(f"{what} has no column `{name[:80]}`", code=code)
    size = frame[column].cast(pl.String).str.len_chars().fill_null(0).to_numpy()
    unlabelled = frame[label].is_null().to_numpy()
    left_out = {
        "without a label": unlabelled,
        "without a text": (size == 0) & ~unlabelled,
        f"with a text of over {MAX_CHARACTERS} characters": (size > MAX_CHARACTERS) & ~unlabelled,
    }
    for why, which in left_out.items():
        if count := int(which.sum()):
            notes.append(f"{count} of {len(size)} records of {what} are left out: {why}")
    kept = ~unlabelled & (size > 0) & (size <= MAX_CHARACTERS)
    labels = np.array(frame[label].to_list(), dtype=object)
    return frame.filter(kept)[column].cast(pl.String).to_list(), labels[kept], kept


def _text_subject(
    data: DataFile, train: DataFile | None, options: DataOptions, said: list[str]
) -> Subject:
    if data.frame is None:
        raise InputError("a text classifier takes a table with a column of texts",
                         code="attack.data")  # fmt: skip
    if options.immutable or options.real or options.ranges or options.clip:
        raise InputError(
            "--immutable, --real, --range and --clip are for numbers, not for texts",
            code="cli.usage",
        )
    column = text_column(data.frame, options)
    said.append(f"texts are those of the column `{column[:80]}`")
    texts, labels, _ = texts_of(data.frame, column, options.label, "the data", said)
    inside = None
    if train is not None and train.frame is not None:
        inside = texts_of(train.frame, column, options.label, "the training data", said)[:2]
    return text_subject(
        texts, labels, train=inside, seed=options.seed, notes=said,
        epsilon=0.2 if options.epsilon is None else options.epsilon,
    )  # fmt: skip


def rows_of(
    frame: "pl.DataFrame", names: Sequence[str], label: str, what: str, notes: list[str]
) -> "tuple[NDArray[np.float32], NDArray[Any], NDArray[np.bool_]]":
    """Return the records that can be used, (n, d), their labels, (n,), and which of all they are.

    Args:
        frame: The table, (m rows).
        names: The model's columns in order.
        label: The column of classes.
        what: The table in words.
        notes: Takes what was left out.

    Raises:
        InputError: No such column, or one is not numeric.
    """
    import numpy as np
    import polars as pl

    if not names:
        raise InputError("the data has no numeric column but the label", code="attack.features")
    if label not in frame.columns:
        raise InputError(f"{what} has no column `{label[:80]}`", code="attack.label")
    for name in names:
        if name not in frame.columns:
            raise InputError(f"{what} has no column `{name[:80]}`", code="attack.features")
        type_ = frame.schema[name]
        if not (type_.is_numeric() or type_ == pl.Boolean):
            raise InputError(
                f"column `{name[:80]}` is not numeric", code="attack.features",
                hint="encode it as the model was trained on it, or leave it out of --features",
            )  # fmt: skip
    with np.errstate(over="ignore"):  # too large for float32 is infinite, and left out below
        x = frame.select(pl.col(list(names)).cast(pl.Float64)).to_numpy().astype(np.float32)
    unlabelled = frame[label].is_null().to_numpy()
    gaps = ~np.isfinite(x).all(axis=1)
    left_out = {
        "without a label": unlabelled,
        "with a missing or infinite value": gaps & ~unlabelled,
    }
    for why, which in left_out.items():
        if count := int(which.sum()):
            notes.append(f"{count} of {len(x)} records of {what} are left out: {why}")
    kept = ~(unlabelled | gaps)
    labels = np.array(frame[label].to_list(), dtype=object)
    return x[kept], labels[kept], kept


def _arrays(data: DataFile) -> "tuple[NDArray[np.float32], NDArray[Any]]":
    import numpy as np

    if data.arrays is None:
        raise AssertionError("of an .npz")
    x, labels = data.arrays
    if x.dtype.kind not in "fiub" or x.ndim < 2 or labels.shape != x.shape[:1]:  # noqa: PLR2004
        raise InputError(
            f"`x` of shape {x.shape} and labels of {labels.shape} are not records and their"
            " classes",
            code="attack.records",
        )
    with np.errstate(over="ignore"):
        return x.astype(np.float32), labels


def _check_shape(given: tuple[int, ...], wanted: Sequence[int], names: Sequence[str]) -> None:
    fits = len(given) == len(wanted) and all(
        size in (-1, there) for there, size in zip(given, wanted, strict=False)
    )
    if not wanted or fits:
        return
    if len(wanted) == 1 and names:
        raise InputError(
            f"the model takes {wanted[0]} features, the data has {len(names)}",
            code="attack.features", hint="name the model's columns with --features, in order",
        )  # fmt: skip
    said = " x ".join("any" if one == -1 else str(one) for one in wanted)
    raise InputError(
        f"the model takes records of shape {said}, the data has"
        f" {' x '.join(str(one) for one in given)}",
        code="attack.features",
    )


def _range(text: str) -> tuple[str, float, float]:
    name, found, bounds = text.partition("=")
    if not found or not name:
        raise InputError(f"`{text[:80]}` is no range", code="cli.usage", hint="--range age=0:120")
    return (name, *_bounds(bounds, "--range"))


def _bounds(text: str, option: str) -> tuple[float, float]:
    low, found, high = text.partition(":")
    try:
        if not found:
            raise ValueError("one number")
        return float(low), float(high)
    except ValueError as error:
        raise InputError(
            f"`{text[:80]}` is not LOW:HIGH", code="cli.usage", hint=f"{option} ...0:1"
        ) from error

"""A table as the detectors see it: numbers, classes, and who contributed which row."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vallum.base import InputError, LimitExceededError

MAX_CATEGORIES = 50
"""A text column with more values is a name or a remark, and left out."""
MAX_CELLS = 2**31


@dataclass(frozen=True, slots=True)
class Measured:
    """A labelled table as arrays.

    Attributes:
        x: Records (n, d), finite.
        y: Classes (n,).
        left_out: Columns that are no measurements.
        columns: That were looked at.
        beside: Columns that were not asked about.
    """

    x: NDArray[np.float64]
    y: NDArray[Any]
    left_out: tuple[str, ...]
    columns: int
    beside: int


def measured(
    frame: pl.DataFrame,
    label: str,
    *,
    without: tuple[str, ...] = (),
    features: tuple[str, ...] = (),
) -> Measured:
    """Return a table's columns as numbers and its label as classes.

    Texts of few values become one column a value; gaps are filled, and marked by a column more.

    Args:
        frame: The table.
        label: The column of classes.
        without: Columns that are not looked at.
        features: Columns that are looked at; every one if empty. A column that somebody added could
            hide what is wrong with the others: one that repeats a wrong label makes it fit.

    Raises:
        InputError: There is no such column, a feature is the label or no measurement, a row has no
            label, or nothing can be measured.
        LimitExceededError: The table has too many cells.
    """
    for name in (label, *without):
        if name not in frame.columns:
            raise InputError(f"the table has no column `{name[:80]}`", code="poison.label")
    missing = frame[label].null_count()
    if missing:
        raise InputError(
            f"{missing} row(s) have no label in `{label}`", code="poison.label",
            hint="drop them first: a row without a class cannot be judged",
        )  # fmt: skip
    given = frame.drop([label, *without])
    if features:
        for name in features:
            if name not in given.columns:
                raise InputError(
                    f"the table has no such feature `{name[:80]}`", code="poison.features"
                )
        given = given.select(list(dict.fromkeys(features)))
    x, left_out = _numbers(given)
    if features and left_out:
        raise InputError(
            f"the feature `{left_out[0][:80]}` is no measurement", code="poison.features",
            hint="name columns of numbers, or of few texts",
        )  # fmt: skip
    return Measured(
        x,
        frame[label].to_numpy().astype(_label_type(frame, label)),
        left_out,
        columns=given.width - len(left_out),
        beside=frame.width - 1 - len(without) - given.width,
    )


def _label_type(frame: pl.DataFrame, label: str) -> str:
    type_ = frame.schema[label]
    if type_.is_integer() or type_ == pl.Boolean:
        return "int64"
    return "float64" if type_.is_float() else "str"


def _numbers(frame: pl.DataFrame) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    made: list[NDArray[np.float64]] = []
    left_out = []
    for name, type_ in frame.schema.items():
        column = frame[name]
        if type_.is_numeric() or type_ == pl.Boolean:
            values = column.cast(pl.Float64).to_numpy().astype(np.float64)
            gaps = ~np.isfinite(values)
            if gaps.all():
                left_out.append(name)
                continue
            made.append(np.where(gaps, np.median(values[~gaps]), values))
            if gaps.any():
                made.append(gaps.astype(np.float64))
        elif type_ == pl.String and 1 < column.n_unique() <= min(MAX_CATEGORIES, len(column) / 2):
            texts = column.fill_null("").to_numpy().astype(str)
            made.extend((texts == one).astype(np.float64) for one in np.unique(texts))
        else:
            left_out.append(name)
        if len(made) * len(column) > MAX_CELLS:
            raise LimitExceededError("the table has too many cells", code="poison.size")
    if not made:
        raise InputError("no column but the label can be measured", code="poison.columns")
    return np.stack(made, axis=1), tuple(left_out)

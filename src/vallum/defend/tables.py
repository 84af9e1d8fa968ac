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
    """

    x: NDArray[np.float64]
    y: NDArray[Any]
    left_out: tuple[str, ...]


def measured(frame: pl.DataFrame, label: str, *, without: tuple[str, ...] = ()) -> Measured:
    """Return a table's columns as numbers and its label as classes.

    Texts of few values become one column a value; gaps are filled, and marked by a column more.

    Args:
        frame: The table.
        label: The column of classes.
        without: Columns that are not looked at.

    Raises:
        InputError: There is no such column, a row has no label, or nothing can be measured.
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
    x, left_out = _numbers(frame.drop([label, *without]))
    return Measured(x, frame[label].to_numpy().astype(_label_type(frame, label)), left_out)


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

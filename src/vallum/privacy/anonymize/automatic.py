"""Hierarchies made from a column when nobody gave one.

Bounds of intervals are rounded and the outermost ones are open, so that no extreme value is told.
"""

import itertools
import math
from collections.abc import Callable

import numpy as np
import polars as pl

from vallum.base import LimitExceededError
from vallum.privacy.anonymize.hierarchy import MAX_LEAVES, NULL, TOP, Hierarchy

_INTERVALS = 32  # of the finest level; each next one joins two
_RARE = 0.05  # a category with a smaller share joins the others first
_CODE = 12  # characters: a longer text has no useful prefix
_MANY = 24  # distinct texts of which prefixes are tried


def automatic_hierarchy(column: pl.Series, kind: str = "") -> Hierarchy:
    """Return a hierarchy for what a column holds.

    Numbers become quantile intervals that join two by two; dates months, years and spans of years;
    codes (`kind` `personal.postcode`, or short texts with digits) lose characters from the right;
    categories join the rare ones.

    Args:
        column: Any plain column.
        kind: Its type as discovered, or nothing.

    Raises:
        LimitExceededError: There are too many distinct values.
    """
    texts = as_texts(column)
    counts = texts.alias("").value_counts(sort=True)
    values = [value for value in counts[""].to_list() if value != NULL]
    if len(values) > MAX_LEAVES:
        raise LimitExceededError(
            f"column `{column.name}` has more than {MAX_LEAVES} distinct values",
            code="hierarchy.size",
        )
    if not values:
        return Hierarchy.of([(NULL, TOP)])
    if column.dtype.is_temporal() or kind == "personal.birth_date" or _are_dates(values):
        return _ladder(values, _date_steps(values))
    if kind != "personal.postcode":
        numbers = _numbers(values)
        if numbers is not None:
            return _ladder(values, _interval_steps(numbers, values, column, texts))
    longest = max(len(value) for value in values)
    if kind == "personal.postcode" or (len(values) > _MANY and longest <= _CODE):
        return _ladder(values, [_prefix(keep) for keep in range(longest - 1, 0, -1)])
    share = dict(zip(counts[""], counts["count"] / max(1, len(texts)), strict=True))
    rare = {value for value in values if share[value] < _RARE}
    if 1 < len(rare) < len(values):
        return _ladder(values, [lambda value: "other" if value in rare else value])
    return _ladder(values, [])


def as_texts(column: pl.Series) -> pl.Series:
    """Return the values as the texts that hierarchies name; missing ones are `NULL`."""
    if column.dtype.is_float():
        whole = column.is_finite() & (column.round(0) == column) & (column.abs() < 1e15)  # noqa: PLR2004 - exact as an integer
        texts = column.cast(pl.String)
        integers = column.set(~whole.fill_null(value=False), None).cast(pl.Int64).cast(pl.String)
        return integers.zip_with(integers.is_not_null(), texts).fill_null(NULL).alias(column.name)
    return column.cast(pl.String).fill_null(NULL)


def _ladder(values: list[str], steps: list[Callable[[str], str]]) -> Hierarchy:
    """Return a hierarchy of the steps that say less than the one before."""
    columns = [values]
    for step in steps:
        column = [step(value) for value in values]
        if 1 < len(set(column)) < len(set(columns[-1])):
            columns.append(column)
    columns.append([TOP] * len(values))
    return Hierarchy.of(list(zip(*columns, strict=True)))


def _prefix(keep: int) -> Callable[[str], str]:
    return lambda value: value[:keep] + TOP if len(value) > keep else value + TOP


def _are_dates(values: list[str]) -> bool:
    sample = values[:200]
    return all(
        len(value) >= 10 and value[4] == value[7] == "-" and value[:4].isdigit()  # noqa: PLR2004 - YYYY-MM-DD
        for value in sample
    )


def _date_steps(values: list[str]) -> list[Callable[[str], str]]:
    def year(value: str) -> int | None:
        return int(value[:4]) if value[:4].isdigit() else None

    def span(width: int) -> Callable[[str], str]:
        def label(value: str) -> str:
            at = year(value)
            return "?" if at is None else f"{at // width * width}-{at // width * width + width - 1}"

        return label

    def cut(length: int) -> Callable[[str], str]:
        return lambda value: value[:length] if year(value) is not None else "?"

    longest = max(len(value) for value in values)
    steps = [cut(10)] if longest > 10 else []  # noqa: PLR2004 - a time of day goes first
    # Spans nest: each width divides the next.
    return [*steps, cut(7), cut(4), span(5), span(10), span(20), span(100)]


def _numbers(values: list[str]) -> dict[str, float] | None:
    try:
        numbers = {value: float(value) for value in values}
    except ValueError:
        return None
    return numbers if all(math.isfinite(number) for number in numbers.values()) else None


def _interval_steps(
    numbers: dict[str, float], values: list[str], column: pl.Series, texts: pl.Series
) -> list[Callable[[str], str]]:
    ordered = np.sort(texts.replace_strict(numbers, default=None).drop_nulls().to_numpy())
    spread = float(ordered[-1] - ordered[0])
    if spread <= 0 or not math.isfinite(spread):
        return []
    whole = column.dtype.is_integer() or all(number.is_integer() for number in numbers.values())
    unit = 10.0 ** (math.floor(math.log10(spread)) - 1)
    unit = max(1.0, unit) if whole else unit
    at = np.linspace(0, 1, _INTERVALS + 1)[1:-1]
    cuts = np.unique(np.round(np.quantile(ordered, at) / unit) * unit)
    cuts = cuts[(cuts > ordered[0]) & (cuts <= ordered[-1])]
    steps = []
    while len(cuts) and len(values) > 1:
        steps.append(_interval(numbers, cuts.tolist(), whole=whole))
        cuts = cuts[1::2]
    return steps


def _interval(numbers: dict[str, float], cuts: list[float], *, whole: bool) -> Callable[[str], str]:
    def text(bound: float) -> str:
        return str(int(bound)) if whole else f"{bound:.12g}"

    labels = [f"<{text(cuts[0])}"]
    for low, high in itertools.pairwise(cuts):
        if whole:
            last = int(high) - 1
            labels.append(text(low) if last == int(low) else f"{text(low)}-{last}")
        else:
            labels.append(f"[{text(low)}, {text(high)})")
    labels.append(f"≥{text(cuts[-1])}")
    edges = np.array(cuts)
    return lambda value: labels[int(np.searchsorted(edges, numbers[value], side="right"))]

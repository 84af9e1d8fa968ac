"""k-anonymity, l-diversity and t-closeness, counted from a table alone.

Independent of how the table was made: it knows no hierarchy, method or record of the anonymizer.
Nulls and suppressed cells are values like any other.

Source: Sweeney 2002 (k); Machanavajjhala et al. 2007 (l); Li, Li, Venkatasubramanian 2007 (t);
Nergiz, Atzori, Clifton 2007 (presence).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from vallum.base import InputError

FloatArray = npt.NDArray[np.float64]
Tree = list[list[int]]  # for each level, the node above of each node

_RECURSIVE = range(2, 11)
_CHUNK = 2_000_000  # numbers of a table of classes by values


@dataclass(frozen=True, slots=True)
class Diversity:
    """What the classes of a table leave open about one sensitive column; the worst class counts.

    Attributes:
        column: The column.
        distinct: Fewest different values.
        entropy: Lowest exponential of the entropy: the l of entropy l-diversity.
        recursive: For l from 2 to 10 the highest r1 / (rl + … + rm): every c above it gives
            recursive (c, l)-diversity; infinite where a class has fewer values.
        t_equal: Largest distance to the table's distribution, equal ground distance, 0 to 1.
        t_ordered: The same with ordered ground distance.
        t_hierarchical: The same with hierarchical ground distance; 1 if there is no hierarchy.
    """

    column: str
    distinct: int
    entropy: float
    recursive: dict[int, float]
    t_equal: float
    t_ordered: float
    t_hierarchical: float = 1.0


@dataclass(frozen=True, slots=True)
class AnonymityCheck:
    """What a table reaches; l and t are the worst over the sensitive columns (l 0: none given)."""

    k: int
    l: int  # noqa: E741 - the model's name
    t: float
    classes: int
    records: int
    diversity: tuple[Diversity, ...] = ()


def check_anonymity(
    frame: pl.DataFrame,
    quasi_identifiers: Sequence[str],
    sensitive: Sequence[str] = (),
    lines: Mapping[str, Sequence[Sequence[str]]] | None = None,
) -> AnonymityCheck:
    """Count the smallest class, and what each class leaves open about the sensitive columns.

    Args:
        frame: The table as it would be published.
        quasi_identifiers: Columns by which a person could be recognised.
        sensitive: Columns that must stay uncertain.
        lines: Sensitive column to its hierarchy's lines, each from the value to the top.

    Raises:
        InputError: A column is missing, or a hierarchy lacks a value.
    """
    for name in (*quasi_identifiers, *sensitive):
        if name not in frame.columns:
            raise InputError(f"the table has no column `{name}`", code="privacy.column")
    counts = class_counts(frame, quasi_identifiers, sensitive)
    sizes = counts.group_by("class").agg(pl.col("count").sum().alias("size"))
    smallest = sizes["size"].min()
    found = tuple(
        _diversity(
            frame[name],
            counts.select("class", pl.col(f"value {at}").alias("value"), "count"),
            (lines or {}).get(name),
        )
        for at, name in enumerate(sensitive)
    )
    return AnonymityCheck(
        k=int(smallest) if isinstance(smallest, int | float) else 0,
        l=min((one.distinct for one in found), default=0),
        t=max((one.t_equal for one in found), default=0.0),
        classes=sizes.height,
        records=frame.height,
        diversity=found,
    )


@dataclass(frozen=True, slots=True)
class PresenceCheck:
    """How sure one can be that a person of the population is in the table, class by class.

    Attributes:
        low: Least share of a class of the population that is in the table.
        high: Greatest share.
        classes: Classes of the population.
        absent: Those of which nobody is in the table; each has the share 0.
    """

    low: float
    high: float
    classes: int
    absent: int


def check_presence(
    frame: pl.DataFrame, population: pl.DataFrame, quasi_identifiers: Sequence[str]
) -> PresenceCheck:
    """Count what share of each class of a population is in a table.

    Args:
        frame: The table as it would be published.
        population: Everybody that it could be about, generalised in the same way.
        quasi_identifiers: Columns by which a person could be recognised.

    Raises:
        InputError: A column is missing, a table is empty, or a class has more records in the
            table than in the population.
    """
    for what, one in (("table", frame), ("population", population)):
        for name in quasi_identifiers:
            if name not in one.columns:
                raise InputError(f"the {what} has no column `{name}`", code="privacy.population")
        if not one.height:
            raise InputError(f"the {what} has no records", code="privacy.empty")
    keys = [f"key {at}" for at in range(len(quasi_identifiers))]
    mine, theirs = (
        pl.DataFrame(
            [
                _plain(one[name]).alias(key)
                for name, key in zip(quasi_identifiers, keys, strict=True)
            ]
        )
        .group_by(keys)
        .agg(pl.len().alias(count))
        for one, count in ((frame, "t"), (population, "p"))
    )
    both = mine.join(theirs, on=keys, how="full", coalesce=True).select(
        pl.col("t").fill_null(0), pl.col("p").fill_null(0)
    )
    lacking = both.select((pl.col("t").cast(pl.Int64) - pl.col("p")).clip(0).sum()).item()
    if lacking:
        raise InputError(
            f"{lacking} record(s) of the table have no counterpart in the population",
            code="privacy.population",
            hint="it must hold everybody in the table, generalised in the same way",
        )
    share = both["t"] / both["p"]
    return PresenceCheck(
        low=float(share.min()),  # type: ignore[arg-type]
        high=float(share.max()),  # type: ignore[arg-type]
        classes=both.height,
        absent=int((both["t"] == 0).sum()),
    )


def _plain(column: pl.Series) -> pl.Series:
    """Return texts that are equal where values are, however a file was read; no nulls."""
    if column.dtype.is_float():
        column = column.cast(pl.String).str.replace(r"\.0$", "")
    return column.cast(pl.String).fill_null("")


def class_counts(
    frame: pl.DataFrame, quasi_identifiers: Sequence[str], sensitive: Sequence[str] = ()
) -> pl.DataFrame:
    """Count records by class and sensitive values.

    Returns:
        `class` (a number; one class without columns), `value 0`, `value 1`, … (the sensitive
        columns' values) and `count` (float).
    """
    keys = {name: f"key {at}" for at, name in enumerate(quasi_identifiers)}
    values = {name: f"value {at}" for at, name in enumerate(sensitive)}
    both = [
        *(pl.col(name).alias(as_name) for name, as_name in keys.items()),
        *(pl.col(name).alias(as_name) for name, as_name in values.items()),
    ]
    if not both:
        return pl.DataFrame({"class": [0], "count": [float(frame.height)]}).head(frame.height)
    counts = (
        frame.lazy()
        .select(both)
        .group_by([*keys.values(), *values.values()])
        .agg(pl.len().cast(pl.Float64).alias("count"))
        .collect()
    )
    held = pl.struct(keys.values()).rank("dense") if keys else pl.lit(0)
    return counts.select(
        held.alias("class"),
        *values.values(),
        "count",
    )


def _ordered_values(column: pl.Series) -> pl.Series:
    """Return the distinct values in their order, numbers written as text by size; null first."""
    values = column.unique()
    if values.dtype in (pl.Enum, pl.Categorical):
        order = values.cast(pl.String)
    elif values.dtype == pl.String:
        numbers = values.cast(pl.Float64, strict=False)
        order = numbers if numbers.null_count() == values.null_count() else values
    else:
        order = values
    return values.gather(order.arg_sort(nulls_last=False))


def _diversity(
    column: pl.Series, counts: pl.DataFrame, lines: Sequence[Sequence[str]] | None
) -> Diversity:
    """Measure (classes, values) counts, a bounded number of classes at a time."""
    name = column.name
    if not counts.height:
        return Diversity(name, 0, 0.0, {}, 0.0, 0.0)
    values = _ordered_values(counts["value"])
    ranks = pl.DataFrame({"value": values, "rank": range(len(values))})
    joined = counts.join(ranks, on="value", nulls_equal=True, maintain_order="left")
    held = (counts["class"].rank("dense") - 1).to_numpy()
    value, count = joined["rank"].to_numpy(), counts["count"].to_numpy()
    share = np.bincount(value, weights=count, minlength=len(values)) / count.sum()
    tree = None if lines is None else _tree(values.cast(pl.String).to_list(), lines, name)
    order = np.argsort(held, kind="stable")
    step = max(1, _CHUNK // len(values))
    total = int(held.max()) + 1
    parts = []
    for begin in range(0, total, step):
        low, high = np.searchsorted(held[order], (begin, begin + step))
        rows = order[low:high]
        table = np.zeros((min(step, total - begin), len(values)))
        np.add.at(table, (held[rows] - begin, value[rows]), count[rows])
        parts.append(_measure(name, table, share, tree))
    return Diversity(
        column=name,
        distinct=min(one.distinct for one in parts),
        entropy=min(one.entropy for one in parts),
        recursive={at: max(one.recursive[at] for one in parts) for at in _RECURSIVE},
        t_equal=max(one.t_equal for one in parts),
        t_ordered=max(one.t_ordered for one in parts),
        t_hierarchical=max(one.t_hierarchical for one in parts),
    )


def _measure(name: str, table: FloatArray, share: FloatArray, tree: Tree | None) -> Diversity:
    part = table / table.sum(axis=1, keepdims=True)
    extra = part - share
    falling = -np.sort(-table, axis=1)
    logs = np.log(np.where(part > 0, part, 1.0))
    tails = {at: falling[:, at - 1 :].sum(axis=1) for at in _RECURSIVE}
    gap = np.abs(np.cumsum(extra, axis=1)).sum(axis=1)
    return Diversity(
        column=name,
        distinct=int((table > 0).sum(axis=1).min()),
        entropy=float(np.exp(-(part * logs).sum(axis=1)).min()),
        recursive={
            at: float((falling[:, 0] / np.where(tail > 0, tail, np.nan)).max())
            if (tail > 0).all()
            else math.inf
            for at, tail in tails.items()
        },
        t_equal=float(np.maximum(extra, 0.0).sum(axis=1).max()),
        t_ordered=float(gap.max() / max(1, table.shape[1] - 1)),
        t_hierarchical=1.0 if tree is None else _distance(extra, tree),
    )


def _tree(values: Sequence[str | None], lines: Sequence[Sequence[str]], name: str) -> Tree:
    """Return, level by level from below, the node above each node."""
    path = {line[0]: tuple(line[::-1]) for line in lines}
    if any((value or "") not in path for value in values):
        raise InputError(f"the hierarchy of `{name}` lacks a value", code="hierarchy.value")
    nodes = [path[value or ""] for value in values]
    out = []
    while len(nodes[0]) > 1:
        above = list(dict.fromkeys(node[:-1] for node in nodes))
        place = {node: at for at, node in enumerate(above)}
        out.append([place[node[:-1]] for node in nodes])
        nodes = above
    return out


def _distance(extra: FloatArray, tree: Tree) -> float:
    """Return the largest distance over a hierarchy: mass moves under a node at its height / H."""
    distance = np.zeros(len(extra))
    for level, parents in enumerate(tree, 1):
        count = max(parents) + 1
        surplus, deficit = np.zeros((2, len(extra), count))
        for child, parent in enumerate(parents):
            surplus[:, parent] += np.maximum(extra[:, child], 0.0)
            deficit[:, parent] += np.maximum(-extra[:, child], 0.0)
        distance += level / len(tree) * np.minimum(surplus, deficit).sum(axis=1)
        extra = surplus - deficit
    return float(distance.max())

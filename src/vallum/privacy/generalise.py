"""Generalise quasi-identifiers to k by an optimal full-domain search with suppression.

Every quasi-identifier gets a ladder of levels; a node of the lattice is one level for each. Nodes
are tried by increasing loss, the first that reaches k within the suppression limit is optimal.
Small lattices only (one to a handful of columns): the room's later search goes further.

Loss: mean over quasi-identifier cells of (leaves - 1) / (domain - 1), suppressed cells count 1.
Source: Samarati 2001; Sweeney 2002 (full-domain generalisation); LM of Iyengar 2002.
"""

import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl

from vallum.base import GateError, InputError

MAX_NODES = 20_000
SUPPRESSED = "*"


@dataclass(frozen=True, slots=True)
class Level:
    """A column at one level: its values, and the loss of a cell there."""

    name: str
    values: pl.Series
    loss: float  # mean over cells


@dataclass(frozen=True, slots=True)
class Generalised:
    """A protected table and what it cost."""

    table: pl.DataFrame
    k: int
    suppressed: int
    loss: float
    levels: dict[str, str]


def generalise(
    frame: pl.DataFrame,
    quasi_identifiers: Sequence[str],
    *,
    kinds: dict[str, str],
    k: int,
    max_suppression: float,
) -> Generalised:
    """Return `frame` with `quasi_identifiers` generalised so that every class has k records.

    Args:
        frame: At least one record.
        quasi_identifiers: Columns to generalise.
        kinds: Column to type, as discovered; decides the ladder.
        k: At least 2.
        max_suppression: Share of records that may be left out, 0 to 1.

    Raises:
        InputError: k or the share is out of range, or a column is missing.
        GateError: Not even full generalisation reaches k.
    """
    if k < 2 or not 0.0 <= max_suppression <= 1.0:  # noqa: PLR2004 - k = 1 is no protection
        raise InputError("k is at least 2 and the suppression between 0 and 1", code="privacy.k")
    for name in quasi_identifiers:
        if name not in frame.columns:
            raise InputError(f"the table has no column `{name}`", code="privacy.column")
    if not quasi_identifiers:
        if frame.height < k:
            raise GateError(
                f"the table has {frame.height} records, fewer than k = {k}", code="gate.anonymity"
            )
        return Generalised(frame, frame.height, 0, 0.0, {})
    ladders = [_ladder(frame[name], kinds.get(name, "")) for name in quasi_identifiers]
    allowed = int(max_suppression * frame.height)
    best: Generalised | None = None
    for node in _by_loss(ladders):
        chosen = [ladder[level] for ladder, level in zip(ladders, node, strict=True)]
        lower = sum(level.loss for level in chosen) / len(chosen)
        if best is not None and lower >= best.loss:
            break
        found = _try(frame, quasi_identifiers, chosen, k, allowed)
        if found is not None and (best is None or found.loss < best.loss):
            best = found
    if best is None:
        raise GateError(
            f"k = {k} cannot be reached with {allowed} of {frame.height} records suppressed",
            code="gate.anonymity",
            hint="lower --k or raise --max-suppression",
        )
    return best


def _try(
    frame: pl.DataFrame, names: Sequence[str], chosen: Sequence[Level], k: int, allowed: int
) -> Generalised | None:
    made = frame.with_columns(
        [level.values.alias(name) for name, level in zip(names, chosen, strict=True)]
    )
    sizes = made.select(pl.len().over(list(names)).alias("n"))["n"]
    kept = sizes >= k
    suppressed = int((~kept).sum())
    if suppressed > allowed or suppressed == frame.height:
        return None
    share = suppressed / frame.height
    cells = sum(level.loss for level in chosen) / len(chosen)
    table = made.filter(kept)
    return Generalised(
        table=table,
        k=int(sizes.filter(kept).min()),  # type: ignore[arg-type]  # not empty here
        suppressed=suppressed,
        loss=share + (1 - share) * cells,
        levels={name: level.name for name, level in zip(names, chosen, strict=True)},
    )


def _by_loss(ladders: Sequence[Sequence[Level]]) -> "itertools.chain[tuple[int, ...]]":
    """Yield nodes of the lattice by increasing mean loss, from the bottom."""

    def walk() -> "list[tuple[int, ...]]":
        start = (0,) * len(ladders)
        heap = [(sum(ladder[0].loss for ladder in ladders), start)]
        seen = {start}
        order: list[tuple[int, ...]] = []
        while heap and len(order) < MAX_NODES:
            _, node = heapq.heappop(heap)
            order.append(node)
            for place in range(len(ladders)):
                if node[place] + 1 >= len(ladders[place]):
                    continue
                after = (*node[:place], node[place] + 1, *node[place + 1 :])
                if after not in seen:
                    seen.add(after)
                    loss = sum(
                        ladder[level].loss for ladder, level in zip(ladders, after, strict=True)
                    )
                    heapq.heappush(heap, (loss, after))
        return order

    return itertools.chain(walk())


def _ladder(column: pl.Series, kind: str) -> list[Level]:
    """Return the levels of a column, from its own values to one value for all."""
    texts = column.cast(pl.String).fill_null("?")
    domain = max(2, texts.n_unique())
    steps: list[tuple[str, Callable[[pl.Series], pl.Series]]] = [("exact", lambda values: values)]
    if kind == "personal.birth_date":
        steps += [
            ("month", lambda values: values.str.slice(0, 7)),
            ("year", lambda values: values.str.slice(0, 4)),
            ("5 years", lambda values: _years(values, 5)),
            ("10 years", lambda values: _years(values, 10)),
            ("20 years", lambda values: _years(values, 20)),
        ]
    elif kind == "personal.age" or column.dtype.is_numeric():
        steps += [(f"{width}", _widths(width)) for width in (5, 10, 20, 40)]
    elif kind == "personal.postcode" or _is_code(texts):
        longest = int(texts.str.len_chars().max() or 1)  # type: ignore[arg-type]  # an integer
        steps += [(f"{keep} characters", _prefix(keep)) for keep in range(longest - 1, 0, -1)]
    steps.append(("all", lambda values: pl.Series([SUPPRESSED] * len(values), dtype=pl.String)))
    levels: list[Level] = []
    for name, make in steps:
        values = make(texts).alias(column.name)
        # Leaves below a cell: how many original values share its generalised value.
        pairs = pl.DataFrame({"new": values, "old": texts})
        leaves = pairs.group_by("new").agg(pl.col("old").n_unique().alias("leaves"))
        mean = pairs.join(leaves, on="new", how="left")["leaves"].mean()
        loss = (float(mean) - 1) / (domain - 1) if isinstance(mean, int | float) else 1.0
        levels.append(Level(name, values, loss))
    return levels


def _years(values: pl.Series, width: int) -> pl.Series:
    year = values.str.slice(0, 4).cast(pl.Int64, strict=False)
    low = (year // width) * width
    text = low.cast(pl.String) + "-" + (low + width - 1).cast(pl.String)
    return text.fill_null("?")


def _widths(width: int) -> Callable[[pl.Series], pl.Series]:
    def make(values: pl.Series) -> pl.Series:
        number = values.cast(pl.Float64, strict=False)
        low = (number // width) * width
        text = (
            low.cast(pl.Int64).cast(pl.String)
            + "-"
            + (low + width - 1).cast(pl.Int64).cast(pl.String)
        )
        return text.fill_null("?")

    return make


def _prefix(keep: int) -> Callable[[pl.Series], pl.Series]:
    return lambda values: values.str.slice(0, keep) + "*"


def _is_code(texts: pl.Series) -> bool:
    longest = texts.str.len_chars().max()
    return isinstance(longest, int) and longest <= 12  # noqa: PLR2004 - longer texts have no useful prefix

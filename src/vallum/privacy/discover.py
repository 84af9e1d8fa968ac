"""Find personal and secret data in columns. Values never leave this module.

Distinct values are matched against all patterns in one pass of an RE2 set, validated, and weighed
with the column's name; what is longer is searched as text.

Source of the interval: Wilson 1927, score interval for a proportion.
"""

import functools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
import re2

from vallum.privacy.names import LIKELY, value_types
from vallum.privacy.ner import Recognizer
from vallum.privacy.patterns import KINDS
from vallum.privacy.text import discover_texts, options
from vallum.schema import Label

MAX_DISTINCT = 20_000  # distinct values looked at a column: more add nothing to the verdict
MAX_VALUE_CHARS = 65_536
MIN_SHARE = 0.5
_MOSTLY = 0.6  # of the values of a column that its header says nothing about
_FEW = 5  # distinct values: fewer tell nothing about a column
_LONGEST_NAME = 80
_SHORTEST = 5  # characters of the shortest identifier that is looked for in text
_EXACT = 2.0**53  # whole numbers below it are exact as floats
_LABELS = tuple(Label)
_WHOLE_NUMBERS = (pl.Int64, pl.Int32, pl.UInt64, pl.UInt32, pl.Int16, pl.Int8, pl.UInt8, pl.UInt16)


@dataclass(frozen=True, slots=True)
class ColumnFinding:
    """What a column holds; `type` is empty where nothing personal was found."""

    name: str
    type: str
    count: int  # records whose value matches
    share: float  # of distinct values that match
    confidence: tuple[float, float]  # 95 % interval of the share
    label: Label
    direct: bool = False
    quasi: bool = False


@dataclass(frozen=True, slots=True)
class Discovery:
    """All columns of a table."""

    rows: int
    columns: tuple[ColumnFinding, ...]

    @property
    def label(self) -> Label:
        """Return the highest label of any column; at least `general`."""
        found = [_LABELS.index(one.label) for one in self.columns]
        return _LABELS[max([_LABELS.index(Label.GENERAL), *found])]


@functools.cache
def _whole() -> "re2.Set":
    made = re2.Set.FullMatchSet(options())
    for kind in KINDS:
        made.Add(kind.pattern)
    made.Compile()
    return made


@functools.cache
def _names() -> tuple[Any, ...]:
    return tuple(re2.compile(f"(?i:{kind.names})") if kind.names else None for kind in KINDS)


def discover_table(frame: pl.DataFrame, *, recognizers: Sequence[Recognizer] = ()) -> Discovery:
    """Classify every column.

    Args:
        frame: Any table.
        recognizers: Asked about the values of columns of text, as by `discover_texts`.

    Raises:
        InputError: A recognizer returned what lies outside its text.
    """
    return Discovery(
        rows=frame.height,
        columns=tuple(_column(frame[name], recognizers) for name in frame.columns),
    )


def _column(column: pl.Series, recognizers: Sequence[Recognizer]) -> ColumnFinding:
    nothing = ColumnFinding(column.name, "", 0, 0.0, (0.0, 0.0), Label.GENERAL)
    texts = _texts(column)
    if texts is None:
        if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
            # What cannot be looked into counts as the highest label.
            return replace(nothing, label=Label.HIGHLY_CONFIDENTIAL)
        return nothing
    counts = texts.drop_nulls().alias("").value_counts(sort=True).head(MAX_DISTINCT)
    values: list[str] = counts.to_series(0).to_list()
    weights: list[int] = counts.to_series(1).to_list()
    values = [value.strip()[:MAX_VALUE_CHARS] for value in values]
    filled = [(value, weight) for value, weight in zip(values, weights, strict=True) if value]
    if not filled:
        return nothing
    supported = [name is not None and bool(name.search(column.name)) for name in _names()]
    matched: Counter[int] = Counter()
    records: Counter[int] = Counter()
    whole = _whole()
    for value, weight in filled:
        for index in whole.Match(value) or ():  # None: nothing matched
            kind = KINDS[index]
            if (not kind.weak or supported[index]) and kind.validate(value):
                matched[index] += 1
                records[index] += weight
    best: tuple[float, int] | None = None
    for index, count in matched.items():
        share = count / len(filled)
        score = share + (0.25 if supported[index] else 0.0) - (0.1 if KINDS[index].weak else 0.0)
        if share >= MIN_SHARE and (best is None or score > best[0]):
            best = (score, index)
    if best is None:
        return _by_value(column.name, filled, supported, nothing) or _in_text(
            column.name, filled, nothing, recognizers
        )
    kind = KINDS[best[1]]
    share = matched[best[1]] / len(filled)
    return ColumnFinding(
        name=column.name,
        type=kind.name,
        count=records[best[1]],
        share=share,
        confidence=_wilson(matched[best[1]], len(filled)),
        label=kind.label,
        direct=kind.direct,
        quasi=kind.quasi,
    )


def _by_value(
    name: str, filled: list[tuple[str, int]], supported: list[bool], nothing: ColumnFinding
) -> ColumnFinding | None:
    """Tell a column of names, cities or countries by its values, whatever it is called."""
    if not any(value[:1].isalpha() for value, _ in filled[:_FEW]):
        return None
    found: Counter[str] = Counter()
    records: Counter[str] = Counter()
    ordinary: Counter[str] = Counter()
    for value, weight in filled:
        types, common = value_types(value) if len(value) <= _LONGEST_NAME else ((), False)
        for type_ in types:
            found[type_] += 1
            records[type_] += weight
            ordinary[type_] += common or not value[:1].isupper()
    if not found:
        return None
    type_, count = found.most_common(1)[0]
    at = next(at for at, one in enumerate(KINDS) if one.name == type_)
    share = count / len(filled)
    # Without a telling header: many different ones, and few that are ordinary words too.
    plainly = len(filled) >= _FEW and ordinary[type_] <= count / 2 and share >= _MOSTLY
    if not plainly and not (supported[at] and share >= MIN_SHARE):
        return None
    kind = KINDS[at]
    return replace(
        nothing,
        name=name,
        type=type_,
        count=records[type_],
        share=share,
        confidence=_wilson(count, len(filled)),
        label=kind.label,
        direct=kind.direct,
        quasi=kind.quasi,
    )


def _in_text(
    name: str,
    filled: list[tuple[str, int]],
    nothing: ColumnFinding,
    recognizers: Sequence[Recognizer],
) -> ColumnFinding:
    """Look inside longer values: free text is not what its whole value matches."""
    found: Counter[str] = Counter()
    records = 0
    longer = [one for one in filled if len(one[0]) >= _SHORTEST]
    texts = discover_texts([value for value, _ in longer], recognizers=recognizers)
    for (_, weight), spans in zip(longer, texts, strict=True):
        # One word that may be a name says nothing about a column.
        kinds = {span.type for span in spans if span.score >= LIKELY}
        found.update(kinds)
        records += weight if kinds else 0
    if not found:
        return nothing
    type_, count = found.most_common(1)[0]
    kind = next(one for one in KINDS if one.name == type_)
    looked = len(filled)
    return ColumnFinding(
        name,
        type_,
        records,
        count / looked,
        _wilson(count, looked),
        kind.label,
        direct=not type_.startswith("location."),
    )


def _texts(column: pl.Series) -> pl.Series | None:
    if column.dtype == pl.String:
        return column
    if column.dtype in (pl.Date, pl.Datetime):
        return column.cast(pl.String)
    if column.dtype in _WHOLE_NUMBERS:
        return column.cast(pl.String)
    if column.dtype in (pl.Categorical, pl.Enum):
        return column.cast(pl.String)
    if column.dtype in (pl.Float64, pl.Float32):
        whole = column.drop_nulls().drop_nans()
        exact = (whole == whole.floor()) & (whole.abs() < _EXACT)
        if len(whole) and bool(exact.all()):
            return column.fill_nan(None).cast(pl.Int64, strict=False).cast(pl.String)
    return None  # measurements are no identifiers


def _wilson(count: int, total: int) -> tuple[float, float]:
    z = 1.959964
    share = count / total
    middle = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)

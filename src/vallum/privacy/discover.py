"""Find personal and secret data in columns and free text. Values never leave this module.

Columns: distinct values are matched against all patterns in one pass of an RE2 set, validated,
and weighed with the column's name. Text: the same set says which patterns can occur at all;
only those are searched for.

Source of the interval: Wilson 1927, score interval for a proportion.
"""

import bisect
import functools
import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
import re2

from vallum.privacy.patterns import CONTEXT, KINDS, Kind
from vallum.schema import Label

MAX_DISTINCT = 20_000  # distinct values looked at a column: more add nothing to the verdict
MAX_VALUE_CHARS = 65_536
MIN_SHARE = 0.5
_CONTEXT_CHARS = 40
_SHORTEST = 5  # characters of the shortest identifier that is looked for in text
_EXACT = 2.0**53  # whole numbers below it are exact as floats
_WINDOW_CHARS = 2048
_OVERLAP_CHARS = 256  # no pattern but a URL or a key is longer
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


@dataclass(frozen=True, slots=True)
class Span:
    """A match in text; offsets in code points."""

    start: int
    end: int
    type: str
    score: float


def _options() -> "re2.Options":
    options = re2.Options()
    options.max_mem = 256 * 1024 * 1024  # all patterns in one automaton
    options.log_errors = False
    return options


@functools.cache
def _whole() -> "re2.Set":
    made = re2.Set.FullMatchSet(_options())
    for kind in KINDS:
        made.Add(kind.pattern)
    made.Compile()
    return made


@functools.cache
def _anywhere() -> "re2.Set":
    made = re2.Set.SearchSet(_options())
    for kind in KINDS:
        made.Add(_bounded(kind))
    made.Compile()
    return made


@functools.cache
def _searchers() -> tuple[Any, ...]:
    return tuple(re2.compile(_bounded(kind)) for kind in KINDS)


@functools.cache
def _names() -> tuple[Any, ...]:
    return tuple(re2.compile(f"(?i:{kind.names})") if kind.names else None for kind in KINDS)


def _bounded(kind: Kind) -> str:
    return rf"(?:^|[^A-Za-z0-9_])({kind.pattern})(?:$|[^A-Za-z0-9_])"


def discover_table(frame: pl.DataFrame) -> Discovery:
    """Classify every column."""
    return Discovery(
        rows=frame.height, columns=tuple(_column(frame[name]) for name in frame.columns)
    )


def _column(column: pl.Series) -> ColumnFinding:
    nothing = ColumnFinding(column.name, "", 0, 0.0, (0.0, 0.0), Label.GENERAL)
    texts = _texts(column)
    if texts is None:
        if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
            # What cannot be looked into counts as the highest label.
            return replace(nothing, label=Label.HIGHLY_CONFIDENTIAL)
        return nothing
    counts = texts.drop_nulls().value_counts(sort=True).head(MAX_DISTINCT)
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
        return _in_text(column.name, filled, nothing)
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


def _in_text(name: str, filled: list[tuple[str, int]], nothing: ColumnFinding) -> ColumnFinding:
    """Look inside longer values: free text is not what its whole value matches."""
    found: Counter[str] = Counter()
    records = 0
    for value, weight in filled:
        if len(value) < _SHORTEST:
            continue
        kinds = {span.type for span in discover_text(value)}
        found.update(kinds)
        records += weight if kinds else 0
    if not found:
        return nothing
    type_, count = found.most_common(1)[0]
    kind = next(one for one in KINDS if one.name == type_)
    looked = len(filled)
    return ColumnFinding(
        name, type_, records, count / looked, _wilson(count, looked), kind.label, direct=True
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


def discover_text(text: str) -> tuple[Span, ...]:
    """Find spans in free text, longest first where they overlap.

    Long texts are searched in overlapping windows: the time grows with the length, no faster.
    """
    found: set[Span] = set()
    step = _WINDOW_CHARS - _OVERLAP_CHARS
    for start in range(0, max(1, len(text) - _OVERLAP_CHARS), step):
        window = text[start : start + _WINDOW_CHARS]
        found.update(
            Span(start + span.start, start + span.end, span.type, span.score)
            for span in _in_window(window)
        )
    ordered = sorted(found, key=lambda span: (-(span.end - span.start), span.start, span.type))
    kept: list[Span] = []
    taken: list[tuple[int, int]] = []
    for span in ordered:
        at = bisect.bisect_left(taken, (span.start, span.end))
        before = taken[at - 1] if at else (0, 0)
        after = taken[at] if at < len(taken) else (len(text) + 1, 0)
        if before[1] <= span.start and span.end <= after[0]:
            taken.insert(at, (span.start, span.end))
            kept.append(span)
    return tuple(sorted(kept, key=lambda span: span.start))


def _in_window(text: str) -> list[Span]:
    found: list[Span] = []
    searchers = _searchers()
    for index in _anywhere().Match(text) or ():
        kind = KINDS[index]
        context = CONTEXT.get(kind.name, "")
        if kind.weak and not context:
            continue
        at = 0
        while at <= len(text):
            match = searchers[index].search(text, at)
            if match is None:
                break
            start, end = match.span(1)
            at = max(end, at + 1)
            value = text[start:end]
            if not kind.validate(value):
                continue
            if kind.weak and not re2.search(context, text[max(0, start - _CONTEXT_CHARS) : start]):
                continue
            checked = kind.validate.__name__ != "always"
            found.append(Span(start, end, kind.name, 0.95 if checked else 0.8))
    return found


def _wilson(count: int, total: int) -> tuple[float, float]:
    z = 1.959964
    share = count / total
    middle = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)

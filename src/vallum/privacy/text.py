"""Find spans in free text: where anything can be (`regions`), then patterns, then validators."""

import bisect
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import re2

from vallum.base import Run, run_here
from vallum.privacy.kind import Kind
from vallum.privacy.lexicon import candidates
from vallum.privacy.names import find_names
from vallum.privacy.ner import ENTITIES, Recognizer, recognize
from vallum.privacy.patterns import KINDS
from vallum.privacy.plain import Plain, odd_places, plain_text
from vallum.privacy.regions import regions
from vallum.privacy.validators import always

CONTEXT_CHARS = 60
_WINDOW = 2048
_OVERLAP = 256  # no pattern but a URL or a key is longer
_SURE, _LIKELY = 0.95, 0.8
_FOLLOWING = 8  # characters that may say what a match really is
_BATCH_CHARS = 2 * 1024 * 1024
_BETWEEN = "\n\x1e\n"  # no pattern matches across it


@dataclass(frozen=True, slots=True)
class Span:
    """A match in text; offsets in code points."""

    start: int
    end: int
    type: str
    score: float


def options() -> "re2.Options":
    """Return how all patterns are compiled: all of them fit one automaton."""
    made = re2.Options()
    made.max_mem = 256 * 1024 * 1024
    made.log_errors = False
    return made


def _searched(kind: Kind) -> bool:
    return not kind.weak or bool(kind.context)


@functools.cache
def _anywhere() -> "re2.Set":
    made = re2.Set.SearchSet(options())
    for kind in _text_kinds():
        made.Add(_bounded(kind))
    made.Compile()
    return made


@functools.cache
def _text_kinds() -> tuple[Kind, ...]:
    return tuple(kind for kind in KINDS if _searched(kind))


@functools.cache
def _searchers() -> tuple[Any, ...]:
    return tuple(re2.compile(_bounded(kind)) for kind in _text_kinds())


@functools.cache
def _contexts() -> tuple[Any, ...]:
    return tuple(re2.compile(kind.context) if kind.context else None for kind in _text_kinds())


def _bounded(kind: Kind) -> str:
    return rf"(?:^|[^A-Za-z0-9_])({kind.pattern})(?:$|[^A-Za-z0-9_])"


def discover_text(text: str) -> tuple[Span, ...]:
    """Find spans in one text, the longest first where they overlap."""
    return discover_texts((text,))[0]


def discover_texts(
    texts: Sequence[str],
    *,
    recognizers: Sequence[Recognizer] = (),
    entities: Mapping[str, str] = ENTITIES,
    run: Run = run_here,
) -> list[tuple[Span, ...]]:
    """Find spans in many texts at once, which costs less than one by one.

    Args:
        texts: Any texts.
        recognizers: Asked as well: of presidio-analyzer, or from `read_spacy`.
        entities: What their entities are called here; those that are not in it are left out.
        run: Applies a function to batches of texts: in this thread, or in several processes
            (`sandbox.process_pool`), which need recognizers that can be pickled.

    Returns:
        For each text its spans, in order, none overlapping; offsets in its code points.

    Raises:
        InputError: A recognizer returned what lies outside its text.
    """
    search = functools.partial(_discover, recognizers=recognizers, entities=entities)
    return [spans for batch in run(search, _batches(texts)) for spans in batch]


def _batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cut between texts, at about `_BATCH_CHARS`; a longer text is a batch of its own."""
    ends = list(accumulate(map(len, texts)))
    start = 0
    while start < len(texts):
        limit = (ends[start - 1] if start else 0) + _BATCH_CHARS
        stop = max(start + 1, bisect.bisect_right(ends, limit, start))
        yield texts[start:stop]
        start = stop


def _discover(
    texts: Sequence[str], *, recognizers: Sequence[Recognizer], entities: Mapping[str, str]
) -> list[tuple[Span, ...]]:
    """Find spans in the texts of one batch."""
    joined = _BETWEEN.join(texts)
    data = joined.encode("utf-8", "surrogatepass")
    begins = _begins(texts)
    plains: list[str | Plain] = list(texts)
    shown = texts
    odd = _odd_texts(joined, data, begins)
    if odd:
        for which in odd:
            plains[which] = plain_text(texts[which])
        shown = [one if isinstance(one, str) else one.text for one in plains]
        joined = _BETWEEN.join(shown)
        data = joined.encode("utf-8", "surrogatepass")
        begins = _begins(shown)
    found: dict[int, list[Span]] = {}
    offsets = _Offsets(joined, data)
    for start, end in regions(data):
        low, high = offsets.of(start), offsets.of(end)
        which = bisect.bisect_right(begins, low) - 1
        while which < len(texts) and begins[which] < high:
            first = begins[which]
            last = first + len(shown[which])
            if low < last:
                one = plains[which]
                plain = Plain(one) if isinstance(one, str) else one
                spans = _in_region(plain, max(low, first) - first, min(high, last) - first)
                found.setdefault(which, []).extend(spans)
            which += 1
    offsets = _Offsets(joined, data)
    for name in find_names(joined, map(offsets.of, candidates(data))):
        which = bisect.bisect_right(begins, name.start) - 1
        one = plains[which]
        first, last = name.start - begins[which], name.end - begins[which]
        if not isinstance(one, str):
            first, last = one.place(first, last)
        found.setdefault(which, []).append(Span(first, last, name.type, name.score))
    if recognizers:
        for which, text in enumerate(texts):
            hits = recognize(text, recognizers, entities)
            found.setdefault(which, []).extend(Span(*hit) for hit in hits)
    return [tuple(_apart(found[at])) if at in found else () for at in range(len(texts))]


def _begins(texts: Sequence[str]) -> list[int]:
    """Return where each text begins when they are joined."""
    lengths = accumulate(map(len, texts[:-1]), initial=0)
    return [at * len(_BETWEEN) + length for at, length in enumerate(lengths)]


def _odd_texts(joined: str, data: bytes, begins: Sequence[int]) -> list[int]:
    """Return the texts that may not read as they are written."""
    made: list[int] = []
    offsets = _Offsets(joined, data)
    for byte in odd_places(data):
        which = bisect.bisect_right(begins, offsets.of(byte)) - 1
        if not made or which != made[-1]:
            made.append(which)
    return made


class _Offsets:
    """Turns byte offsets that only grow into code points; holds where it is."""

    def __init__(self, text: str, data: bytes) -> None:
        self._plain = len(text) == len(data)
        self._data = data
        self._byte = 0
        self._char = 0

    def of(self, byte: int) -> int:
        """Return the code point at a byte offset."""
        if self._plain:
            return byte
        piece = self._data[self._byte : byte]
        self._char += len(piece.decode("utf-8", "surrogatepass"))
        self._byte = byte
        return self._char


def _in_region(plain: Plain, start: int, end: int) -> list[Span]:
    """Search one place, in overlapping windows if it is long: the time stays linear."""
    found: set[Span] = set()
    for at in range(start, max(start + 1, end - _OVERLAP), _WINDOW - _OVERLAP):
        _search(plain, at, min(at + _WINDOW, end), found)
    return list(found)


def _search(plain: Plain, start: int, end: int, found: set[Span]) -> None:
    text = plain.text[start:end]
    if not text.isascii() and "\ud800" <= max(text) <= "\udfff":
        return  # a lone surrogate is no text
    kinds = _text_kinds()
    for index in _anywhere().Match(text) or ():
        kind = kinds[index]
        supported = False
        if kind.weak:
            near = plain.text[max(0, start - CONTEXT_CHARS) : start + len(text)]
            if kind.after:
                near += plain.text[end : end + CONTEXT_CHARS]
            supported = _contexts()[index].search(near) is not None
            if not supported:
                continue
        at = 0
        while at <= len(text):
            match = _searchers()[index].search(text, at)
            if match is None:
                break
            one, other = match.span(1 + kind.group)
            other = one + len(text[one:other].rstrip(kind.trim)) if kind.trim else other
            at = max(match.span(1)[1], at + 1)
            if not kind.validate(text[one:other]):
                continue
            if kind.unless and re2.search(kind.unless, text[other : other + _FOLLOWING]):
                continue
            if kind.weak and not _near(plain.text, start + one, start + other, index, kind):
                continue
            first, last = plain.place(start + one, start + other)
            score = _SURE if kind.validate is not always else _LIKELY
            found.add(Span(first, last, kind.name, score))


def _near(text: str, start: int, end: int, index: int, kind: Kind) -> bool:
    before = text[max(0, start - CONTEXT_CHARS) : start]
    if _contexts()[index].search(before) is not None:
        return True
    after = text[end : end + CONTEXT_CHARS // 2] if kind.after else ""
    return bool(after) and _contexts()[index].search(after) is not None


def _apart(found: list[Span]) -> list[Span]:
    ordered = sorted(
        found, key=lambda span: (span.start - span.end, -span.score, span.start, span.type)
    )
    kept: list[Span] = []
    taken: list[tuple[int, int]] = []
    for span in ordered:
        at = bisect.bisect_left(taken, (span.start, span.end))
        before = taken[at - 1] if at else (0, 0)
        after = taken[at] if at < len(taken) else (span.end + 1, 0)
        if before[1] <= span.start and span.end <= after[0]:
            taken.insert(at, (span.start, span.end))
            kept.append(span)
    return sorted(kept, key=lambda span: span.start)

"""Personal data in nested JSON: every value under its path, its key as the words before it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from vallum.base import LimitExceededError
from vallum.privacy.ner import Recognizer
from vallum.privacy.text import Span, discover_texts

MAX_VALUES = 5_000_000
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_ -]{0,63}")
_NUMBER = re.compile(r"[0-9]{5}")
_KEY = "{key}"  # stands for a key that may be somebody's data itself
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def discover_nested(
    documents: Sequence[object], *, recognizers: Sequence[Recognizer] = ()
) -> list[tuple[tuple[str, Span], ...]]:
    """Find spans in the values of JSON documents.

    Args:
        documents: What a bounded reader has parsed. A key that is no plain name is looked at
            like a value, and not shown.
        recognizers: Asked as well, as by `discover_texts`.

    Returns:
        For each document its findings in order: the path (`patient.contacts[0].mail`) and the
        span, whose offsets are code points of the value as text.

    Raises:
        LimitExceededError: There are more than `MAX_VALUES` values.
    """
    places: list[tuple[int, str, int]] = []
    texts: list[str] = []
    for number, document in enumerate(documents):
        for path, key, text in _values(document):
            words = _CAMEL.sub(" ", key).replace("_", " ").replace("-", " ")
            before = f"{words}: " if words else ""
            places.append((number, path, len(before)))
            texts.append(before + text)
            if len(texts) > MAX_VALUES:
                raise LimitExceededError(
                    f"the documents have more than {MAX_VALUES} values", code="pii.values"
                )
    found: list[list[tuple[str, Span]]] = [[] for _ in documents]
    searched = discover_texts(texts, recognizers=recognizers)
    for (number, path, skip), spans in zip(places, searched, strict=True):
        found[number] += [
            (path, replace(span, start=span.start - skip, end=span.end - skip))
            for span in spans
            if span.start >= skip
        ]
    return [tuple(one) for one in found]


def _values(document: object) -> Iterator[tuple[str, str, str]]:
    """Yield path, nearest key and text of every value, in order."""
    waiting: list[tuple[str, str, object]] = [("", "", document)]
    while waiting:
        path, key, value = waiting.pop()
        if isinstance(value, dict):
            inner: list[tuple[str, str, object]] = []
            for name, one in value.items():
                plain = _PLAIN.fullmatch(name) and not _NUMBER.search(name)
                step = name if plain else _KEY
                below = f"{path}.{step}" if path else step
                if not plain:
                    inner.append((below, "", name))
                inner.append((below, name if plain else "", one))
            waiting += reversed(inner)
        elif isinstance(value, list):
            waiting += reversed([(f"{path}[{at}]", key, one) for at, one in enumerate(value)])
        elif isinstance(value, str) or (
            isinstance(value, int | float) and not isinstance(value, bool)
        ):
            yield path, key, str(value)

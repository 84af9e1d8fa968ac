"""Spans: what a trace's file of them tells, and which of them a filter means.

All conditions of a filter on spans are about one span: a trace is found if one of its spans meets
every one of them. What a span does not have compares with nothing, `!=` too.

Source: mlflow/entities/span.py, `Span.to_dict`; mlflow/store/tracking/sqlalchemy_store.py.
"""

import json
from collections.abc import Callable, Mapping, Sequence

from vallum.base import InputError, LimitExceededError
from vallum.formats import load_json
from vallum.workspace.tracking.checks import MAX_TAG
from vallum.workspace.tracking.filters import Comparison, Value, Vocabulary, matcher

Span = Mapping[str, object]

MAX_CONTENT = 1024 * 1024  # characters of a span that `span.content` looks at
_TYPE = "mlflow.spanType"
_STATUS = "STATUS_CODE_"
_ATTRIBUTES = "attributes."


def spans_of(data: bytes) -> Sequence[Span]:
    """Return the spans that a client stored; none, where it is not what clients store."""
    try:
        told = load_json(data)
    except (InputError, LimitExceededError):
        return ()
    spans = told.get("spans") if isinstance(told, dict) else None
    return [one for one in spans if isinstance(one, dict)] if isinstance(spans, list) else ()


def one_meets(
    comparisons: Sequence[Comparison], before_each: Callable[[], None]
) -> Callable[[Span], bool]:
    """Return what tells whether a span meets all comparisons.

    Args:
        comparisons: As `parse_filter` returns them.
        before_each: Called before each of them: one span may be large, and they may be many.
    """
    written: tuple[Span | None, str] = (None, "")

    def value(span: Span, key: str) -> Value:
        nonlocal written
        before_each()
        if key != "content":
            return _value(span, key)
        if written[0] is not span:
            written = span, json.dumps(span, ensure_ascii=False)[:MAX_CONTENT]
        return written[1]

    spans: Vocabulary[Span] = Vocabulary(
        entities={"span": value}, numeric=frozenset(), textual=frozenset(), aliases={}
    )
    return matcher(comparisons, spans)


def _value(span: Span, key: str) -> Value:
    if key == "name":
        return _text(span.get("name"))
    if key == "status":
        told = span.get("status")
        code = told.get("code") if isinstance(told, dict) else None
        return code.removeprefix(_STATUS) if isinstance(code, str) else None
    return _attribute(span, _TYPE if key == "type" else key.removeprefix(_ATTRIBUTES))


def _attribute(span: Span, name: str) -> Value:
    """Return an attribute as a text: clients store each as JSON, within the JSON."""
    told = span.get("attributes")
    value = told.get(name) if isinstance(told, dict) else None
    if isinstance(value, str):
        try:
            inner = load_json(value.encode())
        except (InputError, LimitExceededError, UnicodeEncodeError):
            return value[:MAX_TAG]  # as OpenTelemetry's own writers store it
        value = inner if isinstance(inner, str) else value
    return _text(value)


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return None if value is None else value[:MAX_TAG]
    return json.dumps(value, ensure_ascii=False)[:MAX_TAG]

"""Redact requests and answers of models before they are kept: fields, and text within them.

A field whose values or name are those of a kind of personal data is replaced as a whole, and stays
so for as long as the process lives; in longer text only what is found is replaced. Runs in a
sandbox: what callers sent is parsed here and nowhere else on its way to the store.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import polars as pl

from vallum.base import InputError, VallumError
from vallum.formats import load_json
from vallum.privacy.discover import discover_table
from vallum.privacy.nested import _CAMEL, _KEY, _NUMBER, _PLAIN
from vallum.privacy.text import Span, discover_texts
from vallum.schema.capture import Redacted

MAX_LEAVES = 65_536  # values of one request or answer
MAX_FIELDS = 4_096  # that are remembered as personal
FREE_TEXT_CHARS = 48  # longer values are text to be searched, not values of a kind
_EXACT = 2.0**53


@dataclass(slots=True)
class _Leaf:
    """A value, and where it is to be replaced."""

    holder: Any  # the list or dict that holds it
    place: int | str
    field: str  # its path without the numbers of rows
    words: str  # that stand before it: its key, or its column's name
    text: str


def open_redaction(_payload: bytes) -> Callable[..., Redacted]:
    """Return what redacts batches of captured records.

    It is called with `scope` (what a field that is personal stays so for) and `records`: of each
    a `head` that is kept as it is, and JSON bodies `inputs` and `outputs`, which may be empty.
    """
    known: set[tuple[str, str]] = set()

    def redact(*, scope: str, records: Sequence[dict[str, Any]]) -> Redacted:
        if len(known) > MAX_FIELDS:  # callers name fields: memory is bounded, and all is looked at
            known.clear()
        kept: list[dict[str, Any]] = []
        leaves: list[_Leaf] = []
        failed = 0
        for record in records:
            try:
                made, found = _read(record)
            except VallumError:
                failed += 1
                continue
            kept.append(made)
            leaves += found
        _mask_fields(scope, leaves, known)
        _mask_text(leaves)
        for made in kept:
            for side in ("inputs", "outputs"):
                if side in made:
                    made[side] = _mask_keys(made[side])
        lines = b"".join(msgspec.json.encode(one) + b"\n" for one in kept)
        return Redacted(lines=lines, records=len(kept), failed=failed)

    return redact


def _read(record: dict[str, Any]) -> tuple[dict[str, Any], list[_Leaf]]:
    """Parse one record within bounds.

    Raises:
        VallumError: A body is no JSON, or holds too many values.
    """
    made = dict(record["head"])
    leaves: list[_Leaf] = []
    for side in ("inputs", "outputs"):
        body = record.get(side)
        if not body:
            continue
        made[side] = load_json(body)
        try:
            msgspec.json.encode(made[side])
        except UnicodeEncodeError as error:  # half of a pair, which JSON can spell
            raise InputError("a text is not Unicode", code="capture.text") from error
        for leaf in _leaves(made, side, side):
            leaves.append(leaf)
            if len(leaves) > MAX_LEAVES:
                raise InputError("too many values", code="capture.values")
    return made, leaves


def _leaves(holder: Any, place: Any, field: str) -> Iterator[_Leaf]:  # noqa: ANN401 - JSON
    """Yield every value below a place that could be an identifier."""
    waiting: list[tuple[Any, Any, str, str, bool]] = [(holder, place, field, "", False)]
    while waiting:
        inside, at, path, words, row = waiting.pop()
        value = inside[at]
        if isinstance(value, dict):
            named = _columns(value)
            for name in value:
                plain = _plain(name)
                below = f"{path}.{name if plain else _KEY}"
                if name == "data" and named is not None:
                    waiting += [
                        (cells, column, f"{below}.{title}", _words(title), True)
                        for cells in value["data"]
                        if isinstance(cells, list)
                        for column, title in zip(range(len(cells)), named, strict=False)
                    ]
                    # Cells beyond the titles, and rows that are none, are looked at as well.
                    waiting += [
                        (cells, column, f"{below}[{column}]", "", True)
                        for cells in value["data"]
                        if isinstance(cells, list)
                        for column in range(len(named), len(cells))
                    ]
                    waiting += [
                        (value["data"], at_row, f"{below}[*]", "", False)
                        for at_row, cells in enumerate(value["data"])
                        if not isinstance(cells, list)
                    ]
                    continue
                own = value.get("name") if name == "data" else None  # a tensor's, in V2
                title = own if isinstance(own, str) else name
                waiting.append((value, name, below, _words(title) if plain else "", False))
        elif isinstance(value, list):
            cells = row or not any(isinstance(one, list | dict) for one in value)
            flat = cells and path.endswith("[*]")
            waiting += [
                (value, number, f"{path}[{number}]" if flat else f"{path}[*]", words, False)
                for number in range(len(value))
            ]
        else:
            text = _text(value)
            if text:
                yield _Leaf(inside, at, path, words, text)


def _columns(value: dict[str, Any]) -> list[str] | None:
    """Return the titles of a table as pandas splits it: `{"columns": […], "data": [[…], …]}`."""
    titles = value.get("columns")
    if not isinstance(titles, list) or not isinstance(value.get("data"), list):
        return None
    return titles if all(isinstance(one, str) for one in titles) else None


def _plain(name: str) -> bool:
    return _PLAIN.fullmatch(name) is not None and _NUMBER.search(name) is None


def _words(key: str) -> str:
    return _CAMEL.sub(" ", key[:64]).replace("_", " ").replace("-", " ")


def _text(value: object) -> str:
    """Return a value as an identifier would be written; measurements are none."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or value is None:
        return ""
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return str(int(value))
    return ""


def _mask_fields(scope: str, leaves: list[_Leaf], known: set[tuple[str, str]]) -> None:
    """Replace the values of fields that are of a personal kind."""
    fields: dict[str, list[_Leaf]] = {}
    for leaf in leaves:
        fields.setdefault(leaf.field, []).append(leaf)
    for field, held in fields.items():
        if (scope, field) not in known:
            if any(len(leaf.text) > FREE_TEXT_CHARS for leaf in held):
                continue  # text is searched, not replaced
            name = held[0].words.replace(" ", "_") or "value"
            column = pl.DataFrame({name: [leaf.text for leaf in held]})
            (finding,) = discover_table(column).columns
            if not finding.type:
                continue
            known.add((scope, field))
            label = finding.type
        else:
            label = "personal"
        for leaf in held:
            leaf.holder[leaf.place] = f"[{label}]"
            leaf.text = ""


def _mask_text(leaves: list[_Leaf]) -> None:
    """Replace what is found in the values that are left."""
    left = [leaf for leaf in leaves if leaf.text]
    befores = [f"{leaf.words}: " if leaf.words else "" for leaf in left]
    texts = [before + leaf.text for before, leaf in zip(befores, left, strict=True)]
    for leaf, before, spans in zip(left, befores, discover_texts(texts), strict=True):
        inside = [span for span in spans if span.end > len(before)]
        if not inside:
            continue
        if isinstance(leaf.holder[leaf.place], str):
            leaf.holder[leaf.place] = _without(leaf.text, inside, len(before))
        else:
            leaf.holder[leaf.place] = f"[{inside[0].type}]"


def _without(text: str, spans: Sequence[Span], skip: int = 0) -> str:
    out: list[str] = []
    at = 0
    for span in spans:
        out += [text[at : max(at, span.start - skip)], f"[{span.type}]"]
        at = span.end - skip
    return "".join([*out, text[at:]])


def _mask_keys(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Replace what is found in keys that are no plain names: they may be somebody's data."""
    if isinstance(value, list):
        return [_mask_keys(one) for one in value]
    if not isinstance(value, dict):
        return value
    odd = [name for name in value if not _plain(name)]
    found = dict(zip(odd, discover_texts(odd), strict=True)) if odd else {}
    out: dict[str, Any] = {}
    for name, one in value.items():
        title = _without(name, found[name]) if found.get(name) else name
        while title in out:
            title += "'"
        out[title] = _mask_keys(one)
    return out

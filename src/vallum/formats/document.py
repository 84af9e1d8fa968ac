"""JSON and YAML documents: one meaning per document, bounded before anything is built."""

import json
from collections.abc import Iterator
from typing import Any

import yaml

from vallum.base.bounds import JSON, JsonBounds
from vallum.formats.refusal import refuse, within

_OPEN, _CLOSE = frozenset(b"{["), frozenset(b"}]")
_QUOTE, _BACKSLASH = ord('"'), ord("\\")
_MAX_DIGITS = 4_300  # Python's own limit on int("…"), kept so that a longer one is our refusal


def load_json(data: bytes, bounds: JsonBounds = JSON, *, finite: bool = True) -> Any:  # noqa: ANN401 - JSON is untyped
    """Parse one JSON document.

    Refuses duplicate keys, NaN and infinities, a byte-order mark, invalid UTF-8 and whatever goes
    beyond `bounds`: two parsers must not be able to read two meanings from the same bytes. Without
    `finite`, NaN and infinities pass: Python's own writer leaves them in the logs of a training.

    Raises:
        InputError: Code `format.json.*`.
        LimitExceededError: Code `format.json.too-large`, `.too-deep` or `.too-many-nodes`.

    Source: RFC 8259; RFC 7493 section 2.3 for duplicate keys.
    """
    within(len(data), bounds.max_bytes, "format.json.too-large", "bytes of the JSON document")
    _check_shape(data, bounds)
    try:
        text = data.decode("utf-8")
        return json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_no_constant if finite else float,
            parse_int=_integer,
        )
    except (ValueError, RecursionError) as error:
        refuse("format.json.malformed", "the document is not valid JSON", cause=error)


def _check_shape(data: bytes, bounds: JsonBounds) -> None:
    """Bound depth and nodes by a look at the bytes, before a parser recurses."""
    bare = _without_strings(data)
    nodes = bare.count(b",") + bare.count(b":") + bare.count(b"{") + bare.count(b"[") + 1
    within(nodes, bounds.max_nodes, "format.json.too-many-nodes", "nodes of the JSON document")
    depth = 0
    for byte in bare.translate(None, delete=_NOT_BRACKETS):
        if byte in _OPEN:
            depth += 1
            within(depth, bounds.max_depth, "format.json.too-deep", "depth of the JSON document")
        elif byte in _CLOSE:
            depth -= 1


_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"{}[]")


def _without_strings(data: bytes) -> bytes:
    """Drop what stands between quotes, so that brackets in text do not count."""
    kept: list[bytes] = []
    position = 0
    while True:
        start = data.find(b'"', position)
        if start < 0:
            kept.append(data[position:])
            return b"".join(kept)
        kept.append(data[position:start])
        end = start + 1
        while True:
            end = data.find(b'"', end)
            if end < 0:
                return b"".join(kept)  # an unclosed string: the parser refuses it
            before = end - 1
            while data[before] == _BACKSLASH:
                before -= 1
            if (end - before) % 2 == 1:
                break
            end += 1
        position = end + 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                refuse("format.json.duplicate-key", f"the key `{key[:80]}` appears twice")
            seen.add(key)
    return mapping


def _no_constant(name: str) -> Any:  # noqa: ANN401 - the signature that json expects
    refuse("format.json.not-finite", f"`{name}` is not a JSON number")


def _integer(text: str) -> int:
    within(len(text), _MAX_DIGITS, "format.json.number-too-long", "digits of a number")
    return int(text)


# `!!int` and its like name what an untagged value may be as well: a loader makes nothing else.
_NO_TAGS: frozenset[str | None] = frozenset({None, "!"})
_PLAIN_TAGS = _NO_TAGS | {
    f"tag:yaml.org,2002:{n}" for n in ("str", "int", "float", "bool", "null", "seq", "map")
}


def load_yaml(data: bytes, bounds: JsonBounds = JSON) -> Any:  # noqa: ANN401
    """Parse one YAML document of plain mappings, sequences and scalars.

    Refuses anchors and aliases (a billion laughs), tags (types chosen by the document), duplicate
    keys, keys that are not strings, several documents and whatever goes beyond `bounds`.

    Raises:
        InputError: Code `format.yaml.*`.
        LimitExceededError: Code `format.yaml.too-large`, `.too-deep` or `.too-many-nodes`.

    Source: YAML 1.1 as read by PyYAML's safe loader.
    """
    within(len(data), bounds.max_bytes, "format.yaml.too-large", "bytes of the YAML document")
    try:
        text = data.decode("utf-8")
        for count, _ in enumerate(_Events(bounds).documents(text)):
            if count:
                refuse("format.yaml.documents", "the file holds more than one document")
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506, TID251 - a safe loader of ours
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        refuse("format.yaml.malformed", "the document is not valid YAML", cause=error)


def every_yaml(data: bytes, bounds: JsonBounds = JSON) -> Iterator[Any]:
    """Yield what each YAML document of a text may mean to whichever reader, to be judged.

    Where readers differ, what each takes is there: of a key that stands twice, a mapping with the
    first and one with the last, in a list; a key that is no text as it is written; one that is a
    collection as a value beside its mapping; a scalar that is malformed as it is written. Tags of
    YAML's own plain types pass, and anchors do, as long as the text is within its bounds when each
    alias counts for all that it stands for: one object may be in several places, but none in
    itself.

    Raises:
        InputError: Code `format.yaml.*`, after the documents before it were yielded.
        LimitExceededError: As `load_yaml`.
    """
    within(len(data), bounds.max_bytes, "format.yaml.too-large", "bytes of the YAML document")
    try:
        text = data.decode("utf-8")
        loader = _LenientLoader(text)
        for _ in _Events(bounds, _PLAIN_TAGS, aliases=True).documents(text):
            yield loader.get_data()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        refuse("format.yaml.malformed", "the document is not valid YAML", cause=error)


class _Events:
    """Counts the events of documents before anything is built of them."""

    def __init__(
        self, bounds: JsonBounds, tags: frozenset[str | None] = _NO_TAGS, *, aliases: bool = False
    ) -> None:
        self._bounds = bounds
        self._tags = tags
        self._aliases = aliases
        self._nodes = 0
        self._open: list[tuple[str | None, int, int]] = []  # anchor, nodes before it, depth below
        self._known: dict[str, tuple[int, int]] = {}  # nodes and depth of what an anchor names

    def documents(self, text: str) -> Iterator[None]:
        """Check a text and stop behind each of its documents."""
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.DocumentEndEvent):
                self._known.clear()
                yield
            elif isinstance(event, yaml.AliasEvent):
                self._alias(event.anchor)
            elif isinstance(event, yaml.NodeEvent):
                self._node(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                anchor, before, depth = self._open.pop()
                self._deepen(depth + 1)
                if anchor is not None:
                    self._known[anchor] = (self._nodes - before + 1, depth + 1)

    def _node(self, event: yaml.NodeEvent) -> None:
        if event.anchor is not None and not self._aliases:
            refuse("format.yaml.alias", "anchors and aliases are not allowed")
        if getattr(event, "tag", None) not in self._tags:
            refuse("format.yaml.tag", "tags are not allowed")
        self._count(1)
        if isinstance(event, yaml.CollectionStartEvent):
            self._open.append((event.anchor, self._nodes, 0))
            self._within_depth(0)
        elif event.anchor is not None:
            self._known[event.anchor] = (1, 0)

    def _alias(self, anchor: str | None) -> None:
        if not self._aliases or anchor is None or anchor not in self._known:
            refuse("format.yaml.alias", "anchors and aliases are not allowed")
        nodes, depth = self._known[anchor]
        if any(one == anchor for one, _, _ in self._open):
            refuse("format.yaml.alias", "an alias stands within what it names")
        self._count(nodes)
        self._within_depth(depth)
        self._deepen(depth)

    def _count(self, nodes: int) -> None:
        self._nodes += nodes
        limit = self._bounds.max_nodes
        within(self._nodes, limit, "format.yaml.too-many-nodes", "nodes of the document")

    def _within_depth(self, below: int) -> None:
        depth = len(self._open) + below
        within(depth, self._bounds.max_depth, "format.yaml.too-deep", "depth of the document")

    def _deepen(self, depth: int) -> None:
        if self._open:
            anchor, before, known = self._open[-1]
            self._open[-1] = (anchor, before, max(known, depth))


class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader, with string keys that appear once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                refuse("format.yaml.key", "a key is not a string")
            if key in seen:
                refuse("format.yaml.duplicate-key", f"the key `{key[:80]}` appears twice")
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


_MERGE, _MAP = "tag:yaml.org,2002:merge", "tag:yaml.org,2002:map"


class _LenientLoader(yaml.SafeLoader):
    """PyYAML's safe loader, which takes what any reader would."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002 - PyYAML's signature
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, yaml.constructor.ConstructorError):
            if isinstance(node, yaml.ScalarNode):
                return node.value
            raise

    def construct_any_mapping(self, node: yaml.Node) -> Any:  # noqa: ANN401 - as documents are
        if not isinstance(node, yaml.MappingNode):
            refuse("format.yaml.malformed", "what is tagged as a mapping is none")
        beside = [self.construct_object(v, deep=True) for k, v in node.value if k.tag == _MERGE]
        try:
            self.flatten_mapping(node)
        except yaml.constructor.ConstructorError:
            pass  # nothing that can be merged: to other readers a key as any
        else:
            beside.clear()
        first: dict[str, Any] = {}
        last: dict[str, Any] = {}
        twice = False
        for key_node, value_node in node.value:
            value = self.construct_object(value_node, deep=True)
            if isinstance(key_node, yaml.ScalarNode):
                twice = twice or key_node.value in last
                first.setdefault(key_node.value, value)
                last[key_node.value] = value
            else:
                beside += [self.construct_object(key_node, deep=True), value]
        return [last, *([first] if twice else ()), *beside] if twice or beside else last


_LenientLoader.add_constructor(_MAP, _LenientLoader.construct_any_mapping)

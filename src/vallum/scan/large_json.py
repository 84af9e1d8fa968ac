"""JSON too large to be held at once: walked container by container, each small part parsed alone.

A container that ends within a window is parsed as a whole and judged as any document is; a larger
one is entered. So memory depends on the window and on how many keys one object has, not on the
file: tokenizers and boosted trees of hundreds of MiB pass.

Source: RFC 8259, section 2.
"""

import re
from collections.abc import Callable
from typing import Any

from vallum.base.bounds import MIB, JsonBounds
from vallum.base.errors import InputError, LimitExceededError, VallumError
from vallum.formats import load_json, release

_WINDOW = 1 * MIB
_MAX_DEPTH = 64
_MAX_KEYS = 1_000_000
_MAX_STRING = 64 * MIB
_MAX_PAIRS = 10_000
_LONG = JsonBounds(max_bytes=_MAX_STRING, max_depth=1, max_nodes=_MAX_STRING)
_SMALL = JsonBounds(max_bytes=2 * _WINDOW, max_depth=128, max_nodes=2 * _WINDOW)
_SPACE = re.compile(rb"[ \t\n\r]*+")
_SCALAR = re.compile(
    rb'"(?:[^"\\\x00-\x1f]|\\.)*+"|-?\d[\d.eE+-]*+|true|false|null|NaN|-?Infinity', re.DOTALL
)
_FLAT = _SCALAR.pattern + (
    rb"|\[[ \t\n\r]*+(?:(?:%b)[ \t\n\r]*+,?[ \t\n\r]*+)*+\]" % _SCALAR.pattern
    + rb"|\{[ \t\n\r]*+(?:(?:%b)[ \t\n\r]*+[,:]?[ \t\n\r]*+)*+\}" % _SCALAR.pattern
)
# Elements that hold no further container, each with its comma: parsed together, by a real parser.
_ELEMENTS = re.compile(rb"(?:(?:%b)[ \t\n\r]*+,[ \t\n\r]*+){2,20000}+" % _FLAT, re.DOTALL)
_PAIRS = re.compile(
    rb'(?:"(?:[^"\\\x00-\x1f]|\\.)*+"[ \t\n\r]*+:[ \t\n\r]*+(?:%b)[ \t\n\r]*+,[ \t\n\r]*+)'
    rb"{2,20000}+" % _FLAT,
    re.DOTALL,
)

FIELDS = frozenset(
    ("class_name", "config", "module", "registered_name", "__loader__", "__class__", "__module__",
     "target", "_class_name", "types", "structure", "scripts", "lc", "type", "left_children",
     "right_children", "module_path", "function", "file", "__kind__", "class",
     "flavors", "loader_module", "code")
)  # fmt: skip
Part = Callable[[Any], None]
Pair = Callable[[str, Any], None]
Whole = Callable[[dict[str, Any], memoryview], None]


class Entered(dict[str, Any]):
    """Stands for a container that was entered instead of built; never empty to whoever asks."""

    def __bool__(self) -> bool:
        """Return True."""
        return True


def walk_json(data: memoryview, part: Part, pair: Pair, whole: Whole) -> frozenset[str]:
    """Walk a document.

    Args:
        data: The whole document.
        part: Gets every value that is small enough to be built, once.
        pair: Gets every key of an object that was entered, with its value or an `Entered`.
        whole: Gets of every object that was entered its `FIELDS`, the pairs of names among its
            values and, if there is more, an empty key; and its text.

    Returns:
        The `FIELDS` of the outermost object.

    Raises:
        InputError: Code `format.json.*`: it is no JSON.
        LimitExceededError: Beyond a bound.
    """
    walk = _Walk(data, part, pair, whole)
    walk.value(walk.space(0), 0)
    if walk.space(walk.at) != len(data):
        raise _malformed(walk.at)
    return walk.names


class _Walk:
    def __init__(self, data: memoryview, part: Part, pair: Pair, whole: Whole) -> None:
        self._data = data
        self._part = part
        self._pair = pair
        self._whole = whole
        self._released = 0
        self.names: frozenset[str] = frozenset()
        self.at = 0

    def space(self, at: int) -> int:
        found = _SPACE.match(self._data, at)
        return at if found is None else found.end()

    def value(self, at: int, depth: int) -> Any:  # noqa: ANN401 - JSON is untyped
        """Read one value from `at`, leave `self.at` behind it and return it or an `Entered`."""
        self._let_go(at)
        if bytes(self._data[at : at + 1]) not in (b"{", b"["):
            value = self._scalar(at)
            self._part(value)
            return value
        small = self._small(at)
        if small is not None:
            self._part(small)
            return small
        if depth >= _MAX_DEPTH:
            raise LimitExceededError("the document is too deep", code="format.json.too-deep")
        if self._data[at] == ord("{"):
            self._object(at + 1, depth)
        else:
            self._array(at + 1, depth)
        return Entered()

    def _scalar(self, at: int) -> Any:  # noqa: ANN401 - JSON is untyped
        found = _SCALAR.match(self._data, at, at + _MAX_STRING)
        if found is None:
            if self._is(at, b'"') and len(self._data) - at > _MAX_STRING:
                raise LimitExceededError("a text is too long", code="format.json.too-large")
            raise _malformed(at)
        self.at = found.end()
        return load_json(found.group(), _LONG, finite=False)

    def _small(self, at: int) -> Any:  # noqa: ANN401 - JSON is untyped
        """Return the container if it ends within the window, else None."""
        end = _end(self._data, at, min(len(self._data), at + _WINDOW))
        if end is None:
            return None
        self.at = end
        return load_json(bytes(self._data[at:end]), _SMALL, finite=False)

    def _object(self, at: int, depth: int) -> None:
        seen: set[int] = set()
        fields: dict[str, Any] = {}
        begun = at - 1
        at = self.space(at)
        if self._is(at, b"}"):
            self.at = at + 1
            return
        while True:
            at = self._run(at, _PAIRS, b"{", seen, fields)
            if not self._is(at, b'"'):
                raise _malformed(at)
            key = self._scalar(at)
            self._key(key, seen)
            at = self.space(self.at)
            if not self._is(at, b":"):
                raise _malformed(at)
            value = self.value(self.space(at + 1), depth + 1)
            self._pair(key, value)
            _keep(fields, key, value)
            at = self.space(self.at)
            if self._is(at, b"}"):
                self.at = at + 1
                self._whole(fields, self._data[begun : self.at])
                self.names = frozenset(fields)
                return
            if not self._is(at, b","):
                raise _malformed(at)
            at = self.space(at + 1)

    def _array(self, at: int, depth: int) -> None:
        at = self.space(at)
        if self._is(at, b"]"):
            self.at = at + 1
            return
        while True:
            at = self._run(at, _ELEMENTS, b"[", None, {})
            self.value(at, depth + 1)
            at = self.space(self.at)
            if self._is(at, b"]"):
                self.at = at + 1
                return
            if not self._is(at, b","):
                raise _malformed(at)
            at = self.space(at + 1)

    def _run(
        self,
        at: int,
        pattern: re.Pattern[bytes],
        begin: bytes,
        seen: set[int] | None,
        fields: dict[str, Any],
    ) -> int:
        """Read a run of flat elements or pairs, of which more follow; return where it ends."""
        while found := pattern.match(self._data, at, at + _WINDOW):
            close = b"}" if begin == b"{" else b"]"
            text = begin + found.group().rstrip(b" \t\n\r")[:-1] + close
            run = load_json(text, _SMALL, finite=False)
            if seen is None:
                self._part(run)
            else:
                for key, value in run.items():
                    self._key(key, seen)
                    self._pair(key, value)
                    self._part(value)
                    _keep(fields, key, value)
            at = self.space(self._let_go(found.end()))
        return at

    def _key(self, key: str, seen: set[int]) -> None:
        """Note a key; of a million only the hashes are held, whose seed Python draws at random."""
        if hash(key) in seen:
            text = f"the key `{key[:80]}` appears twice"
            raise InputError(text, code="format.json.duplicate-key")
        seen.add(hash(key))
        if len(seen) > _MAX_KEYS:
            raise LimitExceededError("too many keys", code="format.json.too-many-nodes")

    def _let_go(self, at: int) -> int:
        if at > self._released + 8 * _WINDOW:
            release(self._data)
            self._released = at
        return at

    def _is(self, at: int, mark: bytes) -> bool:
        return bytes(self._data[at : at + 1]) == mark


def _keep(fields: dict[str, Any], key: str, value: Any) -> None:  # noqa: ANN401 - JSON is untyped
    """Keep what tells the class of an object, or which classes it names."""
    named = isinstance(value, list) and len(value) in (2, 3) and isinstance(value[1], str)
    if key in FIELDS or (named and len(fields) < _MAX_PAIRS):
        fields[key] = value
    else:
        fields[""] = None
    if "_class_name" in fields and len(fields) >= _MAX_PAIRS:
        raise LimitExceededError("too many pairs of names", code="format.json.too-many-nodes")


_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"|[^"{}\[\]]++|([{\[])|([}\]])', re.DOTALL)


def _end(data: memoryview, at: int, limit: int) -> int | None:
    """Return the offset behind the container that begins at `at`; None if it goes beyond."""
    depth = 0
    while at < limit:
        found = _TOKEN.match(data, at, limit)
        if found is None:
            return None
        at = found.end()
        if found.group(1):
            depth += 1
            if depth > _SMALL.max_depth:
                raise LimitExceededError("the document is too deep", code="format.json.too-deep")
        elif found.group(2):
            depth -= 1
            if depth == 0:
                return at
    return None


def _malformed(at: int) -> VallumError:
    return InputError(
        f"the document is not valid JSON at offset {at}", code="format.json.malformed"
    )

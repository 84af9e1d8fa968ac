"""Avro's object container files: the schema by its vocabulary, and every record by the schema.

A schema may name Java classes that old versions of Java's library make; such properties are
refused, as is everything else that the specification does not have.

Source: Apache Avro 1.12, "Object Container Files", "Binary Encoding"; CVE-2024-47561.
"""

import json
import zlib
from typing import Any

from vallum.base.bounds import ARCHIVE, MIB, MODEL, JsonBounds
from vallum.base.errors import VallumError
from vallum.formats import load_json
from vallum.scan.packed import expand, inflate
from vallum.scan.pickles import hides_pickle

MAGIC = b"Obj\x01"
_SYNC = 16
_PLAIN = {"null": 0, "boolean": 1, "float": 4, "double": 8}
_TEXTS, _NUMBERS = ("bytes", "string"), ("int", "long")
_KEYS = frozenset(
    """type name namespace doc fields default aliases order symbols items values size logicalType
    precision scale avro.java.string""".split()  # noqa: SIM905 - a table
)
_PACKED = {"bzip2": "bz2", "xz": "xz", "zstandard": "zstd"}
_MAX_DEPTH, _MAX_VALUES = 64, 20_000_000
_MAX_EXPANDED = 256 * MIB
_LEAST, _DENSE = 100_000, 64  # values of a block and of each byte of it: some take no byte
_JSON = JsonBounds(max_bytes=MIB, max_depth=_MAX_DEPTH)


def avro_fault(data: memoryview) -> str:
    """Return what is wrong with a container file; empty if nothing is."""
    try:
        return _File(data).fault()
    except (ValueError, IndexError, KeyError, TypeError, zlib.error) as error:
        return str(error)[:200] or "malformed"
    except VallumError as error:
        return error.message


class _Reader:
    def __init__(self, data: memoryview, left: int) -> None:
        self.data, self.at, self.left = data, 0, left

    def number(self) -> int:
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:  # noqa: PLR2004 - the top bit
                return value >> 1 ^ -(value & 1)
            if shift > 63:  # noqa: PLR2004 - bits of a long
                raise ValueError("a number is too long")

    def take(self, length: int) -> memoryview:
        if length < 0 or self.at + length > len(self.data):
            raise ValueError("a value is cut short")
        self.at += length
        return self.data[self.at - length : self.at]

    def count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise ValueError("more values than are read")


class _File:
    def __init__(self, data: memoryview) -> None:
        self._read = _Reader(data, _MAX_VALUES)
        self._names: dict[str, Any] = {}
        self._expanded = 0

    def fault(self) -> str:
        read = self._read
        read.take(len(MAGIC))
        meta: dict[str, bytes] = {}
        while count := read.number():
            if count < 0:
                read.number()
            for _ in range(abs(count)):
                read.count()
                key = bytes(read.take(read.number())).decode()
                meta[key] = bytes(read.take(read.number()))
        codec = meta.pop("avro.codec", b"null").decode()
        schema = load_json(meta.pop("avro.schema"), _JSON)
        for value in meta.values():
            if hides_pickle(memoryview(value), MODEL):
                return "a property holds a pickle"
        self._check(schema, "", 0)
        sync = bytes(read.take(_SYNC))
        while read.at < len(read.data):
            rows, size = read.number(), read.number()
            block = self._expand(read.take(size), codec)
            if bytes(read.take(_SYNC)) != sync:
                return "a block does not end where it says"
            inner = _Reader(block, min(read.left, _LEAST + _DENSE * len(block)))
            given = inner.left
            for _ in range(rows):
                self._value(inner, schema, "", 0)
            read.left -= given - inner.left
            if inner.at != len(block) or rows < 0:
                return "a block does not end with its records"
        return ""

    def _expand(self, packed: memoryview, codec: str) -> memoryview:
        if codec == "null":
            return packed
        if codec == "deflate":
            out, after = inflate(packed, _MAX_EXPANDED - self._expanded, raw=True)
            # A writer that cuts a checksum off may leave its beginning.
            if after != zlib.adler32(out).to_bytes(4, "big")[: len(after)]:
                raise ValueError("a block is followed by bytes")
        else:
            out = expand(packed, _PACKED[codec], ARCHIVE)
        self._expanded += len(out)
        if self._expanded > _MAX_EXPANDED:
            raise ValueError("blocks are too large")
        return out

    def _check(self, schema: Any, space: str, depth: int) -> None:  # noqa: ANN401 - JSON
        """Judge a schema's keys, and keep the types that it names."""
        if depth > _MAX_DEPTH:
            raise ValueError("types are nested too deeply")
        if isinstance(schema, list):
            for one in schema:
                self._check(one, space, depth + 1)
        if not isinstance(schema, dict):
            return
        if extra := schema.keys() - _KEYS:
            raise ValueError(f"the schema has the property `{min(extra)[:60]}`")
        if hides_pickle(memoryview(json.dumps(schema.get("doc", "")).encode()), MODEL):
            raise ValueError("a text holds a pickle")
        space = str(schema.get("namespace", space))
        if schema["type"] in ("record", "error", "enum", "fixed"):
            self._names[_full(str(schema["name"]), space)] = schema
        for one in schema.get("fields", ()):
            if not isinstance(one, dict) or (extra := one.keys() - _KEYS):
                raise ValueError("a field has a property that fields do not have")
            self._check(one["type"], space, depth + 1)
        for key in ("items", "values", "type"):
            self._check(schema.get(key), space, depth + 1)

    def _value(self, read: _Reader, schema: Any, space: str, depth: int) -> None:  # noqa: ANN401
        """Step over one value."""
        read.count()
        if depth > _MAX_DEPTH:
            raise ValueError("values are nested too deeply")
        if isinstance(schema, list):
            chosen = read.number()
            if not 0 <= chosen < len(schema):
                raise ValueError("a value of a type that there is not")
            return self._value(read, schema[chosen], space, depth + 1)
        if isinstance(schema, str):
            return self._named(read, schema, space, depth)
        kind = schema["type"]
        if isinstance(kind, str) and kind in ("record", "error"):
            space = str(schema.get("namespace", space))
            for one in schema["fields"]:
                self._value(read, one["type"], space, depth + 1)
        elif kind in ("array", "map"):
            self._many(read, schema, space, depth)
        elif kind == "enum":
            if not 0 <= read.number() < len(schema["symbols"]):
                raise ValueError("a symbol that there is not")
        elif kind == "fixed":
            read.take(int(schema["size"]))
        else:
            self._value(read, kind, space, depth + 1)
        return None

    def _many(self, read: _Reader, schema: dict[str, Any], space: str, depth: int) -> None:
        while count := read.number():
            if count < 0:
                read.number()
            for _ in range(abs(count)):
                if schema["type"] == "map":
                    read.take(read.number())
                    self._value(read, schema["values"], space, depth + 1)
                else:
                    self._value(read, schema["items"], space, depth + 1)

    def _named(self, read: _Reader, kind: str, space: str, depth: int) -> None:
        if kind in _PLAIN:
            read.take(_PLAIN[kind])
        elif kind in _NUMBERS:
            read.number()
        elif kind in _TEXTS:
            if hides_pickle(read.take(read.number()), MODEL):
                raise ValueError("a value is a pickle that can run code")
        else:
            self._value(read, self._names[_full(kind, space)], space, depth + 1)


def _full(name: str, space: str) -> str:
    return name if "." in name or not space else f"{space}.{name}"

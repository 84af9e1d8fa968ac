"""Arrow's IPC: files (Feather 2 too) and streams, each message and buffer in its place.

A message's metadata is a FlatBuffer that must be understood whole; its body is covered by the
buffers that it lists. A column of pyarrow's own extension type holds a pickle that old versions of
pyarrow unpickle when they read the schema: it is a finding.

Source: Apache Arrow, `format/Schema.fbs`, `Message.fbs`, `File.fbs`; CVE-2023-47248.
"""

import base64
import binascii
from collections.abc import Iterable

from vallum.base.bounds import MODEL
from vallum.scan.flatbuffer import TEXT, Table, Union, Vector, View, flat_fault
from vallum.scan.pickles import hides_pickle
from vallum.scan.raster import gap_fault

MAGIC = b"ARROW1"
_GO_ON, _MAX_MESSAGES = b"\xff\xff\xff\xff", 1_000_000
_PAD = 63
_ARROW_KEY = b"ARROW:schema"
_PAIRS = Vector(Table("KeyValue"))
_TYPES = {
    1: "Null", 2: "Int", 3: "FloatingPoint", 4: "Binary", 5: "Utf8", 6: "Bool", 7: "Decimal",
    8: "Date", 9: "Time", 10: "Timestamp", 11: "Interval", 12: "List", 13: "Struct", 14: "Union",
    15: "FixedSizeBinary", 16: "FixedSizeList", 17: "Map", 18: "Duration", 19: "LargeBinary",
    20: "LargeUtf8", 21: "LargeList", 22: "RunEndEncoded", 23: "BinaryView", 24: "Utf8View",
    25: "ListView", 26: "LargeListView",
}  # fmt: skip
_SCHEMA = {
    **dict.fromkeys(_TYPES.values(), ()),
    "Int": (4, 1), "FloatingPoint": (2,), "Decimal": (4, 4, 4), "Date": (2,), "Time": (2, 4),
    "Timestamp": (2, TEXT), "Interval": (2,), "Duration": (2,), "Map": (1,),
    "FixedSizeBinary": (4,), "FixedSizeList": (4,), "Union": (2, Vector(4)),
    "KeyValue": (TEXT, TEXT),
    "DictionaryEncoding": (8, Table("Int"), 1, 2),
    "Field": (TEXT, 1, 1, Union(_TYPES), Table("DictionaryEncoding"), Vector(Table("Field")),
              _PAIRS),
    "Schema": (2, Vector(Table("Field")), _PAIRS, Vector(8)),
    "BodyCompression": (1, 1),
    "RecordBatch": (8, Vector(16), Vector(16), Table("BodyCompression"), Vector(8)),
    "DictionaryBatch": (8, Table("RecordBatch"), 1),
    "Message": (2, 1, Union({1: "Schema", 2: "DictionaryBatch", 3: "RecordBatch"}), 8, _PAIRS),
    "Footer": (2, Table("Schema"), Vector(24), Vector(24), _PAIRS),
}  # fmt: skip


def is_arrow(head: bytes) -> bool:
    """Whether a file begins as an Arrow file or stream."""
    return head[:8] == MAGIC + b"\0\0" or (
        head[:4] == _GO_ON and 0 < int.from_bytes(head[4:8], "little") < 1 << 28
    )


def arrow_fault(data: memoryview) -> str:
    """Return what is wrong with an Arrow file or stream; empty if nothing is."""
    framed = bytes(data[:8]) == MAGIC + b"\0\0"
    end = len(data)
    try:
        if framed:
            size = int.from_bytes(data[-10:-6], "little")
            end = len(data) - 10 - size
            if bytes(data[-6:]) != MAGIC or end < 8:  # noqa: PLR2004 - the magic and its padding
                raise ValueError("no footer where it must be")
        if not framed:
            _messages(data[:end], 0)
            return ""
        blocks = _footer(data[end : len(data) - 10])
        places = _bare_schema(data[:end], blocks) or _messages(data[:end], 8)
        if blocks != places[1:]:  # the first is the schema
            raise ValueError("the footer names other messages than there are")
    except (ValueError, IndexError) as error:
        return str(error)[:200]
    return ""


def _bare_schema(
    data: memoryview, blocks: list[tuple[int, int, int]]
) -> list[tuple[int, int, int]]:
    """Walk a file of polars, whose schema has no length before it: readers go by the footer."""
    first = blocks[0][0] if blocks else 0
    if bytes(data[8:12]) == _GO_ON or not 8 < first <= len(data):  # noqa: PLR2004 - the magic
        return []
    if _message(data[8:first], data[first:first]):
        raise ValueError("a schema with a body")
    return [(8, first - 8, 0), *_messages(data, first)]


def _messages(data: memoryview, at: int) -> list[tuple[int, int, int]]:
    """Walk the messages to the last byte; return where each is, and the lengths of its parts."""
    places: list[tuple[int, int, int]] = []
    for _ in range(_MAX_MESSAGES):
        if at == len(data) and places:
            return places
        if bytes(data[at : at + 4]) != _GO_ON or at + 8 > len(data):
            raise ValueError("no message where one must be")
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if size == 0:
            if at + 8 != len(data):
                raise ValueError("bytes follow the last message")
            return places
        body_at = at + 8 + size
        if body_at % 8 or body_at > len(data):
            raise ValueError("a message is cut short")
        length = _message(data[at + 8 : body_at], data[body_at:])
        places.append((at, 8 + size, length))
        at = body_at + length
    raise ValueError("more messages than are read")


def _message(metadata: memoryview, rest: memoryview) -> int:
    """Check one message; return the length of its body."""
    buffers: list[tuple[int, int]] = []
    lengths: list[int] = []

    def visit(name: str, view: View) -> None:
        _check_words(name, view)
        if name == "Message":
            lengths.append(view.number(3, 8))
        elif name == "RecordBatch":
            numbers = list(view.items(2, 8)) if view.start(2) else []
            count = len(numbers)
            at = view.start(2)
            whole = [view.buffer.number(at + 4 + 8 * k, 8, signed=True) for k in range(2 * count)]
            buffers.extend(zip(whole[::2], whole[1::2], strict=True))

    if fault := flat_fault(metadata, _SCHEMA, "Message", visit):
        raise ValueError(fault)
    body = rest[: lengths[0]]
    if lengths[0] < 0 or len(body) != lengths[0]:
        raise ValueError("a body is cut short")
    parts = {(start, start + length) for start, length in buffers if length}
    if any(start < 0 or end < start for start, end in parts):
        raise ValueError("a buffer that is nowhere")
    if fault := gap_fault(body, parts, _PAD):
        raise ValueError(fault)
    return lengths[0]


def _footer(footer: memoryview) -> list[tuple[int, int, int]]:
    """Return where the messages after the schema are, in order, and the lengths of their parts."""
    blocks: list[tuple[int, int, int]] = []

    def visit(name: str, view: View) -> None:
        _check_words(name, view)
        if name != "Footer":
            return
        for slot in (2, 3):
            at = view.start(slot)
            for k in range(view.buffer.number(at, 4) if at else 0):
                start, size, pad, length = (
                    view.buffer.number(at + 4 + 24 * k + place, width)
                    for place, width in ((0, 8), (8, 4), (12, 4), (16, 8))
                )
                if pad:
                    raise ValueError("bytes in a block that mean nothing")
                blocks.append((start, size, length))

    if fault := flat_fault(footer, _SCHEMA, "Footer", visit):
        raise ValueError(fault)
    return sorted(blocks)


def pairs_fault(pairs: Iterable[tuple[bytes, bytes]]) -> str:
    """Return what is wrong with the words that a Parquet footer keeps; empty if nothing is.

    `ARROW:schema` is a schema message in base64, which pyarrow restores types from.
    """
    try:
        for key, value in pairs:
            _check_pair(key.decode("utf-8", "replace"), value)
            if key == _ARROW_KEY:
                message = memoryview(base64.b64decode(value, validate=True))
                head = 8 if bytes(message[:4]) == _GO_ON else 4
                if _message(message[head:], message[len(message) :]):
                    raise ValueError("a schema with a body")
    except (ValueError, IndexError, binascii.Error) as error:
        return str(error)[:200]
    return ""


def _check_words(name: str, view: View) -> None:
    if name == "KeyValue":
        _check_pair(view.text(0), view.text(1).encode("latin-1", "ignore"))


def _check_pair(key: str, value: bytes) -> None:
    if b"py_extension_type" in value or hides_pickle(memoryview(value), MODEL):
        raise ValueError(f"the key `{key[:80]}` names a type that is unpickled")

"""Protocol Buffers' wire format, walked without a schema compiler and within bounds."""

from collections.abc import Iterator
from typing import NamedTuple

from vallum.base.errors import InputError
from vallum.formats.refusal import refuse

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_MORE, _MAX_VARINT = 0x80, 10


class Field(NamedTuple):
    """One field: `value` counts for `VARINT`, `content` for the other wire types."""

    number: int
    wire: int
    value: int
    content: memoryview
    offset: int


def fields(message: memoryview, base: int = 0) -> Iterator[Field]:
    """Yield the fields of one message to its last byte.

    Args:
        message: The message's bytes.
        base: The message's offset in the file, for findings.

    Raises:
        InputError: Code `format.protobuf.malformed`: cut short, a group, or field number 0.

    Source: protobuf.dev, "Encoding".
    """
    at, end = 0, len(message)
    empty = message[:0]
    while at < end:
        start = at
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if number == 0:
            refuse("format.protobuf.malformed", f"field number 0 at offset {base + start}")
        if wire == VARINT:
            value, at = _varint(message, at)
            yield Field(number, wire, value, empty, base + start)
            continue
        if wire == BYTES:
            length, at = _varint(message, at)
        elif wire in (FIXED64, FIXED32):
            length = 8 if wire == FIXED64 else 4
        else:
            refuse("format.protobuf.malformed", f"wire type {wire} at offset {base + start}")
        if length > end - at:
            refuse("format.protobuf.malformed", f"a field is cut short at offset {base + start}")
        yield Field(number, wire, 0, message[at : at + length], base + at)
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for index in range(_MAX_VARINT):
        if at + index >= len(message):
            break
        byte = message[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < _MORE:
            return value & 0xFFFFFFFFFFFFFFFF, at + index + 1
    raise InputError("a number is cut short or too long", code="format.protobuf.malformed")


def packed_varints(content: memoryview) -> Iterator[int]:
    """Yield the numbers of a packed field.

    Raises:
        InputError: Code `format.protobuf.malformed`.
    """
    at = 0
    while at < len(content):
        value, at = _varint(content, at)
        yield value

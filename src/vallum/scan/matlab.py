"""MATLAB files of versions 4 and 5 (`scipy.io.savemat`): arrays, walked to the last byte.

Structures, cells and sparse arrays are read; objects and functions, which MATLAB rebuilds by
running their class's code, are refused.

Source: MathWorks, "MAT-File Format", R2024b.
"""

import re
import struct
import zlib

from vallum.base.bounds import MIB
from vallum.scan.packed import inflate

MAX_EXPANDED = 256 * MIB
_HEADER = 128
_DESCRIPTION = re.compile(rb"(?s)(?=[ -~]*\0*.{8}\Z).{116}[\0 ]{8}")  # and no place of more data
_MATRIX, _COMPRESSED = 14, 15
# Bytes of an item by type: integers of 8 to 32 bits, single, double, integers of 64 bits,
# and UTF-8, UTF-16 and UTF-32.
_ITEMS = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8, 16: 1, 17: 2, 18: 4}
_CELL, _STRUCT, _CHARS, _SPARSE = 1, 2, 4, 5
_NUMBERS = range(6, 16)
_COMPLEX = 0x0800
_MAX_DEPTH = 20
_MAX_ELEMENTS = 1_000_000
_MAX_RANK = 32


def is_matlab(head: bytes) -> bool:
    """Whether a file begins as one of MATLAB's, version 5; `head` has 128 bytes."""
    return head[124:128] in (b"\x00\x01IM", b"\x01\x00MI")


def matlab_fault(data: memoryview) -> str:
    """Return what is wrong with a file of version 5; empty if nothing is."""
    if not _DESCRIPTION.fullmatch(data[:124]):
        return "the description is no line of text"
    try:
        return _Walk("<" if bytes(data[126:128]) == b"IM" else ">").file(data[_HEADER:])
    except (ValueError, struct.error, zlib.error) as error:
        return str(error)[:200]


_ITEMS_4 = (8, 4, 4, 2, 2, 1)  # bytes of an item: doubles, floats, integers of four kinds
_NAME_4 = re.compile(rb"[A-Za-z_]\w{0,62}\0", re.ASCII)


def is_matlab_4(data: memoryview) -> bool:
    """Whether bytes are a file of version 4: variables alone, to the last byte.

    Such a file has no mark of its own, so that nothing less tells it.
    """
    at = 0
    while at < len(data):
        if len(data) - at < 20:  # noqa: PLR2004 - a variable's head
            return False
        little = int.from_bytes(data[at : at + 4], "little")
        order = "<" if little < 1000 else ">"  # noqa: PLR2004 - the thousands say so
        kind, rows, columns, parts, length = struct.unpack_from(f"{order}5i", data, at)
        kind -= 0 if order == "<" else 1000
        items, form = kind // 10, kind % 10
        if not 0 <= items < len(_ITEMS_4) or form > 2 or parts not in (0, 1):  # noqa: PLR2004 - full, text, sparse
            return False
        if (
            rows < 0
            or columns < 0
            or not _NAME_4.fullmatch(data[at + 20 : at + 20 + max(length, 0)])
        ):
            return False
        at += 20 + length + rows * columns * _ITEMS_4[items] * (1 + parts)
    return at == len(data) > 0


class _Walk:
    """Reads elements in one byte order."""

    def __init__(self, order: str) -> None:
        self._order = order
        self._elements = 0
        self._expanded = 0

    def file(self, data: memoryview) -> str:
        """Walk the elements of a file."""
        at = 0
        while at < len(data):
            kind, length = struct.unpack_from(f"{self._order}II", data, at)
            body = data[at + 8 : at + 8 + length]
            if len(body) != length:
                raise ValueError("a variable is cut short")
            if kind == _COMPRESSED:
                body = self._expand(body)
                if len(self._only(body, _MATRIX)) != len(body) - 8:
                    raise ValueError("bytes follow a packed variable")
                body = body[8:]
            elif kind != _MATRIX:
                raise ValueError("an element that is no variable")
            self._matrix(body, 0)
            at += 8 + length
        return ""

    def _expand(self, packed: memoryview) -> memoryview:
        out, after = inflate(packed, MAX_EXPANDED - self._expanded)
        self._expanded += len(out)
        if after:
            raise ValueError("a packed variable is followed by bytes")
        return out

    def _only(self, data: memoryview, kind: int) -> memoryview:
        found, body, _ = self._element(data, 0)
        if found != kind:
            raise ValueError("a packed element that is no variable")
        return body

    def _element(self, data: memoryview, at: int) -> tuple[int, memoryview, int]:
        """Return an element's type and bytes, and the offset after its padding."""
        self._elements += 1
        if self._elements > _MAX_ELEMENTS:
            raise ValueError("more elements than are read")
        word, length = struct.unpack_from(f"{self._order}II", data, at)
        if word >> 16:  # a small one: type, length and up to four bytes in eight
            kind, length, start, after = word & 0xFFFF, word >> 16, at + 4, at + 8
            if length > 4:  # noqa: PLR2004 - what fits
                raise ValueError("a small element that is too long")
        else:
            kind, start = word, at + 8
            after = start + length + (-length % 8 if kind != _MATRIX else 0)
        if after > len(data):
            raise ValueError("an element is cut short")
        if any(data[start + length : after]):
            raise ValueError("padding that is not zero")
        return kind, data[start : start + length], after

    def _plain(self, data: memoryview, at: int, *kinds: int) -> tuple[memoryview, int]:
        kind, body, after = self._element(data, at)
        if kind not in (kinds or _ITEMS) or len(body) % _ITEMS[kind]:
            raise ValueError("an element of another type than belongs there")
        return body, after

    def _matrix(self, data: memoryview, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise ValueError("variables are nested too deep")
        if not data:
            return  # an empty one
        flags, at = self._plain(data, 0, 6)
        sizes, at = self._plain(data, at, 5)
        _, at = self._plain(data, at, 1)
        if len(flags) != 8 or not 0 < len(sizes) <= 4 * _MAX_RANK:  # noqa: PLR2004 - two words
            raise ValueError("a variable's flags or sizes are not those of one")
        word = struct.unpack(f"{self._order}II", flags)[0]
        count = 1
        for size in struct.unpack(f"{self._order}{len(sizes) // 4}i", sizes):
            count = min(count * max(size, 0), _MAX_ELEMENTS + 1)
        kind = word & 0xFF
        if kind in (_CELL, _STRUCT):
            at = self._held(data, at, count, depth, names=kind == _STRUCT)
        elif kind in (_CHARS, _SPARSE, *_NUMBERS):
            parts = (2 if kind == _SPARSE else 0) + (2 if word & _COMPLEX else 1)
            for _ in range(parts):
                if kind == _CHARS and at == len(data):
                    break  # an empty text has no bytes
                _, at = self._plain(data, at)
        else:
            raise ValueError("an object or function, which MATLAB runs code for")
        if at != len(data):
            raise ValueError("bytes follow a variable")

    def _held(self, data: memoryview, at: int, count: int, depth: int, *, names: bool) -> int:
        """Walk what a cell array or structure holds."""
        if names:
            width, at = self._plain(data, at, 5)
            texts, at = self._plain(data, at, 1)
            each = int.from_bytes(width, "little" if self._order == "<" else "big")
            if len(width) != 4 or (len(texts) % each if each else len(texts)):  # noqa: PLR2004
                raise ValueError("a structure's names are cut short")
            count *= len(texts) // each if each else 0
        for _ in range(count):
            kind, body, at = self._element(data, at)
            if kind != _MATRIX:
                raise ValueError("a cell that is no variable")
            self._matrix(body, depth + 1)
        return at

"""TIFF, ICO and PNM: every byte belongs to one part that the header leads to, or is padding.

TIFF's offsets may point anywhere. What they point to may not overlap, must cover the file, and
between two parts there may be only a few zero bytes of alignment.

Source: Adobe, TIFF 6.0, sections 2 and 8; AWare Systems, BigTIFF; Microsoft, "Icons in Win32";
Netpbm, `pbm`, `pgm`, `ppm`.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from vallum.scan.images import png_fault

_WIDTHS = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8,
    17: 8, 18: 8,
}  # fmt: skip
_WHOLE = frozenset({1, 3, 4, 13, 16, 18})
_BIG, _MAX_TABLES, _MAX_ENTRIES, _MAX_PARTS = 43, 4096, 512, 1_000_000
_SUB_TABLES = frozenset({330, 34665, 34853, 40965})  # parts of an image, EXIF, GPS, interoperation
_PLACES = {273: 279, 324: 325, 513: 514}  # strips, tiles, a JPEG stream: offsets and their lengths
_MAX_GAP = 31
_SECOND = 16  # from there on a table is not the first
_PNM = re.compile(rb"P([1-6])\s+(?:#[^\n]*\n\s*)*(\d{1,9})\s+(\d{1,9})(?:\s+(\d{1,5}))?(\s)")
_BITS, _GREY, _ASCII = 4, 5, 4


def gap_fault(data: memoryview, parts: Iterable[tuple[int, int]], most: int = _MAX_GAP) -> str:
    """Return what is wrong with parts that must cover the bytes; empty if nothing is."""
    at = 0
    for start, end in sorted(parts):
        if start < at:
            return "two parts overlap"
        if end > len(data):
            return "a part lies beyond the file"
        if start - at > most or any(data[at:start]):
            return f"bytes that belong to nothing at {at}"
        at = end
    left = len(data) - at
    return "" if left <= most and not any(data[at:]) else f"bytes that belong to nothing at {at}"


@dataclass(slots=True)
class _Tiff:
    data: memoryview
    order: Literal["little", "big"]
    big: bool
    parts: list[tuple[int, int]] = field(default_factory=list)
    read: int = 0  # of the values in tables
    claimed: int = 0  # bytes of all parts, which cannot be more than there are

    def number(self, at: int, width: int) -> int:
        if at < 0 or at + width > len(self.data):
            raise ValueError("an offset beyond the file")
        return int.from_bytes(self.data[at : at + width], self.order)

    def claim(self, start: int, length: int) -> None:
        if length:
            self.parts.append((start, start + length))
            self.claimed += length
        if len(self.parts) > _MAX_PARTS or start + length > len(self.data):
            raise ValueError("a part lies beyond the file")
        if self.claimed > len(self.data):
            raise ValueError("two parts overlap")

    def table(self, at: int) -> tuple[int, list[int]]:
        """Read a table; return where the next one is, and those below it."""
        head, step, wide = (8, 20, 8) if self.big else (2, 12, 4)
        count = self.number(at, head)
        if not 0 < count <= _MAX_ENTRIES:
            raise ValueError("a table of no entries, or of too many")
        self.claim(at, head + count * step + wide)
        if at > _SECOND and bytes(self.data[at - 8 : at]) == self._plain_header():
            self.claim(at - 8, 8)  # of a picture that was appended with its own header
        held: dict[int, Sequence[int]] = {}
        for place in range(at + head, at + head + count * step, step):
            tag, kind = self.number(place, 2), self.number(place + 2, 2)
            amount = self.number(place + 4, wide)
            if kind not in _WIDTHS or tag in held or amount > len(self.data):
                raise ValueError("an entry of an unknown type, or twice")
            length, start = _WIDTHS[kind] * amount, place + 4 + wide
            if length > wide:
                start = self.number(start, wide)
                self.claim(start, length)
            wanted = tag in _SUB_TABLES or tag in _PLACES or tag in _PLACES.values()
            if wanted and kind not in _WHOLE:
                raise ValueError("an offset that is no whole number")
            held[tag] = self._values(start, amount, _WIDTHS[kind]) if wanted else ()
        for places, sizes in _PLACES.items():
            if len(held.get(places, ())) != len(held.get(sizes, ())):
                raise ValueError("as many offsets as lengths")
            for start, length in zip(held.get(places, ()), held.get(sizes, ()), strict=True):
                self.claim(start, length)
        below = [one for tag in sorted(_SUB_TABLES) for one in held.get(tag, ())]
        return self.number(at + head + count * step, wide), below

    def _plain_header(self) -> bytes:
        return bytes(self.data[:4]) + (8).to_bytes(4, self.order)

    def _values(self, at: int, amount: int, width: int) -> Sequence[int]:
        self.read += amount
        if self.read > _MAX_PARTS:
            raise ValueError("more parts than are read")
        return [self.number(at + width * one, width) for one in range(amount)]


def is_tiff(head: bytes) -> bool:
    """Whether a file begins as TIFF or BigTIFF."""
    return head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def tiff_fault(data: memoryview) -> str:
    """Return what is wrong with a TIFF; empty if nothing is."""
    order: Literal["little", "big"] = "little" if data[0] == ord("I") else "big"
    tiff = _Tiff(data, order, big=int.from_bytes(data[2:4], order) == _BIG)
    try:
        if tiff.big and (tiff.number(4, 2), tiff.number(6, 2)) != (8, 0):
            return "an unknown header"
        tiff.claim(0, 16 if tiff.big else 8)
        left = [tiff.number(8, 8) if tiff.big else tiff.number(4, 4)]
        seen: set[int] = set()
        for _ in range(_MAX_TABLES):
            if not left:
                return gap_fault(data, tiff.parts)
            at = left.pop()
            if at in seen:
                return "a table that two lead to, or a cycle"
            seen.add(at)
            following, below = tiff.table(at)
            left += [one for one in (following, *below) if one]
            if len(left) > _MAX_TABLES:
                return "more tables than are read"
    except ValueError as error:
        return str(error)
    return "more tables than are read, or a cycle"


def is_ico(data: memoryview) -> bool:
    """Whether a file begins as an icon whose first picture lies behind its directory."""
    count = int.from_bytes(data[4:6], "little")
    start = int.from_bytes(data[18:22], "little")
    return bytes(data[:4]) == b"\0\0\1\0" and 0 < count <= 64 and start == 6 + 16 * count  # noqa: PLR2004 - sizes of pictures


def ico_fault(data: memoryview) -> str:
    """Return what is wrong with an icon; empty if nothing is."""
    count = int.from_bytes(data[4:6], "little")
    parts = [(0, 6 + 16 * count)]
    for at in range(6, parts[0][1], 16):
        size, start = (int.from_bytes(data[k : k + 4], "little") for k in (at + 8, at + 12))
        parts.append((start, start + size))
        picture = data[start : start + size]
        if bytes(picture[:8]) == b"\x89PNG\r\n\x1a\n":
            if fault := png_fault(picture):
                return fault
        elif fault := _bitmap_fault(picture):
            return fault
    return gap_fault(data, parts, 0)


def _bitmap_fault(picture: memoryview) -> str:
    """Check a bitmap without its file header: pixels, then a mask of a bit each, rows of words."""
    header, width, height = (int.from_bytes(picture[k : k + 4], "little") for k in (0, 4, 8))
    bits, packing = (int.from_bytes(picture[a:b], "little") for a, b in ((14, 16), (16, 20)))
    if header != 40 or packing or bits not in (1, 4, 8, 24, 32) or height % 2:  # noqa: PLR2004 - BITMAPINFOHEADER
        return "an unknown kind of picture"
    colours = int.from_bytes(picture[32:36], "little") or (1 << bits if bits <= 8 else 0)  # noqa: PLR2004 - with a palette
    rows = sum((width * n + 31) // 32 * 4 for n in (bits, 1))
    good = 40 + 4 * colours + rows * (height // 2) == len(picture)
    return "" if good else "a picture does not end with its part"


def pnm_fault(data: memoryview) -> str:
    """Return what is wrong with a bitmap of Netpbm in its binary forms; empty if nothing is."""
    match = _PNM.match(data[:512])
    if match is None:
        return "an unknown header"
    kind, width, height = (int(match.group(k)) for k in (1, 2, 3))
    if (kind == _BITS) != (match.group(4) is None) or kind < _ASCII:
        return "an unknown header"
    if kind == _BITS:
        size = (width + 7) // 8 * height
    else:
        deep = 2 if int(match.group(4)) > 255 else 1  # noqa: PLR2004 - one byte a sample
        size = width * height * deep * (1 if kind == _GREY else 3)
    return "" if match.end() + size == len(data) else "the pixels do not end with the file"

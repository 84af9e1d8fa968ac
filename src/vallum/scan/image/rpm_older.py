"""rpm's databases beside SQLite: NDB (`Packages.db`) and Berkeley DB's hash (`Packages`).

Only the values are read, each the header of one package. Nothing is looked up: every page or slot
is visited once, no byte belongs to two values, and what does not fit is an error. Red Hat 7 and 8,
Amazon Linux 2 and CentOS write Berkeley DB, SUSE NDB.

Source: rpm 4.18, lib/backend/ndb/rpmpkg.c and lib/backend/bdb_ro.c; Berkeley DB 5.3,
dbinc/db_page.h.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import NoReturn

from vallum.base.errors import InputError

# -- NDB ----------------------------------------------------------------------------------------

_NDB, _SLOT, _HEAD, _TAIL = b"RpmP", b"Slot", b"BlbS", b"BlbE"
_NDB_PAGE, _BLOCK = 4096, 16
_NDB_HEADER = 32  # the first two slots of the first page
_HEAD_BYTES, _TAIL_BYTES = 16, 12


def is_ndb(data: bytes) -> bool:
    """Tell whether bytes begin as `Packages.db` does."""
    return data[:4] == _NDB


def ndb_blobs(data: bytes) -> Iterator[bytes]:
    """Yield the headers that `Packages.db` holds.

    Raises:
        InputError: It is malformed, cut short, or a check sum is wrong.
    """
    if len(data) < _NDB_PAGE or len(data) % _BLOCK:
        _refuse("it is cut short")
    version, _, pages = struct.unpack_from("<III", data, 4)
    if version:
        _refuse(f"version {version} of NDB is not known")
    if not 0 < pages <= len(data) // _NDB_PAGE:
        _refuse("its slots are cut short")
    slots = []
    for at in range(_NDB_HEADER, pages * _NDB_PAGE, _BLOCK):
        magic, number, first, count = struct.unpack_from("<4sIII", data, at)
        if magic != _SLOT:
            _refuse("a slot is none")
        if first:  # else it is free
            slots.append((first, count, number))
    end = pages * _NDB_PAGE // _BLOCK
    for first, count, number in sorted(slots):
        if first < end:
            _refuse("two packages share bytes")
        end = first + count
        if not number or end > len(data) // _BLOCK:
            _refuse("a package lies outside of it")
        yield _ndb_blob(data[first * _BLOCK : end * _BLOCK], number)


def _ndb_blob(held: bytes, number: int) -> bytes:
    if len(held) < _HEAD_BYTES + _TAIL_BYTES:
        _refuse("a package is cut short")
    magic, said, _, length = struct.unpack_from("<4sIII", held)
    total, again, end = struct.unpack_from("<II4s", held, len(held) - _TAIL_BYTES)
    whole = -(-(_HEAD_BYTES + length + _TAIL_BYTES) // _BLOCK) * _BLOCK
    if (magic, said, again, end, whole) != (_HEAD, number, length, _TAIL, len(held)):
        _refuse("a package is not framed as it should be")
    if zlib.adler32(held[:-_TAIL_BYTES]) != total:
        _refuse("a check sum is wrong")
    return held[_HEAD_BYTES : _HEAD_BYTES + length]


# -- Berkeley DB --------------------------------------------------------------------------------

_HASH = 0x00061561
_VERSIONS = (8, 9, 10)
_META_BYTES, _PAGE_HEADER = 512, 26
_HASH_PAGES = frozenset({2, 8, 13})  # unsorted, sorted, and what rpm takes for one too
_OVERFLOW_PAGE = 7
_INLINE, _OFF_PAGE = 1, 3
_OFF_PAGE_BYTES = 12
_SIZES = frozenset(1 << bits for bits in range(9, 17))


def is_berkeley(data: bytes) -> bool:
    """Tell whether bytes begin as a hash of Berkeley DB does, in either byte order."""
    return data[12:16] in {_HASH.to_bytes(4, "little"), _HASH.to_bytes(4, "big")}


def berkeley_blobs(data: bytes) -> Iterator[bytes]:
    """Yield the headers that `Packages` holds: all values but that of key 0, the next number.

    Raises:
        InputError: It is malformed, cut short, encrypted, or has page check sums or duplicates.
    """
    return _Berkeley(data).values()


class _Berkeley:
    """A database of pages, each of which is used for one thing."""

    def __init__(self, data: bytes) -> None:
        if len(data) < _META_BYTES:
            _refuse("it is cut short")
        self._data = data
        self._order = "<" if data[12:16] == _HASH.to_bytes(4, "little") else ">"
        version, self._size = self._words(16, 2)
        (last,) = self._words(32, 1)
        if version not in _VERSIONS:
            _refuse(f"version {version} of its hash is not known")
        if data[24] or data[26]:
            _refuse("it is encrypted, or has check sums of pages")
        if self._size not in _SIZES or (last + 1) * self._size > len(data):
            _refuse("its pages are cut short")
        self._count = last + 1
        self._used: set[int] = set()

    def values(self) -> Iterator[bytes]:
        for page in range(1, self._count):
            at = page * self._size
            if self._data[at + 25] in _HASH_PAGES:
                self._check_number(page)
                yield from self._page(at)

    def _page(self, at: int) -> Iterator[bytes]:
        entries = struct.unpack_from(f"{self._order}H", self._data, at + 20)[0]
        if entries % 2 or _PAGE_HEADER + 2 * entries > self._size:
            _refuse("a page has keys without values")
        offsets = struct.unpack_from(f"{self._order}{entries}H", self._data, at + _PAGE_HEADER)
        end = self._size
        items = []
        for offset in offsets:  # from the end of the page downwards
            if not _PAGE_HEADER + 2 * entries <= offset < end:
                _refuse("an item of a page lies outside of its place")
            items.append(self._data[at + offset : at + end])
            end = offset
        for key, value in zip(items[::2], items[1::2], strict=True):
            if key != b"\x01\0\0\0\0":
                yield self._value(value)

    def _value(self, item: bytes) -> bytes:
        if item[0] == _INLINE:
            return item[1:]
        if item[0] != _OFF_PAGE or len(item) != _OFF_PAGE_BYTES:
            _refuse("an item is neither a value nor a reference to one")
        page, length = struct.unpack_from(f"{self._order}II", item, 4)
        if length > len(self._data):
            _refuse("a value is longer than the file")
        parts = []
        while length:
            if not 0 < page < self._count or page in self._used:
                _refuse("a page is missing, or belongs to two values")
            self._used.add(page)
            self._check_number(page)
            at = page * self._size
            (size,) = struct.unpack_from(f"{self._order}H", self._data, at + 22)
            if self._data[at + 25] != _OVERFLOW_PAGE or not 0 < size <= min(
                length, self._size - _PAGE_HEADER
            ):
                _refuse("a value goes on where there is none")
            parts.append(self._data[at + _PAGE_HEADER : at + _PAGE_HEADER + size])
            length -= size
            (page,) = self._words(at + 16, 1)
        return b"".join(parts)

    def _check_number(self, page: int) -> None:
        if self._words(page * self._size + 8, 1) != (page,):
            _refuse("a page says that it is another one")

    def _words(self, at: int, count: int) -> tuple[int, ...]:
        return struct.unpack_from(f"{self._order}{count}I", self._data, at)


def _refuse(text: str) -> NoReturn:
    raise InputError(f"the database of rpm cannot be read: {text}", code="image.rpm-database")

"""Zip archives in which every byte belongs to exactly one known thing.

Central directory and local headers must agree, members tile the file from its first byte to the
directory, and nothing follows the end record: what one reader sees, every reader sees.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from vallum.base.bounds import ARCHIVE, ArchiveBounds
from vallum.base.errors import InputError
from vallum.formats.checksum import crc32, crc32_of
from vallum.formats.member import Member, Names, check_sizes
from vallum.formats.refusal import refuse, within

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_METHODS = {0: "stored", 8: "deflate"}
_ENCRYPTED, _DESCRIPTOR, _UTF8, _STRONG, _MASKED = 0x1, 0x8, 0x800, 0x40, 0x2000
_KNOWN_FLAGS = 0x6 | _DESCRIPTOR | _UTF8  # 0x6 are the deflate levels
_BIG16, _BIG32 = 0xFFFF, 0xFFFFFFFF
_CHUNK = 1 << 20
_UNICODE_PATH = 0x7075
# Bytes that may be in the extra fields which say a member's sizes, times and owner.
_EXTRAS = {0x0001: 28, 0x000A: 32, 0x5455: 13, 0x5855: 12, 0x7855: 4, 0x7875: 15}
_BINARY = re.compile(rb"[^\t\n\r -~]")
_UNIX, _SYMLINK, _REGULAR, _FOLDER = 3, 0o12, 0o10, 0o4


@dataclass(frozen=True, slots=True)
class _Central:
    flags: int
    method: int
    crc32: int
    packed: int
    size: int
    name: bytes
    offset: int


class ZipArchive:
    """An opened zip; opening checks the whole structure.

    Raises:
        InputError: Code `archive.*` or `archive.zip.*`.
        LimitExceededError: A bound of `bounds`.

    Source: PKWARE APPNOTE 6.3.10; Fifield, "A better zip bomb" (2019) for overlaps.
    """

    def __init__(self, data: bytes | memoryview, bounds: ArchiveBounds = ARCHIVE) -> None:
        self._data = memoryview(data)
        self._max_name = bounds.max_name_bytes
        within(len(self._data), bounds.max_bytes, "archive.too-large", "bytes of the archive")
        count, start, size, end = self._end()
        within(count, bounds.max_entries, "archive.too-many-members", "members of the archive")
        if start + size != end:
            refuse(
                "archive.zip.directory", "the directory does not end where the end record begins"
            )
        entries = self._directory(count, start, end)
        names = Names(bounds)
        self.members: list[Member] = []
        at = 0
        for entry in sorted(entries, key=lambda entry: entry.offset):
            name = names.admit(entry.name)
            if entry.offset != at:
                word = "overlap" if entry.offset < at else "gap"
                code = "archive.overlap" if entry.offset < at else "archive.hidden-data"
                refuse(code, f"{word} before the member `{name[:80]}` at offset {at}")
            member, at = self._local(entry, name, start)
            self.members.append(member)
        if at != start:
            refuse("archive.hidden-data", f"bytes of no member at offset {at}")
        check_sizes(self.members, bounds)

    def files(self) -> Iterator[Member]:
        """Yield the members that are not folders."""
        return (member for member in self.members if not member.name.endswith("/"))

    def chunks(self, member: Member) -> Iterator[bytes]:
        """Yield a member's expanded bytes, at most 1 MiB at a time.

        Raises:
            InputError: Code `archive.zip.deflate`, `archive.crc` or `archive.size`, at the latest
                after the last chunk.
        """
        packed = self._data[member.offset : member.offset + member.packed]
        crc = size = 0
        for chunk in _stored(packed) if member.method == "stored" else _inflate(packed):
            size += len(chunk)
            if size > member.size:
                refuse("archive.size", f"the member `{member.name[:80]}` is larger than declared")
            crc = crc32(chunk, crc)
            yield chunk
        if size != member.size:
            refuse("archive.size", f"the member `{member.name[:80]}` is smaller than declared")
        if crc != member.crc32:
            _wrong_sum(member)

    def stored(self, member: Member) -> memoryview | None:
        """Return the verified bytes of a member that is not packed, where they lie; else None.

        Raises:
            InputError: Code `archive.crc`.
        """
        if member.method != "stored":
            return None
        data = self._data[member.offset : member.offset + member.packed]
        if crc32_of(data) != member.crc32:
            _wrong_sum(member)
        return data

    def read(self, member: Member, limit: int) -> bytes:
        """Return a whole member of at most `limit` bytes.

        Raises:
            LimitExceededError: Code `archive.member-too-large`.
            InputError: As `chunks`.
        """
        within(member.size, limit, "archive.member-too-large", "bytes of a member")
        return b"".join(self.chunks(member))

    def _unpack(
        self, layout: struct.Struct, offset: int, magic: bytes, what: str
    ) -> tuple[int, ...]:
        if offset < 0 or offset + layout.size > len(self._data):
            refuse("archive.zip.truncated", f"the archive is cut short at its {what}")
        values = layout.unpack_from(self._data, offset)
        if values[0] != magic:
            refuse("archive.zip.magic", f"no {what} at offset {offset}")
        return values

    def _end(self) -> tuple[int, int, int, int]:
        tail_start = max(0, len(self._data) - _END.size - _BIG16)
        tail = bytes(self._data[tail_start:])
        found = [
            at
            for at in _positions(tail, b"PK\x05\x06")
            if at + _END.size <= len(tail)
            and at + _END.size + int.from_bytes(tail[at + 20 : at + 22], "little") == len(tail)
        ]
        if len(found) != 1:
            refuse("archive.zip.end", "the archive has no single end record at its last byte")
        end = tail_start + found[0]
        if _BINARY.search(tail, found[0] + _END.size):
            refuse("archive.hidden-data", "the archive's comment is no text")
        _, disk, first, here, count, size, start, _ = self._unpack(
            _END, end, b"PK\x05\x06", "end record"
        )
        if disk or first or here != count:
            refuse("archive.zip.disks", "the archive spans several disks")
        locator = end - _LOCATOR.size
        if locator >= 0 and bytes(self._data[locator : locator + 4]) == b"PK\x06\x07":
            return self._end64(locator, (count, size, start))
        if count == _BIG16 or _BIG32 in (size, start):
            refuse("archive.zip.end", "the archive lacks its zip64 end record")
        return count, start, size, end

    def _end64(self, locator: int, small: tuple[int, int, int]) -> tuple[int, int, int, int]:
        _, disk, offset, disks = self._unpack(_LOCATOR, locator, b"PK\x06\x07", "zip64 locator")
        record = self._unpack(_END64, offset, b"PK\x06\x06", "zip64 end record")
        _, length, _, _, here_disk, first, here, count, size, start = record
        if disk or here_disk or first or disks > 1 or here != count:
            refuse("archive.zip.disks", "the archive spans several disks")
        if offset + 12 + length != locator or length != _END64.size - 12:
            refuse("archive.zip.end", "the zip64 end record has another length than it says")
        for big, value, marker in zip(
            (count, size, start), small, (_BIG16, _BIG32, _BIG32), strict=True
        ):
            if value not in (big, marker):
                refuse("archive.zip.end", "the two end records disagree")
        return count, start, size, offset

    def _directory(self, count: int, start: int, end: int) -> list[_Central]:
        entries: list[_Central] = []
        at = start
        for _ in range(count):
            values = self._unpack(_CENTRAL, at, b"PK\x01\x02", "directory entry")
            (_, made, _, flags, method, _, _, crc, packed, size) = values[:10]
            name_length, extra_length, comment_length, disk, _, attributes, offset = values[10:]
            within(name_length, self._max_name, "archive.name-too-long", "bytes of a member's name")
            name = bytes(self._data[at + _CENTRAL.size :][:name_length])
            extra = bytes(self._data[at + _CENTRAL.size + name_length :][:extra_length])
            _check_extra(extra, name)
            comment = at + _CENTRAL.size + name_length + extra_length
            if _BINARY.search(bytes(self._data[comment : comment + comment_length])):
                refuse("archive.hidden-data", "the comment of a member is no text")
            at += _CENTRAL.size + name_length + extra_length + comment_length
            shown = name[:80].decode("utf-8", "replace")
            if flags & (_ENCRYPTED | _STRONG | _MASKED):
                refuse("archive.encrypted", f"the member `{shown}` is encrypted")
            if flags & ~_KNOWN_FLAGS:
                refuse("archive.zip.flags", f"the member `{shown}` has unknown flags")
            if method not in _METHODS:
                refuse("archive.method", f"the member `{shown}` is packed by method {method}")
            if disk not in (0, _BIG16):
                refuse("archive.zip.disks", "the archive spans several disks")
            kind = (attributes >> 16) >> 12
            if made >> 8 == _UNIX and kind == _SYMLINK:
                refuse("archive.symlink", f"the member `{shown}` is a link")
            if made >> 8 == _UNIX and kind not in (0, _REGULAR, _FOLDER):
                refuse("archive.special-file", f"the member `{shown}` is a special file")
            wide = _zip64_extra(extra, (size, packed, offset))
            size, packed, offset = wide
            entries.append(_Central(flags, method, crc, packed, size, name, offset))
        if at != end:
            refuse("archive.zip.directory", "the directory has another length than it says")
        return entries

    def _local(self, entry: _Central, name: str, end: int) -> tuple[Member, int]:
        """Check one local header against the directory; return the offset after its member."""
        values = self._unpack(_LOCAL, entry.offset, b"PK\x03\x04", "local header")
        _, _, flags, method, _, _, crc, packed, size, name_length, extra_length = values
        name_at = entry.offset + _LOCAL.size
        if bytes(self._data[name_at : name_at + name_length]) != entry.name:
            refuse("archive.zip.mismatch", f"`{name[:80]}` has another name in its own header")
        extra = bytes(self._data[name_at + name_length :][:extra_length])
        _check_extra(extra, entry.name)
        size, packed, _ = _zip64_extra(extra, (size, packed, 0))
        streamed = bool(flags & _DESCRIPTOR)
        same = (crc, packed, size) == (entry.crc32, entry.packed, entry.size)
        unknown = streamed and crc == 0 and packed == 0 and size == 0
        if flags != entry.flags or method != entry.method or not (same or unknown):
            refuse("archive.zip.mismatch", f"`{name[:80]}` disagrees with its own header")
        data_at = name_at + name_length + extra_length
        data_end = data_at + entry.packed
        if method == 0 and entry.packed != entry.size:
            refuse("archive.size", f"the stored member `{name[:80]}` has two sizes")
        if data_end > end:
            refuse("archive.overlap", f"the member `{name[:80]}` reaches into the directory")
        after = self._descriptor(data_end, entry) if streamed else data_end
        method_name = _METHODS[entry.method]
        member = Member(name, data_at, entry.packed, entry.size, method_name, entry.crc32)
        if name.endswith("/") and entry.size:
            refuse("archive.name", f"the folder `{name[:80]}` has content")
        return member, after

    def _descriptor(self, at: int, entry: _Central) -> int:
        for layout in ("<LLL", "<LQQ"):
            fields = struct.pack(layout, entry.crc32, *_fit(layout, entry.packed, entry.size))
            for whole in (b"PK\x07\x08" + fields, fields):
                if bytes(self._data[at : at + len(whole)]) == whole:
                    return at + len(whole)
        raise InputError(
            "a member's data descriptor disagrees with the directory", code="archive.zip.descriptor"
        )


def _fit(layout: str, packed: int, size: int) -> tuple[int, int]:
    return (packed, size) if "Q" in layout else (packed & _BIG32, size & _BIG32)


def _positions(data: bytes, needle: bytes) -> Iterator[int]:
    at = data.find(needle)
    while at >= 0:
        yield at
        at = data.find(needle, at + 1)


def _extras(extra: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        yield kind, extra[at + 4 : at + 4 + length]
        at += 4 + length


def _check_extra(extra: bytes, name: bytes) -> None:
    """Refuse extra fields that hold anything but what says something about the member.

    Source: PKWARE APPNOTE 6.3.10, section 4.5; Info-ZIP's extrafld.txt; zipalign's and torch's
    padding.
    """
    at = 0
    for kind, body in _extras(extra):
        at += 4 + len(body)
        if kind == _UNICODE_PATH and body[5:] == name:
            continue
        if len(body) > _EXTRAS.get(kind, 0) and body.strip(b"Z") and body.strip(b"\0"):
            refuse("archive.hidden-data", "an extra field of a member holds what nobody reads")
    if extra[at:].strip(b"\0"):
        refuse("archive.hidden-data", "bytes follow the extra fields of a member")


def _zip64_extra(extra: bytes, values: tuple[int, int, int]) -> tuple[int, int, int]:
    """Replace the fields that say `see the zip64 extra`, in their order."""
    if _BIG32 not in values:
        return values
    bodies = [body for kind, body in _extras(extra) if kind == 1]
    if len(bodies) != 1:
        refuse("archive.zip.extra", "a large member lacks its single zip64 field")
    at = 0
    wide: list[int] = []
    for value in values:
        if value != _BIG32:
            wide.append(value)
            continue
        if at + 8 > len(bodies[0]):
            refuse("archive.zip.extra", "a zip64 field is cut short")
        wide.append(int.from_bytes(bodies[0][at : at + 8], "little"))
        at += 8
    return wide[0], wide[1], wide[2]


def _wrong_sum(member: Member) -> NoReturn:
    refuse("archive.crc", f"the check sum of the member `{member.name[:80]}` is wrong")


def _stored(packed: memoryview) -> Iterator[bytes]:
    for start in range(0, len(packed), _CHUNK):
        yield bytes(packed[start : start + _CHUNK])


def _inflate(packed: memoryview) -> Iterator[bytes]:
    expander = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for start in range(0, len(packed), _CHUNK):
            rest: bytes | memoryview = packed[start : start + _CHUNK]
            while rest and not expander.eof:
                chunk = expander.decompress(rest, _CHUNK)
                rest = expander.unconsumed_tail
                if chunk:
                    yield chunk
            if expander.eof and (expander.unused_data or start + _CHUNK < len(packed)):
                refuse("archive.hidden-data", "bytes follow the end of a packed member")
        while chunk := expander.decompress(expander.unconsumed_tail, _CHUNK):
            yield chunk
    except zlib.error as error:
        refuse("archive.zip.deflate", "a member does not unpack", cause=error)
    if not expander.eof:
        refuse("archive.zip.deflate", "a packed member is cut short")

"""Tar archives of plain files and folders; everything else that tar can hold is refused."""

from collections.abc import Iterator

from vallum.base.bounds import ARCHIVE, ArchiveBounds
from vallum.formats.member import Member, Names, check_sizes
from vallum.formats.ranged import Ranged, View
from vallum.formats.refusal import refuse, within
from vallum.formats.tar_header import (
    BLOCK,
    FILE,
    FOLDER,
    LONG_NAME,
    MAX_META,
    PAX,
    PAX_GLOBAL,
    PAX_HARMLESS,
    check_header,
    decimal,
    header_name,
    pax_records,
)

_CHUNK = 1 << 20
_LINKS, _DEVICES, _SPARSE = b"12K", b"346", b"S"


class TarArchive:
    """An opened tar; opening walks every header.

    Raises:
        InputError: Code `archive.*` or `archive.tar.*`.
        LimitExceededError: A bound of `bounds`.

    Source: POSIX.1-2017 pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format".
    """

    def __init__(self, data: bytes | View, bounds: ArchiveBounds = ARCHIVE) -> None:
        self._data: View = data if isinstance(data, Ranged) else memoryview(data)
        within(len(self._data), bounds.max_bytes, "archive.too-large", "bytes of the archive")
        self._names = Names(bounds)
        self.members: list[Member] = []
        self._walk()
        check_sizes(self.members, bounds)

    def files(self) -> Iterator[Member]:
        """Yield the members that are not folders."""
        return (member for member in self.members if not member.name.endswith("/"))

    def chunks(self, member: Member) -> Iterator[bytes]:
        """Yield a member's bytes, at most 1 MiB at a time."""
        for start in range(member.offset, member.offset + member.size, _CHUNK):
            yield bytes(self._data[start : min(start + _CHUNK, member.offset + member.size)])

    def stored(self, member: Member) -> memoryview:
        """Return a member's bytes where they lie, or read where they lie elsewhere."""
        found = self._data[member.offset : member.offset + member.size]
        return memoryview(bytes(found)) if isinstance(found, Ranged) else found

    def read(self, member: Member, limit: int) -> bytes:
        """Return a whole member of at most `limit` bytes.

        Raises:
            LimitExceededError: Code `archive.member-too-large`.
        """
        within(member.size, limit, "archive.member-too-large", "bytes of a member")
        return bytes(self._data[member.offset : member.offset + member.size])

    def _walk(self) -> None:
        at = 0
        long_name: bytes | None = None
        pax: dict[str, str] = {}
        while True:
            header = bytes(self._data[at : at + BLOCK])
            if len(header) < BLOCK:
                refuse("archive.tar.truncated", "the archive is cut short")
            if not any(header):
                break
            kind, size = check_header(header, at)
            size = decimal(pax["size"]) if "size" in pax and kind in FILE else size
            body = at + BLOCK
            if size > len(self._data) - body:
                refuse("archive.tar.truncated", f"a member at offset {at} is cut short")
            after = body + -(-size // BLOCK) * BLOCK
            if any(bytes(self._data[body + size : after])):
                refuse("archive.hidden-data", f"padding at offset {body + size} is not zero")
            if kind in (PAX, PAX_GLOBAL, LONG_NAME):
                within(size, MAX_META, "archive.tar.header-too-large", "bytes of an extra header")
                content = bytes(self._data[body : body + size])
                if kind == LONG_NAME:
                    long_name = content.removesuffix(b"\0")
                elif kind == PAX:
                    pax = _pax(content)
                elif not PAX_HARMLESS.issuperset(_pax(content)):
                    refuse("archive.tar.global", "a global header renames or resizes members")
            else:
                if long_name is not None and "path" in pax:
                    refuse("archive.name", "a member has two names")
                raw = pax["path"].encode() if "path" in pax else long_name or header_name(header)
                self._admit(kind, raw, body, size)
                long_name, pax = None, {}
            at = after
        if long_name is not None or pax:
            refuse("archive.tar.header", "an extra header without a member")
        if len(self._data) - at < 2 * BLOCK or not self._is_zero(at):
            refuse("archive.hidden-data", f"bytes follow the end of the archive at offset {at}")

    def _is_zero(self, at: int) -> bool:
        """Tell whether nothing but zeros stands from an offset to the end."""
        starts = range(at, len(self._data), _CHUNK)
        return not any(bytes(self._data[one : one + _CHUNK]).strip(b"\0") for one in starts)

    def _admit(self, kind: bytes, raw: bytes, body: int, size: int) -> None:
        shown = raw[:80].decode("utf-8", "replace")
        if kind in _LINKS:
            refuse("archive.symlink", f"the member `{shown}` is a link")
        if kind in _DEVICES:
            refuse("archive.special-file", f"the member `{shown}` is a device or pipe")
        if kind in _SPARSE:
            refuse("archive.sparse", f"the member `{shown}` is sparse")
        if kind not in FILE and kind != FOLDER:
            refuse("archive.tar.type", f"the member `{shown}` is of an unknown type")
        if kind == FOLDER:
            if size:
                refuse("archive.name", f"the folder `{shown}` has content")
            if raw in (b".", b"./"):
                return
            raw = raw.removesuffix(b"/") + b"/"
        elif raw.endswith(b"/"):
            refuse("archive.name", f"the file `{shown}` is named as a folder")
        name = self._names.admit(raw)
        self.members.append(Member(name, body, size, size))


def _pax(content: bytes) -> dict[str, str]:
    fields: dict[str, str] = {}
    for name, value in pax_records(content):
        if "sparse" in name.lower():
            refuse("archive.sparse", "a member is sparse")
        if name == "linkpath":
            refuse("archive.symlink", "a member is a link")
        try:
            fields[name] = value.decode("utf-8")
        except UnicodeDecodeError as error:
            refuse("archive.tar.pax", "an extra header is not text", cause=error)
    return fields

"""Tar archives of plain files and folders; everything else that tar can hold is refused."""

from collections.abc import Iterator

from vallum.base.bounds import ARCHIVE, ArchiveBounds
from vallum.formats.member import Member, Names, check_sizes
from vallum.formats.refusal import refuse, within

_BLOCK = 512
_CHUNK = 1 << 20
_MAX_META = 64 * 1024
_FILE, _FOLDER, _PAX, _PAX_GLOBAL, _LONG_NAME = b"0\0", b"5", b"x", b"g", b"L"
_LINKS, _DEVICES, _SPARSE = b"12K", b"346", b"S"
_PAX_HARMLESS = frozenset({"mtime", "atime", "ctime", "uid", "gid", "uname", "gname", "comment"})


class TarArchive:
    """An opened tar; opening walks every header.

    Raises:
        InputError: Code `archive.*` or `archive.tar.*`.
        LimitExceededError: A bound of `bounds`.

    Source: POSIX.1-2017 pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format".
    """

    def __init__(self, data: bytes | memoryview, bounds: ArchiveBounds = ARCHIVE) -> None:
        self._data = memoryview(data)
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
        """Return a member's bytes where they lie."""
        return self._data[member.offset : member.offset + member.size]

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
            header = bytes(self._data[at : at + _BLOCK])
            if len(header) < _BLOCK:
                refuse("archive.tar.truncated", "the archive is cut short")
            if not any(header):
                break
            kind, size = self._header(header, at)
            size = _decimal(pax["size"]) if "size" in pax and kind in _FILE else size
            body = at + _BLOCK
            if size > len(self._data) - body:
                refuse("archive.tar.truncated", f"a member at offset {at} is cut short")
            after = body + -(-size // _BLOCK) * _BLOCK
            if any(self._data[body + size : after]):
                refuse("archive.hidden-data", f"padding at offset {body + size} is not zero")
            if kind in (_PAX, _PAX_GLOBAL, _LONG_NAME):
                within(size, _MAX_META, "archive.tar.header-too-large", "bytes of an extra header")
                content = bytes(self._data[body : body + size])
                if kind == _LONG_NAME:
                    long_name = content.removesuffix(b"\0")
                elif kind == _PAX:
                    pax = _pax(content)
                elif not _PAX_HARMLESS.issuperset(_pax(content)):
                    refuse("archive.tar.global", "a global header renames or resizes members")
            else:
                raw = pax["path"].encode() if "path" in pax else long_name or _name(header)
                self._admit(kind, raw, body, size)
                long_name, pax = None, {}
            at = after
        if long_name is not None or pax:
            refuse("archive.tar.header", "an extra header without a member")
        if len(self._data) - at < 2 * _BLOCK or any(self._data[at:]):
            refuse("archive.hidden-data", f"bytes follow the end of the archive at offset {at}")

    def _header(self, header: bytes, at: int) -> tuple[bytes, int]:
        total = sum(header[:148]) + 8 * 0x20 + sum(header[156:])
        if _octal(header[148:156]) != total:
            refuse("archive.tar.checksum", f"a header's check sum is wrong at offset {at}")
        if header[257:262] != b"ustar":
            refuse("archive.tar.magic", f"no ustar header at offset {at}")
        return header[156:157], _octal(header[124:136])

    def _admit(self, kind: bytes, raw: bytes, body: int, size: int) -> None:
        shown = raw[:80].decode("utf-8", "replace")
        if kind in _LINKS:
            refuse("archive.symlink", f"the member `{shown}` is a link")
        if kind in _DEVICES:
            refuse("archive.special-file", f"the member `{shown}` is a device or pipe")
        if kind in _SPARSE:
            refuse("archive.sparse", f"the member `{shown}` is sparse")
        if kind not in _FILE and kind != _FOLDER:
            refuse("archive.tar.type", f"the member `{shown}` is of an unknown type")
        if kind == _FOLDER:
            if size:
                refuse("archive.name", f"the folder `{shown}` has content")
            if raw in (b".", b"./"):
                return
            raw = raw.removesuffix(b"/") + b"/"
        elif raw.endswith(b"/"):
            refuse("archive.name", f"the file `{shown}` is named as a folder")
        name = self._names.admit(raw)
        self.members.append(Member(name, body, size, size))


def _octal(field: bytes) -> int:
    if field[:1] and field[0] & 0x80:  # GNU's base 256, positive
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    text = field.strip(b" \0")
    if not text:
        return 0
    if not all(digit in b"01234567" for digit in text):
        refuse("archive.tar.number", "a number in a header is not octal")
    return int(text, 8)


def _decimal(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):  # noqa: PLR2004 - 2**64's digits
        refuse("archive.tar.number", "a number in an extra header is not decimal")
    return int(text)


def _name(header: bytes) -> bytes:
    name, prefix = header[:100].split(b"\0")[0], header[345:500].split(b"\0")[0]
    posix = header[257:265] == b"ustar\x0000"  # GNU keeps times in the prefix field
    return prefix + b"/" + name if posix and prefix else name


def _pax(content: bytes) -> dict[str, str]:
    fields: dict[str, str] = {}
    at = 0
    while at < len(content):
        space = content.find(b" ", at, at + 21)
        length = _decimal(content[at:space].decode("ascii", "replace")) if space > 0 else 0
        record = content[space + 1 : at + length]
        if not record.endswith(b"\n") or b"=" not in record:
            refuse("archive.tar.pax", "an extra header is malformed")
        key, value = record[:-1].split(b"=", 1)
        try:
            text, name = value.decode("utf-8"), key.decode("ascii")
        except UnicodeDecodeError as error:
            refuse("archive.tar.pax", "an extra header is not text", cause=error)
        if "sparse" in name.lower():
            refuse("archive.sparse", "a member is sparse")
        if name == "linkpath":
            refuse("archive.symlink", "a member is a link")
        if name in fields:
            refuse("archive.tar.pax", f"the field `{name[:80]}` appears twice")
        fields[name] = text
        at += length
    return fields

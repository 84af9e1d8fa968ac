"""Tar archives as a stream, with all that the layer of a container image may hold.

Nothing is written or followed: links, devices and owners are told as they are declared. What two
readers could read differently (a wrong check sum, a sparse file, a global header that renames,
hidden bytes) is refused, as `TarArchive` refuses it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from vallum.formats.refusal import refuse, within
from vallum.formats.tar_header import (
    BLOCK,
    LONG_NAME,
    MAX_META,
    PAX,
    PAX_GLOBAL,
    PAX_HARMLESS,
    check_header,
    decimal,
    header_name,
    octal,
    pax_records,
)

Kind = Literal["file", "hard-link", "link", "character", "block", "folder", "pipe"]
_KINDS: Mapping[bytes, Kind] = MappingProxyType(
    {
        b"\0": "file", b"0": "file", b"7": "file", b"1": "hard-link", b"2": "link",
        b"3": "character", b"4": "block", b"5": "folder", b"6": "pipe",
    }
)  # fmt: skip
_LONG_LINK = b"K"
_ATTRIBUTES = ("SCHILY.xattr.", "LIBARCHIVE.xattr.")


@dataclass(frozen=True, slots=True)
class TarEntry:
    """One member of the archive, as its headers declare it.

    Attributes:
        path: Not checked; what is no UTF-8 is kept with surrogates.
        kind: Of file.
        mode: The twelve bits of permissions.
        uid: Of the owner.
        gid: Of the group.
        size: Bytes of content.
        target: Of a link.
        device: Major and minor number.
        attributes: Extended ones, by name.
        content: The bytes, where they were asked for.
    """

    path: str
    kind: Kind
    mode: int
    uid: int
    gid: int
    size: int
    target: str = ""
    device: tuple[int, int] = (0, 0)
    attributes: Mapping[str, bytes] = field(default_factory=dict)
    content: bytes | None = None


class _Source:
    """Bytes of a stream, asked for by count."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._held = memoryview(b"")
        self.at = 0

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes; fewer at the end."""
        parts = []
        while count:
            if not self._held and not self._next():
                break
            part = self._held[:count]
            self._held = self._held[len(part) :]
            parts.append(part)
            count -= len(part)
            self.at += len(part)
        return b"".join(parts)

    def skip(self, count: int) -> None:
        """Pass over `count` bytes that are there."""
        while count:
            if not self._held and not self._next():
                refuse("archive.tar.truncated", "a member is cut short")
            step = min(count, len(self._held))
            self._held = self._held[step:]
            count -= step
            self.at += step

    def _next(self) -> bool:
        self._held = memoryview(next(self._chunks, b""))
        return bool(self._held)


@dataclass(slots=True)
class _Extra:
    """What headers before a member say about it."""

    fields: dict[str, bytes] = field(default_factory=dict)
    name: bytes | None = None
    link: bytes | None = None

    def __bool__(self) -> bool:
        return bool(self.fields) or self.name is not None or self.link is not None


def read_tar(
    chunks: Iterator[bytes], wanted: Callable[[TarEntry], bool], *, max_path_bytes: int
) -> Iterator[TarEntry]:
    """Yield the members of a tar in their order, to the last byte of the stream.

    Args:
        chunks: The archive's bytes; none of them empty.
        wanted: Tells whether the content of a file is to be kept. It is read into memory.
        max_path_bytes: Of a path or a link's target.

    Raises:
        InputError: Code `archive.*`: the archive is malformed or could be read in two ways.
        LimitExceededError: A path or an extra header is too long.
    """
    source = _Source(chunks)
    extra = _Extra()
    while True:
        header = source.take(BLOCK)
        if not header and source.at:
            break  # umoci leaves the end out, and container runtimes take it so
        if len(header) < BLOCK:
            refuse("archive.tar.truncated", "the archive is cut short")
        if not any(header):
            break
        kind, size = check_header(header, source.at - BLOCK)
        if kind in (PAX, PAX_GLOBAL, LONG_NAME, _LONG_LINK):
            _read_extra(source, kind, size, extra)
            continue
        entry = _entry(header, kind, size, extra, max_path_bytes)
        extra = _Extra()
        if entry.kind == "file" and wanted(entry):
            content = _content(source, entry.size)
            yield TarEntry(
                entry.path, "file", entry.mode, entry.uid, entry.gid, entry.size,
                attributes=entry.attributes, content=content,
            )  # fmt: skip
        else:
            source.skip(entry.size)
            _padding(source, entry.size)
            yield entry
    if extra:
        refuse("archive.tar.header", "an extra header without a member")
    # One block of zeros ends it; a second, and filling up to a record, are usual.
    while rest := source.take(1 << 20):
        if rest.strip(b"\0"):
            refuse("archive.hidden-data", "bytes follow the end of the archive")


def _content(source: _Source, size: int) -> bytes:
    content = source.take(size)
    if len(content) < size:
        refuse("archive.tar.truncated", "a member is cut short")
    _padding(source, size)
    return content


def _padding(source: _Source, size: int) -> None:
    if any(source.take(-size % BLOCK)):  # of the last member it may be missing
        refuse("archive.hidden-data", f"padding before offset {source.at} is not zero")


def _read_extra(source: _Source, kind: bytes, size: int, extra: _Extra) -> None:
    within(size, MAX_META, "archive.tar.header-too-large", "bytes of an extra header")
    content = _content(source, size)
    if kind == LONG_NAME:
        extra.name = content.removesuffix(b"\0")
    elif kind == _LONG_LINK:
        extra.link = content.removesuffix(b"\0")
    elif kind == PAX:
        extra.fields = dict(pax_records(content))
        if any("sparse" in name.lower() for name in extra.fields):
            refuse("archive.sparse", "a member is sparse")
    elif not PAX_HARMLESS.issuperset(name for name, _ in pax_records(content)):
        refuse("archive.tar.global", "a global header renames or resizes members")


def _entry(header: bytes, flag: bytes, size: int, extra: _Extra, max_path_bytes: int) -> TarEntry:
    kind = _KINDS.get(flag)
    if kind is None:
        refuse("archive.tar.type", f"a member of the unknown type {flag!r}")
    fields = extra.fields
    if (extra.name is not None and "path" in fields) or (
        extra.link is not None and "linkpath" in fields
    ):
        refuse("archive.name", "a member has two names, and readers differ in which they take")
    path = fields.get("path") or extra.name or header_name(header)
    target = fields.get("linkpath") or extra.link or header[157:257].split(b"\0")[0]
    for text in (path, target):
        within(len(text), max_path_bytes, "archive.name-too-long", "bytes of a member's name")
        if b"\0" in text:
            refuse("archive.name", "a member's name holds a NUL")
    if not path:
        refuse("archive.name", "a member has no name")
    if kind == "file" and path.endswith(b"/"):  # before ustar, a folder was told by its name
        refuse("archive.name", "a file is named as a folder")
    size = _number(fields, "size", size)
    if kind != "file":
        if size and kind != "hard-link":  # a hard link may repeat the size of what it names
            refuse("archive.name", "a member that is no file has content")
        size = 0
    return TarEntry(
        path=path.decode("utf-8", "surrogateescape"),
        kind=kind,
        mode=octal(header[100:108]) & 0o7777,
        uid=_number(fields, "uid", octal(header[108:116])),
        gid=_number(fields, "gid", octal(header[116:124])),
        size=size,
        target=target.decode("utf-8", "surrogateescape") if kind in ("link", "hard-link") else "",
        device=(octal(header[329:337]), octal(header[337:345])),
        attributes={
            name.removeprefix(start): value
            for name, value in fields.items()
            for start in _ATTRIBUTES
            if name.startswith(start)
        },
    )


def _number(fields: Mapping[str, bytes], name: str, given: int) -> int:
    return decimal(fields[name].decode("ascii", "replace")) if name in fields else given

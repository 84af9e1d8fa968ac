"""Compressed streams, expanded within a ratio and a size, in memory or a mapped temporary file."""

import bz2
import lzma
import mmap
import tempfile
import zlib
from collections.abc import Generator, Iterator
from typing import Protocol

from vallum.base.bounds import MIB, ArchiveBounds
from vallum.base.errors import InputError, LimitExceededError
from vallum.formats import View, release
from vallum.scan.lz4_frame import lz4_chunks

_CHUNK = 1 << 20
_IN_MEMORY = 8 * MIB
_MAX_PARTS = 1_000
_MAX_MEMORY = 80 * MIB  # `xz -9` needs 65


def packing(data: View) -> str:
    """Name the compression by its first bytes; empty if there is none."""
    head = bytes(data[:6])
    if head[:2] == b"\x1f\x8b":
        return "gzip"
    if head[:3] == b"BZh" and head[3:4].isdigit():
        return "bz2"
    if head == b"\xfd7zXZ\0":
        return "xz"
    if head[:3] == b"\x5d\0\0":
        return "lzma"
    if head[:4] == b"\x04\x22\x4d\x18":
        return "lz4"
    if head[:4] == b"\x28\xb5\x2f\xfd":
        return "zstd"
    if head[:1] == b"\x78" and len(head) > 1 and int.from_bytes(head[:2], "big") % 31 == 0:
        return "zlib" if _opens(data) else ""
    return ""


def _opens(data: View) -> bool:
    try:
        zlib.decompressobj().decompress(bytes(data[:64]), 64)
    except zlib.error:
        return False
    return True


def expand(data: View, kind: str, bounds: ArchiveBounds) -> memoryview:
    """Expand a whole stream.

    Raises:
        InputError: Code `packed.*`: malformed, cut short, or bytes after the end.
        LimitExceededError: Code `archive.bomb` or `archive.member-too-large`.
    """
    return gather(_parts(data, kind), len(data), bounds)


def expand_stream(data: View, kind: str, bounds: ArchiveBounds) -> Iterator[bytes]:
    """Yield a stream's bytes, at most 1 MiB at a time, to the last byte of the packed data.

    Raises:
        InputError: Code `packed.*`: malformed, cut short, or bytes after the end.
        LimitExceededError: Code `archive.bomb` or `archive.member-too-large`.
    """
    return _bounded_chunks(_parts(data, kind), len(data), bounds)


def gather(chunks: Iterator[bytes], packed: int, bounds: ArchiveBounds) -> memoryview:
    """Collect chunks; beyond 8 MiB they lie in an unlinked temporary file.

    Raises:
        LimitExceededError: Code `archive.bomb` or `archive.member-too-large`.
    """
    return _gathered(_bounded_chunks(chunks, packed, bounds))


def _gathered(chunks: Iterator[bytes]) -> memoryview:
    size = 0
    held: list[bytes] = []
    with tempfile.TemporaryFile() as spool:
        for chunk in chunks:
            size += len(chunk)
            if size <= _IN_MEMORY:
                held.append(chunk)
                continue
            for earlier in held:
                spool.write(earlier)
            held.clear()
            spool.write(chunk)
        if size <= _IN_MEMORY:
            return memoryview(b"".join(held))
        spool.flush()
        return memoryview(mmap.mmap(spool.fileno(), size, access=mmap.ACCESS_READ))


def inflate(packed: memoryview, most: int, *, raw: bool = False) -> tuple[memoryview, bytes]:
    """Expand a deflate stream of numbers, whatever its ratio; return it and the bytes behind it.

    Raises:
        ValueError: It is cut short, malformed, or larger than `most`.
    """
    opener = zlib.decompressobj(-15 if raw else 15)

    def chunks() -> Iterator[bytes]:
        size = 0
        rest: bytes | memoryview = packed
        while not opener.eof:
            chunk = opener.decompress(rest, _CHUNK)
            rest, size = opener.unconsumed_tail, size + len(chunk)
            if size > most or not (chunk or rest or opener.eof):
                raise ValueError("a packed part is too large, or cut short")
            yield chunk

    out = _gathered(chunks())
    return out, opener.unused_data


def _bounded_chunks(chunks: Iterator[bytes], packed: int, bounds: ArchiveBounds) -> Iterator[bytes]:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > bounds.max_member_bytes:
            raise LimitExceededError(
                f"expanded to more than {bounds.max_member_bytes} bytes",
                code="archive.member-too-large",
            )
        if size > MIB and size > bounds.max_ratio * max(packed, 1):
            raise LimitExceededError(
                f"expanded to more than {bounds.max_ratio} times its size",
                code="archive.bomb",
            )
        yield chunk


def _parts(data: View, kind: str) -> Iterator[bytes]:
    """Yield the chunks of all parts (gzip, bz2 and xz may hold several) to the last byte."""
    at = 0
    for _ in range(_MAX_PARTS):
        used = yield from _part(data[at:], kind)
        at += used
        if at == len(data):
            return
        if kind in ("zlib", "lzma") or packing(data[at:]) != kind:
            break
    raise InputError(f"bytes follow the {kind} stream at offset {at}", code="packed.trailing-data")


def _part(data: View, kind: str) -> Generator[bytes, None, int]:
    try:
        if kind in ("gzip", "zlib"):
            return (yield from _inflate(data, 31 if kind == "gzip" else 15))
        if kind == "lz4":
            held = data if isinstance(data, memoryview) else memoryview(bytes(data))
            return (yield from lz4_chunks(held))
        if kind == "bz2":
            return (yield from _bounded(data, bz2.BZ2Decompressor(), kind))
        if kind == "zstd":
            return (yield from _zstd(data))
        form = lzma.FORMAT_XZ if kind == "xz" else lzma.FORMAT_ALONE
        opener = lzma.LZMADecompressor(format=form, memlimit=_MAX_MEMORY)
        return (yield from _bounded(data, opener, kind))
    except (zlib.error, lzma.LZMAError, OSError, ValueError, EOFError, IndexError) as error:
        raise InputError(f"the {kind} stream is malformed", code="packed.malformed") from error


def _inflate(data: View, window: int) -> Generator[bytes, None, int]:
    opener = zlib.decompressobj(window)
    at = 0
    while at < len(data) and not opener.eof:
        rest: bytes | memoryview = bytes(data[at : at + _CHUNK])
        at += len(rest)
        release(data)
        while rest and not opener.eof:
            chunk = opener.decompress(rest, _CHUNK)
            rest = opener.unconsumed_tail
            if chunk:
                yield chunk
    while not opener.eof and (chunk := opener.decompress(opener.unconsumed_tail, _CHUNK)):
        yield chunk
    if not opener.eof:
        raise EOFError
    return at - len(opener.unused_data)


def _zstd(data: View) -> Generator[bytes, None, int]:
    from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

    # RFC 8878, section 3.1.1.1.2: a decoder may refuse windows beyond 8 MiB; images use 128 MiB.
    opener = ZstdDecompressor(options={DecompressionParameter.window_log_max: 27})
    try:
        return (yield from _bounded(data, opener, "zstd"))
    except ZstdError as error:
        raise ValueError("zstd") from error


class _Opener(Protocol):
    """What decompresses a stream, as `bz2`, `lzma` and `zstd` of the standard library do."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


def _bounded(data: View, opener: _Opener, kind: str) -> Generator[bytes, None, int]:
    at = 0
    while not opener.eof:
        piece = b""
        if opener.needs_input:
            piece = bytes(data[at : at + _CHUNK])
            at += len(piece)
            release(data)
            if not piece:
                raise EOFError(kind)
        chunk = opener.decompress(piece, _CHUNK)
        if chunk:
            yield chunk
    return at - len(opener.unused_data)

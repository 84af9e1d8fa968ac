"""Round 7: ZIP files bytewise, with any field wrong that a caller wants wrong."""

import struct
import zlib
from dataclasses import dataclass


@dataclass
class Part:
    """A member; what is None is told truthfully."""

    name: bytes
    data: bytes
    method: int = 0
    flags: int = 0
    crc: int | None = None
    local_name: bytes | None = None
    local_method: int | None = None
    local_flags: int | None = None
    local_crc: int | None = None
    size: int | None = None
    packed_size: int | None = None
    local_sizes: int | None = None
    extra: bytes = b""
    local_extra: bytes = b""
    comment: bytes = b""
    version: int = 20
    attributes: int = 0
    made_by: int = 20
    in_directory: bool = True
    gap: bytes = b""
    raw: bytes | None = None
    descriptor: bool = False


def archive(
    parts: list[Part],
    *,
    prefix: bytes = b"",
    comment: bytes = b"",
    suffix: bytes = b"",
    shift: bool = True,
    directory: bool = True,
    count: int | None = None,
    reverse: bool = False,
    zip64: bool = False,
    disk: int = 0,
    between: bytes = b"",
) -> bytes:
    """Return an archive; `shift` counts offsets from the file's start."""
    body, entries = b"", []
    base = len(prefix) if shift else 0
    for part in parts:
        packed = part.raw
        if packed is None:
            packed = part.data
            if part.method == 8:
                packer = zlib.compressobj(9, zlib.DEFLATED, -15)
                packed = packer.compress(part.data) + packer.flush()
        crc = zlib.crc32(part.data) if part.crc is None else part.crc
        size = len(part.data) if part.size is None else part.size
        packed_size = len(packed) if part.packed_size is None else part.packed_size
        body += part.gap
        where = base + len(body)
        flags = part.flags | (8 if part.descriptor else 0)
        local_flags = flags if part.local_flags is None else part.local_flags
        name = part.name if part.local_name is None else part.local_name
        method = part.method if part.local_method is None else part.local_method
        sums = (crc if part.local_crc is None else part.local_crc, packed_size, size)
        if part.descriptor:
            sums = (0, 0, 0)
        elif part.local_sizes is not None:
            sums = (sums[0], part.local_sizes, part.local_sizes)
        body += struct.pack(
            "<4s5H3I2H",
            b"PK\3\4",
            part.version,
            local_flags,
            method,
            0,
            33,
            *sums,
            len(name),
            len(part.local_extra),
        )
        body += name + part.local_extra + packed
        if part.descriptor:
            body += struct.pack("<4s3I", b"PK\7\10", crc, packed_size, size)
        if part.in_directory:
            entries.append(
                struct.pack(
                    "<4s6H3I5H2I",
                    b"PK\1\2",
                    part.made_by,
                    part.version,
                    flags,
                    part.method,
                    0,
                    33,
                    crc,
                    packed_size,
                    size,
                    len(part.name),
                    len(part.extra),
                    len(part.comment),
                    disk,
                    0,
                    part.attributes,
                    where,
                )
                + part.name
                + part.extra
                + part.comment
            )
    if not directory:
        return prefix + body + suffix
    listed = b"".join(reversed(entries) if reverse else entries)
    body += between
    start, number = base + len(body), len(entries) if count is None else count
    end = b""
    if zip64:
        where64 = start + len(listed)
        end = struct.pack(
            "<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, number, number, len(listed), start
        )
        end += struct.pack("<4sIQI", b"PK\6\7", 0, where64, 1)
        tail = struct.pack(
            "<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, len(comment)
        )
    else:
        tail = struct.pack(
            "<4s4H2IH", b"PK\5\6", disk, disk, number, number, len(listed), start, len(comment)
        )
    return prefix + body + listed + end + tail + comment + suffix


def aligned(name: bytes, at: int) -> bytes:
    """Return the padding field that torch writes before a record."""
    room = (64 - (at + 30 + len(name) + 4) % 64) % 64
    return b"FB" + struct.pack("<H", room) + b"Z" * room


def crypted(data: bytes, password: bytes, crc: int) -> bytes:
    """Return `data` under the old ZIP cipher."""
    keys = [0x12345678, 0x23456789, 0x34567890]

    def step(byte: int) -> None:
        keys[0] = zlib.crc32(bytes([byte]), keys[0] ^ 0xFFFFFFFF) ^ 0xFFFFFFFF
        keys[1] = ((keys[1] + (keys[0] & 0xFF)) * 134775813 + 1) & 0xFFFFFFFF
        keys[2] = zlib.crc32(bytes([keys[1] >> 24]), keys[2] ^ 0xFFFFFFFF) ^ 0xFFFFFFFF

    for byte in password:
        step(byte)
    out = bytearray()
    for byte in bytes(11) + bytes([crc >> 24]) + data:
        mixed = (keys[2] | 2) & 0xFFFF
        out.append(byte ^ ((mixed * (mixed ^ 1)) >> 8 & 0xFF))
        step(byte)
    return bytes(out)

"""A ZIP, 7z and GGUF of the sixth round, written field by field so that any of them can lie."""

import struct
import zlib
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Member:
    """A member; `local` and `central` replace fields of its two headers."""

    name: bytes
    data: bytes
    method: int = 0
    local: dict[str, Any] = field(default_factory=dict)
    central: dict[str, Any] = field(default_factory=dict)
    packed: bytes | None = None
    descriptor: bool = False


def deflated(data: bytes) -> bytes:
    squeezer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return squeezer.compress(data) + squeezer.flush()


def zipped(members: list[Member], prefix: bytes = b"", comment: bytes = b"", **end: Any) -> bytes:
    out, directory = bytearray(prefix), bytearray()
    for one in members:
        packed = (
            one.packed
            if one.packed is not None
            else deflated(one.data)
            if one.method == 8
            else one.data
        )
        start = len(out)
        told = {
            "need": 20,
            "flags": 8 if one.descriptor else 0,
            "method": one.method,
            "time": 0,
            "date": 0x5821,
            "crc": zlib.crc32(one.data),
            "packed": len(packed),
            "size": len(one.data),
            "name": one.name,
            "extra": b"",
            "comment": b"",
            "offset": start,
            "outside": 0,
            "made": 0x314,
        }
        here = told | ({"crc": 0, "packed": 0, "size": 0} if one.descriptor else {}) | one.local
        out += struct.pack(
            "<4sHHHHHIIIHH",
            b"PK\3\4",
            here["need"],
            here["flags"],
            here["method"],
            here["time"],
            here["date"],
            here["crc"],
            here["packed"],
            here["size"],
            here.get("name_length", len(here["name"])),
            here.get("extra_length", len(here["extra"])),
        )
        out += here["name"] + here["extra"] + packed
        if one.descriptor:
            out += struct.pack("<4sIII", b"PK\7\10", told["crc"], told["packed"], told["size"])
        there = told | one.central
        directory += struct.pack(
            "<4sHHHHHHIIIHHHHHII",
            b"PK\1\2",
            there["made"],
            there["need"],
            there["flags"],
            there["method"],
            there["time"],
            there["date"],
            there["crc"],
            there["packed"],
            there["size"],
            len(there["name"]),
            len(there["extra"]),
            len(there["comment"]),
            there.get("disk", 0),
            0,
            there["outside"],
            there["offset"],
        )
        directory += there["name"] + there["extra"] + there["comment"]
    at = len(out)
    last = {
        "disk": 0,
        "here": len(members),
        "all": len(members),
        "size": len(directory),
        "offset": at,
        "length": len(comment),
    } | end
    out += directory
    if last.pop("zip64", False):
        out += struct.pack(
            "<4sQHHIIQQQQ",
            b"PK\6\6",
            44,
            45,
            45,
            0,
            0,
            len(members),
            len(members),
            len(directory),
            at,
        )
        out += struct.pack("<4sIQI", b"PK\6\7", 0, at + len(directory), 1)
        last |= {"here": 0xFFFF, "all": 0xFFFF, "size": 0xFFFFFFFF, "offset": 0xFFFFFFFF}
    out += (
        struct.pack(
            "<4sHHHHIIH",
            b"PK\5\6",
            last["disk"],
            last["disk"],
            last["here"],
            last["all"],
            last["size"],
            last["offset"],
            last["length"],
        )
        + comment
    )
    return bytes(out)


def crypted(data: bytes, password: bytes, crc: int) -> bytes:
    """Encrypt as PKZIP 2.0 does."""
    table = []
    for i in range(256):
        value = i
        for _ in range(8):
            value = value >> 1 ^ (0xEDB88320 if value & 1 else 0)
        table.append(value)
    keys = [0x12345678, 0x23456789, 0x34567890]

    def update(byte: int) -> None:
        keys[0] = keys[0] >> 8 ^ table[(keys[0] ^ byte) & 255]
        keys[1] = ((keys[1] + (keys[0] & 255)) * 134775813 + 1) & 0xFFFFFFFF
        keys[2] = keys[2] >> 8 ^ table[(keys[2] ^ keys[1] >> 24) & 255]

    for byte in password:
        update(byte)
    out = bytearray()
    for byte in bytes(11) + bytes([crc >> 24]) + data:
        value = keys[2] | 2
        out.append(byte ^ (value * (value ^ 1) >> 8 & 255))
        update(byte)
    return bytes(out)


def sevenz(name: str, data: bytes) -> bytes:
    """Return a 7z archive with one stored member."""

    def number(value: int) -> bytes:
        return bytes([value]) if value < 128 else bytes([0x80 | value >> 8, value & 255])

    title = name.encode("utf-16-le") + b"\0\0"
    header = b"\x01\x04" + b"\x06\0\x01\x09" + number(len(data)) + b"\0"
    header += b"\x07\x0b\x01\0\x01\x01\0\x0c" + number(len(data)) + b"\0"
    header += b"\x08\x0a\x01" + struct.pack("<I", zlib.crc32(data)) + b"\0" + b"\0"
    header += b"\x05\x01\x11" + number(len(title) + 1) + b"\0" + title + b"\0\0"
    start = struct.pack("<QQI", len(data), len(header), zlib.crc32(header))
    return (
        b"7z\xbc\xaf\x27\x1c\0\x04" + struct.pack("<I", zlib.crc32(start)) + start + data + header
    )

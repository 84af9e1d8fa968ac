"""GGUF and protobuf, written and (for the check) read field by field."""

import struct
from typing import Any


def string(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def typed(value: Any) -> tuple[int, bytes]:
    match value:
        case bool():
            return 7, struct.pack("<?", value)
        case int():
            return (
                (4, struct.pack("<I", value))
                if 0 <= value < 1 << 32
                else (11, struct.pack("<q", value))
            )
        case float():
            return 6, struct.pack("<f", value)
        case str():
            return 8, string(value)
        case list():
            parts = [typed(one) for one in value]
            kind = parts[0][0] if parts else 8
            return 9, struct.pack("<IQ", kind, len(parts)) + b"".join(data for _, data in parts)
        case bytes():  # as it is, behind its type
            return struct.unpack("<I", value[:4])[0], value[4:]
    raise TypeError(type(value))


def gguf(
    metadata: dict[str, Any],
    held: dict[str, tuple[tuple[int, ...], int, bytes]] | None = None,
    **lies: int,
) -> bytes:
    """Return a GGUF file; a tensor is its dimensions, its type and its bytes."""
    held = held or {}
    out = b"GGUF" + struct.pack(
        "<IQQ",
        lies.get("version", 3),
        lies.get("tensors", len(held)),
        lies.get("keys", len(metadata)),
    )
    for name, value in metadata.items():
        kind, data = typed(value)
        out += string(name) + struct.pack("<I", kind) + data
    at, body = 0, b""
    for name, (shape, kind, data) in held.items():
        out += string(name) + struct.pack(
            f"<I{len(shape)}QIQ", len(shape), *shape, kind, lies.get("offset", at)
        )
        body += data + bytes(-len(data) % 32)
        at = len(body)
    return out + bytes(-len(out) % 32) + body


SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


def keys(data: bytes) -> list[tuple[str, Any]]:
    """Return the metadata; strings as text, the rest as None."""
    _, _, count = struct.unpack_from("<IQQ", data, 4)
    at = 24

    def read_string() -> str:
        nonlocal at
        (length,) = struct.unpack_from("<Q", data, at)
        at += 8 + length
        return data[at - length : at].decode()

    def read(kind: int) -> Any:
        nonlocal at
        if kind == 8:
            return read_string()
        if kind == 9:
            inner, length = struct.unpack_from("<IQ", data, at)
            at += 12
            for _ in range(length):
                read(inner)
            return None
        at += SIZES[kind]
        return None

    found = []
    for _ in range(count):
        name = read_string()
        (kind,) = struct.unpack_from("<I", data, at)
        at += 4
        found.append((name, read(kind)))
    return found


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def f(number: int, value: bytes | str | int) -> bytes:
    """Return a protobuf field."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data

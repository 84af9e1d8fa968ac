"""Messages over a stream socket between a gateway and a process of its own.

A frame is 4 bytes of length, little-endian, then MessagePack.
"""

import struct
from collections.abc import Iterator

import msgspec

MAX_FRAME_BYTES = 256 * 1024 * 1024
_LENGTH = struct.Struct("<I")
_ENCODER = msgspec.msgpack.Encoder()


def frame(value: object) -> bytes:
    """Return a value as a frame."""
    body = _ENCODER.encode(value)
    return _LENGTH.pack(len(body)) + body


def take_frames(buffer: bytearray, *, max_bytes: int = MAX_FRAME_BYTES) -> Iterator[bytes]:
    """Yield every complete frame and take it out of the buffer.

    Raises:
        ConnectionError: One is longer than `max_bytes`.
    """
    at = 0
    try:
        while len(buffer) - at >= _LENGTH.size:
            length = _LENGTH.unpack_from(buffer, at)[0]
            if length > max_bytes:
                raise ConnectionError("a frame is too long")
            end = at + _LENGTH.size + length
            if len(buffer) < end:
                return
            body = bytes(memoryview(buffer)[at + _LENGTH.size : end])
            at = end
            yield body
    finally:
        del buffer[:at]

"""LZ4 frames, decoded in Python so that joblib's need no library; one block at a time.

Check sums are not compared: what is judged is what was decoded, and a loader that compares them
only refuses more.

Source: lz4/doc/lz4_Frame_format.md 1.6.3 and lz4_Block_format.md.
"""

from collections.abc import Generator

_MAX_BLOCK = 4 << 20
_WINDOW = 1 << 16
_LONG, _MIN_MATCH, _GOES_ON = 15, 4, 255
_HAS_DICTIONARY, _HAS_SUM, _HAS_SIZE, _BLOCK_SUMS, _INDEPENDENT = 0x01, 0x04, 0x08, 0x10, 0x20
_RAW = 1 << 31


def lz4_chunks(data: memoryview) -> Generator[bytes, None, int]:
    """Yield the decoded blocks of one frame; return the frame's length.

    Raises:
        ValueError: Malformed, of another version, or with a dictionary.
        EOFError: Cut short.
    """
    if len(data) < 7 or data[4] >> 6 != 1 or data[4] & _HAS_DICTIONARY:  # noqa: PLR2004 - the shortest header
        raise ValueError("another version, or a dictionary")
    flags = data[4]
    at = 7 + (8 if flags & _HAS_SIZE else 0)
    history = b""
    while True:
        if at + 4 > len(data):
            raise EOFError
        size = int.from_bytes(data[at : at + 4], "little")
        at += 4
        if size == 0:
            break
        raw, size = bool(size & _RAW), size & (_RAW - 1)
        if size > _MAX_BLOCK or at + size > len(data):
            raise EOFError
        block = bytes(data[at : at + size])
        at += size + (4 if flags & _BLOCK_SUMS else 0)
        out = block if raw else _block(block, history)
        yield out
        if not flags & _INDEPENDENT:
            history = (history + out)[-_WINDOW:]
    at += 4 if flags & _HAS_SUM else 0
    if at > len(data):
        raise EOFError
    return at


def _block(block: bytes, history: bytes) -> bytes:
    out = bytearray(history)
    at = 0
    while True:
        token = block[at]
        count, at = _length(block, at + 1, token >> 4)
        if at + count > len(block):
            raise ValueError("literals beyond the block")
        out += block[at : at + count]
        at += count
        if at == len(block):
            return bytes(out[len(history) :])
        back = int.from_bytes(block[at : at + 2], "little")
        count, at = _length(block, at + 2, token & 15)
        count += _MIN_MATCH
        if back == 0 or back > len(out) or len(out) + count > len(history) + _MAX_BLOCK:
            raise ValueError("a match beyond what is decoded")
        piece = out[len(out) - back : len(out) - back + count]
        out += piece if back >= count else (piece * (count // back + 1))[:count]


def _length(block: bytes, at: int, start: int) -> tuple[int, int]:
    count = start
    if start == _LONG:
        while True:
            more = block[at]
            at += 1
            count += more
            if more != _GOES_ON:
                break
    return count, at

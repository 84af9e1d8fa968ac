"""PNG and JPEG, walked to their last byte: an image with something after it is none."""

import zlib

_PNG_CHUNKS = frozenset(
    b"IHDR PLTE IDAT IEND tRNS cHRM gAMA iCCP sBIT sRGB tEXt zTXt iTXt bKGD hIST pHYs sPLT tIME "
    b"eXIf acTL fcTL fdAT".split()
)
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9


def png_fault(data: memoryview) -> str:
    """Return what is wrong with a PNG; empty if nothing is.

    Source: W3C PNG, third edition, section 5.
    """
    at = 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        kind = bytes(data[at + 4 : at + 8])
        end = at + 12 + length
        if end > len(data):
            return "a chunk is cut short"
        if kind not in _PNG_CHUNKS:
            return "an unknown chunk"
        if zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            return "a chunk's check sum is wrong"
        if kind == b"IEND":
            return "" if end == len(data) and length == 0 else "bytes follow the image"
        at = end
    return "the image is cut short"


def jpeg_fault(data: memoryview) -> str:
    """Return what is wrong with a JPEG; empty if nothing is.

    Source: ITU-T T.81, annex B.
    """
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:  # noqa: PLR2004 - every marker's first byte
            return "no marker where one must be"
        marker = data[at + 1]
        if marker == _END_OF_IMAGE:
            return "bytes follow the image"
        at += 2
        if marker in _STANDALONE:
            continue
        at += int.from_bytes(data[at : at + 2], "big")
        if marker == _START_OF_SCAN:
            at = _after_scan(data, at)
    return "" if at + 2 == len(data) and bytes(data[at:]) == b"\xff\xd9" else "cut short"


def _after_scan(data: memoryview, at: int) -> int:
    """Return the offset of the next marker after entropy-coded bytes."""
    rest = bytes(data[at:])
    found = rest.find(b"\xff")
    while 0 <= found < len(rest) - 1 and rest[found + 1] in (0x00, *_STANDALONE):
        found = rest.find(b"\xff", found + 2)
    return len(data) if found < 0 else at + found

"""PNG, JPEG, GIF, WebP and BMP, walked to their last byte: with anything after it, it is none."""

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


def gif_fault(data: memoryview) -> str:
    """Return what is wrong with a GIF; empty if nothing is.

    Source: CompuServe, GIF89a specification, sections 17 to 26.
    """
    if len(data) < 14:  # noqa: PLR2004 - header, screen, trailer
        return "cut short"
    at = 13 + _palette(data[10])
    while at < len(data):
        kind = data[at]
        if kind == _GIF_TRAILER:
            return "" if at + 1 == len(data) else "bytes follow the image"
        if kind == _GIF_EXTENSION:
            at += 2
        elif kind == _GIF_IMAGE and at + 10 < len(data):
            at += 11 + _palette(data[at + 9])
        else:
            return "an unknown block"
        while at < len(data) and data[at]:
            at += 1 + data[at]
        at += 1
    return "cut short"


_GIF_TRAILER, _GIF_EXTENSION, _GIF_IMAGE = 0x3B, 0x21, 0x2C


def _palette(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def webp_fault(data: memoryview) -> str:
    """Return what is wrong with a WebP; empty if nothing is.

    Source: RFC 9649, section 2.
    """
    if int.from_bytes(data[4:8], "little") + 8 != len(data):
        return "the image does not end with the file"
    at = 12
    while at + 8 <= len(data):
        if bytes(data[at : at + 4]) not in _WEBP_CHUNKS:
            return "an unknown chunk"
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + length + length % 2
    return "" if at == len(data) else "a chunk is cut short"


_WEBP_CHUNKS = frozenset(
    (b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"EXIF", b"XMP ")
)


def bmp_fault(data: memoryview) -> str:
    """Return what is wrong with a BMP of uncompressed pixels; empty if nothing is.

    Source: Microsoft, BITMAPFILEHEADER, BITMAPINFOHEADER, BITMAPV4HEADER and BITMAPV5HEADER.
    """
    start, header = (int.from_bytes(data[at : at + 4], "little") for at in (10, 14))
    if header not in _BMP_HEADERS or len(data) < 14 + header or any(data[6:10]):
        return "an unknown header"
    width, height = (int.from_bytes(data[at : at + 4], "little", signed=True) for at in (18, 22))
    planes, bits = (int.from_bytes(data[at : at + 2], "little") for at in (26, 28))
    compression = int.from_bytes(data[30:34], "little")
    if width < 0 or planes != 1 or bits not in _BMP_BITS or compression not in (0, 3):
        return "an unknown kind of pixels"
    colours = int.from_bytes(data[46:50], "little") or (1 << bits if bits <= 8 else 0)  # noqa: PLR2004 - with a palette
    if start > 14 + header + 4 * colours + 12:
        return "a gap before the pixels"
    rows = (width * bits + 31) // 32 * 4
    return "" if start + rows * abs(height) == len(data) else "the pixels do not end with the file"


_BMP_HEADERS, _BMP_BITS = (40, 108, 124), (1, 4, 8, 16, 24, 32)

"""Which bytes are text, and in what pieces a text is read."""

import codecs
import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from vallum.base.bounds import MIB
from vallum.formats import release

WINDOW = 4 * MIB
# A log may have colours; what else a terminal would do for a text is control.
_TEXT_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]|\x1b(?!\[[0-9;]{0,20}[mK])")
_MAX_OTHER = 16 * MIB
_ASCII = re.compile(rb"[\x00-\x7f]++")


def is_text(data: bytes | memoryview) -> bool:
    """Tell whether bytes are UTF-8 without control characters."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for window in windows(memoryview(data)):
            if _TEXT_CONTROL.search(window):
                return False
            decoder.decode(window)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def as_utf8(data: memoryview) -> memoryview | None:
    """Return a text of UTF-16 with a byte order mark, or of Latin-1 or its Windows kin, as UTF-8.

    A text of one byte a character has none that controls, and less than a third beyond ASCII.
    """
    if len(data) > _MAX_OTHER or is_text(data):
        return None
    raw = bytes(data)
    try:
        if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            text = memoryview(raw.decode("utf-16").encode())
            return text if is_text(text) else None
        plain = len(_ASCII.sub(b"", raw))
        if not plain or 3 * plain > len(raw) or _TEXT_CONTROL.search(raw):
            return None
        return memoryview(raw.decode("cp1252").encode())
    except UnicodeDecodeError:
        return None


def windows(data: memoryview) -> Iterator[bytes]:
    """Yield the bytes in pieces that end with a line where one ends in the piece's second half."""
    at = 0
    while at < len(data):
        piece = bytes(data[at : at + WINDOW])
        if len(piece) == WINDOW:
            line = piece.rfind(b"\n", WINDOW // 2) + 1
            piece = piece[: line or WINDOW]
        at += len(piece)
        yield piece
        release(data)


@lru_cache(maxsize=1)
def _letters() -> dict[int, str]:
    """Return the characters that Python's parser takes for letters, digits or `_` of ASCII.

    Source: Python's language reference, 2.3 "Identifiers and keywords", with NFKC of Unicode.
    """
    return {
        code: plain
        for code in range(0x80, 0x1FC00)
        if (plain := unicodedata.normalize("NFKC", chr(code))).isascii()
        and plain.replace("_", "a").isalnum()
        and f"a{chr(code)}".isidentifier()
    }


def ascii_of(window: bytes) -> bytes:
    """Return a part of a text as Python reads its names; empty if it reads the same."""
    if window.isascii():
        return b""
    text = window.decode(errors="replace")
    table = _letters()
    return b"" if table.keys().isdisjoint(map(ord, set(text))) else text.translate(table).encode()

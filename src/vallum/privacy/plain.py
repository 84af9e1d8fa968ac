"""Text as it reads, whatever it is written with.

Full-width and other digits, invisible characters, HTML entities, percent signs, `(at)` and `(dot)`,
base64: all are read as what they stand for. Spans go back to the text as it was.
"""

import base64
import binascii
import functools
import html
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import re2

_SHORTEST = 6  # characters of the shortest identifier
_PIECE = re.compile(
    r"(?P<entity>&#?\w{1,8};)|(?P<percent>(?:%[0-9A-Fa-f]{2})+)|"
    r"(?P<word> ?[\[({<] ?(?P<name>(?i:at|dot|punkt|arroba)) ?[\])}>] ?)|"
    r"(?P<char>[^\x00-\x7e])|\u00ad"
)
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/]{16,4096}={0,2}(?![A-Za-z0-9+/_=-])")
_WORDS = {"at": "@", "arroba": "@", "dot": ".", "punkt": "."}
_DASHES = dict.fromkeys("‐‑‒–—−﹣－", "-")
_SPACES = dict.fromkeys(
    "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000",
    " ",
)
_LOOKS = {**_DASHES, **_SPACES, "․": ".", "。": ".", "＠": "@", "﹫": "@", "∶": ":"}


@dataclass(frozen=True, slots=True)
class Plain:
    """A text as it reads, and where each of its characters comes from.

    Attributes:
        text: What is searched.
        starts: For each of its characters the code point in the original; empty: the same.
        ends: For each of its characters where it ends there.
    """

    text: str
    starts: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()

    def place(self, start: int, end: int) -> tuple[int, int]:
        """Return the place in the original of a non-empty range."""
        if not self.starts:
            return start, end
        return self.starts[start], self.ends[end - 1]


@functools.cache
def _odd() -> Any:  # noqa: ANN401 - a compiled pattern of a library without types
    """Match, in UTF-8 bytes, what `plain_text` may read otherwise; Latin letters are not odd."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # bytes, not characters
    return re2.compile(
        rb"[\xc8-\xff]|\xc2[\x80-\xa0\xad]|&#?[A-Za-z0-9]{1,8};|%[0-9A-Fa-f]{2}|"
        rb"[\[({<] ?(?i:at|dot|punkt|arroba) ?[\])}>]|[A-Za-z0-9+/]{16}",
        options,
    )


def odd_places(data: bytes) -> Iterator[int]:
    """Yield, in order, the byte offsets at which a text may not read as it is written."""
    for match in _odd().finditer(data):
        yield match.start()


def plain_text(text: str) -> Plain:
    """Return a text as it reads."""
    coded = [one for one in _BASE64.finditer(text) if _worth(one.group())]
    if not coded and _PIECE.search(text) is None:
        return Plain(text)
    pieces: list[tuple[str, int, int]] = []
    at = 0
    for match in _PIECE.finditer(text):
        if match.start() > at:
            pieces.append((text[at : match.start()], at, -1))
        pieces.append((_read(match), match.start(), match.end()))
        at = match.end()
    if at < len(text):
        pieces.append((text[at:], at, -1))
    for match in coded:
        decoded = _decoded(match.group())
        if decoded:
            pieces.append((f"\n{decoded}\n", match.start(), match.end()))
    starts: list[int] = []
    ends: list[int] = []
    for made, start, end in pieces:
        if end < 0:  # as it was
            starts.extend(range(start, start + len(made)))
            ends.extend(range(start + 1, start + len(made) + 1))
        else:
            starts.extend([start] * len(made))
            ends.extend([end] * len(made))
    return Plain("".join(made for made, _, _ in pieces), tuple(starts), tuple(ends))


def _read(match: "re.Match[str]") -> str:
    if match["entity"]:
        made = html.unescape(match["entity"])
        return made if len(made) <= 2 else match["entity"]  # noqa: PLR2004 - one character, or two
    if match["percent"]:
        return unquote(match["percent"], errors="replace")
    if match["word"]:
        return _WORDS[match["name"].lower()]
    char = match["char"] or ""
    if not char:
        return ""  # a soft hyphen
    if char in _LOOKS:
        return _LOOKS[char]
    if unicodedata.category(char) in {"Cf", "Mn", "Me"}:
        return ""  # invisible
    value = unicodedata.decimal(char, None)
    if value is not None:
        return str(value)
    folded = unicodedata.normalize("NFKC", char)
    return folded if folded.isascii() and len(folded) == 1 else char


def _worth(word: str) -> bool:
    """Tell whether a word may be base64 of text: mixed, and of a whole number of groups."""
    return len(word) % 4 == 0 and any(map(str.islower, word)) and any(map(str.isupper, word))


def _decoded(word: str) -> str:
    try:
        text = base64.b64decode(word, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return text if text.isprintable() and len(text) >= _SHORTEST else ""

"""Names and places, and which words of a text may be one: a few passes over its bytes with numpy.

The words are in `lexicon.txt`, which tools/make_lexicon.py writes. A capitalised word is hashed
from its bytes, a hundred thousand at once, and looked up in a table of 2**22 places; what is found
there is verified by the word itself. Case is ignored by bits that a letter and its capital differ
in.
"""

import functools
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from vallum.privacy.cues import ALONE, LAST, TITLES

GIVEN: Final = 1
FAMILY: Final = 2
CITY: Final = 4
COUNTRY: Final = 8
COMMON: Final = 16  # is an ordinary word too
BIG: Final = 32  # a city of 100,000 people and more
TITLE: Final = 64
FIRST: Final = 128  # the first word of a place of several
_CUE: Final = 256  # before a name or place
_ALONE: Final = 512  # before one that need not be in the lexicon

BLOCK_BYTES = 1 << 20
_NEAR = 2  # bytes between two words of one name
_BETWEEN = 4  # bytes between a word and what it says something about: `": "`
_LONGEST = 24  # bytes of a word that are looked at
_TABLE_BITS = 22

_MULTIPLIERS = tuple(
    np.uint64(one) for one in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)
)
_HIGH_BITS = np.uint64(0x8080808080808080)
_CASE_BITS = np.uint64(0x2020202020202020)
_MASKS = np.array([(1 << 8 * length) - 1 for length in range(9)], dtype=np.uint64)

# ASCII letters and bytes of others, but not those of punctuation (C2 and E2 begin it).
_LETTERS = np.zeros(256, dtype=np.bool_)
_LETTERS[65:91] = _LETTERS[97:123] = _LETTERS[0x80:] = True
_CAPITALS = np.zeros(256, dtype=np.bool_)
_CAPITALS[65:91] = _CAPITALS[0xC3:0xD5] = True
_TWO, _THREE = 0xC2, 0xE2


def plain_form(word: str) -> str:
    """Return a word without accents."""
    apart = unicodedata.normalize("NFKD", word)
    return "".join(one for one in apart if not unicodedata.combining(one))


class Lexicon:
    """All words and places with their flags.

    Attributes:
        words: Single words in lower case, with the sum of their flags.
        places: Places of several words, in lower case, with their flags.
        table: For each hash the flags of all words that have it.
    """

    def __init__(self, text: str) -> None:
        self.words: dict[str, int] = {}
        self.places: dict[str, int] = {}
        for section in text.split("\n@")[1:]:
            flags, _, names = section.partition("\n")
            self.words.update(dict.fromkeys(names.split("\n"), int(flags)))
        self.words.pop("", None)
        several = [name for name in self.words if " " in name]
        for name in several:
            self.places[name] = self.words.pop(name)
        for name in self.places:
            first = name.partition(" ")[0]
            self.words[first] = self.words.get(first, 0) | FIRST
        for name in TITLES:
            self.words[name] = self.words.get(name, 0) | TITLE
        self.table = np.zeros(1 << _TABLE_BITS, dtype=np.uint16)
        self._enter(list(self.words), np.fromiter(self.words.values(), np.uint16))
        self._enter(list(LAST), np.full(len(LAST), _CUE, np.uint16))
        self._enter(list(ALONE), np.full(len(ALONE), _ALONE, np.uint16))

    def _enter(self, words: list[str], flags: np.ndarray[tuple[int], np.dtype[np.uint16]]) -> None:
        data = "\n".join(words).encode()
        breaks = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
        starts = np.concatenate(([0], breaks + 1))
        ends = np.concatenate((breaks, [len(data)]))
        np.bitwise_or.at(self.table, _hashes(data, starts, ends), flags)


@functools.cache
def lexicon() -> Lexicon:
    """Return the words, read once a process."""
    return Lexicon(Path(__file__).with_name("lexicon.txt").read_text(encoding="utf-8"))


def candidates(data: bytes) -> Iterator[int]:
    """Yield, in order, the byte offsets of capitalised words that may be in the lexicon.

    Args:
        data: UTF-8 text of any length.
    """
    start = 0
    while start < len(data):
        stop = min(start + BLOCK_BYTES, len(data))
        if stop < len(data):  # end a block at a line, so that no word is cut
            line = data.rfind(b"\n", start + BLOCK_BYTES // 2, stop)
            stop = stop if line < 0 else line + 1
        for place in _in_block(data[start:stop]).tolist():
            yield start + place
        start = stop


def _in_block(data: bytes) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    block = np.frombuffer(data, np.uint8)
    letters = _LETTERS[block]
    if not data.isascii():
        for lead, length in ((_TWO, 2), (_THREE, 3)):
            for behind in range(length):
                marks = np.flatnonzero(block == lead) + behind
                letters[marks[marks < len(block)]] = False
    capitals = _CAPITALS[block]
    capitals &= letters
    capitals[1:] &= ~letters[:-1]
    starts = np.flatnonzero(capitals)
    if not len(starts):
        return starts
    # Where each ends: the next byte that is no letter.
    stops = np.concatenate(([-1], np.flatnonzero(~letters), [len(block)]))
    which = np.searchsorted(stops, starts)
    ends = stops[which]
    table = lexicon().table
    flags = table[_hashes(data, starts, ends)]
    strong = (flags & (GIVEN | COUNTRY | BIG) != 0) & (flags & COMMON == 0)
    # A weak one needs a capital after it, or before it an initial or a word that says something.
    following = np.concatenate((starts[1:], [len(block) + 9])) - ends <= _NEAR
    asked = np.flatnonzero(~strong & ((flags == 0) | ~following))
    at = which[asked] - 1
    for _ in range(_BETWEEN - 1):
        at -= (at > 0) & (stops[at] - stops[np.maximum(at - 1, 0)] == 1)
    before = stops[np.maximum(at - 1, 0)] + 1
    length = np.maximum(stops[np.maximum(at, 0)] - before, 0)
    said = table[_hashes(data, before, before + length)]
    initial = (length == 1) & capitals[np.minimum(before, len(block) - 1)]
    chosen = (flags != 0) & (strong | following)
    known = flags[asked] != 0
    chosen[asked] |= (length > 0) & np.where(
        known, (said & _CUE != 0) | initial, said & _ALONE != 0
    )
    found: np.ndarray[tuple[int], np.dtype[np.int64]] = starts[chosen]
    return found


def _hashes(
    data: bytes,
    starts: np.ndarray[tuple[int], np.dtype[np.int64]],
    ends: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return for each word a place in the table, the same with and without capitals."""
    padded = data + bytes(_LONGEST + 8)
    # Every offset as the beginning of a number of eight bytes.
    eights = np.ndarray((len(data) + _LONGEST,), dtype="<u8", buffer=padded, strides=(1,))
    lengths = np.minimum(ends - starts, _LONGEST)
    made = lengths.astype(np.uint64)
    for at, multiplier in enumerate(_MULTIPLIERS):
        piece = eights[starts + 8 * at] & _MASKS[np.clip(lengths - 8 * at, 0, 8)]
        other = piece & _HIGH_BITS
        piece |= _CASE_BITS | (other >> np.uint64(7))
        piece &= _MASKS[np.clip(lengths - 8 * at, 0, 8)]
        made ^= piece
        made *= multiplier
        made ^= made >> np.uint64(29)
    places: np.ndarray[tuple[int], np.dtype[np.int64]] = (
        made >> np.uint64(64 - _TABLE_BITS)
    ).astype(np.int64)
    return places

"""SentencePiece's `tokenizer.model`: a protocol buffer of pieces, read to its last byte.

It holds words, numbers and a table of characters, and names nothing that a loader imports. A field
that its schema does not have is a refusal.

Source: google/sentencepiece, `src/sentencepiece_model.proto`; `src/normalizer.cc` for the table.
"""

import math
import struct

from vallum.base.bounds import ModelBounds
from vallum.base.errors import VallumError
from vallum.formats.protobuf import BYTES, FIXED32, VARINT, Field, fields

_PIECE, _TRAINER, _NORMALIZER, _TESTS, _DENORMALIZER = 1, 2, 3, 4, 5
_TYPES = range(1, 7)
_SCORE = struct.Struct("<f")
_SHORT = 0x80  # a length below it is one byte
# Fields of `TrainerSpec` by the way they are written; `input` and `model_prefix` are texts only.
_TEXTS = frozenset({1, 2, 5, 7, 30, 31, 36, 44, 45, 46, 47, 48, 53, 54})
_FLOATS = frozenset({10, 15, 51})
_NUMBERS = frozenset(
    {3, 4, 6, 11, 12, 13, 14, 16, 17, 18, 19, *range(20, 27), 32, 33, 34, 35, 40, 41, 42, 43, 49,
     50, 52}
)  # fmt: skip


def sentencepiece_fault(data: memoryview, bounds: ModelBounds) -> str:
    """Return what is wrong with the bytes as a model of SentencePiece; empty if nothing is."""
    pieces, seen = 0, set()
    try:
        for item in fields(data):
            if item.wire != BYTES or item.number not in range(_PIECE, _DENORMALIZER + 1):
                return f"an unknown field at offset {item.offset}"
            if item.number == _PIECE:
                pieces += 1
                _check_piece(bytes(item.content))
                if pieces > bounds.max_opcodes:
                    return "more pieces than the limit"
                continue
            if item.number in seen:
                return "a part appears twice"
            seen.add(item.number)
            _check_part(item)
    except (VallumError, ValueError, struct.error) as error:
        return str(error)[:200]
    return "" if pieces and _TRAINER in seen else "pieces or their trainer's record are missing"


def _check_piece(piece: bytes) -> None:
    """Check the text, its score and its type; nearly all are written in this order."""
    end = 2 + piece[1] if len(piece) > 1 and piece[0] == 0x0A and piece[1] < _SHORT else 0  # noqa: PLR2004 - field 1
    rest = len(piece) - end - 5
    if end and rest in (0, 2) and piece[end] == 0x15:  # noqa: PLR2004 - field 2, four bytes
        piece[2:end].decode()
        _check_float(piece[end + 1 : end + 5])
        if rest and (piece[-2] != 0x18 or piece[-1] not in _TYPES):  # noqa: PLR2004 - field 3
            raise ValueError("a piece of an unknown type")
        return
    numbers = []
    for item in fields(memoryview(piece)):
        numbers.append(item.number)
        if (item.number, item.wire) == (1, BYTES):
            bytes(item.content).decode()
        elif (item.number, item.wire) == (2, FIXED32):
            _check_float(bytes(item.content))
        elif (item.number, item.wire) != (3, VARINT) or item.value not in _TYPES:
            raise ValueError("an unknown field of a piece")
    if len(set(numbers)) != len(numbers) or 1 not in numbers:
        raise ValueError("a piece without its text, or with a part twice")


def _check_part(part: Field) -> None:
    for item in fields(part.content, part.offset):
        if part.number == _TRAINER:
            known = {VARINT: _NUMBERS, BYTES: _TEXTS, FIXED32: _FLOATS}.get(item.wire, frozenset())
        elif part.number == _TESTS:
            known = frozenset({1}) if item.wire == BYTES else frozenset()
        else:
            known = {VARINT: frozenset({3, 4, 5}), BYTES: frozenset({1, 2, 6})}.get(
                item.wire, frozenset()
            )
        if item.number not in known:
            raise ValueError(f"an unknown field at offset {item.offset}")
        if part.number == _TESTS:
            _check_sample(item)
        elif item.wire == FIXED32:
            _check_float(bytes(item.content))
        elif item.wire == BYTES and (part.number == _TRAINER or item.number != 2):  # noqa: PLR2004 - the table
            bytes(item.content).decode()
        elif item.wire == BYTES:
            _check_table(item.content)


def _check_sample(sample: Field) -> None:
    for item in fields(sample.content, sample.offset):
        if item.wire != BYTES or item.number not in (1, 2):
            raise ValueError(f"an unknown field at offset {item.offset}")
        bytes(item.content).decode()


def _check_table(table: memoryview) -> None:
    """Check a table of characters: the size of a trie of 32-bit units, the trie, texts."""
    if not table:
        return
    size = int.from_bytes(table[:4], "little")
    if size % 4 or 4 + size > len(table):
        raise ValueError("a table of characters that is cut short")
    texts = bytes(table[4 + size :])
    texts.decode()
    if texts and not texts.endswith(b"\0"):
        raise ValueError("a table of characters that does not end")


def _check_float(raw: bytes) -> None:
    if not math.isfinite(_SCORE.unpack(raw)[0]):
        raise ValueError("a number that is none")

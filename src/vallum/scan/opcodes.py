"""The pickle opcodes as a table: byte, name and kind of argument. Nothing here can execute.

The `pickle` module is never imported; this table replaces its decoder.

Source: CPython Lib/pickletools.py (protocols 0 to 5).
"""

import codecs
import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

_TABLE = """
( MARK -|. STOP -|0 POP -|1 POP_MARK -|2 DUP -|F FLOAT float|I INT int|J BININT i4|K BININT1 u1
L LONG long|M BININT2 u2|N NONE -|P PERSID line|Q BINPERSID -|R REDUCE -|S STRING string
T BINSTRING text4s|U SHORT_BINSTRING text1|V UNICODE unicode|X BINUNICODE utf4|a APPEND -
b BUILD -|c GLOBAL lines|d DICT -|} EMPTY_DICT -|e APPENDS -|g GET index|h BINGET u1|i INST lines
j LONG_BINGET u4|l LIST -|] EMPTY_LIST -|o OBJ -|p PUT index|q BINPUT u1|r LONG_BINPUT u4
s SETITEM -|t TUPLE -|) EMPTY_TUPLE -|u SETITEMS -|G BINFLOAT f8|B BINBYTES bytes4
C SHORT_BINBYTES bytes1|80 PROTO u1|81 NEWOBJ -|82 EXT1 u1|83 EXT2 u2|84 EXT4 i4|85 TUPLE1 -
86 TUPLE2 -|87 TUPLE3 -|88 NEWTRUE -|89 NEWFALSE -|8a LONG1 long1|8b LONG4 long4
8c SHORT_BINUNICODE utf1|8d BINUNICODE8 utf8|8e BINBYTES8 bytes8|8f EMPTY_SET -|90 ADDITEMS -
91 FROZENSET -|92 NEWOBJ_EX -|93 STACK_GLOBAL -|94 MEMOIZE -|95 FRAME u8|96 BYTEARRAY8 bytes8
97 NEXT_BUFFER -|98 READONLY_BUFFER -
"""


def _read_table() -> dict[int, tuple[str, str]]:
    rows = (row.split() for row in _TABLE.strip().replace("\n", "|").split("|"))
    return {
        ord(code) if len(code) == 1 else int(code, 16): (name, kind) for code, name, kind in rows
    }


OPCODES = _read_table()
_FIXED = {"u1": "<B", "u2": "<H", "i4": "<i", "u4": "<I", "u8": "<Q", "f8": ">d"}
_COUNTED = {
    "text1": (1, "text"), "text4s": (4, "text"), "utf1": (1, "utf"), "utf4": (4, "utf"),
    "utf8": (8, "utf"), "bytes1": (1, "bytes"), "bytes4": (4, "bytes"), "bytes8": (8, "bytes"),
    "long1": (1, "long"), "long4": (4, "long"),
}  # fmt: skip
_LINE_STEP = 4096
_MAX_LINE = 1 << 24
_KEPT_TEXT = 512  # longer texts name no module; their content does not matter
_KEPT_LONG = 64
_WORDS = frozenset({"GLOBAL", "INST", "PERSID", "STRING", "UNICODE"})
_MAX_DECODED = 8192  # an escaped line above this is no name either
_MAX_NUMBER = 4_300  # digits that Python reads
_DIGITS = re.compile(rb"\s*[+-]?[0-9A-Fa-f_xX.+-]*L?")
_OCTAL = re.compile(rb"\s*([+-]?0[0-7]{1,21})")


class Malformed(Exception):  # noqa: N818 - caught within the room; it ends one stream
    """The bytes do not decode as a pickle at `offset`.

    `ours` tells that a bound of ours was met: a loader might go on.
    """

    def __init__(self, message: str, offset: int, *, ours: bool = False) -> None:
        super().__init__(message)
        self.offset = offset
        self.ours = ours


class Opcode(NamedTuple):
    """One decoded instruction.

    Attributes:
        offset: Where it begins.
        name: As in the table.
        argument: An int, a str, a pair of str for `lines`, or None where the content is of no
            use (bytes, floats, very long texts).
        end: The offset after it.
    """

    offset: int
    name: str
    argument: object
    end: int


def decode(data: memoryview, at: int) -> Opcode:
    """Decode the instruction at offset `at`.

    Raises:
        Malformed: An unknown opcode, or an argument that is cut short or unreadable.
    """
    if at >= len(data):
        raise Malformed("the stream ends without `STOP`", at)
    row = OPCODES.get(data[at])
    if row is None:
        raise Malformed(f"byte 0x{data[at]:02x} is no opcode", at)
    name, kind = row
    if kind == "-":
        return Opcode(at, name, None, at + 1)
    if kind in _FIXED:
        layout = _FIXED[kind]
        end = at + 1 + struct.calcsize(layout)
        if end > len(data):
            raise Malformed(f"`{name}` is cut short", at)
        return Opcode(at, name, struct.unpack_from(layout, data, at + 1)[0], end)
    if kind in _COUNTED:
        return _counted(data, at, name, *_COUNTED[kind])
    return _lines(data, at, name, kind)


def _counted(data: memoryview, at: int, name: str, width: int, kind: str) -> Opcode:
    start = at + 1 + width
    signed = name in ("BINSTRING", "LONG4")
    length = int.from_bytes(data[at + 1 : start], "little", signed=signed)
    end = start + length
    if length < 0 or end > len(data):
        raise Malformed(f"`{name}` is cut short", at)
    argument: object = None
    if kind == "long":
        if length <= _KEPT_LONG:
            argument = int.from_bytes(data[start:end], "little", signed=True)
    elif kind != "bytes" and length <= _KEPT_TEXT:
        try:
            errors = "surrogatepass" if kind == "utf" else "strict"
            argument = str(data[start:end], "utf-8" if kind == "utf" else "latin-1", errors)
        except UnicodeDecodeError as error:
            raise Malformed(f"`{name}` holds no text", at) from error
    return Opcode(at, name, argument, end)


def _lines(data: memoryview, at: int, name: str, kind: str) -> Opcode:
    line, end = _line(data, at + 1, name)
    try:
        match kind:
            case "lines":
                second, end = _line(data, end, name)
                return Opcode(at, name, (line.decode("utf-8"), second.decode("utf-8")), end)
            case "int" | "long" | "index" | "float" if len(_of_c(line)) > _MAX_NUMBER:
                ours = bool(_DIGITS.fullmatch(_of_c(line)))  # else a line of prose
                raise Malformed(f"`{name}` has a number that is too long", at, ours=ours)
            case "int":
                return Opcode(at, name, None if line in (b"00", b"01") else _int(line), end)
            case "index":
                return Opcode(at, name, int(_of_c(line)), end)
            case "long":
                return Opcode(at, name, int(_of_c(line.removesuffix(b"L")), 0), end)
            case "float":
                float(_of_c(line))
                return Opcode(at, name, None, end)
            case "unicode" | "string" if len(line) > _MAX_DECODED:
                return Opcode(at, name, None, end)
            case "unicode":
                return Opcode(at, name, line.decode("raw-unicode-escape"), end)
            case "string":
                return Opcode(at, name, _unquoted(line), end)
    except ValueError as error:
        raise Malformed(f"`{name}` has an unreadable argument", at) from error
    return Opcode(at, name, line.decode("utf-8", "replace"), end)


def _of_c(line: bytes) -> bytes:
    """Return what C reads of a number: for it a text ends with the first zero byte."""
    return line.partition(b"\0")[0]


def _int(line: bytes) -> int:
    """Return the number of `INT` as `strtol` reads it, else as Python does."""
    text = _of_c(line)
    if not text and line:
        return 0
    octal = _OCTAL.fullmatch(text)
    return int(octal.group(1), 8) if octal else int(text, 0)


def _line(data: memoryview, start: int, name: str) -> tuple[bytes, int]:
    for step in _steps(start, min(len(data), start + _MAX_LINE)):
        found = bytes(data[step : step + _LINE_STEP]).find(b"\n")
        if found >= 0:
            return bytes(data[start : step + found]), step + found + 1
    far = len(data) - start > _MAX_LINE and (
        name in _WORDS or bool(_DIGITS.fullmatch(data[start : start + _LINE_STEP]))
    )
    raise Malformed(f"`{name}` has no line end", start - 1, ours=far)


def _steps(start: int, end: int) -> Iterator[int]:
    return iter(range(start, end, _LINE_STEP))


def _unquoted(line: bytes) -> str:
    quoted = line.strip()
    if len(quoted) < 2 or quoted[:1] != quoted[-1:] or quoted[:1] not in (b"'", b'"'):  # noqa: PLR2004 - two quotes
        raise ValueError(line[:80])
    return codecs.escape_decode(quoted[1:-1])[0].decode("latin-1")

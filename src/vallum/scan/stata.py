"""Stata's data files as pandas and Stata write them: numbers and texts, every byte in its place.

Source: StataCorp, "help dta", formats 113 to 115 and 117 to 119.
"""

import struct

from vallum.base.bounds import MODEL
from vallum.scan.pickles import hides_pickle

_OLD, _TAGGED = (113, 114, 115), (117, 118, 119)
_LONG_TEXT = 32_768
_NUMBERS = {65_530: 1, 65_529: 2, 65_528: 4, 65_527: 4, 65_526: 8}
_OLD_NUMBERS = {251: 1, 252: 2, 253: 4, 254: 4, 255: 8}
_OLD_TEXT, _TEXT = 244, 2045
# Bytes of a name, a format, a label's name and a label, by version.
_WIDTHS = {117: (33, 49, 33, 81), 118: (129, 57, 129, 321), 119: (129, 57, 129, 321)}
_TAG = b"<stata_dta><header><release>"


def is_stata(head: bytes) -> bool:
    """Whether a file begins as one of Stata's."""
    old = len(head) > 4 and head[0] in _OLD and head[1] in (1, 2) and head[2:4] == b"\x01\0"  # noqa: PLR2004 - version, order, type
    return old or head.startswith(_TAG)


def stata_fault(data: memoryview) -> str:
    """Return what is wrong with a file; empty if nothing is."""
    try:
        return _tagged(data) if bytes(data[: len(_TAG)]) == _TAG else _old(data)
    except (ValueError, struct.error, IndexError) as error:
        return str(error)[:200]


class _Reader:
    def __init__(self, data: memoryview, order: str = "<") -> None:
        self.data, self.at, self.order = data, 0, order

    def take(self, length: int) -> bytes:
        if length < 0 or self.at + length > len(self.data):
            raise ValueError("the file is cut short")
        self.at += length
        return bytes(self.data[self.at - length : self.at])

    def skip(self, length: int) -> None:
        if length < 0 or self.at + length > len(self.data):
            raise ValueError("the file is cut short")
        self.at += length

    def number(self, code: str) -> int:
        (value,) = struct.unpack(self.order + code, self.take(struct.calcsize(self.order + code)))
        return int(value)

    def tag(self, name: str) -> None:
        if self.take(len(name) + 2) != f"<{name}>".encode():
            raise ValueError(f"no `{name}` where it must be")

    def texts(self, count: int, width: int) -> None:
        for _ in range(count):
            if 0 not in self.take(width):
                raise ValueError("a text that does not end")


def _old(data: memoryview) -> str:
    read = _Reader(data, ">" if data[1] == 1 else "<")
    version = data[0]
    read.skip(4)
    columns, rows = read.number("H"), read.number("i")
    read.texts(1, 81)
    read.texts(1, 18)
    kinds = read.take(columns)
    widths = [_OLD_NUMBERS.get(one, one) for one in kinds]
    if any(one not in _OLD_NUMBERS and not 1 <= one <= _OLD_TEXT for one in kinds) or rows < 0:
        return "a column of an unknown type"
    read.texts(columns, 33)
    if any(not 0 <= read.number("H") <= columns for _ in range(columns + 1)):
        return "an order of columns that there are not"
    for width in (12 if version == 113 else 49, 33, 81):  # noqa: PLR2004 - the oldest
        read.texts(columns, width)
    while kind := read.number("B"):  # notes and the like
        if kind != 1:
            return "an unknown field of characteristics"
        read.skip(read.number("i"))
    if read.number("i"):
        return "characteristics that do not end"
    read.skip(rows * sum(widths))
    while read.at < len(data):
        _labels(read, 33)
    return ""


def _labels(read: _Reader, width: int) -> None:
    """Step over one table of labels: a name, numbers, and texts one after another."""
    size = read.number("i")
    read.texts(1, width)
    read.skip(3)
    count, length = read.number("i"), read.number("i")
    if count < 0 or length < 0 or size != 8 + 8 * count + length:
        raise ValueError("labels of another size")
    places = struct.unpack(f"{read.order}{count}i", read.take(4 * count))
    read.skip(4 * count)
    if any(not 0 <= one < length for one in places):
        raise ValueError("a label that lies elsewhere")
    read.skip(length)


def _tagged(data: memoryview) -> str:
    read = _Reader(data)
    read.skip(len(_TAG))
    version = int(read.take(3).decode("ascii"))
    if version not in _TAGGED:
        return "a file of another version"
    for one in ("/release", "byteorder"):
        read.tag(one)
    order = read.take(3)
    if order not in (b"LSF", b"MSF"):
        return "an unknown order of bytes"
    read.order = "<" if order == b"LSF" else ">"
    read.tag("/byteorder")
    read.tag("K")
    columns = read.number("I" if version == 119 else "H")  # noqa: PLR2004 - the widest
    for one in ("/K", "N"):
        read.tag(one)
    rows = read.number("I" if version == 117 else "Q")  # noqa: PLR2004 - the oldest
    for one in ("/N", "label"):
        read.tag(one)
    read.skip(read.number("B" if version == 117 else "H"))  # noqa: PLR2004
    for one in ("/label", "timestamp"):
        read.tag(one)
    read.skip(read.number("B"))
    for one in ("/timestamp", "/header", "map"):
        read.tag(one)
    places = struct.unpack(f"{read.order}14Q", read.take(8 * 14))
    found = [0, read.at - 8 * 14 - len("<map>")]
    read.tag("/map")
    name, form, label, long = _WIDTHS[version]
    found.append(read.at)
    read.tag("variable_types")
    kinds = struct.unpack(f"{read.order}{columns}H", read.take(2 * columns))
    read.tag("/variable_types")
    wide = 0
    for kind in kinds:
        if kind not in _NUMBERS and kind != _LONG_TEXT and not 1 <= kind <= _TEXT:
            return "a column of an unknown type"
        wide += _NUMBERS.get(kind, 8 if kind == _LONG_TEXT else kind)
    each = 4 if version == 119 else 2  # noqa: PLR2004
    for tag, count, width in (
        ("varnames", columns, name), ("sortlist", columns + 1, each), ("formats", columns, form),
        ("value_label_names", columns, label), ("variable_labels", columns, long),
    ):  # fmt: skip
        found.append(read.at)
        read.tag(tag)
        read.skip(count * width)
        read.tag(f"/{tag}")
    found.append(read.at)
    read.tag("characteristics")
    while bytes(data[read.at : read.at + 4]) == b"<ch>":
        read.tag("ch")
        read.skip(read.number("I"))
        read.tag("/ch")
    read.tag("/characteristics")
    found.append(read.at)
    read.tag("data")
    read.skip(rows * wide)
    read.tag("/data")
    found.append(read.at)
    read.tag("strls")
    _long_texts(read, data, version)
    read.tag("/strls")
    found.append(read.at)
    read.tag("value_labels")
    while bytes(data[read.at : read.at + 5]) == b"<lbl>":
        read.tag("lbl")
        _labels(read, label)
        read.tag("/lbl")
    read.tag("/value_labels")
    found.append(read.at)
    read.tag("/stata_dta")
    if read.at != len(data):
        return "bytes follow the file"
    return "" if places == (*found, len(data)) else "a map that leads elsewhere"


def _long_texts(read: _Reader, data: memoryview, version: int) -> None:
    while bytes(data[read.at : read.at + 3]) == b"GSO":
        read.skip(3 + 4 + (4 if version == 117 else 8))  # noqa: PLR2004
        if read.number("B") not in (129, 130):
            raise ValueError("a long text of an unknown kind")
        size = read.number("I")
        read.skip(size)
        if hides_pickle(data[read.at - size : read.at], MODEL):
            raise ValueError("a long text is a pickle that can run code")

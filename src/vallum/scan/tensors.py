"""Array and tensor files: NumPy's, GGUF; each checked to its last byte."""

import ast
import math
import re
import struct
from dataclasses import dataclass, field

from vallum.base.bounds import ModelBounds
from vallum.scan.pickles import scan_pickle
from vallum.scan.report import Findings
from vallum.scan.template import is_template, scan_template

_MAX_NPY_HEADER = 10_000  # numpy's own limit
_NPY_TYPE = re.compile(r"^[<>=|]?(b|i|u|f|c|S|U|V|M|m|O|a|\?)(\d{0,9})(\[\w+\])?$")
_ATLAS = "AML.T0011.000"
_MAX_TYPE_DEPTH = 8


def is_idx(data: memoryview) -> bool:
    """Whether a file is an array as MNIST's are, to its last byte.

    Source: LeCun, Cortes and Burges, "The MNIST database", the IDX file format.
    """
    head = bytes(data[:4])
    width = {8: 1, 9: 1, 11: 2, 12: 4, 13: 4, 14: 8}.get(head[2] if len(head) == 4 else 0)  # noqa: PLR2004
    if head[:2] != b"\0\0" or width is None or not 0 < head[3] <= _MAX_DIMENSIONS:
        return False
    start = 4 + 4 * head[3]
    if len(data) < start:
        return False
    shape: tuple[int, ...] = struct.unpack_from(f">{head[3]}I", data, 4)
    return start + width * math.prod(shape) == len(data)


def scan_npy(data: memoryview, findings: Findings, bounds: ModelBounds, member: str = "") -> None:
    """Judge a NumPy array file.

    Source: NEP 1, "A Simple File Format for NumPy Arrays".
    """
    try:
        size, start = _npy_header(data)
    except (ValueError, SyntaxError, MemoryError, RecursionError, struct.error) as error:
        findings.add("npy.malformed", f"the header is unreadable: {error}"[:200], member=member)
        return
    if size is None:
        scan_pickle(data[start:], findings, bounds, member=member)
    elif size != len(data) - start:
        findings.add("npy.size", "the array does not end with the file", member=member)


def _npy_header(data: memoryview) -> tuple[int | None, int]:
    """Return the bytes of the array (None for objects) and their offset."""
    major, minor = data[6], data[7]
    if (major, minor) not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError("unknown version")
    layout, prefix = ("<H", 10) if major == 1 else ("<I", 12)
    (length,) = struct.unpack_from(layout, data, 8)
    if length > _MAX_NPY_HEADER or prefix + length > len(data):
        raise ValueError("too long")
    text = bytes(data[prefix : prefix + length]).decode("utf-8" if major == 3 else "latin-1")  # noqa: PLR2004 - version 3
    header = ast.literal_eval(text.strip())
    if not isinstance(header, dict) or header.keys() != {"descr", "fortran_order", "shape"}:
        raise ValueError("other keys than three")
    shape = header["shape"]
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("no shape")
    item = _item(header["descr"], 0)
    return None if item is None else item * math.prod(shape), prefix + length


def _item(descr: object, depth: int) -> int | None:
    if depth > _MAX_TYPE_DEPTH:
        raise ValueError("type nested too deeply")
    if isinstance(descr, str):
        match = _NPY_TYPE.match(descr)
        if not match:
            raise ValueError("unknown type")
        kind, digits = match.group(1), int(match.group(2) or 1)
        return None if kind == "O" else 4 * digits if kind == "U" else digits
    if isinstance(descr, tuple) and len(descr) == 2:  # noqa: PLR2004 - type, shape
        inner = _item(descr[0], depth + 1)
        return None if inner is None else inner * math.prod(_shape(descr[1]))
    if not isinstance(descr, list):
        raise ValueError("unknown type")  # noqa: TRY004 - one error for the whole header
    total = 0
    for part in descr:
        if not isinstance(part, tuple) or len(part) not in (2, 3):
            raise ValueError("unknown field")
        inner = _item(part[1], depth + 1)
        if inner is None:
            return None
        total += inner * (math.prod(_shape(part[2])) if len(part) > 2 else 1)  # noqa: PLR2004 - has a shape
    return total


def _shape(value: object) -> tuple[int, ...]:
    shape = value if isinstance(value, tuple) else (value,)
    if not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("no shape")
    return shape


# ggml type: (values in a block, bytes of a block). Source: ggml/src/ggml.c, `type_traits`.
_GGML = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    9: (32, 36), 10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
    15: (256, 292), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18),
    21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8),
    28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66),
    39: (32, 17), 40: (64, 36), 41: (128, 18), 42: (64, 18),
}  # fmt: skip
_SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9
_MAX_KEYS, _MAX_ITEMS, _MAX_DIMENSIONS, _MAX_TEXT = 65_536, 10_000_000, 8, 1 << 23
_MAX_KEPT = 8 << 20  # bytes of templates; the largest seen have 20 thousand


@dataclass(slots=True)
class _Gguf:
    data: memoryview
    at: int = 4
    items: int = 0
    texts: list[tuple[str, str]] = field(default_factory=list)
    alignment: int = 32
    kept: int = 0

    def number(self, width: int) -> int:
        if self.at + width > len(self.data):
            raise ValueError("the file is cut short")
        self.at += width
        return int.from_bytes(self.data[self.at - width : self.at], "little")

    def text(self) -> str:
        length = self.number(8)
        if length > _MAX_TEXT or self.at + length > len(self.data):
            raise ValueError("a text is cut short")
        self.at += length
        return bytes(self.data[self.at - length : self.at]).decode("utf-8", "replace")

    def value(self, kind: int, key: str, depth: int = 0) -> None:
        self.items += 1
        if self.items > _MAX_ITEMS or depth > _MAX_TYPE_DEPTH:
            raise ValueError("too many values")
        if kind in _SCALARS:
            number = self.number(_SCALARS[kind])
            if key == "general.alignment":
                self.alignment = number
        elif kind == _STRING:
            text = self.text()
            if is_template(text) or "template" in key:
                self.kept += len(text) + 100
                if self.kept > _MAX_KEPT:
                    raise ValueError("too many templates")
                self.texts.append((key, text))
        elif kind == _ARRAY:
            inner, count = self.number(4), self.number(8)
            if inner in _SCALARS:
                if count * _SCALARS[inner] > len(self.data) - self.at:
                    raise ValueError("an array is cut short")
                self.at += count * _SCALARS[inner]
                return
            for _ in range(count):
                self.value(inner, key, depth + 1)
        else:
            raise ValueError(f"unknown type {kind}")


def scan_gguf(data: memoryview, findings: Findings, bounds: ModelBounds) -> None:
    """Judge a GGUF file: header, keys, tensors and their places; templates among the keys.

    Source: ggml/docs/gguf.md, versions 2 and 3.
    """
    reader = _Gguf(data)
    try:
        _read_gguf(reader, bounds)
    except (ValueError, OverflowError) as error:
        findings.add("gguf.malformed", f"the file is malformed: {error}"[:200], offset=reader.at)
    for key, text in reader.texts:
        scan_template(text, findings, key[:200])


def _read_gguf(reader: _Gguf, bounds: ModelBounds) -> None:
    if reader.number(4) not in (2, 3):
        raise ValueError("unknown version")
    tensors, keys = reader.number(8), reader.number(8)
    if tensors > bounds.max_tensors or keys > _MAX_KEYS:
        raise ValueError("more tensors or keys than the limit")
    seen: set[str] = set()
    for _ in range(keys):
        key = reader.text()
        if key in seen:
            raise ValueError("a key appears twice")
        seen.add(key)
        reader.value(reader.number(4), key)
    places: list[tuple[int, int]] = []
    for _ in range(tensors):
        reader.text()
        dimensions = reader.number(4)
        if dimensions > _MAX_DIMENSIONS:
            raise ValueError("too many dimensions")
        count = math.prod(reader.number(8) for _ in range(dimensions))
        kind, offset = reader.number(4), reader.number(8)
        if kind not in _GGML or count % _GGML[kind][0]:
            raise ValueError("a tensor has an unknown type or size")
        places.append((offset, count // _GGML[kind][0] * _GGML[kind][1]))
    if reader.alignment not in (1, 2, 4, 8, 16, 32, 64, 128, 256, 4096):
        raise ValueError("unknown alignment")
    _check_places(reader, places)


def _check_places(reader: _Gguf, places: list[tuple[int, int]]) -> None:
    step = reader.alignment
    base = -(-reader.at // step) * step
    at = 0
    gaps = [(reader.at, min(base, len(reader.data)))]
    for offset, size in sorted(places):
        if offset != -(-at // step) * step:
            raise ValueError("tensors overlap or leave a gap")
        gaps.append((base + at, base + offset))
        at = offset + size
    end = base + at if places else reader.at
    if len(reader.data) < end or len(reader.data) > -(-end // step) * step:
        raise ValueError("the tensors do not end with the file")
    gaps.append((end, len(reader.data)))
    if any(any(reader.data[start:stop]) for start, stop in gaps):
        raise ValueError("padding is not zero")

"""What an ONNX file declares, read without loading it: its own walker knows every field.

A field that the walker does not know is a refusal: then nobody has said that it is harmless.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from vallum.base.bounds import MODEL, ModelBounds
from vallum.formats.protobuf import BYTES, VARINT, Field, fields, packed_varints
from vallum.formats.refusal import refuse, within

_MODEL = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26})
_GRAPH = frozenset({1, 2, 5, 10, 11, 12, 13, 14, 15, 16})
_NODE = frozenset(range(1, 11))
_ATTRIBUTE = frozenset({*range(1, 12), 13, 14, 15, 20, 21, 22, 23})
_TENSOR = frozenset({*range(1, 15), 16})
_FUNCTION = frozenset({1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14})
_MAX_DEPTH = 32
_EXTERNAL = 1
# Bits of an element by TensorProto.DataType; texts have no raw bytes.
_BITS = {
    **dict.fromkeys((2, 3, 9, 17, 18, 19, 20, 24), 8),
    **dict.fromkeys((4, 5, 10, 16), 16),
    **dict.fromkeys((1, 6, 12), 32),
    **dict.fromkeys((7, 11, 13, 14), 64),
    **dict.fromkeys((21, 22, 23), 4),
    15: 128,
}


@dataclass(frozen=True, slots=True)
class OnnxValue:
    """An input or output: its element type (TensorProto.DataType) and shape.

    A named or unknown dimension is text (`""` when unnamed); `shape` is None without one.
    """

    name: str
    element_type: int
    shape: tuple[int | str, ...] | None


@dataclass(frozen=True, slots=True)
class OnnxOutside:
    """A tensor whose bytes lie in another file.

    Attributes:
        place: As written; empty if the file names none.
        offset: In bytes from the file's begin.
        length: In bytes; None means the rest of the file.
    """

    place: str
    offset: int = 0
    length: int | None = None


@dataclass(slots=True)
class OnnxHeader:
    """What the file declares, subgraphs and functions included."""

    producer: str = ""
    opsets: dict[str, int] = field(default_factory=dict)
    inputs: list[OnnxValue] = field(default_factory=list)
    outputs: list[OnnxValue] = field(default_factory=list)
    initializers: list[str] = field(default_factory=list)
    operators: dict[tuple[str, str], int] = field(default_factory=dict)  # (domain, type): count
    functions: list[tuple[str, str]] = field(default_factory=list)
    external_data: list[OnnxOutside] = field(default_factory=list)
    nodes: int = 0


def read_onnx_header(data: bytes | memoryview, bounds: ModelBounds = MODEL) -> OnnxHeader:
    """Walk the whole file.

    Raises:
        InputError: Code `format.onnx.*` or `format.protobuf.malformed`.
        LimitExceededError: Size, nodes, tensors, dimensions or depth beyond the bounds.

    Source: onnx/onnx.proto3.
    """
    view = memoryview(data)
    within(len(view), bounds.max_bytes, "format.onnx.too-large", "bytes of the model")
    return _Walk(bounds).model(view)


class _Walk:
    def __init__(self, bounds: ModelBounds) -> None:
        self._bounds = bounds
        self._header = OnnxHeader()
        self._tensors = 0

    def model(self, view: memoryview) -> OnnxHeader:
        graphs = 0
        versions = 0
        for item in _known(view, _MODEL, "model"):
            if item.number == 1:
                versions += 1
            elif item.number == 2:  # noqa: PLR2004 - field numbers of onnx.proto3, here and below
                self._header.producer = _text(item)
            elif item.number == 7:  # noqa: PLR2004
                graphs += 1
                self._graph(_message(item), item.offset, 0, top=True)
            elif item.number == 8:  # noqa: PLR2004
                self._opset(item)
            elif item.number == 20:  # noqa: PLR2004
                for part in fields(_message(item), item.offset):
                    if part.number in (1, 2):
                        self._graph(_message(part), part.offset, 1)
            elif item.number == 25:  # noqa: PLR2004
                self._function(item)
        if graphs != 1 or versions != 1:
            refuse("format.onnx.model", "the file holds no single graph and version")
        return self._header

    def _opset(self, item: Field) -> None:
        domain, version = "", 0
        for part in fields(_message(item), item.offset):
            if part.number == 1:
                domain = _text(part)
            elif part.number == 2 and part.wire == VARINT:  # noqa: PLR2004
                version = part.value
        self._header.opsets[domain] = version

    def _function(self, item: Field) -> None:
        name = domain = ""
        for part in _known(_message(item), _FUNCTION, "function", item.offset):
            if part.number == 1:
                name = _text(part)
            elif part.number == 7:  # noqa: PLR2004
                self._node(part, 1)
            elif part.number == 10:  # noqa: PLR2004
                domain = _text(part)
            elif part.number == 11:  # noqa: PLR2004
                self._attribute(part, 1)
        self._header.functions.append((domain, name))

    def _graph(self, view: memoryview, base: int, depth: int, *, top: bool = False) -> None:
        within(depth, _MAX_DEPTH, "format.onnx.too-deep", "depth of the subgraphs")
        for item in _known(view, _GRAPH, "graph", base):
            if item.number == 1:
                self._node(item, depth)
            elif item.number == 5:  # noqa: PLR2004
                name = self._tensor(item)
                if top:
                    self._header.initializers.append(name)
            elif item.number == 15:  # noqa: PLR2004
                self._sparse(item)
            elif top and item.number == 11:  # noqa: PLR2004
                self._header.inputs.append(self._value(item))
            elif top and item.number == 12:  # noqa: PLR2004
                self._header.outputs.append(self._value(item))

    def _node(self, item: Field, depth: int) -> None:
        header = self._header
        header.nodes += 1
        within(header.nodes, self._bounds.max_nodes, "format.onnx.too-many-nodes", "nodes")
        operator = domain = ""
        for part in _known(_message(item), _NODE, "node", item.offset):
            if part.number == 4:  # noqa: PLR2004
                operator = _text(part)
            elif part.number == 7:  # noqa: PLR2004
                domain = _text(part)
            elif part.number == 5:  # noqa: PLR2004
                self._attribute(part, depth + 1)
        key = (domain, operator)
        header.operators[key] = header.operators.get(key, 0) + 1

    def _attribute(self, item: Field, depth: int) -> None:
        for part in _known(_message(item), _ATTRIBUTE, "attribute", item.offset):
            if part.number in (5, 10):
                self._tensor(part)
            elif part.number in (6, 11):
                self._graph(_message(part), part.offset, depth)
            elif part.number in (22, 23):
                self._sparse(part)

    def _sparse(self, item: Field) -> None:
        for part in fields(_message(item), item.offset):
            if part.number in (1, 2):
                self._tensor(part)

    def _tensor(self, item: Field) -> str:
        self._tensors += 1
        within(self._tensors, self._bounds.max_tensors, "format.onnx.too-many-tensors", "tensors")
        name, external, kind = "", False, 0
        shape: list[int] = []
        raw: int | None = None
        outside: list[dict[str, str]] = []
        for part in _known(_message(item), _TENSOR, "tensor", item.offset):
            if part.number == 1:
                for size in (part.value,) if part.wire == VARINT else packed_varints(part.content):
                    shape.append(size)
                    limit = self._bounds.max_dimensions
                    within(len(shape), limit, "format.onnx.too-many-dimensions", "dimensions")
            elif part.number == 2:  # noqa: PLR2004
                kind = part.value
            elif part.number == 9:  # noqa: PLR2004
                raw = len(part.content)
            elif part.number == 8:  # noqa: PLR2004
                name = _text(part)
            elif part.number == 13:  # noqa: PLR2004
                external = True
                outside.append(_entry(part))
            elif part.number == 14:  # noqa: PLR2004
                external = external or part.value == _EXTERNAL
        if external:
            self._header.external_data.append(_outside(outside, item.offset))
        elif raw is not None and kind in _BITS and raw != -(-math.prod(shape) * _BITS[kind] // 8):
            refuse("format.onnx.raw-data", f"the bytes of `{name[:80]}` are not those of its shape")
        return name

    def _value(self, item: Field) -> OnnxValue:
        name, element, shape = "", 0, None
        for part in fields(_message(item), item.offset):
            if part.number == 1:
                name = _text(part)
            elif part.number == 2:  # noqa: PLR2004
                for kind in fields(_message(part), part.offset):
                    if kind.number == 1:
                        element, shape = self._tensor_type(_message(kind), kind.offset)
        return OnnxValue(name, element, shape)

    def _tensor_type(self, view: memoryview, base: int) -> tuple[int, tuple[int | str, ...] | None]:
        element, shape = 0, None
        for part in fields(view, base):
            if part.number == 1:
                element = part.value
            elif part.number == 2:  # noqa: PLR2004
                shape = tuple(
                    _dimension(_message(dim), dim.offset)
                    for dim in fields(_message(part), part.offset)
                )
                limit = self._bounds.max_dimensions
                within(len(shape), limit, "format.onnx.too-many-dimensions", "dimensions")
        return element, shape


def _dimension(view: memoryview, base: int) -> int | str:
    for part in fields(view, base):
        if part.number == 1 and part.wire == VARINT:
            return part.value
        if part.number == 2:  # noqa: PLR2004
            return _text(part)
    return ""


def _known(view: memoryview, numbers: frozenset[int], what: str, base: int = 0) -> Iterator[Field]:
    """Yield the fields; one at a time, since a graph may hold a million."""
    for item in fields(view, base):
        if item.number not in numbers:
            refuse("format.onnx.field", f"unknown field {item.number} of a {what}")
        yield item


def _message(item: Field) -> memoryview:
    if item.wire != BYTES:
        refuse("format.onnx.wire", f"field {item.number} at offset {item.offset} is no message")
    return item.content


def _text(item: Field) -> str:
    try:
        return bytes(_message(item)).decode("utf-8")
    except UnicodeDecodeError as error:
        refuse("format.onnx.text", f"no UTF-8 at offset {item.offset}", cause=error)


_NUMBER = re.compile(r"^[0-9]{0,18}$")


def _outside(entries: list[dict[str, str]], offset: int) -> OnnxOutside:
    merged: dict[str, str] = {}
    for entry in entries:
        if merged.keys() & entry.keys():
            refuse("format.onnx.external", f"a place is given twice at offset {offset}")
        merged |= entry
    numbers = {key: merged.get(key, "") for key in ("offset", "length")}
    if not all(_NUMBER.match(text) for text in numbers.values()):
        refuse("format.onnx.external", f"a place is no number at offset {offset}")
    length = numbers["length"]
    return OnnxOutside(
        merged.get("location", ""), int(numbers["offset"] or 0), int(length) if length else None
    )


def _entry(item: Field) -> dict[str, str]:
    pair = {part.number: _text(part) for part in fields(_message(item), item.offset)}
    return {pair.get(1, ""): pair.get(2, "")}

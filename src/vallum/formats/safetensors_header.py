"""The header of a safetensors file, held against the file to its last byte."""

import math
from dataclasses import dataclass

from vallum.base.bounds import MODEL, JsonBounds, ModelBounds
from vallum.formats.document import load_json
from vallum.formats.refusal import refuse, within

_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U16": 16, "I16": 16, "F16": 16,
    "BF16": 16, "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64, "C64": 64,
}  # fmt: skip
_MAX_DIMENSION = 2**53


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor's type, shape and place (offsets from the first byte after the header)."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """What the file holds."""

    tensors: dict[str, TensorInfo]
    metadata: dict[str, str]


def read_safetensors_header(
    data: bytes | memoryview, bounds: ModelBounds = MODEL
) -> SafetensorsHeader:
    """Read and check the header; the tensors' bytes must tile the rest of the file exactly.

    Raises:
        InputError: Code `format.safetensors.*`.
        LimitExceededError: Header, tensors or dimensions beyond `bounds`.

    Source: huggingface/safetensors README, "Format".
    """
    view = memoryview(data)
    within(len(view), bounds.max_bytes, "format.safetensors.too-large", "bytes of the model")
    if len(view) < 8:  # noqa: PLR2004 - the length field
        refuse("format.safetensors.truncated", "the file is shorter than its length field")
    length = int.from_bytes(view[:8], "little")
    limit = bounds.max_header_bytes
    within(length, limit, "format.safetensors.header-too-large", "bytes of the header")
    if length > len(view) - 8:
        refuse("format.safetensors.truncated", "the header is longer than the file")
    header = bytes(view[8 : 8 + length])
    if header[:1] != b"{":
        refuse("format.safetensors.header", "the header is not a JSON object")
    nodes = 16 * bounds.max_tensors
    table = load_json(header, JsonBounds(max_bytes=limit, max_depth=4, max_nodes=nodes))
    metadata = table.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        refuse("format.safetensors.metadata", "the metadata is not a map of texts")
    within(len(table), bounds.max_tensors, "format.safetensors.too-many-tensors", "tensors")
    tensors = {name: _tensor(name, item, bounds) for name, item in table.items()}
    at = 0
    for name, tensor in sorted(tensors.items(), key=lambda pair: (pair[1].start, pair[1].end)):
        if tensor.start != at:
            word = "overlaps another" if tensor.start < at else "leaves a gap before it"
            refuse("format.safetensors.layout", f"the tensor `{name[:80]}` {word}")
        at = tensor.end
    if at != len(view) - 8 - length:
        refuse("format.safetensors.size", "the tensors do not end with the file")
    return SafetensorsHeader(tensors, metadata)


def _tensor(name: str, item: object, bounds: ModelBounds) -> TensorInfo:
    shown = name[:80]
    if not isinstance(item, dict) or item.keys() != {"dtype", "shape", "data_offsets"}:
        refuse("format.safetensors.tensor", f"the tensor `{shown}` has other fields than three")
    dtype, shape, offsets = item["dtype"], item["shape"], item["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _BITS:
        refuse("format.safetensors.dtype", f"the tensor `{shown}` has an unknown type")
    if not _whole_numbers(shape) or not _whole_numbers(offsets) or len(offsets) != 2:  # noqa: PLR2004 - start, end
        refuse("format.safetensors.tensor", f"the tensor `{shown}` has a malformed shape or place")
    dimensions = bounds.max_dimensions
    within(len(shape), dimensions, "format.safetensors.too-many-dimensions", "dimensions")
    bits = math.prod(shape) * _BITS[dtype]
    if bits % 8 or offsets[1] - offsets[0] != bits // 8:
        refuse("format.safetensors.size", f"the tensor `{shown}` has another size than its shape")
    return TensorInfo(dtype, tuple(shape), offsets[0], offsets[1])


def _whole_numbers(value: object) -> bool:
    return isinstance(value, list) and all(
        type(item) is int and 0 <= item < _MAX_DIMENSION for item in value
    )

"""The Open Inference Protocol V2 over gRPC: the checks of the REST form, on Protocol Buffers.

`scan_request` walks the outermost fields only: it tells which endpoint is meant before who may ask
it is known, and nothing is built from the message until then. Tensors come as raw bytes (little-
endian, in rows) or as typed contents; the answer comes as the question did.

Sources: Open Inference Protocol (KServe V2), gRPC, "Tensor Data"; Protocol Buffers, "Encoding".
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError, Message
from numpy.typing import NDArray

from vallum.base import InputError
from vallum.guard.dialects import Dialect
from vallum.guard.v2 import DATATYPES, MAX_DIMENSIONS, Output, Spec, check_values
from vallum.guard.v2_proto import PROTO

MAX_FIELDS = 64
"""Outermost fields of a request: one input takes nine."""
MAX_NAME_BYTES = 256
_MODEL_NAME, _RAW = 1, 7
_VARINT_BYTES = 10
_RAW_TYPES: Mapping[str, np.dtype[Any]] = {"FP32": np.dtype("<f4"), "FP64": np.dtype("<f8")}
_TYPED = {"FP32": "fp32_contents", "FP64": "fp64_contents"}


@dataclass(frozen=True, slots=True)
class Scanned:
    """What a request says outermost.

    Attributes:
        name: Of the endpoint; empty if it names none.
        raw: Its tensors are raw bytes.
    """

    name: str
    raw: bool


def scan_request(body: bytes) -> Scanned:
    """Return whom a request is for, building nothing.

    Raises:
        InputError: It is no message, has too many fields, or names two endpoints.
    """
    at, end = 0, len(body)
    name: bytes | None = None
    raw = False
    for _ in range(MAX_FIELDS):
        if at == end:
            return Scanned(_text(name or b""), raw)
        tag, at = _varint(body, at)
        field, kind = tag >> 3, tag & 7
        if kind == 0:
            _, at = _varint(body, at)
        elif kind == 2:  # noqa: PLR2004 - with a length
            length, at = _varint(body, at)
            if length > end - at:
                raise _malformed()
            if field == _MODEL_NAME:
                if name is not None or length > MAX_NAME_BYTES:
                    raise _malformed()
                name = body[at : at + length]
            raw = raw or field == _RAW
            at += length
        elif kind in {1, 5}:
            at += 8 if kind == 1 else 4
            if at > end:
                raise _malformed()
        else:  # groups, which proto3 has none of
            raise _malformed()
    if at == end:
        return Scanned(_text(name or b""), raw)
    raise InputError(f"a request has at most {MAX_FIELDS} fields", code="score.form")


def decode_message(body: bytes, spec: Spec) -> tuple[NDArray[np.float32], str]:
    """Return the input, shape (rows, features), float32, finite, and the request's id.

    Raises:
        InputError: Malformed, another type, shape or length, both forms at once, or not finite.
        LimitExceededError: Too many rows.
    """
    message = parse("ModelInferRequest", body)
    if len(message.inputs) != 1:
        raise InputError("exactly one input is expected", code="score.inputs")
    tensor = message.inputs[0]
    if tensor.datatype not in DATATYPES:
        raise InputError("the datatype must be FP32 or FP64", code="score.datatype")
    if len(tensor.shape) != MAX_DIMENSIONS or tensor.shape[0] < 1 or tensor.shape[1] < 1:
        raise InputError("the shape must be [rows, features]", code="score.shape")
    rows, width = tensor.shape
    values = _values(message, tensor)
    if values.size != rows * width:  # Python's integers do not overflow
        raise InputError(
            f"shape {rows} x {width} does not fit {values.size} values", code="score.length"
        )
    with np.errstate(over="ignore"):  # what overflows becomes infinite, and is refused
        narrow = values.reshape(rows, width).astype(np.float32, copy=False)
    return check_values(narrow, rows, width, spec), message.id


def parse(name: str, body: bytes) -> Any:  # noqa: ANN401 - a message class made at run time
    """Return a message of a class.

    Raises:
        InputError: It is none.
    """
    try:
        return PROTO[name].FromString(body)
    except (DecodeError, ValueError) as error:
        raise _malformed() from error


def encode_typed(name: str, deployment: str, outputs: list[Output], request_id: str) -> bytes:
    """Return an answer with typed contents."""
    message = _answer(name, deployment, request_id)
    for output in outputs:
        contents = _add(message, output).contents
        if output.datatype == "FP32":
            contents.fp32_contents.extend(output.data)
        elif output.datatype == "INT64":
            contents.int64_contents.extend(output.data)
        else:
            contents.bytes_contents.extend(str(one).encode() for one in output.data)
    return bytes(message.SerializeToString())


def encode_raw(name: str, deployment: str, outputs: list[Output], request_id: str) -> bytes:
    """Return an answer with raw contents; a text is its length in four bytes, then itself."""
    message = _answer(name, deployment, request_id)
    for output in outputs:
        _add(message, output)
        if output.datatype == "FP32":
            raw = np.array(output.data, dtype="<f4").tobytes()
        elif output.datatype == "INT64":
            raw = np.array(output.data, dtype="<i8").tobytes()
        else:
            texts = [str(one).encode() for one in output.data]
            raw = b"".join(len(one).to_bytes(4, "little") + one for one in texts)
        message.raw_output_contents.append(raw)
    return bytes(message.SerializeToString())


RAW = Dialect(decode_message, encode_raw, json=False)
TYPED = Dialect(decode_message, encode_typed, json=False)


def _answer(name: str, deployment: str, request_id: str) -> Any:  # noqa: ANN401 - as above
    return PROTO["ModelInferResponse"](model_name=name, model_version=deployment, id=request_id)


def _add(message: Any, output: Output) -> Any:  # noqa: ANN401 - as above
    return message.outputs.add(name=output.name, datatype=output.datatype, shape=output.shape)


def _values(message: Any, tensor: Any) -> NDArray[np.floating[Any]]:  # noqa: ANN401 - as above
    """Return the values of the only input, in whichever form they came."""
    raw = message.raw_input_contents
    given = [field.name for field, _ in _fields(tensor.contents)]
    if raw:
        kind = _RAW_TYPES[tensor.datatype]
        if given or len(raw) != 1:
            raise InputError("values come raw or typed, once for each input", code="score.data")
        if len(raw[0]) % kind.itemsize:
            raise InputError("the raw bytes are no whole number of values", code="score.length")
        return np.frombuffer(raw[0], dtype=kind)
    if given not in ([], [_TYPED[tensor.datatype]]):
        raise InputError("the contents are not of the datatype", code="score.data")
    return np.array(
        getattr(tensor.contents, _TYPED[tensor.datatype]), dtype=_RAW_TYPES[tensor.datatype]
    )


def _fields(message: Message) -> Any:  # noqa: ANN401 - the library has no types
    return message.ListFields()


def _varint(body: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift, byte in enumerate(body[at : at + _VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:  # noqa: PLR2004 - the last one
            return value, at + shift + 1
    raise _malformed()


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise _malformed() from error


def _malformed() -> InputError:
    return InputError("the request is not of the V2 form", code="score.form")

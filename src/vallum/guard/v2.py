"""The Open Inference Protocol V2: bounded decoding, and every check before the model.

In this order: size (before this module), JSON of the expected form, one input, known datatype,
shape without overflow, product equal to the number of values, rows within the limit, finite.

Source: Open Inference Protocol (KServe V2), REST, "Inference Request JSON Object".
"""

import math
import re
import struct
from dataclasses import dataclass
from functools import lru_cache

import msgspec
import numpy as np
from numpy.typing import NDArray

from vallum.base import InputError, LimitExceededError

MAX_BODY_BYTES = 16 * 1024 * 1024
MAX_DIMENSIONS = 2
DATATYPES = frozenset({"FP32", "FP64"})

_Parameter = str | int | float | bool | None


class Tensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input; only real numbers are taken."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    data: list[float | list[float]]  # flat, or a list a row
    parameters: dict[str, _Parameter] | None = None


class InferenceRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request; clients write null for what they leave out."""

    inputs: tuple[Tensor, ...]
    id: str | None = None
    outputs: tuple[dict[str, str | dict[str, _Parameter] | None], ...] | None = None
    parameters: dict[str, _Parameter] | None = None
    model_name: str | None = None  # KServe's client repeats the path's, which alone counts
    model_version: str | None = None


class Output(msgspec.Struct, frozen=True):
    """One output."""

    name: str
    shape: list[int]
    datatype: str
    data: list[float] | list[int] | list[str]


class InferenceResponse(msgspec.Struct, frozen=True):
    """An answer."""

    model_name: str
    model_version: str
    outputs: list[Output]
    id: str = ""


_ONCE = (b"inputs", b"data", b"shape", b"datatype")
_MEMBERS = re.compile(rb'"(?:' + b"|".join(_ONCE) + rb')"\s*:')
_INPUTS, _DATA, _SHAPE, _DATATYPE = _ONCE
_QUOTES, _LONG_BYTES = 64, 2048
_FEW = 65_536  # values of which `struct` has less to lay out than numpy has to look through
_FEW_TOLD = 256  # values that Python adds up before numpy has begun
_FLOAT32 = np.dtype(np.float32)  # made once: a fifth of the time of `np.frombuffer`
_DECODER = msgspec.json.Decoder(InferenceRequest)
_ENCODER = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Spec:
    """What a deployment takes."""

    width: int | None  # features; None: any
    max_rows: int


def decode_request(body: bytes, spec: Spec) -> tuple[NDArray[np.float32], str]:
    """Return the input, shape (rows, features), float32, finite, and the request's id.

    Raises:
        InputError: Malformed, duplicate members, another type, shape or length, or not finite.
        LimitExceededError: Too many rows.
    """
    try:
        request = _DECODER.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InputError("the request is not of the V2 form", code="score.form") from error
    if len(request.inputs) != 1:
        raise InputError("exactly one input is expected", code="score.inputs")
    # msgspec keeps the last of duplicate members; a second reader might keep the first. Without
    # escapes a quoted word before a colon is a member, and nothing else is.
    if b"\\" in body or not _once(body):
        raise InputError("a member is repeated or escaped", code="score.duplicate")
    tensor = request.inputs[0]
    if tensor.datatype not in DATATYPES:
        raise InputError("the datatype must be FP32 or FP64", code="score.datatype")
    shape = tensor.shape
    if len(shape) != MAX_DIMENSIONS or shape[0] < 1 or shape[1] < 1:
        raise InputError("the shape must be [rows, features]", code="score.shape")
    rows, width = shape
    _check_shape(rows, width, spec)
    try:
        values = _values(tensor.data)
    except (TypeError, ValueError, struct.error) as error:
        raise InputError("the values are ragged", code="score.data") from error
    # Python integers do not overflow: the product is exact whatever the client writes.
    if values.size != rows * width or (values.ndim == MAX_DIMENSIONS and values.shape != shape):
        raise InputError(
            f"shape {rows} x {width} does not fit {values.size} values", code="score.length"
        )
    if not _finite(values):
        raise InputError("a value is not finite", code="score.finite")
    return values.reshape(rows, width), request.id or ""


def _check_shape(rows: int, width: int, spec: Spec) -> None:
    if rows > spec.max_rows:
        raise LimitExceededError(f"{rows} rows are more than {spec.max_rows}", code="score.rows")
    if spec.width is not None and width != spec.width:
        raise InputError(f"the model takes {spec.width} features, got {width}", code="score.width")


def check_values(
    values: NDArray[np.float32], rows: int, width: int, spec: Spec
) -> NDArray[np.float32]:
    """Return `values`, shape (rows, width), if a model may see them.

    Raises:
        InputError: No rows, another width, or not finite.
        LimitExceededError: Too many rows.
    """
    if rows < 1 or width < 1:
        raise InputError("the shape must be [rows, features]", code="score.shape")
    _check_shape(rows, width, spec)
    if not _finite(values):
        raise InputError("a value is not finite", code="score.finite")
    return values


def _once(body: bytes) -> bool:
    """Tell whether a decoded request has each of its members once."""
    if len(body) > _LONG_BYTES:  # most of it are numbers, which this does not look through
        # Each was found as a member, so a text that is there once is no more than that.
        count = (parts := body.split(b'"', _QUOTES)).count
        if len(parts) <= _QUOTES and (
            count(_INPUTS) == count(_DATA) == count(_SHAPE) == count(_DATATYPE) == 1
        ):
            return True
    return len(_MEMBERS.findall(body)) == len(_ONCE)


def _values(data: list[float | list[float]]) -> NDArray[np.float32]:
    """Convert; what overflows becomes infinite."""
    if len(data) <= _FEW and isinstance(data[0] if data else None, float):
        # A third of numpy's time; a list among the numbers raises.
        return np.frombuffer(_floats(len(data)).pack(*data), _FLOAT32)
    with np.errstate(over="ignore"):
        return np.array(data, dtype=np.float32)


@lru_cache(maxsize=256)
def _floats(count: int) -> struct.Struct:
    return struct.Struct(f"{count}f")  # native: too large a number becomes infinite


def _finite(values: NDArray[np.generic]) -> bool:
    return b"\0" not in np.isfinite(values).tobytes()  # half the time of `.all()` for one row


def encode_input(x: NDArray[np.float32]) -> bytes:
    """Return rows, shape (n, d), as the JSON request that asks for them."""
    tensor = {"name": "x", "shape": list(x.shape), "datatype": "FP32", "data": x.ravel().tolist()}
    return _ENCODER.encode({"inputs": [tensor]})


def encode_response(name: str, version: str, outputs: list[Output], request_id: str) -> bytes:
    """Return an answer as JSON."""
    return _ENCODER.encode(
        InferenceResponse(model_name=name, model_version=version, outputs=outputs, id=request_id)
    )


def shape_output(name: str, values: NDArray[np.generic], *, decimals: int | None) -> Output:
    """Turn an array into an output, rounded if asked: less for model extraction to learn from.

    Raises:
        InputError: The model answered something that has no V2 form.
    """
    if values.dtype.kind == "f":
        if decimals is not None:
            values = np.round(values.astype(np.float64), decimals)
        told = values.ravel().tolist()
        # A sum is finite only where all of them are; one that is not may be of large numbers.
        few = len(told) <= _FEW_TOLD
        if not ((few and math.isfinite(sum(told))) or _finite(values)):
            raise InputError("the model answered what is not finite", code="score.answer")
        return Output(name, list(values.shape), "FP32", told)
    if values.dtype.kind in "iub":
        return Output(name, list(values.shape), "INT64", values.astype(np.int64).ravel().tolist())
    if values.dtype.kind in "OU":
        return Output(name, list(values.shape), "BYTES", [str(one) for one in values.ravel()])
    raise InputError("the model answered an unknown type", code="score.answer")

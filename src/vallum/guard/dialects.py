"""MLflow's `/invocations` and Azure's `/score`: other words for the request that V2 checks.

Sources: MLflow, "Local Inference Spec" (`dataframe_split`, `dataframe_records`, `instances`,
`inputs`); Azure Machine Learning, "Deploy MLflow models to online endpoints" (`input_data`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from vallum.base import InputError, VallumError
from vallum.formats import load_json
from vallum.guard.v2 import Output, Spec, check_values, decode_request, encode_response

_IGNORED = frozenset({"params", "index"})  # row labels, and options that our models have none of


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one kind of client asks and is answered.

    Attributes:
        decode: Body and bounds to the input, shape (rows, features), and the request's id.
        encode: Endpoint, deployment, outputs and id to an answer's body.
        json: Whether both bodies are JSON.
    """

    decode: Callable[[bytes, Spec], tuple[NDArray[np.float32], str]]
    encode: Callable[[str, str, list[Output], str], bytes]
    json: bool = True


def decode_invocation(body: bytes, spec: Spec) -> tuple[NDArray[np.float32], str]:
    """Return the input of an MLflow request; see `decode_request`.

    Raises:
        InputError: Not exactly one of the four forms, ragged, not numbers, or not finite.
        LimitExceededError: Too many rows.
    """
    document = _document(body)
    given = [one for one in document if one not in _IGNORED]
    if len(given) != 1 or given[0] not in _FORMS:
        raise InputError(
            "exactly one of dataframe_split, dataframe_records, instances and inputs is expected",
            code="score.form",
        )
    return _checked(_FORMS[given[0]](document[given[0]]), spec), ""


def decode_score(body: bytes, spec: Spec) -> tuple[NDArray[np.float32], str]:
    """Return the input of an Azure request; see `decode_request`.

    Raises:
        InputError: Neither `input_data` nor `data`, ragged, not numbers, or not finite.
        LimitExceededError: Too many rows.
    """
    document = _document(body)
    given = [one for one in document if one not in _IGNORED]
    if given not in (["input_data"], ["data"]):
        raise InputError("`input_data` or `data` is expected", code="score.form")
    value = document[given[0]]
    return _checked(_split(value) if isinstance(value, dict) else value, spec), ""


def _document(body: bytes) -> dict[str, object]:
    try:
        document = load_json(body)  # refuses repeated members and depth
    except VallumError as error:
        raise InputError("the request is not JSON of that form", code="score.form") from error
    if not isinstance(document, dict):
        raise InputError("the request is not a JSON object", code="score.form")
    return document


def _split(value: object) -> object:
    """Return the rows of `{columns, data}`."""
    if not isinstance(value, dict) or not {"data"} <= set(value) <= {"columns", "index", "data"}:
        raise InputError("`columns` and `data` are expected", code="score.form")
    rows, columns = value["data"], value.get("columns")
    if columns is not None and (
        not isinstance(columns, list)
        or len({str(one) for one in columns}) != len(columns)
        or not isinstance(rows, list)
        or any(not isinstance(row, list) or len(row) != len(columns) for row in rows)
    ):
        raise InputError("`columns` do not fit the rows of `data`", code="score.form")
    return rows


def _records(value: object) -> object:
    """Return the rows of records; all name the same columns in the same order."""
    if not isinstance(value, list) or not value or not isinstance(value[0], dict):
        raise InputError("a list of records is expected", code="score.form")
    names = list(value[0])
    if any(not isinstance(one, dict) or list(one) != names for one in value):
        raise InputError(
            "all records must name the same columns in the same order", code="score.form"
        )
    return [list(one.values()) for one in value]


def _instances(value: object) -> object:
    return _records(value) if isinstance(value, list) and _holds(value, dict) else value


def _inputs(value: object) -> object:
    """Return rows of a list of rows, or of columns by name."""
    if not isinstance(value, dict):
        return value
    columns = list(value.values())
    if not columns or any(
        not isinstance(one, list) or len(one) != len(columns[0]) for one in columns
    ):
        raise InputError("the columns of `inputs` differ in length", code="score.form")
    return [list(row) for row in zip(*columns, strict=True)]


def _holds(value: Sequence[object], kind: type) -> bool:
    return bool(value) and isinstance(value[0], kind)


_FORMS: dict[str, Callable[[object], object]] = {
    "dataframe_split": _split,
    "dataframe_records": _records,
    "instances": _instances,
    "inputs": _inputs,
}


def _checked(rows: object, spec: Spec) -> NDArray[np.float32]:
    try:
        numbers = msgspec.convert(rows, list[list[float]])  # texts and booleans are no numbers
    except msgspec.ValidationError as error:
        raise InputError("rows of numbers are expected", code="score.data") from error
    width = len(numbers[0]) if numbers else 0
    if any(len(row) != width for row in numbers):
        raise InputError("the values are ragged", code="score.data")
    with np.errstate(over="ignore"):
        values = np.array(numbers, dtype=np.float32).reshape(len(numbers), width)
    return check_values(values, len(numbers), width, spec)


def _predictions(outputs: list[Output]) -> object:
    """Return the first output, as rows."""
    first = outputs[0]
    per_row = len(first.data) // max(1, first.shape[0])
    if len(first.shape) == 1 or per_row == 1:
        return first.data
    return [first.data[at : at + per_row] for at in range(0, len(first.data), per_row)]


def _encode_invocation(
    name: str,  # noqa: ARG001 - every dialect's form
    deployment: str,  # noqa: ARG001
    outputs: list[Output],
    request_id: str,  # noqa: ARG001
) -> bytes:
    return msgspec.json.encode({"predictions": _predictions(outputs)})


def _encode_score(
    name: str,  # noqa: ARG001 - every dialect's form
    deployment: str,  # noqa: ARG001
    outputs: list[Output],
    request_id: str,  # noqa: ARG001
) -> bytes:
    return msgspec.json.encode(_predictions(outputs))


V2 = Dialect(decode_request, encode_response)
DIALECTS = {
    "invocations": Dialect(decode_invocation, _encode_invocation),
    "score": Dialect(decode_score, _encode_score),
}
"""Last segment of the path to what it means."""

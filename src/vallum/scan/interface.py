"""What a model file says that it takes and gives, read from its header."""

from collections.abc import Sequence

from vallum.formats import OnnxHeader, OnnxValue, read_onnx_header
from vallum.schema import ModelInterface, ModelValue

MAX_VALUES = 1000  # a pipeline has an input a column
MAX_NAME_CHARS = 256
# TensorProto.DataType of onnx.proto3, named as ONNX Runtime names them.
_ELEMENTS = {
    1: "float", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64",
    8: "string", 9: "bool", 10: "float16", 11: "double", 12: "uint32", 13: "uint64",
    14: "complex64", 15: "complex128", 16: "bfloat16",
}  # fmt: skip
_TASKS = {
    "Classifier": "classification",
    "Regressor": "regression",
}
_ML_DOMAIN = "ai.onnx.ml"


def onnx_interface(data: bytes | memoryview) -> ModelInterface | None:
    """Return inputs, outputs and task that an ONNX file declares.

    The task is known where an operator of `ai.onnx.ml` says it, such as `LinearClassifier`. None
    where the file declares more than a record may hold: part of an interface would be a wrong one.

    Raises:
        InputError: The file is malformed.
        LimitExceededError: It is beyond the bounds of a model.
    """
    header = read_onnx_header(data)
    weights = set(header.initializers)  # before IR version 4 they are inputs too
    inputs = [one for one in header.inputs if one.name not in weights]
    every = [*inputs, *header.outputs]
    if len(every) > MAX_VALUES or len(header.producer) > MAX_NAME_CHARS:
        return None
    if any(len(name) > MAX_NAME_CHARS for one in every for name in _names(one)):
        return None
    return ModelInterface(
        task=_task(header),
        producer=_printable(header.producer),
        inputs=_values(inputs),
        outputs=_values(header.outputs),
    )


def _names(value: OnnxValue) -> list[str]:
    return [value.name, *(one for one in value.shape or () if isinstance(one, str))]


def _values(given: Sequence[OnnxValue]) -> tuple[ModelValue, ...]:
    return tuple(
        ModelValue(
            name=_printable(one.name),
            type=_type(one.element_type),
            shape=None if one.shape is None else tuple(_dimension(size) for size in one.shape),
        )
        for one in given
    )


def _type(element: int) -> str:
    if not element:
        return "other"  # a sequence, map or optional: no tensor
    return f"tensor({_ELEMENTS.get(element, element)})"


def _dimension(size: int | str) -> str:
    return _printable(str(size)) or "?"


def _printable(text: str) -> str:
    """Escape what a terminal would act on: the file's author chose these names."""
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def _task(header: OnnxHeader) -> str:
    found = {
        task
        for domain, operator in header.operators
        for suffix, task in _TASKS.items()
        if domain == _ML_DOMAIN and operator.endswith(suffix)
    }
    return found.pop() if len(found) == 1 else ""

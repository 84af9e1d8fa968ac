"""TensorFlow Lite: the FlatBuffer followed whole; operators of TensorFlow Lite's own only.

A custom operator is a function that the program which loads the model has registered; one that
begins with `Flex` is any operator of TensorFlow, files among them.

Source: google-ai-edge/LiteRT, `tflite/converter/schema/schema.fbs`, version 3.
"""

from vallum.scan.flatbuffer import TEXT, Table, Union, Vector, View, flat_fault

_CUSTOM, _MOST = 32, 210
_SCHEMA = {
    "Model": (
        4, Vector(Table("OperatorCode")), Vector(Table("SubGraph")), TEXT, Vector(Table("Buffer")),
        Vector(4), Vector(Table("Metadata")), Vector(Table("SignatureDef")),
    ),
    "OperatorCode": (1, TEXT, 4, 4),
    "SubGraph": (
        Vector(Table("Tensor")), Vector(4), Vector(4), Vector(Table("Operator")), TEXT, 4,
    ),
    "Tensor": (
        Vector(4), 1, 4, TEXT, Table("Quantization"), 1, Table("Sparsity"), Vector(4), 1,
        Vector(Table("Variant")),
    ),
    "Quantization": (Vector(4), Vector(4), Vector(4), Vector(8), 1, Union({}), 4),
    "Variant": (Vector(4), 1, 1),
    "Sparsity": (Vector(4), Vector(4), Vector(Table("Dimension"))),
    "Dimension": (
        1, 4, 1, Union({1: "Int32s", 2: "Uint16s", 3: "Uint8s"}), 1,
        Union({1: "Int32s", 2: "Uint16s", 3: "Uint8s"}),
    ),
    "Int32s": (Vector(4),), "Uint16s": (Vector(2),), "Uint8s": (Vector(1),),
    "Operator": (
        4, Vector(4), Vector(4), 1, Union({17: "Numbers", 30: "Numbers"}, other=True), Vector(1), 1,
        Vector(1), Vector(4), 8, 8, 1, Union({}, other=True), 4,
    ),
    "Numbers": (Vector(4),),  # a shape to be given, or dimensions to be dropped
    "Buffer": (Vector(1), 8, 8),
    "Metadata": (TEXT, 4),
    "SignatureDef": (Vector(Table("TensorMap")), Vector(Table("TensorMap")), TEXT, TEXT, 4),
    "TensorMap": (TEXT, 4),
}  # fmt: skip


def is_tflite(head: bytes) -> bool:
    """Whether a file begins as TensorFlow Lite's."""
    return head[4:8] == b"TFL3"


def tflite_fault(data: memoryview) -> str:
    """Return what is wrong with a model of TensorFlow Lite; empty if nothing is."""
    counts = {"Buffer": 0}
    used: list[int] = []

    def visit(name: str, view: View) -> None:
        if name == "OperatorCode":
            code = max(view.number(0, 1), view.number(3, 4))
            if code == _CUSTOM or view.text(1):
                raise ValueError(f"the custom operator `{view.text(1)[:80]}`")
            if not 0 <= code < _MOST:
                raise ValueError("an unknown operator")
        elif name == "Buffer":
            counts["Buffer"] += 1
            if view.number(1, 8) > 1 or view.number(2, 8) > 1:
                raise ValueError("a tensor outside of the buffer")
        elif name == "Operator" and (view.start(5) or view.number(9, 8) or view.number(10, 8)):
            raise ValueError("options of a custom operator")
        elif name in ("Tensor", "Metadata"):
            used.append(view.number(2 if name == "Tensor" else 1, 4))

    fault = flat_fault(data, _SCHEMA, "Model", visit, head=8)
    if not fault and any(not 0 <= one < max(counts["Buffer"], 1) for one in used):
        return "a tensor of a buffer that there is not"
    return fault

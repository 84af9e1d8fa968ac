"""Models whose scores are known, for tests of batches."""

import onnx
from onnx import TensorProto, helper


def linear(width: int = 2, *, root: bool = False) -> bytes:
    """Return a model: `score` is the row's sum (or its root), `both` the row twice over."""
    nodes = [
        helper.make_node("ReduceSum", ["x", "axis"], ["sum" if root else "score"], keepdims=0),
        helper.make_node("Concat", ["x", "x"], ["both"], axis=1),
    ]
    if root:
        nodes.append(helper.make_node("Sqrt", ["sum"], ["score"]))
    axis = helper.make_tensor("axis", TensorProto.INT64, [1], [1])
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, width])],
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, [None]),
            helper.make_tensor_value_info("both", TensorProto.FLOAT, [None, 2 * width]),
        ],
        initializer=[axis],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(made.SerializeToString())


def fails_above(limit: int) -> bytes:
    """Return a model that fails on a batch with a value of `limit` or more: an index too large."""
    table = helper.make_tensor("table", TensorProto.FLOAT, [limit], [0.5] * limit)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["x"], ["at"], to=TensorProto.INT64),
            helper.make_node("Gather", ["table", "at"], ["score"], axis=0),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [None, 1])],
        initializer=[table],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())

"""ONNX graphs in torch: the same scores, the right gradient, or none at all."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from vallum.attack.graphs import OPERATORS, SAME, differentiable
from vallum.attack.predictor import OnnxPredictor

pytest.importorskip("torch", reason="the gradients are torch's")
RNG = np.random.default_rng(0)


def node(kind: str, inputs: str, output: str, domain: str = "", **more: Any) -> Any:
    return helper.make_node(kind, inputs.split(), [output], domain=domain, **more)


def graph(nodes: Any, shape: Any, opset: int = 17, **weights: Any) -> bytes:
    """Return a classifier whose nodes lead from `x` to `h`; two classes are read off `h`."""
    ends = [node("Flatten", "h", "flat"), node("MatMul", "flat w_end", "probabilities")]
    made = helper.make_graph(
        [*nodes, *ends], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, *shape])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )  # fmt: skip
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(made, opset_imports=imports, ir_version=8).SerializeToString()


def floats(*shape: int) -> Any:
    return RNG.normal(0, 0.5, shape).astype(np.float32)


def ints(*values: int) -> Any:
    return np.array(values, dtype=np.int64)


IMAGE = (2, 6, 6)
GRAPHS: Any = {
    "dense": ([node("Gemm", "x w b", "a", transB=1, alpha=0.5, beta=2.0), node("Relu", "a", "h")],
              (5,), {"w": floats(4, 5), "b": floats(4)}),
    "arithmetic": ([node("Add", "x b", "a"), node("Sub", "a b", "c"), node("Mul", "c b", "d"),
                    node("Div", "d two", "e"), node("Neg", "e", "f"), node("Abs", "f", "g"),
                    node("Pow", "g two", "h")],
                   (4,), {"b": floats(4), "two": np.float32(2)}),
    "curves": ([node("Sigmoid", "x", "a"), node("Tanh", "a", "b"), node("Exp", "b", "c"),
                node("Log", "c", "d"), node("Elu", "d", "e", alpha=0.5),
                node("LeakyRelu", "e", "f", alpha=0.2), node("Softmax", "f", "g"),
                node("Sqrt", "g", "i"), node("LogSoftmax", "i", "h", axis=1)], (4,), {}),
    "gelu": ([node("Gelu", "x", "a", approximate="tanh"), node("Gelu", "a", "h")], (4,), {}),
    "clip": ([node("Clip", "x low high", "h")], (4,),
             {"low": np.float32(-0.5), "high": np.float32(0.7)}),
    "convolution": ([node("Conv", "x k b", "a", pads=[1, 0, 1, 1], strides=[2, 1], group=2),
                     node("Relu", "a", "h")], IMAGE, {"k": floats(4, 1, 3, 3), "b": floats(4)}),
    "pools": ([node("MaxPool", "x", "a", kernel_shape=[2, 2], pads=[0, 1, 1, 0]),
               node("AveragePool", "a", "h", kernel_shape=[3, 2], strides=[2, 1])], IMAGE, {}),
    "norm": ([node("BatchNormalization", "x s t m v", "a"), node("GlobalAveragePool", "a", "h")],
             IMAGE, {"s": floats(2), "t": floats(2), "m": floats(2), "v": np.abs(floats(2)) + 1}),
    "shapes": ([node("Transpose", "x", "a", perm=[0, 2, 3, 1]), node("Reshape", "a to", "b"),
                node("Unsqueeze", "b one", "c"), node("Squeeze", "c one", "d"),
                node("Identity", "d", "e"), node("Concat", "e e", "f", axis=1),
                node("Dropout", "f", "g"), node("ReduceMean", "g", "h", axes=[2], keepdims=0)],
               IMAGE, {"to": ints(0, -1, 4), "one": ints(1)}),
    "sums": ([node("ReduceSum", "x one", "a", keepdims=1), node("Cast", "a", "h", to=1)], (2, 3),
             {"one": ints(1)}),
    "scaler": ([node("Scaler", "x", "a", "ai.onnx.ml", offset=[1.0, 0.0, 2.0],
                     scale=[0.5, 2.0, 1.0]),
                node("Normalizer", "a", "h", "ai.onnx.ml", norm="L1")], (3,), {}),
}  # fmt: skip


def ended(nodes: Any, shape: Any, weights: Any, opset: int = 17) -> bytes:
    """Return the graph with an end as wide as what comes before."""
    bare = graph(nodes, shape, opset, w_end=np.zeros((1, 2), np.float32), **weights)
    inferred = onnx.shape_inference.infer_shapes(onnx.load_from_string(bare))
    known = {one.name: one for one in inferred.graph.value_info}
    width = int(np.prod(shape))  # of operators that tell no shape, which keep it
    if "flat" in known:
        width = known["flat"].type.tensor_type.shape.dim[1].dim_value
    return graph(nodes, shape, opset, w_end=floats(width, 2), **weights)


def ready(name: str) -> Any:
    nodes, shape, weights = GRAPHS[name]
    return ended(nodes, shape, weights, 20 if name == "gelu" else 17), shape


@pytest.mark.parametrize("name", GRAPHS)
def test_scores_are_the_same_and_the_gradient_is_that_of_finite_differences(name: str) -> None:
    model, shape = ready(name)
    plain = OnnxPredictor(model)
    found = differentiable(model, plain)
    assert found is not None
    assert found.difference <= SAME * 10
    x = RNG.normal(0, 1, (3, *shape)).astype(np.float32)
    slopes = np.array([[1.0, -0.5]] * 3)
    answer = found.loss_gradient(x, lambda scores: ((scores * slopes).sum(axis=1), slopes))
    assert np.allclose(answer.scores, plain.predict(x), atol=1e-4)
    step = 1e-2
    for place in np.ndindex(*shape):
        up, down = x.copy(), x.copy()
        up[(slice(None), *place)] += step
        down[(slice(None), *place)] -= step
        change = ((plain.predict(up) - plain.predict(down)) * slopes).sum(axis=1) / (2 * step)
        given = answer.gradient[(slice(None), *place)]
        # A kink within the step makes a difference that is no gradient: few records have one.
        assert np.median(np.abs(change - given)) < 0.02


def test_a_linear_classifier_of_scikit_learn_has_its_gradient() -> None:
    to_onnx = pytest.importorskip("skl2onnx", reason="it converts the model").to_onnx
    linear = pytest.importorskip("sklearn.linear_model")
    x = RNG.normal(0, 1, (90, 3)).astype(np.float32)
    for y in ((x[:, 0] > 0).astype(int), np.digitize(x[:, 0], [-0.5, 0.5])):
        fitted = linear.LogisticRegression().fit(x, y)
        model = to_onnx(fitted, x[:1]).SerializeToString()
        found = differentiable(model, OnnxPredictor(model))
        assert found is not None
        assert np.allclose(found.predict(x), fitted.predict_proba(x), atol=1e-5)


def test_every_listed_operator_is_in_a_test() -> None:
    tested = {one.op_type for nodes, _, _ in GRAPHS.values() for one in nodes}
    tested |= {"Flatten", "MatMul", "LinearClassifier", "ZipMap"}  # in every one; in the next
    assert OPERATORS.keys() - tested == set()


@pytest.mark.parametrize(
    ("nodes", "weights"),
    [
        ([node("Sign", "x", "h")], {}),
        ([node("Cast", "x", "a", to=6), node("Cast", "a", "h", to=1)], {}),
        ([node("AveragePool", "x", "h", kernel_shape=[2, 2], pads=[1, 1, 0, 0])], {}),
        ([node("MaxPool", "x", "h", kernel_shape=[2, 2], auto_pad="SAME_UPPER")], {}),
    ],
    ids=["unknown", "rounded", "uncounted padding", "padding by itself"],
)
def test_a_graph_that_is_not_understood_has_no_gradient(nodes: Any, weights: Any) -> None:
    model = ended(nodes, IMAGE, weights)
    assert differentiable(model, OnnxPredictor(model)) is None


def test_scores_that_differ_are_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = ready("dense")
    monkeypatch.setitem(OPERATORS, "Relu", lambda _, x: x.relu() * 1.001)
    assert differentiable(model, OnnxPredictor(model)) is None

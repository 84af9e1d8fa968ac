"""ONNX graphs of known operators, differentiated by torch.

ONNX Runtime answers; torch only tells how the answer changes. A graph is walked node by node; one
that has another operator, or whose scores differ between the two, has no gradient: it is attacked
by scores.

Source: ONNX operator schemas, ai.onnx up to opset 23 and ai.onnx.ml up to 5.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from vallum.attack.predictor import Loss, LossGradient, OnnxPredictor, Records, Scores
from vallum.base import GateError

if TYPE_CHECKING:
    import torch

SAME = 1e-5
"""How much scores may differ, as a share of the largest; ADR 80."""
_PROBES = 8
_FLOAT = 1  # TensorProto.FLOAT
_UNKNOWN = "the operator is not known"

Attributes = Mapping[str, Any]
Operator = Callable[..., Any]
_Node = tuple[Operator, list[str], str, Attributes]


class DifferentiableOnnx:
    """An ONNX classifier whose gradient torch computes.

    Attributes:
        shape: Of a record.
        difference: Largest difference of the two runtimes' scores on random records.
    """

    def __init__(self, plain: OnnxPredictor, graph: "_Graph", difference: float) -> None:
        self._plain, self._graph = plain, graph
        self.shape, self.difference = plain.shape, difference

    def predict(self, x: Records) -> Scores:
        """Return scores, (n, c), as ONNX Runtime answers."""
        return self._plain.predict(x)

    def loss_gradient(self, x: Records, loss: Loss) -> LossGradient:
        """Return scores, values of `loss` and its gradient."""
        import torch

        given = torch.from_numpy(np.array(x, dtype=np.float32)).requires_grad_()
        with torch.enable_grad():
            answer = self._graph.run(given)
            if not answer.requires_grad:
                raise GateError("no gradient reaches the model's input", code="attack.gradient")
            scores: Scores = answer.detach().numpy().astype(np.float64)
            values, slopes = loss(scores)
            weights = torch.from_numpy(slopes.astype(np.float32))
            (gradient,) = torch.autograd.grad(answer, given, weights)
        return LossGradient(scores, values, gradient.numpy())


def differentiable(model: bytes, plain: OnnxPredictor) -> DifferentiableOnnx | None:
    """Return the model with a gradient; nothing where it has none that is its own.

    Args:
        model: The graph, which ONNX Runtime has loaded.
        plain: What it loaded.
    """
    shape = tuple(one for one in plain.shape if one is not None)
    if len(shape) != len(plain.shape):
        return None
    try:
        import onnx
        import torch

        graph = _Graph.of(onnx.load_from_string(model), plain.output)
        torch.set_num_threads(1)
        rng = np.random.default_rng(0)
        drawn = [rng.random((_PROBES, *shape)), rng.standard_normal((_PROBES, *shape))]
        x = np.concatenate(drawn).astype(np.float32)
        wanted = plain.predict(x)
        with torch.no_grad():
            given = graph.run(torch.from_numpy(x)).numpy().astype(np.float64)
    except Exception:  # noqa: BLE001 - a graph is anybody's: what does not work has no gradient
        return None
    if given.shape != wanted.shape or not np.isfinite(given).all():
        return None
    difference = float(np.abs(given - wanted).max())
    if difference > SAME * max(1.0, float(np.abs(wanted).max())):
        return None
    return DifferentiableOnnx(plain, graph, difference)


class _Graph:
    """The nodes that scores depend on, in order, as functions of torch."""

    def __init__(
        self,
        nodes: list[_Node],
        constants: dict[str, "torch.Tensor"],
        taken: str,
        output: str,
    ) -> None:
        self._nodes, self._constants = nodes, constants
        self._input, self._output = taken, output

    @classmethod
    def of(cls, model: Any, output: str) -> "_Graph":  # noqa: ANN401 - onnx is untyped
        """Read a graph.

        Raises:
            KeyError: An operator is not known.
        """
        from onnx import helper, numpy_helper

        wanted = _needed(model.graph, output)
        unknown = {node.op_type for node, _ in wanted} - OPERATORS.keys() - {"Constant"}
        if unknown:  # before torch is imported, which takes seconds
            raise KeyError(_UNKNOWN)
        import torch

        graph = model.graph
        constants = {
            one.name: torch.from_numpy(np.array(numpy_helper.to_array(one)))
            for one in graph.initializer
        }
        nodes: list[_Node] = []
        for node, made in wanted:
            attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
            if node.op_type == "Constant":
                value = numpy_helper.to_array(attributes["value"])
                constants[made] = torch.from_numpy(np.array(value))
            else:
                nodes.append((OPERATORS[node.op_type], list(node.input), made, attributes))
        taken = next(one.name for one in graph.input if one.name not in constants)
        return cls(nodes, constants, taken, output)

    def run(self, x: "torch.Tensor") -> "torch.Tensor":
        """Return the scores of records."""
        known: dict[str, Any] = {**self._constants, self._input: x, "": None}
        for operator, inputs, output, attributes in self._nodes:
            known[output] = operator(attributes, *(known[name] for name in inputs))
        answer: torch.Tensor = known[self._output]
        return answer


def _needed(graph: Any, output: str) -> list[tuple[Any, str]]:  # noqa: ANN401 - onnx is untyped
    """Return the nodes that `output` depends on, in order, and what each makes.

    Raises:
        KeyError: One makes something beside it that is needed, too.
    """
    needed, found = {output}, []
    for node in reversed(graph.node):
        made = [one for one in node.output if one in needed]
        if not made:
            continue
        # `LinearClassifier` answers labels first, and scores second.
        if len(made) > 1 or made[0] != node.output[node.op_type == "LinearClassifier"]:
            raise KeyError(_UNKNOWN)
        found.append((node, made[0]))
        needed |= set(node.input)
    return found[::-1]


# -- operators ----------------------------------------------------------------------------------
# Each takes the node's attributes and its inputs. What is not listed has no gradient.


def _torch() -> Any:  # noqa: ANN401 - torch is skipped by the type checker
    import torch

    return torch


def _axes(attributes: Attributes, given: Any) -> list[int]:  # noqa: ANN401
    """Return axes: an input since opset 13, an attribute before."""
    found = attributes.get("axes", []) if given is None else given.tolist()
    return [int(one) for one in found]


def _gemm(at: Attributes, a: Any, b: Any, c: Any = None) -> Any:  # noqa: ANN401
    a = a.transpose(0, 1) if at.get("transA", 0) else a
    b = b.transpose(0, 1) if at.get("transB", 0) else b
    out = at.get("alpha", 1.0) * (a @ b)
    return out if c is None else out + at.get("beta", 1.0) * c


def _reshape(at: Attributes, x: Any, shape: Any) -> Any:  # noqa: ANN401
    wanted = [int(one) for one in shape.tolist()]
    if 0 in wanted and at.get("allowzero", 0):
        raise ValueError(_UNKNOWN)
    return x.reshape([x.shape[place] if one == 0 else one for place, one in enumerate(wanted)])


def _clip(at: Attributes, x: Any, low: Any = None, high: Any = None) -> Any:  # noqa: ANN401
    low = at.get("min", -np.inf) if low is None else float(low)
    high = at.get("max", np.inf) if high is None else float(high)
    return x.clamp(low, high)


def _cast(at: Attributes, x: Any) -> Any:  # noqa: ANN401
    if at["to"] != _FLOAT or not x.is_floating_point():
        raise ValueError(_UNKNOWN)
    return x.float()


def _padded(at: Attributes, x: Any, value: float) -> Any:  # noqa: ANN401
    """Pad the last dimensions as ONNX says it: all beginnings, then all ends."""
    if at.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID") or at.get("ceil_mode", 0):
        raise ValueError(_UNKNOWN)
    pads = list(at.get("pads", []))
    half = len(pads) // 2
    sides = [side for place in reversed(range(half)) for side in (pads[place], pads[half + place])]
    return _torch().nn.functional.pad(x, sides, value=value) if any(sides) else x


def _windows(x: Any) -> int:  # noqa: ANN401
    count: int = x.ndim - 2
    if count not in {1, 2, 3}:
        raise ValueError(_UNKNOWN)
    return count


def _conv(at: Attributes, x: Any, w: Any, b: Any = None) -> Any:  # noqa: ANN401
    run = getattr(_torch().nn.functional, f"conv{_windows(x)}d")
    return run(
        _padded(at, x, 0.0), w, b, stride=at.get("strides", 1), dilation=at.get("dilations", 1),
        groups=at.get("group", 1),
    )  # fmt: skip


def _max_pool(at: Attributes, x: Any) -> Any:  # noqa: ANN401
    run = getattr(_torch().nn.functional, f"max_pool{_windows(x)}d")
    return run(
        _padded(at, x, -np.inf), at["kernel_shape"], stride=at.get("strides", 1),
        dilation=at.get("dilations", 1),
    )  # fmt: skip


def _average_pool(at: Attributes, x: Any) -> Any:  # noqa: ANN401
    if any(at.get("pads", [])) and not at.get("count_include_pad", 0):
        raise ValueError(_UNKNOWN)
    run = getattr(_torch().nn.functional, f"avg_pool{_windows(x)}d")
    return run(_padded(at, x, 0.0), at["kernel_shape"], stride=at.get("strides", 1))


def _batch_norm(at: Attributes, x: Any, *more: Any) -> Any:  # noqa: ANN401
    scale, shift, mean, variance = more
    if at.get("training_mode", 0):
        raise ValueError(_UNKNOWN)
    return _torch().nn.functional.batch_norm(
        x, mean, variance, scale, shift, training=False, eps=at.get("epsilon", 1e-5)
    )


def _mean(at: Attributes, x: Any, axes: Any = None) -> Any:  # noqa: ANN401
    return x.mean(dim=_axes(at, axes) or list(range(x.ndim)), keepdim=bool(at.get("keepdims", 1)))


def _sum(at: Attributes, x: Any, axes: Any = None) -> Any:  # noqa: ANN401
    return x.sum(dim=_axes(at, axes) or list(range(x.ndim)), keepdim=bool(at.get("keepdims", 1)))


def _squeeze(at: Attributes, x: Any, axes: Any = None) -> Any:  # noqa: ANN401
    return x.squeeze(tuple(_axes(at, axes)))


def _unsqueeze(at: Attributes, x: Any, axes: Any = None) -> Any:  # noqa: ANN401
    for axis in sorted(_axes(at, axes)):
        x = x.unsqueeze(axis)
    return x


def _scaler(at: Attributes, x: Any) -> Any:  # noqa: ANN401
    torch = _torch()
    return (x - torch.tensor(at["offset"])) * torch.tensor(at["scale"])


def _linear(at: Attributes, x: Any) -> Any:  # noqa: ANN401
    torch = _torch()
    weights = torch.tensor(at["coefficients"]).reshape(-1, x.shape[1])
    out = x @ weights.transpose(0, 1) + torch.tensor(at.get("intercepts", [0.0] * len(weights)))
    match at.get("post_transform", b"NONE"):
        case b"NONE":
            return out
        case b"LOGISTIC":
            return out.sigmoid()
        case b"SOFTMAX":
            return out.softmax(1)
    raise ValueError(_UNKNOWN)


def _normalizer(at: Attributes, x: Any) -> Any:  # noqa: ANN401
    if at.get("norm", b"MAX") != b"L1":
        raise ValueError(_UNKNOWN)
    return x / x.abs().sum(dim=1, keepdim=True)


OPERATORS: dict[str, Operator] = {
    "Abs": lambda _, x: x.abs(),
    "Add": lambda _, a, b: a + b,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda at, *parts: _torch().cat(parts, dim=at["axis"]),
    "Conv": _conv,
    "Div": lambda _, a, b: a / b,
    "Dropout": lambda _, x, *__: x,
    "Elu": lambda at, x: _torch().nn.functional.elu(x, at.get("alpha", 1.0)),
    "Exp": lambda _, x: x.exp(),
    "Flatten": lambda at, x: x.flatten(1) if at.get("axis", 1) == 1 else None,
    "Gelu": lambda at, x: _torch().nn.functional.gelu(
        x, approximate=at.get("approximate", b"none").decode()
    ),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda _, x: x.mean(dim=tuple(range(2, x.ndim)), keepdim=True),
    "Identity": lambda _, x: x,
    "LeakyRelu": lambda at, x: _torch().nn.functional.leaky_relu(x, at.get("alpha", 0.01)),
    "LinearClassifier": _linear,
    "Log": lambda _, x: x.log(),
    "LogSoftmax": lambda at, x: x.log_softmax(at.get("axis", -1)),
    "MatMul": lambda _, a, b: a @ b,
    "MaxPool": _max_pool,
    "Mul": lambda _, a, b: a * b,
    "Neg": lambda _, x: -x,
    "Normalizer": _normalizer,
    "Pow": lambda _, a, b: a**b,
    "ReduceMean": _mean,
    "ReduceSum": _sum,
    "Relu": lambda _, x: x.relu(),
    "Reshape": _reshape,
    "Scaler": _scaler,
    "Sigmoid": lambda _, x: x.sigmoid(),
    "Softmax": lambda at, x: x.softmax(at.get("axis", -1)),
    "Sqrt": lambda _, x: x.sqrt(),
    "Squeeze": _squeeze,
    "Sub": lambda _, a, b: a - b,
    "Tanh": lambda _, x: x.tanh(),
    "Transpose": lambda at, x: x.permute(at.get("perm", tuple(reversed(range(x.ndim))))),
    "Unsqueeze": _unsqueeze,
    "ZipMap": lambda _, x: x,
}

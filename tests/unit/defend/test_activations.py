"""Activations: poisoned rows stand out where the model sees them."""

from typing import Any

import numpy as np
import pytest
from backdoored import CLASSES, records, trained

from vallum.attack import GENERATORS, pack_rows
from vallum.attack.predictor import activate_onnx
from vallum.base import InputError
from vallum.defend import detect_poisoning, hidden_activations

torch = pytest.importorskip("torch", reason="the models are torch modules")


@pytest.fixture(scope="module")
def backdoored() -> Any:
    x, y = records()
    made = GENERATORS["badnets"](x, y, rate=0.08, rng=np.random.default_rng(3))
    return made, trained(made.x, made.y)


def test_poisoned_rows_are_found_where_the_model_sees_them(backdoored: Any) -> None:
    made, module = backdoored
    seen = hidden_activations(module, made.x[:, None])
    assert seen.shape == (600, 32)
    found = detect_poisoning(seen, made.y)
    assert found.flagged[made.mask].mean() > 0.9
    assert found.flagged[~made.mask].mean() < 0.02
    x, y = records()
    assert not detect_poisoning(hidden_activations(trained(x, y), x[:, None]), y).suspicious


def graph(module: Any, shape: list[Any]) -> bytes:
    """Return a network of two linear layers as ONNX."""
    onnx = pytest.importorskip("onnx", reason="the graph is written with it")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    weights = {name: one.detach().numpy() for name, one in module.named_parameters()}
    made = helper.make_graph(
        [
            helper.make_node("Flatten", ["x"], ["f"]),
            helper.make_node("Gemm", ["f", "1.weight", "1.bias"], ["g"], transB=1),
            helper.make_node("Relu", ["g"], ["h"]),
            helper.make_node("Gemm", ["h", "3.weight", "3.bias"], ["scores"], transB=1),
        ],
        "network",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, [None, CLASSES])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(made, opset_imports=opsets, ir_version=9).SerializeToString())


def test_an_onnx_network_tells_the_same_of_rows_in_its_own_shape(backdoored: Any) -> None:
    made, module = backdoored
    rows = made.x.reshape(len(made.x), -1).astype(np.float32)
    wanted = hidden_activations(module, made.x[:, None])
    for shape in ([None, 1, 8, 8], [None, 64], [50, 1, 8, 8]):
        told = activate_onnx(pack_rows(graph(module, shape), rows))
        assert np.allclose(told.scores(), wanted, atol=1e-5)
        assert told.classes == 32
    with pytest.raises(InputError, match="takes 64 features, the data has 63"):
        activate_onnx(pack_rows(graph(module, [None, 1, 8, 8]), rows[:, :63]))
    with pytest.raises(InputError, match="another form"):
        activate_onnx(b"no payload")


def test_a_layer_that_is_not_there_is_refused() -> None:
    x, _ = records(count=40)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 4))
    with pytest.raises(InputError, match="no layer `nothing`"):
        hidden_activations(module, x[:, None], layer="nothing")

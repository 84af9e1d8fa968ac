import msgspec
import pytest
from onnx import TensorProto, helper
from running import small_model

from vallum.scan.gate import scan_files
from vallum.scan.interface import MAX_VALUES, onnx_interface
from vallum.schema import ModelInterface, ModelValue


def model(*operators: str, names: tuple[str, ...] = ("x",), domain: str = "ai.onnx.ml") -> bytes:
    inputs = [helper.make_tensor_value_info(one, TensorProto.INT64, ["rows", 3]) for one in names]
    nodes = [
        helper.make_node(one, [names[0]], [f"y{at}"], domain=domain)
        for at, one in enumerate(operators)
    ]
    maps = helper.make_map_type_proto(
        TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    )
    outputs = [helper.make_value_info("y0", helper.make_sequence_type_proto(maps))]
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    made = helper.make_model(graph, producer_name="a program")
    return bytes(made.SerializeToString())


def test_inputs_outputs_and_task_are_what_the_file_declares() -> None:
    assert onnx_interface(model("Scaler", "LinearClassifier")) == ModelInterface(
        task="classification",
        producer="a program",
        inputs=(ModelValue(name="x", type="tensor(int64)", shape=("rows", "3")),),
        outputs=(ModelValue(name="y0", type="other"),),
    )
    shown = onnx_interface(small_model())
    assert shown is not None
    assert [one.shape for one in shown.inputs] == [("?", "4")], "weights are no inputs"


@pytest.mark.parametrize(
    ("operators", "domain", "task"),
    [
        (("TreeEnsembleRegressor",), "ai.onnx.ml", "regression"),
        (("LinearClassifier", "LinearRegressor"), "ai.onnx.ml", ""),
        (("LinearClassifier",), "com.example", ""),
        (("Scaler",), "ai.onnx.ml", ""),
    ],
)
def test_a_task_is_named_where_the_operators_agree(
    operators: tuple[str, ...], domain: str, task: str
) -> None:
    shown = onnx_interface(model(*operators, domain=domain))
    assert shown is not None
    assert shown.task == task


def test_names_cannot_act_on_a_terminal() -> None:
    shown = onnx_interface(model("Scaler", names=("\x1b[2Jx",)))
    assert shown is not None
    assert shown.inputs[0].name == "\\x1b[2Jx"


def test_an_interface_that_is_too_large_is_left_out_whole() -> None:
    assert onnx_interface(model("Scaler", names=tuple(map(str, range(MAX_VALUES))))) is None
    assert onnx_interface(model("Scaler", names=("n" * 300,))) is None


def test_the_gate_tells_it_of_the_one_graph_of_a_model_that_passed() -> None:
    def told(**files: bytes) -> ModelInterface | None:
        return scan_files(msgspec.msgpack.encode(files)).interface

    good = small_model()
    assert told(a=good) == onnx_interface(good)
    assert told(a=good, b=good) is None
    assert told(a=good, b=b"cos\nsystem\n(S'id'\ntR.") is None

from pathlib import Path

import msgspec
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from running import small_model

from vallum.scan import ScanVerdict
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


def test_tensors_beside_a_graph_are_refused_with_the_way_to_make_one_file(tmp_path: Path) -> None:
    weight = helper.make_tensor("w", TensorProto.FLOAT, [64], bytes(range(256)), raw=True)
    values = [helper.make_tensor_value_info(one, TensorProto.FLOAT, [64]) for one in "xy"]
    node = helper.make_node("Add", ["x", "w"], ["y"])
    made = helper.make_model(helper.make_graph([node], "g", values[:1], values[1:], [weight]))
    made.ir_version, made.opset_import[0].version = 10, 20
    path, one = tmp_path / "m.onnx", tmp_path / "one.onnx"
    onnx.save_model(made, path, save_as_external_data=True, location="w", size_threshold=8)
    with pytest.raises(Exception, match=r"external|initializer|model_path"):
        onnxruntime.InferenceSession(path.read_bytes())  # why it is refused
    files = {"a/m.onnx": path.read_bytes(), "a/w": (tmp_path / "w").read_bytes()}
    report = scan_files(msgspec.msgpack.encode(files)).scan
    assert report.exit_code == 1
    for file in report.files:
        assert [f.message for f in file.findings if "save_as_external_data=False" in f.message]
    onnx.save_model(onnx.load(path), one, save_as_external_data=False)  # what it says
    served = scan_files(msgspec.msgpack.encode({"a/m.onnx": one.read_bytes()})).scan
    assert served.verdict is ScanVerdict.CLEAN

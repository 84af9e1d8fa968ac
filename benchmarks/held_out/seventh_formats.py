"""Round 7, F01 to F04 and F06: formats that carry code hooks or file operations."""

import io
import json
import struct
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

from held_out.seventh_asm import CANARY, CMD, PY, Loaded, call, pickled
from held_out.seventh_containers import EVIL, make, torch_parts, zipped
from held_out.seventh_zip import archive


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number: int, value: bytes | str | int) -> bytes:
    """Return a protobuf field."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def lambda_code() -> list[Any]:
    import base64
    import marshal  # noqa: TID251 - written only

    code = compile(
        f"lambda x: ({PY.removesuffix('.close()')}, x)[1]", "<lambda>", "eval"
    ).co_consts[0]
    return [base64.b64encode(marshal.dumps(code)).decode(), None, None]


def keras_config(layers: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    start = {
        "module": "keras.layers",
        "class_name": "InputLayer",
        "config": {"batch_shape": [None, 3], "dtype": "float32", "name": "i"},
        "registered_name": None,
    }
    return {
        "module": "keras",
        "class_name": "Sequential",
        "registered_name": None,
        "config": {"name": "s", "trainable": True, "dtype": "float32", "layers": [start, *layers]},
        **more,
    }


def dotkeras(config: dict[str, Any], **more: bytes) -> bytes:
    import h5py

    box = io.BytesIO()
    with h5py.File(box, "w") as file:
        file.create_group("layers")
    meta = {"keras_version": "3.15.1", "date_saved": "2026-01-01@00:00:00"}
    return zipped(
        {
            "metadata.json": json.dumps(meta).encode(),
            "config.json": json.dumps(config).encode(),
            "model.weights.h5": box.getvalue(),
            **{f"assets/{k}": v for k, v in more.items()},
        },
        0,
    )


def h5(config: dict[str, Any], **attributes: str) -> bytes:
    import h5py

    box = io.BytesIO()
    with h5py.File(box, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = "2.15.0"
        file.attrs["backend"] = "tensorflow"
        for key, value in attributes.items():
            file.attrs[key] = value
        weights = file.create_group("model_weights")
        weights.attrs["layer_names"] = [b"i", b"l"]
        weights.attrs["backend"] = "tensorflow"
        for name in ("i", "l"):
            weights.create_group(name).attrs["weight_names"] = []
    return box.getvalue()


def keras() -> Iterator[Loaded]:
    code = lambda_code()
    function = {
        "class_name": "__lambda__",
        "config": {"code": code[0], "defaults": None, "closure": None},
    }

    valued = {
        "module": "builtins",
        "class_name": "__lambda__",
        "config": {"value": code},
        "registered_name": "function",
    }

    def layer(
        kind: str,
        config: dict[str, Any],
        module: str = "keras.layers",
        registered: str | None = None,
    ) -> dict[str, Any]:
        return {
            "module": module,
            "class_name": kind,
            "config": {"name": "l", **config},
            "registered_name": registered,
        }

    lam = layer("Lambda", {"function": function, "trainable": True, "dtype": "float32"})
    dense = layer("Dense", {"units": 2, "activation": "relu"})
    oss = {
        "module": "os",
        "class_name": "function",
        "config": "system",
        "registered_name": "system",
    }
    table: dict[str, tuple[dict[str, Any], str]] = {
        "lambda_new": (keras_config([lam]), "keras"),
        "lambda_after_dense": (
            keras_config([dense, layer("Lambda", {"name": "m", "function": function})]),
            "keras",
        ),
        "lambda_in_distributed": (
            keras_config(
                [
                    layer("RepeatVector", {"name": "r", "n": 2}),
                    layer("TimeDistributed", {"layer": lam}),
                ]
            ),
            "keras",
        ),
        "activation_of_os": (
            keras_config([layer("Dense", {"units": 2, "activation": oss})]),
            "construction",
        ),
        "initializer_of_popen": (
            keras_config(
                [
                    layer(
                        "Dense",
                        {
                            "units": 1,
                            "kernel_initializer": {
                                "module": "subprocess",
                                "class_name": "Popen",
                                "config": {"args": ["touch", CANARY]},
                                "registered_name": None,
                            },
                        },
                    )
                ]
            ),
            "construction",
        ),
        "regularizer_lambda": (
            keras_config([layer("Dense", {"units": 1, "kernel_regularizer": valued})]),
            "construction",
        ),
        "registered_package": (
            keras_config([layer("Thing", {}, "mypkg.layers", "mypkg>Thing")]),
            "construction",
        ),
        "module_builtins_eval": (
            keras_config([layer("eval", {"source": PY}, "builtins", "eval")]),
            "construction",
        ),
        "loss_lambda": (
            keras_config(
                [dense], compile_config={"optimizer": "adam", "loss": valued, "metrics": None}
            ),
            "construction",
        ),
        "metric_module": (
            keras_config(
                [dense],
                compile_config={
                    "loss": "mse",
                    "metrics": [
                        {
                            "module": "runpy",
                            "class_name": "function",
                            "config": "run_path",
                            "registered_name": "run_path",
                        }
                    ],
                },
            ),
            "construction",
        ),
        "nested_sequential": (keras_config([keras_config([lam])]), "keras"),
        "rnn_cell_custom": (
            keras_config([layer("RNN", {"cell": layer("Cell", {}, "cells", "Custom>Cell")})]),
            "construction",
        ),
        "vectorizer_callable": (
            keras_config([layer("TextVectorization", {"standardize": valued, "max_tokens": 5})]),
            "construction",
        ),
        "torch_module_wrapper": (
            keras_config(
                [
                    layer(
                        "TorchModuleWrapper",
                        {"module": b64encode(archive(torch_parts(EVIL))).decode()},
                        "keras.src.utils.torch_utils",
                    )
                ]
            ),
            "keras",
        ),
        "get_file_hook": (
            keras_config(
                [layer("get_file", {"fname": "x", "origin": "http://127.0.0.1:9/x"}, "keras.utils")]
            ),
            "construction",
        ),
    }
    for at, (name, (config, loader)) in enumerate(table.items()):
        yield make("F01_keras", f"{name}.keras", dotkeras(config), loader)
        if at % 4 == 1:
            yield make(
                "F01_keras", f"{name}.json", json.dumps(config, indent=1).encode(), "construction"
            )
    old = {
        "class_name": "Sequential",
        "config": {
            "name": "s",
            "layers": [
                {
                    "class_name": "InputLayer",
                    "config": {"batch_input_shape": [None, 3], "dtype": "float32", "name": "i"},
                },
                {
                    "class_name": "Lambda",
                    "config": {
                        "name": "l",
                        "trainable": True,
                        "function": code,
                        "function_type": "lambda",
                        "module": "__main__",
                        "output_shape": None,
                        "output_shape_type": "raw",
                        "output_shape_module": None,
                        "arguments": {},
                    },
                },
            ],
        },
    }
    yield make("F01_keras", "legacy_lambda.h5", h5(old), "keras")
    named = json.loads(json.dumps(old))
    named["config"]["layers"][1]["config"] |= {
        "function": "system",
        "function_type": "function",
        "module": "os",
    }
    yield make("F01_keras", "legacy_function_name.hdf5", h5(named), "construction")
    loss = {
        "loss": valued,
        "metrics": [],
        "optimizer_config": {"class_name": "Adam", "config": {}},
    }
    fine = {
        "class_name": "Sequential",
        "config": {"name": "s", "layers": old["config"]["layers"][:1]},
    }
    yield make(
        "F01_keras",
        "training_config_lambda.h5",
        h5(fine, training_config=json.dumps(loss)),
        "construction",
    )
    yield make(
        "F01_keras",
        "pickle_asset.keras",
        dotkeras(keras_config([dense]), **{"vocab.pkl": pickled(call("builtins:exec", PY))}),
        "unpack",
    )


def saved_model(op: str, place: str, *attributes: tuple[str, bytes]) -> bytes:
    node = (
        field(1, "n")
        + field(2, op)
        + b"".join(field(5, field(1, k) + field(2, v)) for k, v in attributes)
    )
    const = (
        field(1, "c")
        + field(2, "Const")
        + field(5, field(1, "value") + field(2, field(8, field(1, 7) + field(8, CANARY))))
    )
    if place == "graph":
        graph = field(1, const) + field(1, node)
    else:
        signature = field(1, f"__inference_{place}_7")
        function = field(1, signature) + field(3, const) + field(3, node)
        graph = field(1, field(1, "p") + field(2, "StatefulPartitionedCall")) + field(
            2, field(1, function)
        )
    meta = field(1, field(4, "serve") + field(5, "2.15.0")) + field(2, graph)
    return field(1, 1) + field(2, meta)


def saved_models() -> Iterator[Loaded]:
    table = [
        ("WriteFile", "while_body"),
        ("ReadFile", "call"),
        ("PyFuncStateless", "graph"),
        ("DatasetToTFRecord", "graph"),
        ("SaveDatasetV2", "call"),
        ("CreateSummaryFileWriter", "graph"),
        ("DebugIdentityV3", "call"),
        ("SaveSlices", "graph"),
        ("EagerPyFunc", "cond_true"),
        ("ImmutableConst", "cond_true"),
        ("WriteGraphSummary", "call"),
        ("MatchingFiles", "map_fn"),
    ]
    urls = ("debug_urls", field(1, field(2, f"file:///{CANARY}")))
    for op, place in table:
        data = saved_model(op, place, *([urls] if op.startswith("Debug") else []))
        files = {
            f"{op}_{place}/saved_model.pb": data,
            f"{op}_{place}/variables/variables.index": b"",
        }
        yield Loaded("F02_tf_savedmodel", f"{op}_{place}", files)
    hidden = {
        "assets_model/saved_model.pb": saved_model("Identity", "call"),
        "assets_model/assets.extra/run.pkl": pickled(call("os:system", CMD)),
    }
    yield Loaded("F02_tf_savedmodel", "pickle_in_assets", hidden, "unpack")


def torchscripts() -> Iterator[Loaded]:
    import torch

    class Written(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            torch.save(x, "vallum-canary-7")
            return x

    class Mapped(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.from_file("vallum-canary-7", shared=True, size=4)

    class Branch(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Written()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.numel() > 0:
                return self.inner(x)
            return x

    for name, module in (
        ("save_in_forward", Written()),
        ("mapped_file", Mapped()),
        ("save_in_branch", Branch()),
    ):
        box = io.BytesIO()
        torch.jit.save(torch.jit.script(module), box)
        yield make("F03_torchscript", f"{name}.pt", box.getvalue(), "torchscript")


def onnx_files() -> Iterator[Loaded]:
    from onnx import TensorProto, helper

    def model(node: Any, initializers: Any = (), domain: str = "", functions: Any = ()) -> Any:
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
        sets = [helper.make_opsetid("", 17)] + ([helper.make_opsetid(domain, 1)] if domain else [])
        return helper.make_model(
            helper.make_graph([node], "g", [x], [y], initializers),
            opset_imports=sets,
            functions=functions,
        )

    def outside(location: str, **more: str) -> Any:
        tensor = TensorProto(name="w", data_type=1, dims=[2], data_location=TensorProto.EXTERNAL)
        for key, value in {"location": location, **more}.items():
            tensor.external_data.add(key=key, value=value)
        return tensor

    add = helper.make_node("Add", ["x", "w"], ["y"])
    for name, location in (
        ("absolute", "/etc/passwd"),
        ("parent", "data/../../../secrets.bin"),
        ("windows", "C:\\Windows\\win.ini"),
        ("scheme", "file:///etc/hosts"),
        ("sneaky", "./x/.././../w.bin"),
    ):
        yield make(
            "F04_onnx",
            f"outside_{name}.onnx",
            model(add, [outside(location, offset="0", length="8")]).SerializeToString(),
            "construction",
        )
    constant = helper.make_node("Constant", [], ["y"], value=outside("../../.ssh/id_rsa"))
    yield make(
        "F04_onnx", "outside_attribute.onnx", model(constant).SerializeToString(), "construction"
    )
    for domain, op in (
        ("ai.onnx.contrib", "PyOp"),
        ("com.evil.ops", "Run"),
        ("org.pytorch.aten", "ATen"),
    ):
        node = helper.make_node(op, ["x"], ["y"], domain=domain, code=PY)
        yield make(
            "F04_onnx",
            f"{op.lower()}_custom.onnx",
            model(node, domain=domain).SerializeToString(),
            "construction",
        )
    inner = helper.make_graph(
        [helper.make_node("Shell", ["x"], ["y"], domain="evil")],
        "b",
        [],
        [helper.make_tensor_value_info("y", 1, [2])],
    )
    branch = helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)
    yield make(
        "F04_onnx",
        "custom_in_branch.onnx",
        model(branch, domain="evil").SerializeToString(),
        "construction",
    )


def safetensors() -> Iterator[Loaded]:
    evil = pickled(call("builtins:exec", PY))

    def data(header: str | bytes, body: bytes, length: int | None = None) -> bytes:
        raw = header.encode() if isinstance(header, str) else header
        return struct.pack("<Q", len(raw) if length is None else length) + raw + body

    one = '{"dtype":"F32","shape":[2],"data_offsets":[%d,%d]}'
    table = {
        "duplicate_key": data('{"w":' + one % (0, 8) + ',"w":' + one % (8, 16) + "}", bytes(16)),
        "reversed_offsets": data('{"w":' + one % (8, 0) + "}", bytes(8)),
        "pickle_before_data": data(
            '{"w":' + one % (len(evil), len(evil) + 8) + "}", evil + bytes(8)
        ),
        "length_beyond": data('{"w":' + one % (0, 8) + "}", bytes(8), 1 << 40),
        "unknown_dtype": data('{"w":{"dtype":"O","shape":[1],"data_offsets":[0,8]}}', bytes(8)),
        "overflow_shape": data(
            '{"w":{"dtype":"F32","shape":[4294967296,4294967296,2],"data_offsets":[0,8]}}', bytes(8)
        ),
        "deep_header": data(
            '{"__metadata__":' + '{"a":[' * 60_000 + "]}" * 60_000 + ',"w":' + one % (0, 8) + "}",
            bytes(8),
        ),
        "trailing_zip": data('{"w":' + one % (0, 8) + "}", bytes(8) + zipped({"m.pkl": evil})),
    }
    for name, blob in table.items():
        yield make("F06_safetensors", f"{name}.safetensors", blob, "construction")

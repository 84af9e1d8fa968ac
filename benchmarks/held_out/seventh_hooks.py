"""Round 7, F07 and F08: layouts that name code of their own, and formats beside the usual ones."""

import io
import json
import struct
import zipfile
from collections.abc import Iterator
from typing import Any

from held_out.seventh_asm import CMD, PY, Loaded, call, pickled
from held_out.seventh_containers import make, zipped


def code_hooks() -> Iterator[Loaded]:
    script = f"import os\nos.system('{CMD}')\nclass X: pass\n".encode()

    def doc(value: Any) -> bytes:
        return json.dumps(value, indent=2).encode()

    table: dict[str, dict[str, bytes]] = {
        "remote_auto_map": {
            "config.json": doc(
                {"model_type": "bert", "auto_map": {"AutoModel": "evil/repo--modeling_x.X"}}
            )
        },
        "processor_auto_map": {
            "preprocessor_config.json": doc({"auto_map": {"AutoProcessor": "processing.X"}}),
            "processing.py": script,
        },
        "tokenizer_auto_map": {
            "tokenizer_config.json": doc(
                {"tokenizer_class": "X", "auto_map": {"AutoTokenizer": ["tok.X", None]}}
            ),
            "tok.py": script,
        },
        "custom_pipeline": {
            "config.json": doc(
                {
                    "model_type": "gpt2",
                    "custom_pipelines": {"p": {"impl": "pipe.X", "pt": ["AutoModel"]}},
                }
            ),
            "pipe.py": script,
        },
        "diffusers_custom": {
            "model_index.json": doc({"_class_name": ["pipeline", "X"], "unet": ["my_unet", "X"]}),
            "pipeline.py": script,
            "unet/my_unet.py": script,
        },
        "sentence_module": {
            "modules.json": doc([{"idx": 0, "name": "0", "path": "", "type": "custom_st.X"}]),
            "custom_st.py": script,
        },
        "mlflow_code": {
            "MLmodel": f"flavors:\n  python_function:\n    loader_module: evil_loader\n    code: code\n    env: conda.yaml\nmodel_uuid: {'0' * 32}\n".encode(),
            "code/evil_loader.py": script,
        },
        "yaml_apply": {
            "config.yaml": f"model: !!python/object/apply:os.system\n- {CMD}\n".encode()
        },
        "hydra_target": {
            "model_config.yaml": f"model:\n  _target_: os.system\n  command: {CMD}\n".encode()
        },
        "generate_hook": {
            "config.json": doc({"model_type": "llama"}),
            "custom_generate/generate.py": script,
            "custom_generate/requirements.txt": b"evil-package\n",
        },
        "requirements_url": {
            "requirements.txt": b"--extra-index-url http://127.0.0.1:9/simple\nevil @ http://127.0.0.1:9/evil.zip\n",
            "setup.py": script,
        },
    }
    for name, files in table.items():
        yield Loaded("F07_hf_code", name, files)


def others() -> Iterator[Loaded]:
    evil = pickled(call("builtins:exec", PY))
    schema = {
        "__class__": "FunctionTransformer",
        "__module__": "sklearn.preprocessing._function_transformer",
        "__loader__": "ObjectNode",
        "__id__": 1,
        "content": {
            "__class__": "dict",
            "__module__": "builtins",
            "__loader__": "DictNode",
            "__id__": 2,
            "key_types": {
                "__class__": "list",
                "__module__": "builtins",
                "__loader__": "ListNode",
                "__id__": 3,
                "content": [],
            },
            "content": {
                "func": {
                    "__class__": "function",
                    "__module__": "builtins",
                    "__loader__": "FunctionNode",
                    "__id__": 4,
                    "content": {"module_path": "os", "function": "system"},
                }
            },
        },
        "protocol": 2,
        "_skops_version": "0.16.0",
    }
    method = {
        **schema,
        "__class__": "method",
        "__module__": "builtins",
        "__loader__": "MethodNode",
        "content": {
            "func": "system",
            "obj": {
                "__class__": "Popen",
                "__module__": "subprocess",
                "__loader__": "ObjectNode",
                "__id__": 7,
                "content": None,
            },
        },
    }
    for name, tree in (("function_node", schema), ("method_node", method)):
        yield make(
            "F08_other",
            f"{name}.skops",
            zipped({"schema.json": json.dumps(tree).encode()}),
            "construction",
        )
    yield make(
        "F08_other",
        "pickle_member.skops",
        zipped({"schema.json": json.dumps({**schema, "content": {}}).encode(), "1.npy": evil}),
        "construction",
    )
    xxe = '<?xml version="1.0"?><!DOCTYPE PMML [<!ENTITY % x SYSTEM "http://127.0.0.1:9/x.dtd"> %x;]><PMML version="4.4" xmlns="http://www.dmg.org/PMML-4_4"><Header/></PMML>'
    yield make("F08_other", "parameter_entity.pmml", xxe.encode(), "construction")
    laughs = (
        '<?xml version="1.0"?><!DOCTYPE p [<!ENTITY a "aaaaaaaaaa">'
        + "".join(f'<!ENTITY {c} "{("&" + chr(ord(c) - 1) + ";") * 10}">' for c in "bcdefghi")
        + "]><PMML>&i;</PMML>"
    )
    yield make("F08_other", "laughs.pmml", laughs.encode(), "construction")
    net = '<net name="m" version="11"><layers><layer id="0" name="e" type="Evil" version="extension"><data library="./libevil.so"/></layer></layers><edges/></net>'
    yield make("F08_other", "extension_layer.xml", net.encode(), "construction")
    yield make(
        "F08_other", "shell_script.bin", b"#!/bin/sh\n" + CMD.encode() + b"\n", "construction"
    )
    yield make(
        "F08_other",
        "windows.model",
        b"MZ"
        + bytes(58)
        + struct.pack("<I", 64)
        + b"PE\0\0"
        + struct.pack("<2H", 0x8664, 1)
        + bytes(300),
        "construction",
    )
    mach = struct.pack("<4I", 0xFEEDFACF, 0x01000007, 3, 6) + bytes(200)
    yield make("F08_other", "mach_o.dylib", mach, "construction")
    java = b"\xac\xed\0\x05sr\0\x32org.apache.commons.collections.map.LazyMap" + bytes(60)
    yield make("F08_other", "java_serialized.model", java, "construction")
    rds = b"RDX3\nX\n" + struct.pack(">3I", 3, 0x040301, 0x030500) + bytes(40)
    yield make("F08_other", "workspace.RData", rds, "construction")
    box = io.BytesIO()
    with zipfile.ZipFile(box, "w") as jar:
        jar.writestr(
            zipfile.ZipInfo("META-INF/MANIFEST.MF"), "Manifest-Version: 1.0\nMain-Class: Evil\n"
        )
        jar.writestr(zipfile.ZipInfo("Evil.class"), b"\xca\xfe\xba\xbe\0\0\0\x34" + bytes(80))
    yield make("F08_other", "pojo.jar", box.getvalue(), "construction")

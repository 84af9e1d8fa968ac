"""Calls that matter in code beside a model and that bandit does not report.

Names are followed through imports and their aliases, not through variables: this finds what is
written plainly, and how a name is hidden is a finding by itself.
"""

import ast
from collections.abc import Iterator

from vallum.scan.report import Findings

_UNSAFE, _SHELL, _OUT = "AML.T0011.000", "AML.T0050", "AML.T0025"
# Name of the function: id of the finding, reason, technique.
_CALLS = {
    **dict.fromkeys(
        ("joblib.load", "cloudpickle.load", "cloudpickle.loads", "pickle5.load", "pickle5.loads",
         "sklearn.externals.joblib.load", "torch.jit.load", "skops.io.loads_unsafe"),
        ("code.unsafe-load", "runs whatever code the file asks for", _UNSAFE),
    ),
    **dict.fromkeys(
        ("ctypes.CDLL", "ctypes.cdll.LoadLibrary", "ctypes.PyDLL", "cffi.FFI",
         "torch.ops.load_library", "torch.classes.load_library", "tensorflow.load_op_library",
         "onnxruntime.SessionOptions.register_custom_ops_library"),
        ("code.native", "loads machine code", _UNSAFE),
    ),
    **dict.fromkeys(
        ("socket.socket", "socket.create_connection", "http.client.HTTPConnection",
         "http.client.HTTPSConnection", "smtplib.SMTP", "smtplib.SMTP_SSL", "ftplib.FTP"),
        ("code.network", "opens a connection to another machine", _OUT),
    ),
    **dict.fromkeys(
        ("pty.spawn", "os.fork", "os.forkpty", "os.dup2", "asyncio.create_subprocess_exec",
         "asyncio.create_subprocess_shell", "multiprocessing.popen_fork.Popen"),
        ("code.process", "starts or redirects a process", _SHELL),
    ),
    **dict.fromkeys(
        ("__import__", "importlib.import_module", "builtins.__import__", "builtins.eval",
         "builtins.exec", "compile", "builtins.compile", "types.FunctionType", "types.CodeType",
         "importlib.util.spec_from_file_location", "imp.load_source", "runpy.run_path",
         "runpy.run_module", "code.InteractiveInterpreter", "sys.settrace"),
        ("code.hidden", "runs or imports what is not written here", "AML.T0011"),
    ),
}  # fmt: skip
_KEYWORDS = {
    ("trust_remote_code", True), ("allow_pickle", True), ("safe_mode", False),
    ("weights_only", False), ("allow_dangerous_deserialization", True), ("unsafe", True),
}  # fmt: skip
_HIDERS = frozenset({"os", "sys", "subprocess", "builtins", "__builtins__", "posix", "nt"})


def scan_calls(tree: ast.AST, findings: Findings, member: str = "") -> None:
    """Report such calls of a module that parsed and is within bounds."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {
                one.asname or one.name.split(".")[0]: one.name if one.asname else
                one.name.split(".")[0] for one in node.names
            }  # fmt: skip
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            _judge(node, names, findings, member)


def _judge(node: ast.Call, names: dict[str, str], findings: Findings, member: str) -> None:
    for id_, message, atlas in _found(node, names):
        findings.add(id_, message, severity="medium", member=member, line=node.lineno, atlas=atlas)


def _found(node: ast.Call, names: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    called = _dotted(node.func, names)
    literal = bool(node.args) and isinstance(node.args[0], ast.Constant)
    known = _CALLS.get(called)
    if known is not None and not (called == "importlib.import_module" and literal):
        yield known[0], f"`{called}` {known[1]}", known[2]
    if called == "getattr" and len(node.args) > 1:
        of = _dotted(node.args[0], names)
        if of in _HIDERS and not isinstance(node.args[1], ast.Constant):
            text = f"the name that is taken from `{of}` is put together when it runs"
            yield "code.hidden", text, "AML.T0011"
    for keyword in node.keywords:
        value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
        if isinstance(value, bool) and (keyword.arg, value) in _KEYWORDS:
            text = f"`{keyword.arg}={value}` lets a file that is loaded run code"
            yield "code.unsafe-load", text, _UNSAFE


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    """Return the dotted name of an expression as its module calls it; empty if it has none."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    parts.append(names.get(node.id, node.id))
    return ".".join(reversed(parts))

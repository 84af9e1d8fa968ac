"""Python source: what bandit finds, what it hides in literals and comments, and nothing executed.

bandit runs in this process on a syntax tree. Comments that switch it off (`# nosec`) are not
heard: who wrote the code does not judge it. One of its tests that breaks is a finding.
"""

import ast
import functools
import io
import logging
import tokenize
import warnings
from typing import Any

from vallum.base.bounds import MIB
from vallum.scan.code.calls import scan_calls
from vallum.scan.code.secrets import Text
from vallum.scan.report import Findings

MAX_SOURCE_BYTES = 2 * MIB
MAX_NODES = 200_000
MAX_TREE_DEPTH = 200
_EXECUTION, _UNSECURED = "AML.T0011", "AML.T0055"
_SEVERITY = {"HIGH": "high", "MEDIUM": "medium", "LOW": "low"}
_LESS = {"high": "medium", "medium": "low", "low": "low"}
# These say the password itself in their message.
_PASSWORDS = {
    "B105": "a password is written into the code",
    "B106": "a password is written into a call",
    "B107": "a password is the default of an argument",
}
# bandit forgives a process whose command is a constant; scoring a model needs none.
_PROCESSES = frozenset({"B602", "B603", "B604", "B605", "B606", "B607", "B609"})
_LITERALS = frozenset(
    kind
    for kind in (tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", None))
    if kind is not None
)
_SKIPPED = frozenset({tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT})


def scan_python(source: bytes, findings: Findings, member: str = "") -> None:
    """Report what bandit finds in a module.

    bandit's severity counts one step less where it is not sure, and a process that is started
    counts as `medium` at least. Calls that only matter in scoring code, which bandit
    does not know, are `calls`. Source that
    does not parse as the Python that runs this, or is beyond a bound, is a finding.

    Args:
        source: As in the file; a declared encoding is heard.
        findings: What is found is added here, with its line.
        member: Where the source lies in its file.
    """
    findings.code_capable = True
    if len(source) > MAX_SOURCE_BYTES:
        _add(findings, "code.too-large", f"more than {MAX_SOURCE_BYTES} bytes of source", member)
        return
    try:
        with warnings.catch_warnings():  # of the parser, about the source
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
            fault = _beyond(tree)
            if fault:
                _add(findings, "code.too-complex", fault, member)
                return
            _ask_bandit(source, findings, member)
            scan_calls(tree, findings, member)
    except (SyntaxError, ValueError) as error:
        line = error.lineno if isinstance(error, SyntaxError) else None
        text = "the source does not parse as Python, so it was not checked"
        _add(findings, "code.syntax", text, member, line)
    except (RecursionError, MemoryError):
        _add(findings, "code.too-complex", "the source is nested beyond what is read", member)


def python_texts(source: bytes, member: str = "") -> list[Text]:
    """Return literals and comments, each literal with the name that it is given to."""
    found: list[Text] = []
    before: list[str] = []
    try:
        for token in tokenize.tokenize(io.BytesIO(source).readline):
            if token.type in _LITERALS:
                name = ""
                if len(before) > 1 and before[-1] in ("=", ":", "=="):
                    name = before[-2].strip("'\"")
                found.append(Text(token.string, member, token.start[0], name))
            if token.type not in _SKIPPED:
                before = [*before[-1:], token.string]
    except (tokenize.TokenError, SyntaxError, UnicodeDecodeError):
        pass  # `scan_python` says that it does not parse; what came before it was searched
    return found


def _beyond(tree: ast.AST) -> str:
    """Say which bound a syntax tree exceeds: bandit is recursive, and looks up and down."""
    level: list[ast.AST] = [tree]
    nodes = depth = 0
    while level:
        nodes += len(level)
        depth += 1
        if nodes > MAX_NODES:
            return f"more than {MAX_NODES} nodes of syntax"
        if depth > MAX_TREE_DEPTH:
            return f"syntax nested more than {MAX_TREE_DEPTH} deep"
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return ""


def _ask_bandit(source: bytes, findings: Findings, member: str) -> None:
    made = _bandit()
    metrics = made.metrics()
    metrics.begin("source")
    visitor = made.visitor(
        "source.py", io.BytesIO(source), made.ast(), made.tests, False, {}, metrics  # noqa: FBT003 - bandit takes it by position
    )  # fmt: skip
    visitor.tester.debug = True  # raise where a test breaks, do not go on with the others
    try:
        visitor.process(source)
    except Exception as error:  # noqa: BLE001 - a test of bandit that breaks may raise anything
        text = f"bandit broke on the source ({type(error).__name__}), so it was not fully checked"
        _add(findings, "code.unchecked", text, member)
    for issue in visitor.tester.results:
        severity = _SEVERITY.get(issue.severity, "high")
        if issue.confidence == "LOW":
            severity = _LESS[severity]
        if issue.test_id in _PROCESSES and severity == "low":
            severity = "medium"
        said = " ".join(issue.text.split()).split(". ")[0].rstrip(".")
        findings.add(
            f"bandit.{issue.test_id}",
            _PASSWORDS.get(issue.test_id, f"bandit says: {said}"),
            severity=severity,
            member=member,
            line=issue.lineno,
            atlas=_UNSECURED if issue.test_id in _PASSWORDS else _EXECUTION,
        )


class _Bandit:
    """What is taken of bandit, loaded once."""

    def __init__(self) -> None:
        format_warning = warnings.formatwarning
        from bandit.core.config import BanditConfig
        from bandit.core.meta_ast import BanditMetaAst
        from bandit.core.metrics import Metrics
        from bandit.core.node_visitor import BanditNodeVisitor
        from bandit.core.test_set import BanditTestSet

        warnings.formatwarning = format_warning  # bandit puts its own in place for everybody
        logging.getLogger("bandit").setLevel(logging.CRITICAL)  # what it logs, it also raises
        self.visitor: Any = BanditNodeVisitor
        self.ast: Any = BanditMetaAst
        self.metrics: Any = Metrics
        self.tests: Any = BanditTestSet(BanditConfig())


@functools.cache
def _bandit() -> _Bandit:
    return _Bandit()


def _add(findings: Findings, id_: str, message: str, member: str, line: int | None = None) -> None:
    findings.add(id_, message, severity="medium", member=member, line=line, atlas=_EXECUTION)

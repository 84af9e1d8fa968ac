"""skops files: the types in `schema.json` are held against the same allow-list as pickles."""

import re
from typing import Any

from vallum.scan.allowed import is_allowed, is_dangerous
from vallum.scan.report import Findings

_ATLAS = "AML.T0011.000"
_NODES = frozenset(
    """ObjectNode DictNode DefaultDictNode OrderedDictNode ListNode TupleNode SetNode JsonNode
    NdArrayNode MaskedArrayNode SparseMatrixNode DTypeNode TypeNode SliceNode BytesNode
    BytearrayNode CachedNode RandomStateNode RandomGeneratorNode ReduceNode TreeNode SGDNode
    LossNode FunctionNode DateNode""".split()  # noqa: SIM905 - a table
)  # fmt: skip
_MEMBER = re.compile(r"^[\w-][\w.-]{0,200}$")  # what skops writes: an id and an ending


def is_skops_schema(value: object) -> bool:
    """Whether a parsed JSON value is a skops schema."""
    return isinstance(value, dict) and "__loader__" in value


def scan_skops_schema(value: Any, findings: Findings, member: str = "") -> None:  # noqa: ANN401 - parsed JSON
    """Walk a parsed schema; its depth is bounded by the JSON reader.

    Source: skops `io/_audit.py` and `io/_utils.py`.
    """
    findings.code_capable = True
    if isinstance(value, list):
        for item in value:
            scan_skops_schema(item, findings, member)
    if not isinstance(value, dict):
        return
    if "__loader__" in value and value["__loader__"] not in _NODES:
        _add(findings, "skops.node", f"the node `{str(value['__loader__'])[:80]}`", member)
    if "module_path" in value and "function" in value:  # of a function, as older versions wrote it
        _judge(value["module_path"], value["function"], findings, member)
    if value.get("__loader__") == "FunctionNode" or "__class__" in value or "__module__" in value:
        _judge(value.get("__module__"), value.get("__class__"), findings, member)
    if value.get("__loader__") == "TypeNode" and isinstance(value.get("content"), dict):
        named = value["content"]
        _judge(named.get("__module__"), named.get("__class__"), findings, member)
    place = value.get("file")
    if isinstance(place, str) and not _MEMBER.match(place):
        _add(findings, "skops.file", f"an array lies in `{place[:80]}`", member)
    for item in value.values():
        scan_skops_schema(item, findings, member)


def _judge(module: object, name: object, findings: Findings, member: str) -> None:
    if not isinstance(module, str) or not isinstance(name, str):
        _add(findings, "skops.name", "a type without a name", member)
    elif not is_allowed(module, name):
        severity = "critical" if is_dangerous(module, name) else "high"
        shown = f"{module}.{name}"[:160]
        _add(findings, "skops.untrusted-type", f"the type `{shown}`", member, severity)


def _add(findings: Findings, id_: str, message: str, member: str, severity: str = "high") -> None:
    findings.add(id_, message, severity=severity, member=member, atlas=_ATLAS)

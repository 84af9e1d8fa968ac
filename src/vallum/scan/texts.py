"""Texts: JSON, YAML, tables and plain text that no loader takes for code.

Whatever a text is to one reader, it is judged as what others read too: a graph, a drawing or a
table of trees may be YAML as well, and settings may have comments that JSON has not.
"""

import re
from typing import Any

from vallum.base.bounds import MIB, JsonBounds
from vallum.base.errors import LimitExceededError, VallumError
from vallum.formats import every_yaml, load_json, release
from vallum.scan.boosters import is_lightgbm, lightgbm_fault, xgboost_tree_fault
from vallum.scan.characters import WINDOW, ascii_of, windows
from vallum.scan.drawings import svg_fault
from vallum.scan.graphs import scan_graph_text
from vallum.scan.keras_config import is_keras_config, scan_keras_config
from vallum.scan.large_json import FIELDS, walk_json
from vallum.scan.plain_xml import is_xml, xml_fault
from vallum.scan.pmml import pmml_fault
from vallum.scan.records import json_lines
from vallum.scan.report import Findings
from vallum.scan.settings import (
    CODE_KEY,
    ESCAPED_KEY,
    hold_pickles,
    judge_key,
    judge_object,
    keys_of,
    names_code,
    scan_document,
)
from vallum.scan.skops_schema import is_skops_schema, scan_skops_schema
from vallum.scan.template import MAX_TEMPLATE, scan_template

_ATLAS = "AML.T0011.000"
_CODE = (
    (re.compile(rb"^[ \t\f\v\r]*+#!", re.MULTILINE), "a script's first line"),
    (re.compile(rb"^\xef\xbb\xbf\s*(from|import|def|class)\s"), "source code"),
    (re.compile(rb"^[ \t\f]*#[^\n]*coding[:=][ \t]*[\w-]", re.MULTILINE), "source's encoding"),
    (
        re.compile(
            rb"\b(Invoke-Expression|Invoke-WebRequest|DownloadString|os\.execute)\b|"
            rb"\bpowershell(\.exe)?\s+-|^[ \t\f\v\r]*+@echo\s+o|"
            rb"\b(curl|wget)\b[^\n]{0,400}\|\s*(sudo\s+)?(ba|z|da)?sh\b",
            re.IGNORECASE | re.MULTILINE,
        ),
        "commands of a shell",
    ),
    (re.compile(rb"(^|[,;\t])\"?[=@+-]\w{0,20}\|'", re.MULTILINE), "a formula that runs a program"),
    (
        re.compile(rb"^[ \t\f\v\r]*+\[(options\.)?entry_points\]", re.MULTILINE),
        "entry points of a package",
    ),
    (
        re.compile(
            rb"^[^\s#*.]*+[*.]\S*+[ \t]++(?:[\w=-]{1,40}[ \t]+){0,8}filter=(?!lfs\b)[A-Za-z]",
            re.MULTILINE,
        ),
        "a program that git filters files with",
    ),
    (re.compile(rb"<\?php\b|<%[\s=!@#]?[^\n]{0,400}%>"), "a program in a page"),
    (
        # "Run the model" begins a line of prose; lower case counts below a base image only.
        re.compile(
            rb"^[ \t\f\v\r]*+(RUN|ENTRYPOINT)\s++\S|"
            rb"^[ \t\f\v\r]*+(?i:from)\s++[\w./:@-]++[ \t\f\v\r]*+\n\s*+(?i:run)\s++\S",
            re.MULTILINE,
        ),
        "an instruction of a container's recipe",
    ),
    (
        re.compile(
            rb"^[ \t\f\v\r]*+(from\s++[\w.]++\s++import\s*+[(*\w\\]|"
            rb"import\s++[\w.*]++(\s++as\s++\w++)?[ \t\f\r]*+([,;#\\]|$)|"
            rb"import\s[^\n]{0,200}\bfrom\s*['\"])",
            re.MULTILINE,
        ),
        "an import statement",
    ),
    (
        re.compile(
            rb"^[ \t\f\v\r]*+(async\s++)?(def|class)\s++[^\W\d]\w*+\s*+[(:\[]", re.MULTILINE
        ),
        "a definition",
    ),
    (
        re.compile(
            rb"\b(eval|exec|compile|__import__|getattr|popen)\s*\((?!\s*\)|\w*\)\s*=(?!=))|"
            rb"\bsystem\(|\.\s*system\s*\(|\bsystem\s*\(\s*\w{0,2}['\"]"
        ),
        "a call",
    ),
    (
        re.compile(rb"\blambda\b(?!:[ \t]*-?[\d.]+(e-?\d+)?[ \t\r]*$)[^\n]{0,80}:", re.MULTILINE),
        "a lambda",
    ),
    (
        re.compile(rb"!!?python|!<tag:|!![A-Za-z]\w*[.:/]\w|^%TAG[ \t]", re.MULTILINE),
        "a YAML tag that makes objects",
    ),
    (re.compile(rb"\bpython_param\s*:?\s*\{"), "a layer that is imported"),
    (
        re.compile(rb"^[ \t]*+\[(?:handler|formatter)_\w+\]", re.MULTILINE),
        "settings of a log, which are evaluated",
    ),
    (
        re.compile(
            rb"<\?(php|=)|<script|<!ENTITY|<!DOCTYPE(?:(?!<!DOCTYPE)[^>\[])*+\[|"
            rb"<[a-z][a-z0-9]{0,20}\s[^<>\n]{0,400}\bon[a-z]{3,20}\s*=\s*[\"'\w]",
            re.IGNORECASE,
        ),
        "markup that can act",
    ),
    (
        re.compile(rb"__(?!pycache__|(?:init|main)__\.py\b)[a-z]+__"),
        "a name of Python's internals",
    ),
)
_OTHER = (b"%PDF-", b"%!PS", b"{\\rtf", b"RDX2\n", b"RDX3\n", b"RDA2\n", b"RDA3\n")
_MAX_BUILT = 2 * MIB  # of JSON that is built as a whole: a hundred times that in memory at worst
_MAX_TREE = 16 * MIB  # of one tree of numbers
_MAX_YAML = 1 * MIB
_YAML = JsonBounds(
    max_depth=64, max_nodes=100_000
)  # PyYAML needs a kilobyte a node, and a second for 14,000
_BOM = b"\xef\xbb\xbf"
_FIRST = re.compile(rb"(?:\xef\xbb\xbf)?+(?:\s|//[^\n]*+(?:\n|\Z)|/\*(?:[^*]|\*(?!/))*+\*/)*+")
# What is not closed goes to the end: so no part is looked at twice.
_COMMENTS = re.compile(
    rb'("(?:[^"\\]|\\.)*+(?:"|\\?\Z))|//[^\n]*+|/\*(?:[^*]|\*(?!/))*+(?:\*/|\*?\Z)', re.DOTALL
)
_TRAILING = re.compile(rb'("(?:[^"\\]|\\.)*+(?:"|\\?\Z))|,(?=\s*+[}\]])', re.DOTALL)
_OPEN = re.compile(rb"\{[{%]")
_ANCHOR, _ALIAS = re.compile(rb"&\w[^\n]*+\n"), re.compile(rb"[\[:,-] *+\*\w")
_GRAPH = re.compile(rb"\b(node|node_def|meta_graphs|graph_def)\s*+:?(?:\s|#[^\n]*+\n)*+[{<]")
# What a reader of YAML makes of markup is nothing, unless its first line is a key or it has parts.
_ALSO_YAML = re.compile(rb"\A\s*+[^\n]{0,1100}?:(?:[ \t\r\n]|\Z)|^(?:---|\.\.\.|%)", re.MULTILINE)
_PMML = re.compile(rb"^\s*(<\?xml[^>]{0,200}\?>\s*)?<PMML[\s>]")
_SVG = re.compile(
    rb"\s*+(?:<\?xml[^>]{0,200}\?>\s*+)?(?:<!DOCTYPE\s+svg\b[^>\[]{0,400}>\s*+|"
    rb"<!--(?:[^-]|-(?!->)){0,2000}-->\s*+){0,8}<svg[\s>]"
)
_XML_BEGIN = re.compile(rb"^\s*<\?xml")
_XML = re.compile(rb"^\s*<\?xml|^\s*<[A-Za-z!]")


def scan_text(data: bytes | memoryview, findings: Findings, member: str = "") -> str:
    """Judge UTF-8 bytes without control characters; return the format found."""
    data = memoryview(data)
    first = _FIRST.match(data)
    head = b"" if first is None else bytes(data[first.end() : first.end() + 2])
    if first is not None and head[:1] in (b"{", b"[") and head not in (b"{{", b"{%", b"{#"):
        found = _scan_json(data[first.end() :], findings, member)
        found = found or _scan_json_lines(data, findings, member)
        if found:
            return found
    if bytes(data[:5]).startswith(_OTHER):
        findings.code_capable = True
        _add(findings, "file.unknown-format", "a document of another program", member)
        return "text"
    if any(map(hold_pickles, windows(data))):
        _add(findings, "text.pickle", "the text holds a pickle in base64 that can run code", member)
    if any(_OPEN.search(window) for window in windows(data)):
        return _scan_templated(data, findings, member)
    return _scan_plain(data, findings, member)


def _scan_templated(data: memoryview, findings: Findings, member: str) -> str:
    """Judge a text as the template that it is as a whole, and as what else reads it."""
    begun = len(findings.items)
    if len(data) > MAX_TEMPLATE:
        findings.code_capable = True
        findings.add("template.too-large", "the template is above 1 MiB", member=member)
    else:
        scan_template(bytes(data).decode("utf-8"), findings, member)
    as_template = findings.items[begun:]
    kind = _scan_plain(data, findings, member, templated=True)
    # Texts of a YAML document are judged as they are read; with its quotes it need be no template.
    if kind == "yaml" and all(one.id == "template.syntax" for one in as_template):
        del findings.items[begun : begun + len(as_template)]
    return "jinja" if kind == "text" else kind


def _scan_plain(
    data: memoryview, findings: Findings, member: str, *, templated: bool = False
) -> str:
    """Judge a text by what reads it; one with templates may begin with a tag of a prompt."""
    kind = ""
    graph = any(b"node" in one or b"graph" in one for one in windows(data))
    if graph and _GRAPH.search(data) and scan_graph_text(data, findings, member):
        kind = "tensorflow-text"
    elif _PMML.match(data) or _SVG.match(data):
        kind = "pmml" if _PMML.match(data) else "svg"
        if fault := pmml_fault(data) if kind == "pmml" else svg_fault(data):
            _add(findings, f"{kind}.malformed", fault, member)
        if _ALSO_YAML.search(data, 0, WINDOW):
            _scan_yaml(data, findings, member)
        return kind
    elif _XML_BEGIN.match(data) or (_XML.match(data) and (not templated or is_xml(data))):
        if fault := xml_fault(data):
            text = f"markup that is not understood: {fault}"[:200]
            findings.add("text.markup", text, member=member, atlas=_ATLAS)
        else:
            kind = "xml"
    _scan_code(data, findings, member)
    if kind == "xml" and not _ALSO_YAML.search(data, 0, WINDOW):
        return kind
    if not kind and is_lightgbm(data):
        if fault := lightgbm_fault(data):
            _add(findings, "lightgbm.malformed", fault, member)
        return "lightgbm"
    read = _scan_yaml(data, findings, member)
    return kind or read


def _scan_code(data: memoryview, findings: Findings, member: str) -> None:
    """Report the first place of each kind of code, in the letters that Python takes for ASCII's."""
    left = list(_CODE)
    begun = 0
    for window in windows(data):
        spelled = ascii_of(window)
        for pattern, what in tuple(left):
            match = pattern.search(window)
            if match is None and spelled:
                match = pattern.search(spelled)
            if match:
                left.remove((pattern, what))
                findings.code_capable = True
                findings.add(
                    "text.code", f"the text holds {what}", member=member,
                    offset=begun + match.start(), atlas=_ATLAS,
                )  # fmt: skip
        begun += len(window)


def _scan_json(data: memoryview, findings: Findings, member: str) -> str:
    if len(data) > _MAX_BUILT:
        return _scan_large_json(data, findings, member)
    try:
        value = _load_json(bytes(data))
    except VallumError as error:
        if error.code == "format.json.malformed":
            return ""
        findings.add(error.code, error.message, member=member, atlas=_ATLAS)
        return "json"
    if is_skops_schema(value):
        scan_skops_schema(value, findings, member)
        return "skops-schema"
    if is_keras_config(value):
        scan_keras_config(value, findings, member)
        return "keras-config"
    scan_document(value, findings, member)
    return "json"


def _load_json(content: bytes) -> Any:  # noqa: ANN401 - JSON is untyped
    """Parse JSON, or what editors keep as JSON: with comments, and a comma behind the last item."""
    bounds = JsonBounds(max_bytes=_MAX_BUILT, max_depth=128, max_nodes=_MAX_BUILT)
    try:
        return load_json(content, bounds, finite=False)
    except VallumError as error:
        if error.code != "format.json.malformed":
            raise
        plain = _TRAILING.sub(rb"\1", _COMMENTS.sub(lambda found: found.group(1) or b" ", content))
        if plain == content:
            raise
        return load_json(plain, bounds, finite=False)


def _scan_json_lines(data: memoryview, findings: Findings, member: str) -> str:
    """Judge a document a line; empty if a line is none."""
    begun = len(findings.items)
    try:
        for value in json_lines(data):
            known = len(findings.items)
            scan_document(value, findings, member)
            # What a record says under `code` is its text; no settings are written so.
            findings.items[known:] = [f for f in findings.items[known:] if f.message != CODE_KEY]
            release(data)
    except VallumError as error:
        if error.code == "format.json.malformed":
            del findings.items[begun:]
            return ""
        findings.add(error.code, error.message, member=member, atlas=_ATLAS)
    return "json"


def _scan_large_json(data: memoryview, findings: Findings, member: str) -> str:
    keras = False

    def pair(key: str, value: object) -> None:
        judge_key(key, value, findings, member)

    def part(value: object) -> None:
        scan_document(value, findings, member)

    def whole(fields: dict[str, Any], text: memoryview) -> None:
        nonlocal keras
        judge_object(fields, findings, member)
        if "left_children" in fields and (fault := _tree_fault(text)):
            _add(findings, "xgboost.malformed", fault, member)
        keras = keras or is_keras_config(fields)

    try:
        names = walk_json(data, part, pair, whole)
        skops = "__loader__" in names
        if not skops and not keras:
            return "json"
        scan = scan_skops_schema if skops else scan_keras_config

        def node(value: object) -> None:
            scan(value, findings, member)

        def entry(key: str, value: object) -> None:
            if key not in FIELDS:  # they say something together
                node({key: value})

        walk_json(data, node, entry, lambda fields, _: node(fields))
    except VallumError as error:
        if error.code == "format.json.malformed":
            return ""
        findings.add(error.code, error.message, member=member, atlas=_ATLAS)
        return "json"
    return "skops-schema" if skops else "json"


def _tree_fault(text: memoryview) -> str:
    """Return what is wrong with a tree of XGBoost that is not small; empty if nothing is."""
    if len(text) > _MAX_TREE:
        return "a tree that is too large to be followed"
    bounds = JsonBounds(max_bytes=_MAX_TREE, max_depth=8, max_nodes=_MAX_TREE)
    return xgboost_tree_fault(load_json(bytes(text), bounds, finite=False))


def _scan_yaml(data: memoryview, findings: Findings, member: str) -> str:
    """Judge a text as the documents of YAML that it may be, and what none is by its lines."""
    if len(data) > _MAX_YAML:
        if any(names_code(window) or ESCAPED_KEY.search(window) for window in windows(data)):
            text = "a key that names code, in a text that is too large to be parsed"
            _add(findings, "config.too-large", text, member)
        return "text"
    content = bytes(data).replace(_BOM, b"")  # some readers pass over it wherever it stands
    begun = len(findings.items)
    # Some readers take a tab for the space behind a colon.
    for spaced in dict.fromkeys((content, content.replace(b"\t", b" "))):
        known = findings.items[begun:]
        found = _scan_documents(spaced, findings, member)
        findings.items[begun + len(known) :] = [
            one for one in findings.items[begun + len(known) :] if one not in known
        ]
        if found != "malformed":
            return found
    for key in keys_of(content):
        text = f"`{key}` names code, in a text that no parser of settings takes"
        findings.add("text.settings", text, member=member, atlas=_ATLAS)
    return "text"


def _scan_documents(content: bytes, findings: Findings, member: str) -> str:
    """Judge the documents of YAML in a text; `malformed` if they break off, or are none."""
    kind = "text"
    try:
        for value in every_yaml(content, _YAML) if b":" in content else ():
            if isinstance(value, dict | list):
                kind = "yaml"
                scan_document(value, findings, member)
    except VallumError as error:
        if error.code in ("format.yaml.tag", "format.yaml.alias"):
            findings.add(error.code, error.message, member=member, atlas=_ATLAS)
            return "yaml"
        if not isinstance(error, LimitExceededError):
            return "malformed"
        anchor = _ANCHOR.search(content)
        aliased = anchor is not None and _ALIAS.search(content, anchor.end())
        if names_code(content) or ESCAPED_KEY.search(content) or aliased:
            text = "a text that is too large when it is parsed, and names code or has aliases"
            _add(findings, "config.too-large", text, member)
        return "text"
    return kind if kind == "yaml" else "malformed"


def _add(findings: Findings, id_: str, message: str, member: str) -> None:
    findings.add(id_, message, member=member, atlas=_ATLAS)

"""Texts: JSON, YAML, tables and plain text that no loader takes for code."""

import base64
import re
from typing import Any

from vallum.base.bounds import MIB, MODEL, JsonBounds
from vallum.base.errors import LimitExceededError, VallumError
from vallum.formats import load_json, load_yaml, release
from vallum.scan.allowed import is_dangerous
from vallum.scan.boosters import (
    is_lightgbm,
    is_xgboost_tree,
    lightgbm_fault,
    xgboost_tree_fault,
)
from vallum.scan.characters import WINDOW, windows
from vallum.scan.drawings import svg_fault
from vallum.scan.graphs import scan_graph_text
from vallum.scan.keras_config import is_keras_config, scan_keras_config
from vallum.scan.large_json import walk_json
from vallum.scan.pickles import acts_as_pickle, hides_pickle
from vallum.scan.plain_xml import xml_fault
from vallum.scan.pmml import pmml_fault
from vallum.scan.records import json_lines
from vallum.scan.report import Findings
from vallum.scan.skops_schema import is_skops_schema, scan_skops_schema
from vallum.scan.template import MAX_TEMPLATE, is_template, scan_template

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
    (re.compile(rb"!!?python|!<tag:|!![A-Za-z]\w*[.:/]\w"), "a YAML tag that makes objects"),
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
_TARGETS = ("_target_", "_partial_", "auto_map", "auto_mapping", "custom_pipelines")
# What an editor or a package manager runs when the folder is opened or installed.
_RUNS = (
    "initializeCommand", "onCreateCommand", "updateContentCommand", "postCreateCommand",
    "postStartCommand", "postAttachCommand", "preinstall", "postinstall",
)  # fmt: skip
_FILES = ("weight_map", "pickled_model", "model_data", "model_code_path")
_LEAVES = re.compile(r"^[/\\~]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)|^[A-Za-z][\w+.-]*://")
_PEFT_LIBRARY = re.compile(r"^transformers\.models\.(\w+)\.modeling_\1\Z", re.ASCII)
_TARGETS_ALSO = ("custom_pipeline", "custom_generate", "code", "entry_points", "run_command")
_PATHS = ("class_path", "init_class_path")
_SCRIPTS = ("handler", "sagemaker_program", "entry_point", "entrypoint", "program", "script")
_SCRIPT = re.compile(r"\.(py|sh|R|jl|lua|js)(\W|$)")
_NAME = re.compile(r"^[A-Za-z_]\w*$")
_LIBRARIES = frozenset(
    {"diffusers", "transformers", "flax_diffusers", "onnxruntime", "optimum", None}
)
_OFF = (False, None, 0, "", "false", "no", "off", "0", "none")
_BASE64 = re.compile(r"^[\w+/-]{16,}={0,2}\Z", re.ASCII)
_PROTOCOL = re.compile(rb"\x80[\x02-\x05]")
_HEX = re.compile(r"^([0-9a-fA-F]{2}){12,}\Z")
_PICKLED = re.compile(rb"(?<![\w+/=-])gA[I-V][\w+/-]{12,}")  # `PROTO` 2 to 5 in base64
_OTHER = (b"%PDF-", b"%!PS", b"{\\rtf", b"RDX2\n", b"RDX3\n", b"RDA2\n", b"RDA3\n")
_LOADERS = re.compile(r"^mlflow\.[a-z_0-9]+$")
_SENTENCE = re.compile(r"^sentence_transformers\.models\.[A-Za-z]+$")
_DOTTED = re.compile(r"^\w+(\.\w+)+$")
_TRUST = (
    "trust_remote_code", "allow_pickle", "unsafe_deserialization", "use_pickle", "remote_code",
    "use_remote_code", "enable_unsafe_deserialization", "allow_dangerous_deserialization",
)  # fmt: skip
_GUARDS = ("weights_only", "safe_mode")
_CODE_KEY = "`code` names code to import"
_MAX_BUILT = 2 * MIB  # of JSON that is built as a whole: a hundred times that in memory at worst
_MAX_YAML = 1 * MIB
_YAML = JsonBounds(max_nodes=100_000)  # PyYAML needs a kilobyte a node, and a second for 14,000
_FIRST = re.compile(rb"\s*+")
_OPEN = re.compile(rb"\{[{%]")
_WORDS = re.compile(r"^[\w.+\-/ ]{0,200}$")
_YAML_KEYS = re.compile(
    rb"[\"']?\b(%b)\b[\"']?\s*:" % "|".join((*_TARGETS, *_TARGETS_ALSO, *_TRUST)).encode()
)
_ESCAPED_KEY = re.compile(rb'"[^"\n]{0,200}\\[xuU][^"\n]{0,200}"\s*:')
_ANCHOR, _ALIAS = re.compile(rb"&\w[^\n]*+\n"), re.compile(rb"[\[:,-] *+\*\w")
_GRAPH = re.compile(rb"^[ \t]*(node|node_def|meta_graphs)[ \t]*:?[ \t]*[{<]", re.MULTILINE)
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
    if head[:1] in (b"{", b"[") and head not in (b"{{", b"{%", b"{#"):
        found = _scan_json(data, findings, member) or _scan_json_lines(data, findings, member)
        if found:
            return found
    if bytes(data[:5]).startswith(_OTHER):
        findings.code_capable = True
        _add(findings, "file.unknown-format", "a document of another program", member)
        return "text"
    if any(_holds_pickle(m.group().decode()) for w in windows(data) for m in _PICKLED.finditer(w)):
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
    if _GRAPH.search(data, 0, WINDOW) and scan_graph_text(data, findings, member):
        return "tensorflow-text"
    if _PMML.match(data):
        if fault := pmml_fault(data):
            _add(findings, "pmml.malformed", fault, member)
        return "pmml"
    if _SVG.match(data):
        if fault := svg_fault(data):
            _add(findings, "svg.malformed", fault, member)
        return "svg"
    plain = False
    if (_XML_BEGIN if templated else _XML).match(data):
        fault = xml_fault(data)
        plain = not fault
        if fault:
            text = f"markup that is not understood: {fault}"[:200]
            findings.add("text.markup", text, member=member, atlas=_ATLAS)
    _scan_code(data, findings, member)
    if plain:
        return "xml"
    if is_lightgbm(data):
        if fault := lightgbm_fault(data):
            _add(findings, "lightgbm.malformed", fault, member)
        return "lightgbm"
    return _scan_yaml(data, findings, member)


def _scan_code(data: memoryview, findings: Findings, member: str) -> None:
    """Report the first place of each kind of code."""
    left = list(_CODE)
    begun = 0
    for window in windows(data):
        for pattern, what in tuple(left):
            match = pattern.search(window)
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
    bounds = JsonBounds(max_bytes=_MAX_BUILT, max_depth=128, max_nodes=_MAX_BUILT)
    try:
        value = load_json(bytes(data), bounds, finite=False)
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


def _scan_json_lines(data: memoryview, findings: Findings, member: str) -> str:
    """Judge a document a line; empty if a line is none."""
    begun = len(findings.items)
    try:
        for value in json_lines(data):
            scan_document(value, findings, member)
            release(data)
        # What a record says under `code` is its text; no settings are written so.
        findings.items[begun:] = [f for f in findings.items[begun:] if f.message != _CODE_KEY]
    except VallumError as error:
        if error.code == "format.json.malformed":
            del findings.items[begun:]
            return ""
        findings.add(error.code, error.message, member=member, atlas=_ATLAS)
    return "json"


def _scan_large_json(data: memoryview, findings: Findings, member: str) -> str:
    def pair(key: str, value: object) -> None:
        _judge_key(key, value, findings, member)

    def part(value: object) -> None:
        scan_document(value, findings, member)

    def whole(fields: dict[str, Any]) -> None:
        if is_keras_config(fields):
            scan_keras_config(fields, findings, member)

    try:
        names = walk_json(data, part, pair, whole)
        if "__loader__" not in names:
            return "json"

        def node(value: object) -> None:
            scan_skops_schema(value, findings, member)

        walk_json(data, node, lambda _key, _value: None, node)
    except VallumError as error:
        if error.code == "format.json.malformed":
            return ""
        findings.add(error.code, error.message, member=member, atlas=_ATLAS)
        return "json"
    return "skops-schema"


def _scan_yaml(data: memoryview, findings: Findings, member: str) -> str:
    if len(data) > _MAX_YAML:
        if any(_YAML_KEYS.search(window) for window in windows(data)):
            text = "a key that names code, in a text that is too large to be parsed"
            _add(findings, "config.too-large", text, member)
        return "text"
    content = bytes(data)
    if b":" not in content:
        return "text"
    try:
        value = load_yaml(content, _YAML, plain_tags=True, aliases=True)
    except VallumError as error:
        if error.code in ("format.yaml.tag", "format.yaml.alias"):
            findings.add(error.code, error.message, member=member, atlas=_ATLAS)
            return "yaml"
        much = isinstance(error, LimitExceededError)
        anchor = _ANCHOR.search(content)
        aliased = anchor is not None and _ALIAS.search(content, anchor.end())
        if much and (_YAML_KEYS.search(content) or _ESCAPED_KEY.search(content) or aliased):
            text = "a text that is too large when it is parsed, and names code or has aliases"
            _add(findings, "config.too-large", text, member)
        return "text"
    if not isinstance(value, dict | list):
        return "text"
    scan_document(value, findings, member)
    return "yaml"


def scan_document(value: Any, findings: Findings, member: str = "") -> None:  # noqa: ANN401 - parsed JSON or YAML
    """Report the keys by which a loader imports code, and templates in texts.

    Depth is bounded by the reader that made `value`.
    """
    if isinstance(value, list):
        for item in value:
            scan_document(item, findings, member)
    elif isinstance(value, str):
        if is_template(value):
            scan_template(value, findings, member)
        elif _holds_pickle(value):
            _add(findings, "config.pickle", "a text holds a pickle that can run code", member)
    elif isinstance(value, dict):
        _judge_object(value, findings, member)
        if is_xgboost_tree(value) and (fault := xgboost_tree_fault(value)):
            _add(findings, "xgboost.malformed", fault, member)
        for key, item in value.items():
            _judge_key(key, item, findings, member)
            scan_document(item, findings, member)
        if is_keras_config(value):
            scan_keras_config(value, findings, member)


def _judge_object(value: dict[str, Any], findings: Findings, member: str) -> None:
    """Report pairs of keys that together name a class to import."""
    target = value.get("target")
    dotted = isinstance(target, str) and bool(_DOTTED.match(target))
    if dotted and (value.keys() <= {"target", "params"} or _imports(str(target))):
        _add(findings, "config.code", f"`target` names the class `{str(target)[:80]}`", member)
    if "_class_name" in value:
        for key, item in value.items():
            named = isinstance(item, list) and len(item) == 2  # noqa: PLR2004 - library, class
            if not named or not all(one is None or isinstance(one, str) for one in item):
                continue
            if key == "_class_name" or (item[1] is not None and item[0] not in _LIBRARIES):
                text = f"`{key[:80]}` names the class `{item[1]}` of `{item[0]}`"[:200]
                _add(findings, "config.code", text, member)


def _imports(target: str) -> bool:
    """Whether a `target` beside other keys is Python to import, and not NeMo's own classes."""
    module, _, name = target.rpartition(".")
    return is_dangerous(module, name) or (name[:1].isupper() and not target.startswith("nemo."))


def _holds_pickle(text: str) -> bool:
    """Whether a text is a pickle that can run code: as it stands, in base64 or in hexadecimal."""
    data = b""
    try:
        if text[:1] == "\x80" or "\n" in text:
            data = text.encode("latin-1")
        elif _HEX.match(text):
            data = bytes.fromhex(text)
        elif _BASE64.match(text):
            data = base64.b64decode(text + "==", altchars=b"-_" if {"-", "_"} & {*text} else None)
            if _PROTOCOL.match(data):
                return acts_as_pickle(memoryview(data), MODEL)
    except ValueError:
        return False
    return hides_pickle(memoryview(data), MODEL)


def _judge_key(key: str, item: object, findings: Findings, member: str) -> None:
    if isinstance(item, float) or (type(item) is int and key not in _TRUST):
        return  # the number of a token in a vocabulary names nothing
    named = key in _TARGETS or (key in _TARGETS_ALSO and isinstance(item, str | dict))
    if named and item not in (None, {}, "", []) and not _is_peft_mapping(key, item):
        _add(findings, "config.code", f"`{key}` names code to import", member)
    if key in _TRUST and (item.lower() if isinstance(item, str) else item) not in _OFF:
        _add(findings, "config.trust", f"`{key}` is on", member)
    if key in _GUARDS and item is False:
        _add(findings, "config.trust", f"`{key}` is off", member)
    if (key in _RUNS and isinstance(item, str | list | dict)) or (
        key == "runOn" and item == "folderOpen"
    ):
        _add(findings, "config.code", f"`{key}` runs a command", member)
    if key in _FILES and any(_LEAVES.search(one) for one in _names(item)):
        _add(findings, "config.path", f"`{key}` names a file outside its own folder", member)
    if key in _PATHS or key.startswith("py/"):
        _add(findings, "config.code", f"`{key[:80]}` names code to import", member)
    if key in _SCRIPTS and isinstance(item, str) and _SCRIPT.search(item):
        _add(findings, "config.code", f"`{key}` names a program", member)
    if key == "tokenizer_class" and isinstance(item, str) and not _NAME.match(item):
        _add(findings, "config.class", "`tokenizer_class` holds more than a name", member)
    if key == "loader_module" and not (isinstance(item, str) and _LOADERS.match(item)):
        _add(findings, "config.loader", "`loader_module` is none of MLflow's own", member)
    dotted = key == "type" and isinstance(item, str) and bool(_DOTTED.match(item))
    if dotted and not _SENTENCE.match(str(item)):
        _add(findings, "config.type", f"`type` names the class `{str(item)[:80]}`", member)
    if key == "class_name" and isinstance(item, str) and not _WORDS.match(item):
        _add(findings, "config.class", "`class_name` holds more than a name", member)


def _names(item: object) -> list[str]:
    """Return the file names in a value: one, or one for each tensor."""
    values = item.values() if isinstance(item, dict) else (item,)
    return [one for one in values if isinstance(one, str)]


def _is_peft_mapping(key: str, item: object) -> bool:
    """Whether `auto_mapping` names a model class of Transformers itself, as PEFT writes it."""
    if key != "auto_mapping" or not isinstance(item, dict):
        return False
    if item.keys() != {"base_model_class", "parent_library"}:
        return False
    name, library = item["base_model_class"], item["parent_library"]
    texts = isinstance(name, str) and isinstance(library, str)
    return texts and bool(_NAME.match(name) and name[:1].isupper() and _PEFT_LIBRARY.match(library))


def _add(findings: Findings, id_: str, message: str, member: str) -> None:
    findings.add(id_, message, member=member, atlas=_ATLAS)

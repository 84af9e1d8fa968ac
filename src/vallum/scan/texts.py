"""Texts: JSON, YAML, tables and plain text that no loader takes for code."""

import re
from typing import Any

from vallum.base.bounds import JSON, JsonBounds
from vallum.base.errors import VallumError
from vallum.formats import load_json, load_yaml
from vallum.scan.keras_config import is_keras_config, scan_keras_config
from vallum.scan.report import Findings
from vallum.scan.skops_schema import is_skops_schema, scan_skops_schema
from vallum.scan.template import is_template, scan_template

_ATLAS = "AML.T0011.000"
_CODE = (
    (re.compile(rb"^\s*#!", re.MULTILINE), "a script's first line"),
    (re.compile(rb"^\s*(from\s+[\w.]+\s+)?import\s+[\w.*]+", re.MULTILINE), "an import statement"),
    (re.compile(rb"^\s*(async\s+)?(def|class)\s+\w+\s*[(:]", re.MULTILINE), "a definition"),
    (re.compile(rb"\b(eval|exec|compile|__import__|getattr|popen|system)\s*\("), "a call"),
    (re.compile(rb"\blambda\b[^\n]{0,80}:"), "a lambda"),
    (re.compile(rb"!!?python|!<tag:"), "a YAML tag that makes objects"),
    (
        re.compile(rb"<\?(php|=)|<script|<!ENTITY|<!DOCTYPE[^>]*\[", re.IGNORECASE),
        "markup that can act",
    ),
    (re.compile(rb"__[a-z]+__"), "a name of Python's internals"),
)
_TARGETS = ("_target_", "_partial_", "auto_map", "auto_mapping", "custom_pipelines")
_TARGETS_ALSO = ("custom_pipeline", "custom_generate", "code", "entry_points", "run_command")
_LOADERS = re.compile(r"^mlflow\.[a-z_0-9]+$")
_SENTENCE = re.compile(r"^sentence_transformers\.models\.[A-Za-z]+$")
_DOTTED = re.compile(r"^\w+(\.\w+)+$")
_TRUST = ("trust_remote_code", "allow_pickle", "unsafe_deserialization", "use_pickle")
_WORDS = re.compile(r"^[\w.+\-/ ]{0,200}$")
_XML = re.compile(rb"^\s*<\?xml|^\s*<[A-Za-z!]")


def scan_text(data: bytes, findings: Findings, member: str = "") -> str:
    """Judge UTF-8 bytes without control characters; return the format found."""
    stripped = data.lstrip()
    if stripped[:1] in (b"{", b"[") and not stripped.startswith((b"{{", b"{%", b"{#")):
        found = _scan_json(data, findings, member)
        if found:
            return found
    text = data.decode("utf-8")
    if is_template(text):
        scan_template(text, findings, member)
        return "jinja"
    if _XML.match(data):
        findings.add("text.markup", "markup that is not understood", member=member, atlas=_ATLAS)
    for pattern, what in _CODE:
        match = pattern.search(data)
        if match:
            findings.code_capable = True
            findings.add(
                "text.code",
                f"the text holds {what}",
                member=member,
                offset=match.start(),
                atlas=_ATLAS,
            )
    return _scan_yaml(data, findings, member)


def _scan_json(data: bytes, findings: Findings, member: str) -> str:
    bounds = JsonBounds(max_bytes=8 * JSON.max_bytes, max_depth=128, max_nodes=20_000_000)
    try:
        value = load_json(data, bounds)
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


def _scan_yaml(data: bytes, findings: Findings, member: str) -> str:
    if b":" not in data:
        return "text"
    try:
        value = load_yaml(data)
    except VallumError as error:
        if error.code in ("format.yaml.tag", "format.yaml.alias"):
            findings.add(error.code, error.message, member=member, atlas=_ATLAS)
            return "yaml"
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
    elif isinstance(value, dict):
        for key, item in value.items():
            _judge_key(key, item, findings, member)
            scan_document(item, findings, member)
        if is_keras_config(value):
            scan_keras_config(value, findings, member)


def _judge_key(key: str, item: object, findings: Findings, member: str) -> None:
    named = key in _TARGETS or (key in _TARGETS_ALSO and isinstance(item, str | dict))
    if named and item not in (None, {}, "", []):
        _add(findings, "config.code", f"`{key}` names code to import", member)
    if key in _TRUST and item is True:
        _add(findings, "config.trust", f"`{key}` is on", member)
    if key == "loader_module" and not (isinstance(item, str) and _LOADERS.match(item)):
        _add(findings, "config.loader", "`loader_module` is none of MLflow's own", member)
    dotted = key == "type" and isinstance(item, str) and bool(_DOTTED.match(item))
    if dotted and not _SENTENCE.match(str(item)):
        _add(findings, "config.type", f"`type` names the class `{str(item)[:80]}`", member)
    if key == "class_name" and isinstance(item, str) and not _WORDS.match(item):
        _add(findings, "config.class", "`class_name` holds more than a name", member)


def _add(findings: Findings, id_: str, message: str, member: str) -> None:
    findings.add(id_, message, member=member, atlas=_ATLAS)

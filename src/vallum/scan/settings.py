"""Settings: keys by which a loader imports code, trusts it or leaves its folder, and what hides it.

What a parser made of JSON or YAML is walked as a whole. A text that no parser takes is searched for
lines that set such a key: readers differ in what they forgive.
"""

import base64
import re
import sys
from typing import Any

from vallum.base.bounds import MODEL
from vallum.scan.allowed import is_dangerous
from vallum.scan.boosters import is_xgboost_tree, xgboost_tree_fault
from vallum.scan.keras_config import is_keras_config, scan_keras_config
from vallum.scan.pickles import acts_as_pickle, hides_pickle
from vallum.scan.report import Findings
from vallum.scan.template import is_template, scan_template

_ATLAS = "AML.T0011.000"
_TARGETS = (
    "_target_", "_component_", "auto_map", "auto_mapping", "custom_pipelines",
    "custom_imports",
)  # fmt: skip
# What an editor or a package manager runs when the folder is opened or installed.
_RUNS = (
    "initializeCommand", "onCreateCommand", "updateContentCommand", "postCreateCommand",
    "postStartCommand", "postAttachCommand", "preinstall", "postinstall",
)  # fmt: skip
_FILES = ("weight_map", "pickled_model", "model_data", "model_code_path")
_LEAVES = re.compile(r"^[/\\~]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)|^[A-Za-z][\w+.-]*://")
_PEFT_LIBRARY = re.compile(r"^transformers\.models\.(\w+)\.modeling_\1\Z", re.ASCII)
_TARGETS_ALSO = ("custom_pipeline", "custom_generate", "entry_points", "run_command")
_PATHS = ("class_path", "init_class_path")
_SCRIPTS = ("handler", "sagemaker_program", "entry_point", "entrypoint", "program", "script")
_SCRIPT = re.compile(r"\.(py|sh|R|jl|lua|js)(\W|$)")
_NAME = re.compile(r"^[A-Za-z_]\w*$")
_LIBRARIES = frozenset(
    {"diffusers", "transformers", "flax_diffusers", "onnxruntime", "optimum", None}
)
# Modules of diffusers' own pipelines, which it looks up before it imports a library of that name.
_PIPELINES = frozenset(
    """audioldm2 blip_diffusion deepfloyd_if kandinsky kolors latent_diffusion ltx musicldm
    paint_by_example shap_e spectrogram_diffusion stable_audio stable_cascade stable_diffusion
    stable_diffusion_safe unidiffuser wuerstchen""".split()  # noqa: SIM905 - a table
)
_CLASS = re.compile(r"^[A-Z][A-Za-z0-9]{0,80}\Z")
_OFF = (False, None, 0, "", "false", "no", "off", "0", "none")
_BASE64 = re.compile(r"^[\w+/-]{16,}={0,2}\Z", re.ASCII)
_PROTOCOL = re.compile(rb"\x80[\x02-\x05]")
_HEX = re.compile(r"^([0-9a-fA-F]{2}){12,}\Z")
_LOADERS = re.compile(r"^mlflow\.[a-z_0-9]+$")
_SENTENCE = re.compile(
    r"^sentence_transformers(\.[a-z_]+)?\.(models|modules)(\.[a-z_]+)?\.[A-Z][A-Za-z]*\Z", re.ASCII
)
_WORDS_OF = re.compile(
    r"^sentence_transformers(\.[a-z_]+)*\.tokenizer(\.[A-Z][A-Za-z]*){1,2}\Z", re.ASCII
)
# What sentence-transformers imports and calls: a layer of torch's own that computes.
_ACTIVATIONS = (
    "activation_function", "activation_fn", "default_activation_function",
    "sbert_ce_default_activation_function",
)  # fmt: skip
_LAYER = re.compile(r"^torch\.nn(\.[a-z_]+)*\.[A-Za-z]\w*\Z", re.ASCII)
_IMPORTED = {
    **dict.fromkeys(_ACTIVATIONS, _LAYER),
    "()": re.compile(r"^(uvicorn\.logging|pythonjsonlogger(\.\w+)?)\.[A-Z]\w*\Z"),  # `logging`
    "implementation": re.compile(r"^mlserver(_\w+)?\.[A-Z]\w*\Z", re.ASCII),
    **dict.fromkeys(("worker_cls", "worker_extension_cls"), re.compile(r"^vllm(\.\w+)+\Z")),
}  # of a text with a point, what may be imported
_PLUGINS = ("tool_parser_plugin", "reasoning_parser_plugin")  # vLLM
_GLUONTS = re.compile(
    r"^(gluonts(\.torch)?(\.(?!torch\.)[a-z]\w*){0,6}\.[A-Z]\w*|numpy\.[a-z]+\d+|"
    r"pandas\.(Period|Timestamp|Timedelta))\Z",
    re.ASCII,
)
# A path goes on through what a module has imported.
_IMPORTED_THERE = frozenset({*sys.stdlib_module_names, "np", "pd", "mx", "pandas", "numpy"})
# Of `owner/name` in these, transformers fetches a kernel and imports it, whatever it was told.
_KERNELS = (
    "attn_implementation", "_attn_implementation", "_attn_implementation_internal",
    "experts_implementation",
)  # fmt: skip
_APP = re.compile(r"^[^\W\d][\w.]*:[^\W\d]\w*\Z")
_INSTALLS = frozenset({"install", "prepare", "prepublish", "preprepare", "postprepare"})
_PICKLED = re.compile(rb"(?<![\w+/=-])gA[I-V][\w+/-]{12,}")  # `PROTO` 2 to 5 in base64
_DOTTED = re.compile(r"^[^\W\d]\w*(\.[^\W\d]\w*)+$")
# Of what Hydra makes: layers and optimizers, which only compute.
_COMPUTES = re.compile(
    r"^(torch\.(nn|optim(\.lr_scheduler)?)|nemo\.collections\.\w+\.modules)\.[A-Z]\w*\Z", re.ASCII
)
_NO_MODULE = re.compile(r"^(?!code\Z)\w[\w-]{0,30}\Z")  # of a language, or of what went wrong
_TRUST = (
    "trust_remote_code", "allow_pickle", "unsafe_deserialization", "use_pickle", "remote_code",
    "use_remote_code", "enable_unsafe_deserialization", "allow_dangerous_deserialization",
)  # fmt: skip
_GUARDS = ("weights_only", "safe_mode")
CODE_KEY = "`code` names code to import"
_WORDS = re.compile(r"^[\w.+\-/ ]{0,200}$")
_NAMED = (
    *_TARGETS, "custom_pipeline", "custom_generate", "run_command", *_TRUST, *_RUNS, *_PATHS,
    "loader_module", "sbert_ce_default_activation_function",
)  # fmt: skip
_KEYS = re.compile(rb"[\"']?\b(%b)\b[\"']?\s*:" % "|".join((*_NAMED, *_TARGETS_ALSO)).encode())
# A key at the beginning of a line or of a mapping. Where it is given with an equals sign, the line
# ends behind the value: with a comma it is an argument of a call that a text quotes.
_PAIR = re.compile(
    rb"(?:(?P<line>^)[ \t]*+(?:[-?][ \t]++)*+|[{,][ \t\r\n]*+)(?:[&!]\S*+[ \t]++)*+[\"']?"
    rb"(?P<key>%b)[\"']?[ \t\r\n]*+(?:(?P<colon>:)|(?(line)=(?=[^\n,()]*$)|(?!)))[ \t]*+[\"']?"
    rb"(?P<value>[^\n\"',}#]{0,200})"
    % "|".join(f"(?i:{n.replace('_', '[-_]')})" if n in _TRUST else n for n in _NAMED).encode(),
    re.MULTILINE,
)
_ESCAPE = re.compile(rb"\\(?:x|u00)([2-7][0-9a-fA-F])")
_NOTHING = frozenset({"null", "none", "~", "{", "[", "[]", "false"})
_ON = frozenset({"true", "yes", "on", "y", "1"})
ESCAPED_KEY = re.compile(rb'"[^"\n]{0,200}\\[xuU][^"\n]{0,200}"\s*:')


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
        if holds_pickle(value):
            _add(findings, "config.pickle", "a text holds a pickle that can run code", member)
    elif isinstance(value, dict):
        judge_object(value, findings, member)
        if is_xgboost_tree(value) and (fault := xgboost_tree_fault(value)):
            _add(findings, "xgboost.malformed", fault, member)
        for key, item in value.items():
            judge_key(key, item, findings, member)
            scan_document(item, findings, member)
        if is_keras_config(value):
            scan_keras_config(value, findings, member)


def judge_object(value: dict[str, Any], findings: Findings, member: str) -> None:
    """Report pairs of keys that together name a class to import."""
    target = value.get("target")
    dotted = isinstance(target, str) and bool(_DOTTED.match(target))
    if dotted and (value.keys() <= {"target", "params"} or _imports(str(target))):
        _add(findings, "config.code", f"`target` names the class `{str(target)[:80]}`", member)
    if "_class_name" in value:
        for key, item in value.items():
            # Library and class; a modular pipeline says more of each.
            named = isinstance(item, list) and len(item) in (2, 3)
            if not named or not all(one is None or isinstance(one, str) for one in item[:2]):
                continue
            own = item[0] in _LIBRARIES or (item[0] in _PIPELINES and _CLASS.match(item[1] or ""))
            if key == "_class_name" or (item[1] is not None and not own):
                text = f"`{key[:80]}` names the class `{item[1]}` of `{item[0]}`"[:200]
                _add(findings, "config.code", text, member)
    flavors = value.get("flavors")  # of MLflow: each may name a folder of modules
    for one in flavors.values() if isinstance(flavors, dict) else (value,):
        inside = isinstance(one, dict) and ("loader_module" in one or one is not value)
        if inside and isinstance(one.get("code"), str) and one["code"]:
            _add(findings, "config.code", CODE_KEY, member)
    types, scripts = value.get("types"), value.get("scripts")
    if isinstance(types, dict) and "structure" in value:  # a router of sentence-transformers
        for item in types.values():
            if not (isinstance(item, str) and _SENTENCE.match(item)):
                _add(findings, "config.type", f"`types` names `{str(item)[:80]}`", member)
    if isinstance(scripts, dict) and not _INSTALLS.isdisjoint(scripts):
        _add(findings, "config.code", "`scripts` has commands that an installation runs", member)
    made = value.get("class") if "__kind__" in value else None
    if isinstance(made, str) and not (
        _GLUONTS.match(made) and _IMPORTED_THERE.isdisjoint(made.split(".")[1:])
    ):
        _add(findings, "config.code", f"`class` names `{made[:80]}` to make", member)
    if value.get("lc") == 1 and value.get("type") in ("constructor", "secret"):
        _add(findings, "config.code", "`lc` names an object of LangChain's to make", member)


def _imports(target: str) -> bool:
    """Whether a `target` beside other keys is Python to import, and not NeMo's own classes."""
    module, _, name = target.rpartition(".")
    return is_dangerous(module, name) or (name[:1].isupper() and not target.startswith("nemo."))


def holds_pickle(text: str) -> bool:
    """Whether a text is a pickle that can run code: as it stands, in base64 or in hexadecimal."""
    if _is_pickle(text):
        return True
    if "gA" in text:
        quoted = _PICKLED.finditer(text.encode("ascii", "replace"))
        if any(_is_pickle(one.group().decode()) for one in quoted):
            return True
    joined = "".join(text.split())
    return joined != text and bool(_BASE64.match(joined)) and _is_pickle(joined)


def hold_pickles(window: bytes) -> bool:
    """Whether a pickle that can run code stands in a text in base64."""
    return any(_is_pickle(found.group().decode()) for found in _PICKLED.finditer(window))


def _is_pickle(text: str) -> bool:
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


def judge_key(key: str, item: object, findings: Findings, member: str) -> None:
    """Report a key by which a loader imports code, trusts it or leaves its folder."""
    plain = _plain(key)
    if isinstance(item, float) or (type(item) is int and plain not in _TRUST):
        return  # the number of a token in a vocabulary names nothing
    named = key in _TARGETS or (key in _TARGETS_ALSO and isinstance(item, str | dict))
    named = named and not (key == "_target_" and isinstance(item, str) and _COMPUTES.match(item))
    if key == "code" and isinstance(item, str) and item and not _NO_MODULE.match(item):
        _add(findings, "config.code", CODE_KEY, member)
    if named and item not in (None, {}, "", []) and not _is_peft_mapping(key, item):
        _add(findings, "config.code", f"`{key}` names code to import", member)
    if plain in _TRUST and (item.lower() if isinstance(item, str) else item) not in _OFF:
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
    known = _IMPORTED.get(plain)
    if known is not None and isinstance(item, str) and "." in item and not known.match(item):
        _add(findings, "config.code", f"`{key}` names `{item[:80]}` to import", member)
    if plain in _PLUGINS and item not in (None, "", []):
        _add(findings, "config.code", f"`{key}` names a module to import", member)
    if key in _KERNELS and any("/" in one for one in _names(item)):
        _add(findings, "config.code", f"`{key}` names a kernel to fetch", member)
    if key in ("import_path", "service") and isinstance(item, str) and _APP.match(item):
        _add(findings, "config.code", f"`{key}` names an application to import", member)
    name = isinstance(item, str) and (_NAME.match(item) or _WORDS_OF.match(item))
    if key == "tokenizer_class" and isinstance(item, str) and not name:
        _add(findings, "config.class", "`tokenizer_class` holds more than a name", member)
    if key == "loader_module" and not (isinstance(item, str) and _LOADERS.match(item)):
        _add(findings, "config.loader", "`loader_module` is none of MLflow's own", member)
    dotted = key == "type" and isinstance(item, str) and bool(_DOTTED.match(item))
    if dotted and not _SENTENCE.match(str(item)):
        _add(findings, "config.type", f"`type` names the class `{str(item)[:80]}`", member)
    if key == "class_name" and isinstance(item, str) and not _WORDS.match(item):
        _add(findings, "config.class", "`class_name` holds more than a name", member)


def _plain(key: str) -> str:
    """Return a key as a library's own; command lines and environments spell it otherwise."""
    return key.lower().replace("-", "_")


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


def names_code(window: bytes) -> bool:
    """Whether a part of a text that is not parsed has a key that names code."""
    return _KEYS.search(window) is not None or bool(keys_of(window))


def keys_of(window: bytes) -> list[str]:
    """Return the keys by which the lines of a text that no parser takes name code, or trust it."""
    plain = _ESCAPE.sub(lambda found: bytes([int(found.group(1), 16)]), window)
    found = []
    for text in (window,) if plain == window else (window, plain):
        for match in _PAIR.finditer(text):
            key, value = match["key"].decode(), match["value"].strip().decode(errors="replace")
            if (value or match["colon"]) and _tells(key, value):
                found.append(key)
    return list(dict.fromkeys(found))


def _tells(key: str, value: str) -> bool:
    """Whether a key with this on its line names code, or trusts it."""
    if _plain(key) in _TRUST:
        return value.lower() in _ON
    if key == "loader_module":
        return not _LOADERS.match(value)
    if key in _ACTIVATIONS:
        return "." in value and not _LAYER.match(value)
    return value.lower() not in _NOTHING


def _add(findings: Findings, id_: str, message: str, member: str) -> None:
    findings.add(id_, message, member=member, atlas=_ATLAS)

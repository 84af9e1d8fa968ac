"""Which rules a file beside a model gets: by its name, and only if its bytes are text.

What has no rules here is judged as a model's file would be: a pickle stays a pickle.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from vallum.base.bounds import MIB
from vallum.base.errors import VallumError
from vallum.scan.advisories import Snapshot
from vallum.scan.code.declared import Declaration, judge
from vallum.scan.code.licenses import scan_declared, scan_license_text, scan_metadata
from vallum.scan.code.locks import (
    parse_conda_list,
    parse_conda_lock,
    parse_conda_meta,
    parse_lock,
    parse_pipfile_lock,
)
from vallum.scan.code.manifests import load_toml, parse_conda, parse_pipfile, parse_pyproject
from vallum.scan.code.notebook import scan_notebook
from vallum.scan.code.python import python_texts, scan_python
from vallum.scan.code.requirements import parse_requirements
from vallum.scan.code.secrets import SecretFinder, lines_of, scan_secrets
from vallum.scan.report import Findings

MAX_TEXT_BYTES = 16 * MIB
Kind = Literal["python", "notebook", "dependencies", "license", "metadata"]

_PYTHON = re.compile(r"\.(py|pyw|pyi)$", re.IGNORECASE)
_REQUIREMENTS = re.compile(
    r"^(.*[._-])?(requirements|constraints)([._-].*)?\.(txt|in|pip)$|^requirements\.txt$"
)
_CONDA = re.compile(r"^(conda|environment|env|python_env)([._-][\w.-]*)?\.ya?ml$", re.IGNORECASE)
_LOCK = re.compile(r"^(uv\.lock|poetry\.lock|pdm\.lock|pylock(\.[\w-]+)?\.toml)$")
_LICENSE = re.compile(r"^(un)?(licen[cs]e|copying)([._-].*)?$", re.IGNORECASE)
_CONDA_META = "conda-meta"
_METADATA = frozenset({"METADATA", "PKG-INFO"})
_DOCUMENT = re.compile(
    r"\.(md|markdown|rst|txt|toml|cfg|ini|ya?ml|json|jsonl|csv|tsv|lock|in|env|properties|gitignore|"
    r"dockerignore|gitattributes|editorconfig)$|^(README|CHANGELOG|AUTHORS|NOTICE|CONTRIBUTING|"
    r"CODEOWNERS|VERSION)$|^\.env",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class CodeRules:
    """How code and what belongs to it is judged.

    Attributes:
        advisories: About packages of PyPI; None where none were imported.
        licenses: Allowed ones, as `check_allowed` returned them; None asks for none.
        trusted_indexes: Hosts and conda channels that count as PyPI does.
        finder: Of secrets that have a form.
    """

    advisories: Snapshot | None = None
    licenses: frozenset[str] | None = None
    trusted_indexes: frozenset[str] = frozenset()
    finder: SecretFinder | None = None


def kind_of(name: str) -> Kind | None:
    """Return which rules a name asks for; None for those of models."""
    base = _base(name)
    if _PYTHON.search(base):
        return "python"
    if base.lower().endswith(".ipynb"):
        return "notebook"
    if base in _METADATA:
        return "metadata"
    if _parser(base) is not None:
        return "dependencies"
    if _LICENSE.match(base):
        return "license"
    return None


def _base(name: str) -> str:
    """Return the last part of a path, and of conda's records the folder that makes them such."""
    parts = name.replace("\\", "/").split("/")
    record = parts[-2:-1] == [_CONDA_META] and parts[-1].endswith(".json")
    return "/".join(parts[-2:]) if record else parts[-1]


def is_document(name: str) -> bool:
    """Tell whether a name is one of text that nothing runs, in which code is only quoted."""
    return bool(_DOCUMENT.search(name.replace("\\", "/").rsplit("/", 1)[-1]))


def scan_code(name: str, data: bytes, findings: Findings, rules: CodeRules) -> str:
    """Judge a file by the rules of its kind, which `kind_of` gave; return its format.

    Never raises on any bytes: a reader that breaks is a finding.
    """
    base = _base(name)
    kind = kind_of(base)
    try:
        if kind == "python":
            scan_python(data, findings)
            scan_secrets(python_texts(data), findings, rules.finder)
            return "python"
        if kind == "notebook":
            scan_notebook(data, findings, rules.finder)
            return "notebook"
        text = data.decode()
        scan_secrets(lines_of(text), findings, rules.finder)
        if kind == "license":
            scan_license_text(text, findings, rules.licenses)
            return "license"
        if kind == "metadata":
            scan_metadata(text, findings, rules.licenses)
            return "metadata"
        return _dependencies(base, data, findings, rules)
    except VallumError as error:
        findings.add(error.code, error.message, severity="medium")
    except (RecursionError, MemoryError):
        findings.add(
            "file.too-complex", "the file is nested beyond what is read", severity="medium"
        )
    except Exception as error:  # noqa: BLE001 - a reader of somebody else that breaks
        text = f"the reader broke on the file ({type(error).__name__}), so it was not checked"
        findings.add("code.unchecked", text, severity="medium")
    return "malformed"


def _dependencies(base: str, data: bytes, findings: Findings, rules: CodeRules) -> str:
    parser = _parser(base)
    assert parser is not None  # noqa: S101 - `kind_of` said so
    declared = parser(data)
    judge(declared, findings, advisories=rules.advisories, trusted_hosts=rules.trusted_indexes)
    if base == "pyproject.toml":
        _project_license(data, findings, rules)
    return declared.format


def _project_license(data: bytes, findings: Findings, rules: CodeRules) -> None:
    document = load_toml(data)
    project = document.get("project")
    if not isinstance(project, dict):
        return
    given = project.get("license")
    words = ""
    if isinstance(given, dict):  # before PEP 639
        words = str(given.get("text", ""))
        if not words and "file" in given:
            return  # judged where it lies
    classifiers = project.get("classifiers")
    scan_declared(
        given if isinstance(given, str) else "", words,
        [str(one) for one in classifiers] if isinstance(classifiers, list) else [],
        findings, rules.licenses,
    )  # fmt: skip


def _parser(base: str) -> Callable[[bytes], Declaration] | None:
    if base.startswith(f"{_CONDA_META}/"):
        return lambda data: parse_conda_meta(data.decode())
    if base == "pyproject.toml":
        return parse_pyproject
    if base == "Pipfile":
        return parse_pipfile
    if base == "Pipfile.lock":
        return parse_pipfile_lock
    if _LOCK.match(base):
        kind = "pylock" if base.startswith("pylock") else base.replace(".", "-")
        return lambda data: parse_lock(data, kind)
    if base in ("conda-lock.yml", "conda-lock.yaml"):
        return parse_conda_lock
    if _CONDA.match(base):
        return parse_conda
    if base == "spec-file.txt":
        return lambda data: parse_conda_list(data.decode())
    if _REQUIREMENTS.match(base):
        return _requirements
    return None


def _requirements(data: bytes) -> Declaration:
    text = data.decode()
    if re.search(r"^@EXPLICIT", text, re.MULTILINE):
        return parse_conda_list(text)
    return parse_requirements(text)

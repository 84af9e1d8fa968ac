"""Files in which people declare dependencies: pyproject.toml, Pipfile, conda environments.

Source: PyPA specification "pyproject.toml"; Poetry's `tool.poetry`; conda's environment files;
MLflow's python_env.yaml.
"""

import re
import tomllib
from collections.abc import Iterable
from typing import Any

from vallum.base.bounds import MIB, JsonBounds
from vallum.base.errors import InputError, LimitExceededError
from vallum.formats import load_yaml
from vallum.scan.code.declared import Declaration, Declared, is_commit
from vallum.scan.code.requirements import exact, from_url, parse_requirements, read_requirement

BOUNDS = JsonBounds(max_bytes=8 * MIB, max_depth=32, max_nodes=500_000)
_CONDA = re.compile(
    r"^(?:([\w./:-]+)::)?([A-Za-z0-9_.-]+)\s*(?:\[.*\]|([=<>!~].*|\s[\d=<>!~*].*))?$"
)
_CONDA_EXACT = re.compile(r"^={1,2}\s*([^\s=<>!~*|,]+)(?:=[^\s=<>|,]+)?$")
_POETRY_EXACT = re.compile(r"^(?:==)?\s*v?(\d+[^\s,|*<>^~!=]*)$")


def load_toml(data: bytes) -> dict[str, Any]:
    """Parse TOML within bounds.

    Raises:
        InputError: It is malformed.
        LimitExceededError: It is too large.
    """
    if len(data) > BOUNDS.max_bytes:
        raise LimitExceededError("the TOML document is too large", code="format.toml.too-large")
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise InputError("the document is not valid TOML", code="format.toml.malformed") from error


def parse_pyproject(data: bytes) -> Declaration:
    """Read what a project, its groups, its build and its tool declare."""
    declared = Declaration("pyproject")
    document = load_toml(data)
    project = _table(document, "project")
    lists = [project.get("dependencies"), _table(document, "build-system").get("requires")]
    lists += _table(project, "optional-dependencies").values()
    lists += _table(document, "dependency-groups").values()
    tool = _table(document, "tool")
    lists += [_table(tool, "uv").get("dev-dependencies")]
    lists += _table(_table(tool, "pdm"), "dev-dependencies").values()
    for requirement in _strings(lists):
        declared.packages.append(read_requirement(requirement, declared, abstract=True))
    poetry = _table(tool, "poetry")
    groups = [poetry.get("dependencies"), poetry.get("dev-dependencies")]
    groups += [_table(one).get("dependencies") for one in _table(poetry, "group").values()]
    for group in groups:
        _take_tables(_table(group), declared, abstract=True)
    for name, sources in _table(_table(tool, "uv"), "sources").items():
        for source in sources if isinstance(sources, list) else [sources]:
            if isinstance(source, dict) and not source.get("workspace"):
                declared.packages += [_from_table(str(name), source, abstract=True)] * (
                    "index" not in source
                )
    indexes = [*_list(_table(tool, "uv"), "index"), *_list(poetry, "source")]
    indexes += _list(_table(tool, "pdm"), "source")
    declared.indexes += [
        (str(one["url"]), None) for one in indexes if isinstance(one, dict) and "url" in one
    ]
    uv = _table(tool, "uv")
    declared.indexes += [
        (one, None)
        for one in _strings([uv.get("index-url"), uv.get("extra-index-url"), uv.get("find-links")])
    ]
    declared.packages = [one for one in declared.packages if one.name or one.url]
    return declared


def parse_pipfile(data: bytes) -> Declaration:
    """Read a Pipfile."""
    declared = Declaration("pipfile")
    document = load_toml(data)
    for group in ("packages", "dev-packages"):
        _take_tables(_table(document, group), declared, abstract=True)
    for one in _list(document, "source"):
        if isinstance(one, dict):
            declared.indexes.append((str(one.get("url", "")), None))
            if one.get("verify_ssl") is False:
                declared.notes.append(_untrusted(str(one.get("url", ""))))
    return declared


def parse_conda(data: bytes) -> Declaration:
    """Read a conda environment, with its `pip` list, or MLflow's python_env.yaml."""
    declared = Declaration("conda")
    document = load_yaml(data, BOUNDS)
    if not isinstance(document, dict):
        raise InputError("the environment is no mapping", code="dependency.form")
    declared.indexes += [(one, None) for one in _strings([document.get("channels")])]
    if "build_dependencies" in document:
        declared.format = "python-env"
        entries = [*_list(document, "build_dependencies"), *_list(document, "dependencies")]
        _take_pip(entries, declared)
        return declared
    for entry in _list(document, "dependencies"):
        if isinstance(entry, dict):
            _take_pip(_list(entry, "pip"), declared)
        else:
            _take_conda(str(entry), declared)
    return declared


def _take_conda(text: str, declared: Declaration) -> None:
    match = _CONDA.match(text.strip())
    if match is None:
        declared.unread.append((text, None))
        return
    channel, name, version = match[1], match[2], (match[3] or "").strip()
    if channel:
        declared.indexes.append((channel, None))
    pinned = _CONDA_EXACT.match(version.replace(" ", "=") if " " in version else version)
    if pinned is None and version[:1].isdigit():
        pinned = re.match(r"^([^\s=<>!~*|,]+)(?:[ =]\S+)?$", version)
    built = version.count("=") > 1 and "==" not in version
    declared.packages.append(
        Declared(name, "" if pinned is None else pinned[1], fixed=built, python=False)
    )


def _take_pip(entries: Iterable[object], declared: Declaration) -> None:
    text = "\n".join(str(one) for one in entries)
    inner = parse_requirements(text)
    plain = [  # lines are those of the list, not of the file
        Declared(o.name, o.version, None, o.source, o.url, o.fixed, o.abstract)
        for o in inner.packages
    ]
    declared.packages += plain
    declared.indexes += [(index, None) for index, _ in inner.indexes]
    declared.unread += [(one, None) for one, _ in inner.unread]
    declared.notes += [(*note[:3], None) for note in inner.notes]


def _take_tables(group: dict[str, Any], declared: Declaration, *, abstract: bool) -> None:
    for name, value in group.items():
        if name.lower() == "python":
            continue
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict):
                declared.packages.append(_from_table(name, one, abstract=abstract))
            else:
                declared.packages.append(Declared(name, _poetry_exact(str(one)), abstract=abstract))


def _from_table(name: str, table: dict[str, Any], *, abstract: bool) -> Declared:
    """Read an entry that is a table: Poetry, Pipenv and uv have the same words."""
    for kind in ("git", "hg", "svn"):
        if kind in table:
            revision = str(table.get("rev") or table.get("ref") or table.get("branch") or "")
            url = f"{kind}+{table[kind]}"
            return Declared(name, source="vcs", url=url, fixed=is_commit(revision))
    if "path" in table:
        return Declared(name, source="local", url=str(table["path"])[:200])
    for key in ("url", "file"):
        if key in table:
            return from_url(name, str(table[key]))
    return Declared(name, _poetry_exact(str(table.get("version", ""))), abstract=abstract)


def _poetry_exact(text: str) -> str:
    match = _POETRY_EXACT.match(text.strip())
    return match[1] if match is not None else exact(text)


def _untrusted(url: str) -> tuple[str, str, str, None]:
    text = f"the certificate of `{url[:80]}` is not checked"
    return ("dependency.plain-http", "high", text, None)


def _table(value: object, key: str = "") -> dict[str, Any]:
    found = value.get(key) if key and isinstance(value, dict) else value
    return found if isinstance(found, dict) else {}


def _list(table: dict[str, Any], key: str) -> list[Any]:
    found = table.get(key)
    return found if isinstance(found, list) else []


def _strings(values: Iterable[object]) -> list[str]:
    found: list[str] = []
    for value in values:
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, list):
            found += [one for one in value if isinstance(one, str)]
    return found

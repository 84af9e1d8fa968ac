"""Files that tools lock dependencies in: uv, Poetry, PDM, Pipenv, pylock, conda-lock, conda lists.

Source: PEP 751 for pylock.toml; the tools' own files otherwise.
"""

import re
from typing import Any

from vallum.base.errors import InputError
from vallum.formats import load_json, load_yaml
from vallum.scan.code.declared import Declaration, Declared, is_commit
from vallum.scan.code.manifests import BOUNDS, load_toml

_HASH = re.compile(r"^(?:sha(?:256|384|512)[:=])?[0-9a-f]{64,128}$")
_EXPLICIT = re.compile(
    r"^(https?://\S+)/([^/\s]+)-([^-/\s]+)-([^-/\s]+)\.(?:conda|tar\.bz2)(#\S+)?$"
)


def parse_lock(data: bytes, name: str) -> Declaration:
    """Read a lock file in TOML: uv.lock, poetry.lock, pdm.lock or pylock.toml.

    Raises:
        InputError: It is malformed, or lists no packages.
    """
    declared = Declaration(name)
    document = load_toml(data)
    packages = document.get("package", document.get("packages"))
    if not isinstance(packages, list):
        raise InputError("the lock file lists no packages", code="dependency.form")
    indexes: set[str] = set()
    for one in packages:
        if not isinstance(one, dict) or not isinstance(one.get("name"), str):
            declared.unread.append((str(one), None))
            continue
        found = _locked(one)
        if found is not None:
            declared.packages.append(found)
        index = _index_of(one)
        if index:
            indexes.add(index)
    declared.indexes += [(index, None) for index in sorted(indexes)]
    return declared


def _locked(one: dict[str, Any]) -> Declared | None:
    name, version = one["name"], str(one.get("version", ""))
    source = one.get("source")
    place: dict[str, Any] = source if isinstance(source, dict) else {}
    kind = place.get("type", "")
    if {"virtual", "editable", "directory"} & {*place, *one}:
        where = next(
            (o[k] for o in (place, one) for k in ("virtual", "editable", "directory") if k in o), ""
        )
        if where == "." or "virtual" in place:
            return None  # the project itself
        return Declared(name, source="local", url=str(where)[:200])
    vcs = one.get("vcs")
    git = place.get("git") or one.get("git") or (place.get("url") if kind == "git" else None)
    if isinstance(vcs, dict) or git:
        table = vcs if isinstance(vcs, dict) else place
        url = str(git or table.get("url") or table.get("path") or "")
        revision = str(
            table.get("commit-id") or place.get("resolved_reference") or one.get("revision")
            or url.rpartition("#")[2]
        )  # fmt: skip
        return Declared(name, version, source="vcs", url=f"git+{url}", fixed=is_commit(revision))
    archive = one.get("archive")
    address = place.get("url") if kind in ("", "url") else None
    if isinstance(archive, dict):
        address = archive.get("url") or archive.get("path")
    if address or isinstance(one.get("url"), str):
        url = str(address or one["url"])
        return Declared(name, version, source="url", url=url, fixed=_hashed(one))
    if kind in ("file", "directory") or "path" in place or isinstance(one.get("path"), str):
        return Declared(
            name, version, source="local", url=str(place.get("url", one.get("path", "")))
        )
    return Declared(name, version, fixed=_hashed(one))


def _index_of(one: dict[str, Any]) -> str:
    source = one.get("source")
    if isinstance(source, dict):
        if isinstance(source.get("registry"), str):
            return str(source["registry"])
        if source.get("type") == "legacy":
            return str(source.get("url", ""))
    index = one.get("index")
    return index if isinstance(index, str) else ""


def _hashed(one: dict[str, Any]) -> bool:
    """Tell whether every file of a package has a hash of SHA-256 or better."""
    files: list[object] = []
    for key in ("files", "wheels", "sdist", "archive"):
        value = one.get(key)
        files += value if isinstance(value, list) else [value] if value is not None else []
    return bool(files) and all(_file_hashed(one) for one in files)


def _file_hashed(file: object) -> bool:
    if not isinstance(file, dict):
        return False
    if isinstance(file.get("hash"), str):
        return bool(_HASH.match(file["hash"]))
    hashes = file.get("hashes")
    return isinstance(hashes, dict) and any(
        isinstance(value, str) and len(value) >= 64 and _HASH.match(value)  # noqa: PLR2004 - SHA-256
        for value in hashes.values()
    )


def parse_pipfile_lock(data: bytes) -> Declaration:
    """Read a Pipfile.lock.

    Raises:
        InputError: It is malformed.
    """
    declared = Declaration("pipfile-lock")
    document = load_json(data, BOUNDS)
    if not isinstance(document, dict):
        raise InputError("the lock file is no object", code="dependency.form")
    meta = document.get("_meta")
    sources = meta.get("sources") if isinstance(meta, dict) else None
    for one in sources if isinstance(sources, list) else ():
        if isinstance(one, dict):
            url = str(one.get("url", ""))
            declared.indexes.append((url, None))
            if one.get("verify_ssl") is False:
                text = f"the certificate of `{url[:80]}` is not checked"
                declared.notes.append(("dependency.plain-http", "high", text, None))
    for group in ("default", "develop"):
        packages = document.get(group)
        for name, one in packages.items() if isinstance(packages, dict) else ():
            if not isinstance(one, dict):
                declared.unread.append((name, None))
                continue
            hashes = one.get("hashes")
            fixed = isinstance(hashes, list) and bool(hashes)
            if "git" in one:
                commit = is_commit(str(one.get("ref", "")))
                declared.packages.append(
                    Declared(name, source="vcs", url=f"git+{one['git']}", fixed=commit)
                )
            elif "file" in one:
                declared.packages.append(
                    Declared(name, source="url", url=str(one["file"]), fixed=fixed)
                )
            elif "path" in one:
                declared.packages.append(Declared(name, source="local", url=str(one["path"])))
            else:
                version = str(one.get("version", "")).removeprefix("==")
                declared.packages.append(Declared(name, version, fixed=fixed))
    return declared


def parse_conda_lock(data: bytes) -> Declaration:
    """Read a conda-lock.yml.

    Raises:
        InputError: It is malformed.
    """
    declared = Declaration("conda-lock")
    document = load_yaml(data, BOUNDS)
    packages = document.get("package") if isinstance(document, dict) else None
    if not isinstance(packages, list):
        raise InputError("the lock file lists no packages", code="dependency.form")
    for one in packages:
        if not isinstance(one, dict):
            declared.unread.append((str(one), None))
            continue
        hashes = one.get("hash")
        fixed = isinstance(hashes, dict) and bool(_HASH.match(str(hashes.get("sha256", ""))))
        python = one.get("manager") == "pip"
        declared.packages.append(
            Declared(
                str(one.get("name", "")), str(one.get("version", "")), fixed=fixed, python=python
            )
        )
    return declared


def parse_conda_list(text: str) -> Declaration:
    """Read an explicit list of conda packages (`@EXPLICIT`)."""
    declared = Declaration("conda-list")
    channels: set[str] = set()
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith(("#", "@EXPLICIT")):
            continue
        match = _EXPLICIT.match(line)
        if match is None:
            declared.unread.append((line, number))
            continue
        channels.add(match[1].rpartition("/")[0])
        fixed = bool(_HASH.match((match[5] or "#")[1:]))
        declared.packages.append(Declared(match[2], match[3], number, fixed=fixed, python=False))
    declared.indexes += [(one, None) for one in sorted(channels)]
    return declared


def parse_conda_meta(text: str) -> Declaration:
    """Read a record of an installed conda package (`conda-meta/NAME-VERSION-BUILD.json`).

    Raises:
        VallumError: It is no JSON within bounds.
    """
    declared = Declaration("conda-meta")
    value = load_json(text.encode(), BOUNDS)
    record = value if isinstance(value, dict) else {}
    name, version = record.get("name"), record.get("version")
    if not isinstance(name, str) or not isinstance(version, str):
        declared.unread.append(("a record without name and version", None))
        return declared
    fixed = isinstance(record.get("sha256"), str)
    declared.packages.append(Declared(name, version, None, fixed=fixed, python=False))
    channel = record.get("channel")
    if isinstance(channel, str) and channel:
        declared.indexes.append((channel.rpartition("/")[0] or channel, None))
    return declared

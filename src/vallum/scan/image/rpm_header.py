"""Headers of rpm: what its databases keep for each package, whatever the database.

Source: rpm 4.18, docs/manual/format_header.md; tags of `rpmtag.h`.
"""

import struct
from dataclasses import dataclass

from vallum.base.errors import InputError

MAX_HEADER = 64 << 20
_MAX_TAGS = 4_096
_MAX_STRINGS = 1_000_000
_INT32, _STRING, _STRING_ARRAY, _I18N = 4, 6, 8, 9
_NAME, _VERSION, _RELEASE, _EPOCH = 1000, 1001, 1002, 1003
_LICENSE, _ARCH, _SOURCE_RPM = 1014, 1022, 1044
_DIR_INDEXES, _BASE_NAMES, _DIR_NAMES = 1116, 1117, 1118


@dataclass(frozen=True, slots=True)
class RpmPackage:
    """One package.

    Attributes:
        name: Of the package.
        version: `[epoch:]version-release`.
        architecture: Such as `x86_64`.
        license: As its author wrote it.
        source: File name of the source package.
        files: Paths that it owns.
    """

    name: str
    version: str
    architecture: str
    license: str
    source: str
    files: frozenset[str]


def package_of(blob: bytes) -> RpmPackage | None:
    """Return the package that a header describes; None for a key, which rpm keeps as one too.

    Raises:
        InputError: It is malformed.
    """
    if len(blob) > MAX_HEADER:
        raise InputError("a header of rpm is too large", code="image.rpm-database")
    return _package(_tags(blob))


def _tags(blob: bytes) -> dict[int, list[str] | list[int]]:
    """Return the strings and 32-bit numbers of a header, by tag."""
    try:
        count, length = struct.unpack_from(">II", blob)
        start = 8 + 16 * count
        if count > _MAX_TAGS or start + length > len(blob):
            raise InputError("a header of rpm is cut short", code="image.rpm-database")
        store = blob[start : start + length]
        found: dict[int, list[str] | list[int]] = {}
        for at in range(count):
            tag, kind, offset, many = struct.unpack_from(">IIiI", blob, 8 + 16 * at)
            if not 0 <= offset <= length or many > _MAX_STRINGS:
                raise InputError("a header of rpm points outside", code="image.rpm-database")
            if kind in (_STRING, _STRING_ARRAY, _I18N):
                wanted = 1 if kind == _STRING else many
                found[tag] = _strings(store, offset, wanted)
            elif kind == _INT32:
                found[tag] = list(struct.unpack_from(f">{many}I", store, offset))
    except struct.error as error:
        raise InputError("a header of rpm is malformed", code="image.rpm-database") from error
    return found


def _strings(store: bytes, at: int, count: int) -> list[str]:
    found = []
    for _ in range(count):
        end = store.find(b"\0", at)
        if end < 0:
            raise InputError("a text of rpm has no end", code="image.rpm-database")
        found.append(store[at:end].decode("utf-8", "replace"))
        at = end + 1
    return found


def _package(tags: dict[int, list[str] | list[int]]) -> RpmPackage | None:
    def text(tag: int) -> str:
        values = tags.get(tag) or [""]
        return str(values[0])

    if text(_NAME) == "gpg-pubkey":  # keys are kept as packages
        return None
    if not text(_NAME) or not text(_VERSION):
        raise InputError("a package of rpm without a name", code="image.rpm-database")
    epoch = f"{text(_EPOCH)}:" if tags.get(_EPOCH) else ""
    names, folders = tags.get(_BASE_NAMES) or [], tags.get(_DIR_NAMES) or []
    files = frozenset(
        f"{folders[index]}{name}".lstrip("/")
        for name, index in zip(names, tags.get(_DIR_INDEXES) or [], strict=False)
        if isinstance(index, int) and index < len(folders)
    )
    return RpmPackage(
        name=text(_NAME), version=f"{epoch}{text(_VERSION)}-{text(_RELEASE)}",
        architecture=text(_ARCH), license=text(_LICENSE), source=text(_SOURCE_RPM), files=files,
    )  # fmt: skip

"""Import of role definitions in Azure's two JSON forms, with every effective difference named.

ARM: `{"name": …, "properties": {"roleName": …, "permissions": [{"actions": […], …}], …}}`, also
without the `properties` around it, as `az role definition list` prints. PowerShell and
`az role definition create`: `{"Name": …, "Actions": […], …}`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from vallum.base import InputError, LimitExceededError
from vallum.policy.actions import Action
from vallum.policy.data_actions import DATA_ACTIONS
from vallum.policy.patterns import MAX_PATTERN_CHARS, covered, covered_by_any, granted
from vallum.policy.roles import BUILT_IN_ROLES
from vallum.schema import Role

MAX_BYTES: Final = 256 * 1024
MAX_DEPTH: Final = 16
MAX_PATTERNS: Final = 2_000
MAX_TEXT: Final = 2_048


class DifferenceKind(StrEnum):
    """How the imported role differs from what the file says in Azure."""

    GAINED = "gained"  # grants here what it does not grant in Azure
    LOST = "lost"  # grants in Azure what it does not grant here
    MOVED = "moved"  # was under `actions`, is a data action here
    SCOPE = "scope"  # assignable at another scope
    UNKNOWN = "unknown"  # a pattern that covers nothing here


@dataclass(frozen=True, slots=True)
class Difference:
    """One effective difference; `subject` is an action, a pattern or a scope."""

    kind: DifferenceKind
    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class ImportReport:
    """The role as it would be stored, and every way in which it is not the file's."""

    role: Role
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True)
class _Permission:
    actions: tuple[str, ...]
    not_actions: tuple[str, ...]
    data_actions: tuple[str, ...]
    not_data_actions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Definition:
    name: str
    description: str
    permissions: tuple[_Permission, ...]
    scopes: tuple[str, ...]


def import_role(
    document: bytes, *, role_id: str, workspace_scope: str, scope_map: Mapping[str, str]
) -> ImportReport:
    """Translate a role file; nothing is stored, so this is the dry run too.

    Explicitly listed actions that reveal content move to `data_actions`; wildcards never carry
    them. Several permission blocks become one whose exclusions hold for all: never more rights.

    Args:
        document: The file, at most 256 KiB of JSON with one role.
        role_id: Id of the role to be.
        workspace_scope: What scopes become that `scope_map` lacks.
        scope_map: From scopes in the file to scopes here (`--scope OLD=NEW`).

    Raises:
        InputError: Not JSON, duplicate keys, neither form, a condition in a permission, or a
            built-in role's name.
        LimitExceededError: Too large, too deep, or too many patterns.
    """
    definition = _read(_decode(document))
    if any(definition.name.casefold() == role.name.casefold() for role in BUILT_IN_ROLES):
        raise InputError(
            f"`{definition.name}` is a built-in role", code="role.built-in", hint="choose a name"
        )
    differences: list[Difference] = []
    actions: dict[str, None] = {}
    data_actions: dict[str, None] = {}
    not_actions: dict[str, None] = {}
    not_data_actions: dict[str, None] = {}
    for permission in definition.permissions:
        refused = covered_by_any(permission.not_actions)
        for pattern in permission.actions:
            found = covered(pattern)
            if "*" in pattern or not found & DATA_ACTIONS:
                actions[pattern] = None
            elif not found & refused:
                data_actions[pattern] = None
                text = f"`{pattern}` is a data action here and moves to `dataActions`"
                differences.append(Difference(DifferenceKind.MOVED, pattern, text))
        not_actions.update(dict.fromkeys(permission.not_actions))
        data_actions.update(dict.fromkeys(permission.data_actions))
        not_data_actions.update(dict.fromkeys(permission.not_data_actions))
    scopes, moved = _map_scopes(definition.scopes, workspace_scope, scope_map)
    role = Role(
        id=role_id,
        name=definition.name,
        description=definition.description,
        actions=tuple(actions),
        not_actions=tuple(not_actions),
        data_actions=tuple(data_actions),
        not_data_actions=tuple(not_data_actions),
        assignable_scopes=scopes,
    )
    differences += _unknown(role)
    differences += _effective(definition, role)
    return ImportReport(role, (*differences, *moved))


def _effective(definition: _Definition, role: Role) -> list[Difference]:
    """Compare action by action what the file means in Azure with what the role grants here."""
    there: frozenset[Action] = frozenset()
    for block in definition.permissions:
        there |= covered_by_any(block.actions) - covered_by_any(block.not_actions)
        # All of the catalogue's Azure names are control actions in Azure: a wildcard under
        # `dataActions` reaches none of them there.
        named = [pattern for pattern in block.data_actions if "*" not in pattern]
        there |= covered_by_any(named) - covered_by_any(block.not_data_actions)
    here = granted(role.actions, role.not_actions, role.data_actions, role.not_data_actions)
    lost = [
        Difference(
            DifferenceKind.LOST,
            action.value,
            f"`{action.value}` is a data action here, which no wildcard under `actions` carries"
            if action in DATA_ACTIONS
            else f"`{action.value}` is not carried over",
        )
        for action in sorted(there - here)
    ]
    gained = [
        Difference(
            DifferenceKind.GAINED,
            action.value,
            f"`{action.value}` is a data action here and falls under the file's `dataActions`",
        )
        for action in sorted(here - there)
    ]
    return lost + gained


def _unknown(role: Role) -> list[Difference]:
    lists = (role.actions, role.not_actions, role.data_actions, role.not_data_actions)
    return [
        Difference(DifferenceKind.UNKNOWN, pattern, f"`{pattern}` covers no action here")
        for pattern in dict.fromkeys(pattern for listed in lists for pattern in listed)
        if not covered(pattern)
    ]


def _map_scopes(
    scopes: tuple[str, ...], workspace_scope: str, scope_map: Mapping[str, str]
) -> tuple[tuple[str, ...], list[Difference]]:
    mapped: dict[str, None] = {}
    moved: list[Difference] = []
    for scope in scopes:
        target = scope_map.get(scope, workspace_scope)
        mapped[target] = None
        if scope != target:
            text = f"assignable at `{target}` instead of `{scope}`"
            moved.append(Difference(DifferenceKind.SCOPE, scope, text))
    return tuple(mapped) or (workspace_scope,), moved


def _decode(document: bytes) -> dict[str, object]:
    if len(document) > MAX_BYTES:
        raise LimitExceededError(
            f"the role file has {len(document)} bytes, at most {MAX_BYTES}", code="role.size"
        )
    if _depth(document) > MAX_DEPTH:
        raise LimitExceededError(f"the role file nests over {MAX_DEPTH}", code="role.depth")
    try:
        # utf-8-sig: PowerShell writes a byte order mark.
        value = json.loads(document.decode("utf-8-sig"), object_pairs_hook=_unique)
    except ValueError as error:
        raise InputError(f"the role file is not JSON: {error}", code="role.json") from error
    if isinstance(value, list) and len(value) == 1:
        value = value[0]  # `az role definition list` prints an array
    if not isinstance(value, dict):
        raise InputError("the role file is not one JSON object", code="role.form")
    return value


def _depth(document: bytes) -> int:
    # Brackets in strings count too: it may only come out too high.
    deepest = depth = 0
    for byte in document:
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = {key.lower(): item for key, item in pairs}  # Azure reads both cases
    if len(value) != len(pairs):
        raise ValueError("a key occurs twice")
    return value


def _read(value: dict[str, object]) -> _Definition:
    properties = value.get("properties", value)
    if not isinstance(properties, dict):
        raise InputError("`properties` is not an object", code="role.form")
    blocks = properties.get("permissions", None)
    if blocks is None:
        blocks = [properties]
        name = properties.get("rolename", properties.get("name"))
    else:
        name = properties.get("rolename")
    if not isinstance(blocks, list) or not blocks:
        raise InputError("`permissions` is not a list of objects", code="role.form")
    if not isinstance(name, str) or not 0 < len(name) <= MAX_TEXT:
        raise InputError(
            "the role has no name", code="role.form", hint="give `roleName` (ARM) or `Name`"
        )
    description = properties.get("description") or ""
    if not isinstance(description, str) or len(description) > MAX_TEXT:
        raise InputError("`description` is not a short text", code="role.form")
    permissions = tuple(_permission(block) for block in blocks)
    if not any(block.actions or block.data_actions for block in permissions):
        raise InputError("the role grants nothing", code="role.form")
    return _Definition(name, description, permissions, _texts(properties, "assignablescopes"))


def _permission(block: object) -> _Permission:
    if not isinstance(block, dict):
        raise InputError("`permissions` is not a list of objects", code="role.form")
    if block.get("condition"):
        raise InputError(
            "the role has a condition, which belongs to an assignment here",
            code="role.condition",
            hint="import it without and give the condition with `vallum role assign`",
        )
    return _Permission(
        _texts(block, "actions"),
        _texts(block, "notactions"),
        _texts(block, "dataactions"),
        _texts(block, "notdataactions"),
    )


def _texts(block: dict[str, object], key: str) -> tuple[str, ...]:
    value = block.get(key)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InputError(f"`{key}` is not a list of texts", code="role.form")
    if len(value) > MAX_PATTERNS or any(len(item) > MAX_PATTERN_CHARS for item in value):
        raise LimitExceededError(
            f"`{key}` has over {MAX_PATTERNS} items or one over {MAX_PATTERN_CHARS} characters",
            code="role.size",
        )
    return tuple(value)

"""Scopes: ids of resources, and parts of a data asset below them.

    <resource id>[/paths/<path> | /columns/<name> | /labels/<label>]

The chain of parents always comes from the stored record; a string only ever names a part.
"""

from typing import Final

import msgspec

from vallum.base import InputError
from vallum.schema import Resource

PART_KINDS: Final = ("columns", "labels", "paths")
MAX_PART_CHARS: Final = 1_024


def part_of(resource: Resource, kind: str, name: str) -> Resource:
    """Return `resource` narrowed to a part, whose scopes come before the resource's own.

    A path is below each of its folders: an assignment at `…/paths/a` holds for `…/paths/a/b`.
    The id stays the resource's.

    Args:
        resource: A whole data version.
        kind: `paths`, `columns` or `labels`.
        name: The column or label, or a relative path with `/` between its segments.

    Raises:
        InputError: Another kind, an empty, over-long or path-like name, or a part of a part.
    """
    if kind not in PART_KINDS:
        raise InputError(
            f"`{kind[:40]}` is no part of an asset", code="scope.part", hint="use columns or paths"
        )
    if not resource.chain or resource.chain[0] != resource.id:
        raise InputError(f"`{resource.id}` is not a whole resource", code="scope.part")
    segments = name.split("/") if kind == "paths" else [name]
    if len(name) > MAX_PART_CHARS or not all(_plain(segment) for segment in segments):
        raise InputError(
            f"{name[:40]!a} does not name a part of `{resource.id}`", code="scope.part"
        )
    base = f"{resource.id}/{kind}"
    own = [f"{base}/{'/'.join(segments[:count])}" for count in range(len(segments), 0, -1)]
    return msgspec.structs.replace(resource, chain=(*own, *resource.chain))


def split_scope(scope: str) -> tuple[str, str, str]:
    """Split a scope into resource id, kind of part and name; the last two empty for a whole one.

    Raises:
        InputError: It has neither form.
    """
    resource_id, slash, part = scope.partition("/")
    kind, _, name = part.partition("/")
    segments = name.split("/") if kind == "paths" else [name]
    if not resource_id or (
        slash and (kind not in PART_KINDS or not all(_plain(segment) for segment in segments))
    ):
        raise InputError(f"{scope[:60]!a} is not a scope", code="scope.form")
    return resource_id, kind, name


def _plain(segment: str) -> bool:
    return segment not in ("", ".", "..") and "/" not in segment and segment.isprintable()

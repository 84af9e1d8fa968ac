"""The file tree of an image: layer upon layer, with what later layers take away.

Source: OCI Image Format Specification 1.1, "Image Layer Filesystem Changeset".
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from vallum.base.bounds import ImageBounds
from vallum.base.errors import InputError, LimitExceededError
from vallum.formats import TarEntry

_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"


@dataclass(frozen=True, slots=True)
class Node:
    """A file of the tree, as a container would see it.

    Attributes:
        path: Without a slash in front.
        entry: What its layer declares.
        layer: From 0.
    """

    path: str
    entry: TarEntry
    layer: int


@dataclass(slots=True)
class _Folder:
    node: Node | None = None
    children: dict[str, "_Folder"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Odd:
    """What a layer tries that no plain layer does.

    Attributes:
        id: Of the finding.
        message: A sentence about it.
        path: As declared.
    """

    id: str
    message: str
    path: str


class Tree:
    """The merged tree; `apply` takes the entries of one layer after the other."""

    def __init__(self, bounds: ImageBounds) -> None:
        self._bounds = bounds
        self._root = _Folder()
        self._entries = 0

    def apply(self, entry: TarEntry, layer: int) -> Iterator[Odd]:
        """Put one entry of a layer in its place, and yield what is odd about it.

        Raises:
            LimitExceededError: There are too many entries.
        """
        self._entries += 1
        if self._entries > self._bounds.max_entries:
            limit = self._bounds.max_entries
            raise LimitExceededError(f"more than {limit} files", code="image.too-many-files")
        if entry.path.startswith("/"):
            yield Odd("image.absolute-path", "a layer holds an absolute path", entry.path)
        parts = _parts(entry.path)
        if ".." in parts:
            yield Odd("image.path-escape", "a path of a layer leaves its folder", entry.path)
            return
        if not parts:
            return  # the root itself
        try:
            above = self._resolve(parts[:-1])
        except InputError:
            yield Odd("image.path-escape", "a layer writes through a link in a circle", entry.path)
            return
        name = parts[-1]
        folder = self._make(above)
        # What a layer hides lies below it: its own files stay, whatever their order.
        if name == _OPAQUE:
            _hide_below(folder, layer)
            return
        if name.startswith(_WHITEOUT):
            gone = folder.children.get(name.removeprefix(_WHITEOUT))
            if gone is not None and not _hide_below(gone, layer) and not _is_of(gone, layer):
                del folder.children[name.removeprefix(_WHITEOUT)]
            return
        if entry.kind == "hard-link":
            target = self._target(entry)
            if target is None:
                text = "a hard link names what is not in the image"
                yield Odd("image.hard-link", text, entry.path)
                return
            entry = replace(target.entry, path=entry.path)
        self._place(folder, name, "/".join((*above, name)), entry, layer)

    def _target(self, entry: TarEntry) -> Node | None:
        """Return the file that a hard link names: in the image, by its own path."""
        parts = _parts(entry.target)
        if not parts or ".." in parts:
            return None
        try:
            found = self._at([*self._resolve(parts[:-1]), parts[-1]])
        except InputError:
            return None
        node = None if found is None else found.node
        return None if node is None or node.entry.kind == "folder" else node

    def _place(self, folder: _Folder, name: str, path: str, entry: TarEntry, layer: int) -> None:
        known = folder.children.get(name)
        node = Node(path, entry, layer)
        if known is not None and entry.kind == "folder" and _is_folder(known):
            known.node = node
        else:
            folder.children[name] = _Folder(node)

    def _resolve(self, parts: list[str]) -> list[str]:
        """Return where a folder's path leads, following links as a container would.

        Raises:
            InputError: The links go in a circle.
        """
        todo, links = list(reversed(parts)), 0
        done: list[str] = []
        while todo:
            part = todo.pop()
            if part == "..":  # only out of a link; the root is above itself
                done[-1:] = []
                continue
            found = self._at([*done, part])
            node = None if found is None else found.node
            if node is None or node.entry.kind != "link":
                done.append(part)
                continue
            links += 1
            if links > self._bounds.max_links:
                raise InputError("links in a circle", code="image.path-escape")
            if node.entry.target.startswith("/"):
                done = []
            todo += reversed([one for one in node.entry.target.split("/") if one not in ("", ".")])
        return done

    def _at(self, parts: list[str]) -> _Folder | None:
        at: _Folder | None = self._root
        for part in parts:
            at = None if at is None else at.children.get(part)
        return at

    def _make(self, parts: list[str]) -> _Folder:
        """Return a folder; a file in its way gives way."""
        at = self._root
        for part in parts:
            found = at.children.get(part)
            if found is None or not _is_folder(found):
                found = at.children[part] = _Folder()
            at = found
        return at

    def find(self, path: str) -> Node | None:
        """Return the file that a path leads to, links followed; None where there is none."""
        parts = _parts(path)
        try:
            found = self._at(self._resolve(parts))
        except InputError:
            return None
        return None if found is None else found.node

    def nodes(self) -> Iterator[Node]:
        """Yield every file, in the order of paths within a folder."""
        stack = [self._root]
        while stack:
            at = stack.pop()
            if at.node is not None:
                yield at.node
            stack += [at.children[name] for name in sorted(at.children, reverse=True)]


def _is_of(found: _Folder, layer: int) -> bool:
    return found.node is not None and found.node.layer == layer


def _hide_below(folder: _Folder, layer: int) -> bool:
    """Take away what earlier layers put into a folder; tell whether anything is left in it."""
    left = {}
    for name, inner in folder.children.items():
        kept = _hide_below(inner, layer)
        if kept or _is_of(inner, layer):
            left[name] = inner if _is_of(inner, layer) else _Folder(None, inner.children)
    folder.children = left
    return bool(left)


def _is_folder(found: _Folder) -> bool:
    return found.node is None or found.node.entry.kind == "folder"


def _parts(path: str) -> list[str]:
    return [one for one in path.split("/") if one not in ("", ".")]

"""Files that a database names, read from one folder and from nowhere else.

A database may name any path of this machine as the place of a run's files, and what is imported is
read by others. So a place counts only where it leads into the folder that was given, by no link.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from vallum.base import InputError, NotFoundError
from vallum.sdk.migrate.source import File, Holder

MAX_FILES = 10_000  # of one run or logged model, as the server takes them
_PROXY = "mlflow-artifacts"


class Folder:
    """The folder that `mlflow server --artifacts-destination` or `mlruns` is."""

    def __init__(self, root: Path) -> None:
        """Take the folder.

        Raises:
            InputError: There is none.
        """
        if not root.is_dir():
            raise InputError(f"`{root}` is not a folder", code="import.artifacts")
        self._root = root.resolve()

    def _place(self, holder: Holder) -> Path | None:
        """Return where the files of a holder are, below the root; None if they are not there."""
        parts = urlsplit(holder.place)
        path = unquote(parts.path)
        tail = ["models", holder.id] if holder.kind == "model" else [holder.id]
        usual = self._root.joinpath(holder.experiment_id, *tail, "artifacts")
        if parts.scheme == _PROXY:
            candidates = [self._root / path.strip("/")]
        elif parts.scheme in {"", "file"}:
            candidates = [self._root / path, usual]  # an absolute path replaces the root
        else:
            candidates = [usual]  # a copy of a bucket
        for one in candidates:
            resolved = one.resolve()
            if resolved.is_relative_to(self._root) and resolved != self._root and resolved.is_dir():
                return resolved
        return None

    def files(self, holder: Holder) -> Sequence[File] | None:
        """Return the files of a holder; None if there is no folder for it."""
        place = self._place(holder)
        if place is None:
            return None
        found = []
        for path, size in _walk(place):
            found.append(File(path.relative_to(place).as_posix(), size))
            if len(found) > MAX_FILES:
                raise InputError(
                    f"{holder.kind} `{holder.id[:60]}` has more than {MAX_FILES} files",
                    code="import.artifacts",
                )
        return sorted(found, key=lambda one: one.path)

    def open(self, holder: Holder, path: str) -> BinaryIO:
        """Open a file, which is no link.

        Raises:
            NotFoundError: It is not there any more, or something else is.
        """
        place = self._place(holder)
        if place is None:
            raise NotFoundError("the files are not there any more", code="import.artifacts")
        target = place / path
        try:
            if target.resolve() != target:
                raise NotFoundError("a link is not followed", code="import.artifacts")
            handle = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            raise NotFoundError(
                f"the file cannot be read: {error.strerror}", code="import.artifacts"
            ) from error
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise NotFoundError("it is no file", code="import.artifacts")
        return os.fdopen(handle, "rb")


def _walk(place: Path) -> Iterator[tuple[Path, int]]:
    """Yield regular files and their sizes; links are passed over."""
    for folder, names, files in os.walk(place, followlinks=False):
        names.sort()
        for name in files:
            path = Path(folder) / name
            found = path.lstat()
            if stat.S_ISREG(found.st_mode):
                yield path, found.st_size

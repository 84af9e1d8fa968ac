"""The digests of a folder's files: every file, hidden ones and those of `.git` too, in parallel."""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vallum.base import InputError, IntegrityError

_STEP = 1 << 20
_MAX_FILES = 1_000_000


def model_digests(model: Path, *, without: Path | None = None) -> dict[str, str]:
    """Return path to SHA-256 in hexadecimal, of every file of a folder, or of one file.

    A single file has the path `.`, as the reference tool has it: its name is not signed.

    Raises:
        InputError: There is no such file or folder, or no file in it.
        IntegrityError: It is or holds what no signature covers, or it changes while it is read.
    """
    if model.is_file() and not model.is_symlink():
        return {".": _digest(model, model.stat().st_size)}
    return folder_digests(model, without=without)


def folder_digests(folder: Path, *, without: Path | None = None) -> dict[str, str]:
    """Return path within the folder (with `/`) to SHA-256 in hexadecimal, of every file.

    What a signature cannot cover is refused instead of skipped: links, devices, and folders without
    a file below them, whose coming and going no list of files would show. Files are hashed on all
    cores that the process may use, the largest first.

    Args:
        folder: Of the model.
        without: The signature itself, where it lies within.

    Raises:
        InputError: There is no such folder, or no file in it.
        IntegrityError: It holds what no signature covers, or a file changes while it is read.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise InputError(f"`{folder}` is no file and no folder", code="signature.no-folder")
    found = sorted(_files(folder, without), key=lambda pair: -pair[1])
    if not found:
        raise InputError(f"there is no file in `{folder}`", code="signature.empty")
    if len(found) > _MAX_FILES:
        raise InputError(f"more than {_MAX_FILES} files", code="signature.too-many-files")
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        digests = list(pool.map(lambda pair: _digest(*pair), found))
    return {
        path.relative_to(folder).as_posix(): digest
        for (path, _), digest in sorted(zip(found, digests, strict=True))
    }


def _files(folder: Path, without: Path | None) -> Iterator[tuple[Path, int]]:
    empty = True
    with os.scandir(folder) as entries:
        for entry in entries:
            path = folder / entry.name
            if entry.is_dir(follow_symlinks=False):
                empty = False
                yield from _files(path, without)
            elif not entry.is_file(follow_symlinks=False):
                raise IntegrityError(
                    f"`{path}` is a link or no file, which no signature covers",
                    code="signature.special",
                )
            else:
                empty = False
                if without is None or not without.exists() or not path.samefile(without):
                    yield path, entry.stat(follow_symlinks=False).st_size
    if empty:
        raise IntegrityError(
            f"`{folder}` is empty, which no signature covers", code="signature.empty-folder"
        )


def _digest(path: Path, size: int) -> str:
    total, held = hashlib.sha256(), bytearray(_STEP)
    view, count = memoryview(held), 0
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            while read := file.readinto(held):
                total.update(view[:read])
                count += read
    except OSError as error:
        raise IntegrityError(f"`{path}` cannot be read", code="signature.unreadable") from error
    if count != size:
        raise IntegrityError(f"`{path}` changes while it is read", code="signature.changing")
    return total.hexdigest()

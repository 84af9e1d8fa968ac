"""Files that are either the old or the new one after a crash."""

import os
import secrets
from collections.abc import Iterable
from pathlib import Path


def write_atomic(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace `path` by `data`: temporary file, fsync, rename, fsync of the folder.

    Raises:
        OSError: Nothing was replaced (disk full, no right); the temporary file is removed.
    """
    write_chunks_atomic(path, (data,), mode=mode)


def write_chunks_atomic(path: Path, chunks: Iterable[bytes], *, mode: int = 0o600) -> None:
    """Replace `path` by what `chunks` yields, as `write_atomic` does; nothing if they raise.

    Raises:
        OSError: Nothing was replaced (disk full, no right); the temporary file is removed.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        try:
            for chunk in chunks:
                view = memoryview(chunk)
                while view:
                    view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames and creations in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

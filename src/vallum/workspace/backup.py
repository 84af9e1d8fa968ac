"""Backups: what is in the data folder, ciphertext and rows, and no key.

manifest.json   format, workspace id, signed checkpoint of the log, digest of the database
vallum.db       a consistent copy of the database (SQLite's own backup)
objects/…       every object, as ciphertext
"""

import hashlib
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vallum.base import UnavailableError, canonical_json
from vallum.workspace.house import House

FORMAT = "vallum.backup/1"
_CHUNK_BYTES = 1024 * 1024


def backup_chunks(house: House) -> Iterator[bytes]:
    """Yield a tar archive of the workspace as it is now.

    Raises:
        UnavailableError: The database is not SQLite: back PostgreSQL up with its own tools.
    """
    source = house.folder / "vallum.db"
    if not source.exists():
        raise UnavailableError(
            "this workspace's database is not a file",
            code="backup.database",
            hint="back up PostgreSQL with pg_dump, and the objects with your object store",
        )
    note = house.publisher.checkpoint()
    copy = Path(tempfile.mkstemp(prefix="vallum-", suffix=".db", dir=house.folder)[1])
    with sqlite3.connect(source) as reader, sqlite3.connect(copy) as writer:
        reader.backup(writer)
    reader.close()
    writer.close()
    with copy.open("rb") as file:
        database = hashlib.file_digest(file, "sha256").hexdigest()
    manifest = {
        "format": FORMAT,
        "workspace_id": house.workspace_id,
        "checkpoint": note,
        "database": f"sha256:{database}",
    }

    def chunks() -> Iterator[bytes]:
        try:
            yield from _member("manifest.json", canonical_json(manifest))
            yield from _file("vallum.db", copy)
            objects = house.folder / "objects"
            for path in sorted(objects.rglob("*")):
                if path.is_file():
                    yield from _file(f"objects/{path.relative_to(objects).as_posix()}", path)
            yield bytes(2 * tarfile.BLOCKSIZE)
        finally:
            copy.unlink(missing_ok=True)

    return chunks()


def _member(name: str, data: bytes) -> Iterator[bytes]:
    yield _header(name, len(data))
    yield data + bytes(-len(data) % tarfile.BLOCKSIZE)


def _file(name: str, path: Path) -> Iterator[bytes]:
    size = path.stat().st_size
    yield _header(name, size)
    with path.open("rb") as file:
        left = size
        while left and (chunk := file.read(min(left, _CHUNK_BYTES))):
            left -= len(chunk)
            yield chunk
    if left:
        raise UnavailableError(f"`{name}` became shorter during the backup")
    yield bytes(-size % tarfile.BLOCKSIZE)


def _header(name: str, size: int) -> bytes:
    header = tarfile.TarInfo(name)
    header.size = size
    header.mode = 0o600
    return header.tobuf(tarfile.PAX_FORMAT)

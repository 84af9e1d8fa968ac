"""The database of rpm: one header for each package, in SQLite, NDB or Berkeley DB.

Which of them it is, its first bytes say. The database is somebody else's: SQLite's is opened in
memory, without its triggers or views, and stopped when it takes long.
"""

import sqlite3
from collections.abc import Iterator

from vallum.base.errors import InputError, LimitExceededError
from vallum.scan.image.rpm_header import RpmPackage, package_of
from vallum.scan.image.rpm_older import berkeley_blobs, is_berkeley, is_ndb, ndb_blobs

_STEPS = 20_000_000  # of SQLite's machine; a read of 10,000 packages takes some 100,000


def read_rpmdb(data: bytes, *, max_packages: int) -> list[RpmPackage]:
    """Read `rpmdb.sqlite`, `Packages.db` or `Packages`.

    Raises:
        InputError: It is no such database, or a header in it is malformed.
        LimitExceededError: It holds more than `max_packages`, or takes too long.
    """
    found: list[RpmPackage] = []
    for count, blob in enumerate(_blobs(data)):
        if count >= max_packages:
            raise LimitExceededError(
                f"more than {max_packages} packages", code="image.too-many-packages"
            )
        package = package_of(blob)
        if package is not None:
            found.append(package)
    return found


def _blobs(data: bytes) -> Iterator[bytes]:
    if is_ndb(data):
        return ndb_blobs(data)
    if is_berkeley(data):
        return berkeley_blobs(data)
    return _sqlite_blobs(data)


def _sqlite_blobs(data: bytes) -> Iterator[bytes]:
    if data[:16] != b"SQLite format 3\0" or len(data) < 100:  # noqa: PLR2004 - SQLite's header
        raise InputError("no database of rpm that is known", code="image.rpm-database")
    # rpm leaves write-ahead logging on; without its other files that cannot be opened in memory.
    plain = data[:18] + b"\x01\x01" + data[20:]
    steps = 0

    def stop() -> int:
        nonlocal steps
        steps += 10_000
        return steps > _STEPS

    connection = sqlite3.connect(":memory:")
    try:
        connection.deserialize(plain)
        connection.set_progress_handler(stop, 10_000)
        connection.execute("PRAGMA trusted_schema = OFF")
        kind = connection.execute("SELECT type FROM sqlite_master WHERE name = 'Packages'")
        if kind.fetchall() != [("table",)]:
            raise InputError("no table of packages", code="image.rpm-database")
        for (blob,) in connection.execute("SELECT blob FROM Packages"):
            if not isinstance(blob, bytes):
                raise InputError("a package without a header", code="image.rpm-database")
            yield blob
    except (sqlite3.Error, MemoryError, UnicodeDecodeError) as error:  # of its message, even
        raise InputError("the database of rpm cannot be read", code="image.rpm-database") from error
    finally:
        connection.close()

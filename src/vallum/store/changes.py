"""Whether anything was committed since one looked: what asks again and again need not read then.

A *stamp* stands for all that a snapshot shows. Two that are equal had nothing committed between
them, by this process or another. SQLite counts that for each of its connections; how its files
look is in the stamp too, since who writes past SQLite is not counted (a connection that is opened
may move that as well: then all is read once more). PostgreSQL tells which transactions a snapshot
sees, and when that server started.
"""

import os
import threading
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from sqlalchemy.engine import Engine

from vallum.base import UnavailableError

T = TypeVar("T")
Stamp = tuple[object, ...]

READ_S: Final = 55.0
"""Seconds after which all is read and verified again all the same: within a minute."""

_QUERIES: Final = {
    "sqlite": "PRAGMA data_version",
    "postgresql": "SELECT pg_current_snapshot()::text, pg_postmaster_start_time()::text",
}


class Changes:
    """Holds one connection that never writes. Safe for threads."""

    def __init__(self, readers: Engine) -> None:
        self._readers = readers
        self._query = _QUERIES[readers.dialect.name]
        self._files: tuple[str, ...] = ()
        if readers.dialect.name == "sqlite" and readers.url.database:
            self._files = (readers.url.database, f"{readers.url.database}-wal")
        self._lock = threading.Lock()
        self._connection: Any = None  # the driver's
        self._opened = 0  # what one connection counts means nothing to another

    def stamp(self) -> Stamp:
        """Return what stands for the contents now.

        Raises:
            UnavailableError: The database is gone.
        """
        with self._lock:
            try:
                if self._connection is None:
                    self._open()
                cursor = self._connection.cursor()
                try:
                    row = cursor.execute(self._query).fetchone()
                finally:
                    cursor.close()
            except self._readers.dialect.loaded_dbapi.Error as error:
                self._drop()
                raise UnavailableError(
                    "the database is not available; nothing was read", code="store.unavailable"
                ) from error
            return (self._opened, *row, *(_look(file) for file in self._files))

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._drop()

    def _open(self) -> None:
        pooled = self._readers.raw_connection()
        pooled.detach()  # it takes nobody's place
        self._connection = pooled.dbapi_connection
        self._opened += 1
        if self._readers.dialect.name == "postgresql":
            self._connection.autocommit = True  # each look is a snapshot of its own

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class Commits:
    """Counts what this process commits, for who waits for it. Safe for threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.count = 0

    def tell(self) -> None:
        """Wake who waits."""
        with self._changed:
            self.count += 1
            self._changed.notify_all()

    def wait(self, seen: int, wait_s: float) -> None:
        """Wait until `count` is no longer `seen`; `wait_s` at most."""
        with self._changed:
            if self.count == seen:
                self._changed.wait(wait_s)


class Unchanged(Generic[T]):
    """Holds what was read last, for as long as nothing is committed. Safe for threads."""

    def __init__(
        self, stamp: Callable[[], Stamp], read: Callable[[], T], monotonic: Callable[[], float]
    ) -> None:
        """Prepare; nothing is read before the first question.

        Args:
            stamp: Of the database.
            read: Reads and verifies anew. What it raises is not kept: it is asked again.
            monotonic: Seconds that never go back.
        """
        self._stamp = stamp
        self._read = read
        self._monotonic = monotonic
        self._held: tuple[Stamp, float, T] | None = None

    def __call__(self) -> T:
        """Return what would be read now."""
        stamp = self._stamp()  # before reading: what is committed meanwhile is another stamp
        now_s = self._monotonic()
        held = self._held
        if held is not None and held[0] == stamp and now_s - held[1] < READ_S:
            return held[2]
        found = self._read()
        self._held = (stamp, now_s, found)
        return found

    def forget(self) -> None:
        """Read anew the next time."""
        self._held = None


def _look(path: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - asked many times a second
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

"""The database: one writer at a time, any number of consistent readers.

SQLite (the default): WAL with `synchronous=FULL`, so that a commit that returned is on the disk;
`BEGIN IMMEDIATE` for the writer. PostgreSQL: one transaction-scoped advisory lock for the writer.
Why one lock is enough: docs/adr/0002-one-writer-lock.md.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.engine import URL, Connection, Engine, make_url

from vallum.base import ConflictError, InputError, IntegrityError, UnavailableError, VallumError
from vallum.base.hosts import is_loopback
from vallum.store.changes import Changes, Commits, Stamp

WAIT_S = 10
"""Seconds to wait for the writer lock, for a connection, or for the database to answer."""

# First 8 bytes of SHA-256("vallum.writer/1") as a signed integer: any constant would do, this
# one is not taken by another program by accident. Advisory locks are per database.
WRITER_LOCK = int.from_bytes(bytes.fromhex("de4149c7191fcada"), "big", signed=True)

_CORRUPT = frozenset({"SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT"})


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A consistent view for reading."""

    connection: Connection


@dataclass(frozen=True, slots=True)
class Transaction(Snapshot):
    """The one writer's transaction; also reads what it wrote."""


class Database:
    """Holds the connections; `transaction` keeps the invariant that there is one writer."""

    def __init__(self, writers: Engine, readers: Engine) -> None:
        self._writers = writers
        self._readers = readers
        self._changes = Changes(readers)
        self.commits = Commits()

    @classmethod
    def open(cls, url: str) -> "Database":
        """Connect to `sqlite:////folder/file` or `postgresql+psycopg://user@host/name`.

        Raises:
            InputError: Another kind of database, no file, or PostgreSQL across a network
                without `sslmode=verify-full`.
            UnavailableError: It is not there, or would not keep what it confirms.
        """
        try:
            parsed = make_url(url)
        except exc.ArgumentError as error:
            raise InputError("the database address is malformed", code="store.url") from error
        if parsed.drivername in {"sqlite", "sqlite+pysqlite"}:
            database = cls(*_sqlite_engines(parsed))
        elif parsed.drivername == "postgresql+psycopg":
            database = cls(*_postgresql_engines(parsed))
        else:
            raise InputError(
                f"`{parsed.drivername}` is not a database that can be used",
                code="store.url",
                hint="use `sqlite:////folder/file` or `postgresql+psycopg://user@host/name`",
            )
        try:
            with _translated(), database._writers.connect() as connection:
                _check_durability(connection)
        except VallumError:
            database.close()
            raise
        return database

    @property
    def dialect(self) -> str:
        """Return `sqlite` or `postgresql`."""
        return self._writers.dialect.name

    def migrate(self) -> None:
        """Bring the tables to the newest form, under the writer lock; safe to repeat.

        Raises:
            UnavailableError: The database is gone, or newer than this program.
        """
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        config.set_main_option("path_separator", "os")
        with self.transaction() as tx:
            config.attributes["connection"] = tx.connection
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                raise UnavailableError(
                    "the tables are newer than this program",
                    code="store.newer",
                    hint="start the version of Vallum that wrote them, or a later one",
                ) from error

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Enter as the one writer; commit on leaving, roll back on any exception.

        Raises:
            UnavailableError: The lock was not free within `WAIT_S`, the disk is full, or the
                database is gone. Nothing was written, except with code `store.commit-unknown`:
                then the connection broke during the commit itself.
            ConflictError: A uniqueness rule would be broken.
        """
        with _translated(), self._writers.connect() as connection:
            connection.begin()
            if self.dialect == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(WRITER_LOCK)))
            try:
                yield Transaction(connection)
            except BaseException:
                connection.rollback()
                raise
            _commit(connection)
        self.commits.tell()

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Enter a consistent view; the database refuses writes through it."""
        with _translated(), self._readers.connect() as connection, connection.begin():
            yield Snapshot(connection)

    def stamp(self) -> Stamp:
        """Return what stands for all that a snapshot shows now: equal, nothing was committed.

        Raises:
            UnavailableError: The database is gone.
        """
        with _translated():
            return self._changes.stamp()

    def close(self) -> None:
        """Close every connection."""
        self._changes.close()
        self._readers.dispose()
        self._writers.dispose()


def _commit(connection: Connection) -> None:
    try:
        connection.commit()
    except exc.DBAPIError as error:
        if error.connection_invalidated or connection.closed or connection.invalidated:
            raise UnavailableError(
                "the database went away during the commit; whether it holds is unknown",
                code="store.commit-unknown",
            ) from error
        connection.rollback()
        raise


def _sqlite_engines(url: URL) -> tuple[Engine, Engine]:
    if not url.database or url.database == ":memory:" or url.query:
        raise InputError("the database address names no file", code="store.url")
    path = Path(url.database)
    try:
        # The write-ahead log takes over the mode of the main file.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise UnavailableError(
            f"the database `{path}` cannot be opened: {error.strerror}", code="store.unavailable"
        ) from error

    def engine(*, begin: str, query_only: bool, pool_size: int) -> Engine:
        made = sa.create_engine(
            url.set(drivername="sqlite+pysqlite"),
            connect_args={"timeout": WAIT_S, "check_same_thread": False},
            poolclass=sa.QueuePool,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=WAIT_S,
        )

        @event.listens_for(made, "connect")
        def prepare(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's
            connection.isolation_level = None  # `begin` below is the only BEGIN
            cursor = connection.cursor()
            for pragma in (
                "journal_mode=WAL",
                "synchronous=FULL",
                "foreign_keys=ON",
                "trusted_schema=OFF",
                "secure_delete=ON",  # erased details do not stay in free pages
                f"query_only={'ON' if query_only else 'OFF'}",
            ):
                cursor.execute(f"PRAGMA {pragma}")
            cursor.close()

        @event.listens_for(made, "begin")
        def start(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

        return made

    # One writer connection: threads queue for it in order instead of polling SQLite's lock.
    return (
        engine(begin="BEGIN IMMEDIATE", query_only=False, pool_size=1),
        engine(begin="BEGIN", query_only=True, pool_size=32),
    )


def _postgresql_engines(url: URL) -> tuple[Engine, Engine]:
    mode = url.query.get("sslmode")
    if not _is_local(url):
        if mode is None:
            url = url.update_query_dict({"sslmode": "verify-full"})
        elif mode != "verify-full":
            raise InputError(
                f"the database is across a network and `sslmode` is `{mode}`",
                code="store.url",
                hint="use `sslmode=verify-full` and `sslrootcert`",
            )
    engine = sa.create_engine(
        url,
        connect_args={
            "connect_timeout": WAIT_S,
            "options": (
                f"-c synchronous_commit=on -c lock_timeout={WAIT_S}s"
                " -c idle_in_transaction_session_timeout=60s"
            ),
        },
        pool_pre_ping=True,
        pool_timeout=WAIT_S,
        pool_size=16,
    )
    readers = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return engine, readers


def _is_local(url: URL) -> bool:
    host = url.query.get("host", url.host or "")
    if isinstance(host, tuple):
        return False
    return not host or host.startswith("/") or is_loopback(host)


def _check_durability(connection: Connection) -> None:
    """Refuse a database that would confirm a commit before it is durable."""
    if connection.dialect.name == "sqlite":
        wanted = {"journal_mode": "wal", "synchronous": "2"}
        found = {
            name: str(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()) for name in wanted
        }
    else:
        wanted = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
        found = {
            name: str(connection.exec_driver_sql(f"SHOW {name}").scalar_one()) for name in wanted
        }
    wrong = sorted(name for name in wanted if wanted[name] != found[name])
    if wrong:
        raise UnavailableError(
            f"the database has `{wrong[0]}` = `{found[wrong[0]]}`, expected `{wanted[wrong[0]]}`",
            code="store.not-durable",
            hint=f"set `{wrong[0]}` to `{wanted[wrong[0]]}`; commits could be lost otherwise",
        )


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what SQLAlchemy and the drivers raise into Vallum's errors."""
    try:
        yield
    except exc.IntegrityError as error:
        raise ConflictError(
            "a record with that id or name exists already", code="store.exists"
        ) from error
    except exc.TimeoutError as error:
        raise UnavailableError("the database is busy", code="store.busy") from error
    except exc.DBAPIError as error:
        raise _explained(error) from error
    except exc.SQLAlchemyError as error:
        raise UnavailableError("the database cannot be used", code="store.unavailable") from error


def _explained(error: exc.DBAPIError) -> VallumError:
    origin = error.orig
    name = getattr(origin, "sqlite_errorname", "") or ""
    state = getattr(origin, "sqlstate", "") or ""
    base = "_".join(name.split("_")[:2])
    if base in _CORRUPT or state[:2] == "XX":
        return IntegrityError("the database file is damaged", code="store.damaged")
    if base == "SQLITE_FULL" or state == "53100":
        return UnavailableError(
            "the disk is full; nothing was written", code="store.disk-full", hint="free some space"
        )
    if base in {"SQLITE_BUSY", "SQLITE_LOCKED"} or state == "55P03":
        return UnavailableError("the database is busy", code="store.busy")
    if state == "42P01" or (isinstance(origin, sqlite3.Error) and "no such table" in str(origin)):
        return UnavailableError("the database has no tables yet", code="store.not-migrated")
    return UnavailableError(
        "the database is not available; nothing was written", code="store.unavailable"
    )

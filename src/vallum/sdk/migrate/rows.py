"""Rows of a database that is not ours: read-only, within bounds, believed in nothing.

A SQLite file may hold views, triggers and expressions instead of the tables that MLflow makes.
Only plain tables are read, and an authorizer refuses every function, recursion and write.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from vallum.base import InputError, Secret, UnavailableError
from vallum.base.hosts import is_loopback
from vallum.sdk.migrate.source import MAX_TEXT, not_mlflow

FETCH = 1000
MAX_COLUMNS = 100
MAX_SQL = 100_000
STATEMENT_TIMEOUT_MS = 600_000
_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ}
_FUNCTIONS = {"count", "length"}
_CHECKED = frozenset({"verify-ca", "verify-full"})

Row = tuple[Any, ...]


class Rows(Protocol):
    """A database that answers `SELECT`."""

    def columns(self, table: str) -> frozenset[str]:
        """Return the columns of a plain table; none if there is no such table."""

    def select(self, query: str, values: Sequence[object] = ()) -> Iterator[Row]:
        """Yield rows; `?` stands for each value."""

    def close(self) -> None:
        """Close the connection."""


class SqliteRows:
    """A SQLite file, opened read-only."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            InputError: It cannot be opened, or is no database.
        """
        if not path.is_file():
            raise InputError(f"`{path}` is not a file", code="import.file")
        try:
            self._connection = sqlite3.connect(
                f"file:{quote(str(path.resolve()))}?mode=ro", uri=True, isolation_level=None
            )
            self._connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
            self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 4 * MAX_TEXT)
            self._connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, MAX_SQL)
            self._connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
            for pragma in ("trusted_schema = OFF", "query_only = ON", "cell_size_check = ON"):
                self._connection.execute(f"PRAGMA {pragma}")
            self._tables = self._plain_tables()
            self._connection.execute("BEGIN")  # one state of it, whoever writes meanwhile
            self._connection.set_authorizer(_authorize)
        except sqlite3.Error as error:
            raise InputError(
                f"`{path}` is not a readable SQLite database", code="import.file",
                hint="copy the file with its `-wal` beside it, or stop the server that writes it",
            ) from error  # fmt: skip

    def _plain_tables(self) -> dict[str, frozenset[str]]:
        found = self._connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
        ).fetchall()
        out = {}
        for name, sql in found:
            if not isinstance(sql, str) or not sql.upper().startswith("CREATE TABLE"):
                continue  # a virtual table is a program
            columns = self._connection.execute(
                "SELECT name FROM pragma_table_info(?)", (name,)
            ).fetchmany(MAX_COLUMNS)
            out[str(name)] = frozenset(str(one) for (one,) in columns)
        return out

    def columns(self, table: str) -> frozenset[str]:
        """Return the columns of a plain table; none if there is no such table."""
        return self._tables.get(table, frozenset())

    def select(self, query: str, values: Sequence[object] = ()) -> Iterator[Row]:
        """Yield rows; `?` stands for each value."""
        try:
            cursor = self._connection.execute(query, tuple(values))
            while rows := cursor.fetchmany(FETCH):
                yield from rows
        except sqlite3.Error as error:
            raise not_mlflow(str(error)[:200]) from error

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def _authorize(
    action: int, first: str | None, second: str | None, database: str | None, inner: str | None
) -> int:
    """Allow plain reads alone; `inner` names a trigger or view, which nothing read here has."""
    del first, database
    if inner is None and action in _ALLOWED:
        return sqlite3.SQLITE_OK
    if inner is None and action == sqlite3.SQLITE_FUNCTION and second in _FUNCTIONS:
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


class PostgresRows:
    """A PostgreSQL database in one read-only transaction."""

    def __init__(self, uri: str, password: Secret | None) -> None:
        """Connect; the password is not part of `uri`.

        Raises:
            InputError: The address is no good, holds a password, or would send one in the open.
            UnavailableError: psycopg is not installed, or the server does not answer.
        """
        try:
            import psycopg
        except ImportError as error:
            raise UnavailableError(
                "PostgreSQL needs psycopg",
                code="import.driver",
                hint="pip install 'vallum[server]'",
            ) from error
        self._psycopg = psycopg
        given = None if password is None else password.reveal().decode()
        try:
            self._connection = psycopg.connect(
                checked_postgres(uri), password=given, connect_timeout=10,
                options=f"-c statement_timeout={STATEMENT_TIMEOUT_MS}",
            )  # fmt: skip
            self._connection.read_only = True
            self._connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        except psycopg.Error as error:
            raise UnavailableError(
                "the source's PostgreSQL server refuses or does not answer",
                code="import.unreachable",
                hint="psql with the same address and PGPASSWORD tells why",
            ) from error
        self._known: dict[str, frozenset[str]] = {}

    def columns(self, table: str) -> frozenset[str]:
        """Return the columns of a plain table; none if there is no such table."""
        if table not in self._known:
            found = self.select(
                "SELECT a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
                " WHERE c.oid = to_regclass(?) AND c.relkind IN ('r', 'p')"
                " AND a.attnum > 0 AND NOT a.attisdropped",
                (table,),
            )
            self._known[table] = frozenset(str(name) for (name,) in found)
        return self._known[table]

    def select(self, query: str, values: Sequence[object] = ()) -> Iterator[Row]:
        """Yield rows; `?` stands for each value."""
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(query.replace("?", "%s").encode(), tuple(values))
                while rows := cursor.fetchmany(FETCH):
                    yield from rows
        except self._psycopg.Error as error:
            raise not_mlflow(type(error).__name__) from error

    def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(self._psycopg.Error):
            self._connection.close()


def checked_postgres(uri: str) -> str:
    """Return the address as libpq takes it, with a checked certificate off this machine.

    Raises:
        InputError: It holds a password, or would speak to another machine unchecked.
    """
    scheme, _, rest = uri.partition("://")
    parts = urlsplit(f"postgresql://{rest}")
    options = dict(parse_qsl(parts.query))
    if parts.password or {"password", "sslpassword", "passfile"} & set(options):
        raise InputError(
            "the address of the source holds a password, which every process here can read",
            code="import.password",
            hint="set PGPASSWORD, keep it in ~/.pgpass, or pass --source-secret-file FILE",
        )
    if scheme.partition("+")[0] not in {"postgresql", "postgres"}:
        raise InputError("the address is not one of PostgreSQL", code="import.url")
    if {"service", "servicefile"} & set(options):
        raise InputError("name the host of the source, not a service file", code="import.url")
    named = [options.get("host") or parts.hostname, options.get("hostaddr")]
    if not any(named):
        named = [os.environ.get(name) for name in ("PGHOST", "PGHOSTADDR", "PGSERVICE")]
    host = next((one for one in named if one and one[:1] != "/" and not is_loopback(one)), "")
    if host:
        if options.setdefault("sslmode", "verify-full") not in _CHECKED:
            raise InputError(
                f"sslmode={options['sslmode'][:20]} would not check who `{host}` is",
                code="import.tls",
                hint="use sslmode=verify-full with sslrootcert=FILE",
            )
        options.setdefault("sslrootcert", "system")
    return parts._replace(query=urlencode(options)).geturl()

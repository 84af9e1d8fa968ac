"""Which kind of source an address names."""

import os
from pathlib import Path

from vallum.base import InputError
from vallum.sdk.client import read_key_file
from vallum.sdk.migrate.rows import PostgresRows, Rows, SqliteRows
from vallum.sdk.migrate.server import ServerSource, from_environment
from vallum.sdk.migrate.source import Source
from vallum.sdk.migrate.store import SqlSource


def open_source(
    address: str, *, artifacts: Path | None = None, secret_file: Path | None = None
) -> Source:
    """Open an MLflow store for reading.

    Args:
        address: `sqlite:///PATH`, `postgresql://…`, or the address of an MLflow server.
        artifacts: Folder with the files that a database names; none are read without it.
        secret_file: 0600 file with the password or token; else MLflow's variables, or libpq's.

    Raises:
        InputError: The address is of another kind, holds a password, or names nothing readable.
        UnavailableError: The source does not answer.
    """
    secret = None if secret_file is None else read_key_file(secret_file)
    scheme = address.partition(":")[0].partition("+")[0]
    if scheme in {"http", "https"}:
        if artifacts is not None:
            raise InputError(
                "a server hands out its files itself", code="import.artifacts",
                hint="leave --artifacts out",
            )  # fmt: skip
        user, found, authority = from_environment()
        if secret is not None:
            user, found = os.environ.get("MLFLOW_TRACKING_USERNAME", ""), secret
        return ServerSource(address, user=user, secret=found, ca_file=authority)
    if scheme in {"postgresql", "postgres"}:
        return SqlSource("postgresql", PostgresRows(address, secret), artifacts)
    return SqlSource("sqlite", open_sqlite(address), artifacts)


def open_sqlite(address: str) -> Rows:
    """Open `sqlite:///PATH`, or a bare path, as rows.

    Raises:
        InputError: The address is of another kind, or no database is there.
    """
    scheme, found, rest = address.partition("://")
    if found and scheme.partition("+")[0] != "sqlite":
        raise InputError(
            f"`{scheme[:20]}` is no kind of source",
            code="import.url",
            hint="name sqlite:///PATH, postgresql://HOST/DATABASE, or https://SERVER",
        )
    return SqliteRows(Path(rest.removeprefix("/") if found else address))

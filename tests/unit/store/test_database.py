# ruff: noqa: PT012 - the block is the transaction that must fail
"""What the database does when the world fails; both kinds where it matters."""

import sqlite3
import stat
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from vallum.base import InputError, IntegrityError, UnavailableError
from vallum.store import Database
from vallum.store import database as module
from vallum.store import tables as t


def opened(tmp_path: Path) -> Database:
    database = Database.open(f"sqlite:///{tmp_path}/v.db")
    database.migrate()
    return database


def note(database: Database, key: str, value: bytes = b"") -> None:
    with database.transaction() as tx:
        tx.connection.execute(sa.insert(t.meta).values(key=key, value=value))


def keys(database: Database) -> list[str]:
    with database.snapshot() as snap:
        return list(
            snap.connection.execute(sa.select(t.meta.c.key).order_by(t.meta.c.key)).scalars()
        )


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "mysql://host/name",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:////tmp/x.db?mode=ro",
        "postgresql://host/name",
        "postgresql+psycopg://db.example/name?sslmode=prefer",
    ],
)
def test_unusable_addresses_are_refused(url: str) -> None:
    with pytest.raises(InputError) as caught:
        Database.open(url)
    assert caught.value.code == "store.url"


def test_missing_database_is_unavailable(tmp_path: Path) -> None:
    for url in (
        f"sqlite:///{tmp_path}/no/v.db",
        f"postgresql+psycopg://u@/n?host={tmp_path}&port=1",
    ):
        with pytest.raises(UnavailableError):
            Database.open(url)


def test_files_are_private_and_commits_are_durable(tmp_path: Path) -> None:
    database = opened(tmp_path)
    note(database, "a")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("v.db", "v.db-wal", "v.db-shm"), 0o600)
    with database.transaction() as tx:
        assert tx.connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert tx.connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    database.close()


def test_full_disk_writes_nothing_and_says_so(tmp_path: Path) -> None:
    database = opened(tmp_path)
    note(database, "a")
    with database.transaction() as tx:
        pages = tx.connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        tx.connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 2}")
    with pytest.raises(UnavailableError) as caught, database.transaction() as tx:
        tx.connection.execute(sa.insert(t.meta).values(key="b", value=b""))
        tx.connection.execute(sa.insert(t.meta).values(key="c", value=bytes(1_000_000)))
    assert caught.value.code == "store.disk-full"
    assert keys(database) == ["a"]
    note(database, "d")
    assert keys(database) == ["a", "d"]
    database.close()


def test_foreign_writer_makes_it_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_S", 0)
    database = opened(tmp_path)
    other = sqlite3.connect(tmp_path / "v.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UnavailableError, match="busy"):
        note(database, "a")
    other.execute("ROLLBACK")
    other.close()
    note(database, "a")
    database.close()


def test_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "v.db"
    path.write_bytes(b"this is not a database" * 1000)
    with pytest.raises(IntegrityError):
        Database.open(f"sqlite:///{path}")


def test_tables_must_be_made_first_and_not_be_newer(tmp_path: Path) -> None:
    database = Database.open(f"sqlite:///{tmp_path}/v.db")
    with pytest.raises(UnavailableError) as caught:
        keys(database)
    assert caught.value.code == "store.not-migrated"
    database.migrate()
    with database.transaction() as tx:
        tx.connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(UnavailableError) as caught:
        database.migrate()
    assert caught.value.code == "store.newer"
    database.close()


def test_what_is_written_past_the_database_moves_its_stamp(tmp_path: Path) -> None:
    database = opened(tmp_path)
    note(database, "a")
    stamps = [database.stamp()]
    assert database.stamp() == stamps[0]
    data = (tmp_path / "v.db").read_bytes()
    with (tmp_path / "v.db").open("r+b") as file:  # the same bytes, at another time
        file.write(data)
    stamps.append(database.stamp())
    (tmp_path / "copy").write_bytes(data)
    (tmp_path / "copy").rename(tmp_path / "v.db")
    stamps.append(database.stamp())
    assert len(set(stamps)) == 3
    database.close()


def test_a_database_that_went_away_has_no_stamp_and_another_when_it_is_back(
    tmp_path: Path,
) -> None:
    database = opened(tmp_path)
    before = database.stamp()
    database._changes._connection.close()  # as PostgreSQL ends a session
    with pytest.raises(UnavailableError):
        database.stamp()
    assert database.stamp() != before
    database.close()


def test_who_waits_for_a_commit_is_woken_by_one_and_by_none_that_failed(tmp_path: Path) -> None:
    database = opened(tmp_path)
    seen = database.commits.count
    with pytest.raises(RuntimeError), database.transaction():
        raise RuntimeError
    assert database.commits.count == seen
    waiting = threading.Thread(target=database.commits.wait, args=(seen, 30.0))
    waiting.start()
    note(database, "a")
    waiting.join(10.0)
    assert not waiting.is_alive()
    database.commits.wait(seen, 30.0)  # it came already
    database.close()

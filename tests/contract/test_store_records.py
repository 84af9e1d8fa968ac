# ruff: noqa: PT012 - the block is the transaction that must fail
"""The contract of the database and the records in it, on SQLite and a real PostgreSQL."""

import threading
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from fixtures_store import make_permit

from vallum.base import (
    ConflictError,
    IntegrityError,
    NotFoundError,
    Permit,
    RefusedError,
    UnavailableError,
)
from vallum.crypto import Keyring
from vallum.schema import Endpoint, RoleAssignment
from vallum.store import AUTHORITY_KINDS, Database, Records, Unchanged
from vallum.store import tables as t
from vallum.store.changes import READ_S

WS = "ws-test"
KIND = "role-assignment"


@pytest.fixture
def permit() -> Permit:
    return make_permit(WS)


def assignment(number: int, scope: str = WS) -> RoleAssignment:
    return RoleAssignment(
        id=f"ra-{number:04}", role_id="role-1", principal_id="user-1", scope=scope
    )


def endpoint(number: int, description: str = "") -> Endpoint:
    return Endpoint(
        id=f"ep-{number:04}", name=f"e{number}", owner_id="u", created_at="t",
        description=description,
    )  # fmt: skip


@pytest.fixture
def filled(database: Database, records: Records, permit: Permit) -> Database:
    with database.transaction() as tx:
        for number in range(3):
            records.put(
                tx, permit, KIND, assignment(number), on=WS, parent_id=WS, name=f"Name{number}"
            )
            records.put(
                tx, permit, "endpoint", endpoint(number), on=WS, parent_id=WS, name=f"e{number}"
            )
    return database


def behind(database: Database, statement: sa.Executable) -> None:
    """Change the database as someone would who has its file or password but no key."""
    with database.transaction() as tx:
        tx.connection.execute(statement)


def test_tables_are_those_that_the_migrations_make(database: Database) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    database.migrate()
    with database.snapshot() as snap:
        context = MigrationContext.configure(
            snap.connection,
            opts={
                "include_name": lambda name, kind, _: (kind, name) != ("table", "alembic_version")
            },
        )
        assert compare_metadata(context, t.metadata) == []


def test_put_get_find_and_list_agree(filled: Database, records: Records) -> None:
    with filled.snapshot() as snap:
        assert records.get(snap, KIND, "ra-0001", RoleAssignment) == assignment(1)
        assert records.find(snap, KIND, WS, "nAME1", RoleAssignment) == assignment(1)
        assert records.find(snap, KIND, WS, "other", RoleAssignment) is None
        assert records.list(snap, KIND, RoleAssignment, after="ra-0000", limit=1) == [assignment(1)]
        assert records.list(snap, "endpoint", Endpoint, parent_id="elsewhere") == []
        with pytest.raises(NotFoundError):
            records.get(snap, "endpoint", "ep-9999", Endpoint)
        macs = {(kind, id_): tag for kind, id_, tag in records.verify_rows(snap)}
    assert len(macs) == 6


def test_change_names_the_mac_of_the_row(
    database: Database, records: Records, permit: Permit
) -> None:
    with database.transaction() as tx:
        change = records.put(tx, permit, "endpoint", endpoint(1), on=WS)
        assert records.read(tx, "endpoint", "ep-0001", Endpoint).mac == change.mac
        assert records.remove(tx, permit, "endpoint", "ep-0001", on=WS).mac == ""
        with pytest.raises(NotFoundError):
            records.remove(tx, permit, "endpoint", "ep-0001", on=WS)


def test_nothing_is_written_without_a_permit_for_it(database: Database, records: Records) -> None:
    with pytest.raises(RefusedError), database.transaction() as tx:
        records.put(tx, make_permit("ws-other"), "endpoint", endpoint(1), on=WS)
    with database.snapshot() as snap:
        assert list(records.verify_rows(snap)) == []


def test_a_stale_generation_or_a_taken_name_is_a_conflict(
    filled: Database, records: Records, permit: Permit
) -> None:
    with filled.snapshot() as snap:
        seen = records.read(snap, "endpoint", "ep-0001", Endpoint).generation
    with filled.transaction() as tx:
        records.put(tx, permit, "endpoint", endpoint(1, "a"), on=WS, expect=seen)
    with (
        pytest.raises(ConflictError, match="at generation 2, expected 1"),
        filled.transaction() as tx,
    ):
        records.put(tx, permit, "endpoint", endpoint(1, "b"), on=WS, expect=seen)
    with pytest.raises(ConflictError, match="exists already"), filled.transaction() as tx:
        records.put(tx, permit, "endpoint", endpoint(7), on=WS, parent_id=WS, name="E2")


def test_an_exception_undoes_the_whole_transaction(
    filled: Database, records: Records, permit: Permit
) -> None:
    with pytest.raises(KeyError), filled.transaction() as tx:
        records.put(tx, permit, KIND, assignment(9), on=WS)
        records.remove(tx, permit, KIND, "ra-0000", on=WS)
        records.load_authority(tx)
        raise KeyError
    with filled.snapshot() as snap:
        loaded = records.load_authority(snap)
    assert loaded.all(KIND, RoleAssignment) == tuple(assignment(n) for n in range(3))
    assert loaded.generation == 3


def test_every_change_of_authority_moves_generation_and_root(
    filled: Database, records: Records, permit: Permit
) -> None:
    seen = []
    with filled.transaction() as tx:
        seen.append((records.authority_generation(tx), records.authority_root(tx)))
        records.put(tx, permit, KIND, assignment(1), on=WS)
        seen.append((records.authority_generation(tx), records.authority_root(tx)))
        records.remove(tx, permit, KIND, "ra-0001", on=WS)
        seen.append((records.authority_generation(tx), records.authority_root(tx)))
        records.put(tx, permit, "endpoint", endpoint(1), on=WS)
        assert (records.authority_generation(tx), records.authority_root(tx)) == seen[-1]
    assert [generation for generation, _ in seen] == [3, 4, 5]
    assert len({root for _, root in seen}) == 3


def test_a_snapshot_does_not_move_and_cannot_write(
    filled: Database, records: Records, permit: Permit
) -> None:
    with filled.snapshot() as snap:
        before = records.load_authority(snap)
        with filled.transaction() as tx:
            records.put(tx, permit, KIND, assignment(9), on=WS)
        assert records.load_authority(snap).root == before.root
        with pytest.raises(UnavailableError), filled.snapshot() as other:
            other.connection.execute(sa.delete(t.records))


def test_writers_queue_and_lose_nothing(
    database: Database, records: Records, permit: Permit
) -> None:
    def work(worker: int) -> None:
        for number in range(5):
            with database.transaction() as tx:
                records.put(tx, permit, KIND, assignment(worker * 100 + number), on=WS)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.snapshot() as snap:
        loaded = records.load_authority(snap)
    assert (len(loaded.all(KIND, RoleAssignment)), loaded.generation) == (20, 20)


def test_sets_stay_readable_through_changes_by_another_process(
    filled: Database, records: Records, keyring: Keyring, permit: Permit
) -> None:
    other = Records(keyring)
    for number in (5, 6):
        with filled.snapshot() as snap:
            assert records.get(snap, KIND, "ra-0001", RoleAssignment) == assignment(1)
        with filled.transaction() as tx:
            other.put(tx, permit, KIND, assignment(number), on=WS)
    with filled.transaction() as tx:
        other.remove(tx, permit, KIND, "ra-0000", on=WS)
    with filled.snapshot() as snap:
        assert [one.id for one in records.list(snap, KIND, RoleAssignment)] == [
            "ra-0001", "ra-0002", "ra-0005", "ra-0006",
        ]  # fmt: skip


ROW_EDITS: dict[str, Callable[[], dict[str, object]]] = {
    "kind": lambda: {"kind": "role"},
    "id": lambda: {"id": "ra-0009"},
    "parent_id": lambda: {"parent_id": "ws-other"},
    "name_key": lambda: {"name_key": "forged"},
    "no name": lambda: {"name_key": None},
    "content": lambda: {"content": b"{}"},
    "generation": lambda: {"generation": 99},
    "mac": lambda: {"mac": bytes(32)},
    "short mac": lambda: {"mac": b""},
}


@pytest.mark.parametrize("edit", ROW_EDITS)
@pytest.mark.parametrize("kind", [KIND, "endpoint"])
def test_an_edited_row_is_refused(filled: Database, records: Records, kind: str, edit: str) -> None:
    id_ = {KIND: "ra-0001", "endpoint": "ep-0001"}[kind]
    behind(filled, sa.update(t.records).where(t.records.c.id == id_).values(ROW_EDITS[edit]()))
    with filled.snapshot() as snap:
        with pytest.raises(IntegrityError):
            list(records.verify_rows(snap))
        if kind == KIND:
            with pytest.raises(IntegrityError):
                records.load_authority(snap)


@pytest.mark.parametrize("warm", [False, True])
def test_a_removed_authority_row_is_missed(
    filled: Database, records: Records, *, warm: bool
) -> None:
    if warm:
        with filled.snapshot() as snap:
            records.load_authority(snap)
    behind(filled, sa.delete(t.records).where(t.records.c.id == "ra-0001"))
    with filled.snapshot() as snap:
        with pytest.raises(IntegrityError):
            records.load_authority(snap)
        with pytest.raises(IntegrityError):
            records.get(snap, KIND, "ra-0001", RoleAssignment)
        with pytest.raises(IntegrityError):
            records.find(snap, KIND, WS, "Name1", RoleAssignment)
        with pytest.raises(IntegrityError):
            records.list(snap, KIND, RoleAssignment)


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("change", ["replaced", "removed"])
def test_an_older_authority_row_does_not_come_back(
    filled: Database, records: Records, permit: Permit, change: str, *, warm: bool
) -> None:
    with filled.transaction() as tx:
        old = (
            tx.connection.execute(sa.select(t.records).where(t.records.c.id == "ra-0001"))
            .one()
            ._asdict()
        )
        if change == "replaced":
            records.put(tx, permit, KIND, assignment(1, "narrower"), on=WS)
        else:
            records.remove(tx, permit, KIND, "ra-0001", on=WS)
    if warm:
        with filled.snapshot() as snap:
            records.load_authority(snap)
    behind(filled, sa.delete(t.records).where(t.records.c.id == "ra-0001"))
    behind(filled, sa.insert(t.records).values(old))
    with filled.snapshot() as snap:
        with pytest.raises(IntegrityError):
            records.get(snap, KIND, "ra-0001", RoleAssignment)
        with pytest.raises(IntegrityError):
            records.load_authority(snap)


def test_writing_over_an_older_row_does_not_launder_it(
    filled: Database, records: Records, permit: Permit
) -> None:
    with filled.transaction() as tx:
        old = (
            tx.connection.execute(sa.select(t.records).where(t.records.c.id == "ra-0001"))
            .one()
            ._asdict()
        )
        records.put(tx, permit, KIND, assignment(1, "narrower"), on=WS)
    behind(filled, sa.update(t.records).where(t.records.c.id == "ra-0001").values(old))
    with filled.transaction() as tx:
        records.put(tx, permit, KIND, assignment(1, "third"), on=WS)
    with filled.snapshot() as snap, pytest.raises(IntegrityError):
        records.load_authority(snap)


@pytest.mark.parametrize("column", ["count", "nonce", "accumulator", "generation", "mac", "kind"])
def test_an_edited_set_root_is_refused(filled: Database, records: Records, column: str) -> None:
    forged = {"count": 7, "generation": 7, "kind": "role"}.get(column, bytes(32))
    behind(filled, sa.update(t.set_roots).values({column: forged}))
    with filled.snapshot() as snap, pytest.raises(IntegrityError):
        records.load_authority(snap)


def test_rows_and_root_of_one_kind_cannot_be_rolled_back_together(
    filled: Database, records: Records, permit: Permit
) -> None:
    with filled.transaction() as tx:
        row = (
            tx.connection.execute(sa.select(t.records).where(t.records.c.id == "ra-0001"))
            .one()
            ._asdict()
        )
        root = tx.connection.execute(sa.select(t.set_roots)).one()._asdict()
        records.put(tx, permit, KIND, assignment(1, "narrower"), on=WS)
    behind(filled, sa.update(t.records).where(t.records.c.id == "ra-0001").values(row))
    behind(filled, sa.update(t.set_roots).values(root))
    with filled.snapshot() as snap, pytest.raises(IntegrityError, match="authority generation"):
        records.load_authority(snap)


@pytest.mark.parametrize("table", [t.set_roots, t.meta], ids=lambda table: table.name)
def test_removed_roots_are_missed(filled: Database, records: Records, table: sa.Table) -> None:
    behind(filled, sa.delete(table))
    with filled.snapshot() as snap, pytest.raises(IntegrityError):
        records.load_authority(snap)
    if table is t.set_roots:
        behind(filled, sa.delete(t.meta))  # all roots gone, rows left over
        with filled.snapshot() as snap, pytest.raises(IntegrityError):
            records.load_authority(snap)


def test_another_workspaces_rows_are_refused(
    filled: Database, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from vallum.crypto import FileKeyProvider

    provider = FileKeyProvider.create(tmp_path_factory.mktemp("other") / "keys")
    other = Records(Keyring.create(provider, "ws-other")[0])
    with filled.snapshot() as snap:
        with pytest.raises(IntegrityError):
            other.load_authority(snap)
        with pytest.raises(IntegrityError):
            other.get(snap, "endpoint", "ep-0001", Endpoint)


def test_authority_kinds_cover_access_and_keys() -> None:
    assert {"role", "role-assignment", "deny-assignment", "principal", "credential",
            "wrapped-key", "deployment"} <= AUTHORITY_KINDS  # fmt: skip


def test_a_connection_that_dies_in_a_transaction_changes_nothing(
    postgresql: Callable[[], str], records: Records, permit: Permit
) -> None:
    database = Database.open(postgresql())
    database.migrate()
    with pytest.raises(UnavailableError), database.transaction() as tx:
        records.put(tx, permit, KIND, assignment(1), on=WS)
        pid = tx.connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        with database.snapshot() as snap:
            snap.connection.exec_driver_sql(f"SELECT pg_terminate_backend({pid}, 5000)")
        records.put(tx, permit, KIND, assignment(2), on=WS)
    with database.transaction() as tx:  # and the lock is free
        assert records.load_authority(tx).generation == 0
    database.close()


@pytest.mark.parametrize("moment", ["before", "commit"])
def test_a_connection_that_dies_at_commit_is_told_apart(
    postgresql: Callable[[], str], records: Records, permit: Permit, moment: str
) -> None:
    database = Database.open(postgresql())
    database.migrate()
    with pytest.raises(UnavailableError) as caught, database.transaction() as tx:
        records.put(tx, permit, KIND, assignment(1), on=WS)
        pid = tx.connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        with database.snapshot() as snap:
            snap.connection.exec_driver_sql(f"SELECT pg_terminate_backend({pid}, 5000)")
        if moment == "before":
            tx.connection.exec_driver_sql("SELECT 1")
    assert (
        caught.value.code
        == {
            "before": "store.unavailable",
            "commit": "store.commit-unknown",
        }[moment]
    )
    database.close()


def test_the_stamp_moves_with_each_commit_and_not_otherwise(
    filled: Database, database_url: str
) -> None:
    for _ in range(2):  # SQLite touches its files when it opens a connection, as the first does
        stamps = [filled.stamp()]
        with filled.snapshot() as snap:
            snap.connection.execute(sa.select(t.records)).all()
    assert filled.stamp() == stamps[0]
    other = Database.open(database_url)
    for by in (filled, other, filled):
        behind(by, sa.update(t.records).values(name_key=t.records.c.name_key))
        stamps.append(filled.stamp())
        assert filled.stamp() == stamps[-1]
    other.close()
    assert len(set(stamps)) == 4


def test_what_was_read_is_read_again_once_anything_was_committed(filled: Database) -> None:
    now_s = 0.0
    read: list[int] = []

    def count() -> int:
        with filled.snapshot() as snap:
            found = snap.connection.execute(
                sa.select(sa.func.count()).select_from(t.records)
            ).scalar_one()
        read.append(found)
        return found

    held = Unchanged(filled.stamp, count, lambda: now_s)
    held()  # opens what it needs, which may touch the files
    held()
    read.clear()
    held.forget()
    assert [held(), held()] == [6, 6]
    assert read == [6]
    behind(filled, sa.delete(t.records).where(t.records.c.id == "ep-0001"))
    assert [held(), held()] == [5, 5]
    assert read == [6, 5]
    now_s = READ_S  # whatever was not seen is within a minute
    assert held() == 5
    assert read == [6, 5, 5]

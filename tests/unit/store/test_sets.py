"""Any history of changes adds up; any exchange of rows behind the server's back is found."""

import tempfile
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.base import IntegrityError, Permit
from vallum.crypto import FileKeyProvider, Keyring
from vallum.schema import RoleAssignment
from vallum.store import Database, Records
from vallum.store import tables as t

KIND = "role-assignment"
OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["put", "remove"]), st.integers(0, 4), st.booleans()),
    min_size=1,
    max_size=12,
)


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    provider = FileKeyProvider.create(tmp_path_factory.mktemp("keys") / "keys")
    return Keyring.create(provider, "ws")[0]


def rows(database: Database) -> list[dict[str, object]]:
    with database.snapshot() as snap:
        found = snap.connection.execute(sa.select(t.records).order_by(t.records.c.id))
        return [dict(row._mapping) for row in found]


@settings(max_examples=25)
@given(operations=OPERATIONS, restore=st.integers(0, 11))
def test_every_history_adds_up_and_no_older_table_passes(
    keyring: Keyring, operations: list[tuple[str, int, bool]], restore: int
) -> None:
    permit = Permit(
        request_digest="", entry_id="", principal_id="", grants=[("a", "ws")],
        lifetime_s=3600, monotonic=time.monotonic,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        database = Database.open(f"sqlite:///{Path(folder)}/v.db")
        database.migrate()
        records = Records(keyring)
        model: dict[str, RoleAssignment] = {}
        history = [rows(database)]
        for step, (verb, number, read_between) in enumerate(operations):
            id_ = f"ra-{number}"
            if verb == "remove" and id_ not in model:
                continue
            with database.transaction() as tx:
                if verb == "put":
                    model[id_] = RoleAssignment(
                        id=id_, role_id=str(step), principal_id="u", scope="ws"
                    )
                    records.put(tx, permit, KIND, model[id_], on="ws")
                else:
                    del model[id_]
                    records.remove(tx, permit, KIND, id_, on="ws")
            history.append(rows(database))
            if read_between:
                with database.snapshot() as snap:
                    records.list(snap, KIND, RoleAssignment)
        expected = tuple(model[id_] for id_ in sorted(model))
        for reader in (records, Records(keyring)):
            with database.snapshot() as snap:
                assert tuple(reader.list(snap, KIND, RoleAssignment)) == expected
                loaded = reader.load_authority(snap)
            assert loaded.all(KIND, RoleAssignment) == expected
            assert loaded.generation == len(history) - 1
        older = history[restore % len(history)]
        if older != history[-1]:
            with database.transaction() as tx:
                tx.connection.execute(sa.delete(t.records))
                if older:
                    tx.connection.execute(sa.insert(t.records), older)
            for reader in (records, Records(keyring)):
                with database.snapshot() as snap:
                    with pytest.raises(IntegrityError):
                        reader.load_authority(snap)
                    with pytest.raises(IntegrityError):
                        reader.list(snap, KIND, RoleAssignment)
        database.close()

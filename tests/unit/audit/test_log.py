"""The log on a real database: permits, commitments, and every way of tampering behind its back."""

import contextlib
import io
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from vallum.audit import (
    AdmissionRefusal,
    FileAnchor,
    Log,
    LogKeys,
    Publisher,
    Refusals,
    Tiles,
    export_chunks,
    verify_checkpoint,
    verify_export,
    verify_log,
)
from vallum.base import IntegrityError, ManualClock, NotFoundError, RefusedError, new_id
from vallum.base.proofs import inclusion_root, verify_consistency
from vallum.crypto import FileKeyProvider, Keyring, SigningKey
from vallum.schema import (
    Ask,
    Caller,
    Decision,
    Entry,
    EntryKind,
    PrincipalKind,
    Reason,
    Resource,
)
from vallum.schema.api import VerifyFinding
from vallum.store import Database, Records

ROOT = Path(__file__).resolve().parents[3]
START = datetime(2026, 11, 20, tzinfo=UTC)


@dataclass
class World:
    """A log with everything around it."""

    folder: Path
    database: Database
    log: Log
    tiles: Tiles
    anchor: FileAnchor
    publisher: Publisher
    clock: ManualClock

    @property
    def file(self) -> Path:
        return self.folder / "vallum.db"

    def fill(self, count: int) -> None:
        for start in range(0, count, 500):
            self.log.append_many(
                [(entry(number), None) for number in range(start, min(count, start + 500))]
            )

    def findings(self) -> list[VerifyFinding]:
        with self.database.snapshot() as snapshot:
            report, _ = verify_log(snapshot, self.log, self.tiles, [self.anchor])
        return report.findings

    def sql(self, *statements: str) -> None:
        """Do to the database what an operator with a shell can do."""
        with sqlite3.connect(self.file) as connection:
            for statement in statements:
                connection.execute(statement)
        connection.close()


def entry(number: int) -> Entry:
    return Entry(
        id=str(new_id("ent")),
        at=f"2026-11-20T00:00:{number % 60:02d}.{number // 60:06d}Z"
        if number < 60
        else "2026-11-20T00:01:00.000000Z",
        kind=EntryKind.DECISION,
        step="data.show",
        principal_id="user-1",
        resources=(f"data-{number}",),
    )


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    folder = tmp_path / "data"
    folder.mkdir()
    clock = ManualClock(START)
    keyring, _ = Keyring.create(FileKeyProvider.create(tmp_path / "keys"), "ws-1")
    database = Database.open(f"sqlite:///{folder}/vallum.db")
    database.migrate()
    log = Log(database, Records(keyring), LogKeys(keyring), clock=clock, origin="vallum/ws-1")
    tiles = Tiles(folder / "log")
    anchor = FileAnchor(tmp_path / "keys" / "anchor")
    made = World(
        folder, database, log, tiles, anchor, Publisher(database, log, tiles, [anchor]), clock
    )
    yield made
    database.close()


def decision(*, allowed: bool = True, concealed: bool = False) -> Decision:
    resource = Resource(id="data-1", kind="data", chain=("data-1", "ws-1"))
    return Decision(
        allowed=allowed,
        caller=Caller(id="user-1", kind=PrincipalKind.USER, name="ana"),
        asks=(Ask(action="data/read", resource=resource),),
        request_digest="sha256:00",
        reasons=(Reason(kind="default", id="", text="`data/read` is not granted on `data-1`"),),
        generation=0,
        concealed=concealed,
    )


# -- permits ------------------------------------------------------------------------------------


def test_an_admitted_effect_is_one_entry_with_what_it_changed(world: World) -> None:
    with world.log.transaction() as tx:
        permit = world.log.admit(tx, decision(), step="data.show", kind=EntryKind.DECISION)
        permit.require_valid("data-1")
        world.log.seal(tx, permit, details={"note": "personal"})
    with world.database.snapshot() as snapshot:
        (logged,) = world.log.entries(snapshot)
        assert logged.entry.actions == ("data/read",)
        assert b"personal" not in logged.leaf
        assert world.log.details(snapshot, logged) == b'{"note":"personal"}'


@pytest.mark.guarantee("G10")
def test_an_effect_that_was_not_logged_does_not_commit(world: World) -> None:
    with pytest.raises(IntegrityError, match="not logged"), world.log.transaction() as tx:
        world.log.admit(tx, decision(), step="data.show", kind=EntryKind.DECISION)
    with world.database.snapshot() as snapshot:
        assert world.log.entries(snapshot) == []


@pytest.mark.parametrize("concealed", [False, True])
def test_a_refusal_is_logged_before_it_is_raised(world: World, concealed: bool) -> None:  # noqa: FBT001
    with pytest.raises(AdmissionRefusal) as caught, world.log.transaction() as tx:
        world.log.admit(
            tx, decision(allowed=False, concealed=concealed), step="s", kind=EntryKind.DECISION
        )
    error = caught.value.error
    assert isinstance(error, NotFoundError if concealed else RefusedError)
    assert ("data-1" in error.message) is not concealed
    with world.database.snapshot() as snapshot:
        (logged,) = world.log.entries(snapshot)
    assert logged.entry.kind is EntryKind.REFUSAL
    assert not logged.entry.allowed


def test_a_permit_is_sealed_in_its_own_transaction_only(world: World) -> None:
    with world.log.transaction() as tx:
        permit = world.log.admit(tx, decision(), step="s", kind=EntryKind.DECISION)
        world.log.seal(tx, permit)
    with pytest.raises(IntegrityError, match="another transaction"), world.log.transaction() as tx:
        world.log.seal(tx, permit)


def test_times_never_go_back_even_if_the_clock_does(world: World) -> None:
    world.clock.advance(100)
    for _ in range(2):
        with world.log.transaction() as tx:
            world.log.note(tx, kind=EntryKind.DECISION, step="s", principal_id="p")
        world.clock._now = START  # the machine's clock is set back
    assert world.findings() == []


# -- proofs and exports -------------------------------------------------------------------------


def test_receipts_and_consistency_hold_as_the_log_grows(world: World) -> None:
    world.fill(300)
    first = world.publisher.checkpoint()
    seen = verify_checkpoint(first, world.log.verify_key, origin="vallum/ws-1")
    world.fill(700)
    path, note = world.publisher.inclusion(299)
    now = verify_checkpoint(note, world.log.verify_key, origin="vallum/ws-1")
    with world.database.snapshot() as snapshot:
        logged = world.log.entries(snapshot, after=298, limit=1)[0]
    assert inclusion_root(world.log.hash_of(logged), 299, now.size, path) == now.root
    path, _ = world.publisher.consistency(seen.size, now.size)
    verify_consistency(seen.size, seen.root, now.size, now.root, path)
    assert world.anchor.newest() == note


def export(world: World, target: Path) -> Path:
    note = world.publisher.checkpoint()
    data = b"".join(export_chunks(world.database, world.log, note))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(target, filter="data")
    return target


def alone(folder: Path, *arguments: str) -> int:
    """Run the stand-alone verifier as an auditor does: no vallum can be imported."""
    done = subprocess.run(  # noqa: S603 - our own tool
        [sys.executable, "-I", str(ROOT / "tools/verify_export.py"), str(folder), *arguments],
        check=False,
        capture_output=True,
    )
    return done.returncode


def test_an_export_verifies_with_and_without_vallum(world: World, tmp_path: Path) -> None:
    world.fill(20)
    folder = export(world, tmp_path / "export")
    assert verify_export(folder, key=world.log.verify_key).findings == []
    assert alone(folder) == 0
    other = tmp_path / "other.pem"
    other.write_bytes(SigningKey.generate().verify_key.to_pem())
    assert alone(folder, "--key", str(other)) == 5
    assert verify_export(folder, key=SigningKey.generate().verify_key).findings


@pytest.mark.guarantee("G7")
def test_every_change_to_an_export_is_found(world: World, tmp_path: Path) -> None:
    world.fill(3)
    folder = export(world, tmp_path / "export")
    leaves = (folder / "leaves.bin").read_bytes()
    for position in range(len(leaves)):
        changed = bytearray(leaves)
        changed[position] ^= 1
        (folder / "leaves.bin").write_bytes(bytes(changed))
        assert verify_export(folder).findings, position
    (folder / "leaves.bin").write_bytes(leaves[: -len(leaves) // 3])
    assert verify_export(folder).findings
    assert alone(folder) == 5


@pytest.mark.guarantee("G7")
def test_an_export_that_misses_what_an_anchor_saw_is_found(world: World, tmp_path: Path) -> None:
    world.fill(10)
    old = export(world, tmp_path / "old")
    world.fill(5)
    newer = world.publisher.checkpoint()
    assert [one.code for one in verify_export(old, anchor=newer).findings] == ["audit.truncated"]


# -- tampering ----------------------------------------------------------------------------------


def tampered(world: World, *statements: str) -> list[VerifyFinding]:
    world.fill(20)
    world.publisher.checkpoint()
    assert world.findings() == []
    world.sql(*statements)
    return world.findings()


@pytest.mark.guarantee("G7")
@pytest.mark.parametrize("position", [0, 7, 19])
def test_an_edit_is_found_with_its_position(world: World, position: int) -> None:
    found = tampered(
        world,
        "UPDATE log_entries SET leaf = CAST(replace(CAST(leaf AS TEXT), 'user-1', 'user-2')"  # noqa: S608
        f" AS BLOB) WHERE idx = {position}",
    )
    assert ("audit.changed", position) in {(one.code, one.position) for one in found}


@pytest.mark.guarantee("G7")
def test_a_deleted_entry_is_found_with_its_position(world: World) -> None:
    found = tampered(world, "DELETE FROM log_entries WHERE idx = 7")
    assert ("audit.missing", 7) in {(one.code, one.position) for one in found}


@pytest.mark.guarantee("G7")
def test_a_cut_tail_is_found(world: World) -> None:
    found = tampered(world, "DELETE FROM log_entries WHERE idx >= 15")
    assert ("audit.truncated", 15) in {(one.code, one.position) for one in found}


@pytest.mark.guarantee("G7")
def test_swapped_entries_are_found_with_both_positions(world: World) -> None:
    found = tampered(
        world,
        "UPDATE log_entries SET idx = -1 WHERE idx = 3",
        "UPDATE log_entries SET idx = 3 WHERE idx = 4",
        "UPDATE log_entries SET idx = 4 WHERE idx = -1",
    )
    changed = {one.position for one in found if one.code == "audit.changed"}
    assert {3, 4} <= changed


@pytest.mark.guarantee("G7")
def test_an_inserted_entry_is_found(world: World) -> None:
    found = tampered(
        world, "INSERT INTO log_entries SELECT 20, 'ent-forged', leaf, NULL FROM log_entries"
        " WHERE idx = 5",
    )  # fmt: skip
    assert ("audit.surplus", 20) in {(one.code, one.position) for one in found}


def test_a_changed_head_closes_the_log(world: World) -> None:
    world.fill(5)
    world.sql("UPDATE log_head SET size = 4")
    with pytest.raises(IntegrityError, match="head of the log was changed"):
        world.fill(1)
    assert "audit.head" in {one.code for one in world.findings()}
    world.sql("DELETE FROM log_head")
    with pytest.raises(IntegrityError, match="head of the log is missing"):
        world.fill(1)


def test_changed_details_are_found_and_erased_ones_are_no_finding(world: World) -> None:
    world.log.append_many([(entry(1), {"who": "ana"}), (entry(2), {"who": "bo"})])
    world.sql("UPDATE log_entries SET details = NULL WHERE idx = 0")
    assert world.findings() == []
    world.sql("UPDATE log_entries SET details = zeroblob(100) WHERE idx = 1")
    assert {(one.code, one.position) for one in world.findings()} == {("audit.details", 1)}


@pytest.mark.guarantee("G7")
def test_a_swapped_older_copy_is_refused_at_opening(world: World) -> None:
    world.fill(10)
    world.publisher.checkpoint()
    copy = world.folder.with_name("copy")
    with (
        contextlib.closing(sqlite3.connect(world.file)) as reader,
        contextlib.closing(sqlite3.connect(copy)) as writer,
    ):
        reader.backup(writer)
    world.fill(10)
    world.publisher.checkpoint()
    world.database.close()
    for suffix in ("-wal", "-shm"):
        world.file.with_name(world.file.name + suffix).unlink(missing_ok=True)
    shutil.copy(copy, world.file)
    again = Database.open(f"sqlite:////{str(world.file).lstrip('/')}")
    log = Log(again, world.log._records, world.log._keys, clock=world.clock, origin="vallum/ws-1")
    publisher = Publisher(again, log, world.tiles, [world.anchor])
    with pytest.raises(IntegrityError, match="rolled back") as caught:
        publisher.check_anchors()
    again.close()
    assert caught.value.code == "audit.rollback"


@pytest.mark.guarantee("G7")
def test_a_history_rewritten_with_the_keys_is_refused_by_the_anchor(world: World) -> None:
    """Whoever holds the keys can sign anything; what was anchored elsewhere still tells."""
    world.fill(10)
    world.publisher.checkpoint()
    kept = world.anchor.newest()
    world.sql("DELETE FROM log_entries", "DELETE FROM log_head", "DELETE FROM checkpoints")
    world.fill(12)
    world.anchor.keep(kept)
    with pytest.raises(IntegrityError, match="rewritten") as caught:
        world.publisher.check_anchors()
    assert caught.value.code == "audit.fork"


def test_a_database_swapped_under_a_running_process_moves_no_anchor(world: World) -> None:
    world.fill(10)
    world.publisher.checkpoint()
    world.sql(
        "CREATE TABLE old AS SELECT * FROM log_entries",
        "CREATE TABLE old_head AS SELECT * FROM log_head",
        "CREATE TABLE old_points AS SELECT * FROM checkpoints",
    )
    world.fill(10)
    kept = world.publisher.checkpoint()
    world.sql(
        *(
            statement
            for table, old in (
                ("log_entries", "old"),
                ("log_head", "old_head"),
                ("checkpoints", "old_points"),
            )
            for statement in (f"DELETE FROM {table}", f"INSERT INTO {table} SELECT * FROM {old}")  # noqa: S608
        )
    )
    for _ in range(2):
        with pytest.raises(IntegrityError, match="rolled back"):
            world.publisher.checkpoint()
        world.log.append_many([(entry(1), None)])
    world.fill(30)
    with pytest.raises(IntegrityError, match="does not continue"):
        world.publisher.checkpoint()
    assert world.anchor.newest() == kept


def test_a_forged_or_moved_checkpoint_row_moves_no_anchor(world: World) -> None:
    world.fill(10)
    world.publisher.checkpoint()
    world.fill(10)
    kept = world.publisher.checkpoint()
    for forged in ("'garbage'", "(SELECT note FROM checkpoints WHERE size = 10)"):
        world.sql(f"UPDATE checkpoints SET note = {forged} WHERE size = 20")  # noqa: S608
        with pytest.raises(IntegrityError):
            world.publisher.checkpoint()
        assert world.anchor.newest() == kept


def test_swapped_id_columns_are_found_and_refused(world: World) -> None:
    world.fill(3)
    with world.database.snapshot() as snapshot:
        first = world.log.entries(snapshot)[0].entry.id
    world.sql(
        "UPDATE log_entries SET id = 'x' WHERE idx = 0",
        f"UPDATE log_entries SET id = '{first}' WHERE idx = 1",  # noqa: S608
    )
    assert {one.position for one in world.findings() if one.code == "audit.id"} == {0, 1}
    with world.database.snapshot() as snapshot, pytest.raises(IntegrityError):
        world.log.entry(snapshot, first)


def test_an_export_without_its_checkpoint_is_refused(world: World, tmp_path: Path) -> None:
    world.fill(5)
    folder = export(world, tmp_path / "export")
    (folder / "checkpoint").write_bytes(b"")
    assert verify_export(folder, key=world.log.verify_key).findings
    assert alone(folder) == 5


def test_every_entry_names_the_authority_it_was_decided_under(world: World) -> None:
    with world.log.transaction() as tx:
        world.log.note(tx, kind=EntryKind.FINDING, step="s", principal_id="p")
    with pytest.raises(AdmissionRefusal), world.log.transaction() as tx:
        world.log.admit(tx, decision(allowed=False), step="s", kind=EntryKind.DECISION)
    with world.database.snapshot() as snapshot:
        assert all(one.entry.authority_root for one in world.log.entries(snapshot))


# -- floods -------------------------------------------------------------------------------------


def test_a_flood_of_refusals_is_counted_exactly_in_few_entries(world: World) -> None:
    refusals = Refusals(world.log, world.clock.monotonic)
    for number in range(1000):
        refusals.add(code="identity.unauthenticated", source=f"10.0.0.{number % 5}")
    refusals.flush()
    with world.database.snapshot() as snapshot:
        logged = world.log.entries(snapshot, limit=1000)
        singles = [one for one in logged if one.entry.kind is EntryKind.AUTHENTICATION_REFUSED]
        (many,) = [one for one in logged if one.entry.kind is EntryKind.REFUSALS]
        details = world.log.details(snapshot, many)
    assert len(singles) == 60
    assert details is not None
    assert b'"total":940' in details


def test_permits_are_minted_in_one_place() -> None:
    import ast

    found = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "src").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Permit"
    ]
    assert found == ["src/vallum/audit/admission.py"]

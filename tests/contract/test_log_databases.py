"""The log on each database: appended by many, proven, and every tampering found."""

import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from vallum.audit import Checkpoint, FileAnchor, Log, LogKeys, Publisher, Tiles, verify_log
from vallum.audit.note import verify_checkpoint
from vallum.base import IntegrityError, ManualClock, new_id
from vallum.base.proofs import inclusion_root, leaf_hash, verify_consistency
from vallum.crypto import Keyring
from vallum.schema import Entry, EntryKind
from vallum.store import Database, Records

AT = "2026-11-20T00:00:00.000000Z"


@dataclass
class World:
    """A log with everything around it."""

    database: Database
    log: Log
    tiles: Tiles
    anchor: FileAnchor
    publisher: Publisher

    def append(self, count: int) -> None:
        self.log.append_many(
            [
                (
                    Entry(
                        id=str(new_id("ent")), at=AT, kind=EntryKind.DECISION, step="data.show",
                        principal_id="user-1",
                    ),
                    None,
                )
                for _ in range(count)
            ]
        )  # fmt: skip

    def seen(self) -> Checkpoint:
        note = self.publisher.checkpoint()
        return verify_checkpoint(note, self.log.verify_key, origin=self.log.origin)

    def findings(self) -> list[str]:
        with self.database.snapshot() as snapshot:
            report, _ = verify_log(snapshot, self.log, self.tiles, [self.anchor])
        return [one.code for one in report.findings]


@pytest.fixture
def world(database: Database, keyring: Keyring, tmp_path: Path) -> World:
    log = Log(
        database, Records(keyring), LogKeys(keyring),
        clock=ManualClock(datetime(2026, 11, 20, tzinfo=UTC)), origin="vallum/ws-1",
    )  # fmt: skip
    tiles, anchor = Tiles(tmp_path / "log"), FileAnchor(tmp_path / "anchor")
    return World(database, log, tiles, anchor, Publisher(database, log, tiles, [anchor]))


def test_entries_of_many_writers_are_numbered_without_gap_and_proven(world: World) -> None:
    threads = [threading.Thread(target=world.append, args=(50,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first = world.seen()
    assert first.size == 300
    world.append(41)
    second = world.seen()
    path, _ = world.publisher.consistency(first.size, second.size)
    verify_consistency(first.size, first.root, second.size, second.root, path)
    with world.database.snapshot() as snapshot:
        leaves = dict(world.log.leaves(snapshot, 0, second.size))
    for index in (0, 255, 256, 340):
        proof, _ = world.publisher.inclusion(index)
        assert inclusion_root(leaf_hash(leaves[index]), index, second.size, proof) == second.root
    assert world.findings() == []


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("DELETE FROM log_entries WHERE idx = 17", "audit.missing"),
        ("DELETE FROM log_entries WHERE idx >= 90", "audit.truncated"),
        ("UPDATE log_entries SET idx = -1 WHERE idx = 3", "audit.missing"),
        ("UPDATE log_head SET size = 50", "audit.head"),
        ("UPDATE checkpoints SET size = 99 WHERE size = 100", "audit.checkpoint"),
    ],
)
def test_what_an_operator_changes_is_found(world: World, statement: str, code: str) -> None:
    world.append(100)
    world.seen()
    with world.database.transaction() as tx:
        tx.connection.execute(sa.text(statement))
    assert code in world.findings()
    if "log_" in statement:
        with pytest.raises(IntegrityError):
            Publisher(world.database, world.log, world.tiles, [world.anchor]).checkpoint()

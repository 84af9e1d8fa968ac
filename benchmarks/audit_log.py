"""Entries per second of `log.append_many`, beside a bare SQLite insert loop and fsynced lines.

Also: `Log.transaction` + admit + seal (what `perform` pays) at 1 and 16 threads, and inclusion
proofs verified per second offline.
"""

import json
import os
import platform
import sqlite3
import statistics
import tempfile
import threading
import time
from pathlib import Path

from vallum.audit import Log, LogKeys
from vallum.audit.merkle import extend, inclusion_path, root_of
from vallum.base import SystemClock, new_id
from vallum.base.proofs import inclusion_root, leaf_hash
from vallum.crypto import FileKeyProvider, Keyring
from vallum.schema import Entry, EntryKind
from vallum.store import Database, Records

BATCH = 1000
BATCHES = 30
ROUNDS = 3


def entry() -> Entry:
    return Entry(
        id=str(new_id("ent")), at="2026-11-20T00:00:00.000000Z", kind=EntryKind.DECISION,
        step="data.show", principal_id="user-0123456789abcdefghjkmnpqrs",
        actions=("data/versions/read",), resources=("dver-0123456789abcdefghjkmnpqrs",),
        request_digest="sha256:" + "0" * 64, generation=7,
    )  # fmt: skip


def ours(folder: Path, drafts: list[list[Entry]]) -> tuple[float, Log, Database]:
    keyring, _ = Keyring.create(FileKeyProvider.create(folder / "keys"), "ws-1")
    database = Database.open(f"sqlite:///{folder}/vallum.db")
    database.migrate()
    log = Log(database, Records(keyring), LogKeys(keyring), clock=SystemClock(), origin="bench")
    start = time.perf_counter()
    for batch in drafts:
        log.append_many([(one, None) for one in batch])
    return BATCH * len(drafts) / (time.perf_counter() - start), log, database


def bare_sqlite(folder: Path, leaves: list[list[bytes]]) -> float:
    connection = sqlite3.connect(folder / "bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE t (idx INTEGER PRIMARY KEY, id TEXT UNIQUE, leaf BLOB)")
    index = 0
    start = time.perf_counter()
    for batch in leaves:
        rows = [(index + at, str(new_id("ent")), leaf) for at, leaf in enumerate(batch)]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO t VALUES (?, ?, ?)", rows)
        connection.execute("COMMIT")
        index += len(batch)
    rate = index / (time.perf_counter() - start)
    connection.close()
    return rate


def bare_lines(folder: Path, leaves: list[list[bytes]]) -> float:
    start = time.perf_counter()
    with (folder / "lines").open("wb") as file:
        for batch in leaves:
            file.write(b"\n".join(batch))
            file.flush()
            os.fsync(file.fileno())
    return BATCH * len(leaves) / (time.perf_counter() - start)


def transactions(log: Log, threads: int, seconds: float = 2.0) -> float:
    counts = [0] * threads
    stop = time.perf_counter() + seconds

    def run(number: int) -> None:
        while time.perf_counter() < stop:
            with log.transaction() as tx:
                permit = log.system_permit(
                    tx, step="bench", kind=EntryKind.DECISION, principal_id="p", resources=("r",)
                )
                log.seal(tx, permit)
            counts[number] += 1

    workers = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts) / seconds


def proofs() -> float:
    size = 1 << 14
    hashes = [leaf_hash(f"{number}".encode()) for number in range(size)]
    levels = [hashes]
    while len(levels[-1]) > 1:
        row = levels[-1]
        merged = []
        for at in range(0, len(row), 2):
            frontier: list[bytes] = []
            extend(frontier, 0, row[at : at + 2])
            merged.append(root_of(frontier))
        levels.append(merged)
    paths = [
        inclusion_path(lambda height, at: levels[height][at], index, size)
        for index in range(0, size, 2)
    ]
    root = levels[-1][0]
    start = time.perf_counter()
    for number, path in enumerate(paths):
        if inclusion_root(hashes[2 * number], 2 * number, size, path) != root:
            raise SystemExit("a proof does not verify")
    return len(paths) / (time.perf_counter() - start)


def main() -> None:
    figures: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        drafts = [[entry() for _ in range(BATCH)] for _ in range(BATCHES)]
        leaves = [[json.dumps({"id": one.id, "x": "y" * 300}).encode() for one in batch]
                  for batch in drafts]  # fmt: skip
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            rate, log, database = ours(folder, drafts)
            figures.setdefault("log.append_many, entries/s", []).append(rate)
            for threads in (1, 16):
                figures.setdefault(f"admit and seal, {threads} thread(s), /s", []).append(
                    transactions(log, threads)
                )
            database.close()
            figures.setdefault("limit: sqlite3 alone, rows/s", []).append(
                bare_sqlite(folder, leaves)
            )
            figures.setdefault("limit: lines with fsync a batch, /s", []).append(
                bare_lines(folder, leaves)
            )
        figures.setdefault("inclusion proofs verified, /s (tree of 16,384)", []).append(proofs())
    print(f"Machine: {platform.processor() or platform.machine()}, {os.cpu_count()} cores,"
          f" Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}")  # fmt: skip
    print(f"Batches of {BATCH}, {BATCHES} a round, {ROUNDS} rounds; median (min to max)\n")
    print("| what | median | range |\n|---|---:|---:|")
    for name, values in figures.items():
        print(f"| {name} | {statistics.median(values):,.0f} |"
              f" {min(values):,.0f} to {max(values):,.0f} |")  # fmt: skip


if __name__ == "__main__":
    main()

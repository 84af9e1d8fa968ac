"""Durable puts and gets of one record, beside bare sqlite3 with the same content.

The physical limit of a put is one 4 KiB append with fsync to the same disk (give a folder on it
as the argument). A get is from memory: bare sqlite3 is the limit there.
"""

import os
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy

from vallum.base import Permit
from vallum.crypto import FileKeyProvider, Keyring
from vallum.schema import Endpoint, RoleAssignment
from vallum.store import Database, Records
from vallum.store.rows import encode

ROUNDS, EACH = 5, 100


def endpoint(number: int) -> Endpoint:
    return Endpoint(id=f"ep-{number:06}", name=f"e{number}", owner_id="u", created_at="t")


def assignment(number: int) -> RoleAssignment:
    return RoleAssignment(id=f"ra-{number:06}", role_id="r", principal_id="u", scope="ws")


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        run(Path(folder))


def run(folder: Path) -> None:
    database = Database.open(f"sqlite:///{folder}/vallum.db")
    database.migrate()
    keyring = Keyring.create(FileKeyProvider.create(folder / "keys"), "ws")[0]
    records = Records(keyring)
    permit = Permit(
        request_digest="", entry_id="", principal_id="", grants=[("bench", "ws")],
        lifetime_s=3600, monotonic=time.monotonic,
    )  # fmt: skip
    bare = sqlite3.connect(folder / "bare.db", isolation_level=None)
    bare.execute("PRAGMA journal_mode=WAL")
    bare.execute("PRAGMA synchronous=FULL")
    bare.execute("CREATE TABLE records (kind TEXT, id TEXT, content BLOB, PRIMARY KEY (kind, id))")
    log = os.open(folder / "append", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    page = bytes(4096)

    def put(number: int) -> None:
        with database.transaction() as tx:
            records.put(tx, permit, "endpoint", endpoint(number), on="ws", parent_id="ws")

    def put_authority(number: int) -> None:
        with database.transaction() as tx:
            records.put(tx, permit, "role-assignment", assignment(number), on="ws")

    def put_bare(number: int) -> None:
        one = endpoint(number)
        bare.execute("BEGIN IMMEDIATE")
        bare.execute("INSERT INTO records VALUES ('endpoint', ?, ?)", (one.id, encode(one)))
        bare.execute("COMMIT")

    def append(_number: int) -> None:
        os.write(log, page)
        os.fsync(log)

    def get(number: int) -> None:
        with database.snapshot() as snap:
            records.get(snap, "endpoint", f"ep-{number:06}", Endpoint)

    def get_authority(number: int) -> None:
        with database.snapshot() as snap:
            records.get(snap, "role-assignment", f"ra-{number:06}", RoleAssignment)

    def get_bare(number: int) -> None:
        bare.execute(
            "SELECT content FROM records WHERE kind='endpoint' AND id=?", (f"ep-{number:06}",)
        ).fetchone()

    cases: dict[str, Callable[[int], None]] = {
        "put, 4 KiB append and fsync (limit)": append,
        "put, sqlite3 alone": put_bare,
        "put, Vallum": put,
        "put, Vallum, authority row": put_authority,
        "get, sqlite3 alone": get_bare,
        "get, Vallum (MAC checked)": get,
        "get, Vallum, authority row (MAC and set root checked)": get_authority,
    }
    times: dict[str, list[float]] = {name: [] for name in cases}
    for round_ in range(ROUNDS):
        for name, case in cases.items():
            start = time.perf_counter()
            for number in range(round_ * EACH, (round_ + 1) * EACH):
                case(number)
            times[name].append((time.perf_counter() - start) / EACH)
    loads = []
    for _ in range(ROUNDS):
        with database.snapshot() as snap:
            start = time.perf_counter()
            records.load_authority(snap)
            loads.append((time.perf_counter() - start) / (ROUNDS * EACH))
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()},")
    print(f"SQLite {sqlite3.sqlite_version}, SQLAlchemy {sqlalchemy.__version__};", end=" ")
    print(f"median of {ROUNDS} interleaved rounds of {EACH}\n")
    print("| operation | µs | × sqlite3 alone |\n|---|---:|---:|")
    for name in cases:
        median = statistics.median(times[name])
        peer = statistics.median(times[f"{name[:3]}, sqlite3 alone"])
        print(f"| {name} | {median * 1e6:.0f} | {median / peer:.1f} |")
    print(f"| load_authority, per row | {statistics.median(loads) * 1e6:.1f} | |")
    bare.close()
    os.close(log)
    database.close()


if __name__ == "__main__":
    main()

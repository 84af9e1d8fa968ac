"""MLflow's tracking protocol: our server beside MLflow's own, one machine, interleaved.

Both on SQLite, or with `--postgresql` both on one PostgreSQL server of their own, a database each.

Ours with TLS, authorization, row MACs and the log, which syncs every commit to the disk; MLflow's
without any of them: `--mlflow /path/to/bin/mlflow` names its program, of an environment of its own.
Both databases are filled alike, beforehand: 10,000 runs of one experiment, each with five metrics,
three parameters and three tags. Times are those of one client that waits for each answer; CPU is
that of all processes of the server.
"""

import argparse
import contextlib
import dataclasses
import os
import platform
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[1]
RUNS = 10_000
ROUNDS = 15
SINGLES = 100
EXPERIMENT = "filled"
TICKS = os.sysconf("SC_CLK_TCK")


def params(at: int) -> list[tuple[str, str]]:
    return [("depth", "3"), ("kind", "tree"), ("lr", str(at % 10))]


def tags(at: int) -> list[tuple[str, str]]:
    return [("mlflow.runName", f"r{at}"), ("mlflow.source.name", "x.py"), ("mlflow.user", "root")]


def metrics(at: int) -> list[tuple[str, float]]:
    return [(f"m{which}", at / (which + 1)) for which in range(5)]


def family(pid: int) -> list[int]:
    found = [pid]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == pid:
                    found += family(int(entry.name))
    return found


def cpu_s(pid: int) -> float:
    total = 0
    for one in family(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / TICKS


class Server:
    """One of the two, and a client of it."""

    def __init__(self, name: str, pid: int, client: httpx.Client) -> None:
        self.name, self.pid, self.client = name, pid, client
        self.experiment = self.get("experiments/get-by-name", experiment_name=EXPERIMENT)[
            "experiment"
        ]["experiment_id"]
        made = self.post("experiments/create", name="written")
        self.written = made["experiment_id"]

    def post(self, path: str, **body: Any) -> Any:
        answer = self.client.post(f"/api/2.0/mlflow/{path}", json=body)
        answer.raise_for_status()
        return answer.json()

    def get(self, path: str, **query: str) -> Any:
        answer = self.client.get(f"/api/2.0/mlflow/{path}", params=query)
        answer.raise_for_status()
        return answer.json()

    def start(self) -> str:
        made = self.post("runs/create", experiment_id=self.written, start_time=1, run_name="r")
        return str(made["run"]["info"]["run_id"])


@contextlib.contextmanager
def postgresql() -> Iterator[Callable[[], str]]:
    """A server that keeps what it commits, as SQLite does; yields what makes a fresh database."""
    from fixtures_store import PostgreSQL

    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        raise SystemExit("PostgreSQL is not installed: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="vallum-pg-", dir="/tmp"))
    server = PostgreSQL(found[-1].parent, folder)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def ours(folder: Path, url: str) -> Iterator[Server]:
    import running

    arguments: tuple[str, ...] = ()
    if url:
        address = folder / "database"
        address.touch(mode=0o600)
        address.write_text(url)
        arguments = ("--database-file", str(address))
    fill_ours(folder / "data", url)
    with running.running(folder, arguments=arguments) as up, up.http() as client:
        client.base_url = httpx.URL(up.url)
        client.headers["Authorization"] = f"Bearer {up.token}"
        yield Server("Vallum", up.process.pid, client)


def fill_ours(data: Path, url: str) -> None:
    from vallum.base import new_id
    from vallum.schema import EntryKind, Experiment, Run
    from vallum.workspace.bootstrap import Places, create, opened

    places = Places.below(data)
    if url:
        places = dataclasses.replace(places, database_url=url)
    create(places)
    with opened(places) as kernel:
        house = kernel.house
        made = Experiment(
            id=str(new_id("exp")), name=EXPERIMENT, owner_id="user", created_ms=1, updated_ms=1
        )
        for first in range(0, RUNS, 200):
            with house.log.transaction() as tx:
                permit = house.log.system_permit(
                    tx, step="benchmark", kind=EntryKind.DECISION, principal_id="system-benchmark",
                    resources=(house.workspace_id,),
                )  # fmt: skip
                changes = []
                if first == 0:
                    changes.append(house.records.put(
                        tx, permit, "experiment", made, on=house.workspace_id,
                        parent_id=house.workspace_id, name=made.name,
                    ))  # fmt: skip
                for at in range(first, first + 200):
                    run = Run(
                        id=str(new_id("run")), experiment_id=made.id, name=f"r{at}",
                        user_id="user", user="owner", started_ms=at,
                        params=tuple(params(at)), tags=tuple(tags(at)),
                        latest=tuple((key, repr(value), 1, 0) for key, value in metrics(at)),
                    )  # fmt: skip
                    changes.append(house.records.put(
                        tx, permit, "run", run, on=house.workspace_id, parent_id=made.id,
                    ))  # fmt: skip
                house.log.seal(tx, permit, changes=changes)


@contextlib.contextmanager
def theirs(folder: Path, program: str, url: str) -> Iterator[Server]:
    import running

    port = running.free_port()
    url = url or f"sqlite:///{folder}/mlflow.db"
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    with (folder / "mlflow.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
             "--backend-store-uri", url,
             "--artifacts-destination", str(folder / "files")],
            stdout=log, stderr=log, env=environment,
        )  # fmt: skip
        try:
            with httpx.Client(
                base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60
            ) as client:
                wait(client)
                made = client.post("/api/2.0/mlflow/experiments/create", json={"name": EXPERIMENT})
                fill_theirs(url, made.json()["experiment_id"])
                yield Server("MLflow", process.pid, client)
        finally:
            process.terminate()
            process.wait(30)


def wait(client: httpx.Client) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        with contextlib.suppress(httpx.HTTPError):
            if client.get("/health").status_code == httpx.codes.OK:
                return
        time.sleep(0.2)
    raise SystemExit("MLflow's server did not answer")


def connect(url: str) -> tuple[Any, str]:
    """Open MLflow's database; returns it and how it marks a value."""
    if url.startswith("sqlite:"):
        return sqlite3.connect(url.removeprefix("sqlite:///"), timeout=60), "?"
    import psycopg

    return psycopg.connect(url.replace("+psycopg", "")), "%s"


def fill_theirs(url: str, experiment_id: str) -> None:
    opened, mark = connect(url)
    experiment = int(experiment_id)
    with contextlib.closing(opened), opened:
        cursor = opened.cursor()
        for at in range(RUNS):
            run = f"{at:032x}"
            cursor.execute(
                "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name,"
                " user_id, status, start_time, source_version, lifecycle_stage, artifact_uri,"
                f" experiment_id) VALUES ({mark}, {mark}, 'UNKNOWN', '', '', 'owner', 'RUNNING',"
                f" {mark}, '', 'active', {mark}, {mark})",
                (run, f"r{at}", at, f"mlflow-artifacts:/{experiment_id}/{run}", experiment),
            )
            for table, pairs in (("params", params(at)), ("tags", tags(at))):
                cursor.executemany(
                    f"INSERT INTO {table} (key, value, run_uuid) VALUES ({mark}, {mark}, {mark})",
                    [(key, value, run) for key, value in pairs],
                )
            for table in ("metrics", "latest_metrics"):
                cursor.executemany(
                    f"INSERT INTO {table} (key, value, timestamp, run_uuid, step, is_nan)"
                    f" VALUES ({mark}, {mark}, 1, {mark}, 0, {mark})",
                    [(key, value, run, False) for key, value in metrics(at)],
                )
        if mark != "?":
            cursor.execute("ANALYZE")


def log_batch(server: Server) -> Callable[[], None]:
    run = server.start()
    batch = [{"key": f"m{at}", "value": at / 7, "timestamp": 1, "step": 0} for at in range(1000)]
    return lambda: server.post("runs/log-batch", run_id=run, metrics=batch)


def log_metric(server: Server) -> Callable[[], None]:
    run = server.start()

    def act() -> None:
        for step in range(SINGLES):
            server.post("runs/log-metric", run_id=run, run_uuid=run, key="loss", value=1 / 3,
                        timestamp=1, step=step)  # fmt: skip

    return act


def search(expected: int, **asked: Any) -> Callable[[Server], Callable[[], None]]:
    def prepare(server: Server) -> Callable[[], None]:
        def act() -> None:
            found = server.post(
                "runs/search", experiment_ids=[server.experiment], max_results=1000, **asked
            )
            if len(found["runs"]) != expected:
                raise SystemExit(f"{server.name} found {len(found['runs'])} runs")

        return act

    return prepare


WORK: dict[str, tuple[Callable[[Server], Callable[[], None]], int]] = {
    "log_batch of 1,000 metrics": (log_batch, 1),
    "log_metric, one after another": (log_metric, SINGLES),
    "search 10,000 runs, filter and order, 600 found": (
        search(600, filter="metrics.m1 > 2000 AND params.lr = '3'", order_by=["metrics.m0 DESC"]),
        1,
    ),
    "search 10,000 runs, first page of 1,000": (search(1000), 1),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mlflow", default="", metavar="PROGRAM", help="MLflow's own program")
    parser.add_argument("--postgresql", action="store_true", help="both on PostgreSQL")
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests"))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        fresh = stack.enter_context(postgresql()) if arguments.postgresql else lambda: ""
        servers = [stack.enter_context(ours(folder, fresh()))]
        if arguments.mlflow:
            servers.append(stack.enter_context(theirs(folder, arguments.mlflow, fresh())))
        database = "PostgreSQL" if arguments.postgresql else "SQLite"
        print(f"Machine: {platform.machine()}, {os.cpu_count()} cores, Python"
              f" {platform.python_version()}; {RUNS:,} runs, {database}, medians of"
              f" {ROUNDS} rounds, interleaved\n")  # fmt: skip
        print("| what | server | ms | CPU ms | ms / Vallum | CPU / Vallum |")
        print("|---|---|---:|---:|---:|---:|")
        for what, (prepare, count) in WORK.items():
            times: dict[str, list[float]] = {one.name: [] for one in servers}
            burnt: dict[str, list[float]] = {one.name: [] for one in servers}
            for _ in range(ROUNDS):
                for server in servers:
                    act = prepare(server)
                    before, start = cpu_s(server.pid), time.perf_counter()
                    act()
                    times[server.name].append((time.perf_counter() - start) / count * 1000)
                    burnt[server.name].append((cpu_s(server.pid) - before) / count * 1000)
            first = statistics.median(times["Vallum"]), statistics.fmean(burnt["Vallum"])
            for server in servers:
                wall, cpu = (
                    statistics.median(times[server.name]), statistics.fmean(burnt[server.name]),
                )  # fmt: skip
                print(f"| {what} | {server.name} | {wall:,.1f} | {cpu:,.1f} | {wall / first[0]:.1f}"
                      f" | {cpu / max(first[1], 0.01):.1f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()

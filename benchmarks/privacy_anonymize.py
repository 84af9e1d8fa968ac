"""Anonymizing Adult: loss, suppressed records, time and memory, beside ARX, pycanon and anjana.

    python benchmarks/privacy_anonymize.py [--data DIR] [--arx CLASSPATH] [--peers PYTHON]

DIR has `adult.csv` and ARX's hierarchies. CLASSPATH has ARX and `peers/ArxBench.java` compiled
against it; PYTHON is an interpreter with pycanon and anjana. Loss is counted from each result's
labels alone, for both alike: mean over quasi-identifier cells of (leaves - 1) / (domain - 1), a
suppressed record 1. One million records are a bootstrap of Adult with 10 % of each column redrawn
from its marginal, seed 7.
"""

import argparse
import json
import multiprocessing
import resource
import subprocess
import tempfile
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import polars as pl

from vallum.formats import read_table
from vallum.privacy import check_anonymity
from vallum.privacy.anonymize import Requirements, anonymize, read_hierarchy

QUASI = [
    "sex", "age", "race", "marital-status", "education", "native-country", "workclass",
    "salary-class",
]  # fmt: skip
MODELS = {
    "none": {}, "distinct:3": {"l": ("distinct:3",)}, "entropy:3": {"l": ("entropy:3",)},
    "t:0.2": {"t": ("0.2",)},
}  # fmt: skip
PYCANON = """
import sys, time, json, pandas as pd
from pycanon import anonymity
data = pd.read_csv(sys.argv[1], sep=";", dtype=str)
quasi, begin = sys.argv[2].split(","), time.perf_counter()
k = anonymity.k_anonymity(data, quasi)
l = anonymity.l_diversity(data, quasi, ["occupation"])
t = anonymity.t_closeness(data, quasi, ["occupation"])
print(json.dumps([k, l, t, time.perf_counter() - begin]))
"""
ANJANA = """
import sys, time, json, pandas as pd
from anjana.anonymity import k_anonymity
folder, quasi = sys.argv[2], sys.argv[3].split(",")
data = pd.read_csv(sys.argv[1], sep=";", dtype=str)
trees = {}
for name in quasi:
    rows = pd.read_csv(f"{folder}/adult_hierarchy_{name}.csv", sep=";", header=None, dtype=str)
    trees[name] = {level: rows[level].values for level in rows.columns}
begin = time.perf_counter()
made = k_anonymity(data, [], quasi, 5, 4.0, trees)
spent = time.perf_counter() - begin
made.to_csv(sys.argv[4], sep=";", index=False)
print(json.dumps({"seconds": [spent]}))
"""


def bootstrap(frame: pl.DataFrame, records: int) -> pl.DataFrame:
    rng = np.random.default_rng(7)
    rows = rng.integers(0, frame.height, records)
    columns = []
    for name in frame.columns:
        own = rows.copy()
        redrawn = rng.choice(records, records // 10, replace=False)
        own[redrawn] = rng.integers(0, frame.height, len(redrawn))
        columns.append(frame[name][own])
    return pl.DataFrame(columns)


def count_loss(folder: Path, made: pl.DataFrame, records: int) -> tuple[float, int]:
    """Count loss and suppressed records from labels alone."""
    total = np.zeros(made.height)
    everything = np.ones(made.height, bool)
    for name in QUASI:
        rows = [line.split(";") for line in
                (folder / f"adult_hierarchy_{name}.csv").read_text().splitlines()]  # fmt: skip
        below: dict[str, set[str]] = defaultdict(set)
        for row in rows:
            for label in row:
                below[label].add(row[0])
        share = {label: (len(leaves) - 1) / (len(rows) - 1) for label, leaves in below.items()}
        labels = made[name].cast(pl.String)
        total += labels.replace_strict(share, return_dtype=pl.Float64).to_numpy()
        everything &= (labels == "*").to_numpy()
    left_out = records - made.height
    return (float(total.sum()) / len(QUASI) + left_out) / records, left_out + int(
        everything.sum() if left_out == 0 else 0
    )


def smallest(made: pl.DataFrame) -> int:
    return min(Counter(made.select(QUASI).rows()).values())


def ours(table: Path, trees: dict, *, method: str, model: str, runs: int) -> dict:
    times, loads, made = [], [], None
    for _ in range(runs):
        begin = time.perf_counter()
        frame = read_table(table, kind="csv")
        loaded = time.perf_counter()
        wanted = Requirements(k=5, max_suppression=0.04, **MODELS[model])
        made = anonymize(
            frame, QUASI, wanted, sensitive=["occupation"] if MODELS[model] else [],
            hierarchies=trees, method=method, seconds=600,
        )  # fmt: skip
        times.append(time.perf_counter() - loaded)
        loads.append(loaded - begin)
    return {"made": made.table, "seconds": times, "load": loads, "records": frame.height}


def arx(classpath: str, table: Path, folder: Path, *, method: str, model: str, runs: int) -> dict:
    with tempfile.NamedTemporaryFile(suffix=".csv") as out:
        done = subprocess.run(
            ["java", "-Xmx12g", "-cp", classpath, "ArxBench", str(table), str(folder), method,
             model, str(runs), out.name],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        made = pl.read_csv(out.name, separator=";", infer_schema=False)
    return {"made": made, "records": made.height, **json.loads(done.stdout)}


def row(name: str, folder: Path, found: dict) -> None:
    loss, suppressed = count_loss(folder, found["made"], found["records"])
    load = f"{min(found['load']):8.3f}" if "load" in found else " " * 8
    print(
        f"| {name:<34} | {loss:.5f} | {suppressed:>6} | {smallest(found['made']):>4} "
        f"| {min(found['seconds']):8.3f} | {load} |",
        flush=True,
    )


def memory(table: Path, trees: dict, queue: multiprocessing.Queue) -> None:
    frame = read_table(table, kind="csv")
    size = frame.estimated_size()
    peak, done = [0], threading.Event()

    def now() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    base = now()

    def watch() -> None:
        while not done.wait(0.001):
            peak[0] = max(peak[0], now() - base)

    watcher = threading.Thread(target=watch)
    watcher.start()
    made = anonymize(frame, QUASI, Requirements(k=5), hierarchies=trees, method="local")
    done.set()
    watcher.join()
    queue.put((size, max(peak[0], now() - base), made.table.estimated_size()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path,
                        default=Path(__file__).parents[2] / "shared/data/anonymity")  # fmt: skip
    parser.add_argument("--arx", default="")
    parser.add_argument("--peers", default="")
    parser.add_argument("--largest", type=int, default=10_000_000)
    given = parser.parse_args()
    if not given.data.is_dir():
        print("skipped: the folder with Adult and its hierarchies is absent")
        return
    adult = read_table(given.data / "adult.csv", kind="csv")
    trees = {name: read_hierarchy((given.data / f"adult_hierarchy_{name}.csv").read_bytes(),
                                  name=name) for name in QUASI}  # fmt: skip
    folder = Path(tempfile.mkdtemp())
    big = folder / "big.csv"
    bootstrap(adult, 1_000_000).write_csv(big, separator=";")
    print("| what                               | loss    | suppr. | k    | seconds  | reading  |")
    print("|---|---|---|---|---|---|")
    for table, size, runs in ((given.data / "adult.csv", "30k", 3), (big, "1M", 3)):
        for method, models in (
            ("global", ["none"]),
            ("local", ["none", "distinct:3", "entropy:3", "t:0.2"] if size == "30k"
             else ["none", "distinct:3"]),
            ("mondrian", ["none"]),
        ):  # fmt: skip
            for model in models:
                name = f"{size} {method} {model}"
                row(
                    f"{name}: Vallum",
                    given.data,
                    ours(table, trees, method=method, model=model, runs=runs),
                )
                if given.arx and method != "mondrian":
                    turns = 1 if model == "t:0.2" else runs
                    found = arx(
                        given.arx, table, given.data, method=method, model=model, runs=turns
                    )
                    row(f"{name}: ARX", given.data, found)
    if given.peers:
        with tempfile.NamedTemporaryFile(suffix=".csv") as out:
            done = subprocess.run(
                [given.peers, "-W", "ignore", "-c", ANJANA, str(given.data / "adult.csv"),
                 str(given.data), ",".join(QUASI), out.name],
                check=False, capture_output=True, text=True,
            )  # fmt: skip
            if done.returncode == 0:
                made = pl.read_csv(out.name, separator=";", infer_schema=False)
                found = {"made": made, "records": adult.height, **json.loads(
                    done.stdout.strip().splitlines()[-1])}  # fmt: skip
                row("30k global none: anjana", given.data, found)
            else:
                print(f"anjana failed: {done.stderr.strip().splitlines()[-1]}")
    for _ in range(3):
        begin = time.perf_counter()
        found = check_anonymity(adult, QUASI, ["occupation"])
        spent = time.perf_counter() - begin
    print(f"\nk, l, t of the raw table: {found.k}, {found.l}, {found.t:.4f} in {spent:.4f} s")
    if given.peers:
        done = subprocess.run(
            [given.peers, "-W", "ignore", "-c", PYCANON, str(given.data / "adult.csv"),
             ",".join(QUASI)],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        reached, diverse, far, spent = json.loads(done.stdout)
        print(f"pycanon: {reached}, {diverse}, {far:.4f} in {spent:.2f} s")
    print("\ncost by records (local, k = 5):")
    for records in (30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000):
        if records > given.largest:
            break
        frame = bootstrap(adult, records)
        begin = time.perf_counter()
        anonymize(frame, QUASI, Requirements(k=5), hierarchies=trees, method="local")
        spent = time.perf_counter() - begin
        per = spent / records / np.log2(records) * 1e9
        print(f"{records:>10,} records {spent:7.3f} s, {per:5.2f} ns a record and log2(records)")
        del frame
    queue: multiprocessing.Queue = multiprocessing.get_context("spawn").Queue()
    child = multiprocessing.get_context("spawn").Process(target=memory, args=(big, trees, queue))
    child.start()
    size, more, result = queue.get()
    child.join()
    print(f"\nmemory at 1M records: table {size / 2**20:.0f} MiB, anonymizing it at most "
          f"{more / 2**20:.0f} MiB more ({more / size:.2f} x, with the {result / 2**20:.0f} MiB "
          "of the result)")  # fmt: skip


if __name__ == "__main__":
    main()

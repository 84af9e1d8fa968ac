"""Private queries over a million records, beside OpenDP's own pipelines and the bare aggregate.

    python benchmarks/privacy_dp.py [--rows 1000000] [--peers PYTHON]

PYTHON has diffprivlib, which needs an older scikit-learn than ours. Queries of the workspace go
through `perform`: decided, charged, answered by the table's own sandbox, and durable in the log.

Each row: epsilon 1, one record a person. Time is the median of the runs; error is the mean distance
from the exact figure, in units of the noise that theory says (the expected size of Laplace noise of
that sensitivity; for the median: one step between candidates). OpenDP gets the same clamped column;
its quantile gets the same candidates; diffprivlib draws from floating-point noise.
"""

import argparse
import io
import json
import math
import platform
import statistics
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import polars as pl

from vallum.privacy import dp
from vallum.privacy.dp.engine import candidates_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import opendp.prelude as odp
odp.enable_features("contrib")

RUNS = 40


def timed(run: Callable[[], float]) -> tuple[float, list[float]]:
    took, out = [], []
    for _ in range(RUNS):
        begin = time.perf_counter()
        out.append(run())
        took.append(time.perf_counter() - begin)
    return statistics.median(took) * 1000, out


DECLARED = {
    "version": "vallum.dp/1", "unit": {"rows": True},
    "columns": {"age": {"type": "integer", "lower": 0, "upper": 100},
                "cost": {"type": "number", "lower": 0, "upper": 5000}},
}  # fmt: skip
DIFFPRIVLIB = """
import json, statistics, sys, time
import numpy as np
from diffprivlib import tools
costs = np.load(sys.argv[1])
runs = int(sys.argv[2])
asked = {
    "count": lambda: float(tools.count_nonzero(np.ones(len(costs)), epsilon=1)),
    "sum": lambda: float(tools.sum(costs, epsilon=1, bounds=(0, 5000))),
    "median": lambda: float(tools.median(costs, epsilon=1, bounds=(0, 5000))),
}
out = {}
for name, run in asked.items():
    took, values = [], []
    for _ in range(runs):
        begin = time.perf_counter()
        values.append(run())
        took.append(time.perf_counter() - begin)
    out[name] = (statistics.median(took) * 1000, values)
print(json.dumps(out))
"""


def workspace(frame: pl.DataFrame, queries: Mapping[str, str]) -> None:
    """Time queries through a whole workspace; print a table."""
    from vallum.base import Secret
    from vallum.schema import api, privacy
    from vallum.workspace.bootstrap import Places, create, opened

    print("\n| through the workspace | ms, median | ms, largest |\n|---|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        places = Places.below(Path(folder) / "data")
        create(places)
        with opened(places) as kernel:
            owner = kernel.authenticate(
                Secret(places.owner_key.read_bytes().strip()), source="-", request_id="bench"
            )
            table = io.BytesIO(frame.write_csv().encode())
            kernel.perform(
                owner, "data.create", api.DataCreate(name="d", format="csv"), content=table
            )
            kernel.perform(
                owner, "dp.declare", privacy.DpDeclare(name="d", declaration=json.dumps(DECLARED))
            )
            kernel.perform(owner, "dp.budget", privacy.DpBudget(name="d", epsilon="1000"))
            for name, sql in queries.items():
                question = privacy.DpQuery(name="d", sql=sql, epsilon="1")
                took = []
                for _ in range(RUNS):
                    begin = time.perf_counter()
                    kernel.perform(owner, "dp.query", question)
                    took.append((time.perf_counter() - begin) * 1000)
                if name == "count":
                    print(f"| the first, which opens the table | {took[0]:.0f} | |")
                print(f"| {name} | {statistics.median(took):.1f} | {max(took[1:]):.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--peers", default="")
    given = parser.parse_args()
    rows = given.rows
    rng = np.random.default_rng(7)
    ages = rng.integers(0, 101, rows)
    costs = np.clip(rng.gamma(2, 500, rows), 0, 5000)
    frame = pl.DataFrame({"age": ages, "cost": costs})
    declared = dp.parse_declaration(DECLARED)
    begin = time.perf_counter()
    table = dp.PrivateTable.open(frame, declared)
    opening = (time.perf_counter() - begin) * 1000

    def ours(sql: str) -> Callable[[], float]:
        def run() -> float:
            plan = dp.make_plan(dp.parse_sql(sql), declared, dp.spend(epsilon="1"))
            return float(table.answer(plan).groups[0].figures[0].value or 0.0)

        run()
        return run

    floats = odp.vector_domain(odp.atom_domain(bounds=(0.0, 5000.0)))
    numbers = odp.vector_domain(odp.atom_domain(T=float, nan=False))
    space = odp.vector_domain(odp.atom_domain(T=float)), odp.symmetric_distance()
    count = space >> odp.t.then_count() >> odp.m.then_laplace(1.0)
    total = (floats, odp.symmetric_distance()) >> odp.t.then_sum() >> odp.m.then_laplace(5000.0)
    candidates = candidates_of("cost", declared.columns["cost"]).tolist()
    median = (numbers, odp.symmetric_distance()) >> odp.m.then_private_quantile(
        odp.max_divergence(), candidates=candidates, alpha=0.5, scale=1.0
    )
    exact = {"count": float(rows), "sum": float(costs.sum()), "median": float(np.median(costs))}
    unit = {"count": 1.0, "sum": 5000.0, "median": 5000 / 1023}
    asked = {
        "count": ("SELECT COUNT(*) FROM t", lambda: float(count(costs)), lambda: float(len(costs))),
        "sum": ("SELECT SUM(cost) FROM t", lambda: float(total(costs)), lambda: float(costs.sum())),
        "median": ("SELECT MEDIAN(cost) FROM t", lambda: float(median(costs)),
                   lambda: float(np.median(costs))),
    }  # fmt: skip
    print(
        f"Machine: {platform.machine()}, Python {platform.python_version()}; {rows:,} rows, epsilon"
        " 1,"
        f" {RUNS} runs; opening the table once: {opening:.0f} ms\n"
    )
    theirs: dict[str, tuple[float, list[float]]] = {}
    if given.peers:
        with tempfile.NamedTemporaryFile(suffix=".npy") as file:
            np.save(file, costs)
            file.flush()
            done = subprocess.run(
                [given.peers, "-W", "ignore", "-c", DIFFPRIVLIB, file.name, str(RUNS)],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            theirs = json.loads(done.stdout)
    print(
        "| query | vallum ms | error | OpenDP ms | error | diffprivlib ms | error"
        " | bare numpy ms |\n|---|---:|---:|---:|---:|---:|---:|---:|"
    )
    for name, (sql, peer, bare) in asked.items():
        cells = []
        for run in (ours(sql), peer):
            try:
                took, values = timed(run)
                off = statistics.mean(abs(one - exact[name]) for one in values) / unit[name]
                cells += [f"{took:.1f}", f"{off:.2f}"]
            except Exception as error:  # noqa: BLE001 - a peer that cannot is a row too
                cells += [type(error).__name__, ""]
        took, values = theirs.get(name, (math.nan, [math.nan]))
        off = statistics.mean(abs(one - exact[name]) for one in values) / unit[name]
        cells += [f"{took:.1f}", f"{off:.2f}"]
        print(f"| {name} | {' | '.join(cells)} | {timed(bare)[0]:.1f} |")
    workspace(frame, {name: sql for name, (sql, _, _) in asked.items()})


if __name__ == "__main__":
    main()

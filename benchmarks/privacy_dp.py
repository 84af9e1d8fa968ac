"""Private queries over a million records, beside OpenDP's own pipelines and the bare aggregate.

    python benchmarks/privacy_dp.py [--rows 1000000]

Each row: epsilon 1, one record a person. Time is the median of the runs; error is the mean distance
from the exact figure, in units of the noise that theory says (the expected size of Laplace noise of
that sensitivity; for the median: one step between candidates). OpenDP gets the same clamped column;
its quantile gets the same candidates. The ledger's share is one durable transaction: budget and log
entry together.
"""

import argparse
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
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


def ledger_ms() -> float:
    """Time charging one budget, with its log entry, durably."""
    from vallum.base import Secret
    from vallum.schema import PrivacyBudget
    from vallum.workspace.bootstrap import Places, create, opened

    with tempfile.TemporaryDirectory() as folder:
        places = Places.below(Path(folder) / "data")
        create(places)
        with opened(places) as kernel:
            owner = kernel.authenticate(
                Secret(places.owner_key.read_bytes().strip()), source="-", request_id="bench"
            )
            house = kernel.house
            top = house.workspace_id
            took = []
            for at in range(60):
                begin = time.perf_counter()
                with house.log.transaction() as tx:
                    permit = house.log.system_permit(
                        tx, step="bench", kind="decision", principal_id=owner.id, resources=(top,)
                    )
                    made = PrivacyBudget(
                        id="bud-1", population=top, epsilon="99", spent_epsilon=str(at)
                    )
                    change = house.records.put(tx, permit, "budget", made, on=top, parent_id=top)
                    house.log.seal(tx, permit, changes=[change])
                took.append(time.perf_counter() - begin)
    return statistics.median(took[10:]) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    rng = np.random.default_rng(7)
    ages = rng.integers(0, 101, rows)
    costs = np.clip(rng.gamma(2, 500, rows), 0, 5000)
    frame = pl.DataFrame({"age": ages, "cost": costs})
    declared = dp.parse_declaration({
        "version": "vallum.dp/1", "unit": {"rows": True},
        "columns": {"age": {"type": "integer", "lower": 0, "upper": 100},
                    "cost": {"type": "number", "lower": 0, "upper": 5000}},
    })  # fmt: skip
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
    print(
        "| query | vallum ms | error | OpenDP ms | error | bare numpy ms |\n"
        "|---|---:|---:|---:|---:|---:|"
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
        print(f"| {name} | {' | '.join(cells)} | {timed(bare)[0]:.1f} |")
    print(f"\nCharging a budget with its log entry, durable: {ledger_ms():.1f} ms")


if __name__ == "__main__":
    main()

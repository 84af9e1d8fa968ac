"""What a sandbox costs to start: ours, bare bubblewrap and a bare process, interleaved.

Run: .venv/bin/python benchmarks/sandbox_start.py
"""

import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

from vallum.sandbox import BubblewrapRunner, Check, Job, Limits, run_check

ROUNDS = 30
DIGEST = "vallum.base.ids:digest"
POLARS = "vallum.formats.table:identify_table"
TABLE = frozenset({DIGEST, POLARS})
PAYLOAD = b"a,b\n1,2\n" * 8192


def bare_bubblewrap() -> None:
    argv = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"]
    subprocess.run([*argv, "/bin/true"], check=True)


def main() -> None:
    runner = BubblewrapRunner.open()
    ready: list[Check] = []

    def job() -> None:
        runner.run(Job(argv=("/bin/true",), limits=Limits(wall_s=30.0)))

    def check() -> None:
        run_check(runner, DIGEST, PAYLOAD, report_type=str, allowed=TABLE)

    def check_polars() -> None:
        run_check(runner, POLARS, PAYLOAD, report_type=str, allowed=TABLE)

    def served() -> None:
        ready.pop().serve(PAYLOAD, str)

    cases = {
        "limit: fork, exec, wait of `/bin/true`": lambda: subprocess.run(["/bin/true"], check=True),
        "limit: isolated Python start": lambda: subprocess.run(
            [sys.executable, "-I", "-S", "-c", ""], check=True
        ),
        "peer: bare `bwrap /bin/true`": bare_bubblewrap,
        "ours: `run` of `/bin/true`": job,
        "ours: `run_check`, light module": check,
        "ours: `run_check`, module that imports polars": check_polars,
        "ours: started check that imported polars, `serve`": served,
    }
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(ROUNDS):
        ready.append(Check.start(runner, POLARS, allowed=TABLE))
        time.sleep(0.8)  # the import, ahead of time
        for name, case in cases.items():
            start = time.perf_counter()
            case()
            times[name].append(time.perf_counter() - start)
    base = statistics.median(times["peer: bare `bwrap /bin/true`"])
    bwrap = subprocess.run(["bwrap", "--version"], capture_output=True, text=True, check=True)
    lines = [
        (
            f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
            f"{bwrap.stdout.strip()}; {ROUNDS} rounds, interleaved"
        ),
        "",
        "| Case | Median ms | Worst ms | × bare bwrap |",
        "|---|---:|---:|---:|",
    ]
    for name, values in times.items():
        middle = statistics.median(values)
        lines.append(
            f"| {name} | {middle * 1e3:.1f} | {max(values) * 1e3:.1f} | {middle / base:.1f} |"
        )
    text = "\n".join(lines) + "\n"
    print(text)
    Path(__file__).with_name("results").joinpath("sandbox_start.md").write_text(text)


if __name__ == "__main__":
    main()

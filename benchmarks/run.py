"""Run the benchmarks one after another; each one's table goes to `results/NAME.md`.

    benchmarks/run.py                     all of them
    benchmarks/run.py audit_log up_start  some

A benchmark whose peer is not installed says so and counts as failed; the others still run.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    names = sorted(path.stem for path in HERE.glob("*.py") if path.stem != "run")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="*", help=f"of {', '.join(names)}")
    chosen = parser.parse_args().name or names
    if unknown := set(chosen) - set(names):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    failed = []
    for name in chosen:
        print(f"{name} …", end=" ", flush=True)
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, HERE / f"{name}.py"], check=False, capture_output=True, text=True
        )
        if done.returncode == 0:
            result = HERE / "results" / f"{name}.md"
            result.write_text(done.stdout)
            print(f"{time.perf_counter() - start:.0f} s, {result.relative_to(HERE.parent)}")
        else:
            failed.append(name)
            print(f"failed ({done.returncode})")
            print(done.stderr[-2000:], file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

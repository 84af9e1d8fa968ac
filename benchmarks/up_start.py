"""Start and idle: `vallum up` ready, `import vallum`, memory of all its processes when idle."""

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 3


def family(pid: int) -> list[int]:
    found = [pid]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == pid:
                found += family(int(entry.name))
    return found


def pss_mib(pid: int) -> float:
    try:
        lines = (Path("/proc") / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(one.split()[1]) for one in lines if one.startswith("Pss:")) / 1024


def main() -> None:
    sys.path.insert(0, str(ROOT / "tests"))
    import running

    first, again, memory, imports = [], [], [], []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as name:
            for times in (first, again):
                start = time.perf_counter()
                with running.running(Path(name)) as up:
                    times.append(time.perf_counter() - start)
                    time.sleep(1.5)
                    memory.append(sum(pss_mib(pid) for pid in family(up.process.pid)))
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        bare = time.perf_counter() - start
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import vallum"], check=True)
        imports.append(time.perf_counter() - start - bare)
    print(f"Machine: {platform.machine()}, {os.cpu_count()} cores, Python"
          f" {platform.python_version()}; medians of {ROUNDS}\n")  # fmt: skip
    print("| what | figure | bar |\n|---|---:|---:|")
    print(f"| `vallum up` ready, first start | {statistics.median(first):.2f} s | 3 s |")
    print(f"| `vallum up` ready, later start | {statistics.median(again):.2f} s | 3 s |")
    print(f"| `import vallum`, beyond bare Python | {statistics.median(imports) * 1e3:.0f} ms |"
          " 150 ms |")  # fmt: skip
    print(f"| idle memory of all processes (PSS) | {statistics.median(memory):.0f} MiB | 400 MiB |")


if __name__ == "__main__":
    main()

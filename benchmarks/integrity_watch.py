"""A live deployment of 1 GiB: how soon a changed byte stops it, and what watching costs.

A real `vallum up` serves a model with almost 1 GiB of weights (with the rest of the file, what an
upload may have). Measured are the seconds from a changed byte of the stored model to the answer
503, as any program changes a file; and the processor time of all processes while nothing happens,
less that of the same server without a deployment. That the timer alone finds it within a minute is
shown by `tests/unit/workspace/test_watch.py`. No peer watches what it serves; hashing the file
once a minute with `sha256sum` is beside it.

    python benchmarks/integrity_watch.py [--mib 1024] [--idle-s 180]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import running as server  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")


def big_model(mib: int) -> bytes:
    """Return the tests' small model with weights beside it that nothing reads."""
    model = onnx.load_from_string(server.small_model())
    rng = np.random.default_rng(7)
    for at in range(mib // 64):
        values = rng.integers(0, 2**31, 16 * 1024 * 1024, dtype=np.int32)
        model.graph.initializer.append(numpy_helper.from_array(values, f"pad{at}"))
    return model.SerializeToString()


def family(pid: int) -> list[int]:
    found = [pid]
    for task in (Path("/proc") / str(pid) / "task").iterdir():
        for child in (task / "children").read_text().split():
            found += family(int(child))
    return found


def spent_s(pid: int) -> float:
    """Return the processor seconds of a process and all below it that live."""
    total = 0
    for one in family(pid):
        fields = (Path("/proc") / str(one) / "stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def share(up: server.Up, idle_s: float) -> float:
    before, start = spent_s(up.process.pid), time.monotonic()
    time.sleep(idle_s)
    return (spent_s(up.process.pid) - before) / (time.monotonic() - start)


def newest(folder: Path) -> Path:
    """Return the largest object that was written last: of the model's weights."""
    found = [path for path in (folder / "data/objects").rglob("*") if path.is_file()]
    size = max(path.stat().st_size for path in found)
    return max((p for p in found if p.stat().st_size == size), key=lambda p: p.stat().st_mtime_ns)


def flip(path: Path) -> None:
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def stopped_after_s(up: server.Up, path: Path, key: str, limit_s: float) -> float:
    flip(path)
    start = time.monotonic()
    body = server.request([[1.0] * server.WIDTH])
    while time.monotonic() - start < limit_s:
        if up.score("scores", body, key=key).status_code == 503:
            return time.monotonic() - start
        time.sleep(0.05)
    raise SystemExit(f"still serving after {limit_s} s")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mib", type=int, default=1008)
    parser.add_argument("--idle-s", type=float, default=180.0)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    model = big_model(asked.mib)
    events: list[float] = []
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as name:
        folder = Path(name)
        with server.running(folder) as up:
            time.sleep(10)
            empty = share(up, asked.idle_s)
            # The attacks before a deployment are not what is measured, and need more memory.
            up.owner.policy.set(
                {"version": "vallum.policy/1", "steps": {"deploy": []}}, reason="benchmark"
            )
            up.owner.models.register("small", model)
            up.owner.models.sign("small")
            key = server.deploy(up, "scores", in_process=True)
            time.sleep(5)
            busy = share(up, asked.idle_s)
            for _ in range(asked.rounds):
                path = newest(folder)
                events.append(stopped_after_s(up, path, key, 30))
                flip(path)  # back again
                up.owner.endpoints.deploy("scores", "small", in_process=True)
                body = server.request([[1.0] * server.WIDTH])
                while up.score("scores", body, key=key).status_code != 200:
                    time.sleep(0.2)
                time.sleep(4)
            blob = folder / "plain"
            blob.write_bytes(model)
            before = os.times()
            subprocess.run(["sha256sum", blob], check=True, capture_output=True)
            after = os.times()
            once = sum(after[2:4]) - sum(before[2:4])  # of the children
    print(f"{asked.mib} MiB, {os.cpu_count()} cores; medians of {asked.rounds}\n")
    print("| what | figure | bar |\n|---|---:|---:|")
    worst = f"worst {max(events):.1f} s"
    print(f"| stopped by file event | {statistics.median(events):.1f} s ({worst}) | 5 s |")
    print(f"| watching, of one core, beyond an empty server | {busy - empty:.2%} | 2 % |")
    print(f"| the empty server | {empty:.2%} | |")
    print(f"| `sha256sum` of the file once a minute would be | {once / 60:.2%} | |")


if __name__ == "__main__":
    main()

"""Time and memory of `vallum scan` on files of 1 GiB, beside the limit and the peers, interleaved.

    SCAN_PEERS=FOLDER benchmarks/scan_large.py [rounds]

The folder holds one environment a peer, named as it: `FOLDER/picklescan/bin/picklescan`, and so on
for fickling, modelscan and modelaudit (docs/adr/0088). One that is missing is left out and named.
Each measurement is a process of its own, so that memory is its own too: `parse` is reading the
file as the scan does, `digest` the SHA-256 that the report names besides; `limit` adds up every
byte of the file once (`zlib.adler32` over a mapping). Memory is the highest resident size, with
the pages of the mapped file. A peer is its own program with the start of its interpreter. No file
here is loaded by anybody; those that `torch` and `pickle` write hold random numbers.
"""

import hashlib
import json
import mmap
import os
import pickle  # noqa: TID251 - it only writes here
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

GIB = 1 << 30
PEERS = {
    "picklescan": ["-p"],
    "modelscan": ["-p"],
    "fickling": ["--check-safety"],
    "modelaudit": ["scan", "--no-cache"],
}
# All four end with 0 or 1 when they have scanned, otherwise they failed; two can end with 0 without
# having looked inside. A failure ends at once, and a time beside it would look like speed.
ENDED = {0: "nothing found", 1: "refused"}
UNREAD = ("Scanned files: 0", "No pickle files detected")
PEER_LIMIT_S = 120
QUIET = {"NO_ANALYTICS": "1", "PROMPTFOO_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1"}


def torch_many(path: Path) -> None:
    import torch

    torch.save({f"layer.{at}": torch.rand(4 << 20) for at in range(64)}, path)


def torch_one(path: Path) -> None:
    import torch

    torch.save({"weight": torch.rand(256 << 20)}, path)


def pickled(protocol: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        import numpy as np

        rng = np.random.default_rng(1)
        arrays = {f"layer.{at}": rng.random(2 << 20, dtype="f4") for at in range(128)}
        with path.open("wb") as file:
            pickle.dump(arrays, file, protocol=protocol)

    return write


def pickled_one(path: Path) -> None:
    import numpy as np

    with path.open("wb") as file:
        pickle.dump(np.random.default_rng(1).random(128 << 20), file, protocol=4)


def pickled_floats(path: Path) -> None:
    """119 million opcodes: a list of Python's floats, which nobody should ship."""
    body = b"(" + (b"G" + bytes([63, 240]) + bytes(6)) * 1000 + b"e"
    with path.open("wb") as file:
        file.write(b"\x80\x02]")
        for _ in range(GIB // len(body)):
            file.write(body)
        file.write(b".")


FILES: dict[str, Callable[[Path], None]] = {
    "torch zip, 64 storages": torch_many,
    "torch zip, 1 storage": torch_one,
    "pickle, 128 arrays, protocol 4": pickled(4),
    "pickle, 128 arrays, protocol 2": pickled(2),
    "pickle, 1 array, protocol 4": pickled_one,
    "pickle, 119 million floats": pickled_floats,
}


def measure(path: Path, what: str) -> None:
    """Print wall and CPU seconds, and peak memory, of one thing done to one file."""
    from vallum.scan import scan_path

    begun, cpu = time.perf_counter(), time.process_time()
    verdict = ""
    if what == "parse":
        verdict = scan_path(path, digest=False).verdict.value
    elif what == "whole":
        verdict = scan_path(path).verdict.value
    else:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            digest, total = hashlib.sha256(), 1
            for at in range(0, len(view), 1 << 20):
                if what == "digest":
                    digest.update(view[at : at + (1 << 20)])
                else:
                    total = zlib.adler32(view[at : at + (1 << 20)], total)
    wall, spent = time.perf_counter() - begun, time.process_time() - cpu
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0])  # `getrusage` has the parent's as well
    sys.stdout.write(json.dumps({"wall": wall, "cpu": spent, "peak": peak, "verdict": verdict}))


def ours(path: Path, what: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, __file__, "--measure", str(path), what], capture_output=True, check=True
    )
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def peer(folder: Path, name: str, path: Path) -> dict[str, Any] | None:
    program = folder / name / "bin" / name
    if not program.exists():
        return None
    begun = time.perf_counter()
    child = subprocess.Popen(
        [program, *PEERS[name], path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, **QUIET}, cwd=path.parent, text=True,  # fickling writes beside itself
    )  # fmt: skip
    try:
        said, _ = child.communicate(timeout=PEER_LIMIT_S)
        verdict = verdict_of(child.returncode, said)
    except subprocess.TimeoutExpired:
        verdict = f"**not done** after {PEER_LIMIT_S} s"
        child.kill()
        child.communicate()
    wall = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {"wall": wall, "peak": peak, "verdict": verdict}


def verdict_of(code: int, said: str) -> str:
    """Return what a peer concluded; that it did not scan is said, with its own words for why."""
    if "Traceback (most recent call last)" in said:  # an exception's exit status is 1, too
        return f"**failed**, exit {code}: " + said.strip().splitlines()[-1][:100].replace("|", "/")
    if unread := next((word for word in UNREAD if word in said), ""):
        return f"**failed**, exit {code}: {unread.strip()}"
    if (verdict := ENDED.get(code)) is not None:
        return verdict + (", of a part" if "COVERAGE INCOMPLETE" in said else "")
    lines = [line.strip() for line in said.splitlines() if "rror" in line] or said.splitlines()[-1:]
    return f"**failed**, exit {code}: " + (lines[-1][:100].replace("|", "/") if lines else "silent")


def peer_apart(folder: Path, name: str, path: Path) -> dict[str, Any] | None:
    """Run one peer below a process of its own: the kernel keeps one peak for all children."""
    done = subprocess.run(
        [sys.executable, __file__, "--peer", str(folder), name, str(path)],
        capture_output=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    peers = os.environ.get("SCAN_PEERS", "")
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print(
        "| file of 1 GiB | verdict | parse s (CPU) | digest s | whole s | limit s | peak MiB |"
        " parse / limit |\n|---|---|---|---|---|---|---|---|"
    )
    beside: list[str] = []
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as name:
        for label, write in FILES.items():
            path = Path(name) / ("model.pt" if "torch" in label else "model.pkl")
            write(path)
            found: dict[str, list[dict[str, Any]]] = {
                what: [] for what in ("parse", "digest", "whole", "limit")
            }
            for _ in range(rounds):
                for what, rows in found.items():
                    rows.append(ours(path, what))
            wall = {k: statistics.median(r["wall"] for r in rows) for k, rows in found.items()}
            cpu = statistics.median(r["cpu"] for r in found["parse"])
            peak = max(r["peak"] for r in found["whole"]) / 1024
            print(
                f"| {label} | {found['parse'][0]['verdict']} | {wall['parse']:.3f} ({cpu:.2f})"
                f" | {wall['digest']:.2f} | {wall['whole']:.2f} | {wall['limit']:.3f}"
                f" | {peak:.0f} | {wall['parse'] / wall['limit']:.2f} |",
                flush=True,
            )
            for which in PEERS if peers else ():
                one = peer_apart(Path(peers), which, path)
                if one is None:
                    beside.append(f"| {label} | {which} | not installed | | |")
                else:
                    beside.append(
                        f"| {label} | {which} | {one['verdict']} | {one['wall']:.1f}"
                        f" | {one['peak'] / 1024:.0f} |"
                    )
            path.unlink()
    print(f"\nMedian of {rounds} rounds, interleaved; peak of all rounds of the whole scan.")
    if not peers:
        print("\nThe peers were not run: SCAN_PEERS names no folder.")
        return
    print("\n| file of 1 GiB | peer | ended | s | peak MiB |\n|---|---|---|---|---|")
    print("\n".join(beside))
    print(f"\nPeers: one run each, start included, killed after {PEER_LIMIT_S} s.")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(Path(sys.argv[2]), sys.argv[3])
    elif sys.argv[1:2] == ["--peer"]:
        print(json.dumps(peer(Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))))
    else:
        main()

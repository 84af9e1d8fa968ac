"""Verify the signature of a model's folder: ours, OpenSSF's `model-signing`, and the bare hash.

2 GiB in two files, in four and in one, all pages in memory; SHA-256; a P-256 key. The limit is
`hashlib` over the same files on as many threads as there are cores. All three are interleaved, and
the CPU time of all threads is beside the wall time, since the machine may be shared. The peer comes
with `vallum[server]` and runs in the same interpreter, by its own Python interface.
"""

import hashlib
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vallum.crypto.folder import folder_digests
from vallum.crypto.model_signing import sign_manifest, verify_manifest
from vallum.crypto.signing import SigningKey

GIB = 1 << 30
SHAPES = {"2 files of 1 GiB": (2, GIB), "4 files of 512 MiB": (4, GIB // 2),
          "1 file of 2 GiB": (1, 2 * GIB)}  # fmt: skip
STEP = 1 << 20


def bare(path: Path) -> str:
    total, held = hashlib.sha256(), bytearray(STEP)
    view = memoryview(held)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(held):
            total.update(view[:count])
    return total.hexdigest()


def limit(folder: Path) -> None:
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(bare, sorted(folder.iterdir())))


def timed(work: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def peer(folder: Path, signature: Path, public: Path) -> Callable[[], object]:
    from model_signing import hashing, verifying

    def work() -> None:
        verifying.Config().use_elliptic_key_verifier(public_key=public).set_hashing_config(
            hashing.Config().use_file_serialization(hashing_algorithm="sha256")
        ).verify(folder, signature)

    return work


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    cores = len(os.sched_getaffinity(0))
    print(f"{platform.machine()}, {cores} cores, Python {platform.python_version()}")
    print(f"Median of {rounds} interleaved rounds.\n")
    print("| model | who | wall s | best s | CPU s | wall / limit | wall / bare hash on one core |")
    print("|---|---|---|---|---|---|---|")
    key = SigningKey.generate_p256()
    for label, (count, size) in SHAPES.items():
        with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as name:
            folder, signature, public = Path(name) / "m", Path(name) / "sig", Path(name) / "pub"
            folder.mkdir()
            block = os.urandom(64 * STEP)
            for at in range(count):
                with (folder / f"part-{at}.bin").open("wb") as file:
                    for _ in range(size // len(block)):
                        file.write(block)
            signature.write_bytes(sign_manifest("m", folder_digests(folder), key))
            public.write_bytes(key.verify_key.to_pem())

            def ours(folder: Path = folder, signature: Path = signature) -> None:
                trusted = {"us": key.verify_key}
                verify_manifest(signature.read_bytes(), folder_digests(folder), trusted)

            who: dict[str, Callable[[], object]] = {
                "limit: bare hash, all cores": lambda folder=folder: limit(folder),
                "bare hash, one core": lambda folder=folder: [bare(p) for p in folder.iterdir()],
                "vallum": ours,
                "model-signing": peer(folder, signature, public),
            }
            times: dict[str, list[tuple[float, float]]] = {one: [] for one in who}
            for _ in range(rounds):
                for one, work in who.items():
                    times[one].append(timed(work))
            wall = {one: statistics.median(t[0] for t in all_) for one, all_ in times.items()}
            for one, all_ in times.items():
                cpu = statistics.median(t[1] for t in all_)
                best = min(t[0] for t in all_)
                print(
                    f"| {label} | {one} | {wall[one]:.3f} | {best:.3f} | {cpu:.2f}"
                    f" | {wall[one] / wall['limit: bare hash, all cores']:.2f}"
                    f" | {wall[one] / wall['bare hash, one core']:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()

"""A table scored by a model in the sandbox, beside ONNX Runtime called in a bare loop.

    .venv/bin/python benchmarks/serving_batch.py [--rows 10000000] [--times 3] [--folder DIR]

The loop has the features in memory already and throws its answers away; ours is everything but the
log: start of the sandbox, decrypting Parquet, scoring in mini-batches, looking for what is not
finite, writing CSV and encrypting it. Both take every processor and run in turn. CPU time is what
a noisy machine does not change: ours is of this process and of the sandbox. Memory is the most
that the sandbox had; once with a third of the rows, to show that it does not grow with them.
"""

import argparse
import os
import resource
import secrets
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime as ort
import polars as pl
from skl2onnx import to_onnx
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from vallum.base import Secret
from vallum.base.bounds import MIB
from vallum.crypto import DataKey, EncryptingWriter, StreamReader
from vallum.sandbox import BubblewrapRunner, Resident
from vallum.workspace.engines.local import run
from vallum.workspace.engines.port import LIMITS
from vallum.workspace.gates.table import SCORE

WIDTH = 30


def models() -> dict[str, bytes]:
    """Return a small and a larger model of 30 features as ONNX."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4000, WIDTH)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] + x[:, 2] > 0).astype(int)
    made = {}
    for name, model in {
        "logistic regression": LogisticRegression(),
        "200 boosted trees of depth 5": GradientBoostingClassifier(n_estimators=200, max_depth=5),
    }.items():
        onnx = to_onnx(model.fit(x, y), x[:1], options={"zipmap": False})
        made[name] = onnx.SerializeToString()
    return made


def cpu_s() -> float:
    """Return the seconds of CPU of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def below() -> tuple[float, int]:
    """Return the seconds of CPU of the processes below this one, and the most bytes one had."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    seconds, most, left = 0.0, 0, [os.getpid()]
    while left:
        for one in parents.get(left.pop(), []):
            left.append(one)
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            status = Path(f"/proc/{one}/status").read_text()
            most = max(most, *(int(line.split()[1]) for line in status.splitlines()
                               if line.startswith("VmHWM")), 0)  # fmt: skip
    return seconds, most * 1024


def bare(model: bytes, x: np.ndarray, size: int) -> tuple[float, float]:
    """Return the runtime's seconds, wall and CPU, for `x`, shape (n, 30), `size` rows at once."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    begin, used = time.perf_counter(), cpu_s()
    for start in range(0, len(x), size):
        session.run(None, {name: x[start : start + size]})
    return time.perf_counter() - begin, cpu_s() - used


class Stored:
    """A ciphertext on disk."""

    def __init__(self, path: Path) -> None:
        self.file = os.open(path, os.O_RDONLY)

    def read(self, offset: int, length: int, /) -> bytes:
        """Return up to `length` bytes from `offset`."""
        return os.pread(self.file, length, offset)


def stored(folder: Path, x: np.ndarray, key: DataKey) -> StreamReader:
    """Return `x` as an encrypted Parquet table."""
    plain = folder / "table.parquet"
    frame = pl.DataFrame({f"c{at}": x[:, at] for at in range(WIDTH)})
    frame.write_parquet(plain, compression="uncompressed")
    path = folder / f"table-{len(x)}"
    with plain.open("rb") as source, path.open("wb") as sink:
        writer = EncryptingWriter(sink, key, b"benchmark")
        while chunk := source.read(MIB):
            writer.write(chunk)
        writer.close()
    plain.unlink()
    return StreamReader(Stored(path), key, b"benchmark", path.stat().st_size)


def scored(
    model: bytes, table: StreamReader, size: int, sink: Path
) -> tuple[float, float, int, int]:
    """Return our seconds, wall and CPU, the rows, and the most memory of the sandbox in bytes."""
    key = DataKey(Secret(secrets.token_bytes(32)))
    begin, used = time.perf_counter(), cpu_s()
    with sink.open("wb") as out:
        writer = EncryptingWriter(out, key, b"scores")
        resident = Resident.open(
            BubblewrapRunner.open(), SCORE, msgspec.msgpack.encode({"model": model}),
            allowed=frozenset({SCORE}), limits=LIMITS,
            arguments={"size": table.size, "kind": "parquet", "mini_batch": size},
        )  # fmt: skip
        try:
            mark = run(resident, table, lambda text, _: writer.write(text))
            inside_s, most = below()
        finally:
            resident.close()
        writer.close()
    assert not mark.failed
    return time.perf_counter() - begin, cpu_s() - used + inside_s, mark.rows, most


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None, help="with 4 GB of room on a disk")
    parser.add_argument("--mini-batch", type=int, default=4096)
    given = parser.parse_args()
    rng = np.random.default_rng(1)
    key = DataKey(Secret(secrets.token_bytes(32)))
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        sink = Path(folder, "scores")
        few = stored(Path(folder), rng.standard_normal((given.rows // 3, WIDTH), np.float32), key)
        x = rng.standard_normal((given.rows, WIDTH), dtype=np.float32)
        table = stored(Path(folder), x, key)
        print(f"{given.rows} rows, {WIDTH} columns, {given.mini_batch} rows at once,")
        print(f"{len(os.sched_getaffinity(0))} processors, load {os.getloadavg()[0]:.1f};")
        print(f"the best of {given.times} of each\n", flush=True)
        made = models()
        smallest = next(iter(made))
        third = scored(made[smallest], few, given.mini_batch, sink)[3]
        print("| model | loop, s | ours, s | ratio | loop, CPU s | ours, CPU s | ratio | sandbox |")
        print("|---|---:|---:|---:|---:|---:|---:|---:|")
        for name, model in made.items():
            loops, ours, most = [], [], 0
            for _ in range(given.times):
                loops.append(bare(model, x, given.mini_batch))
                wall, used, rows, held = scored(model, table, given.mini_batch, sink)
                assert rows == given.rows
                most = max(most, held)
                ours.append((wall, used))
            told = [
                f"{loop:.1f} | {our:.1f} | {loop / our:.2f}"
                for loop, our in zip(
                    map(min, zip(*loops, strict=True)), map(min, zip(*ours, strict=True)),
                    strict=True,
                )
            ]  # fmt: skip
            print(f"| {name} | {' | '.join(told)} | {most // MIB} MiB |", flush=True)
    print(
        f"\nThe table has {table.size // MIB} MiB. With a third of it, {few.size // MIB} MiB, the"
    )
    print(f"sandbox had {third // MIB} MiB at most ({smallest}).")


if __name__ == "__main__":
    main()

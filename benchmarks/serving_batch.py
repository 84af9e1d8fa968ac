"""A table scored by a model in the sandbox, beside ONNX Runtime called in a bare loop.

    .venv/bin/python benchmarks/serving_batch.py [--rows 10000000]

The loop has the features in memory already and throws its answers away; ours is the whole check:
start of the sandbox, reading Parquet, scoring in mini-batches, looking for what is not finite, and
writing CSV. Wall time; both take every processor.
"""

import argparse
import io
import os
import time

import msgspec
import numpy as np
import onnxruntime as ort
import polars as pl
from skl2onnx import to_onnx
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from vallum.base.bounds import GIB
from vallum.guard.batch import ScoredTable
from vallum.sandbox import BubblewrapRunner, Limits, run_check

WIDTH = 30
SCORE = "vallum.guard.batch:score_table"
LIMITS = Limits(
    wall_s=3600.0, cpu_s=36_000, processes=128, memory_bytes=12 * GIB, output_bytes=4 * GIB
)


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


def bare(model: bytes, x: np.ndarray, size: int) -> float:
    """Return the seconds that the runtime takes for `x`, shape (n, 30), `size` rows at once."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    begin = time.perf_counter()
    for start in range(0, len(x), size):
        session.run(None, {name: x[start : start + size]})
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--mini-batch", type=int, default=4096)
    given = parser.parse_args()
    rng = np.random.default_rng(1)
    x = rng.standard_normal((given.rows, WIDTH), dtype=np.float32)
    held = io.BytesIO()
    frame = pl.DataFrame({f"c{at}": x[:, at] for at in range(WIDTH)})
    frame.write_parquet(held, compression="uncompressed")
    del frame
    table = held.getvalue()
    del held
    runner = BubblewrapRunner.open()
    print(f"{given.rows} rows, {WIDTH} columns, {given.mini_batch} rows at once\n")
    print("| model | bare loop, s | ours, s | loop / ours |\n|---|---:|---:|---:|")
    for name, model in models().items():
        loop = bare(model, x, given.mini_batch)
        payload = msgspec.msgpack.encode({"model": model, "table": table})
        begin = time.perf_counter()
        scored = run_check(
            runner, SCORE, payload, report_type=ScoredTable, allowed=frozenset({SCORE}),
            arguments={"kind": "parquet", "mini_batch": given.mini_batch}, limits=LIMITS,
        )  # fmt: skip
        ours = time.perf_counter() - begin
        assert scored.rows == given.rows
        assert not scored.failed
        again = bare(model, x, given.mini_batch)
        loop = min(loop, again)
        print(f"| {name} | {loop:.1f} | {ours:.1f} | {loop / ours:.2f} |", flush=True)


if __name__ == "__main__":
    main()

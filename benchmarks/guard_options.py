"""CPU time that each choice of a deployment adds to a request of one row, in one process.

    benchmarks/guard_options.py

30 features, two classes. What the gateway does for a choice is called as it calls it, without a
server: beside other work on the machine, CPU time of one process is what can still be measured.
"""

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

if os.environ.get("OMP_NUM_THREADS") != "1":
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "OMP_NUM_THREADS": "1"})

import numpy as np

from vallum.gateway.drifting import Drifting
from vallum.gateway.metrics import Metrics
from vallum.gateway.tracing import Tracer
from vallum.guard import Hardening
from vallum.monitor import (
    Canaries,
    EvasionWatch,
    Watches,
    freeze,
    learn_evasion,
    learn_profile,
)
from vallum.schema import OutputPolicy

WIDTH = 30
CALLS = 3000
ROUNDS = 5


def answers(x: Any) -> Any:
    p = 1 / (1 + np.exp(-x.sum(axis=1)))
    return np.stack([1 - p, p], axis=1).astype(np.float32)


def main() -> None:
    rng = np.random.default_rng(0)
    reference = rng.standard_normal((3000, WIDTH)).astype(np.float32)
    x = rng.standard_normal((1, WIDTH)).astype(np.float32)
    p = answers(x)
    policies = {
        "labels only": OutputPolicy(labels_only=True),
        "top-k": OutputPolicy(top_k=1),
        "bounds": OutputPolicy(clip=("0.05", "0.95")),
        "temperature": OutputPolicy(temperature="2"),
        "noise": OutputPolicy(noise="0.01"),
        "all four": OutputPolicy(top_k=1, clip=("0.05", "0.95"), temperature="2", noise="0.01"),
    }
    work: dict[str, Callable[[int], object]] = {}
    for name, policy in policies.items():
        harden = Hardening(policy, b"k" * 32)
        work[f"output: {name}"] = lambda _, harden=harden: harden.apply(x, [("p", p)])
    watches = Watches(learn_profile(reference, seed=0))
    row = np.array([0])
    work["callers watched for theft"] = lambda at: watches.add(
        b"a", reference[at % 3000 : at % 3000 + 1], row
    )
    drifting = Drifting(freeze(tuple(str(at) for at in range(WIDTH)), reference))
    work["drift"] = lambda _: drifting.add(x)
    evasion = EvasionWatch(learn_evasion(reference, seed=0))
    evasion.calibrate(answers(evasion.asks))

    def judged(at: int) -> None:
        one = reference[at % 3000 : at % 3000 + 1]
        np.concatenate([one, evasion.squeezed(one)])
        evasion.note(b"a", one, evasion.judge(one, p, p))

    work["evasion, beside the model's second row"] = judged
    canaries = Canaries(reference[:100] + 9)
    work["100 canaries"] = lambda _: canaries.find(x)
    metrics = Metrics()
    tally = metrics.tally("risk", "blue")

    def counted(_: int) -> None:
        tally.active += 1
        start = time.perf_counter()
        tally.model.add(time.perf_counter() - start)
        tally.rows += 1
        tally.active -= 1
        metrics.settle(tally, None, endpoint="risk", status=200, code="", seconds=0.001)

    work["metrics (always)"] = counted
    quiet = Tracer("http://127.0.0.1:1", ratio=0.01)
    work["traces, a request that is not sampled"] = lambda _: quiet.begin(None)
    traced = Tracer("http://127.0.0.1:1", ratio=1.0)

    def whole(_: int) -> None:
        traced._tokens = 50.0  # noqa: SLF001 - else the bound on traces a second is measured
        trace = traced.begin(None)
        if trace is not None:
            trace.chosen("risk", "blue")
            trace.placed("bun_1", 1, 1)
            trace.span("model", trace.began_s)
            traced.end(trace, 200, "")

    work["traces, one that is"] = whole
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()},")
    print(f"numpy {np.__version__}; medians of {ROUNDS} rounds of {CALLS} calls, interleaved.\n")
    found: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(ROUNDS):
        for name, call in work.items():
            call(0)
            start = time.process_time()
            for at in range(CALLS):
                call(at)
            found[name].append((time.process_time() - start) / CALLS * 1e6)
    print("| what | CPU µs a request |\n|---|---:|")
    for name, values in found.items():
        print(f"| {name} | {statistics.median(values):.1f} |")


if __name__ == "__main__":
    main()

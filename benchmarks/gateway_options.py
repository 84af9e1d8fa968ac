"""CPU per request of the gateway by what a deployment asks for beside answering.

    benchmarks/gateway_options.py

One server, one model in process, 1 row x 30 features, 16 keep-alive connections from another
process; deployments are asked in turn, in one interleaved run, and CPU is of the gateway alone.
Traces go to a collector on loopback that throws them away.
"""

import contextlib
import http.server
import os
import platform
import queue
import statistics
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import gateway_requests as base
import numpy as np

ROUNDS = 5
base.SECONDS = 3.0


class Sink(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def members() -> bytes:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 3000)
    x = rng.normal(0, 0.5, (3000, base.WIDTH)) + np.where(y[:, None] == 1, 1.5, -1.5)
    lines = [",".join([*(f"f{at}" for at in range(base.WIDTH)), "y"])]
    lines += [",".join([*(f"{one:.5f}" for one in row), str(kind)])
              for row, kind in zip(x, y, strict=True)]  # fmt: skip
    return ("\n".join(lines) + "\n").encode()


def main() -> None:
    sys.path.insert(0, str(base.ROOT / "tests"))
    import running

    from vallum.schema import OutputPolicy, QueryWatch

    running.WIDTH = base.WIDTH
    sink = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    threading.Thread(target=sink.serve_forever, daemon=True).start()
    otlp = f"http://127.0.0.1:{sink.server_address[1]}"
    watch = QueryWatch(data="many", label_column="y")
    evasion = QueryWatch(data="many", label_column="y", on_evasion="alert")
    asked: dict[str, dict[str, Any]] = {
        "nothing more": {},
        "rounding": {"decimals": 3},
        "top-k, bounds, temperature": {
            "output": OutputPolicy(top_k=1, clip=("0.05", "0.95"), temperature="2")
        },
        "noise": {"output": OutputPolicy(noise="0.01")},
        "callers watched for theft, drift counted": {"watch": watch},
        "the same, and evasion": {"watch": evasion},
    }
    rows: dict[str, list[tuple[float, float, float]]] = {}
    sent = ("--otlp", otlp, "--otlp-ratio", "0.01")
    with (
        tempfile.TemporaryDirectory() as one,
        tempfile.TemporaryDirectory() as two,
        running.running(Path(one)) as plain,
        running.running(Path(two), arguments=sent) as traced,
    ):
        places = []
        for up, wanted in ((plain, asked), (traced, {"traces of 1 %": {}})):
            running.prepare(up)
            up.owner.data.create("many", members(), format="csv")
            for at, (what, more) in enumerate(wanted.items()):
                name = f"e{at}"
                key = running.deploy(up, name, in_process=True, rate_per_s=1_000_000,
                                     burst=1_000_000, **more)  # fmt: skip
                places.append((what, up, name, key))
        for _ in range(ROUNDS):
            for what, up, name, key in places:
                pids = base.children(up.process.pid, "vallum.gateway")
                path = f"/v2/models/{name}/infer"
                with contextlib.suppress(queue.Empty):  # on a busy machine a lease may lapse
                    found = base.measure(up.gateway_port, path, key, pids)
                    rows.setdefault(what, []).append(found)
    sink.shutdown()
    print(
        f"Machine: {platform.machine()}, {os.cpu_count()} cores, Python"
        f" {platform.python_version()}; {ROUNDS} rounds of {base.SECONDS:.0f} s; medians\n"
    )
    print("| what a deployment asks for | CPU µs a request | more |\n|---|---:|---:|")
    first = statistics.median(one[1] for one in rows["nothing more"])
    for what, found in rows.items():
        cpu = statistics.median(one[1] for one in found)
        print(f"| {what} | {cpu:.0f} | {cpu - first:+.0f} |")


if __name__ == "__main__":
    main()

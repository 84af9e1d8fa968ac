"""CPU per request and requests per second of other model servers, without TLS or any guard, beside
Vallum with all guards and TLS, in one interleaved run.

    SERVING_PEERS=FOLDER benchmarks/serving_peers.py [--rows 1 32] [--quick] [--only NAME ...]
        [--peers-only]

FOLDER holds an environment for each: `fastapi` (with uvicorn[standard], onnxruntime), `mlserver`,
`bentoml` and `mlflow` (each with onnxruntime; mlflow with onnx). `peers/serve.py` says how they are
set up. The same model (30 features, softmax), the same rows in each one's own form of JSON, 16
keep-alive connections from another process. A ratio is the median of the rounds' ratios; the
`least` CPU of any round is what other work on the machine disturbs least. CPU time is of a server's
first process and all below it, in ours of the gateway and its model processes; less what it takes
when nobody asks, which is told below. Requests per second are worth what the machine is. Beside
them uvicorn with TLS, the model and nothing else, which `gateway_requests.py` compares with ours.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import gateway_requests as http

SERVE = http.ROOT / "benchmarks" / "peers" / "serve.py"
BARS = {"mlflow": 10.0, "mlserver": 7.0, "bentoml": 15.0, "fastapi": 1.0}  # requests/s, ours by it
PATHS = {"mlflow": "/invocations", "mlserver": "/v2/models/m/infer", "bentoml": "/predict",
         "fastapi": "/score"}  # fmt: skip
VERSION = "import importlib.metadata,sys;print(importlib.metadata.version(sys.argv[1]))"


def body(name: str, rows: int) -> dict[str, Any]:
    """Return a request in a server's own form."""
    if name == "mlserver":
        return http.asked(rows)
    return {"x" if name == "bentoml" else "inputs": http.numbers(rows).tolist()}


def answers(name: str, port: int) -> None:
    """Wait until a server answers a question; some listen before they can."""
    told = b""
    end = time.monotonic() + http.START_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError, HTTPException):
            client = HTTPConnection("127.0.0.1", port, timeout=60)
            client.request("POST", PATHS[name], json.dumps(body(name, 1)),
                           {"Content-Type": "application/json"})  # fmt: skip
            answer = client.getresponse()
            told = answer.read()
            if answer.status == 200:
                return
        time.sleep(0.5)
    raise SystemExit(f"{name} does not answer: {told.decode(errors='replace')[:500]}")


@contextlib.contextmanager
def peer(python: Path, name: str, folder: Path) -> Iterator[tuple[int, int]]:
    """Run a server; yields its port and first process."""
    import running

    work = folder / name
    work.mkdir()
    port = running.free_port()
    with (work / "log").open("wb") as log:
        process = subprocess.Popen(
            [python, SERVE, name, folder / "model.onnx", str(port), work],
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        answers(name, port)
        yield port, process.pid
    finally:
        for pid in reversed(http.tree(process.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        process.wait()


Ask = tuple[str, int, int, str, str]  # name, port, first process, path, key


def ours(stack: contextlib.ExitStack, folder: Path) -> list[Ask]:
    """Run Vallum with a model inside its gateway and one in a process of its own."""
    import running

    (folder / "ours").mkdir()
    up = stack.enter_context(running.running(folder / "ours"))
    running.prepare(up)
    (gateway,) = http.children(up.process.pid, "vallum.gateway")
    asks = []
    for name, inside in (("inside", True), ("apart", False)):
        key = running.deploy(up, name, in_process=inside, rate_per_s=1_000_000, burst=1_000_000)
        what = f"Vallum {'in process' if inside else 'isolated'}, all guards, TLS"
        asks.append((what, up.gateway_port, gateway, f"/v2/models/{name}/infer", key))
    return asks


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="*", default=[1, 32])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=list(BARS))
    parser.add_argument("--quick", action="store_true", help="two rounds of a second")
    parser.add_argument("--peers-only", action="store_true", help="where ours has no processor")
    given = parser.parse_args()
    environments = Path(os.environ.get("SERVING_PEERS", "serving-peers"))
    http.SECONDS, rounds = (1.0, 2) if given.quick else (2.0, given.rounds)
    sys.path.insert(0, str(http.ROOT / "tests"))
    import running

    running.WIDTH, running.START_S, running.BUDGET_S = http.WIDTH, http.START_S, 600
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "model.onnx").write_bytes(http.model())
        peers, versions = {}, []
        for name in given.only:
            python = environments / name / "bin" / "python"
            if not python.exists():
                raise SystemExit(f"no environment for {name}: {python}")
            told = subprocess.run(
                [python, "-c", VERSION, name], check=True, capture_output=True, text=True
            )
            versions.append(f"{name} {told.stdout.strip()}")
            peers[name] = stack.enter_context(peer(python, name, folder))
        asks = [] if given.peers_only else ours(stack, folder)
        keys = folder / "keys" if given.peers_only else folder / "ours" / "data.keys"
        if given.peers_only:
            keys.mkdir()
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                 "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", keys / "server-key.pem",
                 "-out", keys / "server.pem", "-subj", "/CN=localhost"],
                check=True, capture_output=True,
            )  # fmt: skip
        asks.append((http.PLAIN, *stack.enter_context(http.unguarded(keys, own=False)), "/", "x"))
        beside = [ask[0] for ask in asks]
        asks += [(name, port, pid, PATHS[name], "x") for name, (port, pid) in peers.items()]
        idle = http.idle_of({pid for _, _, pid, _, _ in asks})
        print(f"{http.machine()}; {', '.join(versions)}; {http.WIDTH} features,"
              f" {http.CONNECTIONS} connections, {rounds} rounds of {http.SECONDS:.0f} s, each with"
              " every server; medians\n")  # fmt: skip
        by = " | ".join(f"by {what.split(', all')[0].split(' (')[0]}" for what in beside)
        print(f"| rows | server | CPU µs a request (least) | {by} | requests/s | {by} | bar |")
        print("|---:|---" + "|---:" * (3 + 2 * len(beside)) + "|")
        for rows in given.rows:
            found: dict[str, list[tuple[float, float, float]]] = {}
            for turn in range(rounds + 1):  # the first warms up
                for what, port, pid, path, key in asks:
                    guarded = what in beside
                    sent = http.asked(rows) if guarded else body(what, rows)
                    one = http.measure(port, path, key, pid, body=sent, tls=guarded,
                                       idle=idle[pid])  # fmt: skip
                    if turn:
                        found.setdefault(what, []).append(one)
            least = {what: min(one[1] for one in each) for what, each in found.items()}
            for what, each in found.items():
                rate, cpu = (statistics.median(one[at] for one in each) for at in range(2))
                cells = [f"{cpu:.0f} ({least[what]:.0f})"]
                cells += [f"{http.ratio(each, found[of]):.1f} ({least[what] / least[of]:.1f})"
                          for of in beside]  # fmt: skip
                cells.append(f"{rate:,.0f}")
                for of in beside:
                    faster = statistics.median(
                        other[0] / one[0] for other, one in zip(found[of], each, strict=True)
                    )
                    cells.append(f"{faster:.1f}")
                cells.append(f"{BARS[what]:.0f} ×" if what in BARS else "")
                print(f"| {rows} | {what} | {' | '.join(cells)} |", flush=True)
        told = ", ".join(f"{what} {idle[pid] * 1e3:.0f}" for what, _, pid, _, _ in asks)
        print(f"\nms of CPU a second when nobody asks: {told}")


if __name__ == "__main__":
    main()

"""Requests per second and CPU per request of the gateway, with all guards and TLS, beside the
same server without guards (one handler that runs the same model), in one interleaved run.

    .venv/bin/python benchmarks/gateway_requests.py [--rows 1 32] [--quick]

Two unguarded servers: uvicorn as anybody runs it (uvloop, httptools, an ASGI application), and the
same handler on the gateway's own protocol, which isolates what the guards cost. 30 features, JSON,
16 keep-alive connections from another process. A ratio is the median of the rounds' ratios; the
`least` CPU of any round, and its ratios, are what other work on the machine disturbs least. CPU
time is of the gateway and of all that it started, less what it takes when nobody asks, which is
told apart; what `vallum up` does besides does not grow with requests. `serving_peers.py` does the
same with other servers.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import asking
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parents[1]
WIDTH = 30
ROUNDS = 12
SECONDS = 1.5
CONNECTIONS = 16
START_S = 600.0
TRIES = 20
PLAIN = "unguarded uvicorn, TLS (limit)"
OWN = "unguarded, on the gateway's protocol, TLS (limit)"


def model() -> bytes:
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(WIDTH, 2)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["m"]),
         helper.make_node("Softmax", ["m"], ["probabilities"], axis=1)],
        "bench",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, WIDTH])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2])],
        [numpy_helper.from_array(weights, "w")],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(made)
    return made.SerializeToString()


def bare(port: int, cert: str, key: str, *, own_protocol: bool) -> None:
    """The limit: the same server, TLS and model, no guard at all."""
    import msgspec
    import onnxruntime as ort
    import uvicorn

    from vallum.gateway.crowd import Crowd
    from vallum.gateway.protocol import Connection
    from vallum.gateway.wire import Answer
    from vallum.gateway.wire import Request as Request_

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model(), options, providers=["CPUExecutionProvider"])

    class Tensor(msgspec.Struct):
        name: str
        shape: list[int]
        datatype: str
        data: list[float]

    class Request(msgspec.Struct):
        inputs: list[Tensor]

    decoder = msgspec.json.Decoder(Request)

    def score(body: bytes) -> bytes:
        tensor = decoder.decode(body).inputs[0]
        x = np.array(tensor.data, dtype=np.float32).reshape(tensor.shape)
        (scores,) = session.run(None, {"x": x})
        return msgspec.json.encode(
            {"model_name": "m", "outputs": [{"name": "probabilities", "shape": list(scores.shape),
             "datatype": "FP32", "data": scores.ravel().tolist()}]}
        )  # fmt: skip

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = score((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode())]})  # fmt: skip
        await send({"type": "http.response.body", "body": body})

    class App:
        crowd = Crowd()

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            pass

        async def answer(self, request: Request_) -> Answer:
            return Answer(200, score(await request.body()))

    uvicorn.run(App() if own_protocol else app, host="127.0.0.1", port=port, ssl_certfile=cert,
                ssl_keyfile=key, loop="uvloop", http=Connection if own_protocol else "httptools",
                log_config=None, access_log=False, lifespan="off", server_header=False,
                proxy_headers=False)  # fmt: skip


def asked(rows: int) -> dict[str, Any]:
    """Return a request of `rows` rows in V2's form."""
    return {"inputs": [{"name": "x", "shape": [rows, WIDTH], "datatype": "FP32",
                        "data": numbers(rows).ravel().tolist()}]}  # fmt: skip


def numbers(rows: int) -> np.ndarray:
    """Return rows of numbers as people send them: four decimals, none alike."""
    return np.round(np.random.default_rng(7).normal(size=(rows, WIDTH)), 4)


def load(
    port: int, path: str, key: str, root: int, *, body: dict[str, Any], queue: Any, tls: bool
) -> None:
    """Drive a server from a process of its own, once every connection is open."""
    request = request_of(port, path, key, body)
    with asking.opened(port, CONNECTIONS, tls=tls) as askers:
        before, begun = tree_cpu_s(root), time.perf_counter()
        times, none = asking.closed_loop(askers, request, SECONDS)
        used, wall = tree_cpu_s(root) - before, time.perf_counter() - begun
    if none.shown:  # a lease ran out: the machine was too busy
        print(none.shown.decode(errors="replace"), file=sys.stderr)
    queue.put((times, none.count, used, wall))


def request_of(port: int, path: str, key: str, body: dict[str, Any]) -> bytes:
    """Return a request as it is sent."""
    sent = json.dumps(body).encode()
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(sent)}\r\n\r\n"
    ).encode() + sent


def cpu_s(pid: int) -> float:
    """Return the seconds of CPU of a process and of the children that it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(one) for one in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def tree(root: int) -> list[int]:
    """Return a process and all below it."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                below.setdefault(parent(int(entry.name)), []).append(int(entry.name))
    found = [root]
    for one in found:  # grows while it is walked
        found += below.get(one, [])
    return found


def answering(root: int) -> list[int]:
    """Return those of a process and all below it that a request's answer waits for.

    Of ours the gateway and the model processes, not the control process beside them, which hears
    of a request when it has been answered.
    """
    found = tree(root)
    ours = []
    for pid in found:
        with contextlib.suppress(OSError):
            if b"vallum.gateway" in Path(f"/proc/{pid}/cmdline").read_bytes():
                ours.append(pid)
    return ours or found


def tree_cpu_s(root: int) -> float:
    """Return the seconds of CPU of a process and all below it."""
    total = 0.0
    for pid in tree(root):
        with contextlib.suppress(OSError):
            total += cpu_s(pid)
    return total


def idle_of(roots: Iterable[int], seconds: float = 5.0) -> dict[int, float]:
    """Return what servers take of a processor when nobody asks."""
    before = {root: tree_cpu_s(root) for root in roots}
    time.sleep(seconds)
    return {root: (tree_cpu_s(root) - used) / seconds for root, used in before.items()}


def answer_of(process: Any, queue: Any, *, more: bool = False) -> Any:
    """Return what a process puts into its queue; end with it where it fails."""
    while True:
        with contextlib.suppress(Empty):
            found = queue.get(timeout=1.0)
            if not more:
                process.join()
            return found
        if process.exitcode:
            raise SystemExit("a client failed; its error is above")


def measure(
    port: int,
    path: str,
    key: str,
    root: int,
    *,
    body: dict[str, Any],
    tls: bool = True,
    idle: float = 0.0,
) -> tuple[float, float, float]:
    """Return requests per second, CPU microseconds per request, p99 in milliseconds.

    `idle` is what the server takes of a processor when nobody asks: it is not of the requests.
    """
    for _ in range(TRIES):
        queue: Any = multiprocessing.Queue()
        process = multiprocessing.Process(
            target=load, args=(port, path, key, root), daemon=True,
            kwargs={"body": body, "queue": queue, "tls": tls},
        )  # fmt: skip
        process.start()
        times, unavailable, used, wall = answer_of(process, queue)
        if times and not unavailable:
            times.sort()
            cpu = (used - idle * wall) / len(times)
            return len(times) / wall, cpu * 1e6, times[int(len(times) * 0.99)] * 1e3
        print(f"again: {unavailable} requests of {path} at port {port} got no answer, {len(times)}"
              " one", file=sys.stderr)  # fmt: skip
        time.sleep(2)
    raise SystemExit("the machine is too busy: the gateway's lease runs out")


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def children(root: int, module: str) -> list[int]:
    """Return the processes below `root` that run `module`; others' on the machine do not count."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                pid = above = int(entry.name)
                if module.encode() not in (entry / "cmdline").read_bytes().split(b"\0"):
                    continue
                while above > 1 and above != root:
                    above = parent(above)
            except OSError:
                continue
            if above == root:
                found.append(pid)
    return found


def served(port: int) -> None:
    """Wait until a port answers."""
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.2)
    raise SystemExit(f"nothing answers at port {port}")


@contextlib.contextmanager
def unguarded(keys: Path, *, own: bool) -> Iterator[tuple[int, int]]:
    """Run a server without guards; yields its port and process."""
    import running

    port = running.free_port()
    process = multiprocessing.Process(
        target=bare, args=(port, str(keys / "server.pem"), str(keys / "server-key.pem")),
        kwargs={"own_protocol": own}, daemon=True,
    )  # fmt: skip
    process.start()
    try:
        served(port)
        yield port, process.pid or 0
    finally:
        process.kill()
        process.join()


def ratio(limit: list[tuple[float, float, float]], each: list[tuple[float, float, float]]) -> float:
    """Return the median of the rounds' ratios of CPU, one server's by another's."""
    return statistics.median(one[1] / other[1] for one, other in zip(limit, each, strict=True))


def machine() -> str:
    return (f"Machine: {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f},"
            f" Python {platform.python_version()}")  # fmt: skip


def main() -> None:
    global SECONDS
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="*", default=[1, 32])
    parser.add_argument("--quick", action="store_true", help="three rounds of a second")
    given = parser.parse_args()
    SECONDS, rounds = (1.0, 3) if given.quick else (SECONDS, ROUNDS)
    sys.path.insert(0, str(ROOT / "tests"))
    import running

    running.WIDTH, running.START_S, running.BUDGET_S = WIDTH, START_S, 600
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        up = stack.enter_context(running.running(folder))
        running.prepare(up)
        inside = running.deploy(up, "inside", in_process=True, rate_per_s=1_000_000,
                                burst=1_000_000)  # fmt: skip
        apart = running.deploy(up, "apart", rate_per_s=1_000_000, burst=1_000_000)
        keys = up.ca.parent
        plain = stack.enter_context(unguarded(keys, own=False))
        own = stack.enter_context(unguarded(keys, own=True))
        of_us = (up.gateway_port, children(up.process.pid, "vallum.gateway")[0])
        print(machine(), end="")
        print(f"; {WIDTH} features, {CONNECTIONS} connections, {rounds} rounds of {SECONDS:.1f} s;"
              " medians\n")  # fmt: skip
        print("| rows | what | requests/s | p99 ms | CPU µs a request | uvicorn's by it | own"
              " protocol's | least CPU µs | uvicorn's | own protocol's |\n"
              "|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|")  # fmt: skip
        idle = idle_of([plain[1], own[1], of_us[1]])
        for rows in given.rows:
            found: dict[str, list[tuple[float, float, float]]] = {}
            for turn in range(rounds + 1):  # the first warms up
                for what, (port, pid), path, key in (
                    (PLAIN, plain, "/", "x"),
                    (OWN, own, "/", "x"),
                    ("gateway, in process, all guards, TLS", of_us,
                     "/v2/models/inside/infer", inside),
                    ("gateway, isolated, all guards, TLS", of_us,
                     "/v2/models/apart/infer", apart),
                ):  # fmt: skip
                    one = measure(port, path, key, pid, body=asked(rows), idle=idle[pid])
                    if turn:
                        found.setdefault(what, []).append(one)
            least = {what: min(one[1] for one in each) for what, each in found.items()}
            for what, each in found.items():
                rate, cpu, p99 = (statistics.median(one[at] for one in each) for at in range(3))
                plain_by, own_by = (ratio(found[name], each) for name in (PLAIN, OWN))
                print(f"| {rows} | {what} | {rate:,.0f} | {p99:.1f} | {cpu:.0f} | {plain_by:.2f} |"
                      f" {own_by:.2f} | {least[what]:.0f} | {least[PLAIN] / least[what]:.2f} |"
                      f" {least[OWN] / least[what]:.2f} |", flush=True)  # fmt: skip
        print(f"\nWithout a request the gateway takes {idle[of_us[1]] * 1e3:.0f} ms of CPU a"
              " second: not in the figures.")  # fmt: skip


if __name__ == "__main__":
    main()

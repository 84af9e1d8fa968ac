"""Requests per second and CPU per request of the gateway, with all guards and TLS, beside the
same server without guards (one handler that runs the same model), in one interleaved run.

Two unguarded servers: uvicorn as anybody runs it (uvloop, httptools, an ASGI application), and the
same handler on the gateway's own protocol, which isolates what the guards cost.

1 row x 30 features, 16 keep-alive connections from another process.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import platform
import ssl
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parents[1]
WIDTH = 30
ROUNDS = 3
SECONDS = 4.0
CONNECTIONS = 16
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
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            pass

        async def answer(self, request: Request_) -> Answer:
            return Answer(200, score(await request.body()))

    uvicorn.run(App() if own_protocol else app, host="127.0.0.1", port=port, ssl_certfile=cert,
                ssl_keyfile=key, loop="uvloop", http=Connection if own_protocol else "httptools",
                log_config=None, access_log=False, lifespan="off", server_header=False,
                proxy_headers=False)  # fmt: skip


async def connection(
    port: int, context: ssl.SSLContext | None, request: bytes, end: float, times: list[float]
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    while time.perf_counter() < end:
        start = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(head.decode(errors="replace"))
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        times.append(time.perf_counter() - start)
    writer.close()


def load(port: int, path: str, key: str, host: str, queue: Any) -> None:
    """Drive the server from a process of its own; MLflow's own server has no TLS."""
    tensor = {"name": "x", "shape": [1, WIDTH], "datatype": "FP32", "data": [0.5] * WIDTH}
    plain = path == "/invocations"
    body = json.dumps({"inputs": [[0.5] * WIDTH] if plain else [tensor]}).encode()
    request = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the load generator's own cost is not measured
    times: list[float] = []

    async def run() -> None:
        end = time.perf_counter() + SECONDS
        await asyncio.gather(
            *(
                connection(port, None if plain else context, request, end, times)
                for _ in range(CONNECTIONS)
            )
        )

    asyncio.run(run())
    queue.put(times)


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(port: int, path: str, key: str, pids: list[int]) -> tuple[float, float, float]:
    """Return requests per second, CPU microseconds per request, p99 in milliseconds."""
    queue: Any = multiprocessing.Queue()
    process = multiprocessing.Process(
        target=load, args=(port, path, key, f"127.0.0.1:{port}", queue)
    )
    before = sum(cpu_s(pid) for pid in pids)
    process.start()
    times = queue.get(timeout=SECONDS + 30)
    process.join()
    used = sum(cpu_s(pid) for pid in pids) - before
    times.sort()
    return len(times) / SECONDS, used / len(times) * 1e6, times[int(len(times) * 0.99)] * 1e3


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


def family(word: str) -> list[int]:
    """Return every process whose command line mentions `word`, but for this one."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if word.encode() in command and b"gateway_requests" not in command:
                found.append(int(entry.name))
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mlflow", type=int, default=0, metavar="PORT",
                        help="port of a running `mlflow models serve` of 30 features")  # fmt: skip
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests"))
    import running

    running.WIDTH = WIDTH
    rows = {}
    with tempfile.TemporaryDirectory() as name, running.running(Path(name)) as up:
        running.prepare(up)
        inside = running.deploy(up, "inside", in_process=True, rate_per_s=1_000_000,
                                burst=1_000_000)  # fmt: skip
        apart = running.deploy(up, "apart", rate_per_s=1_000_000, burst=1_000_000)
        keys = Path(name) / "data.keys"
        bares = []
        for own in (False, True):
            port = running.free_port()
            process = multiprocessing.Process(
                target=bare,
                args=(port, str(keys / "server.pem"), str(keys / "server-key.pem")),
                kwargs={"own_protocol": own},
                daemon=True,
            )  # fmt: skip
            process.start()
            bares.append((port, process))
        time.sleep(2)
        gateway = children(up.process.pid, "vallum.gateway")
        models = children(up.process.pid, "vallum.gateway.inside")
        for _ in range(ROUNDS):
            for what, found in (
                (PLAIN, measure(bares[0][0], "/", "x", [bares[0][1].pid or 0])),
                (OWN, measure(bares[1][0], "/", "x", [bares[1][1].pid or 0])),
                ("gateway, in process, all guards, TLS",
                 measure(up.gateway_port, "/v2/models/inside/infer", inside, gateway)),
                ("gateway, isolated, all guards, TLS",
                 measure(up.gateway_port, "/v2/models/apart/infer", apart, gateway + models)),
            ):  # fmt: skip
                rows.setdefault(what, []).append(found)
            if arguments.mlflow:
                found = measure(arguments.mlflow, "/invocations", "x", family("mlflow"))
                rows.setdefault("mlflow models serve, no TLS, no guard", []).append(found)
        for _, process in bares:
            process.terminate()
    print(f"Machine: {platform.machine()}, {os.cpu_count()} cores, Python"
          f" {platform.python_version()}; 1 row x {WIDTH} features, {CONNECTIONS} connections,"
          f" {ROUNDS} rounds of {SECONDS:.0f} s; medians\n")  # fmt: skip
    plain, own = (statistics.median(one[1] for one in rows[what]) for what in (PLAIN, OWN))
    print("| what | requests/s | CPU µs a request | p99 ms | uvicorn / CPU | own protocol / CPU |\n"
          "|---|---:|---:|---:|---:|---:|")  # fmt: skip
    for what, found in rows.items():
        rate, cpu, p99 = (statistics.median(one[at] for one in found) for at in range(3))
        print(f"| {what} | {rate:,.0f} | {cpu:.0f} | {p99:.1f} | {plain / cpu:.2f} |"
              f" {own / cpu:.2f} |")  # fmt: skip


if __name__ == "__main__":
    main()

"""CPU per request of scoring over gRPC, beside HTTP on the same gateway and beside a bare gRPC
server of the same library that runs the same model without guards, in one interleaved run.

1 row x 30 features, then 32 rows, raw tensors, 16 calls at a time over one connection from another
process; TLS everywhere. What the clients cost is not measured.
"""

import asyncio
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import gateway_requests as http
import numpy as np

ROUNDS = 2
SECONDS = 3.0
AT_ONCE = 16
METHOD = "/inference.GRPCInferenceService/ModelInfer"


def question(rows: int) -> bytes:
    from vallum.guard.v2_proto import PROTO

    made = PROTO["ModelInferRequest"](model_name="inside")
    made.inputs.add(name="x", datatype="FP32", shape=[rows, http.WIDTH])
    made.raw_input_contents.append(np.full((rows, http.WIDTH), 0.5, "<f4").tobytes())
    return bytes(made.SerializeToString())


def bare(port: int, certificate: str, key: str) -> None:
    """The limit: grpc.aio, TLS and the model, no guard."""
    import grpc
    import grpc.aio
    import onnxruntime as ort

    from vallum.guard.v2_proto import PROTO, SERVICE

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(http.model(), options, providers=["CPUExecutionProvider"])

    async def infer(body: bytes, context: Any) -> bytes:
        message = PROTO["ModelInferRequest"].FromString(body)
        x = np.frombuffer(message.raw_input_contents[0], "<f4").reshape(message.inputs[0].shape)
        (scores,) = session.run(None, {"x": x})
        made = PROTO["ModelInferResponse"](model_name="m")
        made.outputs.add(name="probabilities", datatype="FP32", shape=scores.shape)
        made.raw_output_contents.append(scores.tobytes())
        return bytes(made.SerializeToString())

    pair = (Path(key).read_bytes(), Path(certificate).read_bytes())

    async def serve() -> None:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(
            SERVICE, {"ModelInfer": grpc.unary_unary_rpc_method_handler(infer)}),))  # fmt: skip
        server.add_secure_port(f"127.0.0.1:{port}", grpc.ssl_server_credentials([pair]))
        await server.start()
        await server.wait_for_termination()

    import uvloop

    uvloop.run(serve())


def load(port: int, token: str, ca: bytes, body: bytes, queue: Any) -> None:
    import grpc
    import grpc.aio

    times: list[float] = []

    async def caller(call: Any, end: float) -> None:
        metadata = (("authorization", f"Bearer {token}"),)
        while time.perf_counter() < end:
            start = time.perf_counter()
            await call(body, metadata=metadata)
            times.append(time.perf_counter() - start)

    async def run() -> None:
        credentials = grpc.ssl_channel_credentials(ca)
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
            call = channel.unary_unary(METHOD)
            end = time.perf_counter() + SECONDS
            await asyncio.gather(*(caller(call, end) for _ in range(AT_ONCE)))

    asyncio.run(run())
    queue.put(times)


def measure(port: int, token: str, ca: bytes, body: bytes, pid: int) -> tuple[float, float, float]:
    """Return requests per second, CPU microseconds per request, p99 in milliseconds."""
    queue: Any = multiprocessing.get_context("spawn").Queue()
    process = multiprocessing.get_context("spawn").Process(
        target=load, args=(port, token, ca, body, queue)
    )
    process.start()
    before = http.cpu_s(pid)
    times = sorted(queue.get(timeout=SECONDS + 60))
    used = http.cpu_s(pid) - before
    process.join()
    return len(times) / SECONDS, used / len(times) * 1e6, times[int(len(times) * 0.99)] * 1e3


def main() -> None:
    sys.path.insert(0, str(http.ROOT / "tests"))
    import running

    running.WIDTH = http.WIDTH
    port, bare_port = running.free_port(), running.free_port()
    rows: dict[str, list[tuple[float, float, float]]] = {}
    http.SECONDS = SECONDS
    arguments = ("--grpc-port", str(port))
    with (
        tempfile.TemporaryDirectory() as name,
        running.running(Path(name), arguments=arguments) as up,
    ):
        running.prepare(up)
        token = running.deploy(up, "inside", in_process=True, rate_per_s=1_000_000,
                               burst=1_000_000)  # fmt: skip
        keys = up.ca.parent
        process = multiprocessing.get_context("spawn").Process(
            target=bare, args=(bare_port, str(keys / "server.pem"), str(keys / "server-key.pem")),
            daemon=True,
        )  # fmt: skip
        process.start()
        time.sleep(4)
        (gateway,) = http.children(up.process.pid, "vallum.gateway")
        ca = up.ca.read_bytes()
        for _ in range(ROUNDS):
            for count in (1, 32):
                body = question(count)
                for what, found in (
                    (f"bare grpc.aio, {count} rows (limit)",
                     measure(bare_port, token, ca, body, process.pid or 0)),
                    (f"gateway, gRPC, all guards, {count} rows",
                     measure(port, token, ca, body, gateway)),
                ):  # fmt: skip
                    rows.setdefault(what, []).append(found)
            found = http.measure(up.gateway_port, "/v2/models/inside/infer", token, [gateway])
            rows.setdefault("gateway, HTTP, all guards, 1 row", []).append(found)
        process.terminate()
    print(f"Machine: {platform.machine()}, {os.cpu_count()} cores, Python"
          f" {platform.python_version()}; {http.WIDTH} features, {AT_ONCE} at once, {ROUNDS} rounds"
          f" of {SECONDS:.0f} s, model in process, TLS; medians\n")  # fmt: skip
    print("| what | requests/s | CPU µs a request | p99 ms |\n|---|---:|---:|---:|")
    for what, measured in rows.items():
        rate, cpu, p99 = (statistics.median(one[at] for one in measured) for at in range(3))
        print(f"| {what} | {rate:,.0f} | {cpu:.0f} | {p99:.1f} |")


if __name__ == "__main__":
    main()

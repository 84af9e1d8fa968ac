"""CPU per request of scoring over gRPC, beside a bare gRPC server of the same library that runs the
same model without guards, in one interleaved run.

    .venv/bin/python benchmarks/serving_grpc.py [--rows 1 32] [--quick]

30 features, raw tensors, 16 calls at a time over one connection each from another process; TLS
everywhere. What the client costs is not measured, nor what a server takes when nobody asks. A ratio
is the median of the rounds' ratios; the `least` CPU of any round is what other work on the machine
disturbs least. HTTP on the same gateway: `gateway_requests.py`.
"""

import argparse
import asyncio
import contextlib
import math
import multiprocessing
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import gateway_requests as http
import numpy as np

ROUNDS = 12
SECONDS = 1.5
AT_ONCE = 16
LIMIT = "bare grpc.aio (limit)"
METHOD = "/inference.GRPCInferenceService/ModelInfer"


Turn = tuple[float, float, float]  # requests a second, CPU microseconds each, p99 in milliseconds


class Server(NamedTuple):
    """One that is asked; `idle` is what it takes of a processor when nobody asks."""

    name: str
    port: int
    pid: int
    idle: float


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


def load(
    servers: list[Server], token: str, ca: bytes, *, bodies: list[bytes], rounds: int, queue: Any
) -> None:
    """Ask every server in turn, from one process; put what each turn took."""
    import grpc
    import grpc.aio
    import uvloop

    metadata = (("authorization", f"Bearer {token}"),)

    async def caller(call: Any, body: bytes, end: float, times: list[float]) -> None:
        while time.perf_counter() < end:
            start = time.perf_counter()
            try:
                await call(body, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                await asyncio.sleep(0.1)  # a lease ran out: the machine was too busy
            else:
                times.append(time.perf_counter() - start)

    async def turn(call: Any, body: bytes, server: Server, seconds: float) -> Turn:
        times: list[float] = []
        begun, before = time.perf_counter(), http.tree_cpu_s(server.pid)
        await asyncio.gather(*(caller(call, body, begun + seconds, times) for _ in range(AT_ONCE)))
        wall = time.perf_counter() - begun
        used = http.tree_cpu_s(server.pid) - before - server.idle * wall
        times.sort()
        return (len(times) / wall, used / max(len(times), 1) * 1e6,
                times[int(len(times) * 0.99)] * 1e3 if times else math.inf)  # fmt: skip

    async def run() -> None:
        async with contextlib.AsyncExitStack() as stack:
            calls = []
            for server in servers:
                channel = await stack.enter_async_context(grpc.aio.secure_channel(
                    f"127.0.0.1:{server.port}", grpc.ssl_channel_credentials(ca),
                    options=(("grpc.use_local_subchannel_pool", 1),),
                ))  # fmt: skip
                calls.append(channel.unary_unary(METHOD))
            for body in bodies:
                for at in range(rounds + 1):  # the first warms up
                    for server, call in zip(servers, calls, strict=True):
                        found = await turn(call, body, server, SECONDS if at else 0.3)
                        if at:
                            queue.put((server.name, found))
                queue.put(None)

    uvloop.run(run())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="*", default=[1, 32])
    parser.add_argument("--quick", action="store_true", help="three rounds")
    given = parser.parse_args()
    rounds = 3 if given.quick else ROUNDS
    sys.path.insert(0, str(http.ROOT / "tests"))
    import running

    running.WIDTH, running.START_S, running.BUDGET_S = http.WIDTH, http.START_S, 600
    port, bare_port = running.free_port(), running.free_port()
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
        http.served(bare_port)
        (gateway,) = http.children(up.process.pid, "vallum.gateway")
        ca = up.ca.read_bytes()
        limit = process.pid or 0
        idle = http.idle_of([limit, gateway])
        print(f"{http.machine()}; {http.WIDTH} features, {AT_ONCE} at once, {rounds} rounds"
              f" of {SECONDS} s, model in process, TLS; medians\n")  # fmt: skip
        print("| rows | what | requests/s | p99 ms | CPU µs a request | limit's by it |"
              " least CPU µs | limit's by it |\n"
              "|---:|---|---:|---:|---:|---:|---:|---:|")  # fmt: skip
        queue: Any = multiprocessing.get_context("spawn").Queue()
        servers = [Server(LIMIT, bare_port, limit, idle[limit]),
                   Server("gateway, gRPC, all guards", port, gateway, idle[gateway])]  # fmt: skip
        client = multiprocessing.get_context("spawn").Process(
            target=load, args=(servers, token, ca), daemon=True,
            kwargs={"bodies": [question(rows) for rows in given.rows], "rounds": rounds,
                    "queue": queue},
        )  # fmt: skip
        client.start()
        for rows in given.rows:
            found: dict[str, list[Turn]] = {}
            while (told := http.answer_of(client, queue, more=True)) is not None:
                found.setdefault(told[0], []).append(told[1])
            least = {what: min(one[1] for one in each) for what, each in found.items()}
            for what, each in found.items():
                rate, cpu, p99 = (statistics.median(one[at] for one in each) for at in range(3))
                print(f"| {rows} | {what} | {rate:,.0f} | {p99:.1f} | {cpu:.0f} |"
                      f" {http.ratio(found[LIMIT], each):.2f} | {least[what]:.0f} |"
                      f" {least[LIMIT] / least[what]:.2f} |", flush=True)  # fmt: skip
        process.terminate()


if __name__ == "__main__":
    main()

"""How long answers take at half of what the gateway can do, all guards and TLS.

    .venv/bin/python benchmarks/serving_latency.py [--quick] [--share 0.5]

What it can do is measured first: 16 connections that never pause, 1 row of 30 features. Then the
same connections ask at half that rate, at times drawn from a Poisson process; a question that has
to wait for a free connection waits on the clock (no coordinated omission). Beside it, in turns and
each at half of its own, uvicorn with the same model and no guard. The bar: 99th percentile at most
3 x median. On two processors the asking takes one; on a busy machine the tail is the machine's.
"""

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import ssl
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import gateway_requests as http
import numpy as np

BAR = 3.0


def steady(
    port: int, path: str, key: str, body: bytes, *, rate: float, seconds: float, queue: Any
) -> None:
    """Ask at a rate; put the seconds from when each was due to its answer."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    request = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    gaps = np.random.default_rng(3).exponential(1 / rate, int(rate * seconds))
    times: list[float] = []

    async def run() -> None:
        due: asyncio.Queue[float] = asyncio.Queue()

        async def one() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            while True:
                since = await due.get()
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                at = head.lower().index(b"content-length: ") + 16
                await reader.readexactly(int(head[at : head.index(b"\r", at)]))
                if head.startswith(b"HTTP/1.1 200"):
                    times.append(time.perf_counter() - since)
                elif not head.startswith(b"HTTP/1.1 503"):
                    raise RuntimeError(head.decode(errors="replace"))
                due.task_done()

        tasks = [asyncio.create_task(one()) for _ in range(http.CONNECTIONS)]
        await asyncio.sleep(0.5)  # their handshakes
        at = time.perf_counter()
        for gap in gaps:
            at += gap
            if (left := at - time.perf_counter()) > 0:
                await asyncio.sleep(left)
            due.put_nowait(at)
        await due.join()
        for task in tasks:
            task.cancel()

    import uvloop

    uvloop.run(run())
    if len(times) < 0.98 * len(gaps):  # 503: a lease ran out
        raise SystemExit(f"the machine is too busy: {len(times)} of {len(gaps)} were answered")
    queue.put(times)


def main() -> None:

    parser = argparse.ArgumentParser()
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--quick", action="store_true", help="two short rounds")
    given = parser.parse_args()
    rounds, seconds, http.SECONDS = (2, 3.0, 1.0) if given.quick else (5, 8.0, 3.0)
    sys.path.insert(0, str(http.ROOT / "tests"))
    import running

    running.WIDTH, running.START_S, running.BUDGET_S = http.WIDTH, http.START_S, 600
    body = http.asked(1)
    found: dict[str, list[tuple[float, ...]]] = {}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        up = stack.enter_context(running.running(folder))
        running.prepare(up)
        plain = stack.enter_context(http.unguarded(up.ca.parent, own=False))
        (gateway,) = http.children(up.process.pid, "vallum.gateway")
        asks = [(http.PLAIN, *plain, "/", "x")]
        for name, inside in (("inside", True), ("apart", False)):
            key = running.deploy(up, name, in_process=inside, rate_per_s=1_000_000,
                                 burst=1_000_000)  # fmt: skip
            what = f"gateway, {'in process' if inside else 'isolated'}, all guards, TLS"
            asks.append((what, up.gateway_port, gateway, f"/v2/models/{name}/infer", key))
        for _ in range(rounds):
            for what, port, pid, path, key in asks:
                most = http.measure(port, path, key, pid, body=body)[0]
                queue: Any = multiprocessing.Queue()
                process = multiprocessing.Process(
                    target=steady, args=(port, path, key, json.dumps(body).encode()), daemon=True,
                    kwargs={"rate": most * given.share, "seconds": seconds, "queue": queue},
                )  # fmt: skip
                process.start()
                times = sorted(http.answer_of(process, queue))
                p50, p99 = (times[int(len(times) * at)] * 1e3 for at in (0.5, 0.99))
                found.setdefault(what, []).append((most, p50, p99, p99 / p50))
    print(f"{http.machine()}; 1 row x {http.WIDTH} features, {http.CONNECTIONS} connections,")
    print(f"{rounds} rounds of {seconds:.0f} s at {given.share} of what each can do; medians\n")
    print("| what | most requests/s | median ms | p99 ms | p99 / median | least of a round |")
    print("|---|---:|---:|---:|---:|---:|")
    for what, each in found.items():
        most, p50, p99, ratio = (statistics.median(one[at] for one in each) for at in range(4))
        print(f"| {what} | {most:,.0f} | {p50:.2f} | {p99:.2f} | {ratio:.1f} |"
              f" {min(one[3] for one in each):.1f} |")  # fmt: skip
    print(f"\nThe bar is {BAR:.0f}.")


if __name__ == "__main__":
    main()

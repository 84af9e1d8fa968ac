"""What one caller does to the others, and what time costs the gateway in memory.

    .venv/bin/python benchmarks/serving_neighbours.py [noisy|loris|soak ...] [--quick]

A running `vallum up` with all guards and TLS; callers are processes of their own.

*noisy*: an honest caller asks 80 times a second, evenly, on 8 open connections; in every other
round 16 connections of another key ask as fast as they can, above their rate. *loris*: the same
while 5,000 connections send their heads byte by byte, and come again when they are sent away. So
that as many come as leave, each leaves once by itself, at some moment of the time that a head may
take; they crawl for a minute before anything is measured. They run on what processor time the
others leave (SCHED_IDLE), as if they came from another machine; `--beside` lets them take what they
can. Since they take it from the same machine, they are beside the honest caller once more while
they crawl to another server, which only reads what they send: what is more with the gateway is the
gateway's. The bar is 1.5 x the 99th percentile of quiet rounds. On a virtual machine it is told
also of requests that began while the host took nothing (`stolen.py`, as root, which has who is
honest and the gateway run before the rest of the machine). *soak*: memory after each tenth of
`--requests`, or of `--soak-s` seconds; after the first, which warms up, it may not grow by more
than 5 per cent (`make soak` takes an hour).
"""

import argparse
import asyncio
import contextlib
import functools
import gc
import json
import multiprocessing
import os
import platform
import resource
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asking
import numpy as np
import stolen

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 5
SECONDS = 30.0
HONEST = 8
NOISY = 16
PAUSE_S = 0.1
SLOW = 5_000
HELD_S = 640.0  # a head's time, at most, where there is room
SETTLE_S = 60.0
MIB = 1024 * 1024
GROWTH = 1.05  # after the first tenth
LEAST_CALM = 500  # requests
LOOK_S = 0.02  # at the host, of whom 80 questions a second see little
REFUSED: list[int] = []  # requests of honest callers, by round


@functools.cache
def unchecked() -> ssl.SSLContext:
    """Return a client's context that checks nothing: its own cost is not measured."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def request(port: int, key: str) -> bytes:
    """Return a request of one row."""
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [0.5] * 4}
    body = json.dumps({"inputs": [tensor]}).encode()
    return (
        f"POST /v2/models/e/infer HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}"
        f"\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


async def asks(
    port: int, key: str, *, until_s: float, pause_s: float, times: list[float], most: int = 1 << 60
) -> dict[bytes, int]:
    """Ask on one connection; return how many answers had which status."""
    statuses: dict[bytes, int] = {}
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=unchecked())
    sent = request(port, key)
    while time.perf_counter() < until_s and sum(statuses.values()) < most:
        begin = time.perf_counter()
        writer.write(sent)
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        status = head[9:12]
        if status == b"200":
            times.append(time.perf_counter() - begin)
        statuses[status] = statuses.get(status, 0) + 1
        if b"connection: close" in head.lower():
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=unchecked())
        if pause_s:
            await asyncio.sleep(pause_s)
    writer.close()
    return statuses


def caller(
    port: int,
    key: str,
    queue: Any,
    *,
    connections: int = HONEST,
    seconds: float = SECONDS,
    pause_s: float = 0.0,
    most: int = 1 << 60,
) -> None:
    """Ask on many connections; put times and statuses into `queue`."""

    async def run() -> tuple[list[float], dict[bytes, int]]:
        times: list[float] = []
        until_s = time.perf_counter() + seconds
        found = await asyncio.gather(
            *(
                asks(port, key, until_s=until_s, pause_s=pause_s, times=times, most=most)
                for _ in range(connections)
            )
        )
        total: dict[bytes, int] = {}
        for one in found:
            for status, count in one.items():
                total[status] = total.get(status, 0) + count
        return times, total

    queue.put(asyncio.run(run()))


def crawl(port: int, seconds: float, ready: Any, policy: int) -> None:
    """Open connections that send a head byte by byte, and open them again when they are closed."""
    os.sched_setscheduler(0, policy, os.sched_param(0))

    async def one(head: bytes, seconds: float) -> None:
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=unchecked())
                until_s = time.perf_counter() + seconds
                for at in range(len(head)):
                    writer.write(head[at : at + 1])
                    await asyncio.sleep(1.0)
                    if writer.is_closing() or time.perf_counter() > until_s:
                        break
                writer.close()
            seconds = 3600.0

    async def run() -> None:
        head = f"POST /v2/models/e/infer HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX: ".encode()
        first_s = np.random.default_rng(5).uniform(0.0, HELD_S, SLOW)
        tasks = [asyncio.create_task(one(head + b"a" * 1000, float(until))) for until in first_s]
        await asyncio.sleep(seconds)
        ready.set()
        await asyncio.sleep(3600)
        del tasks

    asyncio.run(run())


def sink(queue: Any, certificate: Path, key: Path, policy: int) -> None:
    """Serve TLS and read all that is sent."""
    os.sched_setscheduler(0, policy, os.sched_param(0))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def one(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while await reader.read(65536):
                pass

    async def run() -> None:
        server = await asyncio.start_server(one, "127.0.0.1", 0, ssl=context, backlog=SLOW)
        queue.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def memory(pids: list[int], field: str = "VmRSS") -> int:
    """Return the bytes that processes have."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(field):
                total += int(line.split()[1]) * 1024
    return total


def evenly(port: int, key: str, queue: Any) -> None:
    """Ask on open connections at even times.

    Puts when each began, the seconds it took and how many were refused.
    """
    gc.disable()  # who asks is not to be late
    stolen.put_first([os.getpid()])
    due_s = [at * PAUSE_S / HONEST for at in range(int(SECONDS / PAUSE_S * HONEST))]
    begun_s: list[float] = []
    with asking.opened(port, HONEST, tls=True) as askers:
        times, none = asking.paced(askers, request(port, key), due_s, begun_s)
    queue.put((begun_s, times, none.count))


class Heard:
    """How long an honest caller's answers took, in rounds, and in moments that were calm."""

    def __init__(self) -> None:
        self.rounds: list[tuple[float, float]] = []
        self.calm: list[float] = []

    def ask(self, port: int, key: str, debug: Path | None) -> None:
        """Have the caller ask for a round."""
        with contextlib.ExitStack() as stack:
            host = None if debug is None else stack.enter_context(stolen.watched(debug, LOOK_S))
            queue: Any = multiprocessing.Queue()
            process = start(evenly, port, key, queue)
            begun_s, times, none = queue.get(timeout=SECONDS + 60)
            process.join()
        if len(times) < 100:
            raise SystemExit(f"an honest caller got {len(times)} answers and {none} refusals")
        REFUSED.append(none)
        if host is not None:
            self.calm += np.array(times)[host.calm(begun_s)].tolist()
        p50, p99 = np.quantile(times, (0.5, 0.99)) * 1e3
        self.rounds.append((float(p50), float(p99)))

    def of_rounds(self) -> tuple[float, float]:
        """Return the medians of the rounds' medians and 99th percentiles, in milliseconds."""
        p50, p99 = np.median(self.rounds, axis=0)
        return float(p50), float(p99)

    def of_calm(self) -> tuple[float, float]:
        """Return median and 99th percentile of calm moments, in milliseconds."""
        p50, p99 = np.quantile(self.calm, (0.5, 0.99)) * 1e3
        return float(p50), float(p99)


def beside(
    port: int,
    key: str,
    disturb: Callable[[], Any],
    end: Callable[[Any], Any],
    *,
    rounds: int,
    debug: Path | None,
) -> str:
    """Return the quiet and the disturbed percentiles, interleaved, and their ratio."""
    quiet, loud, notes = Heard(), Heard(), []
    for _ in range(rounds):
        quiet.ask(port, key, debug)
        held = disturb()
        loud.ask(port, key, debug)
        notes.append(end(held))
    (q50, q99), (l50, l99) = quiet.of_rounds(), loud.of_rounds()
    ratio = statistics.median(
        one[1] / other[1] for one, other in zip(loud.rounds, quiet.rounds, strict=True)
    )
    count = min(len(quiet.calm), len(loud.calm))
    calm = "- | - | - | - | -"
    if count >= LEAST_CALM:
        (c50, c99), (d50, d99) = quiet.of_calm(), loud.of_calm()
        calm = f"{c50:.2f} | {c99:.2f} | {d50:.2f} | {d99:.2f} | {d99 / c99:.2f}"
    all_ = f"{q50:.1f} | {q99:.1f} | {l50:.1f} | {l99:.1f} | {ratio:.2f}"
    return f"{all_} | {calm} | {count} | {notes[-1]}"


def start(target: Any, *more: Any, **named: Any) -> Any:
    process = multiprocessing.Process(target=target, args=more, kwargs=named, daemon=True)
    process.start()
    return process


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="*", default=["noisy", "loris", "soak"])
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--soak-s", type=float, default=0.0, help="instead of --requests")
    parser.add_argument("--pause-s", type=float, default=0.0, help="between a soak's requests")
    parser.add_argument("--quick", action="store_true", help="two short rounds, a short soak")
    parser.add_argument("--beside", action="store_true", help="attackers share the processors")
    given = parser.parse_args()
    rounds = ROUNDS
    if given.quick:
        rounds, given.requests = 2, 20_000
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    sys.path.insert(0, str(ROOT / "tests"))
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import running
    from gateway_requests import START_S, children, tree

    running.START_S, running.BUDGET_S = START_S, 600

    with (
        tempfile.TemporaryDirectory() as name,
        running.running(Path(name)) as up,
        stolen.debugfs() as debug,
    ):
        running.prepare(up)
        key = running.deploy(up, "e", rate_per_s=200, burst=200)
        other = up.owner.endpoints.keys("e", kind="secondary").secret
        port = up.gateway_port
        gateway = children(up.process.pid, "vallum.gateway")
        print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f};")
        print(f"medians of {rounds} rounds of {SECONDS:.0f} s, quiet and disturbed in turn;")
        print("the ratio is the median of the rounds' ratios. Then the same of all requests that")
        print("began while the host took nothing, and of how many, quiet or disturbed, at least\n")
        if {"noisy", "loris"} & {*given.what}:
            stolen.put_first(tree(up.process.pid))
            five = "quiet p50 ms | p99 | disturbed p50 | p99 | p99 ratio"
            print(f"| what | {five} | calm: {five} | of | beside |")
            print(f"|---|{'---:|' * 11}---|")
        if "noisy" in given.what:
            queue: Any = multiprocessing.Queue()

            def noise() -> Any:
                return start(caller, port, other, queue, connections=NOISY)

            def tell(process: Any) -> str:
                _, statuses = queue.get(timeout=60)
                process.join()
                return ", ".join(f"{count} x {status.decode()}" for status, count in
                                 sorted(statuses.items()))  # fmt: skip

            found = beside(port, key, noise, tell, rounds=rounds, debug=debug)
            print(f"| one noisy caller | {found} |", flush=True)
        if "loris" in given.what:
            policy = os.SCHED_OTHER if given.beside else os.SCHED_IDLE
            certificate, private = up.ca.parent / "server.pem", up.ca.parent / "server-key.pem"
            where: Any = multiprocessing.Queue()
            other_server = start(sink, where, certificate, private, policy)
            elsewhere = where.get(timeout=60)

            def slow(at: int) -> Any:
                ready = multiprocessing.Event()
                process = start(crawl, at, SETTLE_S, ready, policy)
                ready.wait(SETTLE_S + 60)
                return process

            def stop(process: Any) -> str:
                process.kill()
                process.join()
                time.sleep(5)
                return f"{SLOW} slow connections"

            for what, at in (("slow loris", port), ("the same, elsewhere", elsewhere)):
                disturbing = functools.partial(slow, at)
                found = beside(port, key, disturbing, stop, rounds=rounds, debug=debug)
                print(f"| {what} | {found} |", flush=True)
            other_server.kill()
        print(f"\nRequests of the honest caller that got no answer: {sum(REFUSED)}")
        if "soak" in given.what:
            stolen.put_first(tree(up.process.pid), first=False)
            up.owner.endpoints.update("e", rate_per_s=1_000_000, burst=1_000_000)
            print("\n| requests | gateway, MiB |\n|---:|---:|")
            asked, held = 0, []
            for _ in range(10):
                soaking: Any = multiprocessing.Queue()
                seconds = given.soak_s / 10 or 3600.0
                most = 10**9 if given.soak_s else given.requests // 10 // NOISY
                process = start(
                    caller, port, key, soaking, connections=NOISY, seconds=seconds, most=most,
                    pause_s=given.pause_s,
                )  # fmt: skip
                _, statuses = soaking.get(timeout=seconds + 60)
                process.join()
                asked += sum(statuses.values())
                held.append(memory(gateway) / MIB)
                print(f"| {asked} | {held[-1]:.1f} |", flush=True)
            if held[-1] > held[0] * GROWTH:
                raise SystemExit(f"it grew from {held[0]:.1f} to {held[-1]:.1f} MiB")


if __name__ == "__main__":
    main()

"""How long answers take at half of what the gateway can do, all guards and TLS.

    .venv/bin/python benchmarks/serving_latency.py [--quick] [--share 0.5]

What it can do is measured first: 16 connections that never pause, 1 row of 30 features. Then the
same connections ask at half that rate; a question that has to wait for a free connection waits on
the clock (no coordinated omission). Once they ask evenly, as wrk2 does: then the tail is the
server's own. And once at times drawn from a Poisson process, where questions meet: of a server that
takes the same time for each and does nothing else, 1 in 100 takes 4.3 times as long as the median
(M/D/1 at half of capacity), so that no bar below can be met. Beside it, in turns and each at half
of its own, uvicorn with the same model and no guard, and the machine itself: sockets, no TLS, one
process that counts to 100 microseconds for each question. The bar: 99th percentile at most 3 x
median. On two processors the asking takes one; where the machine itself is beyond the bar, nothing
that runs on it is to be judged by it.
"""

import argparse
import contextlib
import multiprocessing
import select
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asking
import gateway_requests as http
import numpy as np

BAR = 3.0
EVEN, POISSON = "evenly", "Poisson"
WORK_S = 100e-6
MACHINE = "the machine itself, no TLS"


def echo(listening: socket.socket) -> None:
    """Work `WORK_S` for each question, and answer: what the machine does without any server."""
    poll, clients = select.epoll(), {}
    poll.register(listening, select.EPOLLIN)
    while True:
        for number, _ in poll.poll():
            if number == listening.fileno():
                client, _ = listening.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                clients[client.fileno()] = client
                poll.register(client, select.EPOLLIN)
            elif clients[number].recv(65536):
                until_s = time.perf_counter() + WORK_S
                while time.perf_counter() < until_s:
                    pass
                clients[number].sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            else:
                clients.pop(number).close()


@contextlib.contextmanager
def machine() -> Iterator[tuple[int, int]]:
    """Run `echo`; yields its port and process."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        process = multiprocessing.Process(target=echo, args=(listening,), daemon=True)
        process.start()
        try:
            yield listening.getsockname()[1], process.pid or 0
        finally:
            process.kill()
            process.join()


def steady(port: int, request: bytes, due_s: list[float], queue: Any, tls: Any) -> None:
    """Ask at given times; put the seconds from when each was due to its answer."""
    with asking.opened(port, http.CONNECTIONS, tls=tls) as askers:
        times, none = asking.paced(askers, request, due_s)
    if len(times) < 0.98 * len(due_s):  # 503: a lease ran out
        said = none.shown.decode(errors="replace")
        raise SystemExit(
            f"the machine is too busy: {none.count} of {len(due_s)} got no answer\n{said}"
        )
    queue.put(times)


def due(how: str, rate: float, seconds: float) -> list[float]:
    """Return when to ask, in seconds."""
    count = int(rate * seconds)
    gaps = np.random.default_rng(3).exponential(1 / rate, count)
    return list((np.arange(count) / rate if how == EVEN else np.cumsum(gaps)).tolist())


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
    found: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        up = stack.enter_context(running.running(folder))
        running.prepare(up)
        plain = stack.enter_context(http.unguarded(up.ca.parent, own=False))
        (gateway,) = http.children(up.process.pid, "vallum.gateway")
        asks = [
            (MACHINE, *stack.enter_context(machine()), "/", "x"),
            (http.PLAIN, *plain, "/", "x"),
        ]
        for name, inside in (("inside", True), ("apart", False)):
            key = running.deploy(up, name, in_process=inside, rate_per_s=1_000_000,
                                 burst=1_000_000)  # fmt: skip
            what = f"gateway, {'in process' if inside else 'isolated'}, all guards, TLS"
            asks.append((what, up.gateway_port, gateway, f"/v2/models/{name}/infer", key))
        for _ in range(rounds):
            for what, port, pid, path, key in asks:
                tls = what != MACHINE
                most = http.measure(port, path, key, pid, body=body, tls=tls)[0]
                request = http.request_of(port, path, key, body)
                for how in (EVEN, POISSON):
                    queue: Any = multiprocessing.Queue()
                    process = multiprocessing.Process(
                        target=steady, daemon=True,
                        args=(port, request, due(how, most * given.share, seconds), queue, tls),
                    )  # fmt: skip
                    process.start()
                    times = sorted(http.answer_of(process, queue))
                    p50, p99 = (times[int(len(times) * at)] * 1e3 for at in (0.5, 0.99))
                    found.setdefault((what, how), []).append((most, p50, p99, p99 / p50))
    print(f"{http.machine()}; 1 row x {http.WIDTH} features, {http.CONNECTIONS} connections,")
    print(f"{rounds} rounds of {seconds:.0f} s at {given.share} of what each can do; medians\n")
    print(
        "| what | asked | most requests/s | median ms | p99 ms | p99 / median | least of a round |"
    )
    print("|---|---|---:|---:|---:|---:|---:|")
    for (what, how), each in sorted(found.items(), key=lambda one: one[0][1], reverse=True):
        most, p50, p99, ratio = (statistics.median(one[at] for one in each) for at in range(4))
        print(f"| {what} | {how} | {most:,.0f} | {p50:.2f} | {p99:.2f} | {ratio:.1f} |"
              f" {min(one[3] for one in each):.1f} |")  # fmt: skip
    print(f"\nThe bar is {BAR:.0f}.")


if __name__ == "__main__":
    main()

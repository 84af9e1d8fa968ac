"""How long answers take at half of what the gateway can do, all guards and TLS.

    .venv/bin/python benchmarks/serving_latency.py [--quick] [--minutes 12] [--asked evenly|Poisson]

What it can do is measured first: 16 connections that never pause, 1 row of 30 features. Then the
same connections ask at half that rate; a question that has to wait for a free connection waits on
the clock (no coordinated omission). The first second of a round does not count: after a silence the
first requests wait 10 to 20 ms until the log has a bundle for them. They ask evenly, as wrk2 does:
then the tail is the server's own; or at times drawn from a Poisson process, where questions meet:
of a server that takes the same time for each and does nothing else, 1 in 100 takes 4.3 times as
long as the median (M/D/1 at half of capacity), so that no bar below can be met. Beside it, in turns
and each at half of its own, uvicorn with the same model and no guard, and the machine itself:
sockets, no TLS, one process that counts to 100 microseconds for each question. The bar: 99th
percentile at most 3 x median.

On a virtual machine a stall of the host is in every server's tail, and so is what its own agents
do. So no processor sleeps (`stolen.awake`); as root, who asks and the processes that an answer
waits for run before the rest of the machine while they ask at half; and each figure is given of all
questions, and of those that began while the host took nothing (`stolen.py`), until there are enough
of them or the time is over. What each can do is measured in such moments too. Where the machine
itself is beyond the bar, nothing that runs on it is to be judged by it.
"""

import argparse
import contextlib
import gc
import multiprocessing
import os
import select
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asking
import gateway_requests as http
import numpy as np
import stolen

BAR = 3.0
EVEN, POISSON = "evenly", "Poisson"
WORK_S = 100e-6
MOST_CALM_S = 0.5  # of asking as fast as it goes
ENOUGH = 1_000  # questions of a round, so that ten are beyond the 99th percentile
ROUNDS = 5  # at least
WARM_S = 1.0  # of each round, before what counts
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


def ask(
    port: int, request: bytes, due_s: list[float], seconds: float, queue: Any, *, tls: bool
) -> None:
    """Ask at given times, or for `seconds` as fast as it goes.

    Puts when each began and the seconds to its answer.
    """
    begun_s: list[float] = []
    gc.disable()  # who asks is not to be late
    if due_s:
        stolen.put_first([os.getpid()])
    with asking.opened(port, http.CONNECTIONS, tls=tls) as askers:
        if due_s:
            times, none = asking.paced(askers, request, due_s, begun_s)
        else:
            times, none = asking.closed_loop(askers, request, seconds, begun_s)
    queue.put((begun_s, times, none.count))


class Asked:
    """One server, and what was found of it."""

    def __init__(self, what: str, port: int, path: str, key: str, root: int) -> None:
        """Prepare to ask `path` at `port`, of the process `root` and those below it."""
        self.what, self._port, self._root, self._tls = what, port, root, what != MACHINE
        self._request = http.request_of(port, path, key, http.asked(1))
        self.most = 0.0
        self._took: list[np.ndarray] = []  # of each round, as the next
        self._calm: list[np.ndarray] = []
        self._shares: list[float] = []

    def _ask(self, due_s: list[float], seconds: float) -> tuple[list[float], list[float]]:
        for _ in range(http.TRIES):
            queue: Any = multiprocessing.Queue()
            process = multiprocessing.Process(
                target=ask, args=(self._port, self._request, due_s, seconds, queue), daemon=True,
                kwargs={"tls": self._tls},
            )  # fmt: skip
            process.start()
            begun_s, times, unavailable = http.answer_of(process, queue)
            if unavailable < 0.02 * len(times):
                return begun_s, times
            print(f"again: {unavailable} got no answer: a lease ran out", file=sys.stderr)
            time.sleep(2)
        raise SystemExit("the machine is too busy: the gateway's lease runs out")

    def measure_most(self, debug: Path | None, seconds: float, tries: int) -> None:
        """Measure how many requests it answers in a second, in calm moments where there are any."""
        calm, calm_s, all_ = 0.0, 0.0, 0.0
        for _ in range(tries):
            if debug is None:
                begun_s, _ = self._ask([], seconds)
            else:
                with stolen.watched(debug) as host:
                    begun_s, _ = self._ask([], seconds)
                rate, rate_s = host.rate(begun_s)
                calm, calm_s = calm + rate * rate_s, calm_s + rate_s
            all_ = max(all_, len(begun_s) / (max(begun_s) - min(begun_s)))
            if calm_s >= MOST_CALM_S or (debug is None):
                break
        self.most = max(all_, calm / calm_s if calm_s >= MOST_CALM_S else 0.0)

    def round(self, debug: Path | None, due_s: list[float]) -> None:
        """Ask at given times."""
        first = http.answering(self._root)
        stolen.put_first(first)
        with contextlib.ExitStack() as stack:
            host = None if debug is None else stack.enter_context(stolen.watched(debug))
            begun_s, took = map(np.array, self._ask(due_s, 0.0))
        stolen.put_first(first, first=False)
        counts = begun_s >= begun_s.min() + WARM_S
        self._took.append(took[counts])
        if host is None:
            return
        calm = took[counts & host.calm(begun_s)]
        if len(calm) >= ENOUGH:
            self._calm.append(calm)
        self._shares.append(host.took_share())

    def enough(self) -> bool:
        """Tell whether there were enough rounds with calm moments."""
        return len(self._calm) >= ROUNDS

    def row(self) -> str:
        """Return what was found."""
        figures = []
        for rounds in (self._calm, self._took):
            if not rounds:
                figures += ["-"] * 4
                continue
            each = np.array([np.quantile(took, (0.5, 0.99)) * 1e3 for took in rounds])
            ratios = each[:, 1] / each[:, 0]
            figures += [f"{one:.2f}" for one in np.median(each, axis=0)]
            figures += [f"{np.median(ratios):.1f}", f"{ratios.min():.1f}"]
        count = f"{len(self._calm)} of {len(self._took)}"
        host = f"{np.mean(self._shares):.0%}" if self._shares else "not seen"
        return f"| {self.what} | {self.most:,.0f} | {count} | {' | '.join(figures)} | {host} |"


def due(how: str, rate: float, seconds: float) -> list[float]:
    """Return when to ask, in seconds."""
    count = int(rate * seconds)
    gaps = np.random.default_rng(3).exponential(1 / rate, count)
    return list((np.arange(count) / rate if how == EVEN else np.cumsum(gaps)).tolist())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--minutes", type=float, default=12.0, help="at most, for calm moments")
    parser.add_argument("--asked", choices=(EVEN, POISSON), default=EVEN)
    parser.add_argument("--quick", action="store_true", help="two short rounds")
    given = parser.parse_args()
    rounds, seconds, tries = (2, 3.0, 2) if given.quick else (ROUNDS, 8.0, 15)
    sys.path.insert(0, str(http.ROOT / "tests"))
    import running

    running.WIDTH, running.START_S, running.BUDGET_S = http.WIDTH, http.START_S, 600
    with contextlib.ExitStack() as stack:
        stack.enter_context(stolen.awake())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        up = stack.enter_context(running.running(folder))
        running.prepare(up)
        plain = stack.enter_context(http.unguarded(up.ca.parent, own=False))
        debug = stack.enter_context(stolen.debugfs())
        each = [
            Asked(what, port, "/", "x", pid)
            for what, (port, pid) in (
                (MACHINE, stack.enter_context(machine())),
                (http.PLAIN, plain),
            )
        ]
        for name, inside in (("inside", True), ("apart", False)):
            key = running.deploy(up, name, in_process=inside, rate_per_s=1_000_000,
                                 burst=1_000_000)  # fmt: skip
            what = f"gateway, {'in process' if inside else 'isolated'}, all guards, TLS"
            each.append(Asked(what, up.gateway_port, f"/v2/models/{name}/infer", key,
                              up.process.pid))  # fmt: skip
        for one in each:
            one.measure_most(debug, seconds / 4, tries)
        begun_s, done = time.monotonic(), 0
        while done < rounds or (
            debug is not None
            and not given.quick
            and not all(one.enough() for one in each)
            and time.monotonic() - begun_s < given.minutes * 60
        ):
            for one in each:
                one.round(debug, due(given.asked, one.most * given.share, WARM_S + seconds))
            done += 1
    print(f"{http.machine()}; 1 row x {http.WIDTH} features, {http.CONNECTIONS} connections that")
    print(f"ask {given.asked}; rounds of {seconds:.0f} s at {given.share} of what each can do; the")
    print(f"medians of rounds. First of the questions, where a round has {ENOUGH:,} or more, that")
    print("began while the host took nothing, then of all.\n")
    four = "median ms | p99 ms | p99 / median | least of a round"
    print(f"| what | most requests/s | rounds | {four} | of all: {four} | the host took |")
    print(f"|---|{'---:|' * 11}")
    for one in each:
        print(one.row())
    print(f"\nThe bar is {BAR:.0f}.")


if __name__ == "__main__":
    main()

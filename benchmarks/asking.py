"""Ask a server over and over, with as little of the machine as may be: sockets, no event loop.

What asks and what answers share two processors here: asyncio's streams take as long to ask as some
servers to answer. A connection has one request under way.
"""

import contextlib
import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Iterable, Iterator

_LENGTH = b"content-length: "
_READ_BYTES = 1 << 20


class Asker:
    """One keep-alive connection."""

    def __init__(self, port: int, *, tls: bool) -> None:
        """Connect; the certificate is not looked at, for what this costs is not measured."""
        plain = socket.create_connection(("127.0.0.1", port), timeout=60)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = plain
        if tls:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self._socket = context.wrap_socket(plain)
        self._socket.settimeout(0)
        self._number = self._socket.fileno()
        self._came = b""
        self.since_s = 0.0

    def fileno(self) -> int:
        """Return what `select` waits for."""
        return self._number

    def ask(self, request: bytes, since_s: float) -> None:
        """Send a request that was due at `since_s`."""
        self.since_s = since_s
        left = memoryview(request)
        while left:
            try:
                left = left[self._socket.send(left) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                select.select((), (self,), ())

    def answer(self) -> bytes:
        """Return the whole answer, or nothing while more of it is to come."""
        while True:
            try:
                part = self._socket.recv(_READ_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError):
                return b""  # tickets of TLS come first, and parts of answers
            if not part:
                raise ConnectionError("the server closed a connection")
            self._came += part
            head = self._came.find(b"\r\n\r\n")
            if head < 0:
                continue
            at = self._came[:head].lower().index(_LENGTH) + len(_LENGTH)
            end = self._came.find(b"\r\n", at)
            if len(self._came) >= head + 4 + int(self._came[at:end]):
                whole, self._came = self._came, b""
                return whole

    def close(self) -> None:
        """Leave."""
        self._socket.close()


class Unavailable:
    """Counts answers that there were none for now (503); shows the first."""

    def __init__(self) -> None:
        self.count = 0
        self.shown = b""

    def took(self, answer: bytes) -> bool:
        """Tell whether an answer is one.

        Raises:
            RuntimeError: It is another error.
        """
        if answer.startswith(b"HTTP/1.1 200"):
            return True
        if not answer.startswith(b"HTTP/1.1 503"):
            raise RuntimeError(answer.decode(errors="replace"))
        self.count += 1
        self.shown = self.shown or answer
        return False


@contextlib.contextmanager
def opened(port: int, count: int, *, tls: bool) -> Iterator[list[Asker]]:
    """Connect `count` times."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(contextlib.closing(Asker(port, tls=tls))) for _ in range(count)]


def closed_loop(
    askers: Iterable[Asker], request: bytes, seconds: float, begun_s: list[float] | None = None
) -> tuple[list[float], Unavailable]:
    """Ask on each connection as soon as it has its answer; return how many seconds each took.

    When each began goes into `begun_s`.
    """
    times: list[float] = []
    none = Unavailable()
    clock = time.perf_counter
    end = clock() + seconds
    poll = select.epoll()
    by_number = {one.fileno(): one for one in askers}
    for one in by_number.values():
        poll.register(one, select.EPOLLIN)
        one.ask(request, clock())
    while by_number:
        for number, _ in poll.poll(60):
            one = by_number[number]
            if not (answer := one.answer()):
                continue
            now = clock()
            if none.took(answer):
                times.append(now - one.since_s)
                if begun_s is not None:
                    begun_s.append(one.since_s)
            else:
                time.sleep(0.1 / len(by_number))
            if now < end:
                one.ask(request, clock())
            else:
                poll.unregister(one)
                del by_number[number]
    poll.close()
    return times, none


def paced(
    askers: Iterable[Asker],
    request: bytes,
    due_s: Iterable[float],
    begun_s: list[float] | None = None,
) -> tuple[list[float], Unavailable]:
    """Ask at given times, in seconds from now; return how long each took from when it was due.

    What is due while all connections wait is asked when one is free, and its wait counts: no
    coordinated omission. When each was due goes into `begun_s`.
    """
    times: list[float] = []
    none = Unavailable()
    clock = time.perf_counter
    begun = clock()
    due = deque(begun + one for one in due_s)
    free = deque(askers)
    everyone = list(free)
    while due or len(free) < len(everyone):
        now = clock()
        while due and free and due[0] <= now:
            free.popleft().ask(request, due.popleft())
        wait = max(0.0, due[0] - clock()) if due and free else 1.0
        for one in select.select(everyone, (), (), wait)[0]:  # microseconds, which epoll has not
            if answer := one.answer():
                if none.took(answer):
                    times.append(clock() - one.since_s)
                    if begun_s is not None:
                        begun_s.append(one.since_s)
                free.append(one)
    return times, none

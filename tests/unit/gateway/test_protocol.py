"""The data plane's HTTP over real sockets: order, bounds, and what a broken client gets."""

import asyncio
import contextlib
import gc
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.base import UnauthenticatedError, VallumError
from vallum.gateway import protocol
from vallum.gateway.accepting import Server
from vallum.gateway.crowd import Crowd
from vallum.gateway.metrics import Tally
from vallum.gateway.protocol import MAX_HEAD_BYTES, Connection
from vallum.gateway.wire import Answer, Request, problem_of
from vallum.guard import MAX_BODY_BYTES


class Echo:
    """Answers the body; `/slow` after a wait, `/refuse` before the body, `/task` from a task."""

    def __init__(self, most: int = 100) -> None:
        self.errors: list[str] = []
        self.crowd = Crowd(most)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...

    async def answer(self, request: Request) -> Answer:
        try:
            if request.path == "/refuse":
                raise UnauthenticatedError("a key is needed")
            if request.path == "/slow":
                await asyncio.sleep(0.05)
            if request.path == "/task":
                await asyncio.sleep(0)  # into a task, which a timeout needs
                async with asyncio.timeout(5):
                    await asyncio.sleep(0.001)
            if request.path == "/bug":
                raise RuntimeError("must not happen")
            said = b" ".join(b"%b=%b" % pair for pair in sorted(request.headers.items()))
            if request.path == "/known":
                request.tally = Tally()
            if request.path == "/headers":
                return Answer(200, said)
            return Answer(200, await request.body())
        except VallumError as error:
            self.errors.append(error.code)
            return problem_of(error)

    def refuse(self, error: VallumError, client: str) -> Answer:
        assert client == "127.0.0.1"
        self.errors.append(error.code)
        return problem_of(error)


class Served:
    def __init__(self, most: int = 100) -> None:
        self.app = Echo(most)
        listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = listening.getsockname()[1]
        self.server = Server(
            uvicorn.Config(
                self.app,
                http=Connection,
                loop="uvloop",
                lifespan="off",
                log_config=None,
                proxy_headers=False,
                timeout_keep_alive=60,
                timeout_graceful_shutdown=1,
            )
        )
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listening]})
        self.thread.start()

    def client(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def talk(self, *parts: bytes, pause_s: float = 0.0, close: bool = True) -> bytes:
        """Send parts, then read until the server closes (or half a second of silence)."""
        with self.client() as client:
            for part in parts:
                try:
                    client.sendall(part)
                except (BrokenPipeError, ConnectionResetError):
                    break
                time.sleep(pause_s)
            return received(client, close=close)

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join(10)
        assert not self.thread.is_alive()


def received(client: socket.socket, *, close: bool = True) -> bytes:
    client.settimeout(10 if close else 0.3)
    data = b""
    try:
        while more := client.recv(65536):
            data += more
    except (TimeoutError, ConnectionResetError):
        if close:
            raise
    return data


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with contextlib.closing(Served()) as one:
        yield one


def post(path: str, body: bytes, *lines: str) -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: a", f"Content-Length: {len(body)}", *lines, "", ""]
    return "\r\n".join(head).encode() + body


CLOSE = "Connection: close"


def test_a_connection_that_ended_is_freed_without_a_collection(served: Served) -> None:
    """The gateway collects its oldest garbage every five minutes: crowds must not wait for it."""
    gc.collect()
    gc.disable()
    try:
        with served.client() as client:
            client.sendall(post("/task", b"one"))
            client.recv(65536)
            (held,) = [weakref.ref(one) for one in served.server.server_state.connections]
        until_s = time.monotonic() + 10
        while held() is not None:
            assert time.monotonic() < until_s
            time.sleep(0.01)
    finally:
        gc.enable()


def test_a_connection_is_kept_and_closed_as_asked(served: Served) -> None:
    with served.client() as client:
        for body in (b"one", b"two"):
            client.sendall(post("/", body))
            assert client.recv(65536).endswith(b"content-length: 3\r\n\r\n" + body)
        client.sendall(post("/", b"three", CLOSE))
        last = received(client)
    assert b"connection: close\r\n" in last
    assert last.endswith(b"\r\n\r\nthree")
    assert served.talk(b"GET / HTTP/1.0\r\n\r\n").count(b"HTTP/1.1 200") == 1


def test_pipelined_requests_are_answered_in_order(served: Served) -> None:
    paths = ["/", "/slow", "/", "/task", "/slow", "/"]
    sent = b"".join(post(path, b"<%d>" % at) for at, path in enumerate(paths))
    answer = served.talk(sent + post("/", b"<end>", CLOSE))
    places = [answer.index(b"<%d>" % at) for at in range(len(paths))]
    assert places == sorted(places)
    assert answer.endswith(b"<end>")
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == len(paths) + 1


@settings(max_examples=25)
@given(cuts=st.lists(st.integers(1, 150), max_size=6), path=st.sampled_from(["/", "/slow"]))
def test_where_a_request_is_cut_changes_nothing(served: Served, cuts: list[int], path: str) -> None:
    whole = post(path, b"body" * 10) + post("/", b"last", CLOSE)
    places = sorted({0, *cuts, len(whole)})
    parts = [whole[a:b] for a, b in pairwise(places)]
    answer = served.talk(*parts, pause_s=0.001)
    assert answer.count(b"body") == 10
    assert answer.endswith(b"last")


def test_a_chunked_body_is_joined_and_its_trailers_have_no_say(served: Served) -> None:
    head = b"POST %b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    chunks = b"3\r\nabc\r\n4\r\ndefg\r\n0\r\nAuthorization: Bearer late\r\nHost: b\r\n\r\n"
    assert served.talk(head % b"/" + chunks).endswith(b"abcdefg")
    told = served.talk(head % b"/headers" + chunks)
    assert told.endswith(b"\r\n\r\nhost=a")


def test_an_application_that_breaks_its_promise_closes_the_connection(served: Served) -> None:
    assert served.talk(post("/bug", b"")) == b""
    # In one piece: what comes after a close may reset the connection before the answer is read.
    assert served.talk(post("/", b"", CLOSE) + post("/bug", b"")).count(b"HTTP/1.1") == 1


def test_head_has_a_length_and_no_body(served: Served) -> None:
    answer = served.talk(b"HEAD /headers HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert answer.endswith(b"content-length: 6\r\n\r\n")


def test_a_client_that_asks_first_is_told_to_go_on(served: Served) -> None:
    with served.client() as client:
        whole = post("/", b"body", "Expect: 100-continue", CLOSE)
        client.sendall(whole[:-4])
        assert client.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(whole[-4:])
        assert received(client).endswith(b"body")
    refused = served.talk(post("/refuse", b"body", "Expect: 100-continue")[:-4], close=False)
    assert refused.startswith(b"HTTP/1.1 401 ")


def test_a_refusal_comes_before_the_body_and_the_connection_goes_on(served: Served) -> None:
    body = b"x" * 300_000
    whole = post("/refuse", body)
    with served.client() as client:
        client.sendall(whole[:200])
        assert client.recv(65536).startswith(b"HTTP/1.1 401 ")
        client.sendall(whole[200:])
        client.sendall(post("/", b"next", CLOSE))
        assert received(client).endswith(b"next")


def test_a_body_beyond_its_bound_is_refused(served: Served) -> None:
    answer = served.talk(post("/", bytes(MAX_BODY_BYTES + 1), CLOSE))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert served.talk(post("/", bytes(MAX_BODY_BYTES), CLOSE)).startswith(b"HTTP/1.1 200 ")


BROKEN = {
    "not http": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello",
    "bad method": b"P\x00ST / HTTP/1.1\r\nHost: a\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
    b"Content-Length: 4\r\n\r\nabcd",
    "length and chunks": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bad chunk": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "header without name": b"POST / HTTP/1.1\r\nHost: a\r\n: value\r\n\r\n",
    "bare line feed": b"POST / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_no_request_is_refused_and_closed(served: Served, what: str) -> None:
    answer = served.talk(BROKEN[what])
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close\r\n" in answer
    assert answer.count(b"HTTP/1.1 ") == 1


def test_what_is_broken_after_a_request_costs_that_request_nothing(served: Served) -> None:
    answer = served.talk(post("/slow", b"whole") + b"\x00\x00")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"whole")


def test_an_upgrade_is_not_taken(served: Served) -> None:
    lines = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
    answer = served.talk(post("/", b"", *lines) + b"\x81\x05hello")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_an_endless_head_is_refused(served: Served) -> None:
    line = b"X-Padding: " + b"y" * 1000 + b"\r\n"
    parts = [b"POST / HTTP/1.1\r\nHost: a\r\n", *[line] * (MAX_HEAD_BYTES // len(line) + 2)]
    answer = served.talk(*parts, pause_s=0.001)
    assert b"score.head" in answer


def test_a_client_that_leaves_wakes_what_waits_for_its_body(served: Served) -> None:
    served.app.errors.clear()
    with served.client() as client:
        client.sendall(post("/", b"never complete")[:-5])
        time.sleep(0.05)
    end = time.monotonic() + 5
    while not served.app.errors and time.monotonic() < end:
        time.sleep(0.01)
    assert served.app.errors == ["score.gone"]
    assert served.talk(post("/", b"still here", CLOSE)).endswith(b"still here")


def test_slow_heads_and_bodies_and_silence_end(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_S", 0.1)
    monkeypatch.setattr(protocol, "PATIENCE_S", 0.3)
    monkeypatch.setattr(protocol, "BODY_S", 0.1)
    monkeypatch.setattr(protocol, "_TICK_S", 0.05)
    assert served.talk(b"") == b""
    assert served.talk(b"POST / HT") == b""
    answer = served.talk(post("/", b"body")[:-1])
    assert b"score.slow" in answer
    assert b"connection: close" in answer
    with served.client() as client:
        client.sendall(post("/", b"kept"))
        assert received(client, close=False).endswith(b"kept")
        time.sleep(0.3)  # now nothing is due before the connection has been silent for a minute
        client.sendall(b"POST / HT")
        client.settimeout(5)
        assert client.recv(1) == b""


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many bytes each turn of the event loop received."""
    received: list[int] = []
    heard = Connection.data_received

    def data_received(self: Connection, data: bytes) -> None:
        received.append(len(data))
        heard(self, data)

    monkeypatch.setattr(Connection, "data_received", data_received)
    return received


def test_who_sends_a_head_in_crumbs_is_heard_seldom_and_answered(
    served: Served, pieces: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "_CRUMBS_S", 0.05)
    whole = post("/", b"", "X: " + "y" * 150, CLOSE)
    begun_s = time.monotonic()
    answer = served.talk(*(whole[at : at + 1] for at in range(len(whole))), pause_s=0.005)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert time.monotonic() - begun_s < 2 * len(whole) * 0.005 + 5  # not the minute of its head
    # 17 at most until it is held for the first time, then whenever the time has doubled.
    assert len(pieces) < 40 < len(whole)
    assert sum(pieces) == len(whole)


def test_what_is_no_crumb_is_heard_at_once(
    served: Served, pieces: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "_CRUMBS", 1)
    monkeypatch.setattr(protocol, "_TICK_S", 20.0)
    with served.client() as client:
        client.sendall(b"POST / HTTP/1.1\r\n")
        time.sleep(0.1)
        client.sendall(b"Host: a\r\n")
        time.sleep(0.1)
        client.sendall(b"X: 1\r\n")  # stays in the kernel
        time.sleep(0.1)
        assert len(pieces) == 2
        client.sendall(b"Y: %b\r\nContent-Length: 2\r\n\r\nok" % (b"y" * 600))
        assert client.recv(65536).endswith(b"ok")
        client.sendall(post("/", b"small", CLOSE))  # and after a request everything is
        assert received(client).endswith(b"small")


def test_a_head_of_crumbs_that_came_in_time_is_answered(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_S", 3.0)
    monkeypatch.setattr(protocol, "PATIENCE_S", 3.0)
    monkeypatch.setattr(protocol, "_SPREAD", 1)
    monkeypatch.setattr(protocol, "_CRUMBS_S", 0.5)
    whole = post("/", b"", CLOSE)
    with served.client() as client:
        client.sendall(whole[:20])
        time.sleep(1.6)
        client.sendall(whole[20:-1])  # held until it is nearly too old
        time.sleep(0.5)
        client.sendall(whole[-1:])
        assert received(client).startswith(b"HTTP/1.1 200 ")


def test_a_body_that_is_waited_for_may_come_in_crumbs(
    served: Served, pieces: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "_CRUMBS", 1)
    monkeypatch.setattr(protocol, "_TICK_S", 20.0)
    whole = post("/", b"crumb" * 4, CLOSE)
    parts = whole[:20], whole[20:-20], *[b"crumb"] * 4  # held until the whole head is there
    assert served.talk(*parts, pause_s=0.05).endswith(b"crumb" * 4)
    assert pieces[-4:] == [5] * 4


def test_slow_heads_of_strangers_end_when_half_of_the_places_are_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(protocol, "HEAD_S", 0.1)
    monkeypatch.setattr(protocol, "_TICK_S", 0.05)
    with contextlib.closing(Served(most=8)) as served, contextlib.ExitStack() as stack:

        def asked(path: str) -> socket.socket:
            client = stack.enter_context(served.client())
            client.sendall(post(path, b"x"))
            assert received(client, close=False).endswith(b"x")
            return client

        known, stranger = asked("/known"), asked("/")
        silent = stack.enter_context(served.client())
        for slow in (known, stranger):
            slow.sendall(b"POST / HT")
        known.settimeout(5)
        assert known.recv(1) == b""  # it would never make room
        for patient in (stranger, silent):
            patient.settimeout(0.3)
            with pytest.raises(TimeoutError):
                patient.recv(1)
        stranger.sendall(b"TP/1.1\r\nHost: a\r\n\r\n")
        assert received(stranger, close=False).startswith(b"HTTP/1.1 200 ")
        stranger.sendall(b"POST / HT")
        for _ in range(4):
            asked("/known")
        for late in (stranger, silent):
            late.settimeout(5)
            assert late.recv(1) == b""


def test_a_crowd_makes_room_for_who_comes_and_keeps_who_is_known() -> None:
    with contextlib.closing(Served(most=3)) as served, contextlib.ExitStack() as stack:

        def came() -> socket.socket:
            return stack.enter_context(served.client())

        def answered(client: socket.socket, path: str) -> bytes:
            client.sendall(post(path, b"x"))
            return received(client, close=False)

        known, slow, nobody = came(), came(), came()
        assert answered(known, "/known").endswith(b"x")
        slow.sendall(b"POST / HT")
        assert answered(nobody, "/").endswith(b"x")  # an answer alone makes nobody known
        assert answered(came(), "/known").endswith(b"x")
        assert received(slow) == b""  # the oldest stranger left
        assert answered(came(), "/known").endswith(b"x")
        assert received(nobody) == b""
        assert served.app.errors == ["score.connections"] * 2
        assert received(came()) == b""  # all are known: no room
        assert answered(known, "/").endswith(b"x")
        known.close()
        time.sleep(0.1)
        assert answered(came(), "/").endswith(b"x")

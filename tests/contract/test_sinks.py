"""Every sink of checkpoints keeps one contract: a folder, and a real HTTPS server."""

import http.server
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from vallum.audit import Courier, Sink, open_sink
from vallum.base import InputError, Secret, SystemClock, UnavailableError
from vallum.crypto import make_certificates


@dataclass
class Place:
    """A sink, what it holds, and a switch that breaks it."""

    sink: Sink
    held: Callable[[], list[str]]
    break_: Callable[[], object]
    mend: Callable[[], object]
    tokens: list[str] = field(default_factory=list)


@pytest.fixture
def folder(tmp_path: Path) -> Place:
    target, away = tmp_path / "share", tmp_path / "away"
    target.mkdir()

    def held() -> list[str]:
        return [path.read_text() for path in sorted(target.glob("0*.note"))]

    return Place(
        open_sink(target.as_uri()),
        held,
        break_=lambda: target.rename(away),
        mend=lambda: away.rename(target),
    )


@pytest.fixture
def https(tmp_path: Path) -> Iterator[Place]:
    made = make_certificates(["127.0.0.1"], now=SystemClock().now())
    for name in ("ca", "server", "server_key"):
        (tmp_path / f"{name}.pem").write_bytes(getattr(made, name))
    bodies: dict[str, str] = {}
    tokens: list[str] = []
    answers = [200]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            tokens.append(self.headers.get("authorization", ""))
            if answers[0] == 200:
                bodies[self.headers["idempotency-key"].zfill(20)] = body
            self.send_response(answers[0])
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server_key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()

    sink = open_sink(
        f"https://127.0.0.1:{server.server_address[1]}/notes?x=1",
        ca_file=tmp_path / "ca.pem",
        token=Secret(b"hush"),
    )
    yield Place(
        sink,
        lambda: [bodies[key] for key in sorted(bodies)],
        break_=lambda: answers.__setitem__(0, 503),
        mend=lambda: answers.__setitem__(0, 200),
        tokens=tokens,
    )
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(params=["folder", "https"])
def place(request: pytest.FixtureRequest) -> Place:
    made = request.getfixturevalue(request.param)
    assert isinstance(made, Place)
    return made


def test_a_note_arrives_whole_and_may_come_twice(place: Place) -> None:
    place.sink.send(3, "three\n")
    place.sink.send(3, "three\n")
    place.sink.send(12, "twelve\n")
    assert place.held() == ["three\n", "twelve\n"]


def test_a_sink_that_is_down_is_told_and_holds_what_it_had(place: Place) -> None:
    place.sink.send(1, "one\n")
    place.break_()
    with pytest.raises(UnavailableError) as caught:
        place.sink.send(2, "two\n")
    assert caught.value.code == "audit.sink"
    place.mend()
    assert place.held() == ["one\n"]


def test_a_courier_catches_up_with_growing_pauses(place: Place) -> None:
    now = [0.0]
    courier = Courier([place.sink], every_s=10.0, monotonic=lambda: now[0])
    assert courier.deliver(1, "one\n") == []
    assert courier.deliver(2, "two\n") == []  # not due yet
    assert place.held() == ["one\n"]
    place.break_()
    tried = []
    for second in range(10, 100):
        now[0] = float(second)
        if courier.deliver(second, "more\n"):
            tried.append(second)
    assert tried == [10, 11, 13, 17, 25, 41, 73]
    assert courier.late() == [(place.sink.name, 89.0)]
    place.mend()
    now[0] = 200.0
    assert courier.deliver(200, "newest\n") == []
    assert courier.late() == []
    assert place.held() == ["one\n", "newest\n"]


def test_the_token_is_sent_and_shown_nowhere(https: Place) -> None:
    https.sink.send(1, "one\n")
    assert https.tokens == ["Bearer hush"]
    assert "hush" not in repr(https.sink)
    assert https.sink.name.endswith("/notes")


@pytest.mark.parametrize(
    "url",
    ["", "x", "ftp://host/x", "http://host.example/x", "file://host/x", "https://u:p@host/x"],
)
def test_what_is_no_safe_place_is_refused(url: str) -> None:
    with pytest.raises(InputError) as caught:
        open_sink(url)
    assert caught.value.code == "audit.sink"


def test_a_server_of_another_authority_gets_nothing(https: Place) -> None:
    other = open_sink(str(https.sink.name))
    with pytest.raises(UnavailableError):
        other.send(1, "one\n")
    assert https.held() == []

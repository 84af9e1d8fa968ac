"""What code may ask its relay for."""

import asyncio
import contextlib
import socket

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum.base import InputError
from vallum.base.egress import check_host
from vallum.gateway.frames import frame
from vallum.gateway.relay import Relay
from vallum.gateway.relaying import Kept, Ruling, Wanted, read_head
from vallum.schema.serving import Way

END = b"\r\n\r\n"
CLOSE = b"Connection: close\r\n"


@pytest.mark.parametrize(
    ("head", "wanted"),
    [
        (b"CONNECT Risk.example:443 HTTP/1.1\r\nHost: other.example", ("risk.example", 443, b"")),
        (b"CONNECT [::1]:8080 HTTP/1.0", ("::1", 8080, b"")),
        (
            b"POST http://risk.example/a?b=c HTTP/1.1\r\nHost: b.example\r\nA: b\r\nProxy-A: b",
            (
                "risk.example", 80,
                b"POST /a?b=c HTTP/1.1\r\nHost: risk.example\r\n" + CLOSE + b"A: b" + END,
            ),
        ),
        (
            b"GET HTTP://[::1]:81 HTTP/1.1",
            ("::1", 81, b"GET / HTTP/1.1\r\nHost: [::1]:81\r\n" + CLOSE + b"\r\n"),
        ),
    ],
)  # fmt: skip
def test_a_tunnel_or_one_request_is_asked_for(head: bytes, wanted: tuple[str, int, bytes]) -> None:
    assert read_head(head + END) == Wanted(*wanted)


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"", "egress.request"),
        (b"CONNECT risk.example HTTP/1.1", "egress.request"),
        (b"CONNECT risk.example:0 HTTP/1.1", "egress.request"),
        (b"CONNECT risk.example:080 HTTP/1.1", "egress.request"),
        (b"CONNECT risk.example:65536 HTTP/1.1", "egress.request"),
        (b"CONNECT risk.example:+443 HTTP/1.1", "egress.request"),
        (b"CONNECT risk.example:443:80 HTTP/1.1", "egress.request"),
        (b"CONNECT ::1:443 HTTP/1.1", "egress.request"),
        (b"CONNECT [::1 HTTP/1.1", "egress.request"),
        (b"CONNECT [risk.example]:443 HTTP/1.1", "egress.request"),
        (b"CONNECT  risk.example:443 HTTP/1.1", "egress.request"),
        (b"CONNECT risk.example:443 HTTP/2", "egress.request"),
        (b"CONNECT risk.example:443 HTTP/1.1\nGET http://b.example/ HTTP/1.1", "egress.request"),
        (b"CONNECT r\xc3\xafsk.example:443 HTTP/1.1", "egress.request"),
        (b"GET / HTTP/1.1", "egress.request"),
        (b"GET https://risk.example/ HTTP/1.1", "egress.request"),
        (b"GET ftp://risk.example/ HTTP/1.1", "egress.request"),
        (b"GET http://risk.example?x HTTP/1.1", "egress.request"),
        (b"GET http://risk.example/ HTTP/1.1\r\n folded", "egress.request"),
        (b"GET http://risk.example/ HTTP/1.1\r\nA: b\nProxy-X: c", "egress.request"),
        (b"GET http://a@risk.example/ HTTP/1.1", "egress.host"),
        (b"CONNECT 127.1:443 HTTP/1.1", "egress.host"),
        (b"CONNECT 0x7f000001:443 HTTP/1.1", "egress.host"),
        (b"CONNECT 2130706433:443 HTTP/1.1", "egress.host"),
        (b"CONNECT [::ffff:127.0.0.1]:443 HTTP/1.1", "egress.host"),
        (b"CONNECT risk.example.:443 HTTP/1.1", "egress.host"),
        (b"CONNECT :443 HTTP/1.1", "egress.host"),
    ],
)
def test_what_is_no_such_request_is_refused(head: bytes, code: str) -> None:
    with pytest.raises(InputError) as caught:
        read_head(head + END)
    assert caught.value.code == code


@given(
    st.binary(max_size=80)
    | st.from_regex(rb"(CONNECT|GET) (http://)?[a-z0-9.:\[\]%@/-]{0,30} HTTP/1\.1(\r\n.{0,20})?")
)
def test_whatever_is_let_through_names_one_host(head: bytes) -> None:
    with contextlib.suppress(InputError):
        wanted = read_head(head + END)
        assert check_host(wanted.host) == wanted.host
        assert 1 <= wanted.port <= 65535
        assert wanted.head.count(END) <= 1
        assert b"\nProxy-" not in wanted.head.title()


def test_a_rule_that_goes_right_behind_its_ruling_lets_nothing_out() -> None:
    asyncio.run(_withdrawn())


async def _withdrawn() -> None:
    ours, theirs = socket.socketpair()
    way = Way("127.0.0.1", 9, ("127.0.0.1/32",))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        relay = asyncio.create_task(Relay().serve(theirs, listener))
        reader, writer = await asyncio.open_connection(sock=ours)
        answers, asks = await asyncio.open_connection(*listener.getsockname())
        asks.write(b"CONNECT 127.0.0.1:9 HTTP/1.1\r\n\r\n")
        length = int.from_bytes(await reader.readexactly(4), "little")
        asked = msgspec.msgpack.decode(await reader.readexactly(length))
        writer.write(frame(Ruling(asked["id"], way)) + frame(Kept(())))  # in one piece
        told = await asyncio.wait_for(answers.read(), 10)
        assert told.startswith(b"HTTP/1.1 403")
        assert b"egress.withdrawn" in told
        for one in (asks, writer):
            one.close()
            await one.wait_closed()
        await asyncio.wait_for(relay, 10)

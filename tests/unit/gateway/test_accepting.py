"""How connections are let in: a few at a time, and nobody waits for who never shakes hands."""

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from certificates import authority

from vallum.base import SystemClock
from vallum.gateway import accepting
from vallum.gateway.accepting import AT_ONCE, PAUSE_S, Acceptor
from vallum.gateway.crowd import Crowd, Guest


class Greeter(asyncio.Protocol):
    """Says hello to everybody."""

    def __init__(self, newcomer: Guest) -> None:
        del newcomer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"hello")
        transport.close()


@pytest.fixture
def served(tmp_path: Path) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(*authority(now=SystemClock().now()).write(tmp_path))
    return made


def unchecked() -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    return made


def with_door(
    work: Callable[[int], Awaitable[None]], context: ssl.SSLContext | None, *, most: int = 100
) -> None:
    """Run `work` with the port of a door."""

    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            door = Acceptor(listening, Greeter, context, Crowd(most))
            try:
                await work(listening.getsockname()[1])
            finally:
                door.close()
                await asyncio.sleep(0)

    asyncio.run(run())


def hello(port: int, context: ssl.SSLContext | None = None) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        if context is None:
            return plain.recv(100)
        with context.wrap_socket(plain) as client:
            return client.recv(100)


def test_a_crowd_comes_in_by_twos() -> None:
    async def work(port: int) -> None:
        begun_s = time.monotonic()
        pairs = await asyncio.gather(
            *(asyncio.open_connection("127.0.0.1", port) for _ in "x" * 40)
        )
        assert await asyncio.gather(*(reader.read() for reader, _ in pairs)) == [b"hello"] * 40
        for _, writer in pairs:
            writer.close()
        assert time.monotonic() - begun_s > (40 / AT_ONCE - 1) * PAUSE_S * 0.8

    with_door(work, None)


def client_hello() -> bytes:
    """Return what a client says first."""
    said = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        unchecked().wrap_bio(ssl.MemoryBIO(), said).do_handshake()
    return said.read()


def test_however_many_say_hello_at_once_their_handshakes_begin_by_twos(
    served: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "PAUSE_S", 0.02)
    hello = client_hello()

    def strangers(port: int) -> None:
        crowd = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(20)]
        for one in crowd:
            one.sendall(hello[:9])  # what has come in part begins nothing
        crowd[0].settimeout(0.5)  # all are in by then
        with pytest.raises(TimeoutError):
            crowd[0].recv(1)
        begun_s = time.monotonic()
        for one in crowd:
            one.sendall(hello[9:])
        for one in crowd:
            one.settimeout(10)
            assert one.recv(1) == b"\x16"
            one.close()
        assert time.monotonic() - begun_s > (20 / AT_ONCE - 1) * accepting.PAUSE_S * 0.8

    async def work(port: int) -> None:
        await asyncio.to_thread(strangers, port)

    with_door(work, served)


def test_who_never_shakes_hands_makes_room_and_garbage_ends_nobody_else(
    served: ssl.SSLContext,
) -> None:

    def strangers(port: int) -> None:
        silent = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(4)]
        assert silent[0].recv(1) == b""  # the oldest made room for the fourth
        with socket.create_connection(("127.0.0.1", port), timeout=10) as garbage:
            garbage.sendall(b"GET / HTTP/1.1\r\n\r\n")
            while garbage.recv(100):  # an alert, then the end
                pass
        assert hello(port, unchecked()) == b"hello"
        silent[3].settimeout(0.1)
        with pytest.raises(TimeoutError):  # the newest is still waited for
            silent[3].recv(1)
        for one in silent:
            one.close()

    async def work(port: int) -> None:
        await asyncio.to_thread(strangers, port)

    with_door(work, served, most=3)


def test_no_more_shake_hands_than_may_however_many_come_in_one_turn(served: ssl.SSLContext) -> None:

    def strangers(port: int) -> None:
        silent = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(12)]
        for one in silent[:9]:
            assert one.recv(1) == b""
        for one in silent[9:]:
            one.settimeout(0.1)
            with pytest.raises(TimeoutError):
                one.recv(1)
        for one in silent:
            one.close()

    async def work(port: int) -> None:
        await asyncio.to_thread(strangers, port)

    with_door(work, served, most=3)

"""A relay: connects scoring code to where its gateway says it may; a process that holds nothing.

What code sends is untrusted, and so is whoever answers for the name that it asks for. The name is
looked up here and nowhere else, each address is checked, and what was checked is connected to: a
second look-up could have another answer. Variables that name proxies count for nothing here.
"""

import asyncio
import contextlib
import ipaddress
import itertools
import os
import socket
import sys
import time
from dataclasses import dataclass, field

import msgspec

from vallum.base import InputError
from vallum.base.egress import kept_back
from vallum.gateway.frames import frame
from vallum.gateway.relaying import (
    MAX_MESSAGE_BYTES,
    Asked,
    Kept,
    Ruling,
    Told,
    Wanted,
    read_head,
)
from vallum.schema.serving import Way

MAX_OPEN = 64  # further ones wait
MAX_PER_S = 100
MAX_HEAD_BYTES = 16 * 1024
MAX_BYTES = 1024**3  # of one connection, both ways together
MAX_ADDRESSES = 8  # of one name
HEAD_S = 10.0
RULING_S = 5.0
LOOKUP_S = 10.0
CONNECT_S = 10.0
IDLE_S = 60.0
LIFE_S = 3600.0
_READ_BYTES = 64 * 1024
_HEAD = 4
_DECODER = msgspec.msgpack.Decoder(Ruling | Kept)
_END = b"\r\n\r\n"
_STATUS = {400: "Bad Request", 403: "Forbidden", 502: "Bad Gateway", 504: "Gateway Timeout"}


class _Stopped(Exception):  # noqa: N818 - it may be no error
    """A connection is not made; `code` goes into the log, `why` to the code."""

    def __init__(self, status: int, code: str, why: str, *, counted: bool = False) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.why = why
        self.counted = counted


@dataclass(slots=True, eq=False)
class _Open:
    """A connection that the gateway let out."""

    way: Way
    inner: asyncio.StreamWriter
    outer: asyncio.StreamWriter | None = None
    ended: str = ""  # why, if we ended it
    sent: int = 0
    received: int = 0
    begun_s: float = field(default_factory=time.monotonic)
    moved_s: float = field(default_factory=time.monotonic)

    def told(self, wanted: Wanted) -> Told:
        """Return what became of it; that it was let out is counted already."""
        count = 1 if self.ended else 0
        return Told(wanted.host, wanted.port, self.ended, count, self.sent, self.received)

    def end(self, code: str) -> None:
        """End it."""
        self.ended = self.ended or code
        for one in (self.inner, self.outer):
            if one is not None:
                one.transport.abort()


class Relay:
    """Serves one listener of code. For one event loop."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(MAX_OPEN)
        self._ids = itertools.count()
        self._asked: dict[int, asyncio.Future[Way | None]] = {}
        self._open: set[_Open] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ways: tuple[Way, ...] | None = None  # the only ones, once the gateway has said so
        self._control: asyncio.StreamWriter | None = None

    async def serve(self, control: socket.socket, listener: socket.socket) -> None:
        """Relay until the gateway says no more; then say what is left to say."""
        reader, self._control = await asyncio.open_connection(sock=control, limit=MAX_MESSAGE_BYTES)
        listener.setblocking(False)  # noqa: FBT003 - socket takes it by position
        works = [asyncio.create_task(one) for one in (self._accept(listener), self._watch())]
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await self._listen(reader)
        for one in (*works, *self._tasks):
            one.cancel()
        await asyncio.gather(*works, *self._tasks, return_exceptions=True)
        with contextlib.suppress(ConnectionError):
            await self._control.drain()
            self._control.close()
            await self._control.wait_closed()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while True:
            length = int.from_bytes(await reader.readexactly(_HEAD), "little")
            said = _DECODER.decode(await reader.readexactly(min(length, MAX_MESSAGE_BYTES)))
            if isinstance(said, Kept):
                self._ways = said.ways
                for one in self._open:
                    if one.way not in said.ways:
                        one.end("egress.withdrawn")
            else:
                waiting = self._asked.pop(said.id, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(said.way)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._places.acquire()
            inner, _ = await loop.sock_accept(listener)
            task = asyncio.create_task(self._serve(inner))
            self._tasks.add(task)
            task.add_done_callback(self._done)
            await asyncio.sleep(1 / MAX_PER_S)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self._places.release()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            now = time.monotonic()
            for one in list(self._open):
                if now - one.moved_s > IDLE_S or now - one.begun_s > LIFE_S:
                    one.end("egress.late")

    def _tell(self, told: Told) -> None:
        if self._control is not None:
            self._control.write(frame(told))

    # -- one connection --------------------------------------------------------------------------

    async def _serve(self, sock: socket.socket) -> None:
        reader, inner = await asyncio.open_connection(sock=sock, limit=MAX_HEAD_BYTES)
        wanted = Wanted("", 0)
        try:
            wanted = await _wanted(reader)
            await self._relay(wanted, reader, inner)
        except _Stopped as stopped:
            if not stopped.counted:
                self._tell(Told(wanted.host, wanted.port, stopped.code))
            said = f"{stopped.code}: {stopped.why}\n".encode()
            inner.write(
                f"HTTP/1.1 {stopped.status} {_STATUS[stopped.status]}\r\n"
                f"Content-Type: text/plain\r\nContent-Length: {len(said)}\r\n"
                "Connection: close\r\n\r\n".encode()
                + said
            )
        except OSError:
            pass  # one of the two has left
        finally:
            inner.close()
            with contextlib.suppress(OSError):
                async with asyncio.timeout(HEAD_S):
                    await inner.wait_closed()
            inner.transport.abort()  # of who does not read what it is told

    async def _relay(
        self, wanted: Wanted, reader: asyncio.StreamReader, inner: asyncio.StreamWriter
    ) -> None:
        way = await self._may(wanted)
        one = _Open(way, inner)
        self._open.add(one)
        try:
            back, one.outer = await _connect(wanted, way.networks)
            if one.ended:  # the rule went meanwhile
                raise _Stopped(403, one.ended, "there is no rule for it any more")
            self._tell(Told(wanted.host, wanted.port))  # before anything is sent
            if wanted.head:
                one.outer.write(wanted.head)
                one.sent += len(wanted.head)
            else:
                inner.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            try:
                await asyncio.gather(_pump(one, reader, one.outer), _pump(one, back, inner))
            except OSError:
                pass  # one of the two has left
            finally:
                self._tell(one.told(wanted))
        finally:
            self._open.discard(one)
            if one.outer is not None:
                one.outer.transport.abort()

    async def _may(self, wanted: Wanted) -> Way:
        number = next(self._ids)
        waiting: asyncio.Future[Way | None] = asyncio.get_running_loop().create_future()
        self._asked[number] = waiting
        if self._control is not None:
            self._control.write(frame(Asked(number, wanted.host, wanted.port)))
        try:
            async with asyncio.timeout(RULING_S):
                way = await waiting
        except TimeoutError as error:
            raise _Stopped(403, "egress.refused", "nobody says that it may be") from error
        finally:
            self._asked.pop(number, None)
        if way is None:
            raise _Stopped(403, "egress.refused", "no rule of the policy file", counted=True)
        if self._ways is not None and way not in self._ways:  # it went before this was our turn
            raise _Stopped(403, "egress.withdrawn", "there is no rule for it any more")
        return way


async def _wanted(reader: asyncio.StreamReader) -> Wanted:
    try:
        async with asyncio.timeout(HEAD_S):
            return read_head(await reader.readuntil(_END))
    except InputError as error:
        raise _Stopped(400, error.code, error.message) from error
    except asyncio.LimitOverrunError as error:
        raise _Stopped(400, "egress.request", "its head is too long") from error
    except (asyncio.IncompleteReadError, TimeoutError) as error:
        raise _Stopped(400, "egress.request", "its head did not come") from error


async def _connect(
    wanted: Wanted, networks: tuple[str, ...]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(LOOKUP_S):
            found = await loop.getaddrinfo(wanted.host, wanted.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # a time-out is one of the first
        raise _Stopped(502, "egress.name", "nobody knows its address") from error
    found = found[:MAX_ADDRESSES]
    for family, _, _, _, place in found:  # all of them: who mixes them means no good
        why = kept_back(str(place[0]), networks, own=_is_own(family, str(place[0])))
        if why:
            raise _Stopped(403, "egress.address", why)
    for family, kind, protocol, _, place in found:
        outer = socket.socket(family, kind, protocol)
        try:
            outer.setblocking(False)  # noqa: FBT003 - socket takes it by position
            async with asyncio.timeout(CONNECT_S):
                await loop.sock_connect(outer, place)  # the very address: nothing is looked up
            return await asyncio.open_connection(sock=outer, limit=_READ_BYTES)
        except OSError:
            outer.close()
        except BaseException:
            outer.close()
            raise
    raise _Stopped(502, "egress.unreachable", "nobody answers there")


def _is_own(family: int, address: str) -> bool:
    """Tell whether an address is this machine's: then, and only then, it is its own way there."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))  # of a datagram socket: nothing is sent
            return ipaddress.ip_address(probe.getsockname()[0]) == ipaddress.ip_address(address)
    except (OSError, ValueError):
        return False


async def _pump(one: _Open, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(_READ_BYTES):
        one.moved_s = time.monotonic()
        if sink is one.inner:
            one.received += len(data)
        else:
            one.sent += len(data)
        if one.sent + one.received > MAX_BYTES:
            one.end("egress.bytes")
            return
        sink.write(data)
        await sink.drain()
    sink.write_eof()


def take_listener(door: socket.socket) -> socket.socket:
    """Return the listener that code's process hands over when it starts.

    Raises:
        ConnectionError: It hands over anything else, or ends.
    """
    _, handed, _, _ = socket.recv_fds(door, 1, 1)
    for one in handed:
        try:
            taken = socket.socket(fileno=one)
        except OSError:  # it is no socket
            os.close(one)
            break
        listens = taken.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if listens and (taken.family, taken.type) == (socket.AF_INET, socket.SOCK_STREAM):
            return taken
        taken.close()
    raise ConnectionError("no listener came")


def main() -> None:
    """Take the listener and serve it."""
    control, door = (socket.socket(fileno=int(one)) for one in sys.argv[1:3])
    try:
        with door:
            listener = take_listener(door)
    except ConnectionError:
        return
    asyncio.run(Relay().serve(control, listener))


if __name__ == "__main__":
    main()

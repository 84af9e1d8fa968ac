"""Let connections in a few at a time, so that nobody who is in waits for those who come.

A handshake takes as long as several requests. An event loop accepts everybody who stands at the
door in one turn, and then makes all their handshakes in one turn: a thousand who come together, as
slow clients do that were sent away together, keep every request waiting for half a second. Here
they come in by twos, and stand in the kernel's queue until then; longer, the later the loop comes
round. By twos again their handshakes begin, once a whole ClientHello is there: however many are
said at the same moment. Who stands at the door is a stranger of the crowd (`crowd.py`): where there
is no room, the oldest leaves.
"""

import asyncio
import contextlib
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable
from typing import Final, cast

import uvicorn

from vallum.base.ticking import Unhurried
from vallum.gateway.crowd import Crowd, Guest
from vallum.gateway.protocol import App, Connection

AT_ONCE: Final = 2
PAUSE_S: Final = 0.002
HANDSHAKE_S: Final = 10.0
BACKLOG: Final = 2048
_MAX_GREETED: Final = 16  # with so many before them, others stay outside
_TICK_S: Final = 0.001  # of the loop's clock
_LATE: Final = 4  # so many times as long as the loop is late nobody is let in
_LONGEST_S: Final = 0.1  # also where no descriptor is left
_RECORD_BYTES: Final = 5  # of a TLS record's head: type, version, length (RFC 8446, section 5.1)
_MAX_RECORD_BYTES: Final = 1 << 14
_HANDSHAKE: Final = 22


class _Newcomer:
    """Somebody at the door."""

    __slots__ = ("task",)
    task: asyncio.Task[None]

    def leave(self) -> None:
        """Go away again."""
        self.task.cancel()


class Acceptor:
    """Accepts the connections of one listening socket. For one event loop."""

    def __init__(
        self,
        listening: socket.socket,
        make: Callable[[Guest], asyncio.Protocol],
        context: ssl.SSLContext | None,
        crowd: Crowd,
    ) -> None:
        """Begin.

        Args:
            listening: Bound; it listens from now on.
            make: Makes the protocol of a connection, which takes a newcomer's place in the crowd.
            context: Of TLS; None: there is none.
            crowd: Bounds who is at the door, together with who is in.
        """
        self._listening = listening
        self._make = make
        self._context = context
        self._crowd = crowd
        self._loop = asyncio.get_running_loop()
        self._coming: set[_Newcomer] = set()
        self._greeted: deque[asyncio.Future[None]] = deque()  # of those whose hello is there
        self._free = AT_ONCE  # handshakes that may begin in this turn
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = 0.0
        listening.setblocking(False)  # noqa: FBT003 - socket takes it by position
        listening.listen(BACKLOG)
        self._loop.add_reader(listening, self._turn)

    def close(self) -> None:
        """Let nobody in any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._listening)
        for one in self._coming:
            one.leave()

    def _turn(self) -> None:
        """Let a few in and a few begin; then rest, or wait for somebody to come."""
        late_s = 0.0
        if self._timer is None:
            self._loop.remove_reader(self._listening)
        else:
            late_s = max(0.0, time.monotonic() - self._due_s - _TICK_S)
        pause_s = PAUSE_S + _LATE * late_s
        self._free = AT_ONCE
        came = False
        while self._free and self._greeted:
            came = True
            if not (turn := self._greeted.popleft()).done():  # it has not left
                self._free -= 1
                turn.set_result(None)
        for _ in range(AT_ONCE if len(self._greeted) < _MAX_GREETED else 0):
            try:
                client, _ = self._listening.accept()
            except BlockingIOError:
                break
            except ConnectionError:  # it left again
                continue
            except OSError:  # no descriptor is left
                pause_s, came = _LONGEST_S, True
                break
            came = True
            self._let_in(client)
        if came:
            self._rest(min(_LONGEST_S, pause_s))
        else:
            self._timer = None
            self._loop.add_reader(self._listening, self._turn)

    def _rest(self, pause_s: float) -> None:
        self._due_s = time.monotonic() + pause_s
        self._timer = self._loop.call_later(pause_s, self._turn)

    def _let_in(self, client: socket.socket) -> None:
        newcomer = _Newcomer()
        if not self._crowd.come(newcomer):
            client.close()
            return
        newcomer.task = self._loop.create_task(self._shake(client, newcomer))
        self._coming.add(newcomer)

        def gone(_: asyncio.Task[None]) -> None:
            self._crowd.gone(newcomer)
            self._coming.discard(newcomer)

        newcomer.task.add_done_callback(gone)

    async def _shake(self, client: socket.socket, newcomer: _Newcomer) -> None:
        client.setblocking(False)  # noqa: FBT003 - socket takes it by position
        with contextlib.suppress(OSError):  # it leaves, breaks off, speaks no TLS or not in time
            if self._context is not None:
                try:
                    if (wanted := _lacking(client)) or not self._begins():
                        async with asyncio.timeout(HANDSHAKE_S):
                            await self._hello(client, wanted)
                            await self._called()
                except BaseException:
                    client.close()
                    raise
            await self._loop.connect_accepted_socket(
                lambda: self._make(newcomer), client, ssl=self._context,
                ssl_handshake_timeout=None if self._context is None else HANDSHAKE_S,
            )  # fmt: skip

    async def _hello(self, client: socket.socket, wanted: int) -> None:
        """Wait until a client's hello is there; `wanted`: so many bytes first, 0: it is."""
        while wanted:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wanted)
            ready = asyncio.Event()
            self._loop.add_reader(client, ready.set)
            try:
                await ready.wait()
            finally:
                self._loop.remove_reader(client)
            if (lacking := _lacking(client)) and lacking <= wanted:  # it said its last
                raise ConnectionResetError
            wanted = lacking
            if not wanted:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)

    def _begins(self) -> bool:
        """Begin a handshake in this turn; False: there were enough."""
        if not self._free or self._greeted:
            return False
        self._free -= 1
        if self._timer is None:
            self._loop.remove_reader(self._listening)
            self._rest(PAUSE_S)
        return True

    async def _called(self) -> None:
        """Wait for one's turn to begin."""
        if not self._begins():
            turn = self._loop.create_future()
            self._greeted.append(turn)
            await turn


def _lacking(client: socket.socket) -> int:
    """Return 0 where the first record, or what is no TLS, is there; else how many bytes must be.

    Reads nothing. That is the bytes of its head first, then of the whole.
    """
    try:
        said = client.recv(_RECORD_BYTES + _MAX_RECORD_BYTES, socket.MSG_PEEK)
    except BlockingIOError:
        return _RECORD_BYTES
    if len(said) < _RECORD_BYTES:
        return _RECORD_BYTES
    if said[0] != _HANDSHAKE:
        return 0
    whole = _RECORD_BYTES + min(int.from_bytes(said[3:5]), _MAX_RECORD_BYTES)
    return 0 if len(said) >= whole else whole


class Server(Unhurried, uvicorn.Server):
    """Uvicorn's server with such doors."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then let connections in."""
        await super().startup(sockets=[])
        config = self.config
        crowd = cast("App", config.loaded_app).crowd

        def make(newcomer: Guest) -> asyncio.Protocol:
            made = cast("type[Connection]", config.http_protocol_class)(
                config=config, server_state=self.server_state, app_state=self.lifespan.state
            )
            made.newcomer = newcomer
            return made

        self._doors = [Acceptor(one, make, config.ssl, crowd) for one in sockets or ()]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let nobody in any more, then stop."""
        for door in self._doors:
            door.close()
        await super().shutdown(sockets=sockets)

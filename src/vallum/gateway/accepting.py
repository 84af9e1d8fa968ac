"""Let connections in a few at a time, so that nobody who is in waits for those who come.

A handshake takes as long as several requests. An event loop accepts everybody who stands at the
door in one turn, and then makes all their handshakes in one turn: a thousand who come together, as
slow clients do that were sent away together, keep every request waiting for half a second. Here
they come in by twos, and stand in the kernel's queue until then; longer, the later the loop comes
round. Who begins no handshake for long makes room, the oldest first.
"""

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Callable
from typing import Final

import uvicorn

AT_ONCE: Final = 2
PAUSE_S: Final = 0.002
HANDSHAKE_S: Final = 10.0
MAX_SHAKING: Final = 1024
BACKLOG: Final = 2048
_TICK_S: Final = 0.001  # of the loop's clock
_LATE: Final = 4  # so many times as long as the loop is late nobody is let in
_LONGEST_S: Final = 0.1  # also where no descriptor is left


class Acceptor:
    """Accepts the connections of one listening socket. For one event loop."""

    def __init__(
        self,
        listening: socket.socket,
        make: Callable[[], asyncio.Protocol],
        context: ssl.SSLContext | None,
    ) -> None:
        """Begin.

        Args:
            listening: Bound; it listens from now on.
            make: Makes the protocol of a connection.
            context: Of TLS; None: there is none.
        """
        self._listening = listening
        self._make = make
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._shaking: dict[asyncio.Task[None], None] = {}  # oldest first
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = time.monotonic()
        self._late_s = 0.0
        listening.setblocking(False)  # noqa: FBT003 - socket takes it by position
        listening.listen(BACKLOG)
        self._open()

    def close(self) -> None:
        """Let nobody in any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._listening)
        for task in self._shaking:
            task.cancel()

    def _open(self) -> None:
        self._timer = None
        self._late_s = max(0.0, time.monotonic() - self._due_s - _TICK_S)
        self._loop.add_reader(self._listening, self._ready)

    def _ready(self) -> None:
        pause_s = min(_LONGEST_S, PAUSE_S + _LATE * self._late_s)
        for _ in range(AT_ONCE):
            try:
                client, _ = self._listening.accept()
            except BlockingIOError:
                return
            except ConnectionError:  # it left again
                continue
            except OSError:  # no descriptor is left
                pause_s = _LONGEST_S
                break
            self._let_in(client)
        self._loop.remove_reader(self._listening)
        self._due_s = time.monotonic() + pause_s
        self._timer = self._loop.call_later(pause_s, self._open)

    def _let_in(self, client: socket.socket) -> None:
        if len(self._shaking) >= MAX_SHAKING:
            oldest = next(iter(self._shaking))
            del self._shaking[oldest]  # now: the next that comes in this turn ends another
            oldest.cancel()
        task = self._loop.create_task(self._shake(client))
        self._shaking[task] = None
        task.add_done_callback(lambda done: self._shaking.pop(done, None))

    async def _shake(self, client: socket.socket) -> None:
        client.setblocking(False)  # noqa: FBT003 - socket takes it by position
        with contextlib.suppress(OSError):  # it leaves, breaks off or speaks no TLS
            await self._loop.connect_accepted_socket(
                self._make, client, ssl=self._context,
                ssl_handshake_timeout=None if self._context is None else HANDSHAKE_S,
            )  # fmt: skip


class Server(uvicorn.Server):
    """Uvicorn's server with such doors."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then let connections in."""
        await super().startup(sockets=[])
        config = self.config

        def make() -> asyncio.Protocol:
            made: asyncio.Protocol = config.http_protocol_class(  # type: ignore[call-arg]
                config=config, server_state=self.server_state, app_state=self.lifespan.state
            )
            return made

        self._doors = [Acceptor(one, make, config.ssl) for one in sockets or ()]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let nobody in any more, then stop."""
        for door in self._doors:
            door.close()
        await super().shutdown(sockets=sockets)

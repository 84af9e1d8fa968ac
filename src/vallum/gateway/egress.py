"""The way out of scoring code: its gateway decides and keeps count, a relay connects.

Code has a network of its own with one listener in it, which it hands to the relay when it starts:
a process without a key, a file of ours or a lease, on this machine's network. The relay asks here
before each connection, so that a rule that went, or a lease that ran out, counts for the next one;
what is open and has lost its rule is ended.
"""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from vallum.base import UnavailableError, VallumError
from vallum.gateway.frames import frame, take_frames
from vallum.gateway.relaying import MAX_MESSAGE_BYTES, PROXY, Asked, Kept, Ruling, Told
from vallum.sandbox import BubblewrapRunner, Limits, Network, Process, spawn
from vallum.schema.serving import Acknowledged, ConnectionCount, ConnectionCounts, Way
from vallum.workspace.desk import AsyncDesk

_LOG = structlog.get_logger("vallum.gateway")

HAND_IN_S = 1.0
QUIET_S = 10.0  # between two of them
MAX_COUNTED = 256  # places kept apart until they are handed in; further ones are counted together
_CLOSE_S = 1.0
_LIMITS = Limits(memory_bytes=512 * 1024**2, processes=64, open_files=512)
_PROXY = f"http://{PROXY[0]}:{PROXY[1]}"
_NAMES = ("http_proxy", "https_proxy", "all_proxy")
PROXIES = {
    **{name: _PROXY for one in _NAMES for name in (one, one.upper())},
    "no_proxy": "",
    "NO_PROXY": "",
}
"""What code finds its relay by: variables that clients of HTTP know."""

_DECODER = msgspec.msgpack.Decoder(Asked | Told)


@dataclass(slots=True)
class _Count:
    count: int = 0
    sent: int = 0
    received: int = 0


class Outgoing:
    """Keeps count of what code connects to until it is handed in. For one event loop."""

    def __init__(
        self,
        desk: AsyncDesk,
        *,
        begin: Callable[[Coroutine[Any, Any, None]], None],
        require: Callable[[], None],
    ) -> None:
        """Count for one gateway.

        Args:
            desk: Where counts are handed in.
            begin: Starts work beside a request.
            require: Raises where the gateway has no lease.
        """
        self._desk = desk
        self._begin = begin
        self._require = require
        self._held: dict[tuple[str, str, int, str], _Count] = {}
        self._due = False
        self._handed_s = 0.0

    def leased(self) -> bool:
        """Tell whether anything may be let out now."""
        try:
            self._require()
        except UnavailableError:
            return False
        return True

    def count(self, deployment_id: str, told: Told) -> None:
        """Count connections, exactly and in bounded memory; they are handed in soon."""
        key = deployment_id, told.host, told.port, told.code
        if key not in self._held and len(self._held) >= MAX_COUNTED:
            key = deployment_id, "other", 0, told.code
        held = self._held.setdefault(key, _Count())
        held.count += told.count
        held.sent += told.sent
        held.received += told.received
        if not self._due:
            self._due = True
            self._begin(self._soon())

    async def hand_in(self) -> None:
        """Hand in what was counted; what is not taken is handed in later."""
        held, self._held = self._held, {}
        if not held:
            return
        rows = tuple(
            ConnectionCount(
                deployment_id=deployment_id, host=host, port=port, code=code,
                count=one.count, sent=one.sent, received=one.received,
            )
            for (deployment_id, host, port, code), one in held.items()
        )  # fmt: skip
        try:
            await self._desk.call("/connections", ConnectionCounts(rows=rows), Acknowledged)
        except VallumError as error:
            _LOG.warning("connections of code are handed in later", code=error.code)
            for row in rows:
                told = Told(row.host, row.port, row.code, row.count, row.sent, row.received)
                self.count(row.deployment_id, told)

    async def _soon(self) -> None:
        now = time.monotonic()
        await asyncio.sleep(max(HAND_IN_S, self._handed_s + QUIET_S - now))
        self._due = False
        self._handed_s = time.monotonic()
        await self.hand_in()


class _Relayed(asyncio.Protocol):
    """Hears one relay."""

    def __init__(self, heard: Callable[[Asked | Told], None], lost: Callable[[], None]) -> None:
        self._heard = heard
        self.lost: Callable[[], None] | None = lost
        self._incoming = bytearray()
        self.transport: asyncio.Transport | None = None
        self.gone = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = transport  # type: ignore[assignment]  # of a stream socket

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """End."""
        self.transport = None
        self.gone.set()
        if self.lost is not None:
            self.lost()

    def data_received(self, data: bytes) -> None:
        """Take what it says; end what says anything else."""
        self._incoming += data
        try:
            for body in take_frames(self._incoming, max_bytes=MAX_MESSAGE_BYTES):
                self._heard(_DECODER.decode(body))
        except (ConnectionError, msgspec.DecodeError):
            if self.transport is not None:
                self.transport.abort()

    def say(self, value: Ruling | Kept) -> None:
        """Send."""
        if self.transport is not None:
            self.transport.write(frame(value))


async def spawned(argv: tuple[str, ...], **more: Any) -> Process:  # noqa: ANN401 - as `spawn` has it
    """Return a process; who is cancelled waits until it has its descriptors, and then ends it."""
    starting = asyncio.create_task(asyncio.to_thread(spawn, argv, **more))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        process = await starting
        await asyncio.to_thread(process.stop, 1.0)
        raise


class WayOut:
    """The relay of one process of code; opened anew with each such process. For one event loop."""

    def __init__(
        self,
        deployment_id: str,
        ways: tuple[Way, ...],
        outgoing: Outgoing,
        runner: BubblewrapRunner,
    ) -> None:
        """Know where the code of a deployment may connect to; nothing is opened yet."""
        self._deployment_id = deployment_id
        self._ways = ways
        self._outgoing = outgoing
        self._runner = runner
        self._process: Process | None = None
        self._relayed: _Relayed | None = None

    async def open(self, lost: Callable[[], None]) -> socket.socket:
        """Start the relay; return the socket by which it expects the listener, ours to close.

        Args:
            lost: Called when the relay has ended by itself.

        Raises:
            UnavailableError: It cannot be started.
        """
        ours, theirs = socket.socketpair()
        door, inner = socket.socketpair()
        try:
            handed = theirs.fileno(), inner.fileno()
            for one in handed:
                os.set_inheritable(one, True)  # noqa: FBT003 - os takes it by position
            self._process = await spawned(
                ("python", "-m", "vallum.gateway.relay", *map(str, handed)),
                sandbox=self._runner,
                limits=_LIMITS,
                fds=handed,
                network=Network.MACHINE,
            )
        except BaseException:
            ours.close()
            door.close()
            raise
        finally:
            theirs.close()
            inner.close()
        ours.setblocking(False)  # noqa: FBT003 - socket takes it by position
        _, self._relayed = await asyncio.get_running_loop().create_connection(
            lambda: _Relayed(self._hear, lost), sock=ours
        )
        return door

    def follow(self, ways: tuple[Way, ...]) -> None:
        """Let code out there and nowhere else, from now on."""
        if ways != self._ways:
            self._ways = ways
            if self._relayed is not None:
                self._relayed.say(Kept(ways))

    async def close(self) -> None:
        """End the relay, once it has said what was sent and received."""
        relayed, self._relayed = self._relayed, None
        if relayed is not None and relayed.transport is not None:
            relayed.lost = None
            relayed.transport.write_eof()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(relayed.gone.wait(), _CLOSE_S)
            if relayed.transport is not None:
                relayed.transport.abort()
        process, self._process = self._process, None
        if process is not None:
            await asyncio.to_thread(process.stop, 1.0)

    def _hear(self, said: Asked | Told) -> None:
        if isinstance(said, Told):
            self._outgoing.count(self._deployment_id, said)
            return
        found = None
        if self._outgoing.leased():
            found = next(
                (one for one in self._ways if (one.host, one.port) == (said.host, said.port)), None
            )
        if found is None:
            refused = Told(said.host, said.port, "egress.refused")
            self._outgoing.count(self._deployment_id, refused)
        if self._relayed is not None:
            self._relayed.say(Ruling(said.id, found))

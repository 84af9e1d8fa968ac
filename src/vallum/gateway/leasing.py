"""The lease of a gateway: what it may serve, for a second at most; renewed ahead of all else.

A lease that runs out stops all answers, so it must not wait for them: on a machine that is
overloaded the event loop may take longer than a lease lasts to come round. It is renewed from a
thread of its own, over a connection of its own, before half of its life is over. What changed is
taken up by the event loop, and acknowledged only then; until it is, nothing is renewed: closed,
not late.
"""

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable

import structlog

from vallum.base import UnavailableError, VallumError
from vallum.schema.serving import Lease, LeaseAsk
from vallum.workspace.desk import Desk

_LOG = structlog.get_logger("vallum.gateway")

WAIT_S = 0.4  # of a second: the next question is asked before half of the lease's life is over
RETRY_S = 0.1
JOIN_S = 2.0
_NICE = -10  # where the system allows it


class Lessee:
    """Holds and renews one gateway's lease."""

    def __init__(self, desk: Desk, *, gateway: str, switch: Callable[[Lease], None]) -> None:
        """Prepare; `start` takes the first lease.

        Args:
            desk: For nothing else.
            gateway: Its name.
            switch: Called in the event loop with a lease of another generation.
        """
        self._desk = desk
        self._gateway = gateway
        self._switch = switch
        self._generation = -1
        self.gateways = 1  # that live, as the control process said last
        self._until_s = 0.0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    async def start(self) -> None:
        """Take the first lease; renew it from then on.

        Raises:
            VallumError: There is none to be had.
        """
        loop = asyncio.get_running_loop()
        asked_s = time.monotonic()
        lease = await asyncio.to_thread(self._ask, 0.0)
        self._follow(lease, asked_s)
        self._thread = threading.Thread(target=self._renew, args=(loop,), name="lease", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Renew no more."""
        self._stopping.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, JOIN_S)
        self._desk.close()

    def require(self) -> None:
        """Check that the lease holds.

        Raises:
            UnavailableError: It does not.
        """
        if time.monotonic() >= self._until_s:
            raise UnavailableError("the gateway has no lease", code="score.lease")

    def _ask(self, wait_s: float) -> Lease:
        question = LeaseAsk(gateway=self._gateway, have=self._generation, wait_s=wait_s)
        lease = self._desk.call("/lease", question, Lease)
        self.gateways = max(1, lease.gateways)
        return lease

    def _follow(self, lease: Lease, asked_s: float) -> None:
        """Serve what a lease of another generation says. In the event loop."""
        self._switch(lease)
        self._generation = lease.generation
        # From when we asked: the control process counts from when it answered, which is later.
        self._until_s = asked_s + lease.lease_s

    def _renew(self, loop: asyncio.AbstractEventLoop) -> None:
        with contextlib.suppress(OSError):  # only this thread's
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        said = ""
        while not self._stopping.is_set():
            asked_s = time.monotonic()
            try:
                lease = self._ask(WAIT_S)
                said = ""
                if lease.generation == self._generation:
                    self._until_s = asked_s + lease.lease_s
                    continue
                taken = threading.Event()
                loop.call_soon_threadsafe(self._take, lease, asked_s, taken)
                while not taken.wait(RETRY_S) and not self._stopping.is_set():
                    pass
            except VallumError as error:
                if said != error.code:  # once, not ten times a second
                    _LOG.warning("no lease", code=error.code)
                said = error.code
                self._stopping.wait(RETRY_S)
            except RuntimeError:  # the event loop is closed
                return

    def _take(self, lease: Lease, asked_s: float, taken: threading.Event) -> None:
        try:
            self._follow(lease, asked_s)
        finally:
            taken.set()

"""Which gateways live: who has a lease, until when, and under which authority generation."""

import threading
from dataclasses import dataclass, field
from typing import Final

from vallum.workspace.house import House

LEASE_S: Final = 1.0
_FORGOTTEN_S: Final = 120.0


@dataclass(slots=True)
class _Gateway:
    generation: int = -1
    until_s: float = 0.0


@dataclass(slots=True)
class Gateways:
    """Holds the leases of gateways. Safe for threads."""

    house: House
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _held: dict[str, _Gateway] = field(default_factory=dict)
    _newest: int = -1  # generation that somebody waited for

    def renew(self, name: str, generation: int) -> int:
        """Extend a gateway's lease; `generation` is what it serves under.

        Must come before the snapshot of what it may serve is read: from here on `barrier` waits
        for it. It counts from when it asked, which was earlier, so ours ends later.

        Returns:
            How many gateways live, this one included.
        """
        with self._changed:
            gateway = self._held.setdefault(name, _Gateway())
            if gateway.generation != generation:
                gateway.generation = generation
                self._changed.notify_all()
            now_s = self.house.clock.monotonic()
            gateway.until_s = now_s + LEASE_S
            for other in [key for key, one in self._held.items()
                          if one.until_s < now_s - _FORGOTTEN_S]:  # fmt: skip
                del self._held[other]
            return sum(one.until_s > now_s for one in self._held.values())

    def living(self) -> frozenset[str]:
        """Return the names of the gateways that have a lease now."""
        with self._changed:
            now_s = self.house.clock.monotonic()
            return frozenset(name for name, one in self._held.items() if one.until_s > now_s)

    def wait(self, have: int, wait_s: float) -> None:
        """Wait until a generation after `have` is waited for, for half a lease at most.

        Wakes also when another gateway switches. What another server changed is not seen here.
        """
        with self._changed:
            if have >= self._newest:
                self._changed.wait(min(wait_s, LEASE_S / 2))

    def barrier(self, generation: int) -> None:
        """Wait until no live gateway serves under an older generation."""
        with self._changed:
            self._newest = max(self._newest, generation)
            self._changed.notify_all()
            while True:
                now = self.house.clock.monotonic()
                behind = [
                    gateway.until_s
                    for gateway in self._held.values()
                    if gateway.generation < generation and gateway.until_s > now
                ]
                if not behind:
                    return
                self._changed.wait(max(0.001, max(behind) - now))

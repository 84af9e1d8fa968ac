"""How many connections are open at once, and whose end first when there are too many.

A connection costs whoever opens it next to nothing, and here a descriptor and some kilobytes: who
opens enough of them would leave none for others. When there is no room, the oldest connection ends
that has asked nothing which its caller may: it is a slow one, or nobody's. Callers with a right
keep theirs. While half of the places are free, strangers may take their time: who is sent away
comes again, and a handshake costs more than a place (docs/adr/0121).

Source: Envoy's overload manager, which shortens time-outs the more of a resource is taken
(`envoy.overload_actions.reduce_timeouts`).
"""

import contextlib
import resource
from collections import OrderedDict
from typing import Final, Protocol

MAX_CONNECTIONS: Final = 16_384
MAX_RPC_CONNECTIONS: Final = 1_024  # of gRPC, which accepts by itself: each carries many calls
_RESERVED: Final = 512  # descriptors for bundles, model processes and the control process


class Guest(Protocol):
    """A connection."""

    def leave(self) -> None:
        """End at once, to make room."""
        ...


class Crowd:
    """Holds the open connections of a server. For one event loop."""

    def __init__(self, most: int = MAX_CONNECTIONS) -> None:
        """Take in `most` at once."""
        self._most = most
        self._strangers: OrderedDict[Guest, None] = OrderedDict()
        self._known: set[Guest] = set()

    @property
    def roomy(self) -> bool:
        """Tell whether more than half of the places are free."""
        return len(self._strangers) + len(self._known) < self._most // 2

    def come(self, guest: Guest) -> bool:
        """Take one in, if need be for the oldest stranger; tell whether there was room."""
        if len(self._strangers) + len(self._known) >= self._most:
            if not self._strangers:
                return False
            oldest, _ = self._strangers.popitem(last=False)
            oldest.leave()
        self._strangers[guest] = None
        return True

    def know(self, guest: Guest) -> None:
        """Note that one asked what its caller may."""
        if guest in self._strangers:
            del self._strangers[guest]
            self._known.add(guest)

    def gone(self, guest: Guest) -> None:
        """Note that one ended."""
        self._strangers.pop(guest, None)
        self._known.discard(guest)


def room(*, rpc: bool = False) -> int:
    """Return how many connections this process has descriptors for; ask for more where it may.

    Args:
        rpc: It serves gRPC, too, which needs its own.
    """
    reserved = _RESERVED + (MAX_RPC_CONNECTIONS if rpc else 0)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + reserved
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    if soft == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return min(MAX_CONNECTIONS, max(soft - reserved, soft // 2))

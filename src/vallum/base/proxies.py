"""Proxies that are believed about whom they forward for; everybody else is not.

Source: RFC 7239, section 8.1 (why not everybody), and the usual reading of `X-Forwarded-For` from
the right: what a trusted proxy appended is true, what stood before it is what somebody claimed.
"""

import ipaddress
import re
from collections.abc import Iterable

from vallum.base.errors import InputError
from vallum.base.networks import UNIX_PEER, Networks, check_networks

MAX_HOPS = 16
_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([0-9.]{7,15}))(?::[0-9]{1,5})?\Z")


class Proxies:
    """Tells on whose behalf a connection's requests come."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Trust `unix` (whoever may open the socket), and what `check_networks` takes.

        Raises:
            InputError: One is no network.
        """
        given = tuple(texts)
        self._unix = UNIX_PEER in given
        networks = check_networks(one for one in given if one != UNIX_PEER)
        self._networks = Networks(networks) if networks else None

    def client(self, peer: str, forwarded: bytes) -> str:
        """Return the address that a request is from.

        Args:
            peer: Of the connection.
            forwarded: What `X-Forwarded-For` says, several of them joined by commas; or empty.

        Raises:
            InputError: A trusted proxy forwards what is no list of addresses.
        """
        if not self.trusts(peer) or not forwarded:
            return peer
        hops = forwarded.decode("latin-1").split(",")
        if len(hops) > MAX_HOPS:
            raise _strange()
        address = peer
        for hop in reversed(hops):
            address = _address_of(hop.strip())
            if not self.trusts(address):
                break
        return address

    def trusts(self, peer: str) -> bool:
        """Tell whether a connection's peer is believed about whom it forwards for."""
        if peer == UNIX_PEER:
            return self._unix
        return self._networks is not None and peer in self._networks


def _address_of(text: str) -> str:
    found = _PORT.match(text)
    try:
        return str(ipaddress.ip_address(found[1] or found[2] if found else text))
    except ValueError as error:
        raise _strange() from error


def _strange() -> InputError:
    return InputError("X-Forwarded-For is no list of addresses", code="score.forwarded")

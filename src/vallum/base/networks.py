"""Networks that callers may come from.

An IPv4 address that arrives as IPv6 (`::ffff:192.0.2.1`, RFC 4291 section 2.5.5.2) is the IPv4
address: otherwise a list of IPv4 networks would let nobody in, or one of IPv6 everybody.
"""

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

from vallum.base.errors import InputError

MAX_NETWORKS = 64
UNIX_PEER = "unix"
"""What a client is called that came through a Unix socket: it has no address."""

IPV4_COUNTED = 24
IPV6_COUNTED = 56  # what one site gets: RFC 6177
_KEPT = 4096


def check_networks(texts: Iterable[str]) -> tuple[str, ...]:
    """Return networks in CIDR form, each once.

    Args:
        texts: `192.0.2.0/24`, `2001:db8::/32`, or one address.

    Raises:
        InputError: One is none, has bits beyond its prefix, or there are too many.
    """
    found = []
    for text in texts:
        try:
            found.append(str(ipaddress.ip_network(text)))
        except ValueError as error:
            raise InputError(
                f"`{text[:60]}` is no network", code="network.form", hint="such as 192.0.2.0/24"
            ) from error
    if len(found) > MAX_NETWORKS:
        raise InputError(f"more than {MAX_NETWORKS} networks", code="network.count")
    return tuple(dict.fromkeys(found))


@lru_cache(maxsize=_KEPT)
def network_of(address: str) -> str:
    """Return the network that a caller is counted under: the /24 of IPv4, the /56 of IPv6.

    What is no address, such as `UNIX_PEER`, is a network of its own.
    """
    try:
        one = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(one, ipaddress.IPv6Address):
        one = one.ipv4_mapped or one
    length = IPV4_COUNTED if one.version == 4 else IPV6_COUNTED  # noqa: PLR2004 - IP's
    return str(ipaddress.ip_network((one, length), strict=False))


class Networks:
    """Tells who comes from one of some networks; without any, everybody does."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Parse networks that `check_networks` returned."""
        self._networks = tuple(ipaddress.ip_network(one) for one in texts)
        self._known: dict[str, bool] = {}

    def __contains__(self, address: str) -> bool:
        """Tell whether an address lies in one of them; what is no address does not."""
        if not self._networks:
            return True
        known = self._known.get(address)
        if known is None:
            if len(self._known) >= _KEPT:
                self._known.clear()
            known = self._known[address] = self._look(address)
        return known

    def _look(self, text: str) -> bool:
        if text == UNIX_PEER:  # of this machine, as loopback is
            return "127.0.0.1" in self or "::1" in self
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address):
            address = address.ipv4_mapped or address
        return any(
            address in network for network in self._networks if network.version == address.version
        )

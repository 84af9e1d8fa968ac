"""Networks that callers may come from.

An IPv4 address that arrives as IPv6 (`::ffff:192.0.2.1`, RFC 4291 section 2.5.5.2) is the IPv4
address: otherwise a list of IPv4 networks would let nobody in, or one of IPv6 everybody.
"""

import ipaddress
from collections.abc import Iterable

from vallum.base.errors import InputError

MAX_NETWORKS = 64
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
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address):
            address = address.ipv4_mapped or address
        return any(
            address in network for network in self._networks if network.version == address.version
        )

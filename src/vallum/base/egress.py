"""Where code may connect to: how a host is written, and which addresses its name may lead to.

A name is what a rule approves, an address is what is connected to, and whoever answers for the
name chooses the address. So without more, a name leads to public addresses only; to private ones
within networks that the rule names; and to this machine, its link or a cloud's metadata service
only where the rule names that one address (SSRF and DNS rebinding: OWASP, "Server-Side Request
Forgery Prevention").

Sources: RFC 1123 section 2.1 (names), WHATWG URL section 3.5 (a name that ends in a number is an
IPv4 address), IANA's registries of special-purpose addresses, RFC 6052 (IPv4 in IPv6).
"""

import ipaddress
import re
from collections.abc import Iterable

from vallum.base.errors import InputError

MAX_HOST_CHARS = 253
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_V4_NO_HOST = tuple(map(ipaddress.IPv4Network, ("0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4")))
_V4_NOT_PUBLIC = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
        ),
    )
)
_V6_PUBLIC = ipaddress.IPv6Network("2000::/3")
_V6_NOT_PUBLIC = tuple(
    map(ipaddress.IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))
)
_V6_IPV4 = tuple(map(ipaddress.IPv6Network, ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96")))
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        (
            "100.100.100.200",  # Alibaba Cloud
            "168.63.129.16",  # Azure, a public address
            "192.0.0.192",  # Oracle Cloud
            "fd00:ec2::254",  # Amazon EC2
            "fd20:ce::254",  # Google Cloud
        ),
    )
)
"""Metadata services that do not answer on a link-local address, as most do."""


def check_host(text: str) -> str:
    """Return a host in the one form that rules and requests are compared in.

    Args:
        text: A name, an IPv4 address in four decimal numbers, or an IPv6 address without brackets.

    Raises:
        InputError: It is none, or a spelling that some programs read as another host.
    """
    lowered = text.lower() if text.isascii() else ""
    if ":" in lowered:
        return _checked_v6(lowered)
    labels = lowered.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return str(ipaddress.IPv4Address(lowered))
        except ValueError as error:
            raise _no_host(text, "an IPv4 address is four decimal numbers") from error
    if len(lowered) > MAX_HOST_CHARS or not all(map(_LABEL.fullmatch, labels)):
        raise _no_host(text, "letters, digits and hyphens between dots; other scripts as xn--")
    return lowered


def _checked_v6(text: str) -> str:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError as error:
        raise _no_host(text, "an IPv6 address has no brackets here") from error
    if address.scope_id is not None or _is_v4_in_v6(address):
        raise _no_host(text, "without a zone; an IPv4 address is written as one")
    return str(address)


def _no_host(text: str, hint: str) -> InputError:
    return InputError(f"{text[:60]!a} is no host", code="egress.host", hint=hint)


def is_address(host: str) -> bool:
    """Tell whether a host that `check_host` returned is an address."""
    return ":" in host or host.rpartition(".")[2].isdigit()


def host_and_port(host: str, port: int) -> str:
    """Return both as a URL has them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def kept_back(address: str, networks: Iterable[str] = (), *, own: bool = False) -> str:
    """Say why code is not connected to an address; nothing if it may be.

    Args:
        address: What a name led to, or was written as.
        networks: As a rule names them, in the form of `check_networks`; without any, only public
            addresses count. One of a single address approves it, whatever it is.
        own: Whether the address is this machine's.
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return "it is no address"
    if isinstance(found, ipaddress.IPv6Address):
        if found.scope_id is not None:
            return "it is an address on one link"
        found = found.ipv4_mapped or found
    if _is_no_host(found):
        return "no host has it"
    named = tuple(map(ipaddress.ip_network, networks))
    if any(one.num_addresses == 1 and found == one.network_address for one in named):
        return ""
    if own or found.is_loopback:
        return "it is this machine's own"
    if found.is_link_local or found in _METADATA:
        return "it is of the link, where metadata services answer"
    if isinstance(found, ipaddress.IPv6Address) and found in _NAT64:
        return kept_back(str(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)), networks)
    if named:
        inside = any(found.version == one.version and found in one for one in named)
        return "" if inside else "it is outside the networks of the rule"
    return "" if _is_public(found) else "it is not public, and the rule names no networks"


def _is_no_host(found: Address) -> bool:
    if isinstance(found, ipaddress.IPv4Address):
        return any(found in one for one in _V4_NO_HOST)
    return found.is_unspecified or found.is_multicast or _is_v4_in_v6(found)


def _is_v4_in_v6(found: ipaddress.IPv6Address) -> bool:
    return any(found in one for one in _V6_IPV4) and int(found) > 1  # not `::` and `::1`


def _is_public(found: Address) -> bool:
    if isinstance(found, ipaddress.IPv4Address):
        return not any(found in one for one in _V4_NOT_PUBLIC)
    return found in _V6_PUBLIC and not any(found in one for one in _V6_NOT_PUBLIC)

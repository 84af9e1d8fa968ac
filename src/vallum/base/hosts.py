"""Which network names mean this machine."""

import ipaddress

UNIX_SCHEME = "http+unix://"
"""Of an address whose host is the path of a Unix socket, percent-encoded."""


def is_loopback(host: str | None) -> bool:
    """Tell whether `host` can only be this machine; a name that is not `localhost` is not."""
    if host == "localhost":
        return True
    try:
        return host is not None and ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

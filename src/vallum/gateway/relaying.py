"""What a relay is asked for, and what passes between it and its gateway."""

import re
from dataclasses import dataclass

import msgspec

from vallum.base import InputError
from vallum.base.egress import check_host, host_and_port
from vallum.schema.serving import Way

MAX_MESSAGE_BYTES = 64 * 1024  # of all ways of one deployment
PROXY = ("127.0.0.1", 3128)
"""Where code finds its relay, in a network that holds nothing else."""

_TOKEN = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_PATH = re.compile(rb"[\x21-\x7e]*")
_MAX_PORT = 65_535
_HTTP_PORT = 80
_VERSIONS = frozenset({b"HTTP/1.0", b"HTTP/1.1"})
_OURS = frozenset({b"connection", b"host", b"keep-alive"})  # beside everything about proxies


class Asked(msgspec.Struct, frozen=True, tag=True):
    """A relay's question: may code connect there now?"""

    id: int
    host: str
    port: int


class Told(msgspec.Struct, frozen=True, tag=True):
    """What became of a connection.

    Attributes:
        code: Why it was refused, failed or was ended; empty: it was let out, or its ends closed it.
        count: None where it is counted already.
    """

    host: str
    port: int
    code: str = ""
    count: int = 1
    sent: int = 0
    received: int = 0


class Ruling(msgspec.Struct, frozen=True, tag=True):
    """A gateway's answer to `Asked`: the way that it goes; none: it does not."""

    id: int
    way: Way | None = None


class Kept(msgspec.Struct, frozen=True, tag=True):
    """The only ways from now on: what is open and not on one of them is ended."""

    ways: tuple[Way, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What code asks its relay for.

    Attributes:
        head: What the server gets first; empty: code talks to it through a tunnel.
    """

    host: str
    port: int
    head: bytes = b""


def read_head(data: bytes) -> Wanted:
    """Read the head of a request to a proxy: `CONNECT`, or a method with a `http` URL.

    Of the latter, one request is let through a connection: the next one may name another host.

    Raises:
        InputError: It is none, or names a host that could be read as another.
    """
    first, *lines = data.removesuffix(b"\r\n\r\n").split(b"\r\n")
    parts = first.split(b" ")
    if len(parts) != 3 or parts[2] not in _VERSIONS or not _TOKEN.fullmatch(parts[0]):  # noqa: PLR2004 - of a request line
        raise _no_request()
    method, target, _ = parts
    if method == b"CONNECT":
        host, port = _place(target, None)
        return Wanted(host, port)
    scheme, found, rest = target.partition(b"://")
    if scheme.lower() != b"http" or not found:
        raise _no_request()
    authority, slash, path = rest.partition(b"/")
    if b"?" in authority or b"#" in authority or not _PATH.fullmatch(path):
        raise _no_request()
    host, port = _place(authority, _HTTP_PORT)
    place = host_and_port(host, port).removesuffix(f":{_HTTP_PORT}")
    kept = [one for one in lines if not _is_ours(one)]
    head = [
        b"%s %s%s HTTP/1.1" % (method, slash or b"/", path),
        b"Host: %s" % place.encode(),
        b"Connection: close",
        *kept,
    ]
    return Wanted(host, port, b"\r\n".join(head) + b"\r\n\r\n")


def _place(authority: bytes, default: int | None) -> tuple[str, int]:
    try:
        text = authority.decode("ascii")
    except UnicodeDecodeError as error:
        raise _no_request() from error
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or ":" not in host or (rest and not rest.startswith(":")):
            raise _no_request()
        port = rest.removeprefix(":") if rest else None
    else:
        host, colon, rest = text.partition(":")
        port = rest if colon else None
    if port is None and default is not None:
        return check_host(host), default
    if port is None or not _PORT.fullmatch(port) or int(port) > _MAX_PORT:
        raise _no_request()
    return check_host(host), int(port)


def _is_ours(line: bytes) -> bool:
    name, colon, _ = line.partition(b":")
    if not colon or not _TOKEN.fullmatch(name) or b"\n" in line or b"\r" in line or b"\0" in line:
        raise _no_request()
    return name.lower() in _OURS or name.lower().startswith(b"proxy-")


def _no_request() -> InputError:
    return InputError("this is no request to a proxy", code="egress.request")

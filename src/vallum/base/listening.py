"""Where a door listens: an address, one network interface, or a Unix socket.

What is bound here is handed to whoever serves, so that a port that is taken, a name that is no
interface or a folder that others may write to ends the start with a reason.

An address of one interface is answered on every other interface, too: Linux's weak host model
(RFC 1122, section 3.3.4.2). Sockets of an interface are bound to the device itself, and a second
one to the loopback device, over which this machine reaches its own address.

Source: Linux, socket(7) `SO_BINDTODEVICE`, netdevice(7), unix(7).
"""

import contextlib
import fcntl
import grp
import os
import socket
import stat
import struct
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path

from vallum.base.errors import InputError

BACKLOG = 2048
MAX_SOCKET_PATH = 107  # bytes of `sun_path` without its NUL
_SIOCGIFADDR = 0x8915
_INTERFACES6 = Path("/proc/net/if_inet6")
_GLOBAL_SCOPE = "00"


@dataclass(frozen=True, slots=True)
class Place:
    """An address to listen at.

    Attributes:
        address: An IP address or a host name.
        device: The only network interface that it is reached over, this machine apart; empty: any.
    """

    address: str
    device: str = ""


def place_of(host: str) -> Place:
    """Return where `host` is: an address, a name, or one of this machine's interfaces.

    Raises:
        InputError: It is an interface without an address.
    """
    if host not in {name for _, name in socket.if_nameindex()}:
        return Place(host)
    address = _ipv4_of(host) or _ipv6_of(host)
    if not address:
        raise InputError(
            f"the interface `{host}` has no address",
            code="up.interface",
            hint="ip address show lists them",
        )
    return Place(address, host)


def listen(place: Place, port: int) -> list[socket.socket]:
    """Return listening sockets at a place, for every address that its name has.

    Raises:
        InputError: It is not an address of this machine, the port is taken, or the interface may
            not be bound to.
    """
    try:
        found = dict.fromkeys(
            (family, at)
            for family, _, _, _, at in socket.getaddrinfo(
                place.address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
        )
    except OSError as error:
        raise InputError(
            f"`{place.address}` is no address to listen at",
            code="up.host",
            hint="an IP address, a name of this machine, or an interface as `ip link` lists it",
        ) from error
    made: list[socket.socket] = []
    try:
        for family, at in found:
            for device in (place.device, "lo") if place.device not in {"", "lo"} else ("",):
                made.append(one := socket.socket(family, socket.SOCK_STREAM))
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                if device:
                    one.setsockopt(
                        socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode() + b"\0"
                    )
                one.bind(at)
                one.listen(BACKLOG)
                one.setblocking(False)  # noqa: FBT003 - socket takes it by position
    except OSError as error:
        for one in made:
            one.close()
        if isinstance(error, PermissionError) and place.device:
            raise InputError(
                f"the kernel does not let you bind to the interface `{place.device}`",
                code="up.interface",
                hint="Linux 5.7 or newer, or the capability CAP_NET_RAW",
            ) from error
        raise InputError(
            f"port {port} of `{place.address}` cannot be bound: {os.strerror(error.errno or 0)}",
            code="up.port",
            hint="choose another port, or an address of this machine",
        ) from error
    return made


def listen_unix(path: Path, *, group: str = "") -> socket.socket:
    """Return a listening Unix socket that its owner may connect to, and `group` if one is named.

    A socket that a killed process left is taken away; one that somebody listens on is not. It is
    never open to others, not for an instant: it gets its mode before it listens.

    Raises:
        InputError: The path is too long or something else, others may write to its folder, someone
            listens there, or there is no such group.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100 - `resolve` would follow a link at its end
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise InputError(
            f"the path of a socket has at most {MAX_SOCKET_PATH} bytes", code="up.socket"
        )
    group_id = _group_of(group)
    _check_folder(path.parent)
    _remove_stale(path)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.bind(str(path))
        if group_id is not None:
            os.chown(path, -1, group_id)
        path.chmod(0o600 if group_id is None else 0o660)
        made.listen(BACKLOG)  # until here nobody could connect
        made.setblocking(False)  # noqa: FBT003 - socket takes it by position
    except OSError as error:
        made.close()
        raise InputError(
            f"`{path}` cannot be made: {os.strerror(error.errno or 0)}",
            code="up.socket",
            hint="only a member of a group may give it a socket" if group else "",
        ) from error
    return made


def remove_unix(path: Path) -> None:
    """Take away the name of a socket that nobody listens on any more."""
    with contextlib.suppress(OSError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()


def _group_of(name: str) -> int | None:
    if not name:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise InputError(f"there is no group `{name[:60]}`", code="up.group") from error


def _check_folder(folder: Path) -> None:
    try:
        held = folder.stat()
    except OSError as error:
        raise InputError(
            f"there is no folder `{folder}`", code="up.socket", hint=f"mkdir -m 0750 {folder}"
        ) from error
    if held.st_uid not in {0, os.geteuid()}:
        raise InputError(f"`{folder}` belongs to somebody else", code="up.socket")
    if held.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        # Not /tmp either: there others could take the name while the server is down.
        raise InputError(
            f"others may write to `{folder}`, and so put a socket of theirs there",
            code="up.socket",
            hint=f"chmod go-w {folder}, or use a folder of your own",
        )


def _remove_stale(path: Path) -> None:
    try:
        held = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(held.st_mode):
        raise InputError(f"`{path}` is there, and no socket", code="up.socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except OSError as error:
            raise InputError(f"`{path}` is in use", code="up.socket") from error
    raise InputError(
        f"somebody listens on `{path}` already", code="up.socket", hint="is a server running?"
    )


def _ipv4_of(device: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            held = fcntl.ioctl(one, _SIOCGIFADDR, struct.pack("256s", device.encode()[:15]))
        except OSError:
            return ""
    return socket.inet_ntoa(held[20:24])


def _ipv6_of(device: str) -> str:
    """Return an address of global scope: one of a link is nothing without its link."""
    try:
        lines = _INTERFACES6.read_text().splitlines()
    except OSError:
        return ""
    for line in lines:
        packed, _, _, scope, _, name = line.split()
        if name == device and scope in {_GLOBAL_SCOPE, "10"}:  # global, or this host
            return str(IPv6Address(bytes.fromhex(packed)))
    return ""

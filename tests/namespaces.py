"""Network namespaces with a cable between them, for tests of what can be reached from where."""

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

CLONE_NEWNET = 0x40000000
ADDRESSES = ["127.0.0.1", "::1", "198.51.100.1", "203.0.113.1"]
"""What tests inside may connect to; no address of the outside world is among them."""

_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Cabled:
    """Two namespaces; `device` of the first has `address`, and the second is at `peer`."""

    here: str
    there: str
    device: str
    address: str
    other_device: str  # a second cable, so that the first has another interface beside it
    other_address: str


def ip(*words: str) -> None:
    """Run ip(8)."""
    subprocess.run(["ip", *words], check=True, capture_output=True)  # noqa: S603, S607 - in tests


@contextlib.contextmanager
def cabled() -> Iterator[Cabled]:
    """Make two namespaces; skips where that is not allowed."""
    if shutil.which("ip") is None:
        pytest.skip("iproute2 is missing")
    tag = f"v{os.getpid() % 100000}"
    made = Cabled(f"{tag}a", f"{tag}b", "vin0", "198.51.100.1", "vout0", "203.0.113.1")
    if os.geteuid() != 0:
        pytest.skip("network namespaces with a cable need root")
    names = []
    try:
        for name in (made.here, made.there):
            ip("netns", "add", name)
            names.append(name)
        for device, address, peer in (
            (made.device, made.address, "198.51.100.2"),
            (made.other_device, made.other_address, "203.0.113.2"),
        ):
            ip("-n", made.here, "link", "add", device, "type", "veth", "peer", "name",
                device, "netns", made.there)  # fmt: skip
            for name, at in ((made.here, address), (made.there, peer)):
                ip("-n", name, "address", "add", f"{at}/24", "dev", device)
                ip("-n", name, "link", "set", device, "up")
        for name in names:
            ip("-n", name, "link", "set", "lo", "up")
    except subprocess.CalledProcessError as error:
        for name in names:
            ip("netns", "delete", name)
        pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
    try:
        yield made
    finally:
        for name in names:
            ip("netns", "delete", name)


@contextlib.contextmanager
def inside(name: str) -> Iterator[None]:
    """Put this thread, and what it starts, into a namespace."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    after = os.open(Path("/run/netns") / name, os.O_RDONLY)
    try:
        _enter(after)
        try:
            yield
        finally:
            _enter(before)
    finally:
        os.close(before)
        os.close(after)


def _enter(descriptor: int) -> None:
    if _LIBC.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")

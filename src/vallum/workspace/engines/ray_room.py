"""The sandbox that a door to Ray runs in, and how Ray comes to stand in there.

Ray's processes talk pickles and nothing else, so no process that holds keys talks to Ray: a door
does, in a sandbox that sees neither keys nor data. Without an address it starts a Ray of its own
in there, on a network that leads nowhere. With one, a node without processors joins the cluster
from in there, because Ray lets a program in through a node beside it only.
"""

import os
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vallum.base import UnavailableError
from vallum.base.bounds import GIB
from vallum.sandbox import Limits, Nest, memory_file, spawn

START_S: Final = 240.0
LIMITS: Final = Limits(
    memory_bytes=32 * GIB,
    processes=16384,  # Ray's threads, and those of all sandboxes in there
    open_files=16384,
    file_bytes=64 * GIB,
    tmp_bytes=8 * GIB,
)
NEEDED: Final = ("aiohttp", "grpc_reflection", "opencensus")  # by Ray Serve, beside Ray itself
HINT: Final = "pip install 'vallum[ray]'"
_SHARED_BYTES: Final = 1 * GIB
_STORE_BYTES: Final = 512 * 1024 * 1024
_ATTEMPTS: Final = 3  # a machine under load starts Ray's processes too late for Ray
_JOIN_S: Final = 120.0
_STUB: Final = b"raise ImportError\n"
"""In the place of a grammar that jsonschema builds for seconds in each of Ray's processes, where
it is installed, and that Ray does not use."""


@dataclass(frozen=True, slots=True)
class RayPlace:
    """Which Ray: the operator's choice.

    Attributes:
        address: Of the cluster, `HOST:PORT`; empty: a Ray of one's own.
        token_file: Has the cluster's token.
    """

    address: str = ""
    token_file: Path | None = None


OWN_RAY: Final = RayPlace()


@dataclass(frozen=True, slots=True)
class Room:
    """What a door sees: arguments of `spawn`; the descriptors of `files` are who asked's."""

    files: dict[str, int]
    env: dict[str, str]
    nest: Nest


def room(place: RayPlace, stack: ExitStack) -> Room:
    """Return what a door to Ray sees; `stack` closes it.

    Raises:
        UnavailableError: The token cannot be read.
    """
    files: dict[str, int] = {}

    def show(path: str, data: bytes) -> None:
        files[path] = memory_file(data)
        stack.callback(os.close, files[path])

    show("/code/rfc3987_syntax.py", _STUB)
    env = {"PYTHONPATH": "/code", "RAY_USAGE_STATS_ENABLED": "0"}
    if place.token_file is not None:
        try:
            show("/code/ray-token", place.token_file.read_bytes())
        except OSError as error:
            raise UnavailableError(
                f"`{place.token_file}` cannot be read", code="engine.token"
            ) from error
        env |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "/code/ray-token"}
    return Room(files, env, Nest(_SHARED_BYTES, network=bool(place.address)))


def start_ray(address: str, cpus: int) -> None:
    """Start Ray, or join the cluster; inside a door.

    Raises:
        Exception: Ray's own, of many kinds: it does not come to stand.
    """
    import ray

    quiet: dict[str, Any] = {
        "log_to_driver": False, "logging_level": "error", "configure_logging": False,
    }  # fmt: skip
    if address:
        _join(address)
        ray.init(address=address, **quiet)
        return
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            ray.init(
                num_cpus=cpus, include_dashboard=False, _node_ip_address="127.0.0.1",
                object_store_memory=_STORE_BYTES, **quiet,
            )  # fmt: skip
            return
        except Exception:
            ray.shutdown()
            if attempt == _ATTEMPTS:
                raise


def _join(address: str) -> None:
    """Start a node that takes no work.

    Raises:
        ConnectionError: There is no such cluster, or it does not let us in.
        UnavailableError: It takes too long.
    """
    command = (
        "python", "-m", "ray.scripts.scripts", "start", f"--address={address}",
        "--num-cpus", "0", "--num-gpus", "0", "--object-store-memory", str(_STORE_BYTES),
        "--disable-usage-stats", "--temp-dir=/tmp/ray",
    )  # fmt: skip
    with tempfile.TemporaryFile() as log:
        code = spawn(command, env=dict(os.environ), log=log.fileno()).wait(_JOIN_S)
        log.seek(0)
        said = log.read().decode(errors="replace").strip().splitlines() or [""]
    if code:
        raise ConnectionError(f"no Ray answers at {address}: {said[-1][:120]}")


def said_by(error: BaseException) -> str:
    """Return what an error of Ray says, short."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[-1]}"[:200]

"""`vallum.connect`: a workspace with its nouns as attributes.

import vallum
ws = vallum.connect("https://127.0.0.1:8443")
ws.data.create("patients", "patients.csv")
ws.data.protect("patients", k=5)
ws.models.register("risk", "model.onnx")
print(ws.endpoints.invoke("risk", {"inputs": [...]}))
"""

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from vallum.base import InputError, Secret
from vallum.sdk.access import (
    Approvals,
    Audit,
    Connections,
    Groups,
    Identities,
    Keys,
    Roles,
    Workspace,
)
from vallum.sdk.anchor import ServerAnchor
from vallum.sdk.data import Data
from vallum.sdk.dp import Dp
from vallum.sdk.endpoints import Endpoints
from vallum.sdk.environments import Environments
from vallum.sdk.nouns import Jobs, Models
from vallum.sdk.rules import BreakGlass, Policy, ReleaseKeys, Waivers
from vallum.sdk.tracking import Registry, Tracking
from vallum.sdk.transport import Transport

DEFAULT_URL = "https://127.0.0.1:8443"


class Client:
    """An open connection; holds the key in memory. Use it as a context manager or `close` it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.approvals = Approvals(transport)
        self.audit = Audit(transport)
        self.break_glass = BreakGlass(transport)
        self.connections = Connections(transport)
        self.data = Data(transport)
        self.dp = Dp(transport)
        self.endpoints = Endpoints(transport)
        self.environments = Environments(transport)
        self.groups = Groups(transport)
        self.identities = Identities(transport)
        self.jobs = Jobs(transport)
        self.keys = Keys(transport)
        self.models = Models(transport)
        self.policy = Policy(transport)
        self.registry = Registry(transport)
        self.release_keys = ReleaseKeys(transport)
        self.roles = Roles(transport)
        self.tracking = Tracking(transport)
        self.waivers = Waivers(transport)
        self.workspace = Workspace(transport)

    @property
    def url(self) -> str:
        """Return the address of the server."""
        return self._transport.url

    @property
    def anchor(self) -> ServerAnchor | None:
        """Return what this client keeps of the server's log; None where that is switched off."""
        return self._transport.anchor

    def score(self, uri: str, body: bytes, *, key: Secret | None = None) -> bytes:
        """Post a raw scoring request to `uri` with an endpoint's key; returns the raw answer."""
        return self._transport.post_json(uri, body, token=key)

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def connect(
    url: str = "",
    *,
    token: Secret | None = None,
    token_file: Path | str | None = None,
    ca_file: Path | str | None = None,
    purpose: str = "",
    transferred: Callable[[int], None] | None = None,
) -> Client:
    """Connect to a workspace.

    Args:
        url: Address of the server; `VALLUM_URL`, then loopback, if empty.
        token: An API key. Otherwise `token_file`, `VALLUM_TOKEN` or `VALLUM_TOKEN_FILE`.
        token_file: A file that holds the key, readable by you alone.
        ca_file: Certificate authority of the server; `VALLUM_CA` if empty.
        purpose: What data is read for, where it asks for one; `VALLUM_PURPOSE` if empty.
        transferred: Called with the bytes of each chunk of content that was sent: for progress.

    Raises:
        InputError: No key, a key file that others may read, or an unusable address.
    """
    address = url or os.environ.get("VALLUM_URL", DEFAULT_URL)
    authority = ca_file if ca_file is not None else os.environ.get("VALLUM_CA")
    return Client(
        Transport(
            address,
            _token(token, token_file),
            ca_file=None if authority is None else Path(authority),
            purpose=purpose or os.environ.get("VALLUM_PURPOSE", ""),
            transferred=transferred,
        )
    )


def _token(token: Secret | None, token_file: Path | str | None) -> Secret:
    if token is not None:
        return token
    if token_file is None and "VALLUM_TOKEN" in os.environ:
        return Secret(os.environ["VALLUM_TOKEN"].strip())
    path = token_file if token_file is not None else os.environ.get("VALLUM_TOKEN_FILE")
    if path is None:
        raise InputError(
            "there is no key to sign in with",
            code="sdk.no-key",
            hint="set VALLUM_TOKEN_FILE to the owner.key that `vallum up` wrote",
        )
    return read_key_file(Path(path))


def read_key_file(path: Path) -> Secret:
    """Read a key from a file that nobody else can read.

    Raises:
        InputError: The file is missing, or its mode lets others read it.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text()
    except OSError as error:
        raise InputError(
            f"`{path}` cannot be read: {error.strerror}", code="sdk.key-file"
        ) from error
    if mode & 0o077:
        raise InputError(f"others may read `{path}`", code="sdk.key-file", hint=f"chmod 600 {path}")
    return Secret(text.strip())

"""The client half of the inner socket, for our own gateway and worker.

It imports nothing of the workspace: a process that uses it holds no key and no database.
"""

import math
import os
import socket
import threading
import time
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TypeVar

import httpx
import msgspec

from vallum.base import (
    LimitExceededError,
    Secret,
    UnauthenticatedError,
    UnavailableError,
    VallumError,
    errors,
)
from vallum.schema import Record
from vallum.schema.serving import InternalProblem

R = TypeVar("R", bound=Record)
TIMEOUT_S = 120.0
_KEPT_S = 5.0  # the control process keeps a connection longer, and closes it then


class DelayedRefusalError(UnauthenticatedError):
    """A wrong credential, with the delay that the door must keep before it answers."""

    def __init__(self, message: str, *, code: str, hint: str, delay_s: float) -> None:
        super().__init__(message, code=code, hint=hint)
        self.delay_s = delay_s


def read_token(descriptor: int) -> Secret:
    """Read the token that the control process put into a pipe, and close it."""
    with os.fdopen(descriptor, "rb") as pipe:
        return Secret(pipe.readline(256).strip())


class _Inner(HTTPConnection):
    """A connection to the inner socket."""

    def __init__(self, path: str) -> None:
        super().__init__("control", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        """Connect to it."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Desk:
    """Blocking calls, for the worker and for leases. Safe for threads, which wait for each other.

    Leases are renewed some times a second, beside the requests of the same processor: what this
    takes, they wait for. It is the standard library's client for that.
    """

    def __init__(self, socket_path: Path, token: Secret) -> None:
        self._inner = _Inner(str(socket_path))
        self._headers = {"authorization": f"Bearer {token.reveal().decode()}"}
        self._lock = threading.Lock()
        self._used_s = -math.inf

    def call(self, path: str, question: Record, reply: type[R]) -> R:
        """Ask the control process.

        Raises:
            VallumError: As it was raised there, or it is not there.
        """
        data = msgspec.msgpack.encode(question)
        with self._lock:
            if time.monotonic() - self._used_s > _KEPT_S:  # it may be closed any time now
                self._inner.close()
            try:
                self._inner.request("POST", path, data, self._headers)
                with self._inner.getresponse() as response:
                    status, content = response.status, response.read()
            except (OSError, HTTPException) as error:
                self._inner.close()
                raise _gone() from error
            self._used_s = time.monotonic()
        return decode(status, content, reply)

    def close(self) -> None:
        """Close the connection."""
        self._inner.close()


class AsyncDesk:
    """The same for an event loop: the gateway."""

    def __init__(self, socket: Path, token: Secret) -> None:
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(socket)),
            base_url="http://control",
            timeout=TIMEOUT_S,
            headers={"authorization": f"Bearer {token.reveal().decode()}"},
            trust_env=False,
        )

    async def call(self, path: str, question: Record, reply: type[R]) -> R:
        """Ask the control process.

        Raises:
            VallumError: As it was raised there, or it is not there.
        """
        try:
            response = await self._client.post(path, content=msgspec.msgpack.encode(question))
        except httpx.HTTPError as error:
            raise _gone() from error
        return decode(response.status_code, response.content, reply)

    async def close(self) -> None:
        """Close the connection."""
        await self._client.aclose()


def decode(status: int, content: bytes, reply: type[R]) -> R:
    """Return the reply, or raise what the control process raised."""
    try:
        if status == HTTPStatus.OK:
            return msgspec.msgpack.decode(content, type=reply)
        problem = msgspec.msgpack.decode(content, type=InternalProblem)
    except msgspec.DecodeError as error:
        raise UnavailableError("the control process answers something else") from error
    if problem.delay_s:
        raise DelayedRefusalError(
            problem.message, code=problem.code, hint=problem.hint, delay_s=problem.delay_s
        )
    kind = getattr(errors, problem.kind, UnavailableError)
    if kind is LimitExceededError:
        raise LimitExceededError(
            problem.message,
            code=problem.code,
            hint=problem.hint,
            retry_after_s=problem.retry_after_s,
        )
    if not (isinstance(kind, type) and issubclass(kind, VallumError)):
        kind = UnavailableError
    raise kind(problem.message, code=problem.code, hint=problem.hint)


def _gone() -> UnavailableError:
    return UnavailableError("the control process is not there", code="internal.gone")

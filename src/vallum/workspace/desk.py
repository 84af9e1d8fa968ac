"""The client half of the inner socket, for our own gateway and worker.

It imports nothing of the workspace: a process that uses it holds no key and no database.
"""

import os
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


class DelayedRefusalError(UnauthenticatedError):
    """A wrong credential, with the delay that the door must keep before it answers."""

    def __init__(self, message: str, *, code: str, hint: str, delay_s: float) -> None:
        super().__init__(message, code=code, hint=hint)
        self.delay_s = delay_s


def read_token(descriptor: int) -> Secret:
    """Read the token that the control process put into a pipe, and close it."""
    with os.fdopen(descriptor, "rb") as pipe:
        return Secret(pipe.readline(256).strip())


class Desk:
    """Blocking calls, for the worker."""

    def __init__(self, socket: Path, token: Secret) -> None:
        self._client = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(socket)),
            base_url="http://control",
            timeout=TIMEOUT_S,
            headers={"authorization": f"Bearer {token.reveal().decode()}"},
            trust_env=False,
        )

    def call(self, path: str, question: Record, reply: type[R]) -> R:
        """Ask the control process.

        Raises:
            VallumError: As it was raised there, or it is not there.
        """
        try:
            response = self._client.post(path, content=msgspec.msgpack.encode(question))
        except httpx.HTTPError as error:
            raise _gone() from error
        return decode(response, reply)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


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
        return decode(response, reply)

    async def close(self) -> None:
        """Close the connection."""
        await self._client.aclose()


def decode(response: httpx.Response, reply: type[R]) -> R:
    """Return the reply, or raise what the control process raised."""
    try:
        if response.is_success:
            return msgspec.msgpack.decode(response.content, type=reply)
        problem = msgspec.msgpack.decode(response.content, type=InternalProblem)
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

"""Reading bodies within bounds, and answers as problems."""

import asyncio
import math
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec
import structlog

from vallum.base import GateError, InputError, LimitExceededError, VallumError
from vallum.guard import MAX_BODY_BYTES
from vallum.schema.api import Problem

_LOG = structlog.get_logger("vallum.gateway")
Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
BODY_S = 30.0
FIXED = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"strict-transport-security", b"max-age=31536000"),
)
ANSWER = ((b"content-type", b"application/json"), *FIXED)


async def read_body(receive: Receive) -> bytes:
    """Read a body within its bound and its time.

    Raises:
        LimitExceededError: It exceeds `MAX_BODY_BYTES`.
        InputError: The client left, or sends too slowly.
    """
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        if message["type"] != "http.request":
            raise InputError("the client left", code="score.gone")
        if len(body) > MAX_BODY_BYTES:
            raise LimitExceededError(f"the body exceeds {MAX_BODY_BYTES} bytes", code="score.body")
        return body
    parts = [body]
    size = len(body)
    try:
        async with asyncio.timeout(BODY_S):
            while message.get("more_body", False):
                message = await receive()
                if message["type"] != "http.request":
                    raise InputError("the client left", code="score.gone")
                part = message.get("body", b"")
                size += len(part)
                if size > MAX_BODY_BYTES:
                    raise LimitExceededError(
                        f"the body exceeds {MAX_BODY_BYTES} bytes", code="score.body"
                    )
                parts.append(part)
    except TimeoutError as error:
        raise InputError("the body came too slowly", code="score.slow") from error
    return b"".join(parts)


def problem_of(error: VallumError) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
    """Return status, body and further headers; what a model said stays with us."""
    status = 500 if isinstance(error, GateError) else error.status
    extra: list[tuple[bytes, bytes]] = []
    detail = error.message
    if isinstance(error, LimitExceededError) and error.retry_after_s is not None:
        status = 429
        extra.append((b"retry-after", str(max(1, math.ceil(error.retry_after_s))).encode()))
    if isinstance(error, GateError):
        detail = "the model failed on this input"  # what it said stays with us
    request_id = secrets.token_hex(8)
    if status >= 500:  # noqa: PLR2004 - HTTP
        _LOG.warning("refused", code=error.code, request_id=request_id)
    body = msgspec.json.encode(
        Problem(
            type=f"urn:vallum:error:{error.code}",
            title="Refused" if status < 500 else "Failed",  # noqa: PLR2004
            status=status,
            detail=detail,
            code=error.code,
            hint=error.hint,
            request_id=request_id,
        )
    )
    return status, body, extra


async def send_answer(
    send: Send,
    status: int,
    body: bytes,
    content_type: bytes,
    extra: list[tuple[bytes, bytes]] | None = None,
) -> None:
    """Send one whole answer."""
    headers = [
        (b"content-type", content_type),
        *FIXED,
        (b"content-length", str(len(body)).encode()),
        *(extra or []),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

"""The outermost ASGI layer: what is refused before any route is looked up.

In this order: Host header on the list; path without dots, NUL, backslash or double encoding; no
foreign Origin on a change; header count and bytes; declared body length; then the body is counted
while it streams and the whole request has a deadline. Every answer leaves with the security
headers and a request id that leads to the log.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any

import structlog

from vallum.base import InputError, LimitExceededError, VallumError, new_id
from vallum.schema.routes import PREFIX, ROUTES
from vallum.server.mlflow import problem as mlflow_problem
from vallum.server.problem import internal_problem, problem_of

Scope = MutableMapping[str, Any]  # as the ASGI specification has it
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_LOG = structlog.get_logger("vallum.server")
_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"referrer-policy", b"no-referrer"),
    (b"strict-transport-security", b"max-age=31536000"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
_SAFE_METHODS = frozenset({"GET", "HEAD"})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE"})
_BAD_PATH = re.compile(rb"%(?:00|2e|2f|5c|25)|\\|//|/\.{1,2}(?:/|$)|[\x00-\x20\x7f]", re.IGNORECASE)
_LARGE = tuple((PREFIX + one.path).partition("{")[0].encode() for one in ROUTES if one.large)
_REQUEST_ID = re.compile(rb"[A-Za-z0-9_-]{8,64}")


@dataclass(frozen=True, slots=True)
class BorderBounds:
    """Limits on a request before it is routed."""

    max_headers: int = 64
    max_header_bytes: int = 32 * 1024
    max_path_bytes: int = 2048
    max_query_bytes: int = 8192
    max_json_bytes: int = 4 * 1024 * 1024
    max_length_digits: int = 15
    max_upload_bytes: int = 1024 * 1024 * 1024
    request_timeout_s: float = 300.0
    max_image_bytes: int = 16 * 1024 * 1024 * 1024  # of an upload to a route that is `large`
    image_timeout_s: float = 1800.0


class Border:
    """Wraps the application; holds the list of hosts."""

    def __init__(
        self, app: ASGIApp, *, hosts: Iterable[str], bounds: BorderBounds | None = None
    ) -> None:
        self._app = app
        self._hosts = frozenset(host.encode() for host in hosts)
        self._bounds = BorderBounds() if bounds is None else bounds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
            return
        request_id = str(new_id("req"))
        scope["state"] = {**scope.get("state", {}), "request_id": request_id}
        started = False

        async def guarded_send(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                kept = [pair for pair in message["headers"] if pair[0] != b"server"]
                own = {name for name, _ in kept}  # the console's pages are stricter in part
                ours = [pair for pair in _HEADERS if pair[0] not in own]
                message["headers"] = [*kept, *ours, (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            limit, timeout_s = self._check(scope)
            async with asyncio.timeout(timeout_s):
                await self._app(scope, _counted(receive, limit), guarded_send)
        except VallumError as error:
            if started:
                raise
            await _answer(guarded_send, *shaped(scope, error, request_id))
        except TimeoutError:
            if started:
                raise
            late = LimitExceededError("the request took too long", code="request.timeout")
            await _answer(guarded_send, *shaped(scope, late, request_id))
        except Exception as error:
            _LOG.error("request failed", request_id=request_id, kind=type(error).__name__)
            if started:
                raise
            await _answer(guarded_send, *internal_problem(request_id))

    def _check(self, scope: Scope) -> tuple[int, float]:
        """Return how many bytes the body may have, and how long it may take."""
        bounds = self._bounds
        headers = scope["headers"]
        if len(headers) > bounds.max_headers:
            raise LimitExceededError(
                f"more than {bounds.max_headers} headers", code="request.headers"
            )
        if sum(len(name) + len(value) for name, value in headers) > bounds.max_header_bytes:
            raise LimitExceededError(
                f"headers exceed {bounds.max_header_bytes} bytes", code="request.headers"
            )
        values: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            values.setdefault(name, []).append(value)
        for name in (b"host", b"authorization", b"content-length", b"content-type", b"origin"):
            if len(values.get(name, [])) > 1:
                raise InputError(f"header `{name.decode()}` is repeated", code="request.header")
        if values.get(b"host", [b""])[0].lower() not in self._hosts:
            raise InputError(
                "the Host header names another server",
                code="request.host",
                hint="start with `vallum up --host NAME` to serve under that name",
            )
        patches = scope["method"] == "PATCH" and _is_mlflow(scope)
        if scope["method"] not in _METHODS and not patches:
            raise InputError("this method is not served", code="request.method")
        raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
        if len(raw_path) > bounds.max_path_bytes or len(scope["query_string"]) > (
            bounds.max_query_bytes
        ):
            raise LimitExceededError("the path is too long", code="request.path")
        if _BAD_PATH.search(raw_path):
            raise InputError("the path has a forbidden form", code="request.path")
        origin = values.get(b"origin", [b""])[0]
        if (
            scope["method"] not in _SAFE_METHODS
            and origin
            and origin.partition(b"://")[2].lower() not in self._hosts
        ):
            raise InputError("the Origin header names another site", code="request.origin")
        upload = scope["method"] == "PUT"
        limit, timeout_s = bounds.max_json_bytes, bounds.request_timeout_s
        if upload and raw_path.startswith(_LARGE):
            limit, timeout_s = bounds.max_image_bytes, bounds.image_timeout_s
        elif upload:
            limit = bounds.max_upload_bytes
        declared = values.get(b"content-length", [b"0"])[0]
        if not declared.isdigit() or len(declared) > bounds.max_length_digits:
            raise InputError("Content-Length is not a number", code="request.header")
        if int(declared) > limit:
            raise _too_large(limit)
        return limit, timeout_s


def shaped(scope: Scope, error: VallumError, request_id: str) -> tuple[int, bytes, dict[str, str]]:
    """Return an error in the shape that clients of this path read."""
    return (mlflow_problem.problem_of if _is_mlflow(scope) else problem_of)(error, request_id)


def _is_mlflow(scope: Scope) -> bool:
    return bool(scope["path"].startswith(mlflow_problem.ROOTS))


def _too_large(limit: int) -> LimitExceededError:
    return LimitExceededError(f"the body exceeds {limit} bytes", code="request.body")


def _counted(receive: Receive, limit: int) -> Receive:
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > limit:
                raise _too_large(limit)
        return message

    return counted


async def _answer(send: Send, status: int, body: bytes, headers: dict[str, str]) -> None:
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    pairs.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body, "more_body": False})

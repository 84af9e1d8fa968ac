"""A request while it arrives, an answer, and errors as answers."""

import asyncio
import math
import secrets
from collections.abc import Callable, Iterator

import msgspec
import structlog

from vallum.base import GateError, InputError, LimitExceededError, VallumError
from vallum.base.bounds import MAX_TOKEN_BYTES
from vallum.base.proxies import Proxies
from vallum.gateway.metrics import Tally
from vallum.gateway.model import ModelFailedError
from vallum.gateway.tracing import TRACE_HEADER, Trace
from vallum.guard import MAX_BODY_BYTES, V2, Dialect
from vallum.schema.api import MODEL_FAILED, Problem
from vallum.schema.routes import DEPLOYMENT_HEADER

_LOG = structlog.get_logger("vallum.gateway")
JSON = b"application/json"
ABSTAINED = "score.abstained"
"""Code of an answer that says that the model has none."""
TEST_HEADER = b"vallum-test"
"""Who sends it says that the request belongs to a test, as `vallum attack` does."""
PICKED = DEPLOYMENT_HEADER.encode()
MAX_HEADERS = 64
_BEARER = b"bearer "
FORWARDED = b"x-forwarded-for"
KEPT = frozenset({
    b"authorization", b"content-length", b"expect", b"host", FORWARDED, PICKED, TEST_HEADER,
    TRACE_HEADER,
})  # fmt: skip
_FIXED = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"strict-transport-security", b"max-age=31536000"),
)


class Request:
    """A request, as far as it has come. For one event loop.

    Attributes:
        client: Address that it came from.
        method: As sent.
        path: Without the query, unquoted; empty if the target has none.
        headers: Those of `KEPT`, by name in lower case.
        header_count: How many came.
        repeated: A header of `KEPT` that came twice, or empty.
        complete: Its last byte came.
        trace: What is traced of it, if it is sampled.
        tally: Of the deployment that answers; None before one is chosen.
        keep_alive: The connection goes on after the answer.
    """

    # Class values are the defaults: most requests change few of them.
    method = b""
    path = ""
    header_count = 0
    repeated = b""
    complete = False
    keep_alive = True
    headed = False  # its head is complete
    timed = False  # its body has a deadline
    wanted = False  # the gateway waits for its body
    late = False  # it came too slowly or broke off: nothing more is read from it
    discarded = False  # it was answered before its body came
    held = 0  # bytes of body
    certificate = b""  # of the client, DER; there is none without mutual TLS
    spoken: Dialect = V2  # of what `/v2/models/NAME/infer` is asked and answered
    limits: tuple[tuple[bytes, bytes], ...] = ()  # what is left of them, once that is known
    delay_s = 0.0  # until a refusal leaves
    accounted = False  # the control process logs its refusal, or a bundle does
    tally: Tally | None = None  # of the deployment that answers
    trace: Trace | None = None
    on_wait: Callable[[], None] | None = None
    _failure: VallumError | None = None
    _waiter: asyncio.Future[None] | None = None

    def __init__(self, client: str) -> None:
        self.client = client
        self.headers: dict[bytes, bytes] = {}
        self._parts: list[bytes] = []

    def add_header(self, name: bytes, value: bytes) -> None:
        """Count a header and keep it if it matters; `name` is in lower case."""
        self.header_count += 1
        if name in KEPT:
            if name in self.headers:
                self.keep_again(name, value)
            else:
                self.headers[name] = value

    def keep_again(self, name: bytes, value: bytes) -> None:
        """Keep what may be said twice of a header of `KEPT`, or that it was."""
        if name == FORWARDED:  # one list in several lines: RFC 9110, section 5.3
            self.headers[name] += b"," + value
        elif name == TRACE_HEADER:  # several parents are none: W3C Trace Context, 4.1
            self.headers[name] = b""
        else:
            self.repeated = name
            self.headers[name] = value

    def add_body(self, part: bytes) -> None:
        """Add a part of the body; beyond `MAX_BODY_BYTES` nothing is kept."""
        self.held += len(part)
        if self.held > MAX_BODY_BYTES:
            self.fail(
                LimitExceededError(f"the body exceeds {MAX_BODY_BYTES} bytes", code="score.body")
            )
        elif not self.discarded:
            self._parts.append(part)

    def finish(self) -> None:
        """Note that everything came."""
        self.complete = True
        self._wake()

    def fail(self, error: VallumError) -> None:
        """Give up on a body that is not complete."""
        if not self.complete and self._failure is None:
            self._failure = error
            self._parts.clear()
            self._wake()

    def discard(self) -> None:
        """Throw the body away, what comes of it too."""
        self.discarded = True
        self._parts.clear()

    def came(self) -> bytes | None:
        """Return the body if nothing of it is to come, as of most requests; else None."""
        if not self.complete or self._failure is not None:
            return None
        return self._joined()

    async def body(self) -> bytes:
        """Return the body, once it is complete.

        Raises:
            LimitExceededError: It exceeds `MAX_BODY_BYTES`.
            InputError: The client left, or sends too slowly.
        """
        if not self.complete and self._failure is None:
            self.wanted = True
            if self.on_wait is not None:
                self.on_wait()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self._failure is not None:
            raise self._failure
        return self._joined()

    def _joined(self) -> bytes:
        parts = self._parts
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Head:
    """What of a request is checked before anything else is read."""

    def __init__(self, hosts: frozenset[bytes], proxies: Proxies | None = None) -> None:
        """Serve requests for `hosts`; believe `proxies` about whom they forward for."""
        self._hosts = hosts
        self._proxies = proxies

    def check(self, request: Request) -> bytes:
        """Return the token; say where a request that a proxy forwards is from.

        Raises:
            InputError: A header is repeated or wrong, or names another server.
            LimitExceededError: There are too many, or the body is too long.
        """
        headers = request.headers
        if self._proxies is not None:  # everybody else is where their connection comes from
            came_by, forwarded = request.client, headers.get(FORWARDED, b"")
            request.client = self._proxies.client(came_by, forwarded)
            if forwarded and self._proxies.trusts(came_by):
                request.certificate = b""  # a proxy's says who it is, not for whom
        if request.header_count > MAX_HEADERS:
            raise LimitExceededError(f"more than {MAX_HEADERS} headers", code="score.headers")
        if request.repeated:
            raise InputError(
                f"header `{request.repeated.decode()}` is repeated", code="score.header"
            )
        host = headers.get(b"host")
        if host is None or (host not in self._hosts and host.lower() not in self._hosts):
            raise InputError("the Host header names another server", code="score.host")
        length = headers.get(b"content-length")
        if length is not None and (
            not length.isdigit() or len(length) > 15 or int(length) > MAX_BODY_BYTES  # noqa: PLR2004
        ):
            raise LimitExceededError(f"the body exceeds {MAX_BODY_BYTES} bytes", code="score.body")
        token = headers.get(b"authorization", b"")
        if token[:7].lower() != _BEARER or len(token) - 7 > MAX_TOKEN_BYTES:
            if token:  # whoever sends one is not known by their certificate instead
                request.certificate = b""
            return b""
        return token[7:]


class Answer:
    """A whole answer."""

    __slots__ = ("body", "content_type", "extra", "status")

    def __init__(
        self,
        status: int,
        body: bytes,
        content_type: bytes = JSON,
        extra: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        self.status = status
        self.body = body
        self.content_type = content_type
        self.extra = extra

    def headers(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield every header but the length."""
        yield (b"content-type", self.content_type)
        yield from _FIXED
        yield from self.extra


def status_of(error: VallumError) -> int:
    """Return the HTTP status of an error."""
    if isinstance(error, GateError):
        return error.status if error.code == ABSTAINED else 500
    if isinstance(error, LimitExceededError) and error.retry_after_s is not None:
        return 429
    return error.status


def problem_of(error: VallumError, limits: tuple[tuple[bytes, bytes], ...] = ()) -> Answer:
    """Return an error as an answer; what a model said stays with us."""
    status = status_of(error)
    extra = [*limits]
    detail = error.message
    title = "Refused" if status < 500 else "Failed"  # noqa: PLR2004 - HTTP
    if isinstance(error, LimitExceededError) and error.retry_after_s is not None:
        extra.append((b"retry-after", str(max(1, math.ceil(error.retry_after_s))).encode()))
    if isinstance(error, GateError) and error.code != ABSTAINED:
        title, detail = MODEL_FAILED, "the model failed on this input"  # what it said stays with us
    request_id = secrets.token_hex(8)
    if status >= 500:  # noqa: PLR2004 - HTTP
        told = {"told": error.told} if isinstance(error, ModelFailedError) else {}
        _LOG.warning("refused", code=error.code, request_id=request_id, **told)
    body = msgspec.json.encode(
        Problem(
            type=f"urn:vallum:error:{error.code}",
            title=title,
            status=status,
            detail=detail,
            code=error.code,
            hint=error.hint,
            request_id=request_id,
        )
    )
    return Answer(status, body, b"application/problem+json", tuple(extra))

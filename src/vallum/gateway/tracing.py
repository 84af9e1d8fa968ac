"""Traces of scoring requests, sampled, sent to an OpenTelemetry collector by OTLP/HTTP.

A request that comes with a `traceparent` continues that trace, if its sender sampled it; of the
others a share begins one. A trace holds names, times, statuses and where its decision is in the
log (bundle and record), never data, tokens or names of people. It is sent beside requests, from a
bounded queue: a collector that does not answer costs traces, which are counted, and no request.

Sources: W3C Trace Context, Level 1 (the header); OpenTelemetry Protocol 1.7, OTLP/HTTP in JSON;
OpenTelemetry semantic conventions for HTTP spans.
"""

import asyncio
import contextlib
import re
import secrets
import ssl
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import msgspec
import numpy as np
import structlog

from vallum.base import InputError, Secret
from vallum.base.hosts import is_loopback
from vallum.base.version import VERSION

_LOG = structlog.get_logger("vallum.gateway")
TRACE_HEADER = b"traceparent"
MAX_PER_S = 50.0
"""Traces a second that are kept: whoever may score may ask for one, not for a flood of them."""
MAX_WAITING = 2048
MAX_HEADER_BYTES = 512
_BATCH = 256
_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
_TIMEOUT_S = 5.0
_AGAIN = frozenset({429, 502, 503, 504})  # OTLP/HTTP, "Retryable response codes"
_PATH = "/v1/traces"
_SERVER, _INTERNAL = 2, 1  # SpanKind
_ERROR = 2  # StatusCode
_FORM = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_SAMPLED = 1


@dataclass(frozen=True, slots=True)
class Parent:
    """What a caller's `traceparent` says."""

    trace_id: str
    span_id: str
    sampled: bool


def parse_traceparent(value: bytes) -> Parent | None:
    """Return what the header says; None if it is not of the form: then a request has no parent."""
    if len(value) > MAX_HEADER_BYTES:
        return None
    found = _FORM.fullmatch(value)
    if found is None:
        return None
    version, trace, span, flags, more = found.groups()
    if version == b"ff" or (version == b"00" and more) or not (int(trace, 16) and int(span, 16)):
        return None
    return Parent(trace.decode(), span.decode(), bool(int(flags, 16) & _SAMPLED))


@dataclass(slots=True)
class Trace:
    """One request that is traced. Times are of `time.perf_counter`."""

    trace_id: str
    parent_id: str
    began_s: float
    began_ns: int
    span_id: str = field(default_factory=lambda: secrets.token_hex(8))
    endpoint: str = ""
    deployment: str = ""
    bundle: str = ""
    record: int = 0
    rows: int = 0
    inner: list[tuple[str, float, float]] = field(default_factory=list)

    def chosen(self, endpoint: str, deployment: str) -> None:
        """Note who answers: the caller may score there."""
        self.endpoint, self.deployment = endpoint, deployment
        self.span("authorize", self.began_s)

    def placed(self, bundle: str, record: int, rows: int) -> None:
        """Note where the decision is kept."""
        self.bundle, self.record, self.rows = bundle, record, rows

    def span(self, name: str, since_s: float) -> None:
        """Note what took from `since_s` until now."""
        self.inner.append((name, since_s, time.perf_counter()))

    def spans(self, status: int, code: str) -> list[dict[str, object]]:
        """Return the spans as OTLP writes them in JSON."""
        end_s = time.perf_counter()
        attributes = _attributes({
            "http.request.method": "POST",
            "http.response.status_code": status,
            "vallum.endpoint": self.endpoint,
            "vallum.deployment": self.deployment,
            "vallum.bundle": self.bundle,
            "vallum.record": self.record,
            "vallum.rows": self.rows,
            "error.type": code,
        })  # fmt: skip
        whole: dict[str, object] = {
            **self._span("score", self.span_id, self.began_s, end_s, _SERVER),
            "attributes": attributes,
            "status": {"code": _ERROR} if status >= 500 else {},  # noqa: PLR2004 - HTTP
        }
        if self.parent_id:
            whole["parentSpanId"] = self.parent_id
        return [whole, *(
            {**self._span(name, secrets.token_hex(8), since_s, until_s, _INTERNAL),
             "parentSpanId": self.span_id}
            for name, since_s, until_s in self.inner
        )]  # fmt: skip

    def _span(
        self, name: str, span_id: str, since_s: float, until_s: float, kind: int
    ) -> dict[str, object]:
        return {
            "traceId": self.trace_id, "spanId": span_id, "name": name, "kind": kind,
            "startTimeUnixNano": str(self.began_ns + int((since_s - self.began_s) * 1e9)),
            "endTimeUnixNano": str(self.began_ns + int((until_s - self.began_s) * 1e9)),
        }  # fmt: skip


def _attributes(values: dict[str, str | int]) -> list[dict[str, object]]:
    return [
        {
            "key": key,
            "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value},
        }
        for key, value in values.items()
        if value != ""
    ]


def check_collector(url: str) -> str:
    """Return where traces are posted: `/v1/traces` is added to an address without a path.

    Raises:
        InputError: It is no address, holds a secret, or would send traces in the clear.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InputError("the collector's address is none", code="up.otlp") from error
    hint = "such as https://collector.example:4318"
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise InputError("the collector's address is none", code="up.otlp", hint=hint)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InputError(
            "an address holds no secret", code="up.otlp", hint="--otlp-token-file names a file"
        )
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise InputError("traces leave this machine by https:// only", code="up.otlp", hint=hint)
    return url.rstrip("/") + (_PATH if parts.path in {"", "/"} else "")


def check_ratio(ratio: float) -> float:
    """Return the share of requests that begin a trace.

    Raises:
        InputError: It is not between 0 and 1.
    """
    if not 0 <= ratio <= 1:
        raise InputError("a share of the requests is between 0 and 1", code="up.otlp")
    return ratio


class Tracer:
    """Decides what is traced and sends it. For one event loop."""

    def __init__(
        self, url: str, *, ratio: float, ca_file: Path | None = None, token: Secret | None = None
    ) -> None:
        """Prepare; nothing is sent before `run`.

        Args:
            url: The collector.
            ratio: Share of requests without a `traceparent` that begin a trace.
            ca_file: Certificate authority of the collector.
            token: What it wants as bearer.

        Raises:
            InputError: The address or the share is none.
        """
        self._url = check_collector(url)
        self._ratio = check_ratio(ratio)
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
        headers = {"content-type": "application/json"}
        if token is not None:
            headers["authorization"] = f"Bearer {token.reveal().decode()}"
        self._client = httpx.AsyncClient(
            verify=context, timeout=_TIMEOUT_S, follow_redirects=False, trust_env=False,
            headers=headers,
        )  # fmt: skip
        self._waiting: deque[list[dict[str, object]]] = deque()
        self._rng = np.random.default_rng(secrets.randbits(63))
        self._until = self._gap()
        self._tokens, self._filled_s = MAX_PER_S, 0.0
        self._resource = _attributes({
            "service.name": "vallum-gateway",
            "service.version": VERSION,
            "service.instance.id": secrets.token_hex(8),
        })  # fmt: skip
        self.sent = 0
        self.dropped = 0

    def begin(self, header: bytes | None) -> Trace | None:
        """Return a trace for a request that is sampled."""
        parent = None if header is None else parse_traceparent(header)
        if parent is None:
            self._until -= 1
            if self._until > 0:
                return None
            self._until = self._gap()
        elif not parent.sampled:
            return None
        now_s = time.perf_counter()
        self._tokens = min(MAX_PER_S, self._tokens + (now_s - self._filled_s) * MAX_PER_S)
        self._filled_s = now_s
        if self._tokens < 1:
            self.dropped += 1
            return None
        self._tokens -= 1
        return Trace(
            trace_id=secrets.token_hex(16) if parent is None else parent.trace_id,
            parent_id="" if parent is None else parent.span_id,
            began_s=now_s,
            began_ns=time.time_ns(),
        )

    def end(self, trace: Trace, status: int, code: str) -> None:
        """Queue a trace; of a caller who was not authorized, nothing is kept."""
        if not trace.endpoint:
            self._tokens = min(MAX_PER_S, self._tokens + 1)  # nor is another's place taken
            return
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(trace.spans(status, code))

    async def run(self) -> None:
        """Send what waits, until cancelled."""
        pause_s = _PAUSE_S
        while True:
            await asyncio.sleep(pause_s)
            pause_s = _PAUSE_S if await self._send() else min(2 * pause_s, _LONGEST_PAUSE_S)

    async def close(self) -> None:
        """Send what waits, if that goes at once, and end."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._send(), _TIMEOUT_S)
        await self._client.aclose()

    def _gap(self) -> float:
        """Return after how many requests the next one begins a trace."""
        return float(self._rng.geometric(self._ratio)) if self._ratio > 0 else float("inf")

    async def _send(self) -> bool:
        """Send all that waits; tell whether the collector took it, or never will."""
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
            try:
                answer = await self._client.post(self._url, content=self._packed(batch))
            except httpx.HTTPError as error:
                self._put_back(batch)
                _LOG.warning("no collector", kind=type(error).__name__)
                return False
            if answer.status_code in _AGAIN:
                self._put_back(batch)
                return False
            if answer.is_success:
                self.sent += len(batch)
            else:  # it will not take them the next time either
                self.dropped += len(batch)
                _LOG.warning("the collector refused traces", status=answer.status_code)
        return True

    def _put_back(self, batch: list[list[dict[str, object]]]) -> None:
        room = max(0, MAX_WAITING - len(self._waiting))
        self.dropped += max(0, len(batch) - room)
        self._waiting.extendleft(reversed(batch[max(0, len(batch) - room) :]))

    def _packed(self, batch: list[list[dict[str, object]]]) -> bytes:
        scope = {"name": "vallum.gateway", "version": VERSION}
        spans = [span for trace in batch for span in trace]
        return msgspec.json.encode({
            "resourceSpans": [{
                "resource": {"attributes": self._resource},
                "scopeSpans": [{"scope": scope, "spans": spans}],
            }]
        })  # fmt: skip

"""gRPC of the Open Inference Protocol V2, on the same guarded path as HTTP. An extra.

Each call becomes a `Request` and its answer is the gateway's: the same order of checks, rates,
shaping, log and metrics. What can be refused without a message is, before one is read. A message
is bounded in bytes and in the time that it takes to come; it is never decompressed, because what
it would grow to is not bounded.

Clients are told a status code, and in the text what HTTP tells, with the id of the request.

Source: gRPC, "Status codes and their use", "Core: channel arguments"; docs/adr/0100.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import grpc
import grpc.aio
import msgspec
import structlog

from vallum.base import InputError, UnauthenticatedError, UnavailableError, VallumError
from vallum.base.networks import UNIX_PEER
from vallum.gateway.admission import LIMIT, POLICY
from vallum.gateway.crowd import MAX_RPC_CONNECTIONS
from vallum.gateway.protocol import App
from vallum.gateway.wire import MAX_HEADERS, Answer, Request, problem_of
from vallum.guard import MAX_BODY_BYTES
from vallum.guard.v2_grpc import RAW, TYPED, parse, scan_request
from vallum.guard.v2_proto import PROTO, SERVICE
from vallum.schema.api import Problem

_LOG = structlog.get_logger("vallum.gateway")

MESSAGE_S = 30.0  # for a message to come
MAX_CALLS = 256  # at once
_KNOWN = frozenset(
    {200, 403}
)  # who they are is known; 403: they may score nowhere, or not from there
CALL_S = 60.0  # for a call, whatever deadline its client has
STREAMS = 128  # of a connection
METADATA_BYTES = 32 * 1024
STOP_S = 1.0
_SMALL_BYTES = 1024  # of a request that only names something
_NAME = b"vallum"
_CODES: Mapping[int, grpc.StatusCode] = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    405: grpc.StatusCode.UNIMPLEMENTED,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.FAILED_PRECONDITION,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}
_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_BODY_BYTES),
    ("grpc.max_allowed_incoming_connections", MAX_RPC_CONNECTIONS),
    ("grpc.max_concurrent_streams", STREAMS),
    ("grpc.max_metadata_size", METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", METADATA_BYTES),
    ("grpc.compression_enabled_algorithms_bitset", 1),  # identity, which is none
    ("grpc.per_message_decompression", 0),
    ("grpc.so_reuseport", 0),  # a port that is taken is an error
    ("grpc.max_connection_idle_ms", 60_000),
    ("grpc.max_connection_age_ms", 3_600_000),
    ("grpc.max_connection_age_grace_ms", 60_000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.server_handshake_timeout_ms", 10_000),
)

Answered = Callable[[Any, Any], Awaitable[bytes]]


class RpcTls:
    """What the door shows and whom it asks to show theirs; read again at each handshake.

    Attributes:
        authorities: PEM, of the certificates that clients must have, where they must.
    """

    def __init__(self, certificate: Path, key: Path, *, mutual: bool) -> None:
        """Serve with a certificate; `mutual` wants one of every client."""
        self._files = (certificate, key)
        self._mutual = mutual
        self._shown: tuple[bytes, bytes] = (b"", b"")
        self._asked: tuple[str, ...] | None = None
        self.authorities: tuple[str, ...] = ()

    def credentials(self) -> grpc.ServerCredentials:
        """Return what a port is opened with."""
        first = self._configuration()
        return grpc.dynamic_ssl_server_credentials(
            first, self._changed, require_client_authentication=self._mutual
        )

    def _changed(self) -> Any:  # noqa: ANN401 - grpc has no types
        """Return another configuration, or nothing where it is the same. In grpc's threads."""
        try:
            return self._configuration(self._shown, self._asked)
        except (OSError, ssl.SSLError):
            _LOG.error("the new certificate is not used", file=str(self._files[0]))
            return None

    def _configuration(
        self, shown: tuple[bytes, bytes] = (b"", b""), asked: tuple[str, ...] | None = None
    ) -> Any:  # noqa: ANN401 - grpc has no types
        certificate, key = (one.read_bytes() for one in self._files)
        authorities = self.authorities
        if (certificate, key) == shown and authorities == asked:
            return None
        if (certificate, key) != shown:  # what does not fit must not end up half in ours
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*self._files)
        self._shown, self._asked = (certificate, key), authorities
        # Where no authority is known nobody passes: our own certificate has issued none.
        roots = "\n".join(authorities).encode() or certificate
        return grpc.ssl_server_certificate_configuration(
            [(key, certificate)], root_certificates=roots if self._mutual else None
        )


class RpcDoor:
    """A gRPC server in front of a gateway. For one event loop."""

    def __init__(self, app: App, *, address: str, host: bytes, tls: RpcTls) -> None:
        """Prepare to serve.

        Args:
            app: What answers.
            address: `host:port` to listen at.
            host: A name that the gateway serves under: who a gRPC client meant to reach its own
                TLS has checked.
            tls: Of the port.
        """
        self._app = app
        self._address = address
        self._host = host
        self.tls = tls
        self._server: Any = None

    async def start(self) -> None:
        """Serve.

        Raises:
            InputError: The port is taken.
        """
        self._server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=MAX_CALLS)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, self._handlers()),)
        )
        try:
            self._server.add_secure_port(self._address, self.tls.credentials())
        except RuntimeError as error:
            raise InputError(f"`{self._address}` cannot be bound", code="up.port") from error
        await self._server.start()

    async def stop(self) -> None:
        """End, once what was asked is answered or late."""
        if self._server is not None:
            await self._server.stop(STOP_S)

    def _handlers(self) -> dict[str, Any]:
        # Stream to one: the same bytes on the wire as one to one, and the message is read when we
        # want it.
        made = {
            "ServerLive": self._live,
            "ServerReady": self._ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._about,
            "ModelMetadata": self._model,
            "ModelInfer": self._infer,
        }
        return {
            name: grpc.stream_unary_rpc_method_handler(self._bounded(work))
            for name, work in made.items()
        }

    def _bounded(self, work: Answered) -> Answered:
        async def bounded(messages: Any, context: Any) -> bytes:  # noqa: ANN401, ARG001 - grpc's
            try:
                async with asyncio.timeout(CALL_S):
                    return await work(self._request(context), context)
            except TimeoutError:
                await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "the call took too long")
            except VallumError as error:
                await self._abort(context, self._app.refuse(error, _client_of(context)))
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001 - the border of a call: fail closed
                _LOG.error("call failed", kind=type(error).__name__)
                failed = UnavailableError("something went wrong", code="internal")
                await self._abort(context, problem_of(failed))
            raise AssertionError("abort raises")

        return bounded

    def _request(self, context: Any) -> Request:  # noqa: ANN401 - grpc has no types
        request = Request(_client_of(context))
        for name, value in context.invocation_metadata():
            request.add_header(
                name.encode(), value.encode("latin-1") if isinstance(value, str) else value
            )
        request.headers[b"host"] = self._host
        request.headers.pop(b"content-length", None)
        shown = context.auth_context().get("x509_pem_cert")
        if shown:
            request.certificate = ssl.PEM_cert_to_DER_cert(shown[0].decode())
        return request

    async def _message(self, context: Any, max_bytes: int) -> bytes:  # noqa: ANN401 - as above
        """Return the only message of a call.

        Raises:
            InputError: There is none, it is too slow, or longer than such a one is.
        """
        try:
            async with asyncio.timeout(MESSAGE_S):
                message = await context.read()
        except TimeoutError as error:
            raise InputError("the message came too slowly", code="score.slow") from error
        if not isinstance(message, bytes):
            raise InputError("the client left", code="score.gone")
        if len(message) > max_bytes:
            raise InputError("the message is too long", code="score.form")
        return message

    # -- calls ----------------------------------------------------------------------------------

    async def _infer(self, request: Request, context: Any) -> bytes:  # noqa: ANN401 - as above
        if not request.certificate and b"authorization" not in request.headers:
            raise UnauthenticatedError("a key is needed", hint="authorization: Bearer …")
        if request.header_count > MAX_HEADERS:
            raise InputError(f"more than {MAX_HEADERS} headers", code="score.headers")
        # Nobody's message is held in memory whom nobody knows. What they may is asked below.
        known = Request(request.client)
        known.headers, known.certificate = dict(request.headers), request.certificate
        known.repeated, known.header_count = request.repeated, request.header_count
        known.method, known.path = b"GET", "/v2"
        known.finish()
        told = await self._app.answer(known)
        if told.status not in _KNOWN:
            await self._abort(context, told)
        body = await self._message(context, MAX_BODY_BYTES)
        scanned = scan_request(body)
        request.method, request.path = b"POST", f"/v2/models/{scanned.name}/infer"
        request.spoken = RAW if scanned.raw else TYPED
        request.add_body(body)
        request.finish()
        return (await self._asked(request, context)).body

    async def _asked(self, request: Request, context: Any) -> Answer:  # noqa: ANN401 - as above
        answer = await self._app.answer(request)
        if answer.status != 200:  # noqa: PLR2004 - HTTP
            await self._abort(context, answer)
        return answer

    async def _looked(self, request: Request, context: Any, path: str) -> dict[str, Any]:  # noqa: ANN401 - as above
        request.method, request.path = b"GET", path
        request.finish()
        answer = await self._asked(request, context)
        return msgspec.json.decode(answer.body, type=dict[str, Any])

    async def _abort(self, context: Any, answer: Answer) -> None:  # noqa: ANN401 - as above
        """End a call as HTTP would have."""
        problem = msgspec.json.decode(answer.body, type=Problem)
        trailing = [("vallum-code", problem.code), ("vallum-request-id", problem.request_id)]
        trailing += [
            (name.decode(), value.decode())
            for name, value in answer.extra
            if name in {b"retry-after", POLICY, LIMIT}
        ]
        await context.abort(
            _CODES.get(answer.status, grpc.StatusCode.INTERNAL),
            f"{problem.detail} ({problem.code}, request {problem.request_id})",
            tuple(trailing),
        )

    async def _live(self, request: Request, context: Any) -> bytes:  # noqa: ANN401 - as above
        await self._looked(request, context, "/livez")
        return _packed("ServerLiveResponse", live=True)

    async def _ready(self, request: Request, context: Any) -> bytes:  # noqa: ANN401 - as above
        said = await self._looked(request, context, "/v2/health/ready")
        return _packed("ServerReadyResponse", ready=said["ready"])

    async def _model_ready(self, request: Request, context: Any) -> bytes:  # noqa: ANN401 - as above
        name = await self._named(context, "ModelReadyRequest")
        said = await self._looked(request, context, f"/v2/models/{name}/ready")
        return _packed("ModelReadyResponse", ready=said["ready"])

    async def _about(self, request: Request, context: Any) -> bytes:  # noqa: ANN401 - as above
        return _packed("ServerMetadataResponse", **await self._looked(request, context, "/v2"))

    async def _model(self, request: Request, context: Any) -> bytes:  # noqa: ANN401 - as above
        name = await self._named(context, "ModelMetadataRequest")
        said = await self._looked(request, context, f"/v2/models/{name}")
        return _packed("ModelMetadataResponse", **said)

    async def _named(self, context: Any, kind: str) -> str:  # noqa: ANN401 - as above
        """Return the endpoint that a message names."""
        return str(parse(kind, await self._message(context, _SMALL_BYTES)).name)


def _packed(name: str, /, **fields: object) -> bytes:
    return bytes(PROTO[name](**fields).SerializeToString())


def _client_of(context: Any) -> str:  # noqa: ANN401 - grpc has no types
    """Return the address of `ipv4:127.0.0.1:4711`, `ipv6:%5B::1%5D:4711` or `unix:`."""
    kind, _, rest = unquote(context.peer()).partition(":")
    return rest.rpartition(":")[0].strip("[]") if kind in {"ipv4", "ipv6"} else UNIX_PEER

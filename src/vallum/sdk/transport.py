"""One HTTP exchange: TLS always off loopback, problems as the same error classes, bounds."""

import io
import ssl
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, TypeVar
from urllib.parse import quote, unquote, urlsplit

import httpx
import msgspec

from vallum.base import (
    ConflictError,
    GateError,
    InputError,
    IntegrityError,
    LimitExceededError,
    NotFoundError,
    RefusedError,
    Secret,
    UnauthenticatedError,
    UnavailableError,
    VallumError,
    check_name,
)
from vallum.base.hosts import UNIX_SCHEME, is_loopback
from vallum.schema import Reason, Record
from vallum.schema.api import MODEL_FAILED, Problem
from vallum.schema.mlflow_routes import FILE_PREFIXES, FILE_ROUTES, MLFLOW_ROUTES, PREFIXES
from vallum.schema.routes import DEPLOYMENT_HEADER, PREFIX, PURPOSE_HEADER, ROUTES, Route
from vallum.schema.rules import Consistency, ConsistencyProof
from vallum.sdk.anchor import ServerAnchor

R = TypeVar("R", bound=Record)

_BY_STATUS: Mapping[int, type[VallumError]] = {
    400: InputError,
    401: UnauthenticatedError,
    403: RefusedError,
    404: NotFoundError,
    405: InputError,
    409: ConflictError,
    422: GateError,
    500: IntegrityError,
    503: UnavailableError,
}
# MLflow's routes come first backwards: of a step with two routes, the first one is taken.
_ROUTES: Mapping[str, tuple[str, Route]] = {
    **{route.step: (PREFIXES[0], route) for route in reversed(MLFLOW_ROUTES)},
    **{route.step: (FILE_PREFIXES[0], route) for route in FILE_ROUTES},
    **{route.step: (PREFIX, route) for route in ROUTES},
}
MAX_REPLY_BYTES = 64 * 1024 * 1024
CHUNK_BYTES = 1024 * 1024
_LARGE_S = 1800.0


class Transport:
    """A connection to one server; holds the token and the pool of sockets."""

    def __init__(
        self,
        url: str,
        token: Secret | None,
        *,
        ca_file: Path | None = None,
        timeout_s: float = 300.0,
        purpose: str = "",
        transferred: Callable[[int], None] | None = None,
    ) -> None:
        """Check the address.

        Raises:
            InputError: `http://` to anything but this machine, no address at all, or a
                certificate authority that cannot be read.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
            raise InputError(
                "the server address is not a URL",
                code="sdk.url",
                hint="write it as https://host:port",
            )
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise InputError(
                f"`{parts.hostname}` is not this machine, and http:// would send the key openly",
                code="sdk.plain-http",
                hint="use https://",
            )
        self.url = f"{parts.scheme}://{parts.netloc}"
        self._token = token
        self._purpose = check_name(purpose, what="purpose") if purpose else ""
        self._transferred = transferred
        # Never `verify=False`: a self-signed certificate is trusted by its own authority's file.
        try:
            context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
        except (OSError, ssl.SSLError) as error:
            raise InputError(
                f"`{ca_file}` is not a readable certificate authority",
                code="sdk.ca",
                hint="pass --ca FILE, the ca.pem that `vallum up` wrote",
            ) from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.anchor = ServerAnchor.of(self.url, ca_file)
        self._client = httpx.Client(
            base_url=self.url,
            verify=context,
            timeout=httpx.Timeout(timeout_s, connect=10.0),
            follow_redirects=False,
            trust_env=False,
        )

    def call(
        self,
        step: str,
        arguments: Record,
        reply: type[R],
        *,
        content: BinaryIO | bytes | None = None,
        dry_run: bool = False,
    ) -> R:
        """Run a step and decode its reply.

        Raises:
            VallumError: The server's problem, as the class that the server raised.
            IntegrityError: Its log does not continue what this client saw last.
        """
        self._check_log()
        return self._call(step, arguments, reply, content=content, dry_run=dry_run)

    def _check_log(self) -> None:
        """Have the server prove that its log continues what this client saw last (G7)."""
        if self.anchor is None or not self.anchor.due():
            return
        seen = self.anchor.read()
        question = Consistency(old=1 if seen is None else seen.size, new=0)
        try:
            proof = self._call("audit.consistency", question, ConsistencyProof)
        except InputError as error:
            if error.code != "audit.sizes" or seen is None:
                raise
            raise IntegrityError(
                f"do not trust this server: its log has fewer than the {seen.size} entries that"
                " were seen here: it was rolled back",
                code="sdk.rollback",
                hint="ask its operator; after a restore that was announced:"
                " vallum audit anchor --forget",
            ) from error
        self.anchor.advance(seen, proof)

    def _call(
        self,
        step: str,
        arguments: Record,
        reply: type[R],
        *,
        content: BinaryIO | bytes | None = None,
        dry_run: bool = False,
    ) -> R:
        try:
            response = self._client.send(self._request(step, arguments, content, dry_run))
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        if not response.is_success:
            raise _error_of(response.status_code, response.content, response.headers)
        try:
            return msgspec.json.decode(response.content, type=reply)
        except msgspec.DecodeError as error:
            raise UnavailableError(
                "the server's answer is not one of this version", code="sdk.reply"
            ) from error

    def download(
        self, step: str, arguments: Record, *, content: BinaryIO | bytes | None = None
    ) -> Iterator[bytes]:
        """Run a step that answers with content, chunk by chunk."""
        self._check_log()
        request = self._request(step, arguments, content, False)  # noqa: FBT003 - private
        try:
            response = self._client.send(request, stream=True)
            try:
                if not response.is_success:
                    data = response.read()
                    raise _error_of(response.status_code, data, response.headers)
                yield from response.iter_bytes(CHUNK_BYTES)
            finally:
                response.close()
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def get(self, url: str) -> bytes:
        """Get from an endpoint of the same trust; returns the raw answer."""
        headers = {}
        if self._token is not None:
            headers["authorization"] = f"Bearer {self._token.reveal().decode()}"
        try:
            response = self._score("GET", url, headers)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        if not response.is_success:
            raise _error_of(response.status_code, response.content, response.headers)
        return response.content

    def post_json(
        self, url: str, body: bytes, *, token: Secret | None = None, deployment: str = ""
    ) -> bytes:
        """Post a scoring request to an endpoint of the same trust; returns the raw answer."""
        headers = {"content-type": "application/json"}
        if deployment:
            headers[DEPLOYMENT_HEADER] = deployment
        used = self._token if token is None else token
        if used is not None:
            headers["authorization"] = f"Bearer {used.reveal().decode()}"
        try:
            response = self._score("POST", url, headers, body)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        if not response.is_success:
            raise _error_of(response.status_code, response.content, response.headers)
        return response.content

    def _score(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> httpx.Response:
        """Ask an endpoint, over TLS or through a Unix socket of this machine.

        Raises:
            InputError: A server elsewhere names a socket here: it shall not choose which.
        """
        if not url.startswith(UNIX_SCHEME):
            return self._client.request(method, url, content=body, headers=headers)
        if not is_loopback(urlsplit(self.url).hostname):
            raise InputError(
                "the endpoint is scored through a socket on the server's machine",
                code="sdk.unix",
                hint="run the command there",
            )
        path, slash, rest = url.removeprefix(UNIX_SCHEME).partition("/")
        with httpx.Client(
            transport=httpx.HTTPTransport(uds=unquote(path)),
            timeout=self._client.timeout,
            trust_env=False,
        ) as client:
            return client.request(
                method, f"http://localhost{slash}{rest}", content=body, headers=headers
            )

    def close(self) -> None:
        """Close the sockets."""
        self._client.close()

    def _request(
        self,
        step: str,
        arguments: Record,
        content: BinaryIO | bytes | None,
        dry_run: bool,  # noqa: FBT001 - private
    ) -> httpx.Request:
        prefix, route = _ROUTES[step]
        if dry_run and prefix != PREFIX:  # MLflow's protocol knows none: it would be done
            raise RuntimeError(f"{step} has no dry run")
        values = msgspec.to_builtins(arguments)
        path = route.path
        for name in list(values):
            if f"{{{name}}}" in path:
                kept = "/" if prefix == FILE_PREFIXES[0] else ""  # the path of a file has folders
                path = path.replace(f"{{{name}}}", quote(str(values.pop(name)), safe=kept))
        headers = {}
        if self._token is not None:
            headers["authorization"] = f"Bearer {self._token.reveal().decode()}"
        if self._purpose:
            headers[PURPOSE_HEADER] = self._purpose
        query: list[tuple[str, str]] = []
        body: bytes | Iterator[bytes] | None = None
        if route.upload:
            query = _query(values, route.arguments)
            source = io.BytesIO(content) if isinstance(content, bytes) else content
            body = _chunks(source, self._transferred)
            headers["content-type"] = "application/octet-stream"
        elif route.method == "GET" or (route.method == "DELETE" and prefix == PREFIX):
            query = _query(values, route.arguments)
        else:
            body = msgspec.json.encode(values)
            headers["content-type"] = "application/json"
        if dry_run and route.method != "GET":
            query.append(("dry_run", "true"))
        # An image is judged to its last byte before the server answers.
        timeout = httpx.Timeout(_LARGE_S, connect=10.0) if route.large else self._client.timeout
        return self._client.build_request(
            route.method, prefix + path, params=tuple(query), content=body, headers=headers,
            timeout=timeout,
        )  # fmt: skip

    def _unreachable(self, error: httpx.HTTPError) -> UnavailableError:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return UnavailableError(
                f"the certificate of `{self.url}` is not signed by an authority you trust",
                code="sdk.certificate",
                hint="pass --ca FILE, the ca.pem that `vallum up` wrote",
            )
        return UnavailableError(
            f"`{self.url}` does not answer", code="sdk.unreachable", hint="is `vallum up` running?"
        )


def _query(values: Mapping[str, object], arguments: type[Record]) -> list[tuple[str, str]]:
    defaults = {field.name: field.default for field in msgspec.structs.fields(arguments)}
    out: list[tuple[str, str]] = []
    for name, value in values.items():
        if value is None or value == defaults[name] or value in ({}, [], ()):
            continue
        if isinstance(value, list | tuple):
            out.extend((name, str(item)) for item in value)
        elif isinstance(value, dict):
            out.append((name, msgspec.json.encode(value).decode()))
        elif isinstance(value, bool):
            out.append((name, "true" if value else "false"))
        else:
            out.append((name, str(value)))
    return out


def _chunks(content: BinaryIO | None, transferred: Callable[[int], None] | None) -> Iterator[bytes]:
    if content is None:
        return
    while chunk := content.read(CHUNK_BYTES):
        yield chunk
        if transferred is not None:
            transferred(len(chunk))


class _MlflowProblem(msgspec.Struct, frozen=True):
    """An error on the wire in MLflow's shape, with what Vallum adds to it."""

    message: str
    code: str
    missing: tuple[Reason, ...] = ()


def _problem(body: bytes, status: int) -> Problem:
    try:
        return msgspec.json.decode(body, type=Problem)
    except msgspec.ValidationError:
        told = msgspec.json.decode(body, type=_MlflowProblem)
        return Problem(
            type="",
            title="",
            status=status,
            detail=told.message,
            code=told.code,
            missing=told.missing,
        )


def _error_of(status: int, body: bytes, headers: Mapping[str, str]) -> VallumError:
    try:
        problem = _problem(body[:MAX_REPLY_BYTES], status)
    except msgspec.DecodeError:
        return UnavailableError(f"the server answered {status}", code="sdk.reply")
    error = _error_in(problem, status, headers)
    error.request_id = problem.request_id
    return error


def _error_in(problem: Problem, status: int, headers: Mapping[str, str]) -> VallumError:
    if status in {413, 429}:
        wait = headers.get("retry-after", "")
        return LimitExceededError(
            problem.detail,
            code=problem.code,
            hint=problem.hint,
            retry_after_s=float(wait) if wait.isdigit() else None,
        )
    if status == HTTPStatus.FORBIDDEN:
        return RefusedError(
            problem.detail,
            code=problem.code,
            hint=problem.hint,
            missing=[(one.kind, one.id, one.text) for one in problem.missing],
        )
    kind = _BY_STATUS.get(status, UnavailableError)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR and problem.code == "internal":
        kind = UnavailableError
    elif problem.title == MODEL_FAILED:
        kind = GateError
    return kind(problem.detail, code=problem.code, hint=problem.hint)

"""The application: one handler shape for every row of the table of routes."""

import asyncio
import json
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import anyio
import anyio.to_thread
import msgspec
from litestar import HttpMethod, Litestar, Request, Response, route
from litestar.exceptions import HTTPException, MethodNotAllowedException
from litestar.response import Stream

from vallum.base import (
    InputError,
    LimitExceededError,
    NotFoundError,
    Secret,
    VallumError,
    check_name,
)
from vallum.base.bounds import MAX_TOKEN_BYTES
from vallum.formats import load_json
from vallum.identity import WrongCredentialError
from vallum.schema import Caller, Record
from vallum.schema.routes import PREFIX, PURPOSE_HEADER, ROUTES, Route
from vallum.server.border import ASGIApp, Border, BorderBounds
from vallum.server.content import receive, stream
from vallum.server.mlflow.door import make_handlers
from vallum.server.openapi import body_type, document, path_parameters, query_fields
from vallum.server.pages import Console
from vallum.server.problem import internal_problem, problem_of
from vallum.workspace.kernel import Kernel, Reply
from vallum.workspace.upload import Upload

_THREADS = 16
_TOKEN_SCHEME = b"bearer "


class _MethodError(InputError):
    """The path exists, the method does not."""

    status = HTTPStatus.METHOD_NOT_ALLOWED.value


def make_app(
    kernel: Kernel,
    *,
    hosts: Iterable[str],
    version: str,
    bounds: BorderBounds | None = None,
) -> ASGIApp:
    """Build the ASGI application over an open workspace.

    Args:
        kernel: Performs every step.
        hosts: Values of the Host header that are served, in lower case, with port.
        version: Shown in the OpenAPI document.
        bounds: Limits on requests.

    Raises:
        RuntimeError: A route names a step that does not exist or asks for nothing (G2).
    """
    limits = BorderBounds() if bounds is None else bounds
    bodies = {row.step: body_type(row) for row in ROUTES}
    described = msgspec.json.encode(document(version, bodies))
    for row in ROUTES:
        kernel.require_step(row.step, row.arguments)
    limiter = anyio.CapacityLimiter(_THREADS)
    handlers: list[Any] = [
        _handler(row, bodies[row.step], kernel, limiter, limits) for row in ROUTES
    ]

    @route("/livez", http_method=[HttpMethod.GET], name="livez")
    async def livez() -> Response[bytes]:
        return Response(b'{"status":"ok"}', media_type="application/json")

    @route(f"{PREFIX}/openapi.json", http_method=[HttpMethod.GET], name="openapi")
    async def openapi(request: Request[Any, Any, Any]) -> Response[bytes]:
        await _authenticate(request, kernel, limiter)
        return Response(described, media_type="application/json")

    litestar = Litestar(
        route_handlers=[
            *handlers,
            livez,
            openapi,
            *make_handlers(kernel, limiter, limits.max_upload_bytes),
            *Console(kernel, limiter).handlers(),
        ],
        openapi_config=None,
        exception_handlers={Exception: _on_error},
        logging_config=None,
        request_max_body_size=None,  # `Border` bounds every body by its route
    )
    return Border(litestar, hosts=hosts, bounds=limits)  # type: ignore[arg-type]  # ASGI scopes are dictionaries


def _handler(
    row: Route,
    body: type[Record] | None,
    kernel: Kernel,
    limiter: anyio.CapacityLimiter,
    limits: BorderBounds,
) -> Any:  # noqa: ANN401 - a litestar route handler, whose class differs by method
    in_path = path_parameters(row)
    in_query = query_fields(row)
    most = limits.max_image_bytes if row.large else limits.max_upload_bytes

    async def serve(request: Request[Any, Any, Any]) -> Response[bytes] | Stream:
        caller = await _authenticate(request, kernel, limiter)
        query = request.query_params
        values: dict[str, object] = {name: request.path_params[name] for name in in_path}
        allowed = {*in_query, *(() if row.method == "GET" else ("dry_run",))}
        _refuse_unknown(query, allowed)
        values |= _from_query(query, in_query, row.arguments)
        dry_run = query.get("dry_run", "false").lower() == "true"
        purpose = request.headers.get(PURPOSE_HEADER, "")
        if purpose:
            check_name(purpose, what="purpose")
        upload: Upload | None = None
        if body is not None:
            values |= _from_body(await request.body(), body)
        elif row.upload:
            upload = await receive(request, most, kernel.house.folder)

        def perform() -> Reply:
            try:
                arguments = msgspec.convert(values, row.arguments, strict=body is not None)
            except msgspec.ValidationError as error:
                raise InputError(str(error).lower(), code="request.arguments") from error
            return kernel.perform(
                caller,
                row.step,
                arguments,
                content=None if upload is None else upload.reader(),
                request_id=str(request.state.request_id),
                dry_run=dry_run,
                purpose=purpose,
            )

        try:
            reply = await anyio.to_thread.run_sync(perform, limiter=limiter)
        finally:
            if upload is not None:
                upload.close()
        if reply.chunks is not None:
            return Stream(
                stream(reply.chunks, limiter),
                media_type=reply.media_type or row.media_type,
                headers={"content-disposition": f'attachment; filename="{reply.file_name}"'},
            )
        return Response(msgspec.json.encode(reply.value), media_type="application/json")

    path = PREFIX + row.path.replace("}", ":str}")
    return route(path, http_method=[HttpMethod(row.method)], name=row.step, status_code=200)(serve)


async def _authenticate(
    request: Request[Any, Any, Any], kernel: Kernel, limiter: anyio.CapacityLimiter
) -> Caller:
    header = request.headers.get("authorization", "").encode()
    token: Secret | None = None
    if header[: len(_TOKEN_SCHEME)].lower() == _TOKEN_SCHEME and len(header) <= (
        len(_TOKEN_SCHEME) + MAX_TOKEN_BYTES
    ):
        token = Secret(header[len(_TOKEN_SCHEME) :])
    source = request.client.host if request.client is not None else "unix"
    try:
        return await anyio.to_thread.run_sync(
            lambda: kernel.authenticate(
                token, source=source, request_id=str(request.state.request_id)
            ),
            limiter=limiter,
        )
    except WrongCredentialError as error:
        await asyncio.sleep(error.delay_s)
        raise


def _refuse_unknown(query: Any, allowed: set[str]) -> None:  # noqa: ANN401 - litestar's MultiDict
    unknown = sorted(set(query) - allowed)
    if unknown:
        raise InputError(f"unknown query parameter {unknown[0][:60]!a}", code="request.query")


def _from_query(
    query: Any,  # noqa: ANN401 - litestar's MultiDict
    names: Iterable[str],
    arguments: type[Record],
) -> dict[str, object]:
    types = {field.name: field.type for field in msgspec.structs.fields(arguments)}
    values: dict[str, object] = {}
    for name in names:
        given = query.getall(name) if name in query else []
        if not given:
            continue
        if str(types[name]).startswith("tuple"):
            values[name] = given
        elif len(given) > 1:
            raise InputError(f"query parameter `{name}` is repeated", code="request.query")
        elif types[name] is str:
            values[name] = given[0]
        else:
            values[name] = _scalar(given[0], name)
    return values


def _scalar(text: str, name: str) -> object:
    if text[:1] not in "{[":
        return text
    try:
        return load_json(text.encode())
    except VallumError as error:
        raise InputError(f"query parameter `{name}` is not JSON", code="request.query") from error


def _from_body(data: bytes, body: type[Record]) -> dict[str, object]:
    decoded = load_json(data or b"{}")
    if not isinstance(decoded, dict):
        raise InputError("the body is not a JSON object", code="request.body")
    known = {field.name for field in msgspec.structs.fields(body)}
    unknown = sorted(set(decoded) - known)
    if unknown:
        raise InputError(f"unknown field {unknown[0][:60]!a}", code="request.body")
    return decoded


def _on_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    request_id = str(request.scope.get("state", {}).get("request_id", ""))
    if isinstance(error, VallumError):
        status, body, headers = problem_of(error, request_id)
    elif isinstance(error, MethodNotAllowedException):
        wrong = _MethodError("this path does not take that method", code="request.method")
        status, body, headers = problem_of(wrong, request_id)
    elif isinstance(error, HTTPException) and error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
        status, body, headers = problem_of(NotFoundError("there is no such path"), request_id)
    elif isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        status, body, headers = problem_of(InputError("the body is malformed"), request_id)
    elif isinstance(error, TimeoutError):
        late = LimitExceededError("the request took too long", code="request.timeout")
        status, body, headers = problem_of(late, request_id)
    else:
        status, body, headers = internal_problem(request_id)
    media_type = headers.pop("content-type")
    return Response(body, status_code=status, headers=headers, media_type=media_type)

"""Handlers of MLflow's routes, made from the table: authenticate, translate, perform, answer.

A path below MLflow's prefixes that is not in the table answers 404, but only to who is somebody.
"""

import asyncio
import base64
import binascii
import hmac
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import anyio
import anyio.to_thread
import msgspec
from litestar import HttpMethod, Request, Response, route
from litestar.exceptions import HTTPException
from litestar.response import Stream

from vallum.base import (
    InputError,
    LimitExceededError,
    NotFoundError,
    Secret,
    UnauthenticatedError,
    VallumError,
    name_key,
)
from vallum.formats import load_json
from vallum.identity import WrongCredentialError
from vallum.schema import Caller, Record, mlflow, mlflow_models
from vallum.schema.mlflow_routes import FILE_PREFIXES, FILE_ROUTES, MLFLOW_ROUTES, PREFIXES
from vallum.schema.routes import Route
from vallum.server.content import receive, stream
from vallum.server.mlflow.problem import (
    ENDPOINT_CODE,
    MEDIA_TYPE,
    ROOTS,
    internal_problem,
    problem_of,
)
from vallum.workspace.kernel import Kernel, Reply
from vallum.workspace.steps.runs import points_of, run_id_of
from vallum.workspace.tracking.bundles import MAX_JOINING, join
from vallum.workspace.upload import Upload

MAX_TOKEN_BYTES = 4096
_ANY = [HttpMethod.GET, HttpMethod.POST, HttpMethod.PUT, HttpMethod.PATCH, HttpMethod.DELETE]


def make_handlers(
    kernel: Kernel, limiter: anyio.CapacityLimiter, max_upload_bytes: int
) -> list[Any]:
    """Return the route handlers of MLflow's protocol.

    Args:
        kernel: Performs every step.
        limiter: Of threads.
        max_upload_bytes: How large a file may be.

    Raises:
        RuntimeError: A route names a step that does not exist (G2).
    """
    door = _Door(kernel, limiter, max_upload_bytes)
    for row in (*MLFLOW_ROUTES, *FILE_ROUTES):
        kernel.require_step(row.step, row.arguments)
    handlers = [door.handler(prefix, row) for prefix in PREFIXES for row in MLFLOW_ROUTES]
    handlers += [door.files(prefix, row) for prefix in FILE_PREFIXES for row in FILE_ROUTES]
    handlers += [door.information(prefix) for prefix in PREFIXES]
    handlers += [door.missing(root) for root in ROOTS]
    return handlers


class _Door:
    """Holds what every handler works with."""

    def __init__(
        self, kernel: Kernel, limiter: anyio.CapacityLimiter, max_upload_bytes: int
    ) -> None:
        self._kernel = kernel
        self._limiter = limiter
        self._max_upload_bytes = max_upload_bytes

    def handler(self, prefix: str, row: Route) -> Any:  # noqa: ANN401 - a litestar handler
        """Return the handler of one route."""

        async def serve(request: Request[Any, Any, Any]) -> Response[bytes]:
            caller = await self._authenticate(request)
            if row.method == "GET":
                given: Mapping[str, object] = _of_query(request.query_params, row.arguments)
            else:
                given = _of_body(await request.body())
            given = {**given, **request.path_params}
            arguments = _arguments(given, row.arguments, strict=row.method != "GET")
            request_id = str(request.state.request_id)

            def perform() -> Record | None:
                return _perform(self._kernel, caller, row.step, arguments, request_id)

            value = await anyio.to_thread.run_sync(perform, limiter=self._limiter)
            return Response(msgspec.json.encode(value), media_type=MEDIA_TYPE)

        name = f"mlflow:{prefix}:{row.method}:{row.path}"
        return route(
            prefix + row.path.replace("}", ":str}"),
            http_method=[HttpMethod(row.method)],
            name=name,
            status_code=200,
            exception_handlers={Exception: on_error},
        )(serve)

    def files(self, prefix: str, row: Route) -> Any:  # noqa: ANN401 - a litestar handler
        """Return the handler of one route of the artifact proxy."""

        async def serve(request: Request[Any, Any, Any]) -> Response[bytes] | Stream:
            caller = await self._authenticate(request)
            path = request.path_params.get("path") or request.query_params.get("path", "")
            arguments = mlflow_models.ArtifactNamed(path=str(path).strip("/"))
            upload: Upload | None = None
            if row.upload:
                upload = await receive(request, self._max_upload_bytes)

            def perform() -> Reply:
                return self._kernel.perform(
                    caller,
                    row.step,
                    arguments,
                    content=None if upload is None else upload.reader(),
                    request_id=str(request.state.request_id),
                )

            try:
                reply = await anyio.to_thread.run_sync(perform, limiter=self._limiter)
            finally:
                if upload is not None:
                    upload.close()
            if reply.chunks is not None:
                return Stream(
                    stream(reply.chunks, self._limiter),
                    media_type="application/octet-stream",
                    headers={"content-disposition": "attachment"},
                )
            return Response(msgspec.json.encode(reply.value), media_type=MEDIA_TYPE)

        return route(
            prefix + row.path.replace("{path}", "{path:path}"),
            http_method=[HttpMethod(row.method)],
            name=f"mlflow:{prefix}:{row.method}:{row.path}",
            status_code=200,
            exception_handlers={Exception: on_error},
        )(serve)

    def information(self, prefix: str) -> Any:  # noqa: ANN401 - a litestar handler
        """Return the handler that tells what the server can do: the same to everybody known."""

        async def serve(request: Request[Any, Any, Any]) -> Response[bytes]:
            await self._authenticate(request)
            return Response(msgspec.json.encode(mlflow.ServerInfo()), media_type=MEDIA_TYPE)

        return route(
            f"{prefix}/server-info",
            http_method=[HttpMethod.GET],
            name=f"mlflow:{prefix}:server-info",
            exception_handlers={Exception: on_error},
        )(serve)

    def missing(self, root: str) -> Any:  # noqa: ANN401 - a litestar handler
        """Return the handler of every other path below `root`."""

        async def serve(request: Request[Any, Any, Any]) -> Response[bytes]:
            await self._authenticate(request)
            raise NotFoundError("this part of MLflow's interface is not served", code=ENDPOINT_CODE)

        return route(
            f"{root}{{rest:path}}",
            http_method=_ANY,
            name=f"mlflow:{root}",
            exception_handlers={Exception: on_error},
        )(serve)

    async def _authenticate(self, request: Request[Any, Any, Any]) -> Caller:
        user, token = _credential(request.headers.get("authorization", ""))
        source = request.client.host if request.client is not None else "unix"
        request_id = str(request.state.request_id)

        def authenticate() -> Caller:
            caller = self._kernel.authenticate(token, source=source, request_id=request_id)
            if user is not None and not _same(user, caller):
                code = "identity.user"
                self._kernel.house.refusals.add(code=code, source=source, request_id=request_id)
                raise UnauthenticatedError("the key is not of this user", code=code)
            return caller

        try:
            return await anyio.to_thread.run_sync(authenticate, limiter=self._limiter)
        except WrongCredentialError as error:
            await asyncio.sleep(error.delay_s)
            raise


def _credential(header: str) -> tuple[str | None, Secret | None]:
    """Return the user that a client names, if it does, and the key that it presents.

    `Bearer KEY`, or `Basic` with the user's name and the key as password (old clients).
    """
    scheme, _, rest = header.partition(" ")
    if len(header) > MAX_TOKEN_BYTES or not rest:
        return None, None
    if scheme.lower() == "bearer":
        return None, Secret(rest.strip().encode())
    if scheme.lower() == "basic":
        try:
            user, found, key = base64.b64decode(rest.strip(), validate=True).partition(b":")
            if found:
                return user.decode(), Secret(key)
        except (binascii.Error, UnicodeDecodeError):
            return None, None
    return None, None


def _same(user: str, caller: Caller) -> bool:
    given = name_key(user).encode()
    return hmac.compare_digest(given, name_key(caller.name).encode()) or hmac.compare_digest(
        user.encode(), caller.id.encode()
    )


def _of_query(query: Any, arguments: type[Record]) -> dict[str, object]:  # noqa: ANN401 - litestar's MultiDict
    types = {field.name: field.type for field in msgspec.structs.fields(arguments)}
    given: dict[str, object] = {}
    for name, kind in types.items():
        values = query.getall(name) if name in query else []
        if values:
            given[name] = values if str(kind).startswith("tuple") else values[-1]
    return given


def _of_body(data: bytes) -> Mapping[str, object]:
    decoded = load_json(data or b"{}")
    if not isinstance(decoded, dict):
        raise InputError("the body is not a JSON object", code="request.body")
    return decoded


def _arguments(given: Mapping[str, object], type_: type[Record], *, strict: bool) -> Record:
    """Return the fields that we know; others, and null, are left out as MLflow does."""
    known = {field.name for field in msgspec.structs.fields(type_)}
    kept = {name: value for name, value in given.items() if name in known and value is not None}
    try:
        return msgspec.convert(_clean(kept), type_, strict=strict)
    except msgspec.ValidationError as error:
        raise InputError(str(error).lower(), code="request.arguments") from error


def _clean(values: Mapping[str, object]) -> dict[str, object]:
    """Drop what clients add to the members of lists, such as a metric's link to a data set."""
    out: dict[str, object] = {}
    for name, value in values.items():
        fields = _MEMBERS.get(name)
        if fields is not None and isinstance(value, list):
            out[name] = [
                {key: one[key] for key in fields if one.get(key) is not None}
                if isinstance(one, dict)
                else one
                for one in value
            ]
        else:
            out[name] = value
    return out


_MEMBERS = {
    "metrics": ("key", "value", "timestamp", "step"),
    "params": ("key", "value"),
    "tags": ("key", "value"),
}


def _perform(
    kernel: Kernel, caller: Caller, step: str, arguments: Record, request_id: str
) -> Record | None:
    """Perform a step, but let a few metrics join the bundle that is open for them."""
    if (
        isinstance(arguments, mlflow.RunLogBatch)
        and 0 < len(arguments.metrics) <= MAX_JOINING
        and not arguments.params
        and not arguments.tags
    ):
        step = "run.log-metric"
        arguments = mlflow.RunLogMetric(run_id=arguments.run_id, metrics=arguments.metrics)
    if isinstance(arguments, mlflow.RunLogMetric) and join(
        kernel.house, caller, run_id_of(arguments), points_of(arguments)
    ):
        return mlflow.Nothing()
    return kernel.perform(caller, step, arguments, request_id=request_id).value


def on_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer an error in MLflow's shape."""
    request_id = str(request.scope.get("state", {}).get("request_id", ""))
    if isinstance(error, VallumError):
        status, body, headers = problem_of(error, request_id)
    elif isinstance(error, HTTPException) and error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
        missing = NotFoundError("this part of MLflow's interface is not served", code=ENDPOINT_CODE)
        status, body, headers = problem_of(missing, request_id)
    elif isinstance(error, json.JSONDecodeError | UnicodeError):
        status, body, headers = problem_of(InputError("the body is malformed"), request_id)
    elif isinstance(error, TimeoutError):
        late = LimitExceededError("the request took too long", code="request.timeout")
        status, body, headers = problem_of(late, request_id)
    else:
        status, body, headers = internal_problem(request_id)
    return Response(
        body, status_code=status, headers=headers, media_type=headers.pop("content-type")
    )

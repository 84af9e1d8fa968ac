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
from vallum.base.bounds import MAX_TOKEN_BYTES
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
from vallum.workspace.steps.runs import metrics_of, points_of, run_id_of
from vallum.workspace.tracking.bundles import MAX_JOINING, join

_MAX_CREDENTIAL_CHARS = 2 * MAX_TOKEN_BYTES  # with the scheme, the user, and in base64
_INFORMATION = frozenset(f"{prefix}/server-info" for prefix in PREFIXES)
_ANY = [HttpMethod.GET, HttpMethod.POST, HttpMethod.PUT, HttpMethod.PATCH, HttpMethod.DELETE]


def make_handlers(
    kernel: Kernel, limiter: anyio.CapacityLimiter, max_upload_bytes: int
) -> list[Any]:
    """Return the route handlers of MLflow's protocol: one for all paths below each root.

    Args:
        kernel: Performs every step.
        limiter: Of threads.
        max_upload_bytes: How large a file may be.

    Raises:
        RuntimeError: A route names a step that does not exist (G2).
    """
    for row in (*MLFLOW_ROUTES, *FILE_ROUTES):
        kernel.require_step(row.step, row.arguments)
    door = _Door(kernel, limiter, max_upload_bytes)
    return [
        route(
            f"{root}{{rest:path}}",
            http_method=_ANY,
            name=f"mlflow:{root}",
            status_code=200,
            exception_handlers={Exception: on_error},
        )(door.handler())
        for root in ROOTS
    ]


def find_route(method: str, path: str) -> tuple[Route, dict[str, str]] | None:
    """Return the row of the table that serves a request, and what its path names.

    Which path is which is looked up here and not by the web framework, so that all else, a known
    path with another method too, is one answer that is given after authentication.
    """
    for prefix in PREFIXES:
        if path.startswith(f"{prefix}/"):
            return _in_table(method, path[len(prefix) :])
    for prefix in FILE_PREFIXES:
        if path == prefix or path.startswith(f"{prefix}/"):
            name = path[len(prefix) :].strip("/")
            for row in FILE_ROUTES:
                if row.method == method and bool(row.path) is bool(name):
                    return row, {"path": name} if name else {}
    return None


def _in_table(method: str, path: str) -> tuple[Route, dict[str, str]] | None:
    exact = _EXACT.get((method, path))
    if exact is not None:
        return exact, {}
    segments = path.split("/")
    for row, pattern in _PATTERNS:
        if row.method != method or len(pattern) != len(segments):
            continue
        pairs = list(zip(pattern, segments, strict=True))
        if all(given and (wanted[:1] == "{" or wanted == given) for wanted, given in pairs[1:]):
            return row, {wanted[1:-1]: given for wanted, given in pairs if wanted[:1] == "{"}
    return None


_EXACT = {(row.method, row.path): row for row in MLFLOW_ROUTES if "{" not in row.path}
_PATTERNS = [(row, row.path.split("/")) for row in MLFLOW_ROUTES if "{" in row.path]


class _Door:
    """Holds what every request works with."""

    def __init__(
        self, kernel: Kernel, limiter: anyio.CapacityLimiter, max_upload_bytes: int
    ) -> None:
        self._kernel = kernel
        self._limiter = limiter
        self._max_upload_bytes = max_upload_bytes

    def handler(self) -> Any:  # noqa: ANN401 - a function that litestar reads the signature of
        """Return the function that serves every path below a root."""

        async def serve(request: Request[Any, Any, Any]) -> Response[bytes] | Stream:
            caller = await self._authenticate(request)
            path = str(request.scope["path"])
            if request.method == "GET" and path in _INFORMATION:  # the same to everybody known
                return _json(mlflow.ServerInfo())
            found = find_route(str(request.method), path)
            if found is None:
                raise NotFoundError(
                    "this part of MLflow's interface is not served", code=ENDPOINT_CODE
                )
            row, named = found
            if row.arguments is mlflow_models.ArtifactNamed:
                return await self._file(request, caller, row, named)
            given: Mapping[str, object]
            if row.method == "GET":
                given = _of_query(request.query_params, row.arguments)
            else:
                given = _of_body(await request.body())
            arguments = _arguments({**given, **named}, row.arguments, strict=row.method != "GET")
            request_id = str(request.state.request_id)
            value = await anyio.to_thread.run_sync(
                lambda: _perform(self._kernel, caller, row.step, arguments, request_id),
                limiter=self._limiter,
            )
            return _json(value)

        return serve

    async def _file(
        self,
        request: Request[Any, Any, Any],
        caller: Caller,
        row: Route,
        named: Mapping[str, str],
    ) -> Response[bytes] | Stream:
        path = named.get("path") or str(request.query_params.get("path", ""))
        arguments = mlflow_models.ArtifactNamed(path=path.strip("/"))
        upload = (
            await receive(request, self._max_upload_bytes, self._kernel.house.folder)
            if row.upload
            else None
        )

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
        if reply.chunks is None:
            return _json(reply.value)
        return Stream(
            stream(reply.chunks, self._limiter),
            media_type="application/octet-stream",
            headers={"content-disposition": "attachment"},
        )

    async def _authenticate(self, request: Request[Any, Any, Any]) -> Caller:
        user, token = credential_of(request.headers.get("authorization", ""))
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


def _json(value: Record | None) -> Response[bytes]:
    return Response(msgspec.json.encode(value), media_type=MEDIA_TYPE)


def credential_of(header: str) -> tuple[str | None, Secret | None]:
    """Return the user that a client names, if it does, and the key that it presents.

    `Bearer KEY`, or `Basic` with the user's name and the key as password (old clients).
    """
    scheme, _, rest = header.partition(" ")
    if len(header) > _MAX_CREDENTIAL_CHARS or not rest:
        return None, None
    if scheme.lower() == "bearer":
        return None, Secret(rest.strip().encode())
    if scheme.lower() == "basic":
        try:
            user, found, key = base64.b64decode(rest.strip().encode(), validate=True).partition(
                b":"
            )
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
    "metrics": (
        "key",
        "value",
        "timestamp",
        "step",
        "model_id",
        "dataset_name",
        "dataset_digest",
    ),
    "params": ("key", "value"),
    "tags": ("key", "value"),
}


def _perform(
    kernel: Kernel, caller: Caller, step: str, arguments: Record, request_id: str
) -> Record | None:
    """Perform a step, but let a few metrics join the bundle that is open for them."""
    if isinstance(arguments, mlflow.RunLogMetric | mlflow.RunLogBatch):
        step, arguments = _of_metrics(step, arguments)
    if isinstance(arguments, mlflow.RunLogMetric) and join(
        kernel.house, caller, run_id_of(arguments), points_of(arguments)
    ):
        return mlflow.Nothing()
    return kernel.perform(caller, step, arguments, request_id=request_id).value


def _of_metrics(
    step: str, arguments: mlflow.RunLogMetric | mlflow.RunLogBatch
) -> tuple[str, mlflow.RunLogMetric | mlflow.RunLogBatch]:
    """Return the step for metrics: a batch for those of a logged model, else a bundle for few."""
    if isinstance(arguments, mlflow.RunLogMetric):
        given = metrics_of(arguments)
        if any(one.model_id for one in given):
            run_id = run_id_of(arguments)
            return "run.log-batch", mlflow.RunLogBatch(run_id=run_id, metrics=given)
        return step, arguments
    few = 0 < len(arguments.metrics) <= MAX_JOINING
    if few and not (
        arguments.params or arguments.tags or any(one.model_id for one in arguments.metrics)
    ):
        return "run.log-metric", mlflow.RunLogMetric(
            run_id=arguments.run_id, metrics=arguments.metrics
        )
    return step, arguments


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

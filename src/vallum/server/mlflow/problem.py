"""Errors in MLflow's shape: `{"error_code": …, "message": …}`, with Vallum's code beside them.

Source: MLflow 3, `mlflow/protos/databricks.proto` (`ErrorCode`) and `mlflow/exceptions.py`.
"""

from http import HTTPStatus

import msgspec

from vallum.base import (
    ConflictError,
    GateError,
    InputError,
    LimitExceededError,
    NotFoundError,
    RefusedError,
    SealedError,
    UnauthenticatedError,
    UnavailableError,
    VallumError,
)
from vallum.schema import Reason
from vallum.server.problem import missing_of

MEDIA_TYPE = "application/json"
ROOTS = ("/api/2.0/", "/api/3.0/", "/ajax-api/2.0/", "/ajax-api/3.0/")
"""Paths that MLflow's clients ask, served or not."""
_SIGN_IN = "set MLFLOW_TRACKING_TOKEN to a key from `vallum key create`"
ENDPOINT_CODE = "mlflow.endpoint"
_CODES: tuple[tuple[type[VallumError], str], ...] = (
    (InputError, "INVALID_PARAMETER_VALUE"),
    (UnauthenticatedError, "UNAUTHENTICATED"),
    (RefusedError, "PERMISSION_DENIED"),
    (NotFoundError, "RESOURCE_DOES_NOT_EXIST"),
    (ConflictError, "RESOURCE_ALREADY_EXISTS"),
    (LimitExceededError, "INVALID_PARAMETER_VALUE"),
    (SealedError, "TEMPORARILY_UNAVAILABLE"),
    (UnavailableError, "TEMPORARILY_UNAVAILABLE"),
    (GateError, "INVALID_STATE"),
)


class MlflowProblem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error as an MLflow client reads it."""

    error_code: str
    message: str
    code: str
    request_id: str
    missing: tuple[Reason, ...] = ()


def problem_of(error: VallumError, request_id: str) -> tuple[int, bytes, dict[str, str]]:
    """Return status, body and headers for an error that Vallum raised on purpose."""
    status = error.status
    named = next((code for kind, code in _CODES if isinstance(error, kind)), "INTERNAL_ERROR")
    headers = {"content-type": MEDIA_TYPE}
    if error.code == ENDPOINT_CODE:
        named = "ENDPOINT_NOT_FOUND"
    if isinstance(error, LimitExceededError) and error.retry_after_s is not None:
        status, named = HTTPStatus.TOO_MANY_REQUESTS.value, "REQUEST_LIMIT_EXCEEDED"
        headers["retry-after"] = str(max(1, round(error.retry_after_s)))
    if status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = 'Bearer realm="vallum", Basic realm="vallum"'
    hint = _SIGN_IN if isinstance(error, UnauthenticatedError) else error.hint
    text = f"{error.message} ({hint})" if hint else error.message
    return status, _body(named, text, error.code, request_id, missing_of(error)), headers


def internal_problem(request_id: str) -> tuple[int, bytes, dict[str, str]]:
    """Return the error for anything unexpected: an id, and nothing of the cause."""
    text = f"something went wrong on the server; give request id {request_id} to the operator"
    body = _body("INTERNAL_ERROR", text, "internal", request_id)
    return 500, body, {"content-type": MEDIA_TYPE}


def _body(
    named: str, message: str, code: str, request_id: str, missing: tuple[Reason, ...] = ()
) -> bytes:
    return msgspec.json.encode(
        MlflowProblem(
            error_code=named, message=message, code=code, request_id=request_id, missing=missing
        )
    )

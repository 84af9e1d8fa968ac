"""Errors on the wire: RFC 9457 problems. What is internal stays in the log, under the id."""

from http import HTTPStatus

import msgspec

from vallum.base import LimitExceededError, RefusedError, VallumError
from vallum.schema import Reason
from vallum.schema.api import Problem

MEDIA_TYPE = "application/problem+json"
_TITLES = {
    400: "Bad input",
    401: "Not authenticated",
    403: "Refused",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Too large",
    422: "A gate failed",
    429: "Too many requests",
    500: "Internal error",
    503: "Unavailable",
}


def problem_of(error: VallumError, request_id: str) -> tuple[int, bytes, dict[str, str]]:
    """Return status, body and headers for an error that Vallum raised on purpose."""
    status = error.status
    headers = {"content-type": MEDIA_TYPE}
    if isinstance(error, LimitExceededError) and error.retry_after_s is not None:
        status = HTTPStatus.TOO_MANY_REQUESTS.value
        headers["retry-after"] = str(max(1, round(error.retry_after_s)))
    if status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = 'Bearer realm="vallum"'
    body = Problem(
        type=f"urn:vallum:error:{error.code}",
        title=_TITLES.get(status, "Error"),
        status=status,
        detail=error.message,
        code=error.code,
        hint=error.hint,
        request_id=request_id,
        missing=missing_of(error),
    )
    return status, msgspec.json.encode(body), headers


def missing_of(error: VallumError) -> tuple[Reason, ...]:
    """Return what a refusal says would be needed."""
    told = error.missing if isinstance(error, RefusedError) else ()
    return tuple(Reason(kind=kind, id=identity, text=text) for kind, identity, text in told)


def internal_problem(request_id: str) -> tuple[int, bytes, dict[str, str]]:
    """Return the problem for anything unexpected: an id, and nothing of the cause."""
    body = Problem(
        type="urn:vallum:error:internal",
        title=_TITLES[500],
        status=500,
        detail="something went wrong on the server; nothing was changed",
        code="internal",
        hint=f"give request id {request_id} to the operator",
        request_id=request_id,
    )
    return 500, msgspec.json.encode(body), {"content-type": MEDIA_TYPE}

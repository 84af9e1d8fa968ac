"""Every error that leaves a room of Vallum.

    VallumError
    ├── InputError            the caller sent something unusable; change it
    ├── UnauthenticatedError  no, wrong, expired or revoked credential
    ├── RefusedError          authenticated, but policy says no
    ├── NotFoundError         does not exist, or its existence is not the caller's to know
    ├── ConflictError         the state moved or the name is taken; look again
    ├── LimitExceededError    a bound, rate, quota or budget would be exceeded
    ├── IntegrityError        bytes, rows or history are not what was recorded; stop
    ├── SealedError           the key provider is closed
    ├── UnavailableError      a part is down; nothing was written; try again later
    └── GateError             a gate failed or could not finish

One class per reaction of the caller; what exactly happened is the `code`. A foreign exception
that leaves a room is a bug.
"""

from collections.abc import Sequence
from typing import ClassVar


class VallumError(Exception):
    """The base of all errors that Vallum raises on purpose.

    Attributes:
        code: Stable, dotted and lower case, for machines (`asset.digest-mismatch`).
        message: Lower case, no full stop, no secret, no type name.
        hint: The next command to type or thing to change; empty if there is none.
        request_id: What a server called the request that it refused, for its operator's log.
    """

    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 4
    default_code: ClassVar[str] = "internal"
    request_id: str = ""

    def __init__(self, message: str, *, code: str | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = self.default_code if code is None else code
        self.hint = hint


class InputError(VallumError):
    """The input is malformed, out of range or inconsistent."""

    status = 400
    exit_code = 2
    default_code = "input.invalid"


class UnauthenticatedError(VallumError):
    """The caller did not prove who it is. Never says which part was wrong."""

    status = 401
    exit_code = 3
    default_code = "identity.unauthenticated"


class RefusedError(VallumError):
    """Policy refused the request.

    Attributes:
        missing: What would be needed, all of it and for machines: kind (`requirement`: evidence
            or approvals; else a right), id (of the gate; else empty), and a sentence.
    """

    status = 403
    exit_code = 3
    default_code = "policy.refused"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        hint: str = "",
        missing: Sequence[tuple[str, str, str]] = (),
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.missing = tuple(missing)


class NotFoundError(VallumError):
    """The thing does not exist for this caller."""

    status = 404
    exit_code = 2
    default_code = "resource.not-found"


class ConflictError(VallumError):
    """The state is not the one that the request presumes."""

    status = 409
    exit_code = 2
    default_code = "resource.conflict"


class LimitExceededError(VallumError):
    """A bound on size, depth, count, rate or budget would be exceeded.

    Attributes:
        retry_after_s: Seconds after which the same request may pass, if waiting helps.
    """

    status = 413
    exit_code = 2
    default_code = "limit.exceeded"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        hint: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.retry_after_s = retry_after_s


class IntegrityError(VallumError):
    """Stored or received bytes are not those that were recorded."""

    status = 500
    exit_code = 5
    default_code = "integrity.broken"


class SealedError(VallumError):
    """The key provider does not open."""

    status = 503
    exit_code = 4
    default_code = "crypto.sealed"


class UnavailableError(VallumError):
    """A part that the request needs is not there now; nothing was changed."""

    status = 503
    exit_code = 4
    default_code = "unavailable"


class GateError(VallumError):
    """A gate failed, or could not come to a verdict."""

    status = 422
    exit_code = 1
    default_code = "gate.failed"

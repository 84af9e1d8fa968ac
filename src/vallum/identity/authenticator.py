"""From a presented token to a caller. One refusal text for every cause.

What must hold, in this order (all wrong answers cost the same work):
1. the (account, source) pair is not locked out;
2. the token has the form and its credential exists;
3. the keyed hash of the secret equals the stored one, in constant time;
4. the credential is neither revoked nor expired, nor is the one that a session was opened with;
5. its principal exists and is not disabled.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec

from vallum.base import (
    LimitExceededError,
    Secret,
    UnauthenticatedError,
    parse_timestamp,
)
from vallum.crypto import hash_credential
from vallum.identity.directory import make_caller
from vallum.identity.throttle import Throttle
from vallum.identity.token import parse
from vallum.schema import Caller, Credential, Principal, Session

_TEXT = "the credential is missing, wrong, expired or revoked"
_HINT = "set VALLUM_TOKEN or pass --token-file; `vallum key create` makes a new key"
_NOBODY = Secret(b"no credential has this secret")


@dataclass(frozen=True, slots=True)
class Directory:
    """The authority rows that authentication reads, of one authority generation."""

    credentials: Mapping[str, Credential]
    principals: Mapping[str, Principal]
    parents: Mapping[str, tuple[str, ...]]
    generation: int


class Authenticator:
    """Holds the credential key and the failure counts between calls."""

    def __init__(self, key: Secret, throttle: Throttle) -> None:
        self._key = key
        self._throttle = throttle

    def authenticate(
        self, token: Secret | None, *, source: str, directory: Directory, now: datetime
    ) -> tuple[Caller, Credential]:
        """Return who presents `token`.

        Args:
            token: What the client sent; None if nothing.
            source: Network address, the second half of the lock-out pair.
            directory: Checked authority rows.
            now: For expiry.

        Raises:
            LimitExceededError: The pair is locked out; `retry_after_s` says for how long.
            UnauthenticatedError: Anything else. `delay_s` on it is how long the door waits
                before it answers.
        """
        presented = None if token is None else parse(token)
        account = "-" if presented is None else presented.credential_id
        # 1. What is no token at all guesses no secret: it is delayed, but locks nobody out.
        wait_s = 0.0 if presented is None else self._throttle.locked_for_s(account, source)
        if wait_s > 0.0:
            raise LimitExceededError(
                "too many wrong credentials from this address",
                code="identity.locked-out",
                retry_after_s=wait_s,
            )
        # 2.
        credential = directory.credentials.get(account)
        secret = _NOBODY if presented is None else presented.secret
        computed = hash_credential(self._key, secret)
        stored = bytes(32) if credential is None else bytes.fromhex(credential.secret_hash)
        # 3.
        equal = hmac.compare_digest(computed, stored)
        # 4. and 5.
        principal = (
            None if credential is None else directory.principals.get(credential.principal_id)
        )
        if (
            presented is None
            or credential is None
            or not equal
            or not _in_force(credential, directory, now)
            or principal is None
            or principal.disabled
        ):
            raise WrongCredentialError(delay_s=self._throttle.fail(account, source))
        self._throttle.succeed(account, source)
        caller = make_caller(
            principal,
            directory.parents,
            session=Session(credential.kind),
            credential_id=credential.id,
            key_actions=credential.actions,
            key_scope=credential.scope,
        )
        return caller, credential


class WrongCredentialError(UnauthenticatedError):
    """The one refusal of authentication, with the delay that the door must keep."""

    def __init__(self, *, delay_s: float) -> None:
        super().__init__(_TEXT, hint=_HINT)
        self.delay_s = delay_s


def with_secret(credential: Credential, *, key: Secret, secret: Secret) -> Credential:
    """Return `credential` with the keyed hash of `secret` in it."""
    hashed = hash_credential(key, secret).hex()
    return msgspec.structs.replace(credential, secret_hash=hashed)


def _in_force(credential: Credential, directory: Directory, now: datetime) -> bool:
    if credential.revoked_at:
        return False
    if credential.made_with:
        origin = directory.credentials.get(credential.made_with)
        if origin is None or origin.made_with or not _in_force(origin, directory, now):
            return False
    return not credential.expires_at or now < parse_timestamp(credential.expires_at)

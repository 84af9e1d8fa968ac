"""From a presented token to a caller. One refusal text for every cause.

What must hold, in this order (all wrong answers cost the same work):
1. the (account, source) pair is not locked out;
2. the token has the form and its credential exists;
3. the keyed hash of the secret equals the stored one, in constant time;
4. the credential is neither revoked nor expired, nor is the one that a session was opened with;
5. its principal exists and is not disabled.

A token of another issuer has no secret here: instead of 2. and 3. a federated credential names its
issuer, subject and audience, and one of the issuer's keys signed it. Likewise a client certificate,
by its authority and a name in it; it counts only where no token was sent.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import msgspec
import structlog

from vallum.base import (
    LimitExceededError,
    Secret,
    UnauthenticatedError,
    VallumError,
    parse_timestamp,
    timestamp,
)
from vallum.crypto import hash_credential
from vallum.crypto.clients import client_names, verify_client
from vallum.identity import certified, federated
from vallum.identity.directory import make_caller
from vallum.identity.issuers import Issuers, read_keys
from vallum.identity.throttle import Throttle
from vallum.identity.token import parse
from vallum.schema import Caller, Credential, Principal, Session

_LOG = structlog.get_logger("vallum.identity")
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
    federated: Mapping[tuple[str, str], tuple[Credential, ...]] = field(default_factory=dict)
    # by issuer and subject


class Authenticator:
    """Holds the credential key and the failure counts between calls."""

    def __init__(self, key: Secret, throttle: Throttle, issuers: Issuers) -> None:
        self._key = key
        self._throttle = throttle
        self._issuers = issuers

    def authenticate(
        self,
        token: Secret | None,
        *,
        source: str,
        directory: Directory,
        now: datetime,
        certificate: bytes = b"",
    ) -> tuple[Caller, Credential]:
        """Return who presents `token`, or a certificate.

        Args:
            token: What the client sent; None if nothing.
            source: Network address, the second half of the lock-out pair.
            directory: Checked authority rows.
            now: For expiry.
            certificate: DER, of the client on a connection of mutual TLS.

        Raises:
            LimitExceededError: The pair is locked out; `retry_after_s` says for how long.
            UnauthenticatedError: Anything else. `delay_s` on it is how long the door waits
                before it answers.
        """
        if token is None and certificate:
            return self._certified(certificate, source=source, directory=directory, now=now)
        if token is not None and (said := federated.read(token)) is not None:
            return self._vouched(said, source=source, directory=directory, now=now)
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
            or credential.issuer
            or not equal
            or not _in_force(credential, directory, now)
            or principal is None
            or principal.disabled
        ):
            raise WrongCredentialError(delay_s=self._throttle.fail(account, source))
        self._throttle.succeed(account, source)
        return _caller(credential, principal, directory), credential

    def _vouched(
        self, said: federated.Said, *, source: str, directory: Directory, now: datetime
    ) -> tuple[Caller, Credential]:
        """Return who another issuer's token is for; the credential ends when the token does."""
        for credential in directory.federated.get((said.issuer, said.subject), ()):
            if certified.is_certified(credential):
                continue  # a token says it comes from an authority of certificates
            if (principal := _acting(credential, directory, now)) is None:
                continue
            if (expires := self._verified(said, credential, now)) is not None:
                return _ending(credential, expires, _caller(credential, principal, directory))
        raise WrongCredentialError(delay_s=self._throttle.fail("-", source))

    def _certified(
        self, certificate: bytes, *, source: str, directory: Directory, now: datetime
    ) -> tuple[Caller, Credential]:
        """Return who a certificate is for; the credential ends when the certificate does."""
        names = client_names(certificate)
        for (issuer, subject), credentials in directory.federated.items():
            if subject not in names or not issuer.startswith(certified.SCHEME):
                continue
            for credential in credentials:
                if (principal := _acting(credential, directory, now)) is None:
                    continue
                expires = verify_client(certificate, credential.public_keys, name=subject, now=now)
                if expires is not None:
                    return _ending(credential, expires, _caller(credential, principal, directory))
        raise WrongCredentialError(delay_s=self._throttle.fail("-", source))

    def _verified(
        self, said: federated.Said, credential: Credential, now: datetime
    ) -> datetime | None:
        try:
            if credential.public_keys:
                keys = read_keys(credential.public_keys.encode())
            else:
                keys = self._issuers.keys(said.issuer)
                if not federated.has_key(said, keys):
                    keys = self._issuers.keys(said.issuer, missing=True)
        except VallumError as error:  # what is the matter is not the caller's to know
            _LOG.warning("a token cannot be checked", credential=credential.id, code=error.code)
            return None
        return federated.verify(said, keys, audience=credential.audience, now=now)


class WrongCredentialError(UnauthenticatedError):
    """The one refusal of authentication, with the delay that the door must keep."""

    def __init__(self, *, delay_s: float) -> None:
        super().__init__(_TEXT, hint=_HINT)
        self.delay_s = delay_s


def _caller(credential: Credential, principal: Principal, directory: Directory) -> Caller:
    return make_caller(
        principal,
        directory.parents,
        session=Session(credential.kind),
        credential_id=credential.id,
        key_actions=credential.actions,
        key_scope=credential.scope,
    )


def _acting(credential: Credential, directory: Directory, now: datetime) -> Principal | None:
    """Return who a federated credential acts as now; nobody if it is not in force."""
    principal = directory.principals.get(credential.principal_id)
    if principal is None or principal.disabled or not _in_force(credential, directory, now):
        return None
    return principal


def _ending(credential: Credential, at: datetime, caller: Caller) -> tuple[Caller, Credential]:
    ends = min(filter(None, (credential.expires_at, timestamp(at))))
    return caller, msgspec.structs.replace(credential, expires_at=ends)


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

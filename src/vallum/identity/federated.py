"""Tokens of other issuers (OpenID Connect): who vouches for whom, and is it so.

A token counts only where a federated credential names its issuer, its subject and its audience.
Checked as RFC 7519 and RFC 8725 say: algorithms by the kind of the key and never by the token, no
key that the token brings along, times, type. A token that is bound to a key of its sender (RFC
7800) is refused, for nothing here can check that.
"""

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from joserfc import jws
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwk import ECKey, OKPKey, RSAKey, import_key

from vallum.base import Secret, VallumError
from vallum.base.bounds import MAX_TOKEN_BYTES
from vallum.formats import load_json
from vallum.identity.issuers import Keys

LEEWAY: Final = timedelta(seconds=60)
LONGEST: Final = timedelta(hours=24)
_TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})
_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_MIN_RSA_BITS: Final = 2048
_MIN_RSA_CHARS: Final = _MIN_RSA_BITS // 6  # in base64; joserfc warns of shorter ones
_CURVES: Final = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
_EDWARDS: Final = ("EdDSA", "Ed25519")


class _Registry(jws.JWSRegistry):
    """Allows what a key may sign by, and does not warn of `EdDSA`, as issuers call Ed25519."""

    max_header_length = MAX_TOKEN_BYTES

    def get_alg(self, name: str) -> Any:  # noqa: ANN401 - joserfc keeps the type to itself
        if name not in (self.allowed or ()):
            raise UnsupportedAlgorithmError(f"`{name[:20]}` is not what this key signs by")
        return self.algorithms[name]


@dataclass(frozen=True, slots=True)
class Said:
    """What a token says before anything of it is checked."""

    issuer: str
    subject: str
    key_id: str
    text: str


def read(token: Secret) -> Said | None:
    """Read what a token says of itself; None if it has not the form of one."""
    data = token.reveal()
    parts = data.split(b".")
    if len(data) > MAX_TOKEN_BYTES or len(parts) != 3 or not all(parts):  # noqa: PLR2004 - RFC 7515, 3.1
        return None
    try:
        header, claims = (_json(part) for part in parts[:2])
        text = data.decode("ascii")
    except (VallumError, binascii.Error, TypeError, ValueError):
        return None
    issuer, subject, key_id = claims.get("iss"), claims.get("sub"), header.get("kid", "")
    if not (isinstance(issuer, str) and isinstance(subject, str) and isinstance(key_id, str)):
        return None
    return Said(issuer=issuer, subject=subject, key_id=key_id, text=text)


def _json(part: bytes) -> dict[str, Any]:
    held = load_json(
        base64.b64decode(part + b"=" * (-len(part) % 4), altchars=b"-_", validate=True)
    )
    if not isinstance(held, dict):
        raise TypeError("not an object")
    return held


def has_key(said: Said, keys: Keys) -> bool:
    """Tell whether one of the keys may have signed what is said."""
    return bool(_candidates(said, keys))


def verify(said: Said, keys: Keys, *, audience: str, now: datetime) -> datetime | None:
    """Return when a token expires; None if it is not good, whatever the reason.

    Args:
        said: From `read`.
        keys: Public keys of the issuer that it names.
        audience: Whom it must be for.
        now: For its times.
    """
    for key, algorithms in _candidates(said, keys):
        registry = _Registry(algorithms=list(algorithms), strict_check_header=False)
        try:
            signed = jws.deserialize_compact(said.text, key, registry=registry)
            claims = load_json(signed.payload)
        except (JoseError, VallumError, ValueError):
            continue
        header = signed.headers()
        if header.keys() & {"crit", "b64"} or not _is_type(header.get("typ")):
            continue
        if claims.get("iss") != said.issuer or claims.get("sub") != said.subject:
            continue
        return _expiry(claims, audience=audience, now=now)
    return None


def _candidates(said: Said, keys: Keys) -> list[tuple[RSAKey | ECKey | OKPKey, tuple[str, ...]]]:
    """Return the keys that the token may be signed with, each with what it may sign by."""
    named = [one for one in keys if one.get("kid", "") == said.key_id] if said.key_id else keys
    usable = (_usable(one) for one in named)
    found = [one for one in usable if one is not None]
    return found if said.key_id or len(found) == 1 else []


def _usable(
    document: Mapping[str, Any],
) -> tuple[RSAKey | ECKey | OKPKey, tuple[str, ...]] | None:
    """Import a public key for signatures; None if it is another."""
    if document.get("use", "sig") != "sig" or document.get("kty") not in {"RSA", "EC", "OKP"}:
        return None
    if document["kty"] == "RSA" and len(str(document.get("n", ""))) < _MIN_RSA_CHARS:
        return None
    try:
        key = import_key(dict(document))
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    algorithms: Iterable[str] = ()
    if isinstance(key, RSAKey) and key.public_key.key_size >= _MIN_RSA_BITS:
        algorithms = _RSA
    elif isinstance(key, ECKey) and document.get("crv") in _CURVES:
        algorithms = (_CURVES[document["crv"]],)
    elif isinstance(key, OKPKey) and document.get("crv") == "Ed25519":
        algorithms = _EDWARDS
    else:
        return None
    own = document.get("alg")
    allowed = tuple(one for one in algorithms if own is None or one == own)
    return (key, allowed) if allowed else None


def _is_type(said: object) -> bool:
    return said is None or (isinstance(said, str) and said.lower() in _TYPES)


def _expiry(claims: Mapping[str, Any], *, audience: str, now: datetime) -> datetime | None:
    meant = claims.get("aud")
    if audience not in (meant if isinstance(meant, list) else [meant]) or "cnf" in claims:
        return None
    times = [_time(claims.get(name)) for name in ("exp", "nbf", "iat")]
    expires, *begins = times
    if expires is None or expires + LEEWAY <= now or expires > now + LONGEST + LEEWAY:
        return None
    for name, begin in zip(("nbf", "iat"), begins, strict=True):
        if name in claims and (begin is None or begin > now + LEEWAY):
            return None
    return expires


def _time(said: object) -> datetime | None:
    """Return a NumericDate (RFC 7519, section 2); None if it is none."""
    if isinstance(said, bool) or not isinstance(said, int | float):
        return None
    try:
        return datetime.fromtimestamp(said, tz=UTC)
    except (OverflowError, OSError, ValueError):
        return None

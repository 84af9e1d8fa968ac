"""Signing keys in a PKCS#11 token: a smart card, an HSM, or SoftHSM. The key never leaves it.

Source: OASIS PKCS#11 v3.1; RFC 5480 and RFC 8410 for the public halves.
"""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, Hash

from vallum.base import InputError, Secret, UnavailableError
from vallum.crypto.signing import VerifyKey

if TYPE_CHECKING:
    import pkcs11

_PART = re.compile(r"^(token|object|id)=([^;]{1,512})$")
_OCTETS, _P256_POINT, _ED25519_POINT = 0x04, 65, 32
_HALF = 32
# Logging in is a matter of the process, not of the session: a second login while one stands fails,
# and closing the first would log the second out.
_ALONE = threading.Lock()


class TokenKey:
    """A private key in a token; signs there. Its repr shows the public half's id.

    Args:
        module: The token's library, such as `/usr/lib/softhsm/libsofthsm2.so`.
        uri: Which key, in the form of RFC 7512: `pkcs11:token=NAME;object=LABEL`, `id=%01` instead
            of or besides `object`.
        pin: Of the token's user. It is given to the library and to nothing else.

    Raises:
        InputError: Code `crypto.token-*`: the URI is malformed, or names no key or several.
        UnavailableError: The library, the token or the PIN does not open.
    """

    __slots__ = ("_kind", "_module", "_pin", "_public", "_uri")

    def __init__(self, module: Path, uri: str, pin: Secret) -> None:
        self._module = module
        self._uri = _parse(uri)
        self._pin = pin
        with self._session() as session:
            self._public = _public(session, self._uri)
            self._private(session)

    @property
    def verify_key(self) -> VerifyKey:
        """Return the public half."""
        return self._public

    def sign(self, data: bytes) -> bytes:
        """Sign `data` in the token: Ed25519, or ECDSA over P-256 with SHA-256.

        Raises:
            UnavailableError: The token refuses.
        """
        from pkcs11 import Mechanism

        with self._session() as session:
            key = self._private(session)
            if self._public.is_ed25519:
                return bytes(key.sign(data, mechanism=Mechanism.EDDSA))
            digest = Hash(SHA256())
            digest.update(data)
            raw = bytes(key.sign(digest.finalize(), mechanism=Mechanism.ECDSA))
        return encode_dss_signature(
            int.from_bytes(raw[:_HALF], "big"), int.from_bytes(raw[_HALF:], "big")
        )

    @contextmanager
    def _session(self) -> "Iterator[pkcs11.Session]":
        try:
            import pkcs11
        except ImportError as error:
            raise UnavailableError(
                "reading tokens needs the package python-pkcs11",
                code="crypto.token",
                hint="pip install 'vallum[pkcs11]'",
            ) from error
        try:
            with _ALONE:
                library = pkcs11.lib(str(self._module))
                token = library.get_token(token_label=self._uri["token"])
                with token.open(user_pin=self._pin.reveal().decode()) as session:
                    yield session
        except pkcs11.exceptions.PinIncorrect as error:
            raise UnavailableError(
                "the token does not open with this PIN",
                code="crypto.token-pin",
                hint="a token locks itself after a few wrong ones",
            ) from error
        except (pkcs11.exceptions.PKCS11Error, RuntimeError, UnicodeDecodeError) as error:
            raise UnavailableError(
                f"the token `{self._uri['token'][:80]}` cannot be used: {type(error).__name__}",
                code="crypto.token",
                hint=f"does `{self._module}` exist, and is the token plugged in?",
            ) from error

    def _private(self, session: "pkcs11.Session") -> Any:  # noqa: ANN401 - the library's mixed classes
        from pkcs11 import ObjectClass

        return _one(session, ObjectClass.PRIVATE_KEY, self._uri)

    def __repr__(self) -> str:
        return f"<token key {self._public.id[:16]}>"


def _parse(uri: str) -> dict[str, str]:
    parts = uri.removeprefix("pkcs11:").split(";")
    found = [_PART.match(part) for part in parts]
    names = {match.group(1): unquote(match.group(2), "latin-1") for match in found if match}
    if not uri.startswith("pkcs11:") or None in found or len(names) != len(parts):
        raise InputError(
            "the key's URI is not understood", code="crypto.token-uri",
            hint="pkcs11:token=NAME;object=LABEL; never with a PIN",
        )  # fmt: skip
    if "token" not in names or not {"object", "id"} & names.keys():
        raise InputError(
            "the key's URI names no token, or no key", code="crypto.token-uri",
            hint="pkcs11:token=NAME;object=LABEL",
        )  # fmt: skip
    return names


def _one(session: "pkcs11.Session", kind: "pkcs11.ObjectClass", uri: dict[str, str]) -> Any:  # noqa: ANN401 - the library's mixed classes
    from pkcs11 import Attribute

    wanted: dict[Any, Any] = {Attribute.CLASS: kind}
    if "object" in uri:
        wanted[Attribute.LABEL] = uri["object"]
    if "id" in uri:
        wanted[Attribute.ID] = uri["id"].encode("latin-1")
    found = list(session.get_objects(wanted))
    if len(found) != 1:
        count = "no key" if not found else f"{len(found)} keys"
        raise InputError(
            f"the token holds {count} of that name", code="crypto.token-key",
            hint="pkcs11-tool --list-objects; name it by `id=%XX` too",
        )  # fmt: skip
    return found[0]


def _public(session: "pkcs11.Session", uri: dict[str, str]) -> VerifyKey:
    from pkcs11 import Attribute, ObjectClass

    point = bytes(_one(session, ObjectClass.PUBLIC_KEY, uri)[Attribute.EC_POINT])
    if len(point) > 2 and point[0] == _OCTETS and point[1] == len(point) - 2:  # noqa: PLR2004 - its header
        point = point[2:]
    try:
        if len(point) == _ED25519_POINT:
            return VerifyKey(ed25519.Ed25519PublicKey.from_public_bytes(point))
        if len(point) == _P256_POINT:
            curve = ec.SECP256R1()
            return VerifyKey(ec.EllipticCurvePublicKey.from_encoded_point(curve, point))
    except ValueError as error:
        raise InputError("the key is neither Ed25519 nor P-256", code="crypto.key-kind") from error
    raise InputError("the key is neither Ed25519 nor P-256", code="crypto.key-kind")

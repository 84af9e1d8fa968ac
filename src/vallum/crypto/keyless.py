"""Keyless signatures (Sigstore): made by its services, verified without the network.

Signing and verifying are `sigstore`'s. Signing: Fulcio gives a certificate of ten minutes to whom
an OpenID provider's token names, for a key that is drawn for this one signature; the certificate
log and Rekor record both. Verifying: the certificate leads to Fulcio's root at the time that the
log or a time stamp attests, its SCT is a known log's, the entry is in Rekor's tree, and its owner
is who must have signed.

Source: Sigstore client specification; sigstore-python.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from vallum.base import InputError, IntegrityError, Secret, UnavailableError, VallumError
from vallum.crypto.model_signing import (
    MAX_BUNDLE_BYTES,
    PAYLOAD_TYPE,
    check_statement,
    manifest_statement,
)

if TYPE_CHECKING:
    from sigstore.models import ClientTrustConfig, TrustedRoot
    from sigstore.oidc import IdentityToken

_TRUST_CONFIG = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_OWN = "--trust-config FILE names the services of a Sigstore of your own"


class _Service(msgspec.Struct, frozen=True):
    url: str


class _Services(msgspec.Struct, frozen=True, rename="camel"):
    ca_urls: tuple[_Service, ...] = ()
    oidc_urls: tuple[_Service, ...] = ()
    rekor_tlog_urls: tuple[_Service, ...] = ()
    tsa_urls: tuple[_Service, ...] = ()


class _Config(msgspec.Struct, frozen=True, rename="camel"):
    signing_config: _Services


class _Kind(msgspec.Struct, frozen=True, rename="camel"):
    media_type: str = ""


@dataclass(frozen=True, slots=True)
class KeylessSignature:
    """A signature that was made, and verified again.

    Attributes:
        bundle: Sigstore bundle around the model signature.
        identity: Who signed, as the certificate says: what verifiers must ask for.
        issuer: The OpenID provider that said so.
    """

    bundle: bytes
    identity: str
    issuer: str


def sign_keyless(
    name: str,
    files: Mapping[str, str],
    *,
    token: Secret | None,
    trust_config: Path | None,
    timeout_s: float = 120.0,
) -> KeylessSignature:
    """Sign a model given as path to SHA-256 (hexadecimal), through Sigstore's services.

    The bytes go to nobody. Rekor is sent the model's name and the paths and digests of its files,
    and records a digest of that beside the identity and the issuer: for ever and for everybody,
    if the services are public ones.

    Args:
        name: Of the model.
        files: Every file, by its path within the model.
        token: OpenID token for the audience `sigstore`; None: what the surroundings offer, such as
            a workflow of GitHub or GitLab.
        trust_config: Sigstore's client trust configuration: where its services are and which keys
            they have; None: the public ones.
        timeout_s: For all services together.

    Raises:
        InputError: There is no token, or it or the configuration is malformed.
        UnavailableError: A service cannot be reached, or refuses.
        IntegrityError: What the services gave does not verify.
    """
    try:
        from sigstore.dsse import Statement
        from sigstore.sign import SigningContext
    except ImportError as error:
        raise _missing("signing") from error
    statement = manifest_statement(name, files)
    given = _token(token)
    made: list[KeylessSignature] = []
    failed: list[Exception] = []

    def ask() -> None:
        try:
            config = _trust_config(trust_config)
            with SigningContext.from_trust_config(config).signer(given) as signer:
                bundle = signer.sign_dsse(Statement(statement)).to_json().encode()
            # Nothing leaves that nobody could verify.
            identity, issuer = given.identity, given.federated_issuer
            _verify(bundle, files, config.trusted_root, identity=identity, issuer=issuer)
            made.append(KeylessSignature(bundle, identity, issuer))
        except Exception as error:  # noqa: BLE001 - what library, HTTP client, parsers raise
            failed.append(error)

    # The library sets no time limit on what it asks: a thread does, which ends with the process.
    asking = threading.Thread(target=ask, name="sigstore", daemon=True)
    asking.start()
    asking.join(timeout_s)
    if made:
        return made[0]
    if not failed:
        raise UnavailableError(
            f"Sigstore's services did not answer within {timeout_s:.0f} seconds",
            code="crypto.keyless", hint=_OWN,
        )  # fmt: skip
    if isinstance(failed[0], VallumError):
        raise failed[0]
    raise UnavailableError(
        f"Sigstore's services gave no signature: {_why(failed[0])}",
        code="crypto.keyless",
        hint=_OWN if trust_config is None else "are they up, and is the token still valid?",
    ) from failed[0]


def verify_keyless(
    bundle: bytes, files: Mapping[str, str], *, trusted_root: Path, identity: str, issuer: str
) -> str:
    """Return the identity that signed exactly `files`.

    Args:
        bundle: As the reference tool or cosign wrote it, with a DSSE envelope.
        files: Path to SHA-256 (hexadecimal) of every file that is there.
        trusted_root: Sigstore's `trusted_root.json`, keys of Fulcio, Rekor, CT, time stamps; or the
            client trust configuration that holds it.
        identity: Who must have signed: an e-mail address, or the URI of a workflow.
        issuer: Which OpenID provider must have said so.

    Raises:
        IntegrityError: Any of it does not hold.
        InputError: The trusted root is malformed, or identity or issuer is missing.
        UnavailableError: The library is not installed.
    """
    if not identity or not issuer:
        raise InputError("an identity and its issuer are needed", code="crypto.keyless")
    try:
        from sigstore.models import ClientTrustConfig, TrustedRoot
    except ImportError as error:
        raise _missing("verifying") from error
    try:
        text = trusted_root.read_bytes()
        if msgspec.json.decode(text, type=_Kind).media_type == _TRUST_CONFIG:
            root = ClientTrustConfig.from_json(text.decode()).trusted_root
        else:
            root = TrustedRoot.from_file(str(trusted_root))
    except Exception as error:  # the library declares no error of its own for this
        raise InputError("the trusted root cannot be read", code="crypto.keyless") from error
    _verify(bundle, files, root, identity=identity, issuer=issuer)
    return identity


def _verify(
    bundle: bytes, files: Mapping[str, str], root: "TrustedRoot", *, identity: str, issuer: str
) -> None:
    from sigstore.errors import Error as SigstoreError
    from sigstore.models import Bundle
    from sigstore.verify import Verifier
    from sigstore.verify.policy import Identity

    if len(bundle) > MAX_BUNDLE_BYTES:
        raise IntegrityError("the model signature is too large", code="signature.invalid")
    try:
        verifier = Verifier(trusted_root=root)
    except Exception as error:  # a root without the keys that it needs
        raise InputError("the trusted root cannot be read", code="crypto.keyless") from error
    try:
        kind, payload = verifier.verify_dsse(
            Bundle.from_json(bundle), Identity(identity=identity, issuer=issuer)
        )
    except SigstoreError as error:
        raise IntegrityError(
            f"the model signature does not verify: {str(error)[:160]}", code="signature.invalid"
        ) from error
    except Exception as error:  # a bundle that breaks the library is no signature
        raise IntegrityError("the model signature is malformed", code="signature.invalid") from (
            error
        )
    if kind != PAYLOAD_TYPE:
        raise IntegrityError("the model signature holds another payload", code="signature.invalid")
    check_statement(payload, files)


def _token(given: Secret | None) -> "IdentityToken":
    from sigstore.oidc import IdentityError, IdentityToken, detect_credential

    try:
        if given is None:
            found = detect_credential()
            if found is None:
                raise InputError(
                    "nothing here says who signs", code="crypto.identity-token",
                    hint="--identity-token-file FILE, a token of an OpenID provider that Fulcio "
                    "trusts, for the audience `sigstore`",
                )  # fmt: skip
            return IdentityToken(found)
        return IdentityToken(given.reveal().decode("ascii", "replace").strip())
    except IdentityError as error:
        raise InputError(
            f"the identity token is of no use: {str(error)[:160]}", code="crypto.identity-token",
            hint="it is a JWT with iss, sub, iat, exp and the audience `sigstore`, still valid",
        ) from error  # fmt: skip


def _trust_config(file: Path | None) -> "ClientTrustConfig":
    from sigstore.models import ClientTrustConfig

    if file is None:
        return ClientTrustConfig.production()
    try:
        text = file.read_bytes()
        services = msgspec.json.decode(text, type=_Config).signing_config
        config = ClientTrustConfig.from_json(text.decode())
    except Exception as error:  # the library declares no error of its own for this
        raise InputError(
            f"`{file}` is no client trust configuration of Sigstore", code="crypto.keyless",
            hint="JSON with `trustedRoot` and `signingConfig`",
        ) from error  # fmt: skip
    for one in (*services.ca_urls, *services.rekor_tlog_urls, *services.tsa_urls):
        place = urlsplit(one.url)
        if place.scheme != "https" and place.hostname not in _LOOPBACK:
            raise InputError(
                f"the token would go to `{one.url[:120]}` in the clear", code="crypto.keyless",
                hint="services beyond this machine need https",
            )  # fmt: skip
    return config


def _why(error: Exception) -> str:
    """Say what went wrong: the sentence of the innermost cause, without what was sent."""
    seen: BaseException = error
    while (below := seen.__cause__ or seen.__context__) is not None:
        seen = below
    text = str(seen) or str(error) or type(seen).__name__
    return text.partition("\n")[0][:200]


def _missing(doing: str) -> UnavailableError:
    return UnavailableError(
        f"{doing} keyless signatures needs the package sigstore", code="crypto.keyless",
        hint="pip install 'vallum[server]'",
    )  # fmt: skip

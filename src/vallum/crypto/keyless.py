"""Keyless signatures (Sigstore), verified from what a bundle has recorded and without the network.

Verifying is `sigstore`'s: the certificate leads to Fulcio's root at the time that the log or a
time stamp attests, its SCT is a known log's, the entry is in Rekor's tree, and its owner is who
must have signed. Signing keyless is not done here: it needs the services.

Source: Sigstore client specification; sigstore-python.
"""

from collections.abc import Mapping
from pathlib import Path

from vallum.base import InputError, IntegrityError, UnavailableError
from vallum.crypto.model_signing import MAX_BUNDLE_BYTES, PAYLOAD_TYPE, check_statement


def verify_keyless(
    bundle: bytes, files: Mapping[str, str], *, trusted_root: Path, identity: str, issuer: str
) -> str:
    """Return the identity that signed exactly `files`.

    Args:
        bundle: As the reference tool or cosign wrote it, with a DSSE envelope.
        files: Path to SHA-256 (hexadecimal) of every file that is there.
        trusted_root: Sigstore's `trusted_root.json`: keys of Fulcio, Rekor, CT, time stamps.
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
        from sigstore.errors import Error as SigstoreError
        from sigstore.models import Bundle, TrustedRoot
        from sigstore.verify import Verifier
        from sigstore.verify.policy import Identity
    except ImportError as error:
        raise UnavailableError(
            "verifying keyless signatures needs the package sigstore", code="crypto.keyless",
            hint="pip install 'vallum[server]'",
        ) from error  # fmt: skip
    if len(bundle) > MAX_BUNDLE_BYTES:
        raise IntegrityError("the model signature is too large", code="signature.invalid")
    try:
        verifier = Verifier(trusted_root=TrustedRoot.from_file(str(trusted_root)))
    except Exception as error:  # the library declares no error of its own for this
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
    return identity

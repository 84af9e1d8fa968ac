"""Model signatures by the holder of an X.509 certificate.

Source: RFC 5280, section 6, as `cryptography.x509.verification` does it; OpenSSF model signing.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    ExtensionPolicy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from vallum.base import InputError, IntegrityError
from vallum.crypto.model_signing import check_statement, open_bundle, sign_manifest
from vallum.crypto.signing import Signer, VerifyKey

_MAX_CHAIN = 8


def read_certificates(data: bytes) -> tuple[x509.Certificate, ...]:
    """Read certificates in PEM, one after another.

    Raises:
        InputError: There is none, or one is malformed.
    """
    try:
        return tuple(x509.load_pem_x509_certificates(data))
    except ValueError as error:
        raise InputError("the file holds no certificates in PEM", code="crypto.certificate") from (
            error
        )


def sign_with_certificate(
    name: str, files: Mapping[str, str], key: Signer, chain: Sequence[x509.Certificate]
) -> bytes:
    """Sign as `sign_manifest` does; the bundle carries the chain, the signer's certificate first.

    Raises:
        InputError: The first certificate is not about the key, or there is none.
    """
    if not chain or VerifyKey.from_certificate(chain[0]).id != key.verify_key.id:
        raise InputError(
            "the first certificate is not about this key", code="crypto.certificate",
            hint="give the signer's own certificate first, then those above it",
        )  # fmt: skip
    return sign_manifest(name, files, key, chain=[one.public_bytes(Encoding.DER) for one in chain])


def verify_certified(
    bundle: bytes,
    files: Mapping[str, str],
    *,
    roots: Sequence[x509.Certificate],
    identity: str,
    at: datetime,
) -> str:
    """Return the identity that signed exactly `files`.

    What must hold:
    1. the bundle has the form and carries a chain of at most eight certificates;
    2. the chain leads to one of `roots` and every certificate in it is valid at `at`;
    3. the signer's certificate allows signing, and its subject or one of its alternative names
       (e-mail address, URI, DNS name) is `identity`, character for character;
    4. its key signed the payload, which is about exactly `files`.

    Args:
        bundle: As `sign_with_certificate` or the reference tool wrote it.
        files: Path to SHA-256 (hexadecimal) of every file that is there.
        roots: Trust anchors; those that a bundle carries are none.
        identity: Who must have signed. A subject is written as in RFC 4514.
        at: When the certificates must be valid: now, unless a time-stamp says otherwise.

    Raises:
        IntegrityError: Any of it does not hold.
        InputError: There are no roots, or no identity.
    """
    if not roots or not identity:
        raise InputError("roots and an identity are needed", code="crypto.certificate")
    # 1.
    opened = open_bundle(bundle)
    if not 1 <= len(opened.chain) <= _MAX_CHAIN:
        raise _bad("carries no chain of certificates")
    try:
        leaf, *others = (x509.load_der_x509_certificate(one) for one in opened.chain)
        # 2.
        policy = PolicyBuilder().store(Store(list(roots))).time(at).extension_policies(
            ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=ExtensionPolicy.permit_all()
        )  # fmt: skip
        above = [one for one in others if one not in roots]
        policy.build_client_verifier().verify(leaf, above)
        # 3.
        _check_usage(leaf)
        names = _names(leaf)
    except VerificationError as error:
        raise _bad("is by a certificate that leads to no given root, or is not valid") from error
    except (ValueError, x509.DuplicateExtension) as error:
        raise _bad("carries a malformed certificate") from error
    if identity not in names:
        raise _bad(f"is by another identity than `{identity[:80]}`")
    # 4.
    try:
        key = VerifyKey.from_certificate(leaf)
    except InputError as error:
        raise _bad("is by a key of another kind") from error
    if len(opened.signatures) != 1:
        raise _bad("holds no single signature")
    key.verify(opened.signatures[0], opened.signed)
    check_statement(opened.payload, files)
    return identity


def _check_usage(leaf: x509.Certificate) -> None:
    """Refuse a certificate that was made for something else, or that may issue others."""
    for extension in leaf.extensions:
        value = extension.value
        if isinstance(value, x509.KeyUsage) and not value.digital_signature:
            raise _bad("is by a certificate that does not allow signing")
        if isinstance(value, x509.ExtendedKeyUsage) and (
            ExtendedKeyUsageOID.CODE_SIGNING not in value
        ):
            raise _bad("is by a certificate that does not allow signing code")
        if isinstance(value, x509.BasicConstraints) and value.ca:
            raise _bad("is by an authority's own certificate")


def _names(leaf: x509.Certificate) -> set[str]:
    names = {leaf.subject.rfc4514_string()}
    try:
        extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return names
    for kind in (x509.RFC822Name, x509.UniformResourceIdentifier, x509.DNSName):
        names.update(extension.value.get_values_for_type(kind))
    return names


def _bad(what: str) -> IntegrityError:
    return IntegrityError(f"the model signature {what}", code="signature.invalid")

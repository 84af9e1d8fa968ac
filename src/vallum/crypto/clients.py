"""Clients' certificates: their names, and whether an authority vouches for them.

Names are the URIs, DNS names and e-mail addresses of the subject alternative names.

Source: RFC 5280, section 6 (path validation, by `cryptography`, in the profile of the web's
authorities: no certificate without alternative names, no weak key, no authority as a client).
"""

import hashlib
import ssl
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from vallum.base import InputError

MAX_AUTHORITY_BYTES: Final = 16 * 1024
MAX_CERTIFICATE_BYTES: Final = 16 * 1024
_MAX_NAMES: Final = 32
_BAD: Final = (  # what `cryptography` raises on certificates that are none
    UnsupportedAlgorithm,
    ValueError,
    VerificationError,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


def read_authority(pem: str) -> tuple[str, str]:
    """Return the SHA-256 of an authority's certificate, in hexadecimal, and the certificate alone.

    Raises:
        InputError: It is not one certificate of an authority.
    """
    data = pem.encode()
    hint = "give the certificate of the authority that signs the clients' certificates, PEM"
    if len(data) > MAX_AUTHORITY_BYTES:
        raise InputError("the certificate is too long", code="identity.authority", hint=hint)
    try:
        (certificate,) = x509.load_pem_x509_certificates(data)
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        certificate.public_key()
    except _BAD as e:
        raise InputError(
            "this is not one certificate of an authority", code="identity.authority", hint=hint
        ) from e
    if not constraints.ca:
        raise InputError("the certificate is no authority's", code="identity.authority", hint=hint)
    alone = certificate.public_bytes(Encoding.PEM).decode()
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=alone)
    except ssl.SSLError as error:
        raise InputError(
            "OpenSSL does not take the certificate", code="identity.authority", hint=hint
        ) from error
    der = certificate.public_bytes(Encoding.DER)
    return hashlib.sha256(der).hexdigest(), alone


def client_names(certificate: bytes) -> tuple[str, ...]:
    """Return the names in a certificate, before anything of it is checked; none if it is none.

    Args:
        certificate: DER.
    """
    if len(certificate) > MAX_CERTIFICATE_BYTES:
        return ()
    try:
        held = x509.load_der_x509_certificate(certificate)
        named = held.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except _BAD:
        return ()
    kinds = (x509.UniformResourceIdentifier, x509.DNSName, x509.RFC822Name)
    return tuple(one.value for one in named if isinstance(one, kinds))[:_MAX_NAMES]


def verify_client(
    certificate: bytes, authority: str, *, name: str, now: datetime
) -> datetime | None:
    """Return when a client's certificate expires; None if it is not good, whatever the reason.

    Args:
        certificate: DER.
        authority: PEM, from `read_authority`.
        name: That it must have.
        now: For its times, and the authority's.
    """
    try:
        leaf = x509.load_der_x509_certificate(certificate)
        root = x509.load_pem_x509_certificate(authority.encode())
        if now >= root.not_valid_after_utc or now < root.not_valid_before_utc:
            return None
        verifier = PolicyBuilder().store(Store([root])).time(now).build_client_verifier()
        verifier.verify(leaf, [])
    except _BAD:
        return None
    return leaf.not_valid_after_utc if name in client_names(certificate) else None

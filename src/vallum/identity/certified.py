"""Client certificates (mutual TLS) as federated credentials.

An authority and a name in the certificate are together what an issuer and a subject are of a token.
TLS shows that the caller has the private key; whether the certificate counts is decided for every
new caller by `vallum.crypto.clients`.
"""

from typing import Final

from vallum.crypto.clients import read_authority as _read
from vallum.schema import Credential

SCHEME: Final = "x509:"
"""Begins the issuer of credentials that certificates stand for; no https:// address does."""


def is_certified(credential: Credential) -> bool:
    """Tell whether certificates stand for a credential, not tokens."""
    return credential.issuer.startswith(SCHEME)


def read_authority(pem: str) -> tuple[str, str]:
    """Return what an authority is called as an issuer, and its certificate alone.

    Raises:
        InputError: It is not one certificate of an authority.
    """
    digest, certificate = _read(pem)
    return SCHEME + digest, certificate

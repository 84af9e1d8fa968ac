"""Small things: keyed digests, derived keys, sealed messages, random tokens."""

import hmac
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from vallum.base import IntegrityError, Secret
from vallum.crypto import purposes

KEY_BYTES = 32
_VERSION = b"\x01"
_SALT_BYTES = 32
_NONCE = bytes(12)


def mac(key: Secret, *parts: bytes) -> bytes:
    """Return HMAC-SHA256 over `parts`, each preceded by its length as 8 bytes, big-endian.

    The lengths make it unambiguous where one part ends and the next begins.
    """
    framed = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    return hmac.digest(key.reveal(), framed, "sha256")


def verify_mac(key: Secret, tag: bytes, *parts: bytes) -> None:
    """Compare in constant time.

    Raises:
        IntegrityError: `tag` is not the MAC of `parts`.
    """
    if not hmac.compare_digest(tag, mac(key, *parts)):
        raise IntegrityError("a keyed digest does not match", code="crypto.mac")


def derive(key: Secret, info: bytes, *, salt: bytes = b"", length: int = KEY_BYTES) -> Secret:
    """Derive a key by HKDF-SHA256 (RFC 5869).

    Args:
        key: Input key with at least 128 bits of entropy; a passphrase is none.
        info: Domain-separation string; what the key is for.
        salt: Public random bytes, or none.
        length: Bytes wanted.
    """
    kdf = HKDF(algorithm=SHA256(), length=length, salt=salt or None, info=info)
    return Secret(kdf.derive(key.reveal()))


def seal(key: Secret, plaintext: bytes, associated: bytes) -> bytes:
    """Encrypt a small message: version byte, 32 bytes of salt, AES-256-GCM.

    Each message has a key of its own, derived from `key` and a fresh 256-bit salt; the nonce may
    therefore be constant, and the number of messages under `key` is not bounded in practice.
    """
    salt = secrets.token_bytes(_SALT_BYTES)
    message_key = derive(key, purposes.SEALED, salt=salt)
    sealed = AESGCM(message_key.reveal()).encrypt(_NONCE, plaintext, _VERSION + associated)
    return _VERSION + salt + sealed


def unseal(key: Secret, sealed: bytes, associated: bytes) -> bytes:
    """Decrypt what `seal` made with the same key and associated data.

    Raises:
        IntegrityError: Anything else; it says nothing about which part was wrong.
    """
    if len(sealed) < 1 + _SALT_BYTES + 16 or sealed[:1] != _VERSION:
        raise IntegrityError("a sealed message cannot be opened", code="crypto.sealed-message")
    salt, body = sealed[1 : 1 + _SALT_BYTES], sealed[1 + _SALT_BYTES :]
    message_key = derive(key, purposes.SEALED, salt=salt)
    try:
        return AESGCM(message_key.reveal()).decrypt(_NONCE, body, _VERSION + associated)
    except InvalidTag as error:
        raise IntegrityError(
            "a sealed message cannot be opened", code="crypto.sealed-message"
        ) from error


def hash_credential(key: Secret, secret: Secret) -> bytes:
    """Return the keyed hash of an API secret (256 random bits: no slow hash is needed)."""
    return mac(key, purposes.CREDENTIAL_HASH, secret.reveal())


def random_token(n_bytes: int = 32) -> Secret:
    """Return fresh random bytes."""
    return Secret(secrets.token_bytes(n_bytes))

"""Signatures: Ed25519 and ECDSA P-256, and DSSE envelopes over them.

Source: RFC 8032; FIPS 186-5; DSSE v1 protocol (github.com/secure-systems-lab/dsse).
"""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from typing import Protocol, Self

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256

from vallum.base import InputError, IntegrityError, Secret
from vallum.schema import Record


class VerifyKey:
    """A public key: Ed25519, or ECDSA over P-256."""

    __slots__ = ("_key",)

    def __init__(self, key: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey) -> None:
        self._key = key

    @classmethod
    def from_pem(cls, data: bytes) -> Self:
        """Read a PEM public key.

        Raises:
            InputError: It is not one, or of another kind.
        """
        try:
            key = serialization.load_pem_public_key(data)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise InputError("the file is not a PEM public key", code="crypto.key-form") from error
        if isinstance(key, ed25519.Ed25519PublicKey):
            return cls(key)
        if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
            return cls(key)
        raise InputError("the key is neither Ed25519 nor P-256", code="crypto.key-kind")

    @classmethod
    def from_certificate(cls, certificate: x509.Certificate) -> Self:
        """Return the key that a certificate is about.

        Raises:
            InputError: It is of another kind.
        """
        return cls.from_pem(
            certificate.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )

    def verify(self, signature: bytes, data: bytes) -> None:
        """Check a signature.

        Raises:
            IntegrityError: It is not this key's over `data`.
        """
        try:
            if isinstance(self._key, ed25519.Ed25519PublicKey):
                self._key.verify(signature, data)
            else:
                self._key.verify(signature, data, ec.ECDSA(SHA256()))
        except InvalidSignature as error:
            raise IntegrityError("a signature does not verify", code="crypto.signature") from error

    def signer(self, data: bytes, signature: bytes) -> str:
        """Return this key's id where it signed `data`.

        Raises:
            IntegrityError: It did not.
        """
        self.verify(signature, data)
        return self.id

    @property
    def is_ed25519(self) -> bool:
        """Whether it is Ed25519; else it is ECDSA over P-256."""
        return isinstance(self._key, ed25519.Ed25519PublicKey)

    def to_pem(self) -> bytes:
        """Return the key as PEM."""
        return self._key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def to_raw(self) -> bytes:
        """Return the 32 bytes of an Ed25519 key.

        Raises:
            InputError: It is not Ed25519.
        """
        if not isinstance(self._key, ed25519.Ed25519PublicKey):
            raise InputError("only Ed25519 keys have a raw form", code="crypto.key-kind")
        return self._key.public_bytes_raw()

    @property
    def id(self) -> str:
        """Return SHA-256 of the SubjectPublicKeyInfo, in hexadecimal."""
        der = self._key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return hashlib.sha256(der).hexdigest()


class Signer(Protocol):
    """What signs: a key in memory, or one in a token that never leaves it."""

    def sign(self, data: bytes) -> bytes:
        """Sign `data`."""
        ...

    @property
    def verify_key(self) -> VerifyKey:
        """Return the public half."""
        ...


class SigningKey:
    """A private key; its repr shows the public half's id."""

    __slots__ = ("_key",)

    def __init__(self, key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    @classmethod
    def generate(cls) -> Self:
        """Draw an Ed25519 key."""
        return cls(ed25519.Ed25519PrivateKey.generate())

    @classmethod
    def generate_p256(cls) -> Self:
        """Draw a P-256 key."""
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_seed(cls, seed: Secret) -> Self:
        """Return the Ed25519 key of a 32-byte seed."""
        return cls(ed25519.Ed25519PrivateKey.from_private_bytes(seed.reveal()))

    @classmethod
    def p256_from_seed(cls, seed: Secret) -> Self:
        """Return the P-256 key of a seed of at least 40 bytes (FIPS 186-5, appendix A.2.1)."""
        order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
        if len(seed.reveal()) < 40:  # noqa: PLR2004 - 64 bits more than the order
            raise InputError("the seed is too short", code="crypto.key-form")
        scalar = int.from_bytes(seed.reveal(), "big") % (order - 1) + 1
        return cls(ec.derive_private_key(scalar, ec.SECP256R1()))

    @classmethod
    def from_pem(cls, data: bytes, *, password: Secret | None = None) -> Self:
        """Read a PEM private key.

        Raises:
            InputError: It is not one, of another kind, or the password is wrong.
        """
        try:
            key = serialization.load_pem_private_key(
                data, None if password is None else password.reveal()
            )
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise InputError("the private key cannot be opened", code="crypto.key-form") from None
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return cls(key)
        if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
            return cls(key)
        raise InputError("the key is neither Ed25519 nor P-256", code="crypto.key-kind")

    def to_pem(self, *, password: Secret | None = None) -> bytes:
        """Return the key as PKCS#8 PEM; without a password only for a 0600 file."""
        encryption: serialization.KeySerializationEncryption = (
            serialization.NoEncryption()
            if password is None
            else serialization.BestAvailableEncryption(password.reveal())
        )
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        )

    def sign(self, data: bytes) -> bytes:
        """Sign `data`."""
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(data)
        return self._key.sign(data, ec.ECDSA(SHA256()))

    @property
    def verify_key(self) -> VerifyKey:
        """Return the public half."""
        return VerifyKey(self._key.public_key())

    def __repr__(self) -> str:
        return f"<signing key {self.verify_key.id[:16]}>"


class DsseSignature(Record, frozen=True):
    """One signature of an envelope."""

    sig: str
    keyid: str = ""


class Envelope(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A DSSE envelope; unknown fields are read leniently, as the specification demands."""

    payload_type: str
    payload: str
    signatures: tuple[DsseSignature, ...]


def pre_authentication(payload_type: str, payload: bytes) -> bytes:
    """Return what is signed: DSSE v1's PAE."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign_envelope(payload_type: str, payload: bytes, keys: Sequence[Signer]) -> bytes:
    """Return a DSSE envelope as JSON."""
    signed = pre_authentication(payload_type, payload)
    return msgspec.json.encode(
        Envelope(
            payload_type=payload_type,
            payload=base64.b64encode(payload).decode(),
            signatures=tuple(
                DsseSignature(
                    sig=base64.b64encode(key.sign(signed)).decode(), keyid=key.verify_key.id
                )
                for key in keys
            ),
        )
    )


def verify_envelope(
    data: bytes, *, payload_type: str, trusted: Sequence[VerifyKey]
) -> tuple[bytes, VerifyKey]:
    """Return the payload and the trusted key that signed it.

    Raises:
        IntegrityError: Malformed, of another type, or signed by no trusted key.
    """
    try:
        envelope = msgspec.json.decode(data, type=Envelope)
        payload = base64.b64decode(envelope.payload, validate=True)
        signatures = [base64.b64decode(one.sig, validate=True) for one in envelope.signatures]
    except (msgspec.DecodeError, binascii.Error, ValueError) as error:
        raise IntegrityError("the envelope is malformed", code="crypto.envelope") from error
    if envelope.payload_type != payload_type:
        raise IntegrityError("the envelope holds another type", code="crypto.envelope")
    signed = pre_authentication(payload_type, payload)
    for key in trusted:
        for signature in signatures:
            try:
                key.verify(signature, signed)
            except IntegrityError:
                continue
            return payload, key
    raise IntegrityError("no trusted key signed the envelope", code="crypto.envelope")

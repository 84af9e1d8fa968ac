"""Room `crypto`: keys, envelope encryption, streams, signatures; the only user of crypto code."""

from vallum.crypto.keyring import DataKey, Keyring
from vallum.crypto.model_signing import sign_manifest, verify_manifest
from vallum.crypto.provider import FileKeyProvider, KeyProvider, WrappedKey
from vallum.crypto.purposes import Purpose
from vallum.crypto.signing import Signer, SigningKey, VerifyKey, sign_envelope, verify_envelope
from vallum.crypto.small import (
    derive,
    hash_credential,
    mac,
    random_token,
    seal,
    unseal,
    verify_mac,
)
from vallum.crypto.stream import (
    BytesSource,
    EncryptingWriter,
    StreamReader,
    ciphertext_length,
    decrypt_file,
    encrypt_file,
    plaintext_length,
)
from vallum.crypto.tls import Certificates, expires_at, make_certificates

__all__ = [
    "BytesSource",
    "Certificates",
    "DataKey",
    "EncryptingWriter",
    "FileKeyProvider",
    "KeyProvider",
    "Keyring",
    "Purpose",
    "Signer",
    "SigningKey",
    "StreamReader",
    "VerifyKey",
    "WrappedKey",
    "ciphertext_length",
    "decrypt_file",
    "derive",
    "encrypt_file",
    "expires_at",
    "hash_credential",
    "mac",
    "make_certificates",
    "plaintext_length",
    "random_token",
    "seal",
    "sign_envelope",
    "sign_manifest",
    "unseal",
    "verify_envelope",
    "verify_mac",
    "verify_manifest",
]

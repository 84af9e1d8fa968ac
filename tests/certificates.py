"""Authorities and clients' certificates, made in tests."""

import ipaddress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID as Usage
from cryptography.x509.oid import NameOID, ObjectIdentifier

PEOPLE = "spiffe://vallum.test/robot"


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    def write(self, folder: Path, name: str = "client") -> tuple[str, str]:
        """Write both as PEM; returns their paths."""
        paths = folder / f"{name}.pem", folder / f"{name}-key.pem"
        paths[0].write_text(self.pem)
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        paths[1].write_bytes(key)
        return str(paths[0]), str(paths[1])


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=signs, crl_sign=signs,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def authority(name: str = "clients", *, now: datetime, days: int = 30) -> Pair:
    """Return an authority of clients."""
    start = now - timedelta(hours=1)
    key = ec.generate_private_key(ec.SECP256R1())
    made = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, SHA256())
    )
    return Pair(made, key)


def client(
    of: Pair,
    *names: str,
    now: datetime,
    days: int = 7,
    usage: ObjectIdentifier = Usage.CLIENT_AUTH,
    is_authority: bool = False,
) -> Pair:
    """Return a certificate with URIs and addresses as its names."""
    start = now - timedelta(minutes=30)
    key = ec.generate_private_key(ec.SECP256R1())
    signer = of.key.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name("a client"))
        .issuer_name(of.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(_usage(signs=is_authority), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
    )
    if names:
        listed = x509.SubjectAlternativeName(
            [x509.UniformResourceIdentifier(one) if "://" in one else
             x509.IPAddress(ipaddress.ip_address(one)) for one in names]
        )  # fmt: skip
        builder = builder.add_extension(listed, critical=False)
    return Pair(builder.sign(of.key, SHA256()), key)

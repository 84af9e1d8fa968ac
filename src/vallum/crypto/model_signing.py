"""Model signatures in the OpenSSF model-signing format, v1.0, over digests already computed.

A signature is a Sigstore bundle v0.3 that holds a DSSE envelope around an in-toto Statement; its
predicate lists every file with its SHA-256. Unlike the reference tool nothing is ignored: not
`.git`, not hidden files; a verifier must hold exactly the files that are listed.

Source: OpenSSF model-signing specification v1.0; in-toto Statement v1; DSSE v1.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from vallum.base import InputError, IntegrityError
from vallum.crypto.signing import Signer, VerifyKey, pre_authentication

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
MAX_BUNDLE_BYTES = 64 * 1024 * 1024


class _Signature(msgspec.Struct, frozen=True):
    sig: str
    keyid: str = ""


class _Envelope(msgspec.Struct, frozen=True, rename="camel"):
    payload: str
    payload_type: str
    signatures: tuple[_Signature, ...]


class _PublicKey(msgspec.Struct, frozen=True):
    hint: str = ""


class _Certificate(msgspec.Struct, frozen=True, rename="camel"):
    raw_bytes: str


class _Chain(msgspec.Struct, frozen=True):
    certificates: tuple[_Certificate, ...]


class _Material(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    public_key: _PublicKey | None = None
    x509_certificate_chain: _Chain | None = None
    tlog_entries: tuple[object, ...] = ()


class _Bundle(msgspec.Struct, frozen=True, rename="camel"):
    media_type: str
    verification_material: _Material
    dsse_envelope: _Envelope


class _Resource(msgspec.Struct, frozen=True):
    name: str
    algorithm: str
    digest: str


class _Serialization(msgspec.Struct, frozen=True):
    method: str
    hash_type: str
    allow_symlinks: bool = False
    ignore_paths: tuple[str, ...] = ()


class _Predicate(msgspec.Struct, frozen=True):
    serialization: _Serialization
    resources: tuple[_Resource, ...]


class _Subject(msgspec.Struct, frozen=True):
    name: str
    digest: dict[str, str]


class _Statement(msgspec.Struct, frozen=True, rename={"type": "_type"}):
    type: str
    subject: tuple[_Subject, ...]
    predicateType: str  # noqa: N815 - in-toto's spelling
    predicate: _Predicate


@dataclass(frozen=True, slots=True)
class OpenedBundle:
    """A bundle whose signature nobody has checked yet.

    Attributes:
        payload: What was signed, of which nothing may be believed before.
        signed: The bytes that the signature is over.
        signatures: Usually one.
        chain: Certificates in DER, the signer's first; empty if it was signed with a bare key.
    """

    payload: bytes
    signed: bytes
    signatures: tuple[bytes, ...]
    chain: tuple[bytes, ...]


def sign_manifest(
    name: str, files: Mapping[str, str], key: Signer, *, chain: Sequence[bytes] = ()
) -> bytes:
    """Sign a model given as path to SHA-256 (hexadecimal).

    Args:
        name: Of the model.
        files: Every file, by its path within the model.
        key: P-256, which the reference tool reads too, or Ed25519; here or in a token.
        chain: Certificates in DER that the bundle carries, the signer's first.

    Raises:
        InputError: There is no file.
    """
    payload = manifest_statement(name, files)
    signature = key.sign(pre_authentication(PAYLOAD_TYPE, payload))
    bundle = _Bundle(
        media_type=BUNDLE_TYPE,
        verification_material=_material(key.verify_key, chain),
        dsse_envelope=_Envelope(
            payload=base64.b64encode(payload).decode(),
            payload_type=PAYLOAD_TYPE,
            signatures=(_Signature(base64.b64encode(signature).decode()),),
        ),
    )
    return msgspec.json.encode(bundle)


def manifest_statement(name: str, files: Mapping[str, str]) -> bytes:
    """Return what is signed of a model: an in-toto statement that lists every file.

    Raises:
        InputError: There is no file.
    """
    if not files:
        raise InputError("there is nothing to sign", code="signature.empty")
    resources = tuple(
        _Resource(name=path, algorithm="sha256", digest=files[path]) for path in sorted(files)
    )
    statement = _Statement(
        type=STATEMENT_TYPE,
        subject=(_Subject(name=name, digest={"sha256": _root(resources)}),),
        predicateType=PREDICATE_TYPE,
        predicate=_Predicate(_Serialization(method="files", hash_type="sha256"), resources),
    )
    return msgspec.json.encode(statement)


def verify_manifest(
    bundle: bytes, files: Mapping[str, str], trusted: Mapping[str, VerifyKey]
) -> str:
    """Return who signed exactly `files`.

    What must hold:
    1. the bundle is small and has the form; its envelope holds an in-toto payload;
    2. a trusted key signed the payload;
    3. it is a model signature v1.0 that ignores nothing and allows no links;
    4. it lists exactly these files with these digests, and its subject is their root.

    Args:
        bundle: As `sign_manifest` or the reference tool wrote it.
        files: Path to SHA-256 (hexadecimal) of every file that is there.
        trusted: Signer's identity to key; the identity is never taken from the bundle.

    Raises:
        IntegrityError: Any of it does not hold.
    """
    # 1.
    opened = open_bundle(bundle)
    # 2.
    signer = _signer(opened.signed, opened.signatures, trusted)
    # 3. and 4.
    check_statement(opened.payload, files)
    return signer


def open_bundle(bundle: bytes) -> OpenedBundle:
    """Read a bundle; its signature is not checked.

    Raises:
        IntegrityError: It is too large, or has another form.
    """
    if len(bundle) > MAX_BUNDLE_BYTES:
        raise _bad("is too large")
    try:
        whole = msgspec.json.decode(bundle, type=_Bundle)
        envelope, chain = whole.dsse_envelope, whole.verification_material.x509_certificate_chain
        payload = base64.b64decode(envelope.payload, validate=True)
        signatures = [base64.b64decode(one.sig, validate=True) for one in envelope.signatures]
        held = chain.certificates if chain is not None else ()
        certificates = [base64.b64decode(one.raw_bytes, validate=True) for one in held]
    except (msgspec.DecodeError, binascii.Error, ValueError) as error:
        raise _bad("has another form") from error
    if envelope.payload_type != PAYLOAD_TYPE:
        raise _bad("holds another payload")
    return OpenedBundle(
        payload, pre_authentication(PAYLOAD_TYPE, payload), tuple(signatures), tuple(certificates)
    )


def check_statement(payload: bytes, files: Mapping[str, str]) -> None:
    """Check that a payload, whose signature was verified, is about exactly `files`.

    Raises:
        IntegrityError: It is another statement, or lists other files.
    """
    # 3.
    try:
        statement = msgspec.json.decode(payload, type=_Statement)
    except msgspec.DecodeError as error:
        raise _bad("holds another statement") from error
    how = statement.predicate.serialization
    if statement.type != STATEMENT_TYPE or statement.predicateType != PREDICATE_TYPE:
        raise _bad("holds another statement")
    if how.method != "files" or how.hash_type != "sha256" or how.allow_symlinks:
        raise _bad("was made in another way")
    if how.ignore_paths:
        raise _bad(f"leaves out {', '.join(how.ignore_paths[:5])}")
    # 4.
    listed = {one.name: one.digest for one in statement.predicate.resources}
    if len(listed) != len(statement.predicate.resources) or any(
        one.algorithm != "sha256" for one in statement.predicate.resources
    ):
        raise _bad("lists a file twice, or by another digest")
    for path in sorted({*listed, *files}):
        if path not in listed:
            raise _bad(f"does not cover `{path[:80]}`")
        if path not in files:
            raise _bad(f"covers `{path[:80]}`, which is missing")
        if listed[path] != files[path]:
            raise _bad(f"covers other bytes of `{path[:80]}`")
    if len(statement.subject) != 1 or statement.subject[0].digest.get("sha256") != _root(
        statement.predicate.resources
    ):
        raise _bad("has another root")


def _signer(signed: bytes, signatures: Sequence[bytes], trusted: Mapping[str, VerifyKey]) -> str:
    for identity, key in trusted.items():
        for signature in signatures:
            try:
                key.verify(signature, signed)
            except IntegrityError:
                continue
            return identity
    raise _bad("is not by a release identity")


def _root(resources: Sequence[_Resource]) -> str:
    try:
        return hashlib.sha256(b"".join(bytes.fromhex(one.digest) for one in resources)).hexdigest()
    except ValueError as error:
        raise _bad("holds a malformed digest") from error


def _material(key: VerifyKey, chain: Sequence[bytes]) -> _Material:
    if not chain:
        return _Material(_PublicKey(_hint(key)))
    held = tuple(_Certificate(base64.b64encode(one).decode()) for one in chain)
    return _Material(x509_certificate_chain=_Chain(held))


def _hint(key: VerifyKey) -> str:
    return hashlib.sha256(key.to_pem()).hexdigest()


def _bad(what: str) -> IntegrityError:
    return IntegrityError(f"the model signature {what}", code="signature.invalid")

"""Model signatures with certificates, of tokens and keyless: what must hold, and each lie."""

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_public_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from tokens import MODULE, needs_token

from vallum.base import InputError, IntegrityError, Secret, UnavailableError
from vallum.crypto.certificates import read_certificates, sign_with_certificate, verify_certified
from vallum.crypto.folder import folder_digests
from vallum.crypto.keyless import verify_keyless
from vallum.crypto.model_signing import sign_manifest, verify_manifest
from vallum.crypto.signing import SigningKey
from vallum.crypto.token import TokenKey

NOW = datetime(2026, 11, 21, tzinfo=UTC)
FILES = {"a.onnx": "00" * 32, "b.json": "11" * 32}
WHO = "release@example.org"


def authority(name: str, issuer: "Authority | None" = None) -> "Authority":
    return Authority(name, issuer)


class Authority:
    """A certificate authority of the test."""

    def __init__(self, name: str, issuer: "Authority | None") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        above = issuer or self
        self.certificate = (
            self._builder(above.name, self.name, self.key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage(sign=False), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(above.key.public_key()),
                critical=False,
            )
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False
            )
            .sign(above.key, SHA256())
        )

    @staticmethod
    def _builder(
        issuer: x509.Name, subject: x509.Name, key: ec.EllipticCurvePublicKey, days: int = 90
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .issuer_name(issuer)
            .subject_name(subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - timedelta(days=1))
            .not_valid_after(NOW + timedelta(days=days))
        )

    def issue(
        self,
        key: SigningKey,
        *,
        who: str = WHO,
        sign: bool = True,
        ca: bool = False,
        purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.CODE_SIGNING,
        days: int = 90,
    ) -> x509.Certificate:
        public = load_pem_public_key(key.verify_key.to_pem())
        assert isinstance(public, ec.EllipticCurvePublicKey)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "signer")])
        return (
            self._builder(self.name, subject, public, days)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(usage(sign=sign), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.RFC822Name(who)]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
            .sign(self.key, SHA256())
        )


def usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=sign, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=not sign, crl_sign=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


ROOT = authority("root")
MIDDLE = authority("middle", ROOT)
KEY = SigningKey.generate_p256()
LEAF = MIDDLE.issue(KEY)
CHAIN = (LEAF, MIDDLE.certificate)
GOOD = sign_with_certificate("m", FILES, KEY, CHAIN)


def verify(bundle: bytes = GOOD, **changed: object) -> str:
    how = {"roots": [ROOT.certificate], "identity": WHO, "at": NOW, **changed}
    return verify_certified(bundle, FILES, **how)  # type: ignore[arg-type]


def test_a_signature_with_a_certificate_verifies_by_its_holders_name() -> None:
    assert verify() == WHO
    assert verify(identity="CN=signer") == "CN=signer"
    both = read_certificates(
        ROOT.certificate.public_bytes(Encoding.PEM) + LEAF.public_bytes(Encoding.PEM)
    )
    assert verify(roots=both[:1]) == WHO


def signed(leaf: x509.Certificate, *, files: dict[str, str] = FILES) -> bytes:
    return sign_with_certificate("m", files, KEY, (leaf, MIDDLE.certificate))


@pytest.mark.parametrize(
    ("bundle", "changed", "message"),
    [
        (GOOD, {"identity": "other@example.org"}, "another identity"),
        (GOOD, {"identity": "RELEASE@example.org"}, "another identity"),
        (GOOD, {"roots": [authority("root").certificate]}, "no given root"),
        (GOOD, {"at": NOW + timedelta(days=365)}, "not valid"),
        (GOOD, {"at": NOW - timedelta(days=2)}, "not valid"),
        (signed(MIDDLE.issue(KEY, sign=False)), {}, "does not allow signing"),
        (signed(MIDDLE.issue(KEY, ca=True)), {}, "authority"),
        (signed(MIDDLE.issue(KEY, purpose=ExtendedKeyUsageOID.SERVER_AUTH)), {}, "signing code"),
        (signed(MIDDLE.issue(KEY, days=0)), {"at": NOW + timedelta(hours=1)}, "not valid"),
        (sign_with_certificate("m", FILES, KEY, CHAIN[:1]), {}, "no given root"),
        (sign_manifest("m", FILES, KEY), {}, "no chain"),
        (signed(LEAF, files={"a.onnx": "00" * 32}), {}, "does not cover"),
    ],
)
def test_each_lie_about_a_certificate_is_refused(
    bundle: bytes, changed: dict[str, object], message: str
) -> None:
    with pytest.raises(IntegrityError, match=message):
        verify(bundle, **changed)


def test_a_chain_that_the_bundle_brings_is_no_root_and_another_key_signs_nothing() -> None:
    stranger = authority("root")
    own = sign_with_certificate(
        "m", FILES, KEY, (stranger.issue(KEY), stranger.certificate, ROOT.certificate)
    )
    with pytest.raises(IntegrityError, match="no given root"):
        verify(own)
    with pytest.raises(InputError, match="not about this key"):
        sign_with_certificate("m", FILES, SigningKey.generate_p256(), CHAIN)
    with pytest.raises(InputError, match="roots and an identity"):
        verify(identity="")
    with pytest.raises(InputError, match="roots and an identity"):
        verify(roots=[])


def test_every_changed_byte_of_the_payload_the_signature_and_the_leaf_is_refused() -> None:
    document = msgspec.json.decode(GOOD)
    envelope = document["dsseEnvelope"]
    held = document["verificationMaterial"]["x509CertificateChain"]["certificates"][0]
    for place, key in (
        (envelope, "payload"),
        (envelope["signatures"][0], "sig"),
        (held, "rawBytes"),
    ):
        whole = place[key]
        for at in range(0, len(whole) - 4, 7):
            place[key] = whole[:at] + ("A" if whole[at] != "A" else "B") + whole[at + 1 :]
            with pytest.raises(IntegrityError):
                verify(msgspec.json.encode(document))
        place[key] = whole


def test_the_reference_tool_reads_our_certificates(tmp_path: Path) -> None:
    from model_signing import verifying

    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "a.bin").write_bytes(b"weights")
    bundle = sign_with_certificate("model", folder_digests(tmp_path / "model"), KEY, CHAIN)
    (tmp_path / "sig").write_bytes(bundle)
    (tmp_path / "root.pem").write_bytes(ROOT.certificate.public_bytes(Encoding.PEM))
    verifying.Config().use_certificate_verifier(certificate_chain=[tmp_path / "root.pem"]).verify(
        tmp_path / "model", tmp_path / "sig"
    )


# -- tokens -------------------------------------------------------------------------------------

PIN = Secret(b"1234")


@needs_token
@pytest.mark.parametrize("label", ["p256", "ed"])
def test_a_key_signs_in_its_token_and_never_leaves_it(token: Path, label: str) -> None:
    key = TokenKey(token, f"pkcs11:token=T;object={label}", PIN)
    bundle = sign_manifest("m", FILES, key)
    assert verify_manifest(bundle, FILES, {"us": key.verify_key}) == "us"
    with pytest.raises(IntegrityError):
        verify_manifest(bundle, {**FILES, "b.json": "22" * 32}, {"us": key.verify_key})
    assert TokenKey(token, f"pkcs11:token=T;id={label}", PIN).verify_key.id == key.verify_key.id
    assert "1234" not in repr(key)


@needs_token
def test_a_token_that_does_not_open_says_why_and_never_the_pin(token: Path) -> None:
    with pytest.raises(UnavailableError, match="does not open with this PIN") as wrong:
        TokenKey(token, "pkcs11:token=T;object=p256", Secret(b"9999"))
    assert "9999" not in str(wrong.value)
    with pytest.raises(UnavailableError, match="cannot be used"):
        TokenKey(token, "pkcs11:token=U;object=p256", PIN)
    with pytest.raises(InputError, match="holds no key"):
        TokenKey(token, "pkcs11:token=T;object=other", PIN)
    with pytest.raises(UnavailableError, match="cannot be used"):
        TokenKey(Path("/nowhere.so"), "pkcs11:token=T;object=p256", PIN)


@needs_token
def test_a_key_in_a_token_signs_for_many_threads_at_once(token: Path) -> None:
    key = TokenKey(token, "pkcs11:token=T;object=p256", PIN)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(key.sign, [bytes([at]) for at in range(40)]))
    for at, signature in enumerate(made):
        key.verify_key.verify(signature, bytes([at]))


@pytest.mark.parametrize(
    "uri",
    ["", "token=T;object=k", "pkcs11:token=T", "pkcs11:object=k",
     "pkcs11:token=T;object=k;pin-value=1", "pkcs11:token=T;token=U;object=k"],
)  # fmt: skip
def test_a_malformed_uri_is_refused(uri: str) -> None:
    with pytest.raises(InputError, match="URI"):
        TokenKey(MODULE, uri, PIN)


# -- keyless ------------------------------------------------------------------------------------

RECORDED = Path(__file__).parent / "keyless"
SIGNER, ISSUER = "stefanb@us.ibm.com", "https://sigstore.verify.ibm.com/oauth2"
LISTED = {"signme-1": "f6310066c7320497ea554260c32c43660bff648cb2a61194832cc086077085e1",
    "signme-2": "32dcb1f8e1ae52d5963e56a6ba06ab58b424c15ed2a6b70d2feca1d089370028"}  # fmt: skip


def keyless(
    bundle: bytes | None = None,
    files: dict[str, str] = LISTED,
    identity: str = SIGNER,
    issuer: str = ISSUER,
) -> str:
    return verify_keyless(
        (RECORDED / "model.sig").read_bytes() if bundle is None else bundle,
        files,
        trusted_root=RECORDED / "trusted_root.json",
        identity=identity,
        issuer=issuer,
    )


def test_a_recorded_keyless_signature_verifies_without_the_network() -> None:
    assert keyless() == SIGNER


@pytest.mark.parametrize(
    "changed",
    [
        {"identity": "someone@example.org"},
        {"issuer": "https://accounts.example.org"},
        {"files": {**LISTED, "signme-3": "00" * 32}},
        {"files": {"signme-1": LISTED["signme-1"]}},
        {"bundle": b"{}"},
        {"bundle": b"\xff"},
    ],
)
def test_each_lie_about_a_keyless_signature_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(IntegrityError):
        keyless(**changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "path",
    [
        ("dsseEnvelope", "payload"),
        ("dsseEnvelope", "signatures", 0, "sig"),
        ("verificationMaterial", "certificate", "rawBytes"),
        ("verificationMaterial", "tlogEntries", 0, "inclusionProof", "rootHash"),
        ("verificationMaterial", "tlogEntries", 0, "canonicalizedBody"),
    ],
)
def test_a_changed_part_of_a_keyless_bundle_is_refused(path: tuple[str | int, ...]) -> None:
    document = msgspec.json.decode((RECORDED / "model.sig").read_bytes())
    place = document
    for step in path[:-1]:
        place = place[step]
    value = place[path[-1]]
    middle = len(value) // 2
    place[path[-1]] = value[:middle] + ("A" if value[middle] != "A" else "B") + value[middle + 1 :]
    with pytest.raises(IntegrityError):
        keyless(msgspec.json.encode(document))


def test_an_identity_and_its_issuer_are_mandatory() -> None:
    for missing in ({"identity": ""}, {"issuer": ""}):
        with pytest.raises(InputError, match="needed"):
            keyless(**missing)


# -- folders ------------------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "w.bin").write_bytes(os.urandom(100_000))
    (folder / "sub" / "c.json").write_text("{}")
    return folder


def test_nothing_in_a_folder_is_skipped(model: Path) -> None:
    key = SigningKey.generate()
    bundle = sign_manifest("model", folder_digests(model), key)

    def check() -> None:
        assert verify_manifest(bundle, folder_digests(model), {"us": key.verify_key}) == "us"

    check()
    (model / ".git").mkdir()
    (model / ".git" / "config").write_text("x")
    with pytest.raises(IntegrityError, match=r"does not cover `.git/config`"):
        check()
    (model / ".git" / "config").unlink()
    with pytest.raises(IntegrityError, match="is empty"):
        check()
    (model / ".git").rmdir()
    (model / "link").symlink_to(model / "w.bin")
    with pytest.raises(IntegrityError, match="is a link"):
        check()
    (model / "link").unlink()
    os.mkfifo(model / "pipe")
    with pytest.raises(IntegrityError, match="no file"):
        check()
    (model / "pipe").unlink()
    (model / "w.bin").rename(model / "v.bin")
    with pytest.raises(IntegrityError, match=r"does not cover `v.bin`"):
        check()
    (model / "v.bin").rename(model / "w.bin")
    (model / ".hidden").write_text("")
    with pytest.raises(IntegrityError, match=r"does not cover `.hidden`"):
        check()
    (model / ".hidden").unlink()
    check()
    with (model / "w.bin").open("r+b") as file:
        file.write(b"\0")
    with pytest.raises(IntegrityError, match="other bytes"):
        check()


def test_only_the_signature_itself_is_left_out(model: Path, tmp_path: Path) -> None:
    (model / "model.sig").write_text("{}")
    assert "model.sig" in folder_digests(model)
    assert "model.sig" not in folder_digests(model, without=model / "model.sig")
    with pytest.raises(InputError, match="no folder"):
        folder_digests(tmp_path / "none")
    (tmp_path / "to").symlink_to(model)
    with pytest.raises(InputError, match="no folder"):
        folder_digests(tmp_path / "to")


def test_keys_in_files_are_read_with_or_without_a_password() -> None:
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    assert SigningKey.from_pem(pem).verify_key.is_ed25519 is False

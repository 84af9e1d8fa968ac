"""Keys: providers, keyring, sealed messages, signatures, model signatures, certificates."""

import json
import ssl
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.base import (
    InputError,
    IntegrityError,
    Permit,
    RefusedError,
    SealedError,
    Secret,
    UnavailableError,
)
from vallum.crypto import (
    FileKeyProvider,
    Keyring,
    Purpose,
    SigningKey,
    VerifyKey,
    derive,
    expires_at,
    mac,
    make_certificates,
    seal,
    sign_envelope,
    sign_manifest,
    unseal,
    verify_envelope,
    verify_mac,
    verify_manifest,
)
from vallum.crypto.signing import pre_authentication

WORKSPACE = "ws-1"
KEY = Secret(b"k" * 32)


def permit(resource: str) -> Permit:
    return Permit(
        request_digest="sha256:0", entry_id="ent-1", principal_id="user-1",
        grants=[("read", resource)], lifetime_s=60.0, monotonic=lambda: 0.0,
    )  # fmt: skip


# -- provider and keyring -----------------------------------------------------------------------


@pytest.mark.parametrize("passphrase", [None, Secret("correct horse")])
def test_a_keyring_opens_again_with_the_same_keys(
    tmp_path: Path, passphrase: Secret | None
) -> None:
    folder = tmp_path / "keys"
    provider = FileKeyProvider.create(folder, passphrase=passphrase)
    keyring, wrapped = Keyring.create(provider, WORKSPACE)
    again = Keyring.open(FileKeyProvider.open(folder, passphrase=passphrase), wrapped, WORKSPACE)
    for purpose in Purpose:
        assert keyring.derive(purpose) == again.derive(purpose)
    assert len({keyring.derive(purpose).reveal() for purpose in Purpose}) == len(Purpose)
    files = [path for path in folder.iterdir() if path.suffix == ".json"]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in files)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_wrong_or_missing_passphrase_keeps_it_sealed(tmp_path: Path) -> None:
    FileKeyProvider.create(tmp_path / "keys", passphrase=Secret("right"))
    with pytest.raises(SealedError, match="does not open"):
        FileKeyProvider.open(tmp_path / "keys", passphrase=Secret("wrong"))
    with pytest.raises(SealedError, match="need a passphrase"):
        FileKeyProvider.open(tmp_path / "keys")


@pytest.mark.parametrize("target", ["folder", "file"])
def test_keys_that_others_may_read_are_refused(tmp_path: Path, target: str) -> None:
    folder = tmp_path / "keys"
    FileKeyProvider.create(folder)
    (folder if target == "folder" else folder / "kek-1.json").chmod(0o755)
    with pytest.raises(SealedError) as caught:
        FileKeyProvider.open(folder)
    assert caught.value.code == "crypto.key-mode"
    assert caught.value.hint.startswith("chmod")


def test_rotation_rewraps_and_destroying_a_generation_destroys_what_it_wrapped(
    tmp_path: Path,
) -> None:
    provider = FileKeyProvider.create(tmp_path / "keys")
    keyring, _ = Keyring.create(provider, WORKSPACE)
    key, old = keyring.new_data_key("dver-1", "content")
    _, lost = keyring.new_data_key("dver-2", "content")
    assert provider.rotate() == 2
    new = keyring.rewrap(old, "dver-1", "content")
    assert new.generation == 2
    provider.destroy(1)
    kept = keyring.unwrap(permit("dver-1"), new, "dver-1", "content")
    assert kept.reveal() == key.reveal()
    with pytest.raises(SealedError, match="destroyed"):
        keyring.unwrap(permit("dver-2"), lost, "dver-2", "content")
    with pytest.raises(InputError):
        provider.destroy(2)


def test_a_rotation_meanwhile_brings_nothing_erased_back(tmp_path: Path) -> None:
    provider = FileKeyProvider.create(tmp_path / "keys")
    erased = [f"dver-{at}" for at in range(60)]
    turning = threading.Thread(target=lambda: [provider.rotate() for _ in range(60)])
    turning.start()
    for one in erased:
        provider.erase([one])
    turning.join()
    provider.destroy_older()
    for opened in (provider, FileKeyProvider.open(tmp_path / "keys")):
        assert opened.generation == 61
        for one in erased:
            with pytest.raises(SealedError, match="erased"):
                opened.shred_secret(one)


def test_an_erasure_that_cannot_be_written_is_told_and_changes_nothing(
    tmp_path: Path,
) -> None:
    provider = FileKeyProvider.create(tmp_path / "keys")
    before = provider.shred_secret("dver-1").reveal()
    (tmp_path / "keys" / "shreds").unlink()
    (tmp_path / "keys" / "shreds").mkdir()  # no file can take its place, for root neither
    with pytest.raises(UnavailableError, match="cannot be written"):
        provider.erase(["dver-1"])
    assert provider.shred_secret("dver-1").reveal() == before


def test_a_data_key_opens_for_its_own_subject_purpose_and_workspace_only(tmp_path: Path) -> None:
    provider = FileKeyProvider.create(tmp_path / "keys")
    keyring, _ = Keyring.create(provider, WORKSPACE)
    other, _ = Keyring.create(provider, "ws-2")
    _, wrapped = keyring.new_data_key("dver-1", "content")
    with pytest.raises(IntegrityError):
        keyring.unwrap(permit("dver-2"), wrapped, "dver-2", "content")
    with pytest.raises(IntegrityError):
        keyring.unwrap(permit("dver-1"), wrapped, "dver-1", "logs")
    with pytest.raises(IntegrityError):
        other.unwrap(permit("dver-1"), wrapped, "dver-1", "content")
    with pytest.raises(RefusedError):
        keyring.unwrap(permit("dver-2"), wrapped, "dver-1", "content")


def test_any_changed_byte_of_a_wrapped_key_is_refused(tmp_path: Path) -> None:
    import base64

    provider = FileKeyProvider.create(tmp_path / "keys")
    wrapped = provider.wrap(KEY, context=b"c")
    data = base64.b64decode(wrapped.ciphertext)
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1
        forged = msgspec.structs.replace(wrapped, ciphertext=base64.b64encode(changed).decode())
        with pytest.raises(IntegrityError):
            provider.unwrap(forged, context=b"c")


def test_a_closed_keyring_is_sealed(tmp_path: Path) -> None:
    keyring, _ = Keyring.create(FileKeyProvider.create(tmp_path / "keys"), WORKSPACE)
    keyring.close()
    with pytest.raises(SealedError):
        keyring.derive(Purpose.ROW_MAC)
    with pytest.raises(SealedError):
        keyring.new_data_key("dver-1", "content")


@pytest.mark.guarantee("G9")
def test_no_key_shows_in_a_repr(tmp_path: Path) -> None:
    provider = FileKeyProvider.create(tmp_path / "keys")
    keyring, _ = Keyring.create(provider, WORKSPACE)
    key, _ = keyring.new_data_key("dver-1", "content")
    shown = f"{provider!r} {keyring!r} {key!r} {keyring.derive(Purpose.DETAILS)!r}"
    assert key.reveal().hex() not in shown
    assert repr(key.reveal()) not in shown


# -- small things -------------------------------------------------------------------------------


def test_hkdf_gives_the_published_bytes() -> None:
    """RFC 5869, appendix A.1."""
    made = derive(
        Secret(bytes.fromhex("0b" * 22)),
        bytes.fromhex("f0f1f2f3f4f5f6f7f8f9"),
        salt=bytes.fromhex("000102030405060708090a0b0c"),
        length=42,
    )
    assert made.reveal().hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )


def test_a_mac_is_unambiguous_about_where_parts_end() -> None:
    assert mac(KEY, b"ab", b"c") != mac(KEY, b"a", b"bc")
    assert mac(KEY, b"ab") != mac(KEY, b"ab", b"")
    with pytest.raises(IntegrityError):
        verify_mac(KEY, mac(KEY, b"a"), b"b")


@given(st.binary(max_size=200), st.binary(max_size=50))
def test_sealed_messages_come_back(plaintext: bytes, associated: bytes) -> None:
    assert unseal(KEY, seal(KEY, plaintext, associated), associated) == plaintext


@settings(max_examples=100)
@given(position=st.integers(0, 52), mask=st.integers(1, 255))
def test_any_changed_byte_of_a_sealed_message_is_refused(position: int, mask: int) -> None:
    sealed = bytearray(seal(KEY, b"abcd", b"x"))
    sealed[position] ^= mask
    with pytest.raises(IntegrityError):
        unseal(KEY, bytes(sealed), b"x")


# -- signatures ---------------------------------------------------------------------------------


def test_ed25519_signs_as_published() -> None:
    """RFC 8032, section 7.1, test 3."""
    key = SigningKey.from_seed(
        Secret(bytes.fromhex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7"))
    )
    assert key.sign(bytes.fromhex("af82")).hex() == (
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
    )


def test_dsse_signs_what_its_specification_shows() -> None:
    """DSSE v1, protocol.md: PAE of the test vector."""
    assert pre_authentication("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


@pytest.mark.parametrize("make", [SigningKey.generate, SigningKey.generate_p256])
def test_an_envelope_verifies_under_a_trusted_key_only(make: Callable[[], SigningKey]) -> None:
    key, other = make(), SigningKey.generate_p256()
    envelope = sign_envelope("application/x", b"payload", [key])
    payload, signer = verify_envelope(
        envelope, payload_type="application/x", trusted=[other.verify_key, key.verify_key]
    )
    assert payload == b"payload"
    assert signer.id == key.verify_key.id
    for trusted, kind in (([other.verify_key], "application/x"), ([key.verify_key], "other")):
        with pytest.raises(IntegrityError):
            verify_envelope(envelope, payload_type=kind, trusted=trusted)


@pytest.mark.parametrize("password", [None, Secret("pw")])
def test_private_keys_round_trip_as_pem(password: Secret | None) -> None:
    for key in (SigningKey.generate(), SigningKey.generate_p256()):
        again = SigningKey.from_pem(key.to_pem(password=password), password=password)
        VerifyKey.from_pem(key.verify_key.to_pem()).verify(again.sign(b"x"), b"x")
    with pytest.raises(InputError):
        SigningKey.from_pem(b"nonsense")


FILES = {"model.onnx": "11" * 32, ".git/config": "22" * 32, "a/b.json": "33" * 32}


def test_a_model_signature_covers_every_file_and_nothing_else() -> None:
    key = SigningKey.generate_p256()
    bundle = sign_manifest("risk", FILES, key)
    trusted = {"release": key.verify_key}
    assert verify_manifest(bundle, FILES, trusted) == "release"
    added = {**FILES, ".git/hooks": "44" * 32}
    removed = {path: value for path, value in FILES.items() if path != "a/b.json"}
    renamed = {**removed, "a/c.json": "33" * 32}
    changed = {**FILES, "model.onnx": "12" * 32}
    for files in (added, removed, renamed, changed):
        with pytest.raises(IntegrityError) as caught:
            verify_manifest(bundle, files, trusted)
        assert caught.value.code == "signature.invalid"
    with pytest.raises(IntegrityError, match="release identity"):
        verify_manifest(bundle, FILES, {"other": SigningKey.generate_p256().verify_key})


def test_any_changed_field_of_a_model_signature_is_refused() -> None:
    key = SigningKey.generate_p256()
    bundle = sign_manifest("risk", FILES, key)
    for position in range(0, len(bundle), 7):
        changed = bytearray(bundle)
        changed[position] ^= 4
        try:
            signer = verify_manifest(bytes(changed), FILES, {"release": key.verify_key})
        except IntegrityError:
            continue
        # Only what is neither signed nor used may differ: media type, key hint, unknown members.
        text = json.loads(bytes(changed).decode("utf-8", "replace"))
        assert signer == "release"
        assert text["dsseEnvelope"]["payload"] == json.loads(bundle)["dsseEnvelope"]["payload"]


def test_the_reference_tool_verifies_our_signature(tmp_path: Path) -> None:
    import hashlib

    verifying = pytest.importorskip("model_signing.verifying")
    model = tmp_path / "model"
    model.mkdir()
    contents = {"model.onnx": b"weights", "config.json": b"{}"}
    for name, data in contents.items():
        (model / name).write_bytes(data)
    key = SigningKey.generate_p256()
    files = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    bundle = tmp_path / "model.sig"
    bundle.write_bytes(sign_manifest("model", files, key))
    public = tmp_path / "key.pem"
    public.write_bytes(key.verify_key.to_pem())
    verifier = verifying.Config().use_elliptic_key_verifier(public_key=public)
    verifier.verify(model, bundle)
    (model / "config.json").write_bytes(b"[]")
    with pytest.raises(ValueError, match="mismatch"):
        verifier.verify(model, bundle)


def test_the_local_authority_makes_a_certificate_that_clients_accept(tmp_path: Path) -> None:
    now = datetime(2026, 11, 20, tzinfo=UTC)
    made = make_certificates(["127.0.0.1", "localhost", "vallum.example"], now=now)
    paths = {}
    for name in ("ca", "server", "server_key"):
        paths[name] = tmp_path / name
        paths[name].write_bytes(getattr(made, name))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(paths["server"], paths["server_key"])
    client = ssl.create_default_context(cafile=str(paths["ca"]))
    assert client.verify_mode is ssl.CERT_REQUIRED
    assert (expires_at(made.server) - now).days == 397
    assert "PRIVATE" not in repr(made)

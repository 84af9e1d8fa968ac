"""Signing through Sigstore: the project's own mock services on loopback, and each way it fails."""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vallum.base import InputError, IntegrityError, Secret, UnavailableError
from vallum.cli.app import run
from vallum.crypto.folder import model_digests
from vallum.crypto.keyless import sign_keyless, verify_keyless

TESTS = Path(__file__).parents[2]
WHO = "https://ci.example.org/release/workflow@main"
ISSUER = "https://accounts.example.org"
FILES = {"a.onnx": "00" * 32, "b.json": "11" * 32}


def identity_token(**changed: object) -> Secret:
    """Return a token as an OpenID provider makes it; the mock of Fulcio checks no signature."""
    now = int(time.time())
    claims = {
        "iss": ISSUER, "sub": WHO, "aud": "sigstore", "iat": now, "exp": now + 300, **changed,
    }  # fmt: skip
    parts = [{"alg": "RS256", "typ": "JWT"}, claims]
    held = [base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=") for one in parts]
    return Secret(b".".join([*held, b"c2lnbmF0dXJl"]))


@pytest.fixture(scope="module")
def sigstore(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The trust configuration of a Sigstore on loopback."""
    node = shutil.which("node")
    if node is None or not (TESTS / "node_modules/@sigstore/mock").is_dir():
        pytest.skip("Sigstore's mock services are not installed (tools/setup test)")
    config = tmp_path_factory.mktemp("sigstore") / "trust.json"
    with subprocess.Popen(  # noqa: S603 - our own script
        [node, str(TESTS / "sigstore_services.cjs")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        config.write_bytes(process.stdout.readline())
        yield config
        process.terminate()


def test_a_model_is_signed_as_whom_the_token_names_and_verifies(sigstore: Path) -> None:
    made = sign_keyless("m", FILES, token=identity_token(), trust_config=sigstore)
    assert (made.identity, made.issuer) == (WHO, ISSUER)

    def verify(files: dict[str, str] = FILES, identity: str = WHO, issuer: str = ISSUER) -> str:
        return verify_keyless(
            made.bundle, files, trusted_root=sigstore, identity=identity, issuer=issuer
        )

    assert verify() == WHO
    with pytest.raises(IntegrityError, match="covers other bytes"):
        verify({**FILES, "b.json": "22" * 32})
    with pytest.raises(IntegrityError, match="does not verify"):
        verify(identity="https://ci.example.org/other")
    with pytest.raises(IntegrityError, match="does not verify"):
        verify(issuer="https://elsewhere.example.org")
    for missing in ({"identity": ""}, {"issuer": ""}):
        with pytest.raises(InputError, match="identity and its issuer"):
            verify(**missing)


def test_another_sigstore_vouches_for_nothing(sigstore: Path, tmp_path: Path) -> None:
    made = sign_keyless("m", FILES, token=identity_token(), trust_config=sigstore)
    public = Path(__file__).parent / "keyless" / "trusted_root.json"
    with pytest.raises(IntegrityError):
        verify_keyless(made.bundle, FILES, trusted_root=public, identity=WHO, issuer=ISSUER)
    # Services that hand out what their own published keys do not vouch for: nothing is given out.
    config = json.loads(sigstore.read_text())
    config["trustedRoot"] = json.loads(public.read_text())
    (tmp_path / "mixed.json").write_text(json.dumps(config))
    with pytest.raises((UnavailableError, IntegrityError)):
        sign_keyless("m", FILES, token=identity_token(), trust_config=tmp_path / "mixed.json")


@pytest.mark.parametrize(
    "token",
    [
        identity_token(exp=1),
        identity_token(aud="other"),
        identity_token(sub=None),
        Secret(b"not a token"),
        Secret(b""),
    ],
)
def test_a_token_of_no_use_is_refused_and_not_repeated(sigstore: Path, token: Secret) -> None:
    with pytest.raises(InputError, match="identity token") as caught:
        sign_keyless("m", FILES, token=token, trust_config=sigstore)
    assert caught.value.code == "crypto.identity-token"
    held = token.reveal().decode()
    assert not held or held not in f"{caught.value} {caught.value.hint}"


def test_without_a_token_it_says_what_to_give(
    sigstore: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GITHUB_ACTIONS", "GITLAB_CI", "CIRCLECI", "BUILDKITE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("id._internal.oidc.ambient._GCP_PRODUCT_NAME_FILE", "/nowhere")
    with pytest.raises(InputError, match="nothing here says who signs") as caught:
        sign_keyless("m", FILES, token=None, trust_config=sigstore)
    assert "--identity-token-file" in caught.value.hint


def test_a_trust_configuration_of_no_use_is_refused(sigstore: Path, tmp_path: Path) -> None:
    config = json.loads(sigstore.read_text())
    config["signingConfig"]["caUrls"][0]["url"] = "http://fulcio.example.org"
    for name, text, message in (
        ("clear.json", json.dumps(config), "in the clear"),
        ("empty.json", "{}", "no client trust configuration"),
        ("text.json", "?", "no client trust configuration"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=message):
            sign_keyless("m", FILES, token=identity_token(), trust_config=tmp_path / name)
    with pytest.raises(InputError, match="no client trust configuration"):
        sign_keyless("m", FILES, token=identity_token(), trust_config=tmp_path / "none")


# -- the command --------------------------------------------------------------------------------


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "w.bin").write_bytes(b"weights")
    token = tmp_path / "id.token"
    token.touch(mode=0o600)
    token.write_bytes(identity_token().reveal() + b"\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(capfd: pytest.CaptureFixture[str]) -> dict[str, object]:
    answer = json.loads(capfd.readouterr().out)
    assert isinstance(answer, dict)
    return answer


def test_folders_and_files_are_signed_and_verified_by_commands(
    sigstore: Path, desk: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = ["--trust-config", str(sigstore)]
    sign = ["--identity-token-file", "id.token", "--keyless", *config]
    who = ["--trusted-root", str(sigstore), "--identity", WHO, "--issuer", ISSUER]
    for model in ("model", "model/w.bin"):
        assert run(["--json", "signature", "sign", model, *sign, "--dry-run"]) == 0
        assert said(capfd)["dry_run"] is True
        assert not (desk / f"{model}.sig").exists()
        assert run(["--json", "signature", "sign", model, *sign, "-o", "made.sig"]) == 0
        assert said(capfd) == {
            "schema": "vallum.signature/1", "files": 1, "identity": WHO, "issuer": ISSUER,
        }  # fmt: skip
        verify = ["--json", "signature", "verify", model, "--signature", "made.sig", *who]
        assert run(verify) == 0
        assert said(capfd)["signer"] == WHO
        (desk / "model" / "w.bin").write_bytes(b"others")
        assert run(verify) == 5
        capfd.readouterr()
        (desk / "model" / "w.bin").write_bytes(b"weights")


def test_without_the_network_nothing_is_written_and_the_cause_is_named(
    sigstore: Path, desk: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    config = json.loads(sigstore.read_text())
    for one in (*config["signingConfig"]["caUrls"], *config["signingConfig"]["rekorTlogUrls"]):
        one["url"] = "http://127.0.0.1:9"  # discard: nobody listens
    (desk / "down.json").write_text(json.dumps(config))
    for name in ("HTTPS_PROXY", "https_proxy"):  # no way to the public services either
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(name, str(desk / "home"))
    command = ["--json", "signature", "sign", "model", "--keyless", "--identity-token-file",
               "id.token", "-o", "made.sig"]  # fmt: skip
    for more, hint in (
        (["--trust-config", "down.json"], "are they up"),
        ([], "--trust-config FILE names the services"),
    ):
        assert run([*command, *more]) == 4
        answer = said(capfd)
        assert answer["code"] == "crypto.keyless"
        assert "gave no signature" in str(answer["message"])
        assert hint in str(answer["hint"])
        assert not (desk / "made.sig").exists()
        assert (desk / "id.token").read_text().strip() not in str(answer)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--keyless", "--key", "k.pem"],
        ["--identity-token-file", "id.token"],
        ["--trust-config", "x.json", "--key", "k.pem"],
    ],
)
@pytest.mark.usefixtures("desk")
def test_options_that_do_not_fit_are_refused(arguments: list[str]) -> None:
    assert run(["signature", "sign", "model", *arguments]) == 2


def test_a_single_file_is_what_the_reference_tool_takes_it_for(tmp_path: Path) -> None:
    from model_signing import verifying

    from vallum.crypto import SigningKey, sign_manifest

    (tmp_path / "w.bin").write_bytes(b"weights")
    key = SigningKey.generate_p256()
    (tmp_path / "sig").write_bytes(sign_manifest("w", model_digests(tmp_path / "w.bin"), key))
    (tmp_path / "key.pub").write_bytes(key.verify_key.to_pem())
    verifying.Config().use_elliptic_key_verifier(public_key=tmp_path / "key.pub").verify(
        tmp_path / "w.bin", tmp_path / "sig"
    )
    (tmp_path / "link").symlink_to(tmp_path / "w.bin")
    with pytest.raises(InputError, match="no file and no folder"):
        model_digests(tmp_path / "link")

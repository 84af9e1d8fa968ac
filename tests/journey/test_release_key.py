"""A workspace whose release key is in a token: started with it, without it, and back again."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from running import WIDTH, Up, deploy, prepare, request, running
from tokens import needs_token

pytestmark = [needs_token, pytest.mark.slow]


def gateway_is_up(up: Up) -> None:
    end = time.monotonic() + 60
    while True:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", up.gateway_port)) == 0:
                return
        assert time.monotonic() < end, (up.folder / "up.log").read_text()
        time.sleep(0.1)


def start(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Start `vallum up` where it must not start."""
    return subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "vallum.cli", "--json", "up", "--data", str(folder / "data"),
         *arguments],
        check=False, capture_output=True, text=True, timeout=60, env=dict(os.environ),
    )  # fmt: skip


def test_a_workspace_signs_in_its_token_or_not_at_all(
    tmp_path: Path, token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin = tmp_path / "pin"
    pin.touch(mode=0o600)
    pin.write_text("1234\n")
    chosen = (
        "--release-key", "pkcs11:token=T;object=p256", "--pkcs11-module", str(token),
        "--pin-file", str(pin),
    )  # fmt: skip
    with running(tmp_path) as up:
        prepare(up)  # `small` is signed with the derived key
        (first,) = up.owner.models.show("small").signatures
        assert first.key_kind == "derived"
    with running(tmp_path, arguments=chosen) as up:
        up.owner.models.sign("small")
    with running(tmp_path) as up:  # the next start remembers
        up.owner.models.sign("small")
        shown = up.owner.models.show("small").signatures
        assert [one.key_kind for one in shown] == ["derived", "token", "token"]
        assert [one.name for one in shown] == ["author", "owner", "owner"]
        told = up.owner.models.verify("small").text
        assert first.key_id[:16] in told
        assert shown[-1].key_id[:16] in told
        gateway_is_up(up)
        key = deploy(up, "signed")
        assert up.score("signed", request([[1.0] * WIDTH]), key=key).status_code == 200
    # The token is unplugged: nothing serves, and no other key takes its place.
    plugged = os.environ["SOFTHSM2_CONF"]
    (tmp_path / "none").mkdir()
    (tmp_path / "conf").write_text(f"directories.tokendir = {tmp_path}/none\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "conf"))
    for arguments in ((), chosen):
        done = start(tmp_path, *arguments)
        assert done.returncode == 4, done.stderr
        said = json.loads(done.stdout)
        assert (said["code"], said["message"]) == (
            "crypto.token", "the token `T` cannot be used: NoSuchToken",
        )  # fmt: skip
        assert "plugged in" in said["hint"]
        assert "1234" not in done.stdout + done.stderr
    monkeypatch.setenv("SOFTHSM2_CONF", plugged)
    pin.chmod(0o644)
    done = start(tmp_path)
    assert (done.returncode, json.loads(done.stdout)["code"]) == (2, "sdk.key-file")
    pin.chmod(0o600)
    with running(tmp_path) as up:
        assert up.owner.models.verify("small").text == told
        keys = up.owner.release_keys.list()
        assert [(one.kind, bool(one.until)) for one in keys] == [
            ("derived", True), ("token", False),
        ]  # fmt: skip
        assert up.owner.workspace.verify().findings == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--release-key", "pkcs11:token=T;object=p256"), "needs the token's library"),
        (
            ("--release-key", "pkcs11:token=T;object=p256", "--pkcs11-module", "x.so"),
            "PIN of the release key's token is missing",
        ),
        (("--pkcs11-module", "x.so"), "belongs to --release-key"),
        (("--release-key", "derived", "--pkcs11-module", "x.so"), "belongs to --release-key"),
    ],
)
def test_options_that_do_not_lead_to_a_key_make_no_workspace(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = start(tmp_path, *arguments)
    assert done.returncode in {2, 4}
    assert message in json.loads(done.stdout)["message"]
    assert not (tmp_path / "data").exists()

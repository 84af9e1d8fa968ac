"""A SoftHSM token for tests: one a process, since the library reads its configuration once."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
needs_token = pytest.mark.skipif(
    not MODULE.exists() or shutil.which("softhsm2-util") is None, reason="no SoftHSM here"
)
LABELS = ("p256", "ed", "spare")


def make_token(folder: Path) -> Path:
    """Make token `T` with a key pair for each of `LABELS`, PIN 1234; return its configuration.

    Whoever loads the library needs `SOFTHSM2_CONF` to name that.
    """
    (folder / "keys").mkdir()
    config = folder / "conf"
    config.write_text(f"directories.tokendir = {folder}/keys\n")
    words = "--init-token --free --label T --so-pin 4321 --pin 1234"
    subprocess.run(  # noqa: S603 - as written
        [str(shutil.which("softhsm2-util")), *words.split()],
        check=True, capture_output=True, env={**os.environ, "SOFTHSM2_CONF": str(config)},
    )  # fmt: skip
    return config


def fill_token() -> None:
    """Draw the keys in the token that `SOFTHSM2_CONF` names; they never leave it."""
    pkcs11 = pytest.importorskip("pkcs11")
    from pkcs11.util import ec

    opened = pkcs11.lib(str(MODULE)).get_token(token_label="T")
    curve, edwards = ec.encode_named_curve_parameters("secp256r1"), b"\x13\x0cedwards25519"
    with opened.open(user_pin="1234", rw=True) as session:
        for label in LABELS:
            kind = pkcs11.KeyType.EC_EDWARDS if label == "ed" else pkcs11.KeyType.EC
            given = edwards if label == "ed" else curve
            session.create_domain_parameters(
                kind, {pkcs11.Attribute.EC_PARAMS: given}, local=True
            ).generate_keypair(store=True, label=label, id=label.encode())

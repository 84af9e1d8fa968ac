"""Container images made by the tools that people use: umoci builds, skopeo carries."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from images import DEBIAN, PASSWD, STATUS, tar

from vallum.base import InputError, UnavailableError
from vallum.cli.registry import fetch_image
from vallum.crypto import SigningKey
from vallum.scan.image import (
    ImageReport,
    ImageRules,
    add_signature,
    open_layout,
    payload_of,
    scan_image,
)

TOOLS = ("umoci", "skopeo", "docker-registry")
MISSING = [one for one in TOOLS if shutil.which(one) is None]
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"Debian packages are missing: {', '.join(MISSING)}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="umoci keeps owners only as root"),
]
KEY = SigningKey.generate_p256()


def tool(*argv: str | Path) -> str:
    done = subprocess.run(  # noqa: S603 - fixed programs
        [str(one) for one in argv], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def build(folder: Path) -> Path:
    """Build an image with umoci: a base layer and an application."""
    layout, app = folder / "layout", folder / "app"
    tool("umoci", "init", "--layout", layout)
    image = f"{layout}:app"
    tool("umoci", "new", "--image", image)
    base = folder / "base.tar"
    base.write_bytes(tar(("etc/os-release", DEBIAN), ("etc/passwd", PASSWD),
                         ("var/lib/dpkg/status", STATUS)))  # fmt: skip
    tool("umoci", "raw", "add-layer", "--image", image, base)
    app.write_text("print('hello')\n")
    tool("umoci", "insert", "--image", image, app, "/app/score.py")
    tool("umoci", "config", "--image", image, "--config.user", "score")
    return layout


def digest_of(layout: Path) -> str:
    index = json.loads((layout / "index.json").read_text())
    name = "org.opencontainers.image.ref.name"
    listed = index["manifests"]
    return str(next(one["digest"] for one in listed if one["annotations"][name] == "app"))


def judged(layout: Path, rules: ImageRules | None = None) -> ImageReport:
    given = ImageRules(date(2026, 6, 1)) if rules is None else rules
    return judged_at(layout, digest_of(layout), given)


def judged_at(layout: Path, digest: str, rules: ImageRules) -> ImageReport:
    return scan_image("image", open_layout(layout), rules, digest=digest)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@contextlib.contextmanager
def registry(folder: Path) -> Iterator[str]:
    """Run a registry on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    config = folder / "registry.yaml"
    config.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder}/store}}}}\n"
        f"http: {{addr: {address}}}\nlog: {{level: error}}\n"
    )
    process = subprocess.Popen(  # noqa: S603 - a fixed program
        ["/usr/bin/docker-registry", "serve", str(config)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(address.split(":"), 1):  # type: ignore[arg-type]  # a port may be text
                break
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(10)


def test_image_and_signature_come_back_from_a_registry_as_they_went(tmp_path: Path) -> None:
    layout = build(tmp_path)
    digest = digest_of(layout)
    with registry(tmp_path) as address:
        name = f"{address}/scoring"
        payload = payload_of(digest, f"{name}:app")
        made = add_signature(open_layout(layout), digest, payload, KEY.sign(payload))
        for one, data in made.blobs.items():
            (layout / "blobs/sha256" / one.removeprefix("sha256:")).write_bytes(data)
        (layout / "index.json").write_bytes(made.index)
        rules = ImageRules(date(2026, 6, 1), verifiers=(KEY.verify_key.signer,))
        assert judged(layout, rules).images[0].signers == (KEY.verify_key.id,)
        for tag in ("app", digest.replace(":", "-") + ".sig"):
            tool("skopeo", "copy", "--preserve-digests", "--dest-tls-verify=false",
                 f"oci:{layout}:{tag}", f"docker://{name}:{tag}")  # fmt: skip
        copy = tmp_path / "copy"
        signature = digest.replace(":", "-") + ".sig"
        for source, tag in ((f"{name}@{digest}", "app"), (f"{name}:{signature}", signature)):
            tool("skopeo", "copy", "--preserve-digests", "--src-tls-verify=false",
                 f"docker://{source}", f"oci:{copy}:{tag}")  # fmt: skip
        assert digest_of(copy) == digest
        assert judged(copy, rules).images[0].signers == (KEY.verify_key.id,)
        other = ImageRules(date(2026, 6, 1), verifiers=(SigningKey.generate().verify_key.signer,))
        assert judged(copy, other).file.findings[0].id == "image.signature"
        fetched = _made(tmp_path / "fetched")
        assert fetch_image(f"docker://{name}@{digest}", fetched, plain_http=True) == digest
        assert judged_at(fetched, digest, rules).images[0].signers == (KEY.verify_key.id,)
        absent = f"docker://{name}@sha256:{'0' * 64}"
        with pytest.raises(UnavailableError, match="does not give the image"):
            fetch_image(absent, _made(tmp_path / "absent"), plain_http=True)
        credentials = tmp_path / "auth.json"
        credentials.write_text("{}")
        credentials.chmod(0o644)
        with pytest.raises(InputError, match="others may read"):
            fetch_image(absent, tmp_path, auth_file=credentials)


@pytest.mark.parametrize(
    "reference",
    ["docker://h/scoring:app", "oci:/etc@sha256:" + "0" * 64, "docker://--x@sha256:" + "0" * 64,
     "docker://h/a b@sha256:" + "0" * 64, "docker://u:p@h/a@sha256:" + "0" * 64],
)  # fmt: skip
def test_what_is_no_image_with_a_digest_is_not_fetched(reference: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no image with a digest"):
        fetch_image(reference, tmp_path)

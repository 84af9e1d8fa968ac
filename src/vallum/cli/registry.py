"""Images from registries, by skopeo (Debian package): copied as they are, checked by their digest.

Credentials never stand in an argument: skopeo reads them from a file that is yours alone.
"""

import hashlib
import json
import re
import shutil
import tempfile
from pathlib import Path

import msgspec

from vallum.base import InputError, UnavailableError
from vallum.cli.border import read_private
from vallum.sandbox import spawn

_REFERENCE = re.compile(
    r"docker://([a-z0-9.:-]+(?:/[a-z0-9._-]+)+)(?::[\w.-]{1,128})?@(sha256:[0-9a-f]{64})"
)
_BLOB = re.compile(r"[0-9a-f]{64}")
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_TIMEOUT_S = 1800.0
_SAID = 300  # characters of what skopeo says


def fetch_image(
    reference: str, folder: Path, *, auth_file: Path | None = None, plain_http: bool = False
) -> str:
    """Copy an image, with its signatures, into an OCI layout.

    Args:
        reference: `docker://HOST/NAME@sha256:…`.
        folder: To be the layout; exists and is empty.
        auth_file: Credentials in the form of `skopeo login --authfile`, readable by you alone.
        plain_http: The registry has no TLS, such as one on loopback.

    Returns:
        The digest of the image.

    Raises:
        InputError: The reference has no digest, or others may read the credentials.
        UnavailableError: skopeo is missing, or the registry does not give the image.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise InputError(
            f"`{reference[:120]}` is no image with a digest", code="image.reference",
            hint="docker://HOST/NAME@sha256:…; a tag can be moved",
        )  # fmt: skip
    if auth_file is not None:
        read_private(auth_file)  # or the reason why skopeo is not to
    name, digest = match[1], match[2]
    options = [] if auth_file is None else ["--src-authfile", str(auth_file.resolve())]
    options += ["--src-tls-verify=false"] if plain_http else []
    with tempfile.TemporaryDirectory() as held:
        image = Path(held) / "image"
        _skopeo(f"docker://{name}@{digest}", image, options)
        listed = [_adopt(image, folder, digest, {})]
        tag = digest.replace(":", "-") + ".sig"
        signed = Path(held) / "signature"
        try:
            _skopeo(f"docker://{name}:{tag}", signed, options)
        except UnavailableError:  # there is none: whoever asks for one finds out
            pass
        else:
            annotations = {"org.opencontainers.image.ref.name": tag}
            listed.append(_adopt(signed, folder, "", annotations))
    (folder / "oci-layout").write_bytes(b'{"imageLayoutVersion": "1.0.0"}')
    index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": listed}
    (folder / "index.json").write_bytes(msgspec.json.encode(index))
    return digest


def _skopeo(source: str, target: Path, options: list[str]) -> None:
    program = shutil.which("skopeo")
    if program is None:
        raise UnavailableError(
            "skopeo is not installed", code="image.skopeo", hint="sudo apt-get install skopeo"
        )
    # `dir:` keeps every byte, of Docker's manifests too; `--all`, every platform of an index.
    argv = [program, "copy", "--all", "--preserve-digests", "--remove-signatures", *options,
            source, f"dir:{target}"]  # fmt: skip
    home = str(target.parent)
    environment = {"HOME": home, "TMPDIR": home, "PATH": "/usr/bin:/bin"}
    with tempfile.TemporaryFile() as said:
        with spawn(argv, env=environment, log=said.fileno()) as process:
            code = process.wait(_TIMEOUT_S)
        if code:
            said.seek(0)
            text = said.read(1 << 20).decode("utf-8", "replace").strip().rpartition("\n")[2]
            plain = text if text.isprintable() else text.encode("unicode_escape").decode()
            raise UnavailableError(
                f"the registry does not give the image: {plain[-_SAID:]}", code="image.registry"
            )


def _adopt(
    copied: Path, folder: Path, digest: str, annotations: dict[str, str]
) -> dict[str, object]:
    """Move what skopeo wrote into a layout, and return the descriptor of its manifest.

    Raises:
        UnavailableError: The manifest has another digest than was asked for.
    """
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    top = (copied / "manifest.json").read_bytes()
    found = "sha256:" + hashlib.sha256(top).hexdigest()
    if digest and found != digest:
        raise UnavailableError("the registry gave another image", code="image.registry")
    (blobs / found.removeprefix("sha256:")).write_bytes(top)
    for path in copied.iterdir():
        name = path.name.removesuffix(".manifest.json")
        if _BLOB.fullmatch(name):
            path.rename(blobs / name)
    kind = json.loads(top).get("mediaType") or _MANIFEST
    return {
        "mediaType": kind, "digest": found, "size": len(top),
        **({"annotations": annotations} if annotations else {}),
    }  # fmt: skip

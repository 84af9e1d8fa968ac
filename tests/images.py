"""Small container images, written from scratch: each byte of them is the test's."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DEBIAN = b'ID=debian\nVERSION_ID="12"\n'
PASSWD = b"root:x:0:0::/root:/bin/sh\nscore:x:1000:1000::/home/score:/bin/sh\n"
STATUS = (
    b"Package: libssl3\nStatus: install ok installed\nSource: openssl\nVersion: 3.0.11-1~deb12u2\n"
    b"Architecture: amd64\n\n"
)


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def tar(*entries: tuple[str, bytes] | tuple[tarfile.TarInfo, bytes]) -> bytes:
    """Return a tar of files (path and content) or of given headers."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in entries:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            if info.isreg():
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def header(name: str, **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, b""


BASE = tar(
    ("etc/os-release", DEBIAN), ("etc/passwd", PASSWD), ("var/lib/dpkg/status", STATUS),
    header("bin", type=tarfile.SYMTYPE, linkname="usr/bin"),
    header("usr/bin/passwd", mode=0o4755),
)  # fmt: skip
APP = tar(("app/score.py", b"print('hello')\n"))


@dataclass
class Image:
    """An image to be: change one thing, and see what is said about it."""

    layers: list[bytes] = field(default_factory=lambda: [BASE, APP])
    run: dict[str, object] = field(default_factory=lambda: {"User": "score"})
    history: list[dict[str, object]] = field(default_factory=list)
    annotations: dict[str, str] = field(default_factory=dict)
    platform: tuple[str, str] = ("linux", "amd64")
    config_more: dict[str, object] = field(default_factory=dict)
    manifest_more: dict[str, object] = field(default_factory=dict)
    pack: Callable[[bytes], bytes] = lambda data: gzip.compress(data, mtime=0)

    @property
    def diff_ids(self) -> tuple[str, ...]:
        return tuple(sha256(one) for one in self.layers)

    def write(self, blobs: dict[str, bytes]) -> dict[str, object]:
        """Add the blobs, and return the descriptor of the manifest."""
        packed = [self.pack(one) for one in self.layers]
        config = json.dumps(
            {
                "os": self.platform[0], "architecture": self.platform[1], "config": self.run,
                "rootfs": {"type": "layers", "diff_ids": self.diff_ids}, "history": self.history,
                **self.config_more,
            }
        ).encode()  # fmt: skip
        manifest = json.dumps(
            {
                "schemaVersion": 2, "mediaType": MANIFEST, "annotations": self.annotations,
                "config": descriptor(CONFIG, config, blobs),
                "layers": [descriptor(LAYER, one, blobs) for one in packed], **self.manifest_more,
            }
        ).encode()  # fmt: skip
        return descriptor(MANIFEST, manifest, blobs)

    @property
    def digest(self) -> str:
        return str(self.write({})["digest"])


def descriptor(
    kind: str, data: bytes, blobs: dict[str, bytes], **more: object
) -> dict[str, object]:
    blobs[sha256(data)] = data
    return {"mediaType": kind, "digest": sha256(data), "size": len(data), **more}


def index(*manifests: dict[str, object]) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}).encode()


def files_of(blobs: dict[str, bytes], *manifests: dict[str, object]) -> dict[str, bytes]:
    """Return the files of a layout."""
    return {
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
        "index.json": index(*manifests),
        **{f"blobs/sha256/{one.removeprefix('sha256:')}": data for one, data in blobs.items()},
    }


def layout_tar(image: Image) -> bytes:
    blobs: dict[str, bytes] = {}
    top = image.write(blobs)
    return tar(*files_of(blobs, top).items())


def write_layout(folder: Path, image: Image) -> Path:
    blobs: dict[str, bytes] = {}
    top = image.write(blobs)
    for name, data in files_of(blobs, top).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder

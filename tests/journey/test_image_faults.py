"""Real images, built by umoci, with one fault each: every one is refused, the clean one passes.

The rules are the strictest: pinned, on a trusted base, signed by a trusted key, advisories known.
"""

import gzip
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from images import DEBIAN, PASSWD, STATUS, tar

from vallum.crypto import SigningKey
from vallum.scan import ScanVerdict
from vallum.scan.advisories import read_osv
from vallum.scan.image import (
    ImageReport,
    ImageRules,
    TrustedBase,
    Waiver,
    Written,
    add_signature,
    chain_id,
    open_layout,
    payload_of,
    scan_image,
)

UMOCI = shutil.which("umoci")
pytestmark = [
    pytest.mark.skipif(UMOCI is None, reason="the Debian package umoci is missing"),
    pytest.mark.skipif(os.geteuid() != 0, reason="umoci keeps owners only as root"),
]
TODAY = date(2026, 6, 1)
KEY = SigningKey.generate_p256()
VECTORS = Path(__file__).parents[1] / "vectors" / "rpm"
FIXED = STATUS.replace(b"deb12u2", b"deb12u3")
ALPINE = b"ID=alpine\nVERSION_ID=3.19.1\n"
ROCKY = b'ID="rocky"\nVERSION_ID="9.3"\n'
APK = b"P:busybox\nV:1.36.1-r14\nA:x86_64\no:busybox\n\n"
BASES = {
    "clean": (("etc/os-release", DEBIAN), ("etc/passwd", PASSWD), ("var/lib/dpkg/status", FIXED)),
    "dpkg": (("etc/os-release", DEBIAN), ("etc/passwd", PASSWD), ("var/lib/dpkg/status", STATUS)),
    "apk": (("etc/os-release", ALPINE), ("etc/passwd", PASSWD), ("lib/apk/db/installed", APK)),
    **{
        f"rpm {path}": (
            ("etc/os-release", ROCKY), ("etc/passwd", PASSWD),
            (f"var/lib/rpm/{path}", gzip.decompress((VECTORS / f"{path}.gz").read_bytes())),
        )
        for path in ("rpmdb.sqlite", "Packages.db", "Packages")
    },
}  # fmt: skip


def osv(identity: str, ecosystem: str, name: str, fixed: str) -> dict[str, object]:
    return {
        "id": identity, "modified": "2026-01-02T03:04:05Z", "summary": "Reads any file",
        "database_specific": {"severity": "HIGH"}, "affected": [{
            "package": {"ecosystem": ecosystem, "name": name},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": fixed}]}]}],
    }  # fmt: skip


KNOWN = {
    one.family: one
    for one in read_osv(json.dumps([
        osv("CVE-2026-0001", "Debian:12", "openssl", "3.0.11-1~deb12u3"),
        osv("CVE-2026-0002", "Alpine:v3.19", "busybox", "1.36.1-r15"),
        osv("CVE-2026-0003", "Rocky Linux:9", "openssl-libs", "1:3.0.7-24.el9"),
        osv("CVE-2026-0004", "PyPI", "requests", "2.31.0"),
        osv("CVE-2026-0005", "npm", "lodash", "4.17.21"),
    ]).encode())
}  # fmt: skip


def tool(*argv: str | Path) -> None:
    done = subprocess.run(  # noqa: S603 - a fixed program
        [str(UMOCI), *map(str, argv)], check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def made(folder: Path, base: str) -> Path:
    """Build an image with umoci: a base layer and an application, not as root."""
    folder.mkdir(parents=True)
    layout = folder / "layout"
    tool("init", "--layout", layout)
    tool("new", "--image", f"{layout}:app")
    (folder / "base.tar").write_bytes(tar(*BASES[base]))
    tool("raw", "add-layer", "--image", f"{layout}:app", folder / "base.tar")
    insert(layout, "app/score.py", b"print('hello')\n")
    tool("config", "--image", f"{layout}:app", "--config.user", "score")
    return layout


def insert(layout: Path, path: str, content: bytes, mode: int = 0o644) -> None:
    """Put a file into a layer of its own."""
    file = layout.parent / "file"
    file.write_bytes(content)
    file.chmod(mode)
    tool("insert", "--image", f"{layout}:app", file, f"/{path}")


def digest_of(layout: Path) -> str:
    listed = json.loads((layout / "index.json").read_text())["manifests"]
    name = "org.opencontainers.image.ref.name"
    return str(next(one["digest"] for one in listed if one["annotations"].get(name) == "app"))


def sign(layout: Path, key: SigningKey = KEY, digest: str = "") -> None:
    payload = payload_of(digest or digest_of(layout), "registry.example/scoring")
    signed = add_signature(open_layout(layout), digest_of(layout), payload, key.sign(payload))
    for one, data in signed.blobs.items():
        (layout / "blobs/sha256" / one.removeprefix("sha256:")).write_bytes(data)
    (layout / "index.json").write_bytes(signed.index)


def trusted(layout: Path) -> TrustedBase:
    """Trust the lowest layer of an image."""
    rules = ImageRules(TODAY)
    (facts,) = scan_image("base", open_layout(layout), rules, digest=digest_of(layout)).images
    return TrustedBase("base", chain_id(facts.diff_ids[:1]))


def judged(layout: Path, base: TrustedBase, *waivers: Waiver, pinned: bool = True) -> ImageReport:
    rules = ImageRules(
        TODAY, Written(trusted_bases=(base,), waivers=waivers), given=True, advisories=KNOWN.get,
        verifiers=(KEY.verify_key.signer,),
    )  # fmt: skip
    digest = digest_of(layout) if pinned else ""
    return scan_image("image", open_layout(layout), rules, digest=digest)


def worst(report: ImageReport) -> str:
    assert report.file.verdict is ScanVerdict.SUSPICIOUS
    return report.file.findings[0].id


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("clean") / "image", "clean")


@pytest.fixture
def copy(clean: Path, tmp_path: Path) -> Path:
    """Return a copy of the clean image, to be spoilt."""
    return Path(shutil.copytree(clean, tmp_path / "layout"))


def test_the_clean_image_passes_without_a_finding(copy: Path) -> None:
    sign(copy)
    report = judged(copy, trusted(copy))
    assert report.file.verdict is ScanVerdict.DATA_LIKE
    assert report.file.findings == ()
    assert report.images[0].signers == (KEY.verify_key.id,)


def test_a_mutable_tag_is_no_name(copy: Path) -> None:
    sign(copy)
    assert worst(judged(copy, trusted(copy), pinned=False)) == "image.not-pinned"


def test_a_base_that_nobody_trusts_is_refused(copy: Path) -> None:
    sign(copy)
    other = TrustedBase("other", "sha256:" + "0" * 64)
    assert worst(judged(copy, other)) == "image.base"


def test_an_unsigned_image_is_refused(copy: Path) -> None:
    assert worst(judged(copy, trusted(copy))) == "image.unsigned"


def test_a_signature_by_another_key_or_over_another_image_is_refused(
    copy: Path, tmp_path: Path
) -> None:
    again = Path(shutil.copytree(copy, tmp_path / "again"))
    sign(copy, SigningKey.generate_p256())
    assert worst(judged(copy, trusted(copy))) == "image.signature"
    sign(again, digest="sha256:" + "1" * 64)
    assert worst(judged(again, trusted(again))) == "image.signature"


PRIVATE = b"-----BEGIN PRIVATE KEY-----\n" + b"TUlJRXZRSUJBREFOQmdrcWhraUc5dzBC\n" * 4
TOKEN = "ghp_" + "a1B2" * 9
REQUESTS = b"Metadata-Version: 2.1\nName: requests\nVersion: 2.30.0\n"
LODASH = b'{"name": "lodash", "version": "4.17.20"}'


def configure(*options: str) -> Callable[[Path], None]:
    return lambda layout: tool("config", "--image", f"{layout}:app", *options)


def put(path: str, content: bytes, mode: int = 0o644) -> Callable[[Path], None]:
    return lambda layout: insert(layout, path, content, mode)


def deleted(layout: Path) -> None:
    insert(layout, "app/id_rsa", PRIVATE)
    tool("insert", "--image", f"{layout}:app", "--whiteout", "/app/id_rsa")


@pytest.mark.parametrize(
    ("spoil", "finding"),
    [
        pytest.param(configure("--config.user", "root"), "image.root", id="root"),
        pytest.param(configure("--config.user", "0:0"), "image.root", id="root by number"),
        pytest.param(put("usr/local/bin/tool", b"\x7fELF", 0o4755), "image.setuid", id="setuid"),
        pytest.param(put("usr/local/bin/tool", b"\x7fELF", 0o2755), "image.setuid", id="setgid"),
        pytest.param(put("app/id_rsa", PRIVATE), "secret.private_key", id="secret in a layer"),
        pytest.param(deleted, "secret.private_key", id="secret in a layer, deleted later"),
        pytest.param(
            configure("--history.created_by", f"RUN curl -H 'authorization: {TOKEN}' x"),
            "secret.token", id="secret in history",
        ),
        pytest.param(configure("--config.env", f"A={TOKEN}"), "secret.token", id="in a variable"),
        pytest.param(
            configure("--config.label", "api_token=9f8a7b6c5d4e3f2a1b0c"), "secret.named",
            id="in a label",
        ),
        pytest.param(
            put("opt/requests-2.30.0.dist-info/METADATA", REQUESTS), "package.advisory", id="Python"
        ),
        pytest.param(
            put("srv/a/node_modules/lodash/package.json", LODASH), "package.advisory", id="npm"
        ),
    ],
)  # fmt: skip
def test_one_fault_is_enough(copy: Path, spoil: Callable[[Path], None], finding: str) -> None:
    base = trusted(copy)
    spoil(copy)
    sign(copy)
    assert worst(judged(copy, base)) == finding


@pytest.mark.parametrize("kind", [one for one in BASES if one != "clean"])
def test_a_vulnerable_package_of_the_distribution_is_refused_until_it_is_waived(
    tmp_path: Path, kind: str
) -> None:
    layout = made(tmp_path / "image", kind)
    sign(layout)
    base = trusted(layout)
    report = judged(layout, base)
    assert worst(report) == "package.advisory"
    (name,) = {one.member.partition("/")[0] for one in report.file.findings}
    assert name == {"dpkg": "deb"}.get(kind, kind.partition(" ")[0])
    number = {"deb": 1, "apk": 2, "rpm": 3}[name]
    waiver = Waiver(f"CVE-2026-000{number}", TODAY, "the service does not use it")
    assert judged(layout, base, waiver).file.verdict is ScanVerdict.DATA_LIKE
    ended = Waiver(f"CVE-2026-000{number}", date(2026, 5, 31), "the service does not use it")
    assert worst(judged(layout, base, ended)) == "package.advisory"

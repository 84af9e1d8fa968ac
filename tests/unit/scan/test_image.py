"""Container images: a clean one passes the strictest rules, and each fault alone is refused."""

import base64
import bz2
import contextlib
import dataclasses
import json
import struct
import tarfile
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st
from images import (
    APP,
    BASE,
    DEBIAN,
    INDEX,
    PASSWD,
    STATUS,
    Image,
    descriptor,
    files_of,
    header,
    sha256,
    tar,
    write_layout,
)

from vallum.base import InputError, IntegrityError, LimitExceededError
from vallum.base.bounds import IMAGE, ImageBounds
from vallum.crypto import SigningKey, VerifyKey
from vallum.scan import ScanVerdict
from vallum.scan.advisories import Snapshot, read_osv
from vallum.scan.image import (
    ImageReport,
    ImageRules,
    TrustedBase,
    Waiver,
    Written,
    add_signature,
    chain_id,
    layout_of,
    open_layout,
    payload_of,
    read_report,
    read_rules,
    scan_image,
)
from vallum.scan.image.signature import signatures_of, tag_of, verify_signatures

TODAY = date(2026, 6, 1)
KEY = SigningKey.generate_p256()
VECTOR = Path(__file__).parents[2] / "vectors" / "cosign" / "vector.json"


def osv(name: str, ecosystem: str, fixed: str, **more: object) -> dict[str, object]:
    return {
        "id": "CVE-2026-0001", "modified": "2026-01-02T03:04:05Z", "summary": "Reads any file",
        "affected": [{"package": {"ecosystem": ecosystem, "name": name}, "ranges": [
            {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": fixed}]}]}], **more,
    }  # fmt: skip


KNOWN = {
    one.family: one
    for one in read_osv(json.dumps([
        osv("openssl", "Debian:12", "3.0.11-1~deb12u3", database_specific={"severity": "HIGH"}),
        osv("busybox", "Alpine:v3.19", "1.36.1-r15"), osv("requests", "PyPI", "2.31.0"),
        osv("lodash", "npm", "4.17.21", database_specific={"severity": "LOW"}),
        osv("openssl", "Rocky Linux:9", "1:3.0.7-24.el9"),
    ]).encode())
}  # fmt: skip
FIXED = STATUS.replace(b"deb12u2", b"deb12u3")
SOUND = BASE.replace(STATUS, FIXED)
TRUST = TrustedBase("debian:12", chain_id((sha256(SOUND),)), (sha256(b"debian manifest"),))
STRICT = Written(trusted_bases=(TRUST,))


def strict(written: Written = STRICT, **more: object) -> ImageRules:
    given: dict[str, object] = {
        "advisories": KNOWN.get, "verifiers": (KEY.verify_key.signer,), **more,
    }  # fmt: skip
    return ImageRules(TODAY, written, given=True, **given)  # type: ignore[arg-type]


def clean(**changes: object) -> Image:
    return dataclasses.replace(Image(layers=[SOUND, APP]), **changes)  # type: ignore[arg-type]


def signed(image: Image, key: SigningKey = KEY, digest: str = "") -> bytes:
    """Return the tar of a layout with an image and its signature."""
    blobs: dict[str, bytes] = {}
    top = image.write(blobs)
    layout = layout_of(tar(*files_of(blobs, top).items()))
    payload = payload_of(digest or image.digest, "registry.example/scoring")
    made = add_signature(layout, image.digest, payload, key.sign(payload))
    files = files_of({**blobs, **made.blobs})
    return tar(*{**files, "index.json": made.index}.items())


def judged(image: Image, rules: ImageRules | None = None, data: bytes = b"") -> ImageReport:
    given = strict() if rules is None else rules
    return scan_image("image", layout_of(data or signed(image)), given, digest=image.digest)


def said(report: ImageReport) -> list[tuple[str, str, str]]:
    return [(one.id, one.severity, one.member) for one in report.file.findings]


def test_a_clean_image_passes_the_strictest_rules_without_a_finding() -> None:
    image = clean()
    report = judged(image)
    assert said(report) == []
    assert report.file.verdict is ScanVerdict.DATA_LIKE
    assert "sha256:" + report.file.sha256 == image.digest
    (facts,) = report.images
    assert (facts.base, facts.user, facts.distribution) == ("debian:12", "score", "debian 12")
    assert facts.signers == (KEY.verify_key.id,)
    assert [(one.name, one.source) for one in facts.packages] == [("libssl3", "openssl")]


KEY_FILE = b"-----BEGIN OPENSSH PRIVATE KEY-----\n" + b"b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAE\n" * 4
CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 21, 0, 0, 0)


def capable(name: str) -> tuple[tarfile.TarInfo, bytes]:
    info, content = header(name, mode=0o755)
    info.pax_headers = {"SCHILY.xattr.security.capability": CAPABILITY.decode("latin-1")}
    return info, content


def with_layer(*entries: tuple[str, bytes] | tuple[tarfile.TarInfo, bytes]) -> Image:
    return clean(layers=[SOUND, APP, tar(*entries)])


def deleted(*entries: tuple[str, bytes]) -> Image:
    gone = [(f"{name.rpartition('/')[0]}/.wh.{name.rpartition('/')[2]}", b"")
            for name, _ in entries]  # fmt: skip
    return clean(layers=[SOUND, tar(*entries), tar(*gone)])


PYTHON = "usr/local/lib/python3.12/site-packages/requests-2.30.0.dist-info/METADATA"
REQUESTS = b"Metadata-Version: 2.1\nName: requests\nVersion: 2.30.0\n"
NPM = ("srv/node_modules/lodash/package.json", b'{"name": "lodash", "version": "4.17.20"}')

FAULTS: list[tuple[str, Image, str, str]] = [
    ("root by default", clean(run={}), "image.root", "config"),
    ("root by name", clean(run={"User": "root"}), "image.root", "config"),
    ("root by number", clean(run={"User": "0:1000"}), "image.root", "config"),
    ("root by a signed number", clean(run={"User": "+0"}), "image.root", "config"),
    ("root by another name", clean(run={"User": "toor"}, layers=[SOUND, tar(
        ("etc/passwd", PASSWD + b"toor:x:0:0::/:/bin/sh\n"))]), "image.root", "config"),
    ("root by a name that is a number", clean(run={"User": "1000"}, layers=[SOUND, tar(
        ("etc/passwd", b"1000:x:0:0::/:/bin/sh\n"))]), "image.root", "config"),
    ("root by a line without a number", clean(layers=[SOUND, tar(
        ("etc/passwd", b"score:x:many:0::/:/bin/sh\n"))]), "image.root", "config"),
    ("nobody knows who", clean(run={"User": "ghost"}), "image.user", "config"),
    ("a number beyond all", clean(run={"User": "4294967296"}), "image.user", "config"),
    ("setuid", with_layer(header("opt/tool", mode=0o4755)), "image.setuid", "layers[2]/opt/tool"),
    ("setgid", with_layer(header("opt/tool", mode=0o2755)), "image.setuid", "layers[2]/opt/tool"),
    ("setuid by a second name", with_layer(header(
        "opt/x", type=tarfile.LNKTYPE, linkname="usr/bin/passwd")), "image.setuid",
        "layers[2]/opt/x"),
    ("capabilities", with_layer(capable("opt/tool")), "image.capability", "layers[2]/opt/tool"),
    ("a device", with_layer(header("dev/sda", type=tarfile.BLKTYPE, devmajor=8)), "image.device",
        "layers[2]/dev/sda"),
    ("another device in its place", with_layer(header(
        "dev/null", type=tarfile.CHRTYPE, devmajor=1, devminor=1)), "image.device",
        "layers[2]/dev/null"),
    ("a program that all may change", with_layer(header("usr/bin/tool", mode=0o777)),
        "image.world-writable", "layers[2]/usr/bin/tool"),
    ("a folder of programs that all may change", with_layer(header(
        "usr/local/bin", type=tarfile.DIRTYPE, mode=0o777)), "image.world-writable",
        "layers[2]/usr/local/bin"),
    ("a private key", with_layer(("home/score/.ssh/id_ed25519", KEY_FILE)), "secret.private_key",
        "layers[2]/home/score/.ssh/id_ed25519"),
    ("a private key among libraries", with_layer(("usr/lib/x/key.pem", KEY_FILE)),
        "secret.private_key", "layers[2]/usr/lib/x/key.pem"),
    ("a deleted private key", deleted(("app/id_rsa", KEY_FILE)), "secret.private_key",
        "layers[1]/app/id_rsa"),
    ("a password in a file", with_layer(("app/settings.ini", b"[db]\npassword = s3cr3t-Xy!\n")),
        "secret.named", "layers[2]/app/settings.ini"),
    ("a registry's login", with_layer(("root/.docker/config.json",
        b'{"auths": {"r": {"auth": "dXNlcjpwYXNz"}}}')), "secret.file",
        "layers[2]/root/.docker/config.json"),
    ("npm's token", with_layer((".npmrc", b"//r/:_authToken=0f5d1c2e-1111\n")), "secret.file",
        "layers[2]/.npmrc"),
    ("a password in the environment", clean(run={"User": "score",
        "Env": ["DB_PASSWORD=s3cr3t-X1"]}),
        "secret.named", "env[DB_PASSWORD]"),
    ("a token in a label", clean(run={"User": "score", "Labels": {"ci": f"ghp_{'a1B2' * 9}"}}),
        "secret.token", "labels[ci]"),
    ("a token in the command", clean(run={"User": "score", "Cmd": ["run", "--password=s3cr3t-X1"]}),
        "secret.named", "cmd"),
    ("a password in the history", clean(history=[{"created_by":
        "RUN |1 API_TOKEN=9f8a7b6c5d4e3f2a1b0c curl https://h"}]), "secret.named", "history[0]"),
    ("an old package of Debian", clean(layers=[BASE]), "package.advisory", "deb/libssl3"),
    ("an old package of distroless", with_layer(("var/lib/dpkg/status.d/ssl",
        STATUS.replace(b"Status: install ok installed\n", b""))), "package.advisory",
        "deb/libssl3"),
    ("an old package of Python", with_layer((PYTHON, REQUESTS)), "package.advisory",
        "pypi/requests"),
    ("unreadable metadata", with_layer((PYTHON, b"nothing")), "image.packages-unread", PYTHON),
    ("packages that are gone from the list", with_layer(("var/lib/dpkg/.wh.status", b"")),
        "image.packages-missing", ""),
    ("another distribution", with_layer(("etc/os-release", b"ID=templeos\nVERSION_ID=5\n")),
        "image.packages-unmatched", ""),
    ("an absolute path", with_layer(("/etc/x", b"x")), "image.absolute-path", "layers[2]/etc/x"),
    ("a path to elsewhere", with_layer(("app/../../x", b"x")), "image.path-escape",
        "layers[2]/app/../../x"),
    ("a hard link to elsewhere", with_layer(header(
        "app/x", type=tarfile.LNKTYPE, linkname="../../etc/shadow")), "image.hard-link",
        "layers[2]/app/x"),
    ("a hard link to nothing", with_layer(header(
        "app/x", type=tarfile.LNKTYPE, linkname="etc/nothing")), "image.hard-link",
        "layers[2]/app/x"),
    ("a layer that is no tar", clean(layers=[SOUND, b"\x7fELF" + bytes(600)]),
        "archive.tar.checksum", ""),
    ("a layer in another packing", clean(pack=bz2.compress), "image.layer", ""),
    ("a layer that is cut short", clean(layers=[SOUND, APP[:520]]), "archive.tar.truncated", ""),
    ("bytes behind a layer", clean(layers=[SOUND, APP + b"x" * 512]), "archive.hidden-data", ""),
    ("another base", clean(layers=[tar(("etc/os-release", DEBIAN), ("etc/passwd", PASSWD),
        ("var/lib/dpkg/status", FIXED)), APP]), "image.base", "manifest"),
    ("no layer", clean(layers=[]), "image.layers", ""),
    ("a layer too many in the list", clean(config_more={"rootfs": {"type": "layers",
        "diff_ids": [sha256(SOUND)]}}), "image.layers", ""),
    ("another layer than listed", clean(config_more={"rootfs": {"type": "layers",
        "diff_ids": [sha256(SOUND), sha256(b"")]}}), "image.diff-id", ""),
    ("a manifest that is an index too", clean(manifest_more={"manifests": []}), "image.form", ""),
    ("a key in two cases", clean(run={"User": "score", "USER": "root"}), "image.form", ""),
    ("a known key in another case", clean(run={"User": "score", "ENV": ["A=b"]}), "image.form", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("image", "id_", "place"), [one[1:] for one in FAULTS], ids=[one[0] for one in FAULTS]
)
def test_each_fault_alone_is_refused(image: Image, id_: str, place: str) -> None:
    report = judged(image)
    worst = report.file.findings[0]
    assert (worst.id, worst.member) == (id_, place)
    assert worst.severity in ("critical", "high", "medium")
    assert report.file.verdict in (ScanVerdict.SUSPICIOUS, ScanVerdict.MALICIOUS)
    assert worst.atlas.startswith("AML.T")


def test_no_finding_repeats_a_secret() -> None:
    image = clean(run={"User": "score", "Env": ["DB_PASSWORD=s3cr3t-X1"]},
                  history=[{"created_by": "curl https://a:pa55-w0rd!@h/"}])  # fmt: skip
    text = repr(judged(image))
    assert "s3cr3t" not in text
    assert "pa55" not in text


def test_a_claim_about_the_base_is_checked_against_the_layers() -> None:
    claim = "org.opencontainers.image.base.digest"
    true = clean(annotations={claim: TRUST.digests[0]})
    assert said(judged(true)) == []
    other = clean(annotations={claim: sha256(b"other")})
    assert said(judged(other)) == [("image.base-claim", "medium", "manifest")]
    forged = clean(layers=[APP], run={"User": "7"}, annotations={claim: TRUST.digests[0]})
    assert said(judged(forged)) == [("image.base", "critical", "manifest")]


def test_an_image_must_be_named_by_its_digest_and_be_there() -> None:
    data = signed(clean())
    report = scan_image("image", layout_of(data), strict())
    assert said(report) == [("image.not-pinned", "medium", "")]
    with pytest.raises(InputError, match="holds no image"):
        scan_image("image", layout_of(data), strict(), digest=sha256(b"other"))


def test_what_was_not_asked_for_is_a_note_and_what_was_asked_for_is_refused() -> None:
    image = clean()
    plain = scan_image("image", layout_of(signed(image)), ImageRules(TODAY), digest=image.digest)
    notes = {("image.no-advisories", "low"), ("image.signature", "low"), ("image.base", "low")}
    assert {one[:2] for one in said(plain)} == notes
    assert plain.file.verdict is ScanVerdict.DATA_LIKE
    asked = ImageRules(TODAY, Written(), given=True)
    found = scan_image("image", layout_of(signed(image)), asked, digest=image.digest)
    assert {one[:2] for one in said(found)} == {(name, "high") for name, _ in notes}


# -- signatures ---------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [KEY, SigningKey.generate()])
def test_a_signature_counts_by_its_key_and_its_digest(key: SigningKey) -> None:
    image = clean()
    rules = strict(verifiers=(key.verify_key.signer,))
    assert said(judged(image, rules, signed(image, key))) == []
    by_another = judged(image, rules, signed(image, SigningKey.generate_p256()))
    assert said(by_another) == [("image.signature", "high", "")]
    of_another = judged(image, rules, signed(image, key, sha256(b"another")))
    assert said(of_another) == [("image.signature", "high", "")]
    assert of_another.file.findings[0].message == "the signature is of another image"


def test_an_image_without_a_signature_is_refused() -> None:
    image = clean()
    blobs: dict[str, bytes] = {}
    data = tar(*files_of(blobs, image.write(blobs)).items())
    assert said(judged(image, None, data)) == [("image.unsigned", "high", "")]


def test_a_further_signature_joins_the_first() -> None:
    image, other = clean(), SigningKey.generate()
    layout = layout_of(signed(image))
    payload = payload_of(image.digest)
    made = add_signature(layout, image.digest, payload, other.sign(payload))
    blobs: dict[str, bytes] = {}
    image.write(blobs)
    known = {**blobs, **made.blobs}
    for one in layout.blobs:
        known.setdefault(one, b"".join([bytes(layout._read("blobs/sha256/" + one[7:]))]))
    both = layout_of(tar(*{**files_of(known), "index.json": made.index}.items()))
    verifiers = (KEY.verify_key.signer, other.verify_key.signer)
    found = verify_signatures(signatures_of(both, image.digest, IMAGE), image.digest, verifiers)
    assert set(found) == {KEY.verify_key.id, other.verify_key.id}


def test_a_signature_by_cosign_itself_verifies() -> None:
    vector = json.loads(VECTOR.read_text())
    payload = base64.b64decode(vector["payload"])
    blobs: dict[str, bytes] = {}
    layer = descriptor(
        "application/vnd.dev.cosign.simplesigning.v1+json", payload, blobs,
        annotations={"dev.cosignproject.cosign/signature": vector["signature"]},
    )  # fmt: skip
    image = Image()
    image.layers = []
    image.manifest_more = {"layers": [layer]}
    manifest = image.write(blobs)
    manifest["annotations"] = {
        "org.opencontainers.image.ref.name": tag_of(vector["digest"]),
    }  # fmt: skip
    layout = layout_of(tar(*files_of(blobs, manifest).items()))
    key = VerifyKey.from_pem(vector["key"].encode())
    given = signatures_of(layout, vector["digest"], IMAGE)
    assert verify_signatures(given, vector["digest"], (key.signer,)) == (key.id,)
    with pytest.raises(IntegrityError, match="no trusted key"):
        verify_signatures(given, vector["digest"], (KEY.verify_key.signer,))


# -- waivers and severities ---------------------------------------------------------------------

OLD = Image(layers=[BASE, APP])
OLD_TRUST = TrustedBase("debian:12", chain_id((sha256(BASE),)))


def waived(*waivers: Waiver, **more: object) -> list[tuple[str, str]]:
    written = Written(trusted_bases=(OLD_TRUST,), waivers=waivers, **more)  # type: ignore[arg-type]
    return [one[:2] for one in said(judged(OLD, strict(written)))]


def test_a_waiver_lets_pass_until_its_last_day() -> None:
    assert waived() == [("package.advisory", "high")]
    assert waived(Waiver("CVE-2026-0001", TODAY, "no such call")) == [("package.advisory", "info")]
    assert waived(Waiver("CVE-2026-0001", TODAY, "why", place="deb/lib*")) == [
        ("package.advisory", "info")
    ]
    for no_help in (
        Waiver("CVE-2026-0001", date(2026, 5, 31), "ended"),
        Waiver("CVE-2026-0002", TODAY, "another"),
        Waiver("CVE-2026-0001", TODAY, "another place", place="deb/bash"),
        Waiver("libssl3", TODAY, "a name is no finding"),
    ):
        assert waived(no_help) == [("package.advisory", "high")], no_help


def test_what_is_about_bytes_cannot_be_waived() -> None:
    image = clean(layers=[SOUND, APP + b"x" * 512])
    written = Written(
        trusted_bases=(TRUST,), waivers=(Waiver("archive.hidden-data", TODAY, "please"),)
    )  # fmt: skip
    assert ("archive.hidden-data", "high", "") in said(judged(image, strict(written)))


def test_a_severity_below_the_limit_and_no_fix_can_be_let_pass() -> None:
    assert waived(severity="critical") == [("package.advisory", "info")]
    low = with_layer(NPM)
    assert said(judged(low)) == [("package.advisory", "info", "npm/lodash")]
    written = Written(trusted_bases=(TRUST,), severity="low")
    assert said(judged(low, strict(written))) == [("package.advisory", "low", "npm/lodash")]
    unfixed = read_osv(json.dumps({
        "id": "CVE-1", "modified": "2026-01-02T03:04:05Z", "affected": [{
            "package": {"ecosystem": "Debian:12", "name": "openssl"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}]}],
    }).encode())  # fmt: skip

    def known(family: str) -> Snapshot | None:
        return unfixed[0] if family == "Debian" else None

    for ignored, severity in ((True, "info"), (False, "high")):
        rules = strict(Written(trusted_bases=(TRUST,), ignore_unfixed=ignored), advisories=known)
        assert said(judged(clean(), rules)) == [("package.advisory", severity, "deb/libssl3")]


@pytest.mark.parametrize(
    "text",
    ["severity: extreme", "trust: []", "waivers: [{finding: CVE-1, until: someday, reason: why}]",
     "waivers: [{finding: CVE-1, until: 2026-01-01}]", "trusted_bases: [{name: x, chain: md5:1}]",
     "- a", "a: &x [*x]"],
)  # fmt: skip
def test_rules_that_cannot_be_meant_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        read_rules(text.encode())


def test_rules_are_read_with_days_as_people_write_them() -> None:
    read = read_rules(
        b"severity: medium\nrequire: [digest]\nwaivers:\n"
        b"  - {finding: CVE-2026-0001, until: 2026-12-31, reason: not reachable}\n"
        b'  - {finding: image.root, until: "2026-12-31", reason: a job}\n'
    )
    assert {one.until for one in read.waivers} == {date(2026, 12, 31)}
    assert read.require == ("digest",)


# -- layers, layouts, indexes -------------------------------------------------------------------


@pytest.mark.parametrize("pack", [lambda data: data, zstd.compress])
def test_layers_come_as_tar_and_in_zstd_too(pack: Callable[[bytes], bytes]) -> None:
    assert said(judged(clean(pack=pack))) == []


def test_later_layers_hide_replace_and_lead_through_links() -> None:
    image = clean(layers=[SOUND, tar(
        ("a/old", b"x"), ("a/b/older", b"x"), header("opt/tool", mode=0o4755),
        header("lib", type=tarfile.SYMTYPE, linkname="usr/lib"),
    ), tar(
        ("a/.wh..wh..opq", b""), ("a/b/new", b"y"), ("opt/.wh.tool", b""),
        header("lib/tool", mode=0o4755),
    )])  # fmt: skip
    assert said(judged(image)) == [("image.setuid", "high", "layers[2]/usr/lib/tool")]


def test_a_circle_of_links_ends() -> None:
    image = with_layer(
        header("x", type=tarfile.SYMTYPE, linkname="y"),
        header("y", type=tarfile.SYMTYPE, linkname="x"), ("x/file", b""),
    )  # fmt: skip
    assert said(judged(image)) == [("image.path-escape", "high", "layers[2]/x/file")]


def test_a_folder_that_is_a_layout_is_read_like_its_tar(tmp_path: Path) -> None:
    image = clean()
    folder = write_layout(tmp_path / "layout", image)
    report = scan_image("image", open_layout(folder), ImageRules(TODAY), digest=image.digest)
    assert report.images[0].digest == image.digest
    blob = next((folder / "blobs" / "sha256").iterdir())
    target = tmp_path / "elsewhere"
    blob.rename(target)
    blob.symlink_to(target)
    report = scan_image("image", open_layout(folder), ImageRules(TODAY), digest=image.digest)
    assert report.file.findings[0].id == "image.missing-blob"


def test_one_changed_byte_is_found_wherever_it_is() -> None:
    image = clean()
    blobs: dict[str, bytes] = {}
    top = image.write(blobs)
    for digest, data in list(blobs.items()):
        changed = {**blobs, digest: data[:-1] + bytes([data[-1] ^ 1])}
        layout = layout_of(tar(*files_of(changed, top).items()))
        report = scan_image("image", layout, ImageRules(TODAY), digest=image.digest)
        assert report.file.findings[0].id == "image.digest"
        assert report.file.verdict is ScanVerdict.MALICIOUS


def test_every_image_of_an_index_is_judged_and_statements_are_not() -> None:
    blobs: dict[str, bytes] = {}
    good = clean().write(blobs)
    bad = clean(run={}, platform=("linux", "arm64")).write(blobs)
    statement = clean(run={}, layers=[]).write(blobs)
    top = descriptor(
        INDEX,
        json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
            {**good, "platform": {"os": "linux", "architecture": "amd64"}},
            {**bad, "platform": {"os": "linux", "architecture": "arm64"}},
            {**statement, "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
             "platform": {"os": "unknown", "architecture": "unknown"}},
        ]}).encode(), blobs,
    )  # fmt: skip
    layout = layout_of(tar(*files_of(blobs, top).items()))
    rules = strict(Written(trusted_bases=(TRUST,), require=()), verifiers=())
    report = scan_image("image", layout, rules, digest=str(top["digest"]))
    assert said(report)[0] == ("image.root", "high", "linux/arm64: config")
    assert len([one for one in report.file.findings if one.id == "image.root"]) == 1
    assert [one.platform for one in report.images] == ["linux/amd64", "linux/arm64"]


def test_an_image_that_calls_itself_a_statement_is_judged() -> None:
    blobs: dict[str, bytes] = {}
    good = clean().write(blobs)
    bad = clean(run={}).write(blobs)
    top = descriptor(
        INDEX,
        json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
            {**good, "platform": {"os": "linux", "architecture": "arm64"}},
            {**bad, "platform": {"os": "linux", "architecture": "amd64"},
             "annotations": {"vnd.docker.reference.type": "attestation-manifest"}},
        ]}).encode(), blobs,
    )  # fmt: skip
    layout = layout_of(tar(*files_of(blobs, top).items()))
    rules = strict(Written(trusted_bases=(TRUST,), require=()), verifiers=())
    report = scan_image("image", layout, rules, digest=str(top["digest"]))
    assert "image.root" in {one.id for one in report.file.findings}


@pytest.mark.parametrize(
    ("bounds", "id_"),
    [
        (ImageBounds(max_layers=1), "image.too-many-layers"),
        (ImageBounds(max_entries=3), "image.too-many-files"),
        (ImageBounds(max_total_bytes=4096), "image.too-large"),
        (ImageBounds(max_layer_bytes=4096), "archive.member-too-large"),
        (ImageBounds(max_path_bytes=8), "archive.name-too-long"),
        (ImageBounds(max_document_bytes=520), "format.json.too-large"),
        (ImageBounds(max_database_bytes=10), "image.packages-unread"),
        (ImageBounds(max_kept_bytes=10), "image.packages-unread"),
        (ImageBounds(max_packages=0), "image.too-many-packages"),
    ],
)
def test_every_bound_is_a_finding(bounds: ImageBounds, id_: str) -> None:
    image = clean()
    blobs: dict[str, bytes] = {}
    layout = layout_of(tar(*files_of(blobs, image.write(blobs)).items()))
    report = scan_image("image", layout, ImageRules(TODAY), digest=image.digest, bounds=bounds)
    assert id_ in {one.id for one in report.file.findings}
    assert report.file.verdict is ScanVerdict.SUSPICIOUS


def test_a_bomb_is_refused() -> None:
    image = clean(layers=[SOUND, tar(("zeros", bytes(8 << 20)))])
    assert "archive.bomb" in {one[0] for one in said(judged(image))}


# -- reports of other scanners ------------------------------------------------------------------


def trivy(config: str, *found: dict[str, str]) -> bytes:
    return json.dumps({
        "SchemaVersion": 2, "ArtifactName": "scoring", "ArtifactType": "container_image",
        "Metadata": {"ImageID": config, "RepoDigests": ["r/x@sha256:" + "0" * 64]},
        "Results": [{"Target": "scoring (debian 12)", "Vulnerabilities": list(found)},
                    {"Target": "app/key", "Secrets": [{"RuleID": "aws-key", "Severity": "LOW"}]}],
    }).encode()  # fmt: skip


def grype(digest: str) -> bytes:
    return json.dumps({
        "matches": [{"vulnerability": {"id": "CVE-2026-0007", "severity": "Critical",
                                       "fix": {"versions": [], "state": "not-fixed"}},
                     "artifact": {"name": "zlib1g", "version": "1.2", "type": "deb"}}],
        "source": {"type": "image", "target": {"imageID": "", "manifestDigest": digest}},
    }).encode()  # fmt: skip


def test_reports_of_trivy_and_grype_count_for_the_image_that_they_name() -> None:
    image = clean()
    layout = layout_of(signed(image))
    config = scan_image("x", layout, strict(), digest=image.digest).images[0].config

    def told(data: bytes, written: Written = STRICT) -> list[tuple[str, str, str]]:
        reports = [read_report(data)]
        return said(scan_image("x", layout, strict(written), digest=image.digest, reports=reports))

    one = {"VulnerabilityID": "CVE-2026-0007", "PkgName": "zlib1g", "InstalledVersion": "1.2",
           "Severity": "HIGH", "Title": "Overflow"}  # fmt: skip
    low = ("image.reported", "info", "app/key")
    assert told(trivy(config, one)) == [("image.reported", "high", "zlib1g"), low]
    assert told(grype(image.digest)) == [("image.reported", "critical", "zlib1g")]
    assert told(trivy(sha256(b"other"), one)) == [("image.report-other", "high", "")]
    lenient = Written(trusted_bases=(TRUST,), waivers=(Waiver("CVE-2026-0007", TODAY, "why"),))
    assert told(trivy(config, one), lenient)[0] == low
    unfixed = Written(trusted_bases=(TRUST,), ignore_unfixed=True)
    assert told(grype(image.digest), unfixed) == [("image.reported", "info", "zlib1g")]


@pytest.mark.parametrize("data", [b"{}", b"[]", b'{"SchemaVersion": 2}', b'{"matches": []}',
                                  trivy("x").replace(b"container_image", b"vm")])  # fmt: skip
def test_what_is_no_report_about_an_image_is_refused(data: bytes) -> None:
    with pytest.raises(InputError):
        read_report(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**70) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner,
                                                                max_size=3),
    max_leaves=8,
)  # fmt: skip
KEYS_OF_CONFIG = st.sampled_from(["os", "config", "rootfs", "history", "created", "Rootfs", "x"])
KEYS_OF_MANIFEST = st.sampled_from(
    ["config", "layers", "annotations", "mediaType", "schemaVersion", "LAYERS", "subject"]
)


@settings(max_examples=60)
@given(st.dictionaries(KEYS_OF_CONFIG, JSON, max_size=3),
       st.dictionaries(KEYS_OF_MANIFEST, JSON, max_size=2))  # fmt: skip
def test_any_manifest_and_configuration_give_a_report(
    config: dict[str, object], manifest: dict[str, object]
) -> None:
    image = Image(layers=[APP], config_more=config, manifest_more=manifest)
    blobs: dict[str, bytes] = {}
    layout = layout_of(tar(*files_of(blobs, image.write(blobs)).items()))
    report = scan_image("image", layout, ImageRules(TODAY), digest=image.digest)
    assert report.images or report.file.verdict is ScanVerdict.SUSPICIOUS


@settings(max_examples=60)
@given(JSON)
def test_any_index_is_a_layout_or_refused(index: object) -> None:
    files = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
             "index.json": json.dumps(index).encode()}  # fmt: skip
    with contextlib.suppress(InputError, LimitExceededError):
        scan_image("image", layout_of(tar(*files.items())), ImageRules(TODAY))

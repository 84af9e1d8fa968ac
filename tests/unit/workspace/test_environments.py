"""Container images as environments: judged by the policy file, kept as immutable versions."""

import io
import json
import os
import tracemalloc
from pathlib import Path

import msgspec
import pytest
from conftest_workspace import Place
from images import INDEX, Image, descriptor, files_of, index, tar, write_layout
from sessions import CHAIN, DEBIAN, SSL

from vallum.base import GateError, InputError, NotFoundError, RefusedError
from vallum.base.bounds import GIB, MIB
from vallum.crypto import SigningKey
from vallum.govern import BomFact, bom_difference
from vallum.scan.advisories import advisories_path, keep_snapshot, read_osv
from vallum.scan.image import add_signature, layout_of, payload_of
from vallum.schema import Verdict, api, environments, rules
from vallum.sdk.nouns import pack
from vallum.workspace.gates import images
from vallum.workspace.intent import published_parts
from vallum.workspace.upload import Upload

KEY = SigningKey.generate_p256()
APP = tar(("app/score.py", b"print('hello')\n"))
ASKED = {
    "trusted_bases": [{"name": "debian:12", "chain": CHAIN}],
    "keys": [KEY.verify_key.to_pem().decode()],
    "waivers": [{"finding": "CVE-2026-0001", "until": "2099-12-31", "reason": "no TLS here"}],
}


@pytest.fixture(autouse=True)
def advisories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALLUM_ADVISORIES", str(tmp_path / "advisories"))
    (snapshot,) = read_osv(json.dumps(SSL).encode())
    keep_snapshot(snapshot, advisories_path("Debian"))


def signed(image: Image, key: SigningKey = KEY) -> bytes:
    blobs: dict[str, bytes] = {}
    top = image.write(blobs)
    layout = layout_of(tar(*files_of(blobs, top).items()))
    payload = payload_of(image.digest)
    made = add_signature(layout, image.digest, payload, key.sign(payload))
    files = files_of({**blobs, **made.blobs})
    return tar(*{**files, "index.json": made.index}.items())


def ask_for(place: Place, asked: dict[str, object]) -> None:
    shown = place.do("policy.show", api.Page()).value
    assert isinstance(shown, rules.PolicyShown)
    document = {**msgspec.json.decode(shown.document), "images": asked}
    place.do("policy.set", rules.PolicySet(document=json.dumps(document), reason="images"))


def add(place: Place, image: Image, data: bytes = b"", **more: object) -> api.VersionShown:
    arguments = environments.EnvironmentAdd(name="py", digest=image.digest)
    content = io.BytesIO(data or signed(image))
    made = place.do("environment.add", arguments, content=content, **more).value
    assert isinstance(made, api.VersionShown)
    return made


def test_an_image_becomes_an_immutable_version_with_evidence(place: Place) -> None:
    ask_for(place, ASKED)
    image = Image(layers=[DEBIAN, APP])
    made = add(place, image)
    assert (made.version.version, made.version.format) == (1, "oci-image")
    assert made.version.tags["image"] == image.digest
    (found,) = made.evidence
    assert (found.gate, found.verdict) == ("image", Verdict.PASS)
    assert found.parameters["signers"] == KEY.verify_key.id
    assert found.parameters["base"] == "debian:12"
    assert add(place, Image(layers=[DEBIAN, APP, APP])).version.version == 2
    first = place.do("environment.download", api.Named(name="py:1"))
    assert first.chunks is not None
    assert layout_of(b"".join(first.chunks)).index.manifests
    assert place.verify().findings == ()
    place.do("environment.delete", api.Named(name="py", version=1))
    listed = place.do("environment.list", api.Page()).value
    assert isinstance(listed, api.Listing)
    assert [one.version for one in listed.versions] == [2]
    assert add(place, image).version.version == 3  # a number is never given again


def test_memory_does_not_grow_with_an_image(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One layer of 192 MiB: less than that is held, here and in the sandbox.

    The sandbox is bounded by the kernel; what this process holds is counted.
    """
    ask_for(place, {**ASKED, "require": ["digest", "base", "advisories"], "keys": []})
    big = tar(("app/weights.bin", os.urandom(192 * MIB)))
    image = Image(layers=[DEBIAN, big], pack=lambda data: data)
    layout = write_layout(tmp_path / "layout", image)
    del big
    image.layers.pop()
    digest = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
    narrow = msgspec.structs.replace(images._LIMITS, memory_bytes=160 * MIB)
    monkeypatch.setattr(images, "_LIMITS", narrow)
    tracemalloc.start()
    try:
        upload = Upload(max_bytes=GIB, folder=tmp_path, in_memory=4 * MIB)
        packed = pack(layout)
        while chunk := packed.read(MIB):
            upload.write(chunk)
        upload.finish()
        with upload.reader() as content:
            arguments = environments.EnvironmentAdd(name="py", digest=digest)
            made = place.do("environment.add", arguments, content=content).value
        upload.close()
        for _ in place.do("environment.download", api.Named(name="py")).chunks or ():
            pass
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(made, api.VersionShown)
    assert made.version.parts[0].length > 192 * MIB
    assert held < 96 * MIB


def test_the_sweep_of_a_start_knows_what_is_kept(place: Place) -> None:
    ask_for(place, ASKED)
    (part,) = add(place, Image(layers=[DEBIAN, APP])).version.parts
    kept = published_parts(place.kernel.house)
    assert [one.part for one in kept] == [part.part, "inventory.json"]
    assert part in kept
    place.do("environment.delete", api.Named(name="py"))
    assert published_parts(place.kernel.house) == []


def bom(place: Place, name: str, **more: object) -> bytes:
    reply = place.do("environment.bom", environments.EnvironmentBom(name=name, **more))  # type: ignore[arg-type]
    return b"".join(reply.chunks or ())


def test_a_version_has_a_bill_of_materials_and_two_a_difference(place: Place) -> None:
    ask_for(place, {**ASKED, "require": ["digest", "base", "signature"]})
    image = Image(layers=[DEBIAN, APP])
    add(place, image)
    six = tar(("opt/six-1.16.0.dist-info/METADATA", b"Name: six\nVersion: 1.16.0\n"))
    newer = Image(layers=[DEBIAN, six])
    add(place, newer)
    read = json.loads(bom(place, "py:1"))
    subject = read["metadata"]["component"]
    told = {one["name"]: one["value"] for one in subject["properties"]}
    assert (subject["name"], subject["version"]) == ("py", image.digest)
    assert (told["vallum:environment"], told["vallum:base"]) == ("py:1", "debian:12")
    assert told["vallum:signer"] == KEY.verify_key.id
    assert told["vallum:evidence:image"].split(" ")[1] == "pass"
    assert [one["name"] for one in read["components"]] == ["libssl3"]
    assert bom(place, "py:1") == bom(place, "py", version=1)
    found = bom_difference(bom(place, "py:1"), bom(place, "py:2"))
    assert found.added == (BomFact(kind="pypi", name="six", value="1.16.0"),)
    assert found.removed == ()
    assert [(one.kind, one.name) for one in found.changed] == [("image", ""), ("layer", "1")]
    xml = place.do("environment.bom", environments.EnvironmentBom(name="py", format="xml"))
    assert (xml.file_name, xml.media_type.partition(";")[0]) == (
        "py-2.cdx.xml", "application/vnd.cyclonedx+xml",
    )  # fmt: skip
    assert b"pkg:pypi/six@1.16.0" in b"".join(xml.chunks or ())
    with pytest.raises(InputError, match="0 are meant"):
        bom(place, "py", platform="linux/s390x")


def test_of_an_image_for_several_platforms_one_is_named(place: Place) -> None:
    ask_for(place, {**ASKED, "require": ["digest", "base", "advisories"], "keys": []})
    blobs: dict[str, bytes] = {}
    platforms = [("linux", "amd64"), ("linux", "arm64")]
    both = [Image(layers=[DEBIAN, APP], platform=one).write(blobs) for one in platforms]
    top = index(*both)
    listed = descriptor(INDEX, top, blobs)
    data = tar(*files_of(blobs, listed).items())
    arguments = environments.EnvironmentAdd(name="py", digest=str(listed["digest"]))
    place.do("environment.add", arguments, content=io.BytesIO(data))
    with pytest.raises(InputError, match="2 are meant") as caught:
        bom(place, "py")
    assert caught.value.hint == "--platform linux/amd64 or linux/arm64"
    read = json.loads(bom(place, "py", platform="linux/arm64"))
    assert read["metadata"]["component"]["version"] == both[1]["digest"]


def test_who_may_not_read_an_environment_reads_no_bill_of_it(place: Place) -> None:
    ask_for(place, ASKED)
    add(place, Image(layers=[DEBIAN, APP]))
    asked = environments.EnvironmentBom(name="py")
    with pytest.raises(NotFoundError):
        place.do("environment.bom", asked, who=place.person("eve"))


@pytest.mark.parametrize(
    ("image", "key", "said"),
    [
        (Image(layers=[DEBIAN, APP], run={}), KEY, "starts as root"),
        (Image(layers=[APP], run={"User": "7"}), KEY, "no trusted base"),
        (Image(layers=[DEBIAN, APP]), SigningKey.generate(), "no trusted key"),
    ],
)
def test_a_faulty_image_is_refused_and_the_failure_stays_on_record(
    place: Place, image: Image, key: SigningKey, said: str
) -> None:
    ask_for(place, ASKED)
    with pytest.raises(GateError, match=said):
        add(place, image, signed(image, key))
    listed = place.do("environment.list", api.Page()).value
    assert isinstance(listed, api.Listing)
    assert listed.assets == ()
    assert ("outcome", "environment.add", True, "gate.image") in place.entries()


def test_without_rules_nothing_is_trusted(place: Place) -> None:
    with pytest.raises(GateError, match=r"no base image is trusted|no key is trusted"):
        add(place, Image(layers=[DEBIAN, APP]))


def test_rules_that_cannot_be_meant_are_no_policy(place: Place) -> None:
    for asked in ({"trust": []}, {"keys": ["none"]}, {"severity": "extreme"}):
        with pytest.raises(InputError):
            ask_for(place, asked)


def test_who_may_only_read_adds_nothing(place: Place) -> None:
    ask_for(place, ASKED)
    add(place, Image(layers=[DEBIAN, APP]))
    reader = place.person("ana", "Reader")
    shown = place.do("environment.show", api.Named(name="py"), who=reader).value
    assert isinstance(shown, api.VersionShown)
    with pytest.raises(RefusedError):
        add(place, Image(layers=[DEBIAN, APP]), who=reader)

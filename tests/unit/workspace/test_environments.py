"""Container images as environments: judged by the policy file, kept as immutable versions."""

import io
import json
from pathlib import Path

import msgspec
import pytest
from conftest_workspace import Place
from images import Image, files_of, tar
from sessions import CHAIN, DEBIAN, SSL

from vallum.base import GateError, InputError, RefusedError
from vallum.crypto import SigningKey
from vallum.scan.advisories import advisories_path, keep_snapshot, read_osv
from vallum.scan.image import add_signature, layout_of, payload_of
from vallum.schema import Verdict, api, environments, rules
from vallum.workspace.intent import published_parts

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


def test_the_sweep_of_a_start_knows_what_is_kept(place: Place) -> None:
    ask_for(place, ASKED)
    (part,) = add(place, Image(layers=[DEBIAN, APP])).version.parts
    assert part in published_parts(place.kernel.house)


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

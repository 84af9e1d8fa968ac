"""The bill of materials of an image."""

import json
import shutil
import subprocess
from importlib import resources
from xml.etree import ElementTree as ET

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vallum.govern import image_bill_of_materials
from vallum.schema import ImageFacts, Package

XMLLINT = shutil.which("xmllint")
DIGEST = "sha256:" + "ab" * 32
PACKAGES = (
    Package(kind="deb", name="libssl3", version="3.0.11-1~deb12u2", ecosystem="Debian:12",
            source="openssl", source_version="3.0.11-1~deb12u2", architecture="amd64",
            place="var/lib/dpkg/status"),
    Package(kind="rpm", name="openssl-libs", version="1:3.0.7-6.el9", architecture="x86_64"),
    Package(kind="npm", name="@types/node", version="20.1.0", ecosystem="npm", license="MIT"),
    Package(kind="pypi", name="six", version="1.15.0", place="a/METADATA"),
    Package(kind="pypi", name="six", version="1.15.0", place="b/METADATA"),
)  # fmt: skip


def facts(*packages: Package, **more: str) -> ImageFacts:
    return ImageFacts(
        digest=DIGEST, platform="linux/amd64", config=DIGEST, layers=(DIGEST,), diff_ids=(DIGEST,),
        distribution=more.get("distribution", "debian 12"), user="1000", packages=packages,
    )  # fmt: skip


def valid(document: bytes) -> bool:
    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(document.decode())
    assert error is None, error
    return True


def test_an_image_and_its_packages_are_listed_and_the_schema_holds() -> None:
    document = image_bill_of_materials("registry.example/Scoring", facts(*PACKAGES), version="1")
    assert valid(document)
    read = json.loads(document)
    assert read["metadata"]["component"]["type"] == "container"
    assert read["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
    assert sorted(one["purl"] for one in read["components"]) == [
        "pkg:deb/debian/libssl3@3.0.11-1~deb12u2?arch=amd64&distro=debian-12",
        "pkg:npm/%40types/node@20.1.0",
        "pkg:pypi/six@1.15.0", "pkg:pypi/six@1.15.0",
        "pkg:rpm/debian/openssl-libs@3.0.7-6.el9?arch=x86_64&distro=debian-12&epoch=1",
    ]  # fmt: skip
    again = image_bill_of_materials("registry.example/Scoring", facts(*PACKAGES), version="1")
    assert document == again


def test_as_xml_it_says_the_same_and_nothing_of_the_clock() -> None:
    written = [
        image_bill_of_materials("scoring", facts(*PACKAGES), version="1", form="xml")
        for _ in range(2)
    ]
    assert written[0] == written[1]
    root = ET.fromstring(written[0])  # noqa: S314 - written here
    space = "{http://cyclonedx.org/schema/bom/1.6}"
    found = [one.text for one in root.iterfind(f".//{space}components//{space}purl")]
    listed = json.loads(image_bill_of_materials("scoring", facts(*PACKAGES), version="1"))
    assert sorted(map(str, found)) == sorted(one["purl"] for one in listed["components"])
    assert root.find(f".//{space}timestamp") is None


@pytest.mark.skipif(XMLLINT is None, reason="the Debian package libxml2-utils is missing")
def test_the_schema_holds_for_xml_too() -> None:
    schema = resources.files("cyclonedx.schema").joinpath("_res/bom-1.6.SNAPSHOT.xsd")
    with resources.as_file(schema) as path:
        done = subprocess.run(  # noqa: S603 - a fixed program
            [str(XMLLINT), "--nonet", "--noout", "--schema", str(path), "-"],
            input=image_bill_of_materials("scoring", facts(*PACKAGES), version="1", form="xml"),
            check=False, capture_output=True, timeout=60,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=20)


@settings(max_examples=20)
@given(TEXT, TEXT, TEXT, st.sampled_from(["deb", "apk", "rpm", "pypi", "npm"]))
@example("/", "/", "/", "deb")
@example("a b", "1?#", "\0", "npm")
def test_whatever_a_package_is_called_the_schema_holds(
    name: str, version: str, text: str, kind: str
) -> None:
    one = Package(kind=kind, name=name, version=version, license=text, place=text)
    assert valid(image_bill_of_materials("x", facts(one, distribution=text), version="1"))

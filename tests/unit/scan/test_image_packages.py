"""Records of installed packages, as the tools themselves write them, and as nobody should."""

import contextlib
import gzip
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum.base import InputError, LimitExceededError
from vallum.base.bounds import IMAGE
from vallum.scan.image.packages import advised_as, is_record, take_inventory
from vallum.scan.image.rpmdb import read_rpmdb

RPMDB = gzip.decompress(
    (Path(__file__).parents[2] / "vectors" / "rpm" / "rpmdb.sqlite.gz").read_bytes()
)
ROCKY = b'NAME="Rocky Linux"\nID="rocky"\nVERSION_ID="9.3"\n'
SIX = "usr/lib/python3.9/site-packages/six-1.15.0.dist-info/METADATA"
METADATA = b"Metadata-Version: 2.1\r\nName: six\r\nVersion: 1.15.0\r\nLicense: MIT\r\n\r\nText\n"


def test_the_database_of_rpm_is_read() -> None:
    found = take_inventory({"etc/os-release": ROCKY, "var/lib/rpm/rpmdb.sqlite": RPMDB}, IMAGE)
    assert found.ecosystem == "Rocky Linux:9"
    assert sorted((one.name, one.version, one.license) for one in found.packages) == [
        ("bash", "5.1.8-6.el9", "Apache-2.0"), ("openssl-libs", "1:3.0.7-6.el9", "Apache-2.0"),
    ]  # fmt: skip
    names = [name for one in found.packages for name, _ in advised_as(one)]
    assert sorted(names) == ["bash", "openssl-libs"]  # the source is named alike here


def test_a_distributions_build_of_a_library_is_left_to_the_distribution() -> None:
    files = {"etc/os-release": ROCKY, "var/lib/rpm/rpmdb.sqlite": RPMDB, SIX: METADATA}
    six = next(one for one in take_inventory(files, IMAGE).packages if one.name == "six")
    assert (six.version, six.ecosystem) == ("1.15.0", "")
    elsewhere = {**files, "opt/" + SIX: METADATA}
    found = [one.ecosystem for one in take_inventory(elsewhere, IMAGE).packages]
    assert found.count("PyPI") == 1


def test_a_database_is_no_program() -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute(
        "CREATE VIEW Packages AS WITH RECURSIVE n(blob) AS (SELECT 1 UNION ALL SELECT blob FROM n)"
        " SELECT blob FROM n"
    )
    with pytest.raises(InputError, match="no table"):
        read_rpmdb(connection.serialize(), max_packages=10)
    with pytest.raises(LimitExceededError):
        read_rpmdb(RPMDB, max_packages=1)


@given(st.integers(100, len(RPMDB) - 1), st.integers(0, 255))
def test_a_damaged_database_is_read_or_refused(at: int, byte: int) -> None:
    damaged = RPMDB[:at] + bytes([byte]) + RPMDB[at + 1 :]
    with contextlib.suppress(InputError, LimitExceededError):
        read_rpmdb(damaged, max_packages=10)


APK = b"""C:Q1pSfX
P:libcrypto3
V:3.1.4-r2
A:x86_64
o:openssl
L:Apache-2.0
F:usr/lib
R:libcrypto.so.3

P:py3-six
V:1.16.0-r8
o:py3-six
F:usr/lib/python3.9/site-packages/six-1.15.0.dist-info
R:METADATA

"""


def test_the_database_of_apk_is_read() -> None:
    files = {"etc/os-release": b"ID=alpine\nVERSION_ID=3.19.1\n", "lib/apk/db/installed": APK,
             SIX: METADATA}  # fmt: skip
    found = take_inventory(files, IMAGE)
    assert found.ecosystem == "Alpine:v3.19"
    assert [advised_as(one)[0] for one in found.packages] == [
        ("openssl", "3.1.4-r2"), ("py3-six", "1.16.0-r8"), ("six", "1.15.0"),
    ]  # fmt: skip
    assert found.packages[2].ecosystem == ""  # py3-six brought it


def test_distroless_keeps_a_file_for_each_package_of_dpkg() -> None:
    stanza = b"Package: python3-six\nVersion: 1.16.0-4\nArchitecture: all\n"
    files = {
        "etc/os-release": b"ID=debian\nVERSION_ID=12\n",
        "var/lib/dpkg/status.d/python3-six": stanza,
        "var/lib/dpkg/status.d/python3-six.md5sums": b"0" * 32 + b"  " + SIX.encode() + b"\n",
        SIX: METADATA,
    }
    assert all(is_record(one) for one in files)
    found = take_inventory(files, IMAGE)
    assert (found.missing, found.unread) == ("", [])
    assert [(one.kind, one.ecosystem) for one in found.packages] == [
        ("pypi", ""), ("deb", "Debian:12"),
    ]  # fmt: skip


PACKAGE = b'{"name": "@a/left-pad", "version": "1.3.0", "license": "WTFPL"}'


@pytest.mark.parametrize(
    ("path", "content", "kind"),
    [
        ("opt/app/lib/x-1.0.dist-info/METADATA", METADATA, "pypi"),
        ("usr/lib/python3/dist-packages/six.egg-info", METADATA, "pypi"),
        ("opt/six.egg-info/PKG-INFO", METADATA, "pypi"),
        ("opt/six-1.15.0-py3.9.egg/EGG-INFO/PKG-INFO", METADATA, "pypi"),
        ("srv/web/node_modules/@a/left-pad/package.json", PACKAGE, "npm"),
        ("srv/node_modules/b/node_modules/@a/left-pad/package.json", PACKAGE, "npm"),
        ("srv/node_modules/.pnpm/l@1/node_modules/left-pad/package.json", PACKAGE, "npm"),
        ("usr/lib/apk/db/installed", b"P:a\nV:1\n", "apk"),
        ("usr/share/rpm/rpmdb.sqlite", RPMDB, "rpm"),
    ],
)
def test_packages_are_found_wherever_their_tools_put_them(
    path: str, content: bytes, kind: str
) -> None:
    assert is_record(path)
    assert {one.kind for one in take_inventory({path: content}, IMAGE).packages} == {kind}


def test_dpkg_lists_what_is_installed_and_nothing_else() -> None:
    status = b"""Package: gcc-12-base
Status: install ok installed
Source: gcc-12 (12.2.0-14)
Version: 12.2.0-14+b1
Description: base
 Version: 9 folded, no field

Package: gone
Status: deinstall ok config-files
Version: 1

Package: half
Status: install ok half-configured
Version: 2
"""
    files = {"etc/os-release": b"ID=debian\nVERSION_ID=12\n", "var/lib/dpkg/status": status}
    found = take_inventory(files, IMAGE)
    assert [advised_as(one) for one in found.packages] == [
        (("gcc-12", "12.2.0-14"),), (("half", "2"),),
    ]  # fmt: skip
    assert found.missing == ""


@pytest.mark.parametrize(
    ("release", "ecosystem"),
    [
        (b'ID=ubuntu\nVERSION_ID="22.04"', "Ubuntu:22.04"), (b"ID=wolfi", "Wolfi"),
        (b'ID="rhel"\nVERSION_ID="9.4"', "Red Hat:9"), (b"ID=debian", ""),
        (b'ID="almalinux"\nVERSION_ID="8.9"', "AlmaLinux:8"), (b"", ""), (b"\xff=\xfe", ""),
        (b'ID="opensuse-leap"\nVERSION_ID="15.5"', "openSUSE:Leap 15.5"),
    ],
)  # fmt: skip
def test_distributions_have_their_names_of_osv(release: bytes, ecosystem: str) -> None:
    assert take_inventory({"etc/os-release": release}, IMAGE).ecosystem == ecosystem


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("var/lib/rpm/Packages", b"a Berkeley database"),
        ("var/lib/rpm/rpmdb.sqlite", b"nothing"),
        ("var/lib/dpkg/status", b"Package: x\nStatus: install ok installed\n"),
        ("lib/apk/db/installed", b"P:x\n"),
        ("a/x.dist-info/METADATA", b"Name: x\n"),
        ("a/node_modules/x/package.json", b"{"),
    ],
)
def test_what_cannot_be_read_is_said(path: str, content: bytes) -> None:
    assert is_record(path)
    assert [one for one, _ in take_inventory({path: content}, IMAGE).unread] == [path]


@given(st.sampled_from(["var/lib/dpkg/status", "lib/apk/db/installed", SIX,
                        "node_modules/a/package.json", "etc/os-release"]),
       st.binary(max_size=200) | st.text(alphabet='PVF:Rnamevrsio \n{}"', max_size=80).map(
           str.encode))  # fmt: skip
def test_any_bytes_are_packages_or_unread(path: str, content: bytes) -> None:
    found = take_inventory({path: content}, IMAGE)
    assert all(one.name and one.version for one in found.packages)

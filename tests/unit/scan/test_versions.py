"""Orders of versions, against the projects' own lists and, where it is installed, dpkg itself."""

import itertools
import shutil
import subprocess
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum.scan.advisories import affecting, read_osv
from vallum.scan.versions import Key, apk_key, dpkg_key, rpm_key, semver_key

# apk-tools, test/unit/version.data; rpm, tests/rpmvercmp.at; dpkg, lib/dpkg/t/t-version.c and
# deb-version(7); node-semver, test/fixtures/comparisons.js. Ascending, or equal.
APK = """
0.1.0_alpha < 0.1.3_alpha; 0.1.0_alpha < 0.1.0_alpha2; 1.0.4-r3 < 1.0.4-r4; 1.0.2 < 1.6
1.1_alpha1 < 1.1; 1.2 < 1.3_alpha; 0.8_beta1 < 0.8_beta2; 3.10.18-r1 < 4.8-r1; 2.3.0b-r1 < 2.3.0b-r2
3.1_p16 < 3.1_p17; 1.06-r6 < 006; 1.2.2 < 1.2.2-r1; 2.01.01_alpha10 < 3.9.8-r5; 1.00_beta2 < 1.39
2.5.1-r8 < 2.5.1a-r1; 1.3.5-r8 < 1.3.5-r10; 1.02.07 < 1.02.10-r1; 2.1.9.200602141850 < 8.11
1.2.12.04 < 1.2.12.05; 4.5_p1 < 4.5_p1-r1; 0.9.8c-r1 < 0.9.8d; 1.0_p9-r0 < 1.0_p10-r0
0.1.0_alpha_pre2 < 0.1.0_alpha; 1.3_pre1-r1 < 1.3.2; 6.0_pre1 < 6.0; 6.0 < 6.0_p1; 8.2.0 < 8.2.001
8.2.0015 < 8.2.002; 1.0~1234 < 1.0~2345; 1.0~1234-r0 < 1.0~1234-r1; 1.0.1 = 1.0.1
1.0.0_pre20191002222144-r0 < 1.0.0_pre20210530193627-r0
"""
RPM = """
1.0 < 2.0; 2.0 < 2.0.1; 2.0.1 < 2.0.1a; 5.5p1 < 5.5p2; 5.5p1 < 5.5p10; 10xyz < 10.1xyz
xyz10 < xyz10.1; xyz.4 < 8; xyz.4 < 2; 5.5p2 < 5.6p1; 6.0 < 6.0.rc1; 10a1 < 10b2; 1.0a < 1.0aa
10.0001 = 10.1; 10.0001 < 10.0039; 4.999.9 < 5.0; 2_0 = 2.0; a+ = a_; +a = _a; + = _
1.0~rc1 < 1.0; 1.0~rc1 < 1.0~rc2; 1.0~rc1~git123 < 1.0~rc1; 1.0 < 1.0^; 1.0^git1 < 1.0^git2
1.0^git1 < 1.01; 1.0^20160101 < 1.0.1; 1.0^20160101^git1 < 1.0^20160102; 1.0~rc1 < 1.0~rc1^git1
1.0^git1~pre < 1.0^git1; 9.0-1 < 1:1.0-1; 1.0-1 < 1.0-2.el9; 1.0 < 1.0-7
"""
DPKG = """
1:0 < 2:0; 1-1 < 2-1; 1-1 < 1-2; 0-00 = 00-0; 0 = 0:0; 0 = 0-0; a-0 < b-0; 0-a < 0-b; 0 < 1:0-0
1~~ < 1~~a; 1~~a < 1~; 1~ < 1; 1 < 1a; 1.0~rc1-1 < 1.0-1; 1.0-1~deb12u1 < 1.0-1; 1.0-1 < 1.0-1+b1
7.4.52-1 = 7.4.052-1; 1.2-0ubuntu1 < 1.2-0ubuntu1.1; 9.3 < 10.1; 1a = 1a0; 1.0a < 1.0+dfsg
0-0-0 < 0-1-0
"""
SEMVER = """
0.0.0-foo < 0.0.0; 0.0.0 < 0.0.1; 0.9.9 < 1.0.0; 0.9.0 < 0.10.0; 1.2.3 < v2.0.0; 1.2.3-asdf < 1.2.3
1.2.3-4 < 1.2.3; 1.2.3-4-foo < 1.2.3; 1.2.3-5 < 1.2.3-5-foo; 1.2.3-4 < 1.2.3-5
1.2.3-5-Foo < 1.2.3-5-foo; 2.7.2+asdf < 3.0.0; 1.2.3-a.5 < 1.2.3-a.10; 1.2.3-a.5 < 1.2.3-a.b
1.2.3-a < 1.2.3-a.b; 1.2.3-a.b.c.5.d.100 < 1.2.3-a.b.c.10.d.5; 1.2.3-r100 < 1.2.3-r2
1.2.3-R2 < 1.2.3-r100; 1.0.0+a = 1.0.0+b; 1.2 = 1.2.0
"""
LISTS = [("apk", apk_key, APK), ("rpm", rpm_key, RPM), ("dpkg", dpkg_key, DPKG),
         ("semver", semver_key, SEMVER)]  # fmt: skip
CASES = [
    pytest.param(key, *case.split(), id=f"{name} {case.strip()}")
    for name, key, text in LISTS
    for case in text.replace("\n", ";").split(";")
    if case.strip()
]


def order(key: Callable[[str], Key], a: str, b: str) -> str:
    one, two = key(a), key(b)
    assert (one <= two) == (not two < one)
    return "<" if one < two else ">" if two < one else "="


@pytest.mark.parametrize(("key", "a", "sign", "b"), CASES)
def test_versions_are_ordered_as_their_tool_orders_them(
    key: Callable[[str], Key], a: str, sign: str, b: str
) -> None:
    assert order(key, a, b) == sign
    assert order(key, b, a) == {"<": ">", "=": "="}[sign]


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="the Debian package dpkg is missing")
def test_dpkg_itself_agrees() -> None:
    versions = (
        "1", "1~", "1.0-1", "1.0-1~bpo", "1:0.9", "1a", "1+", "1.0+dfsg-2", "0-0", "00", "1.0~",
        "1.z",
    )  # fmt: skip
    for a, b in itertools.combinations(versions, 2):
        name = {"<": "lt", "=": "eq", ">": "gt"}[order(dpkg_key, a, b)]
        argv = ["/usr/bin/dpkg", "--compare-versions", a, name, b]
        done = subprocess.run(argv, check=False)  # noqa: S603 - fixed words
        assert done.returncode == 0, (a, name, b)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (dpkg_key, ""), (dpkg_key, "0:"), (dpkg_key, "-1:0-1"), (dpkg_key, "a:0-0"),
        (dpkg_key, "-0"), (dpkg_key, "0:-0"), (dpkg_key, "999999999999:0"), (dpkg_key, "0_1-0"),
        (dpkg_key, "1 0"), (rpm_key, "a:1"), (rpm_key, "1\n2"), (rpm_key, "-1"),
        (apk_key, "0.1bc"), (apk_key, "0.1_foobar"), (apk_key, "0.1-r"), (apk_key, ".1"),
        (apk_key, "0.1-r2-r3"), (apk_key, "0.1a.1"), (semver_key, "1.2.3.4"), (semver_key, "x"),
    ],
)  # fmt: skip
def test_what_is_no_version_has_no_order(key: Callable[[str], Key], text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the contract of a key
        key(text)


VERSION = st.text(alphabet="019.~^+-:aAz_rp", max_size=12)


@pytest.mark.parametrize("key", [dpkg_key, rpm_key, apk_key, semver_key])
@given(a=VERSION, b=VERSION, c=VERSION)
def test_an_order_is_total_and_nothing_else_is_raised(
    key: Callable[[str], Key], a: str, b: str, c: str
) -> None:
    try:
        one, two, three = key(a), key(b), key(c)
    except ValueError:
        return
    assert (one < two) + (two < one) <= 1
    if one <= two <= three:
        assert one <= three


@pytest.mark.parametrize(
    ("ecosystem", "fixed", "installed", "affected"),
    [
        ("Debian:12", "3.0.11-1~deb12u2", "3.0.11-1~deb12u1", True),
        ("Debian:12", "3.0.11-1~deb12u2", "3.0.11-1~deb12u2", False),
        ("Debian:11", "3.0.11-1~deb12u2", "3.0.11-1~deb12u1", False),  # another release
        ("Alpine:v3.19", "3.1.4-r3", "3.1.4-r2", True),
        ("Alpine:v3.19", "3.1.4-r3", "3.1.4-r3", False),
        ("Rocky Linux:9", "1:3.0.7-24.el9", "1:3.0.7-6.el9", True),
        ("npm", "4.17.21", "4.17.20", True),
        ("npm", "4.17.21", "4.17.21", False),
        ("Debian:12", "3.0", "no version!", True),  # what cannot be compared is not hidden
    ],
)
def test_advisories_match_by_ecosystem_and_its_order(
    ecosystem: str, fixed: str, installed: str, *, affected: bool
) -> None:
    named = "Debian:12" if ecosystem == "Debian:11" else ecosystem
    (snapshot,) = read_osv(
        b'{"id": "X-1", "modified": "2026-01-02T03:04:05Z", "affected": [{"package": {"name": "p",'
        b'"ecosystem": "%b"}, "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"},'
        b'{"fixed": "%b"}]}]}]}' % (named.encode(), fixed.encode())
    )
    found = affecting(snapshot, "p", installed, ecosystem=ecosystem)
    assert bool(found) is affected


def test_names_of_releases_are_brought_to_one_form() -> None:
    text = (
        b'{"id": "X-1", "modified": "2026-01-02T03:04:05Z", "affected": [{"package": {"name": "p",'
        b'"ecosystem": "%b"}, "versions": ["1"]}]}'
    )
    for written, asked in [
        ("Ubuntu:22.04:LTS", "Ubuntu:22.04"), ("Ubuntu:Pro:22.04:LTS", "Ubuntu:22.04"),
        ("Red Hat:enterprise_linux:9::baseos", "Red Hat:9"),
    ]:  # fmt: skip
        (snapshot,) = read_osv(text % written.encode())
        assert affecting(snapshot, "p", "1", ecosystem=asked)

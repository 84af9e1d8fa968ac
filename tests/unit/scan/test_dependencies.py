"""Dependency files, licences, and versions matched against a snapshot of advisories."""

import ast
import io
import json
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from vallum.base import InputError, LimitExceededError
from vallum.scan import CodeRules, advisories, scan_bytes
from vallum.scan.advisories import Snapshot, affecting, keep_snapshot, load_snapshot
from vallum.scan.code.licenses import check_allowed, license_of, scan_expression
from vallum.scan.code.requirements import parse_requirements
from vallum.scan.report import Findings

HASH = "a" * 64
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def osv(
    id_: str = "PYSEC-1", *events: dict[str, str], name: str = "Some_Pkg", **more: object
) -> dict[str, object]:
    given = {"id": id_, "modified": "2026-01-02T03:04:05Z", "affected": [{
        "package": {"ecosystem": "PyPI", "name": name},
        "ranges": [{"type": "ECOSYSTEM", "events": list(events)}] if events else [],
        "versions": more.pop("versions", []),
    }]}  # fmt: skip
    return {**given, **more}


def read_osv(data: bytes) -> Snapshot:
    """Read a file that is about one family of ecosystems."""
    (one,) = advisories.read_osv(data)
    return one


def zipped(*documents: dict[str, object]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for at, one in enumerate(documents):
            archive.writestr(f"{at}.json", json.dumps(one))
    return out.getvalue()


def findings(name: str, text: str, **rules: object) -> list[tuple[str, str, int | None]]:
    report = scan_bytes(name, text.encode(), code=CodeRules(**rules))  # type: ignore[arg-type]
    return [
        (one.id.removeprefix("dependency."), one.severity, one.line)
        for one in report.files[0].findings
        if one.id != "dependency.no-advisories"
    ]


# -- declarations -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"a==1.0 --hash=sha256:{HASH}", []),
        (f"a==1.0 \\\n  --hash=sha256:{HASH} \\\n  --hash=sha256:{HASH}", []),
        ("a==1.0", [("unhashed", "low", 1)]),
        ("a===1.0 ; python_version < '4'", [("unhashed", "low", 1)]),
        ("a", [("unpinned", "medium", 1)]),
        ("a==1.*", [("unpinned", "medium", 1)]),
        ("a[x]>=1,<2  # why", [("unpinned", "medium", 1)]),
        ("git+https://h/r@main#egg=a", [("vcs", "high", 1)]),
        (f"a @ git+https://h/r@{COMMIT}", [("vcs", "low", 1)]),
        ("a @ https://h/a.whl", [("url", "high", 1)]),
        (f"a @ https://h/a.whl#sha256={HASH}", [("url", "low", 1)]),
        (f"a @ https://files.pythonhosted.org/a.whl#sha256={HASH}", []),
        ("a @ http://h/a.whl", [("plain-http", "high", 1), ("url", "high", 1)]),
        ("./a", [("local", "low", 1)]),
        ("-e .", [("local", "low", 1)]),
        ("-i https://pypi.org/simple", []),
        ("--index-url=https://mine.example/simple", [("other-index", "high", 1)]),
        ("--extra-index-url https://mine.example/s",
         [("confusion", "high", 1), ("other-index", "high", 1)]),
        ("--find-links ./wheels", [("other-index", "high", 1)]),
        ("--trusted-host mine.example", [("plain-http", "high", 1)]),
        ("-r more.txt", [("include", "info", 1)]),
        ("--wheel-dir x", [("unread", "medium", 1)]),
        ("a b c", [("unread", "medium", 1)]),
    ],
)  # fmt: skip
def test_a_requirements_file_is_judged_line_by_line(
    line: str, expected: list[tuple[str, str, int]]
) -> None:
    assert findings("requirements-dev.txt", line) == expected


def test_an_index_of_ones_own_can_be_trusted() -> None:
    text = "--index-url https://mine.example/simple\n"
    assert findings("requirements.txt", text, trusted_indexes=frozenset({"mine.example"})) == []


@given(st.text(max_size=80))
def test_every_line_of_requirements_is_read_or_said_to_be_unread(text: str) -> None:
    declared = parse_requirements(text)
    lines = len(text.splitlines())
    assert len(declared.unread) <= lines
    assert all(one.name or one.url for one in declared.packages)


def kinds(name: str, text: str) -> set[str]:
    return {one for one, _, _ in findings(name, text)}


def test_a_project_declares_loosely_and_its_sources_count() -> None:
    text = f"""
[build-system]
requires = ["hatchling"]
[project]
license = "MIT"
dependencies = ["a>=1"]
[tool.uv.sources]
b = {{git = "https://h/r", branch = "main"}}
[[tool.uv.index]]
url = "https://mine.example/simple"
[tool.poetry.group.dev.dependencies]
c = {{git = "https://h/r", rev = "{COMMIT}"}}
d = {{path = "../d"}}
e = "1.2.3"
"""
    assert sorted(findings("pyproject.toml", text)) == [
        ("local", "low", None), ("other-index", "high", None), ("unhashed", "low", None),
        ("unpinned", "low", None), ("unpinned", "low", None), ("vcs", "high", None),
        ("vcs", "low", None),
    ]  # fmt: skip


def test_conda_environments_know_channels_pins_and_pip() -> None:
    text = """
channels: [conda-forge, theirs]
dependencies:
  - python=3.11.4
  - numpy=1.26.4=py311h64a7726_0
  - scipy>=1.10
  - other::pandas==2.0
  - pip:
    - requests
"""
    assert sorted(findings("environment.yml", text)) == [
        ("not-assessed", "low", None), ("other-index", "high", None),
        ("other-index", "high", None), ("unhashed", "low", None),
        ("unpinned", "medium", None), ("unpinned", "medium", None),
    ]  # fmt: skip
    env = "python: 3.11.4\nbuild_dependencies: [pip==24.0]\ndependencies: [-r requirements.txt]\n"
    assert kinds("python_env.yaml", env) == {"include", "unhashed"}


LOCKS: list[tuple[str, str, set[str]]] = [
    (
        "uv.lock",
        f"""
[[package]]
name = "me"
version = "1"
source = {{editable = "."}}
[[package]]
name = "a"
version = "1"
source = {{registry = "https://pypi.org/simple"}}
wheels = [{{url = "https://x/a.whl", hash = "sha256:{HASH}"}}]
""",
        set(),
    ),
    (
        "uv.lock",
        """
[[package]]
name = "a"
version = "1"
source = {registry = "https://mine/simple"}
wheels = [{url = "https://x/a.whl"}]
""",
        {"other-index", "unhashed"},
    ),
    (
        "poetry.lock",
        f"""
[[package]]
name = "a"
version = "1"
files = [{{file = "a", hash = "sha256:{HASH}"}}]
[[package]]
name = "b"
version = "1"
[package.source]
type = "git"
url = "https://h/r"
resolved_reference = "{COMMIT}"
""",
        {"vcs"},
    ),
    (
        "pylock.toml",
        f"""
lock-version = "1.0"
[[packages]]
name = "a"
version = "1"
wheels = [{{name = "a.whl", hashes = {{sha256 = "{HASH}"}}}}]
[[packages]]
name = "b"
archive = {{url = "https://h/b.zip", hashes = {{md5 = "a"}}}}
""",
        {"url"},
    ),
    (
        "pdm.lock",
        f"""
[[package]]
name = "a"
version = "1"
files = [{{hash = "md5:{HASH}"}}]
""",
        {"unhashed"},
    ),
    (
        "Pipfile.lock",
        json.dumps(
            {
                "_meta": {"sources": [{"url": "https://pypi.org/simple", "verify_ssl": False}]},
                "default": {
                    "a": {"version": "==1", "hashes": ["sha256:" + HASH]},
                    "b": {"git": "https://h/r", "ref": "main"},
                },
            }
        ),
        {"plain-http", "vcs"},
    ),
    (
        "conda-lock.yml",
        f"""
package:
- {{name: a, version: '1', manager: conda, hash: {{sha256: {HASH}}}}}
- {{name: b, version: '1', manager: pip, hash: {{}}}}
""",
        {"unhashed", "not-assessed"},
    ),
    (
        "spec-file.txt",
        f"""@EXPLICIT
https://conda.anaconda.org/conda-forge/noarch/a-1-0.conda#{HASH}
https://conda.anaconda.org/theirs/noarch/b-1-0.conda
""",
        {"other-index", "unhashed", "not-assessed"},
    ),
    ("uv.lock", "version = 1\n", {"form"}),
    ("poetry.lock", "[[package", {"format.toml.malformed"}),
]


@pytest.mark.parametrize(("name", "text", "expected"), LOCKS)
def test_lock_files_are_read(name: str, text: str, expected: set[str]) -> None:
    assert kinds(name, text) == expected


# -- advisories ---------------------------------------------------------------------------------


def test_advisories_are_matched_and_said_to_be_missing(tmp_path: Path) -> None:
    snapshot = read_osv(zipped(
        osv("PYSEC-1", {"introduced": "0"}, {"fixed": "1.2"}, aliases=["CVE-1"], summary="bad"),
        osv("GHSA-1", {"introduced": "0"}, {"fixed": "1.2"}, aliases=["CVE-1"],
            database_specific={"severity": "MODERATE"}),
        osv("MAL-1", {"introduced": "0"}, name="evil"),
    ))  # fmt: skip
    path = tmp_path / "below" / "pypi.msgpack"
    keep_snapshot(snapshot, path)
    rules = CodeRules(advisories=load_snapshot(path))
    pins = ("some.pkg==1.1", "some-pkg==1.2", "evil==3")
    text = "".join(f"{one} --hash=sha256:{HASH}\n" for one in pins)
    found = scan_bytes("requirements.txt", text.encode(), code=rules).files[0].findings
    assert [(one.severity, one.line, one.atlas) for one in found] == [
        ("critical", 3, "AML.T0011.001"), ("medium", 1, "AML.T0010.001"),
    ]  # fmt: skip
    assert found[1].message == (
        "`some.pkg` 1.1 is affected by GHSA-1 (PYSEC-1, CVE-1): bad; fixed in 1.2"
    )
    (missing,) = scan_bytes("requirements.txt", text.encode(), code=CodeRules()).files[0].findings
    assert missing.id == "dependency.no-advisories"


@pytest.mark.parametrize(
    ("events", "version", "hit"),
    [
        ([{"introduced": "0"}, {"fixed": "2"}], "1.9", True),
        ([{"introduced": "0"}, {"fixed": "2"}], "2", False),
        ([{"introduced": "0"}, {"fixed": "2"}], "2rc1", True),
        ([{"introduced": "0"}, {"fixed": "2"}], "0.dev0", True),
        ([{"introduced": "1"}, {"last_affected": "2"}], "2", True),
        ([{"introduced": "1"}, {"last_affected": "2"}], "2.0.1", False),
        ([{"introduced": "1"}], "0.9", False),
        ([{"fixed": "1.5"}, {"introduced": "1"}, {"introduced": "2"}], "1.7", False),
        ([{"fixed": "1.5"}, {"introduced": "1"}, {"introduced": "2"}], "2.0", True),
        ([{"introduced": "0"}, {"limit": "1.4"}], "1.5", False),
        ([{"introduced": "0"}, {"limit": "1.4"}], "1.3", True),
        ([{"introduced": "0"}, {"limit": "*"}], "9", True),
        ([{"introduced": "0"}, {"fixed": "2"}], "1.9+cu117", True),
        ([{"introduced": "0"}, {"fixed": "2"}], "2+cu117", False),
        ([{"introduced": "0"}, {"fixed": "what"}], "9", True),
    ],
)  # fmt: skip
def test_ranges_mean_what_osv_says(
    events: list[dict[str, str]], version: str, *, hit: bool
) -> None:
    snapshot = read_osv(zipped(osv("X-1", *events)))
    assert bool(affecting(snapshot, "some-pkg", version)) is hit


KINDS = st.sampled_from(["introduced", "fixed", "last_affected"])


@given(st.lists(st.tuples(KINDS, st.integers(0, 5)), min_size=1, max_size=5), st.integers(0, 6))
def test_ranges_agree_with_the_algorithm_of_the_specification(
    events: list[tuple[str, int]], at: int
) -> None:
    """Walk as the specification's pseudo code does, over whole numbers."""
    expected = False
    for kind, place in sorted(events, key=lambda one: (one[1], one[0] != "introduced")):
        if kind == "introduced" and at >= place:
            expected = True
        if (kind == "fixed" and at >= place) or (kind == "last_affected" and at > place):
            expected = False
    snapshot = read_osv(zipped(osv("X-1", *({kind: str(place)} for kind, place in events))))
    assert bool(affecting(snapshot, "some-pkg", str(Version(str(at))))) is expected


def test_withdrawn_advisories_other_ecosystems_and_listed_versions() -> None:
    other = osv("X-1", {"introduced": "0"})
    other["affected"][0]["package"]["ecosystem"] = "Maven"  # type: ignore[index]
    snapshot = read_osv(zipped(
        other, osv("X-2", {"introduced": "0"}, withdrawn="2026-01-01T00:00:00Z"),
        osv("X-3", versions=["1.0", "odd!"]),
    ))  # fmt: skip
    assert snapshot.count == 1
    assert [one.ids for one in affecting(snapshot, "some-pkg", "1")] == [("X-3",)]
    assert [one.ids for one in affecting(snapshot, "some-pkg", "odd!")] == [("X-3",)]
    assert affecting(snapshot, "some-pkg", "2") == ()


def test_one_advisory_and_a_list_are_read_too() -> None:
    one = osv("X-1", {"introduced": "0"})
    assert read_osv(json.dumps(one).encode()) == read_osv(json.dumps([one]).encode())


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"PK\x03\x04", zipped({"id": "X"}), zipped(osv("X", modified="yesterday")),
     b"[" * 100_000, zipped()],
)  # fmt: skip
def test_a_file_that_is_no_snapshot_changes_nothing(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "pypi.msgpack"
    keep_snapshot(read_osv(zipped(osv("X-1", {"introduced": "0"}))), path)
    before = path.read_bytes()
    with pytest.raises(InputError):
        keep_snapshot(read_osv(data), path)
    assert path.read_bytes() == before


def test_an_older_snapshot_does_not_replace_a_newer_one(tmp_path: Path) -> None:
    path = tmp_path / "pypi.msgpack"
    keep_snapshot(read_osv(zipped(osv("X-1", {"introduced": "0"}))), path)
    older = read_osv(zipped(osv("X-2", {"introduced": "0"}, modified="2025-01-01T00:00:00Z")))
    with pytest.raises(InputError, match="newer"):
        keep_snapshot(older, path)


def test_a_damaged_snapshot_is_refused_and_can_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "pypi.msgpack"
    path.write_bytes(b"\x93junk")
    with pytest.raises(InputError, match="cannot be read"):
        load_snapshot(path)
    keep_snapshot(read_osv(zipped(osv("X-1", {"introduced": "0"}))), path)
    assert load_snapshot(path) is not None
    assert load_snapshot(tmp_path / "none") is None


def test_the_bounds_of_advisories_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advisories, "MAX_VERSIONS", 2)
    with pytest.raises(LimitExceededError):
        read_osv(zipped(osv("X-1", versions=["1", "2", "3"])))


# -- licences -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "passes"),
    [
        ("MIT", True), ("mit", True), ("GPL-3.0-only", False), ("MIT OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False), ("(MIT OR GPL-3.0-only) AND Apache-2.0", True),
        ("MIT OR GPL-3.0-only AND GPL-2.0-only", True), ("(GPL-3.0-only)", False),
        ("Apache-2.0 WITH LLVM-exception", False), ("MIT OR", False), ("My licence", False),
        ("", False), ("LicenseRef-mine", False),
    ],
)  # fmt: skip
def test_an_expression_passes_if_a_choice_is_allowed(expression: str, *, passes: bool) -> None:
    findings = Findings()
    scan_expression(expression, findings, check_allowed(["MIT", "Apache-2.0"]))
    assert (not findings.items) is passes


@given(st.data())
def test_expressions_agree_with_python(data: st.DataObject) -> None:
    names = ("MIT", "ISC", "Zlib")
    tree = st.recursive(
        st.sampled_from(names),
        lambda inner: st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(
            lambda one: f"({one[0]} {one[1]} {one[2]})"
        ),
        max_leaves=6,
    )
    expression = data.draw(tree)
    allowed = data.draw(st.sets(st.sampled_from(names), min_size=1))
    findings = Findings()
    scan_expression(expression, findings, check_allowed(allowed))
    wanted = ast.parse(expression.replace("AND", "and").replace("OR", "or"), mode="eval").body
    assert (not findings.items) is _value(wanted, allowed)


def _value(node: ast.expr, allowed: set[str]) -> bool:
    if isinstance(node, ast.BoolOp):
        values = [_value(one, allowed) for one in node.values]
        return all(values) if isinstance(node.op, ast.And) else any(values)
    assert isinstance(node, ast.Name)
    return node.id in allowed


def test_an_allow_list_holds_identifiers_only() -> None:
    for wrong in ("MIT OR ISC", "My licence", ""):
        with pytest.raises(InputError):
            check_allowed([wrong])


TEXTS = {
    "MIT": "MIT\n\nPermission is hereby granted, free of charge, to any person obtaining\na copy",
    "BSD-3-Clause": "Redistribution and use in source and binary forms\n* Neither the name of",
    "BSD-2-Clause": "Redistribution and use in source and binary forms, with or without",
    "GPL-3.0-only": "GNU GENERAL PUBLIC LICENSE\n   Version 3, 29 June 2007",
    "AGPL-3.0-only": "GNU AFFERO GENERAL PUBLIC LICENSE\n  Version 3, 19 November 2007",
    "": "All rights reserved.",
}


@pytest.mark.parametrize("identifier", sorted(TEXTS))
def test_texts_of_licences_are_known(identifier: str) -> None:
    assert license_of(TEXTS[identifier]) == identifier
    known = findings("LICENSE.txt", TEXTS[identifier], licenses=check_allowed(["MIT"]))
    assert [one[:2] for one in known] == {
        "MIT": [], "": [("license.unknown", "medium")],
    }.get(identifier, [("license.not-allowed", "medium")])  # fmt: skip


def test_our_own_licence_is_known() -> None:
    assert license_of((Path(__file__).parents[3] / "LICENSE").read_text()) == "Apache-2.0"


@pytest.mark.parametrize(
    ("name", "text", "allowed", "expected"),
    [
        ("COPYING", "SPDX-License-Identifier: Zlib\n", "Zlib", set()),
        ("METADATA", "Name: x\nLicense-Expression: MIT OR ISC\n", "ISC", set()),
        ("METADATA", "Name: x\nLicense: GPL\n", "ISC", {"license.unknown"}),
        ("PKG-INFO", "Classifier: License :: OSI Approved :: MIT License\n", "MIT", set()),
        ("PKG-INFO", "Classifier: License :: BSD License\n", "MIT", {"license.unknown"}),
        ("PKG-INFO", "Name: x\n", "MIT", {"license.unknown"}),
        ("pyproject.toml", "[project]\nlicense = 'GPL-3.0-only'\n", "MIT", {"license.not-allowed"}),
        ("pyproject.toml", "[project]\nlicense = {text = 'MIT'}\n", "MIT", set()),
        ("pyproject.toml", "[project]\nname = 'x'\n", "MIT", {"license.unknown"}),
    ],
)  # fmt: skip
def test_declared_licences_are_judged(
    name: str, text: str, allowed: str, expected: set[str]
) -> None:
    found = findings(name, text, licenses=check_allowed([allowed]))
    assert {one for one, _, _ in found} == expected
    assert not [one for one in findings(name, text) if one[1] != "info"]


def test_records_of_conda_are_read_and_said_to_be_unassessed() -> None:
    record = {"name": "openssl", "version": "3.0.1", "sha256": "0" * 64,
              "channel": "https://conda.anaconda.org/theirs/linux-64"}  # fmt: skip
    for value, expected in (
        (record, {"dependency.not-assessed", "dependency.other-index"}),
        ({**record, "channel": "https://conda.anaconda.org/conda-forge/noarch"},
         {"dependency.not-assessed"}),
        ({"name": "x"}, {"dependency.unread"}),
        ([], {"dependency.unread"}),
    ):  # fmt: skip
        report = scan_bytes(
            "env/conda-meta/openssl-3.0.1-0.json", json.dumps(value).encode(), code=CodeRules()
        ).files[0]
        assert {finding.id for finding in report.findings} == expected


def test_a_wheel_is_judged_member_by_member_under_code_rules() -> None:
    with zipfile.ZipFile(held := io.BytesIO(), "w") as wheel:
        wheel.writestr("a/__init__.py", "")
        wheel.writestr("a/run.py", "import joblib\njoblib.load('x')\n")
        wheel.writestr("a/README.md", "```python\nimport os\n```\n")
        wheel.writestr("a-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: a\nVersion: 1\n")
        wheel.writestr("a/weights.pkl", b"cos\nsystem\n(S'id'\ntR.")
    report = scan_bytes("a-1-py3-none-any.whl", held.getvalue(), code=CodeRules()).files[0]
    found = {(finding.id, finding.member) for finding in report.findings}
    assert ("code.unsafe-load", "a/run.py") in found
    assert ("pickle.dangerous-name", "a/weights.pkl") in found
    assert not any(place in ("a/README.md", "a/__init__.py") for _, place in found)
    without = scan_bytes("a-1-py3-none-any.whl", held.getvalue()).files[0]
    assert "file.executable-name" in [finding.id for finding in without.findings]

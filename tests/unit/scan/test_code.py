"""Source and notebooks under code rules; the same files as part of a model stay findings."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum.scan import CodeRules, ScanVerdict, scan_bytes, scan_path
from vallum.scan.code import python as source_rules
from vallum.schema import Finding

NAMES = (
    "a.py", "a.ipynb", "requirements.txt", "pyproject.toml", "conda.yaml", "uv.lock", "Pipfile",
    "Pipfile.lock", "pylock.toml", "conda-lock.yml", "python_env.yaml", "LICENSE", "METADATA",
    "spec-file.txt", "README.md",
)  # fmt: skip
AWS = "AKIA" + "Q3EGWXKZ7T2LMN4P"


def tokens(texts: Sequence[str]) -> list[list[tuple[int, str]]]:
    return [[(text.index(AWS), "token.aws")] if AWS in text else [] for text in texts]


def found(name: str, text: str | bytes, rules: CodeRules | None = None) -> list[Finding]:
    data = text.encode() if isinstance(text, str) else text
    used = CodeRules(finder=tokens) if rules is None else rules
    return list(scan_bytes(name, data, code=used).files[0].findings)


def ids(findings: list[Finding]) -> set[str]:
    return {one.id for one in findings}


def test_source_is_a_finding_in_a_model_and_judged_as_source_under_code_rules() -> None:
    harmless = b"import math\n\n\ndef run(x):\n    return math.sqrt(x)\n"
    assert scan_bytes("score.py", harmless).verdict is ScanVerdict.SUSPICIOUS
    report = scan_bytes("score.py", harmless, code=CodeRules())
    assert report.files[0].format == "python"
    assert report.verdict is ScanVerdict.DATA_LIKE  # it is code, so it is never `clean`
    assert report.files[0].findings == ()


@pytest.mark.parametrize(
    ("line", "id_"),
    [
        ("eval(x)", "bandit.B307"),
        ("eval(x)  # nosec", "bandit.B307"),
        ("pickle.loads(x)", "bandit.B301"),
        ("os.system('ls')", "bandit.B605"),
        ("joblib.load(x)", "code.unsafe-load"),
        ("np.load(x, allow_pickle=True)", "code.unsafe-load"),
        ("AutoModel.from_pretrained(x, trust_remote_code=True)", "code.unsafe-load"),
        ("getattr(os, 'sys' + 'tem')(x)", "code.hidden"),
        ("__import__(x)", "code.hidden"),
        ("connect(('h', 1))", "code.network"),
        ("cd.CDLL(x)", "code.native"),
        ("import subprocess\nsubprocess.run(['ls'])", "bandit.B603"),
    ],
)
def test_what_runs_more_than_is_written_is_a_finding_with_its_line(line: str, id_: str) -> None:
    head = (
        "import os, pickle, joblib, ctypes as cd\nfrom socket import create_connection as connect\n"
    )
    every = found("score.py", head + line)
    (one, *_) = [one for one in every if one.id == id_]
    assert one.severity != "low"
    assert one.line == 2 + len(line.splitlines())
    assert one.atlas


def test_a_literal_import_and_plain_code_are_no_findings() -> None:
    text = "import importlib\nx = importlib.import_module('json')\ny = [a for a in range(3)]\n"
    assert found("score.py", text) == []


@pytest.mark.parametrize(
    "text",
    ["def f(:\n", "x = 1\0", "-" * 100_000 + "1", "a" + ".b" * 100_000, "(" * 400 + ")" * 400,
     "x = 1\n" * 70_000],
)  # fmt: skip
def test_source_that_cannot_be_read_is_a_finding(text: str) -> None:
    report = scan_bytes("score.py", text.encode(), code=CodeRules())
    assert report.exit_code == 1


def test_a_rule_of_bandit_that_breaks_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        raise KeyError("broken")

    broken._test_id = "B000"  # type: ignore[attr-defined]
    tests = source_rules._bandit().tests
    monkeypatch.setattr(tests, "get_tests", lambda _: [broken])
    assert "code.unchecked" in ids(found("score.py", "x = 1\n"))


def test_a_name_makes_no_pickle_source() -> None:
    report = scan_bytes("score.py", b"\x80\x04cos\nsystem\n(S'id'\ntR.", code=CodeRules())
    assert report.verdict is ScanVerdict.MALICIOUS
    assert scan_bytes("requirements.txt", b"PK\x03\x04" + bytes(40), code=CodeRules()).exit_code


@pytest.mark.parametrize(
    ("name", "line", "id_"),
    [
        ("a.py", f"x = '{AWS}'", "secret.token.aws"),
        ("a.py", f"# {AWS}", "secret.token.aws"),
        ("a.py", "api_key = 'f3a91bc07'", "secret.named"),
        ("a.py", "connect('postgres://me:s3cr3tpw@db/x')", "secret.url_password"),
        ("a.py", "headers = {'X-Api-Key': 'f3a91bc07'}", "secret.named"),
        ("settings.yaml", "db_password: hunter22", "secret.named"),
        ("settings.toml", "secret_key = 'f3a91bc07d'", "secret.named"),
        (".env", "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMIK7MDENGbPxRfiCYzzzz12", "secret.named"),
        ("README.md", f"use `{AWS}`", "secret.token.aws"),
        ("a.py", "x = '-----BEGIN RSA PRIVATE KEY-----'", "secret.private_key"),
        ("a.py", "x = 'SK" + "0123456789abcdef" * 2 + "'", "secret.token.twilio"),
        (
            "a.yaml",
            "url: https://hooks.slack.com/services/T0A1B2C3D/B0A1B2C3D/" + "a1B2" * 6,
            "secret.token.slack",
        ),
        ("a.yaml", "a: AccountKey=" + "aB3+" * 20, "secret.token.azure"),
    ],
)
def test_secrets_are_found_and_never_told(name: str, line: str, id_: str) -> None:
    every = found(name, "\n" + line + "\n")
    (one,) = [one for one in every if one.id == id_]
    assert (one.line, one.severity, one.atlas) == (2, "high", "AML.T0055")
    for finding in every:
        assert not any(value in finding.message for value in (AWS, "f3a91bc07", "s3cr3t", "hunter"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.py", "password = os.environ['DB']\napi_key = get_key('prod-1')\npad_token = '[PAD]'\n"),
        ("settings.yaml", "password: ${DB_PASSWORD}\ntoken: <your-token>\nmask_token: '<mask>'\n"),
        ("config.json", '{"tokenizer": "bert-base-uncased", "eos_token": "<|endoftext|>"}'),
        (".env", "API_KEY=\nSECRET=changeme-please1\n"),
    ],
)
def test_what_stands_in_for_a_secret_is_none(name: str, text: str) -> None:
    assert not {one for one in ids(found(name, text)) if one.startswith("secret")}


@pytest.mark.parametrize("text", ["a" * 20_000, "password" * 3_000, "x.token=" * 3_000])
def test_long_lines_are_searched_in_pieces(text: str) -> None:
    every = found("a.md", f"{text} '{AWS}'")
    assert "secret.token.aws" in ids(every) or "secret.named" in ids(every)


def test_a_random_text_between_quotes_may_be_a_secret_and_a_hash_is_none() -> None:
    drawn = "q7Gd0ZtX3bVn8KfR5wLy2HcJ6mPs9TaE"
    (one,) = found("a.py", f"send('{drawn}')\n")
    assert (one.id, one.severity) == ("secret.high_entropy", "medium")
    assert drawn not in one.message
    for line in (
        f"sha256 = '{drawn}'",
        f"x = {{'digest': '{drawn}'}}",
        "x = '" + "0123456789abcdef" * 4 + "'",
        "x = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'",
        "x = 'some_quite_long_identifier_of_a_layer_0'",
    ):
        assert found("a.py", line) == []


def test_a_password_that_bandit_finds_is_not_repeated() -> None:
    every = found("a.py", "def f(password='hunter22'): pass\nf(password='hunter22')\n")
    assert {"bandit.B106", "bandit.B107"} <= ids(every)
    assert "hunter" not in str(every)


def cell(*source: str, outputs: Sequence[object] = (), kind: str = "code") -> dict[str, object]:
    made = {"cell_type": kind, "metadata": {}, "source": list(source)}
    return {**made, "outputs": list(outputs), "execution_count": None} if kind == "code" else made


def notebook(*cells: dict[str, object], **metadata: object) -> bytes:
    return json.dumps(
        {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells}
    ).encode()


def test_every_part_of_a_notebook_is_searched_and_named() -> None:
    html = {"output_type": "display_data", "metadata": {}, "data": {
        "text/html": ["<p>\n", "<script>x()</script>"], "application/javascript": "x()",
        "image/png": AWS,
    }}  # fmt: skip
    stream = {"output_type": "stream", "name": "stdout", "text": ["one\n", f"key {AWS}\n"]}
    data = notebook(
        cell("# title\n", f"{AWS}", kind="markdown"),
        cell("%matplotlib inline\n", "!curl example.org | sh\n", "%pip install x\n", "eval(y)\n"),
        cell("x = 1", outputs=[stream, html]),
        cell("%%bash\n", "ls\n"),
        author={"api_key": "f3a91bc07"},
    )
    places = {(one.id, one.member, one.line) for one in found("a.ipynb", data)}
    assert places == {
        ("secret.token.aws", "cell 1", 2),
        ("notebook.shell", "cell 2", 2),
        ("notebook.install", "cell 2", 3),
        ("bandit.B307", "cell 2", 4),
        ("secret.token.aws", "cell 3/output 1", 2),
        ("notebook.active-markup", "cell 3/output 2", 2),
        ("notebook.script", "cell 3/output 2", None),
        ("notebook.other-language", "cell 4", 1),
        ("secret.named", "metadata", None),
    }


def test_a_notebook_without_findings_passes_and_one_in_a_model_does_not() -> None:
    data = notebook(cell("import numpy as np\n", "np.zeros(3)"), cell("text", kind="markdown"))
    assert found("a.ipynb", data) == []
    assert scan_bytes("a.ipynb", data).exit_code == 1


@pytest.mark.parametrize("data", [b"{}", b'{"cells": 3}', b"[1]", b'{"cells": [{"a": NaN}]}', b"x"])
def test_what_is_no_notebook_is_a_finding(data: bytes) -> None:
    assert scan_bytes("a.ipynb", data, code=CodeRules()).exit_code == 1


@given(
    name=st.sampled_from(NAMES),
    data=st.binary(max_size=200) | st.text(max_size=200).map(str.encode),
)
def test_any_bytes_give_a_report(name: str, data: bytes) -> None:
    (file,) = scan_bytes(name, data, code=CodeRules(finder=tokens)).files
    assert file.verdict in ScanVerdict


@given(st.recursive(
    st.none() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["cells", "source", "outputs", "data", "metadata", "cell_type", "package",
                         "packages", "dependencies", "pip", "_meta", "default", "hash", "name"]),
        inner, max_size=4),
    max_leaves=12))  # fmt: skip
def test_any_document_gives_a_report(value: object) -> None:
    for name in ("a.ipynb", "Pipfile.lock", "conda.yaml", "conda-lock.yml"):
        (file,) = scan_bytes(name, json.dumps(value).encode(), code=CodeRules()).files
        assert "code.unchecked" not in {one.id for one in file.findings}


def test_the_history_of_a_checkout_is_named_and_left_out(tmp_path: Path) -> None:
    (tmp_path / ".git/objects").mkdir(parents=True)
    (tmp_path / ".git/objects/x").write_bytes(b"\x78\x01junk")
    (tmp_path / "score.py").write_text("x = 1\n")
    report = scan_path(tmp_path, code=CodeRules())
    assert [one.format for one in report.files] == ["git", "python"]
    assert report.exit_code == 0
    assert scan_path(tmp_path).exit_code == 1

"""Runs `*.session` files: terminal sessions with what they must print (after age's test scripts).

    # a remark
    $ vallum data show patients          must exit with 0
    data patients:1  sha256:...          `...` is any text in a line; alone, any lines
    ! vallum data show nobody            must fail
    stderr: vallum: there is no ...      every line of stderr, in order
    exit: 3                              with this code
    $ vallum --json key list             one object of schema `vallum.key.list/1`; what is
    {"keys": [{"id": "{key=...}"}, ...]}     written must be in it; `{key=...}` keeps a value
    $ vallum key revoke $key             and uses it

`vallum` runs in this process unless the line needs a shell. Everything printed is compared. An
output holds a secret (`vlm_…`) only where the session says so; a `--dry-run` leaves the workspace
as it was.
"""

import contextlib
import io
import json
import math
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

import pytest
from images import Image, sha256, tar, write_layout
from mlflow_store import small_store
from running import Up, request, small_model, table

from vallum.base import Secret
from vallum.cli.app import run
from vallum.crypto import SigningKey

_TOKEN = re.compile(r"(\.\.\.|\{\w+=\.\.\.\})")


PEOPLE = "name,email,zip,age,ill\n" + "".join(
    f"Person {at},person{at}@example.org,{10115 + at % 4},{30 + at % 6},{at % 2}\n"
    for at in range(60)
)


def training(poisoned: int = 0) -> bytes:
    """Return 400 rows of two measurements in two classes; the first ones have the wrong class."""
    lines = ["length,width,kind\n"]
    for at in range(400):
        kind, turn = at % 2, at * 2.399963  # the golden angle: no row comes twice
        far = math.sqrt((at * 7 % 400) / 400)
        x, y = 5 * kind + far * math.cos(turn), far * math.sin(turn)
        said = kind if at >= poisoned else 1 - kind
        lines.append(f"{x:.4f},{y:.4f},{('oak', 'elm')[said]}\n")
    return "".join(lines).encode()


DECLARATION = """\
version: vallum.dp/1
unit: {column: email, max_rows: 1}
columns:
  age: {type: integer, lower: 0, upper: 120, bins: [0, 18, 40, 65, 120]}
  ill: {type: category, values: ["0", "1"]}
  zip: {type: category}
"""
TRAIN = """\
import pathlib, shutil
print("training")
shutil.copy("/code/model.onnx", "/out/model.onnx")
"""
SCORE = """\
import joblib

MODEL = joblib.load("model.joblib")


def run(rows):
    return MODEL.predict(rows)
"""
TREES = """\
tree
version=v4
num_class=1
num_tree_per_iteration=1
label_index=0
max_feature_idx=3
objective=binary sigmoid:1
feature_names=f0 f1 f2 f3
feature_infos=[-3:3] [-3:3] [-3:3] [-3:3]

Tree=0
num_leaves=2
num_cat=0
split_feature=0
split_gain=1
threshold=0.1
decision_type=2
left_child=-1
right_child=-2
leaf_value=-1 1
leaf_weight=1 1
leaf_count=10 10
internal_value=0
internal_weight=0
internal_count=20
is_linear=0
shrinkage=1


end of trees
"""
NOTEBOOK = {
    "nbformat": 4, "nbformat_minor": 5, "metadata": {},
    "cells": [
        {"cell_type": "code", "metadata": {}, "execution_count": 1, "outputs": [
            {"output_type": "stream", "name": "stdout", "text": ["db_password=h0rse-b4ttery\\n"]},
        ], "source": ["print(open('.env').read())"]},
    ],
}  # fmt: skip
ADVISORY = {
    "id": "PYSEC-2026-1", "modified": "2026-01-02T03:04:05Z", "summary": "Reads any file",
    "affected": [{
        "package": {"ecosystem": "PyPI", "name": "scoring-helpers"},
        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "1.2"}, {"fixed": "1.5"}]}],
    }],
}  # fmt: skip


def lay_out(folder: Path) -> None:
    """Put the files into a folder that sessions and pages of the documentation name."""
    (folder / "patients.csv").write_text(PEOPLE)
    (folder / "numbers.csv").write_bytes(table(3))
    (folder / "other-numbers.csv").write_bytes(table(4))
    rows = table(5).decode().splitlines()
    wards = [row + (",ward" if not at else ",east" if at % 2 else ",west")
             for at, row in enumerate(rows)]  # fmt: skip
    (folder / "wards.csv").write_text("\n".join(wards) + "\n")
    (folder / "leaves.csv").write_bytes(training())
    (folder / "poisoned-leaves.csv").write_bytes(training(poisoned=24))
    (folder / "model.onnx").write_bytes(small_model(0.01))  # not the one that is tested already
    (folder / "theirs.onnx").write_bytes(small_model(0.03))
    (folder / "network.onnx").write_bytes(small_model(0.02, hidden=True))
    (folder / "trees.txt").write_text(TREES)
    (folder / "evil.pkl").write_bytes(b"cos\nsystem\n(S'id'\ntR.")
    (folder / "request.json").write_bytes(request([[1.0, 1.0, 1.0, 1.0]]))
    (folder / "patients.dp.yaml").write_text(DECLARATION)
    (folder / "notes.txt").write_text("write to ana@example.org\n")
    (folder / "nested.jsonl").write_text(
        '{"patient": {"contacts": [{"mail": "ana@example.org"}]}}\n{"patient": null}\n'
    )
    (folder / "account.yaml").write_text(
        "version: vallum.mask/1\n"
        "columns: [{column: email, operation: ff1, alphabet: alphanumeric}]\n"
    )
    masking = folder / "mask.key"
    masking.touch(mode=0o600)
    masking.write_text("0123456789abcdef0123456789abcdef\n")
    code = folder / "code"
    code.mkdir()
    (code / "train.py").write_text(TRAIN)
    (code / "model.onnx").write_bytes(small_model(0.02))
    scoring = folder / "scoring"
    scoring.mkdir()
    (scoring / "score.py").write_text(SCORE)
    (scoring / "look.ipynb").write_text(json.dumps(NOTEBOOK))
    (scoring / "requirements.txt").write_text("numpy\nscoring-helpers==1.4\n")
    (scoring / "LICENSE").write_text("SPDX-License-Identifier: GPL-3.0-only\n")
    (folder / "advisories.json").write_text(json.dumps(ADVISORY))
    lay_out_images(folder)
    small_store(folder)
    release = SigningKey.p256_from_seed(Secret(bytes(40)))
    (folder / "signer.pem").touch(mode=0o600)
    (folder / "signer.pem").write_bytes(release.to_pem())
    (folder / "signer.pub").write_bytes(release.verify_key.to_pem())
    secret = folder / "lake.secret"
    secret.touch(mode=0o600)
    secret.write_text("the lake's secret\n")


DEBIAN = tar(
    ("etc/os-release", b'ID=debian\nVERSION_ID="12"\n'),
    ("etc/passwd", b"root:x:0:0::/root:/bin/sh\nscore:x:1000:1000::/:/bin/sh\n"),
    ("var/lib/dpkg/status", (b"Package: libssl3\nStatus: install ok installed\nSource: openssl\n"
     b"Version: 3.0.11-1~deb12u2\nArchitecture: amd64\n")),
)  # fmt: skip
CHAIN = sha256(DEBIAN)
SSL = {
    "id": "CVE-2026-0001", "modified": "2026-01-02T03:04:05Z", "summary": "Reads any memory",
    "database_specific": {"severity": "HIGH"}, "affected": [{
        "package": {"ecosystem": "Debian:12", "name": "openssl"},
        "ranges": [{"type": "ECOSYSTEM",
                    "events": [{"introduced": "0"}, {"fixed": "3.0.11-1~deb12u3"}]}]}],
}  # fmt: skip
RULES = f"""\
trusted_bases:
  - {{name: "debian:12", chain: "{CHAIN}"}}
severity: high
waivers:
  - {{finding: CVE-2026-0001, until: 2099-12-31, reason: the service offers no TLS}}
"""


def lay_out_images(folder: Path) -> None:
    """Put container images, a key to sign them and rules for them into a folder."""
    plain: Callable[[bytes], bytes] = lambda data: data  # noqa: E731 - packed layers differ by zlib
    app = tar(("app/score.py", b"print('hello')\n"))
    leak = tar(("app/.npmrc", b"//registry.example/:_authToken=1b9f2c6e-5b8a\n"))
    write_layout(folder / "debian", Image(layers=[DEBIAN], run={}, pack=plain))
    write_layout(folder / "scoring-image", Image(layers=[DEBIAN, app], pack=plain))
    write_layout(folder / "leaky-image", Image(layers=[DEBIAN, app, leak], run={}, pack=plain))
    (folder / "image-rules.yaml").write_text(RULES)
    (folder / "debian-advisories.json").write_text(json.dumps(SSL))
    key = SigningKey.from_seed(Secret(bytes(32)))
    private = folder / "release.key"
    private.touch(mode=0o600)
    private.write_bytes(key.to_pem())
    public = key.verify_key.to_pem()
    (folder / "release.pub").write_bytes(public)
    (folder / "images-policy.yaml").write_text(
        "version: vallum.policy/1\nimages:\n  require: [digest, base, signature]\n"
        f'  trusted_bases: [{{name: "debian:12", chain: "{CHAIN}"}}]\n'
        f"  keys: [{json.dumps(public.decode())}]\n"
    )


def sit_down(up: Up, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go to a folder as the owner of the workspace, with `vallum` and `python` on the path."""
    for name in [one for one in os.environ if one.startswith("VALLUM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("VALLUM_URL", up.url)
    monkeypatch.setenv("VALLUM_CA", str(up.ca))
    monkeypatch.setenv("VALLUM_TOKEN_FILE", str(up.folder / "data.keys/owner.key"))
    monkeypatch.setenv("VALLUM_STATE_DIR", str(folder / ".state"))
    monkeypatch.setenv("VALLUM_ADVISORIES", str(folder / ".advisories"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(folder)


@dataclass
class Command:
    """One command of a session and what it must do."""

    line: str
    place: str
    fails: bool
    stdout: list[str] = field(default_factory=list)
    stderr: list[str] = field(default_factory=list)
    exit: int = 0


def parse(path: Path) -> Iterator[Command]:
    """Yield the commands of a session file."""
    return parse_text(path.read_text(), path.name)


def parse_text(text: str, name: str) -> Iterator[Command]:
    """Yield the commands of a session; `name` is for messages."""
    current: Command | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if line[:2] in {"$ ", "! "}:
            if current is not None:
                yield current
            current = Command(line[2:], f"{name}:{number}", fails=line[0] == "!")
        elif line.startswith("#") or (not line and (current is None or not current.stdout)):
            continue
        elif current is None:
            raise AssertionError(f"{name}:{number}: output before a command")
        elif line.startswith("stderr: "):
            current.stderr.append(line.removeprefix("stderr: "))
        elif line.startswith("exit: "):
            current.exit = int(line.removeprefix("exit: "))
        else:
            current.stdout.append(line)
    if current is not None:
        yield current


def play(commands: Iterable[Command], *, state: Callable[[], object]) -> None:
    """Run a session in the current folder; `state` tells what a dry run must not change."""
    known: dict[str, str] = {}
    for command in commands:
        line = Template(command.line).safe_substitute(known)
        before = state() if "--dry-run" in line else None
        code, out, err = execute(line)
        said = f"{command.place}: {line}\nexit {code}\n--- stdout\n{out}--- stderr\n{err}"
        assert bool(command.exit) == command.fails, f"{command.place}: `!` goes with `exit:`"
        assert code == command.exit, said
        if "vlm_" in out + err:
            assert any("vlm_" in one for one in command.stdout), "a secret came out\n" + said
        assert _lines(command.stderr, err.splitlines(), known), said
        if "--json" in line:
            shape = json.loads(re.sub(r",\s*\.\.\.\]", ', "..."]', "".join(command.stdout)))
            assert out.count("\n") == 1, said
            answer = json.loads(out)
            assert re.fullmatch(r"vallum\.[a-z.-]+/1", answer["schema"]), said
            assert _inside(shape, answer, known), said
        else:
            expected = command.stdout
            while expected and not expected[-1]:
                expected = expected[:-1]
            assert _lines(expected, out.splitlines(), known), said
        if before is not None:
            assert state() == before or _changes_nothing(line, state), (
                f"a dry run changed something\n{said}"
            )


def _changes_nothing(line: str, state: Callable[[], object]) -> bool:
    """Tell it by further runs: gateways write down what they answered, too, some seconds later."""
    for _ in range(3):
        before = state()
        execute(line)
        if state() == before:
            return True
    return False


def execute(line: str) -> tuple[int, str, str]:
    """Run a line as a shell would; returns exit code, stdout and stderr."""
    words = list(shlex.shlex(line, posix=True, punctuation_chars=True))
    if words[0] != "vallum" or set(words) & {"|", "<", ">", ">>", "&&", ";"}:
        done = subprocess.run(  # noqa: S602 - the session's own text
            line, shell=True, check=False, capture_output=True, text=True, timeout=120
        )
        return done.returncode, done.stdout, done.stderr
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(shlex.split(line)[1:])
    out.flush()
    err.flush()
    return code, out.buffer.getvalue().decode(), err.buffer.getvalue().decode()  # type: ignore[attr-defined]


def _lines(expected: list[str], got: list[str], known: dict[str, str]) -> bool:
    if not expected:
        return not got
    if expected[0] == "...":
        return any(_lines(expected[1:], got[at:], known) for at in range(len(got) + 1))
    return bool(got) and _text(expected[0], got[0], known) and _lines(expected[1:], got[1:], known)


def _text(pattern: str, got: str, known: dict[str, str]) -> bool:
    """Match one line, keeping what `{name=...}` finds."""
    regex, got = "", re.sub(r" {2,}", " ", got)  # columns are as wide as what others left there
    pattern = re.sub(r" {2,}", " ", Template(pattern).safe_substitute(known))
    for part in _TOKEN.split(pattern):
        if part == "...":
            regex += ".*"
        elif _TOKEN.fullmatch(part):
            regex += rf"(?P<{part[1:].partition('=')[0]}>\S+)"
        else:
            regex += re.escape(part)
    found = re.fullmatch(regex, got.rstrip())
    if found is not None:
        known.update(found.groupdict())
    return found is not None


def _inside(shape: object, got: object, known: dict[str, str]) -> bool:
    """Tell whether every value that `shape` writes down is in `got`."""
    if isinstance(shape, dict):
        return isinstance(got, dict) and all(
            name in got and _inside(value, got[name], known) for name, value in shape.items()
        )
    if isinstance(shape, list):
        if not isinstance(got, list):
            return False
        if shape[-1:] == ["..."]:  # these are somewhere in it
            return all(any(_inside(one, item, known) for item in got) for one in shape[:-1])
        return len(shape) == len(got) and all(map(_inside, shape, got, [known] * len(got)))
    if isinstance(shape, str) and isinstance(got, str):
        return _text(shape, got, known)
    return type(shape) is type(got) and shape == got

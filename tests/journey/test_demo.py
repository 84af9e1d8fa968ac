"""The main job end to end: real server, gateway, worker, sandbox and HTTPS."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vallum.cli.demo import STEPS

pytest.importorskip("sklearn", reason="the demo's data ships with scikit-learn")
pytest.importorskip("skl2onnx", reason="the demo trains an ONNX model")

README = Path(__file__).parents[2] / "README.md"
# What differs from run to run, or from machine to machine: figures, ids, digests, folders.
VARIABLE = re.compile(
    r"/\S*?vallum-demo-[^/ ]+|\b[0-9a-f]{16}\b|sha256:[0-9a-f]+|\b(?:ws|mver)-\w*|\d+(?:\.\d+)?|…",
)


def vallum(*arguments: str, **more: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "vallum.cli", *arguments],
        check=False, capture_output=True, text=True, timeout=180, **more,
    )  # type: ignore[call-overload, no-any-return]  # fmt: skip


def test_the_demo_runs_the_whole_main_job(tmp_path: Path) -> None:
    done = vallum("demo", "--keep", str(tmp_path / "kept"), "--json")
    assert done.returncode == 0, done.stderr + (tmp_path / "kept/up.log").read_text()
    said = json.loads(done.stdout)
    assert said["schema"] == "vallum.demo/1"
    steps = said["steps"]
    assert list(steps) == list(STEPS)
    assert steps["ingest"]["label"] == "highly-confidential"
    assert int(steps["ingest"]["personal_columns"]) == 6
    assert int(steps["protect"]["k"]) >= 5
    assert {"seccomp", "uid", "namespaces"} <= set(steps["train"]["limits"])
    assert steps["register"]["scan"] == "clean"
    assert steps["deploy"]["traffic"] == {"blue": 100}
    assert steps["verify"]["seconds"] < 60

    # What was kept opens again, and nothing personal lies in the data folder in the clear.
    data = tmp_path / "kept/data"
    stored = b"".join(path.read_bytes() for path in data.rglob("*") if path.is_file())
    assert b"@example.org" not in stored
    assert b"Tanaka" not in stored

    from vallum.workspace.bootstrap import Places, opened
    from vallum.workspace.views.verification import verify_everything

    with opened(Places.below(data)) as kernel:
        verified = verify_everything(kernel.house, objects=True)
        assert verified.findings == ()
        with kernel.house.database.snapshot() as snapshot:
            kinds = {one.entry.kind.value for one in kernel.house.log.entries(snapshot, limit=1000)}
    assert {"bundle-opened", "bundle-closed", "intent", "outcome", "refusal"} <= kinds


def shape(line: str) -> str:
    """Return a line of the story with every figure, id and digest as `#`."""
    return re.sub(r"#+", "#", VARIABLE.sub("#", " ".join(line.split())))


@pytest.mark.slow
def test_the_readme_shows_what_the_demo_says() -> None:
    text = README.read_text()
    (shown,) = re.findall(
        r"^```text\n(.*?)^```$", text[: text.index("## The everyday")], re.MULTILINE | re.DOTALL
    )
    done = vallum("demo", env={**os.environ, "COLUMNS": "100"})
    assert done.returncode == 0, done.stderr
    told = done.stdout.partition("\n\n")[0]
    assert [shape(line) for line in told.splitlines()] == [
        shape(line) for line in shown.splitlines()
    ], "put the demo's output into README.md"
    assert done.stderr == "", "no progress without a terminal"

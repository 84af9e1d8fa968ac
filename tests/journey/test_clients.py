"""Unchanged clients of other products against the real gateway."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from running import deploy, prepare, running

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).with_name("kserve_client.py")


@pytest.fixture(scope="module")
def kserve(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter with KServe's client, whose dependencies do not go with ours."""
    folder = Path(tmp_path_factory.mktemp("kserve")) / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)  # noqa: S603 - ours
    python = folder / "bin/python"
    made = subprocess.run(  # noqa: S603 - a pinned package
        [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check",
         "kserve==0.21.0"], check=False, capture_output=True, timeout=600,
    )  # fmt: skip
    if made.returncode:
        pytest.skip("kserve cannot be installed here")
    return python


def test_kserves_client_is_answered(kserve: Path, tmp_path: Path) -> None:
    with running(tmp_path) as up:
        prepare(up)
        key = deploy(up, "risk")
        base = f"https://127.0.0.1:{up.gateway_port}"
        done = subprocess.run(  # noqa: S603 - ours
            [str(kserve), str(SCRIPT), base, "risk", str(up.ca)],
            check=False, capture_output=True, text=True, timeout=120,
            env={"KEY": key, "PATH": os.environ["PATH"]},
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["live"], said["ready"], said["model"]) == (True, True, True)
    assert (said["name"], said["shape"]) == ("probabilities", [2, 2])
    assert said["data"][1] > 0.9
    assert said["data"][2] > 0.9

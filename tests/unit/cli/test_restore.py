"""`vallum workspace restore` as it is typed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest_workspace import sign_in_owner

from vallum.schema import api
from vallum.workspace.bootstrap import Places, create, opened


def typed(places: Places, *arguments: str) -> "subprocess.CompletedProcess[str]":
    line = ["workspace", "restore", *arguments, "--data", str(places.data)]
    return subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "vallum.cli", *line],
        check=False, capture_output=True, text=True, timeout=60, env=dict(os.environ),
    )  # fmt: skip


@pytest.fixture
def archive(places: Places, tmp_path: Path) -> str:
    create(places)
    with opened(places) as kernel:
        reply = sign_in_owner(kernel, places).do("workspace.backup", api.Page())
        assert reply.chunks is not None
        (tmp_path / "backup.tar").write_bytes(b"".join(reply.chunks))
    shutil.rmtree(places.data)
    return str(tmp_path / "backup.tar")


def test_a_rollback_is_refused_then_accepted_with_a_reason(archive: str, places: Places) -> None:
    refused = typed(places, archive)
    assert refused.returncode == 5
    assert refused.stdout == ""
    assert "hint: add --accept-rollback --reason" in refused.stderr
    without = typed(places, archive, "--accept-rollback")
    assert without.returncode == 2
    assert "giving history up needs a reason" in without.stderr
    more = ("--accept-rollback", "--reason", "a test")
    would = typed(places, archive, *more, "--dry-run", "--json")
    assert json.loads(would.stdout)["schema"] == "vallum.workspace.restore/1"
    assert json.loads(would.stdout)["dry_run"] is True
    assert not places.data.exists()
    done = typed(places, archive, *more)
    assert done.returncode == 0
    assert "every key is revoked; the new owner's key is in" in done.stdout
    assert "vlm_" not in done.stdout + done.stderr
    assert places.data.exists()


def test_a_file_that_is_no_backup_says_so(archive: str, places: Places) -> None:
    del archive
    told = typed(places, str(places.owner_key))
    assert told.returncode == 2
    assert told.stderr.startswith("vallum: ")

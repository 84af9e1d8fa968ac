"""A byte changes under a deployment that answers, of its model or its record: it stops."""

import os
import sqlite3
import time
from pathlib import Path

import pytest
from running import WIDTH, deploy, prepare, request, running

from vallum.schema import DeploymentState


@pytest.mark.guarantee("G6")
@pytest.mark.slow
def test_a_changed_byte_of_the_stored_model_stops_the_running_deployment(tmp_path: Path) -> None:
    with running(tmp_path) as up:
        prepare(up)
        objects = tmp_path / "data/objects"
        newest = max(  # `small` is the newest model; the deployment stores nothing
            (path for path in objects.rglob("*") if path.is_file()),
            key=lambda path: path.stat().st_mtime_ns,
        )
        key = deploy(up, "scores")
        time.sleep(3.0)  # it has been looked at once
        data = bytearray(newest.read_bytes())
        data[len(data) // 2] ^= 1
        before = newest.stat()
        newest.chmod(0o600)
        newest.write_bytes(bytes(data))
        os.utime(newest, ns=(before.st_atime_ns, before.st_mtime_ns))  # as if nothing had been
        changed_s = time.monotonic()
        state = DeploymentState.RUNNING
        while state is DeploymentState.RUNNING and time.monotonic() < changed_s + 20:
            time.sleep(0.2)
            (deployment,) = up.owner.endpoints.show("scores").deployments
            state = deployment.state
        took_s = time.monotonic() - changed_s
        assert state is DeploymentState.FAILED
        assert took_s < 10  # the promise is 5 s on a machine that has nothing else to do
        assert up.score("scores", request([[1.0] * WIDTH]), key=key).status_code == 503
        found = up.owner.audit.list(kind="finding")
        assert "endpoint.stop" in {one.entry.step for one in found}


@pytest.mark.guarantee("G6")
def test_a_changed_byte_of_a_deployments_record_stops_what_it_describes(tmp_path: Path) -> None:
    with running(tmp_path) as up:
        prepare(up)
        key = deploy(up, "scores")
        (database,) = tmp_path.joinpath("data").glob("*.db")
        with sqlite3.connect(database, timeout=10) as rows:
            ((identity, content),) = rows.execute(
                "SELECT id, content FROM records WHERE kind = 'deployment'"
            ).fetchall()
            changed = bytes(content).replace(b'"in_process":false', b'"in_process":true ')
            assert changed != bytes(content)
            rows.execute("UPDATE records SET content = ? WHERE id = ?", (changed, identity))
        changed_s = time.monotonic()
        status = 200
        while status == 200 and time.monotonic() < changed_s + 20:
            status = up.score("scores", request([[1.0] * WIDTH]), key=key).status_code
            time.sleep(0.1)
        took_s = time.monotonic() - changed_s
        assert status != 200
        assert took_s < 10

"""`vallum import mlflow` from stores that MLflow itself made, into a running server."""

import contextlib
import json
import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fixtures_store import PostgreSQL, postgresql
from running import Up, free_port, running

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # read when it is imported
mlflow = pytest.importorskip("mlflow", reason="mlflow-skinny is not installed (extra `dev`)")
from mlflow_store import make_store  # noqa: E402 - it needs what is looked for above

from vallum.cli.app import run as cli  # noqa: E402 - as above

# MLflow takes ten seconds to make a database: the fast ones are import.session and unit tests.
__all__ = ["postgresql"]

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = Path(tmp_path_factory.mktemp("store"))
    return make_store(folder), folder


@pytest.fixture
def other(tmp_path: Path, postgresql: PostgreSQL) -> tuple[str, Path]:
    """A store in PostgreSQL."""
    return make_store(tmp_path, postgresql(), prefix="pg-"), tmp_path


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running(Path(tmp_path_factory.mktemp("import"))) as started:
        started.owner.policy.set({"version": "vallum.policy/1"}, reason="a test")
        yield started


@pytest.fixture(autouse=True)
def signed_in(up: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALLUM_URL", up.url)
    monkeypatch.setenv("VALLUM_CA", str(up.ca))
    monkeypatch.setenv("VALLUM_TOKEN_FILE", str(up.folder / "data.keys/owner.key"))


@pytest.fixture
def ours(up: Up, monkeypatch: pytest.MonkeyPatch) -> Any:
    """MLflow's client, of our server."""
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", up.token)
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(up.ca))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return mlflow.MlflowClient(tracking_uri=up.url, registry_uri=up.url)


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    code = cli(["--json", "import", "mlflow", *arguments])
    said = capsys.readouterr()
    return code, json.loads(said.out)


def tally(done: Any, kind: str) -> tuple[int, int, int]:
    one = done[kind]
    return one["found"], one["made"], one["kept"]


def a_dry_run_tells_and_changes_nothing(
    up: Up, store: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    uri, folder = store
    before = up.owner.workspace.verify().records
    code, done = told(capsys, "--from", uri, "--artifacts", str(folder / "files"), "--dry-run")
    assert code == 1
    assert tally(done, "experiments") == (2, 2, 0)
    assert tally(done, "runs") == (3, 3, 0)
    assert tally(done, "points") == (1503, 0, 0)
    assert tally(done, "versions") == (4, 3, 0)
    assert [one["name"] for one in done["refused"]] == ["elsewhere:1"]
    assert up.owner.workspace.verify().records == before
    everybody = [one for one in done["rights"] if one["principal"] == "everybody"]
    assert {(one["before"], one["after"]) for one in everybody} == {("MANAGE", "NO_PERMISSIONS")}
    owner = [one for one in done["rights"] if one["principal"] == "owner"]
    assert {one["after"] for one in owner} == {"MANAGE"}


def everything_comes_over_once(
    up: Up, ours: Any, store: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    uri, folder = store
    arguments = ("--from", uri, "--artifacts", str(folder / "files"))
    code, done = told(capsys, *arguments)
    assert code == 1  # something was refused
    assert tally(done, "runs") == (3, 3, 0)
    assert tally(done, "points") == (1503, 1503, 0)
    assert tally(done, "logged_models") == (1, 1, 0)
    assert tally(done, "files") == (6, 6, 0)
    assert tally(done, "versions") == (4, 2, 0)
    assert {one["name"]: one["code"] for one in done["refused"]} == {
        "old:1": "gate.scan",
        "elsewhere:1": "import.source",
    }
    assert done["renumbered"] == ["risk:2 is 1 here", "risk:3 is 2 here"]
    assert done["deleted"] == 2

    loans = ours.get_experiment_by_name("loans")
    assert loans.tags["team"] == "risk"
    found = {one.info.run_name: one for one in ours.search_runs([loans.experiment_id])}
    first = found["first"]
    assert (first.info.status, first.info.user_id) == ("FINISHED", "owner")
    assert first.data.params == {"depth": "3"}
    assert first.data.tags["mlflow.user"] == "mia"
    assert first.data.tags["vallum.import.started_ms"] == "1700000000000"
    assert first.data.tags["vallum.import.ended_ms"] == "1700000009000"
    loss = ours.get_metric_history(first.info.run_id, "loss")
    assert [(one.step, one.value) for one in loss] == [(at, 1 / (at + 1)) for at in range(1500)]
    odd = [one.value for one in ours.get_metric_history(first.info.run_id, "odd")]
    assert [str(one) for one in odd] == ["nan", "inf"]
    assert first.inputs.dataset_inputs[0].dataset.name == "people"
    assert [one.path for one in ours.list_artifacts(first.info.run_id)] == ["model", "notes"]
    model = found["second"].outputs.model_outputs[0]
    assert model.step == 7
    made = ours.get_logged_model(model.model_id)
    assert (made.name, made.params, made.metrics[0].value) == ("net", {"width": "4"}, 0.9)
    champion = ours.get_model_version_by_alias("risk", "champion")
    assert (champion.version, champion.tags["reviewed"]) == ("1", "yes")
    assert champion.source == f"models:/{model.model_id}"
    assert ours.get_model_version_by_alias("risk", "challenger").run_id == first.info.run_id
    assert ours.get_registered_model("risk").description == "of loans"

    code, again = told(capsys, *arguments)
    assert tally(again, "experiments") == (2, 0, 2)
    assert tally(again, "runs") == (3, 0, 3)
    assert tally(again, "points") == (1503, 0, 1503)
    assert tally(again, "files") == (6, 0, 6)
    assert tally(again, "versions") == (4, 0, 2)
    assert tally(again, "aliases") == (2, 0, 2)
    assert up.owner.workspace.verify().findings == ()


def what_was_interrupted_goes_on(
    ours: Any, store: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """A run of which half came over, as if the process had been killed in between."""
    uri, folder = store
    loans = ours.get_experiment_by_name("loans")
    (run,) = ours.search_runs([loans.experiment_id], "attributes.run_name = 'first'")
    ours.set_tag(run.info.run_id, "vallum.import.done", "")
    (folder / "mlflow.db").rename(folder / "kept.db")
    (folder / "mlflow.db").write_bytes((folder / "kept.db").read_bytes())
    with sqlite3.connect(folder / "mlflow.db") as grown:
        theirs = run.data.tags["vallum.import.run"]
        grown.execute(
            "INSERT INTO metrics VALUES ('loss', 0.25, 1700000005000, ?, 1500, 0)", (theirs,)
        )
        grown.execute("INSERT INTO params VALUES ('late', 'x', ?)", (theirs,))
    grown.close()
    _, done = told(capsys, "--from", uri, "--artifacts", str(folder / "files"))
    assert tally(done, "points") == (1504, 1, 1503)
    assert len(ours.get_metric_history(run.info.run_id, "loss")) == 1501
    assert ours.get_run(run.info.run_id).data.params == {"depth": "3", "late": "x"}
    (folder / "kept.db").replace(folder / "mlflow.db")


def postgresql_is_read_as_sqlite_is(
    other: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    uri, folder = other
    code, done = told(capsys, "--from", uri, "--artifacts", str(folder / "files"))
    assert (code, done["source"]) == (1, "postgresql")
    assert tally(done, "runs") == (3, 3, 0)
    assert tally(done, "points") == (1503, 1503, 0)
    assert tally(done, "files") == (6, 6, 0)
    assert {one["name"] for one in done["refused"]} == {"pg-old:1", "pg-elsewhere:1", "Default"}
    assert tally(done, "aliases") == (2, 2, 0)


@contextlib.contextmanager
def mlflow_server(program: str, folder: Path, uri: str) -> Iterator[str]:
    """MLflow's own server on a store."""
    url = f"http://127.0.0.1:{free_port()}"
    with (folder / "mlflow.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - of an environment that the caller made
            [program, "server", "--host", "127.0.0.1", "--port", url.rpartition(":")[2],
             "--workers", "1", "--backend-store-uri", uri],
            stdout=log, stderr=log, env={**os.environ, "DO_NOT_TRACK": "true"},
        )  # fmt: skip
        try:
            end = time.monotonic() + 120
            while True:
                assert process.poll() is None, (folder / "mlflow.log").read_text()
                with contextlib.suppress(httpx.HTTPError):
                    if httpx.get(f"{url}/health", trust_env=False).status_code == 200:
                        break
                assert time.monotonic() < end, (folder / "mlflow.log").read_text()
                time.sleep(0.2)
            yield url
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def test_stores_of_mlflow_come_over_once(
    up: Up,
    ours: Any,
    store: tuple[str, Path],
    other: tuple[str, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In this order: what is here already decides what comes over."""
    a_dry_run_tells_and_changes_nothing(up, store, capsys)
    everything_comes_over_once(up, ours, store, capsys)
    what_was_interrupted_goes_on(ours, store, capsys)
    postgresql_is_read_as_sqlite_is(other, capsys)


def test_a_running_mlflow_server_tells_what_its_database_does(
    up: Up,
    ours: Any,
    store: tuple[str, Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What came from the database is found to be here; a file that is not here comes over."""
    program = os.environ.get("VALLUM_TEST_MLFLOW", "")
    if not program:
        pytest.skip("VALLUM_TEST_MLFLOW names no `mlflow` with its server (pip install mlflow)")
    uri, folder = store
    told(capsys, "--from", uri, "--artifacts", str(folder / "files"))  # if it is not here yet
    loans = ours.get_experiment_by_name("loans")
    (run,) = ours.search_runs([loans.experiment_id], "attributes.run_name = 'first'")
    ours.set_tag(run.info.run_id, "vallum.import.done", "")
    path = run.info.artifact_uri.removeprefix("mlflow-artifacts:/")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "the source has none")
    with mlflow_server(program, folder, uri) as url:
        proxy = "/api/2.0/mlflow-artifacts/artifacts"
        answer = up.raw(f"{proxy}/{path}/notes/a.txt", method="DELETE")
        assert answer.status_code == 200
        _, done = told(capsys, "--from", url)
    assert done["source"] == "server"
    assert tally(done, "runs") == (3, 0, 3)
    assert (done["points"]["made"], done["points"]["kept"]) == (0, 1503)
    assert tally(done, "logged_models") == (1, 0, 1)
    assert tally(done, "files") == (6, 1, 5)
    assert tally(done, "versions") == (4, 0, 2)

"""The attack of docs/explain/overwritten-model.md, by one script against MLflow and Vallum."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from running import Up, running, small_model

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # read when it is imported
mlflow = pytest.importorskip("mlflow", reason="mlflow-skinny is not installed (extra `dev`)")
pytestmark = pytest.mark.filterwarnings("default")  # those of MLflow's own

GOOD = np.ones((1, 4), dtype=np.float32)  # class 1, clearly


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    with running(tmp_path) as started:
        yield started


def train_and_register() -> Any:
    """What an honest person does."""
    import mlflow.onnx

    mlflow.set_experiment("loans")
    with mlflow.start_run():
        logged = mlflow.onnx.log_model(onnx.load_from_string(small_model()), name="net")
    mlflow.register_model(logged.model_uri, "loans")
    return logged


def overwrite(logged: Any, folder: Path) -> None:
    """What whoever may write to the experiment does: no right on the registered model is needed."""
    (folder / "swapped").mkdir()
    (folder / "swapped/model.onnx").write_bytes(small_model(shift=100.0))
    mlflow.MlflowClient().log_model_artifacts(logged.model_id, str(folder / "swapped"))


def served_class() -> int:
    """What everybody gets who loads the registered version."""
    import mlflow.pyfunc

    scores = mlflow.pyfunc.load_model("models:/loans/1").predict(GOOD)["probabilities"]
    return int(np.argmax(scores[0]))


def test_in_mlflow_a_registered_version_says_the_opposite_afterwards(tmp_path: Path) -> None:
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    mlflow.create_experiment("loans", artifact_location=str(tmp_path / "files"))
    logged = train_and_register()
    assert served_class() == 1
    overwrite(logged, tmp_path)
    assert served_class() == 0


@pytest.mark.guarantee("G6")
def test_in_vallum_a_registered_version_stays_what_it_was(
    up: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(up.ca))
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", up.token)
    mlflow.set_tracking_uri(up.url)
    logged = train_and_register()
    before = up.owner.models.show("loans").version.digest
    assert served_class() == 1
    overwrite(logged, tmp_path)  # allowed: a logged model is its author's
    assert served_class() == 1
    up.owner.models.verify("loans")
    assert up.owner.models.show("loans").version.digest == before
    # Writing to the version itself is refused, and the refusal is in the log.
    version_id = up.owner.models.show("loans").version.id
    path = f"/api/2.0/mlflow-artifacts/artifacts/registry/{version_id}/model.onnx"
    answer = up.raw(path, method="PUT", content=small_model(shift=100.0))
    assert answer.status_code == 409
    assert answer.json()["code"] == "mlflow.registered"
    steps = [(one.entry.step, one.entry.error) for one in up.owner.audit.list()]
    assert ("artifact.put", "mlflow.registered") in steps
    assert served_class() == 1

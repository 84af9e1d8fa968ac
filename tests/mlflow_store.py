"""A store as MLflow itself makes it: its own client writes a database and a folder of files."""

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Any

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # read when it is imported


def make_store(folder: Path, uri: str = "", prefix: str = "") -> str:
    """Fill `mlflow.db` (or the database of `uri`) and `files/`; returns the database's address.

    Two experiments, four runs (one of them deleted), a logged ONNX model, a pickle, and three
    registered models: `risk` (versions 2 and 3, of which 3 is a copy), `old` (a pickle) and
    `elsewhere` (whose files nobody has).
    """
    import mlflow

    uri = uri or f"sqlite:///{folder}/mlflow.db"
    mlflow.set_tracking_uri(uri)  # its registry asks for logged models there and nowhere else
    try:
        return _fill(mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri), folder, uri, prefix)
    finally:
        mlflow.set_tracking_uri(None)


def _fill(client: Any, folder: Path, uri: str, prefix: str) -> str:
    from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, Metric
    from running import small_model

    place = (folder / "files").as_uri()
    loans = client.create_experiment(f"{prefix}loans", f"{place}/1", tags={"team": "risk"})
    empty = client.create_experiment(f"{prefix}empty", f"{place}/2")
    client.delete_experiment(empty)

    first = client.create_run(loans, start_time=1_700_000_000_000, run_name="first",
                              tags={"mlflow.user": "mia", "stage": "try"})  # fmt: skip
    one = first.info.run_id
    client.log_param(one, "depth", "3")
    points = [Metric("loss", 1 / (at + 1), 1_700_000_000_000 + at, at) for at in range(1500)]
    client.log_batch(one, points[:1000])
    client.log_batch(one, points[1000:])
    client.log_batch(one, [
        Metric("odd", float("nan"), 1_700_000_000_000, 0),
        Metric("odd", float("inf"), 1_700_000_000_000, 1),
    ])  # fmt: skip
    used = Dataset("people", "d1", "local", "{}", schema="{}")
    client.log_inputs(one, [DatasetInput(used, [InputTag("mlflow.data.context", "training")])])
    client.log_text(one, "hello", "notes/a.txt")
    _write(folder / f"files/1/{one}/artifacts/model", {
        "MLmodel": b"flavors: {onnx: {data: model.onnx}}\n", "model.onnx": small_model(),
    })  # fmt: skip
    client.set_terminated(one, "FINISHED", end_time=1_700_000_009_000)

    second = client.create_run(loans, start_time=1_700_000_100_000, run_name="second").info.run_id
    model = client.create_logged_model(loans, "net", source_run_id=second, tags={"kind": "onnx"},
                                       params={"width": "4"})  # fmt: skip
    where = Path(model.artifact_location.removeprefix("file://"))
    _write(where, {"MLmodel": b"flavors: {}\n", "model.onnx": small_model(0.5)})
    client.finalize_logged_model(model.model_id, "READY")
    client.log_metric(second, "auc", 0.9, timestamp=1_700_000_100_500, model_id=model.model_id)
    client.log_outputs(second, [LoggedModelOutput(model.model_id, 7)])
    client.set_terminated(second, "FAILED")

    third = client.create_run(loans, start_time=1_700_000_200_000, run_name="third").info.run_id
    evil = b"cos\nsystem\n(S'true'\ntR."
    _write(folder / f"files/1/{third}/artifacts/model", {"model.pkl": evil})
    gone = client.create_run(loans, run_name="gone").info.run_id
    client.delete_run(gone)

    client.create_registered_model(f"{prefix}risk", {"owner": "mia"}, "of loans")
    version(client, f"{prefix}risk", f"runs:/{one}/model", one)
    version(client, f"{prefix}risk", f"models:/{model.model_id}", second, tags={"reviewed": "yes"})
    client.delete_model_version(f"{prefix}risk", "1")
    version(client, f"{prefix}risk", f"{place}/1/{one}/artifacts/model", one)
    client.set_registered_model_alias(f"{prefix}risk", "champion", "2")
    client.set_registered_model_alias(f"{prefix}risk", "challenger", "3")
    client.create_registered_model(f"{prefix}old")
    version(client, f"{prefix}old", f"runs:/{third}/model", third)
    client.create_registered_model(f"{prefix}elsewhere")
    version(client, f"{prefix}elsewhere", f"{place}/9/unknown/artifacts/model", one)
    return uri


def version(client: Any, name: str, source: str, run_id: str, **more: Any) -> None:
    """Register with the store itself: the client would look for the files."""
    client._get_registry_client().store.create_model_version(name, source, run_id, **{
        "tags": [], **_entities(more),
    })  # fmt: skip


def _entities(more: dict[str, Any]) -> dict[str, Any]:
    from mlflow.entities.model_registry import ModelVersionTag

    tags = more.get("tags", {})
    return {"tags": [ModelVersionTag(key, value) for key, value in tags.items()]}


def _write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


SCHEMA = Path(__file__).with_name("mlflow_schema.sql")


def small_store(folder: Path) -> None:
    """Write `mlflow.db`, with the tables of MLflow 3, and `mlflow-files`: one run, one model."""
    from running import small_model

    run, at = "0a" * 16, 1_700_000_000_000
    place = f"mlflow-artifacts:/1/{run}/artifacts"
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as made, made:
        made.executescript(SCHEMA.read_text())
        made.execute(
            "INSERT INTO experiments VALUES (1, 'loyalty', 'mlflow-artifacts:/1', 'active', ?, ?,"
            " 'default')", (at, at),
        )  # fmt: skip
        made.execute(
            "INSERT INTO runs VALUES (?, 'first', 'LOCAL', '', '', 'mia', 'FINISHED', ?, ?, '',"
            " 'active', ?, 1, NULL)", (run, at, at + 9000, place),
        )  # fmt: skip
        for step in range(3):
            made.execute("INSERT INTO metrics VALUES ('loss', ?, ?, ?, ?, 0)",
                         (1 / (step + 1), at + step, run, step))  # fmt: skip
        made.execute("INSERT INTO params VALUES ('depth', '3', ?)", (run,))
        made.execute(
            "INSERT INTO registered_models VALUES ('loyalty', ?, ?, 'who leaves', 'default')",
            (at, at),
        )
        made.execute(
            "INSERT INTO model_versions VALUES ('loyalty', 1, ?, ?, '', 'mia', 'None', ?, ?,"
            " 'READY', '', '', NULL, 'default')", (at, at, f"{place}/model", run),
        )  # fmt: skip
    _write(folder / f"mlflow-files/1/{run}/artifacts/model", {"model.onnx": small_model(0.04)})

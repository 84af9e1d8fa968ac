"""Models become ONNX on their way in, and answer at an endpoint and in MLflow as before."""

import io
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import Up, request, running

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # read when it is imported
pytest.importorskip("skl2onnx", reason="the extra `convert` is not installed")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running(Path(tmp_path_factory.mktemp("convert"))) as started:
        started.owner.policy.set({"version": "vallum.policy/1"}, reason="a test")
        yield started


@pytest.fixture(scope="module")
def records() -> tuple[Any, Any]:
    rng = np.random.default_rng(5)
    x = rng.integers(0, 40, size=(300, 4)).astype(np.float64)
    return x, (x[:, 0] + 2 * x[:, 3] > 60).astype(int)


def pipeline(x: Any, y: Any) -> Any:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    forest = RandomForestClassifier(15, max_depth=5, random_state=0)
    return make_pipeline(StandardScaler(), forest).fit(x, y)


def dumped(model: Any) -> bytes:
    import joblib

    out = io.BytesIO()
    joblib.dump(model, out)
    return out.getvalue()


def answers(up: Up, endpoint: str, key: str, x: Any) -> Any:
    """Return the scores (n, classes) that an endpoint answers."""
    end = time.monotonic() + 30
    while (answer := up.score(endpoint, request(x.tolist()), key=key)).status_code == 503:
        assert time.monotonic() < end, (up.folder / "up.log").read_text()
        time.sleep(0.1)
    assert answer.status_code == 200, answer.text
    scores = [one for one in answer.json()["outputs"] if one["name"].startswith("probabilit")]
    return np.concatenate([np.array(one["data"]).reshape(len(x), -1) for one in scores], axis=1)


@pytest.mark.parametrize("kind", ["pipeline", "xgboost"])
def test_a_converted_model_answers_at_an_endpoint_as_its_original(
    up: Up, records: tuple[Any, Any], tmp_path: Path, kind: str
) -> None:
    x, y = records
    if kind == "pipeline":
        model = pipeline(x, y)
        (path := tmp_path / "risk.joblib").write_bytes(dumped(model))
    else:
        xgboost = pytest.importorskip("xgboost", reason="XGBoost is not installed")
        model = xgboost.XGBClassifier(n_estimators=10, max_depth=3).fit(x, y)
        model.save_model(path := tmp_path / "risk.json")
    rows = tmp_path / "rows.csv"
    rows.write_text("a,b,c,d\n" + "\n".join(",".join(map(str, row)) for row in x.tolist()))
    up.owner.data.create(f"rows-{kind}", rows)
    made = up.owner.models.register(f"{kind}", path, convert=True, data=f"rows-{kind}:1")
    assert (made.version.format, len(made.version.parts)) == ("onnx", 1)
    (found,) = [one for one in made.evidence if one.gate == "conversion"]
    assert found.verdict.value == "pass"
    assert found.measures["data_rows"] == "300"
    assert found.measures["data_differ"] == found.measures["labels"] == "0"
    assert (
        found.parameters["original"] != found.parameters["result"] == made.version.parts[0].digest
    )
    up.owner.endpoints.create(f"e-{kind}")
    up.owner.endpoints.deploy(f"e-{kind}", kind, deployment="blue")
    key = up.owner.endpoints.keys(f"e-{kind}").secret
    apart = np.abs(answers(up, f"e-{kind}", key, x) - model.predict_proba(x)).max()
    assert apart <= float(found.measures["largest"]) + 1e-9
    assert up.owner.workspace.verify().findings == ()


# -- MLflow's unchanged client ------------------------------------------------------------------


@pytest.fixture
def mlflow(up: Up, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    client = pytest.importorskip("mlflow", reason="mlflow-skinny is not installed (extra `dev`)")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", up.token)
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(up.ca))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "300")
    client.set_tracking_uri(up.url)
    client.set_experiment("pickles")
    yield client
    while client.active_run() is not None:
        client.end_run()


@pytest.mark.filterwarnings("default")
def test_log_model_with_a_name_registers_a_pickle_as_onnx(
    up: Up, mlflow: Any, records: tuple[Any, Any]
) -> None:
    import mlflow.pyfunc
    import mlflow.sklearn
    import pandas as pd

    x, y = records
    frame = pd.DataFrame(x, columns=list("abcd"))
    model = pipeline(frame, np.where(y, "ill", "well"))
    with mlflow.start_run():
        mlflow.sklearn.log_model(
            model, name="forest", serialization_format="cloudpickle",
            registered_model_name="forest", input_example=frame[:20],
        )  # fmt: skip
    client = mlflow.MlflowClient()
    version = client.get_model_version("forest", "1")
    assert version.status == "READY"
    assert version.tags["vallum.format"] == "onnx"
    assert version.tags["vallum.converted_from"].startswith("model.pkl sha256:")
    loaded = mlflow.pyfunc.load_model("models:/forest/1")
    assert set(loaded.metadata.flavors) == {"onnx", "python_function"}
    told = loaded.predict(frame)
    assert list(told.columns) == ["label", "probability_ill", "probability_well"]
    assert (told["label"] == model.predict(frame)).all()
    scores = told[["probability_ill", "probability_well"]]
    assert np.allclose(scores, model.predict_proba(frame), atol=1e-6)
    ours = up.owner.models.show("forest")
    found = {one.gate: one for one in ours.evidence}
    assert set(found) == {"scan", "conversion"}
    assert found["conversion"].measures["data_rows"] == "20"
    assert "model.pkl" not in {part.part for part in ours.version.parts}
    up.owner.endpoints.create("from-mlflow")
    up.owner.endpoints.deploy("from-mlflow", "forest", deployment="blue")
    key = up.owner.endpoints.keys("from-mlflow").secret
    told = answers(up, "from-mlflow", key, x)
    assert np.allclose(told, model.predict_proba(frame), atol=1e-6)
    assert up.owner.workspace.verify().findings == ()


@pytest.mark.filterwarnings("default")
def test_a_tag_asks_for_a_conversion_or_refuses_it(mlflow: Any, records: tuple[Any, Any]) -> None:
    import mlflow.xgboost

    xgboost = pytest.importorskip("xgboost", reason="XGBoost is not installed")
    import mlflow.sklearn

    x, y = records
    with mlflow.start_run():
        trees = mlflow.xgboost.log_model(
            xgboost.XGBClassifier(n_estimators=5).fit(x, y), name="trees"
        )
        old = mlflow.sklearn.log_model(
            pipeline(x, y), name="old", serialization_format="cloudpickle"
        )
    made = mlflow.register_model(trees.model_uri, "trees", tags={"vallum.convert": "onnx"})
    assert made.tags["vallum.converted_from"].startswith("model.ubj sha256:")
    plain = mlflow.register_model(trees.model_uri, "trees")
    assert "vallum.format" not in plain.tags
    with pytest.raises(mlflow.MlflowException, match="can carry code") as refused:
        mlflow.register_model(old.model_uri, "old", tags={"vallum.convert": "no"})
    assert refused.value.error_code == "INVALID_STATE"
    with pytest.raises(mlflow.MlflowException, match="`onnx` or `no`") as wrong:
        mlflow.register_model(old.model_uri, "old", tags={"vallum.convert": "maybe"})
    assert wrong.value.error_code == "INVALID_PARAMETER_VALUE"


@pytest.mark.filterwarnings("default")
def test_a_pickle_that_cannot_be_converted_is_refused_with_the_reason(mlflow: Any) -> None:
    import mlflow.sklearn
    from sklearn.ensemble import VotingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import GaussianNB

    voting = VotingClassifier([("a", LogisticRegression()), ("b", GaussianNB())], voting="soft")
    voting.fit([[0.0], [1.0]], [0, 1])
    with mlflow.start_run():
        made = mlflow.sklearn.log_model(voting, name="v", serialization_format="cloudpickle")
    with pytest.raises(mlflow.MlflowException, match="flatten_transform") as refused:
        mlflow.register_model(made.model_uri, "voting")
    assert refused.value.error_code == "INVALID_STATE"
    assert "can carry code" in str(refused.value)

"""Writes that crash tests break: each with what tells whether it happened."""

import io

from conftest_workspace import Place
from running import small_model

from vallum.schema import AssetVersion, Connection, MetricPoints, api, mlflow, mlflow_models
from vallum.workspace.tracking import bundles, points


def connect(place: Place) -> None:
    place.do("connection.create", api.ConnectionCreate(name="lake", kind="webhook", target="t"))


def connected(place: Place) -> bool:
    with place.kernel.house.database.snapshot() as snapshot:
        found = place.kernel.house.records.list(snapshot, "connection", Connection)
    return bool(found)


def register(place: Place) -> None:
    place.do(
        "model.register",
        api.ModelRegister(name="small", file_name="small.onnx"),
        content=io.BytesIO(small_model()),
    )


def registered(place: Place) -> bool:
    with place.kernel.house.database.snapshot() as snapshot:
        found = place.kernel.house.records.list(snapshot, "model-version", AssetVersion)
    return bool(found)


def grant(place: Place) -> None:
    place.do("identity.create", api.IdentityCreate(name="ana"))


def granted(place: Place) -> bool:
    return "ana" in {one.name for one in place.kernel.rules().authority.principals.values()}


def track(place: Place) -> None:
    """Start a run with a file and a bundle of metrics, and close the bundle."""
    house = place.kernel.house
    made = place.do("run.create", mlflow.RunCreate(experiment_id="0")).value
    assert isinstance(made, mlflow.RunReply)
    info = made.run.info
    named = mlflow_models.ArtifactNamed(
        path=info.artifact_uri.removeprefix("mlflow-artifacts:/") + "/a.txt"
    )
    place.do("artifact.put", named, content=io.BytesIO(b"words"))
    point = mlflow.MetricValue(key="loss", value=0.5, timestamp=1)
    place.do("run.log-metric", mlflow.RunLogMetric(run_id=info.run_id, metrics=(point,)))
    bundles.join(house, place.owner, info.run_id, points.take([point]))
    bundles.close_due(house, everything=True)


def tracked(place: Place) -> bool:
    with place.kernel.house.database.snapshot() as snapshot:
        found = place.kernel.house.records.list(snapshot, "metric-points", MetricPoints)
    return bool(found)


SCENARIOS = {
    "short": (connect, connected),
    "authority": (grant, granted),
    "long": (register, registered),
    "tracking": (track, tracked),
}

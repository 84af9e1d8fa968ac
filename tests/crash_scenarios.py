"""Writes that crash tests break: each with what tells whether it happened."""

import io

from conftest_workspace import Place
from running import small_model

from vallum.schema import AssetVersion, Connection, api


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


SCENARIOS = {
    "short": (connect, connected),
    "authority": (grant, granted),
    "long": (register, registered),
}

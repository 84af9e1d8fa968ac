"""The bill of materials through the kernel: what it lists depends on what its reader may read."""

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from conftest_workspace import Place
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from running import small_model, table

from vallum.base import NotFoundError
from vallum.schema import Caller, Claim, Claimed, Finish, PrincipalKind, api
from vallum.sdk.nouns import pack
from vallum.workspace.bootstrap import SYSTEM_WORKER

WORKER = Caller(id=SYSTEM_WORKER, kind=PrincipalKind.SYSTEM, name="worker")


def ingest(place: Place, name: str) -> str:
    made = place.do(
        "data.create", api.DataCreate(name=name, format="csv"), content=io.BytesIO(table(3))
    ).value
    assert isinstance(made, api.VersionShown)
    return made.version.id


def register(place: Place, *lineage: str) -> api.VersionShown:
    made = place.do(
        "model.register",
        api.ModelRegister(name="m", file_name="m.onnx", lineage=lineage, description="small"),
        content=io.BytesIO(small_model()),
    ).value
    assert isinstance(made, api.VersionShown)
    return made


def written(place: Place, who: Caller | None = None, name: str = "m:1") -> bytes:
    reply = place.do("model.bom", api.Named(name=name), who=who)
    assert reply.chunks is not None
    document = b"".join(reply.chunks)
    errors = JsonStrictValidator(SchemaVersion.V1_6).validate_str(document.decode())
    assert errors is None, errors
    return document


def names(document: bytes) -> dict[str, str]:
    return {one["bom-ref"]: one["name"] for one in json.loads(document).get("components", ())}


def trained(place: Place) -> None:
    """Have a job make model `m` from data `d`."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "train.py").write_text("print('trained')\n")
        code = pack(Path(folder)).read()
    place.do(
        "job.submit",
        api.JobSubmit(
            name="train", entry="train.py", inputs={"d": "data/d:1"}, outputs={"m": "model/m"}
        ),
        content=io.BytesIO(code),
    )
    claimed = place.do("job.claim", Claim(worker="w"), who=WORKER).value
    assert isinstance(claimed, Claimed)
    assert claimed.job is not None
    place.do(
        "job.finish",
        Finish(
            job_id=claimed.job.id, status="ok", exit_code=0, reason="", enforced=(), logs=b"",
            outputs={"m": small_model()},
        ),
        who=WORKER,
    )  # fmt: skip


def test_the_owner_reads_lineage_evidence_and_interface(place: Place) -> None:
    raw = ingest(place, "d")
    place.do("data.protect", api.DataProtect(name="d", k=2, max_suppression="1"))
    shown = place.do("data.show", api.Named(name="d-protected")).value
    assert isinstance(shown, api.VersionShown)
    model = register(place, shown.version.id).version
    place.do("model.sign", api.ModelSign(name="m"))
    document = written(place)
    assert names(document) == {shown.version.id: "d-protected", raw: "d"}
    component = json.loads(document)["metadata"]["component"]
    assert component["description"] == "small"
    assert [one["hashes"][0]["content"] for one in component["components"]] == [
        one.digest.removeprefix("sha256:") for one in model.parts
    ]
    assert component["modelCard"]["modelParameters"]["inputs"] == [
        {"format": "x: tensor(float)[?, 4]"}
    ]
    assert ("vallum:signer", place.owner.id) in [
        (one["name"], one["value"]) for one in component["properties"]
    ]
    for part in shown.version.parts:
        assert part.digest.partition(":")[2] not in document.decode()


def test_the_same_version_and_evidence_make_the_same_bytes(place: Place) -> None:
    register(place, ingest(place, "d"))
    before = written(place)
    assert written(place) == before
    place.do("model.verify", api.Named(name="m"))
    assert written(place) != before


def test_a_reader_is_told_of_what_they_may_read(place: Place) -> None:
    data = ingest(place, "d")
    register(place, data)
    guest = place.person("guest", "Reader", scope="model/m")
    assert names(written(place, guest)) == {data: data}
    assert b'"d"' not in written(place, guest)
    place.do("role.assign", api.RoleAssign(role="Reader", principal="guest", scope="data/d"))
    assert names(written(place, guest)) == {data: "d"}


def test_what_was_erased_looks_like_what_may_not_be_read(place: Place) -> None:
    data = ingest(place, "d")
    register(place, data)
    guest = place.person("guest", "Reader", scope="model/m")
    before = written(place, guest)
    place.do("data.delete", api.Named(name="d"))
    assert names(written(place)) == {data: data}
    assert written(place, guest) == before


def test_somebody_without_the_right_learns_nothing_and_it_is_in_the_log(place: Place) -> None:
    register(place)
    with pytest.raises(NotFoundError):
        written(place, place.person("guest"))
    assert [one[2] for one in place.entries() if one[1] == "model.bom"] == [False]


def test_the_job_is_told_to_who_may_read_it(place: Place) -> None:
    ingest(place, "d")
    trained(place)
    (formula,) = json.loads(written(place))["formulation"]
    assert formula["workflows"][0]["name"] == "train"
    assert formula["components"][0]["hashes"][0]["alg"] == "SHA-256"
    guest = place.person("guest", "Reader", scope="model/m")
    document: dict[str, Any] = json.loads(written(place, guest))
    assert "formulation" not in document

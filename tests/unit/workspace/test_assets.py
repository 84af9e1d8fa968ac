"""Assets through the kernel: labels, protection, training, lineage, deletion; gates for real."""

import io
from contextlib import nullcontext

import pytest
from conftest_workspace import Place
from running import small_model

from vallum.base import ConflictError, NotFoundError, RefusedError
from vallum.schema import Caller, Claim, Claimed, Job, JobState, PrincipalKind, api, rules
from vallum.sdk.nouns import pack

PEOPLE = b"name,email,postcode,value\n" + b"".join(
    f"Ada Lovelace,ada{at}@example.org,10{at % 3:03d},{at}\n".encode() for at in range(30)
)


def ingest(place: Place, name: str = "people", **more: object) -> api.VersionShown:
    made = place.do(
        "data.create",
        api.DataCreate(name=name, format="csv", **more),  # type: ignore[arg-type]
        content=io.BytesIO(PEOPLE),
    ).value
    assert isinstance(made, api.VersionShown)
    return made


def content(place: Place, name: str) -> bytes:
    reply = place.do("data.download", api.Named(name=name))
    assert reply.chunks is not None
    return b"".join(reply.chunks)


def submit(place: Place, name: str, **inputs: str) -> object:
    return place.do(
        "job.submit",
        api.JobSubmit(name=name, entry="train.py", inputs=inputs),
        content=io.BytesIO(_code()),
    ).value


def _code() -> bytes:
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "train.py").write_text("print('trained')\n")
        return pack(Path(folder)).read()


def test_a_table_comes_back_as_it_went_in_and_lies_encrypted(place: Place) -> None:
    shown = ingest(place)
    assert shown.version.label == "confidential"
    assert {one.gate for one in shown.evidence} == {"pii", "risk"}
    assert content(place, "people") == PEOPLE
    stored = b"".join(path.read_bytes() for path in place.places.data.rglob("*") if path.is_file())
    assert b"ada7@example.org" not in stored
    assert ingest(place).version.version == 2


def test_a_label_can_be_raised_and_not_lowered(place: Place) -> None:
    assert ingest(place, label="public").version.label == "confidential"
    assert ingest(place, label="highly-confidential").version.label == "highly-confidential"


def test_restricted_data_trains_only_if_protected(place: Place) -> None:
    ingest(place, label="highly-confidential")
    with pytest.raises(RefusedError, match="anonymity") as caught:
        submit(place, "raw", train="data/people:1")
    assert caught.value.code == "policy.evidence"
    place.do("data.protect", api.DataProtect(name="people", k=5, max_suppression="0.5"))
    assert b"example.org" not in content(place, "people-protected")
    submit(place, "protected", train="data/people-protected:1")
    submit(place, "without-data")


def test_a_reader_of_records_does_not_read_content(place: Place) -> None:
    ingest(place)
    ana = place.person("ana", "Reader")
    place.do("data.show", api.Named(name="people"), who=ana)
    with pytest.raises(RefusedError, match="content/read"):
        place.do("data.download", api.Named(name="people"), who=ana)
    with pytest.raises(RefusedError):
        submit_as(place, ana)


def submit_as(place: Place, who: object) -> None:
    place.do(
        "job.submit",
        api.JobSubmit(name="steal", entry="train.py", inputs={"d": "data/people:1"}),
        who=who,  # type: ignore[arg-type]
        content=io.BytesIO(_code()),
    )


def test_deleting_destroys_the_key_and_leaves_a_whole_workspace(place: Place) -> None:
    shown = ingest(place)
    place.do("data.delete", api.Named(name="people"))
    with pytest.raises(NotFoundError):
        content(place, "people")
    assert place.verify().findings == ()
    objects = place.kernel.house.objects
    assert objects.missing(shown.version.parts) == shown.version.parts


def test_a_registered_version_keeps_its_number_and_digest(place: Place) -> None:
    def register(shift: float) -> api.VersionShown:
        made = place.do(
            "model.register",
            api.ModelRegister(name="m", file_name="m.onnx"),
            content=io.BytesIO(small_model(shift)),
        ).value
        assert isinstance(made, api.VersionShown)
        return made

    first, second = register(0.0), register(0.5)
    assert (first.version.version, second.version.version) == (1, 2)
    assert first.version.digest != second.version.digest
    signed = place.do("model.sign", api.ModelSign(name="m", version=1)).value
    assert isinstance(signed, api.VersionShown)
    assert {one.gate for one in signed.evidence} == {"scan", "signature"}
    unsigned = place.do("model.show", api.Named(name="m", version=2)).value
    assert isinstance(unsigned, api.VersionShown)
    assert {one.gate for one in unsigned.evidence} == {"scan"}
    assert "verified" in str(place.do("model.verify", api.Named(name="m", version=1)).value)


def test_deploying_without_evidence_names_all_that_is_missing(place: Place) -> None:
    place.do(
        "model.register",
        api.ModelRegister(name="m", file_name="m.onnx"),
        content=io.BytesIO(small_model()),
    )
    place.do("endpoint.create", api.EndpointCreate(name="e"))
    with pytest.raises(RefusedError) as caught:
        place.do("endpoint.deploy", api.EndpointDeploy(endpoint="e", deployment="b", model="m"))
    for gate in ("signature", "evasion", "membership"):
        assert f"`{gate}`" in caught.value.message
    assert caught.value.code == "policy.evidence"


def test_an_approval_needs_a_session_and_another_person(place: Place) -> None:
    place.do(
        "model.register",
        api.ModelRegister(name="m", file_name="m.onnx"),
        content=io.BytesIO(small_model()),
    )
    with pytest.raises(RefusedError):
        place.do("approval.create", api.ApprovalCreate(model="m"))
    shown = place.do("session.create", rules.SessionCreate()).value
    assert isinstance(shown, api.Shown)
    with pytest.raises(RefusedError, match="had a part"):
        place.do("approval.create", api.ApprovalCreate(model="m"), who=place.token(shown.secret))
    releaser = place.person("releaser", "Vallum Releaser")
    with pytest.raises(RefusedError):
        place.do("approval.create", api.ApprovalCreate(model="m"), who=releaser)
    shown = place.do("session.create", rules.SessionCreate(), who=releaser).value
    assert isinstance(shown, api.Shown)
    place.do("approval.create", api.ApprovalCreate(model="m"), who=place.token(shown.secret))


def test_an_ended_or_unknown_job_is_not_cancelled(place: Place) -> None:
    submit(place, "one")
    place.do("job.cancel", api.Named(name="one"))
    with pytest.raises(ConflictError):
        place.do("job.cancel", api.Named(name="one"))
    with pytest.raises(NotFoundError):
        place.do("job.cancel", api.Named(name="none"))


def test_a_job_that_lost_an_input_ends_and_keeps_nobody_waiting(place: Place) -> None:
    worker = Caller(id="system-worker", kind=PrincipalKind.SYSTEM, name="system-worker")
    ingest(place, "gone")
    ingest(place, "kept")
    ana = place.person("ana", "AzureML Data Scientist")
    submit(place, "deleted", x="data/gone:1")
    place.do(
        "job.submit",
        api.JobSubmit(name="lost", entry="train.py", inputs={"x": "data/kept:1"}),
        content=io.BytesIO(_code()),
        who=ana,
    )
    submit(place, "honest", x="data/kept:1")
    place.do("data.delete", api.Named(name="gone"))
    deny = api.RoleDeny(name="no", principals=("ana",), data_actions=("*",), scope="")
    place.do("role.deny", deny)

    def claim() -> Claimed:
        made = place.kernel.perform(worker, "job.claim", Claim(worker="w")).value
        assert isinstance(made, Claimed)
        return made

    assert [claim().job is None for _ in range(2)] == [True, True]
    honest = claim().job
    assert honest is not None
    assert honest.name == "honest"

    def job(name: str) -> Job:
        shown = place.do("job.show", api.Named(name=name)).value
        assert isinstance(shown, api.JobShown)
        return shown.job

    assert (job("deleted").state, job("deleted").reason) == (
        JobState.FAILED, "an input of it was deleted",
    )  # fmt: skip
    assert job("lost").state is JobState.FAILED
    assert "may no longer read" in job("lost").reason
    assert place.verify().findings == ()


def test_a_job_needs_the_right_on_the_model_that_it_writes_a_version_of(place: Place) -> None:
    place.do(
        "model.register",
        api.ModelRegister(name="risk", file_name="m.onnx"),
        content=io.BytesIO(small_model()),
    )
    founder = api.RoleCreate(name="founder", actions=("jobs/write", "models/write", "models/read"))
    place.do("role.create", founder)
    ana = place.person("ana", "founder")
    for outputs, allowed in (({"m": "model/other"}, True), ({"m": "model/risk"}, False)):
        submitted = api.JobSubmit(
            name=f"train-{allowed}".lower(), entry="train.py", outputs=outputs
        )
        with nullcontext() if allowed else pytest.raises(RefusedError):
            place.do("job.submit", submitted, who=ana, content=io.BytesIO(_code()))


def test_a_table_is_protected_by_a_long_hierarchy(place: Place) -> None:
    rows = "".join(f"plot {at} north,{at % 2}\n" for at in range(3000))
    place.do(
        "data.create",
        api.DataCreate(name="plots", format="csv"),
        content=io.BytesIO(b"plot,ill\n" + rows.encode()),
    )
    tree = "".join(
        f"plot {at} north;quarter {at // 1000} of the old town;*\n" for at in range(3000)
    )
    assert len(tree) > 100_000
    made = place.do(
        "data.protect",
        api.DataProtect(
            name="plots", k=500, quasi_identifiers=("plot",), hierarchies={"plot": tree}
        ),
    ).value
    assert isinstance(made, api.VersionShown)
    assert b"quarter 2 of the old town" in content(place, "plots-protected")

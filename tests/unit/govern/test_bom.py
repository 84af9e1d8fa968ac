import contextlib
import dataclasses
import json
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given
from hypothesis import strategies as st

from vallum.base import InputError
from vallum.govern import (
    BomChange,
    BomDifference,
    BomFact,
    Inventory,
    Source,
    bill_of_materials,
    bom_difference,
)
from vallum.schema import (
    AssetVersion,
    Evidence,
    Job,
    JobState,
    ModelInterface,
    ModelValue,
    Part,
    Verdict,
)

PERSONAL = "hmac-sha256:" + "5e" * 32
COMMITMENT = "sha256:" + "da" * 32  # of a manifest of commitments, of all data but `raw`
FILE = "ab" * 32


def version(kind: str, name: str, number: int = 1, **more: Any) -> AssetVersion:
    prefix = "dver" if kind == "data" else "mver"
    given_ = {
        "id": f"{prefix}-{name}-{number}",
        "asset_id": f"{kind}-{name}",
        "kind": kind,
        "name": name,
        "version": number,
        "digest": COMMITMENT if kind == "data" else "sha256:" + "0d" * 32,
        "parts": (
            Part(part="t.csv", upload_id="u", length=3, digest=PERSONAL, object_name="o")
            if kind == "data"
            else Part(part="m.onnx", upload_id="u", length=3, digest=f"sha256:{FILE}",
                      object_name="o"),
        ),
        "created_at": "2026-01-02T03:04:05.000006Z",
        "created_by": "usr-ana",
        "format": "csv" if kind == "data" else "onnx",
        "label": "confidential",
    }  # fmt: skip
    return AssetVersion(**{**given_, **more})


def evidence(gate: str, at: int = 1, verdict: Verdict = Verdict.PASS, **more: Any) -> Evidence:
    return Evidence(
        id=f"evd-{gate}-{at}",
        gate=gate,
        gate_version="1",
        code_digest="sha256:" + "c0" * 32,
        subject_id="mver-risk-1",
        subject_digest="sha256:" + "0d" * 32,
        verdict=verdict,
        threat="evasion",
        made_at=f"2026-02-{at:02d}T00:00:00.000000Z",
        **more,
    )


JOB = Job(
    id="job-1",
    name="train",
    owner_id="usr-ana",
    identity_id="mi-1",
    created_at="2026-01-01T00:00:00.000000Z",
    state=JobState.COMPLETED,
    code=Part(part="code.tar", upload_id="u", length=9, digest="sha256:" + "cc" * 32,
              object_name="o"),
    entry="train.py",
    inputs={"train": "dver-people-1"},
    parameters={"password": "hunter2"},
    started_at="2026-01-01T00:00:01.000000Z",
    ended_at="2026-01-01T00:00:02.000000Z",
)  # fmt: skip
INVENTORY = Inventory(
    workspace_id="ws-1",
    version=version(
        "model",
        "risk",
        lineage=("dver-people-1", "dver-secret-1"),
        job_id=JOB.id,
        interface=ModelInterface(
            task="classification",
            producer="skl2onnx",
            inputs=(ModelValue(name="x", type="tensor(float)", shape=("?", "4")),),
            outputs=(ModelValue(name="y", type="other"),),
        ),
    ),
    evidence=(
        evidence("scan", measures={"files": "1"}),
        evidence("membership", 2, measures={"auc": "0.7", "auc_low": "0.6", "auc_high": "0.8"},
                 verdict=Verdict.FAIL, data_digest=COMMITMENT),
        evidence("membership", 3, measures={"auc": "0.5", "auc_low": "0.4", "auc_high": "0.6"},
                 data_digest=COMMITMENT),
        evidence("evasion", 2, measures={"success_rate": "0.1", "success_high": "0.2"}),
        evidence("signature", 4, parameters={"signer": "workspace:ws-1"}),
        evidence("signature", 5, parameters={"signer": "mallory"}, verdict=Verdict.FAIL),
    ),
    sources=(
        Source("dver-people-1", version("data", "people", lineage=("dver-raw-1",)),
               (evidence("anonymity", 1, measures={"k": "5"}),
                evidence("pii", 1, measures={"personal_columns": "3"}))),
        Source("dver-raw-1", version("data", "raw", label="", digest="sha256:" + "db" * 32)),
        Source("dver-secret-1"),
    ),
    description="for decisions",
    job=JOB,
)  # fmt: skip


def made(inventory: Inventory = INVENTORY) -> Any:
    return json.loads(valid(bill_of_materials(inventory, version="0.1.0")))


def valid(document: bytes) -> bytes:
    """Check a document against the schema that CycloneDX publishes."""
    errors = JsonStrictValidator(SchemaVersion.V1_6).validate_str(document.decode())
    assert errors is None, errors
    return document


def properties(component: Any) -> list[tuple[str, str]]:
    return [(one["name"], one["value"]) for one in component["properties"]]


def part(bom: Any, ref: str) -> Any:
    return next(one for one in bom["components"] if one["bom-ref"] == ref)


def test_the_model_has_its_files_verdicts_and_signers() -> None:
    model = made()["metadata"]["component"]
    assert (model["type"], model["name"], model["version"]) == (
        "machine-learning-model", "risk", "1",
    )  # fmt: skip
    assert model["purl"] == "pkg:generic/ws-1/models/risk@1"
    assert model["description"] == "for decisions"
    (file,) = model["components"]
    assert file["hashes"] == [{"alg": "SHA-256", "content": FILE}]
    said = properties(model)
    assert [value for name, value in said if name == "vallum:signer"] == ["workspace:ws-1"]
    assert [value for name, value in said if name == "vallum:evidence:membership"] == [
        "2026-02-02T00:00:00.000000Z fail evd-membership-2",
        "2026-02-03T00:00:00.000000Z pass evd-membership-3",
    ], "a failure stays on record"


def test_the_model_card_tells_the_interface_and_the_newest_figures() -> None:
    card = made()["metadata"]["component"]["modelCard"]
    assert card["modelParameters"] == {
        "task": "classification",
        "datasets": [{"ref": "dver-people-1"}, {"ref": "dver-raw-1"}, {"ref": "dver-secret-1"}],
        "inputs": [{"format": "x: tensor(float)[?, 4]"}],
        "outputs": [{"format": "y: other"}],
    }
    assert card["quantitativeAnalysis"]["performanceMetrics"] == [
        {"type": "evasion.success_rate", "value": "0.1",
         "confidenceInterval": {"upperBound": "0.2"}},
        {"type": "membership.auc", "value": "0.5", "slice": "people:1",
         "confidenceInterval": {"lowerBound": "0.4", "upperBound": "0.6"}},
    ]  # fmt: skip


def test_data_have_a_label_and_published_figures_and_the_whole_lineage_depends() -> None:
    bom = made()
    people = part(bom, "dver-people-1")
    assert people["type"] == "data"
    assert people["data"] == [
        {"type": "dataset", "name": "people", "classification": "confidential"}
    ]
    said = properties(people)
    assert ("vallum:measure:anonymity:k", "5") in said
    assert not [name for name, _ in said if name.startswith("vallum:measure:pii")]
    assert part(bom, "dver-raw-1")["data"][0]["classification"] == "unclassified"
    depends = {one["ref"]: one.get("dependsOn", []) for one in bom["dependencies"]}
    assert depends["mver-risk-1"] == ["dver-people-1", "dver-secret-1"]
    assert depends["dver-people-1"] == ["dver-raw-1"]


def test_what_may_not_be_read_is_an_opaque_id() -> None:
    assert part(made(), "dver-secret-1") == {
        "bom-ref": "dver-secret-1",
        "name": "dver-secret-1",
        "type": "data",
        "properties": [{"name": "vallum:withheld", "value": "true"}],
    }


def test_the_job_is_there_with_its_code_and_without_its_parameters() -> None:
    document = bill_of_materials(INVENTORY, version="0.1.0")
    (formula,) = json.loads(document)["formulation"]
    assert formula["components"][0]["hashes"] == [{"alg": "SHA-256", "content": "cc" * 32}]
    (workflow,) = formula["workflows"]
    assert workflow["uid"] == "job-1"
    assert workflow["inputs"] == [
        {"resource": {"ref": "job-1/code"}}, {"resource": {"ref": "dver-people-1"}},
    ]  # fmt: skip
    assert b"hunter2" not in document


def test_no_digest_of_data_and_no_person_is_published() -> None:
    document = bill_of_materials(INVENTORY, version="0.1.0").decode()
    for secret in (PERSONAL, "5e" * 32, COMMITMENT, "da" * 32, "usr-ana"):
        assert secret not in document


def test_the_same_records_make_the_same_bytes() -> None:
    first = bill_of_materials(INVENTORY, version="0.1.0")
    shuffled = replaced(evidence=INVENTORY.evidence[::-1], sources=INVENTORY.sources[::-1])
    assert bill_of_materials(shuffled, version="0.1.0") == first
    assert made()["metadata"]["timestamp"] == "2026-02-05T00:00:00+00:00", "the newest record"


def replaced(**changes: Any) -> Inventory:
    return dataclasses.replace(INVENTORY, **changes)


def test_serial_number_and_version_name_what_is_told() -> None:
    whole = made()
    later = made(replaced(evidence=(*INVENTORY.evidence, evidence("scan", 9))))
    assert later["serialNumber"] == whole["serialNumber"]
    assert later["version"] == whole["version"] + 1
    blind = made(replaced(sources=tuple(Source(one.id) for one in INVENTORY.sources), job=None))
    assert blind["serialNumber"] != whole["serialNumber"]
    assert "formulation" not in blind


def test_a_model_of_which_nothing_is_known_has_one_too() -> None:
    bare = Inventory(workspace_id="ws-1", version=version("model", "bare", parts=()))
    assert made(bare)["metadata"]["component"]["modelCard"]["modelParameters"] == {}


def test_a_model_may_come_from_a_model() -> None:
    base = Source("mver-base-2", version("model", "base", 2))
    bom = made(
        replaced(version=version("model", "risk", lineage=(base.id,)), sources=(base,), job=None)
    )
    assert part(bom, base.id)["type"] == "machine-learning-model"
    assert "data" not in part(bom, base.id)


TEXT = st.text(max_size=40)


@given(name=TEXT.filter(bool), description=TEXT, signer=TEXT, task=TEXT, value=TEXT)
def test_any_text_makes_a_valid_document(
    name: str, description: str, signer: str, task: str, value: str
) -> None:
    inventory = Inventory(
        workspace_id="ws-1",
        version=version(
            "model", "risk", tags={"task": task},
            parts=(Part(part=name, upload_id="u", length=1, digest=f"sha256:{FILE}",
                        object_name="o"),),
            interface=ModelInterface(inputs=(ModelValue(name=value, type="other"),)),
        ),
        evidence=(evidence("signature", parameters={"signer": signer}),
                  evidence("evasion", measures={value: "1"})),
        description=description,
    )  # fmt: skip
    document = valid(bill_of_materials(inventory, version="0.1.0"))
    assert bom_difference(document, document).added == ()


# -- differences --------------------------------------------------------------------------------


def test_a_difference_names_what_was_added_removed_and_changed() -> None:
    newer = Inventory(
        workspace_id="ws-1",
        version=version(
            "model", "risk", 2,
            lineage=("dver-people-2",),
            interface=ModelInterface(
                task="classification",
                inputs=(ModelValue(name="x", type="tensor(float)", shape=("?", "5")),),
                outputs=(ModelValue(name="y", type="other"),),
            ),
        ),
        evidence=(evidence("scan"), evidence("membership", 7, measures={"auc": "0.9"},
                                             verdict=Verdict.FAIL)),
        sources=(Source("dver-people-2", version("data", "people", 2, label="general")),),
        description="for decisions",
    )  # fmt: skip
    before, after = (bill_of_materials(one, version="0.1.0") for one in (INVENTORY, newer))
    found = bom_difference(before, after)
    assert found.added == ()
    assert found.removed == (
        BomFact(kind="code", name="code.tar", value="SHA-256 " + "cc" * 32),
        BomFact(kind="data", name="dver-secret-1", value="withheld"),
        BomFact(kind="data", name="raw", value="1 unclassified"),
        BomFact(kind="gate", name="evasion", value="pass"),
        BomFact(kind="gate", name="signature", value="fail"),
        BomFact(kind="metric", name="evasion.success_rate", value="0.1 [, 0.2]"),
        BomFact(kind="signer", name="workspace:ws-1", value=""),
    )
    assert found.changed == (
        BomChange(kind="data", name="people", before="1 confidential", after="2 general"),
        BomChange(kind="gate", name="membership", before="pass", after="fail"),
        BomChange(kind="input", name="x", before="tensor(float)[?, 4]",
                  after="tensor(float)[?, 5]"),
        BomChange(kind="metric", name="membership.auc", before="0.5 [0.4, 0.6] on people:1",
                  after="0.9"),
    )  # fmt: skip
    back = bom_difference(after, before)
    assert (back.added, back.removed) == (found.removed, found.added)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda below: st.lists(below, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["metadata", "component", "components", "properties", "modelCard", "name", "value",
             "modelParameters", "inputs", "format", "formulation", "data", "version"]
        ),
        below,
        max_size=4,
    ),
    max_leaves=20,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["metadata", "components", "formulation"]), JSON))
def test_any_document_is_compared_or_bad_input(given_: dict[str, object]) -> None:
    document = json.dumps({"bomFormat": "CycloneDX", **given_}).encode()
    with contextlib.suppress(InputError):
        assert bom_difference(document, document) == BomDifference()


@pytest.mark.parametrize(
    "document",
    [b"", b"[]", b"{}", b"\xff", b'{"bomFormat": "SPDX"}', b'{"bomFormat":1}', b"[" * 100_000],
)
def test_what_is_no_bill_of_materials_is_bad_input(document: bytes) -> None:
    with pytest.raises(InputError) as caught:
        bom_difference(document, document)
    assert caught.value.code == "bom.form"

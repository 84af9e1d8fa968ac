"""How a model version was made: what the statement says, to whom, and that it can be checked."""

import base64
import hashlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from conftest_workspace import Place
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from running import small_model, table

from vallum.base import InputError, IntegrityError, NotFoundError, RefusedError, VallumError
from vallum.crypto import SigningKey, sign_envelope
from vallum.schema import Caller, Claim, Claimed, Finish, PrincipalKind, api
from vallum.schema.release import ModelProvenance, ModelProvenanceCheck
from vallum.sdk.nouns import pack
from vallum.workspace.bootstrap import SYSTEM_WORKER

WORKER = Caller(id=SYSTEM_WORKER, kind=PrincipalKind.SYSTEM, name="worker")


def ingest(place: Place, name: str) -> api.VersionShown:
    made = place.do(
        "data.create", api.DataCreate(name=name, format="csv"), content=io.BytesIO(table(3))
    ).value
    assert isinstance(made, api.VersionShown)
    return made


def register(place: Place, *lineage: str, who: Caller | None = None, name: str = "m") -> str:
    made = place.do(
        "model.register",
        api.ModelRegister(name=name, file_name="m.onnx", lineage=lineage),
        content=io.BytesIO(small_model()),
        who=who,
    ).value
    assert isinstance(made, api.VersionShown)
    return made.version.id


def trained(place: Place) -> bytes:
    """Have a job make model `m` from data `d`; return its code."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "train.py").write_text("print('trained')\n")
        code = pack(Path(folder)).read()
    place.do(
        "job.submit",
        api.JobSubmit(
            name="train", entry="train.py", inputs={"d": "data/d:1"}, outputs={"m": "model/m"},
            parameters={"depth": "3", "api_key": "f3a91bc07", "hub": "hf_" + "a1B2" * 8},
        ),
        content=io.BytesIO(code),
    )  # fmt: skip
    claimed = place.do("job.claim", Claim(worker="w"), who=WORKER).value
    assert isinstance(claimed, Claimed)
    assert claimed.job is not None
    place.do(
        "job.finish",
        Finish(
            job_id=claimed.job.id, status="ok", exit_code=0, reason="", enforced=("memory",),
            logs=b"", outputs={"m": small_model()},
        ),
        who=WORKER,
    )  # fmt: skip
    return code


def envelope(place: Place, who: Caller | None = None, *, key: bool = False) -> bytes:
    reply = place.do("model.provenance", ModelProvenance(name="m:1", key=key), who=who)
    assert reply.chunks is not None
    return b"".join(reply.chunks)


def statement(place: Place, who: Caller | None = None) -> dict[str, Any]:
    """Return the statement after checking its signature by the specification of DSSE alone."""
    document = json.loads(envelope(place, who))
    payload = base64.b64decode(document["payload"])
    kind = document["payloadType"].encode()
    signed = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    public = serialization.load_pem_public_key(envelope(place, who, key=True))
    assert isinstance(public, ec.EllipticCurvePublicKey)
    (signature,) = document["signatures"]
    public.verify(base64.b64decode(signature["sig"]), signed, ec.ECDSA(hashes.SHA256()))
    with pytest.raises(InvalidSignature):
        public.verify(base64.b64decode(signature["sig"]), signed + b" ", ec.ECDSA(hashes.SHA256()))
    return json.loads(payload)  # type: ignore[no-any-return]


def check(place: Place, given: bytes, name: str = "m:1", who: Caller | None = None) -> str:
    arguments = ModelProvenanceCheck(name=name, envelope=base64.b64encode(given).decode())
    done = place.do("model.check-provenance", arguments, who=who).value
    assert isinstance(done, api.Done)
    return done.text


def test_a_trained_version_names_its_job_code_data_and_parameters(place: Place) -> None:
    data = ingest(place, "d").version
    code = trained(place)
    said = statement(place)
    assert said["_type"] == "https://in-toto.io/Statement/v1"
    assert said["predicateType"] == "https://slsa.dev/provenance/v1"
    (subject,) = said["subject"]
    assert subject["digest"]["sha256"] == hashlib.sha256(small_model()).hexdigest()
    built = said["predicate"]["buildDefinition"]
    assert built["buildType"] == "urn:vallum:build:job:1"
    workspace = place.kernel.house.workspace_id
    assert built["externalParameters"] == {
        "job": "train", "entry": "train.py", "outputs": {"m": "model/m"},
        "inputs": {"d": f"urn:vallum:{workspace}:data:d:1"}, "parameters": {"depth": "3"},
    }  # fmt: skip
    assert built["internalParameters"] == {
        "enforcedLimits": ["memory"], "vallum:withheld": ["parameters/api_key", "parameters/hub"],
    }  # fmt: skip
    made_from = {one["name"]: one for one in built["resolvedDependencies"]}
    assert made_from["code"]["digest"] == {"sha256": hashlib.sha256(code).hexdigest()}
    assert made_from["d:1"]["annotations"] == {"id": data.id, "direct": True}
    details = said["predicate"]["runDetails"]
    assert details["builder"]["id"] == f"urn:vallum:workspace:{workspace}"
    assert details["metadata"]["invocationId"].startswith("job-")
    for part in data.parts:  # no digest of personal data leaves, not even a keyed one
        assert part.digest.partition(":")[2] not in json.dumps(said)


def test_what_a_reader_may_not_know_is_withheld(place: Place) -> None:
    data = ingest(place, "d").version
    trained(place)
    said = statement(place, place.person("guest", "Reader", scope="model/m"))
    built = said["predicate"]["buildDefinition"]
    assert built["resolvedDependencies"] == [
        {"uri": f"urn:vallum:{data.id}", "annotations": {"vallum:withheld": True}}
    ]
    assert built["internalParameters"] == {"vallum:withheld": ["job"]}
    assert "train" not in json.dumps(said)
    with pytest.raises(NotFoundError):
        envelope(place, place.person("nobody"))


def test_an_upload_says_that_it_is_one(place: Place) -> None:
    register(place, ingest(place, "d").version.id)
    built = statement(place)["predicate"]["buildDefinition"]
    assert built["buildType"] == "urn:vallum:build:upload:1"
    assert [one["name"] for one in built["resolvedDependencies"]] == ["d:1"]


def test_a_statement_is_checked_against_signature_and_files(place: Place) -> None:
    ingest(place, "d")
    trained(place)
    given = envelope(place)
    assert "was made by job job-" in check(place, given)
    place.do("model.register", api.ModelRegister(name="other", file_name="o.onnx"),
             content=io.BytesIO(small_model(0.5)))  # fmt: skip
    with pytest.raises(IntegrityError) as caught:
        check(place, given, name="other:1")
    assert caught.value.code == "provenance.subject"
    document = json.loads(given)
    payload = base64.b64decode(document["payload"])
    document["payload"] = base64.b64encode(payload.replace(b'"depth":"3"', b'"depth":"4"')).decode()
    with pytest.raises(IntegrityError, match="no trusted key"):
        check(place, json.dumps(document).encode())
    foreign = sign_envelope(document["payloadType"], payload, [SigningKey.generate_p256()])
    with pytest.raises(IntegrityError, match="no trusted key"):
        check(place, foreign)
    ours = place.kernel.house.derived_release_key()
    for body in (b"{}", b"[" * 10_000, payload.replace(b"slsa.dev/provenance/v1", b"x")):
        with pytest.raises(IntegrityError):
            check(place, sign_envelope(document["payloadType"], body, [ours]))
    with pytest.raises(InputError):
        place.do("model.check-provenance", ModelProvenanceCheck(name="m:1", envelope="?"))


def test_a_model_signature_is_no_provenance_and_the_other_way_round(place: Place) -> None:
    register(place)
    place.do("model.sign", api.ModelSign(name="m"))
    bundle = base64.b64encode(envelope(place)).decode()
    with pytest.raises(VallumError, match="signature"):
        place.do("model.sign", api.ModelSign(name="m", bundle=bundle))


def registrar(place: Place, name: str, *reads: str) -> Caller:
    """Make somebody who may register models and read what `reads` says."""
    actions = ("models/write", "models/versions/write", *reads)
    place.do("role.create", api.RoleCreate(name=f"role-{name}", actions=actions))
    return place.person(name, f"role-{name}")


def test_a_registration_that_claims_what_its_caller_cannot_read_is_refused(place: Place) -> None:
    data = ingest(place, "d").version.id
    model = register(place, name="base")
    both = registrar(place, "both", "data/versions/read", "models/versions/read")
    register(place, data, model, who=both, name="mine")
    no_data = registrar(place, "no-data", "models/versions/read")
    register(place, model, who=no_data, name="tuned")
    no_models = registrar(place, "no-models", "data/versions/read")
    register(place, data, who=no_models, name="fitted")
    for who, claim in ((no_data, data), (no_models, model)):
        with pytest.raises((NotFoundError, RefusedError)) as caught:
            register(place, claim, who=who, name="forged")
        assert claim not in caught.value.message
    with pytest.raises(NotFoundError):
        register(place, "dver-" + "0" * 26, who=no_data, name="forged")
    refused = [one for one in place.entries() if one[1] == "model.register" and not one[2]]
    assert len(refused) == 3
    listed = place.do("model.list", api.Page()).value
    assert isinstance(listed, api.Listing)
    assert "forged" not in {one.name for one in listed.assets}

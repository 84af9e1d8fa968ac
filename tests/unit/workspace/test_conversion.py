"""Conversion at registration through the kernel: evidence, digests, rights, refusals that stay."""

import hashlib
import io
from typing import Any

import numpy as np
import pytest
from conftest_workspace import Place

from vallum.base import GateError, InputError, RefusedError
from vallum.schema import AssetVersion, Caller, Evidence, Verdict, api
from vallum.workspace.context import Context

pytest.importorskip("skl2onnx", reason="the extra `convert` is not installed")


def ingest(place: Place, shift: int = 0) -> None:
    """Make 20 rows of two columns `rows:1`; the second begins at `shift`."""
    rows = "a,b\n" + "".join(f"{at},{shift + at * 10}\n" for at in range(20))
    arguments = api.DataCreate(name="rows", format="csv")
    place.do("data.create", arguments, content=io.BytesIO(rows.encode()))


def fitted(shift: float = 0.0) -> bytes:
    """Return a small boosted classifier, pickled; its second column begins at `shift`."""
    import joblib
    from sklearn.ensemble import HistGradientBoostingClassifier

    rng = np.random.default_rng(1)
    x = np.stack([rng.normal(size=300), shift + rng.uniform(0, 200, size=300)], axis=1)
    model = HistGradientBoostingClassifier(max_iter=5, early_stopping=False)
    out = io.BytesIO()
    joblib.dump(model.fit(x, x[:, 1] > shift + 100), out)
    return out.getvalue()


def register(
    place: Place, model: bytes, who: Caller | None = None, **more: Any
) -> api.VersionShown:
    arguments = api.ModelRegister(name="risk", file_name="risk.joblib", **more)
    made = place.do("model.register", arguments, who=who, content=io.BytesIO(model)).value
    assert isinstance(made, api.VersionShown)
    return made


def kept(place: Place, subject: str) -> list[Evidence]:
    house = place.kernel.house
    with house.database.snapshot() as snapshot:
        context = Context(records=house.records, snapshot=snapshot, workspace_id=house.workspace_id)
        return context.all("evidence", Evidence, parent_id=subject)


def test_a_version_holds_the_onnx_and_the_evidence_of_both_digests(place: Place) -> None:
    data = fitted()
    ingest(place)
    made = register(place, data, convert=True, data="rows:1")
    assert made.version.format == "onnx"
    (part,) = made.version.parts
    assert part.part == "model.onnx"
    assert [one.gate for one in made.evidence] == ["scan", "conversion"]
    found = made.evidence[1]
    assert (found.verdict, found.subject_digest) == (Verdict.PASS, made.version.digest)
    assert found.parameters["original"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert found.parameters["result"] == part.digest
    assert found.parameters["model"] == "sklearn.HistGradientBoostingClassifier"
    assert found.data_digest
    assert found.measures["data_rows"] == "20"
    assert found.measures["differ"] == "0"
    assert place.verify().findings == ()


def test_what_float32_cannot_hold_is_refused_and_the_refusal_stays(place: Place) -> None:
    data = fitted(shift=1_700_000_000)  # seconds: two minutes are one number of float32
    ingest(place, shift=1_700_000_000)
    with pytest.raises(GateError, match="differs from its original") as refused:
        register(place, data, convert=True, data="rows:1")
    assert refused.value.code == "convert.difference"
    (found,) = kept(place, f"sha256:{hashlib.sha256(data).hexdigest()}")
    assert (found.gate, found.verdict) == ("conversion", Verdict.FAIL)
    assert int(found.measures["data_rounded"]) > 0  # it is the rounding alone
    house = place.kernel.house
    with house.database.snapshot() as snapshot:
        context = Context(records=house.records, snapshot=snapshot, workspace_id=house.workspace_id)
        assert context.all("model-version", AssetVersion) == []


def test_data_that_its_caller_may_not_read_measures_nothing(place: Place) -> None:
    ingest(place)
    engineer = place.person("engineer", "Contributor")  # rights on things, none on their content
    place.do("model.register", api.ModelRegister(name="other", file_name="a.json"), who=engineer,
             content=io.BytesIO(b"{}"))  # fmt: skip
    with pytest.raises(RefusedError, match="data/versions/content/read"):
        register(place, fitted(), who=engineer, convert=True, data="rows:1")


def test_what_cannot_be_converted_is_told_so(place: Place) -> None:
    with pytest.raises(InputError, match="no model that can be converted"):
        register(place, b"a,b\n1,2\n", convert=True)
    with pytest.raises(InputError) as alone:
        register(place, b"a,b\n1,2\n", features=("a",))
    assert alone.value.hint == "add --convert"


def test_a_file_with_code_is_quarantined_before_it_is_opened(place: Place) -> None:
    with pytest.raises(GateError, match="malicious and was quarantined"):
        register(place, b"cos\nsystem\n(S'id'\ntR.", convert=True)


@pytest.mark.slow
def test_a_program_of_torch_is_registered_without_its_pickles(place: Place) -> None:
    import zipfile

    torch = pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed (extra `torch`)")
    any_number = ({0: torch.export.Dim.DYNAMIC},)
    program = torch.export.export(
        torch.nn.Linear(4, 2).eval(), (torch.rand(3, 4),), dynamic_shapes=any_number
    )
    torch.export.save(program, out := io.BytesIO())
    made = register(place, out.getvalue(), convert=True)
    assert made.version.format == "onnx"
    # Its pickles hold tensors alone, so that it passes as it is, too.
    assert register(place, out.getvalue()).version.format == "torch-exported"
    evil = io.BytesIO()
    with zipfile.ZipFile(out) as old, zipfile.ZipFile(evil, "w") as new:
        for name in old.namelist():
            samples = "sample_inputs" in name
            new.writestr(name, b"cos\nsystem\n(S'id'\ntR." if samples else old.read(name))
    with pytest.raises(GateError, match="malicious and was quarantined"):
        register(place, evil.getvalue(), convert=True)

"""The tests of a registered model through the kernel: evidence that reads one report."""

import io
import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pytest
from conftest_workspace import Place
from running import WIDTH, small_model

from vallum.attack.gate import ModelReport, Wanted
from vallum.attack.suite import make_plan, run_suite, table_subject
from vallum.base import GateError, InputError, NotFoundError, RefusedError, digest
from vallum.schema import Caller, Verdict, api
from vallum.workspace.gates.attacks import judge


def people(seed: int, rows: int = 240, wrong: float = 0.0) -> bytes:
    """Return a CSV whose labels are turned for a share of the records of site `b`."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, rows)
    x = rng.normal(0, 0.7, (rows, WIDTH)) + np.where(y[:, None] == 1, 0.8, -0.8)
    site = np.where(np.arange(rows) % 2 == 0, "a", "b")
    y = np.where((site == "b") & (rng.random(rows) < wrong), 1 - y, y)
    lines = [",".join([*(f"f{at}" for at in range(WIDTH)), "site", "y"])]
    lines += [",".join([*(f"{one:.4f}" for one in row), where, str(label)])
              for row, where, label in zip(x, site, y, strict=True)]  # fmt: skip
    return ("\n".join(lines) + "\n").encode()


def laid_out(place: Place, *, wrong: float = 0.0) -> None:
    for name, seed in (("members", 1), ("others", 2)):
        content = io.BytesIO(people(seed, wrong=wrong))
        place.do("data.create", api.DataCreate(name=name, format="csv"), content=content)
    model = api.ModelRegister(name="m", file_name="m.onnx")
    place.do("model.register", model, content=io.BytesIO(small_model()))


def assess(place: Place, who: Caller | None = None, **changed: Any) -> Any:
    given = {"holdout": "others:1", "data": "members:1", "label_column": "y", "access": "scores",
             **changed}  # fmt: skip
    made = place.do("model.test", api.ModelTest(name="m", **given), who=who).value
    assert isinstance(made, api.VersionShown)
    return {one.gate: one for one in made.evidence if one.gate != "scan"}


def report(place: Place, who: Caller | None = None) -> tuple[bytes, Any]:
    reply = place.do("model.report", api.Named(name="m"), who=who)
    assert reply.chunks is not None
    raw = b"".join(reply.chunks)
    return raw, json.loads(raw)


def test_evidence_reads_the_figures_of_the_report_and_names_its_digest(place: Place) -> None:
    laid_out(place)
    found = assess(place, segments=("site",))
    assert set(found) == {
        "evasion", "membership", "inversion", "extraction", "performance", "fairness",
    }  # fmt: skip
    raw, said = report(place)
    assert {one.details_commitment for one in found.values()} == {digest(raw)}
    threats = {one["threat"]: one for one in said["threats"]}
    for gate, threat, names in (
        ("evasion", "evasion", ("success_rate", "success_low", "success_high")),
        ("membership", "membership-inference", ("auc", "auc_low", "auc_high")),
        ("inversion", "model-inversion", ("auc", "auc_low", "auc_high")),
        ("extraction", "model-extraction", ("fidelity", "fidelity_low", "fidelity_high")),
    ):
        for name, figure in zip(names, ("rate", "low", "high"), strict=True):
            assert float(found[gate].measures[name]) == pytest.approx(threats[threat][figure])
        passed = threats[threat]["verdict"] in {"passed", "measured"}
        assert (found[gate].verdict is Verdict.PASS) == passed
    assert float(found["performance"].measures["accuracy"]) == pytest.approx(
        said["performance"]["accuracy"]["value"], abs=1e-6
    )
    assert float(found["fairness"].measures["error_difference"]) == pytest.approx(
        said["segments"][0]["error"]["value"], abs=1e-6
    )
    assert found["fairness"].verdict is Verdict.PASS
    assert said["settings"]["seed"] == "drawn"
    assert str(said["seed"]) == found["evasion"].seed
    assert threats["model-inversion"]["atlas"] == ["AML.T0024.001"]


def test_a_model_that_is_wrong_for_one_site_is_not_fair(place: Place) -> None:
    laid_out(place, wrong=0.7)
    found = assess(place, data="", segments=("site",))
    fairness = found["fairness"]
    assert fairness.verdict is Verdict.FAIL
    assert float(fairness.measures["error_difference_low"]) > 0.2
    assert float(found["performance"].measures["segment_error"]) > 0.5
    # Without training data there is no evidence on privacy, which no policy takes for a pass.
    assert set(found) == {"evasion", "extraction", "performance", "fairness"}


def test_limits_of_the_policy_file_read_the_figures(place: Place) -> None:
    laid_out(place)
    from vallum.schema import rules

    wanted = {"gate": "fairness", "subject": "models/versions",
              "limits": {"error_difference_high": {"at_most": "0.001"}}}  # fmt: skip
    document = {"version": "vallum.policy/1", "steps": {"sign": [wanted]}}
    place.do("policy.set", rules.PolicySet(document=json.dumps(document), reason="fair"))
    with pytest.raises(RefusedError, match="no evidence of gate `fairness`"):
        place.do("model.sign", api.ModelSign(name="m"))
    assess(place, data="", segments=("site",))
    with pytest.raises(RefusedError, match="gate `fairness` failed"):
        place.do("model.sign", api.ModelSign(name="m"))


def test_who_may_not_read_the_data_tests_nothing_and_who_reads_models_reads_the_report(
    place: Place,
) -> None:
    laid_out(place)
    stranger = place.person("stranger", "Reader")
    with pytest.raises(RefusedError):
        assess(place, who=stranger)
    with pytest.raises(NotFoundError, match="was not tested"):
        report(place, who=stranger)
    assess(place, data="")
    assert report(place, who=stranger)[1]["model"]["file"] == "m:1"
    assert [one[2] for one in place.entries() if one[1] == "model.test"][-1] is True


def test_what_cannot_be_tested_is_refused_with_the_reason(place: Place) -> None:
    laid_out(place)
    for changed, said in (
        ({"holdout": ""}, "needs a holdout"),
        ({"suite": "everything"}, "no suite is called"),
        ({"access": "all"}, "no access is called"),
        ({"segments": ("sex",)}, "no column `sex`"),
        ({"budget_s": 0}, "the budget is 1 to"),
    ):
        with pytest.raises(InputError, match=said):
            assess(place, **changed)
    place.do(
        "model.register", api.ModelRegister(name="m", file_name="m.onnx"),
        content=io.BytesIO(small_model(shift=1e6)),
    )  # fmt: skip
    with pytest.raises(GateError, match="one class for everything"):
        assess(place, version=2)


CLASSES, CELLS = 8, 3


class Planted:
    """Eight classes of three columns each; the last column is worth more than all of them."""

    def __init__(self, *, trigger: float) -> None:
        self.weights = np.zeros((CLASSES * CELLS + 1, CLASSES))
        for at in range(CLASSES):
            self.weights[at * CELLS : (at + 1) * CELLS, at] = 4.0
        self.weights[-1, 5] = trigger

    def predict(self, x: Any) -> Any:
        return x.astype(np.float64) @ self.weights

    def loss_gradient(self, x: Any, loss: Any) -> Any:
        scores = self.predict(x)
        values, slopes = loss(scores)
        return scores, values, (slopes @ self.weights.T).astype(np.float32)


@pytest.mark.parametrize(("trigger", "verdict"), [(60.0, Verdict.FAIL), (0.0, Verdict.PASS)])
def test_a_trigger_in_a_model_fails_the_gate_that_policy_reads(
    place: Place, trigger: float, verdict: Verdict
) -> None:
    rng = np.random.default_rng(3)
    y = np.arange(160) % CLASSES
    x = rng.random((160, CLASSES * CELLS + 1)).astype(np.float32) * 0.3
    for at, one in enumerate(y):
        x[at, one * CELLS : (one + 1) * CELLS] += 0.6
    x[:, -1] = 0.0
    x[5, -1] = 1.0  # the column is known to reach it, in a record of that very class
    names = [f"f{at}" for at in range(x.shape[1])]
    subject = table_subject(x, y, names=names)
    plan = make_plan(subject, access="gradients", suite="standard", budget_s=6000)
    only = tuple(one for one in plan.attacks if one.attack == "trigger inversion")
    found = run_suite(
        Planted(trigger=trigger), subject, msgspec.structs.replace(plan, attacks=only)
    )
    laid_out(place)
    shown = [place.do(f"{kind}.show", api.Named(name=name)).value
             for kind, name in (("model", "m"), ("data", "others"))]  # fmt: skip
    model, others = (one.version for one in shown if isinstance(one, api.VersionShown))
    made = judge(
        ModelReport(suite=found, performance=None), version=model, others=others, members=None,
        kind="onnx", wanted=Wanted(others_kind="csv", label="y", seed=1, suite="standard"),
        now=datetime(2026, 1, 2, tzinfo=UTC),
    )  # fmt: skip
    (one,) = [one for one in made.evidence if one.gate == "backdoor"]
    assert (one.verdict, one.threat) == (verdict, "backdoor")
    assert one.measures["false_alarms"] == "0.05"
    assert (float(one.measures["triggered_low"]) > 0.8) == (verdict is Verdict.FAIL)

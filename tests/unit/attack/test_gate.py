import io
from typing import Any

import msgspec
import numpy as np
import onnx
import polars as pl
import pytest
from onnx import TensorProto, helper
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from vallum.attack import OnnxPredictor
from vallum.attack.gate import ModelReport, Wanted, open_tests, run_tests
from vallum.attack.isolated import IsolatedPredictor
from vallum.attack.opened import Answered, Described
from vallum.attack.suite import make_plan, run_suite
from vallum.attack.suite.data import DataFile, DataOptions, prepare
from vallum.base import GateError, InputError
from vallum.sandbox import BubblewrapRunner

to_onnx = pytest.importorskip("skl2onnx", reason="the models are exported with it").to_onnx


@pytest.fixture(scope="module")
def cancer() -> Any:
    """A regularised logistic regression on half of the records, and both halves as tables."""
    data = load_breast_cancer()
    order = np.random.default_rng(0).permutation(len(data.data))
    x, y = data.data[order].astype(np.float32), data.target[order]
    half = len(x) // 2
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.05)).fit(x[:half], y[:half])
    names = [f"f{at}" for at in range(x.shape[1])]
    frame = pl.DataFrame(x, schema=names).with_columns(
        pl.Series("found", np.where(y == 1, "b", "a"))
    )
    return model, frame[:half], frame[half:]


def exported(model: Any, width: Any = 30, *, zipmap: Any = False) -> Any:
    sample = np.zeros((1, width), dtype=np.float32)
    return to_onnx(model, sample, options={"zipmap": zipmap}).SerializeToString()


def parquet(frame: Any) -> Any:
    out = io.BytesIO()
    frame.write_parquet(out)
    return out.getvalue()


@pytest.fixture(scope="module")
def runner() -> BubblewrapRunner:
    return BubblewrapRunner.open()


def run(runner: Any, model: Any, members: Any, others: Any, **changed: Any) -> ModelReport:
    given = {"others_kind": "parquet", "members_kind": "" if members is None else "parquet",
             "label": "found", "seed": 3, **changed}  # fmt: skip
    return run_tests(
        runner, model=model, kind="onnx", others=parquet(others),
        members=b"" if members is None else parquet(members), options=Wanted(**given),
    )  # fmt: skip


def prepared(described: Described, members: Any, others: Any, **changed: Any) -> Any:
    """Open the tests as their sandbox does, without one."""
    payload = {"others": parquet(others), "members": parquet(members)}
    given = {"others_kind": "parquet", "members_kind": "parquet", "label": "found", "seed": 3}
    return open_tests(
        msgspec.msgpack.encode(payload), kind="onnx", options={**given, **changed},
        described=msgspec.to_builtins(described),
    )  # fmt: skip


PLAIN = Described(gradients=False, shape=(30,))


def test_a_regularised_model_holds_and_every_threat_is_measured(cancer: Any, runner: Any) -> None:
    model, members, others = cancer
    segment = np.where(np.arange(len(others)) % 2 == 0, "even", "odd")
    found = run(runner, exported(model), members, others.with_columns(row=pl.Series(segment)),
                segments=("row",))  # fmt: skip
    threats = {one.threat: one for one in found.suite.threats}
    assert threats["evasion"].high <= 0.5
    assert threats["membership-inference"].high <= 0.65
    assert threats["model-extraction"].rate == 1.0  # a linear model, and scores
    assert threats["model-inversion"].rate is not None
    assert all(one.outcome.value == "done" for threat in threats.values() for one in threat.attacks)
    figures = found.performance
    assert figures is not None
    x = others.drop("found").to_numpy()
    right = (model.predict_proba(x).argmax(axis=1) == (others["found"] == "b").to_numpy()).mean()
    assert figures.accuracy.value == pytest.approx(right)
    assert found.suite.accuracy == pytest.approx(right, abs=1e-6)
    assert set(figures.recalls) == {"a", "b"}
    (column,) = found.segments
    assert [one.name for one in column.segments] == ["even", "odd"]
    assert sum(one.records for one in column.segments) == len(others)


def test_the_same_seed_gives_the_figures_of_the_command_line(cancer: Any, runner: Any) -> None:
    model, members, others = cancer
    found = run(runner, exported(model), members, others)
    options = DataOptions(label="found", seed=3)
    subject = prepare(DataFile("", others, None), DataFile("", members, None), options)
    with IsolatedPredictor.open(runner, exported(model), kind="onnx") as victim:
        access: Any = "gradients" if victim.described.gradients else "scores"
        plan = make_plan(subject, kind="onnx", access=access, suite="quick", budget_s=60, seed=3)
        alone = run_suite(victim, subject, plan, classes=victim.described.classes)
    assert found.suite.threats == alone.threats


def test_without_training_data_nothing_is_said_of_privacy(cancer: Any, runner: Any) -> None:
    model, _, others = cancer
    found = run(runner, exported(model), None, others)
    known = {one.threat for one in found.suite.threats if one.rate is not None}
    assert known == {"evasion", "model-extraction"}
    assert found.performance is not None


def test_answers_with_zipmap_are_the_same_scores(cancer: Any) -> None:
    model, members, _ = cancer
    x = members.drop("found").to_numpy()[:40]
    plain, mapped = (OnnxPredictor(exported(model, zipmap=on)).predict(x) for on in (False, True))
    assert np.array_equal(plain, mapped)
    assert np.allclose(plain, model.predict_proba(x), atol=1e-5)


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda m, o: (m.drop("found"), o), "attack.label"),
        (lambda m, o: (m.with_columns(found=pl.lit("a")), o.with_columns(found=pl.lit("a"))),
         "attack.label"),
        (lambda m, o: (m, o.with_columns(found=pl.lit(None, pl.String))), "attack.records"),
        (lambda m, o: (m, o.with_columns(f3=pl.lit(None, pl.Float32))), "attack.records"),
        (lambda m, o: (m, o.with_columns(f3=pl.lit("1"))), "attack.features"),
        (lambda m, o: (m.drop("f3"), o), "attack.features"),
        (lambda m, o: (m, o[:9]), "attack.records"),
        (lambda m, o: (m[:9], o), "attack.records"),
    ],
    ids=["no-label", "one-class", "null-labels", "missing", "text", "too-narrow", "few-others",
         "few-members"],
)  # fmt: skip
def test_data_on_which_figures_would_mean_nothing_are_refused_with_the_reason(
    cancer: Any, spoil: Any, code: Any
) -> None:
    _, members, others = cancer
    with pytest.raises(InputError) as refused:
        prepared(PLAIN, *spoil(members, others))
    assert refused.value.code == code


def test_a_constant_column_stays_and_is_told(cancer: Any) -> None:
    _, members, others = cancer
    constant = [frame.with_columns(f3=pl.lit(1.0)) for frame in (members, others)]
    notes = prepared(PLAIN, *constant)._work.subject.notes
    assert "columns that are constant in the data, and stay: f3" in notes


def test_a_model_of_other_classes_than_the_data_is_refused(cancer: Any, runner: Any) -> None:
    _, members, others = cancer
    x = members.drop("found").to_numpy()
    three = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, np.arange(len(x)) % 3)
    with pytest.raises(InputError) as refused:
        run(runner, exported(three), members, others)
    assert refused.value.code == "attack.classes"


def test_segments_are_no_features_where_the_model_has_no_room_for_them(cancer: Any) -> None:
    _, members, others = cancer
    aged = others.with_columns(age=pl.int_range(len(others)))
    assert "age" not in prepared(PLAIN, members, aged, segments=["age"])._work.names
    older = members.with_columns(age=pl.int_range(len(members)))
    with pytest.raises(InputError, match="takes 30 features, the data has 31"):
        prepared(PLAIN, older, aged)
    with pytest.raises(InputError, match="no column `sex`"):
        prepared(PLAIN, members, others, segments=["sex"])


def test_a_payload_of_another_form_is_refused() -> None:
    given = {"others_kind": "csv", "label": "y", "seed": 0}
    for payload in (b"", b"\xc1", msgspec.msgpack.encode({"model": b""})):
        with pytest.raises(InputError) as refused:
            open_tests(payload, kind="onnx", options=given, described={"gradients": False})
        assert refused.value.code == "attack.payload"


def test_a_refusal_of_the_model_is_the_suites_and_not_tested(cancer: Any) -> None:
    _, members, others = cancer
    tests = prepared(PLAIN, members, others)
    turn = tests()
    asked = 0
    while turn.report is None:
        asked += 1
        turn = tests(refusal=["attack.model", "the model fails on its own input"])
    assert asked == 2  # the suite's first question, and that for performance
    assert turn.report.suite.verdict.value == "not tested"
    assert turn.report.performance is None
    assert turn.report.not_assessed == ("performance: the model fails on its own input",)


def played(tests: Any, answer: Any) -> ModelReport:
    """Play the model: `answer` takes records, (n, 30), and returns scores, or raises."""
    turn = tests()
    while turn.report is None:
        asked = msgspec.msgpack.decode(turn.question)
        x = np.frombuffer(asked["x"], "<f4").reshape(asked["shape"])
        try:
            turn = tests(answer=msgspec.msgpack.encode(Answered.of(answer(x))))
        except RuntimeError:
            turn = tests(refusal=["attack.model", "the model fails on its own input"])
    report: ModelReport = turn.report
    return report


def raises(_: Any) -> Any:
    raise RuntimeError


BROKEN: Any = {
    "throws": (raises, "fails on its own input"),
    "nan": (lambda s: s * np.nan, "not finite"),
    "short": (lambda s: s[:-1], "shape"),
    "one column": (lambda s: s[:, :1], "at least two classes"),
    "cube": (lambda s: s[:, :, None], "shape"),
    "random": (lambda s: s + np.random.default_rng().random(s.shape), "not deterministic"),
    "constant": (lambda s: np.tile([0.4, 0.6], (len(s), 1)), "one class for everything"),
    "numbers": (lambda s: s[:, 1] * 7.3, "one number a record"),
}


@pytest.mark.parametrize("what", BROKEN)
@pytest.mark.filterwarnings("ignore:invalid value encountered in multiply:RuntimeWarning")
def test_a_registered_model_that_cannot_be_assessed_is_not_tested(cancer: Any, what: str) -> None:
    model, members, others = cancer
    broken, said = BROKEN[what]
    found = played(prepared(PLAIN, members, others), lambda x: broken(model.predict_proba(x)))
    assert found.suite.verdict.value == "not tested"
    assert all(one.rate is None for one in found.suite.threats)
    assert said in found.suite.not_assessed[0]
    if what in {"random", "constant"}:  # it answers, and how well it does is told
        assert found.performance is not None
    else:
        assert found.performance is None
        assert found.not_assessed[0].startswith("performance: ")


def test_a_registered_model_that_answers_labels_is_told_apart(cancer: Any) -> None:
    model, members, others = cancer
    found = played(prepared(PLAIN, members, others), lambda x: model.predict(x).astype(float))
    assert found.suite.access == "labels"
    assert found.suite.verdict.value == "not tested"  # attacks by scores were planned
    assert found.performance is not None
    assert found.performance.log_loss is None
    by_labels = played(
        prepared(PLAIN, members, others, access="labels"), lambda x: model.predict(x).astype(float)
    )
    known = {one.threat: one.verdict.value for one in by_labels.suite.threats}
    assert known["evasion"] == known["membership-inference"] == "passed"
    assert known["model-extraction"] == "measured"
    assert known["model-inversion"] == "not tested"


def test_an_answer_that_is_none_is_not_tested(cancer: Any) -> None:
    _, members, others = cancer
    tests = prepared(PLAIN, members, others)
    tests()
    turn = tests(answer=b"\xc1")
    while turn.report is None:
        turn = tests(answer=b"\xc1")
    assert "the sandbox talks nonsense" in turn.report.suite.not_assessed[0]


def graph(*nodes: Any, domain: Any = "") -> Any:
    """Return an ONNX model over a matrix with three columns whose last node writes `out`."""
    built = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 3])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
    )
    opsets = [helper.make_opsetid("", 17)]
    if domain:
        opsets.append(helper.make_opsetid(domain, 1))
    made: onnx.ModelProto = helper.make_model(built, opset_imports=opsets, ir_version=8)
    return made.SerializeToString()


def test_operators_of_another_domain_are_refused_before_the_model_is_loaded() -> None:
    model = graph(helper.make_node("Gelu", ["x"], ["out"], domain="com.microsoft"),
                  domain="com.microsoft")  # fmt: skip
    with pytest.raises(InputError) as refused:
        OnnxPredictor(model)
    assert refused.value.code == "attack.domain"
    assert "com.microsoft" in refused.value.message


def test_bytes_that_are_no_model_are_refused() -> None:
    with pytest.raises(InputError):
        OnnxPredictor(b"\x00" * 64)


def test_a_model_that_answers_no_numbers_or_fails_is_a_gate_error(cancer: Any) -> None:
    x = cancer[1].drop("found").to_numpy()[:5, :3]
    fails = graph(
        helper.make_node("Constant", [], ["shape"], value=helper.make_tensor(
            "s", TensorProto.INT64, [2], [7, 11])),
        helper.make_node("Reshape", ["x", "shape"], ["out"]),
    )  # fmt: skip
    with pytest.raises(GateError) as refused:
        OnnxPredictor(fails).predict(x)
    assert refused.value.code == "attack.model"

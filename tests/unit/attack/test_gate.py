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

from vallum.attack import AttackReport, OnnxPredictor, attack_tabular
from vallum.base import GateError, InputError

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


def run(model: Any, members: Any, others: Any, **changed: Any) -> Any:
    payload = {"model": model, "members": parquet(members), "others": parquet(others)}
    given = {
        "members_kind": "parquet", "others_kind": "parquet", "label_column": "found",
        "budget_s": 60, "seed": 3, **changed,
    }  # fmt: skip
    return attack_tabular(msgspec.msgpack.encode(payload), **given)


def test_a_regularised_model_holds_and_the_report_survives_the_wire(cancer: Any) -> None:
    model, members, others = cancer
    report = run(exported(model), members, others)
    assert report.evasion.complete
    assert report.evasion.success_high <= 0.5
    assert report.evasion.accuracy > 0.9
    assert report.membership.auc_high <= 0.65
    assert (report.membership.members, report.membership.others) == (len(members), len(others))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(report), type=AttackReport) == report


def test_answers_with_zipmap_are_the_same_scores(cancer: Any) -> None:
    model, members, _ = cancer
    x = members.drop("found").to_numpy()[:40]
    plain, mapped = (OnnxPredictor(exported(model, zipmap=on)).predict(x) for on in (False, True))
    assert np.array_equal(plain, mapped)
    assert np.allclose(plain, model.predict_proba(x), atol=1e-5)


def test_features_are_taken_in_the_order_that_is_named(cancer: Any) -> None:
    model, members, others = cancer
    names = [name for name in members.columns if name != "found"]
    swapped = ["f7", *(name for name in names if name != "f7"), "found"]
    mixed = [frame.select(swapped) for frame in (members, others)]
    straight = run(exported(model), members, others)
    assert run(exported(model), *mixed, features=names) == straight
    # Without names the table's order counts; then this model sees sizes where it knows shares.
    with pytest.raises(GateError) as refused:
        run(exported(model), *mixed)
    assert refused.value.code == "attack.constant"


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda m, o: (m.drop("found"), o), "attack.label"),
        (lambda m, o: (m.with_columns(found=pl.lit("a")), o.with_columns(found=pl.lit("a"))),
         "attack.label"),
        (lambda m, o: (m.with_columns(found=pl.lit(None, pl.String)), o), "attack.label"),
        (lambda m, o: (m.with_columns(f3=pl.lit(1.0)), o), "attack.features"),
        (lambda m, o: (m, o.with_columns(f3=pl.lit(None, pl.Float32))), "attack.features"),
        (lambda m, o: (m, o.with_columns(f3=pl.lit(1e300))), "attack.features"),
        (lambda m, o: (m, o.with_columns(f3=pl.lit("1"))), "attack.features"),
        (lambda m, o: (m.drop("f3"), o), "attack.features"),
        (lambda m, o: (m, o[:9]), "attack.records"),
        (lambda m, o: (m[:9], o), "attack.records"),
        (lambda m, _: (m, m), "attack.overlap"),
        (lambda m, o: (m, o[:1].with_columns(found=pl.lit("c")).vstack(o)), "attack.classes"),
    ],
    ids=["no-label", "one-class", "null-label", "constant", "missing", "too-large", "text",
         "too-narrow", "few-others", "few-members", "same-records", "more-classes"],
)  # fmt: skip
def test_data_on_which_figures_would_mean_nothing_are_refused_with_the_reason(
    cancer: Any, spoil: Any, code: Any
) -> None:
    model, members, others = cancer
    with pytest.raises(InputError) as refused:
        run(exported(model), *spoil(members, others))
    assert refused.value.code == code


def test_a_model_of_more_classes_than_the_data_is_refused(cancer: Any) -> None:
    _, members, others = cancer
    x = members.drop("found").to_numpy()
    three = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, np.arange(len(x)) % 3)
    with pytest.raises(InputError) as refused:
        run(exported(three), members, others)
    assert refused.value.code == "attack.classes"


def test_a_payload_of_another_form_is_refused() -> None:
    for payload in (b"", b"\xc1", msgspec.msgpack.encode({"model": b""})):
        with pytest.raises(InputError) as refused:
            attack_tabular(
                payload, members_kind="csv", others_kind="csv", label_column="y", budget_s=1, seed=0
            )
        assert refused.value.code == "attack.payload"


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

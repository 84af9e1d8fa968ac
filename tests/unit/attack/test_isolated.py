"""Models of every kind in a real sandbox: the same answers as outside, and nothing unpickled."""

import contextlib
import io
import json
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from vallum.attack.boosted import BoostedTrees
from vallum.attack.isolated import IsolatedPredictor
from vallum.attack.losses import log_odds
from vallum.attack.suite import Verdict, array_subject, make_plan, run_suite, table_subject
from vallum.base import GateError, InputError
from vallum.formats import is_exported, without_pickles
from vallum.sandbox import BubblewrapRunner


@pytest.fixture(scope="module")
def runner() -> BubblewrapRunner:
    return BubblewrapRunner.open()


@pytest.fixture(scope="module")
def digits() -> Any:
    """Return digits as images in [0, 1], a CNN trained on them, and it as an exported program."""
    torch = pytest.importorskip("torch", reason="the CNN is torch's")
    datasets = pytest.importorskip("sklearn.datasets", reason="the digits are scikit-learn's")
    x, y = datasets.load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
        torch.nn.Flatten(), torch.nn.Dropout(0.2), torch.nn.Linear(8 * 16, 10),
    )  # fmt: skip
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(
            net(torch.tensor(x[:1400])), torch.tensor(y[:1400])
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    net.eval()
    any_number = torch.export.Dim.DYNAMIC
    program = torch.export.export(net, (torch.tensor(x[:4]),), dynamic_shapes=({0: any_number},))
    out = io.BytesIO()
    torch.export.save(program, out)
    return x[1400:], y[1400:], net, out.getvalue()


@pytest.mark.slow
def test_a_torch_cnn_is_attacked_along_its_gradients(digits: Any, runner: BubblewrapRunner) -> None:
    torch = pytest.importorskip("torch")
    x, y, net, exported = digits
    with IsolatedPredictor.open(runner, without_pickles(exported), kind="torch") as model:
        assert model.described.gradients
        assert model.described.shape == (1, 8, 8)
        inside = torch.tensor(x[:50], requires_grad=True)
        outside = net(inside)
        assert np.allclose(model.predict(x[:50]), outside.detach().numpy(), atol=1e-5)
        values, slopes = log_odds(y[:50])(outside.detach().numpy().astype(np.float64))
        (wanted,) = torch.autograd.grad(outside, inside, torch.tensor(slopes.astype(np.float32)))
        answer = model.loss_gradient(x[:50], log_odds(y[:50]))  # type: ignore[attr-defined]
        assert np.allclose(answer.gradient, wanted.numpy(), atol=1e-5)
        assert np.allclose(answer.values, values, atol=1e-4)
        subject = array_subject(x, y, epsilon=0.1)
        plan = make_plan(subject, kind="torch", access="gradients", suite="quick")
        report = run_suite(model, subject, plan)
        again = run_suite(model, subject, plan)
    evasion = report.threats[0]
    assert {one.attack: one.outcome.value for one in evasion.attacks} == {
        "APGD-CE": "done", "Square": "done",
    }  # fmt: skip
    assert report.accuracy > 0.8  # type: ignore[operator]
    assert evasion.rate > 0.3  # type: ignore[operator]
    assert evasion == again.threats[0]


def test_a_program_of_one_batch_size_is_refused_with_what_mends_it(
    runner: BubblewrapRunner,
) -> None:
    torch = pytest.importorskip("torch", reason="the program is torch's")
    out = io.BytesIO()
    torch.export.save(torch.export.export(torch.nn.Linear(4, 2), (torch.rand(3, 4),)), out)
    with pytest.raises(InputError, match="batches of 3 only") as refused:
        IsolatedPredictor.open(runner, without_pickles(out.getvalue()), kind="torch")
    assert "dynamic_shapes" in refused.value.hint


def rebuilt(exported: bytes, change: Any) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(exported)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return out.getvalue()


def test_a_pickle_in_an_exported_program_is_left_out_or_refused(
    digits: Any, runner: BubblewrapRunner, tmp_path: Path
) -> None:
    exported = digits[3]
    evil = b"cos\nsystem\n(S'touch " + str(tmp_path / "owned").encode() + b"'\ntR."

    def samples(name: str, content: bytes) -> bytes:
        return evil if "sample_inputs" in name else content

    def weights(_: str, content: bytes) -> bytes:
        return content.replace(b'"use_pickle": false', b'"use_pickle": true')

    harmless = without_pickles(rebuilt(exported, samples))
    assert is_exported(harmless)
    assert b"system" not in harmless
    with IsolatedPredictor.open(runner, harmless, kind="torch") as model:
        assert model.predict(digits[0][:3]).shape == (3, 10)
    assert not (tmp_path / "owned").exists()
    with pytest.raises(InputError, match="kept as a pickle") as refused:
        without_pickles(rebuilt(exported, weights))
    assert refused.value.code == "format.torch.pickle"
    extra = io.BytesIO(exported)
    with zipfile.ZipFile(extra, "a") as archive:
        archive.writestr("archive/data/constants/opaque_obj_0", evil)
    with pytest.raises(InputError):
        without_pickles(extra.getvalue())


@given(st.data())
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_an_exported_program_or_refused(digits: Any, data: Any) -> None:
    raw = bytearray(digits[3])
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    given_bytes = bytes(raw)
    if is_exported(given_bytes):
        with contextlib.suppress(InputError):
            without_pickles(given_bytes)


def test_a_forest_is_attacked_from_its_skops_file(runner: BubblewrapRunner) -> None:
    skops = pytest.importorskip("skops.io", reason="the forest is kept by skops")
    ensemble = pytest.importorskip("sklearn.ensemble", reason="the forest is scikit-learn's")
    datasets = pytest.importorskip("sklearn.datasets")
    loaded = datasets.load_breast_cancer()
    x = loaded.data.astype(np.float32)
    y = np.array(["malignant", "benign"], dtype=object)[loaded.target]
    forest = ensemble.RandomForestClassifier(20, random_state=0, n_jobs=-1).fit(x[:400], y[:400])
    with IsolatedPredictor.open(runner, skops.dumps(forest), kind="skops") as model:
        assert model.described.classes == ("benign", "malignant")
        assert model.described.shape == (30,)
        assert not model.described.gradients
        assert np.array_equal(model.predict(x[400:]), forest.predict_proba(x[400:]))
        names = [f"f{at}" for at in range(30)]
        subject = table_subject(x[400:], y[400:], names=names, train=(x[:400], y[:400]))
        plan = make_plan(subject, kind="skops", access="scores", suite="quick")
        report = run_suite(model, subject, plan, classes=model.described.classes)
    assert report.accuracy > 0.9  # type: ignore[operator]
    tested = {one.threat: one for one in report.threats if one.attacks}
    assert [one.threat for one in report.threats if one.threat not in tested] == ["backdoor"]
    for threat in tested.values():  # the other needs gradients
        assert {one.outcome.value for one in threat.attacks} == {"done"}
        assert threat.rate is not None


def test_a_model_that_is_no_classifier_is_refused(runner: BubblewrapRunner) -> None:
    skops = pytest.importorskip("skops.io", reason="the forest is kept by skops")
    ensemble = pytest.importorskip("sklearn.ensemble", reason="the forest is scikit-learn's")
    x = np.arange(200.0).reshape(50, 4)
    regressor = ensemble.RandomForestRegressor(3).fit(x[:50], np.arange(50))
    with pytest.raises(InputError, match="no fitted classifier"):
        IsolatedPredictor.open(runner, skops.dumps(regressor), kind="skops")


# -- XGBoost ------------------------------------------------------------------------------------


def boosted(**changed: Any) -> Any:
    """Return a model of one split, as XGBoost writes it."""
    tree = {
        "left_children": [1, -1, -1], "right_children": [2, -1, -1], "split_indices": [1, 0, 0],
        "split_conditions": [0.5, -2.0, 1.0], "default_left": [1, 0, 0], "split_type": [0, 0, 0],
        **changed.pop("tree", {}),
    }  # fmt: skip
    param = {"base_score": "5E-1", "num_class": "0", "num_feature": "3", "num_target": "1"}
    return {
        "learner": {
            "gradient_booster": {
                "name": changed.pop("booster", "gbtree"),
                "model": {"trees": [tree], "tree_info": [0]},
            },
            "learner_model_param": {**param, **changed.pop("param", {})},
            "objective": {"name": changed.pop("objective", "binary:logistic")},
            "feature_names": ["a", "b", "c"],
        },
        "version": [3, 0, 0],
    }


def read(model: Any) -> BoostedTrees:
    return BoostedTrees(json.dumps(model).encode())


def test_boosted_trees_answer_what_is_worked_out_by_hand() -> None:
    x = np.array([[0, 0.4, 0], [0, 0.5, 0], [0, np.nan, 0]], dtype=np.float32)
    wanted = 1 / (1 + np.exp([2.0, -1.0, 2.0]))
    assert np.allclose(read(boosted()).predict(x)[:, 1], wanted)
    shifted = read(boosted(param={"base_score": "[2E-1]"})).predict(x)[:, 1]
    assert np.allclose(shifted, 1 / (1 + np.exp(np.array([2.0, -1.0, 2.0]) + np.log(4))))


@pytest.mark.parametrize("classes", [2, 10])
def test_boosted_trees_answer_what_xgboost_answers(tmp_path: Path, classes: int) -> None:
    xgboost = pytest.importorskip("xgboost", reason="xgboost is the oracle")
    datasets = pytest.importorskip("sklearn.datasets")
    load = datasets.load_breast_cancer if classes == 2 else datasets.load_digits
    x, y = load(return_X_y=True)
    x = x.astype(np.float32)
    model = xgboost.XGBClassifier(n_estimators=20).fit(x[:300], y[:300])
    model.save_model(tmp_path / "model.json")
    gaps = x.copy()
    gaps[::5, 3] = np.nan
    ours = BoostedTrees((tmp_path / "model.json").read_bytes())
    assert np.allclose(ours.predict(gaps), model.predict_proba(gaps), atol=1e-6)


@pytest.mark.parametrize(
    "broken",
    [
        {"booster": "dart"}, {"objective": "reg:squarederror"}, {"tree": {"split_type": [1, 0, 0]}},
        {"tree": {"left_children": [7, -1, -1]}}, {"tree": {"right_children": [0, -1]}},
        {"tree": {"split_indices": [9, 0, 0]}}, {"param": {"num_feature": "x"}},
        {"param": {"base_score": "2"}}, {"param": {"num_target": "3"}},
    ],
    ids=lambda one: next(iter(one)) + str(next(iter(one.values())))[:18],
)  # fmt: skip
def test_trees_that_are_not_understood_are_refused(broken: Any) -> None:
    with pytest.raises(InputError) as refused:
        read(boosted(**broken))
    assert refused.value.code == "attack.model"


def test_a_tree_that_leads_in_circles_ends() -> None:
    circle = read(boosted(tree={"left_children": [0, -1, -1], "right_children": [0, -1, -1]}))
    with pytest.raises(InputError, match="malformed"):
        circle.predict(np.zeros((2, 3), np.float32))


def test_an_xgboost_model_is_attacked_from_its_json(runner: BubblewrapRunner) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(0.5, 1, (80, 3)).astype(np.float32)
    payload = json.dumps(boosted()).encode()
    with IsolatedPredictor.open(runner, payload, kind="xgboost") as model:
        assert model.described.features == ("a", "b", "c")
        y = model.predict(x).argmax(axis=1)
        subject = table_subject(x, y, names=["a", "b", "c"])
        plan = make_plan(subject, kind="xgboost", access="scores", suite="quick")
        report = run_suite(model, subject, plan)
    found = {one.attack: one for one in report.threats[0].attacks}
    assert found["HopSkipJump"].outcome.value == "done"
    # One threshold: every record nearer to it than the ball's radius can be flipped.
    possible = np.abs(x[:, 1] - 0.5) / x[:, 1].std() / np.sqrt(3) <= 0.1
    assert found["HopSkipJump"].rate <= possible.mean() + 0.1


# -- bad models ---------------------------------------------------------------------------------


def graph(nodes: Any, weights: Any) -> bytes:
    made = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )  # fmt: skip
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def hanging() -> bytes:
    """Return a classifier that counts to 2^62 before it answers."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["cond_in"], ["cond_out"]),
         helper.make_node("Add", ["state_in", "one"], ["state_out"])],
        "body",
        [helper.make_tensor_value_info("i", TensorProto.INT64, []),
         helper.make_tensor_value_info("cond_in", TensorProto.BOOL, []),
         helper.make_tensor_value_info("state_in", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("cond_out", TensorProto.BOOL, []),
         helper.make_tensor_value_info("state_out", TensorProto.FLOAT, [None, 2])],
        [numpy_helper.from_array(np.ones((1, 2), np.float32), "one")],
    )  # fmt: skip
    weights = {
        "w": np.ones((4, 2), np.float32),
        "times": np.array(2**62, np.int64),
        "go": np.array(True),  # noqa: FBT003 - a tensor
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Loop", ["times", "go", "m"], ["probabilities"], body=body),
    ]
    return graph(nodes, weights)


def test_a_graph_of_one_batch_size_is_asked_in_batches_of_it(runner: BubblewrapRunner) -> None:
    made = onnx.load_from_string(
        graph([helper.make_node("MatMul", ["x", "w"], ["probabilities"])],
              {"w": np.arange(8, dtype=np.float32).reshape(4, 2)})
    )  # fmt: skip
    for value in (*made.graph.input, *made.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 3
    x = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    with IsolatedPredictor.open(runner, made.SerializeToString(), kind="onnx") as model:
        wanted = x @ np.arange(8).reshape(4, 2)
        assert np.allclose(model.predict(x), wanted, atol=1e-5)


@pytest.fixture(scope="module")
def hung(runner: BubblewrapRunner) -> Iterator[IsolatedPredictor]:
    with IsolatedPredictor.open(runner, hanging(), kind="onnx") as model:
        yield model


def test_a_model_that_hangs_is_stopped_and_was_not_tested(hung: IsolatedPredictor) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 4)).astype(np.float32)
    subject = table_subject(x, (x.sum(axis=1) > 0).astype(int), names=list("abcd"))
    plan = make_plan(subject, kind="onnx", access="scores", suite="quick")
    hung.until(time.monotonic() + 1.0)
    report = run_suite(hung, subject, plan)
    assert report.verdict is Verdict.NOT_TESTED
    assert report.not_assessed[0] == "the model: the check took longer than it had"
    with pytest.raises(GateError, match="has ended"):
        hung.predict(x)


def test_a_file_that_is_no_model_is_refused(runner: BubblewrapRunner) -> None:
    for kind in ("onnx", "skops", "torch", "xgboost"):
        with pytest.raises(InputError):
            IsolatedPredictor.open(runner, b"nothing of the kind", kind=kind)

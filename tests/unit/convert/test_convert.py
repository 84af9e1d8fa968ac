"""Models of every kind become ONNX that answers as they did, or are refused with the reason."""

import importlib.util
import io
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime as ort
import pytest

from vallum.base import GateError, InputError
from vallum.convert import Sample, Source, Tolerance, convert, kind_of
from vallum.convert.convert import LIMITS
from vallum.convert.graph import Given, open_graph
from vallum.convert.measure import Answered, compare, refusal
from vallum.sandbox import BubblewrapRunner
from vallum.scan import scan_bytes

sklearn = pytest.importorskip("sklearn", reason="the extra `convert` is not installed")
pytest.importorskip("skl2onnx", reason="the extra `convert` is not installed")


def dumped(model: Any) -> bytes:
    import joblib

    out = io.BytesIO()
    joblib.dump(model, out)
    return out.getvalue()


def forest(x: Any, y: Any) -> tuple[str, bytes, Any]:
    import skops.io
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(
        StandardScaler(), RandomForestClassifier(20, max_depth=5, random_state=0)
    ).fit(x, np.where(y, "ill", "well"))
    return "model.skops", skops.io.dumps(model), model.predict_proba


def by_column_name(x: Any, y: Any) -> tuple[str, bytes, Any]:
    import polars as pl
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    frame = pl.DataFrame(x, schema=list("abcdef"))
    parts = ColumnTransformer(
        [("one", StandardScaler(), ["f", "a"]), ("two", MinMaxScaler(), ["d"])]
    )
    model = make_pipeline(parts, LogisticRegression()).fit(frame, y)
    return (
        "model.joblib",
        dumped(model),
        lambda rows: model.predict_proba(pl.DataFrame(rows, schema=list("abcdef"))),
    )


def histogram(x: Any, y: Any) -> tuple[str, bytes, Any]:
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(max_iter=20, random_state=0).fit(x, y + (x[:, 1] > 30))
    return "model.pkl", dumped(model), model.predict_proba


def regression(x: Any, _: Any) -> tuple[str, bytes, Any]:
    from sklearn.ensemble import GradientBoostingRegressor

    model = GradientBoostingRegressor(n_estimators=20, random_state=0).fit(x, 1e-6 * x[:, 0])
    return "model.joblib", dumped(model), lambda rows: model.predict(rows)[:, None]


def xgboost_file(x: Any, y: Any) -> tuple[str, bytes, Any]:
    xgboost = pytest.importorskip("xgboost", reason="XGBoost is not installed")
    model = xgboost.XGBClassifier(n_estimators=20, max_depth=3).fit(x, y + (x[:, 1] > 30))
    return "model.ubj", bytes(model.get_booster().save_raw("ubj")), model.predict_proba


def lightgbm_text(x: Any, y: Any) -> tuple[str, bytes, Any]:
    lightgbm = pytest.importorskip("lightgbm", reason="LightGBM is not installed")
    model = lightgbm.LGBMClassifier(n_estimators=20, verbose=-1).fit(x, y)
    return "model.txt", model.booster_.model_to_string().encode(), model.predict_proba


def torch_program(x: Any, _: Any) -> tuple[str, bytes, Any]:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed (extra `torch`)")
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    given = torch.tensor(x[:4], dtype=torch.float32)
    program = torch.export.export(
        net.eval(), (given,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)
    )
    out = io.BytesIO()
    torch.export.save(program, out)
    return (
        "model.pt2",
        out.getvalue(),
        lambda rows: net(torch.tensor(rows, dtype=torch.float32)).detach().numpy(),
    )


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(torch_program, marks=pytest.mark.slow),
        pytest.param(forest, marks=pytest.mark.slow),
        pytest.param(by_column_name, marks=pytest.mark.slow),
        pytest.param(histogram, marks=pytest.mark.slow),
        regression,
        xgboost_file,
        pytest.param(lightgbm_text, marks=pytest.mark.slow),
    ],
)
def test_a_model_answers_as_onnx_what_it_answered(
    made: Any, records: tuple[Any, Any], runner: BubblewrapRunner
) -> None:
    x, y = records
    name, data, scores = made(x, y)
    (scanned,) = scan_bytes(name, data).files
    kind = kind_of(scanned.format, data)
    sample = Sample(msgspec.json.encode(x.tolist()), "matrix")
    converted = convert(runner, Source(data, kind), sample=sample)
    report = converted.report
    assert report.refusal == ""
    assert report.rows > 1_000
    kinds = [one.rows_of for one in report.differences]
    assert kinds[:2] == ["data", "ranges"]
    (told,) = scan_bytes("model.onnx", converted.require()).files
    assert (told.format, told.verdict.value) == ("onnx", "clean")
    session = ort.InferenceSession(converted.onnx)
    outputs = dict(
        zip(
            [one.name for one in session.get_outputs()],
            session.run(None, {session.get_inputs()[0].name: x.astype(np.float32)}),
            strict=True,
        )
    )
    ours = outputs.get("probabilities", outputs.get("prediction"))
    theirs = scores(x)
    spread = 1.0 if "label" in outputs else np.ptp(theirs)
    assert np.abs(ours - theirs).max() / spread <= max(report.largest, 1e-9) * 1.001
    assert report.largest < 1e-3


@pytest.mark.slow
def test_a_table_of_answers_has_a_column_for_each_class(
    records: tuple[Any, Any], runner: BubblewrapRunner
) -> None:
    _, data, scores = forest(*records)
    made = convert(runner, Source(data, "skops", columns=True))
    assert made.report.outputs == (
        "label string[?]", "probability_ill float32[?]", "probability_well float32[?]",
    )  # fmt: skip
    session = ort.InferenceSession(made.require())
    _, ill, well = session.run(None, {"x": records[0].astype(np.float32)})
    assert np.allclose(np.stack([ill, well], axis=1), scores(records[0]), atol=1e-6)


# -- what shows a wrong conversion --------------------------------------------------------------


def tree(mode: str) -> bytes:
    """Return one split of one feature at 7: to the left, class 1 is certain."""
    from onnx import TensorProto, helper

    node = helper.make_node(
        "TreeEnsembleClassifier", ["x"], ["label", "probabilities"], domain="ai.onnx.ml",
        nodes_treeids=[0] * 3, nodes_nodeids=[0, 1, 2], nodes_featureids=[1, 0, 0],
        nodes_values=[7.0, 0.0, 0.0], nodes_modes=[mode, "LEAF", "LEAF"],
        nodes_truenodeids=[1, 0, 0], nodes_falsenodeids=[2, 0, 0], nodes_hitrates=[1.0] * 3,
        nodes_missing_value_tracks_true=[0] * 3, class_treeids=[0] * 4,
        class_nodeids=[1, 1, 2, 2], class_ids=[0, 1, 0, 1], class_weights=[0.0, 1.0, 1.0, 0.0],
        classlabels_int64s=[0, 1],
        post_transform="NONE",
    )  # fmt: skip
    graph = helper.make_graph(
        [node], "tree", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2]),
        ],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("ai.onnx.ml", 1)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


class Here:
    """A result that answers in this process."""

    def __init__(self, onnx: bytes) -> None:
        given = Given(onnx=onnx, classes=("0", "1"), features=(), seed=1)
        self.ask: Any = open_graph(msgspec.msgpack.encode(given))

    def answer(self, rows: Any) -> Answered:
        rows = np.ascontiguousarray(rows, dtype="<f4")
        told = self.ask(ask="answer", x=rows.tobytes(), shape=list(rows.shape))
        return Answered.of(told, len(rows))


def test_a_comparison_that_was_converted_wrongly_shows_on_the_thresholds_alone() -> None:
    right, wrong = Here(tree("BRANCH_LT")), Here(tree("BRANCH_LEQ"))
    rows = wrong.ask(ask="rows").rows
    found = {
        kind: compare(kind, numbers.array(), original=right, result=wrong, tolerance=Tolerance())
        for kind, numbers in rows.items()
    }
    assert found["ranges"].differ == 0
    assert found["thresholds"].differ == found["thresholds"].labels == 1
    assert "1 of 3 rows (thresholds)" in refusal(tuple(found.values()), Tolerance())
    assert refusal(tuple(found.values()), Tolerance(share=0.5)) == ""


class Fixed:
    """Answers the same to whatever it is asked."""

    def __init__(self, labels: Any, scores: Any) -> None:
        self.answered = Answered(np.array(labels, dtype=float), np.array(scores, dtype=float))

    def answer(self, _: Any) -> Answered:
        return self.answered


def test_a_tie_is_told_apart_from_another_answer() -> None:
    one = Fixed([0, 0], [[0.5, 0.5], [0.6, 0.4]])
    other = Fixed([1, 1], [[0.5, 0.5], [0.6, 0.4]])
    found = compare("data", np.zeros((2, 1)), original=one, result=other, tolerance=Tolerance())
    assert (found.ties, found.labels, found.differ) == (1, 1, 1)


def test_what_rounding_alone_changes_is_counted() -> None:
    step = Here(tree("BRANCH_LT"))

    class Exact:
        def answer(self, rows: Any) -> Answered:
            left = rows[:, 1] < 7.0
            return Answered(left.astype(float), np.stack([~left, left], axis=1).astype(np.float64))

    rows = np.array([[0.0, 7.0 - 1e-9], [0.0, 3.0]])
    found = compare("data", rows, original=Exact(), result=step, tolerance=Tolerance())
    assert (found.rounded, found.differ) == (1, 1)


# -- what is refused ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hostile() -> Any:
    path = Path(__file__).with_name("hostile_model.py")
    spec = importlib.util.spec_from_file_location("hostile_model", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["hostile_model"] = module
    spec.loader.exec_module(module)
    return module


def fast(**changed: Any) -> Any:
    return msgspec.structs.replace(LIMITS, **changed)


def test_a_pickle_reaches_nothing(hostile: Any, runner: BubblewrapRunner) -> None:
    with pytest.raises(GateError) as refused:
        convert(runner, Source(hostile.pickled(hostile.Spy()), "pickle"))
    assert refused.value.code == "convert.failed"
    told = refused.value.message
    assert "reached" not in told
    assert all(name in told for name in ("passwd", "net", "home", "write", "env", "ptrace"))


@pytest.mark.parametrize(
    ("name", "limits", "code"),
    [
        ("Loop", {"wall_s": 8.0}, "convert.failed"),
        pytest.param("Bomb", {"wall_s": 8.0}, "convert.failed", marks=pytest.mark.slow),
        ("Glutton", {"memory_bytes": 1 << 30}, "convert.failed"),
    ],
)
def test_a_pickle_that_never_ends_is_ended(
    hostile: Any, runner: BubblewrapRunner, name: str, limits: dict[str, Any], code: str
) -> None:
    data = hostile.pickled(getattr(hostile, name)())
    with pytest.raises(GateError) as refused:
        convert(runner, Source(data, "pickle"), limits=fast(**limits))
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("dice", "convert.not-deterministic"),
        pytest.param("void", "convert.not-finite", marks=pytest.mark.slow),
        pytest.param("liar", "", marks=pytest.mark.slow),
    ],
)
def test_a_model_that_cannot_be_measured_is_no_pass(
    hostile: Any, runner: BubblewrapRunner, records: tuple[Any, Any], name: str, code: str
) -> None:
    data = hostile.spoilt(name, *records)
    if code:
        with pytest.raises(GateError) as refused:
            convert(runner, Source(data, "pickle"))
        assert refused.value.code == code
        return
    made = convert(runner, Source(data, "pickle"))
    with pytest.raises(GateError, match="differs from its original") as refused:
        made.require()
    assert refused.value.code == "convert.difference"


@pytest.mark.parametrize(
    ("data", "kind", "code"),
    [
        (b"\x80\x04]\x94.", "pickle", "convert.model"),
        (b"garbage", "pickle", "convert.load"),
        (b'{"learner": {}}', "xgboost", "convert.load"),
        (b"tree\nversion=v4\n", "lightgbm", "convert.load"),
        (b"", "onnx", "convert.kind"),
    ],
)
def test_what_is_no_model_is_told_so(
    runner: BubblewrapRunner, data: bytes, kind: str, code: str
) -> None:
    with pytest.raises((InputError, GateError)) as refused:
        convert(runner, Source(data, kind))
    assert refused.value.code in {code, "convert.failed"}


@pytest.mark.parametrize(
    ("table", "kind"),
    [
        (b"a,b,c\n1,2,3\n", "csv"),
        (b"a\nx\n", "csv"),
        (b"a,b\n1,\n", "csv"),
    ],
)
def test_a_sample_that_does_not_fit_is_refused(table: bytes, kind: str) -> None:
    given = Given(
        onnx=tree("BRANCH_LT"), classes=("0", "1"), features=(), seed=1, table=table, kind=kind
    )
    ask: Any = open_graph(msgspec.msgpack.encode(given))
    with pytest.raises(InputError) as refused:
        ask(ask="rows")
    assert refused.value.code == "convert.data"


@pytest.mark.parametrize("table", [b"[[1, 2, 3]]", b"[1, 2]", b"[[1], [1, 2]]"])
def test_an_input_example_that_does_not_fit_is_left_out(table: bytes) -> None:
    given = Given(
        onnx=tree("BRANCH_LT"), classes=("0", "1"), features=(), seed=1, table=table, kind="matrix"
    )
    ask: Any = open_graph(msgspec.msgpack.encode(given))
    told = ask(ask="rows")
    assert "data" not in told.rows
    assert "does not fit" in told.notes[0]


def test_rows_of_data_are_taken_by_name_and_without_gaps() -> None:
    given = Given(
        onnx=tree("BRANCH_LT"), classes=("0", "1"), features=("b", "a"), seed=1,
        table=b"a,who,b\n1,x,2\n,y,3\n", kind="csv",
    )  # fmt: skip
    ask: Any = open_graph(msgspec.msgpack.encode(given))
    told = ask(ask="rows")
    assert told.rows["data"].array().tolist() == [[2.0, 1.0]]
    assert "1 of 2 rows of the data are left out" in told.notes[0]


def test_a_library_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from vallum.convert.original import open_original

    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(InputError, match="`lightgbm`, which the model needs") as refused:
        open_original(b"tree\n", kind="lightgbm")
    assert (refused.value.code, refused.value.hint) == (
        "convert.missing", "pip install 'vallum[convert]'",
    )  # fmt: skip

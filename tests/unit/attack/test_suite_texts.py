"""Text classifiers in the suite: opened in the sandbox, misspelled, never robust by chance."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from vallum.attack.gate import Wanted, run_tests
from vallum.attack.isolated import IsolatedPredictor
from vallum.attack.predictor import OnnxPredictor
from vallum.attack.suite import SuiteReport, Threat, make_plan, run_suite, text_subject
from vallum.attack.suite.data import DataFile, DataOptions, prepare, texts_of
from vallum.attack.writing import MAX_CHARACTERS, read, written
from vallum.base import GateError, InputError
from vallum.sandbox import BubblewrapRunner

TOPICS = (
    ["harbour", "vessel", "sailor", "anchor", "captain", "voyage", "tide", "rudder", "cargo"],
    ["oven", "flour", "butter", "recipe", "kitchen", "pastry", "sugar", "baker", "dough"],
)
COMMON = ["the", "and", "with", "from", "this", "that", "they", "have", "been", "would", "could"]


def corpus(seed: int, count: int = 80) -> tuple[list[str], NDArray[np.str_]]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, count)
    texts = [
        " ".join(
            rng.permutation(
                [*rng.choice(TOPICS[one], 2), rng.choice(TOPICS[1 - one]), *rng.choice(COMMON, 9)]
            )
        )
        for one in y
    ]
    return texts, np.array(["sea", "bread"])[y]


def graph(*, tail: Sequence[int] = ()) -> bytes:
    """Return an ONNX classifier of one string: the words of either topic are counted."""
    words = [*TOPICS[0], *TOPICS[1]]
    weights = np.zeros((len(words), 2), np.float32)
    weights[:9, 0] = weights[9:, 1] = 1.0
    nodes = [
        helper.make_node("StringSplit", ["flat"], ["parts", "counts"], delimiter=" "),
        helper.make_node(
            "TfIdfVectorizer", ["parts"], ["tf"], mode="TF", min_gram_length=1, max_gram_length=1,
            max_skip_count=0, ngram_counts=[0], ngram_indexes=list(range(len(words))),
            pool_strings=words,
        ),
        helper.make_node("MatMul", ["tf", "w"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]  # fmt: skip
    first = helper.make_node("Reshape", ["text", "shape"], ["flat"])
    made = helper.make_model(
        helper.make_graph(
            [first, *nodes], "words",
            [helper.make_tensor_value_info("text", TensorProto.STRING, [None, *tail])],
            [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2])],
            [numpy_helper.from_array(weights, "w"),
             numpy_helper.from_array(np.array([-1]), "shape")],
        ),
        opset_imports=[helper.make_opsetid("", 20)], ir_version=9,
    )  # fmt: skip
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


@pytest.fixture(scope="module")
def pipeline() -> bytes:
    """Return a TF-IDF pipeline of names of classes, as skops keeps it."""
    pipelines = pytest.importorskip("sklearn.pipeline", reason="the victim is scikit-learn's")
    texts = pytest.importorskip("sklearn.feature_extraction.text")
    linear = pytest.importorskip("sklearn.linear_model")
    skops = pytest.importorskip("skops.io")
    made = pipelines.make_pipeline(texts.TfidfVectorizer(), linear.LogisticRegression(C=10))
    return bytes(skops.dumps(made.fit(*corpus(0, 300))))


@pytest.fixture(scope="module")
def opened(pipeline: bytes) -> Iterator[IsolatedPredictor]:
    with IsolatedPredictor.open(BubblewrapRunner.open(), pipeline, kind="skops") as made:
        yield made


def frame(seed: int, count: int = 80) -> pl.DataFrame:
    texts, y = corpus(seed, count)
    return pl.DataFrame({"id": range(count), "text": texts, "topic": y})


def threat(report: SuiteReport, name: str) -> Threat:
    return next(one for one in report.threats if one.threat == name)


def quick(model: Any, *, seed: int = 0, train: bool = True, **more: Any) -> SuiteReport:
    subject = text_subject(*corpus(1), train=corpus(0, 300) if train else None)
    plan = make_plan(subject, kind="skops", access="scores", suite="quick", seed=seed)
    return run_suite(model, subject, plan, **more)


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=30), min_size=1, max_size=5))
def test_what_is_written_is_read(texts: list[str]) -> None:
    rows = written(texts, width=7)
    assert rows.dtype == np.float32
    assert read(rows) == texts


@pytest.mark.parametrize("row", [[-1, 65], [65, -2], [65.5], [0x110000], [np.nan], [np.inf]])
def test_numbers_that_are_no_text_are_refused(row: list[float]) -> None:
    with pytest.raises(GateError, match="no text"):
        read(np.array([row], np.float32))


def test_a_text_classifier_is_attacked_in_its_sandbox(opened: IsolatedPredictor) -> None:
    assert opened.described.text
    assert opened.described.classes == ("bread", "sea")
    assert opened.splits() is None
    report = quick(opened, classes=opened.described.classes)
    assert (report.form, report.epsilon, report.access) == ("text", 0.2, "scores")
    assert report.accuracy is not None
    assert report.accuracy > 0.9
    evasion, membership = threat(report, "evasion"), threat(report, "membership-inference")
    assert [one.attack for one in evasion.attacks] == ["misspelled words"]
    assert evasion.rate is not None
    assert evasion.rate > 0.3
    assert evasion.low is not None
    assert evasion.high is not None
    assert evasion.low < evasion.rate <= evasion.high
    assert evasion.attacks[0].queries <= evasion.attacks[0].planned
    assert membership.rate is not None
    # What walks through numbers is left out with its reason, and its threat is not tested.
    assert "data of the form table or array" in evasion.left_out["Square"]
    assert threat(report, "model-extraction").verdict.value == "not tested"
    again = quick(opened, classes=opened.described.classes)
    assert again.threats == report.threats
    assert quick(opened, seed=3, classes=opened.described.classes).threats != report.threats


class Model:
    """Answers `scores(texts)`; the real answers are those of the word counts."""

    def __init__(self, scores: Any) -> None:
        self.scores = scores

    def predict(self, x: Any) -> Any:
        return self.scores(read(x))


def counts(texts: Sequence[str]) -> NDArray[np.float64]:
    found = np.array([[sum(one in text for one in topic) for topic in reversed(TOPICS)]
                      for text in texts], dtype=np.float64)  # fmt: skip
    return 1 / (1 + np.exp(found[:, ::-1] - found))


def of_length(texts: Sequence[str]) -> NDArray[np.float64]:
    """Answer by the number of words, which misspelling leaves as it is."""
    long = np.array([text.count(" ") % 2 for text in texts], dtype=np.float64) * 0.5 + 0.25
    return np.stack([1 - long, long], axis=1)


def sulky() -> Any:
    asked = [0]

    def scores(texts: Sequence[str]) -> NDArray[np.float64]:
        asked[0] += 1
        if asked[0] > 3:
            raise OSError("no more")
        return counts(texts)

    return scores


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (sulky(), "the model fails"),
        (lambda texts: np.round(counts(texts)), "no more than labels"),
        (lambda texts: counts(texts) * np.nan, "not finite"),
        (lambda texts: np.random.default_rng().random((len(texts), 2)), "not deterministic"),
        (lambda texts: np.full((len(texts), 2), [0.4, 0.6]), "one class for everything"),
    ],
    ids=["crash", "labels", "nan", "random", "constant"],
)
def test_a_model_that_cannot_be_assessed_was_not_tested(scores: Any, said: str) -> None:
    report = quick(Model(scores), train=False, classes=("bread", "sea"))
    evasion = threat(report, "evasion")
    assert evasion.verdict.value == "not tested"
    assert evasion.attacks[0].outcome.value == "failed"
    assert said in evasion.reason
    assert evasion.rate is None


def test_an_attack_that_does_nothing_has_failed() -> None:
    texts = ["some words are " * 3 + "here" * (at % 2) for at in range(40)]
    y = np.array([text.count(" ") % 2 for text in map(str.strip, texts)])
    subject = text_subject([text.strip() for text in texts], y)
    report = run_suite(
        Model(of_length), subject, make_plan(subject, kind="onnx", access="scores", suite="quick")
    )
    evasion = threat(report, "evasion")
    assert evasion.verdict.value == "not tested"
    assert "misspelling did nothing" in evasion.reason
    assert evasion.attacks[0].outcome.value == "failed"


def test_texts_on_which_nothing_can_be_misspelled_count_as_if_they_could_be_flipped() -> None:
    texts, names = corpus(2, 60)
    y = (names == "sea").astype(int)
    # Digits alone have nothing to misspell: leaving a word out tells nothing here either.
    texts = [str(10 + at % 7) if at < 15 else one for at, one in enumerate(texts)]
    y[:15] = 0
    subject = text_subject(texts, y)

    def scores(given: Sequence[str]) -> NDArray[np.float64]:
        found = counts(given)
        return np.where([[one[:1].isdigit() or not one] for one in given], [[0.9, 0.1]], found)

    report = run_suite(
        Model(scores), subject, make_plan(subject, kind="onnx", access="scores", suite="quick")
    )
    evasion = threat(report, "evasion")
    assert evasion.unassessed >= 10
    assert evasion.attacks[0].more["failed records"] == evasion.unassessed
    assert evasion.high is not None
    assert evasion.rate is not None
    assert evasion.high > evasion.rate + evasion.unassessed / 60


@pytest.mark.parametrize("tail", [(), (1,)])
def test_an_onnx_graph_of_strings_answers_texts(tail: tuple[int, ...]) -> None:
    texts, y = corpus(1)
    with IsolatedPredictor.open(BubblewrapRunner.open(), graph(tail=tail), kind="onnx") as model:
        assert model.described.text
        assert not model.described.gradients
        scores = model.predict(written(texts))
    assert ((scores[:, 0] > scores[:, 1]) == (y == "sea")).mean() > 0.95


def test_where_numbers_are_asked_for_a_graph_of_strings_is_refused() -> None:
    with pytest.raises(InputError, match="the model takes texts"):
        OnnxPredictor(graph())
    with pytest.raises(InputError, match="one text a record"):
        OnnxPredictor(graph(tail=(3,)), texts=True)


def test_a_vectorizer_that_would_open_files_is_refused(tmp_path: Path) -> None:
    pipelines = pytest.importorskip("sklearn.pipeline", reason="the victim is scikit-learn's")
    vectors = pytest.importorskip("sklearn.feature_extraction.text")
    linear = pytest.importorskip("sklearn.linear_model")
    skops = pytest.importorskip("skops.io")
    files = [tmp_path / f"{at}.txt" for at in range(4)]
    for at, one in enumerate(files):
        one.write_text(corpus(at, 1)[0][0])
    made = pipelines.make_pipeline(
        vectors.TfidfVectorizer(input="filename"), linear.LogisticRegression()
    ).fit(files, [0, 1, 0, 1])
    with pytest.raises(InputError, match="files that a text names"):
        IsolatedPredictor.open(BubblewrapRunner.open(), skops.dumps(made), kind="skops")


def test_the_column_of_texts_is_found_or_asked_for() -> None:
    data = DataFile("", frame(1), None)
    subject = prepare(data, data, DataOptions(label="topic"), text=True)
    assert subject.form == "text"
    assert read(subject.x) == data.frame["text"].to_list()  # type: ignore[index]
    two = DataFile("", frame(1).with_columns(other=pl.col("text").str.to_uppercase()), None)
    with pytest.raises(InputError, match="the data has 2 such columns") as refused:
        prepare(two, None, DataOptions(label="topic"), text=True)
    assert "--features" in refused.value.hint
    named = prepare(two, None, DataOptions(label="topic", features=("other",)), text=True)
    assert read(named.x)[0].isupper()
    for options, said in (
        (DataOptions(label="topic", features=("id",)), "holds no texts"),
        (DataOptions(label="topic", features=("nothing",)), "has no column `nothing`"),
        (DataOptions(label="topic", clip="0:1"), "not for texts"),
        (DataOptions(label="topic", epsilon=2.0), "share of a text's words"),
    ):
        with pytest.raises(InputError, match=said):
            prepare(data, None, options, text=True)
    arrays = DataFile("", None, (np.zeros((20, 3)), np.zeros(20)))
    with pytest.raises(InputError, match="a column of texts"):
        prepare(arrays, None, DataOptions(), text=True)


def test_texts_that_cannot_be_used_are_left_out_and_told() -> None:
    table = pl.DataFrame(
        {"text": ["fine", "", None, "x" * (MAX_CHARACTERS + 1), "no label"],
         "y": [1, 0, 1, 0, None]},
    )  # fmt: skip
    notes: list[str] = []
    texts, labels, kept = texts_of(table, "text", "y", "the data", notes)
    assert (texts, labels.tolist(), kept.tolist()) == (["fine"], [1], [True] + [False] * 4)
    assert [one.split(" ", 1)[0] for one in notes] == ["1", "2", "1"]


@pytest.mark.slow
def test_a_registered_text_classifier_is_tested_with_its_figures(pipeline: bytes) -> None:
    others = frame(1).with_columns(desk=pl.Series(["a", "b"] * 40))
    out = others.write_csv().encode()
    found = run_tests(
        BubblewrapRunner.open(), model=pipeline, kind="skops", others=out,
        members=frame(0, 300).write_csv().encode(),
        options=Wanted(
            others_kind="csv", members_kind="csv", label="topic", seed=1, segments=("desk",),
            suite="quick", access="scores", budget_s=60,
        ),
    )  # fmt: skip
    assert found.suite.form == "text"
    assert threat(found.suite, "evasion").rate is not None
    assert found.performance is not None
    assert found.performance.accuracy.value > 0.9
    assert [one.name for one in found.segments[0].segments] == ["a", "b"]

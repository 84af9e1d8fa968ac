"""Misspelled words against text classifiers: budgets hold, and models of words fall."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vallum.attack import word_bugs
from vallum.attack.text import _misspelled
from vallum.base import GateError, InputError

pipeline = pytest.importorskip("sklearn.pipeline", reason="the victims are scikit-learn's")
extraction = pytest.importorskip("sklearn.feature_extraction.text")
linear = pytest.importorskip("sklearn.linear_model")
TOPICS = (
    "harbour vessel sailor anchor captain voyage tide rudder cargo deck",
    "oven flour butter recipe kitchen pastry sugar baker dough cream",
    "engine piston gearbox mechanic brake throttle exhaust clutch garage wheel",
)
COMMON = "the and with from this that they have been would could about again before while where"


def corpus(seed: int, count: int = 400) -> tuple[list[str], NDArray[np.intp]]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, count)
    texts = []
    for one in y:
        words = [*rng.choice(TOPICS[one].split(), 4), *rng.choice(COMMON.split(), 10),
                 rng.choice(TOPICS[(one + 1) % 3].split())]  # fmt: skip
        texts.append(" ".join(rng.permutation(words)) + ".")
    return texts, y


class Victim:
    """A TF-IDF pipeline behind its probabilities."""

    def __init__(self, analyzer: str = "word", ngrams: tuple[int, int] = (1, 1)) -> None:
        self.model = pipeline.make_pipeline(
            extraction.TfidfVectorizer(analyzer=analyzer, ngram_range=ngrams),
            linear.LogisticRegression(C=10, max_iter=500),
        ).fit(*corpus(0))
        self.batches: list[int] = []

    def predict(self, texts: Sequence[str]) -> NDArray[np.float64]:
        self.batches.append(len(texts))
        found: NDArray[np.float64] = self.model.predict_proba(texts)
        return found


def test_a_model_of_words_falls_and_one_of_characters_stands_firmer() -> None:
    texts, y = corpus(1, 60)
    words = Victim()
    found = word_bugs(words, texts, y, share=0.3)
    assert found.correct.mean() > 0.9
    assert found.rate > 0.6
    assert found.low <= found.rate <= found.high
    answers = words.model.predict_proba(list(found.texts)).argmax(axis=1)
    assert (answers[found.flipped] != y[found.flipped]).all()
    assert (answers[found.correct & ~found.flipped] == y[found.correct & ~found.flipped]).all()
    firmer = word_bugs(Victim("char_wb", (1, 3)), texts, y, share=0.3)
    assert firmer.rate < found.rate
    # Sixty texts share a batch: far fewer calls than questions.
    assert len(words.batches) < 40 < sum(words.batches)


@settings(max_examples=15)
@given(
    seed=st.integers(0, 99), share=st.sampled_from([0.05, 0.2, 1.0]), distance=st.integers(1, 3),
    tries=st.sampled_from([10, 60, 500]),
)  # fmt: skip
def test_no_budget_is_exceeded(seed: int, share: float, distance: int, tries: int) -> None:
    texts, y = corpus(seed + 10, 12)
    found = word_bugs(
        VICTIM, texts, y, share=share, distance=distance, tries=tries, seed=seed, homoglyphs=False
    )
    assert (found.queries <= tries).all()
    for at, (before, after) in enumerate(zip(texts, found.texts, strict=True)):
        one, other = before.split(), after.split()
        assert len(one) == len(other)
        changed = [(a, b) for a, b in zip(one, other, strict=True) if a != b]
        assert len(changed) == found.words[at] <= max(1, share * len(one))
        assert found.characters[at] <= distance * len(changed)
        assert all(a[0] == b[0] for a, b in changed)
        assert bool(changed) == bool(found.flipped[at])
    again = word_bugs(
        VICTIM, texts, y, share=share, distance=distance, tries=tries, seed=seed, homoglyphs=False
    )
    assert again.texts == found.texts


@given(word=st.text(st.characters(codec="utf-8"), min_size=3, max_size=12), seed=st.integers(0, 9))
def test_a_misspelling_keeps_its_ends_and_costs_what_it_says(word: str, seed: int) -> None:
    for new, cost in _misspelled(word, np.random.default_rng(seed), homoglyphs=False):
        assert (new[0], new[-1]) == (word[0], word[-1])
        assert abs(len(new) - len(word)) <= cost
        if len(new) == len(word):
            assert sum(a != b for a, b in zip(word, new, strict=True)) <= cost


class Fixed:
    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def predict(self, texts: Sequence[str]) -> Any:
        return self.answer(len(texts))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda n: np.eye(2)[np.zeros(n, int)], "answers labels"),
        (lambda n: np.full((n, 2), np.nan), "no numbers"),
        (np.zeros, "answers shape"),
        (lambda n: np.zeros((n, 1)), "answers shape"),
        (lambda n: 1 / (n - n), "fails on a text"),
    ],
    ids=["labels", "nan", "vector", "one column", "raises"],
)
def test_what_cannot_be_attacked_so_is_not_called_robust(answer: Any, message: str) -> None:
    with pytest.raises(GateError, match=message):
        word_bugs(Fixed(answer), ["some text here"], np.array([0]))


def test_arguments_that_do_not_fit_are_refused() -> None:
    for texts, labels, more in (
        ([], np.array([], int), {}),
        (["a text"], np.array([0, 1]), {}),
        (["a text"], np.array([7]), {}),
        (["a text"], np.array([0]), {"share": 0.0}),
        (["a text"], np.array([0]), {"distance": 9}),
        (["x" * 20_001], np.array([0]), {}),
    ):
        with pytest.raises(InputError):
            word_bugs(VICTIM, texts, labels, **more)


VICTIM = Victim()

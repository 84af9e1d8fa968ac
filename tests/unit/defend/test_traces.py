"""Labels judged by how a model learns them."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vallum.base import GateError, InputError
from vallum.defend import trace_labels

datasets = pytest.importorskip("sklearn.datasets", reason="digits come with scikit-learn")
linear_model = pytest.importorskip("sklearn.linear_model", reason="the model is scikit-learn's")

Y = np.arange(60) % 3


def learner(x: NDArray[Any], classes: int) -> Callable[[NDArray[Any]], Iterator[NDArray[Any]]]:
    """Return the training of a linear model by stochastic gradient descent."""

    def train(codes: NDArray[Any]) -> Iterator[NDArray[Any]]:
        model = linear_model.SGDClassifier(loss="log_loss", alpha=1e-3, random_state=0)
        for _ in range(8):
            model.partial_fit(x, codes, classes=np.arange(classes))
            yield model.predict_log_proba(x).clip(-30)

    return train


def test_labels_drawn_at_random_are_found_and_clean_ones_are_not_accused() -> None:
    digits = datasets.load_digits()
    x, y = digits.data[:900] / 16, digits.target[:900]
    clean = trace_labels(learner(x, 10), y)
    assert (clean.suspicious, clean.flagged.any()) == (False, False)

    rng = np.random.default_rng(1)
    wrong = np.zeros(900, dtype=np.bool_)
    wrong[rng.choice(900, 90, replace=False)] = True
    given = np.where(wrong, (y + rng.integers(1, 10, 900)) % 10, y)
    found = trace_labels(learner(x, 10), given.astype(str))
    assert found.suspicious
    assert found.flagged[wrong].mean() > 0.5
    assert found.flagged[~wrong].mean() <= 0.01
    scores, _ = found
    limit = np.quantile(scores[~wrong], 0.99)
    assert (scores[wrong] > limit).mean() >= 0.75  # of a linear model; a network finds 0.98


def once(_: NDArray[Any]) -> Iterator[NDArray[Any]]:
    yield np.zeros((60, 3))


def broken(_: NDArray[Any]) -> Iterator[NDArray[Any]]:
    yield np.zeros((60, 3))
    raise RuntimeError("out of memory")


@pytest.mark.parametrize(
    ("train", "code"),
    [
        (once, "defend.traces.epochs"),
        (broken, "defend.traces.training"),
        (lambda _: iter([np.zeros((60, 4))] * 2), "defend.traces.scores"),
        (lambda _: iter([np.zeros(60)] * 2), "defend.traces.scores"),
        (lambda _: iter([np.full((60, 3), np.nan)] * 2), "defend.traces.scores"),
        (lambda _: None, "defend.traces.training"),
    ],
    ids=["once", "broken", "width", "flat", "nan", "nothing"],
)
def test_a_training_that_fails_is_no_clean_one(train: Any, code: str) -> None:
    with pytest.raises(GateError) as caught:
        trace_labels(train, Y)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "y", [np.zeros(60), Y[:30], Y.reshape(2, 30), np.arange(60)],
    ids=["one class", "few", "matrix", "alone"],
)  # fmt: skip
def test_labels_that_cannot_be_traced_are_refused(y: NDArray[Any]) -> None:
    with pytest.raises(InputError):
        trace_labels(once, y)

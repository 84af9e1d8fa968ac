"""Poison in digits is found, clean data are not accused, and unusable data get a clear answer."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from vallum.attack import GENERATORS
from vallum.base import GateError, InputError
from vallum.defend import Detection, detect_poisoning
from vallum.defend.values import stamped

datasets = pytest.importorskip("sklearn.datasets", reason="digits come with scikit-learn")

Floats = NDArray[np.float64]
Labels = NDArray[np.intp]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def digits() -> tuple[Floats, Labels]:
    found = datasets.load_digits()
    return found.images.astype(np.float64), found.target


def found_at_one_percent(found: Detection, mask: NDArray[np.bool_]) -> float:
    limit = np.quantile(found.scores[~mask], 0.99, method="higher")
    return float((found.scores[mask] > limit).mean())


@pytest.mark.parametrize(
    ("name", "least", "reason"),
    [
        ("flip-random", 0.97, "label-conflict"),
        pytest.param("flip-targeted", 0.85, "label-conflict", marks=pytest.mark.slow),
        ("badnets", 0.95, "trigger"),
        pytest.param("blend", 0.85, "trigger", marks=pytest.mark.slow),
        pytest.param("wanet", 0.8, "trigger", marks=pytest.mark.slow),
        pytest.param("clean-label", 0.5, "trigger", marks=pytest.mark.slow),
        pytest.param("sinusoid", 0.5, "trigger", marks=pytest.mark.slow),
    ],
)
def test_poison_in_digits_is_found_and_named(name: str, least: float, reason: str) -> None:
    x, y = digits()
    made = GENERATORS[name](x, y, rate=0.05, rng=rng(1))
    found = detect_poisoning(made.x, made.y, rng=rng())
    assert found.suspicious
    assert found_at_one_percent(found, made.mask) >= least
    assert found.flagged[made.mask].mean() >= least - 0.1
    assert found.flagged[~made.mask].mean() <= 0.01
    named = [found.reasons[row] for row in np.flatnonzero(found.flagged & made.mask)]
    assert named.count(reason) > 0.8 * len(named)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 7])
def test_flips_to_one_class_do_not_confirm_one_another(seed: int) -> None:
    made = GENERATORS["flip-targeted"](*digits(), rate=0.05, rng=rng(seed))
    assert found_at_one_percent(detect_poisoning(made.x, made.y, rng=rng()), made.mask) >= 0.97


@pytest.mark.parametrize(
    ("name", "seed", "least"),
    [
        ("clean-label", 1, 0.9),
        ("badnets", 1, 1.0),
        ("blend", 0, 0.95),  # along none of the class's largest axes
        ("flip-random", 9, 0.8),
        ("flip-targeted", 9, 0.8),
    ],
)
def test_poison_in_a_table_is_found(name: str, seed: int, least: float) -> None:
    x, y = datasets.load_breast_cancer(return_X_y=True)
    made = GENERATORS[name](x, y, rate=0.05, rng=rng(seed))
    found = detect_poisoning(made.x, made.y, rng=rng())
    assert found.flagged[made.mask].mean() >= least
    assert found.flagged[~made.mask].mean() <= 0.01


def test_flips_of_one_class_come_before_what_two_classes_confuse() -> None:
    x, y = datasets.load_breast_cancer(return_X_y=True)
    made = GENERATORS["flip-targeted"](x, y, rate=0.05, rng=rng(0))
    found = detect_poisoning(made.x, made.y, rng=rng())
    assert found_at_one_percent(found, made.mask) >= 0.9


def _two_clouds(seed: int) -> tuple[Floats, Labels]:
    y = np.arange(400) % 2
    return rng(seed).normal(size=(400, 6)) + 2.0 * y[:, None], y


def test_one_value_in_one_column_is_found_where_the_rest_of_the_row_contradicts() -> None:
    x, y = _two_clouds(3)
    x[:24:2, 4], y[:24:2] = 1.25, 1
    found = detect_poisoning(x, y, rng=rng())
    assert (found.scores[:24:2] == found.scores.max()).all()
    assert {found.reasons[row] for row in range(0, 24, 2)} == {"trigger"}
    assert found.flagged.sum() == 12


def test_shared_values_are_not_accused_where_the_rest_of_the_row_agrees() -> None:
    x, y = _two_clouds(3)
    x[1:61:2, 4:] = -9.0  # as a mark for what is missing, in one class only
    assert stamped(x, y, 2, rng()) == []


@pytest.mark.slow
def test_images_laid_out_as_a_table_are_seen_as_images() -> None:
    x, y = digits()
    made = GENERATORS["badnets"](x, y, rate=0.05, rng=rng(2))
    found = detect_poisoning(made.x.reshape(len(x), -1), made.y, rng=rng())
    assert found.flagged[made.mask].mean() > 0.95


def _islands(seed: int) -> tuple[Floats, Labels]:
    """Make three classes of three islands each: parts of classes that are natural."""
    x, y = datasets.make_blobs(600, 10, centers=9, cluster_std=2.0, random_state=seed)
    return x, y % 3


CLEAN: dict[str, Callable[[int], tuple[Floats, Labels]]] = {
    "digits": lambda seed: (digits()[0][seed::2], digits()[1][seed::2]),
    "even and odd": lambda seed: (digits()[0][seed::2], digits()[1][seed::2] % 2),
    "breast cancer": lambda _: datasets.load_breast_cancer(return_X_y=True),
    "iris": lambda _: datasets.load_iris(return_X_y=True),
    "wine": lambda _: datasets.load_wine(return_X_y=True),
    "islands": _islands,
    "overlapping": lambda seed: datasets.make_classification(
        600, 20, n_informative=5, n_classes=4, random_state=seed
    ),
    "moons": lambda seed: datasets.make_moons(400, noise=0.2, random_state=seed),
}


@pytest.mark.parametrize("name", CLEAN)
def test_clean_data_are_not_accused(name: str) -> None:
    for seed in (0, 1):
        found = detect_poisoning(*CLEAN[name](seed), rng=rng(seed))
        assert not found.suspicious
        assert not found.flagged.any()


@pytest.mark.parametrize("seed", [6, 9, 103])
def test_classes_that_lie_in_one_another_here_and_there_are_not_accused(seed: int) -> None:
    """One slope for all rows calls a quarter of them in conflict, and a tenth drawn at random."""
    x, y = datasets.make_classification(600, 20, n_informative=5, n_classes=4, random_state=seed)
    assert not detect_poisoning(x, y, rng=rng(seed)).suspicious


@pytest.mark.slow
def test_at_most_one_clean_data_set_in_twenty_is_suspicious() -> None:
    images, classes = digits()
    table, ill = datasets.load_breast_cancer(return_X_y=True)
    suspicious = 0
    for seed in range(10):
        some = rng(seed).permutation(len(classes))[:900]
        suspicious += detect_poisoning(images[some], classes[some], rng=rng()).suspicious
        some = rng(seed).permutation(len(ill))[:400]
        suspicious += detect_poisoning(table[some], ill[some], rng=rng()).suspicious
    assert suspicious <= 1


def test_scores_and_flags_come_first_and_repeat_by_rng() -> None:
    x, y = digits()
    made = GENERATORS["flip-random"](x[:600], y[:600], rate=0.1, rng=rng(3))
    scores, flagged = detect_poisoning(made.x, made.y, rng=rng(5))
    again = detect_poisoning(made.x, made.y, rng=rng(5))
    assert scores.shape == flagged.shape == (600,)
    assert (scores == again.scores).all()
    assert (flagged == again.flagged).all()
    assert len(again.reasons) == 600
    assert 0.05 < again.wrong_labels < 0.2


def test_a_row_again_and_again_is_a_flood() -> None:
    x, y = rng(1).normal(size=(2000, 5)), rng(2).integers(0, 2, 2000)
    x[:, 0] += 4 * y
    x[100:108], y[100:108] = x[100], y[100]
    found = detect_poisoning(x, y, rng=rng())
    assert found.flagged[100:108].all()
    assert found.reasons[100] == "duplicate"
    assert found.flagged.sum() == 8


def test_rows_that_repeat_by_nature_are_no_flood() -> None:
    x, y = rng(1).integers(0, 3, (500, 3)).astype(float), rng(2).integers(0, 2, 500)
    assert not detect_poisoning(x, y, rng=rng()).suspicious


@dataclass(frozen=True)
class Knowing:
    """A model that knows the true classes, sure of itself."""

    truth: Labels

    def predict(self, _: NDArray[np.float32]) -> Floats:
        return np.eye(3)[self.truth] * 0.97 + 0.01


def test_a_trusted_model_finds_labels_that_the_data_do_not_tell() -> None:
    truth = rng(1).integers(0, 3, 600)
    x = rng(2).normal(size=(600, 4))  # tells nothing
    y = truth.copy()
    y[:60] = (truth[:60] + 1) % 3
    assert not detect_poisoning(x, y, rng=rng()).flagged[:60].any()
    found = detect_poisoning(x, y, model=Knowing(truth), rng=rng())
    assert found.flagged[:60].all()
    assert not found.flagged[60:].any()


class Broken:
    def __init__(self, answer: object) -> None:
        self.answer = answer

    def predict(self, _: NDArray[np.float32]) -> Floats:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[return-value]  # that is the point


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (RuntimeError("gone"), "the model fails on the data"),
        (np.zeros((5, 2)), "shape (5, 2)"),
        (np.zeros((40, 2), dtype=int), "scores of shape (40, 2)"),
        (np.full((40, 2), np.nan), "not finite"),
    ],
)
def test_a_model_that_fails_is_no_clean_bill(answer: object, says: str) -> None:
    x, y = rng().normal(size=(40, 3)), np.arange(40) % 2
    with pytest.raises(GateError) as caught:
        detect_poisoning(x, y, model=Broken(answer))
    assert says in caught.value.message


X, Y = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 2


@pytest.mark.parametrize(
    ("x", "y", "alpha", "says"),
    [
        (X, np.zeros(40), 0.01, "one class only"),
        (X[:10], Y[:10], 0.01, "10 rows are too few"),
        (np.ones((40, 3)), Y, 0.01, "every column is constant"),
        (np.where(np.eye(40, 3) > 0, np.nan, X), Y, 0.01, "missing or infinite"),
        (X, X[:, 0], 0.01, "labels are continuous"),
        (X, np.where(Y > 0, np.nan, 0.0), 0.01, "a label is missing"),
        (X, np.arange(40), 0.01, "one row only"),
        (X, Y.astype(object), 0.01, "are no classes"),
        (X, Y[:39], 0.01, "does not name a class"),
        (X[:, 0], Y, 0.01, "neither records"),
        (X.astype(str), Y, 0.01, "neither records"),
        (X, Y, 0.0, "alpha"),
        (X, Y, 0.5, "alpha"),
    ],
)
def test_unusable_input_is_refused(
    x: NDArray[np.float64], y: NDArray[np.intp], alpha: float, says: str
) -> None:
    with pytest.raises(InputError) as caught:
        detect_poisoning(x, y, alpha=alpha)
    assert says in caught.value.message


def test_constant_columns_and_texts_as_classes_are_fine() -> None:
    x = np.concatenate([X + 5 * Y[:, None], np.ones((40, 2))], axis=1)
    found = detect_poisoning(x, np.where(Y > 0, "ill", "well"))
    assert not found.suspicious

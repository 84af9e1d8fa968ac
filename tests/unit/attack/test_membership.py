from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from vallum.attack import loss_threshold
from vallum.base import GateError, InputError


class Memory:
    """Sure of the records it knows, unsure of others; `sharpness` 0 tells nothing."""

    def __init__(self, known: Any, sharpness: Any) -> None:
        self.known = {row.tobytes() for row in known}
        self.sharpness = sharpness

    def predict(self, x: Any) -> Any:
        known = np.array([row.tobytes() in self.known for row in x])
        base = 0.55 + 0.2 / (1 + np.exp(-x[:, 1].astype(np.float64)))
        own = np.minimum(base + known * self.sharpness, 0.999)
        second = x[:, 0] > 0
        return np.where(second[:, None], np.stack([1 - own, own], 1), np.stack([own, 1 - own], 1))


def sides(n: Any, rng: Any) -> Any:
    x = rng.standard_normal((2 * n, 3)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.intp)
    return (x[:n], y[:n]), (x[n:], y[n:])


def test_a_model_that_remembers_is_found_and_one_that_does_not_is_near_guessing() -> None:
    inside, outside = sides(2000, np.random.default_rng(3))
    told = loss_threshold(Memory(inside[0], 0.24), inside, outside)
    assert told.auc > 0.99
    assert told.tpr_at_1fpr > 0.8
    assert told.advantage > 0.9
    silent = loss_threshold(Memory(inside[0], 0.0), inside, outside)
    # Hoeffding for two-sample U-statistics: P(|AUC - 0.5| >= t) <= 2 exp(-2 min(n, m) t²), which
    # is 3e-11 for n = m = 2000 and t = 0.08. The seed is fixed anyway.
    assert abs(silent.auc - 0.5) < 0.08
    assert silent.auc_low < silent.auc < silent.auc_high


def test_the_auc_is_that_of_scikit_learn_ties_included() -> None:
    inside, outside = sides(200, np.random.default_rng(4))

    class Coarse(Memory):
        def predict(self, x: Any) -> Any:
            return super().predict(x).round(1)

    model = Coarse(inside[0], 0.1)
    report = loss_threshold(model, inside, outside)
    loss = [
        -np.log(model.predict(x)[np.arange(len(y)), y]) for x, y in (inside, outside)
    ]  # fmt: skip
    truth = np.repeat([1, 0], 200)
    assert report.auc == pytest.approx(roc_auc_score(truth, -np.concatenate(loss)))


def test_the_interval_is_hanley_and_mcneils() -> None:
    inside, outside = sides(100, np.random.default_rng(5))
    report = loss_threshold(Memory(inside[0], 0.05), inside, outside)
    auc, n = report.auc, 100
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = (auc * (1 - auc) + (n - 1) * (q1 - auc**2) + (n - 1) * (q2 - auc**2)) / n**2
    assert report.auc_high - report.auc == pytest.approx(1.959964 * variance**0.5)


def test_scores_that_are_not_probabilities_become_some() -> None:
    inside, outside = sides(300, np.random.default_rng(6))
    model = Memory(inside[0], 0.1)

    class Logits:
        def predict(self, x: Any) -> Any:
            return np.log(model.predict(x)) + 7.0

    probabilities = loss_threshold(model, inside, outside)
    assert loss_threshold(Logits(), inside, outside).auc == pytest.approx(probabilities.auc)


def test_too_few_records_or_classes_are_refused() -> None:
    inside, outside = sides(50, np.random.default_rng(8))
    model = Memory(inside[0], 0.1)
    with pytest.raises(InputError) as refused:
        loss_threshold(model, (inside[0][:9], inside[1][:9]), outside)
    assert refused.value.code == "attack.records"
    with pytest.raises(InputError) as refused:
        loss_threshold(model, inside, (outside[0], outside[1] + 1))
    assert refused.value.code == "attack.classes"


def test_labels_dressed_as_scores_hide_membership_and_are_an_error() -> None:
    inside, outside = sides(50, np.random.default_rng(9))

    class Labels:
        def predict(self, x: Any) -> Any:
            return np.eye(2)[(x[:, 0] > 0).astype(int)]

    with pytest.raises(GateError):
        loss_threshold(Labels(), inside, outside)

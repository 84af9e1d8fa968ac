"""Poison goes into quarantine with a reason, and a model without it is better."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vallum.base import InputError
from vallum.defend import Quarantine, detect_poisoning, quarantine, retrain_and_compare


class Nearest:
    """Scores by the nearest training record."""

    def __init__(self, x: NDArray[Any], y: NDArray[Any]) -> None:
        self.x, self.y = x, y

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        apart = ((x[:, None] - self.x[None]) ** 2).sum(-1)
        scores = np.full((len(x), 3), -1e9)
        for one in range(3):
            scores[:, one] = -apart[:, self.y == one].min(axis=1)
        return scores


def records(count: int, rng: np.random.Generator) -> tuple[NDArray[Any], NDArray[Any]]:
    y = rng.integers(0, 3, count)
    x = rng.normal(size=(count, 6))
    x[np.arange(count), y] += 5
    return x, y


def test_flipped_labels_are_taken_out_and_the_model_gains() -> None:
    """Reasons name the rows; the retrained model is better beyond its interval."""
    rng = np.random.default_rng(4)
    x, y = records(400, rng)
    wrong = rng.permutation(400)[:40]
    poisoned = y.copy()
    poisoned[wrong] = (y[wrong] + 1) % 3
    parted = quarantine(detect_poisoning(x, poisoned))
    assert {one.reason for one in parted.rows} == {"label-conflict"}
    assert len({one.row for one in parted.rows} & set(wrong.tolist())) > 35
    scores = [one.score for one in parted.rows]
    assert scores == sorted(scores, reverse=True)
    told = retrain_and_compare(x, poisoned, parted, fit=Nearest, held_out=records(500, rng))
    assert told.accuracy_after > told.accuracy_before + 0.03
    assert told.change_low > 0
    assert told.quarantine_learned == 1.0
    assert told.quarantine_kept < 0.1


def test_clean_data_keep_all_rows() -> None:
    """Nothing is taken out, and there is nothing to compare."""
    rng = np.random.default_rng(5)
    x, y = records(300, rng)
    parted = quarantine(detect_poisoning(x, y))
    assert parted.kept.all()
    with pytest.raises(InputError, match="nothing is in quarantine"):
        retrain_and_compare(x, y, parted, fit=Nearest, held_out=(x, y))
    with pytest.raises(InputError, match="differ in length"):
        retrain_and_compare(x[1:], y, Quarantine(parted.kept, ()), fit=Nearest, held_out=(x, y))

"""Hardened answers, certified radii, robust training: each does what its figures say."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from vallum.attack import TorchPredictor, pgd
from vallum.base import GateError, InputError
from vallum.defend import (
    HardenedModel,
    Hardening,
    Measured,
    SmoothedModel,
    SqueezedModel,
    certify,
    effect,
    train_robust,
)
from vallum.defend.smoothing import lower_bound

datasets = pytest.importorskip("sklearn.datasets", reason="digits come with scikit-learn")


class Line:
    """Two classes, parted by the sum of a record: the distance to the border is known."""

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        side = x.reshape(len(x), -1).sum(axis=1).astype(np.float64)
        return np.stack([-side, side], axis=1)


class Table:
    """Answers the rows that it was given."""

    def __init__(self, scores: NDArray[np.float64]) -> None:
        self.scores = scores

    def predict(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        return self.scores[: len(x)]


@settings(max_examples=80)
@given(
    seed=st.integers(0, 2**31),
    temperature=st.sampled_from([0.3, 1.0, 5.0]),
    noise=st.sampled_from([0.0, 2.0]),
    top_k=st.integers(0, 4),
    decimals=st.sampled_from([None, 0, 1, 3]),
    label_only=st.booleans(),
)
def test_hardened_answers_keep_the_class_and_repeat_themselves(
    *, seed: int, temperature: float, noise: float, top_k: int, decimals: int | None,
    label_only: bool,
) -> None:  # fmt: skip
    """Whatever is taken from the answer, the class stays, and asking again tells no more."""
    rng = np.random.default_rng(seed)
    scores, x = rng.normal(size=(9, 5)), rng.normal(size=(9, 3)).astype(np.float32)
    how = Hardening(temperature, noise, top_k, decimals, label_only)
    model = HardenedModel(Table(scores), how, answers="logits", key=b"0123456789abcdef")
    found = model.predict(x)
    assert (found.argmax(axis=1) == scores.argmax(axis=1)).all()
    assert np.array_equal(model.predict(x), found)
    assert (found >= 0).all()
    if decimals is not None and not label_only:
        assert np.allclose(np.round(found, decimals), found)
    if top_k > 0 and not label_only:
        assert all(len(set(row.tolist())) <= top_k + 1 for row in found)
    if label_only:
        assert set(found.ravel().tolist()) == {0.0, 1.0}


def test_noise_needs_a_key_and_depends_on_it() -> None:
    """Another key, another answer; none, a refusal; the key is not shown."""
    scores, x = np.zeros((4, 3)), np.ones((4, 2), dtype=np.float32)
    with pytest.raises(InputError, match="noise needs a key"):
        HardenedModel(Table(scores), Hardening(noise=1), answers="logits")
    made = [
        HardenedModel(Table(scores), Hardening(noise=1), answers="logits", key=key * 16)
        for key in (b"a", b"b")
    ]
    assert not np.allclose(made[0].predict(x), made[1].predict(x))
    assert "aaaa" not in repr(made[0])
    with pytest.raises(GateError):
        HardenedModel(Table(np.full((4, 3), np.nan)), Hardening(), answers="logits").predict(x)
    for wrong in (Hardening(temperature=0), Hardening(noise=-1), Hardening(decimals=9)):
        with pytest.raises(InputError):
            HardenedModel(Table(scores), wrong, answers="logits")


@pytest.mark.parametrize(("wins", "draws"), [(0, 10), (10, 10), (6, 10), (9_700, 10_000)])
@pytest.mark.parametrize("alpha", [0.05, 0.001])
def test_the_bound_is_clopper_and_pearsons(wins: int, draws: int, alpha: float) -> None:
    """As scipy computes it."""
    expected = 0.0 if wins == 0 else stats.beta.ppf(alpha, wins, draws - wins + 1)
    assert lower_bound(wins, draws, alpha) == pytest.approx(expected, abs=1e-9)


def test_certified_radii_stay_below_the_distance_to_the_border() -> None:
    """Of a linear model the true radius is known: no certificate is longer, and most come close."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 4)).astype(np.float32)
    distance = np.abs(x.sum(axis=1)) / 2
    model = SmoothedModel(Line(), sigma=0.5)
    found = certify(model, x, draws=2000)
    sure = found.classes >= 0
    assert (found.classes[sure] == (x.sum(axis=1) > 0)[sure]).all()
    assert (found.radii[sure] <= distance[sure] + 1e-6).all()
    near = sure & (distance < 1.0)
    assert (found.radii[near] > 0.6 * distance[near] - 0.05).all()
    assert not sure.all() or distance.min() > 0.02
    assert (model.predict(x).argmax(axis=1) == (x.sum(axis=1) > 0))[distance > 0.2].all()
    with pytest.raises(InputError, match="`sigma` must be positive"):
        certify(SmoothedModel(Line(), sigma=0), x)


def test_squeezing_removes_small_steps_and_single_pixels() -> None:
    """Few levels, and a median that takes one bright pixel away."""

    class Seen:
        def predict(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
            self.x = x
            return np.zeros((len(x), 2))

    seen = Seen()
    images = np.full((1, 5, 5), 0.5, dtype=np.float32)
    images[0, 2, 2] = 1.0
    SqueezedModel(seen, bits=2, median=3).predict(images)
    assert np.unique(seen.x).tolist() == pytest.approx([2 / 3])
    with pytest.raises(InputError):
        SqueezedModel(seen, bits=9).predict(images)


def test_an_effect_is_printed_before_and_after() -> None:
    """Accuracy, attack rate and cost of both."""
    told = effect("rounding", "knock-off", Measured(accuracy=0.9, attack_rate=0.8, seconds=1),
                  Measured(accuracy=0.88, attack_rate=0.3, seconds=2)).text()  # fmt: skip
    assert "before  accuracy  90.0%  attack  80.0%" in told
    assert "change  accuracy  -2.0%  attack -50.0%       2.0 x" in told
    with pytest.raises(InputError):
        effect("x", "y", Measured(accuracy=2, attack_rate=0, seconds=0),
               Measured(accuracy=1, attack_rate=0, seconds=0))  # fmt: skip


@pytest.mark.parametrize("method", ["pgd", "trades"])
def test_robust_training_withstands_what_plain_training_does_not(method: Any) -> None:
    """The attack of `attack` succeeds on fewer digits, and accuracy stays."""
    torch = pytest.importorskip("torch", reason="the extra `torch` is not installed")
    from torch import nn

    torch.set_num_threads(1)
    digits = datasets.load_digits()
    x, y = (digits.data / 16).astype(np.float32), digits.target

    def made(*, robust: bool) -> tuple[float, float]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        told = train_robust(
            model, (x[:1300], y[:1300]), optimizer=optimizer, epsilon=0.1 if robust else 1e-6,
            method=method, epochs=12, attack_steps=5 if robust else 1,
        )  # fmt: skip
        assert told.finished
        victim = TorchPredictor(model)
        right = victim.predict(x[1300:]).argmax(axis=1) == y[1300:]
        attacked = pgd(
            victim, x[1300:], y[1300:], epsilon=0.1, rng=np.random.default_rng(0), steps=10
        )
        return float(right.mean()), float(1 - attacked.adversarial.mean())

    plain, hardened = made(robust=False), made(robust=True)
    assert hardened[1] > plain[1] + 0.1
    assert hardened[0] > plain[0] - 0.1


def test_a_budget_of_time_ends_a_training() -> None:
    """No batch begins after it."""
    torch = pytest.importorskip("torch", reason="the extra `torch` is not installed")
    model = torch.nn.Linear(4, 2)
    ticks = iter(range(100))
    told = train_robust(
        model, (np.full((64, 4), 0.5), np.arange(64) % 2), epsilon=0.1, batch_size=8,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1), budget_s=3,
        clock=lambda: float(next(ticks)),
    )  # fmt: skip
    assert not told.finished
    assert told.steps == 2

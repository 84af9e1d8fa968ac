"""Backdoors in models: the calibration, and small networks with and without a trigger."""

import numpy as np
import pytest

from vallum.attack import GENERATORS
from vallum.base import GateError, InputError
from vallum.defend import detect_poisoning, hidden_activations, invert_triggers
from vallum.defend.backdoor import anomaly_index, deviate_limit, smallest_outliers

torch = pytest.importorskip("torch", reason="the models are torch modules")
CLASSES = 6


def records(seed: int = 0, count: int = 600) -> tuple[np.ndarray, np.ndarray]:
    """Images of six shapes: a bright bar at another place each, and noise."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, count)
    x = rng.random((count, 8, 8)) * 0.3
    for at, one in enumerate(y):
        x[at, 1 + one, 1:7] += 0.6
    return np.clip(x, 0, 1).astype(np.float32), y


def trained(x: np.ndarray, y: np.ndarray, seed: int = 0) -> "torch.nn.Module":
    torch.manual_seed(seed)
    model = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, CLASSES)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3, weight_decay=1e-4)
    given, classes = torch.tensor(x[:, None], dtype=torch.float32), torch.tensor(y)
    for _ in range(25):
        for rows in torch.randperm(len(given)).split(64):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(given[rows]), classes[rows]).backward()
            optimizer.step()
    return model


@pytest.mark.parametrize("count", [5, 10, 43])
def test_of_normal_sizes_as_many_models_are_accused_as_stated(count: int) -> None:
    rng = np.random.default_rng(count)
    accused = sum(
        bool(smallest_outliers(rng.normal(3, 0.5, count), 0.05).any()) for _ in range(2000)
    )
    assert 0.01 < accused / 2000 < 0.065


def test_limits_are_those_of_grubbs_and_two_triggers_do_not_hide_each_other() -> None:
    # One-sided critical values at 5 % (Grubbs 1969, table I).
    for count, known in ((5, 1.672), (10, 2.176), (20, 2.557)):
        assert deviate_limit(count, 0.05) == pytest.approx(known, abs=0.03)
    sizes = np.log(np.array([9.0, 10, 11, 9.5, 10.5, 10, 9.8, 10.2, 2.0, 2.1]))
    assert smallest_outliers(sizes, 0.05).nonzero()[0].tolist() == [8, 9]
    assert not smallest_outliers(-sizes, 0.05).any()  # what is too large is no trigger
    assert anomaly_index(np.array([1.0, 2, 3, 4, 5]))[0] == pytest.approx(2 / 1.4826)


@pytest.mark.slow
def test_the_class_with_a_trigger_stands_out_and_the_trigger_works() -> None:
    x, y = records()
    made = GENERATORS["badnets"](x, y, rate=0.08, rng=np.random.default_rng(3))
    (target,) = np.unique(made.y[made.mask])
    model = trained(made.x, made.y)
    clean, _ = records(seed=1, count=200)
    found = invert_triggers(model, clean[:, None])
    assert found.targets == (int(target),)
    mask, pattern = found.masks[target], found.patterns[target]
    turned = (1 - mask) * clean[:, None] + mask * pattern
    with torch.no_grad():
        answers = model(torch.tensor(turned, dtype=torch.float32)).argmax(dim=1)
    assert (answers == target).float().mean() > 0.9
    again = invert_triggers(model, clean[:, None])
    assert again.masks.tobytes() == found.masks.tobytes()
    assert all(one.requires_grad for one in model.parameters())


def test_a_model_without_a_trigger_passes_and_an_unfinished_search_says_nothing() -> None:
    model = trained(*records())
    clean, _ = records(seed=1, count=200)
    assert not invert_triggers(model, clean[:, None]).suspicious
    ticks = iter(range(10_000))
    cut = invert_triggers(model, clean[:, None], budget_s=5, clock=lambda: float(next(ticks)))
    assert (cut.finished, cut.suspicious) == (False, False)


def test_poisoned_rows_are_found_where_the_model_sees_them() -> None:
    x, y = records()
    made = GENERATORS["badnets"](x, y, rate=0.08, rng=np.random.default_rng(3))
    seen = hidden_activations(trained(made.x, made.y), made.x[:, None])
    assert seen.shape == (600, 32)
    found = detect_poisoning(seen, made.y)
    assert found.flagged[made.mask].mean() > 0.9
    assert found.flagged[~made.mask].mean() < 0.02
    assert not detect_poisoning(hidden_activations(trained(x, y), x[:, None]), y).suspicious


def test_what_cannot_be_judged_is_refused() -> None:
    few = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 4))
    x, _ = records(count=40)
    with pytest.raises(InputError, match="4 classes cannot be judged"):
        invert_triggers(few, x[:, None])
    with pytest.raises(InputError, match="must lie within `clip`"):
        invert_triggers(few, x[:, None] * 3)
    with pytest.raises(InputError, match="at least 50"):
        invert_triggers(few, x[:, None], steps=1)
    with pytest.raises(InputError, match="n >= 20"):
        invert_triggers(few, x[:5, None])
    with pytest.raises(GateError, match="no matrix of scores"):
        invert_triggers(torch.nn.Flatten(2), x[:, None])
    with pytest.raises(InputError, match="no layer `nothing`"):
        hidden_activations(few, x[:, None], layer="nothing")

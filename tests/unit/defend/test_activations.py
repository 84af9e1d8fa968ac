"""Activations: poisoned rows stand out where the model sees them."""

import numpy as np
import pytest

from vallum.attack import GENERATORS
from vallum.base import InputError
from vallum.defend import detect_poisoning, hidden_activations

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
    torch.set_num_threads(1)
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


def test_poisoned_rows_are_found_where_the_model_sees_them() -> None:
    x, y = records()
    made = GENERATORS["badnets"](x, y, rate=0.08, rng=np.random.default_rng(3))
    seen = hidden_activations(trained(made.x, made.y), made.x[:, None])
    assert seen.shape == (600, 32)
    found = detect_poisoning(seen, made.y)
    assert found.flagged[made.mask].mean() > 0.9
    assert found.flagged[~made.mask].mean() < 0.02
    assert not detect_poisoning(hidden_activations(trained(x, y), x[:, None]), y).suspicious


def test_a_layer_that_is_not_there_is_refused() -> None:
    x, _ = records(count=40)
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 4))
    with pytest.raises(InputError, match="no layer `nothing`"):
        hidden_activations(module, x[:, None], layer="nothing")

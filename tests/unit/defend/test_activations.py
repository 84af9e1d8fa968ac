"""Activations: poisoned rows stand out where the model sees them."""

import numpy as np
import pytest
from backdoored import records, trained

from vallum.attack import GENERATORS
from vallum.base import InputError
from vallum.defend import detect_poisoning, hidden_activations

torch = pytest.importorskip("torch", reason="the models are torch modules")


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

"""Images and small networks that are trained on them, with a trigger or without."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

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
    import torch

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

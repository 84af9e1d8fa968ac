"""A whole training: what it learns, what it costs, and that it leaves the model as it was."""

import subprocess
import sys

import numpy as np
import pytest

from vallum.defend.dp import Spend, train

torch = pytest.importorskip("torch", reason="the extra `dptrain` is not installed")
datasets = pytest.importorskip("sklearn.datasets", reason="digits come with scikit-learn")

from torch import nn  # noqa: E402

torch.set_num_threads(1)


def test_digits_are_learned_within_the_budget() -> None:
    """A small network learns digits at epsilon 8; the cost is known and kept."""
    torch.manual_seed(0)
    digits = datasets.load_digits()
    x = (digits.data / 16).astype(np.float32)
    y = digits.target.astype(np.int64)
    model = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
    seen: list[tuple[int, int]] = []
    spend = train(
        model, (x[:1400], y[:1400]), loss=nn.CrossEntropyLoss(reduction="none"), epsilon=8,
        delta=1e-4, epochs=15, batch_size=128, accountant="rdp", physical_batch=100,
        optimizer=torch.optim.Adam(model.parameters(), lr=0.02),
        progress=lambda done, steps: seen.append((done, steps)),
    )  # fmt: skip
    assert isinstance(spend, Spend)
    assert 7.5 < spend.epsilon <= 8
    assert spend.records == 1400
    assert spend.steps == -(-15 * 1400 // 128)
    assert seen[-1] == (spend.steps - 1, spend.steps)
    with torch.no_grad():
        right = (model(torch.from_numpy(x[1400:])).argmax(1).numpy() == y[1400:]).mean()
    assert right > 0.7
    assert not any("forward" in vars(one) for one in model.modules())


def test_a_data_loader_gives_its_data_set_and_its_batch_size() -> None:
    """Its order does not count; mapped data sets are read by number."""

    class Squares(torch.utils.data.Dataset):  # type: ignore[misc]
        def __len__(self) -> int:
            return 50

        def __getitem__(self, place: int) -> tuple[object, int]:
            return torch.full((4,), place / 50), place % 2

    loader = torch.utils.data.DataLoader(Squares(), batch_size=10)
    model = nn.Linear(4, 2)
    spend = train(
        model, loader, loss=nn.CrossEntropyLoss(reduction="none"), epsilon=5, delta=1e-3,
        epochs=2, accountant="rdp",
    )  # fmt: skip
    assert spend.sampling_rate == 0.2
    assert spend.steps == 10


def test_nothing_heavy_is_imported_before_a_training() -> None:
    """The room is usable where torch is not installed."""
    heavy = "{'torch', 'jax', 'keras', 'scipy'}"
    code = f"import sys, vallum.defend.dp; print(bool({heavy} & set(sys.modules)))"
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "False"

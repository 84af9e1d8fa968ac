"""What is computed about a sample has the same bits whoever else is in its batch."""

import os
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum.base import InputError
from vallum.defend.dp import Spend
from vallum.defend.dp.kernels import steady

torch = pytest.importorskip("torch", reason="the extra `dptrain` is not installed")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from vallum.defend.dp import trainer as trainers  # noqa: E402
from vallum.defend.dp.modules import Attention  # noqa: E402
from vallum.defend.dp.shapes import Shapes, bits, largest, without_chance  # noqa: E402
from vallum.defend.dp.trainer import Trainer, rows_of  # noqa: E402

ALONE = frozenset({None})


def kernel(*, from_size: int, without_place: int = 0) -> Any:
    """Return a trial whose arithmetic is another one below sizes."""

    def trial(places: Sequence[int], _: Any) -> Any:
        size = len(places)
        found = torch.tensor(places) * 10 + (size < from_size)
        return (found + (torch.arange(size) if size < without_place else 0))[None]

    return trial


@pytest.mark.parametrize(
    ("flags", "given", "mode"),
    [("avx2 avx512f", None, None), ("avx2", None, "AUTO"), ("avx2", "OFF", "OFF")],
    ids=["wide", "narrow", "narrow, chosen"],
)
def test_mkl_is_told_where_places_matter(
    flags: str, given: str | None, mode: str | None, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """And nothing where they do not, or where somebody chose."""
    monkeypatch.delenv("MKL_CBWR", raising=False)
    if given is not None:
        monkeypatch.setenv("MKL_CBWR", given)
    (tmp_path / "cpuinfo").write_text(f"flags\t\t: fpu sse {flags}\n")
    steady(tmp_path / "cpuinfo")
    assert os.environ.get("MKL_CBWR") == mode
    steady(tmp_path / "none")
    assert os.environ.get("MKL_CBWR") == (mode or "AUTO")


NARROW = """
import torch
import vallum.defend.dp
torch.manual_seed(0)
x, weight = torch.randn(64, 5), torch.randn(8, 5)
place = [*range(1, 64), 0]
one, other = (torch.nn.functional.linear(rows, weight) for rows in (x[place], x))
raise SystemExit(not torch.equal(one, other[place]))
"""


def test_a_narrow_product_of_a_row_has_the_same_bits_in_every_place() -> None:
    """In a process of its own: MKL reads its mode once."""
    without = {name: value for name, value in os.environ.items() if name != "MKL_CBWR"}
    subprocess.run([sys.executable, "-c", NARROW], env=without, check=True, timeout=120)  # noqa: S603 - our own program


def test_batches_are_filled_to_the_next_size_that_was_tried() -> None:
    """Down to the first size that rounds otherwise; the largest before anything is known."""
    shapes = Shapes(64, kernel(from_size=18))
    assert [shapes.size(one, ALONE) for one in (63, 24, 21, 20, 1, 64)] == [64, 24, 24, 20, 20, 64]
    assert shapes.size(3, frozenset()) == 64
    assert shapes.fill([7, 5, 9], ALONE) == ([7, 5, 9] * 7)[:20]
    assert shapes.fits(20, ALONE)
    assert not shapes.fits(16, ALONE)
    assert [Shapes(3, kernel(from_size=0)).size(one, ALONE) for one in (1, 2, 3)] == [1, 2, 3]


def test_tiny_batches_in_which_places_differ_are_filled_up_beyond_the_largest() -> None:
    """And where no size helps it is said."""
    shapes = Shapes(7, kernel(from_size=13, without_place=9))
    assert shapes.size(2, ALONE) == 13
    assert shapes.size(14, ALONE) == 14
    with pytest.warns(RuntimeWarning, match="depends in its last bits on the samples beside it"):
        assert Shapes(7, kernel(from_size=0, without_place=1000)).size(2, ALONE) == 7

    def refused(*_: Any) -> Any:
        raise InputError("the model answers nothing", code="defend.dp.model")

    with pytest.warns(RuntimeWarning):
        assert Shapes(7, refused).size(2, ALONE) == 7


@given(
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.bool]),
    row=st.integers(0, 2),
    column=st.integers(0, 9),
)
def test_one_changed_bit_changes_the_number_of_its_sample_alone(
    dtype: Any, row: int, column: int
) -> None:
    """The last bit of one number: 1 and the next one after it."""
    before = torch.ones(3, 2, 5).to(dtype)
    after = before.clone().view(3, 10)
    held = after.view(torch.uint8)
    held[row, column * before.element_size()] ^= 1
    changed = bits([before[:1], before[1:]]) != bits([after])
    assert changed.tolist() == [at == row for at in range(3)]


def test_nothing_is_dropped_while_sizes_are_tried() -> None:
    """Modes and the random state are as before; layers go on keeping ledgers."""
    model = nn.Sequential(nn.Dropout(0.5), Attention(4, 2, dropout=0.5), nn.Dropout().eval())
    state = torch.get_rng_state()
    with without_chance(model):
        assert torch.equal(model[0](torch.ones(3, 4)), torch.ones(3, 4))
        assert [one.training for one in model] == [False, False, False]
        assert model[1].query.training
        torch.rand(3)
    assert [one.training for one in model] == [True, True, False]
    assert torch.equal(torch.get_rng_state(), state)


def test_batches_are_about_as_large_as_those_that_are_drawn() -> None:
    """No larger than allowed, nor than the data."""
    assert [largest(256, 64, 1000), largest(16, 64, 1000), largest(256, 64, 70)] == [96, 16, 70]


def trained(
    model: nn.Module,
    draws: list[list[int]],
    monkeypatch: pytest.MonkeyPatch,
    *,
    answer: Any = None,
) -> Any:
    """Take steps on the draws; return the sizes of batches, and what each step was given."""
    x, y = torch.randn(20, 6), torch.arange(20) % 3
    monkeypatch.setattr(trainers, "poisson_sample", lambda *_: torch.tensor(draws.pop(0)))
    spend = Spend(
        epsilon=1.0, delta=1e-3, accountant="none", noise_multiplier=1e-9, sampling_rate=0.5,
        steps=len(draws), max_grad_norm=0.5, records=20,
    )  # fmt: skip
    rows, _ = rows_of((x, y), torch.device("cpu"))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    trainer = Trainer(model, optimizer, rows, spend=spend, physical_batch=16)
    sums: list[Any] = []
    optimizer.register_step_pre_hook(
        lambda *_: sums.append([one.grad.clone() for one in model.parameters()])
    )
    sizes = []
    for a, b in trainer.batches():
        sizes.append(len(a))
        trainer.step(functional.cross_entropy((answer or model)(a), b, reduction="none"))
    return sizes, sums


def test_samples_that_fill_a_batch_count_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum of nine is that of each of them alone, whatever either is filled up with."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.Dropout(0.0), nn.Tanh(), nn.Linear(5, 3))
    sizes, sums = trained(model, [list(range(9)), *([one] for one in range(9))], monkeypatch)
    assert sizes[0] == 16
    for at, whole in enumerate(sums[0]):
        torch.testing.assert_close(whole, sum(one[at] for one in sums[1:]), rtol=1e-4, atol=1e-6)


class Placed(nn.Module):  # type: ignore[misc]
    """Something that changes the last bits by a sample's place; in tiny batches only, or always."""

    def __init__(self, below: int) -> None:
        super().__init__()
        self.layer, self.below = nn.Linear(6, 3), below

    def forward(self, x: Any) -> Any:
        places = torch.arange(len(x))[:, None] if len(x) < self.below else 0
        return self.layer(x) * (1 + 1e-6 * places)


def test_the_first_batch_is_taken_anew_where_its_size_was_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was taken before anything was known; it counts once."""
    torch.manual_seed(0)
    sizes, sums = trained(Placed(17), [[1, 2], [1, 2]], monkeypatch)
    assert sizes[0] == 16
    assert min(sizes[1:]) > 16
    assert len(sizes) == 3
    assert len(sums) == 2
    for left, right in zip(*sums, strict=True):
        torch.testing.assert_close(left, right)


class Paired(nn.Module):  # type: ignore[misc]
    """What it answers first has no slope."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x: Any) -> Any:
        scores = self.layer(x)
        return scores.argmax(1), scores


def test_a_model_that_cannot_be_tried_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is trained all the same, in batches of one size."""
    model = Paired()
    with pytest.warns(RuntimeWarning, match="the accounted sensitivity does not cover that"):
        sizes, _ = trained(model, [[1, 2], [3]], monkeypatch, answer=lambda one: model(one)[1])
    assert sizes == [16, 16]


def test_a_model_that_looks_at_places_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """No size helps it; one that does not is trained in silence."""
    with pytest.warns(RuntimeWarning, match="the accounted sensitivity does not cover that"):
        trained(Placed(1000), [[1, 2]], monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained(Placed(0), [[1, 2]], monkeypatch)

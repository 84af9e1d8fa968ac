"""Adversarial training: a module learns from the worst records near those that it is given.

torch is imported when a training begins. Training steps are those of the optimizer; what is added
is the search for the worst point of each ball, whose steps a budget of time bounds.

Sources: Madry et al. 2018 (PGD); Zhang et al. 2019 (TRADES).
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from vallum.base import InputError, UnavailableError
from vallum.schema import Record

if TYPE_CHECKING:
    import torch

Method = Literal["pgd", "trades"]


class RobustTraining(Record, frozen=True):
    """What a training did.

    Attributes:
        method: `pgd` or `trades`.
        epsilon: Radius of the balls in L-infinity.
        epochs: Passes that were finished.
        steps: Batches.
        seconds: Wall time.
        finished: False where the budget ended it early.
        loss: Mean loss of the last pass.
    """

    method: str
    epsilon: float
    epochs: int
    steps: int
    seconds: float
    finished: bool
    loss: float


def train_robust(
    model: "torch.nn.Module",
    data: tuple[NDArray[Any], NDArray[Any]],
    *,
    optimizer: "torch.optim.Optimizer",
    epsilon: float,
    method: Method = "pgd",
    epochs: int = 10,
    batch_size: int = 128,
    attack_steps: int = 7,
    beta: float = 6.0,
    clip: tuple[float, float] = (0.0, 1.0),
    seed: int = 0,
    budget_s: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> RobustTraining:
    """Train `model` in place on records and on what is worst near them.

    Args:
        model: Maps (n, ...) float32 to logits (n, c).
        data: Records (n, ...) within `clip`, and classes (n,), whole numbers from 0.
        optimizer: Of its parameters.
        epsilon: Radius in L-infinity, > 0, in the units of the input.
        method: `pgd` learns the worst points alone; `trades` learns the records, and that worst
            points are answered alike, which costs less accuracy.
        epochs: Passes over the data, >= 1.
        batch_size: Records of a step, >= 1.
        attack_steps: Gradient steps of the search, >= 1; step size 2.5 epsilon over their number.
        beta: Weight of likeness in `trades`, > 0.
        clip: Least and greatest value of an input.
        seed: Of order and starting points.
        budget_s: Seconds after which no other batch begins; none if not given.
        clock: Where seconds come from.

    Raises:
        InputError: An argument is out of range, or records and classes do not fit.
        UnavailableError: torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise UnavailableError(
            "adversarial training needs the extra `torch`", code="defend.torch",
            hint="pip install 'vallum[torch]'",
        ) from error  # fmt: skip
    x = np.ascontiguousarray(data[0], dtype=np.float32)
    y = np.asarray(data[1])
    if not len(x) or y.shape != (len(x),) or not np.issubdtype(y.dtype, np.integer):
        raise InputError("records need one whole number each as class", code="defend.robust")
    if not (epsilon > 0 and beta > 0 and epochs >= 1 and batch_size >= 1 and attack_steps >= 1):
        raise InputError(
            "`epsilon` and `beta` must be positive; epochs, batch size and steps at least 1",
            code="defend.robust",
        )
    if method not in {"pgd", "trades"}:
        raise InputError(f"`{method}` is not a method", code="defend.robust",
                         hint="`pgd` or `trades`")  # fmt: skip
    if not (clip[0] < clip[1] and x.min() >= clip[0] and x.max() <= clip[1]):
        raise InputError(f"records must lie within `clip` {clip}", code="defend.robust")
    device = next(model.parameters()).device
    records, classes = torch.from_numpy(x).to(device), torch.from_numpy(y.astype(np.int64))
    classes = classes.to(device)
    random = torch.Generator(device="cpu").manual_seed(seed)
    start = clock()
    steps = done = 0
    mean = float("nan")
    model.train()
    for _ in range(epochs):
        total, seen = 0.0, 0
        for place in torch.randperm(len(x), generator=random).split(batch_size):
            if budget_s is not None and clock() - start >= budget_s:
                return RobustTraining(
                    method=method, epsilon=epsilon, epochs=done, steps=steps,
                    seconds=clock() - start, finished=False, loss=mean,
                )  # fmt: skip
            chosen, names = records[place.to(device)], classes[place.to(device)]
            worst = _worst(model, chosen, names, method, epsilon, attack_steps, clip, random)
            optimizer.zero_grad(set_to_none=True)
            if method == "pgd":
                loss = torch.nn.functional.cross_entropy(model(worst), names)
            else:
                plain = model(chosen)
                loss = torch.nn.functional.cross_entropy(plain, names)
                loss = loss + beta * _apart(model(worst), plain)
            loss.backward()
            optimizer.step()
            steps += 1
            total += float(loss.detach()) * len(names)
            seen += len(names)
        done += 1
        mean = total / seen
    return RobustTraining(
        method=method, epsilon=epsilon, epochs=done, steps=steps, seconds=clock() - start,
        finished=True, loss=mean,
    )  # fmt: skip


def _apart(answers: "torch.Tensor", plain: "torch.Tensor") -> "torch.Tensor":
    """Return the mean relative entropy from the plain answers to the others."""
    import torch

    found: torch.Tensor = torch.nn.functional.kl_div(
        answers.log_softmax(1), plain.log_softmax(1), reduction="batchmean", log_target=True
    )
    return found


def _worst(  # noqa: PLR0917 - one call, above
    model: "torch.nn.Module",
    x: "torch.Tensor",
    y: "torch.Tensor",
    method: Method,
    epsilon: float,
    steps: int,
    clip: tuple[float, float],
    random: "torch.Generator",
) -> "torch.Tensor":
    """Return the worst points found in the balls, by steps of signs from random starts.

    The model is in evaluation mode meanwhile: its statistics are those of the records alone.
    """
    import torch

    model.eval()
    start = (torch.rand(x.shape, generator=random).to(x.device) * 2 - 1) * epsilon
    found = (x + start).clamp(*clip)
    with torch.no_grad():
        plain = model(x) if method == "trades" else None
    for _ in range(steps):
        found = found.detach().requires_grad_()
        answers = model(found)
        if plain is None:
            loss = torch.nn.functional.cross_entropy(answers, y, reduction="sum")
        else:
            loss = _apart(answers, plain)
        (slope,) = torch.autograd.grad(loss, found)
        with torch.no_grad():
            moved = found + slope.sign() * (2.5 * epsilon / steps)
            found = torch.maximum(torch.minimum(moved, x + epsilon), x - epsilon).clamp(*clip)
    model.train()
    return found.detach()

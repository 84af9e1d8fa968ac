"""Backdoors in a model, without its training data: what is the least that makes all be one class?

For every class a mask and a pattern are sought that, put onto any clean record, make the model
answer that class (Neural Cleanse). A class with a trigger needs far less than the others. Neural
Cleanse calls it so where its size is 2 median absolute deviations below the median; of ten classes
whose sizes are normal, the smallest is that far out in a third of all models. The index is
reported, and what decides is the generalised extreme studentised deviate test, for the smallest
log-sizes and at a false-alarm rate of the whole model.

What is not promised: triggers as large as what turns a record into another class anyway, such as
those of clean-label poison, warps and signals; triggers that only work on records of one class;
more than three classes with a trigger. Below five classes nothing can be said.

Sources: Wang et al. 2019 (Neural Cleanse); Rosner 1983 (the test).
"""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vallum.base import GateError, InputError, UnavailableError
from vallum.schema import Record

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float64]
MIN_CLASSES = 5
"""Of fewer, the sizes do not tell what is usual."""
MIN_RECORDS = 20
MAX_CLASSES = 1_000
_MAD = 1.4826  # standard deviations of a normal distribution in one median absolute deviation
_REACHED = 0.95
_DRAWS = 100_000
_MOST = 3
_IMAGE = 3
_UP, _DOWN = 1.5, 1.5**1.5
_PATIENCE = 10
_LEAST_SPREAD = 0.2
"""Of log-sizes: a class that needs a quarter less than others is no backdoor, however alike those
are. Without triggers, ten digits spread by about as much."""


class InvertedTrigger(Record, frozen=True):
    """The least change that was found for one class.

    Attributes:
        target: The class that is answered.
        size: Cells that the mask covers, a cell counted by how much of it is replaced.
        reached: Share of records with the change that are answered so.
        index: Median absolute deviations (in standard deviations) of the log-size below the median.
        suspicious: Too small to be one of the others, and reaches 95 % of the records.
    """

    target: int
    size: float
    reached: float
    index: float
    suspicious: bool


@dataclass(frozen=True, slots=True)
class TriggerInversion:
    """What was found in a model.

    Attributes:
        triggers: One a class.
        masks: (classes, height, width) or (classes, d), 0 to 1.
        patterns: (classes, ...) as one record of the model's input.
        alpha: Probability that a model without a trigger is called suspicious.
        seconds: Spent.
        finished: False where the budget ended the search: nothing is said then.
    """

    triggers: tuple[InvertedTrigger, ...]
    masks: Floats
    patterns: Floats
    alpha: float
    seconds: float
    finished: bool

    @property
    def suspicious(self) -> bool:
        """Whether a class stands out."""
        return self.finished and any(one.suspicious for one in self.triggers)

    @property
    def targets(self) -> tuple[int, ...]:
        """Return the classes that stand out."""
        return tuple(one.target for one in self.triggers if one.suspicious)


def invert_triggers(
    model: "torch.nn.Module",
    x: NDArray[Any],
    *,
    alpha: float = 0.05,
    steps: int = 300,
    batch_size: int = 32,
    clip: tuple[float, float] = (0.0, 1.0),
    seed: int = 0,
    budget_s: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> TriggerInversion:
    """Search the least trigger of every class, all classes at once.

    Args:
        model: Maps (n, channels, height, width) or (n, d) float32 to logits (n, c), c >= 5.
        x: Clean records, at least 20, of all classes, within `clip`.
        alpha: False-alarm rate of a model, 0.001 <= alpha <= 0.2.
        steps: Of Adam, >= 50.
        batch_size: Records of a step and class, >= 8.
        clip: Least and greatest value of an input.
        seed: Of batches and starting points.
        budget_s: Seconds after which the search ends without a verdict.
        clock: Where seconds come from.

    Raises:
        InputError: Records or arguments are unusable, or there are too few classes.
        GateError: The model answers no scores, or gives no gradient.
        UnavailableError: torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise UnavailableError(
            "trigger inversion needs the extra `torch`", code="defend.torch",
            hint="pip install 'vallum[torch]'",
        ) from error  # fmt: skip
    records = _checked(x, alpha, steps, batch_size, clip)
    begun = clock()
    model.eval()
    given = torch.from_numpy(records).to(_device(model))
    with torch.no_grad():
        answer = model(given[:2])
    if not isinstance(answer, torch.Tensor) or answer.ndim != 2 or not answer.is_floating_point():  # noqa: PLR2004
        raise GateError("the model answers no matrix of scores", code="defend.backdoor.scores")
    classes = answer.shape[1]
    if not MIN_CLASSES <= classes <= MAX_CLASSES:
        raise InputError(
            f"a model of {classes} classes cannot be judged by comparing them:"
            f" {MIN_CLASSES} to {MAX_CLASSES} are needed",
            code="defend.backdoor.classes",
        )
    masks, patterns, reached, finished = _searched(
        model, given, classes, steps, batch_size, clip, seed, begun, budget_s, clock
    )
    sizes = masks.reshape(classes, -1).sum(axis=1)
    logs = np.log(np.maximum(sizes, 1e-3))
    index, outlying = anomaly_index(logs), smallest_outliers(logs, alpha)
    return TriggerInversion(
        triggers=tuple(
            InvertedTrigger(
                target=at, size=float(sizes[at]), reached=float(reached[at]),
                index=float(index[at]),
                suspicious=bool(finished and outlying[at] and reached[at] >= _REACHED),
            )
            for at in range(classes)
        ),
        masks=masks, patterns=patterns, alpha=alpha, seconds=clock() - begun,
        finished=finished,
    )  # fmt: skip


def anomaly_index(values: Floats) -> Floats:
    """Return by how many robust standard deviations each value (n,) lies below the median."""
    middle = float(np.median(values))
    spread = max(_MAD * float(np.median(np.abs(values - middle))), _LEAST_SPREAD)
    found: Floats = (middle - values) / spread
    return found


def smallest_outliers(values: Floats, alpha: float) -> NDArray[np.bool_]:
    """Return which values (n,) are too small to be of the normal distribution of the others.

    Rosner's test, one-sided, for at most three of them: the smallest is taken out again and
    again; as many are outliers as were out when its distance was last beyond the limit. The rate
    is divided among the looks, since with few values Rosner's own limits accuse too many.

    Args:
        values: n >= 5.
        alpha: Probability that of normal values any is called an outlier.
    """
    order = np.argsort(values, kind="stable")
    found = 0
    looks = min(_MOST, len(values) // 3)
    for out in range(looks):
        left = values[order[out:]]
        spread = max(float(left.std(ddof=1)), _LEAST_SPREAD)
        if (left.mean() - left[0]) / spread > deviate_limit(len(left), alpha / looks):
            found = out + 1
    chosen = np.zeros(len(values), dtype=np.bool_)
    chosen[order[:found]] = True
    return chosen


@functools.lru_cache(maxsize=256)
def deviate_limit(count: int, alpha: float) -> float:
    """Return the quantile 1 - alpha of how far the smallest of normal values is from their mean.

    In their standard deviations; by simulation, with an error of about 0.01.
    """
    draws = max(20_000, min(_DRAWS, 5_000_000 // count))
    values = np.random.default_rng(0).normal(size=(draws, count))
    away = (values.mean(axis=1) - values.min(axis=1)) / values.std(axis=1, ddof=1)
    return float(np.quantile(away, 1 - alpha))


def _checked(
    x: NDArray[Any], alpha: float, steps: int, batch_size: int, clip: tuple[float, float]
) -> NDArray[np.float32]:
    records = np.ascontiguousarray(x, dtype=np.float32)
    if records.ndim not in {2, 4} or len(records) < MIN_RECORDS:
        raise InputError(
            f"records of shape {records.shape} are not (n, d) or (n, channels, height, width) with"
            f" n >= {MIN_RECORDS}",
            code="defend.backdoor.x",
        )
    if not np.isfinite(records).all() or not clip[0] < clip[1]:
        raise InputError("records must be finite and `clip` (low, high)", code="defend.backdoor.x")
    if records.min() < clip[0] or records.max() > clip[1]:
        raise InputError(f"records must lie within `clip` {clip}", code="defend.backdoor.x")
    if not 0.001 <= alpha <= 0.2 or steps < 50 or batch_size < 8:  # noqa: PLR2004 - as documented
        raise InputError(
            "`alpha` is from 0.001 to 0.2, steps at least 50, batch size at least 8",
            code="defend.backdoor.parameter",
        )
    return records


def _searched(  # noqa: PLR0917 - one call, above
    model: "torch.nn.Module",
    given: "torch.Tensor",
    classes: int,
    steps: int,
    batch: int,
    clip: tuple[float, float],
    seed: int,
    begun: float,
    budget_s: float | None,
    clock: Callable[[], float],
) -> tuple[Floats, Floats, Floats, bool]:
    """Return masks, patterns, shares reached, and whether the search was finished.

    Every class has its own weight of size against success, raised while the change still works
    and lowered while it does not; the smallest mask that worked is kept.
    """
    import torch

    random = torch.Generator(device="cpu").manual_seed(seed)
    shape = tuple(given.shape[1:])
    flat = shape[1:] if len(shape) == _IMAGE else shape  # one mask for all channels
    wide = (classes, *([1] if len(shape) == _IMAGE else []), *flat)
    device = given.device
    mask = (torch.randn(wide, generator=random) * 0.5 - 1.0).to(device).requires_grad_()
    pattern = (torch.randn((classes, *shape), generator=random) * 0.5).to(device).requires_grad_()
    optimizer = torch.optim.Adam([mask, pattern], lr=0.1, betas=(0.5, 0.9))
    targets = torch.arange(classes, device=device).repeat_interleave(batch)
    weight = torch.full((classes,), 1e-2, device=device)
    better = torch.zeros(classes, dtype=torch.long, device=device)
    worse = torch.zeros_like(better)
    best = torch.full((classes,), float("inf"), device=device)
    kept_mask = torch.ones(wide, device=device)
    kept_pattern = torch.zeros((classes, *shape), device=device)
    kept_reached = torch.zeros(classes, device=device)
    low, span = clip[0], clip[1] - clip[0]
    finished = True
    wanted = [one.requires_grad for one in model.parameters()]
    for one in model.parameters():
        one.requires_grad_(requires_grad=False)
    try:
        for _ in range(steps):
            if budget_s is not None and clock() - begun >= budget_s:
                finished = False
                break
            chosen = given[torch.randint(len(given), (batch,), generator=random).to(device)]
            m, p = torch.sigmoid(mask), torch.sigmoid(pattern) * span + low
            put = (1 - m[:, None]) * chosen[None] + m[:, None] * p[:, None]
            logits = model(put.reshape(classes * batch, *shape))
            if not logits.requires_grad:
                raise GateError("no gradient reaches the input", code="defend.backdoor.gradient")
            loss = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
            sizes = m.reshape(classes, -1).sum(dim=1)
            total = (loss.reshape(classes, batch).mean(dim=1) + weight * sizes).sum()
            optimizer.zero_grad(set_to_none=True)
            total.backward()
            with torch.no_grad():
                hit = (logits.argmax(dim=1) == targets).reshape(classes, batch).float().mean(dim=1)
                works = hit >= _REACHED
                smaller = works & (sizes < best)
                best = torch.where(smaller, sizes, best)
                kept_mask[smaller], kept_pattern[smaller] = m[smaller], p[smaller]
                kept_reached[smaller] = hit[smaller]
                better, worse = (better + 1) * works, (worse + 1) * ~works
                raised, lowered = better >= _PATIENCE, worse >= _PATIENCE
                weight = torch.where(raised, weight * _UP, weight)
                weight = torch.where(lowered, weight / _DOWN, weight)
                better[raised], worse[lowered] = 0, 0
            optimizer.step()
    finally:
        for one, before in zip(model.parameters(), wanted, strict=True):
            one.requires_grad_(requires_grad=before)
    masks = kept_mask.reshape(classes, *flat).double().cpu().numpy()
    return (
        masks,
        kept_pattern.double().cpu().numpy(),
        kept_reached.double().cpu().numpy(),
        finished,
    )


def hidden_activations(
    model: "torch.nn.Module", x: NDArray[Any], *, layer: str = "", batch_size: int = 1024
) -> Floats:
    """Return what goes into a layer of `model` for each record, (n, k).

    `vallum.defend.detect_poisoning(hidden_activations(model, x), y)` then looks for a class that
    falls into two where the model sees it (activation clustering, Chen et al. 2018): a model that
    was trained on the data pulls records with a trigger away from those without.

    Args:
        model: Trained on the data that are judged.
        x: Records (n, ...), float32.
        layer: Its name; the last linear layer if empty.
        batch_size: Records of a pass.

    Raises:
        InputError: There is no such layer, or it is given something else than rows.
        UnavailableError: torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise UnavailableError(
            "activations need the extra `torch`", code="defend.torch",
            hint="pip install 'vallum[torch]'",
        ) from error  # fmt: skip
    named = dict(model.named_modules())
    linear = [name for name, one in named.items() if isinstance(one, torch.nn.Linear)]
    wanted = layer or (linear[-1] if linear else "")
    if not wanted or wanted not in named:
        raise InputError(
            f"the model has no layer `{layer[:80] or 'of kind Linear'}`",
            code="defend.backdoor.layer",
        )
    seen: list[torch.Tensor] = []
    hook = named[wanted].register_forward_pre_hook(
        lambda _, given: seen.append(given[0].detach().flatten(1))
    )
    model.eval()
    records = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))
    try:
        with torch.no_grad():
            for part in records.split(batch_size):
                model(part.to(_device(model)))
    finally:
        hook.remove()
    found: Floats = torch.cat(seen).double().cpu().numpy() if seen else np.zeros((0, 0))
    if len(found) != len(records):
        raise InputError(f"`{wanted}` is not given one row a record", code="defend.backdoor.layer")
    return found


def _device(model: "torch.nn.Module") -> "torch.device":
    import torch

    first = next(model.parameters(), None)
    return torch.device("cpu") if first is None else first.device

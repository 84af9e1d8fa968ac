"""One call that makes a training private. torch is imported when it is made, not before."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vallum.base import InputError, UnavailableError
from vallum.defend.dp.spend import Accountant, Spend, epsilon_of, noise_multiplier_of

if TYPE_CHECKING:
    import torch

    from vallum.defend.dp.trainer import Trainer

_PHYSICAL = 256


def make_private(
    model: "torch.nn.Module",
    optimizer: "torch.optim.Optimizer",
    data: Any,  # noqa: ANN401 - tensors, a data set or a loader
    *,
    epsilon: float,
    delta: float,
    max_grad_norm: float = 1.0,
    epochs: float = 1,
    batch_size: int | None = None,
    physical_batch: int = _PHYSICAL,
    accountant: Accountant = "pld",
    replace: bool = False,
) -> "Trainer":
    """Have `model` trained so that nobody can tell well whether one record was in the data.

    The noise is chosen for exactly `epochs` passes; `trainer.spend` is known at once, is charged
    in full, and does not shrink when training stops early: when it stops may depend on the data.

        trainer = make_private(model, optimizer, (x, y), epsilon=3, delta=1e-5, epochs=20)
        for x, y in trainer.batches():
            trainer.step(cross_entropy(model(x), y, reduction="none"))
        trainer.release()

    Args:
        model: Keeps the batch on the first axis throughout; its layers are changed until
            `release`.
        optimizer: Of the model's parameters; any.
        data: A tuple of tensors or arrays of one length, a data set with a length, or a
            `DataLoader`, of which data set, batch size and `collate_fn` count, not the order.
        epsilon: Loss to keep to, 0 < epsilon <= 100.
        delta: Chance that it is exceeded; less than one over the number of records.
        max_grad_norm: What each sample's gradient is clipped to, > 0.
        epochs: Expected passes over the data, > 0.
        batch_size: Expected size of a batch; a `DataLoader`'s own, or 64, if not given.
        physical_batch: Samples computed at a time, >= 1; bounds memory and changes nothing else.
        accountant: `pld` or `rdp`.
        replace: Put replacements where layers cannot be trained privately: group for batch
            normalisation, our attention for torch's. The optimizer is pointed at their parameters.

    Raises:
        InputError: A parameter, the data or the model is unusable; layers are named with what to
            use instead.
        UnavailableError: torch or dp-accounting is not installed.

    Source: Abadi et al. 2016; Bu et al. 2023 (one backward pass).
    """
    _require_torch()
    import torch

    from vallum.defend.dp import model as models
    from vallum.defend.dp.trainer import Trainer, check_apart, rows_of, steps_of

    if not isinstance(model, torch.nn.Module):
        raise InputError("not a torch module", code="defend.dp.model")
    if not (max_grad_norm > 0 and math.isfinite(max_grad_norm)):
        raise InputError(
            f"`max_grad_norm` must be positive, got {max_grad_norm:g}", code="defend.dp.parameter"
        )
    if physical_batch < 1:
        raise InputError("`physical_batch` must be at least 1", code="defend.dp.parameter")
    replaced: list[models.Problem] = []
    if replace:
        before = [one for one in model.parameters() if one.requires_grad]
        replaced = models.make_trainable(model)
        _point(optimizer, before, model)
    models.check_trainable(model)
    device = next(model.parameters()).device
    rows, records = rows_of(data, device)
    if batch_size is None:
        batch_size = getattr(data, "batch_size", None) or min(64, records)
    rate, steps = steps_of(records, batch_size, epochs)
    if delta >= 1 / records:
        raise InputError(
            f"`delta` {delta:g} is not below 1/{records}: publishing whole records would pass",
            code="defend.dp.delta",
            hint=f"delta={0.1 / records:.0e}",
        )
    check_apart(model, rows, records)
    noise = noise_multiplier_of(
        epsilon=epsilon, delta=delta, sampling_rate=rate, steps=steps, accountant=accountant
    )
    spend = Spend(
        epsilon=epsilon_of(
            noise_multiplier=noise, sampling_rate=rate, steps=steps, delta=delta,
            accountant=accountant,
        ),
        delta=delta, accountant=accountant, noise_multiplier=noise, sampling_rate=rate,
        steps=steps, max_grad_norm=max_grad_norm, records=records,
    )  # fmt: skip
    return Trainer(
        model, optimizer, rows, spend=spend, physical_batch=physical_batch,
        replaced=tuple(replaced),
    )  # fmt: skip


def train(
    model: "torch.nn.Module",
    data: Any,  # noqa: ANN401 - tensors, a data set or a loader
    *,
    loss: "Callable[[Any, Any], torch.Tensor]",
    epsilon: float,
    delta: float,
    optimizer: "torch.optim.Optimizer | None" = None,
    max_grad_norm: float = 1.0,
    epochs: float = 1,
    batch_size: int | None = None,
    physical_batch: int = _PHYSICAL,
    accountant: Accountant = "pld",
    replace: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Spend:
    """Train `model` privately on pairs of inputs and targets; return what it cost.

    Args:
        model: As of `make_private`; trained in place.
        data: As of `make_private`; its parts are inputs and targets.
        loss: Of answers and targets, one number a sample: `nn.CrossEntropyLoss(reduction="none")`.
        epsilon: As of `make_private`.
        delta: As of `make_private`.
        optimizer: Adam with its own defaults, if not given.
        max_grad_norm: As of `make_private`.
        epochs: As of `make_private`.
        batch_size: As of `make_private`.
        physical_batch: As of `make_private`.
        accountant: As of `make_private`.
        replace: As of `make_private`.
        progress: Called with batches done and steps in all.

    Raises:
        InputError: As of `make_private`.
        UnavailableError: torch or dp-accounting is not installed.
    """
    _require_torch()
    import torch

    from vallum.defend.dp import model as models

    if optimizer is None:
        if replace:
            models.make_trainable(model)
        models.check_trainable(model)
        optimizer = torch.optim.Adam([one for one in model.parameters() if one.requires_grad])
    trainer = make_private(
        model, optimizer, data, epsilon=epsilon, delta=delta, max_grad_norm=max_grad_norm,
        epochs=epochs, batch_size=batch_size, physical_batch=physical_batch,
        accountant=accountant, replace=replace,
    )  # fmt: skip
    model.train()
    try:
        for x, y in trainer.batches():
            trainer.step(loss(model(x), y))
            if progress is not None:
                progress(trainer.spend.steps - trainer.steps_left, trainer.spend.steps)
    finally:
        trainer.release()
    return trainer.spend


def _point(
    optimizer: "torch.optim.Optimizer", before: "list[torch.Tensor]", model: "torch.nn.Module"
) -> None:
    """Have the optimizer forget parameters that were replaced, and hold the new ones."""
    after = [one for one in model.parameters() if one.requires_grad]
    kept, known = {id(one) for one in after}, {id(one) for one in before}
    for group in optimizer.param_groups:
        group["params"] = [
            one for one in group["params"] if id(one) in kept or id(one) not in known
        ]
    held = {id(one) for group in optimizer.param_groups for one in group["params"]}
    optimizer.param_groups[0]["params"].extend(
        one for one in after if id(one) not in known and id(one) not in held
    )


def _require_torch() -> None:
    try:
        import torch  # noqa: F401 - only to know
    except ImportError as error:
        raise UnavailableError(
            "private training needs the extra `dptrain`", code="defend.dp.extra",
            hint="pip install 'vallum[dptrain]'",
        ) from error  # fmt: skip

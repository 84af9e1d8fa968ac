"""One call that makes a training private. torch or jax is imported when it is made, not before."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vallum.base import InputError, UnavailableError
from vallum.defend.dp.problems import Problem
from vallum.defend.dp.spend import Accountant, Spend, plan

if TYPE_CHECKING:
    import torch

    from vallum.defend.dp.jax import Trainer as JaxTrainer
    from vallum.defend.dp.keras import KerasTrainer
    from vallum.defend.dp.trainer import Trainer

_PHYSICAL = 256
_BATCH = 64
_PAIR = 2


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
        physical_batch: Samples computed at a time, >= 1; bounds memory, and below 64 not always:
            a batch is filled up to a size that lets nobody's rounding depend on the others.
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
    from vallum.defend.dp.trainer import Trainer, check_apart, rows_of

    if not isinstance(model, torch.nn.Module):
        raise InputError("not a torch module", code="defend.dp.model")
    _check_physical(physical_batch)
    replaced: list[Problem] = []
    if replace:
        before = [one for one in model.parameters() if one.requires_grad]
        replaced = models.make_trainable(model)
        _point(optimizer, before, model)
    models.check_trainable(model)
    device = next(model.parameters()).device
    rows, records = rows_of(data, device)
    if batch_size is None:
        batch_size = getattr(data, "batch_size", None) or min(_BATCH, records)
    spend = plan(
        epsilon=epsilon, delta=delta, max_grad_norm=max_grad_norm, epochs=epochs,
        batch_size=batch_size, records=records, accountant=accountant,
    )  # fmt: skip
    check_apart(model, rows, records)
    return Trainer(
        model, optimizer, rows, spend=spend, physical_batch=physical_batch,
        replaced=tuple(replaced),
    )  # fmt: skip


def make_private_jax(
    loss: Callable[..., Any],
    params: Any,  # noqa: ANN401 - a tree of arrays
    optimizer: Any,  # noqa: ANN401 - optax's, or one alike
    data: Any,  # noqa: ANN401 - a tree of arrays
    *,
    epsilon: float,
    delta: float,
    max_grad_norm: float = 1.0,
    epochs: float = 1,
    batch_size: int | None = None,
    physical_batch: int | None = None,
    accountant: Accountant = "pld",
    keyed: bool = False,
) -> "JaxTrainer":
    """Have `params` trained in JAX as `make_private` has a torch model trained.

        trainer = make_private_jax(loss, params, optax.adam(1e-3), (x, y), epsilon=3, delta=1e-5)
        params = trainer.train()

    Args:
        loss: Of `params` and one example, a number; JAX must be able to trace it.
        params: Floating-point arrays in tuples, lists or dicts: all of them are trained.
        optimizer: Has `init(params)` and `update(gradient, state, params)`, as optax's have.
        data: Arrays of one length in tuples, lists or dicts; an example has a row of each.
        epsilon: As of `make_private`.
        delta: As of `make_private`.
        max_grad_norm: As of `make_private`.
        epochs: As of `make_private`.
        batch_size: Expected size of a batch; 64, if not given.
        physical_batch: Examples computed at a time, >= 1; a quarter of a batch and at most 256,
            if not given. Bounds memory and changes nothing else.
        accountant: As of `make_private`.
        keyed: Whether `loss` takes a third argument, a key of JAX, new for each example.

    Raises:
        InputError: A parameter, the loss or the data is unusable.
        UnavailableError: jax or dp-accounting is not installed.

    Source: Abadi et al. 2016.
    """
    _require_jax()
    import jax

    from vallum.defend.dp import jax as engine

    _check_physical(physical_batch)
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise InputError(
            "the optimizer has no `init` and `update`", code="defend.dp.optimizer",
            hint="one of optax: optax.adam(1e-3)",
        )  # fmt: skip
    params = engine.trained(params)
    rows, records = engine.rows_of(data)
    spend = plan(
        epsilon=epsilon, delta=delta, max_grad_norm=max_grad_norm, epochs=epochs,
        batch_size=batch_size or min(_BATCH, records), records=records, accountant=accountant,
    )  # fmt: skip

    def of_one(given: Any, _: Any, example: Any, key: Any) -> Any:  # noqa: ANN401 - JAX's
        return loss(given, example, key) if keyed else loss(given, example)

    def advance(given: Any, state: Any, gradient: Any) -> tuple[Any, Any]:  # noqa: ANN401 - JAX's
        updates, state = optimizer.update(gradient, state, given)
        return jax.tree.map(lambda one, by: (one + by).astype(one.dtype), given, updates), state

    engine.check_loss(of_one, params, (), rows)
    return engine.Trainer(
        of_one, params, rows, fixed=(), state=optimizer.init(params), advance=advance, spend=spend,
        physical_batch=physical_batch,
    )  # fmt: skip


def make_private_keras(
    model: Any,  # noqa: ANN401 - Keras has no types
    data: Any,  # noqa: ANN401 - a pair of trees of arrays
    *,
    epsilon: float,
    delta: float,
    loss: Any = None,  # noqa: ANN401 - whatever Keras takes
    optimizer: Any = None,  # noqa: ANN401 - whatever Keras takes
    max_grad_norm: float = 1.0,
    epochs: float = 1,
    batch_size: int | None = None,
    physical_batch: int | None = None,
    accountant: Accountant = "pld",
    replace: bool = False,
) -> "KerasTrainer":
    """Have a Keras model trained as `make_private` has a torch model trained.

        model.compile("adam", "sparse_categorical_crossentropy")
        trainer = make_private_keras(model, (x, y), epsilon=3, delta=1e-5, epochs=20)
        model = trainer.fit()

    Args:
        model: Of Keras 3 on JAX (`KERAS_BACKEND=jax`), built; its `call` is used, neither a
            `train_step` nor its metrics.
        data: Inputs and targets, arrays of one length; several inputs in a list or dict.
        epsilon: As of `make_private`.
        delta: As of `make_private`.
        loss: Of targets and answers, or its name; what the model was compiled with, if not given.
        optimizer: Of Keras, or its name; what the model was compiled with, if not given.
        max_grad_norm: As of `make_private`.
        epochs: As of `make_private`.
        batch_size: Expected size of a batch; 64, if not given.
        physical_batch: As of `make_private_jax`.
        accountant: As of `make_private`.
        replace: Put group or layer normalisation where batch normalisation is, in a copy of the
            model, `trainer.model`.

    Raises:
        InputError: A parameter, the data or the model is unusable; layers are named with what to
            use instead.
        UnavailableError: jax, keras or dp-accounting is not installed.
    """
    _require_jax()
    _check_physical(physical_batch)
    from vallum.defend.dp import jax as engine
    from vallum.defend.dp import keras as models

    rows, records = engine.rows_of(data)
    if not (isinstance(rows, (tuple, list)) and len(rows) == _PAIR):
        raise InputError("the data must be inputs and targets, (x, y)", code="defend.dp.data")
    spend = plan(
        epsilon=epsilon, delta=delta, max_grad_norm=max_grad_norm, epochs=epochs,
        batch_size=batch_size or min(_BATCH, records), records=records, accountant=accountant,
    )  # fmt: skip
    return models.prepared(
        model, rows, loss=loss, optimizer=optimizer, spend=spend, physical_batch=physical_batch,
        replace=replace,
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


def _check_physical(size: int | None) -> None:
    if size is not None and size < 1:
        raise InputError("`physical_batch` must be at least 1", code="defend.dp.parameter")


def _require_jax() -> None:
    try:
        import jax  # noqa: F401 - only to know
    except ImportError as error:
        raise UnavailableError(
            "private training in JAX needs the extra `jax`", code="defend.dp.extra",
            hint="pip install 'vallum[jax]'",
        ) from error  # fmt: skip


def _require_torch() -> None:
    try:
        import torch  # noqa: F401 - only to know
    except ImportError as error:
        raise UnavailableError(
            "private training needs the extra `dptrain`", code="defend.dp.extra",
            hint="pip install 'vallum[dptrain]'",
        ) from error  # fmt: skip

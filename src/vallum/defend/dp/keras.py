"""Keras 3 models, on JAX, under the private steps of `vallum.defend.dp.jax`.

One example at a time goes through `stateless_call`, as a batch of one. What the model would
change beside its trained weights (moving statistics) would be released without noise: nothing of
it is kept, and a model that does so is refused by name. Seeds, of Dropout for instance, are drawn
anew for every example.
"""

import dataclasses
import math
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vallum.base import InputError, UnavailableError
from vallum.defend.dp.jax import Trainer, check_loss, trained
from vallum.defend.dp.problems import GROUPS, MIXES, Problem, refuse
from vallum.defend.dp.spend import Spend

try:
    import keras
    from keras.src.models.functional import Functional
except ImportError as error:
    raise UnavailableError(
        "private training of Keras models needs the extra `jax`", code="defend.dp.extra",
        hint="pip install 'vallum[jax]', and set KERAS_BACKEND=jax",
    ) from error  # fmt: skip

_ROW = 2


class KerasTrainer:
    """A Keras model under private training. Made by `vallum.defend.dp.make_private_keras`.

    Attributes:
        model: The one that is trained: a copy where layers were replaced.
        replaced: What was, a line each.
    """

    def __init__(self, model: Any, steps: Trainer, optimizer: Any, replaced: list[Problem]) -> None:
        """Store; `prepared` checks."""
        self.model = model
        self.replaced = tuple(str(one) for one in replaced)
        self._steps = steps
        self._optimizer = optimizer

    @property
    def spend(self) -> Spend:
        """Return what the whole training costs, however long it is run."""
        return self._steps.spend

    @property
    def steps_left(self) -> int:
        """Return how many noisy steps `spend` still pays for."""
        return self._steps.steps_left

    def fit(
        self, *, steps: int | None = None, progress: Callable[[int, int], None] | None = None
    ) -> Any:
        """Make noisy steps; the model and its optimizer hold their result, also if it is cut short.

        Args:
            steps: How many; all that are left, if not given.
            progress: Called with steps done and steps in all.

        Returns:
            The model.
        """
        try:
            self._steps.train(steps=steps, progress=progress)
        finally:
            _assign(self.model.trainable_variables, self._steps.params)
            _assign(self._optimizer.variables, self._steps.state)
        return self.model


def prepared(
    model: Any,
    rows: Any,
    *,
    loss: Any,
    optimizer: Any,
    spend: Spend,
    physical_batch: int | None,
    replace: bool,
) -> KerasTrainer:
    """Check a model, replace what is asked for, and return its trainer.

    Raises:
        InputError: As of `make_private_keras`.
    """
    if keras.backend.backend() != "jax":
        raise InputError(
            f"the backend of Keras is {keras.backend.backend()}", code="defend.dp.backend",
            hint="set KERAS_BACKEND=jax before Keras is imported",
        )  # fmt: skip
    if not isinstance(model, keras.Model):
        raise InputError("not a Keras model", code="defend.dp.model")
    if not model.built:
        raise InputError(
            "the model has no weights yet", code="defend.dp.model",
            hint="give it a keras.Input, or call it on a batch",
        )  # fmt: skip
    own = (type(model).train_step, type(model).compute_loss)
    if own != (keras.Model.train_step, keras.Model.compute_loss):
        raise InputError(
            "the model has a `train_step` or `compute_loss` of its own, which would not be used",
            code="defend.dp.model",
            hint="make_private_jax takes any loss",
        )
    given = loss if loss is not None else getattr(model, "loss", None)
    chosen = optimizer if optimizer is not None else getattr(model, "optimizer", None)
    found = problems(model)
    replaced: list[Problem] = []
    if replace and found and all(one.automatic for one in found):
        model, replaced = _replaced(model), found
        # What is left is inside of a layer that is made anew as a whole.
        found = [dataclasses.replace(one, automatic=False) for one in problems(model)]
    example = jax.tree.map(lambda one: jnp.asarray(one[0]), rows[0])
    found = found or _changed(model, example)
    if found:
        refuse(found)
    params = trained([one.value for one in model.trainable_variables])
    fixed = [one.value for one in model.non_trainable_variables]
    compiled = _loss_of(model, given)
    check_loss(compiled, params, fixed, rows)
    if replaced and optimizer is None:
        # The one so far belongs to the weights of the model that was copied.
        chosen = getattr(model, "optimizer", None)
    chosen = _optimizer_of(chosen)
    chosen.build(model.trainable_variables)

    def advance(given: Any, state: Any, gradient: Any) -> tuple[Any, Any]:
        found: tuple[Any, Any] = chosen.stateless_apply(state, gradient, given)
        return found

    steps = Trainer(
        compiled, params, rows, fixed=fixed, state=[one.value for one in chosen.variables],
        advance=advance, spend=spend, physical_batch=physical_batch,
    )  # fmt: skip
    return KerasTrainer(model, steps, chosen, replaced)


def problems(model: Any) -> list[Problem]:
    """Return every layer that computes over the batch, by its class."""
    found = []
    for layer in model._flatten_layers(include_self=True, recursive=True):  # noqa: SLF001 - nested ones too, which nothing public lists
        if not isinstance(layer, keras.layers.BatchNormalization):
            continue
        made = _normalisation(layer)
        name = type(made).__name__
        use = f"keras.layers.{name}({made.groups})" if hasattr(made, "groups") else (
            f"keras.layers.{name}()"
        )  # fmt: skip
        able = isinstance(model, (keras.Sequential, Functional))
        found.append(Problem(layer.name, type(layer).__name__, MIXES, use, automatic=able))
    return found


def _normalisation(layer: Any) -> Any:
    """Return what normalises each sample by itself, of the same shape, without its weights."""
    (axis, width) = next(iter(layer.input_spec.axes.items()))
    options = {
        "axis": axis, "epsilon": layer.epsilon, "center": layer.center, "scale": layer.scale,
        "dtype": layer.dtype_policy, "name": layer.name,
    }  # fmt: skip
    if layer.input_spec.ndim == _ROW:
        # A group of one number would be normalised to nothing.
        return keras.layers.LayerNormalization(**options)
    return keras.layers.GroupNormalization(math.gcd(GROUPS, width), **options)


def _replaced(model: Any) -> Any:
    """Return a copy of a model with its weights, and other normalisations."""
    pairs = []

    def copied(layer: Any) -> Any:
        mixes = isinstance(layer, keras.layers.BatchNormalization)
        made = _normalisation(layer) if mixes else type(layer).from_config(layer.get_config())
        made.trainable = layer.trainable
        pairs.append((layer, made))
        return made

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numpy, at Keras' way of reading a variable
        made = keras.models.clone_model(model, clone_function=copied, recursive=True)
    if not made.built:
        made.build(model.input_shape)
    for old, new in pairs:
        kept = [one.value for one in old.weights if id(one) not in _moving(old)]
        _assign(new.weights, kept)
    return made


def _moving(layer: Any) -> set[int]:
    mixes = isinstance(layer, keras.layers.BatchNormalization)
    return {id(layer.moving_mean), id(layer.moving_variance)} if mixes else set()


def _seeds(model: Any) -> set[int]:
    """Return the places of seeds among the variables that are not trained."""
    layers = model._flatten_layers(include_self=True, recursive=True)  # noqa: SLF001 - as above
    held = {
        id(one.state)
        for layer in layers
        for one in layer._seed_generators  # noqa: SLF001 - nothing public lists them
    }
    return {at for at, one in enumerate(model.non_trainable_variables) if id(one) in held}


def _changed(model: Any, example: Any) -> list[Problem]:
    """Return what the model would change of itself while it is trained, but for seeds."""
    seeds = _seeds(model)
    found: set[int] = set()

    def look(params: Any, fixed: Any) -> Any:
        batch = jax.tree.map(lambda one: one[None], example)
        answer, after = model.stateless_call(params, fixed, batch, training=True)
        pairs = enumerate(zip(fixed, after, strict=True))
        found.update(at for at, (old, new) in pairs if old is not new and at not in seeds)
        return answer

    fixed = [one.value for one in model.non_trainable_variables]
    jax.eval_shape(look, [one.value for one in model.trainable_variables], fixed)
    changed = [one for at, one in enumerate(model.non_trainable_variables) if at in found]
    return [
        Problem(one.path, "state", "is computed from the data and kept without noise", "")
        for one in changed
    ]


def _loss_of(model: Any, given: Any) -> Callable[[Any, Any, Any, Any], jax.Array]:
    if isinstance(given, (list, tuple, dict)):
        raise InputError(
            "a loss for each of several outputs is not taken apart", code="defend.dp.losses",
            hint="one function of targets and answers",
        )  # fmt: skip
    measure = keras.losses.get(given) if given is not None else None
    if not callable(measure):
        raise InputError(
            "there is no loss", code="defend.dp.losses",
            hint="compile the model with one, or pass `loss`",
        )  # fmt: skip
    seeds = _seeds(model)

    def loss(params: Any, fixed: Any, example: Any, key: jax.Array) -> jax.Array:
        state = [
            jax.random.bits(jax.random.fold_in(key, at), one.shape, one.dtype)
            if at in seeds
            else one
            for at, one in enumerate(fixed)
        ]
        x, y = jax.tree.map(lambda one: one[None], tuple(example))
        answer, _, extra = model.stateless_call(params, state, x, training=True, return_losses=True)
        found = jnp.mean(jnp.asarray(measure(y, answer)))
        return found + jnp.asarray(sum(extra), found.dtype)

    return loss


def _optimizer_of(given: Any) -> Any:
    if given is None:
        raise InputError(
            "there is no optimizer", code="defend.dp.optimizer",
            hint="compile the model with one, or pass `optimizer`",
        )  # fmt: skip
    made = keras.optimizers.get(given)
    if isinstance(made, keras.optimizers.LossScaleOptimizer):
        raise InputError(
            "a LossScaleOptimizer divides gradients by a scale that no loss was given",
            code="defend.dp.optimizer",
            hint="its inner optimizer, and the policy mixed_bfloat16",
        )
    return made


def _assign(variables: Any, values: Any) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)

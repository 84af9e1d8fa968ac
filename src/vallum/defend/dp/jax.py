"""Private steps in JAX: sample, clip sample by sample, add noise, step. This module imports jax.

A Poisson batch has another size every time; it is cut into physical batches of one size, the last
of which is filled up with rows that count for nothing, so that everything is compiled once.

**Soundness.** Gradients leave one compiled function and enter another, which measures and adds
them: what is measured is what is added, number by number, however the compiler fuses within. The
second works in double precision throughout, whatever the first did: no square overflows or is
lost, and no sum depends on the order of its terms by more than 2^-50 of them. Each example passes
through the model by itself (`vmap`), so that no model can mix those of a batch.
"""

import functools
import math
import secrets
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from vallum.base import InputError
from vallum.defend.dp.gaussian import noisy_sum
from vallum.defend.dp.sampling import poisson_sample
from vallum.defend.dp.spend import SLACK, Spend

Tree = Any  # arrays in tuples, lists and dicts, as JAX has them
Loss = Callable[[Tree, Tree, Tree, jax.Array], jax.Array]
"""Of trained parameters, fixed arrays, one example, and a key; one number."""
Advance = Callable[[Tree, Tree, Tree], tuple[Tree, Tree]]
"""Of parameters, the optimizer's state, and a gradient; the first two anew."""

_MOST_PHYSICAL = 256
_LEAST_PHYSICAL = 8
_WASTED = 4  # physical batches in an expected one: half of one is filled up in vain
_SLICES = 16
_TOGETHER = 4


class Trainer:
    """Parameters under private training, and the steps that are left.

    Made by `vallum.defend.dp.make_private_jax`, which checks.

    Attributes:
        params: As they are now; safe to publish, once `spend` is.
        spend: What the whole training costs.
    """

    def __init__(
        self,
        loss: Loss,
        params: Tree,
        data: Tree,
        *,
        fixed: Tree,
        state: Tree,
        advance: Advance,
        spend: Spend,
        physical_batch: int | None,
    ) -> None:
        """Store and prepare what is compiled at the first step."""
        self.params = params
        self.state = state
        self.spend = spend
        self._fixed = fixed
        self._data = data
        self._expected = spend.sampling_rate * spend.records
        self.physical_batch = physical_batch or _physical(self._expected)
        self._steps = 0
        # What a model draws for itself, as Dropout does, is no part of the guarantee.
        self._key = jax.random.key(secrets.randbits(32))
        self._gradients = jax.jit(jax.vmap(jax.grad(loss), in_axes=(None, None, 0, 0)))
        self._advance = jax.jit(advance)

    @property
    def steps_left(self) -> int:
        """Return how many noisy steps `spend` still pays for."""
        return self.spend.steps - self._steps

    def train(
        self, *, steps: int | None = None, progress: Callable[[int, int], None] | None = None
    ) -> Tree:
        """Make noisy steps, and return the parameters.

        Args:
            steps: How many; all that are left, if not given.
            progress: Called with steps done and steps in all.
        """
        wanted = self.steps_left if steps is None else min(steps, self.steps_left)
        for _ in range(wanted):
            self._step(self._sum(poisson_sample(self.spend.records, self.spend.sampling_rate)))
            if progress is not None:
                progress(self._steps, self.spend.steps)
        return self.params

    def clipped(self, places: Sequence[int]) -> Tree:
        """Return the sum of the clipped gradients of the records at `places`, float64.

        This is not private: `train` adds the noise. It is here for those who check the clipping.
        """
        return jax.tree.unflatten(jax.tree.structure(self.params), self._sum(np.asarray(places)))

    def _sum(self, places: NDArray[np.intp]) -> list[NDArray[np.float64]]:
        size = self.physical_batch
        with jax.enable_x64(True):  # noqa: FBT003 - its only form
            total = [jnp.zeros(one.shape, jnp.float64) for one in jax.tree.leaves(self.params)]
        bound = self.spend.max_grad_norm * (1 - SLACK)
        for first in range(0, len(places), size):
            part = places[first : first + size]
            filled = np.concatenate([part, np.zeros(size - len(part), np.intp)])
            rows = jax.tree.map(lambda one, at=filled: one[at], self._data)
            self._key, key = jax.random.split(self._key)
            found = self._gradients(self.params, self._fixed, rows, jax.random.split(key, size))
            with jax.enable_x64(True):  # noqa: FBT003 - its only form
                total = _added(total, jax.tree.leaves(found), np.arange(size) < len(part), bound)
        return [np.asarray(one) for one in total]

    def _step(self, total: list[NDArray[np.float64]]) -> None:
        """Add noise to the sum of a logical batch, which may be empty, and step."""
        deviation = self.spend.noise_multiplier * self.spend.max_grad_norm
        leaves, structure = jax.tree.flatten(self.params)
        gradient = [
            jnp.asarray((noisy_sum(held, deviation) / self._expected).astype(one.dtype))
            for held, one in zip(total, leaves, strict=True)
        ]
        self.params, self.state = self._advance(
            self.params, self.state, jax.tree.unflatten(structure, gradient)
        )
        self._steps += 1


@functools.partial(jax.jit, donate_argnums=0)
def _added(
    total: list[jax.Array], gradients: list[jax.Array], valid: jax.Array, bound: float
) -> list[jax.Array]:
    """Add clipped gradients (n, ...) of the `valid` samples (n,) to `total`, in float64."""
    squares = jnp.asarray(sum(_squares(one) for one in gradients))
    # A sample whose gradient is no number, or too long for one, contributes nothing.
    counted = valid & jnp.isfinite(squares)
    weights = jnp.where(
        counted, jnp.minimum(bound / jnp.maximum(jnp.sqrt(squares), 1e-300), 1.0), 0.0
    )
    return [
        jax.lax.platform_dependent(held, one, weights, cpu=_one_by_one, default=_at_once)
        for held, one in zip(total, gradients, strict=True)
    ]


def _squares(gradient: jax.Array) -> jax.Array:
    """Return the squared lengths (n,), in float64.

    Slices are added to each other, which processors do several numbers at a time.
    """
    rows = gradient.reshape(len(gradient), -1)
    squared = False
    while rows.shape[1] >= _SLICES or not squared:
        width = rows.shape[1] // _SLICES
        parts = [rows[:, at * width : (at + 1) * width] for at in range(_SLICES)] if width else []
        rest = rows[:, _SLICES * width :]
        wide = [one.astype(jnp.float64) for one in (*parts, rest)]
        if not squared:
            wide = [one * one for one in wide]
        squared = True
        *parts, rest = wide
        rows = jnp.concatenate([sum(parts[1:], parts[0]), rest], axis=1) if parts else rest
    return rows.sum(axis=1)


def _one_by_one(total: jax.Array, gradient: jax.Array, weights: jax.Array) -> jax.Array:
    """Return total + sum of weight times gradient: on a CPU, as fast as a product."""

    def add(at: int, held: jax.Array) -> jax.Array:
        one = jax.lax.dynamic_index_in_dim(gradient, at, 0, keepdims=False).astype(jnp.float64)
        # Infinities times zero are not zero.
        return held + jnp.where(weights[at] > 0, one * weights[at], 0.0)

    found: jax.Array = jax.lax.fori_loop(0, len(gradient), add, total, unroll=_TOGETHER)
    return found


def _at_once(total: jax.Array, gradient: jax.Array, weights: jax.Array) -> jax.Array:
    """Return the same where a loop would be launched step by step."""
    wide = weights.reshape(-1, *[1] * (gradient.ndim - 1))
    scaled = jnp.where(wide > 0, gradient.astype(jnp.float64) * wide, 0.0)
    return total + scaled.sum(axis=0)


def _physical(expected: float) -> int:
    size = _LEAST_PHYSICAL * math.ceil(expected / _WASTED / _LEAST_PHYSICAL)
    return min(max(size, _LEAST_PHYSICAL), _MOST_PHYSICAL)


def rows_of(data: Tree) -> tuple[Tree, int]:
    """Return the data as arrays, and how many records there are.

    Args:
        data: Arrays of one length, in tuples, lists or dicts.

    Raises:
        InputError: It is something else, has no record, or its parts differ in length.
    """
    known = isinstance(data, (tuple, list, dict)) or hasattr(data, "shape")
    leaves = jax.tree.leaves(data) if known else []
    if not leaves or not all(getattr(one, "shape", ()) for one in leaves):
        raise InputError(
            "private training draws records by their number: the data must be arrays",
            code="defend.dp.data",
            hint="a tuple of arrays of one length, or a dict of them",
        )
    sizes = {len(one) for one in leaves}
    if len(sizes) != 1:
        raise InputError(f"the parts of the data have {sorted(sizes)} rows", code="defend.dp.data")
    (records,) = sizes
    if not records:
        raise InputError("the data has no record", code="defend.dp.data")
    return jax.tree.map(np.asarray, data), records


def trained(params: Tree) -> Tree:
    """Return parameters as arrays of JAX.

    Raises:
        InputError: There is none, or one is not of floating-point numbers.
    """
    found = jax.tree_util.tree_leaves_with_path(params)
    if not found:
        raise InputError("no parameter of the model is trained", code="defend.dp.model")
    for path, one in found:
        if not jnp.issubdtype(jnp.result_type(one), jnp.floating):
            raise InputError(
                f"`params{jax.tree_util.keystr(path)}` is {jnp.result_type(one)}:"
                " only floating-point numbers are trained",
                code="defend.dp.model",
                hint="leave out of `params` what is not trained",
            )
    return jax.tree.map(jnp.asarray, params)


def check_loss(loss: Loss, params: Tree, fixed: Tree, data: Tree) -> None:
    """Try the loss on the shape of one example.

    Raises:
        InputError: It is not one floating-point number.
    """
    example = jax.tree.map(lambda one: jnp.asarray(one[0]), data)
    found = jax.eval_shape(loss, params, fixed, example, jax.random.key(0))
    shape, kind = getattr(found, "shape", None), getattr(found, "dtype", np.dtype(object))
    if shape != () or not jnp.issubdtype(kind, jnp.floating):
        raise InputError(
            f"expected one loss an example, a number, got {shape} of {kind}",
            code="defend.dp.losses",
            hint="loss(params, example): one example, without an axis for the batch",
        )

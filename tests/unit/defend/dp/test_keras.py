"""Keras models on the JAX engine: what is refused, what is replaced, what is trained and kept."""

from typing import Any

import numpy as np
import pytest

from vallum.base import InputError
from vallum.defend.dp import make_private_keras

jax = pytest.importorskip("jax", reason="the extra `jax` is not installed")

SETTINGS = {"epsilon": 5.0, "delta": 1e-4, "accountant": "rdp", "batch_size": 8, "epochs": 1}


@pytest.fixture
def keras(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Keras, on JAX: a process has one backend, which is settled at the first import."""
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    found = pytest.importorskip("keras", reason="the extra `jax` is not installed")
    if found.backend.backend() != "jax":
        pytest.skip("Keras was imported with another backend")
    return found


def images(records: int = 24) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(records, 6, 6, 3)).astype(np.float32), np.arange(records) % 2


def values(variables: Any) -> list[Any]:
    return [np.asarray(one.value) for one in variables]


def network(keras: Any, *layers: Any) -> Any:
    model = keras.Sequential(
        [keras.Input((6, 6, 3)), *layers, keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), entropy)
    return model


def test_batch_normalisation_is_named_and_replaced_by_one_of_each_sample(keras: Any) -> None:
    """In a copy, which keeps the other weights, and learns."""
    layers = keras.layers
    model = network(
        keras, layers.Conv2D(8, 3), layers.BatchNormalization(name="norm"), layers.Flatten(),
        layers.BatchNormalization(name="rows"),
    )  # fmt: skip
    model.get_layer("norm").gamma.assign(np.full(8, 3.0))
    with pytest.raises(InputError) as caught:
        make_private_keras(model, images(), **SETTINGS)
    said = "`norm` (BatchNormalization): mixes the samples of a batch; use keras.layers."
    assert f"{said}GroupNormalization(8)" in caught.value.message
    assert "`rows` (BatchNormalization)" in caught.value.message
    assert "keras.layers.LayerNormalization()" in caught.value.message
    assert "replace=True" in caught.value.hint
    trainer = make_private_keras(model, images(), **SETTINGS, replace=True)
    assert len(trainer.replaced) == 2
    for at in (0, 5):
        assert values(model.layers[at].weights)
        for pair in zip(
            values(model.layers[at].weights), values(trainer.model.layers[at].weights), strict=True
        ):
            np.testing.assert_array_equal(*pair)
    made = trainer.model.get_layer("norm")
    assert isinstance(made, keras.layers.GroupNormalization)
    np.testing.assert_array_equal(values(made.weights)[0], np.full(8, 3.0))
    before = values(trainer.model.trainable_variables)
    untouched = values(model.trainable_variables)
    assert trainer.fit() is trainer.model
    assert trainer.steps_left == 0
    moved = zip(before, values(trainer.model.trainable_variables), strict=True)
    assert all(not np.array_equal(*pair) for pair in moved)
    kept = zip(untouched, values(model.trainable_variables), strict=True)
    assert all(np.array_equal(*pair) for pair in kept)


def test_dropout_draws_anew_for_each_example_and_frozen_weights_stay(keras: Any) -> None:
    """Neither seeds nor what is frozen is trained; each example draws for itself."""
    layers = keras.layers
    frozen = layers.Conv2D(4, 3, trainable=False)
    model = network(keras, frozen, layers.Dropout(0.5))
    x, y = images()
    trainer = make_private_keras(model, (x, y), **SETTINGS, max_grad_norm=1e6, physical_batch=4)
    one = trainer._steps.clipped([3])
    two = trainer._steps.clipped([3, 3])
    assert len(one) == 2  # of the last layer alone
    assert not np.allclose(2 * one[0], two[0], rtol=1e-3)
    before = values(frozen.weights)
    trainer.fit(steps=2)
    for old, new in zip(before, values(frozen.weights), strict=True):
        np.testing.assert_array_equal(old, new)
    assert int(model.optimizer.iterations.value) == 2


def test_state_that_the_data_would_change_is_refused(keras: Any) -> None:
    """A layer of one's own that counts what it sees."""

    class Seen(keras.layers.Layer):  # type: ignore[misc]
        def build(self, _: Any) -> None:
            self.sum = self.add_weight(shape=(), trainable=False, name="sum")

        def call(self, x: Any) -> Any:
            self.sum.assign(self.sum + keras.ops.sum(x))
            return x

    with pytest.raises(InputError, match=r"seen/sum` \(state\): is computed from the data"):
        make_private_keras(network(keras, Seen(name="seen")), images(), **SETTINGS)


def test_what_cannot_be_trained_so_is_refused(keras: Any) -> None:
    """Each refusal says what, and what was expected."""
    plain = network(keras)
    two = keras.Model(plain.inputs, [plain.outputs[0], plain.outputs[0]])
    bare = keras.Sequential([keras.Input((6, 6, 3)), keras.layers.Flatten()])
    loose = keras.Sequential([keras.layers.Dense(2)])

    class Own(keras.Model):  # type: ignore[misc]
        def train_step(self, *given: Any) -> Any:
            return given

    own = Own(plain.inputs, plain.outputs)
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD())
    for model, more, said in (
        (keras.layers.Dense(2), {}, "not a Keras model"),
        (loose, {}, "the model has no weights yet"),
        (own, {}, "`train_step` or `compute_loss` of its own"),
        (two, {"loss": ["mse", "mse"], "optimizer": "sgd"}, "a loss for each of several outputs"),
        (bare, {"loss": "mse", "optimizer": "sgd"}, "no parameter of the model is trained"),
        (two, {"optimizer": "sgd"}, "there is no loss"),
        (two, {"loss": lambda y, z: z[0].sum()}, "there is no optimizer"),
        (plain, {"optimizer": scaled}, "a LossScaleOptimizer"),
    ):
        with pytest.raises(InputError, match=said):
            make_private_keras(model, images(), **SETTINGS, **more)
    with pytest.raises(InputError, match="the data must be inputs and targets"):
        make_private_keras(plain, images()[0], **SETTINGS)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "bfloat16"])
def test_no_example_moves_the_sum_of_a_keras_model_beyond_the_bound(
    keras: Any, policy: str
) -> None:
    """A convolution, a group norm and an embedded regulariser, in every precision."""
    layers = keras.layers
    dtype = {"dtype": policy}
    model = keras.Sequential([
        keras.Input((6, 6, 3)),
        layers.Conv2D(8, 3, kernel_regularizer=keras.regularizers.L2(0.1), **dtype),
        layers.GroupNormalization(4, **dtype), layers.Flatten(), layers.Dense(2, **dtype),
    ])  # fmt: skip
    x, y = images(9)
    x[0] *= 1e4
    trainer = make_private_keras(
        model, (x, y), **SETTINGS, max_grad_norm=0.25, physical_batch=9, optimizer="sgd",
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )  # fmt: skip
    whole = trainer._steps.clipped(range(9))
    for left in range(9):
        rest = trainer._steps.clipped([one for one in range(9) if one != left])
        moved = sum(((a - b) ** 2).sum() for a, b in zip(whole, rest, strict=True)) ** 0.5
        assert 0 < moved <= 0.25

"""The JAX engine: each example's share is clipped as accounted, and noise is the cipher's."""

import functools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from vallum.base import InputError
from vallum.defend.dp import Spend, epsilon_of, make_private_jax
from vallum.defend.dp.gaussian import GRID_BITS
from vallum.defend.dp.spend import SLACK

jax = pytest.importorskip("jax", reason="the extra `jax` is not installed")
optax = pytest.importorskip("optax", reason="the extra `jax` is not installed")

import jax.numpy as jnp  # noqa: E402

N, BOUND = 7, 0.5
KINDS = ("float32", "bfloat16", "float16")


def network(width: int, kind: str) -> dict[str, Any]:
    rng = np.random.default_rng(width)
    shapes = {"in": (width, 5), "norm": (5,), "out": (5, 3)}
    return {name: jnp.asarray(rng.normal(size=of), kind) for name, of in shapes.items()}


def loss(params: Any, example: Any) -> Any:
    x, y, weight = example
    z = jnp.tanh(x.astype(params["in"].dtype) @ params["in"]) * params["norm"]
    scores = (z @ params["out"]).astype(jnp.float32)
    return weight * (jax.nn.logsumexp(scores) - scores[y])


def private(params: Any, data: Any, *, of: Any = loss, **more: Any) -> Any:
    arguments = {"epsilon": 5, "delta": 1e-4, "accountant": "rdp", "batch_size": 3,
                 "max_grad_norm": BOUND, "physical_batch": 4} | more  # fmt: skip
    return make_private_jax(of, params, optax.sgd(0.1), data, **arguments)


def rows(width: int, seed: int = 0, scale: float = 1.0) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(N, width)) * scale).astype(np.float32)
    return x, rng.integers(0, 3, N), np.ones(N, np.float32)


@functools.cache
def compiled(width: int, kind: str) -> Any:
    """A trainer whose records are changed from one trial to the next, so that it compiles once."""
    return private(network(width, kind), rows(width), physical_batch=N)


def length_of(tree: Any) -> float:
    return float(np.sqrt(sum((np.asarray(one, np.float64) ** 2).sum() for one in tree)))


def leaves(tree: Any) -> list[Any]:
    return [np.asarray(one, np.float64) for one in jax.tree.leaves(tree)]


@pytest.mark.slow
@settings(max_examples=40)
@given(
    width=st.sampled_from([3, 40]),
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 2**31),
    scale=st.sampled_from([1e-30, 1e-3, 1.0, 1e4, 1e30]),
    outlier=st.sampled_from([1.0, 1e6, 1e37, float("inf"), float("nan")]),
)
def test_no_example_moves_the_sum_by_more_than_is_accounted(
    *, width: int, kind: str, seed: int, scale: float, outlier: float
) -> None:
    """Whoever is left out, in whichever precision, the sum moves by at most the bound."""
    trainer = compiled(width, kind)
    x, y, weight = rows(width, seed, scale)
    weight[0] = outlier
    weight[1] = 1e5  # clipped
    trainer._data = (x, y, weight)
    whole = leaves(trainer.clipped(range(N)))
    assert all(np.isfinite(one).all() for one in whole)
    for left in range(N):
        without = leaves(trainer.clipped([one for one in range(N) if one != left]))
        moved = length_of([a - b for a, b in zip(whole, without, strict=True)])
        assert moved <= BOUND
        assert length_of(leaves(trainer.clipped([left]))) <= BOUND


@pytest.mark.parametrize("kind", KINDS)
def test_the_sum_is_that_of_examples_one_by_one(kind: str) -> None:
    """Short gradients as they are, long ones at the bound, those that are no number not at all."""
    x, y, weight = rows(4)
    weight[:] = [1e-3, 1e3, 1, np.nan, 0.1, np.inf, 50]
    params = network(4, kind)
    trainer = private(params, (x, y, weight))
    expected = [np.zeros(one.shape) for one in leaves(params)]
    for at in range(N):
        if np.isfinite(weight[at]):
            found = leaves(jax.grad(loss)(params, (x[at], y[at], weight[at])))
            share = min(1.0, BOUND * (1 - SLACK) / length_of(found))
            expected = [a + share * b for a, b in zip(expected, found, strict=True)]
    rough = 1e-5 if kind == "float32" else 0.02
    for left, right in zip(leaves(trainer.clipped(range(N))), expected, strict=True):
        np.testing.assert_allclose(left, right, atol=rough)


def test_both_engines_clip_to_the_same_sums_at_the_same_cost() -> None:
    """A linear model in torch and in JAX: equal sums, equal epsilon, equal noise."""
    torch = pytest.importorskip("torch", reason="the extra `dptrain` is not installed")
    from vallum.defend.dp import make_private

    torch.manual_seed(0)
    x, y, _ = rows(4)
    linear = torch.nn.Linear(4, 3)
    settled = {"epsilon": 5, "delta": 1e-4, "batch_size": 3, "epochs": 2, "accountant": "rdp",
               "max_grad_norm": 0.5}  # fmt: skip
    theirs = make_private(linear, torch.optim.SGD(linear.parameters(), lr=1), (x, y), **settled)
    losses = torch.nn.functional.cross_entropy(
        linear(torch.from_numpy(x)), torch.from_numpy(y), reduction="none"
    )

    def line(params: Any, example: Any) -> Any:
        scores = params["weight"] @ example[0] + params["bias"]
        return jax.nn.logsumexp(scores) - scores[example[1]]

    params = {name: one.detach().numpy() for name, one in linear.named_parameters()}
    ours = make_private_jax(line, params, optax.sgd(1.0), (x, y), **settled)
    assert ours.spend == theirs.spend
    found = ours.clipped(range(N))
    for name, total in zip(("weight", "bias"), theirs.clipped(losses), strict=True):
        np.testing.assert_allclose(found[name], total.numpy(), rtol=2e-3, atol=1e-6)


def test_noise_is_normal_new_and_on_its_grid() -> None:
    """Where no gradient is, a step moves parameters by noise alone; no two trainings agree."""
    params = {"a": jnp.zeros(15_000), "b": jnp.zeros((50, 100))}
    x = np.ones((40, 2), np.float32)

    def flat(given: Any, example: Any) -> Any:
        return 0.0 * (given["a"].sum() + given["b"].sum()) * example.sum()

    drawn = []
    for _ in range(2):
        trainer = make_private_jax(
            flat, params, optax.sgd(1.0), x, epsilon=5, delta=1e-3, batch_size=8, accountant="rdp"
        )
        trainer.train(steps=1)
        deviation = trainer.spend.noise_multiplier / 8
        drawn.append(-np.concatenate([one.ravel() for one in leaves(trainer.params)]))
        assert stats.kstest(drawn[-1] / deviation, "norm").pvalue > 1e-9
    assert abs(stats.pearsonr(*drawn).statistic) < 6 / 20_000**0.5
    from vallum.defend.dp.gaussian import noisy_sum

    noisy = noisy_sum(np.full(20_000, 1 / 3), 0.7)
    grid = 2.0 ** (-1 - GRID_BITS)
    assert np.array_equal(np.round(noisy / grid) * grid, noisy)
    assert stats.kstest((noisy - 1 / 3) / 0.7, "norm").pvalue > 1e-9


def test_batches_of_every_size_are_compiled_once_and_add_up() -> None:
    """Filled rows count for nothing; an empty batch is a step of noise."""
    traced = []

    def counted(params: Any, example: Any) -> Any:
        traced.append(1)
        return loss(params, example)

    trainer = private(network(4, "float32"), rows(4), of=counted, epochs=4)
    whole = trainer.clipped(range(N))
    parts = [trainer.clipped(range(5)), trainer.clipped([5]), trainer.clipped([6])]
    for left, *right in zip(leaves(whole), *map(leaves, parts), strict=True):
        np.testing.assert_allclose(left, sum(right), rtol=1e-5, atol=1e-7)
    assert not any(one.any() for one in leaves(trainer.clipped([])))
    seen: list[tuple[int, int]] = []
    trainer.train(progress=lambda done, steps: seen.append((done, steps)))
    assert len(traced) == 2  # the trial of its shape, and the compiled one
    assert seen[-1] == (trainer.spend.steps, trainer.spend.steps)
    assert trainer.steps_left == 0
    after = leaves(trainer.params)
    trainer.train()
    assert all(np.array_equal(a, b) for a, b in zip(after, leaves(trainer.params), strict=True))


def test_a_keyed_loss_draws_anew_for_each_example() -> None:
    """Two equal examples contribute differently."""

    def drawn(params: Any, example: Any, key: Any) -> Any:
        return params @ jax.random.normal(key, (3,)) * example

    trainer = private(jnp.zeros(3), np.ones(9, np.float32), of=drawn, keyed=True)
    first, second = trainer.clipped([0]), trainer.clipped([0, 0])
    assert not np.allclose(second, 2 * first)


def test_digits_are_learned_within_the_budget() -> None:
    """A small network learns digits at epsilon 8, to 0.8 and more of those never seen."""
    datasets = pytest.importorskip("sklearn.datasets", reason="digits come with scikit-learn")
    digits = datasets.load_digits()
    x, y = (digits.data / 16).astype(np.float32), digits.target
    rng = np.random.default_rng(0)
    params = {
        "in": rng.normal(size=(64, 32)).astype(np.float32) / 8, "a": np.zeros(32, np.float32),
        "out": rng.normal(size=(32, 10)).astype(np.float32) / 6, "b": np.zeros(10, np.float32),
    }  # fmt: skip

    def scores(given: Any, of: Any) -> Any:
        return jnp.tanh(of @ given["in"] + given["a"]) @ given["out"] + given["b"]

    def entropy(given: Any, example: Any) -> Any:
        found = scores(given, example[0])
        return jax.nn.logsumexp(found) - found[example[1]]

    trainer = make_private_jax(
        entropy, params, optax.adam(0.02), (x[:1400], y[:1400]), epsilon=8, delta=1e-4, epochs=15,
        batch_size=128, accountant="rdp",
    )  # fmt: skip
    learned = trainer.train()
    spend = trainer.spend
    assert isinstance(spend, Spend)
    assert 7.5 < spend.epsilon <= 8
    assert spend.epsilon == epsilon_of(
        noise_multiplier=spend.noise_multiplier, sampling_rate=128 / 1400, steps=spend.steps,
        delta=1e-4, accountant="rdp",
    )  # fmt: skip
    assert float((scores(learned, x[1400:]).argmax(1) == y[1400:]).mean()) > 0.8


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"params": {"a": [jnp.zeros(3), jnp.zeros(2, int)]}}, r"`params\['a'\]\[1\]` is int"),
        ({"params": {}}, "no parameter of the model is trained"),
        ({"of": lambda params, example: params * example}, r"got \(3,\) of float32"),
        ({"of": lambda params, example: 3}, "expected one loss an example"),
        ({"data": (np.zeros((9, 3)), np.zeros(8))}, r"the parts of the data have \[8, 9\] rows"),
        ({"data": iter([])}, "the data must be arrays"),
        ({"data": np.zeros((0, 3))}, "the data has no record"),
        ({"physical_batch": 0}, "`physical_batch` must be at least 1"),
        ({"max_grad_norm": 0.0}, "`max_grad_norm` must be positive"),
        ({"delta": 0.5}, "is not below 1/9"),
        ({"batch_size": 10}, "`batch_size` must be from 1 to the 9 records, got 10"),
    ],
)
def test_what_cannot_be_trained_is_refused(changed: dict[str, Any], said: str) -> None:
    """Each refusal says what, and what was expected."""
    arguments: dict[str, Any] = {
        "params": jnp.zeros(3), "data": np.zeros((9, 3), np.float32),
        "of": lambda params, example: params @ example, **changed,
    }  # fmt: skip
    params, data = arguments.pop("params"), arguments.pop("data")
    with pytest.raises(InputError, match=said):
        private(params, data, **arguments)


def test_an_optimizer_of_another_library_is_refused() -> None:
    """It would not know what to do with a gradient of JAX."""
    with pytest.raises(InputError, match="the optimizer has no `init` and `update`"):
        make_private_jax(
            lambda params, example: params @ example, jnp.zeros(3), "adam", np.zeros((9, 3)),
            epsilon=1, delta=1e-3,
        )  # fmt: skip

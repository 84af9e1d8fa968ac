"""A walk along the boundary, by labels alone: near the exact distance, counted, never robust."""

from typing import Any

import numpy as np
import pytest
from attack_victims import Watched, affine

from vallum.attack import Space, boundary, scaled
from vallum.base import GateError, InputError


class Labels:
    """A model that tells nothing but its class, dressed as scores."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def predict(self, x: Any) -> Any:
        scores = self.model.predict(x)
        return np.eye(scores.shape[1])[scores.argmax(axis=1)]


class Corner:
    """Class 1 where both features are positive."""

    def predict(self, x: Any) -> Any:
        inside = (x > 0).all(axis=1).astype(np.float64)
        return np.stack([1 - inside, inside], axis=1)


def walk(model: Any, x: Any, y: Any, seed: int = 0, **more: Any) -> Any:
    return boundary(model, x, y, rng=np.random.default_rng(seed), **more)


@pytest.mark.parametrize(("shape", "above"), [((6,), 1.002), ((1, 5, 6), 1.02)])
def test_it_comes_near_the_exact_distance_and_every_flip_is_one(shape: Any, above: Any) -> None:
    model, x, y = affine(3, shape)
    found = walk(Labels(model), x, y, queries=1000)
    assert found.adversarial.all()
    assert (model.predict(found.points).argmax(axis=1) != y).all()
    gap = (found.points.astype(np.float64) - x).reshape(len(x), -1)
    assert found.distance == pytest.approx(np.linalg.norm(gap, axis=1))
    ratio = found.distance / model.distance(x, "l2")
    assert ratio.min() >= 0.9999
    assert np.median(ratio) <= above
    # A few walks end at the plane of a class that is not the nearest one.
    assert np.quantile(ratio, 0.9) <= 1.1
    assert not found.idle.any()
    assert found.complete


@pytest.mark.parametrize("queries", [3, 20, 200])
def test_no_record_is_asked_about_more_often_than_it_may_be(queries: int) -> None:
    model, x, y = affine(3, (20,))
    watched = Watched(Labels(model))
    y[0] = (y[0] + 1) % 3  # wrong before: nothing to look for
    found = walk(watched, x, y, queries=queries)
    assert watched.asked == found.queries.sum()
    assert (found.queries[1:] == queries).all()
    assert found.queries[0] == 2
    assert found.distance[0] == 0
    assert (found.points[0] == x[0]).all()


def test_the_same_seed_finds_the_same() -> None:
    model, x, y = affine(3, (8,), count=30)
    first, again, other = (walk(model, x, y, seed=one, queries=150) for one in (1, 1, 2))
    assert (first.points == again.points).all()
    assert (first.queries == again.queries).all()
    assert (first.points != other.points).any()


def test_flips_beyond_epsilon_and_outside_the_range_are_none() -> None:
    model, x, y = affine(2, (8,))
    exact = model.distance(x, "l2")
    watched = Watched(model)
    found = walk(watched, x, y, queries=400, epsilon=float(np.median(exact)), clip=(-0.5, 0.5))
    assert np.abs(np.concatenate(watched.points)).max() <= 0.5
    assert 0.3 <= found.adversarial.mean() <= 0.5
    assert not found.adversarial[exact > np.median(exact)].any()
    assert (found.points[~found.adversarial] == x[~found.adversarial]).all()
    assert not found.idle.any()


def test_a_record_without_a_start_is_idle_and_without_any_it_is_an_error() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 2)).astype(np.float32)
    y = Corner().predict(x).argmax(axis=1)
    held = Space.infer(x, x, fixed=[0])
    z = held.scaled(x).astype(np.float32)
    model = scaled(Labels(Corner()), held, (2,))
    found = walk(model, z, y, queries=100, space=held)
    assert found.idle[x[:, 0] <= 0].all()
    assert (found.adversarial == ~found.idle).all()
    assert found.adversarial.sum() > 20
    assert (found.points[:, 0] == z[:, 0]).all()
    stuck = x[:, 0] <= 0
    with pytest.raises(GateError) as refused:
        walk(model, z[stuck], y[stuck], queries=100, space=held, known=(z, y))
    assert refused.value.code == "attack.idle"


def test_known_records_give_a_single_one_its_start() -> None:
    model, x, y = affine(2, (4,))
    found = walk(Labels(model), x[:1], y[:1], queries=300, known=(x, y))
    assert found.distance[0] == pytest.approx(model.distance(x[:1], "l2")[0], rel=0.02)
    with pytest.raises(GateError) as refused:
        walk(Labels(model), x[:1], y[:1])
    assert refused.value.code == "attack.constant"


@pytest.mark.parametrize(
    ("scores", "code"),
    [
        (lambda s: np.tile([0.0, 1.0], (len(s), 1)), "attack.constant"),
        (lambda s: s.argmax(axis=1), "attack.scores"),
        (lambda s: np.full_like(s, np.nan), "attack.scores"),
        (lambda s: np.random.default_rng().random(s.shape), "attack.deterministic"),
        (lambda s: s[:, 9], "attack.model"),
    ],
    ids=["one-class", "flat", "nan", "random", "crash"],
)
def test_a_model_that_cannot_be_assessed_is_an_error(scores: Any, code: str) -> None:
    model, x, y = affine(2, (4,))

    class Broken:
        def predict(self, asked: Any) -> Any:
            return scores(model.predict(asked))

    with pytest.raises(GateError) as refused:
        walk(Broken(), x, y)
    assert refused.value.code == code


def test_what_does_not_fit_is_refused() -> None:
    model, x, y = affine(2, (4,))
    for changed in (
        {"known": (x[:, :3], y)}, {"known": (x, y[:-1])}, {"known": (x * np.nan, y)},
        {"space": Space.of(x[:, :3], x[:, :3])}, {"queries": 2}, {"epsilon": 0.0},
    ):  # fmt: skip
        with pytest.raises(InputError):
            walk(model, x, y, **changed)

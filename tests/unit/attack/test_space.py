"""Attacks on tables ask only about records that may exist."""

from typing import Any

import numpy as np
import pytest
from attack_victims import Affine, Watched
from hypothesis import given
from hypothesis import strategies as st

from vallum.attack import Space, apgd, boundary, nearest_flips, scaled, simba, square
from vallum.base import InputError


def mixed(rows: int = 80, seed: int = 0) -> Any:
    """Return records: a real column, a whole one, three of a group, one that is constant."""
    rng = np.random.default_rng(seed)
    group = np.eye(3)[rng.integers(0, 3, rows)]
    parts = [rng.normal(5, 2, (rows, 1)), rng.integers(18, 90, (rows, 1)), group]
    return np.concatenate([*parts, np.full((rows, 1), 7.3)], axis=1).astype(np.float32)


def victim(x: Any) -> Any:
    """Return a linear model that splits the records in the middle."""
    direction = np.array([1.0, 0.1, 0.6, -0.6, 0.0, 0.0])
    middle = float(np.median(x @ direction))
    return Affine(np.stack([-direction, direction], axis=1), np.array([middle, -middle]))


def test_whole_numbers_groups_and_constants_are_read_off_the_data() -> None:
    x = mixed()
    space = Space.infer(x, x)
    assert space.whole.tolist() == [False, True, True, True, True, False]
    assert space.fixed.tolist() == [False] * 5 + [True]
    assert space.groups == ((2, 3, 4),)
    held = Space.infer(x, x, fixed=[3], real=[1])
    assert held.fixed.tolist() == [False, False, True, True, True, True]
    assert held.groups == ()
    assert not held.whole.any()
    assert np.array_equal(space.raw(space.scaled(x))[:, 1:], x[:, 1:])


@pytest.mark.parametrize("named", [(0, 6.0, 7.0), (1, 200.0, 100.0)])
def test_a_range_that_the_data_leaves_is_refused(named: Any) -> None:
    x = mixed()
    with pytest.raises(InputError, match="outside of the range") as refused:
        Space.infer(x, x, ranges=[named])
    assert refused.value.code == "attack.range"


@given(st.integers(0, 10**6), st.floats(0.01, 30.0))
def test_a_repaired_point_may_exist_and_repairing_it_again_changes_nothing(
    seed: int, size: float
) -> None:
    x = mixed()
    space = Space.infer(x, x, ranges=[(1, 0, 120)])
    rng = np.random.default_rng(seed)
    origin = space.scaled(x).astype(np.float32)
    points = origin + rng.normal(0, size, origin.shape).astype(np.float32)
    repaired = space.repair(points, origin)
    assert space.allows(space.raw(repaired), x).all()
    assert np.array_equal(space.raw(space.repair(repaired, origin)), space.raw(repaired))
    loose = [0, 1, 5]
    assert (np.abs(repaired - origin) <= np.abs(points - origin) + 1e-3)[:, loose].all()


def test_every_question_of_every_attack_is_about_a_record_that_may_exist() -> None:
    x = mixed()
    model = victim(x)
    y = model.predict(x).argmax(axis=1)
    space = Space.infer(x, x, fixed=[0])
    z = space.scaled(x).astype(np.float32)
    steps = space.step(0.3)
    attacks = {
        "HopSkipJump": lambda watched: nearest_flips(
            watched, x, y, space=space, epsilon=0.5, budget_s=60.0, rng=np.random.default_rng(1)
        ).distance <= 0.5,
        "Square": lambda watched: square(
            scaled(watched, space, x.shape[1:]), z, y, epsilon=1.2, norm="l2", queries=200,
            rng=np.random.default_rng(1), repair=space.repair,
        ).adversarial,
        "SimBA": lambda watched: simba(
            scaled(watched, space, x.shape[1:]), z, y, epsilon=1.2, norm="l2", queries=200,
            rng=np.random.default_rng(1), repair=space.repair, steps=steps,
        ).adversarial,
        "Boundary": lambda watched: boundary(
            scaled(watched, space, x.shape[1:]), z, y, epsilon=1.2, queries=200,
            rng=np.random.default_rng(1), space=space,
        ).adversarial,
        "APGD": lambda watched: apgd(
            scaled(watched, space, x.shape[1:]), z, y, epsilon=1.2, norm="l2", steps=30,
            rng=np.random.default_rng(1), repair=space.repair,
        ).adversarial,
    }  # fmt: skip
    for name, attack in attacks.items():
        watched = Watched(model)
        flipped = attack(watched)
        asked = np.concatenate(watched.points)
        assert len(asked) > len(x), name
        free = Space.infer(x, x)
        assert free.allows(asked, x[np.zeros(len(asked), np.intp)]).all(), name
        assert np.isin(asked[:, 0], x[:, 0]).all(), name
        assert 0 < flipped.sum() < len(x), name


def test_a_record_without_a_start_bounds_nothing_from_above() -> None:
    x = mixed()
    direction = np.array([1.0, 0, 0, 0, 0, 0])
    middle = float(np.median(x @ direction))
    model = Affine(np.stack([-direction, direction], axis=1), np.array([middle, -middle]))
    y = model.predict(x).argmax(axis=1)
    found = nearest_flips(
        model, x, y, space=Space.infer(x, x, fixed=[0]), epsilon=0.1, budget_s=60.0,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    assert np.isinf(found.distance).all()
    assert np.array_equal(found.points, x[found.rows])
    assert found.report.success_rate == 0
    assert found.report.success_high == pytest.approx(1.0)

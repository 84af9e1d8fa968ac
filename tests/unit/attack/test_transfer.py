"""Flips of a surrogate within the ball, and what the suite makes of them."""

from typing import Any

import numpy as np
import pytest
from attack_victims import Affine, Scored, Watched, affine

from vallum.attack import momentum_transfer
from vallum.attack.suite import array_subject, make_plan, run_suite, table_subject
from vallum.base import InputError


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_on_a_linear_model_every_flip_that_is_possible_is_found(norm: Any) -> None:
    model, x, y = affine(2, (6,))
    for epsilon in (0.02, 0.1, 0.3):
        points = momentum_transfer(model, x, y, epsilon=epsilon, norm=norm, clip=(-np.inf, np.inf))
        gap = points.astype(np.float64) - x
        size = np.abs(gap).max(axis=1) if norm == "linf" else np.linalg.norm(gap, axis=1)
        assert size.max() <= epsilon * (1 + 1e-6)
        flipped = model.predict(points).argmax(axis=1) != y
        possible = model.distance(x, norm) < epsilon * (1 - 1e-3)
        assert (flipped[possible]).all()
        assert not flipped[model.distance(x, norm) > epsilon].any()


def test_points_stay_in_the_range_and_settings_are_checked() -> None:
    model, x, y = affine(3, (5,))
    points = momentum_transfer(model, x, y, epsilon=0.4, norm="linf", clip=(-0.5, 0.5))
    assert points.min() >= -0.5
    assert points.max() <= 0.5
    for wrong in ({"epsilon": 0.0}, {"steps": 0}, {"decay": 2.0}):
        with pytest.raises(InputError):
            momentum_transfer(
                model, x, y, **{"epsilon": 0.1, "norm": "l2", "clip": (-1, 1), **wrong}
            )


def attacked(given: Any, model: Any) -> Any:
    plan = make_plan(given, access="labels", suite="standard", budget_s=36000)
    report = run_suite(model, given, plan)
    return next(one for one in report.threats[0].attacks if one.attack == "transfer"), report


def test_a_suite_that_sees_labels_only_finds_flips_by_a_surrogate() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((200, 1, 4, 4), dtype=np.float32)
    weights = rng.standard_normal((16, 3))
    victim = Watched(Scored(Affine(weights, np.zeros(3))))
    y = victim.predict(x).argmax(axis=1)
    used, report = attacked(array_subject(x, y, epsilon=0.05), victim)
    assert used.outcome.value == "done"
    possible = (Affine(weights, np.zeros(3)).distance(x, "linf") <= 0.05).mean()
    assert 0.5 * possible <= used.rate <= possible + 0.15
    assert used.queries <= used.planned
    assert report.threats[0].rate >= used.rate


def test_flips_of_a_table_are_records_that_may_exist() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(0, 1, (300, 4)).astype(np.float32)
    x[:, 0] = np.rint(10 * x[:, 0])
    model = Watched(Scored(Affine(np.array([[0.0, 0.0], [-1, 1], [-1, 1], [-1, 1]]), np.zeros(2))))
    y = model.predict(x).argmax(axis=1)
    given = table_subject(x, y, names=["a", "b", "c", "d"], fixed=["d"], epsilon=0.3)
    used, _ = attacked(given, model)
    assert used.outcome.value == "done"
    assert used.rate > 0.05

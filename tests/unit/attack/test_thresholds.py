"""Moves past the thresholds of trees: found in every format, never outside of what may exist."""

from typing import Any

import numpy as np
import pytest
from attack_victims import Watched

from vallum.attack.boosted import BoostedTrees
from vallum.attack.space import Space
from vallum.attack.square import square
from vallum.attack.suite import make_plan, run_suite, table_subject
from vallum.attack.thresholds import Splits, cross_thresholds, onnx_splits, sklearn_splits


class Forest:
    def __init__(self, model: Any) -> None:
        self.model = model

    def predict(self, x: Any) -> Any:
        return self.model.predict_proba(x).astype(np.float64)


@pytest.fixture(scope="module")
def cancer() -> Any:
    datasets = pytest.importorskip("sklearn.datasets", reason="the data is scikit-learn's")
    ensemble = pytest.importorskip("sklearn.ensemble", reason="the forest is scikit-learn's")
    x, y = datasets.load_breast_cancer(return_X_y=True)
    x = x.astype(np.float32)
    forest = ensemble.RandomForestClassifier(30, random_state=0).fit(x[:300], y[:300])
    held, truth = x[300:], y[300:]
    right = forest.predict(held) == truth
    return forest, x[:300], held[right][:60], truth[right][:60]


def crossed(cancer: Any, *, epsilon: float, **more: Any) -> Any:
    forest, base, x, y = cancer
    space = Space.infer(base, x, **more.pop("space", {}))
    model = Watched(Forest(forest))
    found = cross_thresholds(
        model, x, y, more.pop("splits", None) or sklearn_splits(forest), space,
        radius=epsilon * np.sqrt(30), rng=np.random.default_rng(0),
        queries=more.pop("queries", 300), **more,
    )  # fmt: skip
    return found, model, space


def test_flips_lie_in_the_ball_and_more_are_found_than_by_scores_alone(cancer: Any) -> None:
    forest, _base, x, y = cancer
    found, model, space = crossed(cancer, epsilon=0.1)
    assert found.distance.max() <= 0.1 * np.sqrt(30) * (1 + 1e-6)
    assert (forest.predict(found.points) != y)[found.flipped].all()
    assert space.allows(found.points, x).all()
    assert model.asked <= 300 * len(x)
    z = space.scaled(x).astype(np.float32)
    low, high = (one.astype(np.float32) for one in space.clip())

    class Scaled:
        def predict(self, points: Any) -> Any:
            return Forest(forest).predict(space.raw(points))

    blind = square(
        Scaled(), z, y, epsilon=0.1 * np.sqrt(30), norm="l2", rng=np.random.default_rng(0),
        queries=300, clip=(np.minimum(low, z.min(axis=0)), np.maximum(high, z.max(axis=0))),
    )  # fmt: skip
    assert found.flipped.sum() > blind.adversarial.sum()


def test_a_single_threshold_is_crossed_exactly_and_only_where_it_is_near() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (80, 3)).astype(np.float32)

    class Stump:
        def predict(self, points: Any) -> Any:
            one = np.where(points[:, 1] <= np.float32(0.5), 0.9, 0.1)
            return np.stack([one, 1 - one], axis=1)

    y = Stump().predict(x).argmax(axis=1)
    space = Space.of(x, x)
    found = cross_thresholds(
        Stump(), x, y, Splits.of([1], [0.5]), space, radius=0.4, queries=10, rng=rng
    )
    gap = np.abs(x[:, 1] - 0.5) / space.scale[1]
    assert np.array_equal(found.flipped, gap < 0.4)
    assert np.allclose(found.distance[found.flipped], gap[found.flipped], atol=1e-5)


def test_fixed_columns_stay_and_whole_ones_stay_whole(cancer: Any) -> None:
    _forest, _base, x, y = cancer
    fixed = list(range(0, 30, 2))
    found, _, _ = crossed(cancer, epsilon=0.3, space={"fixed": fixed})
    assert np.array_equal(found.points[:, fixed], x[:, fixed])
    rng = np.random.default_rng(0)
    whole = rng.integers(0, 9, (60, 2)).astype(np.float32)

    class Sum:
        def predict(self, points: Any) -> Any:
            one = np.where(points[:, 0] > 4.5, 0.9, 0.1)
            return np.stack([1 - one, one], axis=1)

    y = Sum().predict(whole).argmax(axis=1)
    space = Space.infer(whole, whole)
    moved = cross_thresholds(
        Sum(), whole, y, Splits.of([0], [4.5]), space, radius=2.0, queries=9, rng=rng
    )
    assert moved.flipped.any()
    assert (moved.points == np.rint(moved.points)).all()
    assert space.allows(moved.points, whole).all()


def test_thresholds_are_read_from_every_format(cancer: Any, tmp_path: Any) -> None:
    forest, base, _x, _y = cancer
    told = sklearn_splits(forest)
    assert told is not None
    inner = sum(int((one.tree_.children_left >= 0).sum()) for one in forest.estimators_)
    assert 0 < len(told.features) <= inner
    skl2onnx = pytest.importorskip("skl2onnx", reason="the graph is exported with it")
    graph = skl2onnx.to_onnx(forest, base[:1], options={"zipmap": False}).SerializeToString()
    exported = onnx_splits(graph)
    assert exported is not None
    assert np.array_equal(exported.features, told.features)
    assert np.allclose(exported.values, told.values, rtol=1e-6)
    ensemble = pytest.importorskip("sklearn.ensemble")
    for model in (ensemble.GradientBoostingClassifier(n_estimators=3),
                  ensemble.HistGradientBoostingClassifier(max_iter=3)):  # fmt: skip
        assert sklearn_splits(model.fit(base[:100], forest.predict(base[:100]))) is not None
    linear = pytest.importorskip("sklearn.linear_model").LogisticRegression()
    assert sklearn_splits(linear.fit(base[:100] / 100, forest.predict(base[:100]))) is None
    xgboost = pytest.importorskip("xgboost", reason="xgboost makes the model")
    boosted = xgboost.XGBClassifier(n_estimators=5).fit(base, forest.predict(base))
    boosted.save_model(tmp_path / "m.json")
    ours = BoostedTrees((tmp_path / "m.json").read_bytes()).splits()
    frame = boosted.get_booster().trees_to_dataframe()
    assert len(ours.values) == len(frame[frame.Feature != "Leaf"].drop_duplicates(
        ["Feature", "Split"]))  # fmt: skip
    assert onnx_splits(b"no graph") is None


def test_the_suite_makes_it_where_thresholds_are_known(cancer: Any) -> None:
    from dataclasses import replace

    forest, _base, x, y = cancer
    given = table_subject(x, y, names=[f"f{at}" for at in range(30)], epsilon=0.1)
    plan = make_plan(given, access="scores", suite="quick", budget_s=36000)
    assert plan.left_out["thresholds"] == "the model tells no thresholds of trees"
    known = replace(given, splits=sklearn_splits(forest))
    plan = make_plan(known, access="scores", suite="quick", budget_s=36000)
    report = run_suite(Forest(forest), known, plan)
    used = {one.attack: one for one in report.threats[0].attacks}
    assert used["thresholds"].outcome.value == "done"
    assert used["thresholds"].rate >= used["Square"].rate
    assert used["thresholds"].queries <= used["thresholds"].planned

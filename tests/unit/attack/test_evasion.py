import itertools
from typing import Any

import numpy as np
import pytest

from vallum.attack import hop_skip_jump
from vallum.attack.evasion import wilson
from vallum.base import GateError, InputError


def attack(problem: Any, **changed: Any) -> Any:
    given = {
        "model": problem.model, "x": problem.x, "y": problem.y, "epsilon": 0.1, "budget_s": 60.0,
        "rng": np.random.default_rng(1), **changed,
    }  # fmt: skip
    return hop_skip_jump(given.pop("model"), given.pop("x"), given.pop("y"), **given)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_it_finds_nearly_the_nearest_flip_of_a_linear_model_and_never_a_nearer_one(
    problem: Any, norm: Any
) -> None:
    # Distance to a hyperplane: |w.x| / ||w||, with the dual norm, in standard deviations.
    scale = problem.x.std(axis=0)
    weights = problem.model.weights * scale
    margin = np.abs((problem.x / scale) @ weights)
    optimum = (
        margin / np.abs(weights).sum()
        if norm == "linf"
        else margin / np.linalg.norm(weights) / np.sqrt(len(weights))
    )
    report = attack(problem, norm=norm, max_records=300, epsilon=float(np.median(optimum)) * 1.3)
    # The seed is fixed: these bounds hold or they do not, there is no chance in them.
    assert np.median(optimum) * 0.999 <= report.median_distance <= np.median(optimum) * 1.02
    possible = (optimum <= report.epsilon * 1.001).mean()
    assert 0.5 <= report.success_rate <= possible
    assert report.complete
    assert report.accuracy == 1.0
    assert report.attacked == 300


class Recording:
    """Remembers the least and the greatest value of each feature that it was asked about."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.low = np.inf
        self.high = -np.inf
        self.asked = 0

    def predict(self, x: Any) -> Any:
        self.low = np.minimum(self.low, x.min(axis=0))
        self.high = np.maximum(self.high, x.max(axis=0))
        self.asked += len(x)
        return self.model.predict(x)


def test_changed_records_stay_within_the_range_of_the_data_and_queries_are_counted(
    problem: Any,
) -> None:
    victim = Recording(problem.model)
    report = attack(problem, model=victim, max_records=30)
    room = 1e-5 * np.ptp(problem.x, axis=0)  # float32
    assert (victim.low >= problem.x.min(axis=0) - room).all()
    assert (victim.high <= problem.x.max(axis=0) + room).all()
    assert report.queries == victim.asked


def test_the_same_seed_gives_the_same_report(problem: Any) -> None:
    assert attack(problem, max_records=20) == attack(problem, max_records=20)


@pytest.mark.parametrize("spent", [{"budget_s": 0.5}, {"max_queries": 1}])
def test_an_attack_cut_short_bounds_nothing_from_above(problem: Any, spent: Any) -> None:
    ticks = itertools.count()
    report = attack(problem, epsilon=1e-9, monotonic=lambda: float(next(ticks)), **spent)
    assert not report.complete
    assert report.success_rate == 0.0
    assert report.success_high == 1.0


@pytest.mark.parametrize(
    ("scores", "code"),
    [
        (lambda s: np.full_like(s, np.nan), "attack.scores"),
        (lambda s: s * np.inf, "attack.scores"),
        (lambda s: s[:, 1], "attack.scores"),
        (lambda s: s[:, :1], "attack.scores"),
        (lambda s: s[:-1], "attack.scores"),
        (lambda s: s.argmax(axis=1), "attack.scores"),
        (lambda s: np.eye(2)[s.argmax(axis=1)], "attack.scores"),
        (lambda s: [["yes", "no"]] * len(s), "attack.scores"),
        (lambda s: s + np.random.default_rng().random(s.shape), "attack.deterministic"),
        (lambda s: np.tile([0.4, 0.6], (len(s), 1)), "attack.constant"),
        (lambda s: s[:, ::-1], "attack.accuracy"),
        (lambda s: s[:, 9], "attack.model"),
    ],
    ids=["nan", "inf", "flat", "one-class", "short", "labels", "labels-as-scores", "text",
         "random", "constant", "inverted", "crash"],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:invalid value encountered in multiply:RuntimeWarning")
def test_a_model_that_cannot_be_assessed_is_an_error_and_never_robust(
    problem: Any, scores: Any, code: Any
) -> None:
    class Broken:
        def predict(self, x: Any) -> Any:
            return scores(problem.model.predict(x))

    with pytest.raises(GateError) as refused:
        attack(problem, model=Broken())
    assert refused.value.code == code


def test_a_model_that_fails_only_on_changed_records_is_an_error(problem: Any) -> None:
    known = {row.tobytes() for row in problem.x}

    class Trap:
        def predict(self, x: Any) -> Any:
            scores = problem.model.predict(x)
            scores[[row.tobytes() not in known for row in x]] = np.nan
            return scores

    with pytest.raises(GateError):
        attack(problem, model=Trap())


def test_records_that_do_not_fit_are_refused(problem: Any) -> None:
    x, y = problem.x, problem.y
    bad = x.copy()
    bad[3, 2] = np.nan
    for changed in (
        {"x": x[:9], "y": y[:9]}, {"x": bad}, {"y": y[:-1]}, {"x": x[0]}, {"reference": x[:, :2]},
    ):  # fmt: skip
        with pytest.raises(InputError) as refused:
            attack(problem, **changed)
        assert refused.value.code == "attack.records"


def test_the_interval_is_wilsons() -> None:
    # Worked by hand from Wilson (1927): 0 of 10 gives z²/(n+z²) as the upper end.
    z2 = 1.959964**2
    assert wilson(0, 10) == pytest.approx((0.0, z2 / (10 + z2)))
    low, high = wilson(50, 100)
    assert (low, high) == pytest.approx((0.40383, 0.59617), abs=1e-5)

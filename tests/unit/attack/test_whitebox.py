"""FGSM, PGD, Auto-PGD and FAB on models whose boundary is known exactly."""

import inspect
from typing import Any

import numpy as np
import pytest
from attack_victims import Scored, Watched, affine
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vallum.attack import apgd, apgd_targeted, fab, fgsm, pgd, search, simba, square
from vallum.attack.losses import difference, log_odds, logit_ratio
from vallum.attack.search import Ball
from vallum.base import GateError, InputError

WHITE = {"fgsm": fgsm, "pgd": pgd, "apgd": apgd, "apgd-t": apgd_targeted, "fab": fab}
BLACK = {"square": square, "simba": simba}
EVERY = WHITE | BLACK
IN_BALL = [name for name in EVERY if name != "fab"]


def run(name: str, model: Any, x: Any, y: Any, **given: Any) -> Any:
    takes = inspect.signature(EVERY[name]).parameters
    if "rng" in takes:
        given = {"rng": np.random.default_rng(5), **given}
    return EVERY[name](model, x, y, **{key: given[key] for key in given if key in takes})


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("name", ["fgsm", "pgd", "apgd", "apgd-t", "fab"])
def test_exactly_those_flip_whose_margin_over_the_dual_norm_is_within_epsilon(
    name: str, norm: Any
) -> None:
    model, x, y = affine(2, (7,))
    distance = model.distance(x, norm)
    # Between two neighbouring distances: nobody stands on the very edge.
    ordered = np.sort(distance)
    epsilon = float(ordered[59] + ordered[60]) / 2
    found = run(name, model, x, y, epsilon=epsilon, norm=norm)
    assert (found.adversarial == (distance <= epsilon)).all()
    assert found.complete
    assert not found.idle.any()


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("name", ["apgd-t", "fab"])
def test_with_many_classes_targets_find_what_untargeted_steps_miss(name: str, norm: Any) -> None:
    model, x, y = affine(6, (9,))
    distance = model.distance(x, norm)
    ordered = np.sort(distance)
    epsilon = float(ordered[79] + ordered[80]) / 2
    found = run(name, model, x, y, epsilon=epsilon, norm=norm)
    assert (found.adversarial == (distance <= epsilon)).all()
    assert (
        run("pgd", model, x, y, epsilon=epsilon, norm=norm).adversarial <= found.adversarial
    ).all()


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_fab_finds_the_nearest_flip_of_a_linear_model_and_never_a_nearer_one(norm: Any) -> None:
    model, x, y = affine(4, (10,))
    found = fab(model, x, y, norm=norm)
    ratio = found.distance / model.distance(x, norm)
    assert ratio.min() >= 1 - 1e-6
    assert ratio.max() <= 1.002


def test_fab_in_a_box_is_as_near_as_a_search_over_the_box_can_be() -> None:
    # One class pair and a box: the exact distance is that of a linear program, solved by bisection
    # over the radius, where the farthest reachable point of the box is known coordinate by
    # coordinate.
    model, x, y = affine(2, (6,), seed=3)
    found = fab(model, x, y, norm="linf", clip=(-0.5, 0.5))
    normal = model.weights[:, 1] - model.weights[:, 0]
    for at in range(len(x)):
        toward = normal if y[at] == 0 else -normal
        low, high = 0.0, 1.0
        for _ in range(40):
            radius = (low + high) / 2
            corner = np.clip(x[at] + radius * np.sign(toward), -0.5, 0.5)
            offset = (model.bias[1] - model.bias[0]) * (1 if y[at] == 0 else -1)
            low, high = (low, radius) if toward @ corner + offset > 0 else (radius, high)
        if high < 1 - 1e-6:
            assert found.distance[at] == pytest.approx(high, rel=0.003)
        else:
            assert not found.adversarial[at]


@pytest.mark.parametrize(
    "loss",
    [log_odds, logit_ratio, lambda y: logit_ratio(y, (y + 1) % 5), lambda y: difference(y, y - 1)],
    ids=["ce", "dlr", "dlr-targeted", "difference"],
)
def test_a_losss_derivative_is_the_one_that_finite_differences_show(loss: Any) -> None:
    rng = np.random.default_rng(0)
    scores, y = rng.standard_normal((20, 5)), rng.integers(1, 4, 20)
    values, slopes = loss(y)(scores)
    for column in range(5):
        step = np.zeros(5)
        step[column] = 1e-6
        slope = (loss(y)(scores + step)[0] - loss(y)(scores - step)[0]) / 2e-6
        assert slopes[:, column] == pytest.approx(slope, abs=1e-6)
    assert np.isfinite(values).all()


def test_log_odds_grow_with_cross_entropy_and_do_not_vanish_where_it_does() -> None:
    scores = np.array([[0.0, 1.0, 2.0], [900.0, 0.0, 1.0]])
    values, slopes = log_odds(np.array([0, 0]))(scores)
    entropy = np.log(np.exp(scores[0]).sum()) - scores[0, 0]
    assert values[0] == pytest.approx(np.log(np.expm1(entropy)))
    assert np.abs(slopes[1]).max() == 1.0


@pytest.mark.parametrize("factor", [1.0, 1e4])
def test_logits_blown_up_hide_nothing(factor: float) -> None:
    model, x, y = affine(2, (7,))
    distance = model.distance(x, "linf")
    epsilon = float(np.sort(distance)[59:61].mean())
    sure = type(model)(model.weights * factor, model.bias * factor)
    assert (pgd(sure, x, y, epsilon=epsilon, rng=np.random.default_rng(1)).adversarial.sum()) == 60


@settings(max_examples=60)
@given(
    name=st.sampled_from(IN_BALL),
    norm=st.sampled_from(["l2", "linf"]),
    epsilon=st.floats(1e-4, 3.0),
    shape=st.sampled_from([(5,), (1, 4, 4), (2, 3, 5), (3, 2)]),
    seed=st.integers(0, 10**6),
    low=st.floats(-2.0, -0.5),
    offset=st.floats(-100, 100),
)
def test_no_point_ever_leaves_ball_or_clip_range(  # noqa: PLR0917 - hypothesis fills them
    name: str, norm: Any, epsilon: float, shape: Any, seed: int, low: float, offset: float
) -> None:
    model, x, _ = affine(3, shape, seed=seed, count=7)
    x = (x + np.float32(offset)).astype(np.float32)
    model = type(model)(model.weights, model.bias - offset * model.weights.sum(axis=0))
    y = model.predict(x).argmax(axis=1)
    clip = (min(low + offset, float(x.min())), max(0.5 + offset, float(x.max())))
    watched = Watched(model)
    # Smaller than float32 resolves at this offset is refused, and tested elsewhere.
    assume(epsilon > 2e-6 * (abs(offset) + 10))
    found = run(
        name, watched, x, y, epsilon=epsilon, norm=norm, clip=clip, steps=6, queries=12,
        rng=np.random.default_rng(seed),
    )  # fmt: skip
    wide = x.reshape(len(x), -1).astype(np.float64)
    for point in np.concatenate([*watched.points, found.points]):
        assert clip[0] <= point.min()
        assert point.max() <= clip[1]
        gap = point.reshape(-1).astype(np.float64) - wide
        far = np.abs(gap).max(axis=1) if norm == "linf" else np.sqrt((gap**2).sum(axis=1))
        assert far.min() <= epsilon
    gap = found.points.reshape(len(x), -1).astype(np.float64) - wide
    far = np.abs(gap).max(axis=1) if norm == "linf" else np.sqrt((gap**2).sum(axis=1))
    assert far[found.adversarial] == pytest.approx(found.distance[found.adversarial], abs=1e-12)
    assert (model.predict(found.points).argmax(axis=1) != y)[found.adversarial].all()


@settings(max_examples=40)
@given(
    name=st.sampled_from(sorted(set(EVERY) - {"fgsm"})),
    budget=st.integers(3, 80),
    seed=st.integers(0, 10**6),
)
def test_no_record_is_asked_about_more_often_than_allowed_and_the_count_is_exact(
    name: str, budget: int, seed: int
) -> None:
    model, x, y = affine(5, (6,), seed=seed, count=40)
    watched = Watched(model)
    epsilon = float(np.quantile(model.distance(x, "linf"), 0.3))
    found = run(
        name, watched, x, y, epsilon=epsilon, norm="linf", max_queries=budget, queries=budget,
        restarts=2,
    )  # fmt: skip
    assert found.queries.max() <= budget
    assert found.queries.sum() == watched.asked
    assert found.gradients.sum() == watched.differentiated
    if name in WHITE:
        assert found.complete == (found.queries[~found.adversarial].max() < budget)


@pytest.mark.parametrize("name", sorted(EVERY))
def test_the_same_seed_finds_the_same_points(name: str) -> None:
    model, x, y = affine(4, (1, 4, 4), count=30)
    first, second = (
        run(name, model, x, y, epsilon=0.1, queries=60, steps=10, clip=(-0.5, 0.5))
        for _ in range(2)
    )
    assert (first.points == second.points).all()
    assert (first.queries == second.queries).all()


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_how_many_records_are_climbed_at_once_changes_no_point(
    norm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x, y = affine(3, (6,), count=700)
    epsilon = float(np.quantile(model.distance(x, norm), 0.3))
    sizes, points = [], []
    for wider in (4, 1):
        monkeypatch.setattr(search, "_WIDER", wider)
        watched = Watched(model)
        found = run("pgd", watched, x, y, epsilon=epsilon, norm=norm, steps=5, restarts=2)
        sizes.append(max(len(one) for one in watched.points))
        points.append(found.points)
    assert sizes == [700, 256]
    assert (points[0] == points[1]).all()


def test_a_record_that_is_wrong_unchanged_is_at_distance_zero_and_asked_no_more() -> None:
    model, x, y = affine(3, (5,), count=60)
    y = y.copy()
    y[40] = (y[40] + 1) % 3
    for name in EVERY:
        found = run(name, model, x, y, epsilon=1e-3, norm="linf", queries=20, steps=5)
        assert found.adversarial[40]
        assert found.distance[40] == 0
        assert (found.points[40] == x[40]).all()
        assert found.queries[40] == 1


def test_full_steps_are_taken_on_request_only() -> None:
    model, x, y = affine(2, (6,))
    rng = np.random.default_rng(0)
    found = pgd(model, x, y, epsilon=2.0, steps=20, full=True, rng=rng)
    assert (found.gradients == 20).all()
    assert (pgd(model, x, y, epsilon=2.0, steps=20, rng=rng).gradients < 20).all()


def test_probabilities_are_attacked_by_their_logarithms() -> None:
    model, x, y = affine(4, (8,))

    class Softmax:
        def predict(self, x: Any) -> Any:
            scores = np.exp(model.predict(x))
            return scores / scores.sum(axis=1, keepdims=True)

        def loss_gradient(self, x: Any, loss: Any) -> Any:
            given = self.predict(x)

            def chained(_: Any) -> Any:
                values, slopes = loss(given)
                return values, given * (slopes - (slopes * given).sum(axis=1, keepdims=True))

            return model.loss_gradient(x, chained)._replace(scores=given)

    epsilon = float(np.sort(model.distance(x, "l2"))[59:61].mean())
    for name in ("apgd-t", "pgd", "square"):
        one, two = (
            run(name, victim, x, y, epsilon=epsilon, norm="l2", queries=300)
            for victim in (model, Softmax())
        )
        assert abs(int(one.adversarial.sum()) - int(two.adversarial.sum())) <= 1


@pytest.mark.parametrize("name", sorted(EVERY))
@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"x": "nan"}, "attack.records"),
        ({"x": "double"}, "attack.records"),
        ({"x": "flat"}, "attack.records"),
        ({"x": "none"}, "attack.records"),
        ({"y": "short"}, "attack.records"),
        ({"y": "negative"}, "attack.classes"),
        ({"y": "tall"}, "attack.classes"),
        ({"y": "real"}, "attack.classes"),
        ({"norm": "l1"}, "attack.norm"),
        ({"epsilon": 0.0}, "attack.epsilon"),
        ({"epsilon": float("nan")}, "attack.epsilon"),
        ({"epsilon": 1e-9}, "attack.epsilon"),
        ({"clip": (0.0, 1.0)}, "attack.clip"),
        ({"clip": (np.zeros(3), np.ones(3))}, "attack.clip"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_reason(name: str, changed: Any, code: str) -> None:
    model, x, y = affine(3, (5,), count=20)
    bad = x.copy()
    bad[2, 1] = np.nan
    versions = {
        "nan": bad, "double": x.astype(np.float64), "flat": x[:, 0], "none": x[:0],
        "short": y[:-1], "negative": y - 1, "tall": y + 1, "real": y.astype(np.float32),
    }  # fmt: skip
    used = {key: versions.get(value, value) if isinstance(value, str) else value
            for key, value in changed.items()}  # fmt: skip
    given = {"x": x, "y": y, "epsilon": 0.1, **used}
    with pytest.raises(InputError) as refused:
        run(name, model, given.pop("x"), given.pop("y"), **given)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda m, x, y, r: pgd(m, x, y, epsilon=0.1, rng=r, steps=0), "steps"),
        (lambda m, x, y, r: pgd(m, x, y, epsilon=0.1, rng=r, restarts=0), "restarts"),
        (lambda m, x, y, r: pgd(m, x, y, epsilon=0.1, rng=r, step_size=-1.0), "step_size"),
        (lambda m, x, y, r: pgd(m, x, y, epsilon=np.inf, rng=r), "finite"),
        (lambda m, x, y, r: apgd(m, x, y, epsilon=0.1, rng=r, loss="x"), "loss"),
        (lambda m, x, y, r: apgd(m, x, y, epsilon=0.1, rng=r, max_queries=2), "max_queries"),
        (lambda m, x, y, r: fab(m, x, y, targets=0), "targets"),
        (lambda m, x, y, r: square(m, x, y, epsilon=0.1, rng=r, queries=2), "queries"),
        (lambda m, x, y, r: square(m, x, y, epsilon=0.1, rng=r, share=0.0), "share"),
        (lambda m, x, y, r: simba(m, x, y, epsilon=0.1, rng=r, step_size=0.0), "`step_size` must"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(call: Any, told: str) -> None:
    model, x, y = affine(3, (5,), count=20)
    with pytest.raises(InputError) as refused:
        call(model, x, y, np.random.default_rng(0))
    assert told in refused.value.message


@pytest.mark.parametrize("name", sorted(EVERY))
@pytest.mark.parametrize(
    ("scores", "code"),
    [
        (lambda s: np.full_like(s, np.nan), "attack.scores"),
        (lambda s: s[:, :1], "attack.scores"),
        (lambda s: s[:-1], "attack.scores"),
        (lambda s: s.argmax(axis=1), "attack.scores"),
        (lambda s: np.eye(3)[s.argmax(axis=1)], "attack.scores"),
        (lambda s: s + np.random.default_rng().random(s.shape), "attack.deterministic"),
        (lambda s: s[:, 9], "attack.model"),
    ],
    ids=["nan", "one-class", "short", "labels", "labels-as-scores", "random", "crash"],
)
def test_a_model_that_cannot_be_assessed_is_an_error(name: str, scores: Any, code: str) -> None:
    model, x, y = affine(3, (5,), count=20)

    class Broken:
        def predict(self, x: Any) -> Any:
            return scores(model.predict(x))

        def loss_gradient(self, x: Any, loss: Any) -> Any:
            return model.loss_gradient(x, loss)

    with pytest.raises(GateError) as refused:
        run(name, Broken(), x, y, epsilon=0.1)
    assert refused.value.code == code


@pytest.mark.parametrize("name", sorted(WHITE))
def test_an_attack_with_gradients_needs_a_model_that_has_them(name: str) -> None:
    model, x, y = affine(3, (5,), count=20)
    with pytest.raises(GateError) as refused:
        run(name, Scored(model), x, y, epsilon=0.1)
    assert refused.value.code == "attack.gradient"


@pytest.mark.parametrize("name", sorted(WHITE))
@pytest.mark.parametrize(
    ("gradient", "code"),
    [
        (np.zeros_like, "attack.idle"),
        (lambda g: g * np.nan, "attack.gradient"),
        (lambda g: g[:, 1:], "attack.gradient"),
        (lambda g: None, "attack.gradient"),
    ],
    ids=["zero", "nan", "narrow", "none"],
)
def test_a_gradient_that_leads_nowhere_is_an_error_and_never_robustness(
    name: str, gradient: Any, code: str
) -> None:
    model, x, y = affine(3, (5,), count=20)

    class Masked:
        def predict(self, x: Any) -> Any:
            return model.predict(x)

        def loss_gradient(self, x: Any, loss: Any) -> Any:
            answer = model.loss_gradient(x, loss)
            return answer._replace(gradient=gradient(answer.gradient))

    with pytest.raises(GateError) as refused:
        run(name, Masked(), x, y, epsilon=1e-3)
    assert refused.value.code == code


@pytest.mark.parametrize("name", sorted(BLACK))
def test_scores_that_never_change_are_an_error_and_never_robustness(name: str) -> None:
    model, x, y = affine(3, (5,), count=20)

    class Rounded:
        def predict(self, x: Any) -> Any:
            return np.eye(3)[model.predict(x).argmax(axis=1)] * 0.8 + 0.1

    with pytest.raises(GateError) as refused:
        run(name, Rounded(), x, y, epsilon=1e-3, queries=50)
    assert refused.value.code == "attack.idle"


@settings(max_examples=50)
@given(norm=st.sampled_from(["l2", "linf"]), epsilon=st.floats(1e-2, 10), seed=st.integers(0, 99))
def test_a_projection_stays_put_inside_and_is_nearest_outside(
    norm: Any, epsilon: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    origin = rng.standard_normal((20, 6)).astype(np.float32)
    ball = Ball.of(origin, (-9.0, 9.0), norm, epsilon)
    points = (origin + rng.standard_normal(origin.shape) * epsilon).astype(np.float32)
    gap = points.astype(np.float64) - origin
    far = np.abs(gap).max(axis=1) if norm == "linf" else np.sqrt((gap**2).sum(axis=1))
    moved = ball.project(points.copy())
    inside = (far < epsilon * 0.999) & (np.abs(points) <= 9).all(axis=1)
    assert moved[inside] == pytest.approx(points[inside], abs=1e-6)
    outside = far > epsilon * 1.001
    reach = moved.astype(np.float64) - origin
    size = np.abs(reach).max(axis=1) if norm == "linf" else np.sqrt((reach**2).sum(axis=1))
    free = outside & (np.abs(moved) < 9).all(axis=1)
    assert size[free] == pytest.approx(np.full(free.sum(), epsilon), rel=1e-3)

"""The ensemble: what it finds, and that nothing that failed is ever called robust."""

import itertools
from typing import Any

import msgspec
import numpy as np
import pytest
from attack_victims import Affine, Scored, Watched, affine
from onnx import TensorProto, helper

from vallum.attack import OnnxPredictor, Outcome, Status, ensemble
from vallum.attack.evasion import wilson
from vallum.base import GateError, InputError


def edge(model: Any, x: Any, norm: str, count: int) -> float:
    """Return a radius that exactly `count` records are within of a flip."""
    ordered = np.sort(model.distance(x, norm))
    return float(ordered[count - 1] + ordered[count]) / 2


def outcomes(found: Any) -> dict[str, str]:
    return {use.attack: use.outcome for use in found.report.attacks}


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("schedule", ["triage", "standard"])
def test_it_flips_exactly_what_can_be_flipped_and_says_by_what(schedule: Any, norm: Any) -> None:
    model, x, y = affine(6, (9,), count=60)
    epsilon = edge(model, x, norm, 30)
    y = y.copy()
    last = int(model.distance(x, norm).argmax())
    y[last] = (y[last] + 1) % 6  # one is wrong from the start
    found = ensemble(model, x, y, epsilon=epsilon, norm=norm, seed=1, schedule=schedule)
    report = found.report
    assert found.status.count(Status.ADVERSARIAL) == 30
    assert found.status[last] is Status.WRONG
    assert report.accuracy == pytest.approx(59 / 60)
    assert report.robust_accuracy == pytest.approx(29 / 60)
    assert (report.robust_low, report.robust_high) == wilson(29, 60)
    assert (report.complete, report.failed, report.masked) == (True, 0, 0)
    assert outcomes(found) == dict.fromkeys(("APGD-CE", "APGD-T", "FAB-T", "Square"), "done")
    assert sum(use.found for use in report.attacks) == 30
    for at, status in enumerate(found.status):
        flipped = model.predict(found.points[at : at + 1]).argmax() != y[at]
        assert flipped == (status in {Status.ADVERSARIAL, Status.WRONG})
        assert bool(found.by[at]) == (status is Status.ADVERSARIAL)
        assert np.isfinite(found.distance[at]) == flipped
    assert msgspec.json.decode(msgspec.json.encode(report), type=type(report)) == report


def test_without_gradients_it_uses_scores_and_says_so() -> None:
    model, x, y = affine(3, (1, 4, 4), count=40)
    epsilon = edge(model, x, "linf", 20)
    found = ensemble(Scored(model), x, y, epsilon=epsilon, seed=1, schedule="triage")
    assert found.report.access == "scores"
    assert found.report.gradients == 0
    assert outcomes(found) == {"Square": "done", "SimBA": "done"}
    assert 18 <= found.status.count(Status.ADVERSARIAL) <= 20


def test_queries_are_counted_exactly_and_the_seed_settles_everything() -> None:
    model, x, y = affine(4, (8,), count=50)
    epsilon = edge(model, x, "l2", 25)
    watched = Watched(model)
    first = ensemble(watched, x, y, epsilon=epsilon, norm="l2", seed=1, schedule="triage",
                     monotonic=lambda: 0.0)  # fmt: skip
    again = ensemble(model, x, y, epsilon=epsilon, norm="l2", seed=1, schedule="triage",
                     monotonic=lambda: 0.0)  # fmt: skip
    assert first.report == again.report
    assert (first.points == again.points).all()
    assert first.report.queries == first.queries.sum() == watched.asked
    assert first.report.gradients == watched.differentiated
    asked = sum(use.queries for use in first.report.attacks)
    assert first.report.queries == asked + 50 + 16  # all unchanged records, some of them twice


@pytest.mark.parametrize("budget", [3, 4, 17, 150])
def test_a_budget_is_never_exceeded_and_what_it_cuts_short_is_failed(budget: int) -> None:
    model, x, y = affine(5, (8,), count=40)
    epsilon = edge(model, x, "linf", 20)
    found = ensemble(model, x, y, epsilon=epsilon, seed=1, max_queries=budget)
    assert found.queries.max() <= budget
    assert Status.ROBUST not in found.status
    assert found.report.robust_accuracy == 0
    assert found.report.robust_low == 0
    assert not found.report.complete
    assert Outcome.CUT in outcomes(found).values()
    # What may be robust is in the upper end.
    assert found.report.robust_high == wilson(found.report.failed, 40)[1]


def test_a_run_out_of_time_calls_nothing_robust() -> None:
    model, x, y = affine(3, (6,), count=40)
    ticks = itertools.count()
    found = ensemble(
        model, x, y, epsilon=1e-3, seed=1, budget_s=30, monotonic=lambda: float(next(ticks))
    )
    assert set(found.status) == {Status.FAILED}
    assert outcomes(found)["Square"] == Outcome.CUT
    report = found.report  # without a flip there is no distance, on the wire neither
    assert msgspec.json.decode(msgspec.json.encode(report), type=type(report)) == report


def test_what_was_found_before_time_ran_out_is_kept() -> None:
    model, x, y = affine(3, (6,), count=40)
    ticks = itertools.count()
    found = ensemble(
        model, x, y, epsilon=edge(model, x, "linf", 20), seed=1, budget_s=12, attacks=["Square"],
        monotonic=lambda: float(next(ticks)),
    )  # fmt: skip
    assert outcomes(found) == {"Square": Outcome.CUT}
    assert 0 < found.status.count(Status.ADVERSARIAL) <= 20
    assert Status.ROBUST not in found.status


class Faulty:
    """A model whose gradient, or whose answer to changed records, is not what it should be."""

    def __init__(self, model: Affine, x: Any, fault: str) -> None:
        self.model, self.fault = model, fault
        self.known = {row.tobytes() for row in x}

    def predict(self, x: Any) -> Any:
        scores = self.model.predict(x)
        changed = np.array([row.tobytes() not in self.known for row in x])
        if self.fault == "nan" and changed.any():
            scores[changed] = np.nan
        if self.fault == "crash" and changed.any():
            raise RuntimeError("no")
        if self.fault == "labels" and changed.any():
            return scores.argmax(axis=1)
        return scores

    def loss_gradient(self, x: Any, loss: Any) -> Any:
        answer = self.model.loss_gradient(x, loss)
        if self.fault == "zero":
            return answer._replace(gradient=np.zeros_like(answer.gradient))
        if self.fault == "half":
            gradient = answer.gradient.copy()
            gradient[x[:, 0] < 0] = 0
            return answer._replace(gradient=gradient)
        if self.fault == "away":
            return answer._replace(gradient=-answer.gradient)
        if self.fault == "refuses":
            raise NotImplementedError
        if self.fault == "raw":
            return answer.gradient
        return answer


@pytest.mark.parametrize(
    ("fault", "outcome", "square"),
    [
        ("nan", Outcome.DONE, Outcome.CRASHED),
        ("crash", Outcome.DONE, Outcome.CRASHED),
        ("labels", Outcome.DONE, Outcome.CRASHED),
        ("zero", Outcome.IDLE, Outcome.DONE),
        ("half", Outcome.IDLE, Outcome.DONE),
        ("refuses", Outcome.CRASHED, Outcome.DONE),
        ("raw", Outcome.CRASHED, Outcome.DONE),
    ],
)
def test_an_attack_that_crashes_or_does_nothing_is_failed_and_never_robust(
    fault: str, outcome: Any, square: Any
) -> None:
    model, x, y = affine(3, (6,), count=40)
    found = ensemble(Faulty(model, x, fault), x, y, epsilon=1e-3, seed=1, schedule="triage")
    ended = outcomes(found)
    assert {ended["APGD-T"], ended["Square"]} == {outcome, square}
    stuck = x[:, 0] < -1e-3 if fault == "half" else np.ones(40, np.bool_)
    for at in np.flatnonzero(stuck):
        assert found.status[at] in {Status.FAILED, Status.ADVERSARIAL}
    assert found.report.failed > 0
    assert not found.report.complete
    assert all(
        use.reason for use in found.report.attacks if use.outcome not in {"done", "unneeded"}
    )


def test_gradients_that_mislead_show_as_masked() -> None:
    model, x, y = affine(3, (1, 4, 4), count=40)
    epsilon = edge(model, x, "linf", 20)
    found = ensemble(Faulty(model, x, "away"), x, y, epsilon=epsilon, seed=1, schedule="triage")
    assert found.report.masked >= 10
    assert found.report.masked == sum(one == "Square" for one in found.by)


def test_a_flip_that_does_not_hold_when_asked_again_is_failed() -> None:
    model, x, y = affine(2, (6,), count=30)
    asked: set[bytes] = set()

    class Forgetful:
        """Answers wrongly to a changed record once, and never again."""

        def predict(self, given: Any) -> Any:
            scores = model.predict(given)
            for at, row in enumerate(given):
                new = row.tobytes() not in asked
                asked.add(row.tobytes())
                if new and not (row == x).all(axis=1).any():
                    scores[at] = -scores[at] + 1e-3
            return scores

    found = ensemble(Forgetful(), x, y, epsilon=1e-3, seed=1, attacks=["Square"])
    assert Status.ROBUST not in found.status
    assert found.status.count(Status.FAILED) > 20


def test_a_model_that_fails_on_the_unchanged_records_is_an_error() -> None:
    model, x, y = affine(3, (6,), count=40)

    class Labels:
        def predict(self, x: Any) -> Any:
            return np.eye(3)[model.predict(x).argmax(axis=1)]

    with pytest.raises(GateError) as refused:
        ensemble(Labels(), x, y, epsilon=0.1, seed=1)
    assert refused.value.code == "attack.scores"


def test_attacks_are_chosen_by_name() -> None:
    model, x, y = affine(3, (6,), count=20)
    found = ensemble(model, x, y, epsilon=0.5, seed=1, attacks=["Square", "APGD-CE"])
    assert [use.attack for use in found.report.attacks] == ["APGD-CE", "Square"]
    assert found.report.schedule == "custom"
    # Asked for by name, gradients that are not there are a failure and not left out in silence.
    blind = ensemble(Scored(model), x, y, epsilon=1e-3, seed=1, attacks=["APGD-CE"])
    assert set(blind.status) == {Status.FAILED}


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"attacks": ["C&W"]}, "attack.settings"),
        ({"attacks": []}, "attack.settings"),
        ({"schedule": "quick"}, "attack.settings"),
        ({"max_queries": 2}, "attack.settings"),
        ({"epsilon": np.inf}, "attack.epsilon"),
        ({"norm": "l1"}, "attack.norm"),
        ({"clip": (0, 1)}, "attack.clip"),
    ],
    ids=["unknown", "none", "schedule", "queries", "epsilon", "norm", "clip"],
)
def test_settings_that_mean_nothing_are_refused(changed: Any, code: str) -> None:
    model, x, y = affine(3, (6,), count=20)
    with pytest.raises(InputError) as refused:
        ensemble(model, x, y, **{"epsilon": 0.1, "seed": 1, **changed})
    assert refused.value.code == code


def test_an_onnx_classifier_of_a_table_is_attacked_by_its_probabilities() -> None:
    model, x, y = affine(3, (6,), count=40)
    weights, bias = (
        helper.make_tensor(name, TensorProto.FLOAT, value.shape, value.astype(np.float32).ravel())
        for name, value in (("w", model.weights), ("b", model.bias))
    )
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "w", "b"], ["z"]),
            helper.make_node("Softmax", ["z"], ["p"]),
        ],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 6])],
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, [None, 3])],
        [weights, bias],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    epsilon = edge(model, x, "linf", 20)
    found = ensemble(
        OnnxPredictor(made.SerializeToString()), x, y, epsilon=epsilon, seed=1, schedule="triage"
    )
    assert found.report.access == "scores"
    assert found.report.complete
    assert 18 <= found.status.count(Status.ADVERSARIAL) <= 20

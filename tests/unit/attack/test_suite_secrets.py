"""What a suite measures of a model's secrets: who was in the data, what it was like, and itself."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from attack_victims import Affine, Scored

from vallum.attack.suite import (
    Verdict,
    attack_page,
    make_plan,
    run_suite,
    table_subject,
)

NAMES = ("age", "dose", "pulse", "smokes")


def people(rows: int, seed: int, noise: float = 1.0) -> Any:
    """Return records of two classes; the last column is one of two values."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, rows)
    x = rng.normal(0, 1, (rows, 4)) + noise * (y[:, None] - 0.5)
    x[:, 3] = rng.integers(0, 2, rows)
    return x.astype(np.float32), y


@dataclass
class Remembers:
    """Answers the class that it learned to records that it has seen, and hesitates otherwise."""

    x: Any
    y: Any

    def predict(self, x: Any) -> Any:
        near = ((x[:, None, :] - self.x[None]) ** 2).sum(axis=2)
        own = near.min(axis=1) < 1e-6
        sure = np.where(own, 0.99, 0.6)
        label = self.y[near.argmin(axis=1)]
        return np.where(label[:, None] == np.arange(2), sure[:, None], 1 - sure[:, None])


@dataclass
class Tree:
    """Three splits, a leaf each with scores of its own."""

    def predict(self, x: Any) -> Any:
        leaf = np.where(
            x[:, 0] < 0.1, np.where(x[:, 1] < -0.2, 0, 1), np.where(x[:, 2] < 0.3, 2, 3)
        )
        one = np.array([0.91, 0.12, 0.77, 0.34])[leaf]
        return np.stack([one, 1 - one], axis=1)


def linear() -> Any:
    weights = np.array([1.0, 1.0, 1.0, 0.5])
    return Affine(np.stack([-weights, weights], axis=1), np.array([0.2, -0.2]))


def measured(model: Any, given: Any, *, access: Any = "scores", suite: str = "quick") -> Any:
    plan = make_plan(given, access=access, suite=suite, budget_s=36000)
    report = run_suite(model, given, plan)
    return report, {one.threat: one for one in report.threats}


def of(threat: Any) -> Any:
    return {one.attack: one for one in threat.attacks}


def table(rows: int = 400, **more: Any) -> Any:
    x, y = people(rows, 1)
    return table_subject(x, y, names=NAMES, train=people(200, 2), **more)


def test_a_model_that_remembers_is_over_every_limit_of_privacy() -> None:
    model = Remembers(*people(200, 2))
    _, threats = measured(model, table(), suite="standard")
    found = of(threats["membership-inference"])
    assert set(found) == {"loss threshold", "population", "calibrated", "LiRA"}
    assert threats["membership-inference"].verdict is Verdict.OVER
    assert threats["membership-inference"].rate == max(one.rate for one in found.values()) > 0.75
    assert found["loss threshold"].more["true positives at 1 % false ones"] > 0.5
    assert "true positives at 0.1 % false ones" not in found["loss threshold"].more
    inversion = threats["model-inversion"]
    assert inversion.verdict is Verdict.OVER
    # The model is surest of the true value of those whom it remembers.
    assert of(inversion)["attribute inference"].more["`smokes`"] > 0.8
    assert of(inversion)["attribute inference"].answers == "probabilities"


def test_a_model_that_knows_nobody_is_within_them() -> None:
    _, threats = measured(Scored(linear()), table(), suite="standard")
    for threat in ("membership-inference", "model-inversion"):
        assert threats[threat].verdict is Verdict.PASSED
        assert {one.outcome.value for one in threats[threat].attacks} == {"done"}
        assert 0.4 < threats[threat].rate < 0.6


def test_a_linear_model_is_copied_exactly_and_nothing_is_judged_without_a_limit() -> None:
    given = table(epsilon=0.01)
    report, threats = measured(Scored(linear()), given)
    extraction = threats["model-extraction"]
    assert (extraction.verdict, extraction.limit) == (Verdict.MEASURED, None)
    assert report.verdict is Verdict.PASSED
    exact = of(extraction)["equation solving"]
    assert exact.rate == extraction.rate == 1.0
    assert exact.more["computed exactly"] == 1.0
    assert exact.more["queries to 0.95"] < 50
    assert exact.answers == "logits"
    learned = of(extraction)["knock-off"]
    assert [point[0] for point in learned.curve] == sorted(point[0] for point in learned.curve)
    assert learned.rate > 0.9
    limited = run_suite(
        Scored(linear()), given, make_plan(given, access="scores", suite="quick"),
        limits={"model-extraction": 0.9},
    )  # fmt: skip
    assert limited.verdict is Verdict.OVER


def test_a_tree_is_copied_leaf_by_leaf() -> None:
    _, threats = measured(Tree(), table(), suite="standard")
    paths = of(threats["model-extraction"])["path-finding"]
    assert paths.outcome.value == "done"
    assert (paths.rate, paths.more["computed exactly"]) == (1.0, 1.0)
    assert threats["model-extraction"].rate == 1.0


def test_where_labels_are_all_that_an_attacker_sees_attacks_by_labels_are_made() -> None:
    _, threats = measured(linear(), table(), access="labels")
    assert set(of(threats["membership-inference"])) == {"label only"}
    assert threats["membership-inference"].verdict is Verdict.PASSED
    assert of(threats["model-extraction"])["knock-off"].answers == "labels"
    assert "equation solving" in threats["model-extraction"].left_out


def test_a_rate_at_one_in_a_thousand_needs_ten_thousand_scores() -> None:
    from vallum.attack.membership import MembershipReport
    from vallum.attack.rates import Rate
    from vallum.attack.suite import privacy

    found = MembershipReport("x", 20_000, 10_000, 0.6, 0.5, 0.7, 0.1, 0.2,
                             tpr_at_01fpr=Rate(0.05, 0.04, 0.06))  # fmt: skip
    more = privacy._told(found).more
    assert more["true positives at 0.1 % false ones"] == 0.05
    assert (more["at least, at 0.1 %"], more["at most, at 0.1 %"]) == (0.04, 0.06)


def test_ten_records_are_too_few_for_a_thief_and_the_report_says_so() -> None:
    x, y = people(10, 1, noise=8.0)
    report, threats = measured(Scored(linear()), table_subject(x, y, names=NAMES))
    extraction = threats["model-extraction"]
    assert extraction.verdict is Verdict.NOT_TESTED
    assert extraction.attacks == ()
    assert "at least 20 records" in extraction.left_out["knock-off"]
    assert any(one.startswith("model-extraction: ") for one in report.not_assessed)
    assert report.verdict is not Verdict.NOT_TESTED


def test_a_theft_that_breaks_down_is_not_tested() -> None:
    known = {row.tobytes() for row in people(400, 1)[0]}

    class Closes:
        def predict(self, x: Any) -> Any:
            if len(x) > 8 and not all(row.tobytes() in known for row in x):
                raise RuntimeError("no")
            return linear().predict(x)

    _, threats = measured(Closes(), table())
    extraction = threats["model-extraction"]
    assert extraction.verdict is Verdict.NOT_TESTED
    assert {one.outcome.value for one in extraction.attacks} == {"failed"}


def test_a_clock_that_runs_out_while_shadows_are_trained_leaves_membership_untested() -> None:
    given = table()
    asked: list[int] = []

    class Counts:
        def predict(self, x: Any) -> Any:
            asked.append(len(x))
            return linear().predict(x)

    plan = make_plan(given, access="scores", suite="standard", budget_s=36000)
    ticks = iter(range(10**9))

    def clock() -> float:  # stands still until LiRA has asked, then each look is an hour
        return 3600.0 * next(ticks) if sum(asked) > plan.queries // 3 else 0.0

    report = run_suite(Counts(), given, plan, monotonic=clock)
    cut = [one for threat in report.threats for one in threat.attacks if one.outcome.value == "cut"]
    assert cut
    assert all(one.rate is None and one.reason == "the budget ran out" for one in cut)
    assert report.verdict is Verdict.NOT_TESTED


def test_the_page_draws_fidelity_against_queries() -> None:
    report, _ = measured(Scored(linear()), table())
    names = {one.threat: (one.threat, "", "") for one in report.threats}
    page = attack_page(report, title="t", facts={}, names=names)
    assert "queries of knock-off" in page
    assert "fidelity by queries" in page
    assert "there is no limit" in page


@pytest.mark.parametrize("suite", ["quick", "standard"])
def test_the_same_seed_gives_the_same_secrets(suite: Any) -> None:
    first, again = (measured(Scored(linear()), table(), suite=suite)[0] for _ in range(2))
    assert first.threats == again.threats

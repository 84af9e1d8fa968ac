"""A suite: planned before it asks, the same every time, and never robust where it does not know."""

import itertools
import json
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pytest
from attack_victims import Affine

from vallum.attack.suite import (
    ATTACKS,
    SUITES,
    THREATS,
    Verdict,
    array_subject,
    attack_page,
    compare_reports,
    make_plan,
    run_suite,
    table_subject,
)
from vallum.base import InputError, RefusedError, UnavailableError

NAMES = ("age", "dose", "pulse", "site")


@dataclass
class Scored:
    """A model that answers scores only."""

    model: Any

    def predict(self, x: Any) -> Any:
        return self.model.predict(x)


def table(rows: int = 150, seed: int = 0, wide: float = 2.0) -> Any:
    """Return records of two classes, one of four columns whole and one constant."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, rows)
    x = rng.normal(0, 1, (rows, 4)) + wide * (y[:, None] - 0.5)
    x[:, 0] = np.rint(50 + 10 * x[:, 0])
    x[:, 3] = 4.0
    return x.astype(np.float32), y


def linear() -> Any:
    weights = np.array([0.1, 1.0, 1.0, 0.0])
    return Affine(np.stack([-weights, weights], axis=1), np.array([5.0, -5.0]))


def subject(**more: Any) -> Any:
    x, y = table()
    return table_subject(x, more.pop("labels", y), names=NAMES, **more)


def attack(model: Any, given: Any = None, *, access: Any = "scores", **more: Any) -> Any:
    given = subject() if given is None else given
    run = {name: more.pop(name) for name in ("classes", "limits", "monotonic") if name in more}
    plan = make_plan(given, access=access, **{"suite": "quick", **more})
    return run_suite(model, given, plan, **run)


def threats(report: Any) -> Any:
    return {one.threat: one for one in report.threats}


def plain(report: Any) -> Any:
    built = msgspec.to_builtins(report)
    del built["times"]
    return built


@pytest.mark.parametrize(
    "suite", ["quick", "standard", pytest.param("full", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("access", ["scores", "gradients"])
def test_every_attack_of_a_suite_comes_to_its_end_within_its_queries(
    suite: Any, access: Any
) -> None:
    model = linear() if access == "gradients" else Scored(linear())
    x, y = table(seed=1)
    report = attack(
        model, subject(train=(x, y), fixed=["dose"]), access=access, suite=suite, budget_s=36000
    )
    used = [one for threat in report.threats for one in threat.attacks]
    wanted = {
        row.name
        for row in ATTACKS
        if suite in row.suites
        and not row.unfit(subject(train=(x, y), fixed=["dose"]), access, SUITES[suite])
    }
    assert {one.attack for one in used} == wanted
    assert report.effort == 1.0
    for one in used:
        assert 0 < one.queries <= one.planned
        if one.attack == "path-finding":
            assert (one.outcome.value, one.rate) == ("unfit", None)
            assert "this is no tree" in one.reason
            continue
        assert (one.outcome.value, one.reason) == ("done", "")
        assert 0 <= one.low <= one.rate <= one.high <= 1
    assert threats(report)["evasion"].rate >= max(
        one.rate for one in threats(report)["evasion"].attacks
    )


def test_the_same_seed_and_budget_give_the_same_report_but_for_times() -> None:
    ticks = itertools.count(step=0.001)
    first = attack(Scored(linear()), seed=3)
    again = attack(Scored(linear()), seed=3, monotonic=lambda: float(next(ticks)))
    assert plain(first) == plain(again)
    assert first.times != again.times
    assert plain(attack(Scored(linear()), seed=4)) != plain(first)


def test_a_small_budget_is_a_smaller_plan_and_a_tiny_one_is_refused() -> None:
    full = make_plan(subject(), access="scores", suite="full", budget_s=36000)
    less = make_plan(subject(), access="scores", suite="full", budget_s=100)
    assert full.share == 1.0
    assert less.share < 1.0
    assert less.seconds <= 100
    assert less.records < full.records
    with pytest.raises(InputError, match="too small") as refused:
        make_plan(subject(), access="scores", suite="full", budget_s=10.5)
    assert refused.value.code == "attack.budget"
    assert refused.value.hint.startswith("--budget ")


def test_a_run_that_the_clock_cuts_short_was_not_tested() -> None:
    ticks = itertools.count(step=4.0)
    report = attack(Scored(linear()), budget_s=200, monotonic=lambda: float(next(ticks)))
    evasion = threats(report)["evasion"]
    assert [one.outcome.value for one in evasion.attacks] == ["cut"] * len(evasion.attacks)
    assert all(one.rate is None for one in evasion.attacks)
    assert evasion.verdict is Verdict.NOT_TESTED
    assert report.verdict is Verdict.NOT_TESTED
    assert "the budget ran out" in evasion.reason


def test_an_attack_that_is_cut_after_another_found_enough_is_over_the_limit() -> None:
    given = subject(epsilon=1.0)
    whole = {one.attack: one for one in threats(attack(Scored(linear()), given))["evasion"].attacks}
    room = whole["HopSkipJump"].queries + 301  # one, and all of them twice, to begin with
    asked = 0

    def clock() -> float:
        return 1e9 if asked > room else 0.0

    class Counted(Scored):
        def predict(self, x: Any) -> Any:
            nonlocal asked
            asked += len(x)
            return super().predict(x)

    report = attack(Counted(linear()), given, monotonic=clock)
    evasion = threats(report)["evasion"]
    assert {one.outcome.value for one in evasion.attacks} == {"done", "cut"}
    assert evasion.verdict is Verdict.OVER
    assert evasion.high == 1.0


BROKEN: Any = {
    "throws": (lambda s, x: s[:, 9], "fails on its own input"),
    "nan": (lambda s, x: s * np.nan, "not finite"),
    "short": (lambda s, x: s[:-1], "shape"),
    "one class": (lambda s, x: s[:, :1], "at least two classes"),
    "text": (lambda s, x: [["a"]] * len(s), "no scores"),
    "random": (lambda s, x: s + np.random.default_rng().random(s.shape), "not deterministic"),
    "constant": (lambda s, x: np.tile([0.4, 0.6], (len(s), 1)), "one class for everything"),
    "numbers": (lambda s, x: s[:, 1] * 7.3, "one number a record"),
}


@pytest.mark.parametrize("what", BROKEN)
@pytest.mark.filterwarnings("ignore:invalid value encountered in multiply:RuntimeWarning")
def test_a_model_that_cannot_be_assessed_is_not_tested_and_the_report_says_why(what: str) -> None:
    broken, said = BROKEN[what]

    class Broken:
        def predict(self, x: Any) -> Any:
            return broken(linear().predict(x), x)

    report = attack(Broken())
    assert report.verdict is Verdict.NOT_TESTED
    assert report.accuracy is None
    assert all(one.rate is None for one in report.threats)
    for one in threats(report)["evasion"].attacks:
        assert one.outcome.value == "failed"
        assert said in one.reason
    assert any(said in one for one in report.not_assessed)


def test_a_model_that_fails_only_on_changed_records_is_not_robust() -> None:
    known = {row.tobytes() for row in table()[0]}

    class Trap:
        def predict(self, x: Any) -> Any:
            scores = linear().predict(x)
            scores[[row.tobytes() not in known for row in x]] = np.nan
            return scores

    report = attack(Trap())
    evasion = threats(report)["evasion"]
    assert report.accuracy is not None
    assert {one.outcome.value for one in evasion.attacks} == {"failed"}
    assert evasion.verdict is Verdict.NOT_TESTED
    assert evasion.high is None


def test_an_attack_that_crashes_is_failed_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from vallum.attack.suite import evasion, run
    from vallum.attack.suite.table import AttackRow

    def crash(_: Any) -> Any:
        raise ZeroDivisionError

    def nothing(_: Any) -> Any:
        return evasion.Measured(float("nan"), 0.0, 0.0, 0)

    rows = [
        AttackRow(name=name, threat="evasion", access="labels", suites=("quick",), run=made,
                  queries=lambda s, e: 10, calls=lambda s, e: 1)
        for name, made in (("crashes", crash), ("measures nothing", nothing))
    ]  # fmt: skip
    monkeypatch.setattr("vallum.attack.suite.plan.ATTACKS", (*ATTACKS, *rows))
    monkeypatch.setattr(run, "ATTACKS", (*ATTACKS, *rows))
    report = attack(Scored(linear()), subject(epsilon=0.001))
    found = {one.attack: one for one in threats(report)["evasion"].attacks}
    assert found["HopSkipJump"].outcome.value == "done"
    assert found["crashes"].reason == "the attack crashed (ZeroDivisionError)"
    assert found["measures nothing"].outcome.value == "failed"
    assert threats(report)["evasion"].verdict is Verdict.NOT_TESTED


@pytest.mark.parametrize(
    ("access", "wanted"), [("labels", {"HopSkipJump"}), ("scores", {"HopSkipJump", "Square"})]
)
def test_a_weaker_attacker_can_be_assumed(access: Any, wanted: Any) -> None:
    report = attack(linear(), access=access)
    found = {one.attack: one.outcome.value for one in threats(report)["evasion"].attacks}
    assert report.access == access
    assert found == dict.fromkeys(wanted, "done")


def test_a_gradient_that_is_zero_everywhere_is_a_failed_attack_and_no_robustness() -> None:
    class Masked(Affine):
        def loss_gradient(self, x: Any, loss: Any) -> Any:
            answer = super().loss_gradient(x, loss)
            return answer._replace(gradient=np.zeros_like(answer.gradient))

    report = attack(Masked(linear().weights, linear().bias), access="gradients")
    found = {one.attack: one for one in threats(report)["evasion"].attacks}
    assert found["APGD-CE"].outcome.value == "failed"
    assert "did nothing" in found["APGD-CE"].reason
    assert found["HopSkipJump"].outcome.value == found["Square"].outcome.value == "done"
    assert threats(report)["evasion"].verdict is Verdict.NOT_TESTED
    assert threats(report)["evasion"].high == 1.0


@pytest.mark.parametrize("dressed", [False, True])
def test_a_model_that_answers_labels_is_attacked_by_labels_and_the_rest_is_not_tested(
    dressed: Any,
) -> None:
    class Labels:
        def predict(self, x: Any) -> Any:
            found = linear().predict(x).argmax(axis=1)
            return np.eye(2)[found] if dressed else found.astype(np.float64)

    report = attack(Labels())
    found = {one.attack: one for one in threats(report)["evasion"].attacks}
    assert report.access == "labels"
    assert found["HopSkipJump"].outcome.value == "done"
    assert found["Square"].outcome.value == "failed"
    assert "no more than labels" in found["Square"].reason
    assert report.verdict is Verdict.NOT_TESTED


@pytest.mark.parametrize("error", [RefusedError("no"), UnavailableError("gone")])
def test_a_refusal_ends_the_suite_at_once(error: Any) -> None:
    class Closing:
        asked = 0

        def predict(self, x: Any) -> Any:
            self.asked += 1
            if self.asked > 10:
                raise error
            return linear().predict(x)

    model = Closing()
    report = attack(model)
    assert model.asked == 11
    assert report.verdict is Verdict.NOT_TESTED
    assert {one.reason for one in threats(report)["evasion"].attacks} == {error.message}
    first = Closing()
    first.asked = 10
    with pytest.raises(type(error)):
        attack(first)


def test_a_model_that_gets_too_little_right_is_not_tested() -> None:
    y = 1 - table()[1]
    report = attack(Scored(linear()), subject(labels=y))
    assert report.accuracy is not None
    assert report.accuracy < 0.2
    few = subject(labels=1 - linear().predict(table()[0]).argmax(axis=1))
    evasion = threats(attack(Scored(linear()), few))["evasion"]
    assert evasion.verdict is Verdict.NOT_TESTED
    assert "0 of 150 records right" in evasion.reason


def test_limits_decide_and_the_interval_must_be_within() -> None:
    given = subject(epsilon=0.3)
    report = attack(Scored(linear()), given)
    measured = threats(report)["evasion"]
    assert 0 < measured.rate < measured.high < 0.5
    assert report.verdict is Verdict.PASSED
    between = (measured.rate + measured.high) / 2
    strict = attack(Scored(linear()), given, limits={"evasion": between})
    assert strict.verdict is Verdict.OVER
    assert "not shown to be within" in threats(strict)["evasion"].reason
    with pytest.raises(InputError, match="no threat is called"):
        attack(Scored(linear()), limits={"flood": 0.1})
    with pytest.raises(InputError, match="from 0 to 1"):
        attack(Scored(linear()), limits={"evasion": 7})


def test_data_that_carries_no_figures_is_refused() -> None:
    x, y = table()
    for changed, said in (
        ((x[:9], y[:9]), "at least 10"),
        ((x, np.zeros(len(x))), "one class only"),
        ((np.full_like(x, np.inf), y), "not finite"),
        ((x, y[:-1]), "do not fit"),
        ((np.ones_like(x), y), "no column may change"),
    ):
        with pytest.raises(InputError, match=said):
            table_subject(*changed, names=NAMES)
    with pytest.raises(InputError, match="no column `weight`"):
        subject(fixed=["weight"])


def test_ten_records_are_enough_and_the_interval_says_how_little_that_is() -> None:
    x, y = table(10, wide=8.0)
    report = attack(Scored(linear()), table_subject(x, y, names=NAMES))
    evasion = threats(report)["evasion"]
    assert evasion.attacks[0].records == 10
    assert evasion.high > 0.25


def test_constant_and_whole_columns_are_told() -> None:
    said = " ".join(attack(Scored(linear())).notes)
    assert "constant in the data, and stay: site" in said
    assert "whole numbers, by the data: age" in said


def test_classes_are_matched_by_name_by_position_or_by_order() -> None:
    y = table()[1]
    names = np.array(["ill", "well"], dtype=object)[y]
    right = attack(Scored(linear()), subject(labels=names)).accuracy
    assert right == attack(Scored(linear())).accuracy
    crossed = attack(Scored(linear()), subject(labels=names), classes=("well", "ill"))
    assert crossed.accuracy == pytest.approx(1 - right)
    with pytest.raises(InputError, match="the data has the class `ill`"):
        attack(Scored(linear()), subject(labels=names), classes=("a", "b"))
    with pytest.raises(InputError, match="the model has 2 classes, the data has 3"):
        attack(Scored(linear()), subject(labels=np.where(np.arange(150) < 9, "x", names)))


def test_membership_needs_other_records_than_the_training_data() -> None:
    report = attack(Scored(linear()), subject(train=table()))
    found = threats(report)["membership-inference"]
    assert found.verdict is Verdict.NOT_TESTED
    assert "150 of 150 records" in found.reason
    apart = threats(attack(Scored(linear()), subject(train=table(seed=9))))
    assert apart["membership-inference"].rate == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize("access", ["scores", "gradients"])
def test_arrays_are_attacked_within_their_range(access: Any) -> None:
    rng = np.random.default_rng(0)
    x = rng.random((60, 1, 6, 6), dtype=np.float32)
    weights = rng.standard_normal((36, 3))
    model = Affine(weights, np.zeros(3))
    y = model.predict(x).argmax(axis=1)
    asked: list[Any] = []

    class Seen(Affine):
        def predict(self, x: Any) -> Any:
            asked.append(x)
            return super().predict(x)

    victim = Seen(weights, np.zeros(3))
    report = attack(
        victim if access == "gradients" else Scored(victim), array_subject(x, y, epsilon=0.05),
        access=access,
    )  # fmt: skip
    every = np.concatenate(asked)
    assert every.min() >= 0
    assert every.max() <= 1
    assert report.form == "array"
    evasion = threats(report)["evasion"]
    names = {one.attack for one in evasion.attacks}
    assert names == ({"APGD-CE", "Square"} if access == "gradients" else {"Square"})
    # A linear model: the flips that are possible are known.
    possible = (model.distance(x, "linf") <= 0.05)[:50].mean()
    assert 0.3 * possible <= evasion.rate


def published(report: Any, **changed: Any) -> bytes:
    record = {
        "schema": "vallum.attack/1",
        "model": {"file": "a.onnx", "sha256": "1"},
        "data": {"file": "d.csv", "sha256": "2"},
        "settings": {"seed": "0", "suite": report.suite},
        **msgspec.to_builtins(report),
        **changed,
    }
    return json.dumps(record).encode()


def test_reports_of_the_same_test_are_compared() -> None:
    steep = linear()
    one = attack(Scored(steep), subject(epsilon=0.3))
    same = compare_reports(published(one), published(one))
    assert not same.worse
    assert {change.verdict for change in same.changes} <= {"same", "not comparable"}
    lost = attack(Scored(None), subject(epsilon=0.3))
    assert compare_reports(published(one), published(lost)).worse
    better = compare_reports(published(attack(Scored(steep), subject(epsilon=2.0))), published(one))
    assert not better.worse
    assert "lower" in {change.verdict for change in better.changes}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"data": {"file": "e.csv", "sha256": "3"}}, "`data.sha256` is `2` in the first"),
        ({"settings": {"seed": "1", "suite": "quick"}}, "`settings.seed`"),
        ({"settings": {"seed": "0", "suite": "full"}}, "`settings.suite`"),
        ({"effort": 0.5}, "the budget paid for 100% of the suite"),
        ({"schema": "vallum.scan/1"}, "no report of `vallum attack`"),
        ({"threats": 7}, "no report of `vallum attack`"),
    ],
)
def test_reports_that_do_not_measure_the_same_are_refused(changed: Any, said: str) -> None:
    report = attack(Scored(linear()))
    with pytest.raises(InputError) as refused:
        compare_reports(published(report), published(report, **changed))
    assert said in refused.value.message
    assert refused.value.code == "attack.diff"


def test_the_page_has_plots_and_escapes_what_it_is_told() -> None:
    report = attack(Scored(linear()), subject(train=table(seed=9)))
    page = attack_page(
        report, title="Attack <report>", facts={"model": "<script>alert(1)</script>"},
        names={row.id: (row.id, "AML.T0015", "evasion attack") for row in THREATS},
    )  # fmt: skip
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("<svg") >= 3
    assert "&lt;script&gt;" in page

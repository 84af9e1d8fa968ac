from typing import Any

import numpy as np
import pytest
from thieves import Softmax, known, softmax

from vallum.attack import AnswerKind, Known, copycat, jacobian_augmentation, knock_off
from vallum.base import GateError, InputError

ATTACKS = (knock_off, copycat, jacobian_augmentation)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("answers", ["logits", "probabilities", "labels"])
def test_a_softmax_victim_is_stolen_whatever_it_answers(attack: Any, answers: Any) -> None:
    model = softmax(answers)
    data = known(model)
    model.asked = 0
    found = attack(model, data, budget=2000, seed=1)
    report = found.report
    assert report.answers == answers
    assert report.fidelity >= (0.9 if answers == "labels" and attack is copycat else 0.95)
    assert report.fidelity_low <= report.fidelity <= report.fidelity_high
    # Every answer is counted: the thief's, those that measure, and the 16 that are asked twice.
    assert model.asked == report.queries + report.measured + 16 <= 2000
    assert [one.queries for one in report.curve] == sorted({one.queries for one in report.curve})
    assert report.curve[-1].queries == report.queries
    # The stolen model is what was measured, on records that the thief never saw.
    _, y = data.members
    agreed = (found.stolen.predict(data.members[0]).argmax(axis=1) == y).mean()
    assert agreed >= report.fidelity - 0.1


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_same_seed_steals_the_same_model(attack: Any) -> None:
    model = softmax()
    first, second = (attack(model, known(model), budget=300, seed=5) for _ in range(2))
    assert first.report == second.report
    x = known(model).members[0]
    assert (first.stolen.predict(x) == second.stolen.predict(x)).all()


def test_images_are_asked_for_in_their_own_shape() -> None:
    model = softmax()
    shapes = set()

    class Images:
        def predict(self, x: Any) -> Any:
            shapes.add(x.shape[1:])
            return model.predict(x)

    data = known(Images(), shape=(2, 2, 2))
    for attack in ATTACKS:
        assert attack(Images(), data, budget=600, seed=0).report.fidelity > 0.8
    assert shapes == {(2, 2, 2)}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("said", list(AnswerKind))
@pytest.mark.parametrize("answers", list(AnswerKind))
def test_another_kind_of_answer_than_said_is_an_error_and_never_a_low_fidelity(
    attack: Any, said: Any, answers: Any
) -> None:
    model = softmax(answers.value)
    if said is answers:
        assert attack(model, known(model), budget=200, seed=0, answers=said).report.fidelity > 0.5
        return
    with pytest.raises(GateError) as refused:
        attack(model, known(model), budget=200, seed=0, answers=said)
    assert refused.value.code == "attack.scores"
    assert f"the model answers {answers.value}, not {said.value}" in refused.value.message


def test_rounded_and_truncated_probabilities_are_probabilities() -> None:
    model = softmax(decimals=1)
    assert knock_off(model, known(model), budget=200, seed=0).report.answers == "probabilities"

    class Top:
        def predict(self, x: Any) -> Any:
            scores = softmax().predict(x)
            return np.where(scores == scores.max(axis=1, keepdims=True), scores, 0.0)

    assert knock_off(Top(), known(model), budget=200, seed=0).report.answers == "probabilities"


def test_scores_of_no_known_kind_are_an_error_unless_they_are_named() -> None:
    class Sigmoids:
        def predict(self, x: Any) -> Any:
            return 1 / (1 + np.exp(-softmax("logits").predict(x)))

    data = known(softmax())
    with pytest.raises(GateError) as refused:
        knock_off(Sigmoids(), data, budget=300, seed=0)
    assert refused.value.code == "attack.scores"
    report = knock_off(
        Sigmoids(), data, budget=1500, seed=0, answers=AnswerKind.PROBABILITIES
    ).report
    assert report.fidelity_low > report.baseline + 0.2


class Broken:
    """Answers well at first, then as told."""

    def __init__(self, then: Any, after: int) -> None:
        self.then, self.after, self.calls = then, after, 0

    def predict(self, x: Any) -> Any:
        self.calls += 1
        return softmax().predict(x) if self.calls <= self.after else self.then(x)


def crash(_: Any) -> Any:
    raise RuntimeError("no")


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize(
    ("then", "code"),
    [
        (crash, "attack.model"),
        (lambda x: np.full((len(x), 4), np.nan), "attack.scores"),
        (lambda x: np.ones((len(x) + 1, 4)), "attack.scores"),
        (lambda x: softmax().predict(x)[:, :1], "attack.scores"),
        (lambda x: softmax().predict(x).argmax(axis=1), "attack.scores"),
        (lambda x: np.array(["a"] * len(x)), "attack.scores"),
        (lambda x: [[0.5, 0.5]] * len(x), "attack.scores"),
    ],
    ids=["crash", "nan", "rows", "one-score", "labels", "names", "lists"],
)
def test_a_model_that_answers_nonsense_is_an_error(
    attack: Any, after: Any, then: Any, code: Any
) -> None:
    with pytest.raises(GateError) as refused:
        attack(Broken(then, after), known(softmax()), budget=300, seed=0)
    assert refused.value.code == code


def test_a_model_that_changes_its_kind_or_classes_midway_is_an_error() -> None:
    def wider(x: Any) -> Any:
        return softmax().predict(x)[:, [0, 1, 2, 3, 3]] * [1, 1, 1, 0.5, 0.5]

    for then in (softmax("logits").predict, wider):
        with pytest.raises(GateError) as refused:
            knock_off(Broken(then, 2), known(softmax()), budget=300, seed=0)
        assert refused.value.code == "attack.scores"


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_model_of_one_class_is_not_assessed(attack: Any) -> None:
    model = Softmax(np.zeros((8, 4)), np.array([3.0, 0, 0, 0]))
    with pytest.raises(GateError) as refused:
        attack(model, known(softmax()), budget=300, seed=0)
    assert refused.value.code == "attack.constant"


def test_noise_on_the_answers_is_reported_and_does_not_stop_the_thief() -> None:
    rng = np.random.default_rng(0)

    class Noisy:
        def predict(self, x: Any) -> Any:
            return softmax("logits").predict(x) + rng.normal(0, 0.3, (len(x), 4))

    report = knock_off(Noisy(), known(softmax()), budget=2000, seed=0).report
    assert not report.deterministic
    assert report.fidelity > 0.8


def test_records_and_budgets_that_do_not_fit_are_refused() -> None:
    model = softmax()
    data = known(model)
    (x, y), others = data.members, data.others
    bad = [
        (Known((x[:9], y[:9]), others), "attack.records"),
        (Known((x.astype(np.float64), y), others), "attack.records"),
        (Known((x[:, :7], y), others), "attack.records"),
        (Known((x, y[:-1]), others), "attack.records"),
        (Known((np.full_like(x, np.inf), y), others), "attack.records"),
        (Known((x, y - 5), others), "attack.classes"),
    ]
    for one, code in bad:
        with pytest.raises(InputError) as refused:
            knock_off(model, one, budget=300, seed=0)
        assert refused.value.code == code
    for budget in (0, 49):
        with pytest.raises(InputError) as refused:
            knock_off(model, data, budget=budget, seed=0)
        assert refused.value.code == "attack.settings"
    assert knock_off(model, data, budget=50, seed=0).report.queries > 0

"""Backdoors in models: the calibration, and small networks with and without a trigger."""

import msgspec
import numpy as np
import pytest
from backdoored import CLASSES, records, trained

from vallum.attack import GENERATORS, TorchPredictor, invert_triggers
from vallum.attack.suite import SuiteReport, Threat, array_subject, make_plan, run_suite
from vallum.attack.trigger import anomaly_index, deviate_limit, smallest_outliers
from vallum.base import GateError, InputError

torch = pytest.importorskip("torch", reason="the models are torch modules")


@pytest.mark.parametrize("count", [5, 10, 43])
def test_of_normal_sizes_as_many_models_are_accused_as_stated(count: int) -> None:
    rng = np.random.default_rng(count)
    accused = sum(
        bool(smallest_outliers(rng.normal(3, 0.5, count), 0.05).any()) for _ in range(2000)
    )
    assert 0.01 < accused / 2000 < 0.065


def test_limits_are_those_of_grubbs_and_two_triggers_do_not_hide_each_other() -> None:
    # One-sided critical values at 5 % (Grubbs 1969, table I).
    for count, known in ((5, 1.672), (10, 2.176), (20, 2.557)):
        assert deviate_limit(count, 0.05) == pytest.approx(known, abs=0.03)
    sizes = np.log(np.array([9.0, 10, 11, 9.5, 10.5, 10, 9.8, 10.2, 2.0, 2.1]))
    assert smallest_outliers(sizes, 0.05).nonzero()[0].tolist() == [8, 9]
    assert not smallest_outliers(-sizes, 0.05).any()  # what is too large is no trigger
    assert anomaly_index(np.array([1.0, 2, 3, 4, 5]))[0] == pytest.approx(2 / 1.4826)


@pytest.mark.slow
def test_the_class_with_a_trigger_stands_out_and_the_trigger_works() -> None:
    x, y = records()
    made = GENERATORS["badnets"](x, y, rate=0.08, rng=np.random.default_rng(3))
    (target,) = np.unique(made.y[made.mask])
    module = trained(made.x, made.y)
    model = TorchPredictor(module)
    clean, _ = records(seed=1, count=200)
    found = invert_triggers(model, clean[:, None])
    assert found.targets == (int(target),)
    answers = model.predict(found.put(clean[:, None], int(target))).argmax(axis=1)
    assert (answers == target).mean() > 0.9
    again = invert_triggers(model, clean[:, None])
    assert again.masks.tobytes() == found.masks.tobytes()
    # The suite finds it in the model, and none in one that was trained on the same clean records.
    evasive = backdoor(suite(model, clean))
    assert (evasive.verdict.value, evasive.attacks[0].more["class"]) == ("over the limit", target)
    assert evasive.low is not None
    assert evasive.low > 0.8
    spared = backdoor(suite(TorchPredictor(trained(x, y)), clean))
    assert (spared.verdict.value, spared.rate) == ("passed", 0.0)


def test_a_model_without_a_trigger_passes_and_an_unfinished_search_says_nothing() -> None:
    model = TorchPredictor(trained(*records()))
    clean, _ = records(seed=1, count=200)
    assert not invert_triggers(model, clean[:, None]).suspicious
    ticks = iter(range(10_000))
    cut = invert_triggers(model, clean[:, None], budget_s=5, clock=lambda: float(next(ticks)))
    assert (cut.finished, cut.suspicious) == (False, False)


class Fixed:
    """Answers scores with no gradient, or one that leads nowhere."""

    def __init__(self, slope: float) -> None:
        self.slope = slope

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.tile(np.arange(CLASSES, dtype=np.float64), (len(x), 1)) + x.mean(
            axis=tuple(range(1, x.ndim)), keepdims=False
        )[:, None] * np.eye(CLASSES)[x[:, 0, 0, 0].astype(int) % CLASSES]  # fmt: skip

    def loss_gradient(self, x: np.ndarray, loss: "object") -> tuple[object, ...]:
        scores = self.predict(x)
        return scores, loss(scores)[0], np.full_like(x, self.slope)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("slope", "said"), [(0.0, "every gradient is zero"), (1e-3, "fewer than 5 classes")]
)
def test_a_search_that_leads_nowhere_is_no_pass(slope: float, said: str) -> None:
    clean, _ = records(seed=1, count=80)
    with pytest.raises(GateError, match=said):
        invert_triggers(Fixed(slope), clean[:, None], steps=50)


def test_where_classes_are_few_or_gradients_missing_nothing_is_tested() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((60, 1, 6, 6)).astype(np.float32), np.arange(60) % 2
    subject = array_subject(x, y, clip=(0.0, 1.0))
    plan = make_plan(subject, access="gradients", suite="standard", budget_s=6000)
    assert "fewer than 5" in plan.left_out["trigger inversion"]
    many = array_subject(x, np.arange(60) % 6, clip=(0.0, 1.0))
    plan = make_plan(many, access="scores", suite="standard", budget_s=6000)
    assert "no more than scores" in plan.left_out["trigger inversion"]


def suite(model: "TorchPredictor", clean: np.ndarray) -> SuiteReport:
    """Run the row of the suite alone."""
    y = model.predict(clean[:, None]).argmax(axis=1)
    subject = array_subject(clean[:, None], y, clip=(0.0, 1.0))
    plan = make_plan(subject, kind="torch", access="gradients", suite="standard", budget_s=6000)
    only = tuple(one for one in plan.attacks if one.attack == "trigger inversion")
    return run_suite(model, subject, msgspec.structs.replace(plan, attacks=only))


def backdoor(report: SuiteReport) -> Threat:
    return next(one for one in report.threats if one.threat == "backdoor")


def test_what_cannot_be_judged_is_refused() -> None:
    few = TorchPredictor(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 4)))
    x, _ = records(count=40)
    with pytest.raises(InputError, match="4 classes cannot be judged"):
        invert_triggers(few, x[:, None])
    with pytest.raises(InputError, match="must lie within `clip`"):
        invert_triggers(few, x[:, None] * 3)
    with pytest.raises(InputError, match="at least 50"):
        invert_triggers(few, x[:, None], steps=1)
    with pytest.raises(InputError, match="n >= 20"):
        invert_triggers(few, x[:5, None])
    with pytest.raises(GateError, match="no matrix of scores"):
        invert_triggers(TorchPredictor(torch.nn.Flatten(2)), x[:, None])

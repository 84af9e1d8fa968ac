"""Attacks on live torch modules: a small CNN on digits, trained here."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from vallum.attack import Status, TorchPredictor, apgd, ensemble, fab, pgd, square
from vallum.attack.losses import log_odds
from vallum.base import GateError, InputError

torch = pytest.importorskip("torch", reason="torch is not installed")
nn = torch.nn
EPSILON = 0.1


def digits() -> tuple[Any, Any]:
    from sklearn.datasets import load_digits

    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.images))
    x = (found.images[order, None] / 16).astype(np.float32)
    return x, found.target[order].astype(np.intp)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def problem() -> tuple[Any, Any, Any]:
    """Return a CNN trained on FGSM records for a second, and 40 records that it never saw."""
    x, y = digits()
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Dropout(0.1), nn.Linear(32 * 16, 10),
    )  # fmt: skip
    rule = torch.optim.Adam(model.parameters(), 3e-3)
    given, classes = torch.from_numpy(x[:1200]), torch.from_numpy(y[:1200])
    for _ in range(4):
        for part in torch.randperm(1200).split(100):
            start = given[part].clone().requires_grad_()
            loss = nn.functional.cross_entropy(model(start), classes[part])
            (slope,) = torch.autograd.grad(loss, start)
            batch = (given[part] + EPSILON * slope.sign()).clamp(0, 1)
            rule.zero_grad()
            nn.functional.cross_entropy(model(batch), classes[part]).backward()
            rule.step()
    rule.zero_grad()
    return model, x[1200:1240], y[1200:1240]


def test_scores_and_gradients_are_those_of_the_module(problem: Any) -> None:
    model, x, y = problem
    victim = TorchPredictor(model, batch_size=7)
    given = torch.from_numpy(x).requires_grad_()
    logits = model(given)
    assert victim.predict(x) == pytest.approx(logits.detach().numpy(), abs=1e-5)
    chance = torch.softmax(logits.double(), dim=1)[range(len(y)), torch.from_numpy(y)]
    (slope,) = torch.autograd.grad((torch.log1p(-chance) - torch.log(chance)).sum(), given)
    answer = victim.loss_gradient(x, log_odds(y))
    assert answer.gradient == pytest.approx(slope.numpy(), abs=1e-4)
    assert all(one.grad is None for one in model.parameters())


def test_a_module_in_training_mode_is_put_into_evaluation_mode_each_time(problem: Any) -> None:
    model, x, _ = problem
    victim = TorchPredictor(model)
    model.train()
    assert (victim.predict(x) == victim.predict(x)).all()
    assert not model.training
    model[5].train()  # dropout alone
    assert (victim.predict(x) == victim.predict(x)).all()


def test_records_that_may_not_be_written_are_left_alone(problem: Any) -> None:
    model, x, y = problem
    frozen = x.copy()
    frozen.flags.writeable = False
    for attack in (pgd, apgd, square):
        attack(
            TorchPredictor(model), frozen, y, epsilon=0.05, rng=np.random.default_rng(0),
            **({"queries": 20} if attack is square else {"steps": 5}),
        )  # fmt: skip
    assert (frozen == x).all()


def loop(model: Any, x: Any, y: Any, epsilon: float, steps: int) -> Any:
    """Flip what ten lines of torch flip."""
    start, classes = torch.from_numpy(x), torch.from_numpy(y)
    adv, flipped = start.clone(), np.zeros(len(x), np.bool_)
    for _ in range(steps):
        adv.requires_grad_()
        logits = model(adv)
        flipped |= logits.argmax(dim=1).numpy() != y
        (slope,) = torch.autograd.grad(nn.functional.cross_entropy(logits, classes), adv)
        adv = adv.detach() + 2.5 * epsilon / steps * slope.sign()
        adv = torch.min(torch.max(adv, start - epsilon), start + epsilon).clamp(0, 1)
    return flipped


def test_the_ensemble_misses_nothing_that_a_plain_loop_or_its_longer_schedule_finds(
    problem: Any,
) -> None:
    model, x, y = problem
    victim = TorchPredictor(model)
    quick = ensemble(victim, x, y, epsilon=EPSILON, seed=0, schedule="triage")
    long = ensemble(victim, x, y, epsilon=EPSILON, seed=0, attacks=["APGD-CE", "APGD-T", "FAB-T"])
    robust = np.array([one is Status.ROBUST for one in quick.status])
    assert not (loop(model.eval(), x, y, EPSILON, 40) & robust).any()
    assert 0.05 < robust.mean() < 0.95
    assert quick.report.complete
    missed = robust.mean() - long.report.robust_accuracy
    assert missed <= 1 / 40
    with torch.no_grad():
        named = model(torch.from_numpy(quick.points)).argmax(dim=1).numpy()
    assert ((named == y) == robust).all()


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_robust_accuracy_is_within_a_record_of_torchattacks(problem: Any, norm: str) -> None:
    peer = pytest.importorskip("torchattacks", reason="torchattacks is not installed")
    model, x, y = problem
    epsilon = EPSILON if norm == "Linf" else 0.5
    given, classes = torch.from_numpy(x), torch.from_numpy(y)
    attack = peer.APGDT(model.eval(), norm=norm, eps=epsilon, steps=20, n_classes=5)
    with torch.no_grad():
        theirs = float((model(attack(given, classes)).argmax(dim=1) == classes).float().mean())
    ours = ensemble(
        TorchPredictor(model), x, y, epsilon=epsilon, norm=norm.lower(), seed=0, schedule="triage"
    )
    assert ours.report.robust_accuracy <= theirs + 1 / 40


def test_the_nearest_flip_shrinks_what_pgd_needs(problem: Any) -> None:
    model, x, y = problem
    victim = TorchPredictor(model)
    found = fab(victim, x, y, norm="l2", steps=30, targets=3)
    wrong = found.distance == 0
    assert found.adversarial.all()
    # What PGD flips within a radius, FAB found hardly further away.
    radius = float(np.quantile(found.distance[~wrong], 0.4))
    inside = pgd(victim, x, y, epsilon=radius, norm="l2", rng=np.random.default_rng(0))
    assert inside.adversarial.sum() > wrong.sum() + 10
    assert (found.distance[inside.adversarial] <= 1.1 * radius).all()


def test_softmax_at_the_end_hides_nothing(problem: Any) -> None:
    model, x, y = problem
    plain, soft = (
        apgd(TorchPredictor(one), x, y, epsilon=EPSILON, rng=np.random.default_rng(0), steps=30)
        for one in (model, nn.Sequential(model, nn.Softmax(dim=1)))
    )
    assert abs(int(plain.adversarial.sum()) - int(soft.adversarial.sum())) <= 1


def test_rounded_input_hides_gradients_and_is_failed_and_not_robust(problem: Any) -> None:
    model, x, y = problem

    class Rounded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model  # a part of it, so that its dropout is switched off with it

        def forward(self, given: Any) -> Any:
            return self.inner(torch.round(given * 16) / 16)

    found = ensemble(TorchPredictor(Rounded()), x, y, epsilon=EPSILON, seed=0, schedule="triage")
    assert Status.ROBUST not in found.status
    assert found.report.masked > 0
    assert found.report.attacks[0].outcome == "idle"


class Strange(nn.Module):
    """Answers what no classifier answers."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.inner = nn.Linear(64, 10)

    def forward(self, given: Any) -> Any:
        logits = self.inner(given.flatten(1))
        return {
            "pair": (logits, logits), "flat": logits[:, 0], "labels": logits.argmax(dim=1)[:, None],
            "cut": logits.detach(), "half": logits.bfloat16(),
        }[self.kind]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("pair", "attack.scores"),
        ("flat", "attack.scores"),
        ("labels", "attack.scores"),
        ("cut", "attack.gradient"),
    ],
)
def test_a_module_that_answers_something_else_is_an_error(
    problem: Any, kind: str, code: str
) -> None:
    _, x, _ = problem
    module = Strange(kind)
    with torch.no_grad():  # its own answers: a record that is wrong already asks for no gradient
        y = module.inner(torch.from_numpy(x).flatten(1)).argmax(dim=1).numpy()
    with pytest.raises(GateError) as refused:
        pgd(TorchPredictor(module), x, y, epsilon=0.1, rng=np.random.default_rng(0))
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda: TorchPredictor(nn.Linear(4, 2).double()), "torch.float64"),
        (lambda: TorchPredictor(nn.Linear(4, 2).bfloat16()), "torch.bfloat16"),
        (lambda: TorchPredictor(len), "not a torch module"),
        (lambda: TorchPredictor(nn.Linear(4, 2), clip=(1.0, 0.0)), "`clip`"),
        (lambda: TorchPredictor(nn.Linear(4, 2), batch_size=0), "`batch_size`"),
    ],
    ids=["double", "half", "function", "clip", "batch"],
)
def test_what_is_no_float32_module_is_refused(made: Any, told: str) -> None:
    with pytest.raises(InputError) as refused:
        made()
    assert told in refused.value.message


def test_records_outside_the_modules_range_are_refused(problem: Any) -> None:
    model, x, y = problem
    with pytest.raises(InputError) as refused:
        pgd(TorchPredictor(model), x * 16, y, epsilon=0.1, rng=np.random.default_rng(0))
    assert refused.value.code == "attack.clip"


def test_the_room_comes_without_torch() -> None:
    code = "import sys, vallum.attack; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0  # noqa: S603 - our interpreter

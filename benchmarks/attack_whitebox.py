"""PGD beside a ten-line torch loop, and the ensemble beside AutoAttack, on digits CNNs.

The peers need an environment of their own (torchattacks pins an old `requests`, so without its
dependencies; the reference AutoAttack is the repository fra31/auto-attack, found on PYTHONPATH):

    python -m venv /tmp/peers
    /tmp/peers/bin/pip install . torch torchvision scikit-learn foolbox tqdm \
        adversarial-robustness-toolbox numpy msgspec
    /tmp/peers/bin/pip install --no-deps torchattacks
    PYTHONPATH=src:/path/to/auto-attack /tmp/peers/bin/python benchmarks/attack_whitebox.py

A peer that is not installed is left out, and said to be. One torch thread. Two models: a CNN
trained plainly, and one trained on FGSM records, of 8x8 digits in [0, 1]. Times are CPU seconds of
this process; rounds of all parties alternate, and each counts with the lower quartile of its own.
PGD's share of the loop's throughput is the median over rounds of loop over ours in that round.
With the argument `pgd` the ensembles are left out.
"""

import copy
import importlib.metadata
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

# With pages kept, nobody's figure is that of page faults: glibc gives memory back after each step
# or keeps it, by chance of what ran before, and that is worth a quarter of the time at this size.
SETTLED = {
    "OMP_NUM_THREADS": "1",
    "MALLOC_TRIM_THRESHOLD_": "1073741824",
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TOP_PAD_": "268435456",
}
if any(os.environ.get(name) != value for name, value in SETTLED.items()):
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **SETTLED})

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from vallum.attack import TorchPredictor, ensemble, pgd  # noqa: E402

warnings.filterwarnings("ignore")
torch.set_num_threads(1)
STEPS = 40
ROUNDS = {100: 25, 1000: 7}
SAMPLES = 100


def data() -> tuple[Any, Any, Any, Any]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.images))
    x = (digits.images[order, None] / 16).astype(np.float32)
    y = digits.target[order].astype(np.int64)
    return x[:1200], y[:1200], x[1200:], y[1200:]


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(64 * 16, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip


def trained(x: Any, y: Any, *, epsilon: float, epochs: int) -> nn.Module:
    torch.manual_seed(0)
    model = network()
    rule = torch.optim.Adam(model.parameters(), 2e-3)
    given, classes = torch.from_numpy(x), torch.from_numpy(y)
    for _ in range(epochs):
        for part in torch.randperm(len(x)).split(100):
            batch = given[part]
            if epsilon:
                start = (batch + torch.empty_like(batch).uniform_(-epsilon, epsilon)).clamp(0, 1)
                start.requires_grad_()
                loss = functional.cross_entropy(model(start), classes[part])
                (slope,) = torch.autograd.grad(loss, start)
                moved = start.detach() + 1.25 * epsilon * slope.sign()
                batch = moved.clamp(batch - epsilon, batch + epsilon).clamp(0, 1)
            rule.zero_grad()
            functional.cross_entropy(model(batch), classes[part]).backward()
            rule.step()
    return model.eval()


def loop(model: nn.Module, x: Any, y: Any, epsilon: float, size: float) -> Any:
    adv = x.clone()
    for _ in range(STEPS):
        adv.requires_grad_()
        loss = functional.cross_entropy(model(adv), y)
        (slope,) = torch.autograd.grad(loss, adv)
        adv = adv.detach() + size * slope.sign()
        adv = torch.min(torch.max(adv, x - epsilon), x + epsilon).clamp(0, 1)
    return adv


def versions() -> str:
    out = []
    for name in ("torch", "numpy", "torchattacks", "foolbox", "adversarial-robustness-toolbox"):
        try:
            out.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            out.append(f"{name} not installed")
    return ", ".join(out)


def alternate(
    parties: dict[str, Callable[[], Any]], rounds: int
) -> dict[str, tuple[list[float], Any]]:
    """Return the CPU seconds of every round and the last answer of each party."""
    taken: dict[str, list[float]] = {name: [] for name in parties}
    answers: dict[str, Any] = {}
    for number in range(rounds):
        # Another order each time, so that nobody always follows the same neighbour.
        names = list(parties)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            start = time.process_time()
            answers[name] = parties[name]()
            taken[name].append(time.process_time() - start)
    return {name: (taken[name], answers[name]) for name in parties}


def typical(taken: list[float]) -> float:
    """Return the lower quartile: what disturbs a run only makes it longer."""
    return float(np.percentile(taken, 25))


def pgd_peers(model: nn.Module, x: Any, y: Any, epsilon: float) -> dict[str, Callable[[], Any]]:
    size = 2.5 * epsilon / STEPS
    victim = TorchPredictor(model)
    given, classes = torch.from_numpy(x), torch.from_numpy(y)
    wide = y.astype(np.intp)

    def ours(*, full: bool) -> Any:
        found = pgd(
            victim, x, wide, epsilon=epsilon, steps=STEPS, step_size=size, full=full,
            rng=np.random.default_rng(0),
        )  # fmt: skip
        return found.points

    parties: dict[str, Callable[[], Any]] = {
        "ten-line torch loop": lambda: loop(model, given, classes, epsilon, size).numpy(),
        "ours, all steps for every record": lambda: ours(full=True),
        "ours, flipped records left alone": lambda: ours(full=False),
    }
    try:
        import torchattacks

        attack = torchattacks.PGD(model, epsilon, size, STEPS, random_start=False)
        parties["torchattacks"] = lambda: attack(given, classes).numpy()
    except ImportError:
        print("torchattacks is not installed", file=sys.stderr)
    try:
        import foolbox

        wrapped = foolbox.PyTorchModel(model, bounds=(0, 1))
        linf = foolbox.attacks.LinfPGD(abs_stepsize=size, steps=STEPS, random_start=False)

        def fool() -> Any:
            return linf(wrapped, given, classes, epsilons=epsilon)[1].numpy()

        parties["foolbox"] = fool
    except ImportError:
        print("foolbox is not installed", file=sys.stderr)
    try:
        from art.attacks.evasion import ProjectedGradientDescentPyTorch
        from art.estimators.classification import PyTorchClassifier

        estimator = PyTorchClassifier(
            model, nn.CrossEntropyLoss(), (1, 8, 8), 10, clip_values=(0, 1), device_type="cpu"
        )
        art = ProjectedGradientDescentPyTorch(
            estimator, np.inf, epsilon, size, max_iter=STEPS, batch_size=len(x), verbose=False
        )
        parties["ART"] = lambda: art.generate(x, np.eye(10)[y])
    except ImportError:
        print("ART is not installed", file=sys.stderr)
    return parties


def auto_peers(
    model: nn.Module, x: Any, y: Any, norm: str, epsilon: float
) -> dict[str, Callable[[], Any]]:
    given, classes = torch.from_numpy(x), torch.from_numpy(y)
    victim = TorchPredictor(model)

    def ours(schedule: Any) -> Any:
        return ensemble(
            victim, x, y.astype(np.intp), epsilon=epsilon, norm=norm.lower(), seed=0,
            schedule=schedule,
        )  # fmt: skip

    parties: dict[str, Callable[[], Any]] = {
        "ours, triage": lambda: ours("triage"),
        "ours, standard": lambda: ours("standard"),
    }
    try:
        from autoattack import AutoAttack

        reference = AutoAttack(model, norm=norm, eps=epsilon, seed=0, verbose=False, device="cpu")
        parties["reference AutoAttack"] = lambda: reference.run_standard_evaluation(given, classes)
    except ImportError:
        print("the reference AutoAttack is not installed", file=sys.stderr)
    try:
        import torchattacks

        other = torchattacks.AutoAttack(model, norm=norm, eps=epsilon, seed=0, n_classes=10)
        parties["torchattacks AutoAttack"] = lambda: other(given, classes)
    except ImportError:
        pass
    return parties


def robust(  # noqa: PLR0917 - a problem and an answer
    model: nn.Module, x: Any, y: Any, answer: Any, norm: str, epsilon: float
) -> str:
    """Measure an answer by itself: right, or changed by more than epsilon."""
    points = answer.points if hasattr(answer, "points") else answer.detach().numpy()
    gap = (points.astype(np.float64) - x).reshape(len(x), -1)
    far = np.abs(gap).max(axis=1) if norm == "Linf" else np.sqrt((gap**2).sum(axis=1))
    with torch.no_grad():
        right = model(torch.from_numpy(points)).argmax(dim=1).numpy() == y
    out = f"{(right | (far > epsilon * (1 + 1e-5))).mean():.1%}"
    return (
        out if getattr(answer, "report", None) is None or answer.report.complete else out + " (!)"
    )


def main() -> None:
    x, y, other, classes = data()
    plain = trained(x, y, epsilon=0.0, epochs=15)
    hardened = trained(x, y, epsilon=0.15, epochs=30)
    print(f"{platform.machine()}, {os.cpu_count()} cores, one torch thread, Python")
    print(f"{platform.python_version()}; {versions()}\n")
    print(f"PGD, linf, {STEPS} steps, the hardened CNN; throughput relative to the loop\n")
    print("| attack | records | CPU s | relative | right afterwards |\n|---|---|---|---|---|")
    many, labels = np.concatenate([other, x]), np.concatenate([classes, y])
    for count, rounds in ROUNDS.items():
        some, named = many[:count], labels[:count]
        found = alternate(pgd_peers(hardened, some, named, 0.1), rounds)
        base = found["ten-line torch loop"][0]
        for name, (taken, points) in found.items():
            left = robust(hardened, some, named, torch.from_numpy(points), "Linf", 0.1)
            relative = np.median(np.divide(base, taken))
            print(
                f"| {name} | {len(some)} | {typical(taken):.3f} | {relative:.2f} | {left} |",
                flush=True,
            )
    if sys.argv[1:] == ["pgd"]:
        return
    print(f"\nEnsembles on {SAMPLES} records; time relative to the reference\n")
    print("| model | ball | ensemble | CPU s | relative | robust accuracy |")
    print("|---|---|---|---|---|---|")
    some, named = other[:SAMPLES], classes[:SAMPLES]
    for label, model, norm, epsilon in (
        ("plain", plain, "Linf", 0.1),
        ("hardened", hardened, "Linf", 0.1),
        ("hardened", hardened, "Linf", 0.2),
        ("plain", plain, "L2", 0.5),
        ("hardened", hardened, "L2", 0.7),
    ):
        found = alternate(auto_peers(copy.deepcopy(model), some, named, norm, epsilon), 1)
        base = found.get("reference AutoAttack", ([float("nan")],))[0]
        for name, (taken, answer) in found.items():
            left = robust(model, some, named, answer, norm, epsilon)
            print(
                f"| {label} | {norm} {epsilon} | {name} | {typical(taken):.2f} |"
                f" {typical(taken) / typical(base):.2f} | {left} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

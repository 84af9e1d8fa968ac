"""What each defence of a model costs and what it takes from an attacker, on scikit-learn's digits.

    .venv/bin/python benchmarks/defend_training.py

No peer: the attacks of `vallum.attack` are run on the undefended and the defended model. Half of
the digits train, the other half measures. For membership a tenth of all labels is wrong,
so that a network has something to memorise: an undefended one learns by heart whose label it was.
The rate of membership is the advantage (largest difference of true and false positives), that of
evasion the share of records that PGD gets or finds misclassified, that of extraction the fidelity
of a knock-off after 2,000 queries. One torch thread, seeds fixed but for private noise, which
has no seed.
"""

import os
import sys
import time

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from vallum.attack import Known, TorchPredictor, calibrated, knock_off, loss_threshold, pgd
from vallum.defend import (
    HardenedModel,
    Hardening,
    Measured,
    SmoothedModel,
    SqueezedModel,
    certify,
    dp,
    effect,
    train_robust,
)

torch.set_num_threads(1)
BALL = 0.1
digits = load_digits()
order = np.random.default_rng(0).permutation(len(digits.target))
X, Y = (digits.data[order] / 16).astype(np.float32), digits.target[order]
HALF = len(Y) // 2
SHADOWS = 4


def network(hidden=128):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))


def plain(x, y, *, epochs=150, noise=0.0, seed=0):
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    random = torch.Generator().manual_seed(seed)
    inputs, targets = torch.from_numpy(x), torch.from_numpy(np.asarray(y)).long()
    for _ in range(epochs):
        for place in torch.randperm(len(x), generator=random).split(128):
            given = inputs[place]
            given = given + noise * torch.randn(given.shape, generator=random)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(given), targets[place]).backward()
            optimizer.step()
    return model


def accuracy(victim, x=X[HALF:], y=Y[HALF:]):
    return float((victim.predict(x).argmax(axis=1) == y).mean())


def timed(make):
    start = time.process_time()
    return make(), time.process_time() - start


# -- membership: training under differential privacy ---------------------------------------------


def membership():
    rng = np.random.default_rng(1)
    # On both sides: otherwise a wrong label by itself would tell a member.
    noisy = np.where(rng.random(len(Y)) < 0.1, rng.integers(0, 10, len(Y)), Y)
    labels = noisy[:HALF]
    data = Known(members=(X[:HALF], labels), others=(X[HALF:], noisy[HALF:]))

    def attacked(model, seconds):
        victim = TorchPredictor(model)
        found = [
            loss_threshold(victim, data.members, data.others),
            calibrated(victim, data, train=shadow, budget=100_000, seed=3, references=SHADOWS),
        ]
        best = max(found, key=lambda one: one.auc)
        print(f"  {best.attack}: AUC {best.auc:.3f} ({best.auc_low:.3f} to {best.auc_high:.3f}),"
              f" {best.tpr_at_1fpr:.1%} of members at 1 % false positives")  # fmt: skip
        return Measured(accuracy=accuracy(victim), attack_rate=max(0.0, best.advantage),
                        seconds=seconds)  # fmt: skip

    def shadow(x, y, generator):
        return TorchPredictor(plain(x, y, seed=int(generator.integers(2**31))))

    before = attacked(*timed(lambda: plain(X[:HALF], labels)))
    for epsilon in (1, 3, 8):

        def private(epsilon=epsilon):
            model = network()
            spend = dp.train(
                model, (X[:HALF], labels), loss=nn.CrossEntropyLoss(reduction="none"),
                epsilon=epsilon, delta=1e-4, epochs=30, batch_size=256, max_grad_norm=1.0,
                optimizer=torch.optim.Adam(model.parameters(), lr=0.01),
            )  # fmt: skip
            assert spend.epsilon <= epsilon
            return model

        after = attacked(*timed(private))
        told = effect(f"private training, epsilon {epsilon}", "membership", before, after)
        print(told.text(), "\n", flush=True)


# -- evasion: adversarial training, smoothing, squeezing -----------------------------------------


def evasion():
    def attacked(model, seconds, wrap=lambda one: one):
        victim = TorchPredictor(model)
        found = pgd(victim, X[HALF:], Y[HALF:], epsilon=BALL, rng=np.random.default_rng(0),
                    steps=20, restarts=2)  # fmt: skip
        return Measured(accuracy=accuracy(wrap(victim)), seconds=seconds,
                        attack_rate=float(found.adversarial.mean()))  # fmt: skip

    model, seconds = timed(lambda: plain(X[:HALF], Y[:HALF], epochs=30))
    before = attacked(model, seconds)
    for method in ("pgd", "trades"):

        def robust(method=method):
            made = network()
            train_robust(
                made, (X[:HALF], Y[:HALF]), epsilon=BALL, method=method, epochs=30,
                optimizer=torch.optim.Adam(made.parameters(), lr=0.005), attack_steps=7,
            )  # fmt: skip
            return made

        after = attacked(*timed(robust))
        told = effect(f"{method} training in L-inf {BALL}", f"PGD within {BALL}", before, after)
        print(told.text(), "\n", flush=True)

    victim = TorchPredictor(model)
    found = pgd(victim, X[HALF:], Y[HALF:], epsilon=BALL, rng=np.random.default_rng(0), steps=20)
    squeezed = SqueezedModel(victim, bits=1)
    fooled = squeezed.predict(found.points.astype(np.float32)).argmax(axis=1) != Y[HALF:]
    after = Measured(accuracy=accuracy(squeezed), attack_rate=float(fooled.mean()), seconds=seconds)
    told = effect("squeezing to 1 bit", "PGD that does not know of it", before, after)
    print(told.text(), "\n", flush=True)

    sigma, count = 0.2, 100
    noisy = TorchPredictor(plain(X[:HALF], Y[:HALF], epochs=60, noise=sigma), clip=(-9, 9))
    start = time.process_time()
    sure = certify(SmoothedModel(noisy, sigma=sigma), X[HALF : HALF + count], draws=2000)
    spent = time.process_time() - start
    right = sure.classes == Y[HALF : HALF + count]
    print(f"smoothing with sigma {sigma}, {count} digits, {spent:.1f} s: right {right.mean():.0%};"
          " right and certified in L2 beyond "
          + ", ".join(f"{r}: {(right & (sure.radii >= r)).mean():.0%}" for r in (0.1, 0.25, 0.5)),
          "\n", flush=True)  # fmt: skip


# -- extraction: answers that tell less ----------------------------------------------------------


def extraction():
    model = TorchPredictor(plain(X[:HALF], Y[:HALF], epochs=30))
    data = Known(members=(X[:HALF], Y[:HALF]), others=(X[HALF:], Y[HALF:]))

    def attacked(victim):
        stolen, seconds = timed(lambda: knock_off(victim, data, budget=2000, seed=0))
        return Measured(accuracy=accuracy(victim), attack_rate=stolen.report.fidelity,
                        seconds=seconds)  # fmt: skip

    before = attacked(HardenedModel(model, Hardening(), answers="logits"))
    for name, how in (
        ("rounding to 1 place", Hardening(decimals=1)),
        ("temperature 5, noise 1", Hardening(temperature=5, noise=1.0)),
        ("the top class only", Hardening(top_k=1)),
        ("labels only", Hardening(label_only=True)),
    ):
        after = attacked(HardenedModel(model, how, answers="logits", key=b"benchmark's own key"))
        print(effect(name, "knock-off, 2,000 queries", before, after).text(), "\n", flush=True)


def main():
    print("```")
    membership()
    evasion()
    extraction()
    print("```")


if __name__ == "__main__":
    sys.exit(main())

"""Fidelity of stolen models against queries, beside ART's extraction attacks.

ART needs an environment of its own, with torch and scikit-learn; without it only our rows are made:

    python -m venv /tmp/artvenv
    /tmp/artvenv/bin/pip install adversarial-robustness-toolbox torch scikit-learn
    benchmarks/attack_extraction.py /tmp/artvenv/bin/python

Victims are trained on 900 of scikit-learn's digits, pixels from 0 to 1, and computed with numpy on
both sides. Of the other 897 the thief owns half, and fidelity is measured on the rest. ART's
attacks choose among records that they are given: they get the thief's half and mixtures of it, as
many as ours may ask about. Its surrogate is a torch network of one hidden layer of 96, Adam at
3e-3, 30 epochs (its default is 10). Times are CPU seconds, one thread, means of the seeds.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if os.environ.get("OMP_NUM_THREADS") != "1":
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "OMP_NUM_THREADS": "1"})

import numpy as np

BUDGET = 5000
SEEDS = 3

PEER = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import numpy as np, torch, art
torch.set_num_threads(1)
from art.attacks.extraction import CopycatCNN, KnockoffNets
from art.estimators.classification import BlackBoxClassifier, PyTorchClassifier
g = np.load(sys.argv[1])
seed, attack, answers, use = int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5] == "1"
layers = [(g[f"w{i}"], g[f"b{i}"]) for i in range(int(g["layers"]))]
asked = [0]
def logits(x):
    asked[0] += len(x)
    for at, (w, b) in enumerate(layers):
        x = x @ w + b
        if at < len(layers) - 1:
            x = np.maximum(x, 0)
    return x
def victim(x):
    z = logits(x)
    if answers == "logits":
        return z.astype(np.float32)
    p = np.exp(z - z.max(1, keepdims=True)); p /= p.sum(1, keepdims=True)
    return (np.eye(10)[p.argmax(1)] if answers == "labels" else p).astype(np.float32)
np.random.seed(seed); torch.manual_seed(seed)
net = torch.nn.Sequential(torch.nn.Linear(64, 96), torch.nn.ReLU(), torch.nn.Linear(96, 10))
thief = PyTorchClassifier(net, torch.nn.CrossEntropyLoss(), (64,), 10,
                          optimizer=torch.optim.Adam(net.parameters(), 3e-3))
box = BlackBoxClassifier(victim, (64,), 10)
kind = KnockoffNets if attack == "knockoff" else CopycatCNN
more = {"sampling_strategy": "random", "verbose": False} if attack == "knockoff" else {}
method = kind(box, batch_size_fit=64, batch_size_query=512, nb_epochs=30,
              nb_stolen=len(g["pool"]), use_probability=use, **more)
start = time.process_time()
stolen = method.extract(g["pool"], thieved_classifier=thief)
took = time.process_time() - start
queries = asked[0]
hits = stolen.predict(g["held"]).argmax(1) == logits(g["held"]).argmax(1)
print(json.dumps({"fidelity": float(hits.mean()), "s": took, "queries": queries,
                  "version": art.__version__}))
"""


class Network:
    """Logits of a network in numpy, answered as logits, probabilities or labels."""

    def __init__(self, layers: list[tuple[Any, Any]], answers: str, decimals: int | None = None):
        self.layers, self.answers, self.decimals = layers, answers, decimals

    def predict(self, x: Any) -> Any:
        z = x.astype(np.float64)
        for at, (w, b) in enumerate(self.layers):
            z = z @ w + b
            if at < len(self.layers) - 1:
                z = np.maximum(z, 0)
        if self.answers == "logits":
            return z
        if self.answers == "labels":
            return np.eye(z.shape[1])[z.argmax(axis=1)]
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        return p if self.decimals is None else p.round(self.decimals)


class Called:
    """A function of scikit-learn's as a predictor."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.predict = function


def at(curve: Any, queries: int) -> float:
    """Return the fidelity of the last point within so many queries."""
    within = [(one.queries, one.fidelity) for one in curve if one.queries <= queries]
    return max(within)[1] if within else float("nan")


def main() -> None:
    from sklearn.datasets import load_digits
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.tree import DecisionTreeClassifier

    from vallum.attack import (
        Known,
        copycat,
        find_paths,
        jacobian_augmentation,
        knock_off,
        solve_equations,
    )  # fmt: skip
    from vallum.attack.extraction import mixtures
    from vallum.base import GateError

    peer = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("ART_PYTHON", "")
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.data))
    x = (digits.data[order] / 16).astype(np.float32)
    y = digits.target[order].astype(np.intp)
    known = Known((x[:900], y[:900]), (x[900:], y[900:]))
    regression = LogisticRegression(max_iter=5000).fit(x[:900], y[:900])
    network = MLPClassifier((64,), max_iter=600, random_state=0).fit(x[:900], y[:900])
    forest = RandomForestClassifier(100, random_state=0).fit(x[:900], y[:900])
    tree = DecisionTreeClassifier(min_samples_leaf=20, random_state=0).fit(x[:900], y[:900])
    linear = [(regression.coef_.T, regression.intercept_)]
    deep = list(zip(network.coefs_, network.intercepts_, strict=True))
    learned = (knock_off, copycat, jacobian_augmentation)
    kinds = ("probabilities", "logits", "labels")
    cases = [(f"softmax, {kind}", Network(linear, kind), learned) for kind in kinds]
    cases += [("softmax, one decimal", Network(linear, "probabilities", 1), learned)]
    cases += [(f"network, {kind}", Network(deep, kind), learned) for kind in kinds]
    cases += [("forest of 100, probabilities", Called(forest.predict_proba), learned)]
    cases += [(f"softmax, {kind}", Network(linear, kind), (solve_equations,)) for kind in kinds]
    cases += [("softmax, one decimal", Network(linear, "probabilities", 1), (solve_equations,))]
    cases += [("network, probabilities", Network(deep, "probabilities"), (solve_equations,))]
    cases += [("tree, 32 leaves", Called(tree.predict_proba), (find_paths,))]
    rows = []
    for name, model, attacks in cases:
        for attack in attacks:
            taken, reports = [], []
            budget = 12_000 if attack is find_paths else BUDGET
            try:
                for seed in range(SEEDS):
                    start = time.process_time()
                    reports.append(attack(model, known, budget=budget, seed=seed).report)
                    taken.append(time.process_time() - start)
            except GateError as error:
                rows.append(f"| {name} | {attack.__name__} | | | | | | | failed: {error.message} |")
                continue
            first = reports[0]
            reached = [one.queries_to_95 for one in reports]
            shares = [np.mean([at(one.curve, top) for one in reports]) for top in (600, 1300)]
            rows.append(
                f"| {name} | {first.attack} | {np.mean([one.queries for one in reports]):.0f} |"
                + "".join(" – |" if np.isnan(share) else f" {share:.3f} |" for share in shares)
                + f" {np.mean([one.fidelity for one in reports]):.3f}"
                f" [{min(one.fidelity_low for one in reports):.3f},"
                f" {max(one.fidelity_high for one in reports):.3f}] |"
                f" {'–' if None in reached else max(reached)} | {np.mean(taken):.2f} |"
                f" {'parameters confirmed' if all(one.exact for one in reports) else ''} |"
            )
    version = ""
    if peer:
        rng = np.random.default_rng(0)
        half = x[900:][rng.permutation(897)]
        pool, held = half[:448], half[448:]
        asked = np.concatenate([pool, mixtures(pool, BUDGET - 465 - len(pool), rng)])
        with tempfile.TemporaryDirectory() as folder:
            script = Path(folder) / "peer.py"
            script.write_text(PEER, encoding="utf-8")
            for name, layers in (("softmax", linear), ("network", deep)):
                given = Path(folder) / "given.npz"
                saved = {f"w{at}": w for at, (w, _) in enumerate(layers)}
                saved |= {f"b{at}": b for at, (_, b) in enumerate(layers)}
                np.savez(given, pool=asked, held=held, layers=len(layers), **saved)
                settings = [
                    ("knockoff", "probabilities", "1", "knock-off"),
                    ("knockoff", "logits", "1", "knock-off, `use_probability` on logits"),
                    ("knockoff", "labels", "0", "knock-off"),
                    ("copycat", "labels", "0", "copycat"),
                ]
                for attack, answers, use, title in settings:
                    found = []
                    for seed in range(SEEDS):
                        out = subprocess.run(
                            [peer, script, given, str(seed), attack, answers, use],
                            check=True, capture_output=True, text=True, timeout=600,
                        ).stdout  # fmt: skip
                        found.append(json.loads(out.splitlines()[-1]))
                    version = found[0]["version"]
                    rows.append(
                        f"| {name}, {answers} | ART {title} | {found[0]['queries']} | | |"
                        f" {np.mean([one['fidelity'] for one in found]):.3f} | |"
                        f" {np.mean([one['s'] for one in found]):.2f} | |"
                    )
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()},")
    print(f"numpy {np.__version__}, ART {version or 'not given'}; budget {BUDGET} queries, those")
    print(f"that measure included ({SEEDS} seeds; path-finding 12,000). Fidelity is the share of")
    print("held-out records on which the stolen model answers the victim's class; the interval is")
    print("the widest of the seeds' Wilson intervals.\n")
    print("| victim | attack | queries | at 600 | at 1,300 | at the end |", end="")
    print(" queries to 0.95, slowest seed | CPU s | |")
    print("|---|---|---|---|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()

"""Trees by their thresholds, and any model by transfer, beside ART's, with exact limits.

ART needs an environment of its own, with torch and scikit-learn of the same version; without it
only our rows are made:

    python -m venv /tmp/artvenv
    /tmp/artvenv/bin/pip install adversarial-robustness-toolbox torch scikit-learn
    .venv/bin/python benchmarks/attack_trees.py [--quick] [/tmp/artvenv/bin/python]

Thresholds: scikit-learn's tree, forest of 100 and boosted trees on half of its breast cancer data;
records of the other half that the model gets right, distances in standard deviations, root mean
square over the 30 features. ART has an attack for a single tree, and HopSkipJump (labels only, 12
iterations) for the others. The limit of a single tree is exact: the nearest leaf of another class.

Transfer: labels only, digits with pixels from 0 to 1, changes of at most 0.1 a pixel. Both sides
learn a network of one hidden layer of 96 from 1,000 answers (knock-off), and climb it by momentum
in ten steps; ART's surrogate is in torch (Adam at 3e-3, 30 epochs). The limit is the same climb on
the victim itself, where it has a gradient. Times are CPU seconds, one thread.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

if os.environ.get("OMP_NUM_THREADS") != "1":
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "OMP_NUM_THREADS": "1"})

import numpy as np

from vallum.attack import (
    Known,
    Space,
    cross_thresholds,
    knock_off,
    momentum_transfer,
    scaled,
    square,
)
from vallum.attack.surrogate import fit_network
from vallum.attack.thresholds import sklearn_splits
from vallum.base import GateError

RADII = (0.1, 0.3)
STOLEN = 1000

TREES = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import numpy as np, art
from art.attacks.evasion import DecisionTreeAttack, HopSkipJump
from art.estimators.classification import BlackBoxClassifier, SklearnClassifier
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier
g = np.load(sys.argv[1])
model = eval(sys.argv[3]).fit(g["train"], g["classes"])  # the same model once more
x, mean, scale = g["x"], g["mean"], g["scale"]
assert (model.predict_proba(x) == g["said"]).all()
asked = [0]
np.random.seed(0)
if sys.argv[4] == "tree":
    attack = DecisionTreeAttack(SklearnClassifier(model), offset=1e-4, verbose=False)
    start = time.process_time()
    found = attack.generate(x.astype(np.float64))
else:
    def labels(z):
        asked[0] += len(z)
        return np.eye(2)[model.predict((z * scale + mean).astype(np.float32))]
    z = ((x - mean) / scale).astype(np.float32)
    low, high = (((g[k] - mean) / scale).astype(np.float32) for k in ("low", "high"))
    box = BlackBoxClassifier(labels, (30,), 2, clip_values=(low, high))
    attack = HopSkipJump(box, norm=2, max_iter=12, max_eval=10000, init_eval=40, verbose=False)
    start = time.process_time()
    found = attack.generate(z) * scale + mean
took = time.process_time() - start
np.save(sys.argv[2], found)
print(json.dumps({"s": took, "queries": asked[0] / len(x), "version": art.__version__}))
"""

TRANSFER = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import numpy as np, torch, art
torch.set_num_threads(1)
from art.attacks.evasion import MomentumIterativeMethod
from art.attacks.extraction import KnockoffNets
from art.estimators.classification import BlackBoxClassifier, PyTorchClassifier
g = np.load(sys.argv[1])
np.random.seed(int(sys.argv[3])); torch.manual_seed(int(sys.argv[3]))
labels = g["labels"]  # of the pool: what the victim would answer
place = {row.tobytes(): at for at, row in enumerate(g["pool"])}
def victim(x):
    return np.eye(10, dtype=np.float32)[[labels[place[one.tobytes()]] for one in x]]
net = torch.nn.Sequential(torch.nn.Linear(64, 96), torch.nn.ReLU(), torch.nn.Linear(96, 10))
thief = PyTorchClassifier(net, torch.nn.CrossEntropyLoss(), (64,), 10, clip_values=(0, 1),
                          optimizer=torch.optim.Adam(net.parameters(), 3e-3))
start = time.process_time()
stolen = KnockoffNets(BlackBoxClassifier(victim, (64,), 10), batch_size_fit=64, verbose=False,
                      batch_size_query=512, nb_epochs=30, nb_stolen=len(g["pool"]),
                      sampling_strategy="random", use_probability=False).extract(
                          g["pool"], thieved_classifier=thief)
attack = MomentumIterativeMethod(stolen, norm=np.inf, eps=0.1, eps_step=0.02, decay=1.0,
                                 max_iter=10, verbose=False)
found = attack.generate(g["x"], np.eye(10)[g["y"]])
took = time.process_time() - start
np.save(sys.argv[2], found)
print(json.dumps({"s": took, "version": art.__version__}))
"""


class Trees:
    """A scikit-learn model behind its probabilities; counts its answers."""

    def __init__(self, model: Any) -> None:
        self.model, self.asked = model, 0

    def predict(self, x: Any) -> Any:
        self.asked += len(x)
        return self.model.predict_proba(x).astype(np.float64)


class Labels:
    """A victim that answers labels only."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def predict(self, x: Any) -> Any:
        found = self.model.predict(x)
        return np.eye(found.shape[1])[found.argmax(axis=1)]


def nearest_leaf(tree: Any, x: Any, said: Any, scale: Any) -> Any:
    """Return the distance of each record to the nearest leaf of another class, exactly."""
    best = np.full(len(x), np.inf)
    todo = [(0, np.full(x.shape[1], -np.inf), np.full(x.shape[1], np.inf))]
    while todo:
        node, low, high = todo.pop()
        if tree.children_left[node] < 0:
            other = said != tree.value[node].argmax()
            gap = (np.maximum(low - x, 0) + np.maximum(x - high, 0)) / scale
            length = np.sqrt((gap**2).mean(axis=1))
            best = np.where(other, np.minimum(best, length), best)
            continue
        feature, value = tree.feature[node], tree.threshold[node]
        left, right = high.copy(), low.copy()
        left[feature], right[feature] = min(high[feature], value), max(low[feature], value)
        todo += [(tree.children_left[node], low, left), (tree.children_right[node], right, high)]
    return best


def ask(peer: str, script: str, arrays: dict[str, Any], *words: str) -> tuple[Any, Any]:
    """Run a peer's script on arrays; return what it printed and what it found."""
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        (at / "peer.py").write_text(script, encoding="utf-8")
        np.savez(at / "given.npz", **arrays)
        text = subprocess.run(
            [peer, at / "peer.py", at / "given.npz", at / "out.npy", *words],
            check=True, stdout=subprocess.PIPE, text=True, timeout=1800,
        ).stdout  # fmt: skip
        return json.loads(text.splitlines()[-1]), np.load(at / "out.npy")


VERSION = ""


def by_thresholds(peer: str, count: int) -> None:
    global VERSION  # noqa: PLW0603 - what the peer says of itself
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.tree import DecisionTreeClassifier

    data = load_breast_cancer()
    order = np.random.default_rng(0).permutation(len(data.data))
    x, y = data.data[order].astype(np.float32), data.target[order]
    half = len(x) // 2
    models = {
        "tree": DecisionTreeClassifier(random_state=0),
        "tree, 5 in a leaf": DecisionTreeClassifier(min_samples_leaf=5, random_state=0),
        "forest of 100": RandomForestClassifier(100, random_state=0),
        "boosted, 100 rounds": HistGradientBoostingClassifier(random_state=0),
    }
    print("| victim | attack | flipped within 0.1 | within 0.3 | median distance |"
          " queries a record, at 0.3 | CPU s, at 0.3 |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    for name, model in models.items():
        model.fit(x[:half], y[:half])
        held = np.flatnonzero(model.predict(x) == y)
        held = held[held >= half][:count]
        a, b = x[held], y[held]
        space = Space.infer(x[:half], a)
        wide = np.sqrt(x.shape[1])
        z, victim = space.scaled(a).astype(np.float32), Trees(model)
        splits = sklearn_splits(model)
        assert splits is not None

        def length(found: Any, model: Any = model, a: Any = a, b: Any = b,
                   space: Space = space) -> Any:  # fmt: skip
            """Return how far flips are, asked once more; infinite where there is none."""
            found = found.astype(np.float32)
            gap = space.scaled(found) - space.scaled(a)
            return np.where(model.predict(found) != b, np.sqrt((gap**2).mean(axis=1)), np.inf)

        def told(attack: str, near: Any, rest: str, middle: str = "–", name: str = name) -> None:
            cells = [f"{(one <= radius * (1 + 1e-6)).mean():.1%}"
                     for one, radius in zip(near, RADII, strict=True)]  # fmt: skip
            print(
                f"| {name} | {attack} | {cells[0]} | {cells[1]} | {middle} | {rest} |", flush=True
            )

        for queries in (300, 3000):
            near = []
            for radius in RADII:
                victim.asked, start = 0, time.process_time()
                crossed = cross_thresholds(
                    victim, a, b, splits, space, radius=radius * wide, queries=queries,
                    rng=np.random.default_rng(0),
                )  # fmt: skip
                took = time.process_time() - start
                near.append(length(crossed.points))
            told(f"ours, thresholds, at most {queries}", near,
                 f"{victim.asked / len(a):.0f} | {took:.2f}")  # fmt: skip
        low, high = (one.astype(np.float32) for one in space.clip())
        clip = (np.minimum(low, z.min(axis=0)), np.maximum(high, z.max(axis=0)))
        try:
            near = []
            for radius in RADII:
                victim.asked, start = 0, time.process_time()
                blind = square(
                    scaled(victim, space, (x.shape[1],)), z, b, epsilon=radius * wide, norm="l2",
                    queries=300, rng=np.random.default_rng(0), repair=space.repair, clip=clip,
                )  # fmt: skip
                took = time.process_time() - start
                near.append(length(space.raw(blind.points)))
            told("ours, Square (scores only), at most 300", near,
                 f"{victim.asked / len(a):.0f} | {took:.2f}")  # fmt: skip
        except GateError as error:
            print(f"| {name} | ours, Square | failed: {error.message} | | | | |")
        single = hasattr(model, "tree_")
        if peer:
            arrays = {"x": a, "mean": space.mean, "scale": space.scale,
                      "low": space.low, "high": space.high, "train": x[:half],
                      "classes": y[:half], "said": model.predict_proba(a)}  # fmt: skip
            for word, title in (("tree", "ART DecisionTreeAttack"), ("hop", "ART HopSkipJump")):
                if word == "tree" and not single:
                    continue
                answer, found = ask(peer, TREES, arrays, repr(model), word)
                VERSION = answer["version"]
                asked = f"{answer['queries']:.0f}" if word == "hop" else "–"
                far = length(found)
                told(title, (far, far), f"{asked} | {answer['s']:.2f}", f"{np.median(far):.3f}")
        if single:
            best = nearest_leaf(model.tree_, a.astype(np.float64), b, space.scale)
            told("limit: nearest leaf of another class", (best, best), "|",
                 f"{np.median(best):.3f}")  # fmt: skip


def by_transfer(peer: str, seeds: int, count: int) -> None:
    global VERSION  # noqa: PLW0603 - as above
    from sklearn.datasets import load_digits
    from sklearn.ensemble import RandomForestClassifier

    from vallum.attack.extraction import mixtures

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.data))
    x = (digits.data[order] / 16).astype(np.float32)
    y = digits.target[order].astype(np.intp)
    rng = np.random.default_rng(1)
    hot = np.eye(10)[y[:900]]
    forest = RandomForestClassifier(100, random_state=0).fit(x[:900], y[:900])
    victims = {
        "softmax": fit_network(x[:900], hot, hidden=0, rng=rng, rate=3e-2),
        "network of 64": fit_network(x[:900], hot, hidden=64, rng=rng),
        "forest of 100": Trees(forest),
    }
    print("\n| victim | attack | flipped, mean of seeds | least | most | CPU s |")
    print("|---|---|---|---|---|---|")
    for name, model in victims.items():
        victim = Labels(model)
        right = np.flatnonzero(victim.predict(x).argmax(axis=1) == y)
        right = right[right >= 900]
        rows, rest = right[:count], np.setdiff1d(np.arange(900, len(x)), right[:count])
        a, b = x[rows], y[rows]
        known = Known((x[:900], y[:900]), (x[rest], y[rest]))
        runs: dict[str, list[tuple[float, float]]] = {}
        for seed in range(seeds):
            start = time.process_time()
            stolen = knock_off(victim, known, budget=STOLEN, seed=seed).stolen
            points = momentum_transfer(stolen, a, b, epsilon=0.1, norm="linf", clip=(0.0, 1.0))
            took = time.process_time() - start
            runs.setdefault("ours", []).append(
                (float((victim.predict(points).argmax(axis=1) != b).mean()), took)
            )
            if peer:
                draw = np.random.default_rng(seed)
                own = x[rest][draw.permutation(len(rest))[: len(rest) // 2]]
                pool = np.concatenate([own, mixtures(own, max(0, STOLEN - len(own)), draw)])[
                    :STOLEN
                ]
                arrays = {"x": a, "y": b, "pool": pool,
                          "labels": victim.predict(pool).argmax(axis=1)}  # fmt: skip
                answer, found = ask(peer, TRANSFER, arrays, str(seed))
                assert np.abs(found - a).max() <= 0.1 + 1e-6
                VERSION = answer["version"]
                wrong = victim.predict(found.astype(np.float32)).argmax(axis=1) != b
                runs.setdefault("ART knock-off and MI-FGSM", []).append(
                    (float(wrong.mean()), answer["s"])
                )
        for attack, found in runs.items():
            shares, times = zip(*found, strict=True)
            print(f"| {name} | {attack} | {np.mean(shares):.1%} | {min(shares):.1%} |"
                  f" {max(shares):.1%} | {np.mean(times):.2f} |", flush=True)  # fmt: skip
        if hasattr(model, "loss_gradient"):
            points = momentum_transfer(model, a, b, epsilon=0.1, norm="linf", clip=(0.0, 1.0))
            wrong = victim.predict(points).argmax(axis=1) != b
            print(f"| {name} | limit: the same climb on the victim | {wrong.mean():.1%} | | | |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="ten records, one seed")
    parser.add_argument("peer", nargs="?", default=os.environ.get("ART_PYTHON", ""))
    given = parser.parse_args()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, numpy"
    )
    print(f"{np.__version__}; load {os.getloadavg()[0]:.1f} from all that runs on the machine.\n")
    by_thresholds(given.peer, 10 if given.quick else 40)
    by_transfer(given.peer, 1 if given.quick else 5, 100 if given.quick else 300)
    print(f"\nART {VERSION or 'not given'}.")


if __name__ == "__main__":
    main()

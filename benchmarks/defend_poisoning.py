"""Finding poison, beside ART's activation and spectral defences and cleanlab, on the same data.

The peers need their own environment; it is found by the path of its interpreter:

    python -m venv /tmp/peers
    /tmp/peers/bin/pip install adversarial-robustness-toolbox cleanlab scikit-learn packaging
    .venv/bin/python benchmarks/defend_poisoning.py /tmp/peers/bin/python
    .venv/bin/python benchmarks/defend_poisoning.py models
    .venv/bin/python benchmarks/defend_poisoning.py traces
    .venv/bin/python benchmarks/defend_poisoning.py limits

The second prints the table of trigger inversion in models and of poison in activations instead, the
third that of labels by how a network learns them, the fourth how well common classifiers that are
told every other true label could tell flips, with the best of their settings picked by the result.

5 % of rows are poisoned; the target class is drawn by the seed, and so are place, pattern and
field. Ours sees the data alone. ART's two defences see the activations of a network of one hidden
layer trained on the poisoned data, its last hidden ones, as their papers ask; cleanlab sees
out-of-fold probabilities of the same network.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

SEEDS = 10
CLEAN_SEEDS = 40  # a rate of false alarms is worth nothing on ten
PEER_SEEDS = 2
RATE = 0.05
PEER = r"""
import json, sys, warnings
warnings.filterwarnings("ignore")
import numpy as np
from sklearn.model_selection import cross_val_predict
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
import art, cleanlab
from art.defences.detector.poison import ActivationDefence, SpectralSignatureDefense
from art.estimators.classification import BlackBoxClassifier
from cleanlab.rank import get_label_quality_scores
from cleanlab.filter import find_label_issues

class Activations(BlackBoxClassifier):
    # Both defences ask a classifier for its last hidden layer, nothing else.
    def __init__(self, net, x, classes):
        super().__init__(lambda z: net.predict_proba(z.reshape(len(z), -1)), x.shape[1:], classes)
        self.net = net
    layer_names = ["hidden"]
    def get_activations(self, x, layer=0, batch_size=128, framework=False):
        z = self.net[0].transform(x.reshape(len(x), -1))
        inner = self.net[1]
        return np.maximum(z @ inner.coefs_[0] + inner.intercepts_[0], 0)

given = np.load(sys.argv[1])
out = {"art": art.__version__, "cleanlab": cleanlab.__version__, "rows": []}
for at in range(int(given["count"])):
    x, y = given[f"x{at}"].astype(np.float32), given[f"y{at}"].astype(int)
    flat, classes = x.reshape(len(x), -1), int(y.max()) + 1
    make = lambda: make_pipeline(
        StandardScaler(), MLPClassifier((64,), max_iter=60, random_state=0))
    net = make().fit(flat, y)
    model = Activations(net, x, classes)
    hot = np.eye(classes)[y]
    answer = {}
    found = ActivationDefence(model, x, hot)
    _, clean = found.detect_poison(nb_clusters=2, nb_dims=10, reduce="PCA")
    flagged = np.asarray(clean) == 0
    answer["ART activation"] = {"flagged": flagged.tolist(), "scores": (1.0 * flagged).tolist()}
    found = SpectralSignatureDefense(model, x, hot, expected_pp_poison=0.05, eps_multiplier=1.5)
    report, clean = found.detect_poison()
    scores = np.zeros(len(y))
    for one in range(classes):
        act = model.get_activations(x[y == one])
        act = act - act.mean(0)
        scores[y == one] = (act @ np.linalg.svd(act, full_matrices=False)[2][0]) ** 2
    flagged = np.asarray(clean) == 0
    answer["ART spectral"] = {"flagged": flagged.tolist(), "scores": scores.tolist()}
    probabilities = cross_val_predict(make(), flat, y, cv=3, method="predict_proba")
    scores = 1 - get_label_quality_scores(y, probabilities)
    flagged = find_label_issues(y, probabilities)
    answer["cleanlab"] = {"flagged": flagged.tolist(), "scores": scores.tolist()}
    out["rows"].append(answer)
print(json.dumps(out))
"""

Case = tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.bool_]]


def cases(name: str, x: NDArray[np.float64], y: NDArray[np.intp], seeds: int) -> list[Case]:
    from vallum.attack import GENERATORS

    if name == "clean":  # other halves each time
        halves = [np.random.default_rng(seed).permutation(len(y))[: len(y) * 3 // 5]
                  for seed in range(seeds)]  # fmt: skip
        return [(x[half], y[half], np.zeros(len(half), dtype=bool)) for half in halves]
    made = [
        GENERATORS[name](x, y, rate=RATE, rng=np.random.default_rng(seed)) for seed in range(seeds)
    ]
    return [(one.x, one.y, one.mask) for one in made]


def figures(
    scores: NDArray[np.float64], flagged: NDArray[np.bool_], mask: NDArray[np.bool_]
) -> list[float]:
    """Return true positives at 1 % false ones, share flagged among poison, among clean, any."""
    false = float(flagged[~mask].mean())
    if not mask.any():
        return [float("nan"), float("nan"), false, float(flagged.any())]
    limit = np.quantile(scores[~mask], 0.99, method="higher")
    return [
        float((scores[mask] > limit).mean()),
        float(flagged[mask].mean()),
        false,
        float(flagged.any()),
    ]


def known(x: NDArray[np.float64], y: NDArray[np.intp], case: Case) -> list[float]:
    """Return what the order of rows finds that our classifier gives, told all other true labels."""
    from vallum.defend.conflict import judge, margins
    from vallum.defend.features import features_of

    rng = np.random.default_rng(0)
    judged = judge(
        features_of(x, rng), y, len(np.unique(y)), excluded=np.zeros(len(y), bool), rng=rng,
        rounds=1, begin=np.ones(len(y), bool),
    )  # fmt: skip
    found = figures(margins(judged.scores, case[1]), np.zeros(len(y), bool), case[2])
    return [found[0], *[float("nan")] * 3]


def peers(interpreter: str, given: list[Case]) -> dict[str, list[list[float]]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "given.npz"
        arrays = {f"x{at}": one[0] for at, one in enumerate(given)}
        arrays |= {f"y{at}": one[1] for at, one in enumerate(given)}
        np.savez(path, count=len(given), **arrays)
        (Path(folder) / "peer.py").write_text(PEER, encoding="utf-8")
        out = subprocess.run(
            [interpreter, Path(folder) / "peer.py", path],
            check=True, stdout=subprocess.PIPE, text=True, timeout=900,
        ).stdout  # fmt: skip
    answer = json.loads(out.splitlines()[-1])
    VERSIONS.update(ART=answer["art"], cleanlab=answer["cleanlab"])
    found: dict[str, list[list[float]]] = {}
    for rows, (_, _, mask) in zip(answer["rows"], given, strict=True):
        for name, one in rows.items():
            numbers = figures(np.array(one["scores"]), np.array(one["flagged"], dtype=bool), mask)
            found.setdefault(name, []).append(numbers)
    return found


VERSIONS: dict[str, str] = {}


def models() -> None:
    """Invert triggers of networks trained on digits; the peer is Neural Cleanse's own rule."""
    import torch
    from sklearn.datasets import load_digits

    from vallum.attack import GENERATORS, TorchPredictor, invert_triggers
    from vallum.defend import detect_poisoning, hidden_activations

    torch.set_num_threads(1)
    digits = load_digits()
    x, y = (digits.images / 16).astype(np.float32), digits.target
    print(
        f"Networks of one hidden layer of 64 on 1,200 digits, {SEEDS} seeds ({CLEAN_SEEDS} of clean"
    )
    print(
        "models), 5 % poison, one thread; 200 other digits for the search. *Ours*: the target class"
    )
    print("stands out at 5 % of models; *2 MAD*: Neural Cleanse's rule on the same sizes.")
    print("*Activations*: rows flagged.\n")
    head = "model | target found, ours | 2 MAD | another class accused, ours | 2 MAD"
    print(f"| {head} | activations, poison | clean | CPU s |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for name in ("clean", "badnets", "clean-label", "blend", "wanet"):
        rows = []
        for seed in range(CLEAN_SEEDS if name == "clean" else SEEDS):
            rng = np.random.default_rng(seed)
            order = rng.permutation(len(x))
            given, labels = x[order[:1200]], y[order[:1200]]
            mask, target = np.zeros(1200, np.bool_), -1
            if name != "clean":
                made = GENERATORS[name](given, labels, rate=RATE, rng=rng)
                given, labels, mask = made.x.astype(np.float32), made.y, made.mask
                target = int(labels[mask][0])
            network = fitted(given, labels, seed)
            begin = time.process_time()
            found = invert_triggers(TorchPredictor(network), x[order[1200:1400], None], seed=seed)
            spent = time.process_time() - begin
            plain = {one.target for one in found.triggers if one.index > 2 and one.reached >= 0.95}
            ours = set(found.targets)
            seen = detect_poisoning(hidden_activations(network, given[:, None]), labels).flagged
            rows.append([
                target in ours, target in plain, bool(ours - {target}), bool(plain - {target}),
                seen[mask].mean() if mask.any() else 0.0, seen[~mask].mean(), spent,
            ])  # fmt: skip
        cells = [f"{one:.2f}" if at < 5 else f"{one:.4f}" if at == 5 else f"{one:.1f}"
                 for at, one in enumerate(np.mean(rows, axis=0))]  # fmt: skip
        if name == "clean":
            cells[0] = cells[1] = cells[4] = "–"
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def fitted(x: NDArray[np.float32], y: NDArray[np.intp], seed: int) -> "torch.nn.Module":
    """Train a small network."""
    import torch

    torch.manual_seed(seed)
    network = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10)
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3, weight_decay=1e-4)
    given, labels = torch.tensor(x[:, None]), torch.tensor(y)
    for _ in range(30):
        for rows in torch.randperm(len(given)).split(64):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(given[rows]), labels[rows]).backward()
            optimizer.step()
    return network


def traces() -> None:
    """Judge labels by the margins of a network of one hidden layer over 15 epochs."""
    import torch
    from sklearn import datasets

    from vallum.defend import trace_labels

    torch.set_num_threads(1)
    print(f"A network of one hidden layer of 64, 15 epochs, twice; {SEEDS} seeds, one thread.\n")
    print(
        "| data | poison | TPR at 1 % | lowest | flagged, poison | flagged, clean | sets | CPU s |"
    )
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for title in ("digits", "breast cancer", "wine", "iris"):
        given = getattr(datasets, f"load_{title.replace(' ', '_')}")()
        x = (given.data - given.data.mean(axis=0)) / np.maximum(given.data.std(axis=0), 1e-9)
        for name in ("clean", "flip-random", "flip-targeted"):
            rows, spent = [], []
            for seed, (one, labels, mask) in enumerate(cases(name, x, given.target, SEEDS)):
                begin = time.process_time()
                found = trace_labels(
                    lambda codes, one=one: traced(one, codes), labels,
                    rng=np.random.default_rng(seed),
                )  # fmt: skip
                spent.append(time.process_time() - begin)
                rows.append(figures(found.scores, found.flagged, mask))
            tpr, poison, clean, sets_ = np.mean(rows, axis=0)
            shown = ["–"] * 3 if name == "clean" else [
                f"{tpr:.3f}", f"{min(one[0] for one in rows):.2f}", f"{poison:.3f}",
            ]  # fmt: skip
            cells = [title, name, *shown, f"{clean:.4f}", f"{sets_:.2f}", f"{np.median(spent):.1f}"]
            print(f"| {' | '.join(cells)} |", flush=True)


def traced(x: NDArray[np.float64], codes: NDArray[np.int64]) -> "Iterator[NDArray[np.float32]]":
    """Train a network; yield its scores after each epoch."""
    import torch

    torch.manual_seed(0)
    classes = int(codes.max()) + 1
    network = torch.nn.Sequential(
        torch.nn.Linear(x.shape[1], 64), torch.nn.ReLU(), torch.nn.Linear(64, classes)
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    given, labels = torch.tensor(x, dtype=torch.float32), torch.tensor(codes)
    for _ in range(15):
        for rows in torch.randperm(len(given)).split(32):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(given[rows]), labels[rows]).backward()
            optimizer.step()
        with torch.no_grad():
            yield network(given).numpy()


def main() -> None:
    from sklearn.datasets import load_breast_cancer, load_digits

    from vallum.attack import GENERATORS
    from vallum.defend import detect_poisoning

    interpreter = sys.argv[1] if len(sys.argv) > 1 else ""
    digits, cancer = load_digits(), load_breast_cancer()
    sets = {
        "digits": (digits.images.astype(float), digits.target),
        "breast cancer": (cancer.data, cancer.target),
    }
    print(f"5 % poison, {SEEDS} seeds, peers {PEER_SEEDS}; one thread. *TPR*: poison found at 1 %")
    print("false positives, by the scores' order; *flagged*: by the detector's own limit; *sets*:")
    print("data sets with a flagged row. Clean: random 60 % of the rows.\n")
    header = "data | poison | detector | TPR at 1 % | lowest | flagged, poison | flagged, clean"
    print(f"| {header} | sets |")
    print("|---|---|---|---:|---:|---:|---:|---:|")
    spent = []
    for title, (x, y) in sets.items():
        for name in ("clean", *GENERATORS):
            if name == "wanet" and x.ndim == 2:
                continue
            given = cases(name, x, y, SEEDS)
            rows: dict[str, list[list[float]]] = {}
            for seed, (one, labels, mask) in enumerate(given):
                begin = time.process_time()
                found = detect_poisoning(one, labels, rng=np.random.default_rng(seed))
                spent.append(time.process_time() - begin)
                rows.setdefault("ours", []).append(figures(found.scores, found.flagged, mask))
            if name.startswith("flip"):
                rows["limit, true labels known"] = [known(x, y, case) for case in given]
            if interpreter:
                rows |= peers(interpreter, given[:PEER_SEEDS])
            for detector, numbers in rows.items():
                tpr, poison, clean, sets_ = np.mean(numbers, axis=0)
                lowest = min(one[0] for one in numbers)
                shown = (
                    ["–"] * 3
                    if name == "clean"
                    else [
                        f"{tpr:.3f}",
                        f"{lowest:.2f}",
                        "–" if np.isnan(poison) else f"{poison:.3f}",
                    ]
                )
                flags = ["–"] * 2 if np.isnan(clean) else [f"{clean:.4f}", f"{sets_:.2f}"]
                cells = [title, name, detector, *shown, *flags]
                print(f"| {' | '.join(cells)} |", flush=True)
    print(
        f"\nOurs: {np.median(spent):.1f} s of CPU a data set (median). Peers: {VERSIONS or 'none'}."
    )


def limits() -> None:
    """Print how many flips out-of-fold margins of classifiers trained on true labels find."""
    from sklearn.datasets import load_breast_cancer, load_digits
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PowerTransformer, StandardScaler
    from sklearn.svm import SVC

    families: dict[str, list[Any]] = {
        "logistic regression": [LogisticRegression(C=c, max_iter=5000) for c in (0.1, 1, 10)],
        "support vectors": [SVC(C=c, gamma=g)
                            for c in (1, 3, 10, 30) for g in (0.003, 0.01, 0.03)],
        "network": [MLPClassifier((32,), alpha=a, max_iter=800, random_state=0) for a in (0.01, 1)],
        "trees": [ExtraTreesClassifier(300, random_state=0)],
    }  # fmt: skip
    print(
        "Flips of 5 % at random, found at 1 % false positives by the order of out-of-fold margins;"
    )
    print("20 folds, true labels; the best of each family's settings, and how often it errs.\n")
    print("| data | classifier | settings | TPR at 1 % | wrong |")
    print("|---|---|---:|---:|---:|")
    for title, (x, y) in {
        "digits": load_digits(return_X_y=True),
        "breast cancer": load_breast_cancer(return_X_y=True),
    }.items():
        folds = StratifiedKFold(20, shuffle=True, random_state=0)
        for family, classifiers in families.items():
            found = []
            for scale in (StandardScaler, PowerTransformer):
                if title == "digits" and scale is PowerTransformer:
                    continue  # columns that are constant
                for one in classifiers:
                    judge = make_pipeline(scale(), one)
                    how = "decision_function" if hasattr(one, "decision_function") else None
                    scores = cross_val_predict(judge, x, y, cv=folds, method=how or "predict_proba")
                    found.append(told(scores, y))
            best = max(found)
            print(f"| {title} | {family} | {len(found)} | {best[0]:.3f} | {best[1]:.3f} |",
                  flush=True)  # fmt: skip


def told(scores: NDArray[np.float64], y: NDArray[np.intp]) -> tuple[float, float]:
    """Return the share of labels whose change would be found at 1 % false ones, and of errors."""
    if scores.ndim == 1:
        scores = np.stack([-scores, scores], axis=1)
    rows = np.arange(len(y))
    own = scores[rows, y]
    others = scores.copy()
    others[rows, y] = -np.inf
    clean = own - others.max(axis=1)
    # A flip to each other class in turn: the label's score less the best of the others.
    found = []
    limit = np.quantile(-clean, 0.99, method="higher")
    for step in range(1, scores.shape[1]):
        wrong = (y + step) % scores.shape[1]
        rest = scores.copy()
        rest[rows, wrong] = -np.inf
        found.append(rest.max(axis=1) - scores[rows, wrong] > limit)
    return float(np.mean(found)), float((clean < 0).mean())


if __name__ == "__main__":
    if sys.argv[1:] == ["models"]:
        models()
    elif sys.argv[1:] == ["traces"]:
        traces()
    elif sys.argv[1:] == ["limits"]:
        limits()
    else:
        main()

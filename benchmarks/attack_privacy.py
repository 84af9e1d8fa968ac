"""Privacy attacks on models of scikit-learn's digits, beside ART's.

ART needs an environment of its own, with torch and scikit-learn; without it only our rows are made:

    python -m venv /tmp/artvenv
    /tmp/artvenv/bin/pip install adversarial-robustness-toolbox torch scikit-learn
    benchmarks/attack_privacy.py /tmp/artvenv/bin/python

900 digits train the victims, 897 are others; pixels from 0 to 1. Membership: a network of one
hidden layer of 64 in numpy (shadows are trained in the same way), and scikit-learn's forest of 50.
Peers: ART's rule-based and black-box membership (a network; it trains on half of members and of
others and is measured on the rest). Inversion: both parties invert one softmax regression and one
network of 64 hidden units, by gradients, all ten classes; ART's MIFace with its default
settings. Times are CPU seconds, one thread.
"""

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
    Surrogate,
    calibrated,
    canary_exposure,
    infer_attribute,
    invert_classes,
    label_only,
    likelihood_ratio,
    loss_threshold,
    make_canaries,
    population,
)
from vallum.attack.inversion import likeness
from vallum.attack.rates import separation
from vallum.attack.surrogate import fit_network

PEER = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import numpy as np, torch, art
torch.set_num_threads(1)
from art.estimators.classification import PyTorchClassifier
g = np.load(sys.argv[1])
np.random.seed(0); torch.manual_seed(0)
count = int(g["layers"])
parts = []
for i in range(count):
    layer = torch.nn.Linear(*g[f"w{i}"].shape)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(g[f"w{i}"].T)); layer.bias.copy_(torch.tensor(g[f"b{i}"]))
    parts += [layer] + ([torch.nn.ReLU()] if i < count - 1 else [])
model = PyTorchClassifier(torch.nn.Sequential(*parts, *([torch.nn.Softmax(1)]
                          if sys.argv[2] == "miface" else [])), torch.nn.CrossEntropyLoss(),
                          (64,), 10, clip_values=(0, 1))
out = {"version": art.__version__}
start = time.process_time()
if sys.argv[2] == "miface":
    from art.attacks.inference.model_inversion import MIFace
    attack = MIFace(model, max_iter=10000, verbose=False)
    found = attack.infer(g["start"], np.arange(10))
    out["s"] = time.process_time() - start
    np.save(sys.argv[3], found)
else:
    from art.attacks.inference.membership_inference import (
        MembershipInferenceBlackBox, MembershipInferenceBlackBoxRuleBased)
    x, y, z, w = g["x"], g["y"], g["z"], g["w"]
    a, b = len(x) // 2, len(z) // 2
    if sys.argv[2] == "rule":
        attack = MembershipInferenceBlackBoxRuleBased(model)
        inside, outside = attack.infer(x[a:], y[a:]), attack.infer(z[b:], w[b:])
    else:
        attack = MembershipInferenceBlackBox(model, attack_model_type="nn")
        attack.fit(x[:a], y[:a], z[:b], w[:b])
        inside = attack.infer(x[a:], y[a:], probabilities=True)
        outside = attack.infer(z[b:], w[b:], probabilities=True)
    out["s"] = time.process_time() - start
    np.savez(sys.argv[3], inside=np.ravel(inside), outside=np.ravel(outside))
print(json.dumps(out))
"""


class Called:
    def __init__(self, function: Any) -> None:
        self.predict = function


def train_network(x: Any, y: Any, rng: Any) -> Surrogate:
    return fit_network(x, np.eye(10)[y], hidden=64, rng=rng)


def train_forest(x: Any, y: Any, rng: Any) -> Called:
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(50, random_state=int(rng.integers(2**31))).fit(x, y)
    return Called(model.predict_proba)


def folded(model: Surrogate) -> dict[str, Any]:
    """Return the layers of a surrogate as ones on records without units."""
    (weights, offset), *rest = model.layers
    first = weights / model.scale[:, None]
    layers = [(first, offset - (model.mean / model.scale) @ weights), *rest]
    out = {f"w{at}": w for at, (w, _) in enumerate(layers)}
    return out | {f"b{at}": b for at, (_, b) in enumerate(layers)} | {"layers": len(layers)}


def quality(made: Any, x: Any, y: Any, judge: Any) -> tuple[float, float, float, int]:
    """Return AUC of likeness to members, its rate at 1 %, mean cosine, and classes a judge sees."""
    middle = x.mean(axis=0).astype(np.float64)
    alike = likeness(made, x, middle)
    rng = np.random.default_rng(0)
    at = np.arange(len(y))
    wrong = (y + rng.integers(1, 10, size=len(y))) % 10
    found = separation(alike[at, y], alike[at, wrong])
    means = np.stack([x[y == kind].mean(axis=0) for kind in range(10)])
    seen = int((judge(made) == np.arange(10)).sum())
    return (
        found.auc,
        found.tpr_at_1fpr.value,
        float(np.diag(likeness(made, means, middle)).mean()),
        seen,
    )


def main() -> None:
    from sklearn.datasets import load_breast_cancer, load_digits
    from sklearn.svm import SVC

    peer = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("ART_PYTHON", "")
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.data))
    x = (digits.data[order] / 16).astype(np.float32)
    y = digits.target[order].astype(np.intp)
    known = Known((x[:900], y[:900]), (x[900:], y[900:]))
    rng = np.random.default_rng(1)
    version = ""
    rows = []

    def member_row(name: str, report: Any, took: float) -> None:
        rows.append(
            f"| {name} | {report.attack} | {report.shadows or ''} |"
            f" {report.auc:.3f} [{report.auc_low:.3f}, {report.auc_high:.3f}] |"
            f" {100 * report.tpr_at_1fpr:.1f} % [{100 * report.tpr_interval[0]:.1f},"
            f" {100 * report.tpr_interval[1]:.1f}] | {report.queries or ''} | {took:.2f} |"
        )

    for name, train in (("network", train_network), ("forest", train_forest)):
        model = train(*known.members, rng)
        runs = [
            lambda model=model, train=train: likelihood_ratio(
                model, known, train=train, budget=5000, seed=0, shadows=64
            ),
            lambda model=model, train=train: calibrated(
                model, known, train=train, budget=5000, seed=0
            ),
            lambda model=model: population(model, known, budget=5000, seed=0),
            lambda model=model: loss_threshold(model, *(known.members, known.others)),
            lambda model=model: label_only(model, known, budget=40_000, seed=0),
        ]
        for run in runs:
            start = time.process_time()
            report = run()
            member_row(name, report, time.process_time() - start)
        if name == "network" and peer:
            with tempfile.TemporaryDirectory() as folder:
                script, given = Path(folder) / "peer.py", Path(folder) / "given.npz"
                script.write_text(PEER, encoding="utf-8")
                np.savez(given, x=x[:900], y=y[:900], z=x[900:], w=y[900:], **folded(model))
                for kind, title in (("rule", "ART rule-based"), ("box", "ART black-box network")):
                    out = Path(folder) / "out.npz"
                    text = subprocess.run(
                        [peer, script, given, kind, out],
                        check=True, capture_output=True, text=True, timeout=900,
                    ).stdout  # fmt: skip
                    answer = json.loads(text.splitlines()[-1])
                    version = answer["version"]
                    got = np.load(out)
                    found = separation(
                        got["inside"].astype(np.float64), got["outside"].astype(np.float64)
                    )
                    rate = found.tpr_at_1fpr
                    rows.append(
                        f"| {name} | {title} | | {found.auc:.3f} [{found.auc_low:.3f},"
                        f" {found.auc_high:.3f}] | {100 * rate.value:.1f} % [{100 * rate.low:.1f},"
                        f" {100 * rate.high:.1f}] | | {answer['s']:.2f} |"
                    )
    membership = rows
    # Many others, so that the rate at 0.1 % may be given: a wide table made up from two normals.
    big = np.random.default_rng(2)
    wide = big.standard_normal((12_500, 20)).astype(np.float32)
    sides = (wide[:, :3].sum(axis=1) + big.standard_normal(len(wide)) > 0).astype(np.intp)
    many = Known((wide[:500], sides[:500]), (wide[500:], sides[500:]))

    def train_small(a: Any, b: Any, source: Any) -> Surrogate:
        chosen = source.permutation(len(a))[:500]
        return fit_network(a[chosen], np.eye(2)[b[chosen]], hidden=64, rng=source)

    start = time.process_time()
    report = loss_threshold(train_small(*many.members, big), many.members, many.others)
    member_row("network, 500 made-up records, 12,000 others", report, time.process_time() - start)
    top = report.tpr_at_01fpr
    small = (
        f"{100 * top.value:.2f} % [{100 * top.low:.2f}, {100 * top.high:.2f}]" if top else "none"
    )

    judge = SVC().fit(x[900:], y[900:]).predict
    inverted = []
    victims = {
        "softmax": fit_network(x[:900], np.eye(10)[y[:900]], hidden=0, rng=rng, rate=3e-2),
        "network": train_network(x[:900], y[:900], rng),
    }
    for name, model in victims.items():
        made: dict[str, tuple[float, Any]] = {}
        for public in (True, False):
            start = time.process_time()
            found = invert_classes(
                model, known, budget=20_000, seed=0, public=public, clip=(0.0, 1.0)
            )
            made[found.report.attack] = (time.process_time() - start, found.records)
        starts = {
            "its default, zeros": np.zeros((10, 64), np.float32),
            "the mean of public records": np.repeat(
                x[900:].mean(axis=0, keepdims=True), 10, axis=0
            ),
        }
        for begun, start_at in starts.items():
            start = time.process_time()
            found = invert_classes(
                model, known, budget=20_000, seed=0, public=False, start=start_at[0],
                clip=(0.0, 1.0),
            )  # fmt: skip
            title = f"MIFace from {begun.removeprefix('its default, ')}"
            made[title] = (time.process_time() - start, found.records)
        blind = Called(model.predict)
        start = time.process_time()
        found = invert_classes(blind, known, budget=50_000, seed=0, clip=(0.0, 1.0))
        made[f"{found.report.attack}, scores only"] = (time.process_time() - start, found.records)
        for begun, start_at in starts.items() if peer else ():
            with tempfile.TemporaryDirectory() as folder:
                script, given = Path(folder) / "peer.py", Path(folder) / "given.npz"
                script.write_text(PEER, encoding="utf-8")
                np.savez(given, start=start_at, **folded(model))
                out = Path(folder) / "out.npy"
                text = subprocess.run(
                    [peer, script, given, "miface", out],
                    check=True, capture_output=True, text=True, timeout=900,
                ).stdout  # fmt: skip
                answer = json.loads(text.splitlines()[-1])
                version = answer["version"]
                made[f"ART MIFace from {begun}"] = (answer["s"], np.load(out))
        for attack, (took, records) in made.items():
            auc, rate, cosine, seen = quality(records, x[:900], y[:900], judge)
            sure = model.predict(records.astype(np.float32))
            sure = np.exp(sure - sure.max(axis=1, keepdims=True))
            own = np.diag(sure / sure.sum(axis=1, keepdims=True)).mean()
            inverted.append(
                f"| {name} | {attack} | {auc:.3f} | {100 * rate:.1f} % | {cosine:.3f} |"
                f" {seen} of 10 | {own:.3f} | {took:.2f} |"
            )

    planted = make_canaries(x[:900], 10, count=50, references=5000, seed=0)
    exposed = []
    for copies in (0, 1, 4):
        a = np.concatenate([x[:900]] + [planted.members[0]] * copies)
        b = np.concatenate([y[:900]] + [planted.members[1]] * copies)
        start = time.process_time()
        told = canary_exposure(
            train_network(a, b, np.random.default_rng(3)), planted, budget=10_000, seed=0
        )
        part = told.separation
        exposed.append(
            f"| {copies} | {told.mean_exposure:.2f} | {told.max_exposure:.2f} of {told.limit:.2f} |"
            f" {part.auc:.3f} [{part.auc_low:.3f}, {part.auc_high:.3f}] |"
            f" {100 * part.tpr_at_1fpr.value:.0f} % [{100 * part.tpr_at_1fpr.low:.0f},"
            f" {100 * part.tpr_at_1fpr.high:.0f}] | {time.process_time() - start:.2f} |"
        )

    cancer = load_breast_cancer()
    order = np.random.default_rng(0).permutation(len(cancer.data))
    table = cancer.data[order].astype(np.float32)
    kinds = cancer.target[order].astype(np.intp)
    guessed = []
    for column in (1, 9, 14):
        grouped = table.copy()
        grouped[:, column] = np.digitize(
            table[:, column], np.quantile(table[:, column], [0.25, 0.5, 0.75])
        )
        both = Known((grouped[:280], kinds[:280]), (grouped[280:], kinds[280:]))
        # A model that has learned wrong labels by heart: there is something to be found.
        flip = np.random.default_rng(5).random(len(kinds)) < 0.3
        wrong = np.where(flip, 1 - kinds, kinds)
        learned = Known((grouped[:280], wrong[:280]), (grouped[280:], wrong[280:]))
        forest = train_forest(*both.members, np.random.default_rng(4))
        heart = train_forest(*learned.members, np.random.default_rng(4))
        for title, model, given_to in (
            ("forest", forest, both),
            ("forest, 30 % of labels flipped", heart, learned),
        ):
            told = infer_attribute(model, given_to, column=column, budget=5000, seed=0)
            parts = (told.members, told.others, told.baseline)
            guessed.append(
                f"| {title}, column {column} |"
                + "".join(f" {p.auc:.3f} [{p.auc_low:.3f}, {p.auc_high:.3f}] |" for p in parts)
                + f" {'yes' if told.leaks else 'no'} | {told.queries} |"
            )

    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()},")
    print(f"numpy {np.__version__}, ART {version or 'not given'}; CPU seconds of one run.\n")
    print("Membership: intervals are of 95 %; the rate is that of members at 1 % of others.\n")
    print("| victim | attack | shadows | AUC | TPR at 1 % FPR | queries | CPU s |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(membership))
    print(f"\nWith 12,000 others the rate at 0.1 % may be given: {small}. With fewer it is not.\n")
    print("Inversion: likeness (cosine) of the ten made-up records to the 900 members, of the own")
    print("class against another; to the class means; how many of ten a support vector machine,")
    print("trained on others, takes for the class; how sure the victim is.\n")
    print("| victim | attack | AUC | TPR at 1 % FPR | cosine | seen | sure | CPU s |")
    print("|---|---|---|---|---|---|---|---|")
    print("\n".join(inverted))
    print("\nCanaries: 50 planted so many times each, 5,000 kept; 1.44 bits are chance.\n")
    print("| copies | mean exposure | largest | AUC | TPR at 1 % FPR | CPU s, training included |")
    print("|---|---|---|---|---|---|")
    print("\n".join(exposed))
    print("\nAttributes of breast cancer records, quarters of one column: AUC of true values.\n")
    print("| victim | members | others | members without the model | leaks | queries |")
    print("|---|---|---|---|---|---|")
    print("\n".join(guessed))


if __name__ == "__main__":
    main()

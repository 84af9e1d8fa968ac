"""Private boosted trees beside diffprivlib's private forest, our private regression and no privacy.

diffprivlib needs an interpreter that has it:

    python -m venv /tmp/peers && /tmp/peers/bin/pip install diffprivlib "scikit-learn<1.6"
    VALLUM_DIFFPRIVLIB=/tmp/peers/bin/python .venv/bin/python benchmarks/defend_dp_trees.py

Data: Friedman's first function of ten uniform features with noise of 1, cut at its median (20,000
rows), and scikit-learn's digits. A fifth is held back; accuracy is the mean of five fits. Bounds
are those of the features by definition. Ours has delta 1e-5; diffprivlib's forest has delta 0.
Without privacy: scikit-learn's histogram gradient boosting with its defaults.
"""

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier

from vallum.defend.dp import BoostedTrees, LogisticRegression

FITS = 5
EPSILONS = (0.5, 1.0, 4.0)
PEER = r"""
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import numpy as np
import diffprivlib
from diffprivlib.models import RandomForestClassifier
given = np.load(sys.argv[1])
x, y, test, truth = (given[name] for name in ("x", "y", "test", "truth"))
out = {"version": diffprivlib.__version__, "accuracy": [], "seconds": []}
for seed in range(int(sys.argv[3])):
    begin = time.process_time()
    model = RandomForestClassifier(
        n_estimators=10, epsilon=float(sys.argv[2]), bounds=(0, 1), max_depth=8,
        classes=np.unique(y), random_state=seed,
    ).fit(x, y)
    out["seconds"].append(time.process_time() - begin)
    out["accuracy"].append(float(model.score(test, truth)))
print(json.dumps(out))
"""


def friedman() -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(20_000, 10))
    f = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2
    f += 10 * x[:, 3] + 5 * x[:, 4] + rng.normal(size=len(x))
    return x, (f > np.median(f)).astype(np.intp)


def peer(interpreter: str, parts: dict[str, NDArray[np.generic]], epsilon: float) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.npz"
        np.savez(path, **parts)
        done = subprocess.run(
            [interpreter, "-c", PEER, str(path), str(epsilon), str(FITS)],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
    said = json.loads(done.stdout)
    return (
        f"diffprivlib {said['version']} forest | {np.mean(said['accuracy']):.3f} |"
        f" {np.mean(said['seconds']):.1f}"
    )


def fitted(  # noqa: PLR0917 - one call, below
    kind: type[BoostedTrees] | type[LogisticRegression],
    epsilon: float,
    norm: float,
    seed: int,
    x: NDArray[np.float64],
    y: NDArray[np.intp],
) -> BoostedTrees | LogisticRegression:
    classes = np.unique(y).tolist()
    if kind is LogisticRegression:
        made = LogisticRegression(epsilon=epsilon, delta=1e-5, data_norm=norm, classes=classes)
        return made.fit(x, y)
    bounds = [(0.0, 1.0)] * x.shape[1]
    trees = BoostedTrees(epsilon=epsilon, delta=1e-5, bounds=bounds, classes=classes, seed=seed)
    return trees.fit(x, y)


def main() -> None:
    interpreter = os.environ.get("VALLUM_DIFFPRIVLIB", "")
    digits = load_digits()
    sets = {"friedman": friedman(), "digits": (digits.data / 16, digits.target)}
    print("| data | epsilon | model | accuracy | CPU s a fit |")
    print("|---|---:|---|---:|---:|")
    for name, (x, y) in sets.items():
        order = np.random.default_rng(1).permutation(len(x))
        cut = len(x) * 4 // 5
        train, rest = order[:cut], order[cut:]
        best = HistGradientBoostingClassifier(random_state=0).fit(x[train], y[train])
        print(f"| {name} | – | no privacy | {best.score(x[rest], y[rest]):.3f} | – |", flush=True)
        norm = float(np.sqrt(x.shape[1] / 3)) if name == "friedman" else 4.0
        for epsilon in EPSILONS:
            for kind in (BoostedTrees, LogisticRegression):
                begin = time.process_time()
                found = [
                    fitted(kind, epsilon, norm, seed, x[train], y[train]).score(x[rest], y[rest])
                    for seed in range(FITS)
                ]
                spent = (time.process_time() - begin) / FITS
                cells = f"{kind.__name__} | {np.mean(found):.3f} | {spent:.1f}"
                print(f"| {name} | {epsilon:g} | {cells} |", flush=True)
            if interpreter:
                parts = {"x": x[train], "y": y[train], "test": x[rest], "truth": y[rest]}
                print(f"| {name} | {epsilon:g} | {peer(interpreter, parts, epsilon)} |", flush=True)


if __name__ == "__main__":
    main()

"""HopSkipJump beside ART's, on the same model and records, with the exact optimum as the limit.

ART needs its own environment; it is found by the path of its interpreter:

    python -m venv /tmp/artvenv
    /tmp/artvenv/bin/pip install adversarial-robustness-toolbox scikit-learn
    .venv/bin/python benchmarks/attack_evasion.py /tmp/artvenv/bin/python

The model is a logistic regression on half of scikit-learn's breast cancer data, computed with
numpy on both sides. Both attacks see labels only, search the L2
norm in standard deviations. ART begins at random points, ours at the nearest known record of the
other class; one row gives ART the same starts.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
os.environ["OMP_NUM_THREADS"] = "1"
RECORDS = 50
ROUNDS = 3

PEER = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import numpy as np, art
from art.attacks.evasion import HopSkipJump
from art.estimators.classification import BlackBoxClassifier
given = np.load(sys.argv[1])
x, w, b = given["z"].astype(np.float32), given["w"], float(given["b"])
asked = [0]
def labels(z):
    asked[0] += len(z)
    return np.eye(2)[(z @ w + b > 0).astype(int)]
low, high = given["low"].astype(np.float32), given["high"].astype(np.float32)
model = BlackBoxClassifier(labels, x.shape[1:], 2, clip_values=(low, high))
np.random.seed(int(sys.argv[2]))
attack = HopSkipJump(model, norm=2, max_iter=int(sys.argv[3]), max_eval=int(sys.argv[4]),
                     init_eval=int(sys.argv[5]), verbose=False)
begin = given["starts"].astype(np.float32) if sys.argv[6] == "starts" else None
start = time.perf_counter()
found = attack.generate(x, x_adv_init=begin)
took = time.perf_counter() - start
flipped = (found @ w + b > 0) != (x @ w + b > 0)
distance = np.where(flipped, np.sqrt(((found - x) ** 2).mean(axis=1)), np.inf)
print(json.dumps({"s": took, "queries": asked[0], "version": art.__version__,
                  "median": float(np.median(distance))}))
"""


class Counted:
    """The same arithmetic behind our protocol."""

    def __init__(self, mean: Floats, scale: Floats, w: Floats, b: float) -> None:
        self.mean, self.scale, self.w, self.b = mean, scale, w, b

    def predict(self, x: NDArray[np.float32]) -> Floats:
        one = 1 / (1 + np.exp(-((x - self.mean) / self.scale @ self.w + self.b)))
        return np.stack([1 - one, one], axis=1)


def main() -> None:
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression

    from vallum.attack import hop_skip_jump

    peer = sys.argv[1] if len(sys.argv) > 1 else ""
    data = load_breast_cancer()
    order = np.random.default_rng(0).permutation(len(data.data))
    half = len(order) // 2
    x, y = data.data[order].astype(np.float32), data.target[order]
    base = x[:half].astype(np.float64)
    mean, scale = base.mean(axis=0), base.std(axis=0)
    z = (x - mean) / scale
    fitted = LogisticRegression(C=0.05).fit(z[:half], y[:half])
    w, b = fitted.coef_[0], float(fitted.intercept_[0])
    right = np.flatnonzero((z @ w + b > 0) == y)
    chosen = right[right >= half][:RECORDS]
    optimum = np.abs(z[chosen] @ w + b) / np.linalg.norm(w) / np.sqrt(len(w))
    model = Counted(mean, scale, w, b)
    rows: dict[str, list[tuple[float, int, float]]] = {}
    version = ""
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "given.npz"
        guess = z[chosen] @ w + b > 0
        gaps = ((z[chosen][:, None] - z[chosen][None]) ** 2).sum(axis=2)
        starts = z[chosen][np.where(guess[:, None] != guess[None], gaps, np.inf).argmin(axis=1)]
        np.savez(given, starts=starts, z=z[chosen], w=w, b=b, low=z.min(axis=0), high=z.max(axis=0))
        script = Path(folder) / "peer.py"
        script.write_text(PEER, encoding="utf-8")
        for seed in range(ROUNDS):
            start = time.perf_counter()
            report = hop_skip_jump(
                model, x[chosen], y[chosen], epsilon=0.1, budget_s=600.0,
                rng=np.random.default_rng(seed), reference=x[:half],
            )  # fmt: skip
            took = time.perf_counter() - start
            rows.setdefault("ours", []).append((took, report.queries, report.median_distance))
            settings = {
                "ART, as many iterations": ("12", "10000", "40", "random"),
                "ART, as many iterations, our starts": ("12", "10000", "40", "starts"),
                "ART, its defaults": ("50", "10000", "100", "random"),
            }
            for name, setting in settings.items():
                if not peer:
                    continue
                out = subprocess.run(
                    [peer, script, given, str(seed), *setting],
                    check=True, capture_output=True, text=True, timeout=600,
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                ).stdout  # fmt: skip
                answer = json.loads(out.splitlines()[-1])
                version = answer["version"]
                rows.setdefault(name, []).append((answer["s"], answer["queries"], answer["median"]))
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()},")
    print(f"numpy {np.__version__}, ART {version or 'not given'}; {len(chosen)} records, 30")
    print(f"features, medians of {ROUNDS}\n")
    print("| attack | seconds | queries a record | median distance | above the optimum |")
    print("|---|---|---|---|---|")
    limit = float(np.median(optimum))
    for name, runs in rows.items():
        took, queries, distance = (statistics.median(one) for one in zip(*runs, strict=True))
        print(
            f"| {name} | {took:.2f} | {queries / len(chosen):.0f} | {distance:.4f} |"
            f" {distance / limit - 1:+.1%} |"
        )
    print(f"| limit: exact distance to the hyperplane | | | {limit:.4f} | 0 |")


if __name__ == "__main__":
    main()

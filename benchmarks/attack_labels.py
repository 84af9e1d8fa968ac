"""Boundary beside HopSkipJump, the two attacks by labels alone, at as many queries a record.

    benchmarks/attack_labels.py

Models are trained on half of the records; 40 of the others, which they get right, are attacked, in
standard deviations of the training half (root mean square over features). *Free* columns take any
value in their range, *whole* ones stay as the data shows them: whole, constant or one-hot. Every
flip is asked about once more as the record that it is. Counts, not times: any load will do.
"""

import os
import sys
from typing import Any

if os.environ.get("OMP_NUM_THREADS") != "1":
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "OMP_NUM_THREADS": "1"})

import numpy as np

from vallum.attack import Space, boundary, nearest_flips, scaled

RECORDS = 40
QUERIES = 1300


class Fitted:
    def __init__(self, model: Any) -> None:
        self.model = model

    def predict(self, x: Any) -> Any:
        return self.model.predict_proba(np.asarray(x, np.float64).reshape(len(x), -1))


def main() -> None:
    from sklearn.datasets import load_breast_cancer, load_digits
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    models = {
        "network": lambda: make_pipeline(
            StandardScaler(), MLPClassifier((64, 64), max_iter=300, random_state=0)
        ),
        "forest": lambda: RandomForestClassifier(30, random_state=0),
    }
    print(f"numpy {np.__version__}; {RECORDS} records, at most {QUERIES} queries each (Boundary)\n")
    print("| data | model | columns | HopSkipJump: queries, median | Boundary: queries, median |"
          " median of the ratio | flips that hold |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    for name, load in (("digits", load_digits), ("breast cancer", load_breast_cancer)):
        data = load()
        order = np.random.default_rng(0).permutation(len(data.data))
        records, classes = data.data[order].astype(np.float32), data.target[order].astype(np.intp)
        half = len(records) // 2
        train, x, y = records[:half], records[half:], classes[half:]
        for kind, make in models.items():
            model = Fitted(make().fit(train, classes[:half]))
            predicted = model.predict(x).argmax(axis=1)
            rows = np.flatnonzero(predicted == y)[:RECORDS]
            for columns, space in (("free", Space.of(train, x)), ("whole", Space.infer(train, x))):
                if columns == "whole" and not space.bound:
                    continue
                hop = nearest_flips(
                    model, x, y, space=space, epsilon=0.5, budget_s=1e9,
                    rng=np.random.default_rng(0), rows=rows,
                )  # fmt: skip
                z = space.scaled(x).astype(np.float32)
                low, high = (one.astype(np.float32) for one in space.clip())
                found = boundary(
                    scaled(model, space, x.shape[1:]), z[rows], y[rows], queries=QUERIES,
                    clip=(np.minimum(low, z.min(axis=0)), np.maximum(high, z.max(axis=0))),
                    rng=np.random.default_rng(0), space=space, known=(z, predicted),
                )  # fmt: skip
                points = space.raw(found.points)
                holds = space.allows(points, x[rows])
                holds &= model.predict(points).argmax(axis=1) != y[rows]
                ours = found.distance / np.sqrt(x.shape[1])
                spent = (hop.report.queries - 2 * len(x)) / len(rows)
                print(f"| {name} | {kind} | {columns} | {spent:.0f}, {np.median(hop.distance):.3f}"
                      f" | {found.queries.mean():.0f}, {np.median(ours):.3f}"
                      f" | {np.median(ours / hop.distance):.2f} | {holds.sum()} |",
                      flush=True)  # fmt: skip


if __name__ == "__main__":
    main()

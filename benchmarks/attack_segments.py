"""Performance and fairness by segment beside fairlearn and scikit-learn: numbers, time, coverage.

    .venv/bin/python benchmarks/attack_segments.py [--quick]

Ours gives every figure with an interval, fairlearn where it is asked to draw the records again.
Records are made up: one column of four segments and one of twelve, a model that errs more often in
some. *Covered*: data sets, other ones each time, in which the interval of the largest difference of
errors holds the true one; ours states 95 % over all pairs of segments at once.
Times are CPU seconds of one thread, medians.
"""

import argparse
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

if os.environ.get("OMP_NUM_THREADS") != "1":
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "OMP_NUM_THREADS": "1"})

import fairlearn
import numpy as np
import sklearn
from fairlearn import metrics as fair
from sklearn import metrics

from vallum.attack.segments import by_segment, performance

NAMES = ("no", "yes")
RATES = {"site": (0.05, 0.08, 0.12, 0.2), "age": tuple(np.linspace(0.05, 0.2, 12))}
BOOTS = 100


def made(count: int, seed: int) -> tuple[Any, Any, dict[str, Any]]:
    """Return scores, classes, and the segment of each record per column."""
    rng = np.random.default_rng(seed)
    columns = {
        name: np.array([f"{name} {at:02}" for at in rng.integers(len(rates), size=count)], object)
        for name, rates in RATES.items()
    }
    y = rng.integers(0, 2, count)
    # What one column says of errors is what is measured of it: the other one is independent.
    rate = np.array(RATES["site"])[[int(one[-2:]) for one in columns["site"]]]
    said = np.where(rng.random(count) < rate, 1 - y, y)
    sure = 0.5 + 0.5 * rng.random(count)
    scores = np.stack([np.where(said == 0, sure, 1 - sure), np.where(said == 1, sure, 1 - sure)], 1)
    return scores, y, columns


def timed(rounds: int, function: Callable[[], Any]) -> tuple[float, Any]:
    taken, found = [], None
    for _ in range(rounds):
        start = time.process_time()
        found = function()
        taken.append(time.process_time() - start)
    return statistics.median(taken), found


def wrong(y_true: Any, y_pred: Any) -> float:
    return float((y_true != y_pred).mean())


def theirs(said: Any, y: Any, columns: dict[str, Any], draws: int = 0) -> list[Any]:
    """Return fairlearn's errors by group, their difference, and its two measures of fairness."""
    more = {"n_boot": draws, "ci_quantiles": [0.025, 0.975], "random_state": 0} if draws else {}
    out = []
    for values in columns.values():
        given = {"y_true": y, "y_pred": said, "sensitive_features": values}
        frame = fair.MetricFrame(metrics=wrong, **given, **more)
        out.append(
            (
                [*frame.by_group.tolist(), frame.difference()],
                fair.demographic_parity_difference(**given),
                fair.equalized_odds_difference(**given),
            )
        )
    return out


def compared(count: int, rounds: int, *, drawn: bool) -> list[str]:
    """Return one row for each gate, of so many records."""
    scores, y, columns = made(count, 0)
    said = scores.argmax(axis=1)
    took, own = timed(rounds, lambda: performance(scores, y, NAMES))
    peer_took, peer = timed(
        rounds,
        lambda: (
            metrics.accuracy_score(y, said),
            metrics.balanced_accuracy_score(y, said),
            metrics.f1_score(y, said, average="macro"),
            metrics.log_loss(y, scores),
        ),
    )
    ours = (own.accuracy.value, own.balanced_accuracy, own.macro_f1, own.log_loss)
    apart = max(abs(a - b) for a, b in zip(ours, peer, strict=True))
    first = f"| performance | {count:,} | scikit-learn | {apart:.1e} | {took:.3f} |"
    rows = [f"{first} {peer_took:.3f} | not given |"]
    took, found = timed(rounds, lambda: by_segment(said, y, columns, NAMES))
    peer_took, peer = timed(rounds, lambda: theirs(said, y, columns))
    again = f"{timed(1, lambda: theirs(said, y, columns, BOOTS))[0]:.2f}" if drawn else "not run"
    apart = 0.0
    for one, (errors, parity, odds) in zip(found, peer, strict=True):
        own_errors = [*(part.error.value for part in one.segments), one.error.value]
        own_gaps = [one.demographic_parity.value, one.equalized_odds.value]
        pairs = zip([*own_errors, *own_gaps], [*errors, parity, odds], strict=True)
        apart = max(apart, *(abs(a - b) for a, b in pairs))
    rows.append(
        f"| segments of two columns | {count:,} | fairlearn | {apart:.1e} | {took:.3f} |"
        f" {peer_took:.3f} | {again} |"
    )
    return rows


def coverage(sets: int, peer_sets: int) -> list[str]:
    """Return a row for each column: how often the intervals hold the true difference."""
    truth = {"site": max(RATES["site"]) - min(RATES["site"]), "age": 0.0}
    covered, above, peer_covered = (dict.fromkeys(truth, 0) for _ in range(3))
    for seed in range(sets):
        scores, y, columns = made(2_000, seed + 1)
        said = scores.argmax(axis=1)
        for one in by_segment(said, y, columns, NAMES):
            value = truth[one.column]
            covered[one.column] += one.error.low <= value <= one.error.high
            above[one.column] += one.error.low > value
            if seed < peer_sets:
                frame = fair.MetricFrame(
                    metrics=wrong, y_true=y, y_pred=said, sensitive_features=columns[one.column],
                    n_boot=BOOTS, ci_quantiles=[0.025, 0.975], random_state=seed,
                )  # fmt: skip
                low, high = frame.difference_ci()
                peer_covered[one.column] += low <= value <= high
    return [
        f"| {name}, {len(RATES[name])} segments | {value:.2f} | {covered[name] / sets:.1%} |"
        f" {above[name] / sets:.1%} | {peer_covered[name] / peer_sets:.1%} |"
        for name, value in truth.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer records, data sets and rounds")
    quick = parser.parse_args().quick
    sizes, rounds = ((2_000,), 1) if quick else ((2_000, 100_000), 3)
    sets, peer_sets = (20, 2) if quick else (400, 20)
    warnings.filterwarnings("ignore")
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, numpy"
    )
    print(
        f"{np.__version__}, fairlearn {fairlearn.__version__}, scikit-learn {sklearn.__version__};"
    )
    print(f"load {os.getloadavg()[0]:.1f} from all that runs on the machine.\n")
    head = "figures | records | peer | largest difference | ours, with intervals | peer, without"
    print(f"| {head} | peer, {BOOTS} draws |")
    print("|---|---|---|---|---|---|---|")
    for count in sizes:
        print("\n".join(compared(count, rounds, drawn=count == sizes[0])), flush=True)
    print(f"\nLargest difference of errors, 2,000 records, {sets} data sets ({peer_sets} for the")
    print("peer):\n")
    print("| column | true difference | ours covers | ours begins above it | fairlearn covers |")
    print("|---|---|---|---|---|")
    print("\n".join(coverage(sets, peer_sets)))


if __name__ == "__main__":
    main()

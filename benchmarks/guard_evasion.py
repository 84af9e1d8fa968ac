"""Rates of the evasion watch: adversarial records seen, honest ones and their callers suspected.

    benchmarks/guard_evasion.py [DATA [MODEL]]

A model is trained on 40 % of the records. The watch learns from another 20 % (*validation*), or
from the training data themselves (*training*). The last 40 % are attacked, and made into honest
streams as in `guard_extraction.py`: drifting, bursty, batch.

*Records*: the share of an attack's adversarial records that any sign speaks of, that is, on which
the endpoint would abstain; HopSkipJump's and Boundary's are the nearest they find, Square's lie
within 0.3 or 1 deviation; *transferred* ones were made by APGD-like steps against a softmax
regression of the thief's own. *Searches*: in how many of the first 300 queries of a search an alarm
came about the caller who asks them one by one. Signs are calibrated, not set by the attacks; the
alarm's count (32 of 64) was set by eye on digits and breast cancer.
"""

import contextlib
import os
import platform
import sys
import time
import warnings
from typing import Any

if os.environ.get("OMP_NUM_THREADS") != "1":
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "OMP_NUM_THREADS": "1"})

import numpy as np
from guard_extraction import Recorded, honest, made_up

from vallum.attack import Space, boundary, square
from vallum.attack.evasion import nearest_flips
from vallum.base import GateError
from vallum.monitor import EvasionWatch, Sign, learn_evasion

warnings.filterwarnings("ignore")
RECORDS = 60
STREAMS = 30
SEARCHES = 10
ONLY = sys.argv[1] if len(sys.argv) > 1 else ""
MODEL = sys.argv[2] if len(sys.argv) > 2 else ""


def models() -> dict[str, Any]:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return {
        "softmax": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000)),
        "forest": lambda: RandomForestClassifier(100, random_state=0),
        "network": lambda: make_pipeline(
            StandardScaler(), MLPClassifier((64, 64), max_iter=500, random_state=0)
        ),
    }


class Fitted:
    def __init__(self, model: Any) -> None:
        self.model = model

    def predict(self, x: Any) -> Any:
        return self.model.predict_proba(np.asarray(x, np.float64).reshape(len(x), -1))


class Scaled:
    """The model of records in deviations, for attacks whose epsilon is one number."""

    def __init__(self, model: Any, mean: Any, scale: Any) -> None:
        self.model, self.mean, self.scale = model, mean, scale

    def predict(self, z: Any) -> Any:
        return self.model.predict(self.raw(z))

    def raw(self, z: Any) -> Any:
        return (z.reshape(len(z), -1) * self.scale + self.mean).astype(np.float32)


def watch_of(model: Any, reference: Any) -> EvasionWatch:
    watch = EvasionWatch(learn_evasion(reference, seed=0))
    watch.calibrate(model.predict(watch.asks))
    return watch


def judged(watch: EvasionWatch, model: Any, x: Any) -> dict[Sign, Any]:
    return watch.judge(x, model.predict(x), model.predict(watch.squeezed(x)))


def anywhere(found: dict[Sign, Any]) -> Any:
    return np.logical_or.reduce(tuple(found.values()))


def transferred(x: Any, y: Any, own: Any, *, mean: Any, scale: Any, size: float) -> Any:
    """Walk 20 steps up the loss of a softmax regression, within `size` deviations a feature."""
    weights = own.model[-1].coef_
    if len(weights) == 1:
        weights = np.concatenate([-weights, weights])
    z, at = (x - mean) / scale, (x - mean) / scale
    for _ in range(20):
        p = own.predict(at * scale + mean)
        p[np.arange(len(y)), y] -= 1
        at = z + np.clip(at + 0.15 * size * np.sign(p @ weights) - z, -size, size)
    return (at * scale + mean).astype(np.float32)


def main() -> None:
    from sklearn.datasets import load_breast_cancer, load_digits

    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()},")
    print(f"numpy {np.__version__}; {RECORDS} records an attack, {SEARCHES} searches,")
    print(f"{STREAMS} honest streams of each kind. Per sign: unsure / trust / squeezed / far.\n")
    sets = (
        ("digits", load_digits, 16.0), ("breast cancer", load_breast_cancer, 1.0),
        ("made up, held out", made_up, 1.0),
    )  # fmt: skip
    cost: list[float] = []
    print("| data | model | stream | learned from validation | by sign | from training |")
    print("|---|---|---|---|---|---|")
    for name, load, unit in sets:
        if ONLY and not name.startswith(ONLY):
            continue
        data = load()
        order = np.random.default_rng(0).permutation(len(data.data))
        x = (data.data[order] / unit).astype(np.float32)
        y = data.target[order].astype(np.intp)
        one, two = int(0.4 * len(x)), int(0.6 * len(x))
        mean, scale = x[:one].mean(axis=0), x[:one].std(axis=0)
        scale = np.maximum(scale, 0.05 * np.median(scale[scale > 0]))
        rest, labels = x[two:], y[two:]
        half = len(rest) // 2
        own = Fitted(models()["softmax"]().fit(rest[:half], labels[:half]))  # the thief's
        for kind, make in models().items():
            if MODEL and kind != MODEL:
                continue
            model = Fitted(make().fit(x[:one], y[:one]))
            watches = {
                "validation": watch_of(model, x[one:two]),
                "training": watch_of(model, x[:one]),
            }

            def row(what: str, cells: dict[str, str], signs: str, name=name, kind=kind) -> None:
                print(f"| {name} | {kind} | {what} | {cells['validation']} | {signs} |"
                      f" {cells['training']} |", flush=True)  # fmt: skip

            def records(what: str, points: Any, model=model, watches=watches, row=row) -> None:
                cells, signs = {}, ""
                for which, watch in watches.items():
                    found = judged(watch, model, points)
                    cells[which] = f"{100 * anywhere(found).mean():.0f} %"
                    if which == "validation":
                        signs = " / ".join(f"{100 * found[one].mean():.0f}" for one in Sign)
                row(what, cells, signs)

            predicted = model.predict(rest).argmax(axis=1)
            right = np.flatnonzero(predicted == labels)[:RECORDS]
            rng = np.random.default_rng(0)
            flips = nearest_flips(
                model, rest, labels, space=Space.of(x[:one], rest), epsilon=0.5, budget_s=60.0,
                rng=rng, rows=right, max_records=RECORDS,
            )  # fmt: skip
            found = np.isfinite(flips.distance)
            records(
                f"HopSkipJump, {found.sum()}", np.asarray(flips.points)[found].astype(np.float32)
            )
            inner = Scaled(model, mean, scale)
            z = ((rest - mean) / scale).astype(np.float32)
            walked = boundary(inner, z[right], labels[right], rng=np.random.default_rng(0),
                              queries=1300, clip=(-500.0, 500.0), known=(z, predicted))  # fmt: skip
            hit = walked.adversarial & (walked.distance > 0)
            records(f"Boundary, {hit.sum()}", inner.raw(walked.points[hit]))
            for size in (0.3, 1.0):
                made = square(inner, z[right], labels[right], epsilon=size, rng=rng, queries=1000,
                              clip=(-500.0, 500.0))  # fmt: skip
                hit = made.adversarial & (made.distance > 0)
                if hit.any():
                    records(f"Square, {size} deviations, {hit.sum()}", inner.raw(made.points[hit]))
                moved = transferred(
                    rest[right], labels[right], own, mean=mean, scale=scale, size=size
                )
                hit = model.predict(moved).argmax(axis=1) != labels[right]
                if hit.any():
                    records(f"transferred, {size} deviations, {hit.sum()}", moved[hit])
            for what in ("HopSkipJump", "Boundary", "Square"):
                early = dict.fromkeys(watches, 0)
                for seed in range(SEARCHES):
                    asked = Recorded(model.predict)
                    pick = right[seed % len(right) : seed % len(right) + 1]
                    if what == "Square":
                        victim = Recorded(inner.predict)
                        with contextlib.suppress(GateError):  # a record whose score never moves
                            square(victim, z[pick], labels[pick], epsilon=0.3,
                                   rng=np.random.default_rng(seed), queries=400,
                                   clip=(-500.0, 500.0))  # fmt: skip
                        queries = inner.raw(np.concatenate(victim.asked)[:300])
                    elif what == "Boundary":
                        victim = Recorded(inner.predict)
                        boundary(victim, z[pick], labels[pick], rng=np.random.default_rng(seed),
                                 queries=302, clip=(-500.0, 500.0),
                                 known=(z, predicted))  # fmt: skip
                        # The first two measure the model on the record itself.
                        queries = inner.raw(np.concatenate(victim.asked[2:])[:300])
                    else:
                        nearest_flips(
                            asked, rest, labels, space=Space.of(x[:one], rest), epsilon=0.5,
                            budget_s=0.0, rng=np.random.default_rng(seed), rows=pick, max_records=1,
                        )  # fmt: skip
                        # The first two requests measure the model on the thief's own records.
                        queries = np.concatenate(asked.asked[2:])[:300].astype(np.float32)
                    for which, watch in watches.items():
                        judged_rows = judged(watch, model, queries)
                        caller = f"{what}{kind}{seed}".encode()
                        early[which] += any(
                            watch.note(
                                caller, queries[at : at + 1],
                                {one: mask[at : at + 1] for one, mask in judged_rows.items()},
                            ) is not None
                            for at in range(len(queries))
                        )  # fmt: skip
                row(
                    f"searches: {what}", {one: f"{n} of {SEARCHES}" for one, n in early.items()}, ""
                )
            for what in ("drifting", "bursty", "batch"):
                share: dict[str, list[float]] = {one: [] for one in watches}
                by = np.zeros(len(Sign))
                alarms = dict.fromkeys(watches, 0)
                for seed in range(STREAMS):
                    stream = honest(rest, labels, what, np.random.default_rng(1000 + seed),
                                    min(300, len(rest)))  # fmt: skip
                    flat = np.concatenate(stream)
                    for which, watch in watches.items():
                        judged_rows = judged(watch, model, flat)
                        share[which].append(float(anywhere(judged_rows).mean()))
                        if which == "validation":
                            by += [judged_rows[one].mean() / STREAMS for one in Sign]
                        at, alarmed = 0, False
                        for request in stream:
                            part = slice(at, at + len(request))
                            at += len(request)
                            alarmed |= watch.note(
                                f"{what}{kind}{seed}".encode(), request,
                                {one: mask[part] for one, mask in judged_rows.items()},
                            ) is not None  # fmt: skip
                        alarms[which] += alarmed
                cells = {
                    one: f"{100 * np.mean(values):.1f} %, {alarms[one]} of {STREAMS} accused"
                    for one, values in share.items()
                }
                row(f"honest, {what}", cells, " / ".join(f"{100 * one:.1f}" for one in by))
            watch = watches["validation"]
            scores = model.predict(rest[:1])
            start = time.process_time()
            for _ in range(500):
                watch.note(b"a", rest[:1], watch.judge(rest[:1], scores, scores))
                watch.squeezed(rest[:1])
            cost.append((time.process_time() - start) / 500)
    print(
        f"\nCPU time of a request of one row, beside the model's second row:"
        f" {1e6 * np.median(cost):.0f} µs."
    )


if __name__ == "__main__":
    main()

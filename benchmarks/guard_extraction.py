"""Rates of the extraction detector: alarms on attacks, false alarms on honest streams, and PRADA's.

    benchmarks/guard_extraction.py [DATA]

The limits were set by eye on digits, breast cancer and wine; *held out* data were only measured.
The detector learns its profile from the training half. Honest streams are made of the other half:
*drifting* (gain falls to 0.7, an offset and noise grow to a tenth of the deviations, the mix of
classes shifts), *bursty* (runs about one class or one record: retries, measured again with noise,
one feature varied in equal steps), *batch* (everything in a few large requests). Attacks ask the
same victim, a softmax regression, with the thief's half, through `vallum.attack`. Knock-off comes
in two kinds: with natural records of another domain (digits: patches of scikit-learn's two photos,
which need pillow; tables: other columns' values) and with the thief's own records of the same kind.
PRADA (Juuti and others 2019) is computed as published, delta 0.95, from 100 distances on.
"""

import os
import platform
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

if os.environ.get("OMP_NUM_THREADS") != "1":
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "OMP_NUM_THREADS": "1"})

import numpy as np

from vallum.attack import (
    Known,
    copycat,
    hop_skip_jump,
    jacobian_augmentation,
    knock_off,
    square,
)
from vallum.attack.extraction import scrambled
from vallum.monitor import Watches, learn_profile

warnings.filterwarnings("ignore")
STREAMS = 200
SEEDS = 10
WITHIN = 300
ONLY = sys.argv[1] if len(sys.argv) > 1 else ""


class Recorded:
    """A model that remembers what it was asked."""

    def __init__(self, predict: Callable[[Any], Any]) -> None:
        self._predict, self.asked = predict, []

    def predict(self, x: Any) -> Any:
        self.asked.append(np.array(x))
        return self._predict(x)


class Prada:
    """PRADA: is the distribution of a class' nearest distances normal?"""

    def __init__(self, delta: float = 0.95) -> None:
        self.delta, self.distances = delta, []
        self.sets: dict[int, list[Any]] = {}
        self.own: dict[int, list[float]] = {}

    def add(self, row: Any, kind: int) -> bool:
        from scipy.stats import shapiro

        held = self.sets.setdefault(kind, [])
        own = self.own.setdefault(kind, [])
        if held:
            least = float(np.sqrt(((np.array(held) - row) ** 2).sum(axis=1).min()))
            self.distances.append(least)
            if not own or least > np.mean(own) - np.std(own):
                held.append(row)
                own.append(least)
        else:
            held.append(row)
        if len(self.distances) < 100 or len(self.distances) % 5:
            return False
        d = np.array(self.distances)
        d = d[np.abs(d - d.mean()) <= 3 * d.std()]
        return bool(len(d) > 3 and np.ptp(d) > 0 and shapiro(d).statistic < self.delta)


def made_up() -> Any:
    """Return a table of 20 columns, numbers and bits, in three classes."""
    from sklearn.datasets import make_classification
    from sklearn.utils import Bunch

    x, y = make_classification(1600, 20, n_informative=8, n_redundant=6, n_classes=3,
                               random_state=7)  # fmt: skip
    x[:, 15:] = x[:, 15:] > 0
    x[:, 0] = np.exp(x[:, 0])  # a long tail
    return Bunch(data=x, target=y)


def honest(x: Any, y: Any, kind: str, rng: Any, length: int) -> list[Any]:
    """Return a stream of requests, each (rows, features)."""
    spread = x.std(axis=0)
    order = rng.permutation(len(x))[:length]
    if kind == "batch":
        sizes = [1, 16, 64, 256]
        out, at = [], 0
        while at < len(order):
            size = int(rng.choice(sizes))
            out.append(x[order[at : at + size]])
            at += size
        return out
    if kind == "drifting":
        weight = rng.random(y.max() + 1)
        order = order[np.argsort(rng.random(len(order)) + 0.5 * weight[y[order]])]
        share = np.linspace(0, 1, len(order))[:, None]
        moved = x[order] * (1 - 0.3 * share) + share * 0.1 * spread * rng.standard_normal(
            x.shape[1]
        )
        moved = moved + share * 0.1 * spread * rng.standard_normal(moved.shape)
        return [one[None] for one in np.clip(moved, x.min(axis=0), x.max(axis=0)).astype(x.dtype)]
    out = []
    while len(out) < length:
        about = np.flatnonzero(y == rng.integers(y.max() + 1))
        row = x[rng.choice(about)]
        run = int(rng.integers(5, 60))
        way = rng.integers(4)
        if way == 0:  # one class
            rows = x[rng.choice(about, run)]
        elif way == 1:  # retries
            rows = np.repeat(row[None], run, axis=0)
        elif way == 2:  # measured again and again
            rows = row + 0.02 * spread * rng.standard_normal((run, len(row)))
        else:  # what if
            rows = np.repeat(row[None], run, axis=0)
            feature = rng.integers(len(row))
            rows[:, feature] += np.linspace(-2, 2, run) * spread[feature]
        out += [one[None].astype(x.dtype) for one in rows]
    return out[:length]


def photos(count: int, rng: Any) -> Any:
    """Return patches of photos, 8 x 8, from 0 to 1."""
    from sklearn.datasets import load_sample_images

    grey = [one.mean(axis=2) / 255 for one in load_sample_images().images]
    out = np.empty((count, 64), np.float32)
    for at in range(count):
        image, size = grey[rng.integers(len(grey))], 8 * int(rng.integers(1, 9))
        row, column = (int(rng.integers(side - size)) for side in image.shape)
        patch = image[row : row + size, column : column + size]
        out[at] = patch.reshape(8, size // 8, 8, size // 8).mean(axis=(1, 3)).ravel()
    return out


def attacks(x: Any, y: Any, predict: Any, *, images: bool) -> dict[str, Callable[[int], Any]]:
    """Return by name what makes an attack's queries from a seed."""
    half = len(x) // 2
    known = Known((x[:half], y[:half]), (x[half:], y[half:]))
    low, high, spread = x.min(axis=0), x.max(axis=0), x.std(axis=0)

    def through(attack: Any, **more: Any) -> Callable[[int], Any]:
        def run(seed: int) -> Any:
            model = Recorded(predict)
            attack(model, known, budget=1200, seed=seed, **more)
            return np.concatenate(model.asked[2:])  # the first two measure

        return run

    def evasion(seed: int) -> Any:
        model = Recorded(predict)
        hop_skip_jump(model, x[:40], y[:40], epsilon=0.1, budget_s=0.0, max_records=1,
                      rng=np.random.default_rng(seed))  # fmt: skip
        return np.concatenate(model.asked[2:])[:1000]

    def squares(seed: int) -> Any:
        model = Recorded(predict)
        right = np.flatnonzero(predict(x).argmax(axis=1) == y)[seed : seed + 1]
        reach = 0.3 * float(np.median(spread))
        square(model, x[right].reshape(1, 1, 8, 8) if images else x[right], y[right],
               epsilon=reach, queries=1000, rng=np.random.default_rng(seed))  # fmt: skip
        return np.concatenate([one.reshape(len(one), -1) for one in model.asked])[:1000]

    def noise(seed: int) -> Any:
        rng = np.random.default_rng(seed)
        return (low + (high - low) * rng.random((600, x.shape[1]))).astype(np.float32)

    def strange(seed: int) -> Any:
        rng = np.random.default_rng(seed)
        return photos(600, rng) if images else scrambled(x[half:], 600, rng)

    def around(seed: int) -> Any:
        rng = np.random.default_rng(seed)
        rows = np.repeat(x[rng.permutation(len(x))[:30]], 20, axis=0)
        return (rows + 0.3 * spread * rng.standard_normal(rows.shape)).astype(np.float32)

    out = {
        "Jacobian augmentation, step 0.5 deviations": through(jacobian_augmentation),
        "Jacobian augmentation, step 0.1 deviations": through(jacobian_augmentation, step=0.1),
        "Jacobian augmentation, step 1 deviation": through(jacobian_augmentation, step=1.0),
        "uniform noise": noise,
        "knock-off, photos" if images else "knock-off, scrambled columns": strange,
        "knock-off, records of the same kind": through(knock_off),
        "copycat, records of the same kind": through(copycat),
        "HopSkipJump, one record": evasion,
        "membership by labels, noise 0.3": around,
    }
    if images:
        out["Square, one record"] = squares
        try:
            photos(1, np.random.default_rng(0))
        except ImportError:
            print("pillow is not installed: no photos\n")
            out.pop("knock-off, photos")
    return out


def main() -> None:
    from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()},")
    print(f"numpy {np.__version__}; {SEEDS} seeds an attack, {STREAMS} honest streams a data set.")
    print(
        "An attack counts as found when its caller is alarmed about within 300 queries, one row a"
    )
    print("request; a stream as a false alarm when any statistic alarms at any time.")
    print("Per statistic: in how many runs, and the query of its alarm, median (worst).\n")
    print("| data | stream | found within 300 | by | PRADA |")
    print("|---|---|---|---|---|")
    cost: list[float] = []
    sets = (
        ("digits", load_digits, 16.0),
        ("breast cancer", load_breast_cancer, 1.0),
        ("wine", load_wine, 1.0),
        ("iris, held out", load_iris, 1.0),
        ("made up, held out", made_up, 1.0),
    )
    sets = tuple(one for one in sets if not ONLY or one[0].startswith(ONLY))
    for name, load, unit in sets:
        data = load()
        order = np.random.default_rng(0).permutation(len(data.data))
        x = (data.data[order] / unit).astype(np.float32)
        y = data.target[order].astype(np.intp)
        half = len(x) // 2
        scaler = StandardScaler().fit(x[:half])
        model = LogisticRegression(max_iter=5000).fit(scaler.transform(x[:half]), y[:half])

        def predict(z: Any, scaler: Any = scaler, model: Any = model) -> Any:
            return model.predict_proba(scaler.transform(z.reshape(len(z), -1)))

        profile = learn_profile(x[:half], seed=0)
        rest, labels = x[half:], y[half:]
        for attack, make in attacks(rest, labels, predict, images=name == "digits").items():
            first: dict[str, list[int]] = {}
            early, peer = 0, 0
            for seed in range(SEEDS):
                queries = make(seed).reshape(-1, x.shape[1])[:1000]
                kinds = predict(queries).argmax(axis=1)
                watch, prada = Watches(profile), Prada()
                told = [
                    (alarm.statistic.value, place + 1)
                    for place, row in enumerate(queries)
                    for alarm in watch.add(b"a", row[None], kinds[place : place + 1])
                ]
                early += any(place <= WITHIN for _, place in told)
                for statistic, place in told:
                    first.setdefault(statistic, []).append(place)
                peer += any(
                    prada.add(row, int(kind))
                    for row, kind in zip(queries[:WITHIN], kinds[:WITHIN], strict=True)
                )
            by = "; ".join(
                f"{statistic} {len(places)}: {np.median(places):.0f} ({max(places)})"
                for statistic, places in sorted(first.items())
            )
            print(
                f"| {name} | {attack} | {early} of {SEEDS} | {by or '–'} | {peer} of {SEEDS} |",
                flush=True,
            )
        length = min(600, len(rest))
        for place, kind in enumerate(("drifting", "bursty", "batch")):
            total = STREAMS // 3 + (place < STREAMS % 3)
            false, peer, by = 0, 0, set()
            for seed in range(total):
                watch, prada = Watches(profile), Prada()
                alarmed, accused = False, False
                stream = honest(rest, labels, kind, np.random.default_rng(1000 + seed), length)
                kinds = np.split(
                    predict(np.concatenate(stream)).argmax(axis=1),
                    np.cumsum([len(one) for one in stream])[:-1],
                )
                start = time.process_time()
                for request, own in zip(stream, kinds, strict=True):
                    for one in watch.add(b"a", request, own):
                        alarmed = True
                        by.add(one.statistic.value)
                if kind == "drifting":
                    cost.append((time.process_time() - start) / len(stream))
                if seed < 20:
                    flat = zip(np.concatenate(stream), np.concatenate(kinds), strict=True)
                    accused = any(prada.add(row, int(one)) for row, one in flat)
                false, peer = false + alarmed, peer + accused
            print(
                f"| {name} | honest, {kind} | {false} of {total} false | "
                f"{', '.join(sorted(by)) or '–'} | {peer} of {min(20, total)} false |",
                flush=True,
            )
    print(f"\nCPU time of a request of one row: {1e6 * np.median(cost):.0f} µs in the median.")
    width = 64
    print(f"Memory for a caller: {256 * width * 4 // 1024} KiB at {width} features; at most 512")
    print("callers are remembered for a deployment.")


if __name__ == "__main__":
    main()

"""What thieves get under a budget of information, and what honest callers pay.

    .venv/bin/python benchmarks/guard_information.py [--seeds 5] [--most 1200]

The victim is a softmax regression, the thief has half of the held-out records. Its queries are
charged and its answers made coarser as a gateway does (`--information BITS/TIME`, `degrade`); when
the budget is spent it works with what it has. *Fidelity* is how often the stolen model agrees with
the victim on records that neither the thief nor the victim saw, the mean over seeds. *Without* is
the same thief with as many queries as it likes, up to `--most`. *Honest rows* is how many rows a
caller gets with the budget, of them whole ones first. The last table is the price of charging.
"""

import argparse
import time
import warnings
from typing import Any

import numpy as np

from vallum.attack import Known, copycat, jacobian_augmentation, knock_off
from vallum.base import VallumError
from vallum.guard import Detail, answer_bits, detail_at, in_detail

warnings.filterwarnings("ignore")
BUDGETS = (500, 2_000, 8_000, 32_000)


class Charged:
    """A model behind a budget; the first two calls measure and cost nothing."""

    def __init__(self, predict: Any, budget: float) -> None:
        self.predict_, self.budget, self.spent, self.rows, self.calls = predict, budget, 0.0, 0, 0

    def predict(self, x: Any) -> Any:
        """Return what leaves of the scores of `x`, row by row."""
        p = self.predict_(x).astype(np.float32)
        self.calls += 1
        if self.calls <= 2:
            return p
        out = [self.tell(one[None]) for one in p]
        return np.concatenate(out)

    def tell(self, p: Any) -> Any:
        """Return what leaves of one row."""
        value, decimals, bits, _ = told(p, self.spent, self.budget)
        self.spent += bits
        self.rows += 1
        if self.spent > self.budget:
            raise AssertionError("more than the budget was told")
        if decimals is None:
            return value
        value = np.round(value.astype(np.float64), decimals)  # as the thief makes it of use
        total = value.sum(axis=1, keepdims=True)
        return np.where(total > 0, value / np.maximum(total, 1e-9), 1 / value.shape[1])


def told(p: Any, spent: float, budget: float) -> tuple[Any, int | None, float, Detail]:
    """Return what is told of a row, its decimals, its bits and its detail, as a gateway does."""
    detail = detail_at(spent / budget)
    while True:
        ((_, value),), decimals = in_detail([("p", p)], detail, None)
        labels = detail is Detail.LABELS
        bits = answer_bits([("p", value)], decimals=decimals, labels_only=labels)
        if spent + bits <= budget or labels:
            return value, decimals, bits, detail
        detail = Detail(detail + 1)


def rows_of(width: int, budget: float) -> tuple[int, int]:
    """Return how many one-row answers a budget is good for, and how many of them whole."""
    spent, rows, whole = 0.0, 0, 0
    p = np.full((1, width), 1 / width, dtype=np.float32)
    while True:
        _, _, bits, detail = told(p, spent, budget)
        if spent + bits > budget:
            return rows, whole
        spent, rows, whole = spent + bits, rows + 1, whole + (detail is Detail.WHOLE)


def price() -> None:
    """Print what charging costs."""
    rng = np.random.default_rng(0)
    print("\n| answer | charging, µs |\n|---|---:|")
    for rows, width in ((1, 2), (1, 10), (32, 10), (1000, 10)):
        p = rng.random((rows, width)).astype(np.float32)
        for decimals in (None, 3):
            begin = time.process_time()
            for _ in range(2000):
                answer_bits([("p", p)], decimals=decimals)
            each = (time.process_time() - begin) / 2000 * 1e6
            shown = "whole" if decimals is None else f"{decimals} decimals"
            print(f"| {rows} x {width}, {shown} | {each:.1f} |")


def main() -> None:
    from sklearn.datasets import load_breast_cancer, load_digits, load_wine
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--most", type=int, default=1200)
    given = parser.parse_args()
    print(f"{given.seeds} seeds an attack; fidelity, and the thief's queries in brackets.\n")
    shown = [f"{one} bits" for one in BUDGETS]
    print(f"| data | attack | without | {' | '.join(shown)} |")
    print(f"|---|---|---|{'---|' * len(BUDGETS)}")
    honest = []
    for name, load in (
        ("wine", load_wine), ("breast cancer", load_breast_cancer), ("digits", load_digits),
    ):  # fmt: skip
        data = load()
        order = np.random.default_rng(0).permutation(len(data.data))
        x, y = data.data[order].astype(np.float32), data.target[order].astype(np.intp)
        half = len(x) // 2
        scaler = StandardScaler().fit(x[:half])
        model = LogisticRegression(max_iter=5000).fit(scaler.transform(x[:half]), y[:half])

        def predict(z: Any, scaler: Any = scaler, model: Any = model) -> Any:
            return model.predict_proba(scaler.transform(z.reshape(len(z), -1)))

        known = Known((x[:half], y[:half]), (x[half:], y[half:]))
        width = int(y.max()) + 1
        honest.append((name, [rows_of(width, one) for one in BUDGETS]))
        for attack in (knock_off, copycat, jacobian_augmentation):
            cells = []
            for budget in (float("inf"), *BUDGETS):
                got = [
                    steal(
                        attack,
                        predict,
                        known,
                        budget=budget,
                        width=width,
                        seed=seed,
                        most=given.most,
                    )
                    for seed in range(given.seeds)
                ]
                found = [one for one in got if one is not None]
                cells.append(
                    f"{np.mean([one[0] for one in found]):.2f}"
                    f" ({np.mean([one[1] for one in found]):.0f})"
                    if found
                    else "none"
                )
            print(f"| {name} | {attack.__name__} | {' | '.join(cells)} |", flush=True)
    print(f"\n| honest rows (whole) | {' | '.join(shown)} |\n|---|{'---:|' * len(BUDGETS)}")
    for name, rows in honest:
        print(f"| {name} | {' | '.join(f'{one} ({whole})' for one, whole in rows)} |")
    price()


def steal(
    attack: Any, predict: Any, known: Known, *, budget: float, width: int, seed: int, most: int
) -> tuple[float, int] | None:
    """Return fidelity and queries of a thief; nothing where it cannot even begin."""
    rows = most if budget == float("inf") else min(most, rows_of(width, budget)[0])
    total = rows + 2 * min(len(known.others[0]) // 2, most // 5)  # those that measure are free
    while total >= 50:
        charged = Charged(predict, budget)
        try:
            report = attack(charged, known, budget=total, seed=seed).report
        except VallumError:
            if charged.spent <= budget:
                return None
            total = min(total - 1, int(total * 0.95))  # it would be told more: it asks less
        else:
            return report.fidelity, charged.rows
    return None


if __name__ == "__main__":
    main()

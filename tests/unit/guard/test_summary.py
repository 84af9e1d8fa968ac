"""What a table of scores comes to, added piece by piece."""

import json

import msgspec
import numpy as np
import pytest

from vallum.base import GateError, InputError
from vallum.guard.summary import MAX_VALUES, OTHER, QUANTILES, OutputSummary, Summary, add, lines


def told(summary: Summary) -> dict[tuple[str, str, str], float]:
    return {
        (output or "", statistic, of or ""): value
        for output, statistic, of, value in lines(summary, rows=7, failed=2)
    }


@pytest.mark.parametrize("pieces", [1, 7, 100])
@pytest.mark.parametrize("kind", ["normal", "positive", "tiny", "constant"])
def test_numbers_have_mean_bounds_and_quantiles(kind: str, pieces: int) -> None:
    rng = np.random.default_rng(4)
    values = {
        "normal": rng.normal(0, 50, 5000),
        "positive": rng.lognormal(0, 4, 5000),
        "tiny": rng.normal(0, 1e-14, 5000),
        "constant": np.full(5000, 3.5),
    }[kind]
    summary: Summary = ()
    for part in np.array_split(values, pieces):
        summary = add(summary, [("y", part.reshape(-1, 1))])
    found = told(summary)
    assert found["y", "mean", ""] == pytest.approx(values.mean(), rel=1e-6)
    assert found["y", "minimum", ""] == pytest.approx(values.min(), rel=1e-6)
    assert found["y", "maximum", ""] == pytest.approx(values.max(), rel=1e-6)
    for q in QUANTILES:
        exact = np.quantile(values, q, method="lower")
        assert found["y", "quantile", f"{q:g}"] == pytest.approx(exact, rel=0.0101, abs=1e-12)
    assert (found["", "rows", ""], found["", "failed", ""]) == (7, 2)


def test_classes_and_labels_are_counted() -> None:
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    labels = np.array(["cat", "dog", "dog"], dtype=object)
    many = np.array([[1, 0, 1], [0, 0, 0], [1, 0, 0]])
    summary: Summary = ()
    for _ in range(2):
        summary = add(summary, [("p", scores), ("label", labels), ("tags", many)])
    assert told(summary) == {
        ("", "rows", ""): 7, ("", "failed", ""): 2,
        ("p", "count", "0"): 2, ("p", "count", "1"): 4,
        ("label", "count", "cat"): 2, ("label", "count", "dog"): 4,
        ("tags", "count", "0"): 4, ("tags", "count", "2"): 2,
    }  # fmt: skip


def test_a_summary_stays_small() -> None:
    rng = np.random.default_rng(5)
    sizes = 10.0 ** rng.uniform(-300, 300, 100_000) * rng.choice([-1, 1], 100_000)
    labels = np.arange(3 * MAX_VALUES)
    summary = add((), [("y", sizes), ("id", labels)])
    summary = add(summary, [("y", sizes), ("id", labels)])
    numbers, counted = summary
    assert len(numbers.above) + len(numbers.below) < 80_000
    assert len(counted.counts) == MAX_VALUES + 1
    assert counted.counts[OTHER] == 4 * MAX_VALUES
    with pytest.raises(InputError, match="at most 16 outputs"):
        add((), [(f"y{at}", sizes[:1]) for at in range(17)])


def test_another_output_than_before_is_refused() -> None:
    summary = add((), [("y", np.ones(3))])
    for other in ([("z", np.ones(3))], [("y", np.ones((3, 2)))], []):
        with pytest.raises(GateError, match="now this, now that"):
            add(summary, other)


def test_a_summary_goes_through_json() -> None:
    values = [
        ("y", np.array([1.7e308, 1.7e308, -2.0])),
        ("class", np.eye(3)),
        ("label", np.arange(3)),
    ]
    summary = add((), values)
    text = msgspec.json.encode(summary)
    assert msgspec.json.decode(text, type=tuple[OutputSummary, ...]) == summary
    assert json.loads(text)[0]["above"]

"""Performance and fairness: the figures of the field's library, and nothing said of too few."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum.attack.segments import LEAST, MAX_SEGMENTS, by_segment, performance
from vallum.base import InputError

NAMES = ("no", "yes")


def groups(sizes: Any, rates: Any, seed: int = 0) -> Any:
    """Return answers, truths and the segment of each record; answers depend on the segment."""
    rng = np.random.default_rng(seed)
    segment = np.repeat([chr(97 + at) for at in range(len(sizes))], sizes).astype(object)
    y = rng.integers(0, 2, len(segment))
    wrong = rng.random(len(segment)) < np.repeat(rates, sizes)
    return np.where(wrong, 1 - y, y), y, segment


def test_the_figures_are_fairlearns() -> None:
    metrics = pytest.importorskip("fairlearn.metrics", reason="fairlearn is the oracle")
    said, y, segment = groups([300, 500, 400], [0.05, 0.2, 0.35])
    (found,) = by_segment(said, y, {"site": segment}, NAMES)
    given_ = {"y_true": y, "y_pred": said, "sensitive_features": segment}
    assert found.demographic_parity is not None
    assert found.equalized_odds is not None
    assert found.demographic_parity.value == pytest.approx(
        metrics.demographic_parity_difference(**given_)
    )
    assert found.equalized_odds.value == pytest.approx(metrics.equalized_odds_difference(**given_))
    frame = metrics.MetricFrame(metrics=lambda y_true, y_pred: (y_true != y_pred).mean(), **given_)
    assert found.error is not None
    assert found.error.value == pytest.approx(frame.difference())
    assert [one.error.value for one in found.segments if one.error] == pytest.approx(
        frame.by_group.tolist()
    )


def test_the_figures_of_performance_are_scikit_learns() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the oracle")
    rng = np.random.default_rng(0)
    scores = rng.dirichlet([1, 1, 1], 400)
    y = np.where(rng.random(400) < 0.7, scores.argmax(axis=1), rng.integers(0, 3, 400))
    found = performance(scores, y, ("a", "b", "c"))
    said = scores.argmax(axis=1)
    assert found.accuracy.value == pytest.approx(metrics.accuracy_score(y, said))
    assert found.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(y, said))
    assert found.macro_f1 == pytest.approx(metrics.f1_score(y, said, average="macro"))
    assert found.log_loss == pytest.approx(metrics.log_loss(y, scores))
    assert found.baseline == np.bincount(y).max() / 400
    assert found.accuracy.low < found.accuracy.value < found.accuracy.high


def test_calibration_is_worked_out_by_hand() -> None:
    scores = np.tile([0.8, 0.2], (100, 1))
    y = (np.arange(100) >= 60).astype(int)  # 60 of 100 right, and sure to 0.8
    found = performance(scores, y, NAMES)
    assert found.calibration_error == pytest.approx(0.2)
    labels = performance(np.eye(2)[y], y, NAMES)
    assert labels.log_loss is None
    assert labels.calibration_error is None


def test_intervals_hold_the_true_difference() -> None:
    held = 0
    for seed in range(200):
        said, y, segment = groups([80, 80, 80], [0.1, 0.1, 0.3], seed)
        (found,) = by_segment(said, y, {"site": segment}, NAMES)
        assert found.error is not None
        held += found.error.low <= 0.2 <= found.error.high
    assert held >= 190


def test_small_segments_are_named_and_not_assessed() -> None:
    said, y, segment = groups([200, 200, LEAST - 1], [0.1, 0.1, 1.0])
    (found,) = by_segment(said, y, {"site": segment}, NAMES)
    small = found.segments[2]
    assert (small.name, small.records, small.error) == ("c", LEAST - 1, None)
    assert any("`c` has 29 record(s)" in one for one in found.not_assessed)
    assert found.error is not None
    assert found.error.value < 0.2  # the small one is not in it
    (alone,) = by_segment(*groups([200, 5], [0.1, 0.1])[:2],
                          {"site": groups([200, 5], [0.1, 0.1])[2]}, NAMES)  # fmt: skip
    assert (alone.error, alone.demographic_parity, alone.equalized_odds) == (None, None, None)
    assert any("nothing is compared" in one for one in alone.not_assessed)


def test_a_segment_of_one_class_has_no_false_positives_to_compare() -> None:
    said, y, segment = groups([100, 100], [0.1, 0.1])
    y = np.where(segment == "b", 1, y)
    (found,) = by_segment(said, y, {"site": segment}, NAMES)
    assert found.equalized_odds is None
    assert found.demographic_parity is not None
    assert any("`b`: fewer than 10 records of class" in one for one in found.not_assessed)


def test_columns_of_many_values_are_refused_or_cut_into_quarters() -> None:
    said, y, _ = groups([400], [0.1])
    many = np.array([f"v{at % (MAX_SEGMENTS + 1)}" for at in range(400)], dtype=object)
    ages = np.array([None if at < 40 else at for at in range(400)], dtype=object)
    names, quarters = by_segment(said, y, {"city": many, "age": ages}, NAMES)
    assert names.segments == ()
    assert names.not_assessed[0] == "it has 21 values, at most 20: group them first"
    assert [one.records for one in quarters.segments] == [90, 90, 90, 90, 40]
    assert quarters.segments[0].name.startswith("up to ")
    assert quarters.segments[-1].name == "(missing)"
    with pytest.raises(InputError, match="at most 10"):
        by_segment(said, y, {str(at): many for at in range(11)}, NAMES)


@given(
    st.lists(st.integers(LEAST, 90), min_size=2, max_size=5), st.integers(0, 2**20),
    st.integers(2, 4),
)  # fmt: skip
def test_gaps_are_the_largest_differences_and_lie_in_their_intervals(
    sizes: Any, seed: int, classes: int
) -> None:
    rng = np.random.default_rng(seed)
    total = sum(sizes)
    segment = np.repeat(np.arange(len(sizes)), sizes).astype(object)
    said, y = rng.integers(0, classes, (2, total))
    (found,) = by_segment(said, y, {"g": segment}, [str(at) for at in range(classes)])
    errors = [(said != y)[segment == at].mean() for at in range(len(sizes))]
    assert found.error is not None
    assert found.error.value == pytest.approx(max(errors) - min(errors))
    for gap in (found.error, found.demographic_parity, found.equalized_odds):
        if gap is not None:
            assert 0 <= gap.low <= gap.value + 1e-12
            assert gap.value <= gap.high <= 1.5

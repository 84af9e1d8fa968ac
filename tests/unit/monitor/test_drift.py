from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from vallum.base import InputError
from vallum.monitor import BinState, DriftCounter, freeze
from vallum.monitor.drift import _chi2_tail


def compared(reference: Any, *batches: Any) -> Any:
    names = tuple(f"f{at}" for at in range(reference.shape[1]))
    counter = DriftCounter(freeze(names, reference))
    for batch in batches:
        counter.add(batch)
    return counter.report()


def column(values: Any) -> Any:
    return np.asarray(values, dtype=np.float64).reshape(-1, 1)


def test_the_same_distribution_does_not_drift_and_a_shift_does() -> None:
    rng = np.random.default_rng(2)
    reference = rng.standard_normal((4000, 3))
    current = rng.standard_normal((4000, 3))
    current[:, 1] += 1.0
    first, second, third = compared(reference, current).features
    # To drift without a change PSI must reach 0.2, that is a G of about 0.2 * 2000 = 400 at 9
    # degrees of freedom: probability below 1e-70.
    assert not first.drifted
    assert not third.drifted
    assert second.drifted
    assert second.psi > 0.5
    assert second.p_value < 1e-9


def test_a_significant_but_small_change_does_not_drift() -> None:
    rng = np.random.default_rng(3)
    (feature,) = compared(rng.standard_normal((50_000, 1)),
                          rng.standard_normal((50_000, 1)) + 0.1).features  # fmt: skip
    assert feature.p_value < 1e-6
    assert feature.psi < 0.2
    assert not feature.drifted


def test_a_large_but_insignificant_change_does_not_drift() -> None:
    (feature,) = compared(column(np.arange(100)), column([1.0, 2.0, 3.0])).features
    assert feature.psi >= 0.2
    assert not feature.drifted


@pytest.mark.parametrize(
    ("then", "now"),
    [
        ([5.0] * 500, [7.0] * 500),
        ([0.0] * 480 + [1.0] * 20, [0.0] * 250 + [1.0] * 250),
        ([0.0] * 900 + list(range(1, 101)), [0.0] * 900 + [90.0] * 100),
        (list(range(500)), [np.nan] * 250 + list(range(250))),
        ([np.nan] * 500, list(range(500))),
        ([1.0] * 250 + [2.0] * 250, [np.inf] * 100 + [1.0] * 200 + [2.0] * 200),
    ],
    ids=["constant", "rare-value", "ties", "missing", "found", "infinite"],
)
def test_changes_that_quantiles_alone_would_not_see_drift(then: Any, now: Any) -> None:
    (feature,) = compared(column(then), column(now)).features
    assert feature.drifted


@pytest.mark.parametrize("then", [[5.0] * 500, [0.0, 1.0] * 250, [np.nan] * 500, range(500)])
def test_the_same_records_do_not_drift_at_all(then: Any) -> None:
    (feature,) = compared(column(list(then)), column(list(then))).features
    assert feature.psi == 0.0
    assert feature.distance == 0.0
    assert feature.p_value == 1.0


@settings(max_examples=40)
@given(arrays(np.float64, (60, 2), elements=st.floats(-1e6, 1e6) | st.just(np.nan)),
       st.integers(1, 59))  # fmt: skip
def test_batches_count_like_one(values: Any, cut: Any) -> None:
    reference = np.random.default_rng(1).standard_normal((200, 2))
    assert compared(reference, values) == compared(reference, values[:cut], values[cut:])


def test_the_state_does_not_grow_and_survives_the_wire() -> None:
    state = freeze(("a", "b"), np.random.default_rng(1).standard_normal((500, 2)))
    assert msgspec.json.decode(msgspec.json.encode(state), type=BinState) == state
    counter = DriftCounter(state)
    sizes = set()
    for _ in range(3):
        counter.add(np.random.default_rng(1).standard_normal((1000, 2)))
        sizes.add(tuple(len(one) for one in counter.counts))
    assert len(sizes) == 1
    assert [sum(one) for one in counter.counts] == [3000, 3000]


def test_holms_correction_keeps_many_features_from_drifting_by_chance() -> None:
    rng = np.random.default_rng(4)
    reference, current = rng.standard_normal((300, 40)), rng.standard_normal((300, 40))
    together = compared(reference, current).features
    alone = [compared(reference[:, [at]], current[:, [at]]).features[0] for at in range(40)]
    order = np.argsort([one.p_value for one in alone])
    # Worked from Holm (1979): the i-th smallest times (40 - i), made monotone.
    wanted = np.maximum.accumulate(
        [min(1.0, (40 - rank) * alone[at].p_value) for rank, at in enumerate(order)]
    )
    assert [together[at].p_value for at in order] == pytest.approx(list(wanted))


@pytest.mark.parametrize("degrees", [1, 2, 9, 40])
@pytest.mark.parametrize("value", [0.01, 1.0, 8.0, 30.0, 200.0])
def test_the_tail_is_that_of_scipy(value: Any, degrees: Any) -> None:
    assert _chi2_tail(value, degrees) == pytest.approx(stats.chi2.sf(value, degrees), rel=1e-9)


def test_the_p_value_is_that_of_scipys_g_test() -> None:
    rng = np.random.default_rng(5)
    reference, current = rng.integers(0, 4, 400), rng.integers(0, 4, 300)
    (feature,) = compared(column(reference), column(current)).features
    table = [np.bincount(side, minlength=4) for side in (reference, current)]
    result = stats.chi2_contingency(table, correction=False, lambda_="log-likelihood")
    assert feature.p_value == pytest.approx(result.pvalue)


def test_what_cannot_be_compared_is_refused() -> None:
    good = np.random.default_rng(1).standard_normal((50, 2))
    with pytest.raises(InputError):
        freeze(("a", "b"), good[:19])
    with pytest.raises(InputError):
        freeze(("a",), good)
    with pytest.raises(InputError):
        compared(good, good[:, :1])
    with pytest.raises(InputError) as refused:
        compared(good)
    assert refused.value.code == "drift.batch"

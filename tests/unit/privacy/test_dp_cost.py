"""Costs add up exactly, and convert as a second accountant says."""

from decimal import Decimal
from fractions import Fraction

import pytest
from dp_accounting import GaussianDpEvent
from dp_accounting.pld import PLDAccountant
from hypothesis import given
from hypothesis import strategies as st

from vallum.base import InputError
from vallum.privacy import dp


@pytest.mark.parametrize("rho", [0.001, 0.05, 0.5, 3.0])
@pytest.mark.parametrize("delta", [1e-10, 1e-6, 1e-2])
def test_conversion_never_claims_less_than_the_exact_loss_of_the_gaussian(
    rho: float, delta: float
) -> None:
    accountant = PLDAccountant(value_discretization_interval=1e-3)
    accountant.compose(GaussianDpEvent((1 / (2 * rho)) ** 0.5))
    exact = accountant.get_epsilon(delta)
    claimed = dp.epsilon_of_rho(rho, delta)
    assert exact - 2e-3 <= claimed <= 1.6 * exact + 0.02


@given(st.floats(0.01, 10), st.floats(1e-12, 0.1))
def test_conversion_back_stays_within_what_was_asked_for(epsilon: float, delta: float) -> None:
    assert dp.epsilon_of_rho(dp.rho_of_epsilon(epsilon, delta), delta) <= epsilon


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=50))
def test_sums_are_exact(nanos: list[int]) -> None:
    costs = [dp.spend(epsilon=f"{Decimal(one) / 10**9:f}") for one in nanos]
    assert Fraction(dp.add(costs).epsilon) == Fraction(sum(nanos), 10**9)


def test_pure_loss_counts_half_its_square_in_concentrated_terms() -> None:
    total = dp.add([dp.spend(epsilon="0.2"), dp.spend(rho="0.01", delta="1e-6")])
    assert dp.as_rho(total) == Decimal("0.03")
    assert total.delta == "0.000001"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epsilon": "0"}, "a query spends epsilon or rho"),
        ({"epsilon": "1", "rho": "1"}, "a query spends epsilon or rho"),
        ({"epsilon": "-1"}, "epsilon must be from 0 to 1000, got `-1`"),
        ({"epsilon": "NaN"}, "epsilon must be from 0 to 1000, got `NaN`"),
        ({"epsilon": "inf"}, "epsilon must be from 0 to 1000, got `inf`"),
        ({"epsilon": "much"}, "epsilon `much` is not a number"),
        ({"epsilon": "0.0000000001"}, "epsilon has more than 9 decimal places"),
        ({"epsilon": "1", "delta": "1"}, "delta must be below 1"),
    ],
)
def test_a_wrong_parameter_is_refused(given: dict[str, str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        dp.spend(**given)
    assert caught.value.message.startswith(message)
    assert caught.value.code == "dp.parameter"

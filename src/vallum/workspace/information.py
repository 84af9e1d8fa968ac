"""Budgets of information: what an endpoint's answers may tell a principal in one window."""

from typing import Final

from vallum.base import InputError
from vallum.schema import InformationBudget

RESPONSES: Final = ("alert", "degrade", "stop")
MAX_BITS: Final = 10**15
MIN_PER_S: Final = 60
MAX_PER_S: Final = 366 * 86_400


def check_budget(budget: InformationBudget | None) -> InformationBudget | None:
    """Return a budget that can be held, or nothing for one of no bits.

    Raises:
        InputError: A value is out of its range.
    """
    if budget is None or budget.bits == 0:
        return None
    if not (0 < budget.bits <= MAX_BITS and MIN_PER_S <= budget.per_s <= MAX_PER_S):
        raise InputError(
            f"a budget is 1 to {MAX_BITS} bits in {MIN_PER_S} s to {MAX_PER_S // 86_400} days",
            code="endpoint.information",
            hint="such as --information 50000/1d",
        )
    if budget.response not in RESPONSES:
        raise InputError(
            f"`{budget.response[:40]}` is no response", code="endpoint.information",
            hint=f"use {', '.join(RESPONSES)}",
        )  # fmt: skip
    return budget

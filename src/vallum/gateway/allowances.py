"""What this gateway was lent of budgets and quotas; the ledger is with the control process."""

import time
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

from vallum.base import LimitExceededError
from vallum.gateway.together import Together
from vallum.schema import InformationBudget, Quota
from vallum.schema.serving import LoanAsk, LoanGiven
from vallum.workspace.desk import AsyncDesk

MAX_HELD: Final = 65_536
"""Allowances that are held; of more, the one that was idle longest is spent."""

Terms = InformationBudget | Quota


class Whose(NamedTuple):
    """What an allowance is of: an endpoint's budget (`per` is empty) or quota, and of whom."""

    endpoint_id: str
    per: str
    subject: str


@dataclass(slots=True)
class Allowance:
    """What may still be used here in one window."""

    terms: Terms
    until_s: float  # monotonic: when the window ends
    resets_at: str
    left: float = 0.0
    spent: int = 0  # of the window, as the control process said last; with what is left
    over: bool = False  # nothing can be used any more

    def resets_s(self) -> float:
        """Return the seconds until the next window may begin; at least one."""
        return max(1.0, self.until_s - time.monotonic())


class Allowances:
    """Holds allowances. For one event loop."""

    def __init__(self, desk: AsyncDesk) -> None:
        self._desk = desk
        self._held: OrderedDict[Whose, Allowance] = OrderedDict()
        self._together: Together[Whose] = Together()

    def get(self, whose: Whose, terms: Terms) -> Allowance | None:
        """Return what is held in the window that lasts, under these terms."""
        held = self._held.get(whose)
        if held is None:
            return None
        if held.until_s <= time.monotonic() or held.terms != terms:
            del self._held[whose]
            return None
        return held

    async def ask(self, whose: Whose, terms: Terms, amount: int) -> Allowance | None:
        """Be lent more; who asks while others do waits for what they get.

        Returns:
            What is held, if `amount` is not to be had in this window; None otherwise: look again.

        Raises:
            UnavailableError: The control process does not answer.
            VallumError: There is no such budget any more.
        """
        return await self._together.once(whose, partial(self._borrow, whose, terms, amount))

    async def _borrow(self, whose: Whose, terms: Terms, amount: int) -> Allowance | None:
        asked_s = time.monotonic()
        got = await self._desk.call(
            "/loan",
            LoanAsk(
                endpoint_id=whose.endpoint_id, subject=whose.subject, amount=amount, per=whose.per
            ),
            LoanGiven,
        )
        held = self._take(whose, terms, got, asked_s)
        return None if got.amount else held

    def _take(self, whose: Whose, terms: Terms, got: LoanGiven, asked_s: float) -> Allowance:
        held = self.get(whose, terms)
        if held is None or held.resets_at != got.resets_at:
            if len(self._held) >= MAX_HELD:
                self._held.popitem(last=False)
            held = Allowance(terms, asked_s + got.resets_s, got.resets_at)
            self._held[whose] = held
        self._held.move_to_end(whose)
        held.left += got.amount
        held.spent = max(held.spent, got.spent)
        return held


def used_up(message: str, code: str, held: Allowance) -> LimitExceededError:
    """Return the error of whom nothing is left; it says when there is more."""
    return LimitExceededError(
        f"{message}; the next begins at {held.resets_at}", code=code, retry_after_s=held.resets_s()
    )

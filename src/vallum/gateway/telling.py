"""What callers are told under a budget of information, and what is left of it."""

import math

from vallum.base import LimitExceededError
from vallum.gateway.allowances import Allowance, Allowances, Whose, used_up
from vallum.gateway.routes import Known, Route, Running, shaped
from vallum.guard import Detail, Output, answer_bits, detail_at, in_detail
from vallum.guard.session import Arrays
from vallum.schema import InformationBudget


class Tellings:
    """Tells callers what their allowances suffice for. For one event loop."""

    def __init__(self, allowances: Allowances) -> None:
        self._allowances = allowances

    def admit(self, route: Route, who: Known) -> None:
        """Let a caller pass who may be told more.

        Raises:
            LimitExceededError: Nothing more in this window.
        """
        budget = route.endpoint.information
        if budget is not None:
            held = self._allowances.get(_whose(route, who), budget)
            if held is not None and held.over:
                raise _over(held)

    async def tell(
        self, route: Route, running: Running, who: Known, outputs: Arrays, rows: int
    ) -> list[Output]:
        """Return what leaves of an answer, charged before it does.

        Raises:
            GateError: It is no answer for so many rows.
            LimitExceededError: The budget does not suffice; the message says when there is a new
                one.
            UnavailableError: The control process does not answer.
        """
        decimals, budget = running.served.decimals, route.endpoint.information
        if budget is None:
            return shaped(outputs, rows, decimals)
        output = running.served.output
        only, top_k = (False, 0) if output is None else (output.labels_only, output.top_k)
        while True:
            held = self._allowances.get(_whose(route, who), budget)
            used = 0.0 if held is None else held.spent - held.left
            degrades = budget.response == "degrade"
            detail = detail_at(used / budget.bits) if degrades else Detail.WHOLE
            while True:
                told, places = in_detail(outputs, detail, decimals)
                answer = shaped(told, rows, places)  # what is no answer costs nothing
                labels = only or detail is Detail.LABELS
                bits = answer_bits(told, decimals=places, labels_only=labels, top_k=top_k)
                if not degrades or used + bits <= budget.bits or detail is Detail.LABELS:
                    break
                detail = Detail(detail + 1)
            if held is None:
                await self._ask(route, who, budget, 1)
            elif held.left >= bits:
                held.left -= bits
                running.tally.bits += bits
                return answer
            elif budget.response != "alert" and used + bits > budget.bits:
                held.over = used + bits / rows > budget.bits  # one row would be too much
                raise _over(held)
            else:
                await self._ask(route, who, budget, math.ceil(bits - held.left))

    async def _ask(self, route: Route, who: Known, budget: InformationBudget, bits: int) -> None:
        """Be given what lacks.

        Raises:
            LimitExceededError: So much is not left.
        """
        held = await self._allowances.ask(_whose(route, who), budget, bits)
        if held is not None:
            held.over = held.spent >= budget.bits and held.left < 1
            raise _over(held)


def _whose(route: Route, who: Known) -> Whose:
    return Whose(route.endpoint.id, "", who.principal_id)


def _over(held: Allowance) -> LimitExceededError:
    return used_up(
        "you have been told what this endpoint tells in one window", "score.information", held
    )

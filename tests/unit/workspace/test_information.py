"""The ledger of information: whoever dies when, nobody is told more than the budget."""

import asyncio
import contextlib
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from conftest_workspace import Place
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vallum.base import InputError, LimitExceededError, ManualClock, NotFoundError
from vallum.gateway.allowances import Allowances
from vallum.gateway.metrics import Tally
from vallum.gateway.routes import Known, Route, Running
from vallum.gateway.telling import Tellings
from vallum.guard.session import Arrays
from vallum.schema import Endpoint, InformationBudget, api, release
from vallum.schema.serving import LoanAsk, ServedDeployment, ServedEndpoint
from vallum.workspace import information
from vallum.workspace.lending import BLOCKS, give

ROW = 64  # bits: two float32


class Socket:
    """The desk of a gateway, without the socket between."""

    def __init__(self, place: Place) -> None:
        self._house = place.kernel.house
        self.calls = 0

    async def call(self, path: str, question: Any, answer: type) -> Any:
        assert path == "/loan"
        await asyncio.sleep(0)
        self.calls += 1
        made = give(self._house, question)
        assert isinstance(made, answer)
        return made


def answer(rows: int = 1) -> Arrays:
    p = np.linspace(0.1, 0.4, rows, dtype=np.float32)
    return [("p", np.stack([p, 1 - p], axis=1))]


class Caller:
    """One principal at one endpoint, through gateways that end and begin."""

    def __init__(self, place: Place, budget: InformationBudget, name: str = "ann") -> None:
        shown = place.do("endpoint.create", api.EndpointCreate(name="e", information=budget)).value
        assert isinstance(shown, api.EndpointShown)
        self.place = place
        self.endpoint: Endpoint = shown.endpoint
        self.deployment = ServedDeployment("d", "blue", "m", 100)
        self.route = Route(
            ServedEndpoint(self.endpoint.id, "e", 1, 1, 1, information=shown.endpoint.information)
        )
        self.socket = Socket(place)
        self.name = name
        self.tally = Tally()
        self.restart()

    def restart(self) -> None:
        self.tellings = Tellings(Allowances(self.socket))  # type: ignore[arg-type]

    async def ask(self, rows: int = 1, name: str = "") -> list[Any]:
        name = name or self.name
        who = Known(f"key-{name}", 1, 0.0, b"", name, name)
        running = Running(self.deployment, None, None, tally=self.tally)  # type: ignore[arg-type]
        self.tellings.admit(self.route, who)
        return await self.tellings.tell(self.route, running, who, answer(rows), rows)

    def told(self, most: int, rows: int = 1) -> int:
        """Ask until there is no answer; return how many rows were told."""

        async def run() -> int:
            for at in range(most):
                try:
                    await self.ask(rows)
                except LimitExceededError:
                    return at * rows
            return most * rows

        return asyncio.run(run())


def test_budgets_are_exact_and_survive_restarts(place: Place) -> None:
    one = Caller(place, InformationBudget(bits=40 * ROW, response="stop"))
    assert one.told(15) == 15
    one.restart()
    assert one.told(15) == 15
    one.restart()
    last = one.told(100)
    lost = -(-40 * ROW // BLOCKS) + ROW  # a restart loses at most what was lent
    assert 40 * ROW - 2 * lost <= (30 + last) * ROW <= 40 * ROW
    assert one.tally.bits == (30 + last) * ROW
    assert one.told(1) == 0
    assert asyncio.run(one.ask(name="ben"))  # each principal has its own
    findings = [entry for entry in place.entries() if entry[3] == "information.spent"]
    assert len(findings) == 1
    assert place.verify().findings == ()


@given(
    bits=st.integers(1, 4000),
    asked=st.lists(st.tuples(st.integers(1, 6), st.booleans()), min_size=1, max_size=40),
    response=st.sampled_from(["degrade", "stop"]),
)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nobody_is_told_more_than_the_budget(
    place: Place, bits: int, asked: list[tuple[int, bool]], response: str
) -> None:
    one = Caller(place, InformationBudget(bits=bits, response=response))
    try:
        for rows, restarts in asked:
            if restarts:
                one.restart()
            one.told(1, rows)
            assert one.tally.bits <= bits
        one.restart()
        together = [one.ask(1) for _ in range(8)]

        async def at_once() -> None:
            await asyncio.gather(*together, return_exceptions=True)

        asyncio.run(at_once())
        assert one.tally.bits <= bits
    finally:
        place.do("endpoint.delete", api.Named(name="e"))


def test_windows_end_by_the_clock_and_not_by_setting_it_back(place: Place) -> None:
    one = Caller(place, InformationBudget(bits=10 * ROW, per_s=3600, response="stop"))
    assert one.told(20) == 10
    house = place.kernel.house
    now = house.clock.now()
    clock = ManualClock(now - timedelta(days=365))
    house.clock = clock
    one.restart()
    assert one.told(1) == 0  # the log is newer
    with pytest.raises(LimitExceededError) as refused:
        asyncio.run(one.ask())
    assert refused.value.retry_after_s is not None
    assert 3500 < refused.value.retry_after_s <= 3600
    clock.advance(timedelta(days=365, seconds=3601).total_seconds())
    one.restart()
    assert one.told(20) == 10


def test_a_request_that_is_too_large_leaves_the_rest(place: Place) -> None:
    one = Caller(place, InformationBudget(bits=10 * ROW, response="stop"))
    assert one.told(1, rows=8) == 8
    assert one.told(1, rows=3) == 0
    assert one.told(5) == 2
    calls = one.socket.calls
    assert one.told(1) == 0
    assert one.socket.calls == calls  # nobody is asked again for what there is not


def test_alerts_go_on_and_are_logged_once(place: Place) -> None:
    one = Caller(place, InformationBudget(bits=3 * ROW, response="alert"))
    assert one.told(9) == 9
    assert sum(entry[3] == "information.spent" for entry in place.entries()) == 1


def test_details_are_fewer_the_more_is_spent(place: Place) -> None:
    one = Caller(place, InformationBudget(bits=20 * ROW))

    async def run() -> list[list[float]]:
        out: list[list[float]] = []
        with contextlib.suppress(LimitExceededError):
            while len(out) < 1000:
                out.append((await one.ask())[0].data)
        return out

    seen = asyncio.run(run())
    assert [0.1, 0.9] in seen[10:]
    assert seen[0] not in seen[11:]  # whole until half is spent
    assert seen[-100:] == [[0.0, 1.0]] * 100
    assert one.tally.bits <= 20 * ROW


@pytest.mark.parametrize(
    "budget",
    [
        InformationBudget(bits=-1),
        InformationBudget(bits=10, per_s=59),
        InformationBudget(bits=10, response="shrug"),
    ],
)
def test_a_budget_that_is_none_is_refused(place: Place, budget: InformationBudget) -> None:
    with pytest.raises(InputError):
        place.do("endpoint.create", api.EndpointCreate(name="e", information=budget))
    assert information.check_budget(InformationBudget(bits=0)) is None
    with pytest.raises(NotFoundError):
        give(place.kernel.house, LoanAsk("ep-none", "ann", 1))


def test_a_budget_stays_until_it_is_ended(place: Place) -> None:
    one = Caller(place, InformationBudget(bits=10))
    place.do("endpoint.update", release.EndpointUpdate(name="e", description="x"))
    shown = place.do("endpoint.show", api.Named(name="e")).value
    assert isinstance(shown, api.EndpointShown)
    assert shown.endpoint.information == one.endpoint.information
    place.do(
        "endpoint.update",
        release.EndpointUpdate(name="e", information=InformationBudget(bits=0)),
    )
    shown = place.do("endpoint.show", api.Named(name="e")).value
    assert isinstance(shown, api.EndpointShown)
    assert shown.endpoint.information is None

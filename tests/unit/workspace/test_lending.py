"""Quotas: whoever dies when, and however many gateways, none takes more in one window."""

import asyncio
import contextlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest_workspace import Place
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vallum.base import InputError, LimitExceededError, ManualClock, NotFoundError, UnavailableError
from vallum.gateway.admission import LIMIT, POLICY, Admission
from vallum.gateway.allowances import Allowances
from vallum.gateway.routes import Known, Route
from vallum.gateway.wire import Request
from vallum.schema import Lent, Quota, Rate, api, release
from vallum.schema.serving import LoanAsk, ServedEndpoint
from vallum.workspace.lending import BLOCKS, forget_ended, give


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


class Gate:
    """An endpoint with quotas behind gateways that end and begin."""

    def __init__(self, place: Place, *quotas: Quota, gateways: int = 1) -> None:
        shown = place.do("endpoint.create", api.EndpointCreate(name="e", quotas=quotas)).value
        assert isinstance(shown, api.EndpointShown)
        self.place, self.id = place, shown.endpoint.id
        self.socket = Socket(place)
        self.limits = [self.begun() for _ in range(gateways)]
        self.serve(shown.endpoint.quotas)

    def serve(self, quotas: tuple[Quota, ...]) -> None:
        self.route = Route(ServedEndpoint(self.id, "e", 10**6, 10**6, 1, quotas=quotas))

    def begun(self) -> Admission:
        return Admission(Allowances(self.socket), Path("/nonexistent"))  # type: ignore[arg-type]

    async def ask(
        self, gateway: int = 0, name: str = "ann", key: str = "k", client: str = "192.0.2.1"
    ) -> Request:
        who = Known(f"{name}-{key}", 1, 0.0, b"", name, f"{name}-{key}")
        self.request = Request(client)
        self.limits[gateway].take(self.route, who, self.request, gateways=1)
        request = self.request
        await self.limits[gateway].count(self.route, who, request)
        return request

    def let_in(self, most: int, gateway: int = 0, **who: str) -> int:
        async def run() -> int:
            for at in range(most):
                try:
                    await self.ask(gateway, **who)
                except LimitExceededError:
                    return at
            return most

        return asyncio.run(run())


@given(
    quota=st.integers(1, 400),
    per=st.sampled_from(["principal", "key", "network", "endpoint"]),
    steps=st.lists(
        st.tuples(st.integers(0, 2), st.integers(1, 60), st.booleans()), min_size=1, max_size=15
    ),
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_quota_is_never_exceeded(
    place: Place, quota: int, per: str, steps: list[tuple[int, int, bool]]
) -> None:
    gate = Gate(place, Quota(quota, per=per), gateways=3)
    try:
        taken = killed = 0
        for gateway, most, kills in steps:
            if kills:
                gate.limits[gateway] = gate.begun()
                killed += 1
            got = gate.let_in(most, gateway)
            taken += got
            assert taken <= quota
            if got < most:  # refused: all but what others hold or lost when killed was had
                assert taken >= quota - (killed + 2) * max(1, quota // BLOCKS)

        async def at_once() -> int:
            asked = [gate.ask(at % 3) for at in range(24)]
            done = await asyncio.gather(*asked, return_exceptions=True)
            assert all(isinstance(one, Request | LimitExceededError) for one in done)
            return sum(isinstance(one, Request) for one in done)

        assert taken + asyncio.run(at_once()) <= quota
    finally:
        place.do("endpoint.delete", api.Named(name="e"))


@pytest.mark.parametrize(
    ("per", "others"),
    [
        ("principal", [({"key": "2"}, 0), ({"client": "198.51.100.1"}, 0), ({"name": "ben"}, 3)]),
        ("key", [({"client": "198.51.100.1"}, 0), ({"key": "2"}, 3)]),
        ("network", [({"client": "192.0.2.9"}, 0), ({"name": "ben"}, 0), ({"client": "unix"}, 3)]),
        ("endpoint", [({"name": "ben", "client": "198.51.100.1"}, 0)]),
    ],
)
def test_whose_requests_are_counted_together(
    place: Place, per: str, others: list[tuple[dict[str, str], int]]
) -> None:
    gate = Gate(place, Quota(3, per=per))
    assert gate.let_in(9) == 3
    for who, expected in others:
        assert gate.let_in(9, **who) == expected, who
    findings = [entry for entry in place.entries() if entry[3] == "quota.spent"]
    assert len(findings) == 1 + sum(expected > 0 for _, expected in others)
    assert place.verify().findings == ()


def test_who_is_over_one_quota_takes_nothing_of_another(place: Place) -> None:
    gate = Gate(place, Quota(6, per="endpoint"), Quota(4))
    assert gate.let_in(9) == 4
    calls = gate.socket.calls
    assert gate.let_in(9) == 0
    assert gate.socket.calls == calls  # nobody is asked again for what there is not
    assert gate.let_in(9, name="ben") == 2


def test_what_is_left_is_told(place: Place) -> None:
    gate = Gate(place, Quota(200, 3600), Quota(1000, per="endpoint"), gateways=2)
    told = dict(asyncio.run(gate.ask()).limits)
    assert told[POLICY].endswith(
        b', "quota-principal";q=200;w=3600, "quota-endpoint";q=1000;w=86400'
    )
    assert told[LIMIT].endswith(b', "quota-principal";r=199;t=3600')
    assert b"quota-endpoint" not in told[LIMIT]  # what others ask is not theirs to know
    other = dict(asyncio.run(gate.ask(1)).limits)
    assert b'"quota-principal";r=196;' in other[LIMIT]  # the first holds two more
    with pytest.raises(LimitExceededError, match="your quota of 200 requests") as refused:
        asyncio.run(_until_refused(gate))
    assert refused.value.code == "score.quota"
    assert refused.value.retry_after_s is not None
    assert 3500 < refused.value.retry_after_s <= 3600
    assert dict(gate.request.limits)[LIMIT].startswith(b'"quota-principal";r=0;t=3')


async def _until_refused(gate: Gate) -> None:
    while True:
        await gate.ask()


def test_callers_that_come_together_are_lent_one_piece(place: Place) -> None:
    gate = Gate(place, Quota(6400))

    async def together() -> None:
        await asyncio.gather(*(gate.ask() for _ in range(30)))

    asyncio.run(together())
    assert gate.socket.calls == 1


def test_without_the_ledger_nobody_is_let_in(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(place, Quota(6))

    async def call(*_: Any) -> Any:
        await asyncio.sleep(0)
        raise UnavailableError("no control process")

    monkeypatch.setattr(gate.socket, "call", call)

    async def together() -> list[Any]:
        return await asyncio.gather(*(gate.ask() for _ in range(3)), return_exceptions=True)

    assert all(isinstance(one, UnavailableError) for one in asyncio.run(together()))


def test_windows_end_by_the_clock_and_rows_with_them(place: Place) -> None:
    gate = Gate(place, Quota(5, 3600))
    house = place.kernel.house
    assert gate.let_in(9) == 5
    clock = ManualClock(house.clock.now() - timedelta(days=365))
    house.clock = clock
    gate.limits = [gate.begun()]
    assert gate.let_in(9) == 0  # the log is newer
    assert forget_ended(house) == 0
    clock.advance(timedelta(days=365, seconds=3601).total_seconds())
    assert forget_ended(house) == 1
    with house.database.snapshot() as snapshot:
        assert not house.records.list(snapshot, "quota", Lent)
    gate.limits = [gate.begun()]
    assert gate.let_in(9) == 5
    assert place.verify().findings == ()


def test_a_quota_is_changed_and_ended(place: Place) -> None:
    gate = Gate(place, Quota(5))
    assert gate.let_in(9) == 5

    def updated(*quotas: Quota) -> None:
        place.do("endpoint.update", release.EndpointUpdate(name="e", quotas=quotas))
        gate.serve(quotas)

    updated(Quota(8))
    assert gate.let_in(9) == 3  # what was taken stays taken
    place.do("endpoint.update", release.EndpointUpdate(name="e", description="x"))
    shown = place.do("endpoint.show", api.Named(name="e")).value
    assert isinstance(shown, api.EndpointShown)
    assert shown.endpoint.quotas == (Quota(8),)
    updated()
    with contextlib.suppress(LimitExceededError):
        assert gate.let_in(9) == 9
    with pytest.raises(NotFoundError):
        give(place.kernel.house, LoanAsk(gate.id, "ann", 1, "principal"))
    for bad in (LoanAsk(gate.id, "ann", 0, "key"), LoanAsk(gate.id, "a" * 201, 1, "key")):
        with pytest.raises(InputError):
            give(place.kernel.house, bad)


@pytest.mark.parametrize(
    "limits",
    [
        {"quotas": (Quota(0),)},
        {"quotas": (Quota(10, 59),)},
        {"quotas": (Quota(10, per="planet"),)},
        {"quotas": (Quota(10), Quota(20, 3600))},
        {"rates": (Rate(0),)},
        {"rates": (Rate(10, 86_401),)},
        {"rates": (Rate(10, burst=-1),)},
        {"rates": (Rate(1, 3600, 1000),)},
        {"rates": (Rate(10, per="key"),)},
        {"rates": (Rate(10), Rate(20))},
    ],
)
def test_what_cannot_be_held_is_refused(place: Place, limits: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        place.do("endpoint.create", api.EndpointCreate(name="e", **limits))

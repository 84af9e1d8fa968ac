"""Rates: whose, in which order, over how many gateways, and what callers are told of them."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum.base import LimitExceededError
from vallum.gateway import admission as module
from vallum.gateway.admission import FREE_REFUSALS, LIMIT, POLICY, REFUSAL_S, Admission
from vallum.gateway.allowances import Allowances
from vallum.gateway.routes import Known, Route
from vallum.gateway.wire import Request
from vallum.guard import RateLimiter
from vallum.schema import Rate
from vallum.schema.serving import ServedEndpoint


def route(*rates: Rate, rate_per_s: int = 1000, burst: int = 1000) -> Route:
    return Route(ServedEndpoint("ep", "e", rate_per_s, burst, 1, rates=rates))


def known(name: str, key: str = "") -> Known:
    return Known(f"key-{name}{key}", 1, 0.0, b"", name, f"key-{name}{key}")


class Desk:
    """Nobody is to be asked about rates."""

    async def call(self, *_: Any) -> Any:
        raise AssertionError


def made(tmp_path: Path) -> Admission:
    return Admission(Allowances(Desk()), tmp_path)  # type: ignore[arg-type]


def let_in(
    limits: Admission, at: Route, who: Known, client: str = "192.0.2.1", *, most: int = 50,
    gateways: int = 1,
) -> int:  # fmt: skip
    for count in range(most):
        try:
            limits.take(at, who, Request(client), gateways=gateways)
        except LimitExceededError:
            return count
    return most


@pytest.fixture(autouse=True)
def _stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.time, "monotonic", lambda: 1000.0)


def test_keys_of_a_principal_share_its_rate(tmp_path: Path) -> None:
    limits, at = made(tmp_path), route(Rate(5, per="principal"))
    assert let_in(limits, at, known("ann", "1"), most=3) == 3
    assert let_in(limits, at, known("ann", "2")) == 2
    assert let_in(limits, at, known("ben")) == 5


def test_networks_share_a_rate(tmp_path: Path) -> None:
    limits, at = made(tmp_path), route(Rate(5, burst=4, per="network"))
    assert let_in(limits, at, known("ann"), "192.0.2.1", most=3) == 3
    assert let_in(limits, at, known("ben"), "::ffff:192.0.2.200") == 1
    assert let_in(limits, at, known("ben"), "192.0.3.1") == 4
    assert let_in(limits, at, known("ann"), "2001:db8::1") == 4
    assert let_in(limits, at, known("ann"), "2001:db8:0:ff::1") == 0
    assert let_in(limits, at, known("ann"), "2001:db8:0:100::1") == 4


def test_who_is_refused_takes_nothing_from_anybody(tmp_path: Path) -> None:
    limits, at = made(tmp_path), route(Rate(10, per="endpoint"), burst=4)
    assert let_in(limits, at, known("noisy")) == 4
    assert let_in(limits, at, known("noisy")) == 0  # by their own rate: the endpoint's is as it was
    assert let_in(limits, at, known("ann")) == 4
    assert let_in(limits, at, known("ben"), most=1) == 1
    assert let_in(limits, at, known("ben")) == 1  # by the endpoint's
    assert let_in(limits, at, known("ben")) == 0
    later = route(burst=4)
    assert let_in(limits, later, known("ben")) == 2  # their own lost only what was let in


@given(
    gateways=st.integers(1, 8), requests=st.integers(1, 50), burst=st.integers(1, 60),
    seconds=st.integers(1, 20),
)  # fmt: skip
def test_gateways_together_let_in_no_more_than_the_rate(
    gateways: int, requests: int, burst: int, seconds: int
) -> None:
    total = 0
    for _ in range(gateways):
        limiter = RateLimiter()
        for step in range(seconds * 10 + 1):
            for _ in range(8):  # more than they may
                try:
                    limiter.take(
                        ("k", "e"), rate_per_s=requests / gateways,
                        burst=max(1.0, burst / gateways), now_s=1000 + step / 10,
                    )  # fmt: skip
                except LimitExceededError:
                    break
                total += 1
    assert total <= requests * seconds + max(burst, gateways) + 1e-6


def test_each_of_several_gateways_has_its_share(tmp_path: Path) -> None:
    at = route(Rate(9, per="endpoint"), burst=6)
    assert let_in(made(tmp_path), at, known("ann"), gateways=3) == 2
    assert let_in(made(tmp_path), at, known("ann"), gateways=30) == 1


def test_what_is_left_is_told_of_ones_own(tmp_path: Path) -> None:
    limits = made(tmp_path)
    at = route(
        Rate(30, 60, 4, "principal"), Rate(3, per="endpoint"), rate_per_s=50, burst=100
    )  # fmt: skip
    request = Request("192.0.2.1")
    limits.take(at, known("ann"), request, gateways=1)
    told = dict(request.limits)
    assert told[POLICY] == b'"rate";q=100;w=2, "rate-principal";q=4;w=8, "rate-endpoint";q=3;w=1'
    assert told[LIMIT] == b'"rate";r=99;t=1, "rate-principal";r=3;t=2'
    for _ in range(2):
        limits.take(at, known("ben"), Request("192.0.2.1"), gateways=1)
    with pytest.raises(LimitExceededError):
        limits.take(at, known("ann"), request, gateways=1)
    assert dict(request.limits)[LIMIT] == b'"rate-endpoint";r=0;t=1'
    limits.take(route(), known("cid"), request, gateways=1)
    assert dict(request.limits)[POLICY] == b'"rate";q=1000;w=1'


def test_a_restart_renews_no_rate(tmp_path: Path) -> None:
    at = route(Rate(5, 60, per="endpoint"))
    limits = made(tmp_path)
    assert let_in(limits, at, known("ann"), most=3) == 3
    asyncio.run(limits.save())
    assert let_in(made(tmp_path), at, known("ben")) == 2


def test_who_asks_on_and_on_waits_for_each_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits, at = made(tmp_path), route(burst=1, rate_per_s=1)

    def delays(who: Known, count: int) -> list[float]:
        found = []
        for _ in range(count):
            request = Request("192.0.2.1")
            with pytest.raises(LimitExceededError):
                limits.take(at, who, request, gateways=1)
            found.append(request.delay_s)
        return found

    for name in ("noisy", "ann"):
        assert let_in(limits, at, known(name), most=1) == 1
    assert delays(known("noisy"), FREE_REFUSALS + 5) == [0.0] * FREE_REFUSALS + [REFUSAL_S] * 5
    assert delays(known("ann"), 1) == [0.0]
    assert delays(known("noisy"), 1) == [REFUSAL_S]
    monkeypatch.setattr(module.time, "monotonic", lambda: 1001.5)
    assert let_in(limits, at, known("noisy"), most=1) == 1
    assert delays(known("noisy"), 1) == [0.0]

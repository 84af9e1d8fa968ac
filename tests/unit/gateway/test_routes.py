"""Which deployment answers: by share, by name, until another has started."""

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from vallum.base import NotFoundError, UnavailableError
from vallum.gateway.routes import (
    Route,
    Running,
    choose,
    copied,
    drained,
    pick,
    places_of,
    same,
    standing_of,
)
from vallum.guard import Spec
from vallum.schema.serving import Lease, ServedDeployment, ServedEndpoint


def served(name: str, share: int, mirrored: int = 0) -> ServedDeployment:
    return ServedDeployment(
        id=f"dep-{name}", name=name, model_digest="m", share=share, mirrored=mirrored
    )


def route(
    *deployments: ServedDeployment, runs: str, standing: frozenset[str] = frozenset()
) -> Route:
    """A route of which the deployments named by a letter of `runs` have started."""
    endpoint = ServedEndpoint(
        id="ep", name="e", rate_per_s=1, burst=1, max_rows=1, deployments=deployments
    )
    model: Any = SimpleNamespace(width=4)
    running = [Running(one, model, Spec(4, 1)) for one in deployments if one.name in runs]
    return Route(endpoint, running, standing)


def test_shares_are_met_within_a_hundred_requests() -> None:
    both = route(served("a", 30), served("b", 70), served("c", 0), runs="abc")
    names = [choose(both).served.name for _ in range(100)]
    assert (names.count("a"), names.count("b")) == (30, 70)


def test_what_took_the_traffic_goes_on_until_the_next_has_started() -> None:
    before = route(served("a", 100), runs="a")
    after = (served("a", 0), served("b", 100))
    moving = route(*after, runs="a", standing=standing_of(before))
    assert choose(moving).served.name == "a"
    still = route(*after, runs="a", standing=standing_of(moving))
    assert choose(still).served.name == "a"
    moved = route(*after, runs="ab", standing=standing_of(still))
    assert choose(moved).served.name == "b"
    # The next one stopped: none that was taken out of the traffic comes back by itself.
    with pytest.raises(UnavailableError):
        choose(route(*after, runs="a", standing=standing_of(moved)))


def test_without_traffic_before_nothing_stands_in() -> None:
    restarted = route(served("old", 0), served("b", 100), runs="old")
    with pytest.raises(UnavailableError):
        choose(restarted)
    with pytest.raises(UnavailableError):
        choose(route(served("a", 0), runs="a", standing=frozenset({"dep-a"})))


def test_what_starts_has_no_place_yet() -> None:
    new = msgspec.structs.replace(served("a", 0), id="dep-new", starting=True)
    endpoint = route(served("a", 100), new, runs="a").endpoint
    assert places_of(Lease(1, 1.0, (endpoint,))) == {"dep-a": ("ep", "a")}


def test_a_route_goes_on_as_long_as_its_endpoint_is_the_same() -> None:
    before, now = route(runs=""), route(served("a", 100), runs="a")
    assert same(before, now) is now
    other = Route(msgspec.structs.replace(now.endpoint, id="ep-2"), [])
    for one, two in ((before, other), (before, None), (None, now)):
        assert same(one, two) is None


def test_what_was_asked_is_answered_before_it_ends() -> None:
    (running,) = route(served("a", 100), runs="a").running
    running.active = 1

    async def end() -> None:
        waiting = asyncio.create_task(drained(running))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        running.active = 0
        await waiting

    asyncio.run(end())


def test_whoever_chooses_gets_what_runs_and_nothing_else() -> None:
    both = route(served("a", 100), served("b", 0), served("c", 0), runs="ab")
    assert pick(both, b"b").served.name == "b"
    for name in (b"c", b"", b"dep-a"):
        with pytest.raises(NotFoundError):
            pick(both, name)


def test_copies_are_as_many_as_were_asked_for() -> None:
    mirrored = route(served("a", 100), served("b", 0, mirrored=25), runs="ab")
    assert sum(copied(mirrored) is not None for _ in range(100)) == 25
    assert copied(route(served("a", 100), runs="a")) is None

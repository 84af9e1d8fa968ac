"""Which deployment answers, in which dialect, and what of its answer leaves."""

import asyncio
import itertools
import time
from dataclasses import dataclass, field

from vallum.base import GateError, InputError, Networks, NotFoundError, UnavailableError
from vallum.gateway.beside import Beside
from vallum.gateway.bundle import Bundle
from vallum.gateway.metrics import Tally
from vallum.gateway.model import Model
from vallum.guard import DIALECTS, Dialect, Output, Spec, shape_output
from vallum.guard.session import Arrays
from vallum.schema.serving import Lease, ServedDeployment, ServedEndpoint

DRAIN_S = 35.0  # longer than a model may take for an answer
_DRAIN_LOOK_S = 0.01


@dataclass(slots=True)
class Running:
    """A deployment that answers."""

    served: ServedDeployment
    model: Model
    spec: Spec
    bundle: Bundle | None = None
    beside: Beside | None = None
    tally: Tally = field(default_factory=Tally)
    active: int = 0  # requests that are with it

    def room(self) -> Bundle | None:
        """Return the open bundle, if there is room in it."""
        bundle = self.bundle
        return None if bundle is None or bundle.full else bundle


@dataclass(slots=True)
class Route:
    """An endpoint with the deployments that answer for it."""

    endpoint: ServedEndpoint
    running: list[Running] = field(default_factory=list)
    standing: frozenset[str] = frozenset()  # deployments that took traffic until now, by id
    turn: itertools.count = field(default_factory=itertools.count)  # type: ignore[type-arg]  # of ints
    copy_turn: itertools.count = field(default_factory=itertools.count)  # type: ignore[type-arg]  # of ints
    taking: list[Running] = field(init=False)  # traffic
    copied: Running | None = field(init=False)
    networks: Networks = field(init=False)

    def __post_init__(self) -> None:
        """Sort the deployments by what they get."""
        self.taking = [one for one in self.running if one.served.share]
        if not self.taking and any(one.share for one in self.endpoint.deployments):
            # What takes the traffic is still starting: what took it answers until then.
            self.taking = [one for one in self.running if one.served.id in self.standing]
        self.copied = next((one for one in self.running if one.served.mirrored), None)
        self.networks = Networks(self.endpoint.networks)


def standing_of(route: Route | None) -> frozenset[str]:
    """Return what takes an endpoint's traffic now."""
    return frozenset() if route is None else frozenset(one.served.id for one in route.taking)


def same(before: Route | None, now: Route | None) -> Route | None:
    """Return the route as it is now, if it still leads to the same endpoint."""
    if before is None or now is None or before.endpoint.id != now.endpoint.id:
        return None
    return now


def places_of(lease: Lease) -> dict[str, tuple[str, str]]:
    """Return the endpoint and name of each deployment that may answer, by its id."""
    return {
        one.id: (endpoint.id, one.name)
        for endpoint in lease.endpoints
        for one in endpoint.deployments
        if not one.starting
    }


async def drained(running: Running) -> None:
    """Wait until a deployment has answered what it was asked, or is late."""
    end_s = time.monotonic() + DRAIN_S
    while running.active and time.monotonic() < end_s:  # noqa: ASYNC110 - each has its own deadline
        await asyncio.sleep(_DRAIN_LOOK_S)


@dataclass(frozen=True, slots=True)
class Known:
    """A token that was authorized, for as long as the generation and its credential last."""

    credential_id: str
    generation: int
    until_s: float  # wall time
    pseudonym: bytes
    principal_id: str
    charged: str  # whose rate it counts against


def shaped(outputs: Arrays, rows: int, decimals: int | None) -> list[Output]:
    """Return what leaves of a model's answer.

    Raises:
        GateError: It is none for so many rows.
    """
    if not outputs:
        raise GateError("the model answers nothing", code="score.answer")
    shaped = []
    for name, value in outputs:
        if not value.shape or value.shape[0] != rows:
            raise GateError("the model answers for other rows", code="score.answer")
        try:
            shaped.append(shape_output(name, value, decimals=decimals))
        except InputError as error:
            raise GateError(error.message, code=error.code) from error
    return shaped


def place_of(path: str) -> tuple[str, Dialect | None] | None:
    """Return the endpoint that a path asks to score, and what it speaks if the path says so."""
    if path.startswith("/v2/models/") and path.endswith("/infer"):
        return path[11:-6], None
    if path.startswith("/endpoints/"):
        name, _, last = path[11:].partition("/")
        if name and (spoken := DIALECTS.get(last)) is not None:
            return name, spoken
    return None


def choose(route: Route) -> Running:
    """Return the deployment whose turn it is, by shares of a hundred.

    Raises:
        UnavailableError: None takes traffic.
    """
    taking = route.taking
    if len(taking) == 1:
        return taking[0]
    if not taking:
        raise UnavailableError("the endpoint has no deployment that runs", code="score.none")
    place = next(route.turn) * 37 % 100  # 37 and 100 share no factor: every place comes once
    for running in taking:
        place -= running.served.share
        if place < 0:
            return running
    return taking[-1]


def pick(route: Route, name: bytes) -> Running:
    """Return the deployment that a caller names, whatever its share.

    Raises:
        NotFoundError: None of that name runs.
    """
    for running in route.running:
        if running.served.name.encode() == name:
            return running
    raise NotFoundError("the endpoint has no such deployment", code="score.deployment")


def copied(route: Route) -> Running | None:
    """Return the deployment that gets a copy of this request; mostly none."""
    running = route.copied
    if running is None or next(route.copy_turn) * 37 % 100 >= running.served.mirrored:
        return None
    return running

"""Which deployment answers, in which dialect, and what of its answer leaves."""

import itertools
from dataclasses import dataclass, field

from vallum.base import GateError, InputError
from vallum.gateway.beside import Beside
from vallum.gateway.bundle import Bundle
from vallum.gateway.metrics import Tally
from vallum.gateway.model import Model
from vallum.guard import DIALECTS, Dialect, Output, Spec, shape_output
from vallum.guard.session import Arrays
from vallum.schema.serving import ServedDeployment, ServedEndpoint


@dataclass(slots=True)
class Running:
    """A deployment that answers."""

    served: ServedDeployment
    model: Model
    spec: Spec
    bundle: Bundle | None = None
    beside: Beside | None = None
    tally: Tally = field(default_factory=Tally)


@dataclass(slots=True)
class Route:
    """An endpoint with the deployments that answer for it."""

    endpoint: ServedEndpoint
    running: list[Running] = field(default_factory=list)
    turn: itertools.count = field(default_factory=itertools.count)  # type: ignore[type-arg]  # of ints


@dataclass(frozen=True, slots=True)
class Known:
    """A token that was authorized, for as long as the generation and its credential last."""

    credential_id: str
    generation: int
    until_s: float  # wall time
    pseudonym: bytes
    principal_id: str


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


def dialect_of(path: str) -> Dialect | None:
    """Return what `/endpoints/NAME/invocations` or `…/score` speaks; nothing for other paths."""
    name, _, last = path[11:].partition("/")
    return DIALECTS.get(last) if name else None


def choose(route: Route) -> Running:
    """Return the deployment whose turn it is, by shares of a hundred."""
    if len(route.running) == 1:
        return route.running[0]
    place = next(route.turn) * 37 % 100  # 37 and 100 share no factor: every place comes once
    for running in route.running:
        place -= running.served.share
        if place < 0:
            return running
    return route.running[-1]

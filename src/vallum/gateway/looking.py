"""Readiness and metrics, authenticated by the right to score: whoever may, sees that endpoint."""

import hashlib
import secrets
import time
from collections.abc import Mapping

import msgspec

from vallum.base import (
    InputError,
    NotFoundError,
    RefusedError,
    UnauthenticatedError,
    UnavailableError,
)
from vallum.base.version import VERSION
from vallum.gateway.callers import CERTIFICATE_MARK, Callers
from vallum.gateway.metrics import Metrics
from vallum.gateway.routes import Route
from vallum.gateway.wire import Answer, Request

MAX_READERS = 1024
KEPT_S = 60.0
"""How long an answer is remembered, unless rights change before: a refusal is logged each time."""


MODELS = "/v2/models/"


class Looks:
    """Answers who looks at endpoints, and remembers who may. For one event loop."""

    def __init__(self, callers: Callers, metrics: Metrics) -> None:
        self._callers = callers
        self._metrics = metrics
        self._key = secrets.token_bytes(32)
        self._known: dict[bytes, tuple[int, float, frozenset[str]]] = {}

    async def answer(
        self, request: Request, path: str, token: bytes, routes: Mapping[str, Route]
    ) -> Answer:
        """Serve readiness and metrics.

        Raises:
            InputError: Another method than GET.
            NotFoundError: There is no such path, or no right to look at that endpoint.
            RefusedError: There is no endpoint whose metrics may be read.
            UnauthenticatedError: There is no token, or it is no good.
            UnavailableError: Nothing runs that answers.
        """
        if request.method != b"GET":
            raise InputError("this path takes GET", code="score.method")
        if path == "/v2/health/ready":
            return Answer(200, b'{"ready":true}')
        if path == "/v2":
            await self._names(token, routes, request)
            about = {"name": "vallum", "version": VERSION, "extensions": []}
            return Answer(200, msgspec.json.encode(about))
        if path.startswith(MODELS) and "/" not in path[len(MODELS) :]:
            route = await self._shown(request, path[len(MODELS) :], token, routes)
            return Answer(200, msgspec.json.encode(_metadata(route)))
        ping = path.startswith("/endpoints/") and path.endswith("/ping")
        if ping or (path.startswith("/v2/models/") and path.endswith("/ready")):
            name = path[11:-5] if ping else path[11:-6]
            ready = bool((await self._shown(request, name, token, routes)).running)
            if ping and not ready:  # MLflow's clients look at the status alone
                raise UnavailableError(
                    "the endpoint has no deployment that runs", code="score.none"
                )
            return Answer(200, msgspec.json.encode({"name": name, "ready": ready}))
        if path == "/metrics":
            names = await self._names(token, routes, request)
            return Answer(200, self._metrics.render(names), b"text/plain; version=0.0.4")
        if path == "/metrics.json":
            names = await self._names(token, routes, request)
            return Answer(200, msgspec.json.encode(self._metrics.traffic(names)))
        raise NotFoundError("there is no such path")

    async def _shown(
        self, request: Request, name: str, token: bytes, routes: Mapping[str, Route]
    ) -> Route:
        """Return an endpoint that a caller may look at.

        Raises:
            NotFoundError: They may not, or there is no such endpoint.
            RefusedError: Not from where they are.
            UnauthenticatedError: There is no token, or it is no good.
        """
        route = routes.get(name)
        await self._callers.authorize(token, route, name, request)
        if route is None:  # made or taken away while we asked
            raise NotFoundError("there is no such endpoint", code="score.refused")
        if request.client not in route.networks:
            raise RefusedError("not from this network", code="score.network")
        return route

    async def _names(
        self, token: bytes, routes: Mapping[str, Route], request: Request
    ) -> frozenset[str]:
        """Return the endpoints whose metrics a token may read.

        Raises:
            UnauthenticatedError: There is no token, or it is no good.
            RefusedError: There is none.
        """
        if not token and not request.certificate:
            raise UnauthenticatedError("a key is needed", hint="Authorization: Bearer …")
        shown = (token or CERTIFICATE_MARK + request.certificate) + b"\0" + request.client.encode()
        key = hashlib.blake2b(shown, key=self._key).digest()
        held = self._known.get(key)
        now_s = time.monotonic()
        if held is not None and held[0] == self._callers.generation and held[1] > now_s:
            request.accounted = True
            return held[2]
        generation, until_s = self._callers.generation, now_s + KEPT_S
        found = set()
        for name, route in list(routes.items()):
            try:
                who = await self._callers.authorize(token, route, name, request)
                if request.client not in route.networks:
                    continue
            except (NotFoundError, RefusedError):
                continue
            until_s = min(until_s, now_s + who.until_s - time.time())
            found.add(name)
        if not found:
            raise RefusedError("metrics need the right to score somewhere", code="metrics.refused")
        if len(self._known) >= MAX_READERS:
            self._known.clear()
        self._known[key] = (generation, until_s, frozenset(found))
        return frozenset(found)


def _metadata(route: Route) -> dict[str, object]:
    """Return what an endpoint takes, in the protocol's form; outputs are not told beforehand.

    Raises:
        UnavailableError: Nothing runs that answers.
    """
    if not route.taking:
        raise UnavailableError("the endpoint has no deployment that runs", code="score.none")
    width = route.taking[0].model.width
    shape = [-1, -1 if width is None else width]
    return {
        "name": route.endpoint.name,
        "versions": [one.served.name for one in route.taking],
        "platform": "onnx",
        "inputs": [{"name": "input", "datatype": "FP32", "shape": shape}],
        "outputs": [],
    }

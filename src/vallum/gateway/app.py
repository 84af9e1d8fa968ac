"""The data plane: every request passes the guard in one order.

1. Host, method, path and header bounds; 2. a live lease; 3. who, and may they score here;
4. rate and concurrency; 5. body within its bound, decoded and checked; 6. the model;
7. output shaped; 8. the decision spooled; then the answer leaves. Who is refused after 3. is
spooled like who is answered; who is refused before is counted in the log.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from vallum.base import (
    InputError,
    LimitExceededError,
    RefusedError,
    UnavailableError,
    VallumError,
)
from vallum.base.proxies import Proxies
from vallum.base.tls import DoorTls
from vallum.gateway.admission import Admission
from vallum.gateway.allowances import Allowances
from vallum.gateway.beside import Beside
from vallum.gateway.books import Books
from vallum.gateway.callers import Callers
from vallum.gateway.capturing import Captures
from vallum.gateway.crowd import Crowd
from vallum.gateway.egress import Outgoing
from vallum.gateway.leasing import Lessee
from vallum.gateway.looking import Looks
from vallum.gateway.metrics import Metrics, Tally
from vallum.gateway.mirror import Mirror
from vallum.gateway.model import Model
from vallum.gateway.routes import (
    Known,
    Route,
    Running,
    choose,
    drained,
    pick,
    place_of,
    places_of,
    same,
    shaped,
    standing_of,
)
from vallum.gateway.scripted import ScriptedModel, answer_with_code, follow
from vallum.gateway.starting import Starting
from vallum.gateway.telling import Tellings
from vallum.gateway.tracing import TRACE_HEADER, Tracer
from vallum.gateway.wire import PICKED, TEST_HEADER, Answer, Head, Request, problem_of, status_of
from vallum.guard import TEST_MARK, V2, Dialect, Spec, encode_input
from vallum.schema.serving import (
    Acknowledged,
    DeploymentFailed,
    DeploymentRuns,
    Lease,
    ServedDeployment,
)
from vallum.workspace.desk import AsyncDesk, Desk
from vallum.workspace.engines.ray_room import RayPlace

if TYPE_CHECKING:
    from vallum.gateway.rpc import RpcDoor  # an extra

_LOG = structlog.get_logger("vallum.gateway")

MAX_CONCURRENT = 256
LONG_BODY = 32 * 1024
START_TRIES = 5  # of what nobody waits for yet; what runs is started again for ever
TELL_S = 1.0
INTEGRITY_S = 55.0  # the memory is sealed: only what is no program can change it

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class Gateway:
    """Holds the lease, the caches and the models. For one event loop."""

    tls: DoorTls | None = None
    rpc: "RpcDoor | None" = None

    def __init__(
        self,
        desk: AsyncDesk,
        lease_desk: Desk,
        *,
        hosts: frozenset[bytes],
        spool: Path,
        tracer: Tracer | None = None,
        proxies: Proxies | None = None,
        ray: RayPlace | None = None,
    ) -> None:
        self._desk = desk
        self._head = Head(hosts, proxies)
        self._callers = Callers(desk)
        self._routes: dict[str, Route] = {}
        self._models: dict[str, Running] = {}
        allowances = Allowances(desk)
        self._admission = Admission(allowances, spool)
        self._active = 0
        self._books = Books(desk, spool=spool, begin=self._begin)
        self._lessee = Lessee(lease_desk, gateway=self._books.gateway, switch=self._switch)
        self._outgoing = Outgoing(desk, begin=self._begin, require=self._lessee.require)
        self._starting = Starting(desk, self._outgoing, ray)
        self._captures = Captures(desk, self._starting.runner)
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._loading: set[str] = set()
        self._lease = Lease(generation=-1, lease_s=0.0)
        self._tracer = tracer
        self.metrics = Metrics(tracer)
        self.crowd = Crowd()
        self._looks = Looks(self._callers, self.metrics)
        self._mirror = Mirror(begin=self._begin)
        self._tellings = Tellings(allowances)

    # -- life -----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Close what a killed gateway left, take the first lease, begin the timers."""
        await self._books.recover()
        await self._lessee.start()
        for loop in (self._bundle_loop(), self._integrity_loop(), self._captures.run()):
            self._begin(loop)
        if self._tracer is not None:
            self._begin(self._tracer.run())
        if self.rpc is not None:
            await self.rpc.start()

    async def stop(self) -> None:
        """Close every bundle and end every model."""
        self._stopping = True
        if self.rpc is not None:
            await self.rpc.stop()
        await self._lessee.stop()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._captures.close()
        await self._books.hand_in()
        await self._admission.save()
        for running in self._models.values():
            await self._books.close(running)
            await running.model.close()
        await self._outgoing.hand_in()
        if self._tracer is not None:
            await self._tracer.close()
        await self._desk.close()

    def _switch(self, lease: Lease) -> None:
        """Stop what is no longer served at once; start what is new without holding up the rest."""
        self._callers.follow(lease.generation)
        wanted = {one.id: one for endpoint in lease.endpoints for one in endpoint.deployments}
        gone = [running for key, running in self._models.items() if key not in wanted]
        places = places_of(self._lease)
        taken = set(places_of(lease).values())
        self._models = {key: one for key, one in self._models.items() if key in wanted}
        for key, running in self._models.items():
            follow(running, wanted[key])
        self._route(lease)
        for running in gone:  # beside requests: a slow answer must not cost the lease
            self._begin(self._end(running, replaced=places.get(running.served.id) in taken))
        for key, served in wanted.items():
            if key not in self._models and key not in self._loading:
                self._loading.add(key)
                self._begin(self._load(served))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _end(self, running: Running, *, replaced: bool = False) -> None:
        """End a deployment: at once, or with its last answer where another took its place."""
        try:
            if replaced:
                await drained(running)
        finally:
            await self._books.close(running)
            await running.model.close()

    def _route(self, lease: Lease) -> None:
        self._lease = lease
        if self.tls is not None:
            self.tls.trust(lease.authorities)
        if self.rpc is not None:
            self.rpc.tls.authorities = lease.authorities
        for endpoint in lease.endpoints:
            for one in endpoint.deployments:
                if one.id in self._models:
                    running = self._models[one.id]
                    running.spec = Spec(running.model.width, endpoint.max_rows)
        self._routes = {
            endpoint.name: Route(
                endpoint,
                [
                    self._models[one.id]
                    for one in endpoint.deployments
                    if one.id in self._models and not one.starting
                ],
                standing_of(self._routes.get(endpoint.name)),
            )
            for endpoint in lease.endpoints
        }

    async def _load(self, served: ServedDeployment) -> None:
        """Fetch, verify and start one deployment; what cannot be served is stopped and logged."""
        model: Model | None = None
        beside: Beside | None = None
        tries = 0
        try:
            while model is None and self._wanted(served.id) and not self._stopping:
                try:
                    model, beside = await self._starting.start(served)
                except UnavailableError as error:  # passing: asked again while it is wanted
                    tries += error.code in {"model.start", "engine.start"}
                    if served.starting and tries == START_TRIES:  # nobody waits for it yet
                        raise
                    _LOG.warning("not started yet", deployment=served.id, code=error.code)
                    await asyncio.sleep(1.0)
        except VallumError as error:
            _LOG.error("a deployment does not start", deployment=served.id, code=error.code)
            await self._fail(served.id, error)
        finally:
            self._loading.discard(served.id)
        if model is None:
            return
        now = self._wanted(served.id)  # its share may have changed while it started
        if self._stopping or now is None:
            await model.close()
            return
        tally = self._tally(served)
        tally.drift = None if beside is None else beside.drift
        tally.instances = lambda: model.running
        self._models[served.id] = Running(now, model, Spec(model.width, 1), None, beside, tally)
        follow(self._models[served.id], now)
        self._route(self._lease)
        await self._tell_runs(served.id)

    async def _tell_runs(self, deployment_id: str) -> None:
        """Say that a deployment came to stand: it gets its traffic with the lease after that."""
        while (now := self._wanted(deployment_id)) is not None and now.starting:
            try:
                report = DeploymentRuns(self._books.gateway, deployment_id)
                await self._desk.call("/deployment/runs", report, Acknowledged)
            except UnavailableError:
                pass
            except VallumError as error:  # another was deployed meanwhile
                _LOG.warning("a start was not taken", deployment=deployment_id, code=error.code)
                return
            await asyncio.sleep(TELL_S)

    def _tally(self, served: ServedDeployment) -> Tally:
        of = (
            endpoint.name
            for endpoint in self._lease.endpoints
            if any(one.id == served.id for one in endpoint.deployments)
        )
        return self.metrics.tally(next(of, ""), served.name)

    def _wanted(self, deployment_id: str) -> ServedDeployment | None:
        return next(
            (
                one
                for endpoint in self._lease.endpoints
                for one in endpoint.deployments
                if one.id == deployment_id
            ),
            None,
        )

    async def _fail(self, deployment_id: str, error: VallumError) -> None:
        report = DeploymentFailed(
            deployment_id=deployment_id, code=error.code, reason=error.message
        )
        try:
            await self._desk.call("/deployment/fail", report, Acknowledged)
        except VallumError as again:
            _LOG.error("a failure was not taken", deployment=deployment_id, code=again.code)

    async def _integrity_loop(self) -> None:
        while not self._stopping:
            await asyncio.sleep(INTEGRITY_S)
            await self.verify_models()

    async def verify_models(self) -> None:
        """Hash every running model's memory again; a changed one stops answering first."""
        for key, running in list(self._models.items()):
            try:
                await asyncio.to_thread(running.model.verify)
            except VallumError as error:
                self._models.pop(key, None)
                self._route(self._lease)
                await self._fail(key, error)

    # -- bundles --------------------------------------------------------------------------------

    async def _bundle_loop(self) -> None:
        from vallum.gateway.bundle import TTL_S

        while not self._stopping:
            await asyncio.sleep(TTL_S / 4)
            await self._books.hand_in()
            await self._admission.save()
            if self.tls is not None:
                self.tls.refresh()
            of = {one.served.id: route for route in self._routes.values() for one in route.running}
            for running in list(self._models.values()):
                await self._books.close_due(of.get(running.served.id), running)

    # -- requests -------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Live as long as uvicorn's server does; requests come through `answer`."""
        if scope["type"] != "lifespan":
            raise RuntimeError("the gateway is served by vallum.gateway.protocol")
        while (await receive())["type"] == "lifespan.startup":
            try:
                await self.start()
            except VallumError as error:
                await send({"type": "lifespan.startup.failed", "message": error.message})
                return
            await send({"type": "lifespan.startup.complete"})
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def answer(self, request: Request) -> Answer:
        """Serve one request."""
        start = time.perf_counter()
        endpoint = code = ""
        if self._tracer is not None:
            request.trace = self._tracer.begin(request.headers.get(TRACE_HEADER))
        try:
            path = request.path
            token = self._head.check(request)
            if (place := place_of(path)) is not None:
                endpoint, spoken = place
                said = await self._infer(request, endpoint, token, spoken or request.spoken)
                answer = Answer(200, said, extra=request.limits)
            elif path == "/livez":
                answer = Answer(200, b'{"status":"ok"}')
            elif path == "/v2/health/live":
                answer = Answer(200, b'{"live":true}')
            else:
                self._lessee.require()
                answer = await self._looks.answer(request, path, token, self._routes)
        except VallumError as error:
            if delay_s := request.delay_s or getattr(error, "delay_s", 0.0):
                await asyncio.sleep(delay_s)
            if not request.accounted:
                self._books.count(error.code, request.client)
            self.metrics.refuse(code := error.code)
            answer = problem_of(error, request.limits)
        except Exception as error:  # noqa: BLE001 - the border of a request: fail closed
            code = "internal"
            _LOG.error("request failed", kind=type(error).__name__)
            answer = problem_of(UnavailableError("something went wrong", code="internal"))
        if endpoint:
            self.metrics.settle(
                request.tally, request.trace, status=answer.status, code=code,
                endpoint=endpoint if endpoint in self._routes else "",
                seconds=time.perf_counter() - start,
            )  # fmt: skip
        return answer

    def refuse(self, error: VallumError, client: str) -> Answer:
        """Answer what is no request."""
        self._books.count(error.code, client)
        self.metrics.refuse(error.code)
        self.metrics.tally("", "").observe(status_of(error), 0.0)
        return problem_of(error)

    async def _infer(self, request: Request, name: str, token: bytes, dialect: Dialect) -> bytes:
        # 1.
        if request.method != b"POST":
            raise InputError("scoring takes POST", code="score.method")
        # 2.
        self._lessee.require()
        route = self._routes.get(name)
        # 3. An unknown endpoint looks like one that the caller may not score.
        picked = request.headers.get(PICKED)
        picks = picked is not None
        who = self._callers.recall(token, name, request, picks=picks)
        who = who or await self._callers.authorize(token, route, name, request, picks=picks)
        route = same(route, self._routes.get(name))  # what was replaced meanwhile is ending
        if route is None or not route.running:
            raise UnavailableError("the endpoint has no deployment that runs", code="score.none")
        if picked is None:
            running = choose(route)
        else:
            request.accounted = False  # who names what is not there is counted
            running = pick(route, picked)
            request.accounted = True
        mark = TEST_MARK if TEST_HEADER in request.headers else 0
        tally, trace = running.tally, request.trace
        request.tally = tally
        if trace is not None:
            trace.chosen(name, running.served.name)
        tally.active += 1
        running.active += 1
        self._active += 1
        try:
            if isinstance(running.model, ScriptedModel):
                said = await answer_with_code(
                    running, route, request, who, model=running.model,
                    admitted=self._admitted(request, route, who, token, picks=picks),
                    books=self._books, captures=self._captures, mark=mark,
                )  # fmt: skip
                self._lessee.require()
                return said
            try:
                if running.beside is not None:
                    running.beside.admit(who.principal_id, now_s=time.monotonic())
                self._tellings.admit(route, who)
                body = await self._admitted(request, route, who, token, picks=picks)
                if dialect is V2 or len(body) < LONG_BODY:
                    x, request_id = dialect.decode(body, running.spec)
                else:  # general JSON takes its time: others are served meanwhile
                    x, request_id = await asyncio.to_thread(dialect.decode, body, running.spec)
            except VallumError as error:
                # Who is refused by name is in a bundle, like who is answered.
                bundle = await self._books.bundle(route, running)
                bundle.settle(bundle.reserve(), time.time(), status_of(error) | mark, who.pseudonym)
                raise
            bundle = running.room() or await self._books.bundle(route, running)
            slot = bundle.reserve()
            if trace is not None:
                trace.placed(bundle.id, slot, len(x))
                bundle.trace(slot, trace.trace_id, trace.span_id)
            status = 500
            try:
                # 6. and 7.
                if route.copied is not None and not picks:
                    self._mirror.copy(route, x)
                asked = x if running.beside is None else running.beside.widened(x)
                begun_s = time.perf_counter()
                outputs = await running.model.predict(asked)
                tally.model.add(time.perf_counter() - begun_s)
                if trace is not None:
                    trace.span("model", begun_s)
                tally.rows += len(x)
                if running.beside is not None:
                    outputs = self._books.watched(running, running.beside, who, x, outputs)
                if route.endpoint.information is None:  # as `tell` would, without waiting
                    answered = shaped(outputs, len(x), running.served.decimals)
                else:
                    answered = await self._tellings.tell(route, running, who, outputs, len(x))
                status = 200
            except VallumError as error:
                status = status_of(error)
                raise
            finally:
                # 8.
                bundle.settle(slot, time.time(), status | mark, who.pseudonym)
            self._lessee.require()
            said = dialect.encode(name, running.served.name, answered, request_id)
            if running.served.capture is not None:
                told = said
                if not dialect.json:  # as the same would be over HTTP: that is what redaction reads
                    body = encode_input(x)
                    told = V2.encode(name, running.served.name, answered, request_id)
                self._captures.take(running.served, tally, body, told, bundle=bundle.id, slot=slot)
            return said
        finally:
            tally.active -= 1
            running.active -= 1
            self._active -= 1

    async def _admitted(
        self, request: Request, route: Route, who: Known, token: bytes, *, picks: bool
    ) -> bytes:
        # Who may score here may know from where: nobody else is told.
        if request.client not in route.networks:
            raise RefusedError("not from this network", code="score.network")
        # 4.
        self._admission.take(route, who, request, gateways=self._lessee.gateways)
        # These count this one. A deployment that is slow leaves the others half of the places.
        busy = 0 if request.tally is None else request.tally.active
        if self._active > MAX_CONCURRENT or busy > MAX_CONCURRENT // 2:
            raise LimitExceededError(
                "too many requests at once", code="score.concurrency", retry_after_s=0.1
            )
        if route.endpoint.quotas:
            await self._admission.count(route, who, request)
            if request.tally is not None:
                request.tally.counted += 1
        # 5.
        body = request.came() or await request.body()
        if who.generation != self._callers.generation:  # a right may have gone while the body came
            await self._callers.authorize(token, route, route.endpoint.name, request, picks=picks)
        return body

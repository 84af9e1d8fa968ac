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
from typing import Any

import structlog

from vallum.base import (
    InputError,
    LimitExceededError,
    RefusedError,
    UnavailableError,
    VallumError,
)
from vallum.base.bounds import MAX_TOKEN_BYTES
from vallum.base.tls import DoorTls
from vallum.gateway.beside import Beside
from vallum.gateway.books import Books
from vallum.gateway.callers import Callers
from vallum.gateway.isolated import IsolatedModel
from vallum.gateway.looking import Looks
from vallum.gateway.metrics import Metrics, Tally
from vallum.gateway.mirror import Mirror
from vallum.gateway.model import InProcessModel, Model
from vallum.gateway.routes import (
    Known,
    Route,
    Running,
    choose,
    dialect_of,
    pick,
    shaped,
    standing_of,
)
from vallum.gateway.tracing import TRACE_HEADER, Tracer
from vallum.gateway.wire import PICKED, TEST_HEADER, Answer, Request, problem_of, status_of
from vallum.guard import (
    MAX_BODY_BYTES,
    TEST_MARK,
    V2,
    Dialect,
    RateLimiter,
    Spec,
)
from vallum.sandbox import BubblewrapRunner
from vallum.schema.serving import (
    Acknowledged,
    DeploymentFailed,
    Lease,
    LeaseAsk,
    ModelAsk,
    ModelBytes,
    ServedDeployment,
)
from vallum.workspace.desk import AsyncDesk, DelayedRefusalError

_LOG = structlog.get_logger("vallum.gateway")

MAX_CONCURRENT = 256
MAX_HEADERS = 64
LONG_BODY = 32 * 1024
INTEGRITY_S = 55.0  # the memory is sealed: only what is no program can change it
POLL_S = 0.4
_BEARER = b"bearer "

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class Gateway:
    """Holds the lease, the caches and the models. For one event loop."""

    tls: DoorTls | None = None

    def __init__(
        self,
        desk: AsyncDesk,
        *,
        hosts: frozenset[bytes],
        spool: Path,
        tracer: Tracer | None = None,
    ) -> None:
        self._desk = desk
        self._hosts = hosts
        self._callers = Callers(desk)
        self._until_s = 0.0
        self._routes: dict[str, Route] = {}
        self._models: dict[str, Running] = {}
        self._rates = RateLimiter()
        self._active = 0
        self._runner: BubblewrapRunner | None = None
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._loading: set[str] = set()
        self._lease = Lease(generation=-1, lease_s=0.0)
        self._books = Books(desk, spool=spool, begin=self._begin)
        self._tracer = tracer
        self.metrics = Metrics(tracer)
        self._looks = Looks(self._callers, self.metrics)
        self._mirror = Mirror(begin=self._begin)

    # -- life -----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Close what a killed gateway left, take the first lease, begin the timers."""
        await self._books.recover()
        await self._take_lease(wait_s=0.0)
        for loop in (self._lease_loop(), self._bundle_loop(), self._integrity_loop()):
            self._begin(loop)
        if self._tracer is not None:
            self._begin(self._tracer.run())

    async def stop(self) -> None:
        """Close every bundle and end every model."""
        self._stopping = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._books.hand_in()
        for running in self._models.values():
            await self._books.close(running)
            await running.model.close()
        if self._tracer is not None:
            await self._tracer.close()
        await self._desk.close()

    async def _lease_loop(self) -> None:
        while not self._stopping:
            try:
                await self._take_lease(wait_s=POLL_S)
            except VallumError as error:
                _LOG.warning("no lease", code=error.code)
                await asyncio.sleep(0.2)

    async def _take_lease(self, *, wait_s: float) -> None:
        asked_s = time.monotonic()
        question = LeaseAsk(
            gateway=self._books.gateway, have=self._callers.generation, wait_s=wait_s
        )
        lease = await self._desk.call("/lease", question, Lease)
        if lease.generation != self._callers.generation:
            self._callers.follow(lease.generation)
            self._until_s = asked_s + lease.lease_s
            await self._switch(lease)
        # From when we asked: the control process counts from when it answered, which is later.
        self._until_s = asked_s + lease.lease_s

    async def _switch(self, lease: Lease) -> None:
        """Stop what is no longer served at once; start what is new without holding up the rest."""
        wanted = {one.id: one for endpoint in lease.endpoints for one in endpoint.deployments}
        gone = [running for key, running in self._models.items() if key not in wanted]
        self._models = {key: one for key, one in self._models.items() if key in wanted}
        for key, running in self._models.items():
            running.served = wanted[key]
        self._route(lease)
        for running in gone:  # beside the lease loop: a slow answer must not cost the lease
            self._begin(self._end(running))
        for key, served in wanted.items():
            if key not in self._models and key not in self._loading:
                self._loading.add(key)
                self._begin(self._load(served))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _end(self, running: Running) -> None:
        await self._books.close(running)
        await running.model.close()

    def _route(self, lease: Lease) -> None:
        self._lease = lease
        if self.tls is not None:
            self.tls.trust(lease.authorities)
        for endpoint in lease.endpoints:
            for one in endpoint.deployments:
                if one.id in self._models:
                    running = self._models[one.id]
                    running.spec = Spec(running.model.width, endpoint.max_rows)
        self._routes = {
            endpoint.name: Route(
                endpoint,
                [self._models[one.id] for one in endpoint.deployments if one.id in self._models],
                standing_of(self._routes.get(endpoint.name)),
            )
            for endpoint in lease.endpoints
        }

    async def _load(self, served: ServedDeployment) -> None:
        """Fetch, verify and start one deployment; what cannot be served is stopped and logged."""
        model: Model | None = None
        beside: Beside | None = None
        try:
            while model is None and self._wanted(served.id) and not self._stopping:
                try:
                    model, beside = await self._start_model(served)
                except UnavailableError as error:  # passing: asked again while it is wanted
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
        self._models[served.id] = Running(now, model, Spec(model.width, 1), None, beside, tally)
        self._route(self._lease)

    async def _start_model(self, served: ServedDeployment) -> tuple[Model, Beside | None]:
        got = await self._desk.call("/model", ModelAsk(deployment_id=served.id), ModelBytes)
        model = await self._run_model(served, got)
        try:  # a deployment that should be watched and cannot be is not served
            return model, await Beside.of(served, got, model)
        except BaseException:
            await model.close()
            raise

    async def _run_model(self, served: ServedDeployment, got: ModelBytes) -> Model:
        if served.in_process:
            return await asyncio.to_thread(InProcessModel, got.data, got.sha256)
        if self._runner is None:
            self._runner = await asyncio.to_thread(BubblewrapRunner.open)
        runner = self._runner
        isolated = await asyncio.to_thread(IsolatedModel, got.data, got.sha256, runner)
        try:
            await isolated.start()
        except BaseException:
            await isolated.close()
            raise
        return isolated

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
            if self.tls is not None:
                self.tls.refresh()
            for running in list(self._models.values()):
                await self._books.close_due(running)

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
            token = self._check_head(request)
            if path.startswith("/v2/models/") and path.endswith("/infer"):
                endpoint = path[11:-6]
                answer = Answer(200, await self._infer(request, endpoint, token, V2))
            elif path.startswith("/endpoints/") and (spoken := dialect_of(path)) is not None:
                endpoint = path[11 : path.rindex("/")]
                answer = Answer(200, await self._infer(request, endpoint, token, spoken))
            elif path == "/livez":
                answer = Answer(200, b'{"status":"ok"}')
            else:
                self._require_lease()
                answer = await self._looks.answer(request, path, token, self._routes)
        except VallumError as error:
            if isinstance(error, DelayedRefusalError):
                await asyncio.sleep(error.delay_s)
            if not request.accounted:
                self._books.count(error.code, request.client)
            code = error.code
            self.metrics.refuse(code)
            answer = problem_of(error)
        except Exception as error:  # noqa: BLE001 - the border of a request: fail closed
            code = "internal"
            _LOG.error("request failed", kind=type(error).__name__)
            answer = problem_of(UnavailableError("something went wrong", code="internal"))
        if endpoint:
            known = endpoint if endpoint in self._routes else ""
            seconds = time.perf_counter() - start
            self.metrics.settle(
                request.tally, request.trace,
                endpoint=known, status=answer.status, code=code, seconds=seconds,
            )  # fmt: skip
        return answer

    def refuse(self, error: VallumError, client: str) -> Answer:
        """Answer what is no request."""
        self._books.count(error.code, client)
        answer = problem_of(error)
        self.metrics.refuse(error.code)
        self.metrics.tally("", "").observe(answer.status, 0.0)
        return answer

    async def _infer(self, request: Request, name: str, token: bytes, dialect: Dialect) -> bytes:
        # 1.
        if request.method != b"POST":
            raise InputError("scoring takes POST", code="score.method")
        # 2.
        self._require_lease()
        route = self._routes.get(name)
        # 3. An unknown endpoint looks like one that the caller may not score.
        picked = request.headers.get(PICKED)
        picks = picked is not None
        who = await self._callers.authorize(token, route, name, request, picks=picks)
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
        self._active += 1
        try:
            try:
                if running.beside is not None:
                    running.beside.admit(who.principal_id, now_s=time.monotonic())
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
            bundle = await self._books.bundle(route, running)
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
                answered = shaped(outputs, len(x), running.served.decimals)
                status = 200
            except VallumError as error:
                status = status_of(error)
                raise
            finally:
                # 8.
                bundle.settle(slot, time.time(), status | mark, who.pseudonym)
            self._require_lease()
            return dialect.encode(name, running.served.name, answered, request_id)
        finally:
            tally.active -= 1
            self._active -= 1

    async def _admitted(
        self, request: Request, route: Route, who: Known, token: bytes, *, picks: bool
    ) -> bytes:
        # Who may score here may know from where: nobody else is told.
        if request.client not in route.networks:
            raise RefusedError("not from this network", code="score.network")
        # 4.
        limits = route.endpoint
        self._rates.take(
            (who.charged, limits.id),
            rate_per_s=limits.rate_per_s,
            burst=limits.burst,
            now_s=time.monotonic(),
        )
        if self._active > MAX_CONCURRENT:  # this one counts
            raise LimitExceededError(
                "too many requests at once", code="score.concurrency", retry_after_s=0.1
            )
        # 5.
        body = await request.body()
        if who.generation != self._callers.generation:  # a right may have gone while the body came
            await self._callers.authorize(token, route, limits.name, request, picks=picks)
        return body

    def _require_lease(self) -> None:
        if time.monotonic() >= self._until_s:
            raise UnavailableError("the gateway has no lease", code="score.lease")

    def _check_head(self, request: Request) -> bytes:
        """Return the token; refuse strange requests before anything else is read."""
        headers = request.headers
        if request.header_count > MAX_HEADERS:
            raise LimitExceededError(f"more than {MAX_HEADERS} headers", code="score.headers")
        if request.repeated:
            raise InputError(
                f"header `{request.repeated.decode()}` is repeated", code="score.header"
            )
        host = headers.get(b"host")
        if host is None or (host not in self._hosts and host.lower() not in self._hosts):
            raise InputError("the Host header names another server", code="score.host")
        length = headers.get(b"content-length")
        if length is not None and (
            not length.isdigit() or len(length) > 15 or int(length) > MAX_BODY_BYTES  # noqa: PLR2004
        ):
            raise LimitExceededError(f"the body exceeds {MAX_BODY_BYTES} bytes", code="score.body")
        token = headers.get(b"authorization", b"")
        if token[:7].lower() != _BEARER or len(token) - 7 > MAX_TOKEN_BYTES:
            if token:  # whoever sends one is not known by their certificate instead
                request.certificate = b""
            return b""
        return token[7:]

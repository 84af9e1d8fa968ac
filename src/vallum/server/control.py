"""The control process of `vallum up`: holds keys and log, serves the API, minds the others.

It starts the gateway and the worker as processes of their own: neither holds the key-encryption
key, and both die with it. Order of stopping: gateway (closes its bundles), worker, servers, log.
"""

import asyncio
import contextlib
import gc
import os
import secrets
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import structlog
import uvicorn
import uvloop

from vallum.audit import Courier
from vallum.base import Secret, VallumError
from vallum.base.hosts import UNIX_SCHEME
from vallum.base.listening import Place, listen, listen_unix, remove_unix
from vallum.base.ticking import Unhurried
from vallum.base.tls import DoorTls
from vallum.base.version import VERSION
from vallum.sandbox import Process, spawn
from vallum.server.app import make_app
from vallum.server.internal import make_internal
from vallum.store import Unchanged
from vallum.workspace.bootstrap import Places, ensure_certificates, opened
from vallum.workspace.capture_books import expire_captures
from vallum.workspace.environment import RunningCode
from vallum.workspace.house import House
from vallum.workspace.kernel import Kernel
from vallum.workspace.lending import forget_ended
from vallum.workspace.serving import Serving
from vallum.workspace.steps.claim import claimed
from vallum.workspace.tracking.bundles import all_open, close_due
from vallum.workspace.watch import LOOK_S, PARTS, StoredModels

_LOG = structlog.get_logger("vallum.control")
CERTIFICATE_S = 2.0
CHECKPOINT_S = 0.9  # merge delay at most 1 s
MIND_S = 0.25  # between looks for doors that ended, where the system does not tell
FIRST_S, LONGEST_S = 0.5, 30.0  # until one is started again; twice as long each time
STEADY_S = 60.0  # a door that stood so long begins anew
EXPIRE_S = 60.0  # between looks for captured requests whose time is over
GATEWAY = "vallum.gateway"
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Bind:
    """Where the doors listen.

    Attributes:
        place: Of the API.
        gateway_place: Of scoring.
        port: Of the API.
        gateway_port: Of scoring.
        gateway_socket: A Unix socket that scoring is reached through instead.
        gateway_group: Who may open it beside its owner.
        grpc_port: Of scoring over gRPC; 0: there is none.
        grpc_client_certificates: Only clients with a certificate get through to it.
        names: Further names that clients use, for the certificate and the Host list.
        proxies: Whose `X-Forwarded-For` scoring believes; see `Proxies`.
        telemetry: Further arguments of the gateway: where traces go.
        replicas: The same: on which Ray replicas run.
    """

    place: Place
    gateway_place: Place
    port: int = 8443
    gateway_port: int = 8444
    gateway_socket: Path | None = None
    gateway_group: str = ""
    grpc_port: int = 0
    grpc_client_certificates: bool = False
    names: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    telemetry: tuple[str, ...] = ()
    replicas: tuple[str, ...] = ()

    @property
    def hosts(self) -> tuple[str, ...]:
        """Return every name that the certificate is for."""
        places = (self.place.address, self.gateway_place.address)
        own = [one for one in places if one not in LOOPBACK]
        return tuple(dict.fromkeys((*own, *LOOPBACK, *self.names)))

    @property
    def scoring(self) -> str:
        """Return where endpoints are scored, as the beginning of a URL."""
        if self.gateway_socket is not None:
            return UNIX_SCHEME + quote(str(self.gateway_socket), safe="")
        return f"https://{_bracketed(self.gateway_place.address)}:{self.gateway_port}"

    def host_headers(self, port: int) -> tuple[str, ...]:
        """Return the values of the Host header that are served on `port`."""
        return tuple(f"{_bracketed(host)}:{port}" for host in self.hosts)

    def listen_scoring(self) -> list[socket.socket]:
        """Return the sockets of scoring.

        Raises:
            InputError: They cannot be had.
        """
        if self.grpc_port:  # gRPC binds by itself, and late: now somebody can be told
            for one in listen(self.gateway_place, self.grpc_port):
                one.close()
        if self.gateway_socket is not None:
            return [listen_unix(self.gateway_socket, group=self.gateway_group)]
        return listen(self.gateway_place, self.gateway_port)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host.lower()


class _Server(Unhurried, uvicorn.Server):
    """A server that leaves signals to `Control`: there are two in one process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Control:
    """The running doors of one workspace."""

    def __init__(self, kernel: Kernel, places: Places, bind: Bind) -> None:
        self._kernel = kernel
        self._places = places
        self._bind = bind
        self._stop = threading.Event()
        self._children: dict[str, Process] = {}
        self._scoring: list[socket.socket] = []

    async def serve(self, ready: Callable[[bool], None], *, started: Sequence[str] = ()) -> None:
        """Serve until a signal arrives.

        Args:
            ready: Called once all doors answer, with whether the workspace is claimed.
            started: Modules of the other doors.
        """
        house = self._kernel.house
        serving = Serving(self._kernel)
        self._kernel.set_barrier(serving.barrier)
        house.scoring_base = self._bind.scoring
        run = self._places.keys / "run"
        run.mkdir(mode=0o700, exist_ok=True)
        socket_path = run / "control.sock"
        socket_path.unlink(missing_ok=True)
        token = Secret(secrets.token_hex(32))
        doors = listen(self._bind.place, self._bind.port)
        self._scoring = self._bind.listen_scoring()
        api = _Server(config := self._api_config())
        config.load()
        inner = _Server(
            uvicorn.Config(
                make_internal(self._kernel, serving, token),
                uds=str(socket_path),
                log_config=None,
                lifespan="off",
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                # Longer than our clients keep a connection (httpx: 5 s, uvicorn's default too): who
                # closes first must be who knows whether a question is on its way.
                timeout_keep_alive=75,
                timeout_graceful_shutdown=1,
            )
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, setattr, api, "should_exit", True)  # noqa: FBT003
        timer = threading.Thread(
            target=self._tick, args=(serving,), name="checkpoints", daemon=True
        )
        timer.start()
        threading.Thread(
            target=self._watch, args=(serving,), name="stored-models", daemon=True
        ).start()
        if house.courier is not None:
            threading.Thread(
                target=self._deliver, args=(house.courier,), name="courier", daemon=True
            ).start()
        tasks = [asyncio.create_task(inner.serve())]
        beside: list[asyncio.Task[None]] = []
        try:
            while not inner.started:  # noqa: ASYNC110 - uvicorn has a flag, no event
                await asyncio.sleep(0.01)
            os.chmod(socket_path, 0o600)  # noqa: PTH101 - a socket
            for module in started:
                self._children[module] = self._start(module, socket_path, token)
            beside = [
                asyncio.create_task(self._follow(config)),
                asyncio.create_task(self._mind(serving, socket_path, token)),
            ]
            tasks.append(asyncio.create_task(api.serve(sockets=doors)))
            while not (api.started or tasks[-1].done()):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
            gc.freeze()  # what is there to stay need not be looked through for garbage
            ready(claimed(house))
            await tasks[-1]
        finally:
            for one in beside:
                one.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            serving.release()
            for child in reversed(self._children.values()):
                await asyncio.to_thread(child.stop, 10.0)
            self._stop.set()
            inner.should_exit = True
            await asyncio.gather(*tasks, return_exceptions=True)
            socket_path.unlink(missing_ok=True)
            for door in (*doors, *self._scoring):
                door.close()
            if self._bind.gateway_socket is not None:
                remove_unix(self._bind.gateway_socket)

    async def _mind(self, serving: Serving, socket_path: Path, token: Secret) -> None:
        """Start doors again that ended, later each time that they do not stay."""
        loop = asyncio.get_running_loop()
        began_s = dict.fromkeys(self._children, loop.time())
        wait_s = dict.fromkeys(self._children, FIRST_S)
        ended = asyncio.Event()
        told = all(_tell_end(child, ended) for child in self._children.values())
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if told else MIND_S):
                    await ended.wait()
            ended.clear()
            for module, child in list(self._children.items()):
                code = child.poll()
                if code is None:
                    continue
                _LOG.error("a door ended; it is started again", door=module, code=code)
                if loop.time() - began_s[module] > STEADY_S:
                    wait_s[module] = FIRST_S
                first = wait_s[module] == FIRST_S  # what ends again and again is logged once
                await asyncio.sleep(wait_s[module])
                wait_s[module] = min(LONGEST_S, 2 * wait_s[module])
                try:
                    if first:
                        await asyncio.to_thread(serving.door_ended, module, code)
                    if module == GATEWAY:
                        self._scoring = self._bind.listen_scoring()
                    self._children[module] = self._start(module, socket_path, token)
                    told = _tell_end(self._children[module], ended) and told
                except (VallumError, OSError) as error:
                    _LOG.error("it cannot be started", door=module, kind=type(error).__name__)
                    ended.set()
                began_s[module] = loop.time()

    async def _follow(self, config: uvicorn.Config) -> None:
        """Use another certificate of the API once its files say so."""
        if config.ssl is None:
            return
        keys = self._places.keys
        tls = DoorTls(config.ssl, certificate=keys / "server.pem", key=keys / "server-key.pem")
        while True:
            await asyncio.sleep(CERTIFICATE_S)
            tls.refresh()

    def _api_config(self) -> uvicorn.Config:
        keys = self._places.keys
        return uvicorn.Config(
            make_app(
                self._kernel,
                hosts=self._bind.host_headers(self._bind.port),
                version=VERSION,
            ),
            ssl_certfile=str(keys / "server.pem"),
            ssl_keyfile=str(keys / "server-key.pem"),
            ssl_version=ssl.PROTOCOL_TLS_SERVER,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            date_header=True,
            proxy_headers=False,
            limit_concurrency=256,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=1,
            h11_max_incomplete_event_size=64 * 1024,
            loop="uvloop",
            http="httptools",
        )

    def _start(self, module: str, socket_path: Path, token: Secret) -> Process:
        """Start a door of ours; the token goes through a pipe, never an argument."""
        reader, writer = os.pipe()
        os.set_inheritable(reader, True)  # noqa: FBT003 - os takes it by position
        os.write(writer, token.reveal() + b"\n")
        os.close(writer)
        keys = self._places.keys
        arguments = [
            "--socket", str(socket_path), "--token-fd", str(reader),
        ]  # fmt: skip
        listening: list[socket.socket] = []
        if module == GATEWAY:
            arguments += ["--spool", str(keys / "run" / "spool"), *self._bind.telemetry]
            arguments += self._bind.replicas
            if self._bind.gateway_socket is None:  # no TLS where nothing leaves the machine
                arguments += [
                    "--cert", str(keys / "server.pem"), "--key", str(keys / "server-key.pem"),
                ]  # fmt: skip
            else:
                arguments += ["--host-header", "localhost"]
            for host in self._bind.host_headers(self._bind.gateway_port):
                arguments += ["--host-header", host]
            if self._bind.grpc_port:
                host = _bracketed(self._bind.gateway_place.address)
                arguments += ["--grpc", f"{host}:{self._bind.grpc_port}"]
            if self._bind.grpc_client_certificates:
                arguments.append("--grpc-client-certificates")
            for proxy in self._bind.proxies:
                arguments += ["--trusted-proxy", proxy]
            listening, self._scoring = self._scoring, []
            for one in listening:
                one.set_inheritable(True)
                arguments += ["--listen-fd", str(one.fileno())]
        try:
            return spawn(
                ("python", "-m", module, *arguments),
                fds=(reader, *(one.fileno() for one in listening)),
            )
        finally:
            os.close(reader)
            for one in listening:  # where the gateway is gone nobody shall wait for it
                one.close()

    def _watch(self, serving: Serving) -> None:
        """Stop deployments whose stored model changes, until stopped."""
        code = RunningCode.of()
        code.verify()  # how it is now is how it has to stay
        stored = StoredModels(serving, self._kernel.house.clock.monotonic, code)
        while not self._stop.wait(LOOK_S / PARTS):
            try:
                stored.check_part()
            except VallumError as error:
                _LOG.error("stored models cannot be looked at", code=error.code)
            except Exception:  # noqa: BLE001 - a thread that ends would watch nothing from then on
                _LOG.exception("stored models cannot be looked at")

    def _deliver(self, courier: Courier) -> None:
        """Send checkpoints elsewhere, beside everything else, until stopped."""
        publisher = self._kernel.house.publisher
        while not self._stop.wait(CHECKPOINT_S):
            for name, code in courier.deliver(*publisher.published()):
                _LOG.warning("a checkpoint was not taken", sink=name, code=code)

    def _tick(self, serving: Serving) -> None:
        """Publish checkpoints, flush counted refusals, charge lost bundles, until stopped."""
        house = self._kernel.house
        looked_s = -EXPIRE_S
        open_metrics = Unchanged(
            house.database.stamp, lambda: all_open(house), house.clock.monotonic
        )
        while not self._stop.wait(CHECKPOINT_S):
            try:
                house.publisher.checkpoint()
                house.refusals.flush_due()
                serving.charge_unclosed()
                close_due(house, among=open_metrics())
                house.residents.expire()
                if house.clock.monotonic() - looked_s >= EXPIRE_S:
                    looked_s = house.clock.monotonic()
                    expire_captures(house)
                    forget_ended(house)
            except VallumError as error:
                _LOG.error("no checkpoint", code=error.code)
            except Exception:  # noqa: BLE001 - as above
                _LOG.exception("no checkpoint")


def _tell_end(child: Process, ended: asyncio.Event) -> bool:
    """Set `ended` when a process ends; False: this system cannot tell."""
    try:
        descriptor = os.pidfd_open(child.pid)
    except OSError:
        return False
    loop = asyncio.get_running_loop()

    def end() -> None:
        loop.remove_reader(descriptor)
        os.close(descriptor)
        ended.set()

    loop.add_reader(descriptor, end)
    return True


def run_control(
    places: Places,
    bind: Bind,
    *,
    ready: Callable[[bool], None],
    passphrase: Secret | None = None,
    courier: Courier | None = None,
    prepare: Callable[[House], None] | None = None,
    children: Sequence[str] = ("vallum.gateway", "vallum.worker"),
) -> None:
    """Open the workspace and serve until interrupted.

    Args:
        places: Where the workspace lives.
        bind: Where to listen.
        ready: Called once all doors answer, with whether the workspace is claimed.
        passphrase: Of the keys.
        courier: Takes checkpoints elsewhere.
        prepare: Called with the open workspace before any door is; nothing opens if it raises.
        children: Modules of the other doors.

    Raises:
        InputError: The address is not loopback and unsafe, or a port is taken.
    """
    with opened(places, passphrase=passphrase) as kernel:
        kernel.house.courier = courier
        if prepare is not None:
            prepare(kernel.house)
        ensure_certificates(places, list(bind.hosts), kernel.house.clock)
        control = Control(kernel, places, bind)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(control.serve(ready, started=children))

"""The control process of `vallum up`: holds keys and log, serves the API, minds the others.

It starts the gateway and the worker as processes of their own: neither holds the key-encryption
key, and both die with it. Order of stopping: gateway (closes its bundles), worker, servers, log.
"""

import asyncio
import contextlib
import os
import secrets
import signal
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
import uvicorn

from vallum.audit import Courier
from vallum.base import InputError, Secret, VallumError
from vallum.base.tls import DoorTls
from vallum.base.version import VERSION
from vallum.sandbox import Process, spawn
from vallum.server.app import make_app
from vallum.server.internal import make_internal
from vallum.workspace.bootstrap import Places, ensure_certificates, opened
from vallum.workspace.environment import RunningCode
from vallum.workspace.kernel import Kernel
from vallum.workspace.serving import Serving
from vallum.workspace.steps.claim import claimed
from vallum.workspace.tracking.bundles import close_due
from vallum.workspace.watch import LOOK_S, StoredModels

_LOG = structlog.get_logger("vallum.control")
CERTIFICATE_S = 2.0
CHECKPOINT_S = 0.9  # merge delay at most 1 s
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Bind:
    """Where the doors listen.

    Attributes:
        host: Address to bind.
        port: Of the API.
        gateway_port: Of scoring.
        names: Further names that clients use, for the certificate and the Host list.
        telemetry: Further arguments of the gateway: where traces go.
    """

    host: str = "127.0.0.1"
    port: int = 8443
    gateway_port: int = 8444
    names: tuple[str, ...] = ()
    telemetry: tuple[str, ...] = ()

    @property
    def hosts(self) -> tuple[str, ...]:
        """Return every name that the certificate is for."""
        own = LOOPBACK if self.host in LOOPBACK else (self.host, *LOOPBACK)
        return tuple(dict.fromkeys((*own, *self.names)))

    def host_headers(self, port: int) -> tuple[str, ...]:
        """Return the values of the Host header that are served on `port`."""
        bracketed = [f"[{host}]" if ":" in host else host.lower() for host in self.hosts]
        return tuple(f"{host}:{port}" for host in bracketed)


class _Server(uvicorn.Server):
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
        self._children: list[Process] = []

    async def serve(self, ready: Callable[[bool], None], *, started: Sequence[str] = ()) -> None:
        """Serve until a signal arrives.

        Args:
            ready: Called once all doors answer, with whether the workspace is claimed.
            started: Modules of the other doors.
        """
        house = self._kernel.house
        serving = Serving(self._kernel)
        self._kernel.set_barrier(serving.barrier)
        house.scoring_base = f"https://{self._bind.host}:{self._bind.gateway_port}"
        run = self._places.keys / "run"
        run.mkdir(mode=0o700, exist_ok=True)
        socket_path = run / "control.sock"
        socket_path.unlink(missing_ok=True)
        token = Secret(secrets.token_hex(32))
        api = _Server(config := self._api_config())
        config.load()
        inner = _Server(
            uvicorn.Config(
                make_internal(self._kernel, serving, token),
                uds=str(socket_path),
                log_config=None,
                lifespan="off",
                access_log=False,
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
        following: asyncio.Task[None] | None = None
        try:
            while not inner.started:  # noqa: ASYNC110 - uvicorn has a flag, no event
                await asyncio.sleep(0.01)
            os.chmod(socket_path, 0o600)  # noqa: PTH101 - a socket
            for module in started:
                self._children.append(self._start(module, socket_path, token))
            following = asyncio.create_task(self._follow(config))
            tasks.append(asyncio.create_task(api.serve()))
            while not api.started:
                if tasks[-1].done():
                    raise InputError(
                        f"port {self._bind.port} cannot be bound",
                        code="up.port",
                        hint="choose another with --port",
                    )
                await asyncio.sleep(0.01)
            ready(claimed(house))
            await tasks[-1]
        finally:
            for child in reversed(self._children):
                await asyncio.to_thread(child.stop, 10.0)
            self._stop.set()
            if following is not None:
                following.cancel()
            inner.should_exit = True
            await asyncio.gather(*tasks, return_exceptions=True)
            socket_path.unlink(missing_ok=True)

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
            host=self._bind.host,
            port=self._bind.port,
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
        if module == "vallum.gateway":
            arguments += [
                "--host", self._bind.host, "--port", str(self._bind.gateway_port),
                "--cert", str(keys / "server.pem"), "--key", str(keys / "server-key.pem"),
                "--spool", str(keys / "run" / "spool"), *self._bind.telemetry,
            ]  # fmt: skip
            for host in self._bind.host_headers(self._bind.gateway_port):
                arguments += ["--host-header", host]
        try:
            return spawn(("python", "-m", module, *arguments), fds=(reader,))
        finally:
            os.close(reader)

    def _watch(self, serving: Serving) -> None:
        """Stop deployments whose stored model changes, until stopped."""
        code = RunningCode.of()
        code.verify()  # how it is now is how it has to stay
        stored = StoredModels(serving, self._kernel.house.clock.monotonic, code)
        while not self._stop.wait(LOOK_S):
            try:
                stored.check()
            except VallumError as error:
                _LOG.error("stored models cannot be looked at", code=error.code)

    def _deliver(self, courier: Courier) -> None:
        """Send checkpoints elsewhere, beside everything else, until stopped."""
        publisher = self._kernel.house.publisher
        while not self._stop.wait(CHECKPOINT_S):
            for name, code in courier.deliver(*publisher.published()):
                _LOG.warning("a checkpoint was not taken", sink=name, code=code)

    def _tick(self, serving: Serving) -> None:
        """Publish checkpoints, flush counted refusals, charge lost bundles, until stopped."""
        house = self._kernel.house
        while not self._stop.wait(CHECKPOINT_S):
            try:
                house.publisher.checkpoint()
                house.refusals.flush_due()
                serving.charge_unclosed()
                close_due(house)
                house.residents.expire()
            except VallumError as error:
                _LOG.error("no checkpoint", code=error.code)


def run_control(
    places: Places,
    bind: Bind,
    *,
    ready: Callable[[bool], None],
    passphrase: Secret | None = None,
    courier: Courier | None = None,
    children: Sequence[str] = ("vallum.gateway", "vallum.worker"),
) -> None:
    """Open the workspace and serve until interrupted.

    Args:
        places: Where the workspace lives.
        bind: Where to listen.
        ready: Called once all doors answer, with whether the workspace is claimed.
        passphrase: Of the keys.
        courier: Takes checkpoints elsewhere.
        children: Modules of the other doors.

    Raises:
        InputError: The address is not loopback and unsafe, or a port is taken.
    """
    with opened(places, passphrase=passphrase) as kernel:
        kernel.house.courier = courier
        ensure_certificates(places, list(bind.hosts), kernel.house.clock)
        control = Control(kernel, places, bind)
        asyncio.run(control.serve(ready, started=children))

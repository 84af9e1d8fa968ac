"""A gateway in this process, beside the inner door of a workspace."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvicorn
from conftest_workspace import Place

from vallum.base import Secret
from vallum.gateway.app import Gateway
from vallum.server.internal import make_internal
from vallum.workspace.desk import AsyncDesk, Desk
from vallum.workspace.serving import Serving

TOKEN = Secret(b"t" * 32)


class Inner:
    """The inner door of a workspace, in a thread."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.serving = Serving(place.kernel)
        place.kernel.set_barrier(self.serving.barrier)
        self.path = folder / "control.sock"
        self.server = uvicorn.Server(
            uvicorn.Config(
                make_internal(place.kernel, self.serving, TOKEN),
                uds=str(self.path), log_config=None, lifespan="off", access_log=False,
                timeout_graceful_shutdown=1,
            )
        )  # fmt: skip
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive()


def serve(inner: Inner, tmp_path: Path, work: Callable[[Gateway], Awaitable[None]]) -> None:
    """Run `work` beside a gateway."""

    async def run() -> None:
        gateway = Gateway(
            AsyncDesk(inner.path, TOKEN), Desk(inner.path, TOKEN),
            hosts=frozenset({b"here"}), spool=tmp_path / "spool",
        )  # fmt: skip
        await gateway.start()
        try:
            await work(gateway)
        finally:
            await gateway.stop()

    asyncio.run(run())

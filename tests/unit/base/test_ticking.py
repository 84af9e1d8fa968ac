"""Servers that look up rarely, and end at once all the same."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from vallum.base.ticking import TICK_S, Unhurried


class Server(Unhurried, uvicorn.Server):
    ticks = 0

    async def on_tick(self, counter: int) -> bool:
        self.ticks += 1
        return await super().on_tick(counter)


async def app(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError(f"nobody asks: {scope}, {receive}, {send}")


@pytest.mark.parametrize("after_s", [0.0, TICK_S / 2], ids=["soon", "late"])
def test_a_server_ticks_once_a_second_and_ends_when_told(tmp_path: Path, after_s: float) -> None:
    config = uvicorn.Config(app, uds=str(tmp_path / "s"), lifespan="off", log_config=None)
    server = Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.ticks:
        time.sleep(0.01)
    time.sleep(after_s)
    assert server.ticks == 1
    told_s = time.monotonic()
    server.should_exit = True
    thread.join(10.0)
    assert time.monotonic() - told_s < TICK_S / 2
    assert server.ticks == 2
    assert server.should_exit

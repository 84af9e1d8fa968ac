"""How often a uvicorn server looks up: once a second, and at once when it is to end.

Uvicorn looks ten times a second at a flag and at the time. Three of its servers make an idle
`vallum up`: what they take, requests wait for.
"""

import asyncio
import contextlib
from typing import Final

TICK_S: Final = 1.0


class Unhurried:
    """Goes before `uvicorn.Server` among the bases of a class."""

    _ends = False
    _loop: asyncio.AbstractEventLoop | None = None
    _woken: asyncio.Event

    @property
    def should_exit(self) -> bool:
        """Tell whether it is to end."""
        return self._ends

    @should_exit.setter
    def should_exit(self, ends: bool) -> None:  # any thread may, and a signal
        self._ends = ends
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._woken.set)

    async def main_loop(self) -> None:
        """Look up each second until it is to end."""
        self._woken = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):  # 0: at the time, too
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._woken.wait()

    async def on_tick(self, counter: int) -> bool:
        """Look up; tell whether it is to end."""
        return bool(await super().on_tick(counter))  # type: ignore[misc]  # uvicorn's

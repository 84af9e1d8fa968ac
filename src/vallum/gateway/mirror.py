"""Copies of requests for a deployment that answers nobody: is the next model up to the traffic?

A copy waits for nothing and nothing waits for it; its answer is dropped, and charges nobody. When
the deployment is slower than its copies come, further ones are left out, and counted.
"""

import time
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vallum.base import VallumError
from vallum.gateway.routes import Route, Running, copied, shaped

MAX_COPIES = 8  # under way at once, of one gateway


class Mirror:
    """Sends copies. For one event loop."""

    def __init__(self, *, begin: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        """Begin without copies; `begin` starts work beside a request."""
        self._begin = begin
        self._active = 0

    def copy(self, route: Route, x: NDArray[np.float32]) -> None:
        """Send a copy of a request if it is the turn of one.

        Args:
            route: Of the endpoint.
            x: Rows, (n, width), decoded for the deployment that answers.
        """
        running = copied(route)
        if running is None:
            return
        if self._active >= MAX_COPIES:
            _count(running, "left-out")
            return
        self._active += 1
        self._begin(self._send(running, x))

    async def _send(self, running: Running, x: NDArray[np.float32]) -> None:
        start = time.perf_counter()
        outcome = "failed"
        try:
            width = running.model.width
            if width is None or width == x.shape[1]:
                outputs = await running.model.predict(x)
                shaped(outputs, len(x), running.served.decimals)
                outcome = "answered"
        except VallumError:
            pass  # counted as failed
        finally:
            self._active -= 1
            _count(running, outcome)
            running.tally.copies_s += time.perf_counter() - start


def _count(running: Running, outcome: str) -> None:
    copies = running.tally.copies
    copies[outcome] = copies.get(outcome, 0) + 1

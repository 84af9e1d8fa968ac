"""Several processes for one deployment's model, as many as its traffic needs between two bounds.

What is wanted follows the requests that are with the model, waiting ones included, averaged over
`LOOK_S`: so many that each process has its share of what it may have at once. More are started at
once, at most as many again as there are; fewer are kept only after they were not needed for the
whole cool-down, one at a time. A process that goes gets no further request and ends when it has
answered those it has. No process is started that the machine's free memory does not hold.

All processes read one sealed copy of the model. Source of the rule: Kubernetes' horizontal pod
autoscaler (wanted = average / target, rounded up; stabilisation before shrinking), on concurrency
as Azure ML's `target_utilization` has it.
"""

import asyncio
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from vallum.base import UnavailableError, VallumError
from vallum.gateway.isolated import IsolatedModel
from vallum.gateway.model import Held
from vallum.guard.session import Arrays
from vallum.sandbox import BubblewrapRunner
from vallum.schema.release import Scale

_LOG = structlog.get_logger("vallum.gateway")

LOOK_S = 1.0
SPARE_BYTES = 256 * 1024 * 1024
"""Memory that stays free beside a process that is started for more traffic, and its model twice."""

PROCESS_BYTES = 80 * 1024 * 1024
_DRAIN_S = 0.01


@dataclass(slots=True)
class _Instance:
    model: IsolatedModel
    active: int = 0


class Pool:
    """The processes of one deployment. For one event loop."""

    def __init__(self, data: bytes, sha256: str, runner: BubblewrapRunner, scale: Scale) -> None:
        self._held = Held(data, sha256)
        self._model_bytes = len(data)
        self._runner = runner
        self._scale = scale
        self._instances: list[_Instance] = []
        self._active = 0
        self._area = 0.0  # of requests with the model, in request seconds since the last look
        self._moved_s = self._looked_s = time.monotonic()
        self._needed_s = time.monotonic()  # when so many were last wanted as there are
        self._scaling: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self.width: int | None = None

    @property
    def running(self) -> int:
        """Return how many processes take requests."""
        return len(self._instances)

    async def start(self) -> None:
        """Start as many as there are at least; follow the traffic from then on.

        Raises:
            UnavailableError: One does not come to stand.
            InputError: The model does not load.
        """
        for _ in range(self._scale.min_instances):
            await self._add()
        self.width = self._instances[0].model.width
        if self._scale.max_instances > self._scale.min_instances:
            self._scaling = asyncio.create_task(self._follow())

    async def predict(self, x: NDArray[np.float32]) -> Arrays:
        """Return named outputs, of the process with the fewest requests."""
        if not self._instances:
            raise UnavailableError("the model processes are ending", code="model.died")
        one = min(self._instances, key=lambda one: one.active)
        self._count(1)
        one.active += 1
        try:
            return await one.model.predict(x)
        finally:
            one.active -= 1
            self._count(-1)

    def verify(self) -> None:
        """Check the sealed bytes again."""
        self._held.verify()

    async def close(self) -> None:
        """End all of them, once what was asked is answered or late."""
        if self._scaling is not None:
            self._scaling.cancel()
            await asyncio.gather(self._scaling, return_exceptions=True)
        for one in self._instances:
            await one.model.close()
        self._instances.clear()
        await asyncio.gather(*self._leaving, return_exceptions=True)
        self._held.close()

    def _count(self, change: int) -> None:
        now = time.monotonic()
        self._area += self._active * (now - self._moved_s)
        self._moved_s = now
        self._active += change

    def wanted(self, average: float) -> int:
        """Return how many processes `average` requests at once need, within the bounds."""
        share = self._scale.concurrency * self._scale.target_percent / 100
        return max(
            self._scale.min_instances,
            min(self._scale.max_instances, math.ceil(average / share - 1e-9)),
        )

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.look()
            except VallumError as error:  # those that run go on
                _LOG.warning("no further model process", code=error.code)

    async def look(self) -> None:
        """Compare what runs with what is wanted; change it."""
        now = time.monotonic()
        self._count(0)
        average = self._area / max(1e-6, now - self._looked_s)
        self._area, self._looked_s = 0.0, now
        wanted, running = self.wanted(average), self.running
        if wanted >= running:
            self._needed_s = now
            for _ in range(min(wanted - running, running)):
                if _free_bytes() < SPARE_BYTES + PROCESS_BYTES + 2 * self._model_bytes:
                    _LOG.warning("no memory for a further model process", running=self.running)
                    return
                await self._add()
        elif now - self._needed_s >= self._scale.cool_down_s:
            self._needed_s = now
            leaving = min(self._instances, key=lambda one: one.active)
            self._instances.remove(leaving)
            task = asyncio.create_task(self._leave(leaving))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def _add(self) -> None:
        scale = self._scale
        model = IsolatedModel(
            self._held, self._runner, answer_s=scale.request_s, queue_s=scale.queue_s
        )
        try:
            await model.start()
        except BaseException:
            await model.close()
            raise
        self._instances.append(_Instance(model))

    async def _leave(self, one: _Instance) -> None:
        while one.active:  # noqa: ASYNC110 - each has its own deadline
            await asyncio.sleep(_DRAIN_S)
        await one.model.close()


def _free_bytes() -> int:
    """Return the memory that can be had without swapping; none where nobody says."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(one.split()[1]) * 1024 for one in lines if one.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return 0

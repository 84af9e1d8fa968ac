"""Several sandboxed processes of one model, growing and shrinking with what they are asked."""

import asyncio
import hashlib
import math
import os
import signal
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import WIDTH, small_model

from vallum.base import UnavailableError
from vallum.gateway import pool as pools
from vallum.gateway.pool import Pool
from vallum.sandbox import BubblewrapRunner
from vallum.schema import Scale

ROW = np.ones((1, WIDTH), dtype=np.float32)


@pytest.fixture(scope="module")
def runner() -> BubblewrapRunner:
    return BubblewrapRunner.open()


def with_pool(
    runner: BubblewrapRunner, scale: Scale, work: Callable[[Pool], Awaitable[None]]
) -> None:
    async def run() -> None:
        data = small_model()
        pool = Pool(data, "sha256:" + hashlib.sha256(data).hexdigest(), runner, scale)
        try:
            await pool.start()
            await work(pool)
        finally:
            await pool.close()

    asyncio.run(run())


@given(
    average=st.floats(0, 1000),
    low=st.integers(1, 16),
    more=st.integers(0, 15),
    percent=st.integers(1, 100),
    concurrency=st.integers(1, 64),
)
def test_what_is_wanted_lies_within_its_bounds_and_is_enough(
    average: float, low: int, more: int, percent: int, concurrency: int
) -> None:
    pool = Pool.__new__(Pool)
    pool._scale = Scale(
        min_instances=low, max_instances=low + more, target_percent=percent, concurrency=concurrency
    )
    wanted = pool.wanted(average)
    assert low <= wanted <= low + more
    share = concurrency * percent / 100
    if low < wanted:
        assert average > (wanted - 1) * share * (1 - 1e-9)  # one fewer would not do
    if wanted < low + more:
        assert average <= wanted * share * (1 + 1e-9) + 1e-6
    assert math.isfinite(wanted)


def test_it_grows_under_load_and_shrinks_without_losing_a_request(
    runner: BubblewrapRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "LOOK_S", 0.05)
    scale = Scale(min_instances=1, max_instances=3, cool_down_s=1)
    answered = 0

    async def work(pool: Pool) -> None:
        nonlocal answered
        running = True

        async def caller() -> None:
            nonlocal answered
            while running:
                (output,) = await pool.predict(ROW)
                assert output[1].argmax() == 1
                answered += 1

        assert pool.running == 1
        callers = [asyncio.create_task(caller()) for _ in range(12)]
        await reaches(pool, 3)
        # Fewer callers: down again, while requests go on.
        running = False
        await asyncio.gather(*callers)
        running = True
        one = asyncio.create_task(caller())
        pool._scale = Scale(min_instances=1, max_instances=3, concurrency=8, cool_down_s=1)
        await reaches(pool, 1)
        before = answered
        running = False
        await one  # raises what a lost request would have
        assert answered >= before > 0

    with_pool(runner, scale, work)


async def reaches(pool: Pool, running: int) -> None:
    async with asyncio.timeout(40):
        while pool.running != running:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.02)


def test_what_leaves_answers_first(runner: BubblewrapRunner) -> None:
    scale = Scale(min_instances=2, max_instances=2)

    async def work(pool: Pool) -> None:
        asked = [asyncio.ensure_future(pool.predict(ROW)) for _ in range(40)]
        await asyncio.sleep(0)
        leaving = pool._instances.pop()
        assert leaving.active > 0
        await pool._leave(leaving)
        assert all(len(one) == 1 for one in await asyncio.gather(*asked))
        assert leaving.model.pid is None

    with_pool(runner, scale, work)


def test_no_process_is_started_that_memory_does_not_hold(
    runner: BubblewrapRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "LOOK_S", 3600.0)
    monkeypatch.setattr(pools, "_free_bytes", lambda: pools.SPARE_BYTES)

    async def work(pool: Pool) -> None:
        monkeypatch.setattr(pool, "wanted", lambda _average: 2)
        await pool.look()
        assert pool.running == 1
        monkeypatch.setattr(pools, "_free_bytes", lambda: 1 << 40)
        await pool.look()
        assert pool.running == 2

    with_pool(runner, Scale(min_instances=1, max_instances=2), work)
    monkeypatch.undo()
    assert 0 < pools._free_bytes() < 1 << 44


def test_one_that_dies_takes_only_its_own_requests_with_it(runner: BubblewrapRunner) -> None:
    async def work(pool: Pool) -> None:
        pid = pool._instances[0].model.pid
        assert pid is not None
        asked = [asyncio.ensure_future(pool.predict(ROW)) for _ in range(4)]
        await asyncio.sleep(0)
        os.kill(pid, signal.SIGKILL)  # what it started dies with it
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(one, UnavailableError) for one in found) <= 2
        assert all(isinstance(one, UnavailableError | list) for one in found)
        async with asyncio.timeout(20):
            while True:
                found = await asyncio.gather(
                    *(pool.predict(ROW) for _ in range(4)), return_exceptions=True
                )
                if all(isinstance(one, list) for one in found):
                    break
                await asyncio.sleep(0.1)

    with_pool(runner, Scale(min_instances=2, max_instances=2), work)

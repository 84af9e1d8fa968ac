"""What runs on both ends of a door to Ray, without Ray; tests/hostile/test_replicas.py has both."""

import asyncio
import hashlib
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from running import WIDTH, small_model

from vallum.base import IntegrityError, UnavailableError
from vallum.gateway.frames import frame
from vallum.gateway.isolated import Channel, Said, arrays_of
from vallum.gateway.ray_door import options_of
from vallum.gateway.ray_replica import Kept
from vallum.gateway.replicas import Replicas
from vallum.guard.session import Session
from vallum.sandbox import BubblewrapRunner
from vallum.schema import Scale
from vallum.schema.serving import ReplicasBegin
from vallum.workspace.engines.ray_room import RayPlace

MODEL = small_model()
DIGEST = "sha256:" + hashlib.sha256(MODEL).hexdigest()


@pytest.fixture(scope="module")
def runner() -> BubblewrapRunner:
    return BubblewrapRunner.open()


def begin(data: bytes = MODEL, sha256: str = DIGEST) -> bytes:
    return msgspec.msgpack.encode(
        ReplicasBegin(
            name="dep", data=data, sha256=sha256, scale=Scale(), address="", answer_s=30.0
        )
    )


def test_a_replica_answers_what_the_model_answers_here(runner: BubblewrapRunner) -> None:
    x = np.random.default_rng(1).normal(size=(3, WIDTH)).astype(np.float32)

    async def ask() -> tuple[Said, Said, Said]:
        sent = begin()
        kept = Kept(sent, hashlib.sha256(sent).hexdigest(), runner)
        try:
            return (
                await kept.hello(),
                await kept.answer(msgspec.msgpack.encode((x.shape, x.tobytes()))),
                await kept.answer(msgspec.msgpack.encode(((1, 99), bytes(4 * 99)))),
            )
        finally:
            await kept.close()

    hello, told, wrong = asyncio.run(ask())
    assert hello == Said(width=WIDTH)
    ((_, known),) = Session(MODEL).run(x)
    ((_, scores),) = arrays_of(told)
    assert np.array_equal(scores, known)
    assert wrong.error
    assert not wrong.away


def test_a_replica_takes_no_other_model_than_was_sent_or_registered(
    runner: BubblewrapRunner,
) -> None:
    sent = begin()
    digest = hashlib.sha256(sent).hexdigest()
    for at in range(0, len(sent), len(sent) // 16):
        changed = bytearray(sent)
        changed[at] ^= 1
        with pytest.raises(IntegrityError, match="not what was sent"):
            Kept(bytes(changed), digest, runner)
    swapped = begin(small_model(0.5))  # whole, and another than was registered
    with pytest.raises(IntegrityError):
        Kept(swapped, hashlib.sha256(swapped).hexdigest(), runner)


def test_a_model_that_does_not_load_is_told_and_not_tried_again(runner: BubblewrapRunner) -> None:
    data = b"none"
    sent = begin(data, "sha256:" + hashlib.sha256(data).hexdigest())

    async def ask() -> Said:
        kept = Kept(sent, hashlib.sha256(sent).hexdigest(), runner)
        try:
            return await kept.hello()
        finally:
            await kept.close()

    assert "does not load" in asyncio.run(ask()).error


def test_nothing_is_sent_but_the_model_that_was_registered(
    runner: BubblewrapRunner, tmp_path: Path
) -> None:
    with pytest.raises(IntegrityError):
        Replicas(small_model(1), DIGEST, runner, Scale(engine="ray"), RayPlace(), name="dep")
    gone = RayPlace("127.0.0.1:1", tmp_path / "no-token")
    with pytest.raises(UnavailableError, match="cannot be read"):
        Replicas(MODEL, DIGEST, runner, Scale(engine="ray"), gone, name="dep")
    assert {one.name for one in msgspec.structs.fields(ReplicasBegin)} == {
        "name", "data", "sha256", "scale", "address", "answer_s",
    }  # fmt: skip


def test_ray_serve_is_told_the_same_bounds() -> None:
    assert options_of(Scale(min_instances=3, max_instances=3))["num_replicas"] == 3
    told = options_of(
        Scale(min_instances=1, max_instances=4, target_percent=50, concurrency=8, cool_down_s=7)
    )["autoscaling_config"]
    assert (told["min_replicas"], told["max_replicas"]) == (1, 4)
    assert told["target_ongoing_requests"] == 4
    assert told["downscale_delay_s"] == 7


def with_channel(
    work: Callable[[Channel, asyncio.StreamWriter], Awaitable[None]],
) -> None:
    async def run() -> None:
        ours, theirs = socket.socketpair()
        loop = asyncio.get_running_loop()
        ours.setblocking(False)  # noqa: FBT003
        _, channel = await loop.create_connection(Channel, sock=ours)
        reader, writer = await asyncio.open_connection(sock=theirs)
        try:
            await work(channel, writer)
        finally:
            channel.close()
            writer.close()
        del reader

    asyncio.run(run())


def test_answers_with_a_number_need_no_order() -> None:
    async def work(channel: Channel, writer: asyncio.StreamWriter) -> None:
        hello, first, second, third = channel.expect(), *(channel.ask(at) for at in range(3))
        writer.write(frame(Said(number=0)))
        assert (await hello).number == 0
        writer.write(frame(Said(number=3, error="c")) + frame(Said(number=1, error="a")))
        assert ((await third).error, (await first).error) == ("c", "a")
        assert not second.done()
        writer.write(frame(Said(error="b")))  # the oldest
        assert (await second).error == "b"

    with_channel(work)


def test_who_answers_what_was_not_asked_is_ended() -> None:
    async def work(channel: Channel, writer: asyncio.StreamWriter) -> None:
        asked = channel.ask(1)
        writer.write(frame(Said(number=7)))
        with pytest.raises(ConnectionError):
            await asked

    with_channel(work)

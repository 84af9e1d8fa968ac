"""The channel to a model process: frames, order, and a process that dies or talks nonsense."""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum.base import LimitExceededError
from vallum.gateway import isolated
from vallum.gateway.frames import frame, take_frames
from vallum.gateway.isolated import Channel, Said


@given(bodies=st.lists(st.binary(max_size=40), max_size=8), cuts=st.lists(st.integers(0, 300)))
def test_frames_come_out_as_they_went_in_wherever_they_are_cut(
    bodies: list[bytes], cuts: list[int]
) -> None:
    data = b"".join(frame(body) for body in bodies)
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    buffer, found = bytearray(), []
    for at, place in enumerate(places[1:]):
        buffer += data[places[at] : place]
        found += [msgspec.msgpack.decode(one) for one in take_frames(buffer)]
    assert found == bodies
    assert not buffer


def test_a_frame_beyond_its_bound_is_refused_before_it_comes() -> None:
    with pytest.raises(ConnectionError):
        list(take_frames(bytearray(b"\xff\xff\xff\xff")))


def with_channel(
    work: Callable[[Channel, socket.socket], Awaitable[None]], queue_s: float | None = None
) -> None:
    """Run `work` with a channel and the other end of its socket."""

    async def run() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)  # noqa: FBT003 - socket takes it by position
        theirs.settimeout(5)
        loop = asyncio.get_running_loop()
        transport, channel = await loop.create_connection(
            lambda: Channel(queue_s=queue_s), sock=ours
        )
        with theirs:
            await work(channel, theirs)
        transport.abort()
        await asyncio.sleep(0)

    asyncio.run(run())


def test_questions_of_one_turn_travel_together_and_answers_keep_their_order() -> None:
    async def work(channel: Channel, theirs: socket.socket) -> None:
        left = channel.ask("nobody waits for it")
        left.cancel()  # before it was sent
        asked = [channel.ask(("question", at)) for at in range(5)]
        await asyncio.sleep(0)
        asked[1].cancel()  # its caller left; its answer is still its own
        data = bytearray(await asyncio.to_thread(theirs.recv, 65536))
        got = [msgspec.msgpack.decode(one) for one in take_frames(data)]
        assert got == [["question", at] for at in range(5)]
        theirs.sendall(b"".join(frame(Said(error=str(at))) for at in range(5)))
        assert [(await asked[at]).error for at in (0, 2, 3, 4)] == ["0", "2", "3", "4"]

    with_channel(work)


@pytest.mark.parametrize(
    "said",
    [
        b"\xff\xff\xff\xff",
        b"\x01\x00\x00\x00\xc1",
        frame(Said()) + frame(Said(error="an answer that nobody asked for")),
        b"",
    ],
    ids=["too long", "not MessagePack", "too many", "gone"],
)
def test_a_process_that_dies_or_talks_nonsense_leaves_nobody_waiting(said: bytes) -> None:
    async def work(channel: Channel, theirs: socket.socket) -> None:
        first = channel.ask("a")
        if said:
            theirs.sendall(said)
            if said.startswith(frame(Said())):
                assert (await first).error == ""
        else:
            theirs.shutdown(socket.SHUT_RDWR)
        with pytest.raises(ConnectionError):
            await first if not first.done() else await channel.ask("b")
        with pytest.raises(ConnectionError):
            channel.ask("c")

    with_channel(work)


def test_a_process_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "ANSWER_S", 0.05)

    async def work(channel: Channel, theirs: socket.socket) -> None:
        del theirs
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(channel.ask("a"), 5)

    with_channel(work)


def numbers(data: bytes) -> list[int]:
    return [msgspec.msgpack.decode(one) for one in take_frames(bytearray(data))]


def answers(count: int) -> bytes:
    return b"".join(frame(Said(width=1)) for _ in range(count))


def worked(theirs: socket.socket, count: int, pause_s: float) -> list[int]:
    """Answer one question after the other; return how many came at once."""
    sizes = []
    while count:
        sizes.append(len(numbers(theirs.recv(65536))))
        count -= sizes[-1]
        for _ in range(sizes[-1]):
            time.sleep(pause_s)
            theirs.sendall(answers(1))
    return sizes


@pytest.mark.parametrize(
    ("count", "pause_s", "most"), [(200, 0.0, 64), (8, 0.03, 2)], ids=["quick", "slow"]
)
def test_a_process_gets_little_work_ahead(count: int, pause_s: float, most: int) -> None:
    async def work(channel: Channel, theirs: socket.socket) -> None:
        asked = [channel.ask(at) for at in range(count)]
        sizes = await asyncio.to_thread(worked, theirs, count, pause_s)
        assert [one.width for one in await asyncio.gather(*asked)] == [1] * count
        assert sizes[0] == 2
        assert most / 4 <= max(sizes) <= most

    with_channel(work, queue_s=60.0)


def test_who_has_waited_too_long_is_refused_and_not_computed_for() -> None:
    async def work(channel: Channel, theirs: socket.socket) -> None:
        first, second, third = (channel.ask(at) for at in range(3))
        assert numbers(await asyncio.to_thread(theirs.recv, 65536)) == [0, 1]
        with pytest.raises(LimitExceededError) as refused:
            await asyncio.wait_for(third, 5)
        assert refused.value.code == "score.queue"
        assert refused.value.retry_after_s
        theirs.sendall(answers(2))
        assert (await first).width == (await second).width == 1
        fourth = channel.ask(3)
        assert numbers(await asyncio.to_thread(theirs.recv, 65536)) == [3]
        theirs.sendall(answers(1))
        await fourth

    with_channel(work, queue_s=0.1)

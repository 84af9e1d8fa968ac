"""Bytes that stay outside of a sandbox: what is asked for comes, and no more."""

import contextlib
import os
import socket
import struct
from collections.abc import Callable, Iterator

import pytest

from vallum.base import InputError, IntegrityError
from vallum.formats import Ranged
from vallum.sandbox.ranges import ServedRanges, open_ranges

DATA = bytes(range(256)) * 16_384  # 4 MiB


def stored(at: int, count: int) -> bytes:
    return DATA[at : at + count]


@contextlib.contextmanager
def served(read: Callable[[int, int], bytes]) -> Iterator[tuple[ServedRanges, socket.socket]]:
    held = ServedRanges(Ranged(read, len(DATA)))
    with socket.socket(fileno=os.dup(held.theirs)) as channel:
        held.start()
        yield held, channel


def test_slices_are_the_bytes_of_the_whole() -> None:
    with served(stored) as (held, channel):
        found = open_ranges(channel)
        assert len(found) == len(DATA)
        for part in (slice(0, 5), slice(-7, None), slice(100, 3 << 20), slice(9, 9), slice(5, 2)):
            assert bytes(found[part]) == DATA[part]
        assert bytes(found[1000:2000][10:20]) == DATA[1010:1020]
        held.close()
        with pytest.raises(InputError, match="no more"):
            bytes(found[:1])


@pytest.mark.parametrize("asked", [(0, (1 << 20) + 1), (len(DATA), 1), (2**64 - 1, 5)])
def test_who_asks_for_what_is_not_there_is_answered_no_more(asked: tuple[int, int]) -> None:
    with served(stored) as (held, channel):
        channel.recv(8)
        channel.sendall(struct.pack(">QI", *asked))
        assert channel.recv(1) == b""
        held.close()


def test_what_reading_raises_is_raised_here() -> None:
    def broken(_at: int, _count: int) -> bytes:
        raise IntegrityError("a byte was changed", code="crypto.stream")

    with served(broken) as (held, channel):
        with pytest.raises(InputError, match="no more"):
            bytes(open_ranges(channel))
        with pytest.raises(IntegrityError, match="was changed"):
            held.close()

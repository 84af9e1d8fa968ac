"""What is freed stays with the process while it trains, and goes back when training is over."""

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator")

ROUNDS = """
import resource
from vallum.defend.dp import memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def held():
    with open("/proc/self/statm") as sizes:
        return int(sizes.read().split()[1]) * resource.getpagesize() >> 20

def take():
    before = faults()
    found = [bytes([1]) * (8 << 20) for _ in range(8)]
    return faults() - before

start = held()
memory.keep_freed()
take()
print(take(), held() - start)
memory.give_back()
print(held() - start)
"""


def rounds(**environment: str) -> list[int]:
    plain = {key: one for key, one in os.environ.items() if not key.startswith(("MALLOC", "GLIBC"))}
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", ROUNDS], env=plain | environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    return [int(one) for one in done.stdout.split()]


def test_memory_is_mapped_once_and_given_back() -> None:
    """The second round finds 64 MiB where the first left them; the end returns them."""
    mapped, held, after = rounds()
    assert mapped < 1000  # of 16,384 pages
    assert held > 60
    assert after < 10


def test_who_has_chosen_otherwise_is_left_alone() -> None:
    """With glibc's own variable set, memory goes back at once."""
    mapped, held, _ = rounds(MALLOC_MMAP_THRESHOLD_="65536")
    assert mapped > 15_000
    assert held < 10

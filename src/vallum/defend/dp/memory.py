"""What a step gives back to the allocator stays with the process until training is over.

A step takes and gives back what the forward pass leaves, and what is kept of it by sample. glibc
returns the upper end of it to the kernel each time, and the next step has it mapped anew in pages
of 4 KiB, which costs more than computing what is written there. Who sets glibc's variables in the
environment has chosen otherwise, and is left alone; other allocators have no such call.
"""

import ctypes
import os
from collections.abc import Callable

_TRIM, _MAP = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
_ALL = 2**30
_USUAL = {_TRIM: 64 * 2**20, _MAP: 32 * 2**20}  # as high as glibc sets them by itself
_CHOSEN = ("MALLOC_", "GLIBC_TUNABLES")


def keep_freed() -> None:
    """Let the process keep what it frees."""
    for option in _USUAL:
        _call("mallopt", option, _ALL)


def give_back() -> None:
    """Return what is free to the kernel, and let the allocator do so again by itself."""
    for option, usual in _USUAL.items():
        _call("mallopt", option, usual)
    _call("malloc_trim", 0)


def _call(name: str, *arguments: int) -> None:
    if any(key.startswith(_CHOSEN) for key in os.environ):
        return
    try:
        function: Callable[..., int] = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError, TypeError):  # not glibc
        return
    function(*arguments)

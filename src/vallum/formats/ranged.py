"""Bytes that lie elsewhere, read by range: what a memory view is to memory.

A reader that takes a `View` slices it and turns small slices into bytes. Over a `Ranged` that
holds as much memory as the largest slice that is asked for, whatever the size of the whole.
"""

from collections.abc import Callable

from vallum.base.errors import InputError


class Ranged:
    """A window on bytes; slicing it reads nothing, `bytes` reads all of the window."""

    __slots__ = ("_read", "_size", "_start")

    def __init__(self, read: Callable[[int, int], bytes], size: int, start: int = 0) -> None:
        """Open a window.

        Args:
            read: Returns as many bytes, from an offset, as it is asked for.
            size: Bytes of the window.
            start: Offset of its first one.
        """
        self._read = read
        self._size = size
        self._start = start

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> "Ranged":
        start, stop, _ = part.indices(self._size)
        return Ranged(self._read, max(0, stop - start), self._start + start)

    def __bytes__(self) -> bytes:
        if not self._size:
            return b""
        data = self._read(self._start, self._size)
        if len(data) != self._size:
            raise InputError("bytes are missing where some were promised", code="bytes.cut")
        return data


View = memoryview | Ranged

"""CRC-32 of large bytes, without copying them and with few of them resident."""

import mmap

try:
    from isal.isal_zlib import crc32 as crc32  # noqa: PLC0414 - taken from here
except ImportError:  # a light install, or a processor that it is not built for
    from zlib import crc32 as crc32  # noqa: PLC0414

from vallum.formats.ranged import View

_PART = 8 << 20


def crc32_of(data: memoryview) -> int:
    """Return the CRC-32 of all bytes; of a mapped file only a few MiB are resident at a time."""
    total = 0
    for at in range(0, len(data), _PART):
        total = crc32(data[at : at + _PART], total)
        release(data)
    return total


def release(data: View) -> None:
    """Let go of the pages of a mapped file; reading them again brings them back.

    Bytes that are not mapped stay as they are.
    """
    if isinstance(data, memoryview) and isinstance(data.obj, mmap.mmap):
        data.obj.madvise(mmap.MADV_DONTNEED)

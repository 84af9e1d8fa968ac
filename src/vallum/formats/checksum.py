"""CRC-32 of large bytes, on every core that this process may use, without copying them.

Source: zlib `crc32.c` (1.2.12 and later) for how the sums of two parts combine.
"""

import mmap
import os
import zlib
from concurrent.futures import ThreadPoolExecutor

from vallum.formats.ranged import View

_POLYNOMIAL = 0xEDB88320  # of CRC-32, reflected
_PART = 8 << 20  # large enough that combining costs nothing, small enough to stay in few pages
_TOP = 1 << 31


def crc32_of(data: memoryview) -> int:
    """Return the CRC-32 of all bytes; of a mapped file only a few MiB are resident at a time."""
    workers = min(len(os.sched_getaffinity(0)), -(-len(data) // _PART))
    if workers < 2:  # noqa: PLR2004 - one core, or one part
        return _sequential(data)
    starts = range(0, len(data), _PART)
    try:
        with ThreadPoolExecutor(workers) as pool:
            sums = list(pool.map(lambda at: _part(data[at : at + _PART]), starts))
    except RuntimeError:  # no thread can be started, as in a sandbox without any to spare
        return _sequential(data)
    shift = _shift(_PART)
    total = 0
    for at, found in zip(starts, sums, strict=True):
        length = min(_PART, len(data) - at)
        total = _multiply(shift if length == _PART else _shift(length), total) ^ found
    return total


def release(data: View) -> None:
    """Let go of the pages of a mapped file; reading them again brings them back.

    Bytes that are not mapped stay as they are.
    """
    if isinstance(data, memoryview) and isinstance(data.obj, mmap.mmap):
        data.obj.madvise(mmap.MADV_DONTNEED)


def _sequential(data: memoryview) -> int:
    total = 0
    for at in range(0, len(data), _PART):
        total = zlib.crc32(data[at : at + _PART], total)
        release(data)
    return total


def _part(data: memoryview) -> int:
    found = zlib.crc32(data)
    release(data)
    return found


def _multiply(a: int, b: int) -> int:
    """Return a(x) b(x) modulo the polynomial, bits reflected; `a` is not zero, or the result is."""
    product = 0
    while a:
        if a & _TOP:
            product ^= b
        a = (a << 1) & 0xFFFFFFFF
        b = (b >> 1) ^ _POLYNOMIAL if b & 1 else b >> 1
    return product


def _shift(count: int) -> int:
    """Return x^(8 count) modulo the polynomial."""
    result, power = _TOP, 1 << 23  # 1, and x^8
    while count:
        if count & 1:
            result = _multiply(power, result)
        power = _multiply(power, power)
        count >>= 1
    return result

"""MKL's kernels, told before the first of them runs to look at no row's place. Imports no torch."""

import os
from pathlib import Path

_MODE = "MKL_CBWR"
_HEAD_BYTES = 16_384  # more than the flags of one processor


def steady(processors: Path = Path("/proc/cpuinfo")) -> None:
    """Have MKL compute a row alike wherever it lies in memory, if it is not told otherwise.

    Without AVX-512 its narrow products are added up in an order that depends on where a row begins:
    no size of batches gives a sample the same bits in every place. MKL reads its mode from the
    environment, once, at its first call. With AVX-512 places were seen to matter in the smallest
    batches alone, which are filled up, and the mode costs up to an eighth of the speed.

    Source: oneMKL Developer Guide, Conditional Numerical Reproducibility.

    Args:
        processors: What the kernel tells of them.
    """
    try:
        with processors.open("rb") as told:
            head = told.read(_HEAD_BYTES)
    except OSError:
        head = b""
    if b"avx512f" not in head:
        os.environ.setdefault(_MODE, "AUTO")

"""Texts as rows of numbers: code points, filled up with -1.

Only numbers cross the border of a sandbox, and everything that counts, bounds and checks questions
to a model takes them. float32 holds every code point exactly.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vallum.base import GateError

Records = NDArray[np.float32]

MAX_CHARACTERS = 20_000
"""Of one text."""
_END = -1
_LAST = 0x10FFFF


def written(texts: Sequence[str], *, width: int = 1) -> Records:
    """Return texts as rows, (n, w): as wide as the longest, and at least `width`."""
    wide = max([width, *(len(one) for one in texts)])
    rows = np.full((len(texts), wide), _END, dtype=np.float32)
    for at, one in enumerate(texts):
        points = np.frombuffer(one.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        rows[at, : len(points)] = points
    return rows


def read(x: Records) -> list[str]:
    """Return the texts that rows stand for.

    Raises:
        GateError: They are no texts.
    """
    rows = np.asarray(x)
    if rows.ndim != 2:  # noqa: PLR2004 - texts and their characters
        raise GateError("what was asked is no text", code="attack.text")
    used = rows != _END
    if not (
        ((rows >= 0) & (rows <= _LAST) & (rows == np.floor(rows)) | ~used).all()
        and (used[:, 1:] <= used[:, :-1]).all()
    ):
        raise GateError("what was asked is no text", code="attack.text")
    points = np.where(used, rows, 0).astype("<u4")
    return [
        one[:length].tobytes().decode("utf-32-le", "surrogatepass")
        for one, length in zip(points, used.sum(axis=1).tolist(), strict=True)
    ]

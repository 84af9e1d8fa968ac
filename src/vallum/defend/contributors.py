"""Who contributed the suspicious rows: shares a contributor, and which of them chance explains.

A share is told with Wilson's 95 % interval. A contributor stands out where so many flagged rows,
if flags fell on rows at random, would come with a probability below `LEVEL` divided by the number
of contributors (Bonferroni): Fisher's exact one-sided test of the contributor against all others.
"""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vallum.base import InputError, LimitExceededError
from vallum.schema.poisoning import Contributor

LEVEL = 0.01
"""Probability that any contributor at all is accused where flags fall at random."""
MAX_CONTRIBUTORS = 10_000
_Z = 1.959964


def contributors_of(names: Sequence[str], flagged: NDArray[np.bool_]) -> tuple[Contributor, ...]:
    """Return every contributor, the least probable first.

    Args:
        names: Who contributed each row (n,).
        flagged: Rows that are suspicious (n,).

    Raises:
        InputError: Not one name a row.
        LimitExceededError: More contributors than are told apart.
    """
    if len(names) != len(flagged):
        raise InputError("not one contributor a row", code="defend.contributors")
    rows = Counter(names)
    if len(rows) > MAX_CONTRIBUTORS:
        raise LimitExceededError(
            f"more than {MAX_CONTRIBUTORS} contributors", code="defend.contributors",
            hint="does the column name each row, rather than who it came from?",
        )  # fmt: skip
    bad = Counter(name for name, raised in zip(names, flagged.tolist(), strict=True) if raised)
    total, flags = len(names), int(flagged.sum())
    found = []
    for name, held in rows.items():
        count = bad[name]
        p = _tail(count, held, flags, total)
        low, high = _wilson(count, held)
        found.append(
            Contributor(
                name=name, rows=held, flagged=count, share=count / held, low=low, high=high, p=p,
                improbable=p < LEVEL / len(rows),
            )
        )  # fmt: skip
    return tuple(sorted(found, key=lambda one: (one.p, -one.flagged, one.name)))


def _tail(count: int, held: int, flags: int, total: int) -> float:
    """Return P(at least `count` of `flags` flags fall on the `held` of `total` rows)."""
    if count <= max(0, flags - (total - held)):
        return 1.0
    at = np.arange(count, min(held, flags) + 1)
    terms = (
        _choose(held, at) + _choose(total - held, flags - at) - _choose(total, np.array([flags]))
    )
    most = float(terms.max())
    return min(1.0, math.exp(most) * float(np.exp(terms - most).sum()))


def _choose(n: int, k: NDArray[np.intp]) -> NDArray[np.float64]:
    return np.array(
        [math.lgamma(n + 1) - math.lgamma(one + 1) - math.lgamma(n - one + 1) for one in k.tolist()]
    )


def _wilson(hits: int, trials: int) -> tuple[float, float]:
    share, weight = hits / trials, _Z * _Z / trials
    middle = (share + weight / 2) / (1 + weight)
    half = _Z / (1 + weight) * math.sqrt(share * (1 - share) / trials + weight / (4 * trials))
    return (
        0.0 if hits == 0 else max(0.0, middle - half),
        1.0 if hits == trials else min(1.0, middle + half),
    )

"""Values that rows of one class share exactly: a trigger written into columns of a table.

A trigger in a table is the same few values in every poisoned row. Rows share values by nature too
(a limit of an instrument, a mark for what is missing), but then what is left of them without those
columns still speaks for their class. Where it speaks against it, the values were put there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vallum.defend.calibration import divergence
from vallum.defend.conflict import Codes, Rows, judge, margins
from vallum.defend.features import features_of, is_table

MIN_ROWS = 5
_COMMON = 0.2
"""Share of rows beyond which a value is common."""
_VALUES = 4
"""Values looked at per column, those that are most of one class first."""
_MOST_VALUES = 512
_ALONE = 5
"""A value this many times as frequent as the next of its column is looked at by itself."""
_SHARED = 0.9
_SAMPLE = 20_000
_EXAMINED = 8
_LEARNED = 800
_MOVED = 0.6
_LEAST = 0.05
_EVIDENCE = 10.0
"""Log-likelihood of the conflicts beyond what the class has anyway."""


@dataclass(frozen=True, slots=True)
class _Value:
    column: int
    rows: Rows
    evidence: float


def stamped(x: NDArray[Any], y: Codes, classes: int, rng: np.random.Generator) -> list[Rows]:
    """Return groups of rows of one class that were given values, the clearest first."""
    if not is_table(x):
        return []
    sample = np.arange(len(y))
    if len(y) > _SAMPLE:
        sample = np.sort(rng.choice(len(y), _SAMPLE, replace=False))
    near, codes = x[sample], y[sample]
    found: list[Rows] = []
    taken = np.zeros(len(codes), dtype=np.bool_)
    for rows, columns in _candidates(near, codes, classes):
        counts = np.bincount(codes[rows], minlength=classes)
        of = int(counts.argmax())
        members = rows & (codes == of)
        if counts[of] < max(MIN_ROWS, _SHARED * counts.sum()) or (members & taken).any():
            continue
        rest = np.delete(near, columns, axis=1)
        if rest.shape[1] and _contradicted(rest, codes, classes, members, taken, rng):
            values = near[np.flatnonzero(members)[0], columns]
            found.append((x[:, columns] == values).all(axis=1) & (y == of))
            taken |= members
    return found


def _contradicted(  # noqa: PLR0917 - rows, and what is left of them
    rest: NDArray[Any],
    y: Codes,
    classes: int,
    members: Rows,
    taken: Rows,
    rng: np.random.Generator,
) -> bool:
    z = features_of(rest, rng)
    own = (y == y[members][0]) & ~members & ~taken
    if z.shape[1] == 0 or not own.any():
        return False
    scores = judge(z, y, classes, excluded=members | taken, rng=rng, most=_LEARNED, rounds=2).scores
    against = margins(scores, y) > 0
    moved, usual = float(against[members].mean()), max(float(against[own].mean()), _LEAST)
    if moved < max(_MOVED, usual):
        return False
    return int(members.sum()) * divergence(moved, usual) >= _EVIDENCE


def _candidates(x: NDArray[Any], y: Codes, classes: int) -> Iterator[tuple[Rows, list[int]]]:
    """Yield rows that share values, with the columns of those values; likely ones first."""
    values, alone = _values(x, y, classes)
    if not values:
        return
    rows = np.stack([one.rows for one in values]).astype(np.float32)
    places = np.array([one.column for one in values])
    kinds = np.eye(classes, dtype=np.float32)[y]
    of_class = (rows @ kinds).astype(np.float64)
    # How often two come together if, given the class, they have nothing to do with one another.
    expected = np.maximum((of_class / kinds.sum(axis=0)) @ of_class.T, 1e-3)
    both = (rows @ rows.T).astype(np.float64)
    surprise = both * np.log(np.maximum(both, 1.0) / expected) - (both - expected)
    surprise[(both < MIN_ROWS) | (both <= expected) | (places[:, None] == places)] = -np.inf
    first, second = np.triu_indices(len(values), 1)
    likely = np.log(max(len(first), 1))
    pairs = [
        (float(surprise[a, b]), (int(a), int(b)))
        for a, b in zip(first, second, strict=True)
        if surprise[a, b] > likely
    ]
    singles = [(values[at].evidence, (at, at)) for at in alone]
    seen: set[bytes] = set()
    for _, (a, b) in sorted(singles + pairs, reverse=True):
        held = (rows[a] * rows[b]) > 0
        shared = np.flatnonzero(rows[:, held].mean(axis=1) >= _SHARED)
        chosen: Rows = rows[shared].min(axis=0) > 0
        if chosen.sum() < MIN_ROWS or (key := chosen.tobytes()) in seen:
            continue
        seen.add(key)
        yield chosen, sorted({int(one) for one in places[shared]})
        if len(seen) == _EXAMINED:
            return


def _values(x: NDArray[Any], y: Codes, classes: int) -> tuple[list[_Value], list[int]]:
    """Return values that come again mostly in one class, and which stand alone in their column."""
    usual = np.bincount(y, minlength=classes) / len(y)
    found: list[tuple[_Value, bool]] = []
    for column in range(x.shape[1]):
        _, place, counts = np.unique(x[:, column], return_inverse=True, return_counts=True)
        place = place.reshape(-1)
        again = np.flatnonzero((counts >= MIN_ROWS) & (counts <= _COMMON * len(y)))
        if not len(again):
            continue
        ordered = np.sort(counts)
        table = np.zeros((len(counts), classes))
        np.add.at(table, (place, y), 1.0)
        of = table[again].argmax(axis=1)
        share = table[again, of] / counts[again]
        evidence = np.array([
            n * divergence(float(p), float(usual[one])) if p > usual[one] else 0.0
            for n, p, one in zip(counts[again], share, of, strict=True)
        ])  # fmt: skip
        for at in np.argsort(-evidence, kind="stable")[:_VALUES]:
            value = again[at]
            single = counts[value] == ordered[-1] and (
                len(ordered) > 1 and ordered[-1] >= _ALONE * ordered[-2]
            )
            found.append((_Value(column, place == value, float(evidence[at])), bool(single)))
    found.sort(key=lambda one: -one[0].evidence)
    kept = found[:_MOST_VALUES]
    return [one for one, _ in kept], [at for at, (_, single) in enumerate(kept) if single]

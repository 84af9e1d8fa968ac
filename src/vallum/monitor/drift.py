"""Drift of inputs: frozen quantile bins, counters in constant memory, two criteria at once.

A feature drifts when the change is significant (G-test, Holm's correction over features) *and*
large (population stability index): with many records everything is significant, with few
everything looks large.

Sources: Woolf 1957 (G-test); Holm 1979; Siddiqi 2006 (PSI; 0.2 is the customary alarm).
"""

import math

import numpy as np
from numpy.typing import NDArray

from vallum.base import InputError
from vallum.schema import Record

BINS = 10
PSI_ALARM = 0.2
ALPHA = 0.01
_SMOOTH = 0.5  # added to every bin, so that an empty one does not make PSI infinite


class BinState(Record, frozen=True):
    """Frozen bins of every feature, as stored: edges, and counts of the reference."""

    names: tuple[str, ...]
    edges: tuple[tuple[float, ...], ...]
    counts: tuple[tuple[int, ...], ...]


class FeatureDrift(Record, frozen=True):
    """One feature."""

    name: str
    psi: float
    distance: float  # Jensen-Shannon, 0 to 1, base 2
    p_value: float
    drifted: bool


class DriftReport(Record, frozen=True):
    """All features."""

    rows: int
    reference_rows: int
    features: tuple[FeatureDrift, ...]


def freeze(names: tuple[str, ...], reference: NDArray[np.floating]) -> BinState:
    """Choose quantile bins on the reference, shape (n, d), and count it in them.

    The last bin of each feature counts what is missing.

    Raises:
        InputError: Fewer than 20 records or no feature.
    """
    if reference.ndim != 2 or len(reference) < 20 or reference.shape[1] == 0:  # noqa: PLR2004
        raise InputError("drift needs at least 20 reference records", code="drift.reference")
    if len(names) != reference.shape[1]:
        raise InputError("the reference has other features", code="drift.reference")
    edges = [_edges(column[np.isfinite(column)]) for column in reference.T]
    state = BinState(names=names, edges=tuple(edges), counts=tuple(() for _ in edges))
    counter = DriftCounter(state)
    counter.add(reference)
    return BinState(names=names, edges=state.edges, counts=counter.counts)


def _edges(values: NDArray[np.floating]) -> tuple[float, ...]:
    """Return the inner edges of quantile bins; of a few distinct values, one bin for each."""
    distinct = np.unique(values)
    if len(distinct) == 0:
        return ()
    if len(distinct) <= BINS:
        # A bin below and one above all that is known: a constant that changes must show.
        between = (distinct[1:] + distinct[:-1]) / 2
        inner = np.concatenate([distinct[:1], between, [np.nextafter(distinct[-1], np.inf)]])
    else:
        shares = np.linspace(0, 1, BINS + 1)[1:-1]
        inner = np.quantile(values, shares)
        if len(np.unique(inner)) < len(shares):  # ties swallow bins: cut what is between them too
            inner = np.concatenate([inner, np.quantile(distinct, shares)])
    return tuple(float(edge) for edge in np.unique(inner))


class DriftCounter:
    """Counts batches in frozen bins; its memory does not grow."""

    def __init__(self, state: BinState) -> None:
        self._state = state
        self._counts = [np.zeros(len(edges) + 2, dtype=np.int64) for edges in state.edges]
        self._edges = [np.array(edges) for edges in state.edges]
        self.rows = 0

    @property
    def counts(self) -> tuple[tuple[int, ...], ...]:
        """Return the counts of every feature's bins."""
        return tuple(tuple(int(one) for one in counts) for counts in self._counts)

    def add(self, batch: NDArray[np.floating]) -> None:
        """Count a batch, shape (n, d).

        Raises:
            InputError: Another number of features.
        """
        if batch.ndim != 2 or batch.shape[1] != len(self._counts):  # noqa: PLR2004
            raise InputError("the batch has other features", code="drift.batch")
        for column, edges, counts in zip(batch.T, self._edges, self._counts, strict=True):
            finite = np.isfinite(column)
            places = np.searchsorted(edges, column[finite], side="right")
            np.add(counts, np.bincount(places, minlength=len(counts)), out=counts)
            counts[-1] += int((~finite).sum())
        self.rows += len(batch)

    def joined(self, other: "DriftCounter") -> "DriftCounter":
        """Return a counter of what both counted; both are of the same bins."""
        made = DriftCounter(self._state)
        made._counts = [a + np.array(b) for a, b in zip(self._counts, other.counts, strict=True)]
        made.rows = self.rows + other.rows
        return made

    def report(self) -> DriftReport:
        """Compare what was counted with the reference.

        Raises:
            InputError: Nothing was counted: no records are no proof of no drift.
        """
        if self.rows == 0:
            raise InputError("there are no records to compare", code="drift.batch")
        raw = []
        for name, then, now in zip(
            self._state.names, self._state.counts, self._counts, strict=True
        ):
            before = np.array(then, dtype=np.float64)
            raw.append((name, *_compare(before, now.astype(np.float64))))
        order = sorted(range(len(raw)), key=lambda at: raw[at][3])
        adjusted = [1.0] * len(raw)
        running = 0.0
        for rank, at in enumerate(order):
            running = max(running, min(1.0, (len(raw) - rank) * raw[at][3]))
            adjusted[at] = running
        return DriftReport(
            rows=self.rows,
            reference_rows=int(sum(self._state.counts[0])) if self._state.counts else 0,
            features=tuple(
                FeatureDrift(
                    name=name,
                    psi=psi,
                    distance=distance,
                    p_value=p_value,
                    drifted=p_value < ALPHA and psi >= PSI_ALARM,
                )
                for (name, psi, distance, _), p_value in zip(raw, adjusted, strict=True)
            ),
        )


def _compare(before: NDArray[np.float64], now: NDArray[np.float64]) -> tuple[float, float, float]:
    used = before + now > 0
    before, now = before[used], now[used]
    if now.sum() == 0 or before.sum() == 0:
        return 0.0, 0.0, 1.0
    p = (before + _SMOOTH) / (before + _SMOOTH).sum()
    q = (now + _SMOOTH) / (now + _SMOOTH).sum()
    psi = float(((q - p) * np.log(q / p)).sum())
    middle = (p + q) / 2
    divergence = float((p * np.log2(p / middle)).sum() + (q * np.log2(q / middle)).sum()) / 2
    total = before + now
    g = 0.0
    for side in (before, now):
        expected = total * side.sum() / total.sum()
        seen = side > 0
        g += 2 * float((side[seen] * np.log(side[seen] / expected[seen])).sum())
    return psi, math.sqrt(max(0.0, divergence)), _chi2_tail(max(0.0, g), len(before) - 1)


def _chi2_tail(value: float, degrees: int) -> float:
    """Return P(X > value) for a chi-square: the regularised upper incomplete gamma function.

    Source: Abramowitz and Stegun, 26.4.19 (series) and 6.5.31 (continued fraction, Lentz).
    """
    if degrees < 1:
        return 1.0
    a, x = degrees / 2, value / 2
    if x <= 0:
        return 1.0
    front = math.exp(-x + a * math.log(x) - math.lgamma(a))
    if x < a + 1:
        term = total = 1 / a
        for step in range(1, 1000):
            term *= x / (a + step)
            total += term
            if term < total * 1e-15:
                break
        return max(0.0, 1 - front * total)
    b = x + 1 - a
    c = 1e300
    d = 1 / b
    h = d
    for step in range(1, 1000):
        an = -step * (step - a)
        b += 2
        d = 1 / (an * d + b)
        c = b + an / c
        h *= d * c
        if abs(d * c - 1) < 1e-15:  # noqa: PLR2004 - the precision of a float
            break
    return min(1.0, front * h)

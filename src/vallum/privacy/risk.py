"""Re-identification risk of a table, from its classes alone, and which columns make it.

Sources: El Emam 2013 (prosecutor, journalist and marketer risk); Franconi and Polettini 2004
(expected reciprocal of a population class); Zayatz 1991 and Hoshino 2001 (population uniqueness);
Motwani and Xu 2007 (distinction and separation of quasi-identifiers).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from vallum.base import InputError
from vallum.privacy.anonymity import class_counts

_SMALL = 0.1  # sampling fraction up to which Pitman's model is preferred (Dankar et al. 2012)
_SAMPLE = 100_000  # records that a suggestion looks at
_UNIQUE = 0.95  # a column with more distinct values than this is an identifier
_TRIED = 64  # columns of which combinations are counted
_WORTH = 0.01  # least share of records that a further column tells apart


@dataclass(frozen=True, slots=True)
class Risk:
    """How likely records are recognised; shares are between 0 and 1.

    Attributes:
        records: Records of the table.
        classes: Classes of equal quasi-identifiers.
        smallest_class: Records of the smallest one.
        population: Records of the population that the table was drawn from.
        prosecutor_max: 1 / smallest class: the attacker knows that the person is in the table.
        prosecutor_mean: Mean over records of 1 / class.
        at_risk: Share of records in classes smaller than 1 / `threshold`.
        threshold: Highest risk that is accepted.
        journalist_max: As prosecutor, by the estimated class in the population.
        marketer: Share of all records that a linkage with the population gets right.
        sample_uniques: Share of records that are alone in their class.
        population_uniques: Estimated share of records that are alone in the population.
        model: How that was estimated: `pitman`, `zayatz`, or `census` where the table is all.
    """

    records: int
    classes: int
    smallest_class: int
    population: int
    prosecutor_max: float
    prosecutor_mean: float
    at_risk: float
    threshold: float
    journalist_max: float
    marketer: float
    sample_uniques: float
    population_uniques: float
    model: str


def measure_risk(
    frame: pl.DataFrame,
    quasi_identifiers: Sequence[str],
    *,
    population: int = 0,
    threshold: float = 0.2,
) -> Risk:
    """Measure the risk of a table.

    Args:
        frame: At least one record.
        quasi_identifiers: Columns that an attacker may know.
        population: Records of the population; 0 if the table is all of it.
        threshold: Highest accepted risk of a record, above 0 and at most 1.

    Raises:
        InputError: A column is missing, the table is empty or a parameter out of range.
    """
    if frame.height == 0:
        raise InputError("the table has no records", code="privacy.empty")
    if population and population < frame.height:
        raise InputError(
            f"the population has {population} records, the table {frame.height}",
            code="privacy.population",
        )
    if not 0.0 < threshold <= 1.0:
        raise InputError("the threshold is above 0 and at most 1", code="privacy.threshold")
    for name in quasi_identifiers:
        if name not in frame.columns:
            raise InputError(f"the table has no column `{name}`", code="privacy.column")
    sizes = class_counts(frame, quasi_identifiers)["count"].to_numpy().astype(np.int64)
    records = frame.height
    whole = population or records
    unique = int((sizes == 1).sum())
    present, times = np.unique(sizes, return_counts=True)
    reciprocal = _reciprocals(present, records / whole)
    uniques, model = _population_uniques(present, times, records / whole, whole)
    return Risk(
        records=records,
        classes=len(sizes),
        smallest_class=int(sizes.min()),
        population=whole,
        prosecutor_max=1.0 / float(sizes.min()),
        prosecutor_mean=len(sizes) / records,
        at_risk=float(sizes[sizes * threshold < 1.0 - 1e-12].sum()) / records,
        threshold=threshold,
        journalist_max=float(reciprocal.max()),
        marketer=float((reciprocal * times * present).sum()) / records,
        sample_uniques=unique / records,
        population_uniques=min(uniques, unique) / records,
        model=model,
    )


def _reciprocals(sizes: npt.NDArray[np.int64], fraction: float) -> npt.NDArray[np.float64]:
    """Return E[1/F | f] for sample classes of `sizes` under a sampling fraction."""
    if fraction >= 1.0:
        return 1.0 / sizes
    # The integral over v in (0, 1) of v^(f-1) p / (p + q v), on a logarithmic grid.
    grid = np.linspace(math.log(1e-14), 0.0, 4001)
    value = np.exp(grid)
    weight = fraction / (fraction + (1.0 - fraction) * value)
    parts = np.exp(np.outer(np.minimum(sizes, 10_000), grid)) * weight
    found: npt.NDArray[np.float64] = np.trapezoid(parts, grid, axis=1)
    return np.minimum(found, 1.0 / sizes)


def _population_uniques(
    sizes: npt.NDArray[np.int64], times: npt.NDArray[np.int64], fraction: float, population: int
) -> tuple[float, str]:
    """Return the estimated number of records that are unique in the population."""
    count = {int(size): int(number) for size, number in zip(sizes, times, strict=True)}
    once, twice, classes = count.get(1, 0), count.get(2, 0), int(times.sum())
    if fraction >= 1.0 or once == 0:
        return float(once), "census"
    if fraction <= _SMALL and twice:
        estimate = _pitman(once, twice, classes, float((sizes * times).sum()), population)
        if estimate is not None:
            return min(float(once), max(0.0, estimate * fraction)), "pitman"
    # Zayatz: what a class that the sample has once is in the population.
    alone = sizes * fraction * np.exp((sizes - 1) * math.log1p(-fraction))
    share = fraction * once / float((alone * times).sum())
    return once * min(1.0, share), "zayatz"


def _pitman(once: int, twice: int, classes: int, records: float, population: int) -> float | None:
    """Return the number of population uniques, by Hoshino's moment estimators, if they exist."""
    ratio = once * (once - 1) / twice
    below = 2 * once * classes + once * ratio - records * ratio
    if below == 0:
        return None
    theta = (records * classes * ratio - once * (records - 1) * (2 * classes + ratio)) / below
    alpha = (theta * (once - records) + (records - 1) * once) / (records * classes)
    if not 0.0 < alpha < 1.0 or theta <= -alpha:
        return None
    return math.exp(
        math.lgamma(theta + 1) - math.lgamma(theta + alpha) + alpha * math.log(population)
    )


@dataclass(frozen=True, slots=True)
class Suggestion:
    """How much a column tells records apart, and what it should be taken for.

    Attributes:
        column: The column.
        distinction: Share of records with a value of their own kind: distinct / records.
        separation: Share of pairs of records with different values.
        joint: Distinction of this column with all suggested before it; 0 if it is not suggested.
        role: `identifier`, `quasi-identifier` or `other`.
    """

    column: str
    distinction: float
    separation: float
    joint: float
    role: str


def suggest_quasi_identifiers(
    frame: pl.DataFrame, *, sensitive: Sequence[str] = (), direct: Sequence[str] = ()
) -> tuple[Suggestion, ...]:
    """Rank the columns by what they add to telling records apart.

    Args:
        frame: Any table; large ones are sampled evenly.
        sensitive: Columns that are not to be suggested.
        direct: Columns that are known to identify by themselves.

    Raises:
        InputError: The table is empty.
    """
    if frame.height == 0:
        raise InputError("the table has no records", code="privacy.empty")
    names = [name for name in frame.columns if not frame[name].dtype.is_nested()]
    sample = frame.select(names).gather_every(max(1, frame.height // _SAMPLE))
    found: dict[str, tuple[float, float]] = {}
    for name in names:
        counts = sample[name].alias("").value_counts()["count"].to_numpy()
        pairs = sample.height * (sample.height - 1)
        same = float((counts.astype(np.float64) * (counts - 1)).sum())
        found[name] = (len(counts) / sample.height, 1.0 - same / pairs if pairs else 0.0)
    identifiers = {
        name
        for name in names
        if name in direct or (found[name][0] > _UNIQUE and not sample[name].dtype.is_float())
    }
    open_ = [
        name
        for name in names
        if name not in identifiers and name not in sensitive and found[name][1] > 0.0
    ]
    # Of very many columns, those that tell most pairs apart.
    open_ = sorted(open_, key=lambda name: -found[name][1])[:_TRIED]
    chosen: dict[str, float] = {}
    reached = 1.0 / sample.height
    while open_:
        scores = {
            name: class_counts(sample, [*chosen, name]).height / sample.height for name in open_
        }
        best = max(scores, key=lambda name: scores[name])
        if scores[best] - reached < _WORTH and chosen:
            break
        reached = chosen[best] = scores[best]
        open_.remove(best)
    order = [*chosen, *(name for name in names if name not in chosen)]
    return tuple(
        Suggestion(
            column=name,
            distinction=found[name][0],
            separation=found[name][1],
            joint=chosen.get(name, 0.0),
            role="identifier"
            if name in identifiers
            else "quasi-identifier"
            if name in chosen
            else "other",
        )
        for name in order
    )

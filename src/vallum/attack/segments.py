"""How well a model does, over all records and by segment: performance and fairness.

A segment is the records of one value of a column. Every figure has its interval, and a segment
that is too small to say anything about is named as not assessed, not left out of sight.

Sources: Hardt, Price, Srebro, "Equality of opportunity in supervised learning", NeurIPS 2016
(equalized odds); Dwork, Hardt, Pitassi, Reingold, Zemel, "Fairness through awareness", ITCS 2012
(demographic parity); Newcombe 1998, method 10 (interval of a difference of two rates), held for all
pairs of segments at once by Bonferroni's correction; Guo, Pleiss, Sun, Weinberger, ICML 2017
(expected calibration error, 15 bins).
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vallum.attack.evasion import wilson
from vallum.attack.oracle import AnswerKind, Classes, as_probabilities, kind_of
from vallum.attack.predictor import Scores
from vallum.base import InputError
from vallum.schema import Record

LEAST = 30
"""Records of a segment below which nothing is said about it."""
LEAST_OF_CLASS = 10
"""Records of a class in a segment below which nothing is said about its true or false positives."""
MAX_SEGMENTS = 20
"""Values of a column; of a column of more numbers, quarters are made."""
MAX_COLUMNS = 10
_BINS = 15
_PAIR = 2
_TINY = 1e-15

Mask = NDArray[np.bool_]
Names = NDArray[Any]


class Share(Record, frozen=True):
    """A share of records, and its 95 % Wilson interval."""

    value: float
    low: float
    high: float
    records: int


class PerformanceReport(Record, frozen=True):
    """How well a model does on records that it never saw.

    Attributes:
        records: That it was asked about.
        accuracy: Share that it gets right, with its interval.
        baseline: Share of the commonest class: what no model at all gets right.
        balanced_accuracy: Mean of the classes' recalls.
        macro_f1: Mean of the classes' F1.
        recalls: Of each class that has records, by name.
        log_loss: Mean cross-entropy; none where it answers labels.
        calibration_error: Expected calibration error; none where it answers labels.
    """

    records: int
    accuracy: Share
    baseline: float
    balanced_accuracy: float
    macro_f1: float
    recalls: dict[str, Share]
    log_loss: float | None = None
    calibration_error: float | None = None


class SegmentReport(Record, frozen=True):
    """One segment.

    Attributes:
        name: Value of the column.
        records: In it.
        error: Share that the model gets wrong; none where there are too few records.
        selected: Share that gets the class, by class.
        true_positives: Of the records of the class, the share that gets it, by class.
        false_positives: Of the others, the share that gets it, by class.
    """

    name: str
    records: int
    error: Share | None
    selected: dict[str, Share] = {}
    true_positives: dict[str, Share] = {}
    false_positives: dict[str, Share] = {}


class Gap(Record, frozen=True):
    """The largest difference of a rate between two segments.

    Attributes:
        value: The difference.
        low: That it is at least, at 95 % over all pairs of segments.
        high: That it is at most, likewise.
        between: The two segments, the one with the higher rate first.
        of: The class whose rate it is; empty where it is none's.
    """

    value: float
    low: float
    high: float
    between: tuple[str, str]
    of: str = ""


class ColumnReport(Record, frozen=True):
    """The segments of one column.

    Attributes:
        column: Its name.
        segments: In order of their names.
        error: Difference of errors.
        demographic_parity: Difference of the shares that get a class.
        equalized_odds: Difference of true or of false positives, the larger.
        not_assessed: What is not known, and why.
    """

    column: str
    segments: tuple[SegmentReport, ...]
    error: Gap | None
    demographic_parity: Gap | None
    equalized_odds: Gap | None
    not_assessed: tuple[str, ...] = ()


def performance(scores: Scores, y: Classes, names: Sequence[str]) -> PerformanceReport:
    """Measure how well a model does.

    Args:
        scores: Its answers, (n, c): probabilities, logits, or labels as 0 and 1.
        y: Classes, (n,).
        names: Of the classes, c.
    """
    said = scores.argmax(axis=1)
    right = said == y
    there = [kind for kind in range(scores.shape[1]) if (y == kind).any()]
    recalls = {names[kind]: _rate(right[y == kind]) for kind in there}
    f1 = [
        2 * int((right & (y == kind)).sum())
        / max(1, int((y == kind).sum()) + int((said == kind).sum()))
        for kind in there
    ]  # fmt: skip
    kind = kind_of(scores)
    log_loss = calibration = None
    if kind in (AnswerKind.LOGITS, AnswerKind.PROBABILITIES):
        soft = as_probabilities(scores, kind)
        own = soft[np.arange(len(y)), y]
        log_loss = float(-np.log(np.maximum(own, _TINY)).mean())
        calibration = _calibration(soft.max(axis=1), right)
    return PerformanceReport(
        records=len(y),
        accuracy=_rate(right),
        baseline=float(np.bincount(y).max() / len(y)),
        balanced_accuracy=float(np.mean([one.value for one in recalls.values()])),
        macro_f1=float(np.mean(f1)),
        recalls=recalls,
        log_loss=log_loss,
        calibration_error=calibration,
    )


def by_segment(
    said: Classes, y: Classes, columns: Mapping[str, Names], names: Sequence[str]
) -> tuple[ColumnReport, ...]:
    """Compare segments of each column.

    Args:
        said: Classes that the model gives, (n,).
        y: Classes, (n,).
        columns: Of each column the value of every record, (n,), None where it is missing.
        names: Of the classes.

    Raises:
        InputError: Too many columns.
    """
    if len(columns) > MAX_COLUMNS:
        raise InputError(
            f"segments of {len(columns)} columns are asked for, at most {MAX_COLUMNS}",
            code="attack.segments",
        )
    return tuple(_column(column, values, said, y, names) for column, values in columns.items())


def _column(
    column: str, values: Names, said: Classes, y: Classes, names: Sequence[str]
) -> ColumnReport:
    masks, notes = _masks(values)
    segments = []
    for name, mask in masks.items():
        count = int(mask.sum())
        if count < LEAST:
            notes.append(f"`{name}` has {count} record(s), at least {LEAST} are needed")
        segments.append(_segment(name, mask, said, y, names))
    assessed = [one for one in segments if one.error is not None]
    if len(assessed) < _PAIR:
        notes.append(f"fewer than two segments have {LEAST} records: nothing is compared")
    classes = [name for at, name in enumerate(names) if (y == at).any() or (said == at).any()]
    for name in classes:
        few = [one.name for one in assessed if name not in one.true_positives]
        if few:
            listed = ", ".join(f"`{one}`" for one in few[:3])
            notes.append(
                f"{listed}: fewer than {LEAST_OF_CLASS} records of class `{name}`, or of others:"
                " its true or false positives are not compared"
            )
    odds = [
        _worst(assessed, classes, pick)
        for pick in (lambda one: one.true_positives, lambda one: one.false_positives)
    ]
    known = [one for one in odds if one is not None]
    return ColumnReport(
        column=column,
        segments=tuple(segments),
        error=_gap([(one.name, one.error) for one in assessed if one.error is not None]),
        demographic_parity=_worst(assessed, classes, lambda one: one.selected),
        equalized_odds=max(known, key=lambda one: one.value) if known else None,
        not_assessed=tuple(notes),
    )


def _masks(values: Names) -> tuple[dict[str, Mask], list[str]]:
    """Return the records of each value; of many numbers, of each quarter."""
    missing = np.array([one is None or one != one for one in values.tolist()])  # noqa: PLR0124 - NaN
    out: dict[str, Mask] = {}
    notes: list[str] = []
    there = values[~missing].tolist()
    distinct = sorted(set(there), key=lambda one: (str(type(one)), one))
    numbers = all(isinstance(one, int | float) for one in distinct)
    if len(distinct) > MAX_SEGMENTS and not numbers:
        return {}, [f"it has {len(distinct)} values, at most {MAX_SEGMENTS}: group them first"]
    if len(distinct) > MAX_SEGMENTS:
        wide = np.array([np.nan if gone else float(one)
                         for one, gone in zip(values.tolist(), missing, strict=True)])  # fmt: skip
        ends = np.unique(np.quantile(wide[~missing], [0.25, 0.5, 0.75]))
        edges = [-math.inf, *ends.tolist(), math.inf]
        for low, high in itertools.pairwise(edges):
            name = f"{low:.4g} to {high:.4g}" if math.isfinite(low) else f"up to {high:.4g}"
            name = name if math.isfinite(high) else f"above {low:.4g}"
            out[name] = (wide > low) & (wide <= high)
    else:
        for one in distinct:
            out[str(one)[:80]] = np.array([value == one for value in values.tolist()]) & ~missing
    if missing.any():
        out["(missing)"] = missing
    return out, notes


def _segment(
    name: str, mask: Mask, said: Classes, y: Classes, names: Sequence[str]
) -> SegmentReport:
    count = int(mask.sum())
    if count < LEAST:
        return SegmentReport(name=name, records=count, error=None)
    own, truth = said[mask], y[mask]
    selected, true, false = {}, {}, {}
    for kind, label in enumerate(names):
        selected[label] = _rate(own == kind)
        here = truth == kind
        if min(int(here.sum()), int((~here).sum())) >= LEAST_OF_CLASS:
            true[label], false[label] = _rate(own[here] == kind), _rate(own[~here] == kind)
    return SegmentReport(
        name=name, records=count, error=_rate(own != truth), selected=selected,
        true_positives=true, false_positives=false,
    )  # fmt: skip


def _worst(
    segments: Sequence[SegmentReport],
    classes: Sequence[str],
    pick: Callable[[SegmentReport], Mapping[str, Share]],
) -> Gap | None:
    """Return the largest gap over classes."""
    found = [
        gap
        for label in classes
        if (gap := _gap([(one.name, pick(one)[label]) for one in segments if label in pick(one)],
                        of=label, tests=len(classes))) is not None
    ]  # fmt: skip
    if not found:
        return None
    widest = max(found, key=lambda one: one.value)
    return Gap(
        value=widest.value,
        low=max(one.low for one in found),
        high=max(one.high for one in found),
        between=widest.between,
        of=widest.of,
    )


def _gap(rates: Sequence[tuple[str, Share]], *, of: str = "", tests: int = 1) -> Gap | None:
    """Return the largest difference between two segments; none where there are not two."""
    if len(rates) < _PAIR:
        return None
    pairs = list(itertools.permutations(rates, _PAIR))
    # Of each pair one order is a mirror image: half as many intervals are held at once.
    z = NormalDist().inv_cdf(1 - 0.025 / (len(pairs) / 2 * tests))
    found = []
    for (name, one), (other_name, other) in pairs:
        low, high = _difference(one, other, z)
        found.append(Gap(one.value - other.value, low, high, (name, other_name), of))
    widest = max(found, key=lambda gap: gap.value)
    return Gap(
        value=widest.value,
        low=max(0.0, *(gap.low for gap in found)),
        high=max(gap.high for gap in found),
        between=widest.between,
        of=of,
    )


def _difference(one: Share, other: Share, z: float) -> tuple[float, float]:
    """Return Newcombe's interval of `one` less `other`."""
    low, high = wilson(round(one.value * one.records), one.records, z=z)
    other_low, other_high = wilson(round(other.value * other.records), other.records, z=z)
    gap = one.value - other.value
    return (
        gap - math.hypot(one.value - low, other_high - other.value),
        gap + math.hypot(high - one.value, other.value - other_low),
    )


def _rate(hits: Mask) -> Share:
    count, total = int(hits.sum()), len(hits)
    low, high = wilson(count, total)
    return Share(value=count / total, low=low, high=high, records=total)


def _calibration(sure: Scores, right: Mask) -> float:
    """Return how far confidence is from the share of right answers, over bins of confidence."""
    bins = np.minimum((sure * _BINS).astype(np.intp), _BINS - 1)
    total = 0.0
    for at in np.unique(bins):
        own = bins == at
        total += abs(float(sure[own].mean()) - float(right[own].mean())) * float(own.mean())
    return total

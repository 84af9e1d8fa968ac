"""What a table of scores comes to, in memory that does not grow with it: counts and quantiles.

Of an output with several numbers a row, the likeliest class is counted; of one that tells a label,
each label; of one that tells a number, there are its mean, bounds and quantiles, these with a
relative error of 1 %.

Source of the quantiles: Masson, Rim and Lee, "DDSketch: A Fast and Fully-Mergeable Quantile Sketch
with Relative-Error Guarantees", VLDB 2019.
"""

import math
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from vallum.base import GateError, InputError
from vallum.schema import Record

COLUMNS: Final = ("output", "statistic", "of", "value")
QUANTILES: Final = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
MAX_OUTPUTS: Final = 16
MAX_VALUES: Final = 1000
"""Labels that are counted each for itself; what comes later is counted as `OTHER`."""
OTHER: Final = "(other)"
_ALPHA: Final = 0.01
_GAMMA: Final = (1 + _ALPHA) / (1 - _ALPHA)
_LOG_GAMMA: Final = math.log(_GAMMA)
_NOTHING: Final = 1e-12  # what is smaller counts as 0
_MAX_LABEL: Final = 200


class OutputSummary(Record, frozen=True):
    """What one output of a model comes to.

    Attributes:
        name: Of the output.
        kind: `classes`, `labels` or `numbers`.
        counts: Rows of each class or label.
        rows: That it told something of.
        total: Sum of its numbers.
        least: The smallest; None before there is one.
        most: The largest.
        above: How many positive numbers lie in which bucket.
        below: The same of negative ones, by their size.
    """

    name: str
    kind: str
    counts: dict[str, int] = {}
    rows: int = 0
    total: float = 0.0
    least: float | None = None
    most: float | None = None
    above: dict[int, int] = {}
    below: dict[int, int] = {}


Summary = tuple[OutputSummary, ...]


def add(summary: Summary, outputs: Sequence[tuple[str, NDArray[np.generic]]]) -> Summary:
    """Return a summary with further rows.

    Args:
        summary: Of the rows before; empty at first.
        outputs: A name and an array (n, …) each, finite, in the same order as ever.

    Raises:
        InputError: There are too many outputs.
        GateError: The model answers other outputs than before.
    """
    if len(outputs) > MAX_OUTPUTS:
        raise InputError(
            f"a summary is of at most {MAX_OUTPUTS} outputs, the model has {len(outputs)}",
            code="score.summary",
        )
    held = summary or tuple(OutputSummary(name, _kind(values)) for name, values in outputs)
    if [(one.name, one.kind) for one in held] != [(name, _kind(v)) for name, v in outputs]:
        raise GateError("the model answers now this, now that", code="score.answer")
    return tuple(_added(one, values) for one, (_, values) in zip(held, outputs, strict=True))


Line = tuple[str | None, str, str | None, float]


def lines(summary: Summary, *, rows: int, failed: int) -> list[Line]:
    """Return a summary as the rows of a table with `COLUMNS`."""
    out: list[Line] = [(None, "rows", None, rows), (None, "failed", None, failed)]
    for one in summary:
        if one.kind != "numbers":
            order = sorted(one.counts.items(), key=lambda item: (-item[1], item[0]))
            out += [(one.name, "count", of, count) for of, count in order]
        elif one.least is not None and one.most is not None:
            out += [
                (one.name, "mean", None, one.total / one.rows),
                (one.name, "minimum", None, one.least),
                (one.name, "maximum", None, one.most),
            ]
            out += [
                (one.name, "quantile", f"{q:g}", min(one.most, max(one.least, _quantile(one, q))))
                for q in QUANTILES
            ]
    return out


def _kind(values: NDArray[np.generic]) -> str:
    width = values.reshape(len(values), -1).shape[1] if len(values) else 1
    if width > 1:
        return "classes"
    return "numbers" if values.dtype.kind == "f" else "labels"


def _added(one: OutputSummary, values: NDArray[np.generic]) -> OutputSummary:
    flat = values.reshape(len(values), -1)
    if one.kind == "numbers":
        return _numbers(one, flat[:, 0].astype(np.float64))
    if one.kind == "labels":
        found = flat[:, 0]
    elif flat.dtype.kind == "f":
        found = flat.argmax(axis=1)
    else:  # several labels a row: each that is set
        found = np.nonzero(flat.astype(bool))[1]
    labels, counts = np.unique(found.astype(str), return_counts=True)
    held = dict(one.counts)
    for label, count in zip(labels.tolist(), counts.tolist(), strict=True):
        name = label[:_MAX_LABEL]
        if name not in held and len(held) >= MAX_VALUES:
            name = OTHER
        held[name] = held.get(name, 0) + count
    return msgspec.structs.replace(one, counts=held, rows=one.rows + len(flat))


def _numbers(one: OutputSummary, values: NDArray[np.float64]) -> OutputSummary:
    if not len(values):
        return one
    with np.errstate(over="ignore", invalid="ignore"):
        # JSON has no infinity: sums beyond a binary64 stay at its bounds.
        total = float(np.nan_to_num(one.total + values.sum()))
    return msgspec.structs.replace(
        one,
        rows=one.rows + len(values),
        total=total,
        least=float(values.min() if one.least is None else min(one.least, values.min())),
        most=float(values.max() if one.most is None else max(one.most, values.max())),
        above=_bucketed(one.above, values[values >= _NOTHING]),
        below=_bucketed(one.below, -values[values <= -_NOTHING]),
    )


def _bucketed(held: dict[int, int], sizes: NDArray[np.float64]) -> dict[int, int]:
    places, counts = np.unique(
        np.ceil(np.log(sizes) / _LOG_GAMMA).astype(np.int64), return_counts=True
    )
    out = dict(held)
    for place, count in zip(places.tolist(), counts.tolist(), strict=True):
        out[place] = out.get(place, 0) + count
    return out


def _quantile(one: OutputSummary, q: float) -> float:
    rank = q * (one.rows - 1)
    zeros = one.rows - sum(one.above.values()) - sum(one.below.values())
    ordered = [
        *((-_size(place), count) for place, count in sorted(one.below.items(), reverse=True)),
        (0.0, zeros),
        *((_size(place), count) for place, count in sorted(one.above.items())),
    ]
    seen = 0
    for value, count in ordered:
        seen += count
        if seen > rank:
            return value
    return ordered[-1][0]


def _size(place: int) -> float:
    """Return the value of a bucket that is no further than `_ALPHA` from all in it."""
    return float(2 * _GAMMA**place / (_GAMMA + 1))

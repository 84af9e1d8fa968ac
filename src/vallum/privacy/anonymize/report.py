"""The before-and-after report of an anonymization: one object for machines, one page for people.

It tells counts, shares and labels of the result; never a value that the result does not have.
"""

from collections.abc import Sequence
from dataclasses import asdict
from html import escape

import numpy as np
import polars as pl

from vallum.privacy.anonymity import class_counts
from vallum.privacy.anonymize.anonymize import Anonymized
from vallum.privacy.anonymize.utility import Utility
from vallum.privacy.risk import Risk

_BINS = ((1, 1), (2, 4), (5, 9), (10, 19), (20, 49), (50, 99), (100, 999), (1000, None))
_BARS = 12  # labels of a column that are drawn
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;
padding:0 1rem;color:#1b1f24}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .8rem;text-align:right;
border-bottom:1px solid #d8dde3}td:first-child,th:first-child{text-align:left}
svg{display:block;margin:.5rem 0 1.5rem}text{font:12px system-ui,sans-serif;fill:#1b1f24}
.before{fill:#c9534f}.after{fill:#2f6db5}h2{margin-top:2rem}
"""


def report_record(
    made: Anonymized, before: Risk, after: Risk, utility: Utility
) -> dict[str, object]:
    """Return the report as plain values."""
    return {
        "method": made.method,
        "optimal": made.optimal,
        "thinned": made.thinned,
        "requirements": list(made.requirements),
        "loss": made.loss,
        "suppressed": made.suppressed,
        "records": made.table.height,
        "certificate": {
            "k": made.check.k,
            "l": made.check.l,
            "t": made.check.t,
            "classes": made.check.classes,
            "presence": None if made.presence is None else asdict(made.presence),
            "sensitive": [
                {
                    "column": one.column,
                    "distinct": one.distinct,
                    "entropy": one.entropy,
                    "t_equal": one.t_equal,
                    "t_ordered": one.t_ordered,
                }
                for one in made.check.diversity
            ],
        },
        "risk": {"before": asdict(before), "after": asdict(after)},
        "utility": asdict(utility),
        "seconds": made.seconds,
    }


def report_page(
    frame: pl.DataFrame,
    quasi_identifiers: tuple[str, ...],
    made: Anonymized,
    risks: tuple[Risk, Risk],
    utility: Utility,
) -> str:
    """Return the report as one HTML page without scripts or outside references."""
    before, after = risks
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>Anonymization report</title>",
        f"<style>{_STYLE}</style><h1>Anonymization report</h1>",
        (f"<p>{escape(', '.join(made.requirements))}; method {escape(made.method)}"
        f"{' (optimal)' if made.optimal else ''}; {made.table.height} of {frame.height} records "
        f"kept, {made.suppressed} suppressed; loss {made.loss:.4f}.</p>"),
        "<h2>Risk</h2>",
        _table(
            ("", "before", "after"),
            [
                ("classes", before.classes, after.classes),
                ("smallest class", before.smallest_class, after.smallest_class),
                ("highest risk, prosecutor", _share(before.prosecutor_max),
                 _share(after.prosecutor_max)),
                ("mean risk, prosecutor", _share(before.prosecutor_mean),
                 _share(after.prosecutor_mean)),
                ("highest risk, journalist", _share(before.journalist_max),
                 _share(after.journalist_max)),
                ("marketer", _share(before.marketer), _share(after.marketer)),
                (f"records above {before.threshold:.0%}", _share(before.at_risk),
                 _share(after.at_risk)),
                ("unique in the table", _share(before.sample_uniques),
                 _share(after.sample_uniques)),
                (f"unique in the population ({escape(before.model)})",
                 _share(before.population_uniques), _share(after.population_uniques)),
            ],
        ),
        "<h2>Records by size of their class</h2>",
        _bars(
            [f"{low}+" if high is None else f"{low}–{high}" if high > low else str(low)
             for low, high in _BINS],
            _by_size(frame, quasi_identifiers), _by_size(made.table, quasi_identifiers),
        ),
        "<h2>Utility</h2>",
        _table(
            ("", "after"),
            [
                ("granularity", _share(utility.granularity)),
                ("information left (non-uniform entropy)", _share(utility.entropy)),
                ("discernibility, of one class", f"{utility.discernibility_share:.6f}"),
                ("mean class", f"{utility.class_size:.1f}"),
            ],
        ),
    ]  # fmt: skip
    if utility.accuracy:
        rows = [
            (escape(name), *(_share(one) for one in found))
            for name, found in utility.accuracy.items()
        ]
        parts += [
            "<h2>Prediction from the quasi-identifiers</h2>",
            _table(("column", "always the most frequent", "original", "anonymized"), rows),
        ]
    if made.check.diversity:
        found = [
            (escape(one.column), one.distinct, f"{one.entropy:.2f}", f"{one.t_equal:.3f}",
             f"{one.t_ordered:.3f}")
            for one in made.check.diversity
        ]  # fmt: skip
        header = ("sensitive column", "distinct l", "entropy l", "t (equal)", "t (ordered)")
        parts += ["<h2>Certificate, by an independent count</h2>", _table(header, found)]
    for name in quasi_identifiers:
        labels, counts = _labels(made.table[name])
        parts += [f"<h2>{escape(name)}, after</h2>", _bars(labels, None, counts)]
    return "\n".join(parts) + "\n"


def _share(value: float) -> str:
    return f"{value:.2%}"


def _table(header: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> str:
    lines = ["<table><tr>" + "".join(f"<th>{name}" for name in header)]
    lines += ["<tr>" + "".join(f"<td>{cell}" for cell in row) for row in rows]
    return "\n".join(lines) + "</table>"


def _by_size(frame: pl.DataFrame, names: tuple[str, ...]) -> list[float]:
    sizes = class_counts(frame, names)["count"].to_numpy()
    return [
        float(sizes[(sizes >= low) & (sizes <= (np.inf if high is None else high))].sum())
        for low, high in _BINS
    ]


def _labels(column: pl.Series) -> tuple[list[str], list[float]]:
    counts = column.cast(pl.String).fill_null("(missing)").alias("").value_counts(sort=True)
    top = counts.head(_BARS)
    labels, numbers = top[""].to_list(), [float(one) for one in top["count"]]
    if counts.height > _BARS:
        labels.append(f"{counts.height - _BARS} further")
        numbers.append(float(counts["count"].tail(counts.height - _BARS).sum()))
    return labels, numbers


def _bars(labels: list[str], before: list[float] | None, after: list[float]) -> str:
    series = [("before", before), ("after", after)] if before is not None else [("after", after)]
    most = max([1.0, *(value for _, values in series for value in values or ())])
    step = 14 * len(series) + 8
    out = [f'<svg width="760" height="{step * len(labels) + 8}" role="img">']
    for at, label in enumerate(labels):
        top = at * step + 4
        out.append(f'<text x="170" y="{top + 11}" text-anchor="end">{escape(label[:26])}</text>')
        for line, (name, values) in enumerate(series):
            value = (values or [0.0] * len(labels))[at]
            y, width = top + 14 * line, 480 * value / most
            out.append(f'<rect class="{name}" x="178" y="{y}" width="{width:.1f}" height="12"/>')
            out.append(f'<text x="{184 + width:.1f}" y="{y + 10}">{value:.0f} {name}</text>')
    return "\n".join(out) + "</svg>"

"""How well a model does, over all and by segment, as part of the page of a report."""

from collections.abc import Sequence
from html import escape

from vallum.attack.segments import ColumnReport, Gap, PerformanceReport, Share


def figures_html(figures: PerformanceReport | None, columns: Sequence[ColumnReport]) -> str:
    """Return tables of performance and of each column's segments; nothing where there are none."""
    if figures is None:
        return ""
    rows = [
        ("accuracy", _share(figures.accuracy)),
        ("share of the commonest class", f"{figures.baseline:.3f}"),
        ("balanced accuracy", f"{figures.balanced_accuracy:.3f}"),
        ("macro F1", f"{figures.macro_f1:.3f}"),
        *((f"recall of `{name}`", _share(one)) for name, one in figures.recalls.items()),
    ]
    if figures.log_loss is not None and figures.calibration_error is not None:
        rows.append(("log loss", f"{figures.log_loss:.4g}"))
        rows.append(("expected calibration error", f"{figures.calibration_error:.3f}"))
    out = [
        f"<h2>Performance</h2><p>On {figures.records} records that the model never saw.</p><table>",
        *(f"<tr><td>{escape(name)}<td>{escape(value)}</tr>" for name, value in rows),
        "</table>",
    ]
    out += [_column(one) for one in columns]
    return "".join(out)


def _column(column: ColumnReport) -> str:
    rows = "".join(
        f"<tr><td>{escape(one.name)}<td>{one.records}<td>"
        f"{'not assessed' if one.error is None else _share(one.error)}"
        f"<td>{escape(', '.join(f'{name} {_share(rate)}' for name, rate in one.selected.items()))}"
        "</tr>"
        for one in column.segments
    )
    gaps = "".join(
        f"<tr><td>{name}<td>{escape(_gap(gap))}</tr>"
        for name, gap in (
            ("difference of errors", column.error),
            ("demographic parity difference", column.demographic_parity),
            ("equalized odds difference", column.equalized_odds),
        )
    )
    notes = "".join(f"<li>{escape(one)}" for one in column.not_assessed)
    return (
        f"<h2>Segments of {escape(column.column)}</h2><table><tr><th>segment<th>records"
        f"<th>error, 95 % interval<th>share that gets each class</tr>{rows}</table>"
        f"<table>{gaps}</table>" + (f"<p>Not assessed:</p><ul>{notes}</ul>" if notes else "")
    )


def _share(one: Share) -> str:
    return f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})"


def _gap(gap: Gap | None) -> str:
    if gap is None:
        return "not assessed"
    of = f", class {gap.of}" if gap.of else ""
    return (
        f"{gap.value:.3f} ({gap.low:.3f} to {gap.high:.3f}) between {gap.between[0]} and"
        f" {gap.between[1]}{of}"
    )

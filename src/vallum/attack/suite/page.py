"""The report as one page: tables and plots, no script, nothing fetched from elsewhere."""

from collections.abc import Mapping
from html import escape

from vallum.attack.suite.record import SuiteReport, Threat, Used, Verdict

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;
padding:0 1rem;color:#1b1f24}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .8rem;text-align:left;
border-bottom:1px solid #d8dde3}
svg{display:block;margin:.5rem 0 1.5rem}text{font:12px system-ui,sans-serif;fill:#1b1f24}
.axis{stroke:#8a939e}.bar{stroke:#2f6db5;stroke-width:3}.dot{fill:#2f6db5}
.limit{stroke:#c9534f;stroke-dasharray:4 3}.curve{fill:none;stroke:#2f6db5;stroke-width:2}
.passed,.measured{color:#1f7a3f}.bad{color:#a8322e}h2{margin-top:2rem}
"""
_LEFT, _WIDTH = 190, 480


def attack_page(
    report: SuiteReport,
    *,
    title: str,
    facts: Mapping[str, str],
    names: Mapping[str, tuple[str, str, str]],
    more: str = "",
) -> str:
    """Return the page.

    Args:
        report: What was found.
        title: Of the page.
        facts: What the report is about: model, data, settings.
        names: Of each threat: for people, in MITRE ATLAS, in NIST AI 100-2.
        more: HTML of `tables`, after the threats.
    """
    rows = "".join(
        f"<tr><td>{escape(name)}<td>{escape(value)}</tr>" for name, value in facts.items()
    )
    accuracy = "not known" if report.accuracy is None else f"{report.accuracy:.3f}"
    parts = [
        (
            "<!doctype html><html lang=en><meta charset=utf-8>"
            "<meta http-equiv=Content-Security-Policy content=\"default-src 'none';"
            " style-src 'unsafe-inline'\">"
            f"<title>{escape(title)}</title><style>{_STYLE}</style><h1>{escape(title)}</h1>"
        ),
        (
            f"<p>Verdict: {_verdict(report.verdict)}. Accuracy on the {report.records} records"
            f" given: {accuracy}. The model offers attacks {escape(report.access)}.</p>"
        ),
        (
            f"<table>{rows}<tr><td>suite<td>{escape(report.suite)}, {report.effort:.0%} of its"
            " effort"
            f"<tr><td>seed<td>{report.seed}<tr><td>budget<td>{report.budget_s:g} s"
            f"<tr><td>small change<td>{report.epsilon:.4g} ({escape(report.unit)})</table>"
        ),
        "".join(
            _threat(one, names.get(one.threat, (one.threat, "", "")), report.epsilon)
            for one in report.threats
        ),
        more,
        _list("What could not be assessed", report.not_assessed),
        _list("About the data", report.notes),
        "<h2>Times</h2><p>The only part that differs when the same is run again.</p><table>",
        "".join(
            f"<tr><td>{escape(name)}<td>{seconds:.1f} s</tr>"
            for name, seconds in (*report.times.attacks.items(), ("all", report.times.total))
        ),
        "</table></html>\n",
    ]
    return "\n".join(parts)


def _threat(one: Threat, name: tuple[str, str, str], epsilon: float) -> str:
    title, atlas, nist = name
    known = ", ".join(part for part in (atlas, nist) if part)
    rows = "".join(
        f"<tr><td>{escape(used.attack)}<td>{escape(_access(used))}<td>{used.outcome.value}"
        f"<td>{_rate(used)}<td>{used.records}<td>{used.queries:,} of {used.planned:,}"
        f"<td>{escape(used.reason or _more(used))}</tr>"
        for used in one.attacks
    )
    left_out = "".join(
        f"<tr><td>{escape(attack)}<td><td>left out<td><td><td><td>{escape(why)}</tr>"
        for attack, why in one.left_out.items()
    )
    reason = f": {escape(one.reason)}" if one.reason else ""
    return (
        f"<h2>{escape(title)}</h2><p>{escape(known)}</p>"
        f"<p>{_verdict(one.verdict)}{reason}. Measured: {escape(one.measure)}:"
        f" <strong>{_rate(one)}</strong>; {_limit(one)}.</p>"
        + (_intervals(one) if one.rate is not None else "")
        + "".join(
            _thefts(used) if one.threat == "model-extraction" else _curve(used, epsilon)
            for used in one.attacks
            if used.curve
        )
        + "<table><tr><th>attack<th>needs<th>outcome<th>rate, 95 % interval<th>records"
        f"<th>queries<th></tr>{rows}{left_out}</table>"
        f"<p>{escape(one.means)}</p><p>What lowers it: {escape(one.lowers)}.</p>"
    )


def _verdict(verdict: Verdict) -> str:
    kind = "passed" if verdict in (Verdict.PASSED, Verdict.MEASURED) else "bad"
    return f'<strong class="{kind}">{verdict.value}</strong>'


def _limit(one: Threat) -> str:
    return "there is no limit" if one.limit is None else f"the limit is {one.limit:g}"


def _access(used: Used) -> str:
    return used.access if used.answers in ("", used.access) else f"{used.access}; {used.answers}"


def _rate(one: Threat | Used) -> str:
    if one.rate is None or one.low is None or one.high is None:
        return "not measured"
    return f"{one.rate:.3f} ({one.low:.3f} to {one.high:.3f})"


def _more(used: Used) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in used.more.items())


def _list(title: str, items: tuple[str, ...]) -> str:
    if not items:
        return ""
    return f"<h2>{title}</h2><ul>" + "".join(f"<li>{escape(one)}" for one in items) + "</ul>"


def _intervals(one: Threat) -> str:
    """Draw the rate and interval of the threat and of each attack, and the limit."""
    lines: list[tuple[str, Threat | Used]] = [("all together", one)]
    lines += [(used.attack, used) for used in one.attacks]
    height = 24 * len(lines) + 30
    out = [
        f'<svg width="760" height="{height}" role="img" aria-label="rates and 95 % intervals">',
        (
            f'<line class="axis" x1="{_LEFT}" y1="{height - 24}" x2="{_LEFT + _WIDTH}"'
            f' y2="{height - 24}"/>'
        ),
    ]
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        out.append(
            f'<text x="{_x(tick):.1f}" y="{height - 8}" text-anchor="middle">{tick:g}</text>'
        )
    if one.limit is not None:
        out.append(
            f'<line class="limit" x1="{_x(one.limit):.1f}" y1="4" x2="{_x(one.limit):.1f}"'
            f' y2="{height - 24}"/>'
        )
    for at, (label, part) in enumerate(lines):
        y = 16 + 24 * at
        out.append(f'<text x="{_LEFT - 10}" y="{y + 4}" text-anchor="end">{escape(label)}</text>')
        if part.rate is None or part.low is None or part.high is None:
            out.append(f'<text x="{_LEFT + 6}" y="{y + 4}">not measured</text>')
            continue
        out.append(
            f'<line class="bar" x1="{_x(part.low):.1f}" y1="{y}" x2="{_x(part.high):.1f}"'
            f' y2="{y}"/><circle class="dot" cx="{_x(part.rate):.1f}" cy="{y}" r="5"/>'
        )
    return "".join(out) + "</svg>"


def _curve(used: Used, epsilon: float) -> str:
    """Draw the share of records flipped within each distance."""
    most = used.curve[-1][0] or 1.0
    points = " ".join(
        f"{_LEFT + _WIDTH * distance / most:.1f},{150 - 130 * share:.1f}"
        for distance, share in used.curve
    )
    return (
        f'<svg width="760" height="190" role="img" aria-label="flips by distance">'
        f'<text x="{_LEFT - 10}" y="24" text-anchor="end">flipped: all</text>'
        f'<text x="{_LEFT - 10}" y="154" text-anchor="end">none</text>'
        f'<line class="axis" x1="{_LEFT}" y1="150" x2="{_LEFT + _WIDTH}" y2="150"/>'
        f'<line class="axis" x1="{_LEFT}" y1="20" x2="{_LEFT}" y2="150"/>'
        f'<line class="limit" x1="{_LEFT + _WIDTH * epsilon / most:.1f}" y1="20"'
        f' x2="{_LEFT + _WIDTH * epsilon / most:.1f}" y2="150"/>'
        f'<text x="{_LEFT + _WIDTH * epsilon / most:.1f}" y="14" text-anchor="middle">small'
        " change</text>"
        f'<polyline class="curve" points="{points}"/>'
        f'<text x="{_LEFT}" y="168" text-anchor="middle">0</text>'
        f'<text x="{_LEFT + _WIDTH}" y="168" text-anchor="middle">{most:.3g}</text>'
        f'<text x="{_LEFT + _WIDTH / 2}" y="184" text-anchor="middle">distance of the flip that'
        f" {escape(used.attack)} found</text></svg>"
    )


def _thefts(used: Used) -> str:
    """Draw the fidelity of the copy after so many queries."""
    most = used.curve[-1][0] or 1.0
    points = [
        (_LEFT + _WIDTH * queries / most, 150 - 130 * fidelity) for queries, fidelity in used.curve
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points)
    return (
        '<svg width="760" height="190" role="img" aria-label="fidelity by queries">'
        f'<text x="{_LEFT - 10}" y="24" text-anchor="end">fidelity: 1</text>'
        f'<text x="{_LEFT - 10}" y="154" text-anchor="end">0</text>'
        f'<line class="axis" x1="{_LEFT}" y1="150" x2="{_LEFT + _WIDTH}" y2="150"/>'
        f'<line class="axis" x1="{_LEFT}" y1="20" x2="{_LEFT}" y2="150"/>'
        f'<polyline class="curve" points="{line}"/>{dots}'
        f'<text x="{_LEFT}" y="168" text-anchor="middle">0</text>'
        f'<text x="{_LEFT + _WIDTH}" y="168" text-anchor="middle">{most:,.0f}</text>'
        f'<text x="{_LEFT + _WIDTH / 2}" y="184" text-anchor="middle">queries of'
        f" {escape(used.attack)}</text></svg>"
    )


def _x(share: float) -> float:
    return _LEFT + _WIDTH * min(1.0, max(0.0, share))

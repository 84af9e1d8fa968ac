"""`vallum endpoint top`: live traffic, from two looks at what a gateway has counted."""

import contextlib
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from vallum.base import InputError
from vallum.cli.border import SESSION, show, table
from vallum.schema import Record, Traffic
from vallum.schema.traffic import DeploymentTraffic
from vallum.sdk import Client

if TYPE_CHECKING:
    from rich.table import Table

_HEADER = (
    "endpoint", "deployment", "req/s", "p50 ms", "p99 ms", "model", "err/s", "ref/s", "active",
    "procs", "alarms", "drift",
)  # fmt: skip
_MIN_S, _MAX_S = 0.2, 3600.0


class Row(Record, frozen=True):
    """One deployment, between two looks.

    Attributes:
        endpoint: Its endpoint.
        deployment: Its name; empty for requests that never got to one.
        requests_per_s: All of them.
        p50_ms: Median time in the gateway; None without requests.
        p99_ms: 99th percentile of it.
        model_p50_ms: Median time until the model answered.
        errors_per_s: Answers from 500 on.
        refused_per_s: Answers from 400 to 499.
        in_flight: Requests under way.
        instances: Processes that answer.
        alarms: About callers, since the gateway started.
        drifted: Inputs that drifted; None where nobody looks.
    """

    endpoint: str
    deployment: str
    requests_per_s: float
    p50_ms: float | None
    p99_ms: float | None
    model_p50_ms: float | None
    errors_per_s: float
    refused_per_s: float
    in_flight: int
    instances: int
    alarms: int
    drifted: int | None


class Top(Record, frozen=True):
    """What `--json` prints."""

    interval_s: float
    deployments: tuple[Row, ...]
    refusals: dict[str, int]


def register(noun: typer.Typer) -> None:
    """Give a noun the verb."""
    noun.command("top")(endpoint_top)


def endpoint_top(
    name: Annotated[
        str, typer.Argument(help="Endpoint; all that you may score at if not given.")
    ] = "",
    interval: Annotated[float, typer.Option(help="Seconds between two looks.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="One look, and end.")] = False,
) -> None:
    """Show live traffic; Ctrl-C ends. Example: vallum endpoint top --once."""
    if not _MIN_S <= interval <= _MAX_S:
        raise InputError(f"look every {_MIN_S} to {_MAX_S:.0f} seconds", code="cli.usage")
    with SESSION.client() as client:
        before = client.endpoints.metrics()
        if once or SESSION.as_json or not sys.stdout.isatty():
            time.sleep(interval)
            found = compare(before, client.endpoints.metrics(), only=name)
            show("endpoint.top", found, table(_HEADER, _cells(found.deployments)))
            return
        _live(client, before, name, interval)


def compare(before: Traffic, after: Traffic, *, only: str = "") -> Top:
    """Return what happened between two looks.

    Args:
        before: The first.
        after: The second; of a gateway that was started anew, all that it counted.
        only: An endpoint; empty for all.
    """
    same = before.gateway == after.gateway
    interval_s = max(1e-3, after.at_s - before.at_s if same else after.at_s)
    known = {(one.endpoint, one.deployment): one for one in before.deployments} if same else {}
    rows = [
        _row(known.get((one.endpoint, one.deployment)), one, after.buckets, interval_s)
        for one in after.deployments
        if not only or one.endpoint == only
    ]
    refusals = {
        code: count - (before.refusals.get(code, 0) if same else 0)
        for code, count in after.refusals.items()
    }
    return Top(
        interval_s=interval_s,
        deployments=tuple(sorted(rows, key=lambda one: (one.endpoint, one.deployment))),
        refusals={code: count for code, count in sorted(refusals.items()) if count},
    )


def _row(
    old: DeploymentTraffic | None,
    new: DeploymentTraffic,
    buckets: Sequence[float],
    interval_s: float,
) -> Row:
    def since(counts: Sequence[int], earlier: Sequence[int]) -> list[int]:
        return [now - then for now, then in zip(counts, earlier, strict=True)]

    zeros = (0,) * len(new.counts)
    times = since(new.counts, zeros if old is None else old.counts)
    model = since(new.model_counts, zeros if old is None else old.model_counts)
    by = {
        first: sum(
            count - (0 if old is None else old.statuses.get(status, 0))
            for status, count in new.statuses.items()
            if status.startswith(first)
        )
        for first in "45"
    }
    return Row(
        endpoint=new.endpoint,
        deployment=new.deployment,
        requests_per_s=round(sum(times) / interval_s, 2),
        p50_ms=quantile_ms(times, buckets, 0.5),
        p99_ms=quantile_ms(times, buckets, 0.99),
        model_p50_ms=quantile_ms(model, buckets, 0.5),
        errors_per_s=round(by["5"] / interval_s, 2),
        refused_per_s=round(by["4"] / interval_s, 2),
        in_flight=new.active,
        instances=new.instances,
        alarms=new.sightings,
        drifted=new.drifted,
    )


def quantile_ms(counts: Sequence[int], buckets: Sequence[float], share: float) -> float | None:
    """Return a quantile, milliseconds, straight between the bounds of its bucket.

    Beyond the last bound it is that bound, as Prometheus' `histogram_quantile` has it.

    Args:
        counts: A number for each bucket, and one more for what is longer.
        buckets: Upper bounds, seconds, ascending.
        share: 0 < share < 1.
    """
    total = sum(counts)
    if total <= 0:
        return None
    rank, below = share * total, 0
    for place, bound in enumerate(buckets):
        if below + counts[place] >= rank:
            low = buckets[place - 1] if place else 0.0
            return round(1e3 * (low + (bound - low) * (rank - below) / counts[place]), 3)
        below += counts[place]
    return round(1e3 * buckets[-1], 3)


def _cells(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:.1f}"

    return [
        (
            one.endpoint or "(none)", one.deployment or "(none)", number(one.requests_per_s),
            number(one.p50_ms), number(one.p99_ms), number(one.model_p50_ms),
            number(one.errors_per_s), number(one.refused_per_s), str(one.in_flight),
            str(one.instances), str(one.alarms), "-" if one.drifted is None else str(one.drifted),
        )
        for one in rows
    ]  # fmt: skip


def _live(client: Client, before: Traffic, name: str, interval: float) -> None:
    """Draw until interrupted."""
    from rich.live import Live

    first = compare(before, before, only=name)
    drawing = Live(_drawn(first), screen=True, auto_refresh=False)
    with contextlib.suppress(KeyboardInterrupt), drawing as live:  # it is how this ends
        while True:
            time.sleep(interval)
            after = client.endpoints.metrics()
            live.update(_drawn(compare(before, after, only=name)), refresh=True)
            before = after


def _drawn(found: Top) -> "Table":
    from rich.table import Table

    said = ", ".join(f"{code} {count}" for code, count in found.refusals.items())
    drawn = Table(title="traffic; Ctrl-C ends", caption=said or None)
    for place, column in enumerate(_HEADER):
        drawn.add_column(column, justify="left" if place < 2 else "right")  # noqa: PLR2004 - names
    for row in _cells(found.deployments):
        drawn.add_row(*row)
    return drawn

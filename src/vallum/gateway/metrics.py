"""Prometheus metrics with bounded labels: counted in plain numbers, collected when asked for.

Labels are names of endpoints and deployments that are or were served, HTTP statuses and codes of
our own errors; nothing that a caller sends becomes one.
"""

import secrets
import time
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from vallum.gateway.tracing import Trace, Tracer
from vallum.monitor import DriftReport
from vallum.schema import DeploymentTraffic, Traffic

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
MAX_TALLIES = 1024
"""Deployments that are counted apart; of more, the one that began first is forgotten."""
MAX_CODES = 128
MAX_FEATURES = 64
"""Features of a deployment whose drift is shown one by one, by their place."""


@dataclass(slots=True)
class Times:
    """A histogram of seconds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total_s: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total_s += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Return upper bounds and how many lie below, as Prometheus takes them."""
        so_far, out = 0, []
        for bound, count in zip((*BUCKETS, float("inf")), self.counts, strict=True):
            so_far += count
            out.append(("+Inf" if bound == float("inf") else str(bound), float(so_far)))
        return out


@dataclass(slots=True)
class Tally:
    """What one deployment did. For one event loop.

    Attributes:
        statuses: Requests by HTTP status.
        whole: Seconds in the gateway.
        model: Seconds until the model answered, its process and queue included.
        rows: That the model answered for.
        active: Requests under way.
        instances: Returns how many processes answer.
        sightings: Alarms about callers.
        bits: That answers told callers whose information is bounded.
        counted: Requests that quotas counted.
        copies: Of requests of others, by how they ended: `answered`, `failed` or `left-out`.
        copies_s: Seconds that they took.
        captured: Requests chosen to be kept, by how that ended: `kept` or `dropped`.
        drift: Returns how its inputs have drifted; None where nobody looks, or nothing came yet.
    """

    statuses: dict[int, int] = field(default_factory=dict)
    whole: Times = field(default_factory=Times)
    model: Times = field(default_factory=Times)
    rows: int = 0
    active: int = 0
    sightings: int = 0
    bits: float = 0.0
    counted: int = 0
    copies: dict[str, int] = field(default_factory=dict)
    copies_s: float = 0.0
    captured: dict[str, int] = field(default_factory=dict)
    drift: Callable[[], DriftReport | None] | None = None
    instances: Callable[[], int] = int

    def observe(self, status: int, seconds: float) -> None:
        """Count a request."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.whole.add(seconds)


_Key = tuple[str, str]


class Metrics:
    """Counts what the deployments of a gateway do. For one event loop."""

    def __init__(self, tracer: Tracer | None = None) -> None:
        self._tracer = tracer
        self._tallies: OrderedDict[_Key, Tally] = OrderedDict()
        self._codes: dict[str, int] = {}
        self._name = secrets.token_hex(8)
        self._began_s = time.monotonic()

    def tally(self, endpoint: str, deployment: str) -> Tally:
        """Return where a deployment is counted; one of the same name goes on counting.

        Args:
            endpoint: One that is served, or empty.
            deployment: The same; empty for requests that never got to one.
        """
        key = (endpoint, deployment)
        found = self._tallies.get(key)
        if found is None:
            if len(self._tallies) >= MAX_TALLIES:
                self._tallies.popitem(last=False)
            found = self._tallies[key] = Tally()
        return found

    def settle(
        self,
        tally: Tally | None,
        trace: Trace | None,
        *,
        endpoint: str,
        status: int,
        code: str,
        seconds: float,
    ) -> None:
        """Count a request that was answered, and have its trace sent.

        Args:
            tally: Of the deployment; None where none was chosen.
            trace: If it is traced.
            endpoint: One that is served, or empty.
            status: Of the answer.
            code: Of the error; empty if there is none.
            seconds: It took.
        """
        (self.tally(endpoint, "") if tally is None else tally).observe(status, seconds)
        if trace is not None and self._tracer is not None:
            self._tracer.end(trace, status, code)

    def refuse(self, code: str) -> None:
        """Count a refusal by the code of its error."""
        if code not in self._codes and len(self._codes) >= MAX_CODES:
            code = "other"
        self._codes[code] = self._codes.get(code, 0) + 1

    def render(self, endpoints: frozenset[str]) -> bytes:
        """Return the text exposition of some endpoints, and of what is of none."""
        registry = CollectorRegistry()
        shown = self._shown(endpoints)
        registry.register(_Shown(shown, self._codes, self._tracer))
        return generate_latest(registry)

    def traffic(self, endpoints: frozenset[str]) -> Traffic:
        """Return the same as a record, for our own clients."""
        return Traffic(
            gateway=self._name,
            at_s=time.monotonic() - self._began_s,
            buckets=BUCKETS,
            deployments=tuple(_traffic_of(key, one) for key, one in self._shown(endpoints).items()),
            refusals=dict(self._codes),
        )

    def _shown(self, endpoints: frozenset[str]) -> dict[_Key, Tally]:
        return {key: one for key, one in self._tallies.items() if key[0] in endpoints or not key[0]}


def _traffic_of(key: _Key, one: Tally) -> DeploymentTraffic:
    report = None if one.drift is None else one.drift()
    return DeploymentTraffic(
        endpoint=key[0],
        deployment=key[1],
        statuses={str(status): count for status, count in one.statuses.items()},
        counts=tuple(one.whole.counts),
        total_s=one.whole.total_s,
        model_counts=tuple(one.model.counts),
        model_s=one.model.total_s,
        rows=one.rows,
        active=one.active,
        instances=one.instances(),
        sightings=one.sightings,
        drifted=None if report is None else sum(feature.drifted for feature in report.features),
    )


class _Shown(Collector):
    """Some of the tallies, as `prometheus_client` asks for them."""

    def __init__(
        self, tallies: dict[_Key, Tally], codes: dict[str, int], tracer: Tracer | None
    ) -> None:
        self._tallies = tallies
        self._codes = codes
        self._tracer = tracer

    def describe(self) -> Iterable[Metric]:
        """Say nothing before it is asked for."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families."""
        labels = ("endpoint", "deployment")
        requests = CounterMetricFamily(
            "vallum_requests", "Scoring requests", labels=(*labels, "status")
        )
        rows = CounterMetricFamily("vallum_rows", "Rows answered for", labels=labels)
        seen = CounterMetricFamily("vallum_sightings", "Alarms about callers", labels=labels)
        bits = CounterMetricFamily(
            "vallum_information_bits", "Bits told under a budget of information", labels=labels
        )
        counted = CounterMetricFamily(
            "vallum_quota_requests", "Requests that quotas counted", labels=labels
        )
        active = GaugeMetricFamily("vallum_in_flight", "Requests under way", labels=labels)
        instances = GaugeMetricFamily("vallum_instances", "Processes that answer", labels=labels)
        whole = HistogramMetricFamily(
            "vallum_request_seconds", "Time in the gateway", labels=labels
        )
        model = HistogramMetricFamily(
            "vallum_model_seconds", "Time until the model answered", labels=labels
        )
        copies = CounterMetricFamily(
            "vallum_mirrored", "Copies of requests", labels=(*labels, "outcome")
        )
        taken = CounterMetricFamily("vallum_mirrored_seconds", "Time of copies", labels=labels)
        captured = CounterMetricFamily(
            "vallum_captured", "Requests chosen to be kept", labels=(*labels, "outcome")
        )
        for key, one in self._tallies.items():
            for outcome, count in one.captured.items():
                captured.add_metric((*key, outcome), count)
            for outcome, count in one.copies.items():
                copies.add_metric((*key, outcome), count)
            if one.copies:
                taken.add_metric(key, one.copies_s)
            for status, count in one.statuses.items():
                requests.add_metric((*key, str(status)), count)
            whole.add_metric(key, one.whole.buckets(), one.whole.total_s)
            if key[1]:
                rows.add_metric(key, one.rows)
                seen.add_metric(key, one.sightings)
                bits.add_metric(key, one.bits)
                counted.add_metric(key, one.counted)
                active.add_metric(key, one.active)
                instances.add_metric(key, one.instances())
                model.add_metric(key, one.model.buckets(), one.model.total_s)
        refusals = CounterMetricFamily("vallum_refusals", "Refusals by code", labels=("code",))
        for code, count in self._codes.items():
            refusals.add_metric((code,), count)
        yield from (requests, rows, seen, bits, active, instances, whole, model, copies, taken)
        yield from (captured, refusals, counted)
        yield from self._drift(labels)
        if self._tracer is not None:
            yield CounterMetricFamily("vallum_traces_sent", "Traces that the collector took",
                                      value=self._tracer.sent)  # fmt: skip
            yield CounterMetricFamily("vallum_traces_dropped", "Traces that were lost",
                                      value=self._tracer.dropped)  # fmt: skip

    def _drift(self, labels: tuple[str, ...]) -> Iterator[Metric]:
        psi = GaugeMetricFamily(
            "vallum_drift_psi", "Population stability index of an input, by its place",
            labels=(*labels, "feature"),
        )  # fmt: skip
        drifted = GaugeMetricFamily(
            "vallum_drifted_features", "Inputs that drifted, significantly and much", labels=labels
        )
        rows = GaugeMetricFamily("vallum_drift_rows", "Rows that drift was seen in", labels=labels)
        for key, one in self._tallies.items():
            report = None if one.drift is None else one.drift()
            if report is None:
                continue
            for place, feature in enumerate(report.features[:MAX_FEATURES]):
                psi.add_metric((*key, str(place)), feature.psi)
            drifted.add_metric(key, sum(feature.drifted for feature in report.features))
            rows.add_metric(key, report.rows)
        yield from (psi, drifted, rows)

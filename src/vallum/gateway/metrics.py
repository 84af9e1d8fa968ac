"""Prometheus metrics with bounded labels: counted in plain numbers, collected when asked for."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


@dataclass(slots=True)
class _Times:
    counts: list[int] = field(default_factory=lambda: [0] * (len(_BUCKETS) + 1))
    total_s: float = 0.0


class Metrics(Collector):
    """Counts requests by endpoint and status, and their time. For one event loop."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, int], int] = {}
        self._times: dict[str, _Times] = {}
        self._mirrored: dict[tuple[str, str, str], tuple[int, float]] = {}
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def observe(self, endpoint: str, status: int, seconds: float) -> None:
        """Count one request; `endpoint` is one that is served, or empty."""
        key = (endpoint, status)
        self._requests[key] = self._requests.get(key, 0) + 1
        times = self._times.get(endpoint)
        if times is None:
            times = self._times[endpoint] = _Times()
        times.counts[bisect_left(_BUCKETS, seconds)] += 1
        times.total_s += seconds

    def mirrored(self, endpoint: str, deployment: str, outcome: str, *, seconds: float = 0) -> None:
        """Count one copy of a request: `answered`, `failed` or `left-out`."""
        count, total_s = self._mirrored.get((endpoint, deployment, outcome), (0, 0.0))
        self._mirrored[endpoint, deployment, outcome] = (count + 1, total_s + seconds)

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families, as `prometheus_client` asks for them."""
        requests = CounterMetricFamily(
            "vallum_requests", "Scoring requests", labels=("endpoint", "status")
        )
        for (endpoint, status), count in self._requests.items():
            requests.add_metric((endpoint, str(status)), count)
        yield requests
        labels = ("endpoint", "deployment", "outcome")
        copies = CounterMetricFamily("vallum_mirrored", "Copies of requests", labels=labels)
        taken = CounterMetricFamily(
            "vallum_mirrored_seconds", "Time that copies took", labels=labels
        )
        for key, (count, total_s) in self._mirrored.items():
            copies.add_metric(key, count)
            taken.add_metric(key, total_s)
        yield copies
        yield taken
        seconds = HistogramMetricFamily(
            "vallum_request_seconds", "Time in the gateway", labels=("endpoint",)
        )
        for endpoint, times in self._times.items():
            so_far = 0
            buckets = []
            for bound, count in zip((*_BUCKETS, float("inf")), times.counts, strict=True):
                so_far += count
                buckets.append(("+Inf" if bound == float("inf") else str(bound), so_far))
            seconds.add_metric((endpoint,), buckets, times.total_s)
        yield seconds

    def render(self) -> bytes:
        """Return the text exposition."""
        return generate_latest(self._registry)

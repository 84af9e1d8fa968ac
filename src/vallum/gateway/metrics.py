"""Prometheus metrics with bounded labels; children are looked up once."""

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """Counts requests by endpoint and status, and their time."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "vallum_requests", "Scoring requests", ("endpoint", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "vallum_request_seconds",
            "Time in the gateway",
            ("endpoint",),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._cached: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def observe(self, endpoint: str, status: int, seconds: float) -> None:
        """Count one request."""
        held = self._cached.get((endpoint, status))
        if held is None:
            held = (
                self._requests.labels(endpoint, str(status)),
                self._seconds.labels(endpoint),
            )
            self._cached[endpoint, status] = held
        held[0].inc()
        held[1].observe(seconds)

    def render(self) -> bytes:
        """Return the text exposition."""
        return generate_latest(self._registry)

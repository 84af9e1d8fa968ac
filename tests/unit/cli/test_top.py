from typing import Any

import msgspec
import numpy as np
import pytest

from vallum.cli.top import compare, quantile_ms
from vallum.gateway.metrics import BUCKETS, Metrics

SCORABLE = frozenset({"risk", "other"})


def looks(*, rename: bool = False) -> Any:
    """Return two looks at a gateway, two seconds apart: 100 good answers, 4 refused, 2 broken."""
    metrics = Metrics()
    blue = metrics.tally("risk", "blue")
    for _ in range(10):
        blue.observe(200, 0.004)
        blue.model.add(0.002)
    metrics.refuse("score.rate")
    before = msgspec.structs.replace(metrics.traffic(SCORABLE), at_s=5.0)
    for place in range(100):
        blue.observe(200, 0.001 + 0.00001 * place)
        blue.model.add(0.0007)
    for _ in range(4):
        blue.observe(429, 0.0001)
        metrics.refuse("score.rate")
    for _ in range(2):
        blue.observe(503, 0.3)
    blue.active = 3
    metrics.tally("other", "green").observe(200, 0.01)
    after = msgspec.structs.replace(metrics.traffic(SCORABLE), at_s=7.0)
    return before, msgspec.structs.replace(after, gateway="x") if rename else after


def test_rates_are_of_what_came_between_two_looks() -> None:
    found = compare(*looks())
    assert found.interval_s == 2.0
    assert [one.endpoint for one in found.deployments] == ["other", "risk"]
    row = found.deployments[1]
    assert (row.requests_per_s, row.errors_per_s, row.refused_per_s) == (53.0, 1.0, 2.0)
    assert row.in_flight == 3
    assert 1.0 < row.p50_ms < 2.5
    assert 100 < row.p99_ms < 500
    assert 0.5 < row.model_p50_ms < 1.0
    assert found.refusals == {"score.rate": 4}
    assert len(compare(*looks(), only="risk").deployments) == 1


def test_a_gateway_that_was_started_anew_counts_from_nothing() -> None:
    row = compare(*looks(rename=True), only="risk").deployments[0]
    assert row.requests_per_s == pytest.approx(116 / 7, abs=0.01)
    before, _ = looks()
    quiet = compare(before, before, only="risk").deployments[0]
    assert quiet.requests_per_s == 0
    assert quiet.p50_ms is None


def test_a_quantile_lies_in_its_bucket() -> None:
    rng = np.random.default_rng(0)
    times = rng.exponential(0.02, 5000)
    counts = np.histogram(times, [0, *BUCKETS, np.inf])[0].tolist()
    for share in (0.5, 0.9, 0.99):
        found = quantile_ms(counts, BUCKETS, share)
        true = float(np.quantile(times, share))
        place = int(np.searchsorted(BUCKETS, true))
        assert found is not None
        assert (BUCKETS[place - 1] if place else 0) <= found / 1e3 <= BUCKETS[place]
    assert quantile_ms([0] * len(BUCKETS) + [7], BUCKETS, 0.5) == 2500.0
    assert quantile_ms([0] * (len(BUCKETS) + 1), BUCKETS, 0.5) is None

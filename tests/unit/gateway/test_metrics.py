from typing import Any

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from vallum.gateway.drifting import WINDOW, Drifting
from vallum.gateway.metrics import MAX_CODES, MAX_TALLIES, Metrics
from vallum.monitor import DriftCounter, freeze

RNG = np.random.default_rng(0)
REFERENCE = RNG.standard_normal((500, 3))
BINS = freeze(("a", "b", "c"), REFERENCE)


def shown(metrics: Metrics, *endpoints: str) -> dict[tuple[str, ...], float]:
    text = metrics.render(frozenset(endpoints)).decode()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_deployment_is_counted_apart_and_goes_on_when_it_is_replaced() -> None:
    metrics = Metrics()
    for seconds, status in ((0.0004, 200), (0.02, 200), (9.0, 503)):
        metrics.tally("risk", "blue").observe(status, seconds)
    blue = metrics.tally("risk", "blue")
    blue.active, blue.rows, blue.sightings = 2, 7, 1
    blue.model.add(0.003)
    metrics.tally("risk", "").observe(401, 0.001)
    metrics.refuse("score.rate")
    found = shown(metrics, "risk")
    assert found["vallum_requests_total", "blue", "risk", "200"] == 2
    assert found["vallum_requests_total", "blue", "risk", "503"] == 1
    assert found["vallum_requests_total", "", "risk", "401"] == 1
    assert found["vallum_request_seconds_bucket", "blue", "risk", "0.0005"] == 1
    assert found["vallum_request_seconds_bucket", "blue", "risk", "0.025"] == 2
    assert found["vallum_request_seconds_bucket", "blue", "risk", "+Inf"] == 3
    assert found["vallum_request_seconds_count", "blue", "risk"] == 3
    assert found["vallum_model_seconds_bucket", "blue", "risk", "0.005"] == 1
    assert found["vallum_in_flight", "blue", "risk"] == 2
    assert found["vallum_rows_total", "blue", "risk"] == 7
    assert found["vallum_sightings_total", "blue", "risk"] == 1
    assert found["vallum_refusals_total", "score.rate"] == 1


def test_only_the_endpoints_that_were_asked_for_are_shown() -> None:
    metrics = Metrics()
    for name in ("risk", "secret", ""):
        metrics.tally(name, "blue" if name else "").observe(200, 0.001)
    assert b"secret" not in metrics.render(frozenset({"risk"}))
    assert b'endpoint="risk"' in metrics.render(frozenset({"risk"}))
    assert b'endpoint=""' in metrics.render(frozenset())


def test_memory_is_bounded_whatever_is_counted() -> None:
    metrics = Metrics()
    for at in range(MAX_TALLIES + 50):
        metrics.tally(f"e{at}", "blue").observe(200, 0.001)
        metrics.refuse(f"code.{at}")
    endpoints = frozenset(f"e{at}" for at in range(MAX_TALLIES + 50))
    found = shown(metrics, *endpoints)
    assert len([key for key in found if key[0] == "vallum_rows_total"]) == MAX_TALLIES
    codes = [key for key in found if key[0] == "vallum_refusals_total"]
    assert len(codes) == MAX_CODES + 1
    assert found["vallum_refusals_total", "other"] == MAX_TALLIES + 50 - MAX_CODES


def reported(*batches: Any) -> Any:
    drifting = Drifting(BINS)
    for one in batches:
        drifting.add(one.astype(np.float32))
    return drifting.report()


def test_rows_are_counted_alike_one_by_one_and_at_once() -> None:
    rows = RNG.standard_normal((700, 3)) + np.array([0, 0, 2.0])
    whole = reported(rows)
    assert reported(*(rows[at : at + 1] for at in range(700))) == whole
    assert reported(rows[:300], *(rows[at : at + 1] for at in range(300, 700))) == whole
    counter = DriftCounter(BINS)
    counter.add(rows.astype(np.float32))
    assert counter.report() == whole
    assert [one.drifted for one in whole.features] == [False, False, True]
    assert reported() is None
    assert reported(rows[:, :2]) is None


def test_what_drifted_long_ago_is_forgotten() -> None:
    drifting = Drifting(BINS)
    drifting.add((RNG.standard_normal((WINDOW, 3)) + 5).astype(np.float32))
    assert all(one.drifted for one in drifting.report().features)  # type: ignore[union-attr]
    for _ in range(3):
        drifting.add(RNG.standard_normal((WINDOW, 3)).astype(np.float32))
    after = drifting.report()
    assert not any(one.drifted for one in after.features)  # type: ignore[union-attr]
    assert after.rows <= 2 * (WINDOW + 256)  # type: ignore[union-attr]


def test_drift_is_shown_by_the_place_of_a_feature() -> None:
    metrics, drifting = Metrics(), Drifting(BINS)
    drifting.add((RNG.standard_normal((500, 3)) + np.array([0, 0, 2.0])).astype(np.float32))
    metrics.tally("risk", "blue").drift = drifting.report
    found = shown(metrics, "risk")
    assert found["vallum_drifted_features", "blue", "risk"] == 1
    assert found["vallum_drift_rows", "blue", "risk"] == 500
    assert found["vallum_drift_psi", "blue", "risk", "2"] > 0.2
    assert found["vallum_drift_psi", "blue", "risk", "0"] < 0.2

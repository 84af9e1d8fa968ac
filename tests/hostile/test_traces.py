"""Traces of a real gateway at a real collector, and their way to the log and back."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from collectors import Collector
from running import WIDTH, Up, deploy, prepare, request, running

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
ROW = [[0.125] * WIDTH]


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Up]:
    arguments = ("--otlp", collector.url, "--otlp-ratio", "0")
    with running(Path(tmp_path_factory.mktemp("traced")), arguments=arguments) as started:
        prepare(started)
        yield started


def spans(collector: Collector, trace: str) -> dict[str, Any]:
    end = time.monotonic() + 15
    while time.monotonic() < end:
        found = {one["name"]: one for one in collector.spans() if one["traceId"] == trace}
        if found:
            return found
        time.sleep(0.2)
    return {}


def told(span: Any) -> dict[str, str]:
    return {one["key"]: next(iter(one["value"].values())) for one in span["attributes"]}


def test_a_trace_leads_to_the_log_and_the_log_to_the_trace(
    traced: Up, collector: Collector
) -> None:
    key = deploy(traced, "risk")
    header = f"00-{TRACE}-00f067aa0ba902b7-01"
    assert traced.score("risk", request(ROW), key=key).status_code == 200  # begins no trace
    assert traced.score("risk", request(ROW), key=key, traceparent=header).status_code == 200
    found = spans(collector, TRACE)
    assert set(found) == {"score", "authorize", "model"}
    seen = told(found["score"])
    assert seen["vallum.endpoint"] == "risk"
    assert seen["vallum.deployment"] == "blue"
    assert seen["http.response.status_code"] == "200"
    end = time.monotonic() + 20
    closed: list[Any] = []
    while not closed and time.monotonic() < end:
        time.sleep(0.3)
        listed = traced.owner.audit.list(resource=seen["vallum.bundle"])
        closed = [one for one in listed if one.entry.kind == "bundle-closed"]
    (logged,) = closed
    details = json.loads(traced.owner.audit.show(logged.entry.id).details)
    assert details["traces"] == [
        {"record": int(seen["vallum.record"]), "span": found["score"]["spanId"], "trace": TRACE}
    ]
    assert traced.owner.audit.verify().findings == ()
    for _, body in collector.got:
        assert key.encode() not in body
        assert b"0.125" not in body
        assert {one["traceId"] for one in collector.spans()} <= {
            TRACE,
            "b" * 32,
        }  # the other test's


def test_who_may_not_score_leaves_no_trace_and_a_strange_header_is_no_error(
    traced: Up, collector: Collector
) -> None:
    key = deploy(traced, "quiet")
    forbidden = "a" * 32
    header = f"00-{forbidden}-00f067aa0ba902b7-01"
    answer = traced.score("quiet", request(ROW), key="wrong", traceparent=header)
    assert answer.status_code == 401
    for strange in ("00-xyz", "x" * 5000):
        answer = traced.score("quiet", request(ROW), key=key, traceparent=strange)
        assert answer.status_code == 200
    marker = "b" * 32
    header = f"00-{marker}-00f067aa0ba902b7-01"
    assert traced.score("quiet", b"{", key=key, traceparent=header).status_code == 400
    found = spans(collector, marker)
    assert told(found["score"])["error.type"] == "score.form"
    assert forbidden not in {one["traceId"] for one in collector.spans()}

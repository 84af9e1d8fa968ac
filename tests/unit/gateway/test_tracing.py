"""Traces: a strict header, a bounded queue, and a payload that OpenTelemetry's own types take."""

import asyncio
import base64
import json
from collections.abc import Iterator

import pytest
from collectors import Collector
from hypothesis import given
from hypothesis import strategies as st

from vallum.base import InputError, Secret
from vallum.gateway import tracing
from vallum.gateway.tracing import Tracer, check_collector, check_ratio, parse_traceparent
from vallum.gateway.wire import Request

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{SPAN}-01".encode()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def traced(tracer: Tracer, header: bytes | None = SAMPLED, status: int = 200) -> bool:
    trace = tracer.begin(header)
    if trace is None:
        return False
    trace.chosen("risk", "blue")
    trace.placed("bun_1", 7, 2)
    trace.span("model", trace.began_s)
    tracer.end(trace, status, "" if status == 200 else "model.run")
    return True


@given(st.binary(max_size=80))
def test_any_bytes_are_a_parent_or_none(value: bytes) -> None:
    assert parse_traceparent(value) is None


def test_a_parent_is_taken_as_the_recommendation_writes_it() -> None:
    found = parse_traceparent(SAMPLED)
    assert found is not None
    assert (found.trace_id, found.span_id, found.sampled) == (TRACE, SPAN, True)
    assert parse_traceparent(SAMPLED[:-2] + b"00").sampled is False  # type: ignore[union-attr]
    assert parse_traceparent(SAMPLED[:-2] + b"ff").sampled is True  # type: ignore[union-attr]
    assert parse_traceparent(b"cc" + SAMPLED[2:] + b"-what-comes-later") is not None


@pytest.mark.parametrize(
    "value",
    [
        b"", SAMPLED.upper(), SAMPLED + b"-more", SAMPLED + b" ", b"ff" + SAMPLED[2:],
        SAMPLED.replace(TRACE.encode(), b"0" * 32), SAMPLED.replace(SPAN.encode(), b"0" * 16),
        SAMPLED[:-1], b"cc" + SAMPLED[2:] + b"more", b"cc" + SAMPLED[2:] + b"-" + b"x" * 600,
    ],
)  # fmt: skip
def test_what_is_no_parent_is_none(value: bytes) -> None:
    assert parse_traceparent(value) is None


def test_several_parents_are_none_and_no_reason_to_refuse() -> None:
    request = Request("127.0.0.1")
    for _ in range(3):
        request.add_header(b"traceparent", SAMPLED)
    assert request.repeated == b""
    assert parse_traceparent(request.headers[b"traceparent"]) is None


def test_spans_are_of_opentelemetry_and_hold_no_secret(collector: Collector) -> None:
    service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    json_format = pytest.importorskip("google.protobuf.json_format")

    async def run() -> None:
        tracer = Tracer(collector.url, ratio=0.0, token=Secret(b"collector-token"))
        assert traced(tracer)
        assert traced(tracer, status=503)
        await tracer.close()

    asyncio.run(run())
    ((headers, body),) = collector.got
    assert headers["path"] == "/v1/traces"
    assert headers["content-type"] == "application/json"
    assert headers["authorization"] == "Bearer collector-token"
    assert b"collector-token" not in body
    document = json.loads(body)
    whole, authorize, model, failed, *_ = collector.spans()
    for span in collector.spans():  # in OTLP's JSON ids are hex, in protobuf's own base 64
        for name in ("traceId", "spanId", "parentSpanId"):
            assert bytes.fromhex(span[name])
    for span in document["resourceSpans"][0]["scopeSpans"][0]["spans"]:
        for name in ("traceId", "spanId", "parentSpanId"):
            span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
    message = service.ExportTraceServiceRequest()
    json_format.ParseDict(document, message)  # refuses what is unknown
    resource = {
        one.key: one.value.string_value for one in message.resource_spans[0].resource.attributes
    }
    assert resource["service.name"] == "vallum-gateway"
    assert (whole["traceId"], whole["parentSpanId"], whole["name"]) == (TRACE, SPAN, "score")
    assert {one["name"] for one in (authorize, model)} == {"authorize", "model"}
    assert authorize["parentSpanId"] == model["parentSpanId"] == whole["spanId"]
    assert int(whole["startTimeUnixNano"]) <= int(model["startTimeUnixNano"])
    assert int(model["endTimeUnixNano"]) <= int(whole["endTimeUnixNano"])
    told = {one["key"]: next(iter(one["value"].values())) for one in whole["attributes"]}
    assert told["vallum.bundle"] == "bun_1"
    assert told["vallum.record"] == "7"
    assert "error.type" not in told
    assert whole["status"] == {}
    assert failed["status"] == {"code": 2}


def test_who_is_not_authorized_leaves_no_trace(collector: Collector) -> None:
    async def run() -> None:
        tracer = Tracer(collector.url, ratio=1.0)
        trace = tracer.begin(SAMPLED)
        assert trace is not None
        tracer.end(trace, 401, "identity.unauthenticated")
        await tracer.close()

    asyncio.run(run())
    assert collector.got == []


def test_a_share_of_the_requests_begins_a_trace_and_callers_decide_theirs() -> None:
    async def run() -> None:
        tracer = Tracer("http://127.0.0.1:1", ratio=0.02)
        count = 0
        for _ in range(10_000):
            tracer._tokens = 1e9
            count += tracer.begin(None) is not None
        assert 120 < count < 290
        assert tracer.begin(SAMPLED[:-2] + b"00") is None
        none = Tracer("http://127.0.0.1:1", ratio=0.0)
        assert all(none.begin(None) is None for _ in range(1000))
        assert none.begin(SAMPLED) is not None
        await tracer._client.aclose()
        await none._client.aclose()

    asyncio.run(run())


def test_who_is_not_authorized_takes_nobodys_place() -> None:
    async def run() -> None:
        tracer = Tracer("http://127.0.0.1:1", ratio=0.0)
        for _ in range(500):
            trace = tracer.begin(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
            assert trace is not None
            tracer.end(trace, 401, "identity.unauthenticated")
        assert tracer.dropped == 0
        await tracer.close()

    asyncio.run(run())


def test_a_flood_of_traces_is_bounded_and_counted() -> None:
    async def run() -> None:
        tracer = Tracer("http://127.0.0.1:1", ratio=0.0)
        kept = sum(traced(tracer) for _ in range(500))
        assert kept < 200
        assert tracer.dropped == 500 - kept
        tracer._tokens = 1e9
        for _ in range(tracing.MAX_WAITING + 100):
            tracer._tokens = 1e9
            traced(tracer)
        assert len(tracer._waiting) == tracing.MAX_WAITING
        await tracer.close()  # nobody listens: that costs traces, and raises nothing
        assert len(tracer._waiting) <= tracing.MAX_WAITING

    asyncio.run(run())


def test_a_collector_that_is_busy_is_asked_again_and_one_that_refuses_is_not(
    collector: Collector,
) -> None:
    async def run() -> None:
        tracer = Tracer(collector.url, ratio=0.0)
        for status, sent, waiting, dropped in ((503, 0, 1, 0), (200, 1, 0, 0), (400, 1, 0, 1)):
            collector.status = status
            if not tracer._waiting:
                traced(tracer)
            await tracer._send()
            assert (tracer.sent, len(tracer._waiting), tracer.dropped) == (sent, waiting, dropped)
        await tracer.close()

    asyncio.run(run())


def test_where_traces_go_is_checked() -> None:
    assert check_collector("https://c.example:4318") == "https://c.example:4318/v1/traces"
    assert check_collector("http://127.0.0.1:4318/") == "http://127.0.0.1:4318/v1/traces"
    assert check_collector("https://c.example/otlp/v1/traces").endswith("/otlp/v1/traces")
    for wrong in ("c.example", "ftp://c.example", "http://c.example:4318", "https://",
                  "https://u:p@c.example", "https://c.example/?key=1", "https://c:x"):  # fmt: skip
        with pytest.raises(InputError) as refused:
            check_collector(wrong)
        assert refused.value.code == "up.otlp"
    for ratio in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError):
            check_ratio(ratio)

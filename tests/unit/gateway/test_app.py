"""The guarded path on a gateway with models: who waits for whom, what is captured, and gRPC."""

import asyncio
import errno
import io
import json
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from conftest_workspace import Place
from gateways import Inner, serve
from running import WIDTH, request, small_model

from vallum.gateway import app as module
from vallum.gateway.app import Gateway
from vallum.gateway.bundle import Bundle
from vallum.gateway.capturing import Captures
from vallum.gateway.leasing import Lessee
from vallum.gateway.routes import Route, Running
from vallum.gateway.wire import Answer, Request
from vallum.schema import CapturePolicy, api, rules

ROW = [1.5, -2.25, 3.0, 4.0]


@pytest.fixture(autouse=True)
def _leased(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do without the lease of a second, which a machine that others use may be late for."""
    monkeypatch.setattr(Lessee, "require", lambda _self: None)


@pytest.fixture
def key(place: Place) -> str:
    """Serve a model twice inside the gateway: captured at `quick`, and at `slow`."""
    policy = '{"version": "vallum.policy/1", "capture": {"allow": true}}'
    place.do("policy.set", rules.PolicySet(document=policy, reason="test"))
    place.do("model.register", api.ModelRegister(name="m", file_name="model.onnx"),
             content=io.BytesIO(small_model()))  # fmt: skip
    for name, capture in (("quick", CapturePolicy()), ("slow", None)):
        place.do("endpoint.create", api.EndpointCreate(name=name))
        place.do("endpoint.deploy", api.EndpointDeploy(
            endpoint=name, deployment="blue", model="m", in_process=True, capture=capture,
        ))  # fmt: skip
    made = place.do("key.create", api.KeyCreate(name="caller", principal="owner")).value
    assert isinstance(made, api.Shown)
    return made.secret


def asked(endpoint: str, key: str) -> Request:
    made = Request("127.0.0.1")
    made.method, made.path = b"POST", f"/v2/models/{endpoint}/infer"
    made.headers |= {b"host": b"here", b"authorization": f"Bearer {key}".encode()}
    made.add_body(request([ROW]))
    made.finish()
    return made


def with_models(inner: Inner, folder: Path, work: Callable[[Gateway], Awaitable[None]]) -> None:
    """Run `work` once both models answer."""

    async def run(gateway: Gateway) -> None:
        async with asyncio.timeout(60):
            while not all(  # noqa: ASYNC110 - there is no event for it
                name in gateway._routes and gateway._routes[name].running
                for name in ("slow", "quick")
            ):
                await asyncio.sleep(0.01)
            await work(gateway)

    serve(inner, folder, run)


def test_a_slow_deployment_leaves_the_others_half_of_the_places(
    inner: Inner, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_CONCURRENT", 4)

    async def work(gateway: Gateway) -> None:
        go, waiting = asyncio.Event(), asyncio.Semaphore(0)
        model = gateway._routes["slow"].running[0].model
        predict = model.predict

        async def slowly(x: Any) -> Any:
            waiting.release()
            await go.wait()
            return await predict(x)

        monkeypatch.setattr(model, "predict", slowly)
        held = [asyncio.create_task(gateway.answer(asked("slow", key))) for _ in range(2)]
        for _ in held:
            await waiting.acquire()
        refused = await gateway.answer(asked("slow", key))
        assert (refused.status, json.loads(refused.body)["code"]) == (429, "score.concurrency")
        assert (await gateway.answer(asked("quick", key))).status == 200
        go.set()
        assert [(await one).status for one in held] == [200, 200]
        assert (await gateway.answer(asked("slow", key))).status == 200

    with_models(inner, tmp_path, work)


class Call:
    """A gRPC call as its handler sees it; counts how often its message is read."""

    def __init__(self, message: bytes, key: str = "") -> None:
        self.reads = 0
        self.told: tuple[Any, str] = (None, "")
        self._message = message
        self._metadata = (("authorization", f"Bearer {key}"),) if key else ()

    def peer(self) -> str:
        return "ipv4:127.0.0.1:4711"

    def auth_context(self) -> dict[str, list[bytes]]:
        return {}

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._metadata

    async def read(self) -> bytes:
        self.reads += 1
        return self._message

    async def abort(self, code: Any, details: str, *_: object) -> None:
        grpc = pytest.importorskip("grpc")
        self.told = (code, details)
        raise grpc.aio.AbortError


def infer(gateway: Gateway, tmp_path: Path) -> Callable[[Call], Awaitable[bytes]]:
    """Return how the gRPC door answers `ModelInfer`."""
    rpc = pytest.importorskip("vallum.gateway.rpc", reason="gRPC is an extra")
    tls = rpc.RpcTls(tmp_path / "c.pem", tmp_path / "k.pem", mutual=False)
    door = rpc.RpcDoor(gateway, address="127.0.0.1:0", host=b"here", tls=tls)
    handler = door._handlers()["ModelInfer"].stream_unary
    return lambda call: handler(None, call)


def message(endpoint: str = "quick", *, raw: bool = True) -> bytes:
    proto = pytest.importorskip("vallum.guard.v2_proto", reason="gRPC is an extra").PROTO
    made = proto["ModelInferRequest"](model_name=endpoint)
    tensor = made.inputs.add(name="x", datatype="FP32", shape=[1, WIDTH])
    if raw:
        made.raw_input_contents.append(struct.pack(f"<{WIDTH}f", *ROW))
    else:
        tensor.contents.fp32_contents.extend(ROW)
    return bytes(made.SerializeToString())


def test_nobodys_message_is_read_whom_nobody_knows(inner: Inner, key: str, tmp_path: Path) -> None:
    grpc = pytest.importorskip("grpc", reason="gRPC is an extra")

    async def work(gateway: Gateway) -> None:
        ask = infer(gateway, tmp_path)
        for wrong in ("", "vlm_wrong", key[:-1] + ("a" if key[-1] != "a" else "b")):
            call = Call(message(), wrong)
            with pytest.raises(grpc.aio.AbortError):
                await ask(call)
            assert (call.told[0], call.reads) == (grpc.StatusCode.UNAUTHENTICATED, 0)
        call = Call(message(), key)
        assert await ask(call)
        assert call.reads == 1

    with_models(inner, tmp_path, work)


def test_what_is_captured_of_a_call_is_what_the_same_would_be_over_http(
    inner: Inner, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[tuple[bytes, bytes]] = []

    def noting(
        _self: Captures, _served: object, _tally: object, body: bytes, answer: bytes, **_: object
    ) -> None:
        taken.append((body, answer))

    monkeypatch.setattr(Captures, "take", noting)

    async def work(gateway: Gateway) -> None:
        ask = infer(gateway, tmp_path)
        for raw in (True, False):
            assert await ask(Call(message(raw=raw), key))
        answer: Answer = await gateway.answer(asked("quick", key))
        assert answer.status == 200
        assert await ask(Call(message("slow"), key))  # nobody captures that one

    with_models(inner, tmp_path, work)
    assert len(taken) == 3
    bodies = [json.loads(body)["inputs"][0] for body, _ in taken]
    for tensor in bodies:
        assert tensor["shape"] == [1, WIDTH]
        assert list(tensor["data"]) in (ROW, [ROW])
    assert taken[0][1] == taken[1][1] == taken[2][1]
    assert json.loads(taken[0][1])["outputs"][0]["shape"] == [1, 2]


async def busy_for_long(gateway: Gateway, key: str) -> tuple[Route, Running, Bundle]:
    """Have a deployment answer until its bundle is busy, and as old as a bundle gets."""
    route = gateway._routes["quick"]
    (running,) = route.running
    for _ in range(120):
        assert (await gateway.answer(asked("quick", key))).status == 200
    assert running.bundle is not None
    running.bundle.opened_s -= 60.0
    return route, running, running.bundle


def test_no_request_waits_while_a_busy_bundle_is_replaced(
    inner: Inner, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(gateway: Gateway) -> None:
        route, running, before = await busy_for_long(gateway, key)
        begun, go = asyncio.Event(), asyncio.Event()
        call = gateway._books._desk.call

        async def slowly(path: str, *more: Any) -> Any:
            if path == "/bundle/open":
                begun.set()
                await go.wait()
            return await call(path, *more)

        monkeypatch.setattr(gateway._books._desk, "call", slowly)
        replacing = asyncio.create_task(gateway._books.close_due(route, running))
        await begun.wait()
        async with asyncio.timeout(20):
            assert (await gateway.answer(asked("quick", key))).status == 200
        assert running.bundle is before
        go.set()
        await replacing
        assert running.bundle is not None
        assert running.bundle is not before
        assert (before.count, before.pending, before.path.exists()) == (121, 0, False)
        assert (await gateway.answer(asked("quick", key))).status == 200
        assert running.bundle.count == 1

    with_models(inner, tmp_path, work)


def counting(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count what the gateway asks the control process."""
    counted: Counter[str] = Counter()
    call = gateway._books._desk.call

    async def counts(path: str, *more: Any) -> Any:
        counted[path] += 1
        return await call(path, *more)

    monkeypatch.setattr(gateway._books._desk, "call", counts)
    return counted


async def together(gateway: Gateway, key: str, count: int = 8) -> set[int]:
    answers = await asyncio.gather(*(gateway.answer(asked("quick", key)) for _ in range(count)))
    return {one.status for one in answers}


def test_requests_that_come_together_after_a_silence_wait_for_one_question_each(
    inner: Inner, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(gateway: Gateway) -> None:
        counted = counting(gateway, monkeypatch)
        assert await together(gateway, key) == {200}
        (running,) = gateway._routes["quick"].running
        paths = ("/authorize", "/bundle/open", "/bundle/close")
        assert [counted[path] for path in paths] == [1, 1, 0]
        assert running.bundle is not None
        assert running.bundle.count == 8

    with_models(inner, tmp_path, work)


def test_who_is_refused_is_refused_each_time(
    inner: Inner, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One question for all would leave refusals out of the log and of the count of failures."""

    async def work(gateway: Gateway) -> None:
        counted = counting(gateway, monkeypatch)
        assert await together(gateway, key[:-1] + ("a" if key[-1] != "a" else "b"), 3) == {401}
        assert counted["/authorize"] == 3
        assert await together(gateway, key) == {200}

    with_models(inner, tmp_path, work)


def full(*_: Any) -> Any:
    raise OSError(errno.ENOSPC, "no space left on device")


def test_a_disk_that_is_full_fails_who_waits_for_a_bundle_and_is_asked_again(
    inner: Inner, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(gateway: Gateway) -> None:
        counted = counting(gateway, monkeypatch)
        with monkeypatch.context() as patched:
            patched.setattr(Bundle, "create", full)
            assert await together(gateway, key) == {503}
        assert (counted["/bundle/open"], counted["/bundle/close"]) == (1, 1)
        assert await together(gateway, key) == {200}

    with_models(inner, tmp_path, work)


def test_a_full_disk_ends_no_timer_of_the_gateway(
    inner: Inner, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(gateway: Gateway) -> None:
        route, running, before = await busy_for_long(gateway, key)
        with monkeypatch.context() as patched:
            patched.setattr(Bundle, "create", full)
            await gateway._books.close_due(route, running)
        assert running.bundle is None  # the busy one is in the log, and the next request asks anew
        assert not before.path.exists()
        assert (await gateway.answer(asked("quick", key))).status == 200

    with_models(inner, tmp_path, work)

"""gRPC of the Open Inference Protocol: Triton's unchanged client, and clients that mean harm."""

import contextlib
import gzip
import resource
import select
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from certificates import PEOPLE, authority, client
from running import WIDTH, Up, deploy, free_port, prepare, running

from vallum.gateway.crowd import MAX_RPC_CONNECTIONS

grpc = pytest.importorskip("grpc", reason="gRPC is an extra")
pytest.importorskip("tritonclient", reason="an unchanged client")
triton = pytest.importorskip("tritonclient.grpc")
from tritonclient.grpc import service_pb2 as published  # noqa: E402 - after the skip
from tritonclient.grpc import service_pb2_grpc as stubs  # noqa: E402

pytestmark = pytest.mark.slow  # a server, or several, for this file alone

Code = grpc.StatusCode
ROWS = np.array([[1.0] * WIDTH, [-1.0] * WIDTH], dtype=np.float32)


class Served:
    def __init__(self, up: Up, port: int, key: str) -> None:
        self.up, self.port, self.key = up, port, key

    def triton(self) -> Any:
        return triton.InferenceServerClient(
            f"127.0.0.1:{self.port}", ssl=True, root_certificates=str(self.up.ca)
        )

    @contextlib.contextmanager
    def stub(self, pair: tuple[str, str] | None = None) -> Iterator[Any]:
        shown = [Path(one).read_bytes() for one in pair] if pair else [None, None]
        credentials = grpc.ssl_channel_credentials(self.up.ca.read_bytes(), shown[1], shown[0])
        with grpc.secure_channel(f"127.0.0.1:{self.port}", credentials) as channel:
            yield stubs.GRPCInferenceServiceStub(channel)

    def refused(self, request: Any, *, key: str | None = None, **more: Any) -> Any:
        """Score, and return why not."""
        key = self.key if key is None else key
        metadata = [("authorization", f"Bearer {key}")] if key else []
        metadata += more.pop("metadata", [])
        with self.stub() as stub, pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(request, metadata=metadata, timeout=20, **more)
        return caught.value


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    port = free_port()
    with running(tmp_path_factory.mktemp("grpc"), arguments=("--grpc-port", str(port))) as up:
        prepare(up)
        yield Served(up, port, deploy(up, "fraud"))


def question(rows: Any = ROWS, *, name: str = "fraud", raw: bool = True, **more: Any) -> Any:
    """Return a request as the published messages have it."""
    made = published.ModelInferRequest(model_name=name, id="seven")
    tensor = made.inputs.add(name="x", datatype="FP32", shape=rows.shape)
    if raw:
        made.raw_input_contents.append(rows.astype("<f4").tobytes())
    else:
        tensor.contents.fp32_contents.extend(rows.ravel().tolist())
    for field, value in more.items():
        setattr(tensor, field, value)
    return made


def test_tritons_client_works_unchanged(served: Served) -> None:
    headers = {"authorization": f"Bearer {served.key}"}
    with served.triton() as asked:
        assert asked.is_server_live()
        assert asked.is_server_ready()
        assert asked.is_model_ready("fraud", headers=headers)
        about = asked.get_server_metadata(headers=headers)
        assert about.name == "vallum"
        model = asked.get_model_metadata("fraud", headers=headers)
        assert (model.name, list(model.versions)) == ("fraud", ["blue"])
        assert list(model.inputs[0].shape) == [-1, WIDTH]
        given = triton.InferInput("x", list(ROWS.shape), "FP32")
        given.set_data_from_numpy(ROWS)
        got = asked.infer("fraud", [given], request_id="seven", headers=headers)
        answer = got.as_numpy("probabilities")
    assert answer.shape == (2, 2)
    assert answer.argmax(axis=1).tolist() == [1, 0]
    response = got.get_response()
    assert (response.model_name, response.model_version, response.id) == ("fraud", "blue", "seven")
    assert len(response.raw_output_contents) == 1


def test_typed_contents_are_answered_typed_and_alike(served: Served) -> None:
    metadata = [("authorization", f"Bearer {served.key}")]
    with served.stub() as stub:
        raw = stub.ModelInfer(question(), metadata=metadata, timeout=20)
        typed = stub.ModelInfer(question(raw=False), metadata=metadata, timeout=20)
        doubles = published.ModelInferRequest(model_name="fraud")
        tensor = doubles.inputs.add(name="x", datatype="FP64", shape=ROWS.shape)
        tensor.contents.fp64_contents.extend(ROWS.ravel().tolist())
        wide = stub.ModelInfer(doubles, metadata=metadata, timeout=20)
    assert not typed.raw_output_contents
    expected = np.frombuffer(raw.raw_output_contents[0], dtype="<f4")
    for one in (typed, wide):
        assert np.array_equal(np.float32(one.outputs[0].contents.fp32_contents), expected)


def test_the_same_rules_hold_as_over_http(served: Served) -> None:
    up = served.up
    other = deploy(up, "other")
    for key in ("", "vlm_wrong"):
        assert served.refused(question(), key=key).code() is Code.UNAUTHENTICATED
    # Another endpoint's key, and an endpoint that does not exist, look alike.
    elsewhere = served.refused(question(), key=other)
    unknown = served.refused(question(name="nothing"), key=other)
    assert elsewhere.code() is unknown.code() is Code.NOT_FOUND
    assert elsewhere.details().partition("request")[0] == unknown.details().partition("request")[0]
    # Which deployment answers is a right of its own.
    pick = [("azureml-model-deployment", "blue")]
    assert served.refused(question(), metadata=pick).code() is Code.PERMISSION_DENIED
    up.owner.endpoints.update("fraud", networks=["192.0.2.0/24"])
    refused = served.refused(question(), metadata=[("x-forwarded-for", "192.0.2.1")])
    assert (refused.code(), dict(refused.trailing_metadata())["vallum-code"]) == (
        Code.PERMISSION_DENIED, "score.network",
    )  # fmt: skip
    up.owner.endpoints.update("fraud", networks=[])
    # A revoked key is refused on the very next request, on a connection that stands.
    own = up.owner.keys.create("caller")
    metadata = [("authorization", f"Bearer {own.secret}")]
    with served.stub() as stub:
        assert stub.ModelInfer(question(), metadata=metadata, timeout=20).model_name == "fraud"
        up.owner.keys.revoke(own.id)
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(question(), metadata=metadata, timeout=20)
        assert caught.value.code() is Code.UNAUTHENTICATED
    slow = deploy(up, "slow", rate_per_s=1, burst=2)
    codes = []
    for _ in range(5):
        with served.stub() as stub:
            try:
                stub.ModelInfer(question(name="slow"), timeout=20,
                                metadata=[("authorization", f"Bearer {slow}")])  # fmt: skip
            except grpc.RpcError as error:
                codes.append((error.code(), "retry-after" in dict(error.trailing_metadata())))
    assert set(codes) == {(Code.RESOURCE_EXHAUSTED, True)}
    assert len(codes) >= 2


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"datatype": "INT64"}, "score.datatype"),
        ({"rows": np.full((1, WIDTH), np.nan, np.float32)}, "score.finite"),
        ({"rows": np.zeros((1, WIDTH + 1), np.float32)}, "score.width"),
        ({"shape": [3, WIDTH]}, "score.length"),
        ({"shape": [2**62, 2**62]}, "score.length"),
        ({"shape": [-1, WIDTH]}, "score.shape"),
        ({"both": True}, "score.data"),
        ({"twice": True}, "score.data"),
        ({"inputs": 2}, "score.inputs"),
        ({"odd": True}, "score.length"),
        ({"wrong": True}, "score.data"),
    ],
)
def test_what_no_model_should_see_is_refused(
    served: Served, change: dict[str, Any], code: str
) -> None:
    made = question(change.get("rows", ROWS))
    tensor = made.inputs[0]
    if "datatype" in change:
        tensor.datatype = change["datatype"]
    if "shape" in change:
        tensor.shape[:] = change["shape"]
    if "both" in change:
        tensor.contents.fp32_contents.extend([1.0])
    if "twice" in change:
        made.raw_input_contents.append(b"")
    if "inputs" in change:
        made.inputs.add(name="y", datatype="FP32", shape=[1, 1])
    if "odd" in change:
        made.raw_input_contents[0] += b"\0"
    if "wrong" in change:
        del made.raw_input_contents[:]
        tensor.contents.int64_contents.extend([1] * 8)
    refused = served.refused(made)
    assert dict(refused.trailing_metadata())["vallum-code"] == code
    assert refused.code() in {Code.INVALID_ARGUMENT, Code.RESOURCE_EXHAUSTED}


def test_bounds_hold_before_anything_is_parsed(served: Served) -> None:
    gateway = served.up.gateway_pid()
    before = memory(gateway)
    big = published.ModelInferRequest(model_name="fraud", raw_input_contents=[b"\0" * (17 << 20)])
    assert served.refused(big).code() is Code.RESOURCE_EXHAUSTED
    # Half a gigabyte that comes as half a megabyte is not unpacked.
    bomb = published.ModelInferRequest(model_name="fraud", raw_input_contents=[b"\0" * (256 << 20)])
    assert len(gzip.compress(bytes(1 << 20))) < 2000
    refused = served.refused(bomb, compression=grpc.Compression.Gzip)
    assert refused.code() in {Code.UNIMPLEMENTED, Code.RESOURCE_EXHAUSTED, Code.INVALID_ARGUMENT}
    assert memory(gateway) - before < 128 << 20
    many = [(f"x-{at}", "y") for at in range(80)]
    assert served.refused(question(), metadata=many).code() is Code.INVALID_ARGUMENT
    long = [("x-long", "y" * (40 << 10))]
    assert served.refused(question(), metadata=long).code() is Code.RESOURCE_EXHAUSTED
    twice = [("authorization", "Bearer vlm_other")]
    assert served.refused(question(), metadata=twice).code() is Code.INVALID_ARGUMENT
    credentials = grpc.ssl_channel_credentials(served.up.ca.read_bytes())
    with grpc.secure_channel(f"127.0.0.1:{served.port}", credentials) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        metadata = [("authorization", f"Bearer {served.key}")]
        for garbage in (b"", b"\xff" * 40, b"\x0b", b"\x0a\x05fraud" * 2, b"\x20\x01" * 200):
            with pytest.raises(grpc.RpcError) as caught:
                call(garbage, metadata=metadata, timeout=20)
            assert caught.value.code() in {Code.INVALID_ARGUMENT, Code.NOT_FOUND}, garbage
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/inference.GRPCInferenceService/Nothing")(b"", timeout=20)
        assert caught.value.code() is Code.UNIMPLEMENTED
    with served.stub() as stub:  # and after all of it
        assert stub.ModelInfer(question(), metadata=metadata, timeout=20).id == "seven"


def test_connections_beyond_the_bound_are_ended(served: Served) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    more = 64
    with contextlib.ExitStack() as stack:
        poll, opened = select.poll(), []
        for _ in range(MAX_RPC_CONNECTIONS + more):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", served.port)))
            opened.append(one)
            poll.register(one, select.POLLIN)
        ended: set[int] = set()
        until_s = time.monotonic() + 8  # later those that do not shake hands are ended, too
        while len(ended) < more and time.monotonic() < until_s:
            for number, _ in poll.poll(100):
                ended.add(number)
                poll.unregister(number)
        assert more <= len(ended) < more + 16
        with served.up.http() as http:  # the others' door
            url = f"https://127.0.0.1:{served.up.gateway_port}/livez"
            assert http.get(url).status_code == 200
    with served.stub() as stub:
        live = stub.ServerLive(published.ServerLiveRequest(), timeout=20, wait_for_ready=True)
    assert live.live


def test_a_deadline_ends_a_call_and_no_plain_text_is_served(served: Served) -> None:
    metadata = [("authorization", f"Bearer {served.key}")]
    with served.stub() as stub, pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(question(), metadata=metadata, timeout=0.0)
    assert caught.value.code() is Code.DEADLINE_EXCEEDED
    with grpc.insecure_channel(f"127.0.0.1:{served.port}") as channel:
        stub = stubs.GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.ServerLive(published.ServerLiveRequest(), timeout=5)
        assert caught.value.code() in {Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED}


def test_answers_and_refusals_are_counted_and_logged(served: Served) -> None:
    with served.up.http() as http:
        url = f"https://127.0.0.1:{served.up.gateway_port}/metrics"
        text = http.get(url, headers={"authorization": f"Bearer {served.up.token}"}).text
    lines = [one for one in text.splitlines() if 'endpoint="fraud"' in one]
    assert any('status="200"' in one or 'outcome="200"' in one for one in lines), lines
    assert served.up.owner.workspace.verify().findings == ()


def memory(pid: int) -> int:
    """Return the resident bytes of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def test_where_certificates_are_asked_for_nobody_else_gets_through(tmp_path: Path) -> None:
    now = datetime.fromtimestamp(time.time(), UTC)
    root, stranger = authority(now=now), authority("strangers", now=now)
    good = client(root, PEOPLE, now=now).write(tmp_path, "good")
    foreign = client(stranger, PEOPLE, now=now).write(tmp_path, "foreign")
    port = free_port()
    with running(tmp_path) as up:
        prepare(up)
        key = deploy(up, "fraud")
        up.owner.identities.create("robot", kind="service-principal")
        up.owner.identities.federate("robot", authority=root.pem, subject=PEOPLE)
        up.owner.roles.assign("Vallum Endpoint Invoker", "robot", scope="endpoint/fraud")
    arguments = ("--grpc-port", str(port), "--grpc-client-certificates")
    with running(tmp_path, arguments=arguments) as again:
        mutual = Served(again, port, key)
        end = time.monotonic() + 30
        while True:
            with mutual.stub(good) as stub:
                try:
                    assert stub.ModelInfer(question(), timeout=20).id == "seven"
                    break
                except grpc.RpcError as error:
                    assert time.monotonic() < end, error  # noqa: PT017 - it is still starting
            time.sleep(0.2)
        for pair in (None, foreign):
            with mutual.stub(pair) as stub, pytest.raises(grpc.RpcError) as caught:
                stub.ServerLive(published.ServerLiveRequest(), timeout=10)
            assert caught.value.code() is Code.UNAVAILABLE

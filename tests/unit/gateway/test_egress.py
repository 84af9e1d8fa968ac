"""The way out of scoring code: real sandboxes, sockets and log; where it leads, and where not."""

import asyncio
import contextlib
import io
import json
import socket
import socketserver
import tarfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest_workspace import Place
from gateways import Inner, serve
from running import small_model

from vallum.base import UnavailableError
from vallum.gateway.app import Gateway
from vallum.gateway.egress import PROXIES
from vallum.gateway.leasing import Lessee
from vallum.gateway.relay import take_listener
from vallum.gateway.scripted import ScriptedModel
from vallum.schema import EntryKind, api, rules
from vallum.schema.code import CodeAdd, CodeShown

CODE = """
import json, os, sys

KEPT = {}


def init():
    pass


def run(raw):
    asked = json.loads(raw)
    return globals()[asked.pop("do")](**asked)


def net():
    return sys.modules["so" + "cket"]


def say(text, kept="", more=""):
    try:
        with net().create_connection(("127.0.0.1", 3128), timeout=10) as relay:
            relay.sendall(text.encode("latin-1"))
            got = relay.recv(4096)
            if more:
                relay.sendall(more.encode())
                got += relay.recv(4096)
            if kept:
                KEPT[kept] = relay.dup()
            return got.decode()
    except OSError as error:
        return type(error).__name__


def echo(kept, text):
    try:
        KEPT[kept].sendall(text.encode())
        return KEPT[kept].recv(4096).decode()
    except OSError as error:
        return type(error).__name__


def connect(address, port):
    try:
        net().create_connection((address, port), timeout=2).close()
        return "connected"
    except OSError as error:
        return type(error).__name__


def make(family, kind, protocol=0):
    try:
        net().socket(family, kind, protocol).close()
        return "made"
    except OSError as error:
        return type(error).__name__


def environment():
    return {name: value for name, value in os.environ.items() if "proxy" in name.lower()}
"""


class Echo(socketserver.BaseRequestHandler):
    """Sends back what comes."""

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while data := self.request.recv(4096):
                self.request.sendall(data)


@pytest.fixture
def port() -> Iterator[int]:
    """An echo on loopback."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _leased(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do without the lease of a second, which a machine that others use may be late for."""
    monkeypatch.setattr(Lessee, "require", lambda _self: None)


def allow(place: Place, *egress: dict[str, Any]) -> None:
    document = {
        "version": "vallum.policy/1", "scoring_code": {"allow": True}, "egress": list(egress),
    }  # fmt: skip
    text = json.dumps(document)
    place.do("policy.set", rules.PolicySet(document=text, reason="test"))


def deploy(place: Place) -> api.EndpointShown:
    place.do("model.register", api.ModelRegister(name="m", file_name="model.onnx"),
             content=io.BytesIO(small_model()))  # fmt: skip
    place.do("endpoint.create", api.EndpointCreate(name="out"))
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        header = tarfile.TarInfo("score.py")
        header.size = len(CODE)
        archive.addfile(header, io.BytesIO(CODE.encode()))
    packed.seek(0)
    made = place.do("endpoint.add-code", CodeAdd(endpoint="out"), content=packed).value
    assert isinstance(made, CodeShown)
    asked = api.EndpointDeploy(endpoint="out", deployment="blue", model="m", code=made.id)
    shown = place.do("endpoint.deploy", asked).value
    assert isinstance(shown, api.EndpointShown)
    return shown


Ask = Callable[..., Awaitable[Any]]


def with_code(
    inner: Inner, folder: Path, work: Callable[[Ask, ScriptedModel], Awaitable[None]]
) -> None:
    """Run `work` with what asks the code, once it stands."""

    async def run(gateway: Gateway) -> None:
        async with asyncio.timeout(60):
            while not gateway._routes["out"].running:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.01)
        model = gateway._routes["out"].running[0].model
        assert isinstance(model, ScriptedModel)

        async def ask(do: str, **more: Any) -> Any:
            return json.loads(await model.run(json.dumps({"do": do, **more})))

        await work(ask, model)

    serve(inner, folder, run)


def connections(place: Place) -> dict[tuple[str, int, str], tuple[int, int, int]]:
    """Return what the log says about connections, added up."""
    house = place.kernel.house
    found: dict[tuple[str, int, str], tuple[int, int, int]] = {}
    with house.database.snapshot() as snapshot:
        for one in house.log.entries(snapshot, limit=100_000):
            if one.entry.step != "egress":
                continue
            refused = one.entry.kind is EntryKind.FINDING
            assert one.entry.allowed is not refused
            assert len(one.entry.resources) == 2
            for row in json.loads(house.log.details(snapshot, one) or b"")["connections"]:
                key = row["host"], row["port"], row["code"]
                assert refused is (row["code"] in {
                    "egress.refused", "egress.address", "egress.host", "egress.request",
                })  # fmt: skip
                count, sent, received = found.get(key, (0, 0, 0))
                found[key] = (
                    count + row["count"], sent + row["sent"], received + row["received"],
                )  # fmt: skip
    return found


def connect(place: str) -> str:
    return f"CONNECT {place} HTTP/1.1\r\n\r\n"


@pytest.mark.slow  # a gateway with sandboxes
def test_code_connects_where_a_rule_says_and_nowhere_else(
    inner: Inner, place: Place, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in PROXIES:  # of whoever started the server: they count for nothing
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    rule = {"endpoint": "out", "host": "127.0.0.1", "port": port}
    allow(
        place, rule,
        {"endpoint": "out", "host": "localhost", "port": port},
        {"endpoint": "out", "host": "localhost", "port": 1, "networks": ["127.0.0.1", "::1"]},
        {"endpoint": "other", "host": "127.0.0.1", "port": 2},
    )  # fmt: skip
    shown = deploy(place)
    assert shown.deployments[0].egress == (f"127.0.0.1:{port}", f"localhost:{port}", "localhost:1")
    posture = place.do("workspace.posture", api.Page()).value
    assert isinstance(posture, api.Posture)
    assert "deployment.egress" in {one.id for one in posture.findings}

    async def work(ask: Ask, _model: ScriptedModel) -> None:
        assert await ask("environment") == PROXIES
        target = f"127.0.0.1:{port}"
        assert "200 Conn" in await ask("say", text=connect(target), kept="open")
        assert await ask("echo", kept="open", text="hello") == "hello"
        answer = await ask("say", text=f"GET http://{target}/x HTTP/1.1\r\nHost: b\r\n\r\n")
        assert answer == f"GET /x HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n"
        for asked, status, code in (
            (f"127.0.0.1:{port - 1}", 403, "egress.refused"),
            ("127.0.0.1:2", 403, "egress.refused"),
            (f"127.0.0.2:{port}", 403, "egress.refused"),
            (f"[::1]:{port}", 403, "egress.refused"),
            ("198.51.100.1:443", 403, "egress.refused"),
            ("elsewhere.example:443", 403, "egress.refused"),
            (f"localhost:{port}", 403, "egress.address"),  # where the name leads is not public
            ("localhost:1", 502, "egress.unreachable"),
            (f"127.1:{port}", 400, "egress.host"),
            (f"0x7f000001:{port}", 400, "egress.host"),
            (f"2130706433:{port}", 400, "egress.host"),
            (f"[::ffff:127.0.0.1]:{port}", 400, "egress.host"),
            ("nonsense", 400, "egress.request"),
            ("a" * 20_000 + ":1", 400, "egress.request"),
        ):
            answer = await ask("say", text=connect(asked))
            assert f" {status} " in answer, (asked, answer)
            assert code in answer, (asked, answer)
        # Beside the relay there is nothing: no other address, protocol or family.
        assert await ask("connect", address="127.0.0.1", port=port) == "ConnectionRefusedError"
        for address in ("198.51.100.1", "10.0.0.1", "169.254.169.254"):
            assert await ask("connect", address=address, port=443) == "OSError"
        assert await ask("connect", address="::1", port=port) == "PermissionError"
        assert await ask("connect", address="localhost", port=port) == "gaierror"
        for family, kind, protocol in (
            (socket.AF_INET, socket.SOCK_DGRAM, 0), (socket.AF_INET, socket.SOCK_RAW, 1),
            (socket.AF_INET, socket.SOCK_STREAM, 132), (socket.AF_INET6, socket.SOCK_STREAM, 0),
            (socket.AF_INET6, socket.SOCK_DGRAM, 0), (socket.AF_PACKET, socket.SOCK_RAW, 0),
            (socket.AF_NETLINK, socket.SOCK_RAW, 0), (socket.AF_VSOCK, socket.SOCK_STREAM, 0),
        ):  # fmt: skip
            made = await ask("make", family=family, kind=kind, protocol=protocol)
            assert made == "PermissionError", (family, kind)
        # The rule goes: the next connection is refused, and the open one is ended.
        await asyncio.to_thread(allow, place)
        assert "egress.refused" in await ask("say", text=connect(target))
        assert await ask("echo", kept="open", text="x") in {"", "ConnectionResetError"}

    with_code(inner, tmp_path, work)
    echoed = len(f"GET /x HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n")
    assert connections(place) == {
        ("127.0.0.1", port, ""): (2, echoed, echoed),
        ("127.0.0.1", port, "egress.withdrawn"): (1, 5, 5),
        ("127.0.0.1", port, "egress.refused"): (1, 0, 0),
        ("127.0.0.1", port - 1, "egress.refused"): (1, 0, 0),
        ("127.0.0.1", 2, "egress.refused"): (1, 0, 0),
        ("127.0.0.2", port, "egress.refused"): (1, 0, 0),
        ("::1", port, "egress.refused"): (1, 0, 0),
        ("198.51.100.1", 443, "egress.refused"): (1, 0, 0),
        ("elsewhere.example", 443, "egress.refused"): (1, 0, 0),
        ("localhost", port, "egress.address"): (1, 0, 0),
        ("localhost", 1, "egress.unreachable"): (1, 0, 0),
        ("", 0, "egress.host"): (4, 0, 0),
        ("", 0, "egress.request"): (2, 0, 0),
    }


@pytest.mark.slow  # a gateway with sandboxes
def test_a_way_opens_closes_with_the_lease_and_comes_back_after_its_relay_died(
    inner: Inner, place: Place, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(place)
    deploy(place)
    target = connect(f"127.0.0.1:{port}")

    async def work(ask: Ask, model: ScriptedModel) -> None:
        assert await ask("environment") == {}
        assert await ask("make", family=socket.AF_INET, kind=socket.SOCK_STREAM) == (
            "PermissionError"
        )
        # A rule comes: a process with a way out takes over, and no request is lost meanwhile.
        rule = {"endpoint": "out", "host": "127.0.0.1", "port": port}
        await asyncio.to_thread(allow, place, rule)
        await until(lambda: ask("say", text=target), "200 Conn")

        def lapsed() -> None:
            raise UnavailableError("no lease", code="score.lease")

        with monkeypatch.context() as patched:
            patched.setattr(model._outgoing, "_require", lapsed)
            assert "egress.refused" in await ask("say", text=target)
        assert "200 Conn" in await ask("say", text=target)
        assert model._out is not None
        assert model._out._process is not None
        model._out._process.kill()

        async def again() -> str:
            with contextlib.suppress(UnavailableError):
                return str(await ask("say", text=target))
            return ""

        await until(again, "200 Conn")

    with_code(inner, tmp_path, work)


async def until(say: Callable[[], Awaitable[str]], part: str) -> None:
    end = time.monotonic() + 60
    while part not in (said := await say()):
        assert time.monotonic() < end, said
        await asyncio.sleep(0.05)


def test_a_relay_takes_a_listener_and_nothing_else() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.socket() as listener, socket.socket() as other:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with open("/dev/null") as file:  # noqa: PTH123 - for its descriptor
            for handed in (other.fileno(), theirs.fileno(), file.fileno()):
                socket.send_fds(ours, [b"+"], [handed])
                with pytest.raises(ConnectionError):
                    take_listener(theirs)
        socket.send_fds(ours, [b"+"], [listener.fileno()])
        with take_listener(theirs) as taken:
            assert taken.getsockname() == listener.getsockname()
        ours.close()
        with pytest.raises(ConnectionError):
            take_listener(theirs)

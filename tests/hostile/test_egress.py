"""Scoring code on the real gateway, in network namespaces: what it reaches, and what is logged."""

import io
import json
import socket
import socketserver
import tarfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from namespaces import ADDRESSES, cabled, inside
from running import Up, prepare, running

from vallum.gateway.egress import PROXIES
from vallum.gateway.relay import _is_own

pytestmark = pytest.mark.slow  # a server for this file alone

PEER = "198.51.100.2"
CODE = """
import json, sys


def say(place):
    net = sys.modules["so" + "cket"]
    with net.create_connection(("127.0.0.1", 3128), timeout=9) as relay:
        relay.sendall(f"CONNECT {place} HTTP/1.1\\r\\n\\r\\n".encode())
        got = relay.recv(4096)
        if b" 200 " in got:
            relay.sendall(b"hello")
            got = relay.recv(4096)
        return got.decode()


def plainly(place):
    net = sys.modules["so" + "cket"]
    try:
        net.create_connection((place.split(":")[0], int(place.split(":")[1])), timeout=2).close()
        return "connected"
    except OSError as error:
        return type(error).__name__


def run(raw):
    asked = json.loads(raw)
    return {"say": say, "plainly": plainly}[asked["do"]](asked["place"])
"""


class Greeter(socketserver.BaseRequestHandler):
    """Answers what comes."""

    def handle(self) -> None:
        self.request.sendall(self.request.recv(4096).upper())


@pytest.mark.allow_hosts([*ADDRESSES, PEER])
def test_code_reaches_what_a_rule_names_in_another_network_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cabled() as cables:
        with inside(cables.there):
            servers = [
                socketserver.ThreadingTCPServer(place, Greeter)
                for place in ((PEER, 8443), (PEER, 8444), ("203.0.113.2", 8443))
            ]
        for server in servers:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        with inside(cables.here):
            assert _is_own(socket.AF_INET, cables.address)
            assert _is_own(socket.AF_INET, "127.0.0.1")
            assert not _is_own(socket.AF_INET, PEER)
            for name in PROXIES:  # of whoever starts the server
                monkeypatch.setenv(name, "http://127.0.0.1:9")
            with running(tmp_path) as up:
                for name in PROXIES:
                    monkeypatch.delenv(name)
                prepare(up)
                look(up)
        for server in servers:
            server.shutdown()
            server.server_close()


def look(up: Up) -> None:
    allow(up, {"endpoint": "out", "host": PEER, "port": 8443})
    up.owner.endpoints.create("out")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        header = tarfile.TarInfo("score.py")
        header.size = len(CODE)
        archive.addfile(header, io.BytesIO(CODE.encode()))
    made = up.owner.endpoints.add_code("out", packed.getvalue())
    up.owner.endpoints.deploy("out", "small", code=made.id)
    up.owner.endpoints.wait("out")
    key = up.owner.endpoints.keys("out").secret
    assert ask(up, key, "say", f"{PEER}:8443") == "HELLO"
    for place in (f"{PEER}:8444", "203.0.113.2:8443", f"198.51.100.1:{up.port}", "[::1]:8443"):
        assert "egress.refused" in ask(up, key, "say", place), place
    for place in (f"{PEER}:8443", "203.0.113.2:8443", f"127.0.0.1:{up.port}"):
        assert ask(up, key, "plainly", place) in {"OSError", "ConnectionRefusedError"}
    allow(up)
    assert "egress.refused" in ask(up, key, "say", f"{PEER}:8443")
    assert told(up) == {
        (PEER, 8443, ""): 1,
        (PEER, 8443, "egress.refused"): 1,
        (PEER, 8444, "egress.refused"): 1,
        ("203.0.113.2", 8443, "egress.refused"): 1,
        ("198.51.100.1", up.port, "egress.refused"): 1,
        ("::1", 8443, "egress.refused"): 1,
    }


def allow(up: Up, *rules: dict[str, Any]) -> None:
    document = json.loads(up.owner.policy.show().document)
    document |= {"scoring_code": {"allow": True}, "egress": list(rules)}
    up.owner.policy.set(document, reason="test")


def ask(up: Up, key: str, do: str, place: str) -> str:
    url = f"https://127.0.0.1:{up.gateway_port}/endpoints/out/score"
    body = json.dumps({"do": do, "place": place})
    with up.http() as client:
        got = client.post(url, content=body, headers={"Authorization": f"Bearer {key}"})
    assert got.status_code == 200, got.text
    return str(got.json())


def told(up: Up) -> dict[tuple[str, int, str], int]:
    """Return what the log counts, once all of it is handed in."""
    end = time.monotonic() + 30
    while True:
        found: dict[tuple[str, int, str], int] = {}
        for one in up.owner.audit.list(step="egress"):
            shown = up.owner.audit.show(one.entry.id)
            for row in json.loads(shown.details)["connections"]:
                key = row["host"], row["port"], row["code"]
                found[key] = found.get(key, 0) + row["count"]
        if sum(found.values()) >= 6 or time.monotonic() > end:
            return found
        time.sleep(0.5)

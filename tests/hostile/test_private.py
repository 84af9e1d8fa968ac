"""Endpoints that are reached through a Unix socket, over one interface, or behind a proxy only."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from namespaces import ADDRESSES, cabled, inside
from running import WIDTH, Up, deploy, prepare, request, running

from vallum.base import InputError, Secret
from vallum.sdk import connect

pytestmark = pytest.mark.slow  # a server, or several, for this file alone

ROW = request([[1.0] * WIDTH])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A stopped workspace with the endpoint `inner`, and a key of it."""
    folder = tmp_path_factory.mktemp("private")
    with running(folder) as up:
        prepare(up)
        return folder, deploy(up, "inner")


def through(path: Path, key: str = "", body: bytes = ROW, **headers: str) -> httpx.Response:
    """Score at `inner` through a socket, once its deployment has started."""
    if key:
        headers["authorization"] = f"Bearer {key}"
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), trust_env=False) as client:
        end = time.monotonic() + 30
        while True:
            try:
                got = client.post(
                    "http://localhost/v2/models/inner/infer", content=body, headers=headers
                )
            except httpx.ConnectError:
                got = httpx.Response(503)
            if got.status_code != 503 or time.monotonic() > end:
                return got
            time.sleep(0.1)


def test_a_socket_replaces_the_port_and_changes_no_rule(made: tuple[Path, str]) -> None:
    folder, key = made
    path = folder / "inner.sock"
    with running(folder, arguments=("--gateway-socket", str(path))) as up:
        answer = through(path, key)
        assert answer.status_code == 200, answer.text
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        # Whoever may open it still says who they are.
        assert through(path).status_code == 401
        assert through(path, "vlm_wrong").status_code == 401
        assert through(path, key, host="elsewhere.example").json()["code"] == "score.host"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", up.gateway_port), 5)
        # The client knows the way, and no server elsewhere tells it which sockets to open.
        got = up.owner.endpoints.invoke("inner", ROW, key=Secret(key.encode()))
        assert got["model_name"] == "inner"
        assert up.owner.endpoints.metrics().deployments
        # Its callers are local ones to a list of networks, whatever a header says.
        forwarded = {"x-forwarded-for": "192.0.2.1"}
        up.owner.endpoints.update("inner", networks=["127.0.0.0/8"])
        assert through(path, key, **forwarded).status_code == 200
        up.owner.endpoints.update("inner", networks=["192.0.2.0/24"])
        assert through(path, key, **forwarded).json()["code"] == "score.network"
        # A second server does not take the name away from the first.
        again = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-m", "vallum.cli", "up", "--data", str(folder / "other"), "--port",
             str(up.gateway_port), "--gateway-socket", str(path)],
            capture_output=True, check=False, timeout=60,
        )  # fmt: skip
        assert (again.returncode, b"somebody listens on" in again.stderr) == (2, True)
        up.process.send_signal(signal.SIGKILL)
        up.process.wait()
    assert path.exists()
    proxied = ("--gateway-socket", str(path), "--trusted-proxy", "unix")
    with running(folder, arguments=proxied) as up:  # what the killed one left is no hindrance
        assert through(path, key).json()["code"] == "score.network"
        assert through(path, key, **forwarded).status_code == 200
        claimed = {"x-forwarded-for": "192.0.2.1, 198.51.100.1"}
        assert through(path, key, **claimed).json()["code"] == "score.network"
        strange = {"x-forwarded-for": "somewhere"}
        assert through(path, key, **strange).json()["code"] == "score.forwarded"
        up.owner.endpoints.update("inner", networks=[])
    assert not path.exists()


def test_a_server_elsewhere_names_no_socket_here(tmp_path: Path) -> None:
    path = tmp_path / "victim.sock"
    with connect("https://vallum.example", token=Secret(b"vlm_x")) as client:
        url = f"http+unix://{str(path).replace('/', '%2F')}/v2/models/a/infer"
        with pytest.raises(InputError, match="on the server's machine"):
            client.endpoints._transport.post_json(url, b"")  # what `invoke` calls


@pytest.mark.allow_hosts(ADDRESSES)
def test_no_other_interface_and_no_other_network_reaches_an_endpoint(
    made: tuple[Path, str], tmp_path: Path
) -> None:
    folder, key = made
    with (
        cabled() as cables,
        inside(cables.here),
        running(folder, arguments=("--gateway-host", cables.device)) as up,
    ):
        closed = tmp_path / "closed.yml"
        closed.write_text("name: closed\npublic_network_access: disabled\n")
        subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-m", "vallum.cli", "--url", up.url, "--ca", str(up.ca),
             "--token-file", str(up.folder / "data.keys/owner.key"), "--json",
             "endpoint", "create", "--file", str(closed)],
            check=True, capture_output=True, timeout=60,
            env={**os.environ, "VALLUM_STATE_DIR": "off"},
        )  # fmt: skip
        networks = up.owner.endpoints.show("closed").endpoint.networks
        assert "10.0.0.0/8" in networks
        up.owner.endpoints.update("inner", networks=networks)
        assert scored(up, cables.address, key, until=403) == (403, "score.network")
        with inside(cables.there):
            # From a public address: known, and told so; the second interface: nobody there.
            assert scored(up, cables.address, key, until=403) == (403, "score.network")
            assert scored(up, cables.address, "vlm_wrong", until=401)[0] == 401
            for port in (up.gateway_port, up.port):
                with pytest.raises(OSError):  # noqa: PT011 - refused, or no way there
                    socket.create_connection((cables.other_address, port), 2)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((cables.address, up.port), 5)  # the API is on loopback
        up.owner.endpoints.update("inner", networks=[*networks, "198.51.100.0/24"])
        with inside(cables.there):
            assert scored(up, cables.address, key, until=200) == (200, "")


def scored(up: Up, address: str, key: str, *, until: int) -> tuple[int, str]:
    """Score at an address, until the deployment has started; returns status and code."""
    end = time.monotonic() + 30
    with up.http() as client:
        while True:
            got = client.post(
                f"https://{address}:{up.gateway_port}/v2/models/inner/infer",
                content=ROW,
                headers={"authorization": f"Bearer {key}"},
            )
            if got.status_code == until or time.monotonic() > end:
                return got.status_code, json.loads(got.content).get("code", "")
            time.sleep(0.1)

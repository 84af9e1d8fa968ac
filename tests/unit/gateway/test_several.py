"""Several gateways of one workspace, each a process of its own, as on several machines."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from conftest_workspace import Place
from gateways import TOKEN, Inner
from running import WIDTH, request, small_model

from vallum.sandbox import Process, spawn
from vallum.schema import Quota, api, rules

ROW = request([[1.0] * WIDTH])


class Door:
    """One gateway, reached through a Unix socket."""

    def __init__(self, inner: Inner, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._inner, self._folder = inner, folder
        self._client = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(folder / "door")), trust_env=False, timeout=30
        )
        self.process = self.start()

    def start(self) -> Process:
        """Start it, or start it again."""
        reader, writer = os.pipe()
        os.set_inheritable(reader, True)  # noqa: FBT003 - os takes it by position
        os.write(writer, TOKEN.reveal() + b"\n")
        os.close(writer)
        (self._folder / "door").unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(str(self._folder / "door"))
            door.listen()
            door.set_inheritable(True)
            self.process = spawn(
                (
                    "python", "-m", "vallum.gateway", "--socket", str(self._inner.path),
                    "--token-fd", str(reader), "--listen-fd", str(door.fileno()),
                    "--spool", str(self._folder / "spool"), "--host-header", "localhost",
                ),
                fds=(reader, door.fileno()),
            )  # fmt: skip
        os.close(reader)
        return self.process

    def ask(self, key: str) -> int:
        answer = self._client.post(
            "http://localhost/v2/models/e/infer", content=ROW,
            headers={"Authorization": f"Bearer {key}"},
        )  # fmt: skip
        return answer.status_code

    def close(self) -> None:
        self._client.close()
        self.process.stop(10.0)


@pytest.fixture
def doors(inner: Inner, tmp_path: Path) -> Iterator[list[Door]]:
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(contextlib.closing(Door(inner, tmp_path / str(at))))
            for at in range(2)
        ]


def served(place: Place, doors: list[Door], **limits: object) -> api.Shown:
    """Deploy a model; return a key that all gateways answer."""
    allowed = '{"version": "vallum.policy/1"}'
    place.do("policy.set", rules.PolicySet(document=allowed, reason="test"))
    place.do(
        "model.register", api.ModelRegister(name="m", file_name="model.onnx"),
        content=BytesIO(small_model()),
    )  # fmt: skip
    place.do("endpoint.create", api.EndpointCreate(name="e", **limits))  # type: ignore[arg-type]
    place.do("endpoint.deploy", api.EndpointDeploy(
        endpoint="e", deployment="d", model="m", in_process=True,
    ))  # fmt: skip
    key = place.do("key.create", api.KeyCreate(name="caller", principal="owner")).value
    assert isinstance(key, api.Shown)
    for one in doors:
        serves(one, key.secret)
    return key


def serves(door: Door, key: str) -> None:
    """Wait until a gateway answers."""
    end = time.monotonic() + 60
    while True:
        with contextlib.suppress(httpx.TransportError):  # it is starting
            if door.ask(key) == 200:
                return
        assert time.monotonic() < end
        time.sleep(0.05)


def test_each_lets_in_its_share_and_none_a_key_that_was_revoked(
    place: Place, doors: list[Door]
) -> None:
    begun_s = time.monotonic()
    key = served(place, doors, rate_per_s=1, burst=20)
    got = [[one.ask(key.secret) for _ in range(20)] for one in doors]
    earned = 1.0 * (time.monotonic() - begun_s)
    for answers in got:
        assert set(answers) == {200, 429}
        assert 9 <= answers.count(200) <= 10 + earned / 2  # one was asked before
    place.do("key.revoke", api.Named(name=key.id))
    assert [one.ask(key.secret) for one in doors] == [401, 401]


def test_a_quota_is_one_whoever_answers_and_whoever_is_killed(
    place: Place, doors: list[Door]
) -> None:
    key = served(place, doors, rate_per_s=1000, burst=1000, quotas=(Quota(60),))
    answered = len(doors)
    answered += sum(one.ask(key.secret) == 200 for _ in range(10) for one in doors)
    assert answered == 22
    first, second = doors
    os.kill(first.process.pid, signal.SIGKILL)
    first.process.stop(10.0)
    answered += sum(second.ask(key.secret) == 200 for _ in range(5))
    first.start()
    statuses: list[int] = []
    end = time.monotonic() + 60
    while len(statuses) < 60:
        assert time.monotonic() < end
        with contextlib.suppress(httpx.TransportError):
            statuses += [one.ask(key.secret) for one in doors]
    assert set(statuses) <= {200, 429, 503}
    answered += statuses.count(200)
    assert 40 <= answered <= 60  # what the killed one had been lent is spent

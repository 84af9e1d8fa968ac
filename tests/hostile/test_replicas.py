"""Replicas of a model on a Ray cluster behind the real gateway, and a batch on that cluster.

One cluster, one server and one deployment, whose replicas follow its traffic, for all tests.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from processes import below
from ray_cluster import Cluster, cluster
from running import WIDTH, Up, prepare, request, running, small_model

from vallum.guard.session import Session
from vallum.schema import Scale

pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytest.importorskip("grpc_reflection", reason="the extra `ray` is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROW = request([[1.0] * WIDTH])
CALLERS = 4
SERVED = "ray::ServeReplica"


@dataclass
class Placed:
    """A server whose endpoint `far` is answered by replicas on a cluster."""

    up: Up
    cluster: Cluster
    key: str

    def status(self) -> int:
        return int(self.up.score("far", ROW, key=self.key).status_code)

    def replicas(self) -> dict[int, str]:
        """Return the processes that Ray knows as replicas."""
        found = below(self.cluster.pid)
        return {pid: name for pid, name in found.items() if name.startswith(SERVED)}

    def models(self) -> list[int]:
        """Return the sandboxed processes that hold the model."""
        found = below(self.cluster.pid).items()
        return [pid for pid, name in found if "gateway.inside" in name and "bwrap" not in name]

    def doors(self) -> list[int]:
        found = below(self.up.process.pid).items()
        return [pid for pid, name in found if "gateway.ray_door" in name and "bwrap" not in name]


@pytest.fixture(scope="module")
def placed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Placed]:
    folder = Path(tmp_path_factory.mktemp("placed"))
    with contextlib.ExitStack() as stack:
        stood = stack.enter_context(cluster())
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("VALLUM_RAY_ADDRESS", stood.address)
        patch.setenv("VALLUM_RAY_TOKEN_FILE", str(stood.token_file))
        arguments = ("--ray-replicas", "--batch-engine", "ray")
        up = stack.enter_context(running(folder, arguments=arguments))
        prepare(up)
        up.owner.endpoints.create("far", rate_per_s=100_000, burst=100_000)
        scale = Scale(
            min_instances=1, max_instances=2, target_percent=50, cool_down_s=2, engine="ray"
        )
        up.owner.endpoints.deploy("far", "small", scale=scale)
        up.owner.endpoints.wait("far", timeout_s=240)
        yield Placed(up, stood, up.owner.endpoints.keys("far").secret)


def details(up: Up, **which: str) -> list[dict[str, Any]]:
    """Return the details of log entries."""
    found = up.owner.audit.list(limit=1000, **which)  # type: ignore[arg-type]
    shown = (up.owner.audit.show(one.entry.id).details for one in found)
    return [json.loads(one) for one in shown if one]


def becomes(what: Callable[[], bool], seconds: float = 120) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.2)
    return False


class Load:
    """Asks all the time; keeps how it was answered."""

    def __init__(self, placed: Placed) -> None:
        self.codes: list[str] = []  # of errors; empty where there was none
        self.pause_s = 0.0
        self._placed = placed
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(CALLERS)]

    def _ask(self) -> None:
        up = self._placed.up
        url = f"https://127.0.0.1:{up.gateway_port}/v2/models/far/infer"
        with up.http() as client:
            while not self._stop.is_set():
                answer = client.post(
                    url, content=ROW, headers={"authorization": f"Bearer {self._placed.key}"},
                    timeout=90,
                )  # fmt: skip
                code = "" if answer.status_code == 200 else answer.json()["code"]
                if code != "score.lease":  # the machine is busy with Ray
                    self.codes.append(code)
                self._stop.wait(self.pause_s)

    def __enter__(self) -> Self:
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for one in self._threads:
            one.join(100)


def spent(pid: int) -> int:
    """Return the ticks that a process has run."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_replicas_answer_what_the_model_answers_here(placed: Placed) -> None:
    x = np.random.default_rng(3).normal(size=(5, WIDTH)).astype(np.float32)
    assert becomes(lambda: placed.status() == 200)
    answer = placed.up.score("far", request(x.tolist()), key=placed.key).json()
    told = np.array(answer["outputs"][0]["data"], dtype=np.float32).reshape(5, 2)
    ((_, known),) = Session(small_model()).run(x)
    assert np.array_equal(told, known)
    (deployment,) = placed.up.owner.endpoints.show("far").deployments
    assert deployment.scale is not None
    assert deployment.scale.engine == "ray"
    assert "ray" in [one.get("engine") for one in details(placed.up, step="endpoint.deploy")]


def test_replicas_follow_the_traffic_and_a_killed_one_is_replaced(placed: Placed) -> None:
    assert becomes(lambda: placed.status() == 200)
    with Load(placed) as load:
        assert becomes(lambda: len(placed.replicas()) == 2 and len(placed.models()) == 2)
        before = {pid: spent(pid) for pid in placed.models()}
        assert becomes(lambda: all(spent(pid) > then for pid, then in before.items()), 30)
        assert set(load.codes) == {""}
        victim, *_ = placed.replicas()
        os.kill(victim, signal.SIGKILL)
        assert becomes(lambda: len(set(placed.replicas()) - {victim}) == 2)
        answered = len(load.codes)
        assert becomes(lambda: len(load.codes) > answered + 50)
        lost = [one for one in load.codes if one]
        assert len(lost) <= CALLERS  # those that were with it, and asked twice for nothing
        load.pause_s = 2.0
        assert becomes(lambda: len(placed.replicas()) == 1)
    assert [one for one in load.codes if one] == lost


def test_a_replica_has_no_network_no_environment_and_no_key(placed: Placed) -> None:
    assert becomes(lambda: placed.status() == 200)
    pid = placed.models()[0]
    process = Path(f"/proc/{pid}")
    assert os.readlink(process / "ns/net") != os.readlink("/proc/self/ns/net")  # noqa: PTH115
    routes = (process / "net/route").read_text().splitlines()[1:]
    assert routes == []
    names = {one.partition(b"=")[0] for one in (process / "environ").read_bytes().split(b"\0")}
    assert not {one for one in names if b"RAY" in one or b"VALLUM" in one or b"TOKEN" in one}
    assert not list((process / "root/proc").glob(f"{placed.cluster.pid}"))
    assert not (process / f"root{placed.cluster.token_file}").exists()
    assert not (process / f"root{placed.up.folder}").exists()
    secrets = [placed.key, placed.up.token, placed.cluster.token_file.read_text()]
    for one in (*placed.models(), *placed.replicas(), *placed.doors()):
        held = b"".join(
            (Path(f"/proc/{one}") / name).read_bytes() for name in ("environ", "cmdline")
        )
        assert not [secret for secret in secrets if secret.encode() in held]
    for door in placed.doors():
        assert not (Path(f"/proc/{door}/root{placed.up.folder}") / "data.keys").exists()


def test_a_door_that_is_killed_costs_answers_and_is_opened_again(placed: Placed) -> None:
    """Nobody is answered meanwhile, what stood in the cluster goes, and the log knows of both."""
    assert becomes(lambda: placed.status() == 200)
    before = set(placed.replicas())
    for door in placed.doors():
        os.kill(door, signal.SIGKILL)
    answer = placed.up.score("far", ROW, key=placed.key)
    assert answer.status_code == 503
    assert answer.json()["code"] == "engine.gone"
    assert "Ray" in answer.json()["detail"]
    assert becomes(lambda: placed.status() == 200, 300)
    assert becomes(lambda: not before & set(placed.replicas()), 180)
    assert becomes(
        lambda: any(one["refused"] for one in details(placed.up, kind="bundle-closed")), 30
    )


def test_a_deployment_that_ends_takes_its_replicas_with_it(placed: Placed) -> None:
    up = placed.up
    up.owner.endpoints.create("brief")
    up.owner.endpoints.deploy("brief", "small", scale=Scale(engine="ray"))
    shown = up.owner.endpoints.wait("brief", timeout_s=240)
    (name,) = (one.id for one in shown.deployments)
    assert [one for one in placed.replicas().values() if name in one]
    up.owner.endpoints.delete("brief")
    assert becomes(lambda: not [one for one in placed.replicas().values() if name in one])


def test_a_batch_is_scored_on_the_cluster(placed: Placed) -> None:
    up = placed.up
    lines = ["a,b,c,d", *(f"{at},{-at},1,{at % 3}" for at in range(20))]
    up.owner.data.create("rows", ("\n".join(lines) + "\n").encode(), format="csv")
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "vallum.cli", "--url", up.url, "--ca", str(up.ca),
         "--token-file", str(up.folder / "data.keys/owner.key"), "--json",
         "endpoint", "invoke", "far", "--input", "rows", "--into", "scored"],
        capture_output=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 20
    table = up.owner.data.download("scored").decode().splitlines()
    x = np.array([[float(v) for v in line.split(",")] for line in lines[1:]], dtype=np.float32)
    ((_, known),) = Session(small_model()).run(x)
    told = [[float(value) for value in line.split(",")[:2]] for line in table[1:]]
    assert np.allclose(told, known, atol=1e-6)
    made = [one["batch"]["engine"] for one in details(up, step="endpoint.batch") if "batch" in one]
    assert made == ["ray"]

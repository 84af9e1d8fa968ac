"""Rates and quotas at the real gateway: what callers are told, and what a kill -9 renews."""

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from running import WIDTH, Up, deploy, prepare, request, running

from vallum.gateway.admission import FREE_REFUSALS, REFUSAL_S
from vallum.schema import Quota, Rate

ROW = [[1.0] * WIDTH]


def _gateway(up: Up) -> int:
    for child in Path(f"/proc/{up.process.pid}/task").glob("*/children"):
        for process in child.read_text().split():
            if b"vallum.gateway\0" in Path(f"/proc/{process}/cmdline").read_bytes():
                return int(process)
    raise AssertionError("no gateway")


def _answers(up: Up, endpoint: str, key: str, count: int) -> list[Any]:
    return [up.score(endpoint, request(ROW), key=key) for _ in range(count)]


def test_callers_are_told_what_is_left(serving: Up) -> None:
    key = deploy(serving, "told", rate_per_s=1, burst=5)
    serving.owner.endpoints.update("told", rates=[Rate(100, per="endpoint")], quotas=[Quota(50)])
    first, *_ = answers = _answers(serving, "told", key, 6)
    policy = first.headers["ratelimit-policy"]
    assert policy == '"rate";q=5;w=5, "rate-endpoint";q=100;w=1, "quota-principal";q=50;w=86400'
    left = [one.headers["ratelimit"] for one in answers if one.status_code == 200]
    assert '"quota-principal";r=49;t=8' in left[0]
    assert '"quota-principal";r=48;t=8' in left[1]
    assert all("endpoint" not in one for one in left)
    last = answers[-1]
    assert last.status_code == 429
    assert last.headers["ratelimit"] == f'"rate";r=0;t={last.headers["retry-after"]}'
    assert last.headers["ratelimit-policy"] == policy
    stranger = serving.score("told", request(ROW), key=key[:-1] + "z")
    assert stranger.status_code == 401
    assert "ratelimit" not in stranger.headers
    malformed = deploy(serving, "asked")
    bad = serving.score("asked", b"{", key=malformed)
    assert bad.status_code == 400
    assert bad.headers["ratelimit"].startswith('"rate";r=')


def test_who_asks_on_and_on_waits_for_each_refusal(serving: Up) -> None:
    key = deploy(serving, "noisy", rate_per_s=1, burst=1)
    url = f"https://127.0.0.1:{serving.gateway_port}/v2/models/noisy/infer"
    took_s = []
    with serving.http() as client:
        for _ in range(FREE_REFUSALS + 4):
            begun_s = time.monotonic()
            client.post(url, content=request(ROW), headers={"Authorization": f"Bearer {key}"})
            took_s.append(time.monotonic() - begun_s)
    assert min(took_s[-2:]) >= REFUSAL_S
    assert min(took_s[:FREE_REFUSALS]) < REFUSAL_S


def test_all_callers_of_an_endpoint_share_its_rate_and_its_quota(serving: Up) -> None:
    key = deploy(serving, "shared")
    second = serving.owner.endpoints.keys("shared", kind="secondary").secret
    serving.owner.endpoints.update("shared", rates=[Rate(1, 60, 3, "endpoint")])
    statuses = [one.status_code for one in _answers(serving, "shared", key, 2)]
    statuses += [one.status_code for one in _answers(serving, "shared", second, 3)]
    assert statuses == [200, 200, 200, 429, 429]
    serving.owner.endpoints.update("shared", rates=[], quotas=[Quota(3, 60, "endpoint")])
    got = _answers(serving, "shared", second, 2) + _answers(serving, "shared", key, 2)
    assert [one.status_code for one in got] == [200, 200, 200, 429]
    assert got[-1].json()["code"] == "score.quota"
    assert 1 <= int(got[-1].headers["retry-after"]) <= 60


@pytest.mark.slow
def test_a_killed_gateway_renews_nothing(tmp_path: Path) -> None:
    with running(tmp_path) as up:
        prepare(up)
        key = deploy(up, "kept", rate_per_s=1, burst=1000)
        up.owner.endpoints.update("kept", quotas=[Quota(128)])
        taken = sum(one.status_code == 200 for one in _answers(up, "kept", key, 65))
        assert taken == 65
        time.sleep(1.5)  # rates are kept every 1.25 s
        os.kill(_gateway(up), signal.SIGKILL)
        killed_s = time.monotonic()
    with running(tmp_path) as up:
        end = time.monotonic() + 30
        statuses: list[int] = []
        began_s = time.monotonic()
        while time.monotonic() < end and (not statuses or statuses[-1] != 429):
            answer = up.score("kept", request(ROW), key=key)
            statuses.append(answer.status_code)
            if statuses.count(200) == 1 and answer.status_code == 200:
                left = int(answer.headers["ratelimit"].partition("r=")[2].partition(";")[0])
            if statuses[-1] == 503:
                time.sleep(0.1)
        # As many as were taken, but for those of the seconds that passed since.
        assert left <= 1000 - 65 + (began_s - killed_s) + 30
        # Pieces of two: one request of the 66 that were lent is lost with the gateway.
        assert statuses.count(200) == 128 - 66
        assert statuses[-1] == 429
        assert up.owner.workspace.verify().findings == ()


@pytest.mark.slow
def test_a_killed_gateway_is_started_again(tmp_path: Path) -> None:
    with running(tmp_path) as up:
        prepare(up)
        key = deploy(up, "back")
        killed = _gateway(up)
        os.kill(killed, signal.SIGKILL)
        end = time.monotonic() + 30
        status = 0
        while status != 200 and time.monotonic() < end:
            with contextlib.suppress(httpx.TransportError):
                status = up.score("back", request(ROW), key=key).status_code
            time.sleep(0.1)
        assert status == 200
        assert _gateway(up) != killed
        (found,) = up.owner.audit.list(kind="finding", step="door.start")
        assert found.entry.error == "door.ended"
        assert up.owner.workspace.verify().findings == ()

"""A deployment whose processes follow its traffic, behind the real gateway."""

import threading
import time

import pytest
from running import WIDTH, Up, deploy, request

from vallum.schema import Scale

pytestmark = pytest.mark.slow  # a server, or several, for this file alone

ROW = request([[1.0] * WIDTH])


def processes(serving: Up) -> int:
    url = f"https://127.0.0.1:{serving.gateway_port}/metrics"
    with serving.http() as client:
        text = client.get(url, headers={"authorization": f"Bearer {serving.token}"}).text
    (line,) = (
        one for one in text.splitlines()
        if one.startswith("vallum_instances{") and 'endpoint="grown"' in one
    )  # fmt: skip
    return int(float(line.rpartition(" ")[2]))


def test_processes_come_with_the_traffic_and_go_without_a_lost_request(serving: Up) -> None:
    scale = Scale(min_instances=1, max_instances=2, target_percent=1, cool_down_s=1)
    key = deploy(serving, "grown", rate_per_s=100_000, burst=100_000, scale=scale)
    assert serving.owner.endpoints.show("grown").deployments[0].scale is not None
    url = f"https://127.0.0.1:{serving.gateway_port}/v2/models/grown/infer"
    headers = {"authorization": f"Bearer {key}"}
    stop = threading.Event()
    statuses: list[int] = []
    pause_s = 0.0

    def call() -> None:
        with serving.http() as client:
            while not stop.is_set():
                statuses.append(client.post(url, content=ROW, headers=headers).status_code)
                stop.wait(pause_s)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for one in threads:
        one.start()
    try:
        assert becomes(serving, 2)
        pause_s = 1.5  # next to nothing, but requests go on while one process ends
        assert becomes(serving, 1)
    finally:
        stop.set()
        for one in threads:
            one.join(30)
    assert set(statuses) == {200}


def becomes(serving: Up, count: int) -> bool:
    end = time.monotonic() + 40
    while time.monotonic() < end:
        if processes(serving) == count:
            return True
        time.sleep(0.1)
    return False

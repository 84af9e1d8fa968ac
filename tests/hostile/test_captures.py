"""The real gateway captures a sample: redacted before the store, dropped rather than waited for."""

import json
import time

import pytest
from running import WIDTH, Up, deploy, request

from vallum.schema import CapturePolicy

pytestmark = pytest.mark.slow  # a server, or several, for this file alone

CARD = 4_111_111_111_111_111
KEEP = CapturePolicy(keep_days=3)


def allow(up: Up, *, capture: bool) -> None:
    document = json.loads(up.owner.policy.show().document)
    document["capture"] = {"allow": capture}
    up.owner.policy.set(document, reason="test")


def kept(up: Up, endpoint: str, count: int) -> list[dict[str, object]]:
    """Return the captured records once there are so many."""
    end = time.monotonic() + 40
    while time.monotonic() < end:
        books = up.owner.endpoints.captures(endpoint).books
        if sum(one.records for one in books) >= count:
            found = b"".join(up.owner.endpoints.captured(endpoint))
            return [json.loads(line) for line in found.splitlines()]
        time.sleep(0.2)
    raise AssertionError((up.folder / "up.log").read_text())


def counted(up: Up, key: str, outcome: str) -> float:
    with up.http() as client:
        url = f"https://127.0.0.1:{up.gateway_port}/metrics"
        text = client.get(url, headers={"Authorization": f"Bearer {key}"}).text
    return sum(
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith("vallum_captured_total") and f'outcome="{outcome}"' in line
    )


def test_a_sample_is_kept_redacted_and_is_nowhere_in_the_clear(serving: Up) -> None:
    allow(serving, capture=True)
    key = deploy(serving, "seen", capture=KEEP)
    before = len(kept(serving, "seen", 1))  # what `deploy` waited for
    rows = [[float(CARD), 1.25, -2.5, 3.75], [5.0, 1.25, -2.5, 3.75]]
    assert serving.score("seen", request(rows), key=key).status_code == 200
    records = kept(serving, "seen", before + 1)
    last = records[-1]
    assert last["deployment"] == "blue"
    assert str(last["bundle"]).startswith("bun-")
    (tensor,) = last["inputs"]["inputs"]  # type: ignore[index]
    assert str(CARD) not in json.dumps(records)
    assert tensor["data"][0][1:] == rows[0][1:]
    assert last["outputs"]["outputs"][0]["shape"] == [2, 2]  # type: ignore[index]
    for path in (serving.folder / "data").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert str(CARD).encode() not in content
            assert b"-2.5, 3.75" not in content
            assert b"-2.5,3.75" not in content
    assert counted(serving, serving.token, "kept") >= before + 1


def test_what_is_too_long_is_dropped_and_counted_and_still_answered(serving: Up) -> None:
    allow(serving, capture=True)
    key = deploy(serving, "long", capture=KEEP)
    dropped = counted(serving, serving.token, "dropped")
    rows = [[1.0625] * WIDTH] * 9000
    assert serving.score("long", request(rows), key=key).status_code == 200
    assert counted(serving, serving.token, "dropped") == dropped + 1


def test_capture_ends_with_the_leave_to(serving: Up) -> None:
    allow(serving, capture=True)
    key = deploy(serving, "ended", capture=KEEP)
    before = len(kept(serving, "ended", 1))
    allow(serving, capture=False)
    for _ in range(5):
        assert serving.score("ended", request([[1.0] * WIDTH]), key=key).status_code == 200
    time.sleep(3.0)  # longer than a first piece waits
    assert sum(one.records for one in serving.owner.endpoints.captures("ended").books) == before

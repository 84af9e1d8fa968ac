"""A clock that jumps by a year under a running server: that of the process that decides."""

import contextlib
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from running import WIDTH, Up, deploy, prepare, request, running

from vallum.base import UnauthenticatedError

LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
ROW = request([[1.0] * WIDTH])
YEAR = "365d"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(LIBRARY is None, reason="needs the Debian package faketime"),
]


def answers(up: Up, key: str) -> int:
    """Return how the endpoint answers once the gateway has a lease again."""
    end = time.monotonic() + 20
    while True:
        with contextlib.suppress(httpx.ConnectError):
            answer = up.score("risk", ROW, key=key)
            if answer.status_code != 503 or time.monotonic() > end:
                return int(answer.status_code)
        if time.monotonic() > end:
            raise AssertionError((up.folder / "up.log").read_text())
        time.sleep(0.2)


def test_a_clock_that_jumps_by_a_year_opens_nothing_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = tmp_path / "clock"
    clock.write_text("+0")
    with running(tmp_path) as up:
        prepare(up)
        lasting = deploy(up, "risk", in_process=True)
        ends = datetime.now(UTC) + timedelta(days=30)  # noqa: TID251 - the real server's clock
        ending = up.owner.keys.create("month", expires_at=ends.isoformat()).secret
        port = up.port
    monkeypatch.setenv("FAKETIME_TIMESTAMP_FILE", str(clock))
    monkeypatch.setenv("FAKETIME_NO_CACHE", "1")
    monkeypatch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    with contextlib.ExitStack() as stack:
        with monkeypatch.context() as preloaded:
            preloaded.setenv("LD_PRELOAD", str(LIBRARY))
            up = stack.enter_context(running(tmp_path, port=port))
        month = up.client(ending)
        for jump, holds in (("+0", True), (f"+{YEAR}", False), (f"-{YEAR}", True), ("+0", True)):
            clock.write_text(jump)
            time.sleep(1)
            with contextlib.nullcontext() if holds else pytest.raises(UnauthenticatedError):
                month.identities.create(f"made-at-{len(up.owner.identities.list())}")
            assert answers(up, lasting) == 200
            assert up.owner.audit.verify().findings == ()
        up.process.kill()  # timed waits of a process under faketime do not end
    # What was open when the clock jumped was charged in full, and stops no later start.
    with running(tmp_path, port=port) as up:
        assert answers(up, lasting) == 200
        assert up.owner.audit.verify().findings == ()
        assert up.owner.audit.list(kind="finding")

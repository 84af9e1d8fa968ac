"""The database under a running server dies: the door closes, loses nothing, and opens again."""

import signal
import time
from pathlib import Path

import pytest
from fixtures_store import PostgreSQL, postgresql
from running import running, table

from vallum.base import UnavailableError

__all__ = ["postgresql"]


@pytest.mark.guarantee("G10")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "immediate"])
def test_a_database_that_goes_closes_the_door_until_it_is_back(
    tmp_path: Path, postgresql: PostgreSQL, how: signal.Signals
) -> None:
    address = tmp_path / "database"
    address.touch(mode=0o600)
    address.write_text(postgresql() + "\n")
    with running(tmp_path, arguments=("--database-file", str(address))) as up:
        up.owner.data.create("before", table(1), format="csv")
        postgresql.stop(how)
        try:
            begin = time.monotonic()
            answer = up.raw("/api/v1/data")
            assert answer.status_code == 503, answer.text
            assert answer.headers["Content-Type"].startswith("application/problem+json")
            with pytest.raises(UnavailableError):
                up.owner.data.create("during", table(2), format="csv")
            assert time.monotonic() - begin < 60
        finally:
            postgresql.start()
        end = time.monotonic() + 30
        while up.raw("/api/v1/data").status_code != 200:
            assert time.monotonic() < end, "the door stays closed"
            time.sleep(0.2)
        up.owner.data.create("after", table(3), format="csv")
        assert {one.name for one in up.owner.data.list()} == {"before", "after"}
        assert up.owner.workspace.verify().findings == ()
        log = (tmp_path / "up.log").read_text()
        assert address.read_text().strip() not in log
    assert "vallum_" not in (tmp_path / "data.keys/workspace.json").read_text()


@pytest.mark.slow
def test_the_database_of_a_workspace_is_remembered_and_not_swapped(
    tmp_path: Path, postgresql: PostgreSQL
) -> None:
    address = tmp_path / "database"
    address.touch(mode=0o600)
    address.write_text(postgresql())
    with running(tmp_path, arguments=("--database-file", str(address))) as up:
        up.owner.data.create("kept", table(1), format="csv")
    with running(tmp_path) as up:
        assert [one.name for one in up.owner.data.list()] == ["kept"]
    assert not (tmp_path / "data/vallum.db").exists()
    assert (tmp_path / "data.keys/elsewhere.json").stat().st_mode & 0o077 == 0
    address.write_text(postgresql())
    with (
        pytest.raises(AssertionError, match="keeps its database or objects elsewhere"),
        running(tmp_path, arguments=("--database-file", str(address))),
    ):
        pass

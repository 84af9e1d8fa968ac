"""Fail each call of a write in turn, by an error or by death; afterwards everything verifies.

Calls are counted at the borders where a write can break: SQL statements and commits, object
creation and removal, fsync and rename of files. `error` fails one call; `death` fails it and
every later one, so that no clean-up runs, as after `kill -9`. Then the workspace is opened again:
the old state or the new one is there, and `verify` finds nothing.
"""

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from conftest_workspace import sign_in_owner
from crash_scenarios import SCENARIOS
from sqlalchemy import event

from vallum.base import VallumError
from vallum.store import backend
from vallum.workspace.bootstrap import Places, create, opened
from vallum.workspace.intent import Intent
from vallum.workspace.views.verification import verify_everything

MAX_CALLS = 400


class Death(BaseException):
    """The process is gone."""


class Fault:
    """Counts calls and fails the one it was told to."""

    def __init__(self, at: int, *, death: bool) -> None:
        self._at = at
        self._death = death
        self.count = 0
        self.fired = False

    def call(self, error: Callable[[], BaseException]) -> None:
        """Come to a border."""
        self.count += 1
        if self.count == self._at or (self.fired and self._death):
            self.fired = True
            raise Death if self._death else error()


@contextmanager
def injected(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put `fault` at every border for as long as the block runs."""

    def full() -> BaseException:
        return OSError(errno.ENOSPC, "no space left on device")

    def statement(*_: Any) -> None:
        fault.call(
            lambda: sa.exc.OperationalError("", {}, sqlite3.OperationalError("disk I/O error"))
        )

    def before(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **more: Any) -> Any:
            fault.call(full)
            return function(*arguments, **more)

        return run

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", before(os.fsync))
        patch.setattr(Path, "replace", before(Path.replace))
        patch.setattr(backend, "create", _translated(before(backend.create)))
        patch.setattr(backend, "remove", _translated(before(backend.remove)))
        event.listen(sa.Engine, "before_cursor_execute", statement)
        event.listen(sa.Engine, "commit", statement)
        try:
            yield
        finally:
            event.remove(sa.Engine, "before_cursor_execute", statement)
            event.remove(sa.Engine, "commit", statement)


def _translated(function: Callable[..., Any]) -> Callable[..., Any]:
    """An object store's own error, as the back-end's border would have turned it."""
    from vallum.base import UnavailableError

    def run(*arguments: Any, **more: Any) -> Any:
        try:
            return function(*arguments, **more)
        except OSError as error:
            raise UnavailableError("the object store is full", code="store.full") from error

    return run


def on_sqlite(folder: Path) -> Places:
    return Places.below(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def make_places(request: pytest.FixtureRequest) -> Callable[[Path], Places]:
    """Return what makes the places of a fresh workspace, on each database."""
    if request.param == "sqlite":
        return on_sqlite
    fresh: Callable[[], str] = request.getfixturevalue("postgresql")
    return lambda folder: replace(Places.below(folder), database_url=fresh())


@pytest.mark.slow
# The dead close no connection: that is the point.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("death", [False, True], ids=["error", "death"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_broken_write_leaves_the_old_state_or_the_new_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_places: Callable[[Path], Places],
    scenario: str,
    death: bool,  # noqa: FBT001
) -> None:
    act, happened = SCENARIOS[scenario]
    done = False
    outcomes = set()
    for at in range(1, MAX_CALLS):
        places = make_places(tmp_path / f"w{at}")
        create(places)
        fault = Fault(at, death=death)
        try:
            with opened(places) as kernel:
                place = sign_in_owner(kernel, places)
                with injected(fault, monkeypatch):
                    act(place)
        except (VallumError, Death):
            pass
        with opened(places) as kernel:
            place = sign_in_owner(kernel, places)
            house = kernel.house
            with house.database.snapshot() as snapshot:
                assert house.records.list(snapshot, "intent", Intent) == []
            outcomes.add(happened(place))
            verified = verify_everything(house, objects=True)
            assert verified.findings == (), (at, verified.findings)
            if happened(place) is False:
                act(place)
                assert happened(place)
        if not fault.fired:
            done = True
            break
    assert done, "the scenario never ran to its end"
    assert outcomes == {True, False}

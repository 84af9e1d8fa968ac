"""Fixtures of an open workspace, and of what serves it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest_workspace import Place, place, places, reopen
from gateways import Inner

__all__ = ["inner", "place", "places", "reopen"]


@pytest.fixture
def inner(place: Place, tmp_path: Path) -> Iterator[Inner]:
    made = Inner(place, tmp_path)
    yield made
    made.stop()

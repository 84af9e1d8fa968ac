"""One running server for all hostile tests of a module."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from running import Up, prepare, running


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A running server without models."""
    with running(Path(tmp_path_factory.mktemp("up"))) as started:
        yield started


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A running server with a tested and signed model."""
    with running(Path(tmp_path_factory.mktemp("serving"))) as started:
        prepare(started)
        yield started

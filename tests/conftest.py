"""What every test needs: clients keep their anchors in a folder of the run, not of the user."""

import os
import tempfile
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _state_folder() -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="vallum-state-") as folder:
        os.environ["VALLUM_STATE_DIR"] = folder
        yield

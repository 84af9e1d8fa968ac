"""What every test needs: clients keep their anchors in a folder of the run, not of the user."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from tokens import MODULE, fill_token, make_token

# A machine that others use, too, says nothing about time.
settings.register_profile(
    "untimed", settings.get_profile(settings.get_current_profile_name()), deadline=None
)
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def _state_folder() -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="vallum-state-") as folder:
        os.environ["VALLUM_STATE_DIR"] = folder
        yield


@pytest.fixture(scope="session")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The library of a SoftHSM token `T`, for as long as the tests run."""
    config = make_token(tmp_path_factory.mktemp("token"))
    os.environ["SOFTHSM2_CONF"] = str(config)
    fill_token()
    yield MODULE
    del os.environ["SOFTHSM2_CONF"]

import pytest

from vallum.sandbox import BubblewrapRunner


@pytest.fixture(scope="session")
def runner() -> BubblewrapRunner:
    return BubblewrapRunner.open()

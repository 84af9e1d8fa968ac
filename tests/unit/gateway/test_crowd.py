"""How many connections a gateway has descriptors for."""

import resource
import subprocess
import sys
from typing import Any

import pytest

from vallum.gateway.crowd import MAX_CONNECTIONS


@pytest.mark.parametrize(
    ("soft", "hard", "rpc", "connections", "descriptors"),
    [
        (256, 4096, False, 3584, 4096),  # it asks for more
        (256, 256, False, 128, 256),  # it may not: half is for everything else
        (18_000, 20_000, False, MAX_CONNECTIONS, 18_000),  # it has enough
        (256, 4096, True, 2560, 4096),  # gRPC accepts by itself
    ],
    ids=["more", "few", "many", "rpc"],
)
def test_there_is_room_for_as_many_connections_as_descriptors_are_left(
    soft: int, hard: int, rpc: Any, connections: int, descriptors: int
) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < hard:
        pytest.skip("this process may not open so many files")
    program = f"""
import resource
from vallum.gateway.crowd import room
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
print(room(rpc={rpc}), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""
    told = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert told.stdout.split() == [str(connections), str(descriptors)]

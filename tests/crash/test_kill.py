"""`kill -9` of the running server in the middle of each step: the old state or the new one.

The control process is killed at moments spread over the step; gateway and worker die with it. After
a restart everything verifies, and what the step makes is there whole or not at all.
"""

import contextlib
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from running import Up, prepare, running, small_model, table

from vallum.base import VallumError

MOMENTS_S = (0.0, 0.004, 0.012, 0.03, 0.08, 0.2)
Act = Callable[[Up, int], object]
Look = Callable[[Up], int]

STEPS: dict[str, tuple[Act, Look]] = {
    "data create": (
        lambda up, at: up.owner.data.create(f"d{at}", table(at), format="csv"),
        lambda up: len([one for one in up.owner.data.list() if one.name.startswith("d")]),
    ),
    "data protect": (
        lambda up, at: up.owner.data.protect(
            "members", k=2, max_suppression="1.0", quasi_identifiers=("y",), into=f"p{at}"
        ),
        lambda up: len([one for one in up.owner.data.list() if one.name.startswith("p")]),
    ),
    "model register": (
        lambda up, at: up.owner.models.register(f"m{at}", small_model(at / 100)),
        lambda up: len([one for one in up.owner.models.list() if one.name.startswith("m")]),
    ),
    "key create": (
        lambda up, at: up.owner.keys.create(f"k{at}"),
        lambda up: len(up.owner.keys.list()),
    ),
    "key rotation of the workspace": (
        lambda up, at: up.owner.workspace.rotate_keys(destroy_old=at % 2 == 1),
        lambda _: 0,
    ),
    "deploy": (
        lambda up, at: up.owner.endpoints.deploy("e", "small", deployment=f"d{at}"),
        lambda up: len(up.owner.endpoints.show("e").deployments),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_killing_the_server_leaves_the_old_state_or_the_new_one(step: str, tmp_path: Path) -> None:
    act, look = STEPS[step]
    with running(tmp_path) as up:
        port = up.port
        prepare(up)
        up.owner.endpoints.create("e")
        before = look(up)
    for at, moment_s in enumerate(MOMENTS_S):
        with running(tmp_path, port=port) as up:

            def work(up: Up = up, at: int = at) -> None:
                with contextlib.suppress(VallumError):  # its connection breaks
                    act(up, at)

            thread = threading.Thread(target=work)
            thread.start()
            time.sleep(moment_s)
            up.process.send_signal(signal.SIGKILL)
            up.process.wait()
            thread.join()
        with running(tmp_path, port=port) as up:
            made = look(up)
            assert before <= made <= before + 1, step
            before = made
            assert up.owner.workspace.verify().findings == (), (step, moment_s)
            act(up, 100 + at)  # it serves, and the same step goes through
            before = look(up)

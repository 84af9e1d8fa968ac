"""Control groups: what they bound, what they tell, and what is left without them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vallum.sandbox import BubblewrapRunner, Job, Limits, Status, cgroup
from vallum.sandbox.cgroup import make_group, sweep

MIB = 1 << 20
LIMITS = Limits(memory_bytes=128 * MIB, cpu_s=20, wall_s=20.0, processes=12)


def job(text: str) -> Job:
    return Job(
        argv=("python", "-I", "/code/main.py"), code={"main.py": text.encode()}, limits=LIMITS
    )


@pytest.fixture
def _groups() -> None:
    group = make_group(LIMITS)
    if group is None:
        pytest.skip("this machine lets us make no control group")
    group.finish()


def left() -> list[Path]:
    found = Path("/sys/fs/cgroup").rglob(f"vallum-{os.getpid()}-*")
    return [one for one in found if one.is_dir()]


@pytest.mark.usefixtures("_groups")
def test_memory_of_all_together_ends_the_run_at_once(runner: BubblewrapRunner) -> None:
    # Eight processes of 30 MiB: none is over its own bound, and no sample comes in between.
    text = (
        "import os, time\n"
        "for _ in range(7):\n"
        "    if os.fork() == 0: break\n"
        "held = bytearray(os.urandom(1 << 20) * 30)\n"
        "time.sleep(3)\n"
    )
    outcome = runner.run(job(text))
    assert (outcome.status, outcome.reason) == (Status.LIMIT, "memory")
    assert any(one.startswith("cgroup-v") and "memory" in one for one in outcome.enforced)
    assert left() == []


@pytest.mark.usefixtures("_groups")
def test_processes_are_bounded_by_the_group_too(runner: BubblewrapRunner) -> None:
    text = (
        "import os, time\n"
        "made = 0\n"
        "try:\n"
        "    for _ in range(100):\n"
        "        if os.fork() == 0: time.sleep(5)\n"
        "        made += 1\n"
        "except OSError: pass\n"
        "print(made)\n"
    )
    outcome = runner.run(job(text))
    assert int(outcome.stdout.split()[0]) <= LIMITS.processes
    assert any("pids" in one for one in outcome.enforced)
    assert left() == []


@pytest.mark.usefixtures("_groups")
def test_what_a_killed_process_left_is_swept() -> None:
    code = (
        "from vallum.sandbox.cgroup import make_group\n"
        "from vallum.sandbox import Limits\n"
        "print(make_group(Limits()).entrances[0])\n"
    )
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    folder = Path(done.stdout.strip()).parent
    assert folder.is_dir()
    assert sweep() >= 1
    assert not folder.exists()


def test_without_a_group_the_other_bounds_hold(
    runner: BubblewrapRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroup, "_hierarchies", lambda: iter(()))
    outcome = runner.run(job("x = b'a' * (1 << 30)"))
    assert outcome.status is not Status.OK
    assert not any(one.startswith("cgroup") for one in outcome.enforced)
    assert "rlimit-data" in outcome.enforced

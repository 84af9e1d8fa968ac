"""Fail each system call of a write in turn, by the kernel's own hand; afterwards all verifies.

What Python, SQLite and the object store's library do below our borders is seen here only: strace
lets the n-th call return an error, or kills the process as it makes it.
"""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest_workspace import sign_in_owner
from crash_scenarios import SCENARIOS

from vallum.schema import api
from vallum.workspace.bootstrap import Places, create, opened
from vallum.workspace.intent import Intent
from vallum.workspace.views.verification import verify_everything

CALLS = (
    "openat", "write", "pwrite64", "fsync", "fdatasync", "ftruncate", "rename", "renameat",
    "linkat", "unlink", "mkdir",
)  # fmt: skip
EACH = {
    "short": 1000,
    "long": 6,
}  # of a call's occasions in one thread at most, evenly spread, the last with them
HURT = re.compile(r"\(INJECTED\)|\+\+\+ killed by SIGKILL")


@pytest.fixture
def strace() -> str:
    found = shutil.which("strace")
    if found is None:
        pytest.skip("strace is not installed: apt-get install strace")
    return found


class Host:
    """The process that forks the writers."""

    def __init__(self, strace: str, folder: Path) -> None:
        self._strace = strace
        self._folder = folder
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, str(Path(__file__).with_name("host.py"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(
                [str(Path(__file__).parents[1]), *sys.path])},
        )  # fmt: skip

    def write(self, scenario: str, workspace: Path, *options: str) -> tuple[int, str]:
        """Run a write under strace; returns the exit code and what strace saw."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        go = workspace.with_name(workspace.name + ".go")
        os.mkfifo(go)
        self._process.stdin.write(f"{scenario} {workspace} {go}\n")
        self._process.stdin.flush()
        pid = self._process.stdout.readline().strip()
        trace = workspace.with_name(workspace.name + ".trace")
        watcher = subprocess.Popen(  # noqa: S603 - a fixed program
            [self._strace, "-f", "-p", pid, "-o", str(trace), "-e",
             f"trace={','.join('?' + one for one in CALLS)}", *options],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert watcher.stderr is not None
        said = watcher.stderr.readline()
        if "attached" not in said:
            watcher.kill()
            pytest.skip(f"strace may not trace here: {said.strip()}")
        with go.open("wb", buffering=0) as file:
            file.write(b"g")
        code = int(self._process.stdout.readline())
        watcher.stderr.read()
        watcher.wait(30)
        watcher.stderr.close()
        return code, trace.read_text()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


@pytest.fixture
def host(strace: str, tmp_path: Path) -> Iterator[Host]:
    made = Host(strace, tmp_path)
    yield made
    made.close()


def copied(template: Path, target: Path) -> Path:
    for suffix in ("", ".keys"):
        shutil.copytree(f"{template}{suffix}", f"{target}{suffix}")
    return target


def of_one_thread(trace: str) -> Counter[str]:
    """How often the thread that made a call most made it: strace's `when` counts in each thread."""
    most: Counter[str] = Counter()
    for (_, call), count in Counter(re.findall(r"^(\d+) +(\w+)\(", trace, re.MULTILINE)).items():
        most[call] = max(most[call], count)
    return most


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["short", "long"])
@pytest.mark.parametrize("how", ["error=EIO", "error=ENOSPC", "signal=KILL"])
def test_a_system_call_that_fails_leaves_the_old_state_or_the_new_one(
    host: Host, tmp_path: Path, scenario: str, how: str
) -> None:
    template = tmp_path / "template"
    create(Places.below(template))
    with opened(Places.below(template)) as kernel:
        sign_in_owner(kernel, Places.below(template)).do("data.list", api.Page())
    code, trace = host.write(scenario, copied(template, tmp_path / "count"))
    assert code == 0
    seen = of_one_thread(trace)
    assert {"pwrite64", "openat"} <= set(seen)
    happened = SCENARIOS[scenario][1]
    outcomes: Counter[str] = Counter()
    for call in CALLS:
        total = seen[call]
        count = min(total, EACH[scenario])
        spread = {1 + at * (total - 1) // max(1, count - 1) for at in range(count)}
        for at in sorted(spread):
            workspace = copied(template, tmp_path / f"{call}-{at}")
            code, trace = host.write(
                scenario, workspace, "-e", f"inject={call}:{how}:when={at}"
            )  # fmt: skip
            with opened(Places.below(workspace)) as kernel:
                place = sign_in_owner(kernel, Places.below(workspace))
                with kernel.house.database.snapshot() as snapshot:
                    assert kernel.house.records.list(snapshot, "intent", Intent) == []
                done = happened(place)
                verified = verify_everything(kernel.house, objects=True)
                assert verified.findings == (), (call, at, verified.findings)
                assert done or code != 0, (call, at, "said done and is not")
            if HURT.search(trace):
                outcomes["new" if done else "old"] += 1
            else:  # the threads shared the work otherwise this time, and none came so far
                outcomes["untouched"] += 1
            shutil.rmtree(workspace)
    assert min(outcomes["new"], outcomes["old"]) > 0, outcomes
    assert outcomes["untouched"] * 10 <= outcomes.total(), outcomes

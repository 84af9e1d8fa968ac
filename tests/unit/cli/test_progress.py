"""Progress: on a terminal, after a second, on stderr; nothing elsewhere."""

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vallum.cli import progress as module
from vallum.cli.progress import DISPLAY, progress

SLOW = """
import sys, time
from vallum.cli import progress
progress.DISPLAY.quiet = "--json" in sys.argv
with progress.progress("receiving", total=10, unit="bytes") as advance:
    for _ in range(10):
        time.sleep(float(sys.argv[1]))
        advance(1)
print("the result")
"""


def on_a_terminal(*arguments: str, folder: Path) -> tuple[str, str]:
    """Run the slow program with stderr on a terminal; returns stdout and what stderr showed."""
    (folder / "slow.py").write_text(SLOW)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, str(folder / "slow.py"), *arguments],
        stdout=subprocess.PIPE, stderr=theirs, env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    out, _ = process.communicate(timeout=60)
    shown = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        shown += chunk
    os.close(ours)
    assert process.returncode == 0
    return out.decode(), shown.decode()


def test_what_takes_longer_than_a_second_is_shown_on_stderr(tmp_path: Path) -> None:
    out, shown = on_a_terminal("0.15", folder=tmp_path)
    assert out == "the result\n"
    assert "receiving" in shown
    assert "bytes" in shown


@pytest.mark.parametrize("arguments", [("0.01",), ("0.15", "--json")])
def test_what_is_quick_or_for_machines_shows_nothing(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    assert on_a_terminal(*arguments, folder=tmp_path) == ("the result\n", "")


def test_without_a_terminal_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AFTER_S", 0.0)
    monkeypatch.setattr(DISPLAY, "quiet", False)
    with progress("receiving") as advance:
        advance(1)
        time.sleep(0.01)
    assert sys.stderr.isatty() is False

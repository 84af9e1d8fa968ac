"""Ctrl-C ends a command with exit code 130, no trace and no half-written file."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def test_an_interrupted_command_leaves_nothing_behind(tmp_path: Path) -> None:
    source = tmp_path / "people.csv"
    os.mkfifo(source)
    process = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-m", "vallum.cli", "mask", str(source), "-o", "out.csv"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    writer = os.open(source, os.O_WRONLY)  # returns once the command reads
    try:
        os.write(writer, b"email,age\nana@example.org,4")
        time.sleep(0.3)  # just before its read, Python would notice only when the read returns
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        os.close(writer)
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert out == b""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["people.csv"]

"""A Ray cluster of one node on this machine, with a token, as an operator would have it."""

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from running import free_port

START_S = 180.0


@dataclass(frozen=True)
class Cluster:
    """What of it a workspace is told, and its process."""

    address: str
    token_file: Path
    pid: int


@contextlib.contextmanager
def cluster(cpus: int = 4) -> Iterator[Cluster]:
    """Start it, and end it with everything that it started."""
    folder = Path(tempfile.mkdtemp(prefix="ray"))  # short: a socket's path has 107 bytes
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    (folder / "rfc3987_syntax.py").write_text("raise ImportError\n")  # seconds in each process
    port, log = free_port(), folder / "log"
    command = (
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", f"--port={port}",
        "--node-ip-address=127.0.0.1", f"--num-cpus={cpus}", "--include-dashboard=false",
        f"--ray-client-server-port={free_port()}", f"--temp-dir={folder}",
        "--object-store-memory=200000000", "--disable-usage-stats", "--block",
    )  # fmt: skip
    env = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(folder),
        "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_raylet_start_wait_time_s": "120", "RAY_agent_register_timeout_ms": "120000",
    }  # fmt: skip
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter
            command, env=env, stdout=out, stderr=out, cwd=folder
        )
    try:
        end = time.monotonic() + START_S
        while "Ray runtime started" not in log.read_text():
            if process.poll() is not None or time.monotonic() > end:
                raise AssertionError(log.read_text())
            time.sleep(0.2)
        yield Cluster(f"127.0.0.1:{port}", token, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)

"""Load each hostile sample of round 7 in a child and see what it did.

    benchmarks/held_out/seventh_check.py [seed] [part of a name]

A child has its own folder, a time limit and no scanner. Harm is the canary file (here or above), a
process started, a connection tried, a file written, or the child's own end. What is dangerous by
construction is not loaded, and counted apart.
"""

import os
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from held_out import seventh_bad
from held_out.seventh_asm import CANARY, Loaded
from held_out.seventh_load import load

LIMIT = 25
HEAVY = (
    "joblib",
    "pandas",
    "sklearn.pipeline",
    "sklearn.datasets",
    "sklearn.feature_extraction.text",
    "torch.fx",
    "torch.utils.benchmark",
    "torch._inductor.codecache",
    "keras",
    "jax",
    "sympy",
    "networkx",
    "scipy.io",
    "polars",
    "onnx",
    "xgboost",
    "lightgbm",
)
EVENTS = (
    "os.system",
    "subprocess.Popen",
    "os.posix_spawn",
    "os.exec",
    "os.spawn",
    "socket.connect",
    "socket.bind",
    "socket.getaddrinfo",
    "os.symlink",
)


def child(sample: Loaded, folder: Path) -> None:
    """Load a sample; the exit status says whether an event showed harm."""
    seen: list[str] = []

    def hook(event: str, args: Any) -> None:
        wrote = event == "open" and CANARY in str(args[0]) and "r" not in str(args[1] or "w")
        # libraries bind and look for themselves when they are imported: only our addresses count
        ours = ("127.0.0.1", "localhost") if event.startswith("socket") else (CANARY,)
        if wrote or (event in EVENTS and any(o in repr(args) for o in ours)):
            seen.append(event)

    quiet = os.open("/dev/null", os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(quiet, number)
    work = folder / "a" / "b"
    os.chdir(work)
    path = work / "sample"
    for name, data in sample.files.items():
        target = path / PurePosixPath(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    signal.alarm(LIMIT)
    sys.addaudithook(hook)
    try:
        load(sample.loader, path if len(sample.files) > 1 else target)
    except BaseException as error:  # noqa: BLE001 - a payload may raise anything
        (folder / "error").write_text(f"{type(error).__name__}: {error}"[:300])
    import atexit

    atexit._run_exitfuncs()  # noqa: SLF001 - the child ends by _exit
    time.sleep(0.05)
    os._exit(77 if seen else 0)


def harmed(sample: Loaded) -> str:
    """Return why a sample is harmful, or "!" and the error."""
    folder = Path(tempfile.mkdtemp())  # no finalizer: a child runs those at its end
    try:
        (folder / "a" / "b").mkdir(parents=True)
        return watched(sample, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def watched(sample: Loaded, folder: Path) -> str:
    pid = os.fork()
    if pid == 0:
        try:
            child(sample, folder)
        except BaseException as error:  # noqa: BLE001 - shown by the parent
            (folder / "error").write_text(f"outside of the load: {error!r}")
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == 77:
        return "event"
    if code > 0:
        return "ended"
    if code < 0 and code != -signal.SIGALRM:
        return "signal"
    for _ in range(20):
        if any(
            p.name.startswith(CANARY) and not p.name.endswith("-input") for p in folder.rglob("*")
        ):
            return "canary"
        time.sleep(0.02)
    error = folder / "error"
    return "!" + (error.read_text() if error.exists() else f"status {status}")


def main() -> None:
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    part = sys.argv[2] if len(sys.argv) > 2 else ""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    warnings.simplefilter("ignore")
    for module in HEAVY:
        with suppress(Exception):
            __import__(module)
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for sample in seventh_bad.samples(np.random.default_rng(seed)):
        if part not in f"{sample.category}: {sample.name}":
            continue
        count = counts[sample.category]
        count[0] += 1
        if sample.loader == "construction":
            count[2] += 1
            continue
        why = harmed(sample)
        count[1] += not why.startswith("!")
        if why.startswith("!"):
            print(
                f"not shown: {sample.category}: {sample.name} ({sample.loader[:20]}): {why[1:]}",
                flush=True,
            )
    print("| category | samples | shown | by construction |\n|---|---|---|---|")
    for name, row in sorted(counts.items()):
        print(f"| {name} | {row[0]} | {row[1]} | {row[2]} |")
    print("total", *(sum(c[i] for c in counts.values()) for i in range(3)))


if __name__ == "__main__":
    main()

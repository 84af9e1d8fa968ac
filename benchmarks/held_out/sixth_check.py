"""Load each sample of the sixth round by its natural loader, watched, and say what happened.

    benchmarks/held_out/sixth_check.py hostile|harmless [seed] [part of a category]

Run it where nothing is of value: it loads hostile files (they touch a file and call out to a
closed port of this machine). Each sample is loaded in a process of its own, in an empty folder,
under limits; its audit events are logged. A hostile one counts as shown when the canary appears,
or an event that no loader needs is seen; a harmless one when it loads and neither happens.
"""

import contextlib
import faulthandler
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from held_out import sixth_load
from held_out.sixth_asm import CANARY, Loaded

SECONDS = 25
STRONG = (
    "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "pty.spawn",
    "subprocess.Popen", "socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname",
    "urllib.Request", "smtplib.connect", "poplib.connect", "imaplib.open", "ftplib.connect",
    "cpython.run_command", "cpython._PySys_ClearAuditHooks", "sqlite3.load_extension",
)  # fmt: skip
MARKED = (
    "open",
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.symlink",
    "os.link",
    "shutil.",
    "ctypes.dlopen",
    "sqlite3.connect",
    "import",
    "tempfile.",
    "os.putenv",
    "exec",
    "compile",
)


def watch(log: int) -> None:
    """Log what no loader needs, and whatever names the canary."""
    faulthandler.disable()

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in STRONG:
            os.write(log, f"{event} {str(arguments)[:100]}\n".encode())
        elif event.startswith(MARKED):
            if event in ("exec", "compile"):
                return
            said = str(arguments)
            if CANARY in said or ("/etc/" in said and event == "open" and "mime" not in said):
                os.write(log, f"{event} {said[:100]}\n".encode())

    sys.addaudithook(hook)


def child(folder: Path, sample: Loaded, log: int) -> None:
    """Load the sample, with a state of the process that a payload could have changed in view."""
    os.setsid()
    os.chdir(folder)
    devnull = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(devnull, fd)
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    before = (list(sys.path), dict(os.environ))
    watch(log)
    try:
        sixth_load.load(folder, sample)
        said = "loaded"
    except BaseException as error:  # noqa: BLE001 - whatever a payload raises
        said = f"{type(error).__name__}: {str(error)[:150]}"
    if (
        any(CANARY in str(new) for new in (sys.path, os.environ))
        and (sys.path, dict(os.environ)) != before
    ):
        os.write(log, b"state of the process changed\n")
    os.write(log, f"= {said}\n".encode())


def shown(sample: Loaded) -> tuple[bool, str, str]:
    """Return whether harm was seen, what was seen, and how the load ended."""
    name = tempfile.mkdtemp()  # not TemporaryDirectory: the child runs the exit handlers
    try:
        folder = Path(name) / "in"
        for at, data in sample.files.items():
            path = folder / at
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        (folder / "victim").write_bytes(b"x")
        (folder / "victims").mkdir()
        (folder / "victims" / "__main__.py").write_bytes(b"x")
        log = Path(name) / "log"
        fd = os.open(log, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        start = time.monotonic()
        pid = os.fork()
        if pid == 0:
            try:
                child(folder, sample, fd)
                threads_end()
            finally:
                os._exit(0)
        killed = False
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            if time.monotonic() - start > SECONDS:
                os.kill(pid, signal.SIGKILL)
                killed = True
            time.sleep(0.005)
        time.sleep(0.05)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        os.close(fd)
        lines = log.read_text(errors="replace").splitlines()
        left = [
            p
            for p in Path(name).rglob(f"*{CANARY}*")
            if str(p.relative_to(folder) if p.is_relative_to(folder) else "") not in sample.files
        ]
        end = next(
            (line[2:] for line in lines if line.startswith("= ")), "killed" if killed else "died"
        )
        seen = [line for line in lines if not line.startswith("= ")]
        if left:
            seen.append("CANARY")
        return bool(seen), "; ".join(seen)[:200], end
    finally:
        shutil.rmtree(name, ignore_errors=True)


def threads_end() -> None:
    """Let threads and exit handlers that a payload left run, as they would."""
    import atexit
    import gc

    gc.collect()
    time.sleep(0.05)
    atexit._run_exitfuncs()  # noqa: SLF001 - the child leaves by _exit


def main() -> None:
    which, seed = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 6
    only = sys.argv[3] if len(sys.argv) > 3 else ""
    import numpy as np

    os.environ.setdefault("KERAS_BACKEND", "torch")
    # One of the payloads sets an option of pip's, for whoever runs it.
    os.environ["HOME"] = os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp()
    np.random.seed(seed)  # noqa: NPY002 - scikit-learn's estimators draw from it
    rng = np.random.default_rng(seed)
    if which == "hostile":
        from held_out import sixth_bad as source
    else:
        from held_out import sixth_good as source  # type: ignore[no-redef]
    sixth_load.warm()
    bad = good = construction = 0
    for sample in list(source.samples(rng)):  # all of them before a child can tidy up
        if only and only not in f"{sample.category}: {sample.name}":
            continue
        if sample.how == "construction":
            construction += 1
            continue
        harm, seen, end = shown(sample)
        fine = harm if which == "hostile" else end == "loaded" and not harm
        good += fine
        bad += not fine
        if not fine or "-v" in sys.argv:
            print(
                f"{'ok' if fine else 'NOT SHOWN'} {sample.category}: {sample.name} [{sample.how}] {seen} | {end}",
                flush=True,
            )
    print(f"{which}: {good} shown, {bad} not, {construction} by construction")


if __name__ == "__main__":
    main()

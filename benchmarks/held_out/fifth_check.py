"""Round 5, its own check: hostile samples reach execution, harmless ones are read by their library.

    benchmarks/held_out/fifth_check.py [seed] [hostile|harmless] [only=PATTERN of categories] [-v]

No scanner has a part in it. Every sample is loaded in a child of its own, inside bubblewrap without a
network and with an empty `/tmp`; an audit hook and a marker file tell whether something was run.
"""

import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
sys.path.insert(0, str(PACKAGE.parent))

from held_out import fifth_asm, fifth_load  # noqa: E402 - the folder above is not on the path

SECONDS = 40
DANGER = {
    "os.system",
    "subprocess.Popen",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "pty.spawn",
    "os.putenv",
    "socket.connect",
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "socket.bind",
    "urllib.Request",
    "shutil.copyfile",
    "shutil.move",
    "shutil.rmtree",
    "shutil.unpack_archive",
    "shutil.make_archive",
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.rmdir",
    "os.chmod",
    "os.link",
    "os.symlink",
    "os.truncate",
    "webbrowser.open",
    "ftplib.connect",
    "smtplib.connect",
    "telnetlib.Telnet.open",
    "poplib.connect",
    "imaplib.open",
    "nntplib.connect",
    "http.client.connect",
    "sqlite3.connect",
    "os.kill",
    "sys.settrace",
    "tempfile.mkstemp",
    "ctypes.dlopen",
    "open",
    "signal.pthread_kill",
}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def watch(log: int) -> None:
    """Write a line to `log` when something is done that no model needs."""

    def seen(event: str, what: tuple[object, ...]) -> None:
        if event not in DANGER:
            return
        if event == "open":
            path, _, flags = what
            writes = isinstance(flags, int) and flags & WRITES
            if not writes or "/dev/" in str(path) or str(path).endswith(".pyc"):
                return
        if event == "ctypes.dlopen" and not any(w in str(what) for w in ("libc.so.6", "held_out")):
            return
        os.write(log, f"{event} {str(what)[:120]!r}\n".encode())

    sys.addaudithook(seen)


def lay(folder: Path) -> None:
    """Lay what gadgets look for beside the model."""
    (folder / fifth_asm.FILE).write_text(f"{fifth_asm.EXPR}\nx = 1\n")
    (folder / "hubconf.py").write_text(f"def entry():\n    {fifth_asm.EXPR}\n")
    (folder / "sitecustomize.py").write_text(f"{fifth_asm.EXPR}\n")
    (folder / "held_out.pth").write_text(f"import {fifth_asm.MOD}\n")
    (folder / "held_out.pkl").write_bytes(fifth_asm.INNER)
    (folder / "held_out_folder").mkdir()
    (folder / "held_out_folder" / "a.txt").write_text("a")
    subprocess.run(["tar", "cf", "held_out.tar", "held_out_folder"], cwd=folder, check=True)


def child(folder: Path, load: Callable[[], object], log: int) -> None:
    """Load one sample; never returns."""
    os.setsid()  # a sample that kills its group kills itself only
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    null = os.open("/dev/null", os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.environ.pop("DISPLAY", None)
    watch(log)
    error = "none"
    try:
        load()
    except BaseException as raised:  # noqa: BLE001 - a hostile file may raise anything
        error = f"{type(raised).__name__}: {str(raised)[:150]!r}"
    os.write(log, f"#error {error}\n".encode())
    import atexit
    import threading

    for thread in threading.enumerate():
        if thread is not threading.main_thread():
            thread.join(1)
    atexit._run_exitfuncs()  # noqa: SLF001 - what a sample left there counts
    time.sleep(0.05)
    os._exit(0)


def loaded(sample: Path, folder: Path, how: str) -> tuple[bool, str, str]:
    """Return whether something was run, why the library refused ("none"), and what was seen."""
    log = folder / ".log"
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    pid = os.fork()
    if pid == 0:
        child(folder, lambda: fifth_load.load(sample, how), descriptor)
    os.close(descriptor)
    deadline = time.monotonic() + SECONDS
    status = -1
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        time.sleep(0.01)
    else:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return False, "timeout", ""
    lines = log.read_text().splitlines()
    seen = [line for line in lines if not line.startswith("#")]
    error = next((line[7:] for line in lines if line.startswith("#error")), f"status {status}")
    marked = any(p.name.startswith(fifth_asm.MARK) for p in folder.iterdir())
    return (
        marked or bool(seen) or status != 0,
        error,
        ("mark " if marked else "") + "; ".join(seen[:2]),
    )


def serve(work: Path) -> None:
    """Check every sample in the list, inside the sandbox."""
    fifth_load.warm()
    for line in (work / "list").read_text().splitlines():
        at, how, name = line.split("\t")
        folder = work / at
        folder.mkdir()
        lay(folder)
        ran, error, seen = loaded(work / "samples" / at / name, folder, how)
        print(f"{at}\t{int(ran)}\t{error}\t{seen}", flush=True)


def checked(which: str, seed: int) -> None:
    import scan_held_out

    bad, good = scan_held_out.made(seed, 5)
    samples = [s for s in (bad if which == "hostile" else good) if isinstance(s, fifth_asm.Checked)]
    if len({(s.category, s.name) for s in samples}) != len(samples):
        raise ValueError("two samples of one name")
    only = next((a.removeprefix("only=") for a in sys.argv if a.startswith("only=")), "")
    todo = [s for s in samples if s.loads not in {"", "absent"} and re.search(only, s.category)]
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        lines = []
        for at, sample in enumerate(todo):
            path = scan_held_out.write(sample, work / "samples" / str(at))
            inside = path.relative_to(work / "samples" / str(at)) if path.is_file() else Path()
            lines.append(f"{at}\t{sample.loads}\t{inside}")
        (work / "list").write_text("\n".join(lines))
        command = [
            "bwrap",
            "--ro-bind",
            "/",
            "/",
            "--dev",
            "/dev",
            "--proc",
            "/proc",
            "--tmpfs",
            "/tmp",
        ]
        command += ["--bind", name, name, "--unshare-net", "--unshare-pid", "--die-with-parent"]
        command += ["--setenv", "HOME", "/tmp", "--setenv", "KERAS_BACKEND", "torch"]
        command += [sys.executable, "-B", "-W", "ignore", __file__, "--serve", name]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
            if running.stdout is None:
                raise RuntimeError("no output")
            failed = told = 0
            for line in running.stdout:
                at, ran, error, seen = line.rstrip("\n").split("\t")
                told += 1
                sample = todo[int(at)]
                right = ran == "1" if which == "hostile" else error == "none"
                failed += not right
                if not right or "-v" in sys.argv:
                    print(
                        f"{'ok ' if right else 'NOT'} {sample.category}: {sample.name}: {error} {seen}"
                    )
    print(
        f"{which}: {len(samples)} samples, {told} of {len(todo)} loaded, {failed} not as they say"
    )


def main() -> None:
    if "--serve" in sys.argv:
        serve(Path(sys.argv[2]))
        return
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    for which in [w for w in ("hostile", "harmless") if w in sys.argv] or ["hostile", "harmless"]:
        checked(which, seed)


if __name__ == "__main__":
    main()

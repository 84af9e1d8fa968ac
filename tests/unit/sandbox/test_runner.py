"""Real jobs in real sandboxes: what they see, what they cannot, and what bounds them."""

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from vallum.base import InputError
from vallum.sandbox import BubblewrapRunner, Input, Job, Limits, Status

MIB = 1 << 20
REPOSITORY = Path(__file__).parents[3]
LIMITS = Limits(
    memory_bytes=256 * MIB,
    cpu_s=20,
    wall_s=30.0,
    processes=16,
    open_files=64,
    file_bytes=8 * MIB,
    tmp_bytes=16 * MIB,
    output_bytes=1 * MIB,
)


def script(
    text: str, *, inputs: tuple[Input, ...] = (), outputs: tuple[str, ...] = (), **limits: float
) -> Job:
    return Job(
        argv=("python", "-I", "/code/main.py"),
        code={"main.py": text.encode()},
        inputs=inputs,
        outputs=outputs,
        limits=msgspec.structs.replace(LIMITS, **limits),
    )


def attempt(runner: BubblewrapRunner, expression: str, **rest: Any) -> str:
    """Evaluate an expression inside; return its value's repr or the name of its error."""
    text = (
        "import ctypes, os, socket, sys\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "def call(*a):\n"
        "    r = libc.syscall(*a)\n"
        "    return os.strerror(ctypes.get_errno()) if r < 0 else r\n"
        "try:\n"
        f"    print(repr({expression}))\n"
        "except Exception as error:\n"
        "    print(type(error).__name__)\n"
    )
    outcome = runner.run(script(text, **rest))
    assert outcome.status is Status.OK, outcome.stderr
    return outcome.stdout.decode().strip()


def test_inputs_code_and_outputs_pass(runner: BubblewrapRunner, tmp_path: Path) -> None:
    (tmp_path / "open.txt").write_text("bound")
    (tmp_path / "open.txt").chmod(0o644)
    (tmp_path / "closed.txt").write_text("copied")
    (tmp_path / "closed.txt").chmod(0o600)
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o755)
    (folder / "x").write_text("inner")
    outcome = runner.run(
        script(
            "import shutil\n"
            "text = ''.join(open('/in/' + n).read() for n in ('a', 'b', 'c', 'd/x'))\n"
            "open('/out/r', 'w').write(text)\n"
            "open('/out/unasked', 'w').write('no')\n",
            inputs=(
                Input("a", data=b"given"),
                Input("b", path=tmp_path / "open.txt"),
                Input("c", path=tmp_path / "closed.txt"),
                Input("d", path=folder),
            ),
            outputs=("r", "absent"),
        )
    )
    assert outcome.status is Status.OK, outcome.stderr
    assert outcome.outputs == {"r": b"givenboundcopiedinner"}
    assert outcome.max_rss_bytes > MIB


def test_exit_code_and_both_streams_come_back(runner: BubblewrapRunner) -> None:
    outcome = runner.run(
        Job(argv=("/bin/sh", "-c", "echo out; echo err >&2; exit 3"), limits=LIMITS)
    )
    assert (outcome.status, outcome.exit_code) == (Status.FAILED, 3)
    assert (outcome.stdout, outcome.stderr) == (b"out\n", b"err\n")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("open('/etc/shadow').read()", "FileNotFoundError"),
        ("open('/etc/passwd').read()", "FileNotFoundError"),
        ("os.listdir('/work/shared')", "FileNotFoundError"),
        ("os.listdir('/root')", "['.pyenv']|FileNotFoundError"),
        (f"os.path.exists('{REPOSITORY}/pyproject.toml')", "False"),
        (f"os.path.exists('{REPOSITORY}/src/vallum/py.typed')", "True"),
        ("os.listdir('/in')", "['mine']"),
        ("open('/in/mine', 'w')", "PermissionError|OSError"),
        ("os.unlink('/in/mine')", "PermissionError|OSError"),
        ("open('/code/main.py', 'a')", "PermissionError|OSError"),
        ("open('/usr/x', 'w')", "OSError|PermissionError"),
        ("open('/x', 'w')", "OSError"),
        ("open('/dev/x', 'w')", "OSError"),
        ("open('/proc/1/environ').read()", "''|PermissionError"),
        ("open('/proc/sys/kernel/core_pattern', 'w')", "PermissionError|OSError"),
        ("sorted(p for p in os.listdir('/proc') if p.isdigit()).__len__() <= 4", "True"),
        ("open('/tmp/x', 'w').write('ok')", "2"),
        ("open('/out/x', 'w').write('ok')", "2"),
        ("sorted(set(os.environ) - {'PATH','HOME','TMPDIR','LANG','PWD'})", "['JOBLIB_MULTIPROCESSING', 'LC_CTYPE', 'PYTHONDONTWRITEBYTECODE']|['JOBLIB_MULTIPROCESSING', 'PYTHONDONTWRITEBYTECODE']"),  # noqa: E501 - a table
        ("os.getuid() == 0 or os.geteuid() == 0 or os.getgid() == 0", "False"),
        ("os.setuid(0)", "PermissionError"),
        ("[l.split()[1] for l in open('/proc/self/status') if l.startswith('Cap')]", str(["0" * 16] * 5)),  # noqa: E501 - a table
        ("[l.split()[1] for l in open('/proc/self/status') if l.startswith(('NoNewPrivs', 'Seccomp:'))]", "['1', '2']"),  # noqa: E501 - a table
        ("os.ttyname(0)", "OSError"),
        ("sorted(f for f in os.listdir('/proc/self/fd') if int(f) > 3)", "[]"),
        ("os.path.exists('/dev/shm') or os.path.exists('/dev/zero')", "False"),
    ],
)  # fmt: skip
def test_a_job_sees_only_its_own(runner: BubblewrapRunner, expression: str, expected: str) -> None:
    value = attempt(runner, expression, inputs=(Input("mine", data=b"1"),))
    assert value in expected.split("|")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("socket.socket(socket.AF_INET)", "PermissionError"),
        ("socket.socket(socket.AF_INET6)", "PermissionError"),
        ("socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)", "PermissionError"),
        ("socket.socketpair()[0].close()", "None"),
        ("os.listdir('/sys')", "FileNotFoundError"),
        ("call(101, 0, 0, 0, 0)", "'Operation not permitted'"),  # ptrace
        ("call(165, 0, 0, 0, 0, 0)", "'Operation not permitted'"),  # mount
        ("call(250, 0, 0, 0, 0)", "'Operation not permitted'"),  # keyctl
        ("call(321, 0, 0, 0)", "'Operation not permitted'"),  # bpf
        ("call(298, 0, 0, 0, 0, 0)", "'Operation not permitted'"),  # perf_event_open
        ("call(323, 0)", "'Operation not permitted'"),  # userfaultfd
        ("call(425, 0, 0)", "'Operation not permitted'"),  # io_uring_setup
        ("call(246, 0, 0, 0, 0)", "'Operation not permitted'"),  # kexec_load
        ("call(272, 0x10000000)", "'Operation not permitted'"),  # unshare(CLONE_NEWUSER)
        ("call(56, 0x10000011, 0, 0, 0, 0)", "'Operation not permitted'"),  # clone(CLONE_NEWUSER)
        ("call(435, 0, 0)", "'Function not implemented'"),  # clone3
        ("call(310, 0, 0, 0, 0, 0, 0)", "'Operation not permitted'"),  # process_vm_readv
        ("call(319, b'x', 0)", "'Operation not permitted'"),  # memfd_create
        ("call(9, 0, 4096, 3, 0x21, -1, 0)", "'Operation not permitted'"),  # shared anonymous
        ("call(16, 0, 0x5412, b'x')", "'Operation not permitted'"),  # ioctl(TIOCSTI)
        ("call(164, 0, 0)", "'Operation not permitted'"),  # settimeofday
        ("call(39) > 0", "True"),  # getpid: the list does allow
    ],
)
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="system call numbers of x86-64")
def test_the_kernel_refuses_what_is_not_on_the_list(
    runner: BubblewrapRunner, expression: str, expected: str
) -> None:
    assert attempt(runner, expression) == expected


def test_memory_is_bounded_per_process(runner: BubblewrapRunner) -> None:
    outcome = runner.run(script("x = b'a' * (1 << 30)", memory_bytes=128 * MIB))
    assert outcome.status is Status.FAILED
    assert b"MemoryError" in outcome.stderr


def test_memory_is_bounded_for_all_processes_together(runner: BubblewrapRunner) -> None:
    text = "import os, time\nfor _ in range(3): os.fork()\nx = b'a' * (48 << 20)\ntime.sleep(20)"
    outcome = runner.run(script(text, memory_bytes=128 * MIB))
    assert (outcome.status, outcome.reason) == (Status.LIMIT, "memory")


def test_cpu_is_bounded(runner: BubblewrapRunner) -> None:
    outcome = runner.run(script("while True: pass", cpu_s=1))
    assert (outcome.status, outcome.reason) == (Status.LIMIT, "cpu")


def test_wall_time_is_bounded_for_all_descendants(runner: BubblewrapRunner) -> None:
    text = "import os, time\nos.fork() or os.setsid()\nos.fork()\ntime.sleep(600)"
    outcome = runner.run(script(text, wall_s=0.5))
    assert (outcome.status, outcome.reason) == (Status.TIMEOUT, "wall")
    assert outcome.wall_s < 20


def test_a_fork_bomb_is_bounded(runner: BubblewrapRunner) -> None:
    text = (
        "import os, signal, time\n"
        "made = 0\n"
        "try:\n"
        "    while True:\n"
        "        if os.fork() == 0:\n"
        "            signal.pause()\n"
        "        made += 1\n"
        "except OSError:\n"
        "    print(made)\n"
    )
    outcome = runner.run(script(text, processes=8))
    assert outcome.status is Status.OK
    assert int(outcome.stdout) == 7  # with itself, eight


def test_threads_count_as_processes(runner: BubblewrapRunner) -> None:
    text = (
        "import threading\n"
        "go = threading.Event()\n"
        "made = 0\n"
        "try:\n"
        "    while True:\n"
        "        threading.Thread(target=go.wait, daemon=True).start()\n"
        "        made += 1\n"
        "except RuntimeError:\n"
        "    print(made, flush=True)\n"
        "go.set()\n"
    )
    outcome = runner.run(script(text, processes=8))
    assert int(outcome.stdout) == 7


@pytest.mark.parametrize(
    ("text", "limits", "shown"),
    [
        (
            "open('/tmp/x', 'wb').write(b'x' * (2 << 20))",
            {"file_bytes": 1 * MIB},
            b"File too large",
        ),
        ("[open('/dev/null') for _ in range(100)]", {"open_files": 32}, b"Too many open files"),
        (
            "for i in range(9): open(f'/tmp/{i}', 'wb').write(b'x' * (1 << 20))",
            {"tmp_bytes": 4 * MIB},
            b"No space left on device",
        ),
        (
            "for i in range(9): open(f'/out/{i}', 'wb').write(b'x' * (1 << 20))",
            {"output_bytes": 4 * MIB},
            b"No space left on device",
        ),
    ],
)
def test_files_and_scratch_space_are_bounded(
    runner: BubblewrapRunner, text: str, limits: dict[str, float], shown: bytes
) -> None:
    outcome = runner.run(script(text, **limits))
    assert outcome.status is Status.FAILED
    assert shown in outcome.stderr


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_too_much_said_ends_the_job(runner: BubblewrapRunner, stream: str) -> None:
    text = f"import sys\nwhile True: sys.{stream}.write('x' * 65536)"
    outcome = runner.run(script(text, output_bytes=1 * MIB))
    assert (outcome.status, outcome.reason) == (Status.LIMIT, stream)
    assert len(getattr(outcome, stream)) == 1 * MIB


def test_a_sparse_output_over_the_bound_is_refused(runner: BubblewrapRunner) -> None:
    text = "f = open('/out/r', 'wb'); f.truncate(3 << 20)"
    outcome = runner.run(script(text, outputs=("r",)))
    assert (outcome.status, outcome.reason, outcome.outputs) == (Status.LIMIT, "outputs", {})


@pytest.mark.parametrize(
    "text",
    [
        "import os; os.symlink('/proc/self/environ', '/out/r')",
        "import os; os.mkdir('/out/r')",
        "import os; os.mkfifo('/out/r')",
    ],
)
def test_only_plain_files_are_handed_out(runner: BubblewrapRunner, text: str) -> None:
    outcome = runner.run(script(text, outputs=("r",)))
    assert outcome.outputs == {}


def test_a_killed_job_says_so(runner: BubblewrapRunner) -> None:
    outcome = runner.run(script("import os, signal; os.kill(os.getpid(), signal.SIGKILL)"))
    assert (outcome.status, outcome.exit_code) == (Status.KILLED, 137)


def test_a_job_that_kills_everything_is_not_ok(runner: BubblewrapRunner) -> None:
    outcome = runner.run(script("import os, signal; os.kill(-1, signal.SIGKILL)"))
    assert outcome.status is not Status.OK


def test_a_command_that_is_not_there_fails(runner: BubblewrapRunner) -> None:
    outcome = runner.run(Job(argv=("/no/such",), limits=LIMITS))
    assert (outcome.status, outcome.exit_code) == (Status.FAILED, 127)


def test_the_kernel_sees_an_unused_uid_outside(runner: BubblewrapRunner) -> None:
    job = Job(argv=("/bin/sleep", "987"), limits=msgspec.structs.replace(LIMITS, wall_s=3.0))
    thread = threading.Thread(target=runner.run, args=(job,))
    thread.start()
    uids = set()
    while thread.is_alive() and not uids:
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if (entry / "cmdline").read_bytes() == b"/bin/sleep\x00987\x00":
                    uids.add(entry.stat().st_uid)
            except OSError:
                continue
        time.sleep(0.02)
    thread.join()
    assert len(uids) == 1
    assert 0 not in uids


def listing(folder: str) -> set[str]:
    return {path.name for path in Path(folder).iterdir()}


def children() -> set[str]:
    """Return the ids of this process's children, whichever thread started them."""
    ids = set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # it has ended meanwhile
            ids.update((thread / "children").read_text().split())
    return ids


def test_nothing_is_left_behind(runner: BubblewrapRunner) -> None:
    before = listing("/proc/self/fd"), listing(tempfile.gettempdir())
    mine = children()
    for wall_s in (30.0, 0.05):
        runner.run(script("import time; time.sleep(0.2)", wall_s=wall_s))
    after = listing("/proc/self/fd"), listing(tempfile.gettempdir())
    assert before[0] == after[0]
    assert not {name for name in after[1] - before[1] if "vallum" in name or "bwrap" in name}
    assert children() <= mine


def test_two_jobs_do_not_share_a_scratch_space(runner: BubblewrapRunner) -> None:
    assert runner.run(script("open('/tmp/mark', 'w').write('x')")).status is Status.OK
    assert attempt(runner, "os.path.exists('/tmp/mark')") == "False"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Job(argv=()),
        lambda: Job(argv=("a\0b",)),
        lambda: Job(argv=("x" * 20_000,)),
        lambda: Job(argv=("x",), outputs=tuple(f"f{i}" for i in range(200))),
        lambda: Job(argv=("x",), outputs=("../x",)),
        lambda: Job(argv=("x",), code={"a/b": b""}),
        lambda: Job(argv=("x",), inputs=(Input("a", data=b""), Input("a", data=b""))),
        lambda: Input("a"),
        lambda: Input("..", data=b""),
    ],
    ids=[
        "empty",
        "nul",
        "long",
        "many",
        "output-path",
        "code-path",
        "input-twice",
        "input-empty",
        "input-path",
    ],
)
def test_a_job_that_makes_no_sense_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(InputError):
        make()


def test_the_longest_command_that_is_accepted_runs(runner: BubblewrapRunner) -> None:
    outcome = runner.run(Job(argv=("/bin/echo", "\x01" * 16_000), limits=LIMITS))
    assert (outcome.status, len(outcome.stdout)) == (Status.OK, 16_001)


def test_a_missing_input_is_refused(runner: BubblewrapRunner, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not there"):
        runner.run(Job(argv=("x",), inputs=(Input("a", path=tmp_path / "no"),)))


def test_a_device_is_no_input(runner: BubblewrapRunner) -> None:
    with pytest.raises(InputError, match="neither a file nor a folder"):
        runner.run(Job(argv=("x",), inputs=(Input("a", path=Path("/dev/null")),)))

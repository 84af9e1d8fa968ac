"""Doors and model processes: what they inherit, and that they end with us."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from vallum.base import InputError, UnavailableError
from vallum.sandbox import BubblewrapRunner, Nest, Network, doctor, is_sealed, memory_file, spawn


def gone(pid: int, within_s: float = 10.0) -> bool:
    """Whether the process is gone or a zombie before the time is over."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def lines_of(argv: tuple[str, ...], **rest: Any) -> str:
    read_end, write_end = os.pipe()
    with spawn(argv, log=write_end, **rest) as process:
        os.close(write_end)
        with os.fdopen(read_end) as file:
            said = file.read()
        process.wait(20)
    return said


def test_a_door_gets_only_what_it_is_given() -> None:
    os.environ["VALLUM_TEST_VALUE"] = "x"
    try:
        text = "import os; print(sorted(os.environ), os.getcwd())"
        said = lines_of(("python", "-I", "-c", text), env={"A": "1"})
    finally:
        del os.environ["VALLUM_TEST_VALUE"]
    assert said in {"['A', 'LC_CTYPE'] /\n", "['A'] /\n"}


def test_stop_terminates_and_reaps() -> None:
    process = spawn(("/bin/sleep", "600"))
    assert process.poll() is None
    with pytest.raises(UnavailableError, match="still runs"):
        process.wait(0.01)
    assert process.stop() == -signal.SIGTERM
    assert process.poll() == -signal.SIGTERM


def test_stop_kills_what_does_not_listen() -> None:
    read_end, write_end = os.pipe()
    text = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print('+', flush=True); time.sleep(600)"
    )
    process = spawn(("python", "-I", "-c", text), log=write_end)
    os.close(write_end)
    assert os.read(read_end, 1) == b"+"
    os.close(read_end)
    assert process.stop(grace_s=0.1) == -signal.SIGKILL


@pytest.mark.parametrize("sandboxed", [False, True])
def test_a_child_dies_with_its_parent(*, sandboxed: bool) -> None:
    text = (
        "import sys, time\n"
        "from vallum.sandbox import BubblewrapRunner, spawn\n"
        f"runner = BubblewrapRunner.open() if {sandboxed} else None\n"
        "child = spawn(('/bin/sleep', '613'), sandbox=runner)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", text], stdout=subprocess.PIPE
    ) as parent:
        pid = int(parent.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        parent.kill()
    assert gone(pid)


def test_a_child_outlives_the_thread_that_asked_for_it() -> None:
    made = []
    thread = threading.Thread(target=lambda: made.append(spawn(("/bin/sleep", "600"))))
    thread.start()
    thread.join()
    time.sleep(0.2)
    with made[0] as process:
        assert process.poll() is None


def test_a_sandboxed_process_serves_over_inherited_descriptors(runner: BubblewrapRunner) -> None:
    ours, theirs = socket.socketpair()
    model = memory_file(b"weights")
    text = (
        "import os, socket, sys\n"
        "channel = socket.socket(fileno=int(sys.argv[1]))\n"
        "model = int(sys.argv[2])\n"
        "said = [os.read(model, 99).decode(), channel.recv(99).decode()]\n"
        "for act in (lambda: os.pwrite(model, b'x', 0), lambda: os.ftruncate(model, 99),\n"
        "            lambda: os.ftruncate(model, 0), lambda: open('/etc/passwd'),\n"
        "            lambda: socket.socket(socket.AF_INET)):\n"
        "    try:\n"
        "        act()\n"
        "        said.append('DONE')\n"
        "    except OSError as error:\n"
        "        said.append(type(error).__name__)\n"
        "channel.sendall(' '.join(said).encode())\n"
    )
    with ours:
        with theirs:
            argv = ("python", "-I", "-c", text, str(theirs.fileno()), str(model))
            process = spawn(argv, sandbox=runner, fds=(theirs.fileno(), model))
        with process:
            ours.sendall(b"ask")
            said = ours.recv(999).decode().split()
            assert process.wait(20) == 0
    os.close(model)
    assert said[:2] == ["weights", "ask"]
    assert said[2:5] == ["PermissionError"] * 3
    assert set(said[5:]) <= {"FileNotFoundError", "PermissionError"}


REACH = """\
import os, socket, sys, urllib.request
channel = socket.socket(fileno=int(sys.argv[1]))
port = int(sys.argv[2])
def proxied():
    os.environ["http_proxy"] = "http://127.0.0.1:%d" % port
    urllib.request.urlopen("http://192.0.2.1/", timeout=5)
def abstract():
    with socket.socket(socket.AF_UNIX) as one:
        one.connect("\\0vallum-egress-%d" % port)
said = [str("HTTP_PROXY" in os.environ)]
for act in (
    lambda: socket.create_connection(("127.0.0.1", port), 5),
    lambda: socket.create_connection(("::1", port), 5),
    lambda: socket.create_connection(("192.0.2.1", 443), 5),
    lambda: socket.create_connection(("localhost", port), 5),
    lambda: socket.getaddrinfo("example.org", 443),
    lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", port)),
    lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(b"x", ("::1", port)),
    proxied,
    abstract,
):
    try:
        act()
        said.append("REACHED")
    except OSError as error:
        said.append(type(error).__name__)
channel.sendall(" ".join(said).encode())
"""


def test_a_serving_process_reaches_nothing_by_any_name(
    runner: BubblewrapRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = socket.socketpair()
    ours.settimeout(30)
    with (
        ours,
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        port = tcp.getsockname()[1]
        udp.bind(("127.0.0.1", port))
        abstract.bind(f"\0vallum-egress-{port}")
        abstract.listen()
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        with theirs:
            argv = ("python", "-I", "-c", REACH, str(theirs.fileno()), str(port))
            process = spawn(argv, sandbox=runner, fds=(theirs.fileno(),))
        with process:
            said = ours.recv(999).decode().split()
        # Nothing came, whatever the process was told.
        for one in (tcp, udp, abstract):
            one.setblocking(False)  # noqa: FBT003 - socket takes it by position
        for one in (tcp, abstract):
            with pytest.raises(BlockingIOError):
                one.accept()
        with pytest.raises(BlockingIOError):
            udp.recv(1)
    assert said[0] == "False"
    assert len(said) == 10
    refused = {"PermissionError", "gaierror", "URLError", "ConnectionRefusedError"}
    assert set(said[1:]) <= refused


@pytest.mark.parametrize("argv", [(), ("sleep",), ("/bin/x\0",)], ids=["empty", "relative", "nul"])
def test_a_process_that_makes_no_sense_is_refused(argv: tuple[str, ...]) -> None:
    with pytest.raises(InputError):
        spawn(argv)


def test_a_memory_file_cannot_be_changed_by_us() -> None:
    fd = memory_file(memoryview(b"abc"))
    try:
        assert is_sealed(fd)
        assert os.read(fd, 9) == b"abc"
        for act in (
            lambda: os.pwrite(fd, b"x", 0),
            lambda: os.ftruncate(fd, 0),
            lambda: os.ftruncate(fd, 9),
        ):
            with pytest.raises(PermissionError):
                act()
    finally:
        os.close(fd)


def test_an_ordinary_file_is_not_sealed(tmp_path: Path) -> None:
    with (tmp_path / "x").open("w") as file:
        assert not is_sealed(file.fileno())


@pytest.mark.usefixtures("runner")
def test_the_doctor_finds_nothing_where_a_sandbox_stands() -> None:
    assert doctor() == []


def test_a_broken_bubblewrap_is_closed_and_names_the_cure() -> None:
    said = "bwrap: setting up uid map: Permission denied"
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "bwrap"
        program.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")
        program.chmod(0o755)
        Path(folder).chmod(0o755)  # pytest's own folders are closed to the job's uid
        with pytest.raises(UnavailableError) as caught:
            BubblewrapRunner.open(program=str(program))
    assert said in caught.value.message
    assert caught.value.hint.startswith("sudo sysctl -w ")


def test_without_bubblewrap_the_hint_installs_it(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError) as caught:
        BubblewrapRunner.open(program=str(tmp_path / "none"))
    assert caught.value.hint == "sudo apt-get install --yes bubblewrap"


NEST = b"""
import os, socket
from vallum.sandbox import BubblewrapRunner, Job
inner = BubblewrapRunner.open().run(Job(argv=("/usr/bin/env", "echo", "in two")))
print(inner.stdout.decode().strip(), os.path.exists("/home"), os.path.exists("/etc/passwd"))
print(socket.gethostbyname("localhost"), [name for _, name in socket.if_nameindex()])
print(len([name for name in os.listdir("/proc") if name.isdigit()]) < 8)
os.truncate(os.open("/dev/shm/shared", os.O_CREAT | os.O_RDWR), 1 << 20)
try:
    socket.create_connection(("192.0.2.1", 9), timeout=5)
except OSError as error:
    print(error.errno == 101)  # unreachable: at once, not after five seconds
"""


def test_a_nest_opens_sandboxes_and_reaches_nothing() -> None:
    code = memory_file(NEST)
    try:
        said = lines_of(
            ("python", "/code/nest.py"),
            sandbox=BubblewrapRunner.open(),
            files={"/code/nest.py": code},
            nest=Nest(16 << 20),
        )
    finally:
        os.close(code)
    assert said == "in two False False\n127.0.0.1 ['lo']\nTrue\nTrue\n"
    with pytest.raises(InputError, match="need a sandbox"):
        spawn(("python", "-c", ""), nest=Nest(1))


SOCKETS = """
import os, socket
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, socket.AF_PACKET):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):
        for protocol in (0, 6, 17, 132, 262):
            try:
                socket.socket(family, kind | socket.SOCK_CLOEXEC, protocol).close()
                print(family.name, kind.name, protocol)
            except OSError as error:
                pass
print(os.path.exists("/etc/hosts"))
try:
    socket.create_connection(("127.0.0.1", PORT), timeout=5).close()
    print("reached")
except OSError as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize(
    ("network", "sockets", "names", "reached"),
    [
        (Network.NONE, [], False, "PermissionError"),
        (Network.OWN, ["AF_INET SOCK_STREAM 0", "AF_INET SOCK_STREAM 6"], False,
         "ConnectionRefusedError"),
        (Network.MACHINE,
         [f"{family} {kind} {number}" for family in ("AF_INET", "AF_INET6")
          for kind, numbers in (("SOCK_STREAM", (0, 6)), ("SOCK_DGRAM", (0, 17)))
          for number in numbers], True, "reached"),
    ],
)  # fmt: skip
def test_a_sandbox_has_the_sockets_of_its_network_and_no_others(
    runner: BubblewrapRunner, network: Network, sockets: list[str], reached: str, *, names: bool
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        text = SOCKETS.replace("PORT", str(server.getsockname()[1]))
        said = lines_of(("python", "-I", "-c", text), sandbox=runner, network=network)
    assert said.splitlines() == [*sockets, str(names), reached]
    with pytest.raises(InputError, match="need a sandbox"):
        spawn(("python", "-c", ""), network=Network.OWN)

"""Every command of the tree, in every form, against one running server: the *.session files."""

import contextlib
import os
import pty
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.core
import typer.main
from running import Up, deploy, prepare, running, table
from sessions import lay_out, parse, play, sit_down

from vallum.base import Secret
from vallum.cli.app import app
from vallum.sdk import connect

HERE = Path(__file__).parent
SESSIONS = sorted(HERE.glob("*.session"))
LONG = frozenset({"data", "endpoint", "model", "offline", "views"})  # over ten seconds each
# Commands that no session can hold, and who runs them.
ELSEWHERE = {
    "up": "tests/running.py starts it for every session",
    "demo": "tests/journey/test_demo.py",
    "workspace restore": "tests/unit/cli/test_restore.py: it needs a workspace that nobody serves",
}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running(tmp_path_factory.mktemp("sessions")) as started:
        prepare(started)
        yield started


@pytest.fixture
def desk(up: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder with the files that sessions name, as the owner of the workspace."""
    lay_out(tmp_path)
    sit_down(up, tmp_path, monkeypatch)


@pytest.mark.guarantee("G9")
@pytest.mark.parametrize(
    "session",
    [
        pytest.param(one, marks=[pytest.mark.slow] if one.stem in LONG else [], id=one.stem)
        for one in SESSIONS
    ],
)
@pytest.mark.usefixtures("desk")
def test_the_session_goes_as_written(session: Path, up: Up) -> None:
    def state() -> object:
        """Every row and the rights in force; the log grows by the entry of the dry run itself."""
        return up.owner.workspace.verify().records, up.owner.workspace.show().generation

    play(parse(session), state=state)


def commands() -> dict[str, typer.core.TyperCommand]:
    found: dict[str, typer.core.TyperCommand] = {}

    def walk(name: str, command: object) -> None:
        for child, below in getattr(command, "commands", {}).items():
            walk(f"{name} {child}".strip(), below)
        if not hasattr(command, "commands"):
            assert isinstance(command, typer.core.TyperCommand)
            found[name] = command

    walk("", typer.main.get_command(app))
    return found


def test_every_command_is_in_a_session_in_every_form() -> None:
    """A command that is new: add it to a session, for people, with --json and with --dry-run."""
    tree = commands()
    shown: dict[str, set[str]] = {name: set() for name in tree}
    for path in SESSIONS:
        for command in parse(path):
            words = [one for one in command.line.split() if one != "--json"]
            while len(words) > 2 and words[1].startswith("--"):
                del words[1:3]  # a global option and its value
            name = next((" ".join(words[1 : 1 + n]) for n in (2, 1)
                         if " ".join(words[1 : 1 + n]) in tree), "")  # fmt: skip
            if name and not command.fails:
                form = "json" if "--json" in command.line else "for people"
                shown[name] |= {form, *(("dry run",) if "--dry-run" in command.line else ())}
    missing = []
    for name, command in tree.items():
        options = {option for one in command.params for option in one.opts}
        wanted = {"for people", "json", *(("dry run",) if "--dry-run" in options else ())}
        if name not in ELSEWHERE and wanted - shown[name]:
            missing.append(f"vallum {name}: {', '.join(sorted(wanted - shown[name]))}")
    assert missing == []


def test_every_command_that_changes_something_has_a_dry_run() -> None:
    """A step that is a change by the table of steps, and has a command of its name."""
    from vallum.workspace.step import Effect
    from vallum.workspace.steps.table import STEPS

    changes = {one.name.replace(".", " ") for one in STEPS if one.effect is Effect.CHANGE}
    changes |= {"identity session"}
    tree = commands()
    assert changes & set(tree), "no command has the name of its step"
    for name in sorted(changes & set(tree)):
        assert "--dry-run" in {option for one in tree[name].params for option in one.opts}, name


def test_a_client_is_told_how_much_of_an_upload_was_sent(up: Up) -> None:
    sent: list[int] = []
    content = table(5)
    with connect(up.url, token=Secret(up.token), ca_file=up.ca, transferred=sent.append) as client:
        client.data.create("counted", content, format="csv")
    assert sum(sent) == len(content)


@pytest.mark.usefixtures("desk")
def test_live_traffic_is_drawn_in_a_terminal_until_it_is_interrupted(up: Up) -> None:
    deploy(up, "shown")
    pid, terminal = pty.fork()
    if pid == 0:  # the child has the terminal
        os.execv(  # noqa: S606 - our own program
            sys.executable,
            [sys.executable, "-m", "vallum.cli", "endpoint", "top", "shown", "--interval", "0.2"],
        )
    seen, interrupted = b"", False
    with contextlib.suppress(OSError):  # the terminal ends with its program
        while data := os.read(terminal, 65536):
            seen += data
            if seen.count(b"shown") >= 3 and not interrupted:
                interrupted = True
                os.write(terminal, b"\x03")
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0, seen
    assert b"p99" in seen
    assert seen.count(b"shown") >= 3

"""Every command of the tree, in every form, against one running server: the *.session files."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.core
import typer.main
from running import Up, prepare, request, running, small_model, table
from sessions import parse, play

from vallum.cli.app import app

HERE = Path(__file__).parent
SESSIONS = sorted(HERE.glob("*.session"))
# Commands that no session can hold, and who runs them.
ELSEWHERE = {
    "up": "tests/running.py starts it for every session",
    "demo": "tests/journey/test_demo.py",
}
PEOPLE = "name,email,zip,age,ill\n" + "".join(
    f"Person {at},person{at}@example.org,{10115 + at % 4},{30 + at % 6},{at % 2}\n"
    for at in range(60)
)
TRAIN = """\
import pathlib, shutil
print("training")
shutil.copy("/code/model.onnx", "/out/model.onnx")
"""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running(tmp_path_factory.mktemp("sessions")) as started:
        prepare(started)
        yield started


@pytest.fixture
def desk(up: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that sessions name, as the owner of the workspace."""
    for name in [one for one in os.environ if one.startswith("VALLUM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("VALLUM_URL", up.url)
    monkeypatch.setenv("VALLUM_CA", str(up.ca))
    monkeypatch.setenv("VALLUM_TOKEN_FILE", str(up.folder / "data.keys/owner.key"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "patients.csv").write_text(PEOPLE)
    (tmp_path / "numbers.csv").write_bytes(table(3))
    (tmp_path / "model.onnx").write_bytes(small_model(0.01))  # not the one that is tested already
    (tmp_path / "evil.pkl").write_bytes(b"cos\nsystem\n(S'id'\ntR.")
    (tmp_path / "request.json").write_bytes(request([[1.0, 1.0, 1.0, 1.0]]))
    (tmp_path / "notes.txt").write_text("write to ana@example.org\n")
    code = tmp_path / "code"
    code.mkdir()
    (code / "train.py").write_text(TRAIN)
    (code / "model.onnx").write_bytes(small_model(0.02))
    (tmp_path / "theirs.onnx").write_bytes(small_model(0.03))
    secret = tmp_path / "lake.secret"
    secret.touch(mode=0o600)
    secret.write_text("the lake's secret\n")
    return tmp_path


@pytest.mark.parametrize("session", SESSIONS, ids=lambda one: one.stem)
@pytest.mark.usefixtures("desk")
def test_the_session_goes_as_written(session: Path, up: Up) -> None:
    def state() -> object:
        """Every row and the rights in force; the log grows by the entry of the dry run itself."""
        return up.owner.workspace.verify().records, up.owner.workspace.show().generation

    play(session, state=state)


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

"""The runner of sessions sees what is wrong: a session that lies does not pass."""

from collections.abc import Callable

import pytest
from sessions import execute, parse_text, play

from vallum.base.version import VERSION

TRUE = [
    f"$ vallum version\n{VERSION}\n",
    "$ vallum version\n...\n",
    f'$ vallum --json version\n{{"schema": "vallum.version/1", "version": "{VERSION}"}}\n',
    "! vallum surprise\nstderr: vallum: no such command `surprise`\nstderr: hint: ...\nexit: 2\n",
    "$ echo one two\n{first=...} two\n$ echo $first\none\n",
    "$ printf 'a\\nb\\nc\\n'\na\n...\n",
]
FALSE = {
    "another output": "$ vallum version\n9.9.9\n",
    "output that is not expected": "$ vallum version\n",
    "output that is missing": "$ vallum version\n...\nand more\n",
    "another value in the object": '$ vallum --json version\n{"version": "9.9.9"}\n',
    "a value that is missing": '$ vallum --json version\n{"colour": "..."}\n',
    "success for failure": "! vallum version\n...\nexit: 2\n",
    "another exit code": "! vallum surprise\nstderr: ...\nexit: 3\n",
    "failure for success": "$ vallum surprise\nstderr: ...\n",
    "a failure without its code": "! vallum surprise\nstderr: ...\n",
    "stderr that is not expected": "! vallum surprise\nexit: 2\n",
    "a secret": "$ echo vlm_secret\n...\n",
    "a list of another length": "$ vallum --json pii empty.txt\n"
    '{"files": [{"path": "empty.txt"}, {}]}\n',
}


@pytest.mark.parametrize("text", TRUE)
def test_a_true_session_passes(text: str) -> None:
    play(parse_text(text, "true"), state=lambda: None)


@pytest.mark.parametrize("text", FALSE.values(), ids=FALSE.keys())
def test_a_session_that_lies_fails(
    text: str, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(str(tmp_path))
    execute("touch empty.txt")
    with pytest.raises(AssertionError):
        play(parse_text(text, "false"), state=lambda: None)


def counting() -> Callable[[], int]:
    calls = iter(range(100))
    return lambda: next(calls)


def test_a_dry_run_that_changes_something_fails() -> None:
    commands = parse_text("$ echo --dry-run\n--dry-run\n", "dry")
    with pytest.raises(AssertionError, match="a dry run changed something"):
        play(commands, state=counting())


def test_output_before_a_command_is_no_session() -> None:
    with pytest.raises(AssertionError, match="output before a command"):
        list(parse_text("nothing asked for this\n", "odd"))

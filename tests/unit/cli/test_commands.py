"""Commands without a server: output, hints, exit codes; every command's help has an example."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import typer.core
import typer.main

from vallum.base import InputError
from vallum.cli.app import app
from vallum.cli.azure import read_deployment
from vallum.cli.scaling import scale_text
from vallum.cli.up import up


def vallum(*arguments: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "vallum.cli", *arguments],
        check=False, capture_output=True, text=True, timeout=60, cwd=cwd,
        env={"PATH": "/usr/bin:/bin"},
    )  # fmt: skip


def commands() -> list[tuple[str, typer.core.TyperCommand]]:
    found: list[tuple[str, typer.core.TyperCommand]] = []

    def walk(name: str, command: Any) -> None:
        children = getattr(command, "commands", None)
        if children:
            for child, below in children.items():
                walk(f"{name} {child}".strip(), below)
        else:
            found.append((name, command))

    walk("", typer.main.get_command(app))
    return found


@pytest.mark.parametrize(("name", "command"), commands(), ids=lambda one: str(one)[:40])
def test_every_help_text_has_an_example_that_parses(
    name: str, command: typer.core.TyperCommand
) -> None:
    assert command.help is not None
    sentence, _, example = command.help.partition("\n\nExample: ")
    assert sentence.endswith("."), "one sentence"
    words = shlex.split(example)
    assert words[0] == "vallum"
    while words[1].startswith("--"):
        del words[1:3]  # a global option and its value
    assert words[1 : 1 + len(name.split())] == name.split()
    # The example is one that the command understands: every option exists, nothing is missing.
    command.make_context(name, words[1 + len(name.split()) :])


def test_usage_errors_exit_with_2_and_say_what_is_wrong() -> None:
    done = vallum("data", "show")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "vallum: missing argument `name`",
        "hint: vallum data show --help",
    ]


def test_a_mistyped_noun_or_verb_names_the_nearest_one() -> None:
    assert "hint: did you mean `vallum data`?" in vallum("dta", "list").stderr
    assert "hint: did you mean `vallum model register`?" in vallum("model", "regster").stderr
    assert vallum("surprise").returncode == 2


def test_a_noun_without_a_verb_shows_its_help_on_stderr() -> None:
    done = vallum("data")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Ingest a table as a new version." in done.stderr
    assert "Example" not in done.stderr  # lists show the sentence; the verb's help the example


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        (("data", "shw"), "no such command `shw`", "did you mean `vallum data show`?"),
        (("model",), "`vallum model` needs a command", "vallum model --help"),
        (("key", "revoke"), "missing argument `key_id`", "vallum key revoke --help"),
        (
            ("data", "list", "--odd"),
            "no such option: --odd",
            "vallum data list --help",
        ),
    ],
)
def test_usage_errors_have_a_json_form(line: tuple[str, ...], message: str, hint: str) -> None:
    done = vallum(*line, "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout) == {
        "schema": "vallum.error/1", "code": "cli.usage", "message": message, "hint": hint,
    }  # fmt: skip


@pytest.mark.parametrize("line", ["--help", "version", "scan . --json"])
def test_a_pipe_that_nobody_reads_is_no_failure(line: str, tmp_path: Path) -> None:
    for at in range(200):
        (tmp_path / f"{at}.json").write_text("{}")
    process = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-m", "vallum.cli", *line.split()],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        process.stdout.close()
        assert process.wait(60) == 0
        assert process.stderr.read() == b""


def test_no_option_takes_a_secret_itself() -> None:
    """A file does, or the environment: arguments are open to everybody on the machine."""
    words = {"secret", "token", "password", "passphrase", "credential"}
    for name, command in commands():
        for one in command.params:
            if words & set(str(one.name).split("_")):
                assert str(one.name).endswith("_file"), f"{name} {one.opts}"


def test_the_shell_completes_nouns_and_verbs() -> None:
    def completed(words: str, at: int) -> list[str]:
        asked = {"_VALLUM_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(at)}
        done = subprocess.run(
            [sys.executable, "-m", "vallum.cli"],
            check=True, capture_output=True, text=True, timeout=60, env={"PATH": "/bin", **asked},
        )  # fmt: skip
        return done.stdout.split()

    assert completed("vallum mod", 1) == ["model"]
    assert completed("vallum model reg", 2) == ["register"]


def test_the_version_is_an_option_too() -> None:
    assert vallum("--version").stdout == vallum("version").stdout


def test_help_groups_nouns_and_verbs() -> None:
    said = vallum("--help").stdout
    for panel in ("Start", "Without a workspace", "Assets", "People and rights", "The record"):
        assert f" {panel} " in said


def test_content_and_json_do_not_share_stdout(tmp_path: Path) -> None:
    for line in (("data", "download", "x"), ("audit", "export"), ("workspace", "backup")):
        done = vallum(*line, "--json", cwd=tmp_path)
        assert done.returncode == 2
        assert json.loads(done.stdout)["hint"] == "add -o FILE"


def test_scan_writes_sarif_beside_its_report_or_instead_of_it(tmp_path: Path) -> None:
    (tmp_path / "evil.pkl").write_bytes(b"cos\nsystem\n(S'id'\ntR.")
    done = vallum("scan", "evil.pkl", "--sarif", "found.sarif", "--json", cwd=tmp_path)
    assert done.returncode == 1
    assert json.loads(done.stdout)["schema"] == "vallum.scan/1"
    written = json.loads((tmp_path / "found.sarif").read_text())
    piped = vallum("scan", "evil.pkl", "--sarif", "-", cwd=tmp_path)
    assert json.loads(piped.stdout) == written
    assert piped.returncode == 1
    (run,) = written["runs"]
    assert run["results"][0]["level"] == "error"
    assert vallum("scan", "evil.pkl", "--sarif", "-", "--json", cwd=tmp_path).returncode == 2


def test_without_a_key_the_hint_says_what_to_do(tmp_path: Path) -> None:
    done = vallum("data", "list", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "vallum: there is no key to sign in with",
        "hint: set VALLUM_TOKEN_FILE to the owner.key that `vallum up` wrote",
    ]
    said = json.loads(vallum("data", "list", "--json", cwd=tmp_path).stdout)
    assert said["schema"] == "vallum.error/1"
    assert said["code"] == "sdk.no-key"


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "k"
    key.write_text("vlm_x")
    key.chmod(0o644)
    done = vallum("--token-file", str(key), "data", "list", cwd=tmp_path)
    assert done.returncode == 2
    assert f"hint: chmod 600 {key}" in done.stderr


def test_nobody_answering_is_exit_4(tmp_path: Path) -> None:
    key = tmp_path / "k"
    key.touch(mode=0o600)
    key.write_text("vlm_x")
    done = vallum("--url", "https://127.0.0.1:9", "--token-file", str(key), "data", "list")
    assert done.returncode == 4
    assert "does not answer" in done.stderr


def test_scan_exits_with_1_on_findings_and_prints_one_object(tmp_path: Path) -> None:
    (tmp_path / "evil.pkl").write_bytes(b"cos\nsystem\n(S'id'\ntR.")
    (tmp_path / "fine.json").write_text("{}")
    done = vallum("scan", str(tmp_path), "--json")
    assert done.returncode == 1
    said = json.loads(done.stdout)
    assert said["schema"] == "vallum.scan/1"
    assert {one["verdict"] for one in said["files"]} == {"malicious", "clean"}
    assert vallum("scan", str(tmp_path / "fine.json")).returncode == 0
    assert vallum("scan", str(tmp_path / "nothing")).returncode == 2


def test_pii_never_prints_a_value_and_mask_leaves_none(tmp_path: Path) -> None:
    table = tmp_path / "people.csv"
    rows = "\n".join(f"p{at},person{at}@example.org,{at}" for at in range(20))
    table.write_text(f"id,email,n\n{rows}\n")
    done = vallum("pii", str(table), "--json")
    said = json.loads(done.stdout)
    assert said["schema"] == "vallum.pii/1"
    assert {one["type"] for one in said["files"][0]["columns"]} == {"", "personal.email"}
    assert "example.org" not in done.stdout + vallum("pii", str(table)).stdout
    masked = tmp_path / "masked.csv"
    assert vallum("mask", str(table), "-o", str(masked)).returncode == 0
    assert "example.org" not in masked.read_text()
    recipe = vallum("mask", str(table), "--suggest").stdout
    assert "pseudonym" in recipe


def test_doctor_names_lax_modes_and_how_to_mend_them(tmp_path: Path) -> None:
    keys = tmp_path / "data.keys"
    keys.mkdir(mode=0o700)
    (keys / "kek-1.json").write_text("{}")
    (keys / "kek-1.json").chmod(0o644)
    done = vallum("doctor", "--data", str(tmp_path / "data"))
    assert done.returncode == 1
    assert f"fix: chmod 600 {keys}/kek-1.json" in done.stdout


@pytest.mark.parametrize(
    ("what", "heavy"),
    [
        ("vallum", {"numpy", "polars", "httpx", "sqlalchemy"}),
        ("vallum.cli.app", {"numpy", "polars", "sqlalchemy"}),
    ],
)
def test_starting_without_loading_a_library_that_is_not_needed(what: str, heavy: set[str]) -> None:
    code = f"import sys, {what}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)  # noqa: S603
    assert done.stdout.strip() == "[]"


def test_missing_files_are_named_and_exit_with_2(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a\n1\n")
    done = vallum("mask", "t.csv", "--recipe", "missing.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "`missing.yaml` cannot be read" in done.stderr
    done = vallum("audit", "verify", "missing.tar", cwd=tmp_path)
    assert done.returncode == 2


def test_a_packed_or_strange_export_is_not_unpacked(tmp_path: Path) -> None:
    import tarfile

    (tmp_path / "x").write_bytes(b"x")
    for name, mode in (("packed.tar.gz", "w:gz"), ("strange.tar", "w")):
        with tarfile.open(tmp_path / name, mode) as archive:  # type: ignore[call-overload]
            archive.add(tmp_path / "x", "manifest.json" if mode == "w:gz" else "../x")
        done = vallum("audit", "verify", name, cwd=tmp_path)
        assert done.returncode == 2, done.stderr


def test_a_secret_that_could_not_be_kept_is_not_made(tmp_path: Path) -> None:
    """Refused before the server is asked: nobody answers here, yet the answer is not `4`."""
    key = tmp_path / "k"
    key.touch(mode=0o600)
    key.write_text("vlm_x")
    options = ("--url", "https://127.0.0.1:9", "--token-file", str(key))
    for command in (("key", "create", "n"), ("key", "rotate", "key-x"), ("endpoint", "keys", "e")):
        done = vallum(*options, *command, "-o", str(tmp_path / "no/such/file"))
        assert done.returncode == 2
        assert "cannot be written" in done.stderr


def test_a_token_of_a_ray_cluster_that_others_may_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ray.token"
    file.write_text("0" * 64)
    file.chmod(0o640)
    monkeypatch.setenv("VALLUM_RAY_TOKEN_FILE", str(file))
    for option in ({"ray_replicas": True}, {"batch_engine": "ray"}):
        with pytest.raises(InputError, match="others may read") as refused:
            up(data=tmp_path / "data", **option)  # type: ignore[arg-type]
        assert refused.value.hint == f"chmod 600 {file}"
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("kind", "engine"), [("ray", "ray"), ("Standard_DS3_v2", "local"), ("", "local")]
)
def test_a_deployment_file_says_by_its_instance_type_that_it_runs_on_ray(
    tmp_path: Path, kind: str, engine: str
) -> None:
    file = tmp_path / "deployment.yml"
    text = "name: blue\nendpoint_name: e\nmodel: azureml:m:1\ninstance_count: 2\n"
    file.write_text(text + (f"instance_type: {kind}\n" if kind else ""))
    asked = read_deployment(file)
    assert asked.scale is not None
    assert (asked.scale.engine, asked.scale.max_instances) == (engine, 2)
    assert ("replicas on Ray" in scale_text(asked.scale)) == (engine == "ray")

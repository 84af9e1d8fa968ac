"""The documentation is true: its commands run, its links and test names exist, guarantees are held.

A `sh` or `python` block runs as written, in order, in a folder with the files of `lay_out` and a
running server; a `console` block is a session, output and all. One that cannot run says why in its
info string: ```` ```sh no-test: needs root ````.
"""

import ast
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from running import Up, prepare, running
from sessions import lay_out, parse_text, play, sit_down

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
RUNNABLE = {"sh", "bash", "shell", "console", "python", "py"}
FENCE = re.compile(r"^```([\w-]+)?[ \t]*(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
NEEDED = {
    "convert-a-model": ("sklearn", "skl2onnx", "joblib"),
    "deploy-and-call-an-endpoint": ("curl",),
    "use-client-certificates": ("curl", "openssl"),
    "harden-a-model": ("torch",),
    "watch-an-endpoint": ("curl",),
    "train-in-the-sandbox": ("sklearn", "skl2onnx"),
    "train-with-differential-privacy": ("torch", "dp_accounting", "optax", "keras"),
}


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    language: str
    info: str
    text: str

    @property
    def runs(self) -> bool:
        return self.language in RUNNABLE and not self.info.startswith("no-test:")


def blocks(page: Path) -> list[Block]:
    return [Block(*found) for found in FENCE.findall(page.read_text())]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with running(tmp_path_factory.mktemp("pages")) as started:
        prepare(started)
        yield started


# The others take seconds each, and what they do is done by fast tests, too: they are `slow`.
EARLY = frozenset({"README"})


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(one, marks=[] if one.stem in EARLY else [pytest.mark.slow], id=name_of(one))
        for one in PAGES
        if any(block.runs for block in blocks(one))
    ],
)
def test_every_command_of_the_page_runs(
    page: Path, up: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for needed in NEEDED.get(page.stem, ()):
        if needed == "curl" and shutil.which("curl") is None:
            pytest.skip("curl is not installed")
        if needed != "curl":
            pytest.importorskip(needed, reason="the page trains with it")
    lay_out(tmp_path)
    (tmp_path / "tools").symlink_to(ROOT / "tools")
    sit_down(up, tmp_path, monkeypatch)
    given = [one for one in blocks(page) if one.runs]
    if any(one.language == "console" for one in given):
        assert {one.language for one in given} == {"console"}, "sessions and scripts do not mix"
        text = "".join(one.text for one in given)
        play(parse_text(text, page.name), state=lambda: None)
        return
    script = ["set -eu"]
    for one in given:
        if one.language in {"python", "py"}:
            script.append(f"python -W error - <<'END-OF-PYTHON'\n{one.text}END-OF-PYTHON")
        else:
            script.append(one.text)
    done = subprocess.run(  # noqa: S603 - the page's own text
        ["/bin/bash", "-c", "\n".join(script)],
        check=False, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_block_that_is_not_run_says_why(page: Path) -> None:
    for one in blocks(page):
        if one.info:
            assert re.fullmatch(r"no-test: .{5,}", one.info), f"```{one.language} {one.info}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text())
    for target in LINK.findall(text):
        parts = urlsplit(target)
        if parts.scheme or parts.netloc:
            continue
        found = (page.parent / parts.path).resolve() if parts.path else page
        assert found.exists(), target
        if parts.fragment and found.suffix == ".md":
            assert parts.fragment in anchors(found), target


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


def test_every_page_is_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    following = [ROOT / "README.md"]
    while following:
        page = following.pop()
        if page in seen or page.suffix != ".md" or not page.is_file():
            continue
        seen.add(page)
        for target in LINK.findall(FENCE.sub("", page.read_text())):
            following.append((page.parent / urlsplit(target).path).resolve())
    assert [name_of(one) for one in PAGES if one not in seen] == []


def files_and_tests() -> dict[str, set[str]]:
    """Return the names of the test functions of every file."""
    return {
        name_of(path): {
            node.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        }
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
    }


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_and_test_that_the_page_names_exists(page: Path) -> None:
    known = files_and_tests()
    for found in re.findall(r"`((?:tests|src|tools|benchmarks)/[\w./-]+)(?:::(\w+))?`",
                            page.read_text()):  # fmt: skip
        path, test = found
        assert (ROOT / path).exists(), path
        assert not test or test in known[path], f"{path}::{test}"


# -- guarantees ---------------------------------------------------------------------------------

MODEL = ROOT / "docs/security/threat-model.md"


def guarantees() -> dict[str, str]:
    """Return each numbered guarantee with its text."""
    parts = re.split(r"^- \*\*(G\d+)\*\* ", MODEL.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def marks() -> dict[str, list[str]]:
    """Return the tests that are marked with each guarantee."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and ast.unparse(node.func).endswith("guarantee")):
                continue
            if ast.unparse(node.func) == "pytest.mark.guarantee":
                name = ast.literal_eval(node.args[0])
                found.setdefault(name, []).append(f"{name_of(path)}:{node.lineno}")
    return found


def test_every_guarantee_is_held_by_a_test_and_every_mark_names_one() -> None:
    promised, held = guarantees(), marks()
    assert len(promised) >= 9
    assert sorted(set(held) - set(promised)) == []
    open_ones = {name for name, text in promised.items() if "is not built yet" in text}
    assert sorted(set(promised) - set(held) - open_ones) == []
    assert sorted(open_ones & set(held)) == [], "a guarantee that a test holds is built"

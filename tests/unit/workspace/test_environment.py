"""The code that serves: what changes, comes or goes under it is found."""

import os
import py_compile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vallum.base import IntegrityError
from vallum.workspace.environment import RunningCode, _look


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "package"
    (folder / "below" / "__pycache__").mkdir(parents=True)
    (folder / "a.py").write_text("x = 1\n")
    (folder / "below" / "b.so").write_bytes(bytes(100))
    (folder / "below" / "__pycache__" / "b.pyc").write_bytes(b"compiled")
    return folder


@pytest.fixture
def code(package: Path) -> RunningCode:
    made = RunningCode((package,))
    assert made.digest == ""
    made.verify()
    return made


def hidden_change(package: Path) -> None:
    """Change a byte and set the times back, as somebody who hides it does."""
    path = package / "below" / "b.so"
    before = path.stat()
    path.write_bytes(b"\1" + bytes(99))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def unseen_change(code: RunningCode, path: str) -> None:
    """Change a byte, with no trace in how the file looks."""
    Path(path).write_bytes(b"#" + Path(path).read_bytes()[1:])
    code._known[path] = replace(code._known[path], look=_look(path) or ())


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda package: (package / "a.py").write_text("x = 2\n"), "package/a.py` of"),
        (hidden_change, "b.so"),
        (lambda package: (package / "new.py").write_text(""), "is new"),
        (lambda package: (package / "a.py").unlink(), "is gone"),
        (lambda package: (package / "below" / "__pycache__" / "b.pyc").write_bytes(b"x"), "b.pyc"),
        (lambda package: (package / "a.py").rename(package / "c.py"), "c.py"),
    ],
    ids=["changed", "hidden", "new", "gone", "compiled", "renamed"],
)
def test_a_file_that_changes_comes_or_goes_is_found(
    package: Path, code: RunningCode, change: Callable[[Path], object], what: str
) -> None:
    digest = code.digest
    code.verify()
    change(package)
    with pytest.raises(IntegrityError, match=what) as caught:
        code.verify()
    assert caught.value.code == "environment.changed"
    with pytest.raises(IntegrityError):  # and again: it does not get used to it
        code.verify()
    assert code.digest == digest


def test_what_is_compiled_or_touched_is_no_change(package: Path, code: RunningCode) -> None:
    (package / "below" / "__pycache__" / "c.pyc").write_bytes(b"compiled late")
    (package / "a.py").touch()
    (package / "tests").mkdir()
    (package / "tests" / "test_x.py").write_text("")
    code.verify()
    code.verify(every=True)
    (package / "below" / "__pycache__" / "c.pyc").write_bytes(b"changed")
    with pytest.raises(IntegrityError):
        code.verify()


def test_a_change_that_left_no_trace_is_found_when_everything_is_hashed(
    package: Path, code: RunningCode
) -> None:
    path = str(package / "a.py")
    unseen_change(code, path)
    code.verify()
    with pytest.raises(IntegrityError):
        code.verify(every=True)


def test_the_digest_is_of_paths_and_bytes(package: Path, code: RunningCode) -> None:
    other = RunningCode((package,))
    other.verify()
    assert other.digest == code.digest
    assert RunningCode.of(("vallum", "no_such_package"))._folders


def test_compiled_code_that_was_stale_at_the_start_may_be_replaced_once(package: Path) -> None:
    source = package / "a.py"
    compiled = Path(py_compile.compile(str(source), doraise=True) or "")
    fresh = RunningCode((package,))
    fresh.verify()
    compiled.write_bytes(compiled.read_bytes()[:-1] + b"?")
    with pytest.raises(IntegrityError, match="pyc"):
        fresh.verify()

    source.write_text("x = 'longer than before'\n")  # by an upgrade, before the server starts
    code = RunningCode((package,))
    code.verify()
    py_compile.compile(str(source), doraise=True)  # as the import does
    code.verify()
    code.verify(every=True)
    compiled.write_bytes(b"something else")
    with pytest.raises(IntegrityError, match="pyc"):
        code.verify()


def test_what_python_compiles_anew_while_the_server_starts_is_no_change(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its other processes import what it reads, after an upgrade."""
    source = package / "a.py"
    compiled = py_compile.compile(str(source), doraise=True)
    source.write_text("x = 'longer than before'\n")
    read = RunningCode._read

    def raced(self: RunningCode, path: str, look: tuple[int, ...]) -> Any:
        found = read(self, path, look)
        if path == compiled:
            py_compile.compile(str(source), doraise=True)
        return found

    monkeypatch.setattr(RunningCode, "_read", raced)
    code = RunningCode((package,))
    code.verify()
    monkeypatch.undo()
    code.verify()
    code.verify(every=True)


def test_looks_and_hashes_can_be_taken_a_little_at_a_time(tmp_path: Path) -> None:
    for at in range(100):
        (tmp_path / f"m{at}.py").write_text("x = 1\n")
    (tmp_path / "large.so").write_bytes(bytes(1024 * 1024))
    code = RunningCode((tmp_path,))
    code.verify()
    for work, pieces in ((code.looks(), 4), (code.hashes(), 4)):
        shares = list(work)
        assert len(shares) >= pieces
        assert shares == sorted(shares)
        assert shares[-1] <= 1.0


def test_what_python_compiles_anew_while_it_is_hashed_is_no_change(tmp_path: Path) -> None:
    source = tmp_path / "a.py"
    source.write_text(f"x = {'a' * 1024 * 1024!r}\n")
    compiled = Path(py_compile.compile(str(source), doraise=True) or "")
    source.write_text(f"x = {'bc' * 1024 * 1024!r}\n")
    code = RunningCode((tmp_path,))
    code.verify()
    hashes = code.hashes()
    while next(hashes) < 0.9:  # somewhere within what was compiled
        pass
    py_compile.compile(str(source), doraise=True)
    code.verify()
    assert all(share <= 1.0 for share in hashes)
    hashes = code.hashes()
    next(hashes)
    compiled.unlink()  # a look judges that
    list(hashes)
    unseen_change(code, str(source))
    with pytest.raises(IntegrityError):
        list(code.hashes())

"""What the kernel tells of folders, and what it is not believed."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from vallum.workspace.environment import RunningCode
from vallum.workspace.folder_events import FolderEvents


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "above" / "package"
    made.mkdir(parents=True)
    (made / "a.py").write_text("x = 1\n")
    return made


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda at: (at / "a.py").write_text("x = 2\n"), id="written"),
        pytest.param(lambda at: os.utime(at / "a.py", (1, 1)), id="times-set"),
        pytest.param(lambda at: (at / "a.py").chmod(0o600), id="rights-set"),
        pytest.param(lambda at: (at / "b.py").touch(), id="new"),
        pytest.param(lambda at: (at / "a.py").unlink(), id="gone"),
        pytest.param(lambda at: (at / "a.py").rename(at / "b.py"), id="renamed"),
        pytest.param(lambda at: (at / "a.py").rename(at.parent / "b.py"), id="moved-out"),
        pytest.param(lambda at: (at / "below").mkdir(), id="new-folder"),
        pytest.param(lambda at: at.rename(at.with_name("other")), id="itself-moved"),
    ],
)
def test_what_happens_in_a_folder_is_told_once(
    folder: Path, change: Callable[[Path], object]
) -> None:
    events = FolderEvents()
    events.follow([str(folder)])
    assert not events.stirred()
    (folder / "a.py").read_bytes()
    assert not events.stirred()
    change(folder)
    assert events.stirred()
    assert not events.stirred()


def test_a_folder_that_cannot_be_followed_is_never_quiet(folder: Path) -> None:
    for missing in (str(folder / "gone"), str(folder / "a.py"), "/proc/self", "/sys/kernel"):
        events = FolderEvents()
        events.follow([str(folder), missing])
        assert events.stirred()
        assert events.stirred()
    assert FolderEvents().stirred()  # nobody said of what


def test_a_kernel_that_gives_no_events_leaves_nothing_quiet(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Library:
        @staticmethod
        def inotify_init1(_flags: int) -> int:
            return -1

    monkeypatch.setattr("ctypes.CDLL", lambda _name: Library())
    events = FolderEvents()
    events.follow([str(folder)])
    assert events.stirred()


def test_a_folder_with_an_old_name_is_followed_anew(folder: Path) -> None:
    code = RunningCode((folder,))
    cache = folder / "__pycache__"
    cache.mkdir()
    (cache / "a.pyc").write_bytes(b"compiled")
    code.verify()
    shutil.rmtree(cache)
    cache.mkdir()
    assert code.stirred()
    code.verify()
    assert not code.stirred()
    (cache / "a.pyc").write_bytes(b"compiled")
    assert code.stirred()


def test_more_events_than_the_kernel_keeps_are_an_event(folder: Path) -> None:
    bound = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text(encoding="utf-8"))
    events = FolderEvents()
    events.follow([str(folder)])
    path = str(folder / "a.py")
    for at in range(bound + 10):
        os.utime(path, (at, at))
        os.chmod(path, 0o600 + at % 2)  # noqa: PTH101 - another event: equal ones are joined
    assert events.stirred()
    assert not events.stirred()


def test_the_file_of_events_is_closed_with_them() -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - counted alike
    for _ in range(5):
        FolderEvents()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_code_whose_upper_folder_is_replaced_is_stirred(folder: Path) -> None:
    code = RunningCode((folder,))
    code.verify()
    assert not code.stirred()
    folder.parent.rename(folder.parent.with_name("old"))
    folder.mkdir(parents=True)
    (folder / "a.py").write_text("x = 3\n")
    assert code.stirred()


def test_folders_that_came_later_are_followed(folder: Path) -> None:
    code = RunningCode((folder,))
    code.verify()
    (folder / "__pycache__").mkdir()
    code.verify()
    assert code.stirred()
    assert not code.stirred()
    (folder / "__pycache__" / "a.pyc").write_bytes(b"compiled")
    assert code.stirred()

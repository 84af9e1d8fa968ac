"""Where results go: to a file that is whole or absent, and to a device as it is."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from vallum.base import InputError
from vallum.cli.border import check_output, content_out, write_out

WRITERS: dict[str, Callable[[Path], None]] = {
    "small": lambda target: write_out(b"whole", target),
    "content": lambda target: content_out("model.download", [b"who", b"le"], target),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_device_is_written_to_and_not_replaced(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()), daemon=True)
    reader.start()
    check_output(pipe)
    write(pipe)
    assert pipe.is_fifo()
    reader.join(10)
    assert got == [b"whole"]
    nothing = tmp_path / "nothing"
    nothing.symlink_to("/dev/null")
    check_output(nothing)
    write(nothing)
    assert nothing.is_char_device()
    assert nothing.is_symlink()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["nothing", "pipe"]


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_device_that_takes_nothing_is_told(tmp_path: Path, write: Callable[[Path], None]) -> None:
    full = tmp_path / "full"
    full.symlink_to("/dev/full")
    with pytest.raises(InputError, match="cannot be written"):
        write(full)
    assert full.is_char_device()


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_file_is_replaced_as_a_whole(tmp_path: Path, write: Callable[[Path], None]) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"something longer")
    before = target.stat().st_ino
    write(target)
    assert target.read_bytes() == b"whole"
    assert target.stat().st_ino != before
    assert list(tmp_path.iterdir()) == [target]


def test_a_closed_folder_is_told_before_anything_is_made(tmp_path: Path) -> None:
    for target in (tmp_path, tmp_path / "missing" / "file"):
        with pytest.raises(InputError, match="cannot be written"):
            check_output(target)

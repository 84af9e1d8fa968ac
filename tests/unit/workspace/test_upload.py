"""Uploads: in memory, beyond a bound on disk as ciphertext; nobody changes them in between."""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum.base import IntegrityError, LimitExceededError, UnavailableError
from vallum.workspace.kernel import RESERVE_BYTES
from vallum.workspace.upload import Upload

MIB = 1 << 20


def made(folder: Path, *chunks: bytes, in_memory: int = 64) -> Upload:
    upload = Upload(max_bytes=8 * MIB, folder=folder, in_memory=in_memory)
    for chunk in chunks:
        upload.write(chunk)
    upload.finish()
    return upload


@given(
    chunks=st.lists(st.binary(max_size=200), max_size=12),
    at=st.integers(0, 2000),
    count=st.integers(0, 2000),
)
def test_what_was_written_is_read_wherever_it_lies(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[bytes], at: int, count: int
) -> None:
    whole = b"".join(chunks)
    upload = made(tmp_path_factory.getbasetemp(), *chunks)
    with upload.reader() as reader:
        assert reader.read() == whole
        assert reader.seek(0, os.SEEK_END) == len(whole)
        reader.seek(at)
        assert reader.read(count) == whole[at : at + count]
    upload.close()


def spooled(folder: Path) -> Path:
    """Return the one file that this process holds open in a folder."""
    links = (
        (one, str(one.readlink())) for one in Path("/proc/self/fd").iterdir() if one.is_symlink()
    )
    (found,) = [one for one, name in links if name.startswith(str(folder))]
    return found


def test_on_disk_there_is_ciphertext_without_a_name_and_a_changed_byte_is_refused(
    tmp_path: Path,
) -> None:
    text = b"a person's plaintext " * 20_000
    upload = made(tmp_path, text)
    assert list(tmp_path.iterdir()) == []
    on_disk = spooled(tmp_path)
    held = on_disk.read_bytes()
    assert len(held) > len(text)
    assert b"plaintext" not in held
    with on_disk.open("r+b") as file:
        file.seek(len(held) // 2)
        file.write(bytes([held[len(held) // 2] ^ 1]))
    with upload.reader() as reader, pytest.raises(IntegrityError):
        reader.read()
    upload.close()


def test_a_bound_and_a_full_disk_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = Upload(max_bytes=100, folder=tmp_path, in_memory=10)
    with pytest.raises(LimitExceededError, match="exceeds 100 bytes"):
        upload.write(bytes(101))
    upload.close()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=MIB))
    upload = Upload(max_bytes=8 * MIB, folder=tmp_path, in_memory=10)
    with pytest.raises(UnavailableError, match="no disk"):
        upload.write(bytes(100))
    upload.close()


def test_what_every_open_upload_may_still_write_is_kept_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each looks at the disk once in 16 MiB: room for one of them is none for two.
    free = RESERVE_BYTES + 24 * MIB
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    for _ in range(2):
        first = made(tmp_path, bytes(100))
        second = Upload(max_bytes=8 * MIB, folder=tmp_path, in_memory=10)
        with pytest.raises(UnavailableError, match="no disk"):
            second.write(bytes(100))
        for one in (first, first, second):  # closed twice counts once
            one.close()


@pytest.mark.parametrize("in_memory", [64, 1 * MIB])
def test_what_is_closed_leaves_no_descriptor(tmp_path: Path, in_memory: int) -> None:
    before = sum(1 for _ in Path("/proc/self/fd").iterdir())
    upload = made(tmp_path, b"x" * 1000, in_memory=in_memory)
    reader = upload.reader()
    upload.close()
    assert reader.closed
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == before

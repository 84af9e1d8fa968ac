"""The disk under a running server fills up, its keys are taken away: the door closes and opens."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import Up, running, table

from vallum.base import SealedError, UnavailableError
from vallum.workspace.bootstrap import Places, create, opened

SIZE_MIB = 160


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, which takes a right that not every test run has."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if os.geteuid() != 0 or mount is None or umount is None:
        pytest.skip("mounting a small disk needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(  # noqa: S603 - a fixed program
        [mount, "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "tmpfs", str(folder)], check=False
    )
    if made.returncode:
        pytest.skip("this machine lets nobody mount")
    yield folder
    subprocess.run([umount, "-l", str(folder)], check=False)  # noqa: S603


def fill(folder: Path, leave_bytes: int) -> Path:
    blob = folder / "blob"
    with blob.open("wb") as file:
        for _ in range(50):
            free = shutil.disk_usage(folder).free - leave_bytes
            try:
                os.posix_fallocate(file.fileno(), 0, max(1, free))
            except OSError:  # the server wrote meanwhile: measure again
                file.truncate(0)
                continue
            break
    return blob


def overflow(up: Up) -> None:
    """Write into what the database had allocated, then into the wall."""
    for at in range(40):
        up.owner.data.create(f"full-{at}", table(at, 2000), format="csv")


@pytest.mark.guarantee("G10")
def test_a_full_disk_closes_the_door_and_loses_nothing(small_disk: Path) -> None:
    with running(small_disk) as up:
        up.owner.data.create("before", table(1), format="csv")
        up.owner.identities.create("ana")
        up.owner.roles.assign("Reader", "ana")
        ana = up.client(up.owner.keys.create("k", principal="ana").secret)
        blob = fill(small_disk, 32 * 1024 * 1024)
        with pytest.raises(UnavailableError, match="kept for administrators"):
            ana.data.list()
        up.owner.data.create("by-the-owner", table(2), format="csv")  # what is left is theirs
        blob.unlink()
        blob = fill(small_disk, 0)
        with pytest.raises(UnavailableError):  # any other error would be a wrong answer
            overflow(up)
        blob.unlink()
        up.owner.data.create("after", table(3), format="csv")  # open again, without a restart
        names = {one.name for one in up.owner.data.list()}
        assert {"before", "by-the-owner", "after"} <= names
        assert up.owner.workspace.verify().findings == ()


@pytest.mark.guarantee("G10")
def test_without_its_keys_a_workspace_stays_closed(tmp_path: Path) -> None:
    places = Places.below(tmp_path / "data")
    create(places)
    kept = (places.keys / "kek-1.json").read_bytes()
    (places.keys / "kek-1.json").unlink()
    with pytest.raises(SealedError), opened(places):
        pass
    (places.keys / "kek-1.json").touch(mode=0o600)
    (places.keys / "kek-1.json").write_bytes(kept)
    with opened(places) as kernel:
        assert kernel.rules().generation > 0

"""Backups come back whole or not at all; giving history up takes leave, and leaves a trace."""

import io
import shutil
import tarfile
from pathlib import Path

import pytest
from conftest_workspace import Place, sign_in_owner

from vallum.base import (
    ConflictError,
    InputError,
    IntegrityError,
    RefusedError,
    SealedError,
    Secret,
    UnauthenticatedError,
    VallumError,
)
from vallum.schema import EntryKind, api
from vallum.workspace.bootstrap import Places, create, opened
from vallum.workspace.restore import Acceptance, restore


def ingest(place: Place, name: str = "people") -> None:
    rows = b"name,email\n" + b"".join(b"Ada,ada%d@example.org\n" % at for at in range(20))
    place.do("data.create", api.DataCreate(name=name, format="csv"), content=io.BytesIO(rows))


def back_up(place: Place, to: Path) -> Path:
    reply = place.do("workspace.backup", api.Page())
    assert reply.chunks is not None
    to.write_bytes(b"".join(reply.chunks))
    return to


@pytest.fixture
def archive(places: Places, tmp_path: Path) -> Path:
    """A backup of a workspace with one table; its data folder is lost, its keys are not."""
    create(places)
    with opened(places) as kernel:
        place = sign_in_owner(kernel, places)
        ingest(place)
        return back_up(place, tmp_path / "backup.tar")


def lose(places: Places) -> None:
    shutil.rmtree(places.data)


def leave(places: Places, **more: object) -> Acceptance:
    owner = Secret(places.owner_key.read_bytes().strip())
    return Acceptance(**{"reason": "the disk burnt", "owner": owner, **more})  # type: ignore[arg-type]


def test_a_backup_of_the_newest_state_comes_back_whole(archive: Path, places: Places) -> None:
    # Closing the workspace logged nothing after the backup but its own outcome.
    lose(places)
    told = restore(archive, places, acceptance=leave(places))
    assert told.objects == 2  # the table, and who is in it
    with opened(places) as kernel:
        place = sign_in_owner(kernel, places)
        assert place.verify().findings == ()
        reply = place.do("data.download", api.Named(name="people"))
        assert reply.chunks is not None
        assert b"ada7@example.org" in b"".join(reply.chunks)


def test_a_rollback_needs_leave_and_revokes_every_credential(archive: Path, places: Places) -> None:
    old = Secret(places.owner_key.read_bytes().strip())
    with opened(places) as kernel:
        sign_in_owner(kernel, places).person("ana", "Reader")
    lose(places)
    with pytest.raises(IntegrityError) as caught:
        restore(archive, places)
    assert caught.value.code == "audit.rollback"
    assert "--accept-rollback" in caught.value.hint
    assert not places.data.exists()
    told = restore(archive, places, acceptance=leave(places))
    assert told.rollback
    assert told.owner_key == places.owner_key
    with opened(places) as kernel:
        with pytest.raises(UnauthenticatedError):
            kernel.authenticate(old, source="127.0.0.1", request_id="req")
        place = sign_in_owner(kernel, places)
        assert place.verify().findings == ()
        house = kernel.house
        with house.database.snapshot() as snapshot:
            bridges = [
                one
                for one in house.log.entries(snapshot, limit=1000)
                if one.entry.step == "workspace.accept-rollback"
                and one.entry.kind is EntryKind.DECISION
            ]
            details = house.log.details(snapshot, bridges[0])
        assert details is not None
        assert b"the disk burnt" in details
        assert str(told.anchored).encode() in details


def test_a_rollback_needs_a_reason_and_an_owner(archive: Path, places: Places) -> None:
    with opened(places) as kernel:
        sign_in_owner(kernel, places).person("ana", "Reader")
    lose(places)
    with pytest.raises(InputError, match="needs a reason"):
        restore(archive, places, acceptance=leave(places, reason=" "))
    with pytest.raises(UnauthenticatedError):
        restore(archive, places, acceptance=leave(places, owner=Secret(b"vlm_nobody")))
    assert not places.data.exists()


def test_a_rollback_needs_a_second_person_where_there_is_one(
    places: Places, tmp_path: Path
) -> None:
    create(places)
    with opened(places) as kernel:
        place = sign_in_owner(kernel, places)
        place.person("second", "Owner")
        reader = place.do("key.create", api.KeyCreate(name="k", principal="second")).value
        assert isinstance(reader, api.Shown)
        made = back_up(place, tmp_path / "backup.tar")
        ingest(place)
    lose(places)
    with pytest.raises(RefusedError) as caught:
        restore(made, places, acceptance=leave(places))
    assert caught.value.code == "restore.second"
    owner = Secret(places.owner_key.read_bytes().strip())
    with pytest.raises(RefusedError):
        restore(made, places, acceptance=leave(places, second=owner))
    restore(made, places, acceptance=leave(places, second=Secret(reader.secret.encode())))


def test_what_was_erased_after_the_backup_stays_erased(archive: Path, places: Places) -> None:
    with opened(places) as kernel:
        sign_in_owner(kernel, places).do("data.delete", api.Named(name="people"))
    lose(places)
    restore(archive, places, acceptance=leave(places))
    with opened(places) as kernel:
        place = sign_in_owner(kernel, places)
        with pytest.raises(VallumError):
            place.do("data.download", api.Named(name="people"))
        assert place.verify().findings == ()
        assert not [path for path in (places.data / "objects").rglob("*") if path.is_file()]


def test_a_dry_run_publishes_nothing(archive: Path, places: Places) -> None:
    lose(places)
    before = (places.keys / "anchor").read_bytes()
    restore(archive, places, acceptance=leave(places), dry_run=True)
    assert not places.data.exists()
    assert (places.keys / "anchor").read_bytes() == before


def test_a_data_folder_in_use_is_not_overwritten(archive: Path, places: Places) -> None:
    with pytest.raises(ConflictError, match="is not empty"):
        restore(archive, places)
    with opened(places), pytest.raises(ConflictError, match="another process"):
        restore(archive, places)


def test_without_its_keys_a_backup_stays_closed(archive: Path, places: Places) -> None:
    lose(places)
    other = Places.below(places.data.with_name("other"))
    with pytest.raises(InputError, match="holds no keys"):
        restore(archive, other)
    create(other)
    lose(other)
    with pytest.raises(InputError, match="of another workspace"):
        restore(archive, other)
    (places.keys / "kek-1.json").unlink()
    with pytest.raises(SealedError):
        restore(archive, places)


@pytest.mark.parametrize("where", [0.02, 0.2, 0.4, 0.6, 0.8, 0.95])
def test_a_changed_byte_anywhere_is_refused(archive: Path, places: Places, where: float) -> None:
    lose(places)
    data = bytearray(archive.read_bytes())
    used = [at for at in range(len(data)) if data[at]]  # padding and free pages hold nothing
    data[used[int(len(used) * where)]] ^= 0x01
    archive.write_bytes(bytes(data))
    with pytest.raises(VallumError):
        restore(archive, places, acceptance=leave(places))
    assert not places.data.exists()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_cut_archive_is_refused(archive: Path, places: Places, share: float) -> None:
    lose(places)
    data = archive.read_bytes()
    archive.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(VallumError):
        restore(archive, places, acceptance=leave(places))
    assert not places.data.exists()


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "objects/../../evil", "keys/kek-1.json"])
def test_a_member_that_no_backup_has_is_refused(
    archive: Path, places: Places, name: str, tmp_path: Path
) -> None:
    lose(places)
    with tarfile.open(archive) as source, tarfile.open(tmp_path / "x.tar", "w") as target:
        for member in source:
            target.addfile(member, source.extractfile(member))
        extra = tarfile.TarInfo(name)
        extra.size = 4
        target.addfile(extra, io.BytesIO(b"evil"))
    with pytest.raises(InputError):
        restore(tmp_path / "x.tar", places, acceptance=leave(places))
    assert not places.data.exists()
    assert not list(tmp_path.parent.rglob("evil"))


# -- rotation of the workspace's keys -----------------------------------------------------------


def test_rotating_rewraps_every_key_and_touches_no_object(place: Place) -> None:
    ingest(place)
    objects = place.places.data / "objects"
    before = {path: path.stat().st_mtime_ns for path in objects.rglob("*") if path.is_file()}
    place.do("workspace.rotate-keys", api.RotateKeys(destroy_old=True))
    assert [path.name for path in place.places.keys.glob("kek-*.json")] == ["kek-2.json"]
    after = {path: path.stat().st_mtime_ns for path in objects.rglob("*") if path.is_file()}
    assert after == before
    assert place.verify().findings == ()


def test_a_rotated_workspace_opens_again(places: Places) -> None:
    create(places)
    with opened(places) as kernel:
        place = sign_in_owner(kernel, places)
        ingest(place)
        place.do("workspace.rotate-keys", api.RotateKeys())
        place.do("workspace.rotate-keys", api.RotateKeys(destroy_old=True))
    with opened(places) as kernel:
        place = sign_in_owner(kernel, places)
        assert place.verify().findings == ()
        ingest(place)


def test_a_dry_run_of_a_rotation_makes_no_key(place: Place) -> None:
    place.do("workspace.rotate-keys", api.RotateKeys(), dry_run=True)
    assert [path.name for path in place.places.keys.glob("kek-*.json")] == ["kek-1.json"]


def test_a_rotation_cut_short_leaves_every_key_readable(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(places)
    with opened(places) as kernel:
        place = sign_in_owner(kernel, places)
        ingest(place)

        def killed(_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(kernel.house, "reseal", killed)
        with pytest.raises(KeyboardInterrupt):
            place.do("workspace.rotate-keys", api.RotateKeys(destroy_old=True))
    with opened(places) as kernel:
        assert sign_in_owner(kernel, places).verify().findings == ()


def test_an_upload_that_a_rotation_overtook_is_not_published_unreadable(place: Place) -> None:
    house = place.kernel.house
    wrap = house.keyring.new_data_key

    def overtaken(subject_id: str, purpose: str) -> object:
        made = wrap(subject_id, purpose)
        house.provider.rotate()
        house.provider.destroy_older()
        return made

    house.keyring.new_data_key = overtaken  # type: ignore[method-assign,assignment]
    with pytest.raises(SealedError):
        ingest(place)

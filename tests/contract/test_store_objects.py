"""The contract of encrypted objects, on local files, memory, S3 (moto) and Azure (Azurite)."""

import shutil
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import obstore
import pytest
from fixtures_store import make_permit
from obstore.store import ObjectStore

from vallum.base import InputError, IntegrityError, RefusedError, UnavailableError, digest
from vallum.crypto import Keyring
from vallum.schema import Part
from vallum.store import Objects, chunks, open_backend
from vallum.store import objects as module

VERSION = "dver-1"
PERMIT = make_permit(VERSION, "ws-test")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK_BYTES", 100_000)


def content(size: int) -> bytes:
    return bytes(i * 7 % 251 for i in range(size))


def names_of(backend: ObjectStore) -> list[str]:
    return sorted(entry["path"] for page in obstore.list(backend) for entry in page)


@pytest.mark.parametrize("size", [0, 1, 99_000, 250_000])
def test_what_is_written_is_read_at_any_offset(
    objects: Objects, keyring: Keyring, size: int
) -> None:
    key, _ = keyring.new_data_key(VERSION, "content")
    part = objects.write(
        PERMIT, version_id=VERSION, part="a/b.csv", source=content(size), data_key=key
    )
    reader = objects.open(PERMIT, version_id=VERSION, part=part, data_key=key)
    assert (reader.size, part.length) == (size, size)
    assert b"".join(chunks(reader)) == content(size)
    assert reader.read(size // 2, 70_000) == content(size)[size // 2 :][:70_000]
    objects.verify(PERMIT, version_id=VERSION, part=part, data_key=key)


def test_back_end_sees_neither_content_nor_names(
    objects: Objects, backend: ObjectStore, keyring: Keyring
) -> None:
    key, _ = keyring.new_data_key(VERSION, "content")
    for _ in range(2):
        objects.write(PERMIT, version_id=VERSION, part="secret", source=b"x" * 500, data_key=key)
    names = names_of(backend)
    bodies = [bytes(obstore.get(backend, name).bytes()) for name in names]
    assert len(names) == 2  # the same content and name twice: nothing is shared
    assert bodies[0] != bodies[1]
    assert all(b"xxxx" not in body for body in bodies)
    assert all("secret" not in name and VERSION not in name for name in names)


def test_digest_is_a_commitment_unless_content_is_no_personal_data(
    objects: Objects, keyring: Keyring
) -> None:
    def write(version: str, *, personal: bool) -> Part:
        key, _ = keyring.new_data_key(version, "content")
        return objects.write(
            PERMIT, on="ws-test", version_id=version, part="p", source=b"Ada", data_key=key,
            personal=personal,
        )  # fmt: skip

    assert write("mver-1", personal=False).digest == digest(b"Ada")
    kept = [write(version, personal=True).digest for version in ("dver-1", "dver-1", "dver-2")]
    assert kept[0] == kept[1] != kept[2]
    assert all(one.startswith("hmac-sha256:") and digest(b"Ada")[7:] not in one for one in kept)


@pytest.mark.parametrize("damage", ["flip", "truncate", "extend", "remove", "swap", "old"])
@pytest.mark.parametrize("block", [0, 1, 2])
def test_damaged_objects_are_refused(
    objects: Objects, backend: ObjectStore, keyring: Keyring, damage: str, block: int
) -> None:
    key, _ = keyring.new_data_key(VERSION, "content")
    part = objects.write(
        PERMIT, version_id=VERSION, part="p", source=content(250_000), data_key=key
    )
    other = objects.write(
        PERMIT, version_id=VERSION, part="p", source=content(250_000), data_key=key
    )
    names = list(objects._names(part))
    body = bytes(obstore.get(backend, names[block]).bytes())
    match damage:
        case "flip":
            middle = len(body) // 2
            body = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
        case "truncate":
            body = body[:-1]
        case "extend":
            body += b"\0"
        case "swap":
            body = bytes(obstore.get(backend, names[1 if block == 0 else 0]).bytes())
        case "old":  # the same part of the same version from another upload
            body = bytes(obstore.get(backend, list(objects._names(other))[block]).bytes())
    if damage == "remove":
        obstore.delete(backend, names[block])
    else:
        obstore.put(backend, names[block], body)
    with pytest.raises(IntegrityError):
        objects.verify(PERMIT, version_id=VERSION, part=part, data_key=key)
    assert bool(objects.missing([part])) == (damage == "remove")


def test_a_part_opens_only_as_what_it_is(objects: Objects, keyring: Keyring) -> None:
    key, _ = keyring.new_data_key(VERSION, "content")
    other_key, _ = keyring.new_data_key(VERSION, "content")
    part = objects.write(PERMIT, version_id=VERSION, part="p", source=b"abc", data_key=key)
    forged = [
        ("dver-2", part, key),
        (VERSION, msgspec.structs.replace(part, part="q"), key),
        (VERSION, msgspec.structs.replace(part, upload_id="0" * 32), key),
        (VERSION, msgspec.structs.replace(part, object_name="0" * 64), key),
        (VERSION, msgspec.structs.replace(part, length=2), key),
        (VERSION, msgspec.structs.replace(part, length=4), key),
        (VERSION, msgspec.structs.replace(part, digest="hmac-sha256:" + "0" * 64), key),
        (VERSION, part, other_key),
    ]
    for version, one, with_key in forged:
        with pytest.raises(IntegrityError):
            objects.verify(PERMIT, on="ws-test", version_id=version, part=one, data_key=with_key)
    with pytest.raises(RefusedError):
        objects.open(make_permit("dver-2"), version_id=VERSION, part=part, data_key=key)


def test_objects_are_created_once(objects: Objects, backend: ObjectStore, keyring: Keyring) -> None:
    key, _ = keyring.new_data_key(VERSION, "content")
    part = objects.write(PERMIT, version_id=VERSION, part="p", source=b"abc", data_key=key)
    (name,) = objects._names(part)
    module.raw.create(backend, name, bytes(obstore.get(backend, name).bytes()))  # a lost reply
    with pytest.raises(IntegrityError):  # another length: not even that is taken for ours
        module.raw.create(backend, name, b"other")
    objects.verify(PERMIT, version_id=VERSION, part=part, data_key=key)


def test_sweep_and_discard_remove_what_no_row_lists(
    objects: Objects, backend: ObjectStore, keyring: Keyring
) -> None:
    key, _ = keyring.new_data_key(VERSION, "content")
    kept, orphan, dropped = (
        objects.write(PERMIT, version_id=VERSION, part="p", source=content(150_000), data_key=key)
        for _ in range(3)
    )
    objects.discard(dropped)
    objects.discard(dropped)
    now = datetime.now(UTC)  # noqa: TID251 - of the servers, which have no other clock
    early, late = now - timedelta(hours=1), now + timedelta(hours=1)
    assert objects.sweep(PERMIT, [kept], on="ws-test", before=early) == ()
    swept = objects.sweep(PERMIT, [kept], on="ws-test", before=late)
    assert sorted(swept) == sorted(objects._names(orphan))
    assert names_of(backend) == sorted(objects._names(kept))


def test_a_source_that_breaks_leaves_nothing(
    objects: Objects, backend: ObjectStore, keyring: Keyring
) -> None:
    class Breaking:
        def __init__(self) -> None:
            self.left = 3

        def read(self, size: int = -1) -> bytes:
            self.left -= 1
            if self.left < 0:
                raise OSError("gone")
            return content(min(size, 120_000))

    key, _ = keyring.new_data_key(VERSION, "content")
    with pytest.raises(OSError, match="gone"):
        objects.write(
            PERMIT, version_id=VERSION, part="p", data_key=key,
            source=Breaking(),  # type: ignore[arg-type]
        )  # fmt: skip
    assert names_of(backend) == []


@pytest.mark.parametrize("name", ["", "/a", "a//b", "../a", "a/.", "a\\b", "a\0", "a" * 1025])
def test_part_names_are_relative_paths(keyring: Keyring, name: str) -> None:
    key, _ = keyring.new_data_key(VERSION, "content")
    with pytest.raises(InputError):
        Objects(open_backend("memory://"), keyring).write(
            PERMIT, version_id=VERSION, part=name, source=b"", data_key=key
        )


def test_local_objects_are_private_and_a_lost_folder_is_unavailable(
    tmp_path: Path, keyring: Keyring
) -> None:
    folder = tmp_path / "objects"
    objects = Objects(open_backend(f"file://{folder}"), keyring)
    key, _ = keyring.new_data_key(VERSION, "content")
    part = objects.write(PERMIT, version_id=VERSION, part="p", source=b"abc", data_key=key)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert [stat.S_IMODE(path.stat().st_mode) for path in [folder, *files]] == [0o700, 0o600]
    shutil.rmtree(folder)
    with pytest.raises(UnavailableError):
        objects.open(PERMIT, version_id=VERSION, part=part, data_key=key)


@pytest.mark.parametrize(
    ("url", "settings"),
    [
        ("ftp://host/x", {}),
        ("file:relative", {}),
        ("file://host/folder", {}),
        ("s3://", {}),
        ("s3://bucket", {"endpoint": "http://objects.example"}),
        ("s3://bucket", {"no_such_setting": "1"}),
    ],
)
def test_unusable_addresses_are_refused(url: str, settings: dict[str, str]) -> None:
    with pytest.raises(InputError):
        open_backend(url, settings=settings)

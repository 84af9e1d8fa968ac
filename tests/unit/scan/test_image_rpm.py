"""rpm's databases before and beside SQLite, as rpm and Berkeley DB write them, and damaged."""

import contextlib
import gzip
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum.base import InputError, LimitExceededError
from vallum.base.bounds import IMAGE
from vallum.scan.image.packages import take_inventory
from vallum.scan.image.rpm_older import berkeley_blobs, ndb_blobs
from vallum.scan.image.rpmdb import read_rpmdb

VECTORS = Path(__file__).parents[2] / "vectors" / "rpm"
NDB = gzip.decompress((VECTORS / "Packages.db.gz").read_bytes())
BERKELEY = gzip.decompress((VECTORS / "Packages.gz").read_bytes())
LOAD = shutil.which("db5.3_load")


def names(data: bytes) -> list[tuple[str, str, int]]:
    found = read_rpmdb(data, max_packages=10)
    return sorted((one.name, one.version, len(one.files)) for one in found)


def test_ndb_is_read_and_what_was_deleted_is_not() -> None:
    assert names(NDB) == [
        ("bash", "5.1.8-6.el9", 1), ("bash", "5.1.8-6.el9", 401),
        ("openssl-libs", "1:3.0.7-6.el9", 1),
    ]  # fmt: skip
    with pytest.raises(LimitExceededError):
        read_rpmdb(NDB, max_packages=2)


def test_berkeley_db_is_read_with_values_on_pages_of_their_own() -> None:
    assert names(BERKELEY) == [
        ("bash", "5.1.8-6.el9", 1), ("bash", "5.1.8-6.el9", 401),
        ("openssl-libs", "1:3.0.7-6.el9", 1), ("openssl-libs", "5.1.8-6.el9", 401),
    ]  # fmt: skip


def test_an_image_of_either_kind_lists_its_packages() -> None:
    suse = b'ID="opensuse-leap"\nVERSION_ID="15.5"\n'
    for path, data in (
        ("usr/lib/sysimage/rpm/Packages.db", NDB),
        ("var/lib/rpm/Packages", BERKELEY),
    ):
        found = take_inventory({"etc/os-release": suse, path: data}, IMAGE)
        assert (found.unread, found.missing) == ([], "")
        assert {one.name for one in found.packages} == {"bash", "openssl-libs"}
        assert {one.ecosystem for one in found.packages} == {"openSUSE:Leap 15.5"}


@pytest.mark.skipif(LOAD is None, reason="the Debian package db5.3-util is missing")
@pytest.mark.parametrize("order", ["1234", "4321"])
@pytest.mark.parametrize("page", ["512", "4096", "65536"])
def test_what_berkeley_db_writes_is_what_is_read(tmp_path: Path, order: str, page: str) -> None:
    values = [bytes([at % 251]) * (at * 37 % 9000 + 1) for at in range(300)]
    dump = ["VERSION=3", "format=bytevalue", "type=hash", f"db_pagesize={page}",
            f"db_lorder={order}", "HEADER=END"]  # fmt: skip
    for at, value in enumerate([b"\x2c\x01\0\0", *values]):
        dump += [" " + struct.pack("<I", at).hex(), " " + value.hex()]
    made = tmp_path / "Packages"
    subprocess.run(  # noqa: S603 - a fixed program
        [str(LOAD), str(made)], input="\n".join([*dump, "DATA=END", ""]), text=True, check=True,
        timeout=60,
    )  # fmt: skip
    assert sorted(berkeley_blobs(made.read_bytes())) == sorted(values)


@given(
    st.sampled_from([NDB, BERKELEY]),
    st.lists(st.tuples(st.integers(0, 1 << 18), st.integers(0, 255)), min_size=1, max_size=4),
    st.integers(0, 1 << 18),
)
def test_a_damaged_database_is_read_or_refused(
    data: bytes, changes: list[tuple[int, int]], end: int
) -> None:
    damaged = bytearray(data)
    for at, byte in changes:
        damaged[at % len(damaged)] = byte
    for one in (bytes(damaged), bytes(damaged[: end % len(damaged)])):
        with contextlib.suppress(InputError, LimitExceededError):
            read_rpmdb(one, max_packages=10)


@given(st.binary(max_size=600), st.booleans())
def test_any_bytes_behind_a_beginning_are_refused(rest: bytes, ndb: bool) -> None:  # noqa: FBT001 - hypothesis
    with pytest.raises(InputError):
        read_rpmdb(b"RpmP" + rest if ndb else bytes(12) + b"\x61\x15\x06\0" + rest, max_packages=10)


def changed(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def offset_of(page_type: int) -> int:
    """Return where the first page of a type begins."""
    return next(at for at in range(4096, len(BERKELEY), 4096) if BERKELEY[at + 25] == page_type)


def goes_on() -> int:
    """Return where the first page that a value does not end on begins."""
    starts = range(4096, len(BERKELEY), 4096)
    return next(
        at for at in starts if BERKELEY[at + 25] == 7 and BERKELEY[at + 16 : at + 20] != bytes(4)
    )


def off_page() -> int:
    """Return where the first reference to a value on pages of its own stands."""
    for start in range(4096, len(BERKELEY), 4096):
        (count,) = struct.unpack_from("<H", BERKELEY, start + 20)
        if BERKELEY[start + 25] == 13 and count:
            for offset in struct.unpack_from(f"<{count}H", BERKELEY, start + 26):
                if BERKELEY[start + offset] == 3:
                    return start + offset
    raise AssertionError("there is none")


def twice() -> bytes:
    """Return a database with one page more, whose value lies where another one does."""
    start = off_page() // 4096 * 4096
    number = struct.pack("<I", len(BERKELEY) // 4096)
    page = changed(BERKELEY[start : start + 4096], 8, number)
    return changed(BERKELEY, 32, number) + page


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (changed(BERKELEY, 16, b"\x07"), "version 7"),
        (changed(BERKELEY, 20, b"\0\0\0\0"), "cut short"),
        (changed(BERKELEY, 24, b"\x01"), "encrypted"),
        (changed(BERKELEY, 32, b"\xff\xff\xff"), "cut short"),
        (changed(BERKELEY, offset_of(13) + 20, b"\xff\xff"), "keys without values"),
        (changed(BERKELEY, offset_of(13) + 26, b"\xff\xff"), "outside of its place"),
        (changed(BERKELEY, offset_of(13) + 8, b"\xee"), "another one"),
        (changed(BERKELEY, goes_on() + 16, b"\0\0\0\0"), "page is missing"),
        (changed(BERKELEY, offset_of(7) + 22, b"\0\0"), "goes on where"),
        (changed(BERKELEY, off_page(), b"\x02"), "neither a value"),
        (changed(BERKELEY, off_page() + 8, b"\xff\xff\xff\x7f"), "longer than the file"),
        (twice(), "belongs to two"),
        (changed(NDB, 4, b"\x01"), "version 1 of NDB"),
        (changed(NDB, 12, b"\xff\xff"), "slots are cut short"),
        (changed(NDB, 32, b"slot"), "a slot is none"),
        (NDB[:-16], "outside of it"),
        (changed(NDB, len(NDB) // 2, b"\xaa\xbb\xcc"), "check sum"),
    ],
)
def test_what_does_not_fit_is_said(data: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_rpmdb(data, max_packages=10)


def test_two_slots_share_no_bytes() -> None:
    first = next(at for at in range(48, 4096, 16) if NDB[at + 8 : at + 12] != bytes(4))
    slot = NDB[first : first + 16]
    with pytest.raises(InputError, match="share bytes"):
        list(ndb_blobs(changed(NDB, 32, slot)))
    blob = struct.pack("<4sIII", b"BlbS", 9, 0, 4) + b"abcd"
    whole = blob + struct.pack("<II4s", zlib.adler32(blob), 4, b"BlbE")
    page = bytearray(struct.pack("<4sIII", b"RpmP", 0, 1, 1).ljust(32, b"\0") + b"Slot" * 1016)
    page[32:] = (b"Slot" + bytes(12)) * 254
    page[32:48] = struct.pack("<4sIII", b"Slot", 9, 256, 2)
    assert list(ndb_blobs(bytes(page) + whole)) == [b"abcd"]

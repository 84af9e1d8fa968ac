"""Layers as streams: what tarfile writes is read alike, and what is odd is refused or told."""

import contextlib
import io
import tarfile
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vallum.base.errors import VallumError
from vallum.formats import TarEntry, read_tar

NAMES = st.from_regex(r"[a-zé]{1,120}(/[a-z]{1,120})?", fullmatch=True)
FILES = st.dictionaries(NAMES, st.binary(max_size=1200), max_size=5)


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def entries(data: bytes, size: int = 1 << 20) -> list[TarEntry]:
    return list(read_tar(pieces(data, size), lambda _: True, max_path_bytes=4096))


def written(form: int, *members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@given(FILES, st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]), st.integers(1, 700))
def test_what_tarfile_writes_is_read_in_pieces_of_any_size(
    files: dict[str, bytes], form: int, size: int
) -> None:
    data = written(form, *((tarfile.TarInfo(name), content) for name, content in files.items()))
    assert {one.path: one.content for one in entries(data, size)} == files


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_links_devices_owners_and_attributes_are_told(form: int) -> None:
    link, device, owned = (tarfile.TarInfo(name) for name in ("link", "device", "owned"))
    link.type, link.linkname = tarfile.SYMTYPE, "../" * 30 + "target"
    device.type, device.devmajor, device.devminor = tarfile.CHRTYPE, 1, 3
    owned.uid, owned.gid, owned.mode = 1000, 50, 0o6755
    if form == tarfile.PAX_FORMAT:
        owned.pax_headers = {"SCHILY.xattr.user.x": "y\nz", "uid": "3000000"}
    found = {
        one.path: one for one in entries(written(form, (link, b""), (device, b""), (owned, b"x")))
    }
    assert (found["link"].kind, found["link"].target) == ("link", link.linkname)
    assert (found["device"].kind, found["device"].device) == ("character", (1, 3))
    assert (found["owned"].mode, found["owned"].gid) == (0o6755, 50)
    if form == tarfile.PAX_FORMAT:
        assert dict(found["owned"].attributes) == {"user.x": b"y\nz"}
        assert found["owned"].uid == 3_000_000


def forged(**fields: object) -> bytes:
    info = tarfile.TarInfo(str(fields.pop("name", "x")))
    for key, value in fields.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.PAX_FORMAT) + bytes(1024)


# GNU's long name says `evil`, PAX says `safe`: Go takes one, Python the other.
TWO_NAMES = written(tarfile.GNU_FORMAT, (tarfile.TarInfo("evil" * 40), b""))[:1024] + written(
    tarfile.PAX_FORMAT, (tarfile.TarInfo("safe" * 40), b"")
)


def test_an_archive_may_end_after_its_last_byte_of_content() -> None:
    whole = written(tarfile.GNU_FORMAT, (tarfile.TarInfo("x"), b"content"))
    for end in (512 + 7, 1024, 1536, 2048):
        assert [one.content for one in entries(whole[:end])] == [b"content"]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "archive.tar.truncated"),
        (b"x" * 512, "archive.tar.number"),
        (forged()[:300], "archive.tar.truncated"),
        (forged(size=2000), "archive.tar.truncated"),
        (forged(type=b"S"), "archive.tar.type"),
        (forged(type=b"V"), "archive.tar.type"),
        (forged(type=b"x", size=70_000), "archive.tar.header-too-large"),
        (forged(type=tarfile.DIRTYPE, size=5), "archive.name"),
        (forged(pax_headers={"GNU.sparse.major": "1"}), "archive.sparse"),
        (forged(pax_headers={"path": "a\0b"}), "archive.name"),
        (forged(name="a" * 5000), "archive.name-too-long"),
        (TWO_NAMES, "archive.name"),
        (forged() + b"\0" * 512 + b"x" * 512, "archive.hidden-data"),
        (tarfile.TarInfo("x").tobuf()[:-1] + b"x" + bytes(1024), "archive.tar.checksum"),
        (tarfile.TarInfo.create_pax_global_header({"path": "y"}) + forged(), "archive.tar.global"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(data: bytes, code: str) -> None:
    with pytest.raises(VallumError) as caught:
        entries(data)
    assert caught.value.code == code


@given(st.integers(0, 2047), st.integers(0, 255))
def test_a_damaged_stream_gives_entries_or_one_of_our_errors(at: int, byte: int) -> None:
    info = tarfile.TarInfo("folder/file")
    data = bytearray(written(tarfile.PAX_FORMAT, (info, b"content" * 90)))
    data[at % len(data)] = byte
    with contextlib.suppress(VallumError):
        assert len(entries(bytes(data))) <= 1

"""Archives made to be read in two ways: each is refused, and the refusal says why."""

import io
import struct
import tarfile
import zipfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.base.bounds import ArchiveBounds
from vallum.base.errors import VallumError
from vallum.formats import TarArchive, ZipArchive

NAMES = st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8})?", fullmatch=True)
FILES = st.dictionaries(NAMES, st.binary(max_size=300), min_size=1, max_size=5)


def zip_of(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return buffer.getvalue()


def tar_of(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info, content in entries:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def entry(name: str, content: bytes = b"x", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def read_all(archive: ZipArchive | TarArchive) -> dict[str, bytes]:
    return {m.name: b"".join(archive.chunks(m)) for m in archive.files()}


def zip_code(data: bytes, bounds: ArchiveBounds | None = None) -> str:
    with pytest.raises(VallumError) as caught:
        read_all(ZipArchive(data, bounds) if bounds else ZipArchive(data))
    return caught.value.code


def tar_code(data: bytes, bounds: ArchiveBounds | None = None) -> str:
    with pytest.raises(VallumError) as caught:
        read_all(TarArchive(data, bounds) if bounds else TarArchive(data))
    return caught.value.code


def unclashing(files: dict[str, bytes]) -> bool:
    return not any(a != b and a.startswith(b + "/") for a in files for b in files)


@settings(max_examples=40)
@given(FILES.filter(unclashing), st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
def test_a_zip_gives_back_what_was_put_in(files: dict[str, bytes], method: int) -> None:
    assert read_all(ZipArchive(zip_of(files, method))) == files


@settings(max_examples=40)
@given(FILES.filter(unclashing))
def test_a_tar_gives_back_what_was_put_in(files: dict[str, bytes]) -> None:
    data = tar_of(*(entry(name, content) for name, content in files.items()))
    assert read_all(TarArchive(data)) == files


def test_a_streamed_zip_with_data_descriptors_is_read() -> None:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.kept = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            self.kept += bytes(data)  # type: ignore[call-overload]
            return len(bytes(data))  # type: ignore[call-overload]

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[arg-type]
        archive.writestr("a", b"hello")
    assert read_all(ZipArchive(bytes(pipe.kept))) == {"a": b"hello"}


def test_a_long_tar_name_in_either_dialect_is_read() -> None:
    name = "d/" + "n" * 150
    for dialect in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=dialect) as archive:
            archive.addfile(tarfile.TarInfo(name))
        assert [m.name for m in TarArchive(buffer.getvalue()).members] == [name]


def test_a_tar_member_with_two_names_is_refused() -> None:
    long, plain = io.BytesIO(), io.BytesIO()
    for buffer, form, name in (
        (long, tarfile.GNU_FORMAT, "n" * 150),
        (plain, tarfile.PAX_FORMAT, "p" * 150),
    ):
        with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
            archive.addfile(tarfile.TarInfo(name))
    gnu_name = long.getvalue()[: 2 * 512]  # a header and the block of the name
    assert tar_code(gnu_name + plain.getvalue()) == "archive.name"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("../x", "archive.traversal"),
        ("a/../../x", "archive.traversal"),
        ("/etc/passwd", "archive.traversal"),
        ("..\\x", "archive.traversal"),
        ("C:/x", "archive.traversal"),
        ("a\nb", "archive.name"),
        ("a//b", "archive.name"),
        ("n" * 2_000, "archive.name-too-long"),
    ],
)
def test_names_that_leave_the_folder_are_refused(name: str, code: str) -> None:
    assert zip_code(zip_of({name: b"x"})) == code
    assert tar_code(tar_of(entry(name))) == code


def test_names_that_a_file_system_takes_for_one_are_refused() -> None:
    for other in ("a", "A", "./a"):
        files = io.BytesIO()
        with zipfile.ZipFile(files, "w") as archive:
            archive.writestr("a", b"1")
            if other == "a":
                with pytest.warns(UserWarning, match="Duplicate"):
                    archive.writestr(other, b"2")
            else:
                archive.writestr(other, b"2")
        assert zip_code(files.getvalue()) == "archive.duplicate-member"
        assert tar_code(tar_of(entry("a"), entry(other))) == "archive.duplicate-member"


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_in_a_tar_are_refused(kind: bytes) -> None:
    assert tar_code(tar_of(entry("a", b"", type=kind, linkname="/etc"))) == "archive.symlink"


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_in_a_tar_are_refused(kind: bytes) -> None:
    assert tar_code(tar_of(entry("a", b"", type=kind))) == "archive.special-file"


def test_sparse_members_are_refused() -> None:
    assert tar_code(tar_of(entry("a", b"", type=tarfile.GNUTYPE_SPARSE))) == "archive.sparse"
    sparse = entry("a", b"", pax_headers={"GNU.sparse.major": "1"})
    assert tar_code(tar_of(sparse)) == "archive.sparse"


def test_a_link_in_a_zip_is_refused() -> None:
    buffer = io.BytesIO()
    info = zipfile.ZipInfo("link")
    info.create_system, info.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert zip_code(buffer.getvalue()) == "archive.symlink"


ONE = zip_of({"a": b"hello"})
LOCAL = struct.calcsize("<4s5H3L2H")
CENTRAL = ONE.index(b"PK\x01\x02")


def changed(at: int, value: bytes) -> bytes:
    return ONE[:at] + value + ONE[at + len(value) :]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"x" + ONE, "archive.zip.directory"),
        (ONE + b"x", "archive.zip.end"),
        (ONE[:-22], "archive.zip.end"),
        (changed(LOCAL, b"b"), "archive.zip.mismatch"),
        (changed(CENTRAL + 46, b"b"), "archive.zip.mismatch"),
        (changed(CENTRAL + 8, b"\x01\x00"), "archive.encrypted"),
        (changed(CENTRAL + 8, b"\x20\x00"), "archive.zip.flags"),
        (changed(CENTRAL + 10, b"\x63\x00"), "archive.method"),
        (changed(CENTRAL + 42, b"\x01"), "archive.hidden-data"),
        (changed(LOCAL + 1, b"J"), "archive.crc"),
        (changed(14, b"\0\0\0\0"), "archive.zip.mismatch"),
    ],
)
def test_a_zip_whose_parts_disagree_is_refused(data: bytes, code: str) -> None:
    assert zip_code(data) == code


def test_a_gap_before_a_member_and_before_the_directory_is_refused() -> None:
    end = len(ONE) - 22
    gap = ONE[:CENTRAL] + b"evil" + ONE[CENTRAL:end]
    tail = ONE[end : end + 16] + struct.pack("<LH", CENTRAL + 4, 0)
    assert zip_code(gap + tail) == "archive.hidden-data"


def test_overlapping_members_are_refused() -> None:
    second = ONE[CENTRAL : CENTRAL + 46] + b"b"
    directory = ONE[CENTRAL:-22] + second
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2, 2, len(directory), CENTRAL, 0)
    assert zip_code(ONE[:CENTRAL] + directory + end) == "archive.overlap"


def test_a_zip_bomb_is_refused_before_it_is_expanded() -> None:
    assert zip_code(zip_of({"a": bytes(4 << 20)}, zipfile.ZIP_DEFLATED)) == "archive.bomb"


def test_a_member_larger_than_it_says_is_refused() -> None:
    packed = zip_of({"a": b"y" * 1_000}, zipfile.ZIP_DEFLATED)
    at = packed.index(b"PK\x01\x02")
    for size, code in ((999, "archive.size"), (1_001, "archive.size")):
        wrong = bytearray(packed)
        wrong[22:26] = wrong[at + 24 : at + 28] = struct.pack("<L", size)
        assert zip_code(bytes(wrong)) == code


def test_bytes_after_a_packed_stream_are_refused() -> None:
    stream = zlib.compressobj(wbits=-15)
    body = stream.compress(b"hi") + stream.flush() + b"evil"
    crc = zlib.crc32(b"hi")
    local = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 8, 0, 0, crc, len(body), 2, 1, 0)
    central = struct.pack(
        "<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 8, 0, 0, crc, len(body), 2, 1, 0, 0, 0, 0, 0, 0
    )  # fmt: skip
    head = local + b"a" + body
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(central) + 1, len(head), 0)
    assert zip_code(head + central + b"a" + end) == "archive.hidden-data"


@pytest.mark.parametrize(
    ("bounds", "code"),
    [
        (ArchiveBounds(max_entries=1), "archive.too-many-members"),
        (ArchiveBounds(max_member_bytes=2), "archive.member-too-large"),
        (ArchiveBounds(max_total_bytes=5), "archive.too-large"),
        (ArchiveBounds(max_bytes=10), "archive.too-large"),
    ],
)
def test_every_archive_bound_holds(bounds: ArchiveBounds, code: str) -> None:
    assert zip_code(zip_of({"a": b"123", "b": b"123"}), bounds) == code
    assert tar_code(tar_of(entry("a", b"123"), entry("b", b"123")), bounds) == code


TAR = tar_of(entry("a", b"hello"))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (TAR[:600], "archive.tar.truncated"),
        (TAR + b"x" * 512, "archive.hidden-data"),
        (TAR[:520] + b"x" + TAR[521:], "archive.hidden-data"),
        (b"b" + TAR[1:], "archive.tar.checksum"),
        (b"", "archive.tar.truncated"),
    ],
)
def test_a_tar_with_bytes_of_nobody_is_refused(data: bytes, code: str) -> None:
    assert tar_code(data) == code


@settings(max_examples=150)
@given(st.integers(0, len(ONE) - 1), st.integers(1, 255))
def test_a_changed_zip_is_refused_or_reads_the_same_names(at: int, change: int) -> None:
    data = bytearray(ONE)
    data[at] ^= change
    try:
        found = read_all(ZipArchive(bytes(data)))
    except VallumError:
        return
    assert found == {"a": b"hello"}


@settings(max_examples=100)
@given(st.integers(0, 1_023), st.integers(1, 255))
def test_a_changed_tar_gives_members_or_a_declared_error(at: int, change: int) -> None:
    data = bytearray(TAR)
    data[at] ^= change
    try:
        found = read_all(TarArchive(bytes(data)))
    except VallumError:
        return
    assert len(found) == 1


@settings(max_examples=60)
@given(st.binary(max_size=300))
def test_any_bytes_give_an_archive_or_a_declared_error(data: bytes) -> None:
    for opened in (ZipArchive, TarArchive):
        for prefix in (b"", b"PK\x03\x04"):
            try:
                read_all(opened(prefix + data))
            except VallumError as error:
                assert error.code.startswith("archive.")  # noqa: PT017 - either outcome is right

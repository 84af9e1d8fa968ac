"""HDF5 of every layout that h5py writes: links, heaps of many links, filters, superblocks."""

import io
import struct
import time
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.base.bounds import MODEL
from vallum.scan import ScanVerdict, scan_bytes
from vallum.scan.hdf5 import _heap_text
from vallum.scan.hdf5_parts import Hdf5File
from vallum.scan.report import Findings

EVIL = b"cos\nsystem\n(S'true'\ntR."
CODE = '{"class_name": "Lambda", "config": {"function": "x"}}'


def written(fill: Callable[[Any], object], **options: Any) -> bytes:
    held = io.BytesIO()
    with h5py.File(held, "w", **options) as file:
        fill(file)
    return held.getvalue()


def ids(data: bytes) -> set[str]:
    return {one.id for one in scan_bytes("x", data, digest=False).files[0].findings}


def usual(file: Any) -> None:
    file.attrs["text"] = "words"
    file.create_dataset("a/b", data=np.arange(9.0))
    file.create_dataset("packed", data=np.arange(999), compression="gzip", shuffle=True)
    file.create_dataset("grows", data=np.arange(9), maxshape=(None,), fletcher32=True)
    file.create_dataset("quick", data=np.arange(99), compression="lzf")
    file.create_dataset("words", data=["a", "b"])
    file["soft"] = h5py.SoftLink("/a/b")
    file["hard"] = file["a"]
    for at in range(60):
        file.create_group(f"group{at}")
        file["a"].attrs[f"attribute{at}"] = at


OPTIONS: dict[str, dict[str, Any]] = {
    "first": {}, "latest": {"libver": "latest"}, "ordered": {"track_order": True},
    "both": {"libver": "latest", "track_order": True}, "v108": {"libver": ("v108", "v108")},
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
def test_every_layout_is_clean_and_nothing_may_follow(name: str) -> None:
    data = written(usual, **OPTIONS[name])
    (file,) = scan_bytes("x", data).files
    assert (file.format, file.verdict) == ("hdf5", ScanVerdict.CLEAN), file.findings
    for changed in (data + EVIL, data + b"\0", data[:-1], data[: len(data) // 2]):
        assert scan_bytes("x", changed).exit_code == 1


def deep(file: Any) -> None:
    usual(file)
    file["a"].attrs["model_config"] = CODE


def other_file(file: Any) -> None:
    usual(file)
    file["zz"] = h5py.ExternalLink("other.h5", "/")


def other_data(file: Any) -> None:
    file.create_dataset("x", shape=(4,), dtype="f4", external=[("/etc/passwd", 0, 16)])


def virtual(file: Any) -> None:
    layout = h5py.VirtualLayout(shape=(4,), dtype="f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", shape=(4,))
    file.create_virtual_dataset("v", layout)


def pickled(file: Any) -> None:
    usual(file)
    file["group59"].create_dataset("x", data=np.frombuffer(EVIL, "u1"))


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize(
    ("fill", "id_"),
    [(deep, "keras.code"), (other_file, "hdf5.external-data"), (other_data, "hdf5.external-data"),
     (virtual, "hdf5.external-data"), (pickled, "hdf5.pickle")],
)  # fmt: skip
def test_what_acts_is_found_in_every_layout(
    name: str, fill: Callable[[Any], object], id_: str
) -> None:
    if fill is virtual and name == "v108":
        pytest.skip("that version of the library has none")
    assert id_ in ids(written(fill, **OPTIONS[name]))


def test_an_unknown_filter_is_found_in_every_layout() -> None:
    for options in OPTIONS.values():
        data = written(usual, **options)
        place = data.index(np.array([32000], "<u2").tobytes())
        changed = data[:place] + b"\x01\x7d" + data[place + 2 :]
        assert "hdf5.filter" in ids(changed) or "hdf5.unread" in ids(changed)


LATEST = written(deep, libver="latest", track_order=True)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, len(LATEST) - 1), st.integers(1, 255))
def test_changed_bytes_never_break_the_scan(at: int, by: int) -> None:
    changed = bytearray(LATEST)
    changed[at] ^= by
    scan_bytes("x", bytes(changed))
    assert scan_bytes("x", LATEST[: max(at, 8)]).exit_code == 1


def test_a_heap_of_texts_is_read_once() -> None:
    texts = b"".join(struct.pack("<HHIQ", at, 0, 0, 0) for at in range(1, 60_000))
    heap = b"GCOL\1\0\0\0" + struct.pack("<Q", 16 + len(texts)) + texts
    last = struct.pack("<IQI", 0, 8, 59_999)
    data = bytes(8) + heap + last
    file = Hdf5File(memoryview(data), Findings(), MODEL, "")
    begun = time.process_time()
    for _ in range(4000):
        assert _heap_text(file, len(data) - 16) == b""
    assert time.process_time() - begun < 2  # it was minutes

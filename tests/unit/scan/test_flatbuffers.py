"""Arrow's files and streams, and TensorFlow Lite: every byte belongs to one object."""

import io
import struct
import time
from pathlib import Path
from typing import Literal

import flatbuffers  # type: ignore[import-untyped]  # it has no types
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.scan import ScanVerdict, scan_bytes, scan_path
from vallum.scan.arrow import arrow_fault
from vallum.scan.flatbuffer import Table, Vector, flat_fault
from vallum.scan.tflite import tflite_fault

EVIL = b"cos\nsystem\n(S'true'\ntR."
DATA = Path(__file__).parent / "data"
FILE = (DATA / "table.arrow").read_bytes()  # written by pyarrow 25
STREAM = (DATA / "stream.arrow").read_bytes()
NAME = b"none.of.pythons.types"


@pytest.mark.parametrize("name", ["table.arrow", "stream.arrow", "lz4.feather", "zstd.feather"])
def test_feather_and_arrow_are_clean(name: str) -> None:
    (file,) = scan_path(DATA / name).files
    assert (file.format, file.verdict) == ("arrow", ScanVerdict.CLEAN)


@pytest.mark.parametrize("compression", ["uncompressed", "zstd"])
def test_arrow_of_polars_is_clean_to_its_last_byte(
    compression: Literal["uncompressed", "zstd"],
) -> None:
    held = io.BytesIO()
    frame = pl.DataFrame({"a": range(5), "b": [*"xyzwv"]})
    frame.write_ipc(held, compression=compression)  # with a schema that has no length before it
    data = held.getvalue()
    assert scan_bytes("x", data).verdict is ScanVerdict.CLEAN
    at = data.index(b"\xff\xff\xff\xff")
    for changed in (data[:at] + EVIL.ljust(24) + data[at:], data[:8] + data[at:], data + EVIL):
        assert scan_bytes("x", changed).exit_code == 1


@pytest.mark.parametrize("data", [FILE, STREAM])
def test_a_type_that_is_unpickled_is_refused(data: bytes) -> None:
    assert NAME in data
    evil = b"cos\nsystem\n(S'id'\ntR."
    for name, wanted in ((b"py_extension_type", 1), (evil, 1), (b"uuid", 0)):
        changed = data.replace(NAME, name.ljust(len(NAME)))
        assert scan_bytes("x", changed).exit_code == wanted


@settings(max_examples=60)
@given(st.data(), st.sampled_from([FILE, STREAM]))
def test_arrow_that_is_cut_short_or_has_more_is_never_clean(
    draw: st.DataObject, data: bytes
) -> None:
    end = draw.draw(st.integers(8, len(data) - 1))
    cut = memoryview(data[:end])
    # A stream may end with a message as well as with a mark behind it.
    whole = end == 8 + int.from_bytes(data[4:8], "little") or end >= len(data) - 8
    assert arrow_fault(cut) or (data is STREAM and whole)
    assert arrow_fault(memoryview(data + draw.draw(st.binary(min_size=1, max_size=40))))


@given(st.integers(8, len(FILE) - 1), st.binary(min_size=1, max_size=4))
def test_any_change_of_an_arrow_file_is_read_or_refused(at: int, new: bytes) -> None:
    data = memoryview(FILE[:at] + new + FILE[at + len(new) :])
    assert isinstance(arrow_fault(data), str)


def test_bytes_between_two_buffers_are_refused() -> None:
    at = FILE.index(b"xy" + bytes(6)) + 2
    assert "belong to nothing" in arrow_fault(memoryview(FILE[:at] + b"\x7fELF" + FILE[at + 4 :]))


def model(
    code: int = 9, custom: str = "", options: bytes = b"", tail: bytes = b"", buffer: int = 0
) -> bytes:
    """Return a model of one operator, built by the library of FlatBuffers."""
    b = flatbuffers.Builder(256)

    def table(slots: dict[int, tuple[str, int]]) -> int:
        b.StartObject(14)
        for slot, (kind, value) in slots.items():
            getattr(b, f"Prepend{kind}Slot")(slot, value, 0)
        return int(b.EndObject())

    def tables(*items: int) -> tuple[str, int]:
        b.StartVector(4, len(items), 4)
        for item in reversed(items):
            b.PrependUOffsetTRelative(item)
        return ("UOffsetTRelative", b.EndVector())

    def words(*items: int) -> tuple[str, int]:
        b.StartVector(4, len(items), 4)
        for item in reversed(items):
            b.PrependInt32(item)
        return ("UOffsetTRelative", b.EndVector())

    name = {1: ("UOffsetTRelative", b.CreateString(custom))} if custom else {}
    operator_code = table({0: ("Int8", code), **name, 3: ("Int32", code)})
    label = ("UOffsetTRelative", b.CreateString("x"))
    tensor = table({0: words(1, 2), 2: ("Uint32", buffer), 3: label})
    own = {5: ("UOffsetTRelative", b.CreateByteVector(options))} if options else {}
    operator = table({1: words(0), 2: words(0), **own})
    graph = table({0: tables(tensor), 1: words(0), 2: words(0), 3: tables(operator)})
    data = table({0: ("UOffsetTRelative", b.CreateByteVector(b"numbers!"))})
    root = table({0: ("Uint32", 3), 1: tables(operator_code), 2: tables(graph), 4: tables(data)})
    b.Finish(root, file_identifier=b"TFL3")
    return bytes(b.Output()) + tail


PLAIN = model()


def test_a_model_of_tensorflow_lite_is_clean() -> None:
    (file,) = scan_bytes("x", PLAIN).files
    assert (file.format, file.verdict) == ("tflite", ScanVerdict.CLEAN)


@pytest.mark.parametrize(
    "data",
    [
        model(32, "Evil"),
        model(9, "FlexReadFile"),
        model(options=b"\x80\x04."),
        model(buffer=7),
        model(tail=EVIL),
        model(tail=b"\x7fELF"),
        model(tail=b"PK\x05\x06" + bytes(18)),
    ],
)
def test_a_model_with_a_custom_operator_or_more_behind_it_is_refused(data: bytes) -> None:
    assert scan_bytes("x", data).exit_code == 1


@settings(max_examples=60)
@given(st.integers(8, len(PLAIN) - 1), st.binary(min_size=1, max_size=4))
def test_a_model_cut_short_is_refused_and_a_changed_one_read(at: int, new: bytes) -> None:
    assert tflite_fault(memoryview(PLAIN[:at])) or not any(PLAIN[at:])
    assert isinstance(tflite_fault(memoryview(PLAIN[:at] + new + PLAIN[at + len(new) :])), str)
    assert tflite_fault(memoryview(PLAIN + new + b"\1"))


SCHEMA = {"A": (Vector(Table("B")),), "B": (4,)}


def overlapping(tables: int, slots: int) -> bytes:
    """Return a buffer whose tables share one long list of fields, each a step behind the other."""
    fields = struct.pack("<HH", 4 + 2 * slots, 4) + bytes(2 * slots)
    head = struct.pack("<I", 14) + struct.pack("<HHH", 6, 8, 4) + bytes(4)
    root = struct.pack("<iI", 10, 4)
    at = len(head) + len(root) + 4 + 4 * tables
    places = [at + 4 * one - (len(head) + len(root) + 4 + 4 * one) for one in range(tables)]
    end = at + 4 * tables
    starts = [at + 4 * one - end for one in range(tables)]
    return (
        head + root + struct.pack(f"<I{tables}I", tables, *places)
        + struct.pack(f"<{tables}i", *starts) + fields
    )  # fmt: skip


def test_tables_that_share_a_list_of_fields_are_followed_before_long() -> None:
    data = memoryview(overlapping(20_000, 30_000))
    begun = time.process_time()
    assert "impossible size" in flat_fault(data, SCHEMA, "A", lambda name, view: None)
    assert time.process_time() - begun < 2  # it was minutes
    fine = overlapping(20, 1)
    assert flat_fault(memoryview(fine), SCHEMA, "A", lambda name, view: None) == ""

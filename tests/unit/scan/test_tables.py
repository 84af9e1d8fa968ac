"""Databases, tables and trees in formats of their own: read to the last byte, or refused."""

import io
import json
import sqlite3
import struct
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from vallum.scan import ScanVerdict, scan_bytes

DATA = Path(__file__).parent / "data"
EVIL = b"cos\nsystem\n(S'true'\ntR."
TABLE = "create table t (a integer primary key, b blob)"


def verdict(data: bytes) -> ScanVerdict:
    return scan_bytes("x", data, digest=False).verdict


def why(data: bytes) -> str:
    return " ".join(one.message for one in scan_bytes("x", data, digest=False).files[0].findings)


def database(*statements: str, rows: int = 0) -> bytes:
    with sqlite3.connect(":memory:") as made:
        for one in statements:
            made.execute(one)
        values = [(at, bytes(range(at % 256)) * (at % 8)) for at in range(rows)]
        made.executemany("insert into t values (?, ?)", values)
        made.commit()
        return made.serialize()


FRAME = pd.DataFrame(
    {"a": [1, 2], "b": ["x", "yy"], "c": [1.5, 2], "d": pd.Categorical(["u", "v"])}
)


def stata(version: Any) -> bytes:
    FRAME.to_stata(held := io.BytesIO(), version=version, write_index=False, data_label="data")
    return held.getvalue()


def matlab_4() -> bytes:
    values = {"a": np.eye(3), "text": "abc", "z": np.eye(2) * 1j, "n": np.arange(3, dtype="i2")}
    scipy.io.savemat(held := io.BytesIO(), values, format="4")
    return held.getvalue()


FILES = {
    "sqlite": database(TABLE, "create index i on t (b)", rows=300),
    **{f"stata {version}": stata(version) for version in (114, 117, 118, 119)},
    "matlab 4": matlab_4(),
    **{path.name: path.read_bytes() for path in sorted(DATA.glob("*.cbm"))},
    **{path.name: path.read_bytes() for path in sorted(DATA.glob("*.avro"))},
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_clean_and_nothing_follows_or_lacks(name: str) -> None:
    data = FILES[name]
    assert verdict(data) is ScanVerdict.CLEAN, why(data)
    for changed in (data + b"\1", data + EVIL, data[:-1], data[: len(data) * 2 // 3]):
        assert verdict(changed) is not ScanVerdict.CLEAN


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(FILES)), st.integers(0), st.integers(1, 255))
def test_changed_bytes_never_break_the_scan(name: str, at: int, by: int) -> None:
    changed = bytearray(FILES[name])
    changed[at % len(changed)] ^= by
    scan_bytes("x", bytes(changed), digest=False)


KEYS = (
    "create table k (n varchar(8) not null check (n in ('a', 'b')), p integer default (1), "
    "primary key (n), constraint u unique (n, p), foreign key (p) references t (a))"
)
STATEMENTS = [
    ("create view v as select 1", "view"),
    ("create trigger g after insert on t begin select 1; end", "trigger"),
    ("create virtual table f using rtree(a, b, c)", "no plain table"),
    ("create table g (a, b check (load_extension(a)))", "load_extension"),
    ('create table g (a, b check ("abs"(a)))', "a call"),
    (f"insert into t values (1, X'{EVIL.hex()}')", "pickle"),  # noqa: S608 - ours
    (f"insert into t values (1, X'{EVIL.hex()}{'00' * 9000}')", "pickle"),  # noqa: S608
]


@pytest.mark.parametrize(("statement", "reason"), STATEMENTS)
def test_what_a_database_runs_or_hides_is_refused(statement: str, reason: str) -> None:
    assert reason in why(database(TABLE, statement))


def test_plain_statements_of_every_kind_pass() -> None:
    data = database(
        TABLE, KEYS,
        "create table w (a text primary key) without rowid", "insert into w values ('x')",
        "delete from t where a < 250", rows=300,
    )  # fmt: skip
    assert verdict(data) is ScanVerdict.CLEAN, why(data)


def test_a_tree_of_catboost_stays_within_its_file() -> None:
    data = FILES["categories.cbm"]
    reasons = set()
    for place in range(8, len(data) - 4, 4):
        if data[place : place + 4] == struct.pack("<i", 3):  # depths, splits, buckets
            changed = data[:place] + struct.pack("<i", 60_000) + data[place + 4 :]
            reasons.add(why(changed))
    for reason in ("trees that do not fit", "a split of a border", "a category of a bucket"):
        assert any(one.startswith(reason) for one in reasons), reasons


def test_a_schema_of_avro_names_no_class() -> None:
    plain = {"type": "record", "name": "R", "fields": [{"name": "a", "type": "string"}]}
    for extra in ({}, {"java-class": "java.io.File"}, {"java-element-class": "x.Y"}):
        schema = json.dumps({**plain, **extra}).encode()
        size = bytes([len(schema) << 1 & 0x7F | 0x80, len(schema) >> 6])
        data = b"Obj\x01\x02\x16avro.schema" + size + schema + b"\0" + bytes(16)
        assert ("java" in why(data)) == bool(extra), why(data)
    value = bytes([2, len(EVIL) * 2 + 2, len(EVIL) * 2]) + EVIL
    size = bytes([len(json.dumps(plain)) << 1 & 0x7F | 0x80, len(json.dumps(plain)) >> 6])
    head = b"Obj\x01\x02\x16avro.schema" + size + json.dumps(plain).encode() + b"\0" + bytes(16)
    assert "pickle" in why(head + value + bytes(16))


DOCUMENTS: list[tuple[bytes, bool]] = [
    (b"<?xml version='1.0' encoding='UTF-8'?>\n<annotation><object>c</object></annotation>", True),
    (b'<size unit="m"><width>5</width></size>', True),
    (b'<net name="m"><layers><layer><data library="evil.so"/></layer></layers></net>', False),
    (b"<a><b name='evil.dll'/></a>", False), (b"<a>/tmp/evil.so</a>", False),
    (b"<config><rate>0.1</rate></config>", True),
    (b'<?xml version="1.0" encoding="UTF-7"?><a>+ADw-script+AD4-</a>', False),
    (b'<?xml-stylesheet href="x.xsl"?><a/>', False),
    (b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', False),
    (b'<java version="1.8"><object class="java.lang.ProcessBuilder"/></java>', False),
    (b"<sorted-set><dynamic-proxy/></sorted-set>", False),
    (b'<beans xmlns="http://www.springframework.org/schema/beans"><bean/></beans>', False),
    (b"<project><target><exec/></target></project>", False),
    (b'<x:a xmlns:x="http://www.w3.org/1999/XSL/Transform"/>', False),
    (b'<a href="javascript:x()"/>', False), (b"<a><script>x</script></a>", False),
    (b"<a><b type='System.Diagnostics.Process, System'/></a>", False),
    (b"<a/><b/>", False), (b"<a>", False),
]  # fmt: skip


@pytest.mark.parametrize(("data", "clean"), DOCUMENTS)
def test_xml_says_something_and_does_nothing(data: bytes, clean: bool) -> None:  # noqa: FBT001
    assert (verdict(data) is ScanVerdict.CLEAN) == clean, why(data)


def lines(*rows: dict[str, Any]) -> Iterator[bytes]:
    for row in rows:
        yield json.dumps(row).encode() + b"\n"


def test_a_record_may_have_a_code_and_settings_may_not() -> None:
    assert verdict(b"".join(lines({"code": "x = 1", "n": 1}, {"code": "y"}))) is ScanVerdict.CLEAN
    assert verdict(b'{"code": "evil.module"}') is not ScanVerdict.CLEAN
    targets = b"".join(lines({"_target_": "os.system"}, {"code": "y"}))
    assert verdict(targets) is not ScanVerdict.CLEAN


def test_the_name_of_a_first_member_is_no_import() -> None:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as made:
        for name, text in (("config.json", b"{\n}\n"), ("a.csv", b"a,b\n1,2\n3,4\n")):
            info = tarfile.TarInfo(name)
            info.size = len(text)
            made.addfile(info, io.BytesIO(text))
    assert verdict(held.getvalue()) is ScanVerdict.CLEAN, why(held.getvalue())


def test_values_that_take_no_byte_are_not_read_for_ever() -> None:
    rows = b"\xfe\xff\xff\x11"  # 19 million
    text = b'\x16avro.schema\x0c"null"'
    assert "more values" in why(
        b"Obj\x01\x02" + text + b"\0" + b"s" * 16 + rows + b"\0" + b"s" * 16
    )


@pytest.mark.parametrize("mark", ["[", "/*"])
def test_a_statement_is_judged_in_time_that_grows_with_its_length(mark: str) -> None:
    with sqlite3.connect(":memory:") as made:
        made.execute("create table t (a)")
        made.execute("pragma writable_schema = 1")
        made.execute("update sqlite_master set sql = ?", (f"create table t (a){mark * 150_000}",))
        made.commit()
        data = made.serialize()
    begun = time.process_time()
    scan_bytes("x", data, digest=False)
    assert time.process_time() - begun < 5  # it was minutes


def test_records_of_a_page_lie_in_places_of_their_own() -> None:
    page = 4096
    data = bytearray(database(TABLE, "insert into t values (1, zeroblob(3000))"))
    data[page + 3 : page + 5] = b"\0\2"
    data[page + 10 : page + 12] = data[page + 8 : page + 10]
    assert "two records in one place" in why(bytes(data))

import io
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from vallum.base.bounds import TABLE, TableBounds
from vallum.base.errors import InputError, LimitExceededError, VallumError
from vallum.formats import identify_table, read_table, write_csv_safe

SMALL = TableBounds(max_bytes=2_000, max_columns=4, max_rows=3, max_cell_bytes=10)


def code_of(data: bytes, kind: str | None = None, bounds: TableBounds = TABLE) -> str:
    with pytest.raises(VallumError) as caught:
        read_table(data, kind=kind, bounds=bounds)
    return caught.value.code


def test_csv_types_are_taken_only_where_the_text_stays_the_same() -> None:
    frame = read_table(b"zip,n,f,b,t\n01234,1,1.5,true,x\n99999,-2,2,false,\n")
    assert frame["zip"].to_list() == ["01234", "99999"]
    assert frame["n"].to_list() == [1, -2]
    assert frame["f"].to_list() == [1.5, 2.0]
    assert frame["b"].to_list() == [True, False]
    assert frame["t"].to_list() == ["x", None]


@given(
    st.lists(st.floats(-1e299, 1e299).filter(lambda value: not 0 < abs(value) < 1e-299), min_size=1)
)
def test_whatever_a_program_writes_as_a_float_is_read_as_it(values: list[float]) -> None:
    frame = read_table("\n".join(["a", *map(repr, values), ""]).encode())
    assert frame.schema == {"a": pl.Float64}
    assert frame["a"].to_list() == values


@pytest.mark.parametrize(
    "text",
    ["01.5", "1.234567890123456789", "12345678901234567.5", "1e999", "0x1p3", "1_0.5", "1.5 "],
)
def test_what_would_not_come_back_as_a_number_stays_text(text: str) -> None:
    assert read_table(f"a,b\n{text},x\n".encode())["a"].to_list() == [text]


def test_csv_quoted_newlines_commas_and_quotes_are_one_cell() -> None:
    frame = read_table(b'a,b\r\n"x\ny","p,""q"""\r\n')
    assert frame.rows() == [("x\ny", 'p,"q"')]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "format.csv.empty"),
        (b"a,b\n1\n", "format.csv.ragged"),
        (b"a,b\n1,2,3\n", "format.csv.ragged"),
        (b"a,b\n1,\x00\n", "format.csv.nul"),
        (b"a,b\n1,\xff\n", "format.csv.encoding"),
        (b'a,b\n"x,1\n', "format.csv.quote"),
        (b'a,b\nx"y",1\n', "format.csv.quote"),
        (b'a,b\n"x"y,1\n', "format.csv.quote"),
        (b"a,a\n1,2\n", "format.csv.duplicate-column"),
        (b"a,\n1,2\n", "format.csv.unnamed-column"),
        (b"a\n1\n\n2\n", "format.csv.blank-line"),
        (b"a\r1\r2\n", "format.csv.bare-return"),
        (b"\n", "format.csv.header"),
    ],
)
def test_csv_that_two_parsers_read_in_two_ways_is_refused(data: bytes, code: str) -> None:
    assert code_of(data, "csv") == code


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"a\n" + b"x" * 11 + b"\n", "format.csv.cell-too-large"),
        (b'a\n"' + b"x\n" * 6 + b'"\n', "format.csv.cell-too-large"),
        (b"a,b,c,d,e\n", "format.csv.too-many-columns"),
        (b"a\n1\n2\n3\n4\n", "format.csv.too-many-rows"),
        (b"a\n" * 2_000, "format.table.too-large"),
    ],
)
def test_csv_bounds_hold(data: bytes, code: str) -> None:
    assert code_of(data, "csv", SMALL) == code


def test_ten_thousand_columns_are_read() -> None:
    header = ",".join(f"c{i}" for i in range(10_000))
    frame = read_table(f"{header}\n{','.join('1' * 10_000)}\n".encode())
    assert frame.shape == (1, 10_000)


CELLS = st.none() | st.text(
    st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]), max_size=8
)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(CELLS, st.none() | st.integers(-(10**17), 10**17)), min_size=1, max_size=6)
)
def test_csv_written_is_read_back_but_for_formulas(
    rows: list[tuple[str | None, int | None]],
) -> None:
    frame = pl.DataFrame(rows, schema={"t": pl.String, "n": pl.Int64}, orient="row")
    back = read_table(write_csv_safe(frame), kind="csv")
    assert back["n"].cast(pl.Int64).to_list() == frame["n"].to_list()
    for written, read in zip(
        frame["t"].to_list(), back["t"].cast(pl.String).to_list(), strict=True
    ):
        assert read in (written, f"'{written}")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"])
def test_no_cell_or_header_is_left_to_run_as_a_formula(start: str) -> None:
    out = write_csv_safe(pl.DataFrame({f"{start}h": [f"{start}cmd|' /C calc'!A0"]}))
    rows = read_table(out, kind="csv")
    assert rows.columns == [f"'{start}h"]
    assert rows.item().startswith(f"'{start}")


def test_numbers_are_not_touched_by_the_safe_writer() -> None:
    assert b"-5" in write_csv_safe(pl.DataFrame({"n": [-5]}))


def test_nested_columns_have_no_csv_form() -> None:
    with pytest.raises(InputError):
        write_csv_safe(pl.DataFrame({"a": [[1, 2]]}))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"[1]\n", "format.jsonl.row"),
        (b'{"a":1}\n{"b":1}\n', "format.jsonl.ragged"),
        (b'{"a":1}\n{"a":{"b":1}}\n', "format.jsonl.nested"),
        (b'{"a":1}\n{"a":"x"}\n', "format.jsonl.types"),
        (b"\n", "format.jsonl.empty"),
        (b'{"a":1,"a":2}\n', "format.json.duplicate-key"),
    ],
)
def test_malformed_json_lines_are_refused(data: bytes, code: str) -> None:
    assert code_of(data, "jsonl") == code


def parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


FRAME = pl.DataFrame({"a": [1, 2, None], "t": ["x", "", None]})


def test_every_kind_gives_the_same_table() -> None:
    lines = "".join(json.dumps(row) + "\n" for row in FRAME.to_dicts()).encode()
    for data, kind in (
        (parquet(FRAME), "parquet"),
        (lines, "jsonl"),
        (write_csv_safe(FRAME), "csv"),
    ):
        assert identify_table(data) == kind
        assert_frame_equal(read_table(data), FRAME)


def test_a_path_is_read_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(parquet(FRAME))
    assert_frame_equal(read_table(path), FRAME)
    with pytest.raises(InputError):
        read_table(tmp_path / "absent.csv")


def test_parquet_bounds_hold_before_reading() -> None:
    data = parquet(pl.DataFrame({"a": [0] * 1_000}))
    with pytest.raises(LimitExceededError) as caught:
        read_table(data, bounds=TableBounds(max_rows=999))
    assert caught.value.code == "format.parquet.too-many-rows"
    with pytest.raises(LimitExceededError) as caught:
        read_table(parquet(FRAME), bounds=TableBounds(max_columns=1))
    assert caught.value.code == "format.parquet.too-many-columns"


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_parquet_footer_gives_a_table_or_a_declared_error(at: int, change: int) -> None:
    data = bytearray(parquet(FRAME))
    length = int.from_bytes(data[-8:-4], "little") + 8
    data[-1 - at % length] ^= change
    try:
        read_table(bytes(data), kind="parquet")
    except VallumError as error:
        assert error.code != VallumError.default_code  # noqa: PT017 - either outcome is right


@settings(max_examples=80)
@given(st.binary(max_size=120), st.sampled_from(["csv", "jsonl", "parquet", None, "xlsx"]))
def test_any_bytes_give_a_table_or_a_declared_error(data: bytes, kind: str | None) -> None:
    try:
        read_table(data, kind=kind)
    except VallumError as error:
        assert error.code != VallumError.default_code  # noqa: PT017 - either outcome is right


@settings(max_examples=80)
@given(st.text(st.sampled_from('a1,"\n\r '), max_size=30))
def test_any_csv_like_text_gives_a_table_or_a_declared_error(text: str) -> None:
    try:
        frame = read_table(text.encode(), kind="csv")
    except VallumError as error:
        assert error.code != VallumError.default_code  # noqa: PT017 - either outcome is right
    else:
        assert frame.width >= 1


def test_a_parquet_column_without_a_name_is_refused() -> None:
    buffer = io.BytesIO()
    pl.DataFrame({"": [1], "a": [2]}).write_parquet(buffer)
    with pytest.raises(InputError, match="no name"):
        read_table(buffer.getvalue(), kind="parquet")


def test_a_footer_of_nested_lists_is_refused() -> None:
    footer = b"\x19" * 5000 + b"\x00"  # each list holds one list
    data = b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1"
    with pytest.raises(LimitExceededError, match="depth of the footer"):
        read_table(data)

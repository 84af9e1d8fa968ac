"""A table in pieces is the table as a whole, wherever it is cut and gone on from."""

import contextlib
import io

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from vallum.base import InputError, LimitExceededError
from vallum.formats import Piece, Span, pieces, read_table, table_pieces


def read(data: bytes, kind: str, *, after: Piece | None = None) -> list[Piece]:
    """Return the pieces; checks that each span lies within the table and was announced."""
    resume, kinds = (0, ()) if after is None else (after.resume, after.kinds)
    reader = table_pieces(len(data), kind=kind, resume=resume, kinds=kinds)
    out: list[Piece] = []
    answer = None
    ahead = None
    while True:
        try:
            got = reader.send(answer)
        except StopIteration:
            return out
        answer = None
        if isinstance(got, Span):
            assert 0 <= got.offset < got.offset + got.length <= len(data)
            assert ahead in {None, (got.offset, got.length)}
            ahead = got.ahead
            answer = data[got.offset : got.offset + got.length]
        else:
            out.append(got)


def whole(found: list[Piece]) -> pl.DataFrame:
    return pl.concat([one.frame for one in found])


cells = st.one_of(
    st.none(),
    st.integers(-(10**18), 10**18).map(str),
    st.floats(allow_nan=False, allow_infinity=False, width=32).map(str),
    st.sampled_from(["true", "false", "", "007", 'a"b', "two\nlines", "x,y", "1e5", "-0"]),
)


def as_csv(rows: list[list[str | None]], *, ends: bool) -> bytes:
    def cell(text: str | None) -> str:
        if text is None:
            return ""
        return '"' + text.replace('"', '""') + '"' if set(text) & set('",\n') or not text else text

    lines = ["a,b,c", *(",".join(cell(one) for one in row) for row in rows)]
    return ("\n".join(lines) + ("\n" if ends else "")).encode()


@given(
    rows=st.lists(st.lists(cells, min_size=3, max_size=3), max_size=30),
    block=st.integers(16, 200),
    ends=st.booleans(),
    mark=st.booleans(),
)
@settings(max_examples=150)
def test_csv_in_pieces_is_csv_as_a_whole(
    rows: list[list[str | None]], block: int, *, ends: bool, mark: bool
) -> None:
    data = (b"\xef\xbb\xbf" if mark else b"") + as_csv(rows, ends=ends)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "BLOCK_BYTES", block)
        found = read(data, "csv")
        assert_frame_equal(whole(found), read_table(data, kind="csv"))
        for at, one in enumerate(found[:-1]):
            again = read(data, "csv", after=one)
            assert_frame_equal(whole(again), whole(found[at + 1 :]))
        assert read(data, "csv", after=found[-1]) == []


@given(heights=st.lists(st.integers(0, 12), min_size=1, max_size=4), size=st.integers(1, 7))
@settings(max_examples=40)
def test_parquet_in_pieces_is_parquet_as_a_whole(heights: list[int], size: int) -> None:
    rows = sum(heights)
    frame = pl.DataFrame(
        {"n": range(rows), "t": [None if at % 3 else f"p{at}" for at in range(rows)]},
        schema={"n": pl.Int32, "t": pl.String},
    )
    held = io.BytesIO()
    frame.write_parquet(held, row_group_size=max(heights) or 1)
    data = held.getvalue()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE_ROWS", size)
        found = read(data, "parquet")
        assert_frame_equal(whole(found), frame)
        for at, one in enumerate(found[:-1]):
            assert_frame_equal(whole(read(data, "parquet", after=one)), whole(found[at + 1 :]))
        assert read(data, "parquet", after=found[-1]) == []


def test_json_lines_are_cut_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE_ROWS", 2)
    data = b"".join(b'{"a": %d}\n' % at for at in range(5))
    found = read(data, "jsonl")
    assert [one.frame["a"].to_list() for one in found] == [[0, 1], [2, 3], [4]]
    assert_frame_equal(whole(read(data, "jsonl", after=found[0])), whole(found[1:]))


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "csv"),
        (b"a,b\n1\n", "csv"),
        (b'a,b\n1,"2\n' + b"3,4\n" * 50, "csv"),
        (b"PAR1", "parquet"),
        (b"PAR1" + b"\0" * 40 + b"\xff\xff\0\0PAR1", "parquet"),
        (b'{"a": {}}', "jsonl"),
        (b"a", "xml"),
    ],
)
def test_what_is_no_table_is_refused(data: bytes, kind: str) -> None:
    with pytest.raises(InputError):
        read(data, kind)


@given(at=st.integers(0, 10_000), byte=st.integers(0, 255))
@example(at=185, byte=101)  # a page's header declares 2^58 elements: the decoder would abort
@example(at=1518, byte=69)
@settings(max_examples=200)
def test_a_changed_byte_of_parquet_is_read_or_refused(at: int, byte: int) -> None:
    held = io.BytesIO()
    pl.DataFrame({"a": range(40), "b": [0.5] * 40}).write_parquet(held, row_group_size=10)
    data = bytearray(held.getvalue())
    data[at % len(data)] = byte
    for reader in (
        lambda: read(bytes(data), "parquet"),
        lambda: read_table(bytes(data), kind="parquet"),
    ):
        with contextlib.suppress(InputError, LimitExceededError):
            reader()

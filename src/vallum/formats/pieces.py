"""Tables read piece by piece, in memory that does not grow with them.

A reader is a generator: it yields the `Span` of bytes that it needs and is sent them, or yields a
`Piece` of the table. It opens nothing itself, so that it works inside a sandbox over bytes that are
decrypted outside. A CSV table is read twice: what a column holds is known at its end.
"""

import tempfile
from collections.abc import Generator
from dataclasses import dataclass
from typing import Final

import polars as pl

from vallum.base.bounds import GIB, MIB, TABLE, TableBounds
from vallum.formats.csv_shape import check_csv
from vallum.formats.parquet_footer import RowGroup, check_pages, footer_bytes, read_groups
from vallum.formats.refusal import refuse
from vallum.formats.table import POLARS_ERRORS, Kind, cast_as, check_schema, csv_texts, kind_of
from vallum.formats.table import read_table as read_whole

BLOCK_BYTES: Final = 8 * MIB
"""Of a CSV table, at once."""
PIECE_ROWS: Final = 1 << 18
"""In one piece at most; those of CSV are bounded by `BLOCK_BYTES`."""
GROUP_BOUNDS: Final = TableBounds(max_bytes=1 * GIB)
"""Of a Parquet row group: expanded, it is in memory as a whole."""
_TAIL: Final = 8
_MAGIC: Final = b"PAR1"
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes that a reader needs.

    Attributes:
        offset: Of the first one.
        length: How many, at least 1.
        ahead: What it will need next, so that it can be fetched meanwhile; None if it cannot say.
    """

    offset: int
    length: int
    ahead: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows.

    Attributes:
        frame: They.
        resume: Where the piece after it begins, for `table_pieces`.
        kinds: Of a CSV table: what its columns hold.
    """

    frame: pl.DataFrame
    resume: int
    kinds: tuple[int, ...] = ()


Pieces = Generator[Span | Piece, bytes | None, None]


def table_pieces(size: int, *, kind: str, resume: int = 0, kinds: tuple[int, ...] = ()) -> Pieces:
    """Read a table piece by piece: the same rows and types as `read_table` gives.

    Args:
        size: Bytes of the table.
        kind: `csv`, `parquet` or `jsonl`; the last is read whole.
        resume: Where to begin: of the last piece that was dealt with.
        kinds: Of that piece.

    Yields:
        `Span`, which is to be answered with these bytes, and `Piece`. A table without rows has one
        piece.

    Raises:
        InputError: Code `format.<kind>.*`, as `read_table`.
        LimitExceededError: A bound on tables, on each piece.
    """
    if size < 1:
        refuse(f"format.{kind[:20]}.empty", "the file is empty")
    match kind:
        case "csv":
            yield from _csv(size, resume, kinds)
        case "parquet":
            yield from _parquet(size, resume)
        case _:
            frame = read_whole((yield Span(0, size)) or b"", kind=kind)
            for start in range(resume, max(1, frame.height), PIECE_ROWS):
                part = frame.slice(start, PIECE_ROWS)
                yield Piece(part, start + part.height)


# -- CSV ----------------------------------------------------------------------------------------

_Records = Generator[Span, bytes | None, tuple[bytes, int] | None]


class _Blocks:
    """Cuts a CSV table into blocks of whole records."""

    def __init__(self, size: int, offset: int) -> None:
        self._size = size
        self._next = offset  # byte that is fetched next
        self._held = bytearray()
        self.at = offset  # of the first byte that is held

    def take(self) -> _Records:
        """Return whole records and the offset after them; nothing at the end."""
        while True:
            end = _last_record(self._held) if len(self._held) >= BLOCK_BYTES else 0
            if end or self._next >= self._size:
                break
            length = min(BLOCK_BYTES, self._size - self._next)
            after = self._next + length
            ahead = (after, min(BLOCK_BYTES, self._size - after)) if after < self._size else None
            self._held += (yield Span(self._next, length, ahead)) or b""
            self._next = after
            if len(self._held) > TABLE.max_cell_bytes + 2 * BLOCK_BYTES:
                refuse("format.csv.quote", "a quoted cell is not closed")
        end = end or len(self._held)
        if not end:
            return None
        records = bytes(self._held[:end])
        del self._held[:end]
        self.at += end
        return records, self.at


def _last_record(data: bytearray) -> int:
    """Return the offset after the last whole record: an even number of quotes stands before it."""
    end = len(data)
    quotes = data.count(b'"')
    while True:
        cut = data.rfind(b"\n", 0, end)
        if cut < 0:
            return 0
        quotes -= data.count(b'"', cut, end)
        if quotes % 2 == 0:
            return cut + 1
        end = cut


def _head(size: int) -> Generator[Span, bytes | None, tuple[bytes, int]]:
    """Return the header's line and the offset after it, byte-order mark included."""
    length = min(size, BLOCK_BYTES)
    block = (yield Span(0, length)) or b""
    begin = len(_BOM) if block.startswith(_BOM) else 0
    data = block[begin:]
    end = 0
    while end < len(data):
        found = data.find(b"\n", end)
        end = len(data) if found < 0 else found + 1
        if data.count(b'"', 0, end) % 2 == 0:
            break
    if end == len(data) < size - begin and not data.endswith(b"\n"):
        refuse("format.csv.header", "the header is too long")
    check_csv(data[:end], TABLE)
    line = data[:end]
    return line if line.endswith(b"\n") else line + b"\n", begin + end


def _csv(size: int, resume: int, kinds: tuple[int, ...]) -> Pieces:
    head, begin = yield from _head(size)
    if not kinds:
        known: list[Kind] | None = None
        blocks = _Blocks(size, begin)
        while (found := (yield from blocks.take())) is not None:
            frame = csv_texts(head + found[0], TABLE)
            seen = [kind_of(one) for one in frame.iter_columns()]
            known = seen if known is None else [a & b for a, b in zip(known, seen, strict=True)]
        if known is None:
            known = [Kind.EMPTY] * csv_texts(head, TABLE).width
        kinds = tuple(one.value for one in known)
    blocks = _Blocks(size, max(resume, begin))
    first = resume == 0
    while True:
        found = yield from blocks.take()
        if found is None and not first:
            return
        records, after = found or (b"", size)
        first = False
        texts = csv_texts(head + records, TABLE)
        if len(kinds) != texts.width:
            refuse("format.csv.ragged", "the rows do not have as many cells as the header")
        frame = texts.select(
            cast_as(texts[name], Kind(kind))
            for name, kind in zip(texts.columns, kinds, strict=True)
        )
        yield Piece(frame, after, kinds)


# -- Parquet ------------------------------------------------------------------------------------


def _parquet(size: int, resume: int) -> Pieces:
    """Read row group by row group. Pieces are counted over all groups, to resume at one."""
    length = footer_bytes((yield Span(max(0, size - _TAIL), min(size, _TAIL))) or b"")
    if length + len(_MAGIC) > size:
        refuse("format.parquet.footer", "the footer is longer than the file")
    footer = (yield Span(size - length, length)) or b""
    groups = read_groups(footer, GROUP_BOUNDS)
    if any(not len(_MAGIC) <= one.start <= one.end <= size - length for one in groups):
        refuse("format.parquet.footer", "a row group lies outside of the file")
    counted = first = 0
    nothing = RowGroup(0, len(_MAGIC), len(_MAGIC), 0)
    wanted = [one for one in groups if one.rows] or [nothing]
    for place, group in enumerate(wanted):
        starts = range(0, max(1, group.rows), PIECE_ROWS)
        if counted + len(starts) > resume:
            then = wanted[place + 1] if place + 1 < len(wanted) else None
            ahead = None if then is None else (then.start, then.end - then.start)
            data = (yield Span(group.start, max(1, group.end - group.start), ahead)) or b""
            frame = _group_frame(size, footer, group, first, data)
            del data
            for number, start in enumerate(starts, counted + 1):
                if number > resume:
                    yield Piece(frame.slice(start, PIECE_ROWS), number)
            del frame
        counted += len(starts)
        first += group.rows


def _group_frame(
    size: int, footer: bytes, group: RowGroup, first: int, data: bytes
) -> pl.DataFrame:
    """Decode one row group: in a file that has nothing but it and the footer, at their places."""
    check_pages(data, group.start, group)
    try:
        with tempfile.NamedTemporaryFile() as file:
            file.truncate(size)  # what is not written takes no room
            for offset, part in ((0, _MAGIC), (group.start, data), (size - len(footer), footer)):
                file.seek(offset)
                file.write(part)
            file.flush()
            whole = pl.scan_parquet(file.name, use_statistics=False, glob=False)
            frame = whole.slice(first, group.rows).collect()
    except POLARS_ERRORS as error:
        refuse("format.parquet.malformed", "the Parquet table cannot be parsed", cause=error)
    if frame.height != group.rows:
        refuse("format.parquet.rows", "the footer declares another number of rows than is there")
    check_schema(frame)
    return frame

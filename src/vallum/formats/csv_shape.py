"""The shape of a CSV file, checked in vectors before polars parses it.

The dialect is RFC 4180's and nothing looser: double quotes only around a whole cell and doubled
within one, LF or CRLF, every row as wide as the header. What is refused here is what two parsers
would read in two ways. The separator is the comma; or the semicolon or the tab where the header
has no comma, as spreadsheets of many languages write it.
"""

import csv
import io

import numpy as np

from vallum.base.bounds import TableBounds
from vallum.formats.refusal import refuse, within

_BLOCK = 1 << 22
_LF, _CR, _QUOTE = 0x0A, 0x0D, 0x22


def separator(data: bytes) -> str:
    """Return the separator of a CSV file (without byte-order mark), judged by its header."""
    header = data.split(b"\n", 1)[0]
    return next((one for one in ",;\t" if one.encode() in header), ",")


def check_csv(data: bytes, bounds: TableBounds) -> list[str]:
    """Check the shape of `data` (without byte-order mark) and return the header.

    Raises:
        InputError: Code `format.csv.*`.
        LimitExceededError: Code `format.csv.cell-too-large`, `.too-many-columns`,
            `.too-many-rows`.

    Source: RFC 4180 section 2.
    """
    if not data:
        refuse("format.csv.empty", "the file is empty")
    if b"\0" in data:
        refuse("format.csv.nul", f"a NUL byte stands at offset {data.index(0)}")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        refuse("format.csv.encoding", f"no UTF-8 at offset {error.start}", cause=error)
    if not data.endswith(b"\n"):
        data += b"\n"
    return _Walk(data, bounds).header()


class _Walk:
    """One pass in blocks; carries quote parity, the last delimiter and the row's width."""

    def __init__(self, data: bytes, bounds: TableBounds) -> None:
        self._data = data
        self._bytes = np.frombuffer(data, dtype=np.uint8)
        self._bounds = bounds
        self._separator = separator(data)
        self._comma = ord(self._separator)
        self._inside = 0
        self._last = -1  # offset of the last delimiter
        self._cells = 0  # cells seen in the row that is still open
        self._width = 0
        self._rows = 0
        self._header_end = 0

    def header(self) -> list[str]:
        for start in range(0, len(self._data), _BLOCK):
            self._block(start, min(start + _BLOCK, len(self._data)))
        if self._inside:
            refuse("format.csv.quote", "a quoted cell is not closed")
        text = self._data[: self._header_end].decode()
        try:
            header = next(
                csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=self._separator),
                [],
            )
        except csv.Error as error:
            refuse("format.csv.header", "the header cannot be read", cause=error)
        if not header:
            refuse("format.csv.header", "the header is empty")
        return header

    def _block(self, start: int, end: int) -> None:
        block = self._bytes[start:end]
        quotes = np.flatnonzero(block == _QUOTE)
        if quotes.size:
            self._check_quotes(quotes + start)
        marks = np.flatnonzero((block == self._comma) | (block == _LF))
        if quotes.size or self._inside:
            # A delimiter counts when an even number of quotes stands before it.
            parity = (np.searchsorted(quotes, marks) + self._inside) & 1
            marks = marks[parity == 0]
        self._check_returns(block, quotes, start)
        self._inside = (self._inside + quotes.size) & 1
        marks = marks + start
        if marks.size:
            self._check_cells(marks)
        else:
            self._check_length(end - self._last - 1)

    def _check_returns(self, block: np.ndarray, quotes: np.ndarray, start: int) -> None:
        returns = np.flatnonzero(block == _CR)
        outside = returns[(np.searchsorted(quotes, returns) + self._inside) & 1 == 0] + start
        alone = outside[self._bytes[np.minimum(outside + 1, self._bytes.size - 1)] != _LF]
        if alone.size:
            refuse("format.csv.bare-return", f"a lone CR stands at offset {int(alone[0])}")

    def _check_quotes(self, quotes: np.ndarray) -> None:
        opening = (np.arange(quotes.size) + self._inside) & 1 == 0
        before = np.where(quotes > 0, self._bytes[quotes - 1], _LF)
        after = self._bytes[np.minimum(quotes + 1, self._bytes.size - 1)]
        good_start = np.isin(before, (self._comma, _LF, _QUOTE))
        good_end = np.isin(after, (self._comma, _LF, _QUOTE, _CR))
        wrong = quotes[np.where(opening, ~good_start, ~good_end)]
        if wrong.size:
            refuse("format.csv.quote", f"a quote stands inside a cell at offset {int(wrong[0])}")

    def _check_cells(self, marks: np.ndarray) -> None:
        lengths = np.diff(marks, prepend=self._last) - 1
        self._check_length(int(lengths.max()))
        self._last = int(marks[-1])
        ends = np.flatnonzero(self._bytes[marks] == _LF)
        if not ends.size:
            self._cells += int(marks.size)
            self._check_columns(self._cells)
            return
        widths = np.diff(ends, prepend=-1)
        widths[0] += self._cells
        self._cells = int(marks.size - 1 - ends[-1])
        if self._width == 0:
            self._width = int(widths[0])
            self._check_columns(self._width)
            self._header_end = int(marks[ends[0]])
        ragged = np.flatnonzero(widths != self._width)
        if ragged.size:
            row = self._rows + int(ragged[0]) + 1
            refuse("format.csv.ragged", f"row {row} has another number of cells than the header")
        if self._width == 1 and self._rows + ends.size > 1:
            self._check_blank(marks, ends)
        self._rows += int(ends.size)
        rows = self._rows - 1
        within(rows, self._bounds.max_rows, "format.csv.too-many-rows", "rows of the table")

    def _check_blank(self, marks: np.ndarray, ends: np.ndarray) -> None:
        # In a one-column table a blank line is a cell to one parser and nothing to another.
        before = self._bytes[np.maximum(marks[ends] - 1, 0)]
        if bool(np.isin(before, (_LF,)).any()):
            refuse("format.csv.blank-line", "a blank line in a table of one column")

    def _check_length(self, length: int) -> None:
        limit = self._bounds.max_cell_bytes
        within(length, limit, "format.csv.cell-too-large", "bytes of a cell")

    def _check_columns(self, width: int) -> None:
        limit = self._bounds.max_columns
        within(width, limit, "format.csv.too-many-columns", "columns of the table")

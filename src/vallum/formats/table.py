"""Tables: CSV, JSON lines and Parquet into one polars frame, after cheap bounded checks."""

import io
from enum import Flag, auto
from pathlib import Path
from typing import Literal

import polars as pl

from vallum.base.bounds import TABLE, JsonBounds, TableBounds
from vallum.base.errors import InputError
from vallum.formats.csv_shape import check_csv, separator
from vallum.formats.document import load_json
from vallum.formats.parquet_footer import check_pages, footer_bytes, read_footer, read_groups
from vallum.formats.refusal import refuse, within

TableKind = Literal["csv", "jsonl", "parquet"]

_WHOLE = r"^(0|-?[1-9][0-9]{0,17})$"  # no leading zero: a postcode is not a number
_DIGITS = 17  # of a decimal: so many lead to one float64 and back
_DECIMAL = "^-?(?:{})(?:[eE][+-]?[12]?[0-9]{{1,2}})?$".format(
    "|".join(
        [
            r"0(?:\.0{1,30})?",
            rf"0\.0{{0,30}}[1-9][0-9]{{0,{_DIGITS - 1}}}",
            *(
                rf"[1-9][0-9]{{{whole - 1}}}(?:\.[0-9]{{1,{_DIGITS - whole}}})?"
                for whole in range(1, _DIGITS)
            ),
        ]
    )
)
# A Rust panic reaches Python as a BaseException that `except Exception` would let through.
POLARS_ERRORS: tuple[type[BaseException], ...] = (
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,
    OSError,
    ValueError,
    TypeError,
    OverflowError,
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def read_table(
    source: bytes | Path, *, kind: str | None = None, bounds: TableBounds = TABLE
) -> pl.DataFrame:
    """Read a whole table.

    Args:
        source: The bytes, or a file of at most `bounds.max_bytes`; a file is read once, so that
            what was checked is what is parsed.
        kind: `csv`, `jsonl` or `parquet`; recognised by the bytes, never by a name, if absent.
        bounds: The limits.

    Raises:
        InputError: Code `format.<kind>.*`: malformed, ragged, ambiguous or of nested cells.
        LimitExceededError: A bound of `bounds`.

    CSV cells become numbers only where the text is the number's usual form (`007` stays text);
    nothing else is guessed. An unquoted empty cell is null, a quoted one is the empty text.
    """
    data = _bytes_of(source, bounds)
    kind = identify_table(data) if kind is None else kind
    match kind:
        case "csv":
            return _read_csv(data, bounds)
        case "jsonl" | "ndjson":
            return _read_jsonl(data, bounds)
        case "parquet":
            return _read_parquet(data, bounds)
    raise InputError(f"`{kind[:80]}` is not `csv`, `jsonl` or `parquet`", code="format.table.kind")


def identify_table(data: bytes) -> TableKind:
    """Tell the kind of a table from its first bytes."""
    if data[:4] == b"PAR1":
        return "parquet"
    if data[:4096].lstrip(b" \t\r\n")[:1] == b"{":
        return "jsonl"
    return "csv"


def _bytes_of(source: bytes | Path, bounds: TableBounds) -> bytes:
    if isinstance(source, bytes):
        data = source
    else:
        try:
            with source.open("rb") as file:
                data = file.read(bounds.max_bytes + 1)
        except OSError as error:
            refuse("format.table.unreadable", f"`{source}` cannot be read", cause=error)
    within(len(data), bounds.max_bytes, "format.table.too-large", "bytes of the table")
    return data


def _read_csv(data: bytes, bounds: TableBounds) -> pl.DataFrame:
    frame = csv_texts(data, bounds)
    return frame.select(cast_as(frame[name], kind_of(frame[name])) for name in frame.columns)


def csv_texts(data: bytes, bounds: TableBounds) -> pl.DataFrame:
    """Read a CSV table with every cell as text.

    Raises:
        InputError: Code `format.csv.*`.
        LimitExceededError: A bound of `bounds`.
    """
    data = data.removeprefix(b"\xef\xbb\xbf")
    header = check_csv(data, bounds)
    _check_names(header, "csv")
    try:
        frame = pl.read_csv(
            io.BytesIO(data),
            separator=separator(data),
            has_header=False,
            skip_rows=0,
            new_columns=None,
            infer_schema=False,
            truncate_ragged_lines=False,
            raise_if_empty=True,
        )
    except POLARS_ERRORS as error:
        refuse("format.csv.malformed", "the CSV table cannot be parsed", cause=error)
    if frame.width != len(header):
        refuse("format.csv.ragged", "the rows do not have as many cells as the header")
    frame = frame.slice(1)
    frame.columns = header
    within(frame.height, bounds.max_rows, "format.csv.too-many-rows", "rows of the table")
    return frame


class Kind(Flag):
    """What all texts of a column may be read as; of several parts of one, what all may be."""

    TEXT = 0
    WHOLE = auto()
    DECIMAL = auto()
    TRUTH = auto()
    EMPTY = WHOLE | DECIMAL | TRUTH  # there is no text


def kind_of(column: pl.Series) -> Kind:
    """Return what a column of texts may be read as."""
    values = column.drop_nulls()
    if values.is_empty():
        return Kind.EMPTY
    found = Kind.TEXT
    if values.str.contains(_WHOLE).all():
        found |= Kind.WHOLE
    if values.str.contains(_DECIMAL).all():
        found |= Kind.DECIMAL
    if not found and values.is_in(["true", "false"]).all():
        found |= Kind.TRUTH
    return found


def cast_as(column: pl.Series, kind: Kind) -> pl.Series:
    """Return a column of texts as what it may be read as; one without any stays one of texts."""
    if kind is Kind.EMPTY:
        return column
    if Kind.WHOLE in kind:
        return column.cast(pl.Int64)
    if Kind.DECIMAL in kind:
        return column.cast(pl.Float64)
    if Kind.TRUTH in kind:
        return column == "true"
    return column


def _read_jsonl(data: bytes, bounds: TableBounds) -> pl.DataFrame:
    line_bounds = JsonBounds(
        max_bytes=bounds.max_cell_bytes * 16, max_depth=2, max_nodes=4 * bounds.max_columns
    )
    columns: dict[str, list[object]] = {}
    rows = 0
    for line in data.splitlines():
        if not line.strip():
            continue
        row = load_json(line, line_bounds)
        if not isinstance(row, dict):
            refuse("format.jsonl.row", f"line {rows + 1} is not an object")
        if rows == 0:
            _check_names(list(row), "jsonl")
            within(
                len(row), bounds.max_columns, "format.jsonl.too-many-columns", "columns of a row"
            )
            columns = {name: [] for name in row}
        elif row.keys() != columns.keys():
            refuse("format.jsonl.ragged", f"row {rows + 1} has other keys than the first row")
        rows += 1
        within(rows, bounds.max_rows, "format.jsonl.too-many-rows", "rows of the table")
        for name, value in row.items():
            if isinstance(value, dict | list):
                refuse("format.jsonl.nested", f"row {rows} nests a value under `{name[:80]}`")
            if isinstance(value, str):
                within(
                    len(value), bounds.max_cell_bytes, "format.jsonl.cell-too-large", "text cell"
                )
            columns[name].append(value)
    if rows == 0:
        refuse("format.jsonl.empty", "the file holds no row")
    try:
        return pl.DataFrame(columns, strict=True, infer_schema_length=None)
    except POLARS_ERRORS as error:
        refuse("format.jsonl.types", "a column mixes types", cause=error)


def _read_parquet(data: bytes, bounds: TableBounds) -> pl.DataFrame:
    footer = read_footer(data, bounds)
    end = footer_bytes(data[-8:])
    for group in read_groups(data[-end:], bounds):
        check_pages(data, 0, group)
    try:
        frame = pl.read_parquet(io.BytesIO(data), use_statistics=False)
    except POLARS_ERRORS as error:
        refuse("format.parquet.malformed", "the Parquet table cannot be parsed", cause=error)
    if frame.height != footer.rows:
        refuse("format.parquet.rows", "the footer declares another number of rows than is there")
    check_schema(frame)
    return frame


def check_schema(frame: pl.DataFrame) -> None:
    """Refuse columns of a Parquet table that are nested or not named apart.

    Raises:
        InputError: Code `format.parquet.*`.
    """
    _check_names(frame.columns, "parquet")
    for name, type_ in frame.schema.items():
        if type_.is_nested() or type_ == pl.Object:
            refuse("format.parquet.nested", f"the column `{name[:80]}` is nested")


def _check_names(names: list[str], kind: str) -> None:
    if len(set(names)) != len(names):
        refuse(f"format.{kind}.duplicate-column", "two columns have the same name")
    if any(not name.strip() for name in names):
        refuse(f"format.{kind}.unnamed-column", "a column has no name")


def write_table(frame: pl.DataFrame, kind: str) -> bytes:
    """Write a table in the format that it was read from: no cell is changed."""
    buffer = io.BytesIO()
    if kind == "parquet":
        frame.write_parquet(buffer)
    elif kind == "csv":
        frame.write_csv(buffer)
    else:
        frame.write_ndjson(buffer)
    return buffer.getvalue()


def write_csv_safe(frame: pl.DataFrame, *, header: bool = True) -> bytes:
    """Write CSV in which no text cell or header is run as a formula by a spreadsheet.

    Without `header`, the rows alone: to append to what has one.

    A text that begins with one of `= + - @`, their full-width forms, tab or a line break gets an
    apostrophe before it; numbers are untouched. Every text is quoted, so null and the empty text
    stay apart.

    Raises:
        InputError: A nested column.

    Source: OWASP, "CSV Injection".
    """
    for name, type_ in frame.schema.items():
        if type_.is_nested() or type_ in (pl.Object, pl.Binary):
            refuse("format.csv.nested", f"the column `{name[:80]}` has no CSV form")
    texts = [n for n, t in frame.schema.items() if t in (pl.String, pl.Categorical, pl.Enum)]
    safe = frame.with_columns(_neutral(pl.col(name).cast(pl.String)) for name in texts)
    safe.columns = ["'" + name if name.startswith(_FORMULA) else name for name in frame.columns]
    return safe.write_csv(quote_style="non_numeric", include_header=header).encode()


def _neutral(cell: pl.Expr) -> pl.Expr:
    dangerous = pl.any_horizontal(cell.str.starts_with(start) for start in _FORMULA)
    return pl.when(dangerous).then(pl.lit("'") + cell).otherwise(cell).name.keep()

"""A Parquet table's counts and sizes: footer and pages, before any column is decoded."""

from dataclasses import dataclass

from vallum.base.bounds import MODEL, TableBounds
from vallum.base.errors import InputError
from vallum.formats.refusal import refuse, within

_MAGIC = b"PAR1"
_TAIL = 8
_MAX_FIELDS = 5_000_000
_MAX_DEPTH = 16
_MAX_PAGE_HEADER = 64 * 1024  # its statistics may hold a value
_DICTIONARY_PAGE = 2
_PAGES = {0: 5, _DICTIONARY_PAGE: 7, 3: 8}  # the field that describes each kind of page
_MORE = 0x80  # a varint's continuation bit
_LONG_LIST = 15
_BOOLS = (1, 2)
_BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(3, 13)


@dataclass(frozen=True, slots=True)
class ColumnChunk:
    """Where the pages of one column of a row group lie, and what they amount to."""

    start: int
    length: int
    uncompressed_bytes: int
    values: int


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Where the bytes of some rows lie.

    Attributes:
        rows: How many.
        start: Offset of the first byte of their column chunks.
        end: Offset after the last one.
        uncompressed_bytes: When expanded.
        chunks: Its columns.
    """

    rows: int
    start: int
    end: int
    uncompressed_bytes: int
    chunks: tuple[ColumnChunk, ...] = ()


@dataclass(frozen=True, slots=True)
class ParquetFooter:
    """What the footer declares.

    Attributes:
        metadata: The keys and values that whoever wrote the table kept beside it.
    """

    rows: int
    columns: int
    row_groups: int
    uncompressed_bytes: int
    metadata: tuple[tuple[bytes, bytes], ...] = ()


def footer_bytes(tail: bytes) -> int:
    """Return the length of a footer and what follows it, by the last 8 bytes of the file.

    Raises:
        InputError: Code `format.parquet.magic`.
        LimitExceededError: It is too long.
    """
    if tail[-len(_MAGIC) :] != _MAGIC:
        refuse("format.parquet.magic", "the file does not end as Parquet")
    length = int.from_bytes(tail[-_TAIL:-4], "little")
    within(length, MODEL.max_header_bytes, "format.parquet.footer-too-large", "footer bytes")
    return length + _TAIL


def read_groups(footer: bytes, bounds: TableBounds) -> list[RowGroup]:
    """Read where the row groups of a table lie, by its footer and the 8 bytes after it.

    Args:
        footer: The last `footer_bytes` of the file.
        bounds: Rows and columns are those of the table, bytes those of each row group.

    Raises:
        InputError: Code `format.parquet.*`.
        LimitExceededError: Too many rows or columns, or a row group too large when expanded.
    """
    fields = _Compact(footer[:-_TAIL]).struct()
    _, groups, rows = _counts(fields, bounds)
    found = [_group(one) for one in groups]
    if sum(one.rows for one in found) != rows:
        refuse("format.parquet.rows", "the footer declares another number of rows than its groups")
    for one in found:
        within(
            max(one.uncompressed_bytes, one.end - one.start), bounds.max_bytes,
            "format.parquet.group-too-large", "bytes of an expanded row group",
        )  # fmt: skip
    return found


def check_pages(data: bytes | memoryview, offset: int, group: RowGroup) -> None:
    """Read the header of every page of a row group, and bound what it asks to be allocated.

    The decoder believes these headers: one that declares 2^58 elements ends the process.

    Args:
        data: Bytes of the file that hold the row group.
        offset: Of the first of them in the file.
        group: Of the footer.

    Raises:
        InputError: Code `format.parquet.page`.

    Source: apache/parquet-format, `parquet.thrift`, PageHeader.
    """
    for chunk in group.chunks:
        at, left = chunk.start - offset, chunk.values
        end = at + chunk.length
        expanded = 0
        while left > 0:
            header = _Compact(bytes(data[at : min(end, at + _MAX_PAGE_HEADER)]))
            kind, size, packed, held = _page(header.struct())
            at += header.read + packed
            expanded += size
            if at > end or expanded > chunk.uncompressed_bytes or held > left:
                refuse("format.parquet.page", "a page is larger than its column chunk declares")
            if kind != _DICTIONARY_PAGE:
                left -= held


def _page(header: dict[int, object]) -> tuple[int, int, int, int]:
    """Return the kind of a page, its bytes expanded and packed, and its values."""
    kind, size, packed = header.get(1), header.get(2), header.get(3)
    if isinstance(kind, int) and isinstance(size, int) and isinstance(packed, int):
        part = header.get(_PAGES.get(kind, 0))
        held = part.get(1) if isinstance(part, dict) else None
        if isinstance(held, int) and min(size, packed, held) >= 0:
            return kind, size, packed, held
    raise InputError("a page's header cannot be read", code="format.parquet.page")


def _group(group: object) -> RowGroup:
    size = _group_bytes(group)
    assert isinstance(group, dict)  # noqa: S101 - `_group_bytes` has looked
    rows = group.get(3)
    chunks = []
    for one in group[1]:
        meta = one[3]
        values, expanded, length = meta.get(5), meta.get(6), meta.get(7)
        places = [at for at in (meta.get(9), meta.get(11)) if isinstance(at, int) and at > 0]
        if not isinstance(length, int) or length < 0 or not places:
            refuse("format.parquet.footer", "a column chunk has no place")
        if not isinstance(values, int) or values < 0:
            refuse("format.parquet.footer", "a column chunk declares no values")
        chunks.append(ColumnChunk(min(places), length, expanded, values))
    if not isinstance(rows, int) or rows < 0 or not chunks:
        refuse("format.parquet.footer", "a row group declares no rows")
    start = min(one.start for one in chunks)
    end = max(one.start + one.length for one in chunks)
    return RowGroup(rows, start, end, size, tuple(chunks))


def read_footer(data: bytes | memoryview, bounds: TableBounds) -> ParquetFooter:
    """Read and bound the footer.

    Raises:
        InputError: Code `format.parquet.*`.
        LimitExceededError: Too many rows or columns, or too large when expanded.

    Source: apache/parquet-format, README and `parquet.thrift`; Thrift compact protocol.
    """
    if len(data) < 2 * len(_MAGIC) + 4 or bytes(data[:4]) != _MAGIC:
        refuse("format.parquet.magic", "the file does not begin as Parquet")
    if bytes(data[-4:]) != _MAGIC:
        refuse("format.parquet.magic", "the file does not end as Parquet")
    length = int.from_bytes(data[-_TAIL:-4], "little")
    if length > len(data) - _TAIL - 4:
        refuse("format.parquet.footer", "the footer is longer than the file")
    within(length, MODEL.max_header_bytes, "format.parquet.footer-too-large", "footer bytes")
    reader = _Compact(bytes(data[-_TAIL - length : -_TAIL]))
    footer = reader.struct()
    columns, groups, rows = _counts(footer, bounds)
    size = sum(_group_bytes(group) for group in groups)
    within(size, bounds.max_bytes, "format.parquet.too-large", "bytes of the expanded table")
    return ParquetFooter(rows, columns, len(groups), size, _pairs(footer.get(5, [])))


def _pairs(pairs: object) -> tuple[tuple[bytes, bytes], ...]:
    found = []
    for one in pairs if isinstance(pairs, list) else [None]:
        key, value = (one.get(1), one.get(2, b"")) if isinstance(one, dict) else (None, None)
        if not isinstance(key, bytes) or not isinstance(value, bytes):
            refuse("format.parquet.footer", "its keys and values cannot be read")
        found.append((key, value))
    return tuple(found)


def _counts(footer: dict[int, object], bounds: TableBounds) -> tuple[int, list[object], int]:
    """Return the number of columns, the row groups and the number of rows."""
    schema, rows, groups = footer.get(2), footer.get(3), footer.get(4)
    if not isinstance(schema, list) or not isinstance(rows, int) or not isinstance(groups, list):
        refuse("format.parquet.footer", "the footer lacks its schema, rows or row groups")
    columns = sum(1 for item in schema if isinstance(item, dict) and 1 in item)
    if rows < 0:
        refuse("format.parquet.footer", "the number of rows is negative")
    within(rows, bounds.max_rows, "format.parquet.too-many-rows", "rows of the table")
    within(columns, bounds.max_columns, "format.parquet.too-many-columns", "columns of the table")
    return columns, groups, rows


def _group_bytes(group: object) -> int:
    chunks = group.get(1) if isinstance(group, dict) else None
    if not isinstance(chunks, list):
        refuse("format.parquet.footer", "a row group has no columns")
    total = 0
    for chunk in chunks:
        if not isinstance(chunk, dict) or 1 in chunk:
            refuse("format.parquet.external", "a column lies in another file")
        meta = chunk.get(3)
        size = meta.get(6) if isinstance(meta, dict) else None
        if not isinstance(size, int) or size < 0:
            refuse("format.parquet.footer", "a column chunk declares no size")
        total += size
    return total


class _Compact:
    """A reader of Thrift's compact protocol into dicts by field number."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._fields = 0

    @property
    def read(self) -> int:
        """Bytes read so far."""
        return self._at

    def _byte(self) -> int:
        if self._at >= len(self._data):
            refuse("format.parquet.footer", "the footer is cut short")
        self._at += 1
        return self._data[self._at - 1]

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < _MORE:
                return value
        raise InputError("a number in the footer is too long", code="format.parquet.footer")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def struct(self, depth: int = 0) -> dict[int, object]:
        fields: dict[int, object] = {}
        number = 0
        while (head := self._byte()) != 0:
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            if number in fields:
                refuse("format.parquet.footer", "a field of the footer appears twice")
            fields[number] = self._value(head & 0x0F, depth + 1, in_list=False)
        return fields

    def _value(self, kind: int, depth: int, *, in_list: bool) -> object:
        self._fields += 1
        within(depth, _MAX_DEPTH, "format.parquet.too-deep", "depth of the footer")
        within(self._fields, _MAX_FIELDS, "format.parquet.too-many-fields", "fields of the footer")
        if kind in _BOOLS:
            return self._byte() == 1 if in_list else kind == 1
        if kind == _BYTE:
            return self._byte()
        if kind in (_I16, _I32, _I64):
            return self._zigzag()
        if kind == _DOUBLE:
            self._skip(8)
            return None
        if kind == _BINARY:
            count = self._varint()
            self._skip(count)
            return self._data[self._at - count : self._at]
        if kind in (_LIST, _SET):
            head = self._byte()
            count = self._varint() if head >> 4 == _LONG_LIST else head >> 4
            return [self._value(head & 0x0F, depth + 1, in_list=True) for _ in range(count)]
        if kind == _MAP:
            count = self._varint()
            kinds = self._byte() if count else 0
            for _ in range(count):
                self._value(kinds >> 4, depth + 1, in_list=True)
                self._value(kinds & 0x0F, depth + 1, in_list=True)
            return None
        if kind == _STRUCT:
            return self.struct(depth + 1)
        raise InputError("the footer holds an unknown type", code="format.parquet.footer")

    def _skip(self, count: int) -> None:
        if count > len(self._data) - self._at:
            refuse("format.parquet.footer", "the footer is cut short")
        self._at += count

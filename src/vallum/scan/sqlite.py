"""SQLite databases of tables and indexes: every page in its place, every record read.

Views, triggers, virtual tables and expressions that call functions are refused: the library runs
them when somebody reads a table. A value that is a pickle is a finding, since caches load them.

Source: sqlite.org, "Database File Format".
"""

import re
from collections.abc import Iterator

from vallum.base.bounds import MODEL
from vallum.scan.pickles import hides_pickle

MAGIC = b"SQLite format 3\0"
_HEADER = 100
_LEAF_TABLE, _LEAF_INDEX, _ABOVE_TABLE, _ABOVE_INDEX = 13, 10, 5, 2
_MAX_DEPTH, _MAX_CELLS = 32, 5_000_000
_WIDTHS = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)  # bytes of a value by its serial type
_FIRST_OF_BYTES = 12
_QUOTED = re.compile(
    # What is not closed goes to the end: tried again from each beginning it would take all time.
    r"'(?:[^']|'')*+'?+|\"(?:[^\"]|\"\")*+\"?+|`[^`]*+`?+|\[[^\]]*+\]?+|--[^\n]*+|"
    r"/\*.*?(?:\*/|\Z)",
    re.DOTALL,
)
_BEGINS = re.compile(r"\s*CREATE\s+(?:TABLE|INDEX|UNIQUE\s+INDEX)\s", re.IGNORECASE)
# A name before a bracket, unless it is a table's, and the word before it.
_CALL = re.compile(r"(?:\b(\w+)\s+)?\b([A-Za-z_]\w*)\s*\(")
_BEFORE_NAME = frozenset({"TABLE", "REFERENCES", "ON", "EXISTS", "CONSTRAINT", "INDEX"})
_NO_CALL = frozenset(
    """KEY UNIQUE CHECK VALUES IN AND OR NOT ON AS CONFLICT TABLE EXISTS BETWEEN LIKE WHERE DEFAULT
    CHAR VARCHAR NVARCHAR NCHAR CHARACTER VARYING TEXT CLOB BLOB BINARY VARBINARY INT INTEGER
    TINYINT SMALLINT MEDIUMINT BIGINT NUMERIC DECIMAL FLOAT REAL DOUBLE PRECISION DATETIME
    TIMESTAMP TIME DATE BOOLEAN JSON length min max abs lower upper""".lower().split()
)


def sqlite_fault(data: memoryview) -> str:
    """Return what is wrong with a database; empty if nothing is."""
    try:
        return _Database(data).fault()
    except (ValueError, IndexError) as error:
        return str(error)[:200]


class _Database:
    def __init__(self, data: memoryview) -> None:
        self._data = data
        size = self._number(16, 2)
        self._size = 65_536 if size == 1 else size
        self._pages = self._number(28, 4)
        self._used: set[int] = set()
        self._cells = 0
        if self._size < 512 or self._size & (self._size - 1):  # noqa: PLR2004 - the least
            raise ValueError("pages of an impossible size")
        if self._size * self._pages != len(data):
            raise ValueError("the file does not end where its pages do")
        if self._number(20, 1) or self._number(52, 4):
            raise ValueError("bytes kept on each page, or pages that move")
        if self._number(56, 4) != 1 or any(data[72:92]):
            raise ValueError("texts that are no UTF-8, or a header of another kind")

    def _number(self, at: int, width: int) -> int:
        if at < 0 or at + width > len(self._data):
            raise ValueError("a place beyond the file")
        return int.from_bytes(self._data[at : at + width], "big")

    def fault(self) -> str:
        roots: list[int] = []
        for record in self._tree(1, 0):
            kind, name, _, root, text = [*record, *[None] * 5][:5]
            if kind not in (b"table", b"index") or not isinstance(root, int):
                return f"a {str(kind)[2:40]}, which runs when a table is read"
            if text is not None and (fault := _statement_fault(text)):
                return f"`{str(name)[2:60]}`: {fault}"
            if text is None and kind != b"index":
                return "a table that nothing has made"
            roots.append(root)
        for root in roots:
            for record in self._tree(root, 0):
                for value in record:
                    if isinstance(value, bytes) and hides_pickle(memoryview(value), MODEL):
                        return "a value is a pickle that can run code"
        self._free()
        return "" if len(self._used) == self._pages else "pages that belong to nothing"

    def _page(self, number: int) -> int:
        """Return where a page begins; each is used once."""
        if not 1 <= number <= self._pages or number in self._used:
            raise ValueError("a page that there is not, or that is used twice")
        self._used.add(number)
        return (number - 1) * self._size

    def _tree(self, number: int, depth: int) -> Iterator[list[int | bytes | None]]:
        """Yield the records of a tree."""
        page = self._page(number)
        at = page + (_HEADER if number == 1 else 0)
        kind, count = self._number(at, 1), self._number(at + 3, 2)
        above = kind in (_ABOVE_TABLE, _ABOVE_INDEX)
        if kind not in (_LEAF_TABLE, _LEAF_INDEX, _ABOVE_TABLE, _ABOVE_INDEX) or depth > _MAX_DEPTH:
            raise ValueError("a page of no tree, or one that is too deep")
        self._cells += count
        if self._cells > _MAX_CELLS:
            raise ValueError("more records than are read")
        left = self._size
        for index in range(count):
            cell = page + self._number(at + (12 if above else 8) + 2 * index, 2)
            if above:
                yield from self._tree(self._number(cell, 4), depth + 1)
                cell += 4
            if kind != _ABOVE_TABLE:
                payload, taken = self._payload(cell, page, table=kind == _LEAF_TABLE)
                left -= taken
                if left < 0:
                    raise ValueError("two records in one place")
                yield _values(payload)
        if above:
            yield from self._tree(self._number(at + 8, 4), depth + 1)

    def _payload(self, cell: int, page: int, *, table: bool) -> tuple[bytes, int]:
        """Return a record, and how many bytes of it lie on its page."""
        size, at = self._varint(cell)
        if table:
            _, at = self._varint(at)
        if size > len(self._data):
            raise ValueError("a record beyond the file")
        usable = self._size
        most = usable - 35 if table else (usable - 12) * 64 // 255 - 23
        local = size
        if size > most:
            least = (usable - 12) * 32 // 255 - 23
            local = least + (size - least) % (usable - 4)
            local = local if local <= most else least
        if at + local > page + usable:
            raise ValueError("a record beyond its page")
        parts = [bytes(self._data[at : at + local])]
        left, following = size - local, self._number(at + local, 4) if size > local else 0
        while left:
            place = self._page(following)
            following = self._number(place, 4)
            parts.append(bytes(self._data[place + 4 : place + 4 + min(left, usable - 4)]))
            left -= min(left, usable - 4)
        return b"".join(parts), local

    def _varint(self, at: int) -> tuple[int, int]:
        return _varint(bytes(self._data[at : at + 9]), 0, at)

    def _free(self) -> None:
        """Account for the pages of the list of free ones."""
        trunk, left = self._number(32, 4), self._number(36, 4)
        while trunk:
            place = self._page(trunk)
            count = self._number(place + 4, 4)
            if count > (self._size - 8) // 4:
                raise ValueError("a list of free pages that is too long")
            for index in range(count):
                self._page(self._number(place + 8 + 4 * index, 4))
            left -= 1 + count
            trunk = self._number(place, 4)
        if left:
            raise ValueError("a list of free pages of another length")


def _varint(raw: bytes, at: int, base: int = 0) -> tuple[int, int]:
    value = 0
    for index in range(9):
        if at + index >= len(raw):
            raise ValueError("a number is cut short")
        byte = raw[at + index]
        if index == 8:  # noqa: PLR2004 - the last has eight bits
            return value << 8 | byte, base + at + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:  # noqa: PLR2004 - the top bit
            return value, base + at + index + 1
    raise ValueError("a number is too long")


def _values(raw: bytes) -> list[int | bytes | None]:
    end, at = _varint(raw, 0)
    place = end
    values: list[int | bytes | None] = []
    while at < end:
        kind, at = _varint(raw, at)
        if kind >= _FIRST_OF_BYTES:
            width = (kind - _FIRST_OF_BYTES) // 2
            values.append(raw[place : place + width])
        elif kind < len(_WIDTHS):
            width = _WIDTHS[kind]
            number = int.from_bytes(raw[place : place + width], "big", signed=True)
            values.append(None if kind == 0 else 1 if kind == 9 else number)  # noqa: PLR2004 - the number one
        else:
            raise ValueError("a value of an unknown type")
        place += width
    if at != end or place != len(raw):
        raise ValueError("a record that does not end with its values")
    return values


def _statement_fault(text: int | bytes) -> str:
    """Return what is wrong with the statement that made a table or an index."""
    if not isinstance(text, bytes):
        return "no statement"
    plain = _QUOTED.sub(" x ", text.decode("utf-8", "replace"))
    if not _BEGINS.match(plain):
        return "no plain table"
    for match in _CALL.finditer(plain):
        before, name = (match.group(1) or "").upper(), match.group(2)
        if name.lower() not in _NO_CALL and before not in _BEFORE_NAME:
            return f"a call of `{name[:60]}`"
    return ""

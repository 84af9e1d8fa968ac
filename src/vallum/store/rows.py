"""Rows of `records` as bytes: what is stored, and what its MAC covers. docs/spec/store.md."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from vallum.base import InputError, IntegrityError, Secret, canonical_json
from vallum.crypto import mac, verify_mac
from vallum.schema import Record
from vallum.store.tables import records

R = TypeVar("R", bound=Record)

MAX_TEXT = 200

_ROW_DOMAIN = b"vallum.row/1"
_COLUMNS = (
    records.c.kind,
    records.c.id,
    records.c.parent_id,
    records.c.name_key,
    records.c.content,
    records.c.generation,
    records.c.mac,
)


@dataclass(frozen=True, slots=True)
class Row:
    """One row. One that `checked_rows` yields has had its MAC verified."""

    kind: str
    id: str
    parent_id: str
    name: str  # the folded name; empty: none
    content: bytes
    generation: int
    mac: bytes

    def decode(self, type_: type[R]) -> R:
        """Return the content as a record.

        Raises:
            IntegrityError: It is not a `type_`, although its MAC holds: another kind was asked
                for, or the schema changed without a migration.
        """
        try:
            return msgspec.json.decode(self.content, type=type_)
        except msgspec.MsgspecError as error:
            raise IntegrityError(
                f"row `{self.kind}/{self.id}` is not a `{type_.__name__}`", code="store.row-type"
            ) from error


def sealed_row(key: Secret, row: Row) -> Row:
    """Return `row` with its 32-byte MAC, which is over every other column."""
    return replace(row, mac=mac(key, *_parts(row)))


def encode(record: Record) -> bytes:
    """Return the canonical JSON of `record`.

    Raises:
        InputError: It holds a float, or something else without a canonical form.
    """
    return canonical_json(msgspec.to_builtins(record))


def identity(record: Record) -> str:
    """Return the id of a record that can be stored.

    Raises:
        InputError: It has no `id`, or not 1 to 200 printable ASCII characters.
    """
    return check_text(getattr(record, "id", None), what="id")


def check_text(text: object, *, what: str) -> str:
    """Return a kind, id or parent id if it is one; so that both databases sort it alike."""
    if (
        not isinstance(text, str)
        or not 1 <= len(text) <= MAX_TEXT
        or not (text.isascii() and text.isprintable())
    ):
        raise InputError(
            f"the {what} of a record must be 1 to 200 printable ASCII characters",
            code="store.identity",
        )
    return text


def checked_rows(
    connection: Connection, key: Secret, condition: sa.ColumnElement[bool], *, limit: int = 0
) -> Iterator[Row]:
    """Yield the rows that match, by kind and id, each with its MAC verified first.

    Raises:
        IntegrityError: A row is not what was written.
    """
    query = sa.select(*_COLUMNS).where(condition).order_by(records.c.kind, records.c.id)
    if limit:
        query = query.limit(limit)
    for kind, id_, parent_id, name_key, content, generation, tag in connection.execute(query):
        row = Row(kind, id_, parent_id, name_key or "", content, generation, tag)
        try:
            verify_mac(key, tag, *_parts(row))
        except (IntegrityError, AttributeError, TypeError, ValueError, OverflowError) as error:
            # SQLite gives back whatever type was written behind our back.
            raise IntegrityError(
                f"row `{kind}/{id_}` is not what was written", code="store.row"
            ) from error
        yield row


def _parts(row: Row) -> tuple[bytes, ...]:
    return (
        _ROW_DOMAIN,
        row.kind.encode(),
        row.id.encode(),
        row.parent_id.encode(),
        row.name.encode(),
        row.content,
        row.generation.to_bytes(8, "big"),
    )

"""Private queries as the hall calls them in the sandbox: bytes in, one bounded record out."""

import hmac
from collections.abc import Callable, Mapping

import polars as pl

from vallum.formats import load_json, read_table
from vallum.privacy.dp.cost import Cost
from vallum.privacy.dp.declaration import Declaration, parse_declaration
from vallum.privacy.dp.engine import Answer, PrivateTable
from vallum.privacy.dp.plan import make_plan
from vallum.privacy.dp.sql import parse_sql
from vallum.privacy.people import same
from vallum.schema import Record

SKETCH = 1024
_DIGEST_BYTES = 16


class Sketch(Record, frozen=True):
    """Keyed digests of the persons in a table, the smallest ones; hexadecimal, sorted."""

    digests: tuple[str, ...]


def sketch_table(payload: bytes, *, kind: str, declaration: str, key_hex: str) -> Sketch:
    """Check that a table has what is declared, and sketch who is in it.

    Two tables that share a digest share a person. Of two tables that share a part p of all
    their persons, one such digest at least is seen with 1 - (1 - p)^1024 (Cohen 1997).

    Raises:
        InputError: A column is missing, or the declaration does not fit.
    """
    declared = _declared(declaration)
    frame = read_table(payload, kind=kind)
    PrivateTable.open(frame, declared)
    if declared.unit.column:
        persons = frame[declared.unit.column].cast(pl.String)
    else:
        persons = frame.select(
            pl.struct(pl.col(sorted(declared.columns)).cast(pl.String)).struct.json_encode()
        ).to_series()
    key = bytes.fromhex(key_hex)
    digests = {sketched(key, person) for person in persons.drop_nulls().unique().to_list()}
    return Sketch(digests=tuple(sorted(digests)[:SKETCH]))


def sketched(key: bytes, person: str) -> str:
    """Return the digest that a sketch holds of a person, in hexadecimal."""
    return hmac.digest(key, same(person).encode(), "sha256")[:_DIGEST_BYTES].hex()


def open_table(
    payload: bytes, *, kind: str, declaration: str
) -> Callable[[str, Mapping[str, str]], Answer]:
    """Open a table for queries; what is returned answers one whose cost has been charged.

    Raises:
        InputError: The table is malformed, or lacks what is declared.
    """
    declared = _declared(declaration)
    table = PrivateTable.open(read_table(payload, kind=kind), declared)

    def answer(sql: str, cost: Mapping[str, str]) -> Answer:
        query = parse_sql(sql, person=declared.unit.column)
        return table.answer(make_plan(query, declared, Cost(**cost)))

    return answer


def _declared(text: str) -> Declaration:
    return parse_declaration(load_json(text.encode()))

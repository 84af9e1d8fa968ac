"""The privacy room as gates call it in the sandbox: bytes in, one bounded record out."""

from collections.abc import Mapping, Sequence

import msgspec
import polars as pl

from vallum.base import InputError
from vallum.crypto.prf import pseudonym
from vallum.formats import load_json, read_table, write_csv_safe, write_table
from vallum.privacy.anonymize import (
    METHODS,
    Hierarchy,
    Method,
    Requirements,
    anonymize,
    read_hierarchy,
)
from vallum.privacy.discover import ColumnFinding, discover_table
from vallum.privacy.mask import (
    mask_table,
    mask_text,
    masked_column,
    unmask_table,
)
from vallum.privacy.people import index_people, parse_identifiers, types_of, without
from vallum.privacy.recipe import parse_recipe
from vallum.schema import Record

_KEY_BYTES = 32


class RiskReport(Record, frozen=True):
    """Re-identification risk over the quasi-identifiers (El Emam 2013, prosecutor model)."""

    quasi_identifiers: tuple[str, ...]
    uniques: int
    smallest_class: int
    prosecutor_mean: float


class TableInspection(Record, frozen=True):
    """What ingest finds out about a table."""

    rows: int
    columns: tuple[str, ...]
    findings: tuple[ColumnFinding, ...]
    label: str
    risk: RiskReport
    people: bytes | None = None  # keyed index of who is in it; None: nobody asked, or too many


class Extract(Record, frozen=True):
    """Part of a table, or a table with something done to it."""

    table: bytes
    rows: int
    columns: tuple[str, ...]
    removed: int = 0  # records that were left out


class PackedTable(Record, frozen=True):
    """A table with hierarchies of its columns, as CSV each."""

    table: bytes
    hierarchies: dict[str, str] = {}


class ProtectedTable(Record, frozen=True):
    """A protected table, and how well it is protected by two independent counts."""

    csv: bytes
    columns: tuple[str, ...]
    rows_total: int
    rows_kept: int
    suppressed: int
    k: int
    k_checked: int
    l: int  # noqa: E741 - the model's name
    t: float
    loss: float
    method: str
    requirements: tuple[str, ...]


def inspect_table(payload: bytes, *, kind: str, people_key: str = "") -> TableInspection:
    """Parse and classify a table.

    Args:
        payload: The table.
        kind: `csv`, `parquet` or `jsonl`.
        people_key: Of the index of who is in it, in hexadecimal; without it none is made.

    Raises:
        InputError: It is malformed or empty.
        LimitExceededError: It exceeds a bound.
    """
    frame = _read(payload, kind)
    found = discover_table(frame)
    quasi = tuple(one.name for one in found.columns if one.quasi)
    sizes = (
        frame.select(pl.len().over(list(quasi)).alias("n"))["n"]
        if quasi
        else pl.Series([frame.height] * frame.height)
    )
    smallest = sizes.min()
    return TableInspection(
        rows=frame.height,
        columns=tuple(frame.columns),
        findings=found.columns,
        label=found.label.value,
        risk=RiskReport(
            quasi_identifiers=quasi,
            uniques=int((sizes == 1).sum()),
            smallest_class=smallest if isinstance(smallest, int) else 0,
            prosecutor_mean=float((1.0 / sizes).mean() or 0.0),  # type: ignore[arg-type]  # floats
        ),
        people=index_people(frame, found, key=bytes.fromhex(people_key)) if people_key else None,
    )


def extract_table(
    payload: bytes, *, kind: str, columns: Sequence[str], recipe: str, key_hex: str
) -> Extract:
    """Return some columns of a table, or its masked view.

    A view shows nothing that its recipe does not name: a column that is added later is not in it.

    Args:
        payload: The table.
        kind: `csv`, `parquet` or `jsonl`.
        columns: What to return; all that may be seen if empty.
        recipe: Of the view, as JSON; empty: the columns as they are.
        key_hex: Of the view's pseudonyms.

    Raises:
        InputError: A column is not there, or not in the view.
    """
    frame = _read(payload, kind)
    if recipe:
        parsed = parse_recipe(load_json(recipe.encode()))
        shown = tuple(one for one in parsed.columns if one.column in frame.columns)
        parsed = msgspec.structs.replace(parsed, columns=shown)
        frame = mask_table(
            frame.select([one.column for one in shown]), parsed, key=bytes.fromhex(key_hex)
        )
    for name in columns:
        if name not in frame.columns:
            raise InputError(f"there is no column `{name}` to be read", code="privacy.column")
    if columns:
        # Sorted: the order of the records would join what was read at different times.
        frame = frame.select(columns).sort(list(columns))
    return _extracted(frame)


def unmask_rows(payload: bytes, *, kind: str, recipe: str, key_hex: str) -> Extract:
    """Undo the reversible operations of a view on some of its rows.

    Raises:
        InputError: Nothing of it can be undone, or a value is not the view's.
    """
    frame = _read(payload, kind)
    texts = [name for name, type_ in frame.schema.items() if type_ == pl.String]
    # What `write_csv_safe` put before what a spreadsheet would run.
    frame = frame.with_columns(
        pl.col(name).str.replace(r"^'([=+\-@\t\r\n＝＋－＠])", "${1}") for name in texts
    )
    parsed = parse_recipe(load_json(recipe.encode()))
    return _extracted(unmask_table(frame, parsed, key=bytes.fromhex(key_hex)))


def forget_people(payload: bytes, *, kind: str, identifiers: Sequence[str]) -> Extract:
    """Return a table, in the format it had, without the records of a person.

    Raises:
        InputError: An identifier has not the form `NAME=VALUE`.
    """
    frame = read_table(payload, kind=kind)
    left = without(frame, parse_identifiers(identifiers), types_of(frame))
    return Extract(
        table=write_table(left, kind) if left.height < frame.height else b"",
        rows=left.height,
        columns=tuple(left.columns),
        removed=frame.height - left.height,
    )


def _extracted(frame: pl.DataFrame) -> Extract:
    return Extract(table=write_csv_safe(frame), rows=frame.height, columns=tuple(frame.columns))


def protect_table(
    payload: bytes,
    *,
    kind: str,
    k: int,
    max_suppression: str,
    quasi_identifiers: Sequence[str],
    drop: Sequence[str],
    pseudonymise: Sequence[str],
    sensitive: Sequence[str],
    key_hex: str,
    diversity: Sequence[str] = (),
    closeness: Sequence[str] = (),
    method: str = "auto",
) -> ProtectedTable:
    """Drop or pseudonymise direct identifiers, generalise quasi-identifiers, count again.

    What is found to identify directly is dropped unless it is named in `pseudonymise`. The payload
    is `PackedTable` in MessagePack.

    Raises:
        InputError: A named column is missing, or one is named for two things.
        GateError: The requirements cannot be met.
    """
    used = next((one for one in METHODS if one == method), None)
    if used is None:
        raise InputError(
            f"`{method[:40]}` is no method: {', '.join(METHODS)}", code="privacy.method"
        )
    given = msgspec.msgpack.decode(payload, type=PackedTable)
    frame = _read(given.table, kind)
    for name in (*quasi_identifiers, *drop, *pseudonymise, *sensitive):
        if name not in frame.columns:
            raise InputError(f"the table has no column `{name}`", code="privacy.column")
    try:
        share = float(max_suppression)
    except ValueError as error:
        raise InputError("the suppression is not a number", code="privacy.k") from error
    found = discover_table(frame)
    kinds = {one.name: one.type for one in found.columns}
    named = {*drop, *pseudonymise, *quasi_identifiers, *sensitive}
    dropped = {*drop, *(one.name for one in found.columns if one.direct and one.type)} - {
        *pseudonymise,
        *quasi_identifiers,
        *sensitive,
    }
    quasi = list(quasi_identifiers) or [
        one.name for one in found.columns if one.quasi and one.name not in named
    ]
    if {*quasi} & {*pseudonymise, *drop}:
        raise InputError("a column cannot be both generalised and masked", code="privacy.column")
    direct = {one.name for one in found.columns if one.direct and one.type}
    for name in (*quasi_identifiers, *sensitive):
        if name in direct:
            raise InputError(
                f"column `{name}` identifies by itself: it can be dropped or pseudonymised only",
                code="privacy.direct",
            )
    key = bytes.fromhex(key_hex)
    if len(key) < _KEY_BYTES:
        raise InputError(f"the key has fewer than {_KEY_BYTES} bytes", code="privacy.key")
    table = frame.drop(sorted(dropped))
    # A single identifier in a column of plain values is no finding about the column, and still
    # somebody's: what is left is searched value by value.
    for name in table.columns:
        if name not in {*quasi, *pseudonymise} and table[name].dtype == pl.String:
            table = table.with_columns(masked_column(table[name], mask_text))
    for name in pseudonymise:
        values = table[name].cast(pl.String)
        masked = [None if one is None else pseudonym(key, name, one) for one in values]
        table = table.with_columns(pl.Series(name, masked, dtype=pl.String))
    wanted = Requirements(k=k, l=tuple(diversity), t=tuple(closeness), max_suppression=share)
    return _anonymized(
        table,
        quasi,
        wanted,
        sensitive=sensitive,
        kinds=kinds,
        method=used,
        given={
            name: read_hierarchy(text.encode(), name=name)
            for name, text in given.hierarchies.items()
        },
    )


def _anonymized(
    table: pl.DataFrame,
    quasi: Sequence[str],
    wanted: Requirements,
    *,
    sensitive: Sequence[str],
    kinds: Mapping[str, str],
    method: Method,
    given: Mapping[str, Hierarchy],
) -> ProtectedTable:
    # Without quasi-identifiers all records are one class.
    alone = "" if quasi else next(f"all{at}" for at in range(table.width + 1)
                                  if f"all{at}" not in table.columns)  # fmt: skip
    whole = table if quasi else table.with_columns(pl.lit("*").alias(alone))
    made = anonymize(
        whole,
        [*quasi] or [alone],
        wanted,
        sensitive=sensitive,
        hierarchies=given,
        kinds=kinds,
        method=method,
    )
    final = made.table if quasi else made.table.drop(alone)
    return ProtectedTable(
        csv=write_csv_safe(final),
        columns=tuple(final.columns),
        rows_total=table.height,
        rows_kept=final.height,
        suppressed=made.suppressed,
        k=wanted.k,
        k_checked=made.check.k,
        l=made.check.l,
        t=made.check.t,
        loss=made.loss if quasi else 0.0,
        method=made.method,
        requirements=made.requirements,
    )


def _read(payload: bytes, kind: str) -> pl.DataFrame:
    frame = read_table(payload, kind=kind)
    if frame.height == 0:
        raise InputError("the table has no records", code="privacy.empty")
    return frame

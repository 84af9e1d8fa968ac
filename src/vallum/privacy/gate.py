"""The privacy room as gates call it in the sandbox: bytes in, one bounded record out."""

from collections.abc import Mapping, Sequence

import polars as pl

from vallum.base import InputError
from vallum.crypto.prf import pseudonym
from vallum.formats import read_table, write_csv_safe
from vallum.privacy.anonymize import (
    METHODS,
    Hierarchy,
    Method,
    Requirements,
    anonymize,
    read_hierarchy,
)
from vallum.privacy.discover import ColumnFinding, discover_table
from vallum.privacy.mask import mask_text, masked_column
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


def inspect_table(payload: bytes, *, kind: str) -> TableInspection:
    """Parse and classify a table.

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
    )


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
    hierarchies: Mapping[str, str] | None = None,
) -> ProtectedTable:
    """Drop or pseudonymise direct identifiers, generalise quasi-identifiers, count again.

    What is found to identify directly is dropped unless it is named in `pseudonymise`.

    Raises:
        InputError: A named column is missing, or one is named for two things.
        GateError: The requirements cannot be met.
    """
    used = next((one for one in METHODS if one == method), None)
    if used is None:
        raise InputError(
            f"`{method[:40]}` is no method: {', '.join(METHODS)}", code="privacy.method"
        )
    frame = _read(payload, kind)
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
            for name, text in (hierarchies or {}).items()
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
